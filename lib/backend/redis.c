#include "net/names.h"
#include "net/redis_out.h"

/* Redis PUB/SUB: PUBLISH over one connection, SUBSCRIBE over the other. Nothing is added to what the user gives: the
 * bytes are the message, the channel is the channel, so that whatever else speaks to that server is understood. */

enum { ASK_SUBSCRIBE = REDIS_OTHERS, ASK_UNSUBSCRIBE };

struct entry {                 /* what the server was asked about one topic */
    struct name name;          /* first; in the table as long as there is a topic */
    struct bcast_topic *topic; /* NULL: nobody wants it any more; it stays until the last answer */
    unsigned unanswered;
    bool confirmed;
};

struct pubsub {
    struct redis *redis; /* first: see redis.h */
    struct bcast_sink *sink;
    struct redis_out out;
    struct names names;
    struct entry *to; /* what is pushed belongs to it; NULL: to nobody */
};

/* --------------------------------------------------------------------------------------------------------- topics -- */

static struct entry *entry_add(struct pubsub *self, struct bcast_topic *topic)
{
    struct entry *entry = memory_get(sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->topic = topic;
    entry->name = (struct name){.text = topic->name, .size = topic->size};
    if (!names_add(&self->names, &entry->name)) {
        memory_put(entry);
        return NULL;
    }
    topic->state = entry;
    return entry;
}

/* Nothing that is pushed finds it any more. */
static void entry_drop(struct pubsub *self, struct entry *entry)
{
    names_remove(&self->names, &entry->name);
    entry->topic->state = NULL;
    entry->topic = NULL;
    if (self->to == entry)
        self->to = NULL;
}

static void ask_about(struct pubsub *self, struct entry *entry, unsigned kind, const char *command,
                      const struct bcast_topic *topic)
{
    const struct redis_word words[] = {{command, strlen(command)}, {topic->name, topic->size}};
    entry->unanswered += redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){kind, 1, entry}, words, 2);
}

static void pubsub_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pubsub *self = context;
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = entry_add(self, topics[i]);
        if (entry == NULL)
            self->sink->subscribed(self->sink, topics[i], BCAST_ERR_NOMEM, "out of memory");
        else
            ask_about(self, entry, ASK_SUBSCRIBE, "SUBSCRIBE", topics[i]);
    }
    redis_flush(self->redis, REDIS_EVENTS);
}

static void pubsub_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pubsub *self = context;
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = topics[i]->state;
        if (entry == NULL)
            continue; /* refused */
        entry_drop(self, entry);
        ask_about(self, entry, ASK_UNSUBSCRIBE, "UNSUBSCRIBE", topics[i]);
        if (entry->unanswered == 0) /* it could not even be asked: nobody else knows of it */
            memory_put(entry);
    }
    redis_flush(self->redis, REDIS_EVENTS);
}

/* The connection is gone, its answers have been told by take_dropped: topics are subscribed anew. */
static void forget_all(struct pubsub *self)
{
    struct name *name;
    while ((name = names_any(&self->names)) != NULL) {
        struct entry *entry = (struct entry *)(void *)name;
        entry_drop(self, entry);
        memory_put(entry);
    }
}

/* ------------------------------------------------------------------------------------------------------ publishing -- */

static bool send_message(struct redis_out *out, const struct bcast_outgoing *message)
{
    static const struct redis_ask ask = {REDIS_PUBLISH, 1, NULL};
    const struct redis_word words[] = {
        {"PUBLISH", 7}, {message->channel, message->channel_size}, {message->data, message->size}};
    return redis_send(out->redis, REDIS_COMMANDS, &ask, words, 3);
}

static size_t pubsub_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    return redis_out_publish(&((struct pubsub *)context)->out, messages, count);
}

static int pubsub_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    return redis_out_check(&((struct pubsub *)context)->out, message, error, error_size);
}

/* ------------------------------------------------------------------------------------------------------ what comes -- */

static void take_message(struct pubsub *self, const struct redis_element *element)
{
    if (element->depth != 1 || element->type != REDIS_TEXT)
        return;
    if (element->index == 1) {
        self->to = (struct entry *)(void *)names_find(&self->names, element->text, element->size);
    } else if (element->index == 2 && self->to != NULL && self->to->confirmed) {
        const struct bcast_incoming message = {.data = element->text, .size = element->size};
        self->sink->message(self->sink, self->to->topic, &message);
    }
}

static void take_refusal(struct pubsub *self, struct entry *entry, const struct redis_element *element)
{
    struct bcast_topic *topic = entry->topic;
    if (topic == NULL)
        return;
    entry_drop(self, entry);
    redis_tell_refusal(self->redis, topic, element);
}

static void take_element(void *context, enum redis_side side, const struct redis_ask *ask,
                         const struct redis_element *element)
{
    struct pubsub *self = context;
    (void)side;
    if (ask == NULL)
        take_message(self, element);
    else if (!redis_out_element(&self->out, ask, element) && ask->kind == ASK_SUBSCRIBE && element->depth == 0 &&
             element->type == REDIS_ERROR)
        take_refusal(self, ask->what, element);
}

/* One answer about it came, or will never come. True: it is gone. */
static bool entry_answered(struct entry *entry)
{
    if (--entry->unanswered != 0 || entry->topic != NULL)
        return false;
    memory_put(entry);
    return true;
}

static void take_answer(void *context, enum redis_side side, const struct redis_ask *ask)
{
    struct pubsub *self = context;
    struct entry *entry = ask->what;
    (void)side;
    if (entry == NULL || entry_answered(entry) || entry->topic == NULL || ask->kind != ASK_SUBSCRIBE)
        return;
    entry->confirmed = true;
    self->sink->subscribed(self->sink, entry->topic, BCAST_OK, NULL);
}

static void take_dropped(void *context, enum redis_side side, const struct redis_ask *ask)
{
    (void)context, (void)side;
    if (ask->what != NULL)
        (void)entry_answered(ask->what);
}

static void take_pause(void *context, enum redis_side side)
{
    if (side == REDIS_COMMANDS)
        results_tell(&((struct pubsub *)context)->out.results);
}

static void take_connection(void *context)
{
    struct pubsub *self = context;
    results_connected(&self->out.results);
    self->sink->connected(self->sink);
}

/* ------------------------------------------------------------------------------------------------------- the calls -- */

static const struct redis_calls calls = {
    .connected = take_connection,
    .element = take_element,
    .answered = take_answer,
    .dropped = take_dropped,
    .drained = take_pause,
};

static void pubsub_disconnect(void *context)
{
    redis_disconnect(context);
    forget_all(context);
}

static void pubsub_close(void *context)
{
    struct pubsub *self = context;
    redis_close(self->redis);
    forget_all(self);
    names_fini(&self->names);
    memory_put(self);
}

static int pubsub_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    struct pubsub *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    names_init(&self->names);
    int status = redis_open(setup, sink, &calls, self, true, &self->redis);
    if (status != BCAST_OK) {
        memory_put(self);
        return status;
    }
    self->out = (struct redis_out){self->redis, {.sink = sink}, send_message};
    *out = self;
    return BCAST_OK;
}

static void pubsub_capabilities(void *context, struct bcast_capabilities *out)
{
    (void)context;
    out->can = BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES;
    out->max_message_bytes = 512u << 20;
}

static const char *const schemes[] = {"redis", "rediss", "redis+unix", NULL};
static const char *const params[] = {REDIS_PARAMS, NULL};

BCAST_API extern const struct bcast_backend bcast_backend_redis; /* a module is found by this name */
const struct bcast_backend bcast_backend_redis = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "redis",
    .schemes = schemes,
    .params = params,
    .open = pubsub_open,
    .close = pubsub_close,
    .capabilities = pubsub_capabilities,
    .check = pubsub_check,
    .connect = redis_connect,
    .disconnect = pubsub_disconnect,
    .ready = redis_ready,
    .alarm = redis_alarm,
    .woken = redis_woken,
    .publish = pubsub_publish,
    .subscribe = pubsub_subscribe,
    .unsubscribe = pubsub_unsubscribe,
};
