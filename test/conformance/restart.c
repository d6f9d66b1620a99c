/* The broker goes away and comes back: nothing is lost in silence, and everything goes on. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

/* ------------------------------------------------------------------------------------------------------- states -- */

struct link {
    struct bcast *b;
    struct conf_test *test;
    _Atomic int state, losses, wrong; /* wrong: 1 + the state that came out of order */
};

static void note_state(void *context, enum bcast_state state, int status, const char *reason)
{
    struct link *link = context;
    int before = link->state;
    (void)status, (void)reason;
    bool right = (state == BCAST_CONNECTING && before != BCAST_CONNECTED) ||
                 (state == BCAST_CONNECTED && before == BCAST_CONNECTING) ||
                 (state == BCAST_LOST && (before == BCAST_CONNECTED || before == BCAST_CONNECTING)) ||
                 state == BCAST_CLOSED;
    if (!right && link->wrong == 0)
        link->wrong = 1 + (int)state;
    if (state == BCAST_LOST && before == BCAST_CONNECTED)
        link->losses++;
    link->state = (int)state;
}

static struct link *open_link(struct conf_test *t)
{
    struct bcast_options options = bcast_options_init();
    struct link *link = conf_memory(t, sizeof *link);
    link->state = -1;
    options.on_state = note_state;
    options.state_context = link;
    link->b = conf_open(t, &options);
    return link;
}

static void states_were_right(struct conf_test *t, const struct link *link)
{
    CHECK(t, link->wrong == 0, "expected CONNECTING and CONNECTED after LOST, got state %d out of order",
          link->wrong - 1);
}

static void go_down(struct conf_test *t, struct link *const *links, size_t count)
{
    int losses[8];
    for (size_t i = 0; i < count; i++)
        losses[i] = links[i]->losses;
    conf_stop_broker(t);
    for (size_t i = 0; i < count; i++)
        UNTIL(t, links[i]->losses > losses[i], "LOST is told after the broker was stopped");
}

static void come_back(struct conf_test *t, struct link *const *links, size_t count)
{
    conf_start_broker(t);
    for (size_t i = 0; i < count; i++)
        UNTIL(t, links[i]->state == BCAST_CONNECTED, "CONNECTED is told after the broker was started again");
}

/* ---------------------------------------------------------------------------------------- promises in the storm -- */

enum { CHANNELS = 2, READERS = 3, MOST = 1 << 20, NO_RESULT = 100 };

/* What was published to one channel: message `number` says "channel number". */
struct story {
    const char *name;
    _Atomic int fates[MOST];
    _Atomic unsigned char results[MOST];
};

struct storm {
    struct link *links[3];
    struct story *stories[CHANNELS];
    _Atomic unsigned published; /* numbers below it were handed to the library, on every channel */
    _Atomic bool enough;
    _Atomic unsigned until; /* readers may go once they have seen such a number on every channel; 0: not yet */
    _Atomic unsigned readers_left;
};

struct note {
    struct story *story;
    unsigned number;
};

static void note_result(void *context, int status)
{
    struct note *note = context;
    note->story->fates[note->number] = status;
    note->story->results[note->number]++;
}

static void publish_one(struct conf_test *t, struct storm *storm, unsigned channel, unsigned number, struct note *note)
{
    char text[32];
    struct bcast_message m = bcast_message_init();
    struct story *story = storm->stories[channel];
    *note = (struct note){story, number};
    story->fates[number] = NO_RESULT;
    m.channel = story->name;
    m.size = (size_t)snprintf(text, sizeof text, "%u %u", channel, number);
    m.data = text;
    m.on_result = note_result;
    m.context = note;
    m.timeout_ms = 20; /* the queue may be full when the broker goes: then that is the answer, and the storm goes on */
    int status = bcast_publish_message(storm->links[0]->b, &m);
    if (status == BCAST_OK)
        return;
    CHECK(t, status == BCAST_ERR_CONNECT || status == BCAST_TIMEOUT || status == BCAST_ERR_PUBLISH,
          "expected publishing to go on, or fail with CONNECT, while the broker is down; got %d (%s: %s)", status,
          bcast_status_text(status), bcast_error_text());
    story->fates[number] = status; /* not published: it is the call's answer, there is no other */
    story->results[number]++;
}

static void publish_storm(struct conf_test *t, void *argument)
{
    struct storm *storm = argument;
    struct note *notes = conf_memory(t, sizeof *notes * MOST * CHANNELS);
    unsigned number = 0;
    for (; !storm->enough && !t->failed && number < MOST; number++) {
        for (unsigned channel = 0; channel < CHANNELS; channel++)
            publish_one(t, storm, channel, number, &notes[number * CHANNELS + channel]);
        storm->published = number + 1;
        if (number % 16 == 0 || storm->links[0]->state != BCAST_CONNECTED)
            (void)conf_overdue(t, INT64_MAX); /* not faster than a broker can follow */
    }
}

struct hole {
    unsigned channel, from, to;
    struct hole *next;
};

struct storm_reader {
    struct storm *storm;
    struct conf_reader *reader;
    unsigned next[CHANNELS], duplicates, gaps;
    bool gap[CHANNELS], arrived[CHANNELS];
    struct hole *silent; /* numbers that were left out without a gap: were they confirmed? */
    struct hole *marked;
};

static void read_gap(struct conf_test *t, struct storm_reader *r)
{
    const struct bcast_event *event = &r->reader->event;
    CHECK(t, !(t->can.can & BCAST_CAN_RESUME) || event->reason != BCAST_GAP_RECONNECT,
          "expected no gap for a lost connection, as BCAST_CAN_RESUME is claimed, got %s", conf_told(event));
    for (unsigned channel = 0; channel < CHANNELS; channel++)
        if (strcmp(event->channel, r->storm->stories[channel]->name) == 0)
            r->gap[channel] = true;
    r->gaps++;
}

static void read_message(struct conf_test *t, struct storm_reader *r)
{
    unsigned channel, number, until = r->storm->until;
    conf_numbers(t, &r->reader->event, &channel, &number);
    CHECK(t, channel < CHANNELS && strcmp(r->reader->event.channel, r->storm->stories[channel]->name) == 0,
          "expected each message on its own channel, got %s", conf_told(&r->reader->event));
    if (until != 0 && number >= until)
        r->arrived[channel] = true;
    if (number < r->next[channel]) {
        r->duplicates++;
        return;
    }
    if (number > r->next[channel]) {
        struct hole *hole = conf_memory(t, sizeof *hole), **list = r->gap[channel] ? &r->marked : &r->silent;
        *hole = (struct hole){channel, r->next[channel], number, *list};
        *list = hole;
    }
    r->gap[channel] = false;
    r->next[channel] = number + 1;
}

static void read_storm(struct conf_test *t, void *argument)
{
    struct storm_reader *r = argument;
    while (!r->arrived[0] || !r->arrived[1]) {
        conf_event(t, r->reader, "messages, or gaps, while the broker goes away and comes back");
        if (r->reader->event.kind == BCAST_GAP)
            read_gap(t, r);
        else
            read_message(t, r);
    }
    r->storm->readers_left--;
}

static struct storm *begin_storm(struct conf_test *t, struct storm_reader *readers)
{
    struct storm *storm = conf_memory(t, sizeof *storm);
    const char *names[CHANNELS];
    for (int i = 0; i < 3; i++)
        storm->links[i] = open_link(t);
    for (int i = 0; i < CHANNELS; i++) {
        storm->stories[i] = conf_memory(t, sizeof *storm->stories[i]);
        names[i] = storm->stories[i]->name = conf_name(t, "storm");
    }
    storm->readers_left = READERS;
    for (int i = 0; i < READERS; i++) { /* two on one connection, one on another */
        readers[i].storm = storm;
        readers[i].reader = conf_subscribe_many(t, storm->links[1 + i / 2]->b, names, CHANNELS, NULL);
        conf_start(t, read_storm, &readers[i]);
    }
    conf_start(t, publish_storm, storm);
    return storm;
}

static void wait_for_more(struct conf_test *t, struct storm *storm, unsigned more)
{
    unsigned from = storm->published;
    UNTIL(t, storm->published >= from + more, "publishing goes on");
}

static void every_message_has_its_result(struct conf_test *t, const struct storm *storm)
{
    for (unsigned channel = 0; channel < CHANNELS; channel++)
        for (unsigned i = 0; i < storm->published; i++) {
            const struct story *story = storm->stories[channel];
            CHECK(t, story->results[i] == 1, "expected one result for message %u of channel %u, got %d", i, channel,
                  (int)story->results[i]);
            CHECK(t, story->fates[i] <= BCAST_OK || story->fates[i] == BCAST_TIMEOUT,
                  "expected OK or an error as the result of message %u, got %d", i, (int)story->fates[i]);
        }
}

static void nothing_was_lost(struct conf_test *t, const struct storm *storm, const struct hole *hole, int who,
                             const char *how)
{
    for (; hole != NULL; hole = hole->next)
        for (unsigned i = hole->from; i < hole->to; i++)
            CHECK(t, storm->stories[hole->channel]->fates[i] != BCAST_OK,
                  "reader %d got message %u of channel %u after message %u; in between, message %u was confirmed, but "
                  "%s",
                  who, hole->to, hole->channel, hole->from - 1, i, how);
}

static void judge(struct conf_test *t, const struct storm *storm, const struct storm_reader *readers)
{
    unsigned duplicates = 0, gaps = 0;
    every_message_has_its_result(t, storm);
    for (int i = 0; i < READERS; i++) {
        if (t->can.can & BCAST_CAN_CONFIRM)
            nothing_was_lost(t, storm, readers[i].silent, i, "there was no gap");
        duplicates += readers[i].duplicates;
        gaps += readers[i].gaps;
    }
    for (int i = 0; i < 3; i++)
        states_were_right(t, storm->links[i]);
    conf_note(t, "%u messages on each of %d channels; %u gaps, %u duplicates%s", (unsigned)storm->published, CHANNELS,
              gaps, duplicates,
              t->can.can & BCAST_CAN_CONFIRM ? "" : "; without BCAST_CAN_CONFIRM losses cannot be told");
}

static void nothing_in_silence(struct conf_test *t)
{
    struct storm_reader *readers = conf_memory(t, READERS * sizeof *readers);
    struct storm *storm = begin_storm(t, readers);
    unsigned some = conf_scale(t, 500, 50);
    for (unsigned round = 0; round < 2; round++) {
        wait_for_more(t, storm, some);
        go_down(t, storm->links, 3);
        wait_for_more(t, storm, 50); /* some while it is down */
        come_back(t, storm->links, 3);
    }
    wait_for_more(t, storm, some);
    storm->until = storm->published;
    UNTIL(t, storm->readers_left == 0, "every subscription receives again, on all its channels");
    storm->enough = true;
    conf_join(t);
    int status = bcast_flush(storm->links[0]->b, t->with.deadline_ms);
    CHECK(t, status == BCAST_OK || status == BCAST_ERR_PUBLISH,
          "expected a flush to end with OK or PUBLISH, got %d (%s)", status, bcast_status_text(status));
    judge(t, storm, readers);
}

/* -------------------------------------------------------------------------------------------- while it is down -- */

struct late {
    struct link *link;
    const char *channel;
    struct conf_reader *reader;
    _Atomic bool started, done;
};

static void subscribe_late(struct conf_test *t, void *argument)
{
    struct late *late = argument;
    late->started = true;
    late->reader = conf_subscribe(t, late->link->b, late->channel, NULL);
    late->done = true;
}

static void subscribe_while_down(struct conf_test *t)
{
    struct link *link = open_link(t), *other = open_link(t), *links[] = {link, other};
    struct late *late = conf_memory(t, sizeof *late);
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    struct bcast_stats before = conf_stats(t, link->b);
    *late = (struct late){.link = link, .channel = conf_name(t, "late")};
    go_down(t, links, 2);
    options.timeout_ms = 50;
    int64_t began = conf_now_us();
    MUST_BE(t, BCAST_TIMEOUT, bcast_subscribe(link->b, conf_name(t, "soon"), &options, &sub));
    CHECK(t, conf_now_us() - began >= 50000, "expected bcast_subscribe to wait 50 ms, it gave up before");
    CHECK(t, conf_stats(t, link->b).subscriptions == before.subscriptions,
          "expected a subscription that timed out to leave nothing behind");
    if (!(t->can.can & BCAST_CAN_HISTORY))
        UNTIL(t, conf_stats(t, link->b).channels == before.channels,
              "the channel of a subscription that timed out is forgotten");
    conf_start(t, subscribe_late, late);
    UNTIL(t, late->started, "the thread starts");
    come_back(t, links, 2);
    conf_join(t);
    conf_say(t, other->b, late->channel, "at last");
    conf_hear(t, late->reader, "at last");
}

static void wait_to_subscribe(struct conf_test *t, void *argument)
{
    struct late *late = argument;
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.timeout_ms = BCAST_FOREVER;
    late->started = true;
    int status = bcast_subscribe(late->link->b, late->channel, &options, &sub);
    late->done = true;
    conf_status(t, BCAST_ERR_CLOSED, status, "bcast_subscribe, which waited for the broker when it was shut down");
}

static void wait_to_flush(struct conf_test *t, void *argument)
{
    struct late *late = argument;
    late->started = true;
    int status = bcast_flush(late->link->b, BCAST_FOREVER);
    late->done = true;
    CHECK(t, status == BCAST_ERR_CLOSED || status == BCAST_ERR_PUBLISH,
          "expected CLOSED (or PUBLISH) from a flush that waited for the broker when it was shut down, got %d (%s)",
          status, bcast_status_text(status));
}

static void shutdown_while_down(struct conf_test *t)
{
    struct link *link = open_link(t);
    struct late *late = conf_memory(t, 2 * sizeof *late);
    go_down(t, &link, 1);
    for (int i = 0; i < 2; i++)
        late[i] = (struct late){.link = link, .channel = conf_name(t, "never")};
    (void)bcast_publish(link->b, late[0].channel, "x", 1); /* queued, or refused: the flush has to end either way */
    conf_start(t, wait_to_subscribe, &late[0]);
    conf_start(t, wait_to_flush, &late[1]);
    UNTIL(t, late[0].started && late[1].started, "the threads start");
    MUST(t, bcast_shutdown(link->b));
    UNTIL(t, late[0].done && late[1].done, "a shutdown wakes who waits for a broker that is down");
    conf_join(t);
    conf_close(t, link->b);
}

/* Channels that were left while the broker was down stay left; those that were kept go on. */
static void leave_while_down(struct conf_test *t)
{
    struct link *link = open_link(t), *other = open_link(t), *links[] = {link, other};
    const char *kept = conf_name(t, "kept"), *left = conf_name(t, "left");
    struct conf_reader *stays = conf_subscribe(t, link->b, kept, NULL),
                       *leaves = conf_subscribe(t, link->b, left, NULL);
    go_down(t, links, 2);
    conf_unsubscribe(t, leaves);
    come_back(t, links, 2);
    struct conf_reader *another = conf_subscribe(t, link->b, conf_name(t, "new"), NULL); /* the link works */
    (void)another;
    int64_t end = conf_deadline(t);
    do { /* what is published before the link is whole again may be lost: it is in the gap */
        CHECK(t, conf_now_us() < end,
              "expected messages on a channel that was kept, got none since the broker is back");
        conf_say(t, other->b, left, "nobody");
        conf_say(t, other->b, kept, "somebody");
        int status = bcast_next(stays->sub, &stays->event, 100);
        CHECK(t, status == BCAST_OK || status == BCAST_TIMEOUT, "expected the subscription to go on, got %d (%s)",
              status, bcast_status_text(status));
    } while (stays->event.kind != BCAST_MESSAGE);
    CHECK(t, strcmp(stays->event.channel, kept) == 0, "expected a message on '%s', got %s", kept,
          conf_told(&stays->event));
    states_were_right(t, link);
}

const struct conf_case conf_restart[] = {
    {"restart-loses-nothing-in-silence", nothing_in_silence, CONF_RESTART | CONF_SHARED, 0},
    {"restart-subscribe-while-down", subscribe_while_down, CONF_RESTART | CONF_SHARED, 0},
    {"restart-shutdown-while-down", shutdown_while_down, CONF_RESTART, 0},
    {"restart-leave-while-down", leave_while_down, CONF_RESTART | CONF_SHARED, 0},
    {NULL, NULL, 0, 0},
};
