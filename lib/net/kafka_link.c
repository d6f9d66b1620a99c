#define _POSIX_C_SOURCE 200809L
#include "kafka.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

#define SLICE_MS                                                                                                       \
    250 /* the first time that a broker is waited for, before the worker looks whether it is still wanted */

/* ------------------------------------------------------------------------------------------------------- trouble -- */

void kafka_lost(struct kafka *kafka, int status, bool terminal, const char *format, ...)
{
    char reason[240];
    va_list arguments;
    if (kafka->lost || kafka->session == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    kafka_out_tell(kafka); /* now or never: nothing may follow the loss */
    kafka->lost = true;
    kafka->sink->lost(kafka->sink, status, reason, terminal);
}

/* Trying again is of no use: what one of us is, the other does not trust. */
static bool is_about_certificates(const char *text)
{
    return strstr(text, "verify failed") != NULL || strstr(text, "certificate") != NULL ||
           strstr(text, "alert") != NULL;
}

static void ask_for_broker(struct kafka *kafka, uint64_t patience_ms);

/* librdkafka has no connection left. It will try again by itself, and often that is all: nothing is lost then. */
static void all_brokers_down(struct kafka *kafka, const char *text)
{
    if (kafka->trouble[0] == '\0')
        snprintf(kafka->trouble, sizeof kafka->trouble, "%s", text);
    if (!kafka->connected) {
        kafka_lost(kafka, BCAST_ERR_CONNECT, false, "%s", kafka->trouble);
    } else if (!kafka->doubt) {
        kafka->doubt = true;
        ask_for_broker(kafka, kafka->conf.outage_ms);
    }
}

/* Within rd_kafka_poll: the I/O thread. */
static void on_error(rd_kafka_t *rk, int error, const char *text, void *opaque)
{
    struct kafka *kafka = ((struct kafka_hub *)opaque)->self;
    (void)rk;
    switch (error) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN: all_brokers_down(kafka, text); break;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM: kafka_lost(kafka, BCAST_ERR_REFUSED, true, "%s", text); break;
    case RD_KAFKA_RESP_ERR__SSL:
        if (is_about_certificates(text))
            kafka_lost(kafka, BCAST_ERR_REFUSED, true, "%s", text);
        snprintf(kafka->trouble, sizeof kafka->trouble, "%s", text);
        break;
    case RD_KAFKA_RESP_ERR__FATAL: kafka_lost(kafka, BCAST_ERR_CONNECT, false, "%s", text); break;
    default: snprintf(kafka->trouble, sizeof kafka->trouble, "%s", text); break;
    }
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    kafka_out_delivered(((struct kafka_hub *)opaque)->self, message);
}

/* Within rd_kafka_poll, too (log.queue). What a connection comes to is told by `lost`: these words are for who looks
 * closely. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    struct kafka *kafka = ((struct kafka_hub *)rd_kafka_opaque(rk))->self;
    if (strcmp(facility, "CONFWARN") == 0) /* the settings are those of both directions */
        return;
    kafka->sink->log(kafka->sink, level <= 2 ? BCAST_LOG_ERROR : level <= 4 ? BCAST_LOG_INFO : BCAST_LOG_DEBUG, text);
}

/* Any of librdkafka's threads. */
static void on_event(rd_kafka_t *rk, void *opaque)
{
    (void)rk;
    kafka_hub_wake(opaque);
}

/* ------------------------------------------------------------------------------------- a session, on the worker -- */

bool kafka_session_over(const struct kafka_session *session)
{
    return atomic_load_explicit(&session->over, memory_order_relaxed);
}

static rd_kafka_t *make(struct kafka_session *session, rd_kafka_type_t type, rd_kafka_queue_t **events)
{
    rd_kafka_conf_t *settings = rd_kafka_conf_dup(session->settings);
    rd_kafka_t *rk = rd_kafka_new(type, settings, session->text, sizeof session->text);
    if (rk == NULL) {
        rd_kafka_conf_destroy(settings);
        session->status = BCAST_ERR_URL; /* settings that contradict each other, or a file that cannot be read */
        return NULL;
    }
    rd_kafka_set_log_queue(rk, NULL); /* where everything else is reported */
    *events = rd_kafka_queue_get_main(rk);
    rd_kafka_queue_cb_event_enable(*events, on_event, session->hub);
    return rk;
}

rd_kafka_t *kafka_session_consumer(struct kafka_session *session)
{
    if (session->consumer == NULL)
        session->consumer = make(session, RD_KAFKA_CONSUMER, &session->events[1]);
    return session->consumer;
}

static void run_open(struct kafka_job *job)
{
    struct kafka_session *session = (struct kafka_session *)(void *)job;
    if (!kafka_session_over(session))
        session->producer = make(session, RD_KAFKA_PRODUCER, &session->events[0]);
}

/* True: a broker has answered. Waits for a little, then for longer. */
static bool hear(struct kafka_session *session, rd_kafka_t *rk, int64_t end_ns)
{
    int slice = SLICE_MS;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    while (rk != NULL && !kafka_session_over(session) && clock_ns() < end_ns) {
        const struct rd_kafka_metadata *metadata = NULL;
        int left = (int)((end_ns - clock_ns()) / 1000000) + 1;
        error = rd_kafka_metadata(rk, 0, NULL, &metadata, slice < left ? slice : left);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_metadata_destroy(metadata);
            return true;
        }
        slice *= 2;
    }
    snprintf(session->text, sizeof session->text, "no broker answers: %s", rd_kafka_err2str(error));
    return false;
}

static void run_ask(struct kafka_job *job)
{
    struct kafka_session *session = (struct kafka_session *)(void *)job;
    int64_t end_ns = clock_ns() + (int64_t)session->patience_ms * 1000000;
    bool heard = hear(session, session->producer, end_ns);
    if (heard && session->consumer != NULL)
        heard = hear(session, session->consumer, end_ns);
    session->status = heard ? BCAST_OK : BCAST_ERR_CONNECT;
}

static void run_end(struct kafka_job *job)
{
    struct kafka_session *session = (struct kafka_session *)(void *)job;
    rd_kafka_t *both[] = {session->producer, session->consumer};
    kafka_channels_free(session->channels, session->channels_mask, true);
    for (int i = 0; i < 2; i++) {
        if (both[i] == NULL)
            continue;
        rd_kafka_queue_cb_event_enable(session->events[i], NULL, NULL);
        rd_kafka_queue_destroy(session->events[i]);
        rd_kafka_destroy_flags(both[i], RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
}

static void done_end(struct kafka_job *job, void *self)
{
    struct kafka_session *session = (struct kafka_session *)(void *)job;
    (void)self;
    rd_kafka_conf_destroy(session->settings);
    memory_put(session);
}

/* ---------------------------------------------------------------------------------- a session, on the I/O thread -- */

static void end_session(struct kafka_session *session)
{
    session->job.run = run_end;
    session->job.done = done_end;
    kafka_hub_give(session->hub, &session->job);
}

/* The session that the job was for may not be the one there is now; then it only waits for its end. */
static struct kafka_session *current(struct kafka_job *job, struct kafka *kafka)
{
    struct kafka_session *session = (struct kafka_session *)(void *)job;
    if (kafka != NULL && kafka->session == session)
        return session;
    end_session(session);
    return NULL;
}

static void done_ask(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_session *session = current(job, kafka);
    if (session == NULL)
        return;
    session->job.run = NULL; /* it has none under way */
    kafka->doubt = false;
    if (session->status != BCAST_OK) {
        kafka_lost(kafka, session->status, false, "%s", kafka->trouble[0] != '\0' ? kafka->trouble : session->text);
        return;
    }
    kafka->trouble[0] = '\0';
    if (kafka->connected || kafka->lost)
        return;
    kafka->connected = true;
    kafka_in_begin(kafka);
    kafka->sink->connected(kafka->sink);
}

static void ask_for_broker(struct kafka *kafka, uint64_t patience_ms)
{
    kafka->session->patience_ms = patience_ms;
    kafka->session->job.run = run_ask;
    kafka->session->job.done = done_ask;
    kafka_hub_give(kafka->hub, &kafka->session->job);
}

static void done_open(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_session *session = current(job, kafka);
    if (session == NULL)
        return;
    session->job.run = NULL;
    kafka->producer = session->producer;
    if (session->producer == NULL)
        kafka_lost(kafka, session->status, true, "%s", session->text);
    else
        ask_for_broker(kafka, kafka->conf.connect_ms);
}

void kafka_connect(struct kafka *kafka)
{
    struct kafka_session *session = memory_get(sizeof *session);
    kafka->lost = false;
    kafka->trouble[0] = '\0';
    if (session == NULL || !kafka_hub_start(kafka->hub)) {
        memory_put(session);
        kafka->sink->lost(kafka->sink, BCAST_ERR_NOMEM, "out of memory for a connection", 0);
        return;
    }
    session->hub = kafka->hub;
    session->settings = rd_kafka_conf_dup(kafka->conf.settings);
    session->job.run = run_open;
    session->job.done = done_open;
    kafka->session = session;
    kafka_hub_give(kafka->hub, &session->job);
}

void kafka_disconnect(struct kafka *kafka)
{
    struct kafka_session *session = kafka->session;
    if (session == NULL)
        return;
    kafka_in_end(kafka);
    kafka_out_end(kafka);
    atomic_store_explicit(&session->over, true, memory_order_relaxed);
    kafka->session = NULL;
    kafka->producer = kafka->consumer = NULL;
    kafka->connected = kafka->doubt = false;
    if (session->job.run == NULL)
        end_session(session);
}

static void poll_both(struct kafka *kafka)
{
    if (kafka->producer != NULL && !kafka->lost)
        rd_kafka_poll(kafka->producer, 0);
    if (kafka->consumer != NULL && !kafka->lost)
        rd_kafka_poll(kafka->consumer, 0);
    if (!kafka->lost)
        kafka_out_tell(kafka);
}

void kafka_woken(struct kafka *kafka)
{
    for (struct kafka_job *job; (job = kafka_hub_finished(kafka->hub)) != NULL;)
        job->done(job, kafka);
    poll_both(kafka);
    if (kafka->connected && !kafka->lost)
        kafka_in_ready(kafka);
}

/* ------------------------------------------------------------------------------------------------- open and close -- */

int kafka_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, struct kafka **out)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL); /* the host program's end is not ours to tidy */
    struct kafka *kafka = memory_get(sizeof *kafka);
    if (kafka == NULL)
        return BCAST_ERR_NOMEM;
    int status = kafka_conf_open(setup, &kafka->conf);
    if (status == BCAST_OK && (kafka->hub = kafka_hub_new(sink)) == NULL)
        status = BCAST_ERR_NOMEM;
    if (status != BCAST_OK) {
        kafka_conf_close(&kafka->conf);
        memory_put(kafka);
        return status;
    }
    kafka->sink = sink;
    kafka->hub->self = kafka;
    kafka->process = getpid();
    kafka->retry_ns = kafka->refresh_ns = INT64_MAX;
    hash_secret(kafka->secret);
    rd_kafka_conf_set_opaque(kafka->conf.settings, kafka->hub);
    rd_kafka_conf_set_error_cb(kafka->conf.settings, on_error);
    rd_kafka_conf_set_dr_msg_cb(kafka->conf.settings, on_delivery);
    rd_kafka_conf_set_log_cb(kafka->conf.settings, on_log);
    *out = kafka;
    return BCAST_OK;
}

void kafka_close(struct kafka *kafka)
{
    if (kafka->process == getpid()) {
        kafka_disconnect(kafka);
        kafka_hub_close(kafka->hub);
        kafka_conf_close(&kafka->conf);
    } else {
        kafka_channels_free(kafka->channels, kafka->channels_mask, false);
    }
    kafka_in_forget(kafka);
    memory_put(kafka);
}
