/* Cursors come and go: ring_attach, ring_detach, and giving memory back when a ring is idle. */
#include "keeper.h"

#include "cursor.h"
#include "word.h"

static struct cursor **list_of(struct ring *ring, struct cursor *cursor)
{
    return cursor_blocks(cursor) ? &ring->blocking : &ring->dropping;
}

static void link_cursor(struct ring *ring, struct cursor *cursor)
{
    struct cursor **list = list_of(ring, cursor);
    cursor->next = *list;
    cursor->previous = NULL;
    if (*list != NULL)
        (*list)->previous = cursor;
    *list = cursor;
    keeper_set_limits(ring);
}

static void unlink_cursor(struct ring *ring, struct cursor *cursor)
{
    if (cursor->previous != NULL)
        cursor->previous->next = cursor->next;
    else
        *list_of(ring, cursor) = cursor->next;
    if (cursor->next != NULL)
        cursor->next->previous = cursor->previous;
    keeper_set_limits(ring);
}

/* The oldest message that the history still shows: of what is there, the last so many messages and bytes. Segments that
 * are there for a slow subscription only do not count: the cursor of a walk, which has the history's limits, would leave
 * them out. */
static uint64_t oldest_shown(struct ring *ring, struct ring_limits tail)
{
    struct segment *segment = atomic_load_explicit(&ring->head, memory_order_relaxed), *current = keeper_current(ring);
    while (segment != current &&
           tail.bytes - atomic_load_explicit(&segment->base_bytes, memory_order_relaxed) > ring->history.bytes)
        segment = atomic_load_explicit(&segment->next, memory_order_relaxed);
    uint64_t kept = tail.messages - atomic_load_explicit(&segment->base, memory_order_relaxed);
    return tail.messages - at_most(kept, ring->history.messages);
}

uint64_t ring_oldest(struct ring *ring)
{
    keeper_enter(ring);
    uint64_t oldest = oldest_shown(ring, keeper_tail(ring));
    keeper_leave(ring);
    return oldest;
}

/* The sequence to begin with. All are counted back from the tail: sequences may wrap. */
static uint64_t start_of(struct ring *ring, const struct ring_start *start)
{
    struct ring_limits limits = keeper_tail(ring);
    uint64_t tail = limits.messages, back = at_most(tail - oldest_shown(ring, limits), start->most);
    if (start->given && (int64_t)(tail - start->sequence) < (int64_t)back)
        back = (int64_t)(tail - start->sequence) > 0 ? tail - start->sequence : 0;
    return tail - back;
}

/* Puts the cursor at the beginning of the segment that holds `sequence`: it skips what comes before (see cursor.h), as
 * soon as it is there to be skipped. */
static void place(struct ring *ring, struct cursor *cursor, uint64_t sequence)
{
    struct segment *segment = atomic_load_explicit(&ring->head, memory_order_relaxed), *current = keeper_current(ring);
    while (segment != current) {
        struct segment *next = atomic_load_explicit(&segment->next, memory_order_relaxed);
        if ((int64_t)(sequence - atomic_load_explicit(&next->base, memory_order_relaxed)) < 0)
            break;
        segment = next;
    }
    cursor->segment = segment;
    cursor->offset = 0;
    cursor_set_sequence(cursor, atomic_load_explicit(&segment->base, memory_order_relaxed));
    cursor->whole = true;
    cursor->start = sequence;
}

/* Puts the cursor behind what has been published. */
static void place_at_end(struct ring *ring, struct cursor *cursor)
{
    struct segment *segment = keeper_current(ring);
    uint64_t word = atomic_load_explicit(&ring->word, memory_order_relaxed);
    cursor->segment = segment;
    cursor->offset = word_offset(word);
    cursor->start = atomic_load_explicit(&segment->base, memory_order_relaxed) + word_records(word);
    cursor_set_sequence(cursor, cursor->start);
}

bool ring_attach(struct ring *ring, struct cursor *cursor, const struct ring_start *start)
{
    keeper_enter(ring);
    /* Before anything changes: what was shown to whoever asks for it is still there. */
    uint64_t sequence = start != NULL ? start_of(ring, start) : 0;
    link_cursor(ring, cursor);
    struct segment *segment = keeper_current(ring);
    if (atomic_load_explicit(&segment->capacity, memory_order_relaxed) > ring->segment.bytes ||
        atomic_load_explicit(&segment->max_records, memory_order_relaxed) > ring->segment.messages) {
        /* The segment in use is coarser than the new limits want. */
        if (!keeper_roll(ring, 0)) {
            unlink_cursor(ring, cursor);
            keeper_leave(ring);
            return false;
        }
    }
    /* relaxed: who publishes after we have returned, by whatever order the callers have between them, sees it */
    atomic_fetch_add_explicit(&ring->readers, 1, memory_order_relaxed);
    if (start != NULL)
        place(ring, cursor, sequence);
    else
        place_at_end(ring, cursor);
    segment = cursor->segment;
    segment_pin_again(segment); /* it cannot be retired while we are the keeper */
    cursor->ring = ring;
    cursor->number = atomic_load_explicit(&segment->number, memory_order_relaxed);
    cursor->end = segment->dedicated ? atomic_load_explicit(&segment->end, memory_order_relaxed) : SEGMENT_OPEN;
    atomic_store_explicit(&cursor->at, segment, memory_order_relaxed); /* for keepers that come after us */
    keeper_leave(ring);
    return true;
}

void ring_detach(struct ring *ring, struct cursor *cursor)
{
    keeper_enter(ring);
    unlink_cursor(ring, cursor);
    uint32_t left = atomic_fetch_sub_explicit(&ring->readers, 1, memory_order_relaxed) - 1,
             cursors = left - (ring->history.messages != 0);
    if (left == 0 && atomic_load_explicit(&keeper_current(ring)->capacity, memory_order_relaxed) != 0)
        keeper_roll(ring, 0); /* nobody reads it any more; without memory it waits for the next keeper */
    /* The cursor's waiter may still be armed, and keeps its subscription's memory. Ringing everybody gets rid of it: but
     * not at once, or every unsubscribe would wake every other subscription. */
    ring->dead_waiters += atomic_load_explicit(&cursor->waiter.state, memory_order_relaxed) == WAITER_ARMED;
    bool ring_all = ring->dead_waiters > cursors;
    if (ring_all)
        ring->dead_waiters = 0;
    keeper_reclaim(ring);
    keeper_leave(ring);
    if (ring_all)
        waiter_ring_list(&ring->armed);
    ring_space(ring);
}

bool ring_let_pass(struct ring *ring)
{
    bool others = false, passed = false;
    keeper_enter(ring);
    for (struct cursor *c = ring->dropping; c != NULL && !others; c = c->next)
        others = c->policy != CURSOR_BLOCK;
    for (struct cursor *c = ring->blocking; c != NULL && !others; c = c->next)
        others = !keeper_is_behind(ring, c);
    for (struct cursor *c = ring->blocking, *next; others && c != NULL; c = next) {
        next = c->next;
        if (!keeper_is_behind(ring, c))
            continue;
        unlink_cursor(ring, c);
        atomic_store_explicit(&c->yields, true, memory_order_relaxed); /* of one list or the other: keepers only */
        link_cursor(ring, c);
        passed = true;
    }
    keeper_leave(ring);
    return passed;
}

bool ring_trim(struct ring *ring)
{
    if (!keeper_try(ring))
        return false;
    bool trim = ring->history.messages == 0 &&
                atomic_load_explicit(&keeper_current(ring)->capacity, memory_order_relaxed) > SEGMENT_SMALL &&
                keeper_roll(ring, 0);
    keeper_leave(ring); /* whoever leaves the segment gives it back */
    return trim;
}
