/* Subscriptions: the barrier, who gets what, and many at once. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

#include <poll.h>

/* The next message that anybody publishes once subscribe has returned is received. */
static void barrier(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *names[16];
    for (unsigned i = 0; i < 16; i++)
        names[i] = conf_name(t, "barrier");
    for (unsigned round = 0; round < t->with.rounds; round++) {
        const char *channel = names[conf_random(&t->random) % 16];
        struct conf_reader reader = {NULL, BCAST_EVENT_INIT, NULL};
        struct bcast_sub_options options = bcast_sub_options_init();
        options.timeout_ms = t->with.deadline_ms;
        MUST(t, bcast_subscribe(b, channel, &options, &reader.sub));
        struct conf_reader *kept = &reader;
        char text[32];
        int size = snprintf(text, sizeof text, "%u", round);
        int published = bcast_publish(other, channel, text, (size_t)size);
        int status = bcast_next(kept->sub, &kept->event, t->with.deadline_ms);
        bool right = published == BCAST_OK && status == BCAST_OK && kept->event.kind == BCAST_MESSAGE &&
                     kept->event.size == (size_t)size && memcmp(kept->event.data, text, (size_t)size) == 0;
        char told[256];
        snprintf(told, sizeof told, "%s", status == BCAST_OK ? conf_told(&kept->event) : bcast_status_text(status));
        bcast_release(&kept->event);
        bcast_unsubscribe(kept->sub);
        conf_status(t, BCAST_OK, published, "bcast_publish, right after subscribe has returned");
        CHECK(t, right, "round %u: expected what was published right after subscribe has returned, '%s', got: %s",
              round, text, told);
    }
}

/* The same, for a channel that another subscription has already. */
static void barrier_again(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "again");
    (void)conf_subscribe(t, b, channel, NULL);
    for (unsigned round = 0; round < conf_scale(t, 1000, 50); round++) {
        struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
        conf_say(t, other, channel, "%u", round);
        conf_hear(t, reader, "%u", round);
        conf_unsubscribe(t, reader);
    }
}

/* ------------------------------------------------------------------------------------------------ two are first -- */

struct racer {
    struct bcast *b, *other;
    _Atomic(const char *) channel; /* of this round */
    _Atomic unsigned round, subscribed, done, messages;
    unsigned rounds;
};

/* Waits for what other threads do in a moment. */
#define TURN(t, condition) UNTIL(t, condition, "the other thread of the race gets there")

static void race_once(struct conf_test *t, struct racer *r, unsigned round)
{
    bool own = false, last = false;
    TURN(t, r->round > round);
    const char *channel = r->channel;
    struct conf_reader *reader = conf_subscribe(t, r->b, channel, NULL);
    unsigned mine = r->messages++;
    conf_say(t, r->other, channel, "0 %u", mine);
    r->subscribed++;
    while (!own || !last) { /* between them, perhaps, the other's */
        unsigned who, number;
        conf_message(t, reader,
                     !own ? "what this thread published after its subscribe had returned"
                          : "what was published after both had subscribed");
        conf_numbers(t, &reader->event, &who, &number);
        own = own || (who == 0 && number == mine);
        last = last || (who == 1 && number == round);
    }
    conf_unsubscribe(t, reader);
    r->done++;
}

static void race(struct conf_test *t, void *argument)
{
    struct racer *r = argument;
    for (unsigned round = 0; round < r->rounds; round++)
        race_once(t, r, round);
}

static void first_two(struct conf_test *t)
{
    struct racer *r = conf_memory(t, sizeof *r);
    r->b = conf_open(t, NULL);
    r->other = conf_another(t);
    r->rounds = conf_scale(t, 500, 20);
    conf_start(t, race, r);
    conf_start(t, race, r);
    for (unsigned round = 0; round < r->rounds; round++) {
        r->channel = conf_name(t, "race");
        r->round++;
        TURN(t, r->subscribed == 2 * (round + 1));
        conf_say(t, r->other, r->channel, "1 %u", round);
        TURN(t, r->done == 2 * (round + 1));
    }
    conf_join(t);
}

/* ------------------------------------------------------------------------------------------------ who gets what -- */

static void everyone(struct conf_test *t)
{
    enum { count = 4 };
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t), *third = conf_another(t);
    const char *channel = conf_name(t, "all");
    struct conf_reader *readers[count];
    unsigned messages = conf_scale(t, 2000, 100);
    for (unsigned i = 0; i < count; i++)
        readers[i] = conf_subscribe(t, i % 2 ? third : b, channel, NULL);
    for (unsigned i = 0; i < messages; i++)
        conf_say(t, other, channel, "%u", i);
    for (unsigned s = 0; s < count; s++)
        for (unsigned i = 0; i < messages; i++)
            conf_hear(t, readers[s], "%u", i);
}

struct crew {
    struct conf_reader *sub;
    _Atomic unsigned char *seen;
    _Atomic unsigned taken;
    unsigned count;
};

static void work(struct conf_test *t, void *argument)
{
    struct crew *crew = argument;
    struct conf_reader mine = {crew->sub->sub, BCAST_EVENT_INIT, NULL};
    int status;
    while ((status = bcast_next(mine.sub, &mine.event, t->with.deadline_ms)) == BCAST_OK) {
        unsigned who = 0, number = 0;
        char told[256], text[32] = "";
        bool message = mine.event.kind == BCAST_MESSAGE && mine.event.size < sizeof text;
        if (message)
            memcpy(text, mine.event.data, mine.event.size);
        message = message && sscanf(text, "%u %u", &who, &number) == 2 && number < crew->count;
        snprintf(told, sizeof told, "%s", conf_told(&mine.event));
        bcast_release(&mine.event);
        CHECK(t, message, "expected a worker to get messages only, got %s", told);
        CHECK(t, crew->seen[number]++ == 0, "expected message %u for one worker, but a second one got it too", number);
        crew->taken++;
    }
    CHECK(t, status == BCAST_ERR_CLOSED, "expected a worker to end when its subscription is cancelled, got %d (%s)",
          status, bcast_status_text(status));
}

static void workers(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "work");
    struct crew *crew = conf_memory(t, sizeof *crew);
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = 1;
    crew->count = conf_scale(t, 10000, 400);
    crew->seen = conf_memory(t, crew->count);
    crew->sub = conf_subscribe(t, b, channel, &options);
    for (int i = 0; i < 4; i++)
        conf_start(t, work, crew);
    struct conf_talker talker = {other, channel, 0, crew->count, NULL};
    conf_talk(t, &talker);
    UNTIL(t, crew->taken == crew->count, "the workers get every message");
    MUST(t, bcast_cancel(crew->sub->sub));
    conf_join(t);
}

struct listener {
    struct conf_reader *reader;
    struct conf_order order;
    unsigned expected;
};

static void listen_to_all(struct conf_test *t, void *argument)
{
    struct listener *listener = argument;
    for (unsigned i = 0; i < listener->expected; i++) {
        conf_event(t, listener->reader, "one message more of many publishers'");
        conf_in_order(t, &listener->order, &listener->reader->event);
    }
}

/* Everybody has everybody's messages, counted, in each publisher's order. */
static void many_by_many(struct conf_test *t)
{
    enum { publishers = 50, subscribers = 50, connections = 5 };
    struct bcast *b[connections];
    const char *channel = conf_name(t, "crowd");
    struct listener *listeners = conf_memory(t, subscribers * sizeof *listeners);
    struct conf_talker *talkers = conf_memory(t, publishers * sizeof *talkers);
    unsigned each = conf_scale(t, 100, 5);
    for (unsigned i = 0; i < connections; i++)
        b[i] = i == 0 ? conf_open(t, NULL) : conf_another(t);
    for (unsigned i = 0; i < subscribers; i++) {
        listeners[i].reader = conf_subscribe(t, b[i % connections], channel, NULL);
        listeners[i].expected = publishers * each;
        conf_start(t, listen_to_all, &listeners[i]);
    }
    for (unsigned i = 0; i < publishers; i++) {
        talkers[i] = (struct conf_talker){b[i / 2 % connections], channel, i, each, NULL};
        conf_start(t, conf_talk, &talkers[i]);
    }
    conf_join(t);
}

/* ----------------------------------------------------------------------------------------------- ways of reading -- */

static void read_batch(struct conf_test *t, struct conf_reader *reader, unsigned *next)
{
    struct bcast_event events[16] = {BCAST_EVENT_INIT};
    char told[256] = "";
    size_t count = 0;
    int status = bcast_next_batch(reader->sub, events, 16, &count, t->with.deadline_ms);
    for (size_t i = 0; i < count && *told == '\0'; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%u", *next);
        if (events[i].kind != BCAST_MESSAGE || events[i].size != (size_t)size ||
            memcmp(events[i].data, text, (size_t)size))
            snprintf(told, sizeof told, "expected '%s', got %s", text, conf_told(&events[i]));
        ++*next;
    }
    for (size_t i = 0; i < 16; i++)
        bcast_release(&events[i]);
    CHECK(t, *told == '\0', "%s", told);
    conf_status(t, BCAST_OK, status, "bcast_next_batch");
    CHECK(t, count > 0, "expected a batch with an event, got an empty one");
}

static void batches(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "batch");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    unsigned count = conf_scale(t, 2000, 100);
    for (unsigned i = 0; i < count; i++)
        conf_say(t, other, channel, "%u", i);
    for (unsigned next = 0; next < count;)
        read_batch(t, reader, &next);
}

static void by_fd(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "fd");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct pollfd polled = {bcast_fd(reader->sub), POLLIN, 0};
    CHECK(t, polled.fd >= 0, "expected a file descriptor, got %d (%s)", polled.fd, bcast_error_text());
    for (unsigned i = 0; i < conf_scale(t, 500, 20); i++) {
        conf_say(t, other, channel, "%u", i);
        int ready = poll(&polled, 1, t->with.deadline_ms);
        CHECK(t, ready == 1, "expected the fd to be readable after message %u, poll returned %d", i, ready);
        conf_hear(t, reader, "%u", i);
        MUST_BE(t, BCAST_TIMEOUT, bcast_next(reader->sub, &reader->event, 0));
    }
}

const struct conf_case conf_subscriptions[] = {
    {"barrier", barrier, 0, 0},
    {"barrier-second-subscriber", barrier_again, 0, 0},
    {"two-first-subscribers", first_two, 0, 0},
    {"everyone-gets-everything", everyone, 0, 0},
    {"workers-share", workers, 0, 0},
    {"many-publishers-many-subscribers", many_by_many, 0, 0},
    {"batches", batches, 0, 0},
    {"pollable-fd", by_fd, 0, 0},
    {NULL, NULL, 0, 0},
};
