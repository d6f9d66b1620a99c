#include "net/postgres_batch.h"
#include "net/postgres_listen.h"
#include "net/postgres_pair.h"
#include "net/text.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>

/* PostgreSQL's LISTEN and NOTIFY: one connection listens, the other publishes. Nothing is added to what the user gives:
 * the payload is the message, the channel is the channel, so that whatever else speaks to that database is understood. */

#define MOST_BYTES 7999
#define MOST_BINARY 5999 /* as base64 */

struct pg {
    struct bcast_sink *sink;
    struct postgres_url url;
    struct postgres_pair pair;
    atomic_int
        inside; /* the I/O thread is in a call, in libpq perhaps: a child that is forked then finds it in pieces */
    struct postgres_listen listen;
    struct postgres_batch batch;
    uint64_t first;    /* number of the batch's first message */
    size_t done, sent; /* so many of the batch have their results; so many more are on their way together */
    size_t together;   /* how many may share a transaction, after one was refused; 0: all */
    bool complained;   /* about a message that was refused: once, until one goes well again */
    unsigned char bytes[8192];
};

/* ------------------------------------------------------------------------------------------------------- publishing -- */

static void send_batch(struct pg *self)
{
    struct postgres_link *link = pair_idle(&self->pair, POSTGRES_PUBLISHER);
    size_t count = self->batch.count - self->done;
    if (count == 0 || link == NULL)
        return;
    if (self->together != 0 && count > self->together)
        count = self->together;
    self->sent = count;
    pair_asks(&self->pair, POSTGRES_PUBLISHER);
    (void)postgres_asked(link, postgres_batch_send(&self->batch, link->conn, self->done, count));
}

static int status_of(const char *code)
{
    if (strncmp(code, "42501", 5) == 0 || strncmp(code, "22", 2) == 0)
        return BCAST_ERR_REFUSED; /* no permission; no character of the database's encoding */
    return BCAST_ERR_PUBLISH;
}

static void complain(struct pg *self, const struct postgres_answer *answer)
{
    char text[256];
    if (self->complained)
        return;
    snprintf(text, sizeof text, "a message was refused: %s", answer->text);
    self->sink->log(self->sink, BCAST_LOG_WARNING, text);
    self->complained = true;
}

/* Nothing of a transaction that was refused has been sent: smaller ones, in the same order, until the bad one is alone. */
static void batch_answered(struct pg *self, const struct postgres_answer *answer)
{
    bool good = answer->code[0] == '\0';
    size_t count = self->sent;
    uint64_t first = self->first + self->done;
    if (!good && count > 1) {
        self->together = count / 2;
    } else {
        self->together = good ? 2 * self->together : self->together;
        self->done += count;
        if (self->done == self->batch.count) {
            postgres_batch_clear(&self->batch);
            self->done = self->together = 0;
        }
        if (good)
            self->complained = false;
        else
            complain(self, answer);
        self->sink->result(self->sink, first, count, good ? BCAST_OK : status_of(answer->code));
    }
    send_batch(self);
}

static size_t take_batch(struct pg *self, const struct bcast_outgoing *messages, size_t count)
{
    size_t taken = 0;
    if (self->batch.count != 0 || pair_idle(&self->pair, POSTGRES_PUBLISHER) == NULL)
        return 0;
    self->first = messages[0].number;
    for (enum postgres_added added; taken < count; taken++)
        if ((added = postgres_batch_add(&self->batch, &messages[taken], self->url.base64)) != POSTGRES_ADDED) {
            if (added == POSTGRES_NOMEM && taken == 0)
                pair_lose(&self->pair, BCAST_ERR_NOMEM, false, "out of memory");
            break;
        }
    send_batch(self);
    return taken;
}

/* ------------------------------------------------------------------------------------------------------ what arrives -- */

static void deliver(struct pg *self, struct bcast_topic *topic, const char *text)
{
    struct bcast_incoming message = {.data = text, .size = strlen(text)};
    if (self->url.base64) {
        size_t size = 0;
        if (message.size >= sizeof self->bytes || !text_from_base64(text, message.size, self->bytes, &size)) {
            self->sink->gap(self->sink, topic, BCAST_GAP_BROKER, 1, BCAST_EXACT);
            self->sink->log(self->sink, BCAST_LOG_WARNING, "a message arrived that is not base64: see encoding=base64");
            return;
        }
        message.data = self->bytes;
        message.size = size;
    }
    (void)self->sink->message(self->sink, topic, &message);
}

static void take_notification(void *context, const PGnotify *notify)
{
    struct pg *self = context;
    struct bcast_topic *topic = listen_find(&self->listen, notify->relname);
    if (topic != NULL)
        deliver(self, topic, notify->extra);
}

static void tell(struct pg *self)
{
    struct postgres_link *link = pair_idle(&self->pair, POSTGRES_LISTENER);
    if (link != NULL && listen_tell(&self->listen, link))
        pair_asks(&self->pair, POSTGRES_LISTENER);
}

static void take_answer(void *context, enum postgres_side side, const struct postgres_answer *answer)
{
    struct pg *self = context;
    if (side == POSTGRES_LISTENER)
        listen_answered(&self->listen, answer);
    else
        batch_answered(self, answer);
}

static void take_connection(void *context)
{
    struct pg *self = context;
    self->sink->connected(self->sink);
}

static const struct postgres_calls calls = {
    .name = POSTGRES_BATCH_NAME,
    .sql = POSTGRES_BATCH_SQL,
    .connected = take_connection,
    .notified = take_notification,
    .answered = take_answer,
};

/* --------------------------------------------------------------------------------------------------------- the calls -- */

/* Every call of the I/O thread's is between these two. A forked child reads its own copy of what this thread wrote. */
static struct pg *enter(void *context)
{
    struct pg *self = context;
    atomic_store_explicit(&self->inside, 1, memory_order_relaxed);
    return self;
}

static void leave(struct pg *self)
{
    tell(self);
    pair_settle(&self->pair);
    atomic_store_explicit(&self->inside, 0, memory_order_relaxed);
}

static void postgres_close_self(void *context)
{
    struct pg *self = context;
    bool whole = atomic_load_explicit(&self->inside, memory_order_relaxed) == 0;
    pair_close(&self->pair, whole);
    if (whole) {
        listen_free(&self->listen);
        postgres_batch_free(&self->batch);
    }
    postgres_url_close(&self->url);
    memory_put(self);
}

static int postgres_open_self(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL); /* before libpq does: the host program's end is not ours to tidy */
    struct pg *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    listen_init(&self->listen, sink);
    postgres_batch_init(&self->batch);
    int status = postgres_url_open(setup, &self->url);
    if (status == BCAST_OK && !pair_open(&self->pair, &self->url, sink, &calls, self))
        status = BCAST_ERR_NOMEM;
    if (status == BCAST_OK)
        *out = self;
    else
        postgres_close_self(self);
    return status;
}

static void postgres_capabilities(void *context, struct bcast_capabilities *out)
{
    const struct pg *self = context;
    bool binary = self == NULL || self->url.base64;
    out->can = BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES | (binary ? BCAST_CAN_BINARY : 0);
    out->max_message_bytes = self != NULL && binary ? MOST_BINARY : MOST_BYTES;
    out->max_channel_bytes = POSTGRES_NAME_MOST;
}

static int postgres_check_text(const struct pg *self, const char *what, const void *text, size_t size, char *error,
                               size_t error_size)
{
    if (size != 0 && memchr(text, '\0', size) != NULL) {
        snprintf(error, error_size,
                 "%s with a NUL byte cannot be carried; encoding=base64 in the URL carries any message", what);
        return BCAST_ERR_UNSUPPORTED;
    }
    if (self->url.utf8 && !text_is_utf8(text, size)) {
        snprintf(error, error_size, "%s must be valid UTF-8; encoding=base64 in the URL carries any message", what);
        return BCAST_ERR_UNSUPPORTED;
    }
    return BCAST_OK;
}

static int postgres_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    const struct pg *self = context;
    size_t most = self->url.base64 ? MOST_BINARY : MOST_BYTES;
    if (message->channel_size == 0 || message->channel_size > POSTGRES_NAME_MOST) {
        snprintf(error, error_size, "a channel's name has 1 to %d bytes, not %zu", POSTGRES_NAME_MOST,
                 message->channel_size);
        return message->channel_size == 0 ? BCAST_ERR_INVALID : BCAST_ERR_TOO_LARGE;
    }
    if (message->size > most) {
        snprintf(error, error_size, "a message has at most %zu bytes%s, not %zu", most,
                 self->url.base64 ? " with encoding=base64" : "", message->size);
        return BCAST_ERR_TOO_LARGE;
    }
    int status =
        postgres_check_text(self, "a channel's name", message->channel, message->channel_size, error, error_size);
    if (status == BCAST_OK && !self->url.base64)
        status = postgres_check_text(self, "a message", message->data, message->size, error, error_size);
    return status;
}

static void postgres_connect_self(void *context)
{
    struct pg *self = enter(context);
    pair_connect(&self->pair);
    leave(self);
}

static void postgres_disconnect_self(void *context)
{
    struct pg *self = enter(context);
    pair_disconnect(&self->pair);
    listen_forget(&self->listen);
    postgres_batch_clear(&self->batch);
    self->done = self->together = 0;
    leave(self);
}

static void postgres_ready_self(void *context, int fd, int events)
{
    struct pg *self = enter(context);
    (void)events;
    pair_ready(&self->pair, fd);
    leave(self);
}

static void postgres_alarm_self(void *context)
{
    struct pg *self = enter(context);
    pair_alarm(&self->pair);
    leave(self);
}

static void postgres_woken_self(void *context)
{
    struct pg *self = enter(context);
    pair_woken(&self->pair);
    leave(self);
}

static size_t postgres_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    struct pg *self = enter(context);
    size_t taken = take_batch(self, messages, count);
    leave(self);
    return taken;
}

static void postgres_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pg *self = enter(context);
    for (size_t i = 0; i < count; i++)
        listen_add(&self->listen, topics[i]);
    leave(self);
}

static void postgres_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pg *self = enter(context);
    for (size_t i = 0; i < count; i++)
        listen_drop(&self->listen, topics[i]);
    leave(self);
}

static const char *const schemes[] = {"postgres", "postgresql", NULL};
static const char *const params[] = {"*", NULL}; /* libpq's: see net/postgres_url.c */

BCAST_API extern const struct bcast_backend bcast_backend_postgres; /* a module is found by this name */
const struct bcast_backend bcast_backend_postgres = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "postgres",
    .schemes = schemes,
    .params = params,
    .open = postgres_open_self,
    .close = postgres_close_self,
    .capabilities = postgres_capabilities,
    .check = postgres_check,
    .connect = postgres_connect_self,
    .disconnect = postgres_disconnect_self,
    .ready = postgres_ready_self,
    .alarm = postgres_alarm_self,
    .woken = postgres_woken_self,
    .publish = postgres_publish,
    .subscribe = postgres_subscribe,
    .unsubscribe = postgres_unsubscribe,
};
