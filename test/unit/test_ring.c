/* The ring from inside: near the wrap-around of its counters, with a publisher stopped in the middle, overtaken. */
#define _GNU_SOURCE
#include "test.h"

#include "cursor.h"
#include "word.h"

struct bench {
    struct pool pool;
    struct ring ring;
    struct os_guard guard;
    struct bell bell;
    struct holds holds;
    struct cursor cursor;
};

static void not_freed(struct bell *bell)
{
    (void)bell;
}

static struct bench *set_up(uint32_t number, uint64_t sequence, enum cursor_policy policy, uint64_t limit)
{
    struct bench *t = memory_get((sizeof *t + 63) / 64 * 64);
    assert_non_null(t);
    assert_int_equal(os_guard_open(&t->guard), 0);
    bell_init(&t->bell, not_freed);
    ring_init(&t->ring, &(struct ring_setup){.pool = &t->pool, .first_number = number, .first_sequence = sequence});
    t->cursor.policy = (uint8_t)policy;
    t->cursor.limits = (struct ring_limits){limit, 64 << 20};
    t->cursor.holds = &t->holds;
    t->cursor.waiter.bell = &t->bell;
    assert_true(cursor_open(&t->cursor, &t->ring, NULL));
    return t;
}

static void tear_down(struct bench *t)
{
    cursor_detach(&t->cursor);
    cursor_close(&t->cursor);
    assert_true(holds_end(&t->holds));
    ring_fini(&t->ring);
    pool_fini(&t->pool);
    os_guard_close(&t->guard);
    memory_put(t);
}

static enum ring_result publish(struct bench *t, uint64_t value)
{
    struct record record = {0, &value, sizeof value, 0, NULL};
    return ring_publish(&t->ring, &record, 0, &t->guard);
}

static uint64_t take(struct bench *t)
{
    uint64_t header = cursor_header(&t->cursor), value;
    assert_int_equal(record_size(header), sizeof value);
    memcpy(&value, t->cursor.data + t->cursor.offset + RECORD_HEADER, sizeof value);
    cursor_skip(&t->cursor, header);
    return value;
}

static void counters_wrap_around(void **state)
{
    uint64_t start = UINT64_MAX - 5000;
    struct bench *t = set_up(UINT32_MAX - 3, start, CURSOR_BLOCK, 64);
    struct cursor_gap gap;
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        assert_int_equal(publish(t, i), RING_OK);
        assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_RECORD);
        assert_true(cursor_sequence(&t->cursor) == start + i);
        assert_true(take(t) == i);
    }
    assert_true(ring_tail(&t->ring).messages == start + 20000); /* beyond the wrap-around */
    assert_true(start + 20000 < start);
    assert_true(word_number(atomic_load(&t->ring.word)) < 100000); /* and the segments' as well */
    for (int full = 0; full < 3; full++) {                         /* the limits still count right */
        int queued = 0;
        while (publish(t, 0) == RING_OK)
            queued++;
        assert_in_range(queued, 64 - 8, 64 + 8 + 8);
        while (cursor_look(&t->cursor, &gap) == CURSOR_RECORD)
            take(t);
    }
    tear_down(t);
}

static void overflow_across_the_wrap(void **state)
{
    uint64_t start = UINT64_MAX - 50;
    struct bench *t = set_up(UINT32_MAX - 1, start, CURSOR_DROP, 16);
    struct cursor_gap gap;
    uint64_t expected = 0;
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(publish(t, i), RING_OK);
    for (;;) {
        enum cursor_result found = cursor_look(&t->cursor, &gap);
        if (found == CURSOR_EMPTY)
            break;
        if (found == CURSOR_GAP) {
            expected += gap.lost;
            assert_true(gap.sequence == start + expected);
        } else {
            assert_true(take(t) == expected++);
        }
    }
    assert_int_equal(expected, 1000);
    tear_down(t);
}

/* A publisher that was stopped between reserving and committing: done here by hand. */
static _Atomic uint64_t *reserve(struct bench *t)
{
    uint64_t word = atomic_load(&t->ring.word);
    assert_true(word_offset(word) + 16 <= atomic_load(&atomic_load(&t->ring.current)->capacity));
    atomic_store(&t->ring.word, word_advance(word, 16));
    return (_Atomic uint64_t *)(void *)(atomic_load(&t->ring.current)->data + word_offset(word));
}

static void stopped_publisher(void **state)
{
    struct bench *t = set_up(0, 0, CURSOR_DROP, 1024);
    struct cursor_gap gap;
    uint64_t expected = 2;
    (void)state;
    assert_int_equal(publish(t, 0), RING_OK);
    _Atomic uint64_t *hole = reserve(t);
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_RECORD);
    take(t);
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_EMPTY); /* nobody overtakes it ... */
    assert_false(cursor_mark_waiting(&t->cursor));                 /* ... or sleeps on it */
    for (uint64_t i = 2; i < 5000; i++)
        assert_int_equal(publish(t, i), RING_OK);                /* other publishers go on */
    assert_non_null(t->ring.limbo);                              /* its memory is not used again */
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_GAP); /* overtaken: the reader goes on too */
    assert_true(gap.lost > 1 && gap.sequence == 1 + gap.lost);
    expected = gap.sequence;
    while (cursor_look(&t->cursor, &gap) == CURSOR_RECORD)
        assert_true(take(t) == expected++);
    assert_int_equal(expected, 5000);
    atomic_store(hole, record_header(8, 0)); /* it wakes up, long after, and finishes */
    for (uint64_t i = 0; i < 5000; i++)
        assert_int_equal(publish(t, i), RING_OK);
    assert_null(t->ring.limbo);
    tear_down(t);
}

static void held_event_stays_whole(void **state)
{
    struct bench *t = set_up(0, 0, CURSOR_DROP, 16);
    struct cursor_gap gap;
    (void)state;
    assert_int_equal(publish(t, 77), RING_OK);
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_RECORD);
    struct hold *hold = t->cursor.hold;
    const unsigned char *data = t->cursor.data + t->cursor.offset + RECORD_HEADER;
    hold->events++; /* handed out */
    take(t);
    for (uint64_t i = 0; i < 100000; i++)
        assert_int_equal(publish(t, i), RING_OK);
    while (cursor_look(&t->cursor, &gap) != CURSOR_EMPTY)
        if (cursor_header(&t->cursor) != 0)
            take(t);
    uint64_t value;
    memcpy(&value, data, sizeof value);
    assert_int_equal(value, 77);
    assert_true(hold != t->cursor.hold);
    hold_release(hold);
    assert_null(hold->segment);
    tear_down(t);
}

static void idle_memory_is_given_back(void **state)
{
    struct bench *t = set_up(0, 0, CURSOR_DROP, 65536);
    struct cursor_gap gap;
    (void)state;
    for (uint64_t i = 0; i < 100000; i++) {
        assert_int_equal(publish(t, i), RING_OK);
        assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_RECORD);
        take(t);
    }
    assert_true(atomic_load(&t->ring.current)->data_bytes > 4096);
    ring_trim(&t->ring);
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_EMPTY);
    assert_int_equal(atomic_load(&atomic_load(&t->ring.current)->capacity), 0);
    assert_ptr_equal(atomic_load(&t->ring.head), atomic_load(&t->ring.current));
    assert_int_equal(publish(t, 5), RING_OK);
    assert_int_equal(cursor_look(&t->cursor, &gap), CURSOR_RECORD);
    assert_int_equal(take(t), 5);
    tear_down(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_wrap_around),      cmocka_unit_test(overflow_across_the_wrap),
        cmocka_unit_test(stopped_publisher),         cmocka_unit_test(held_event_stays_whole),
        cmocka_unit_test(idle_memory_is_given_back),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
