/* A stand-in for a broker that other processes reach, for tests of programs: says back what it is told.
 * To whoever subscribes to "greeting" it says three things; to "endless", one after another; to "lossy", that something
 * was lost between two. It refuses messages that begin with "bad", and never answers those that begin with "mute". */
#include "parrot.h"

#include <stdlib.h>
#include <string.h>

#define MOST_TOPICS 16

struct parrot {
    struct bcast_sink *sink;
    struct bcast_topic *topics[MOST_TOPICS];
    size_t count;
};

static int parrot_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct parrot *parrot = calloc(1, sizeof *parrot);
    (void)setup;
    if (parrot == NULL)
        return BCAST_ERR_NOMEM;
    parrot->sink = sink;
    *self = parrot;
    return BCAST_OK;
}

static void parrot_close(void *self)
{
    free(self);
}

static void parrot_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_IDS |
               BCAST_CAN_TIMESTAMPS | BCAST_CAN_PROCESSES;
    out->max_channel_bytes = 100;
}

static void parrot_connect(void *self)
{
    struct parrot *parrot = self;
    parrot->sink->connected(parrot->sink);
}

static void parrot_disconnect(void *self)
{
    struct parrot *parrot = self;
    parrot->count = 0;
}

static void say(struct parrot *parrot, struct bcast_topic *topic, const char *text)
{
    struct bcast_incoming message = {.data = text, .size = strlen(text), .id = "7-1", .timestamp_us = 1700000000000001};
    parrot->sink->message(parrot->sink, topic, &message);
}

static bool is(const struct bcast_topic *topic, const char *name)
{
    return strcmp(topic->name, name) == 0;
}

/* Has been confirmed a moment ago. */
static void greet(struct parrot *parrot, struct bcast_topic *topic)
{
    if (is(topic, "endless")) {
        say(parrot, topic, "again");
        parrot->sink->alarm(parrot->sink, 0);
    }
    if (topic->state != NULL)
        return;
    topic->state = parrot;
    if (is(topic, "greeting") || is(topic, "lossy"))
        say(parrot, topic, "one");
    if (is(topic, "greeting"))
        say(parrot, topic, "two");
    if (is(topic, "lossy"))
        parrot->sink->gap(parrot->sink, topic, BCAST_GAP_BROKER, 2, BCAST_AT_LEAST);
    if (is(topic, "greeting") || is(topic, "lossy"))
        say(parrot, topic, "three");
}

static void parrot_alarm(void *self)
{
    struct parrot *parrot = self;
    for (size_t i = 0; i < parrot->count; i++)
        greet(parrot, parrot->topics[i]);
}

static bool begins(const struct bcast_outgoing *message, const char *text)
{
    return message->size >= strlen(text) && memcmp(message->data, text, strlen(text)) == 0;
}

static void echo(struct parrot *parrot, const struct bcast_outgoing *m)
{
    struct bcast_incoming back = {m->data, m->size, m->key, m->key_size, m->headers, m->header_count, NULL, 0};
    for (size_t t = 0; t < parrot->count; t++)
        if (parrot->topics[t]->size == m->channel_size &&
            memcmp(parrot->topics[t]->name, m->channel, m->channel_size) == 0)
            parrot->sink->message(parrot->sink, parrot->topics[t], &back);
}

static size_t parrot_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct parrot *parrot = self;
    for (size_t i = 0; i < count; i++) {
        bool bad = begins(&messages[i], "bad"), mute = begins(&messages[i], "mute");
        if (!bad)
            echo(parrot, &messages[i]);
        if (!mute)
            parrot->sink->result(parrot->sink, messages[i].number, 1, bad ? BCAST_ERR_REFUSED : BCAST_OK);
    }
    return count;
}

static void parrot_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct parrot *parrot = self;
    for (size_t i = 0; i < count; i++) {
        if (parrot->count == MOST_TOPICS) {
            parrot->sink->subscribed(parrot->sink, topics[i], BCAST_ERR_REFUSED, "too many channels for a parrot");
            continue;
        }
        parrot->topics[parrot->count++] = topics[i];
        parrot->sink->subscribed(parrot->sink, topics[i], BCAST_OK, "");
    }
    parrot->sink->alarm(parrot->sink, 1);
}

static void parrot_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct parrot *parrot = self;
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < parrot->count; t++)
            if (parrot->topics[t] == topics[i])
                parrot->topics[t--] = parrot->topics[--parrot->count];
}

static const char *const schemes[] = {"parrot", "ara", NULL};

const struct bcast_backend bcast_backend_parrot = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "parrot",
    .schemes = schemes,
    .open = parrot_open,
    .close = parrot_close,
    .capabilities = parrot_capabilities,
    .connect = parrot_connect,
    .disconnect = parrot_disconnect,
    .alarm = parrot_alarm,
    .publish = parrot_publish,
    .subscribe = parrot_subscribe,
    .unsubscribe = parrot_unsubscribe,
};
