/* Limits: what happens to a subscription that is not read, and to everybody else meanwhile. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

/* A subscription with a tiny limit that nobody reads: publishers and other subscribers do not notice. */
static void slow_subscriber(struct conf_test *t)
{
    struct bcast_sub_options tiny = conf_limit(8);
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "slow");
    struct conf_reader *fast = conf_subscribe(t, b, channel, NULL);
    unsigned count = conf_scale(t, 10000, 500);
    (void)conf_subscribe(t, b, channel, &tiny);
    for (unsigned i = 0; i < count; i++)
        conf_say(t, other, channel, "%u", i);
    for (unsigned i = 0; i < count; i++)
        conf_hear(t, fast, "%u", i);
}

/* Reads until the message `end`; what was received and what was lost add up to it, at every gap and in the end. */
static void count_up_to(struct conf_test *t, struct conf_reader *reader, unsigned end, unsigned least)
{
    unsigned next = 0, received = 0, who, number;
    uint64_t lost = 0, gaps = 0;
    while (next <= end) {
        conf_event(t, reader, "messages, or gaps, up to the last message");
        const struct bcast_event *event = &reader->event;
        if (event->kind == BCAST_GAP) {
            CHECK(t, event->reason == BCAST_GAP_OVERFLOW && event->count == BCAST_EXACT,
                  "expected a gap (overflow) with an exact count, got %s", conf_told(event));
            CHECK(t, event->lost > 0, "expected a gap of at least one message, got %s", conf_told(event));
            next += (unsigned)event->lost;
            lost += event->lost;
            gaps++;
            continue;
        }
        conf_numbers(t, event, &who, &number);
        CHECK(t, number == next, "expected message %u, after %u received and %" PRIu64 " lost, got %u", next, received,
              lost, number);
        received++;
        next++;
    }
    CHECK(t, gaps > 0, "expected at least one gap, as %u messages are over the limit; all were received", end + 1);
    CHECK(t, received >= least, "expected at least %u messages, the limit, after overflowing, got %u", least, received);
    struct bcast_sub_stats stats = conf_sub_stats(t, reader);
    CHECK(t, stats.received == received && stats.lost == lost && stats.gaps == gaps,
          "expected bcast_sub_stats to say %u received, %" PRIu64 " lost, %" PRIu64 " gaps; it says %" PRIu64
          ", %" PRIu64 ", %" PRIu64,
          received, lost, gaps, stats.received, stats.lost, stats.gaps);
}

static void overflow(struct conf_test *t)
{
    struct bcast_sub_options tiny = conf_limit(64);
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "over");
    struct conf_reader *all = conf_subscribe(t, b, channel, NULL), *few = conf_subscribe(t, b, channel, &tiny);
    unsigned count = conf_scale(t, 10000, 2000);
    struct conf_talker talker = {other, channel, 0, count, NULL};
    conf_talk(t, &talker);
    for (unsigned i = 0; i < count; i++)
        conf_hear(t, all, "0 %u", i); /* so all of them have arrived */
    count_up_to(t, few, count - 1, 64);
}

static void disconnect(struct conf_test *t)
{
    struct bcast_sub_options tiny = conf_limit(16);
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "cut");
    unsigned received = 0, count = conf_scale(t, 2000, 500);
    int status;
    tiny.policy = BCAST_DISCONNECT;
    struct conf_reader *all = conf_subscribe(t, b, channel, NULL), *cut = conf_subscribe(t, b, channel, &tiny);
    for (unsigned i = 0; i < count; i++)
        conf_say(t, other, channel, "%u", i);
    for (unsigned i = 0; i < count; i++)
        conf_hear(t, all, "%u", i);
    while ((status = bcast_next(cut->sub, &cut->event, t->with.deadline_ms)) == BCAST_OK)
        CHECK(t, ++received < count, "expected DISCONNECTED of a full subscription, got all of its %u messages", count);
    conf_status(t, BCAST_ERR_DISCONNECTED, status, "bcast_next, on a full subscription with BCAST_DISCONNECT");
    MUST_BE(t, BCAST_ERR_DISCONNECTED, bcast_next(cut->sub, &cut->event, BCAST_NOWAIT));
    conf_say(t, other, channel, "after");
    conf_hear(t, all, "after");
}

/* -------------------------------------------------------------------------------------------------------- block -- */

static void block_is_refused(struct conf_test *t)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast *b = conf_open(t, NULL);
    struct bcast_sub *sub = NULL;
    if (t->can.can & BCAST_CAN_BLOCK)
        conf_skip(t, "the backend can: see block-is-lossless");
    options.policy = BCAST_BLOCK;
    MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_subscribe(b, conf_name(t, "block"), &options, &sub));
    CHECK(t, sub == NULL, "expected no subscription from a call that failed, got one");
}

static void block_is_lossless(struct conf_test *t)
{
    struct bcast_sub_options options = conf_limit(16);
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "block");
    struct conf_talker *talker = conf_memory(t, sizeof *talker);
    unsigned count = conf_scale(t, 10000, 500);
    options.policy = BCAST_BLOCK;
    struct conf_reader *reader = conf_subscribe(t, b, channel, &options);
    *talker = (struct conf_talker){other, channel, 0, count, NULL};
    conf_start(t, conf_talk, talker);
    for (unsigned i = 0; i < count; i++) {
        conf_hear(t, reader, "0 %u", i);
        if (i % 64 == 0)
            for (int pause = 0; pause < 20; pause++)
                sched_yield(); /* let it become full now and then; nothing depends on it */
    }
    conf_join(t);
}

/* A full blocking subscription holds back its own channel, and no other. */
static void block_one_channel(struct conf_test *t)
{
    struct bcast_sub_options options = conf_limit(16);
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *full = conf_name(t, "full"), *free = conf_name(t, "free");
    struct bcast_message m = bcast_message_init();
    unsigned accepted = 0, count = conf_scale(t, 1000, 200);
    options.policy = BCAST_BLOCK;
    struct conf_reader *held = conf_subscribe(t, b, full, &options), *reader = conf_subscribe(t, b, free, NULL);
    m.channel = full;
    m.timeout_ms = BCAST_NOWAIT;
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        m.size = (size_t)snprintf(text, sizeof text, "%u", accepted);
        m.data = text;
        int status = bcast_publish_message(other, &m);
        CHECK(t, status == BCAST_OK || status == BCAST_TIMEOUT,
              "expected OK or TIMEOUT from publishing to a channel "
              "with a full blocking subscription, got %d (%s)",
              status, bcast_status_text(status));
        accepted += status == BCAST_OK;
    }
    for (unsigned i = 0; i < count; i++) {
        conf_say(t, other, free, "%u", i);
        conf_hear(t, reader, "%u", i);
    }
    for (unsigned i = 0; i < accepted; i++)
        conf_hear(t, held, "%u", i);
    conf_say(t, other, full, "open again");
    conf_hear(t, held, "open again");
}

const struct conf_case conf_limits[] = {
    {"slow-subscriber-delays-nobody", slow_subscriber, 0, 0},
    {"overflow-is-counted", overflow, 0, 0},
    {"disconnect-when-full", disconnect, 0, 0},
    {"block-is-refused", block_is_refused, 0, 0},
    {"block-is-lossless", block_is_lossless, 0, BCAST_CAN_BLOCK},
    {"block-holds-one-channel", block_one_channel, 0, BCAST_CAN_BLOCK},
    {NULL, NULL, 0, 0},
};
