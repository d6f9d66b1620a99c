#include "base/memory.h"
#include "net/names.h"
#include "net/redis.h"

#include <stdio.h>

/* Redis PUB/SUB: PUBLISH over one connection, SUBSCRIBE over the other. Nothing is added to what the user gives: the
 * bytes are the message, the channel is the channel, so that whatever else speaks to that server is understood. */

#define UNSENT_MOST (1u << 20) /* bytes on their way out, before publish takes no more */

enum { ASK_PUBLISH = REDIS_ASK, ASK_TOO_LARGE, ASK_SUBSCRIBE, ASK_UNSUBSCRIBE };

struct entry {                 /* what the server was asked about one topic */
    struct name name;          /* while there is a topic */
    struct bcast_topic *topic; /* NULL: nobody wants it any more; it stays until the last answer */
    unsigned unanswered;
    bool confirmed;
};

struct pubsub {
    struct redis *redis;
    struct bcast_sink *sink;
    struct names names;   /* the entries with a topic */
    struct entry *to;     /* what is pushed belongs to it; NULL: to nobody */
    uint64_t first, good; /* number of the first message without a result; so many from there on went well */
    bool fresh;           /* nothing was sent over this connection yet: `first` is to come */
    bool complained;      /* about a message the server refused: once, until one goes well again */
};

/* --------------------------------------------------------------------------------------------------------- topics -- */

static struct entry *entry_add(struct pubsub *self, struct bcast_topic *topic)
{
    struct entry *entry = memory_get(sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->name.text = topic->name;
    entry->name.size = topic->size;
    if (!names_add(&self->names, &entry->name)) {
        memory_put(entry);
        return NULL;
    }
    entry->topic = topic;
    topic->state = entry;
    return entry;
}

/* Nothing that is pushed finds it any more. */
static void entry_drop(struct pubsub *self, struct entry *entry)
{
    names_drop(&self->names, &entry->name);
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

static void redis_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
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

static void redis_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
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

/* The connection is gone, its answers have been told by take_dropped: topics are subscribed anew; but for in the end, when
 * they may be gone already. */
static void forget_all(struct pubsub *self, bool topics)
{
    for (struct name *name; (name = names_take(&self->names)) != NULL;) {
        struct entry *entry = (struct entry *)(void *)name;
        if (topics)
            entry->topic->state = NULL;
        memory_put(entry);
    }
    self->to = NULL;
}

/* -------------------------------------------------------------------------------------------------------- results -- */

static void tell_good(struct pubsub *self)
{
    if (self->good == 0)
        return;
    uint64_t first = self->first, count = self->good;
    self->first += count;
    self->good = 0;
    self->complained = false;
    self->sink->result(self->sink, first, count, BCAST_OK);
}

static void tell_bad(struct pubsub *self, const struct redis_element *element)
{
    char text[200];
    tell_good(self);
    if (!self->complained) {
        snprintf(text, sizeof text, "a message was refused: %.*s", (int)(element->size > 150 ? 150 : element->size),
                 element->text);
        self->sink->log(self->sink, BCAST_LOG_WARNING, text);
        self->complained = true;
    }
    self->sink->result(self->sink, self->first++, 1, redis_status_of(element->text, element->size));
}

static void tell_too_large(struct pubsub *self)
{
    tell_good(self);
    self->sink->result(self->sink, self->first++, 1, BCAST_ERR_TOO_LARGE);
}

/* One that was queued before the server had told its limit is not sent, as the server would end the connection; in its
 * place goes something harmless, so that its result comes in its turn. */
static bool send_message(struct pubsub *self, const struct bcast_outgoing *message)
{
    static const struct redis_ask publish = {ASK_PUBLISH, 1, NULL}, too_large = {ASK_TOO_LARGE, 1, NULL};
    const struct redis_word words[] = {
        {"PUBLISH", 7}, {message->channel, message->channel_size}, {message->data, message->size}};
    if (message->size <= redis_most_bytes(self->redis))
        return redis_send(self->redis, REDIS_COMMANDS, &publish, words, 3);
    return redis_send(self->redis, REDIS_COMMANDS, &too_large, &(struct redis_word){"PING", 4}, 1);
}

static bool has_room(struct pubsub *self)
{
    if (redis_unsent(self->redis, REDIS_COMMANDS) > UNSENT_MOST)
        redis_flush(self->redis, REDIS_COMMANDS);
    return redis_unsent(self->redis, REDIS_COMMANDS) <= UNSENT_MOST;
}

static size_t redis_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    struct pubsub *self = context;
    size_t taken = 0;
    if (self->fresh)
        self->first = messages[0].number;
    self->fresh = false;
    while (taken < count && has_room(self) && send_message(self, &messages[taken]))
        taken++;
    redis_flush(self->redis, REDIS_COMMANDS);
    return taken;
}

/* ------------------------------------------------------------------------------------------------------ what comes -- */

static void take_message(struct pubsub *self, const struct redis_element *element)
{
    if (element->depth != 1 || element->type != REDIS_TEXT)
        return;
    if (element->index == 1) {
        if (self->to != NULL && self->to->topic->size == element->size &&
            memcmp(self->to->topic->name, element->text, element->size) == 0)
            return;
        self->to = (struct entry *)(void *)names_find(&self->names, element->text, element->size);
    } else if (element->index == 2 && self->to != NULL && self->to->confirmed) {
        const struct bcast_incoming message = {.data = element->text, .size = element->size};
        self->sink->message(self->sink, self->to->topic, &message);
    }
}

static void take_refusal(struct pubsub *self, struct entry *entry, const struct redis_element *element)
{
    char text[200];
    struct bcast_topic *topic = entry->topic;
    if (topic == NULL)
        return;
    snprintf(text, sizeof text, "%.*s", (int)(element->size > 180 ? 180 : element->size), element->text);
    entry_drop(self, entry);
    self->sink->subscribed(self->sink, topic, BCAST_ERR_REFUSED, text);
}

static void take_element(void *context, enum redis_side side, const struct redis_ask *ask,
                         const struct redis_element *element)
{
    struct pubsub *self = context;
    (void)side;
    if (ask == NULL)
        take_message(self, element);
    else if (ask->kind == ASK_PUBLISH && element->depth == 0 && element->type == REDIS_ERROR)
        tell_bad(self, element);
    else if (ask->kind == ASK_PUBLISH && element->depth == 0)
        self->good++;
    else if (ask->kind == ASK_TOO_LARGE && element->depth == 0)
        tell_too_large(self);
    else if (ask->kind == ASK_SUBSCRIBE && element->depth == 0 && element->type == REDIS_ERROR)
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
        tell_good(context);
}

static void take_connection(void *context)
{
    struct pubsub *self = context;
    self->fresh = true;
    self->good = 0;
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

static void redis_close_self(void *context)
{
    struct pubsub *self = context;
    redis_close(self->redis);
    forget_all(self, false);
    names_free(&self->names);
    memory_put(self);
}

static int redis_open_self(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    struct pubsub *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    names_init(&self->names);
    int status = redis_open(setup, sink, &calls, self, true, &self->redis);
    if (status == BCAST_OK)
        *out = self;
    else
        memory_put(self);
    return status;
}

static void redis_capabilities(void *context, struct bcast_capabilities *out)
{
    (void)context;
    out->can = BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES;
    out->max_message_bytes = 512u << 20;
}

static int redis_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    struct pubsub *self = context;
    size_t most = redis_most_bytes(self->redis);
    if (message->size <= most && message->channel_size <= most)
        return BCAST_OK;
    snprintf(error, error_size, "the server takes at most %zu bytes (proto-max-bulk-len)", most);
    return BCAST_ERR_TOO_LARGE;
}

static void redis_connect_self(void *context)
{
    redis_connect(((struct pubsub *)context)->redis);
}

static void redis_disconnect_self(void *context)
{
    struct pubsub *self = context;
    redis_disconnect(self->redis);
    forget_all(self, true);
}

static void redis_ready_self(void *context, int fd, int events)
{
    redis_ready(((struct pubsub *)context)->redis, fd, events);
}

static void redis_alarm_self(void *context)
{
    redis_alarm(((struct pubsub *)context)->redis);
}

static void redis_woken_self(void *context)
{
    redis_woken(((struct pubsub *)context)->redis);
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
    .open = redis_open_self,
    .close = redis_close_self,
    .capabilities = redis_capabilities,
    .check = redis_check,
    .connect = redis_connect_self,
    .disconnect = redis_disconnect_self,
    .ready = redis_ready_self,
    .alarm = redis_alarm_self,
    .woken = redis_woken_self,
    .publish = redis_publish,
    .subscribe = redis_subscribe,
    .unsubscribe = redis_unsubscribe,
};
