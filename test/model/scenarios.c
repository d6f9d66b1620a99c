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
    _Atomic uint64_t accounted; /* by the readers of a shared cursor */
    _Atomic uint32_t trimmed;
};

#define LARGE 264 /* bytes: more than a segment takes, see SEGMENT_BYTES */

static struct stage *stage;
static struct seen seen[2];
static uint64_t base_sequence; /* published in the set-up */
static uint32_t number_before; /* of the segment, then */

static void gone(struct bell *bell)
{
    (void)bell;
}

static void add_cursor(int i, enum cursor_policy policy, uint64_t limit, bool shared)
{
    struct cursor *cursor = &stage->cursors[i];
    cursor->limits = (struct ring_limits){limit, limit == TOTAL ? TOTAL * 16 : 64};
    cursor->policy = (uint8_t)policy;
    cursor->holds = shared ? NULL : &stage->holds[i];
    cursor->waiter.bell = &stage->bell;
    MUST(cursor_open(cursor, &stage->ring, NULL));
}

static void set_stage(void)
{
    memset(seen, 0, sizeof seen);
    base_sequence = 0;
    stage = platform_get(sizeof *stage);
    ring_init(&stage->ring, &(struct ring_setup){.pool = &stage->pool});
    bell_init(&stage->bell, gone);
    MUST(os_guard_open(&stage->guard) == 0);
}

/* Each message is marked with who published it, and says which of his it is. */
static void publish_sized(uint32_t publisher, uint32_t i, uint32_t size)
{
    uint32_t mark[LARGE / 4] = {publisher, i};
    struct record record = {.data = mark, .size = size};
    MUST(ring_publish(&stage->ring, &record, OS_NEVER, &stage->guard) == RING_OK);
}

static void publish(uint32_t publisher, uint32_t count)
{
    for (uint32_t i = 1; i <= count; i++) {
        model_at(i);
        publish_sized(publisher, i, 8);
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
    MUST(record_size(header) >= sizeof mark && record_size(header) <= LARGE);
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
    while (stage->accounted < TOTAL) {
        struct cursor_gap gap;
        struct claim claim;
        switch (cursor_claim(cursor, 2, &claim, &gap)) {
        case CURSOR_EMPTY: model_yield(); break;
        case CURSOR_GAP: stage->accounted += gap.lost; break;
        case CURSOR_RECORD:
            for (size_t i = 0; i < claim.count; i++) {
                struct seen ignored = {0};
                uint64_t header = record_look(claim.data);
                look_at(&ignored, claim.data, false);
                claim.data += record_stride(header);
                segment_unpin(claim.segment);
            }
            stage->accounted += claim.count;
            break;
        default: model_fail("a claim that should not be");
        }
    }
}

static void clear_stage(void)
{
    bool behind = false; /* a cursor has not come to the end, or to the empty segment there */
    for (int i = 0; i < 2; i++)
        behind |= stage->cursors[i].ring != NULL && stage->cursors[i].at != stage->ring.current;
    MUST(behind || stage->ring.head == stage->ring.current); /* no segment was forgotten */
    for (int i = 0; i < 2; i++)
        if (stage->cursors[i].ring != NULL) {
            MUST(stage->accounted + seen[i].accounted == TOTAL || base_sequence != 0);
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

/* Large messages among small ones. */
static void publish_large_and_small(void)
{
    publish_sized(0, 1, LARGE);
    publish_sized(0, 2, 8);
    publish_sized(0, 3, LARGE);
}

/* Segments that grow, to the size that goes through the pool; and that are given back while nobody reads. */
static void publish_wide(uint32_t publisher)
{
    for (uint32_t i = 1; i <= EACH; i++)
        publish_sized(publisher, i, 120);
}
static void publish_wide_0(void)
{
    publish_wide(0);
}
static void publish_wide_1(void)
{
    publish_wide(1);
}
static void trim(void)
{
    for (int i = 0; i < 3; i++) {
        ring_trim(&stage->ring);
        model_yield();
    }
}
static void wide(void)
{
    set_stage();
    add_cursor(0, CURSOR_DROP, 16, false);
    stage->cursors[0].limits.bytes = 8 * SEGMENT_BYTES;
    add_cursor(1, CURSOR_DROP, 16, false);
}

/* One that waits for room with others at a bell, as the I/O thread does. */
static void free_bell(struct bell *bell)
{
    memory_put(bell);
}
static void publish_by_bell(void)
{
    struct bell *bell = memory_get(sizeof *bell);
    bell_init(bell, free_bell);
    for (uint32_t i = 1; i <= EACH;) {
        uint32_t mark[2] = {0, i};
        struct record record = {.data = mark, .size = sizeof mark};
        enum ring_result result = ring_publish(&stage->ring, &record, 0, &stage->guard);
        i += result == RING_OK;
        if (result == RING_OK)
            continue;
        MUST(result == RING_FULL);
        ring_notify_space(&stage->ring, bell);
        for (;;) {
            uint32_t rings = bell_enter(bell);
            bool room = ring_has_room(&stage->ring);
            if (!room)
                bell_sleep(bell, rings, OS_NEVER);
            bell_leave(bell);
            if (room)
                break;
        }
        ring_notify_space(&stage->ring, NULL);
    }
    bell_unref(bell);
}
static void read_half(void)
{
    read_exclusive(0, EACH);
}
static void one_in_the_way(void)
{
    set_stage();
    add_cursor(0, CURSOR_BLOCK, 1, false);
}
static void clear_half(void)
{
    seen[0].accounted += EACH; /* one publisher only */
    clear_stage();
}
/* It reads nothing, and goes. */
static void step_aside(void)
{
    cursor_detach(&stage->cursors[0]);
    cursor_close(&stage->cursors[0]);
}
static void clear_left(void)
{
    stage->cursors[0].ring = NULL;
    MUST(holds_end(&stage->holds[0]));
    clear_stage();
}

/* Large ones that nobody reads: no more are kept than the limits say. */
static void publish_large(void)
{
    for (uint32_t i = 1; i <= EACH; i++) {
        publish_sized(0, i, LARGE);
        MUST(stage->ring.in_use <= 6); /* the ring, the cursor's, and two for this message and for the last */
    }
}
static void clear_unread(void)
{
    MUST(cursor_queued(&stage->cursors[0]) >= 1);
    cursor_detach(&stage->cursors[0]);
    cursor_close(&stage->cursors[0]);
    ring_fini(&stage->ring);
    MUST(stage->ring.in_use == 0);
}
static void one_that_drops(void)
{
    set_stage();
    add_cursor(0, CURSOR_DROP, 1, false);
}

/* Nobody reads, and what is kept is little: a publisher may be left behind in a segment that is not needed any more. */
static void keep_little(void)
{
    set_stage();
    ring_init(&stage->ring, &(struct ring_setup){.pool = &stage->pool, .history = {1, 16}});
}
static void forget_all(void)
{
    ring_fini(&stage->ring);
    MUST(stage->ring.in_use == 0);
}

/* Who leaves gives back what only he needed. */
static void three_unread(void)
{
    set_stage();
    add_cursor(0, CURSOR_DROP, 16, false);
    for (uint32_t i = 1; i <= 3; i++)
        publish_sized(0, i, 56);
}
static void clear_nothing(void)
{
    MUST(stage->ring.head == stage->ring.current);
    ring_fini(&stage->ring);
    MUST(stage->ring.in_use == 0);
}

/* Limits that nobody comes near: nothing may be lost. */
static void two_that_keep(void)
{
    set_stage();
    for (int i = 0; i < 2; i++)
        add_cursor(i, CURSOR_DROP, TOTAL, false);
}

/* Figures, for anybody at any time. */
static void look_at_the_tail(void)
{
    struct ring_limits before = {0, 0};
    for (int i = 0; i < 4; i++) {
        struct ring_limits tail = ring_tail(&stage->ring);
        MUST(tail.messages >= before.messages && tail.messages <= TOTAL && tail.bytes == 16 * tail.messages);
        before = tail;
    }
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
/* Looks until it finds something, and at what comes then: a record, a gap, or both. */
static void read_some(int which)
{
    struct cursor *cursor = &stage->cursors[which];
    struct cursor_gap gap = {0, 0};
    enum cursor_result found;
    model_at(0);
    while ((found = cursor_look(cursor, &gap)) == CURSOR_EMPTY) {
        model_yield();
        model_at(0);
    }
    MUST(found == CURSOR_RECORD || (found == CURSOR_GAP && gap.lost != 0 && gap.sequence == cursor_sequence(cursor)));
    MUST(cursor_sequence(cursor) == base_sequence + gap.lost);
    if (found == CURSOR_RECORD)
        look_at(&seen[which], cursor->data + cursor->offset, true);
}
static void read_some_first(void)
{
    read_some(0);
}
static void read_some_second(void)
{
    read_some(1);
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
    number_before = (uint32_t)(stage->ring.word >> 32);
}

static void check_reuse(void)
{
    MUST((uint32_t)(stage->ring.word >> 32) == number_before + 3); /* three segments were taken */
    for (int i = 0; i < 2; i++) {                                  /* the rest of it */
        seen[i] = (struct seen){.accounted = stage->cursors[i].sequence - base_sequence};
        read_exclusive(i, 3);
    }
    clear_stage();
}

/* ------------------------------------------------------------------------------------------- waiting, through the API -- */

static struct bcast *b;
static struct bcast_channel *channel;
static struct bcast_sub *subs[4];
static unsigned expected;
static size_t blocks_before;
static struct counts {
    _Atomic unsigned taken, ended;
} * counts;

static void open_all(unsigned count, bool shared, unsigned messages)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = shared;
    counts = platform_get(sizeof *counts);
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
    struct bcast_event *event = platform_get(sizeof *event);
    for (unsigned i = 0; i < count; i++) {
        MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_OK);
        MUST(event->kind == BCAST_MESSAGE && event->sequence == i && event->size >= 8);
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
    struct bcast_event *event = platform_get(sizeof *event);
    int status;
    while ((status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK)
        if (atomic_fetch_add(&counts->taken, 1) + 1 == expected)
            MUST(bcast_cancel(subs[0]) == BCAST_OK);
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}

static void wait_until_closed(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
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
    struct bcast_event *event = platform_get(sizeof *event);
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
    struct bcast_event *event = platform_get(sizeof *event);
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
    struct bcast_event *event = platform_get(sizeof *event);
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

static void nothing_left(void)
{
    MUST(platform_blocks() == 0);
}
static void close_all(void)
{
    for (unsigned i = 0; i < 4; i++)
        bcast_unsubscribe(subs[i]);
    bcast_channel_free(channel);
    bcast_close(b);
    if (model_alone())
        nothing_left();
}

/* ---- more of it ---- */

static void say_large(void)
{
    static const char large[LARGE] = "12345678";
    MUST(bcast_publish_to(channel, large, sizeof large) == BCAST_OK);
}
static void large_and_two(void)
{
    open_all(2, false, 2);
}
static void hear_third(void)
{
    hear(subs[2], expected);
}
static void hear_fourth(void)
{
    hear(subs[3], expected);
}
static void four_subscriptions(void)
{
    open_all(4, false, 1);
}

/* Of a baton, when its bearer is called off. */
static void hear_or_not(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status = bcast_next(subs[1], event, BCAST_FOREVER);
    MUST(status == BCAST_OK || status == BCAST_ERR_CLOSED);
    bcast_release(event);
}
static void call_off(void)
{
    MUST(bcast_cancel(subs[1]) == BCAST_OK);
}
static void three_subscriptions(void)
{
    open_all(3, false, 1);
}

/* Waiting in poll: through an fd, until everything has been heard. */
static void hear_by_poll(unsigned which)
{
    struct bcast_event *event = platform_get(sizeof *event);
    for (unsigned i = 0; i < expected;) {
        int status = bcast_next(subs[which], event, 0);
        if (status == BCAST_TIMEOUT) {
            model_yield(); /* it may be readable because a publisher is about to finish */
            model_poll(bcast_fd(subs[which]));
            continue;
        }
        MUST(status == BCAST_OK && event->kind == BCAST_MESSAGE && event->sequence == i++);
    }
    bcast_release(event);
}
static void poll_first(void)
{
    hear_by_poll(0);
    for (unsigned i = 2; i <= 4; i++) /* 1 is the notifier, 5 we */
        model_join(i);
    close_all();
}
static void poll_second(void)
{
    hear_by_poll(1);
}
static void poll_third(void)
{
    hear_by_poll(2);
}
static void with_fds(unsigned count, unsigned messages)
{
    open_all(count, false, messages);
    for (unsigned i = 0; i < count; i++)
        MUST(bcast_fd(subs[i]) >= 0);
}
static void two_with_fds(void)
{
    with_fds(2, 2);
}
static void one_fd_yet(void)
{
    open_all(2, false, 2);
    MUST(bcast_fd(subs[0]) >= 0); /* the other is opened when it is wanted */
}
static void three_with_fds(void)
{
    with_fds(3, 1);
}
static void poll_channels(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    for (unsigned i = 0; i < expected;) {
        int status = bcast_next(subs[0], event, 0);
        MUST(status == BCAST_OK || status == BCAST_TIMEOUT);
        if (status == BCAST_TIMEOUT) {
            model_yield();
            model_poll(bcast_fd(subs[0]));
        }
        i += status == BCAST_OK;
    }
    bcast_release(event);
    model_join(2);
    model_join(3);
    close_all();
}

/* Policies. */
static void open_with(enum bcast_policy policy, size_t limit, bool shared, unsigned messages)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.policy = policy;
    options.limit_messages = limit;
    options.shared = shared;
    open_all(0, false, messages);
    MUST(bcast_subscribe(b, "x", &options, &subs[0]) == BCAST_OK);
}
static void one_blocking(void)
{
    open_with(BCAST_BLOCK, 1, false, 4);
}
static void one_to_disconnect(void)
{
    open_with(BCAST_DISCONNECT, 1, false, 4);
}
static void workers_to_disconnect(void)
{
    open_with(BCAST_DISCONNECT, 1, true, 4);
}
static void hear_until_disconnected(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status = BCAST_OK;
    while (atomic_load(&counts->taken) < expected && (status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK) {
        MUST(event->kind == BCAST_MESSAGE);
        if (atomic_fetch_add(&counts->taken, 1) + 1 == expected)
            bcast_cancel(subs[0]);
    }
    MUST(status == BCAST_OK || status == BCAST_ERR_DISCONNECTED || status == BCAST_ERR_CLOSED);
    bcast_release(event);
}
static void say_unless_closed(void)
{
    for (int i = 0; i < 3; i++) {
        int status = bcast_publish_to(channel, "12345678", 8);
        MUST(status == BCAST_OK || status == BCAST_ERR_CLOSED);
    }
}
static void leave_first(void)
{
    bcast_unsubscribe(subs[0]);
    subs[0] = NULL;
}

/* Channels that come and go, while somebody publishes by name. */
static void come_and_go(void)
{
    struct bcast_sub *sub;
    MUST(bcast_subscribe(b, "y", NULL, &sub) == BCAST_OK);
    bcast_unsubscribe(sub);
}
static void come_and_hear(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    struct bcast_sub *sub;
    MUST(bcast_subscribe(b, "y", NULL, &sub) == BCAST_OK);
    say_elsewhere();
    MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_OK && event->size == 8);
    bcast_unsubscribe(sub); /* the event outlives it */
    MUST(memcmp(event->data, "12345678", 8) == 0);
    bcast_release(event);
}
static void names_used_up(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    open_all(0, false, 0);
    for (unsigned i = 0; i < 5; i++) { /* the next one needs another table */
        struct bcast_channel *used;
        MUST(bcast_channel(b, names[i], 0, &used) == BCAST_OK);
        bcast_channel_free(used);
    }
}
static void say_elsewhere_twice(void)
{
    say_elsewhere();
    say_elsewhere();
}

/* One channel of two is removed, and what is said there reaches nobody or one. */
static void remove_one(void)
{
    MUST(bcast_remove_channel(subs[0], "y", 0) == BCAST_OK);
}
static void hear_the_rest(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    for (bool here = false; !here;) {
        MUST(bcast_next(subs[0], event, BCAST_FOREVER) == BCAST_OK);
        here = *event->channel == 'x';
    }
    bcast_release(event);
}
static void remove_and_add(void)
{
    remove_one();
    MUST(bcast_add_channel(subs[0], "y", 0) == BCAST_OK);
    say_elsewhere();
}
static void work_until_both(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status;
    while ((status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK) {
        unsigned seen_here = *event->channel == 'x' ? 1 : 2;
        if ((atomic_fetch_or(&counts->taken, seen_here) | seen_here) == 3)
            MUST(bcast_cancel(subs[0]) == BCAST_OK);
    }
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}

/* Everything is ended by somebody else; the event outlives it all. */
static void hear_and_end(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status = bcast_next(subs[0], event, BCAST_FOREVER);
    MUST(status == BCAST_OK || status == BCAST_ERR_CLOSED);
    leave_first();
    MUST(status != BCAST_OK || memcmp(event->data, "12345678", 8) == 0);
    bcast_release(event);
}
static void keep_and_end(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status = bcast_next(subs[1], event, BCAST_FOREVER);
    MUST(status == BCAST_ERR_CLOSED || (status == BCAST_OK && bcast_keep(event) == BCAST_OK));
    leave();
    MUST(status != BCAST_OK || memcmp(event->data, "12345678", 8) == 0);
    bcast_release(event);
}
static void say_one_and_close(void)
{
    say_one();
    bcast_channel_free(channel);
    bcast_close(b);
}
static void say_large_and_free(void)
{
    static const char large[LARGE] = "12345678";
    int status = bcast_publish_to(channel, large, sizeof large);
    MUST(status == BCAST_OK || status == BCAST_ERR_CLOSED);
    bcast_channel_free(channel);
}
static void close_rest(void)
{
    bcast_close(b);
}

/* Figures and positions, at any time. */
static void ask(void)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    struct bcast_stats all = bcast_stats_init();
    MUST(bcast_sub_stats(subs[0], &stats) == BCAST_OK && stats.queued <= expected && stats.received <= expected);
    MUST(bcast_stats(b, &all) == BCAST_OK && all.published <= expected);
}

/* Waiters of subscriptions that are gone keep their memory; not of many. */
static void arm_and_leave(void)
{
    for (int i = 0; i < 4; i++) {
        struct bcast_event event = BCAST_EVENT_INIT;
        struct bcast_sub *sub;
        MUST(bcast_subscribe(b, "x", NULL, &sub) == BCAST_OK);
        MUST(bcast_fd(sub) >= 0);
        MUST(bcast_next(sub, &event, 0) == BCAST_TIMEOUT); /* arms it */
        bcast_unsubscribe(sub);
    }
    MUST(platform_blocks() <= blocks_before + 2);
    close_all();
}
/* Channels that were at rest when they were removed are forgotten. */
static void rest_and_remove(void)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    for (int i = 0; i < 4; i++) {
        MUST(bcast_add_channel(subs[0], "y", 0) == BCAST_OK);
        MUST(bcast_next(subs[0], &event, 0) == BCAST_TIMEOUT);
        MUST(bcast_remove_channel(subs[0], "y", 0) == BCAST_OK);
        say_elsewhere(); /* rings those who waited there */
        MUST(bcast_next(subs[0], &event, 0) == BCAST_TIMEOUT);
        MUST(bcast_next(subs[0], &event, 0) == BCAST_TIMEOUT);
    }
    MUST(platform_blocks() <= blocks_before + 2);
    close_all();
}
static void one_to_leave_from(void)
{
    open_all(1, false, 0);
    MUST(bcast_fd(subs[0]) >= 0);
    blocks_before = platform_blocks();
}

/* Workers that begin in the past, in the middle of a segment. */
static void work_on_history(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status;
    while ((status = bcast_next(subs[0], event, BCAST_FOREVER)) == BCAST_OK) {
        MUST(event->kind == BCAST_MESSAGE && event->sequence >= 1);
        if (atomic_fetch_add(&counts->taken, 1) + 1 == expected)
            MUST(bcast_cancel(subs[0]) == BCAST_OK);
    }
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}
static void begin_in_the_past(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.history = 1;
    options.shared = 1;
    keep_history();
    expected = 2;
    counts = platform_get(sizeof *counts);
    MUST(bcast_subscribe(b, "x", &options, &subs[0]) == BCAST_OK);
}

/* Each worker takes one, and goes: nobody may rely on another that comes back. */
static void take_one_of_them(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    MUST(bcast_next(subs[0], event, BCAST_FOREVER) == BCAST_OK);
    atomic_fetch_add(&counts->taken, 1);
    bcast_release(event);
}

/* What has been called off, or removed, is not heard any more. */
static void cancel_and_tell(void)
{
    cancel();
    atomic_store_explicit(&counts->ended, 1, memory_order_release);
}
static void hear_until_told(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    int status;
    do {
        bool told = atomic_load_explicit(&counts->ended, memory_order_acquire);
        status = bcast_next(subs[0], event, BCAST_FOREVER);
        MUST(!told || status == BCAST_ERR_CLOSED);
    } while (status == BCAST_OK);
    MUST(status == BCAST_ERR_CLOSED);
    bcast_release(event);
}
static void remove_and_tell(void)
{
    remove_one();
    atomic_store_explicit(&counts->ended, 1, memory_order_release);
    say_one();
}
static void hear_nothing_removed(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    for (bool here = false; !here;) {
        bool told = atomic_load_explicit(&counts->ended, memory_order_acquire);
        MUST(bcast_next(subs[0], event, BCAST_FOREVER) == BCAST_OK);
        here = *event->channel == 'x';
        MUST(!told || here);
    }
    bcast_release(event);
}
static void add_only(void)
{
    MUST(bcast_add_channel(subs[0], "y", 0) == BCAST_OK);
}
static void remove_when_there(void)
{
    while (bcast_remove_channel(subs[0], "y", 0) != BCAST_OK)
        model_yield();
    say_one();
}
static void hear_x(void)
{
    hear_the_rest();
}

/* A thread with nothing to do sleeps. */
static void sleep_until_closed(void)
{
    wait_until_closed();
    MUST(model_yields() < 500);
}
static void sleep_until_taken(void)
{
    take_one_of_them();
    MUST(model_yields() < 500);
}
static void late_to_close(void)
{
    for (int i = 0; i < 600; i++)
        model_yield();
    cancel();
}

/* Subscribes while it is shut down: is told, or hears it. */
static void subscribe_late(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    struct bcast_sub *sub;
    int status = bcast_subscribe(b, "x", NULL, &sub);
    MUST(status == BCAST_OK || status == BCAST_ERR_CLOSED);
    if (status == BCAST_OK)
        MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_ERR_CLOSED);
    bcast_release(event);
    bcast_unsubscribe(sub);
}

/* Time passes: channels at rest are trimmed. */
static void one_subscription(void);
static void two_channels(void);
static void two_channels_shared(void);
static void two_channels_in_time(void)
{
    two_channels();
    model_time_passes();
}
static void workers_in_time(void)
{
    two_channels_shared();
    model_time_passes();
}
static void one_in_time(void)
{
    one_subscription();
    model_time_passes();
}

/* Subscribes in the midst of it: what it says itself, it hears. */
static void join_in(void)
{
    struct bcast_event *event = platform_get(sizeof *event);
    struct bcast_sub *sub;
    MUST(bcast_subscribe(b, "x", NULL, &sub) == BCAST_OK);
    MUST(bcast_publish_to(channel, "mine", 4) == BCAST_OK);
    do
        MUST(bcast_next(sub, event, BCAST_FOREVER) == BCAST_OK);
    while (event->size != 4);
    bcast_release(event);
    bcast_unsubscribe(sub);
}
static void nobody(void)
{
    open_all(0, false, 0);
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
static void two_channels_with_fd(void)
{
    two_channels();
    MUST(bcast_fd(subs[0]) >= 0);
}
static void check_taken(void)
{
    MUST(counts->taken == expected);
    close_all();
}

static const struct scenario scenarios[] = {
    {"ring-reuse", segments_used, {publish_twice, publish_once, read_some_first, read_some_second}, check_reuse, true},
    {"ring-drop", two_that_drop, {publish_0, publish_1, read_first, read_second}, clear_stage, true},
    {"ring-block", one_that_blocks, {publish_0, publish_1, read_first, read_second}, clear_stage, true},
    {"ring-workers-drop", workers_that_drop, {publish_0, publish_1, read_shared, read_shared}, clear_stage, false},
    {"ring-workers-block", workers_that_block, {publish_0, publish_1, read_shared, read_shared}, clear_stage, false},
    {"ring-large", two_that_drop, {publish_large_and_small, publish_1, read_first, read_second}, clear_stage, false},
    {"ring-large-block",
     one_that_blocks,
     {publish_large_and_small, publish_1, read_first, read_second},
     clear_stage,
     false},
    {"ring-large-workers",
     workers_that_drop,
     {publish_large_and_small, publish_1, read_shared, read_shared},
     clear_stage,
     false},
    {"ring-wide", wide, {publish_wide_0, publish_wide_1, read_first, read_second, trim}, clear_stage, false},
    {"ring-keep", two_that_keep, {publish_0, publish_1, read_first, read_second}, clear_stage, true},
    {"ring-history", keep_little, {publish_wide_0, publish_wide_1}, forget_all, false},
    {"ring-left", three_unread, {step_aside}, clear_nothing, false},
    {"ring-unread", one_that_drops, {publish_large}, clear_unread, false},
    {"tail", one_that_drops, {publish_0, publish_1, look_at_the_tail}, clear_unread, false},
    {"ring-tail", two_that_drop, {publish_0, publish_1, read_first, read_second, look_at_the_tail}, clear_stage, false},
    {"room", one_in_the_way, {publish_0, read_half}, clear_half, false},
    {"room-bell", one_in_the_way, {publish_by_bell, read_half}, clear_half, false},
    {"room-leave", one_in_the_way, {publish_0, step_aside}, clear_left, false},
    {"room-wait", one_blocking, {say_two, say_two, hear_first}, close_all, false},
    {"room-shut-down", one_blocking, {say_unless_closed, say_unless_closed, shut_down}, close_all, false},
    {"wait-one", one_subscription, {say_one, say_one, hear_first}, close_all, false},
    {"wait-two", two_subscriptions, {say_one, say_one, hear_first, hear_second}, close_all, false},
    {"wait-twice", two_subscriptions_of_four, {say_two, say_two, hear_first, hear_second}, close_all, false},
    {"wait-four", four_subscriptions, {say_one, hear_first, hear_second, hear_third, hear_fourth}, close_all, false},
    {"wait-large", large_and_two, {say_large, say_one, hear_first, hear_second}, close_all, false},
    {"wait-workers", one_shared, {say_one, say_one, work, work, work}, check_taken, false},
    {"wait-leave", two_subscriptions, {say_one, say_one, hear_first, leave}, close_all, false},
    {"wait-call-off", three_subscriptions, {say_one, hear_first, hear_or_not, hear_third, call_off}, close_all, false},
    {"wait-channels", two_channels, {say_one, say_elsewhere, hear_channels}, close_all, false},
    {"wait-channels-workers", two_channels_shared, {say_one, say_elsewhere, work, work}, check_taken, false},
    {"poll", two_with_fds, {say_one, say_one, poll_second, poll_first}, nothing_left, false},
    {"poll-late", one_fd_yet, {say_one, say_one, poll_second, poll_first}, nothing_left, false},
    {"poll-three", three_with_fds, {say_one, poll_second, poll_third, poll_first}, nothing_left, false},
    {"poll-channels", two_channels_with_fd, {say_one, say_elsewhere, poll_channels}, nothing_left, false},
    {"disconnect", one_to_disconnect, {say_two, say_two, hear_until_disconnected}, close_all, false},
    {"disconnect-workers",
     workers_to_disconnect,
     {say_two, say_two, hear_until_disconnected, hear_until_disconnected},
     close_all,
     false},
    {"add-channel", one_subscription, {say_one, add_and_hear, hear_at_least}, close_all, false},
    {"remove-channel", two_channels, {say_one, say_elsewhere, remove_one, hear_the_rest}, close_all, false},
    {"remove-and-add", two_channels, {say_one, remove_and_add, hear_at_least}, close_all, false},
    {"remove-workers",
     two_channels_shared,
     {say_one, remove_and_add, work_until_both, work_until_both},
     close_all,
     false},
    {"names", names_used_up, {say_elsewhere_twice, come_and_go, come_and_hear}, close_all, false},
    {"join-in", nobody, {say_two, join_in, join_in}, close_all, false},
    {"leave-armed", one_to_leave_from, {arm_and_leave}, nothing_left, false},
    {"rest-and-remove", one_to_leave_from, {rest_and_remove}, nothing_left, false},
    {"history-workers", begin_in_the_past, {say_one, work_on_history, work_on_history}, check_taken, false},
    {"end", two_subscriptions, {say_one_and_close, hear_and_end, keep_and_end}, nothing_left, false},
    {"end-large", two_subscriptions, {say_large_and_free, hear_and_end, keep_and_end, close_rest}, nothing_left, false},
    {"figures", one_subscription, {say_one, say_one, hear_first, ask}, close_all, false},
    {"history", keep_history, {say_two, say_two, join_late}, close_all, false},
    {"one-each", one_shared, {say_two, take_one_of_them, take_one_of_them}, check_taken, false},
    {"one-each-channels", two_channels_shared, {say_two, take_one_of_them, take_one_of_them}, check_taken, false},
    {"cancel-seen", one_subscription, {say_two, cancel_and_tell, hear_until_told}, close_all, false},
    {"remove-seen", two_channels, {say_elsewhere_twice, remove_and_tell, hear_nothing_removed}, close_all, false},
    {"add-and-remove", one_subscription, {add_only, remove_when_there, hear_x}, close_all, false},
    {"add-workers", one_shared, {say_one, add_and_hear, work_until_both, work_until_both}, close_all, false},
    {"sleep", one_subscription, {say_one, sleep_until_closed, late_to_close}, close_all, false},
    {"sleep-workers", one_shared, {say_two, sleep_until_taken, sleep_until_taken}, check_taken, false},
    {"subscribe-late", one_subscription, {subscribe_late, shut_down}, close_all, false},
    {"time-one", one_in_time, {say_two, hear_first}, close_all, false},
    {"time-channels", two_channels_in_time, {say_one, say_elsewhere, hear_channels}, close_all, false},
    {"time-workers", workers_in_time, {say_one, say_elsewhere, work, work}, check_taken, false},
    {"cancel", one_subscription, {say_one, cancel, wait_until_closed}, close_all, false},
    {"shut-down", one_subscription, {shut_down, wait_until_closed}, close_all, false},
};

static void usage(void)
{
    fprintf(stderr,
            "usage: model [--seconds N] [--random-seconds N] [--preemptions N] [--old-values N] [--seed N] [--trace]\n"
            "             [--complete] [--list] [SCENARIO...]\n"
            "       --seconds: for each scenario; --preemptions, --old-values: of one run, at most\n"
            "       --complete: fails if time runs out before every run with so many has been\n");
    exit(2);
}

int main(int count, char **words)
{
    struct exploration wanted = {.seed = 1, .seconds = 10, .random_seconds = 3, .preemptions = 3, .old_values = 1};
    int failures = 0, named = 0;
    bool complete = false;
    for (int i = 1; i < count; i++)
        if (strncmp(words[i], "--", 2) != 0)
            named++;
        else if (strcmp(words[i], "--list") == 0) {
            for (size_t s = 0; s < sizeof scenarios / sizeof *scenarios; s++)
                printf("%s\n", scenarios[s].name);
            return 0;
        } else if (strcmp(words[i], "--complete") == 0)
            complete = true;
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
            failures += !explore(&scenarios[s], &e) || (complete && !e.complete);
    }
    printf("model: %s\n", failures == 0 ? "nothing found" : "FAILED");
    return failures != 0;
}
