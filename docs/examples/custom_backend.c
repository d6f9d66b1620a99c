/* A backend of your own, with nothing but the public headers. "loop://" sends every message straight back: what a real
 * one would write to a socket in `publish` and read in `ready`, this one hands over at once.
 *     custom_backend
 */
#include <broadcaster/backend.h>
#include <broadcaster/broadcaster.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loop {
    struct bcast_sink *sink; /* how we talk to the library */
    struct bcast_topic **topics;
    size_t count, room;
};

static int loop_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct loop *loop = calloc(1, sizeof *loop);
    (void)setup; /* a real backend finds host, port and password in setup->url */
    if (loop == NULL)
        return BCAST_ERR_NOMEM;
    loop->sink = sink;
    *self = loop;
    return BCAST_OK;
}

static void loop_close(void *self)
{
    struct loop *loop = self;
    free(loop->topics);
    free(loop);
}

static void loop_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self; /* NULL where nothing is open: this one can always do the same */
    out->can = BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM;
    out->max_channel_bytes = 255;
}

static void loop_connect(void *self)
{
    struct loop *loop = self;
    loop->sink->connected(loop->sink);
}

static void loop_disconnect(void *self)
{
    struct loop *loop = self;
    loop->count = 0; /* whoever is still wanted will be subscribed again */
}

static size_t loop_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct loop *loop = self;
    for (size_t i = 0; i < count; i++) {
        const struct bcast_outgoing *m = &messages[i];
        struct bcast_incoming back = {m->data, m->size, m->key, m->key_size, m->headers, m->header_count, NULL, 0};
        for (size_t t = 0; t < loop->count; t++)
            if (loop->topics[t]->size == m->channel_size &&
                memcmp(loop->topics[t]->name, m->channel, m->channel_size) == 0)
                loop->sink->message(loop->sink, loop->topics[t], &back);
    }
    loop->sink->result(loop->sink, messages[0].number, count, BCAST_OK);
    return count;
}

static void loop_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct loop *loop = self;
    for (size_t i = 0; i < count; i++) {
        if (loop->count == loop->room) {
            size_t room = loop->room != 0 ? 2 * loop->room : 16;
            struct bcast_topic **more = realloc(loop->topics, room * sizeof(struct bcast_topic *));
            if (more == NULL) {
                loop->sink->subscribed(loop->sink, topics[i], BCAST_ERR_NOMEM, "out of memory");
                continue;
            }
            loop->topics = more;
            loop->room = room;
        }
        loop->topics[loop->count++] = topics[i];
        loop->sink->subscribed(loop->sink, topics[i], BCAST_OK, "");
    }
}

static void loop_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct loop *loop = self;
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < loop->count; t++)
            if (loop->topics[t] == topics[i])
                loop->topics[t--] = loop->topics[--loop->count];
}

static const char *const schemes[] = {"loop", NULL};

const struct bcast_backend loop_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "loop",
    .schemes = schemes,
    .open = loop_open,
    .close = loop_close,
    .capabilities = loop_capabilities,
    .connect = loop_connect,
    .disconnect = loop_disconnect,
    .publish = loop_publish,
    .subscribe = loop_subscribe,
    .unsubscribe = loop_unsubscribe,
};

#ifndef WITHOUT_MAIN /* the conformance suite links the backend alone: test/conformance/loop.c */
int main(void)
{
    const struct bcast_backend *mine[] = {&loop_backend, NULL};
    struct bcast_options options = bcast_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b;
    struct bcast_sub *sub;
    options.backends = mine;
    if (bcast_open("loop://", &options, &b) != BCAST_OK || bcast_subscribe(b, "greetings", NULL, &sub) != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        return 1;
    }
    int status = bcast_publish(b, "greetings", "hello from my own backend", 25);
    if (status == BCAST_OK && (status = bcast_next(sub, &event, 5000)) == BCAST_OK)
        printf("%s: %.*s\n", event.channel, (int)event.size, (const char *)event.data);
    if (status != BCAST_OK)
        fprintf(stderr, "%s\n", bcast_error_text());
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    return status != BCAST_OK;
}
#endif
