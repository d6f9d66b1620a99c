#include "base/param.h"
#include "net/redis_stream.h"

#include <stdio.h>

/* Redis Streams: a channel is a stream, a message an entry of it: the data in the field "message", the key in "key", each
 * header in a field of its own name. XADD goes over one connection, and what is asked of the past; reading over the other. */

/* ------------------------------------------------------------------------------------------------------- topics -- */

static struct stream_topic *topic_new(struct streams *self, struct bcast_topic *topic)
{
    struct stream_topic *stream = memory_get(sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->topic = topic;
    stream->name = (struct name){.text = topic->name, .size = topic->size};
    if (!names_add(&self->names, &stream->name)) {
        memory_put(stream);
        return NULL;
    }
    stream->next = self->all;
    if (self->all != NULL)
        self->all->previous = stream;
    self->all = stream;
    topic->state = stream;
    return stream;
}

static void topic_drop(struct streams *self, struct stream_topic *stream)
{
    names_remove(&self->names, &stream->name);
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        self->all = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    if (self->to == stream)
        self->to = NULL;
    if (self->checked == stream)
        self->checked = NULL;
    stream->topic->state = NULL;
    stream->topic = NULL;
    redis_stream_free_if_done(stream);
}

static void streams_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct streams *self = context;
    for (size_t i = 0; i < count; i++) {
        struct stream_topic *stream = topics[i]->state;
        if (stream == NULL && (stream = topic_new(self, topics[i])) == NULL) {
            self->sink->subscribed(self->sink, topics[i], BCAST_ERR_NOMEM, "out of memory");
            continue;
        }
        const struct redis_word words[] = {{"XINFO", 5}, {"STREAM", 6}, {topics[i]->name, topics[i]->size}};
        stream->unanswered +=
            redis_send(self->redis, REDIS_COMMANDS, &(struct redis_ask){STREAM_ASK_INFO, 1, stream}, words, 3);
    }
    redis_flush(self->redis, REDIS_COMMANDS);
}

static void streams_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (topics[i]->state != NULL)
            topic_drop(context, topics[i]->state); /* the waiting XREAD may still bring something of it, to nobody */
}

/* ------------------------------------------------------------------------------------------------------ answers -- */

static void take_info_refusal(struct streams *self, struct stream_topic *stream, const struct redis_element *element)
{
    struct bcast_topic *topic = stream->topic;
    if (topic == NULL || redis_info_is_none(element))
        return;
    topic_drop(self, stream);
    redis_tell_refusal(self->redis, topic, element);
}

static void take_element(void *context, enum redis_side side, const struct redis_ask *ask,
                         const struct redis_element *element)
{
    struct streams *self = context;
    (void)side;
    if (redis_out_element(&self->out, ask, element) || redis_fetch_element(&self->fetches, ask, element))
        return;
    switch (ask->kind) {
    case STREAM_ASK_ID:
        self->client_id = element->type == REDIS_NUMBER && element->number > 0 ? element->number : -1;
        break;
    case STREAM_ASK_INFO:
        redis_info_take(&self->info, element, 0);
        if (element->depth == 0 && element->type == REDIS_ERROR)
            take_info_refusal(self, ask->what, element);
        break;
    case STREAM_ASK_UNBLOCK: redis_stream_take_kick(self, element); break;
    case STREAM_ASK_WAIT: redis_stream_take_wait(self, element); break;
    case STREAM_ASK_EXEC: redis_stream_take_exec(self, element); break;
    default: break;
    }
}

/* XINFO, asked when it was subscribed. */
static void begin_topic(struct streams *self, struct stream_topic *stream)
{
    if (stream->topic == NULL)
        return;
    if (!stream->known) {
        stream->at = self->info.last;
        stream->index = self->info.added;
        stream->counted = self->info.counts || !self->info.exists;
    } else {
        stream->busy = true; /* the transaction that reads on will say what is missing */
    }
    stream->known = stream->on = true;
    self->sink->subscribed(self->sink, stream->topic, BCAST_OK, NULL);
}

static void take_answer(void *context, enum redis_side side, const struct redis_ask *ask)
{
    struct streams *self = context;
    struct stream_topic *stream = ask->what;
    (void)side;
    if (redis_fetch_answered(&self->fetches, ask))
        return;
    if (ask->kind == STREAM_ASK_INFO) {
        begin_topic(self, stream);
        redis_stream_answered(stream);
        self->changed = true;
    } else if (ask->kind == STREAM_ASK_EXEC || ask->kind == STREAM_ASK_WAIT || ask->kind == STREAM_ASK_ID) {
        redis_stream_end(self, ask->kind == STREAM_ASK_EXEC);
        redis_stream_read_on(self);
    }
}

static void take_dropped(void *context, enum redis_side side, const struct redis_ask *ask)
{
    (void)context, (void)side;
    if (ask->kind == STREAM_ASK_INFO) /* fetches are forgotten with the connection */
        redis_stream_answered(ask->what);
}

static void take_pause(void *context, enum redis_side side)
{
    struct streams *self = context;
    if (side == REDIS_COMMANDS)
        results_tell(&self->out.results);
    if (self->changed)
        redis_stream_kick(self);
    self->changed = false;
}

static void take_connection(void *context)
{
    struct streams *self = context;
    const struct redis_word words[] = {{"CLIENT", 6}, {"ID", 2}};
    results_connected(&self->out.results);
    self->client_id = 0;
    (void)redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){STREAM_ASK_ID, 1, NULL}, words, 2);
    redis_flush(self->redis, REDIS_EVENTS);
    self->sink->connected(self->sink);
}

/* --------------------------------------------------------------------------------------------------- publishing -- */

static bool send_message(struct redis_out *out, const struct bcast_outgoing *message)
{
    static const struct redis_ask ask = {REDIS_PUBLISH, 1, NULL};
    struct streams *self = (struct streams *)(void *)((unsigned char *)out - offsetof(struct streams, out));
    char most[24];
    size_t count = 0;
    if (!redis_stream_want_words(self, message->header_count + 4)) {
        redis_lost(out->redis, BCAST_ERR_NOMEM, false, "out of memory");
        return false;
    }
    redis_stream_put_word(self, &count, "XADD", 4);
    redis_stream_put_word(self, &count, message->channel, message->channel_size);
    if (self->maxlen != 0) {
        redis_stream_put_word(self, &count, "MAXLEN", 6);
        redis_stream_put_word(self, &count, "~", 1);
        redis_stream_put_word(self, &count, most,
                              (size_t)snprintf(most, sizeof most, "%llu", (unsigned long long)self->maxlen));
    }
    redis_stream_put_word(self, &count, "*", 1);
    redis_stream_put_word(self, &count, "message", 7);
    redis_stream_put_word(self, &count, message->data, message->size);
    if (message->key != NULL) {
        redis_stream_put_word(self, &count, "key", 3);
        redis_stream_put_word(self, &count, message->key, message->key_size);
    }
    for (size_t i = 0; i < message->header_count; i++) {
        redis_stream_put_word(self, &count, message->headers[i].name, strlen(message->headers[i].name));
        redis_stream_put_word(self, &count, message->headers[i].value, message->headers[i].value_size);
    }
    return redis_send(out->redis, REDIS_COMMANDS, &ask, self->words, count);
}

static size_t streams_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    return redis_out_publish(&((struct streams *)context)->out, messages, count);
}

static int streams_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    for (size_t i = 0; i < message->header_count; i++)
        if (strcmp(message->headers[i].name, "message") == 0 || strcmp(message->headers[i].name, "key") == 0) {
            snprintf(error, error_size, "a header cannot be called \"%s\": that is the field of the message's own",
                     message->headers[i].name);
            return BCAST_ERR_UNSUPPORTED;
        }
    return redis_out_check(&((struct streams *)context)->out, message, error, error_size);
}

/* ---------------------------------------------------------------------------------------------------- the calls -- */

static const struct redis_calls calls = {
    .connected = take_connection,
    .element = take_element,
    .answered = take_answer,
    .dropped = take_dropped,
    .drained = take_pause,
};

static void forget_reading(struct streams *self)
{
    redis_stream_forget_batch(self);
    self->reading = READING_NOT;
    self->kicked = self->changed = false;
    self->to = self->judged = NULL;
    redis_entry_forget(&self->entry);
    for (struct stream_topic *stream = self->all; stream != NULL; stream = stream->next)
        stream->on = stream->paused = false;
}

static void streams_disconnect(void *context)
{
    redis_disconnect(context);
    forget_reading(context);
    redis_fetch_forget(&((struct streams *)context)->fetches);
}

static void streams_fetch(void *context, const struct bcast_fetch *fetch)
{
    redis_fetch_begin(&((struct streams *)context)->fetches, fetch);
}

static size_t streams_position(void *context, const struct bcast_topic *topic, char *buffer, size_t size)
{
    char text[REDIS_ID_BYTES];
    const struct stream_topic *stream = topic->state;
    const struct redis_id none = {0, 0};
    (void)context;
    redis_id_write(text, stream != NULL ? stream->at : none);
    return (size_t)snprintf(buffer, size, "%s", text);
}

static int streams_order(const char *a, const char *b)
{
    struct redis_id first = {0, 0}, second = {0, 0};
    (void)redis_id_read(a, strlen(a), &first);
    (void)redis_id_read(b, strlen(b), &second);
    return redis_id_compare(first, second);
}

static void streams_resume(void *context, struct bcast_topic *topic)
{
    struct stream_topic *stream = topic->state;
    if (stream == NULL)
        return;
    stream->paused = false;
    redis_stream_kick(context);
}

static void streams_close(void *context)
{
    struct streams *self = context;
    redis_close(self->redis);
    forget_reading(self);
    redis_fetch_forget(&self->fetches);
    while (self->all != NULL)
        topic_drop(self, self->all);
    names_fini(&self->names);
    memory_put(self->words);
    memory_put(self->ids);
    memory_put(self);
}

static int streams_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    struct streams *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    self->ask_for = STREAM_MANY;
    names_init(&self->names);
    int status = redis_open(setup, sink, &calls, self, false, &self->redis);
    if (status == BCAST_OK)
        status = param_number(setup, "maxlen", 1, INT64_MAX, &self->maxlen);
    if (status != BCAST_OK) {
        redis_close(self->redis);
        memory_put(self);
        return status;
    }
    /* A connection that waits answers nothing else: it has to come back before it is taken for dead. */
    self->wait_ms = redis_ping_ms(self->redis) / 2;
    self->out = (struct redis_out){self->redis, {.sink = sink}, send_message};
    self->fetches.redis = self->redis;
    self->fetches.sink = sink;
    *out = self;
    return BCAST_OK;
}

static void streams_capabilities(void *context, struct bcast_capabilities *out)
{
    (void)context;
    out->can = BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES | BCAST_CAN_IDS | BCAST_CAN_TIMESTAMPS |
               BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_RESUME | BCAST_CAN_HISTORY | BCAST_CAN_BLOCK;
    out->max_message_bytes = 512u << 20;
}

static const char *const schemes[] = {"redis-stream", "rediss-stream", "redis-stream+unix", NULL};
static const char *const params[] = {REDIS_PARAMS, "maxlen", NULL};

BCAST_API extern const struct bcast_backend bcast_backend_redis_stream; /* a module is found by this name */
const struct bcast_backend bcast_backend_redis_stream = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "redis-stream",
    .schemes = schemes,
    .params = params,
    .open = streams_open,
    .close = streams_close,
    .capabilities = streams_capabilities,
    .check = streams_check,
    .connect = redis_connect,
    .disconnect = streams_disconnect,
    .ready = redis_ready,
    .alarm = redis_alarm,
    .woken = redis_woken,
    .publish = streams_publish,
    .subscribe = streams_subscribe,
    .unsubscribe = streams_unsubscribe,
    .resume = streams_resume,
    .fetch = streams_fetch,
    .position = streams_position,
    .order = streams_order,
};
