/* The inside of the Kafka backend: kafka_link.c (librdkafka's instances: their life, their troubles), kafka_in.c and
 * kafka_read.c (what is subscribed, and what comes), kafka_out.c (what is published), kafka_ask.c (what the worker asks).
 * All of it is the I/O thread's, but for what is marked the worker's: see kafka_hub.h. Knows base, backend.h and
 * librdkafka. */
#ifndef NET_KAFKA_H
#define NET_KAFKA_H

#include <stdatomic.h>
#include <stddef.h>

#include "kafka_conf.h"
#include "kafka_hub.h"

/* One connect's worth of librdkafka. Made by the I/O thread, ended by the worker with the last job that knows of it. */
struct kafka_session {
    struct kafka_job job; /* opens it, asks whether there is a broker, ends it: one after the other */
    struct kafka_hub *hub;
    rd_kafka_conf_t *settings;
    _Atomic bool over; /* its jobs need not be done any more. Relaxed: they look at it for nothing else */
    /* The worker's, until a job that is done tells of them. */
    rd_kafka_t *producer, *consumer; /* the consumer when the first channel is subscribed */
    rd_kafka_queue_t *events[2];     /* of the two: what is reported */
    uint64_t patience_ms;            /* asking */
    int status;                      /* BCAST_OK, or why it does not work: */
    char text[200];
    struct kafka_channel **channels; /* of kafka_out.c: to be freed in the end */
    size_t channels_mask;
};

struct kafka_stream;

struct kafka {
    struct bcast_sink *sink;
    struct kafka_hub *hub;
    struct kafka_conf conf;
    int64_t
        process; /* that opened it: in a forked child librdkafka's threads are not there, and its locks may be held */

    struct kafka_session *session; /* NULL: not connected, nor about to be */
    rd_kafka_t *producer, *consumer;
    bool connected, lost;
    bool doubt; /* no broker could be reached a moment ago: the worker asks */
    char trouble[200];

    struct kafka_stream *streams;
    int64_t retry_ns, refresh_ns; /* what could not be done is tried again; topics are looked at. INT64_MAX: not */
    unsigned retry_ms;
    bool refreshing;

    struct kafka_channel **channels; /* a table, by name: of producer, with it */
    size_t channels_mask, channels_count;
    uint64_t secret[2];
    uint64_t newest;               /* number of the last message handed over */
    uint64_t run_first, run_count; /* results that are alike, not yet told */
    int run_status;
    bool complained; /* about a message that failed: once, until one goes well again */
};

/* kafka_link.c */
int kafka_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, struct kafka **out);
void kafka_close(struct kafka *kafka); /* any thread, also in a forked child */
void kafka_connect(struct kafka *kafka);
void kafka_disconnect(struct kafka *kafka);
void kafka_woken(struct kafka *kafka);
void kafka_lost(struct kafka *kafka, int status, bool terminal, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool kafka_session_over(const struct kafka_session *session);      /* the worker */
rd_kafka_t *kafka_session_consumer(struct kafka_session *session); /* the worker; NULL: see session->text */

/* kafka_in.c */
void kafka_subscribe(struct kafka *kafka, struct bcast_topic *const *topics, size_t count);
void kafka_unsubscribe(struct kafka *kafka, struct bcast_topic *const *topics, size_t count);
void kafka_in_alarm(struct kafka *kafka);
void kafka_in_begin(struct kafka *kafka);  /* connected */
void kafka_in_end(struct kafka *kafka);    /* disconnected: topics keep their positions */
void kafka_in_forget(struct kafka *kafka); /* closed; nothing of librdkafka is touched */

/* kafka_read.c */
void kafka_resume(struct kafka *kafka, struct bcast_topic *topic);
void kafka_in_ready(struct kafka *kafka); /* reads what has come */

/* kafka_out.c */
size_t kafka_publish(struct kafka *kafka, const struct bcast_outgoing *messages, size_t count);
void kafka_out_delivered(struct kafka *kafka, const rd_kafka_message_t *message);
void kafka_out_tell(struct kafka *kafka); /* the results that were delivered */
void kafka_out_end(struct kafka *kafka);  /* disconnected: its channels go with the session */
void kafka_channels_free(struct kafka_channel **table, size_t mask,
                         bool topics); /* the worker. topics: also librdkafka's */

#endif
