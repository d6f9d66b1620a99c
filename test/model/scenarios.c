/* What the model runs. The scenarios' own variables are not part of it: one system thread runs everything. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broadcaster/broadcaster.h"
#include "cursor.h"
#include "ring.h"
#include "schedule.h"

#define PUBLISHERS 2
#define EACH 3
#define TOTAL (PUBLISHERS * EACH)

#define MUST(what)                                                                                                     \
    do {                                                                                                               \
        if (!(what))                                                                                                   \
            model_fail("%s", #what);                                                                                   \
    } while (0)

/* ------------------------------------------------------------------------------------------------- the bare ring -- */

struct seen { /* by one subscription */
    uint64_t accounted, received;
    uint32_t last[PUBLISHERS];
};

struct stage {
    struct ring ring;
    struct pool pool;
    uint32_t raised;
    struct os_guard guard;
    struct cursor cursors[2];
    struct holds holds[2];
    struct bell bell;
};

static struct stage *stage;
static struct seen seen[2];
static uint64_t base_sequence; /* published in the set-up */

static void gone(struct bell *bell)
{
    (void)bell;
}

static void add_cursor(int i, enum cursor_policy policy, uint64_t limit, bool shared)
{
    struct cursor *cursor = &stage->cursors[i];
    cursor->limits = (struct ring_limits){limit, 64};
    cursor->policy = (uint8_t)policy;
    cursor->holds = shared ? NULL : &stage->holds[i];
    cursor->waiter.bell = &stage->bell;
    MUST(cursor_open(cursor, &stage->ring, NULL));
}

static void set_stage(void)
{
    memset(seen, 0, sizeof seen);
    base_sequence = 0;
    stage = memory_get(sizeof *stage);
    ring_init(&stage->ring, &(struct ring_setup){.pool = &stage->pool});
    bell_init(&stage->bell, gone);
    MUST(os_guard_open(&stage->guard) == 0);
}

static void publish(uint32_t publisher, uint32_t count)
{
    for (uint32_t i = 1; i <= count; i++) {
        uint32_t mark[2] = {publisher, i};
        model_at(i);
        struct record record = {.data = mark, .size = sizeof mark};
        MUST(ring_publish(&stage->ring, &record, OS_NEVER, &stage->guard) == RING_OK);
    }
}
static void publish_0(void)
{
    publish(0, EACH);
}
static void publish_1(void)
{
    publish(1, EACH);
}

static void look_at(struct seen *s, const unsigned char *record, bool in_order)
{
    uint32_t mark[2];
    uint64_t header = record_look(record);
    MUST(record_size(header) == sizeof mark);
    memcpy(mark, record + RECORD_HEADER, sizeof mark); /* a race, if it is not ours to read */
    MUST(mark[0] < PUBLISHERS && mark[1] >= 1 && mark[1] <= EACH);
    MUST(!in_order || mark[1] > s->last[mark[0]]);
    s->last[mark[0]] = mark[1];
    s->accounted++;
    s->received++;
}

/* Reads everything; holds on to the event before the last while it takes the next. */
static void read_exclusive(int which, uint64_t total)
{
    struct cursor *cursor = &stage->cursors[which];
    struct seen *s = &seen[which];
    struct hold *out = NULL;
    while (s->accounted < total) {
        struct cursor_gap gap;
        model_at(s->accounted << 48 ^ s->received << 40 ^ (uint64_t)s->last[0] << 32 ^ (uint64_t)s->last[1] << 24 ^
                 (out != NULL ? platform_offset(out) : 0));
        switch (cursor_look(cursor, &gap)) {
        case CURSOR_EMPTY: model_yield(); break;
        case CURSOR_GAP:
            s->accounted += gap.lost;
            MUST(base_sequence + s->accounted == gap.sequence);
            break;
        case CURSOR_RECORD: {
            struct hold *hold = cursor->hold;
            MUST(base_sequence + s->accounted == cursor_sequence(cursor));
            look_at(s, cursor->data + cursor->offset, true);
            hold->events++;
            cursor_skip(cursor, cursor_header(cursor));
            if (out != NULL)
                hold_release(out);
            out = hold;
            break;
        }
        default: model_fail("a look that should not be");
        }
    }
    if (out != NULL)
        hold_release(out);
}
static void read_first(void)
{
    read_exclusive(0, TOTAL);
}
static void read_second(void)
{
    read_exclusive(1, TOTAL);
}

static void read_shared(void)
{
    struct cursor *cursor = &stage->cursors[0];
    struct seen *s = &seen[0];
    while (s->accounted < TOTAL) {
        struct cursor_gap gap;
        struct claim claim;
        switch (cursor_claim(cursor, 2, &claim, &gap)) {
        case CURSOR_EMPTY: model_yield(); break;
        case CURSOR_GAP:
            s->accounted += gap.lost;
            break;
        case CURSOR_RECORD:
            for (size_t i = 0; i < claim.count; i++) {
                uint64_t header = record_look(claim.data);
                look_at(s, claim.data, false);
                claim.data += record_stride(header);
                segment_unpin(claim.segment);
            }
            break;
        default: model_fail("a claim that should not be");
        }
    }
}

static void clear_stage(void)
{
    for (int i = 0; i < 2; i++)
        if (stage->cursors[i].ring != NULL) {
            MUST(seen[i].accounted == TOTAL || base_sequence != 0);
            MUST(cursor_queued(&stage->cursors[i]) == 0);
            cursor_detach(&stage->cursors[i]);
            cursor_close(&stage->cursors[i]);
            MUST(holds_end(&stage->holds[i]));
        }
    MUST(stage->ring.limbo == NULL);
    ring_fini(&stage->ring);
    MUST(stage->ring.in_use == 0);
    pool_fini(&stage->pool);
}

static void two_that_drop(void)
{
    set_stage();
    add_cursor(0, CURSOR_DROP, 2, false);
    add_cursor(1, CURSOR_DROP, 1, false);
}

static void one_that_blocks(void)
{
    set_stage();
    add_cursor(0, CURSOR_BLOCK, 2, false);
    add_cursor(1, CURSOR_DROP, 2, false);
}

static void workers_that_drop(void)
{
    set_stage();
    add_cursor(0, CURSOR_DROP, 2, true);
}

static void workers_that_block(void)
{
    set_stage();
    add_cursor(0, CURSOR_BLOCK, 1, true);
}

/* As small as it can be with two publishers, two readers and three segments used again: in the set-up segments are made
 * that are free when the threads begin, and each of the three messages takes one. */
static void publish_twice(void)
{
    publish(0, 2);
}
static void publish_once(void)
{
    publish(1, 1);
}
static void read_three_first(void)
{
    read_exclusive(0, 3);
}
static void read_three_second(void)
{
    read_exclusive(1, 3);
}

static void segments_used(void)
{
    two_that_drop();
    for (base_sequence = 0; base_sequence < 4; base_sequence++) {
        publish(0, 1);
        for (int i = 0; i < 2; i++) {
            struct cursor_gap gap;
            MUST(cursor_look(&stage->cursors[i], &gap) == CURSOR_RECORD);
            cursor_skip(&stage->cursors[i], cursor_header(&stage->cursors[i]));
        }
    }
}

static void check_reuse(void)
{
    clear_stage();
}

/* ------------------------------------------------------------------------------------------- waiting, through the API -- */

static struct bcast *b;
static struct bcast_channel *channel;
static struct bcast_sub *subs[2];
static unsigned taken, expected;

static void open_all(unsigned count, bool shared, unsigned messages)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = shared;
    taken = 0;
    expected = messages;
    memset(subs, 0, sizeof subs);
    MUST(bcast_open("memory://", NULL, &b) == BCAST_OK);
    MUST(bcast_channel(b, "x", 0, &channel) == BCAST_OK);
    for (unsigned i = 0; i < count; i++)
        MUST(bcast_subscribe(b, "x", &options, &subs[i]) == BCAST_OK);
}

static void say_one(void)
{
    MUST(bcast_publish_to(channel, "12345678", 8) == BCAST_OK);
}
static void say_two(void)
{
    say_one();
    say_one();
}

static void hear(struct bcast_sub *sub, unsigned count)
{
    struct bcast_event *event = memory_get(sizeof *event);
    for (unsigned i = 0; i < count; i++) {
        MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_OK);
        MUST(event->kind == BCAST_MESSAGE && event->sequence == i && event->size == 8);
        MUST(memcmp(event->data, "12345678", 8) == 0);
    }
    bcast_release(event);
}
static void hear_first(void)
{
    hear(subs[0], expected);
}
static void hear_second(void)
{
    hear(subs[1], expected);
}

/* A worker: takes messages until all have been taken, by it or by the others; then lets the others go. */
static void work(void)
{
    struct bcast_event *event = memory_get(sizeof *event);
    int status;
    while ((status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK)
        if (++taken == expected)
            MUST(bcast_cancel(subs[0]) == BCAST_OK);
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}

static void wait_until_closed(void)
{
    struct bcast_event *event = memory_get(sizeof *event);
    int status;
    while ((status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK)
        ;
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}

static void cancel(void)
{
    MUST(bcast_cancel(subs[0]) == BCAST_OK);
}

static void shut_down(void)
{
    MUST(bcast_shutdown(b) == BCAST_OK);
}

/* Somebody else's subscription ends while messages are on their way. */
static void leave(void)
{
    bcast_unsubscribe(subs[1]);
    subs[1] = NULL;
}

/* Two channels in one subscription: each has its own order. */
static void say_elsewhere(void)
{
    MUST(bcast_publish(b, "y", "12345678", 8) == BCAST_OK);
}
static void hear_channels(void)
{
    struct bcast_event *event = memory_get(sizeof *event);
    unsigned heard[2] = {0, 0};
    for (unsigned i = 0; i < expected; i++) {
        MUST(bcast_next(subs[0], event, BCAST_FOREVER) == BCAST_OK);
        MUST(event->kind == BCAST_MESSAGE && event->sequence == heard[*event->channel == 'y']++);
    }
    bcast_release(event);
}
static void add_and_hear(void)
{
    MUST(bcast_add_channel(subs[0], "y", 0) == BCAST_OK);
    say_elsewhere(); /* whoever comes after the barrier is heard */
}
static void hear_at_least(void)
{
    struct bcast_event *event = memory_get(sizeof *event);
    for (bool elsewhere = false, here = false; !elsewhere || !here;) {
        MUST(bcast_next(subs[0], event, BCAST_FOREVER) == BCAST_OK);
        *(*event->channel == 'y' ? &elsewhere : &here) = true;
    }
    bcast_release(event);
}

/* Begins in the past, while it is added to and trimmed: one stretch, up to the end. */
static void join_late(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event *event = memory_get(sizeof *event);
    struct bcast_sub *sub;
    uint64_t next = 0;
    options.history = 2;
    options.policy = BCAST_BLOCK;
    MUST(bcast_subscribe(b, "x", &options, &sub) == BCAST_OK);
    for (bool first = true; first || next < expected; first = false) {
        MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_OK);
        MUST(event->kind == BCAST_MESSAGE && (first || event->sequence == next));
        next = event->sequence + 1;
    }
    bcast_release(event);
    bcast_unsubscribe(sub);
}
static void keep_history(void)
{
    memset(subs, 0, sizeof subs);
    expected = 6;
    MUST(bcast_open("memory://?history=2&history_bytes=100", NULL, &b) == BCAST_OK);
    MUST(bcast_channel(b, "x", 0, &channel) == BCAST_OK);
    say_two();
}

static void close_all(void)
{
    for (unsigned i = 0; i < 2; i++)
        bcast_unsubscribe(subs[i]);
    bcast_channel_free(channel);
    bcast_close(b);
}

static void two_subscriptions(void)
{
    open_all(2, false, 2);
}
static void two_subscriptions_of_four(void)
{
    open_all(2, false, 4);
}
static void one_subscription(void)
{
    open_all(1, false, 2);
}
static void one_shared(void)
{
    open_all(1, true, 2);
}
static void both_channels(bool shared)
{
    static const char *const names[] = {"x", "y"};
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = shared;
    open_all(0, false, 2);
    MUST(bcast_subscribe_many(b, names, NULL, 2, &options, &subs[0]) == BCAST_OK);
}
static void two_channels(void)
{
    both_channels(false);
}
static void two_channels_shared(void)
{
    both_channels(true);
}
static void check_taken(void)
{
    MUST(taken == expected);
    close_all();
}

static const struct scenario scenarios[] = {
    {"ring-reuse", segments_used, {publish_twice, publish_once, read_three_first, read_three_second}, check_reuse,
     .by_value = true},
    {"ring-drop", two_that_drop, {publish_0, publish_1, read_first, read_second}, clear_stage, .by_value = true},
    {"ring-block", one_that_blocks, {publish_0, publish_1, read_first, read_second}, clear_stage, .by_value = true},
    {"ring-workers-drop", workers_that_drop, {publish_0, publish_1, read_shared, read_shared}, clear_stage},
    {"ring-workers-block", workers_that_block, {publish_0, publish_1, read_shared, read_shared}, clear_stage},
    {"wait-one", one_subscription, {say_one, say_one, hear_first}, close_all},
    {"wait-two", two_subscriptions, {say_one, say_one, hear_first, hear_second}, close_all},
    {"wait-twice", two_subscriptions_of_four, {say_two, say_two, hear_first, hear_second}, close_all},
    {"wait-workers", one_shared, {say_one, say_one, work, work, work}, check_taken},
    {"wait-leave", two_subscriptions, {say_one, say_one, hear_first, leave}, close_all},
    {"wait-channels", two_channels, {say_one, say_elsewhere, hear_channels}, close_all},
    {"wait-channels-workers", two_channels_shared, {say_one, say_elsewhere, work, work}, check_taken},
    {"add-channel", one_subscription, {say_one, add_and_hear, hear_at_least}, close_all},
    {"history", keep_history, {say_two, say_two, join_late}, close_all},
    {"cancel", one_subscription, {say_one, cancel, wait_until_closed}, close_all},
    {"shut-down", one_subscription, {shut_down, wait_until_closed}, close_all},
};

static void usage(void)
{
    fprintf(stderr,
            "usage: model [--seconds N] [--random-seconds N] [--preemptions N] [--old-values N] [--seed N] [--trace]\n"
            "             [SCENARIO...]\n"
            "       --seconds: for each scenario; --preemptions, --old-values: of one run, at most\n");
    exit(2);
}

int main(int count, char **words)
{
    struct exploration wanted = {.seed = 1, .seconds = 10, .random_seconds = 3, .preemptions = 3, .old_values = 1};
    int failures = 0, named = 0;
    for (int i = 1; i < count; i++)
        if (strncmp(words[i], "--", 2) != 0)
            named++;
        else if (strcmp(words[i], "--trace") == 0)
            wanted.trace = true;
        else if (i + 1 == count)
            usage();
        else if (strcmp(words[i], "--seconds") == 0)
            wanted.seconds = atof(words[++i]);
        else if (strcmp(words[i], "--random-seconds") == 0)
            wanted.random_seconds = atof(words[++i]);
        else if (strcmp(words[i], "--preemptions") == 0)
            wanted.preemptions = (unsigned)atoi(words[++i]);
        else if (strcmp(words[i], "--old-values") == 0)
            wanted.old_values = (unsigned)atoi(words[++i]);
        else if (strcmp(words[i], "--seed") == 0)
            wanted.seed = strtoull(words[++i], NULL, 0);
        else
            usage();
    for (size_t s = 0; s < sizeof scenarios / sizeof *scenarios; s++) {
        struct exploration e = wanted;
        bool run = named == 0;
        for (int i = 1; i < count; i++)
            run |= strcmp(words[i], scenarios[s].name) == 0;
        if (run)
            failures += !explore(&scenarios[s], &e);
    }
    printf("model: %s\n", failures == 0 ? "nothing found" : "FAILED");
    return failures != 0;
}
