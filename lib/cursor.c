#include "cursor.h"

#include <ck_pr.h>
#include <sched.h>

#include "base/fault.h"
#include "word.h"

#define STEPPING WORD_SEALED
#define STEP_LOOKS 150                       /* at a position that another reader is about to change */
#define DEDICATED_END (UINT64_C(0x7fff) * 8) /* the offset, in a position, behind a dedicated segment's record */

/* -------------------------------------------------------------------------------------------------------- holds -- */

static struct hold *hold_get(struct holds *holds, struct segment *segment)
{
    struct hold *hold = &holds->first;
    if (hold->segment != NULL && (hold = holds->free) != NULL)
        holds->free = hold->next_free;
    if (hold == NULL) {
        hold = memory_get(sizeof *hold);
        if (hold == NULL)
            return NULL;
        hold->next = holds->more;
        holds->more = hold;
    }
    hold->segment = segment;
    hold->of = holds;
    hold->events = 0;
    hold->state = HOLD_CURRENT;
    return hold;
}

static void hold_unpin(struct hold *hold)
{
    segment_unpin(hold->segment);
    hold->segment = NULL;
}

static void hold_put(struct hold *hold)
{
    struct holds *of = hold->of;
    hold_unpin(hold);
    if (hold == &of->first)
        return;
    hold->next_free = of->free;
    of->free = hold;
}

static struct holds *orphan_released(struct hold *hold)
{
    struct holds *of = hold->of;
    hold_unpin(hold);
    if (hold != &of->first)
        memory_put(hold);
    return --of->orphans == 0 ? of : NULL;
}

struct holds *hold_release(struct hold *hold)
{
    if (--hold->events != 0 || hold->state == HOLD_CURRENT)
        return NULL;
    if (hold->state == HOLD_ORPHAN)
        return orphan_released(hold);
    hold_put(hold);
    return NULL;
}

static void leave_hold(struct hold *hold)
{
    hold->state = HOLD_LEFT;
    if (hold->events == 0)
        hold_put(hold);
}

/* True if an event is still out of it. */
static bool make_orphan(struct holds *holds, struct hold *hold)
{
    if (hold->segment == NULL)
        return false;
    hold->state = HOLD_ORPHAN;
    holds->orphans++;
    return true;
}

bool holds_end(struct holds *holds)
{
    make_orphan(holds, &holds->first);
    while (holds->more != NULL) {
        struct hold *hold = holds->more;
        holds->more = hold->next;
        if (!make_orphan(holds, hold))
            memory_put(hold);
    }
    return holds->orphans == 0;
}

/* ------------------------------------------------------------------------------------------------------- moving -- */

static bool dropping(const struct cursor *cursor)
{
    return !cursor_blocks(cursor);
}

/* Pins the oldest segment of the chain. */
static struct segment *pin_head(struct ring *ring)
{
    for (;;) {
        struct segment *head = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (segment_pin(head, atomic_load_explicit(&head->number, memory_order_relaxed)))
            return head;
    }
}

/* Should a cursor with these limits leave out everything before `after`? The tail may be an older one: with a large
 * message a segment is linked, and can be found, before the word goes on. */
static bool beyond_limits(struct ring_limits tail, struct segment *after, struct ring_limits limits)
{
    uint64_t base = atomic_load_explicit(&after->base, memory_order_relaxed);
    return (int64_t)(tail.messages - base) >= 0 && ring_over(tail, after, limits);
}

/* Pins the segment to go on with: the next one; if that is gone, the oldest there is; and none that the cursor's own
 * limits say it should have dropped while another cursor still keeps it. */
static struct segment *pin_next(struct cursor *cursor)
{
    /* relaxed: the caller has seen the segment's end, which was stored after it */
    struct segment *next = atomic_load_explicit(&cursor->segment->next, memory_order_relaxed);
    if (next == NULL || !segment_pin(next, cursor->number + 1))
        next = pin_head(cursor->ring);
    if (!dropping(cursor))
        return next;
    struct ring_limits tail = ring_tail(cursor->ring);
    for (;;) {
        struct segment *after = atomic_load_explicit(&next->next, memory_order_acquire);
        uint64_t number = atomic_load_explicit(&next->number, memory_order_relaxed);
        if (after == NULL || !beyond_limits(tail, after, cursor->limits))
            return next;
        struct segment *pinned = segment_pin(after, number + 1) ? after : pin_head(cursor->ring);
        segment_unpin(next);
        next = pinned;
    }
}

/* What to read in a segment that may not have any data yet. */
static unsigned char *data_of(struct ring *ring, struct segment *segment)
{
    /* acquire: pairs with furnish; a dedicated segment came with its data */
    bool has = segment->dedicated || atomic_load_explicit(&segment->capacity, memory_order_acquire) != 0;
    return has ? segment->data : ring->nothing;
}

/* Puts the cursor at the start of `segment`, which is pinned, and gives the old one back. */
static void cursor_move(struct cursor *cursor, struct segment *segment)
{
    struct segment *old = cursor->segment;
    cursor->segment = segment;
    cursor->data = data_of(cursor->ring, segment);
    cursor->number = atomic_load_explicit(&segment->number, memory_order_relaxed);
    cursor_set_sequence(cursor, atomic_load_explicit(&segment->base, memory_order_relaxed));
    cursor->offset = 0;
    cursor->end = segment->dedicated ? atomic_load_explicit(&segment->end, memory_order_relaxed) : SEGMENT_OPEN;
    cursor->whole = true;
    /* seq_cst: pairs with the keeper's look (sweep): a publisher that waits for us to get here is seen, or sees us */
    atomic_exchange(&cursor->at, segment);
    ring_passed(cursor->ring, old);
}

/* Moves an exclusive cursor on: into a hold of its own if events are still out of the old segment. */
static bool step(struct cursor *cursor, struct segment *segment)
{
    struct hold *hold = cursor->hold;
    if (hold == NULL || hold->events == 0) {
        struct segment *old = cursor->segment;
        if (hold != NULL)
            hold->segment = segment;
        cursor_move(cursor, segment);
        segment_unpin(old);
        return true;
    }
    struct hold *fresh = hold_get(cursor->holds, segment);
    if (fresh == NULL) {
        segment_unpin(segment);
        return false;
    }
    hold->state = HOLD_LEFT;
    cursor->hold = fresh;
    cursor_move(cursor, segment);
    return true;
}

/* A publisher stopped between reserving and committing. Once the ring has gone on without the segment, so do we. */
static bool abandoned(const struct cursor *cursor, struct segment *segment, uint64_t end)
{
    return end != SEGMENT_OPEN && dropping(cursor) &&
           (atomic_load_explicit(&segment->references, memory_order_relaxed) & SEGMENT_RETIRED);
}

/* Has everything been read that the segment will ever hold for us? */
static bool at_end(struct cursor *cursor)
{
    uint64_t end = atomic_load_explicit(&cursor->segment->end, memory_order_acquire);
    if (cursor->offset != end)
        return abandoned(cursor, cursor->segment, end);
    if (cursor->whole) /* relaxed: see segment_all_committed */
        atomic_store_explicit(&cursor->segment->complete, 1, memory_order_relaxed);
    return true;
}

/* The cursor has moved to another place than `expected`. CURSOR_RECORD: but nothing that it wanted was lost. */
static enum cursor_result result_of(struct cursor *cursor, uint64_t expected, struct cursor_gap *gap)
{
    uint64_t wanted = (int64_t)(expected - cursor->start) > 0 ? expected : cursor->start;
    gap->sequence = cursor_sequence(cursor);
    gap->lost = gap->sequence - wanted;
    if ((int64_t)gap->lost <= 0)
        return CURSOR_RECORD;
    return cursor->policy == CURSOR_DISCONNECT ? CURSOR_OVERFLOWN : CURSOR_GAP;
}

/* The segment had no data when the cursor came to it: has it now? */
static bool furnished(struct cursor *cursor)
{
    if (cursor->data != cursor->ring->nothing ||
        /* acquire: pairs with furnish */
        atomic_load_explicit(&cursor->segment->capacity, memory_order_acquire) == 0)
        return false;
    cursor->data = cursor->segment->data;
    return true;
}

/* Has it a hold? It gets one with the first record, not when it is opened: that may be done by another thread, and holds
 * are the reading one's. */
static bool held(struct cursor *cursor)
{
    return cursor->hold != NULL || (cursor->hold = hold_get(cursor->holds, cursor->segment)) != NULL;
}

enum cursor_result cursor_look(struct cursor *cursor, struct cursor_gap *gap)
{
    for (;;) {
        uint64_t header = cursor->offset != cursor->end ? cursor_header(cursor) : 0;
        if (header != 0 && cursor_started(cursor))
            return held(cursor) ? CURSOR_RECORD : CURSOR_NOMEM;
        if (header != 0) {
            cursor_skip(cursor, header);
            continue;
        }
        if (furnished(cursor))
            continue;
        if (!at_end(cursor))
            return CURSOR_EMPTY;
        uint64_t expected = cursor_sequence(cursor);
        if (!step(cursor, pin_next(cursor)))
            return CURSOR_NOMEM;
        enum cursor_result result = result_of(cursor, expected, gap);
        if (result != CURSOR_RECORD)
            return result;
    }
}

void cursor_leave_dedicated(struct cursor *cursor)
{
    /* relaxed: it was there before the dedicated segment could be found; so it is below */
    struct segment *next = atomic_load_explicit(&cursor->segment->next, memory_order_relaxed);
    if (segment_pin(next, cursor->number + 1)) /* otherwise, or without memory, cursor_look sees to it */
        (void)step(cursor, next);
}

/* ------------------------------------------------------------------------------------------------------- shared -- */

/* A position has to say a dedicated segment's end in 15 bits: DEDICATED_END. Else it is the offset. */
static bool at_dedicated_end(uint64_t position)
{
    return word_offset(position) == DEDICATED_END;
}

/* Pins the segment that `position` speaks of: adds the reference first, then makes sure that the cursor, which has it
 * pinned, had not left it. */
static struct segment *pin_position(struct cursor *cursor, uint64_t position)
{
    struct segment *segment = atomic_load_explicit(&cursor->at, memory_order_acquire);
    /* acquire: who has stepped and given the cursor's pin back before us is seen by the loads that follow */
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_acquire);
    /* acquire: the cursor's plain fields, as the last one to step has left them */
    uint64_t now = atomic_load_explicit(&cursor->position, memory_order_acquire);
    if (!(now & STEPPING) && word_number(now) == word_number(position) &&
        (uint32_t)atomic_load_explicit(&segment->number, memory_order_relaxed) == word_number(position))
        return segment;
    segment_unpin(segment);
    return NULL;
}

static void raise_claimed(struct cursor *cursor, uint64_t to)
{
    uint64_t before = atomic_load_explicit(&cursor->claimed, memory_order_relaxed);
    while ((int64_t)(to - before) > 0 && !atomic_compare_exchange_weak_explicit(
                                             &cursor->claimed, &before, to, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* The only thread that gets STEPPING moves the cursor on: its plain fields are that thread's until it takes STEPPING
 * away. The caller has `segment`, the one of `position`, pinned for itself. */
static enum cursor_result step_shared(struct cursor *cursor, uint64_t position, struct segment *segment,
                                      struct cursor_gap *gap)
{
    /* relaxed: pin_position has seen what comes with this position; no two are alike */
    if (!atomic_compare_exchange_strong_explicit(&cursor->position, &position, position | STEPPING,
                                                 memory_order_relaxed, memory_order_relaxed))
        return CURSOR_RECORD; /* somebody was faster: look again */
    fault_stop(FAULT_STEPPING);
    uint64_t expected = atomic_load_explicit(&segment->base, memory_order_relaxed) + word_records(position);
    cursor_move(cursor, pin_next(cursor));
    segment_unpin(segment); /* the cursor's own */
    enum cursor_result result = result_of(cursor, expected, gap);
    if (result != CURSOR_RECORD)
        raise_claimed(cursor, gap->sequence); /* what a gap covers has been handed out, too */
    /* release: pairs with the acquires of `position`; the new `at` came before. From here on the next reader may step. */
    atomic_store_explicit(&cursor->position, word_at(cursor->number, 0, 0), memory_order_release);
    return result;
}

/* The same right behind a dedicated segment's record, so that its memory goes with its event. If the next segment is
 * gone already the step is left to the next reader, who will report the gap. */
static void leave_dedicated_shared(struct cursor *cursor, uint64_t position, struct segment *segment)
{
    struct segment *next = atomic_load_explicit(&segment->next, memory_order_relaxed);
    uint64_t number = atomic_load_explicit(&segment->number, memory_order_relaxed);
    if (!segment_pin(next, number + 1))
        return;
    if (!atomic_compare_exchange_strong_explicit(&cursor->position, &position, position | STEPPING,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        segment_unpin(next);
        return;
    }
    cursor_move(cursor, next);
    segment_unpin(segment);
    atomic_store_explicit(&cursor->position, word_at(cursor->number, 0, 0), memory_order_release);
}

/* How many committed records there are from `offset` on, and where they end. */
static size_t count_records(struct segment *segment, uint64_t *offset, size_t max)
{
    size_t count = 0;
    uint64_t end = atomic_load_explicit(&segment->end, memory_order_relaxed); /* who misses it finds an empty header */
    /* acquire: pairs with furnish; a dedicated segment came with its data */
    if (!segment->dedicated && atomic_load_explicit(&segment->capacity, memory_order_acquire) == 0)
        return 0;
    while (count < max && *offset != end) {
        uint64_t header = record_look(segment->data + *offset);
        if (header == 0)
            break;
        *offset += record_stride(header);
        count++;
    }
    return count;
}

static bool claim_records(struct cursor *cursor, uint64_t position, struct segment *segment, size_t max,
                          struct claim *claim)
{
    uint64_t start = word_offset(position), offset = start;
    size_t count = at_dedicated_end(position) ? 0 : count_records(segment, &offset, max);
    if (count == 0)
        return false;
    uint64_t after = segment->dedicated ? word_at(word_number(position), DEDICATED_END, 1)
                                        : word_at(word_number(position), offset, word_records(position) + count);
    /* relaxed: as in step_shared; exchanges keep what the last step has stored in the chain */
    if (!atomic_compare_exchange_strong_explicit(&cursor->position, &position, after, memory_order_relaxed,
                                                 memory_order_relaxed))
        return true; /* somebody was faster: look again */
    claim->segment = segment;
    claim->data = segment->data + start;
    claim->sequence = atomic_load_explicit(&segment->base, memory_order_relaxed) + word_records(position);
    claim->count = count;
    raise_claimed(cursor, claim->sequence + count);
    /* One pin for each event; the caller's own is given back by cursor_claim. */
    atomic_fetch_add_explicit(&segment->references, (uint32_t)count, memory_order_relaxed);
    if (segment->dedicated)
        leave_dedicated_shared(cursor, after, segment);
    return true;
}

/* With the segment pinned: claims what is there, or moves on, or finds nothing. CURSOR_RECORD with no records: again. */
static enum cursor_result claim_here(struct cursor *cursor, uint64_t position, struct segment *segment, size_t max,
                                     struct claim *claim, struct cursor_gap *gap)
{
    claim->count = 0;
    if (claim_records(cursor, position, segment, max, claim))
        return CURSOR_RECORD;
    uint64_t end = atomic_load_explicit(&segment->end, memory_order_acquire);
    if (at_dedicated_end(position) || word_offset(position) == end || abandoned(cursor, segment, end))
        return step_shared(cursor, position, segment, gap);
    return CURSOR_EMPTY;
}

/* How many records lie between `position` and the cursor's start. */
static uint64_t to_skip(const struct cursor *cursor, uint64_t position, struct segment *segment)
{
    uint64_t sequence = atomic_load_explicit(&segment->base, memory_order_relaxed) + word_records(position);
    return (int64_t)(cursor->start - sequence) > 0 ? cursor->start - sequence : 0;
}

/* What was claimed comes before the cursor's start: it is nobody's. The caller has the segment pinned itself. */
static void skip_claimed(struct claim *claim)
{
    for (; claim->count > 0; claim->count--)
        segment_unpin(claim->segment);
}

enum cursor_result cursor_claim(struct cursor *cursor, size_t max, struct claim *claim, struct cursor_gap *gap)
{
    for (int looks = 0;; looks++) {
        uint64_t position =
            atomic_load_explicit(&cursor->position, memory_order_relaxed); /* pin_position looks again */
        struct segment *segment = NULL;
        if ((position & STEPPING) || (segment = pin_position(cursor, position)) == NULL) {
            /* Another reader is on its way to the next segment. If it was stopped there, ours has a time-out to keep, or
             * something else to do: it does not sleep on this, see cursor_mark_waiting. */
            if (looks >= STEP_LOOKS && (position & STEPPING))
                return CURSOR_EMPTY;
            if (looks < 50)
                ck_pr_stall();
            else
                sched_yield();
            continue;
        }
        uint64_t ahead = to_skip(cursor, position, segment);
        enum cursor_result result =
            claim_here(cursor, position, segment, ahead == 0 || ahead > max ? max : (size_t)ahead, claim, gap);
        if (ahead != 0 && result == CURSOR_RECORD)
            skip_claimed(claim);
        segment_unpin(segment);
        if (result != CURSOR_RECORD || claim->count != 0)
            return result;
    }
}

/* --------------------------------------------------------------------------------------------------- both kinds -- */

bool cursor_open(struct cursor *cursor, struct ring *ring, const struct ring_start *start)
{
    if (!ring_attach(ring, cursor, start))
        return false;
    cursor->data = data_of(ring, cursor->segment);
    uint64_t base = atomic_load_explicit(&cursor->segment->base, memory_order_relaxed);
    atomic_store_explicit(&cursor->claimed, cursor->start, memory_order_relaxed);
    atomic_store_explicit(&cursor->position, word_at(cursor->number, cursor->offset, cursor_sequence(cursor) - base),
                          memory_order_relaxed);
    return true;
}

void cursor_detach(struct cursor *cursor)
{
    ring_detach(cursor->ring, cursor);
}

void cursor_close(struct cursor *cursor)
{
    if (cursor->hold == NULL)
        segment_unpin(cursor->segment);
    else
        leave_hold(cursor->hold);
}

bool cursor_mark_waiting(struct cursor *cursor)
{
    if (cursor->holds != NULL)
        return ring_mark_waiting(cursor->ring, cursor->number, cursor->offset);
    uint64_t position = atomic_load_explicit(&cursor->position, memory_order_relaxed);
    return !(position & STEPPING) && ring_mark_waiting(cursor->ring, word_number(position), word_offset(position));
}

uint64_t cursor_next(struct cursor *cursor)
{
    uint64_t next =
        cursor->holds != NULL ? cursor_sequence(cursor) : atomic_load_explicit(&cursor->claimed, memory_order_relaxed);
    return (int64_t)(next - cursor->start) > 0 ? next : cursor->start;
}

uint64_t cursor_queued(struct cursor *cursor)
{
    uint64_t next = cursor_next(cursor);
    uint64_t tail = ring_tail(cursor->ring).messages;
    return (int64_t)(tail - next) > 0 ? tail - next : 0; /* sequences may wrap */
}
