#include "keeper.h"

#include <sched.h>

#include "base/clock.h"
#include "base/thread.h"
#include "cursor.h"
#include "word.h"

enum { KEEPER_NONE = 0, KEEPER_HELD = 1, KEEPER_AGAIN = 2 };

#define GROW_NS 10000000     /* a segment that filled faster than this is followed by one twice as large */
#define SHRINK_NS 1000000000 /* ... slower than this: by the smallest */

bool keeper_try(struct ring *ring)
{
    uint32_t state = atomic_load_explicit(&ring->keeper, memory_order_relaxed);
    for (;;) {
        uint32_t wanted = state == KEEPER_NONE ? KEEPER_HELD : KEEPER_HELD | KEEPER_AGAIN;
        /* An exchange even where nothing changes. acquire: the chain as the last keeper left it. release: what made
         * us come (a cursor that moved on) is seen by the keeper when it finds our note. */
        if (atomic_compare_exchange_weak_explicit(&ring->keeper, &state, wanted, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return state == KEEPER_NONE;
    }
}

void keeper_leave(struct ring *ring)
{
    uint32_t held = KEEPER_HELD;
    while (!atomic_compare_exchange_strong_explicit(&ring->keeper, &held, KEEPER_NONE, memory_order_acq_rel,
                                                    memory_order_acquire)) {
        atomic_exchange_explicit(&ring->keeper, KEEPER_HELD, memory_order_acq_rel);
        keeper_reclaim(ring); /* somebody left a note meanwhile */
        held = KEEPER_HELD;
    }
}

void keeper_enter(struct ring *ring)
{
    while (!keeper_try(ring))
        sched_yield();
}

bool ring_quiet(struct ring *ring)
{
    return atomic_load_explicit(&ring->keeper, memory_order_relaxed) == KEEPER_NONE &&
           atomic_load_explicit(&ring->space_ringers, memory_order_relaxed) == 0;
}

/* ---------------------------------------------------------------------------------------------------- the chain -- */

struct segment *keeper_current(struct ring *ring)
{
    return atomic_load_explicit(&ring->current, memory_order_relaxed); /* only keepers write it */
}

struct ring_limits keeper_tail(struct ring *ring)
{
    struct segment *current = keeper_current(ring);
    uint64_t word = atomic_load_explicit(&ring->word, memory_order_relaxed);
    return (struct ring_limits){atomic_load_explicit(&current->base, memory_order_relaxed) + word_records(word),
                                atomic_load_explicit(&current->base_bytes, memory_order_relaxed) + word_offset(word)};
}

/* Gives everything back, when the ring has ended and nothing of it is pinned. */
static void ring_free(struct ring *ring)
{
    segment_drop_data(&ring->first);
    while (ring->all != NULL) {
        struct segment *segment = ring->all;
        ring->all = segment->next_all;
        segment_drop_data(segment);
        memory_put(segment);
    }
    if (ring->gone != NULL)
        ring->gone(ring);
}

void ring_drop_use(struct ring *ring)
{
    /* release: our use of the ring is over; acquire: so is everybody's, for who frees it */
    if (atomic_fetch_sub_explicit(&ring->in_use, 1, memory_order_acq_rel) == 1)
        ring_free(ring);
}

void ring_add_use(struct ring *ring)
{
    atomic_fetch_add_explicit(&ring->in_use, 1, memory_order_relaxed); /* whoever calls this has another one */
}

void ring_segment_opened(struct ring *ring)
{
    ring_add_use(ring); /* the keeper has the ring itself */
}

void ring_segment_freed(struct ring *ring, struct segment *segment)
{
    struct segment *top = atomic_load_explicit(&ring->freed, memory_order_relaxed);
    do
        segment->link = top;
    while (!atomic_compare_exchange_weak_explicit(&ring->freed, &top, segment, memory_order_release,
                                                  memory_order_relaxed));
    ring_drop_use(ring);
}

struct pool *ring_pool(struct ring *ring)
{
    return ring->pool;
}

struct segment *keeper_get_segment(struct ring *ring)
{
    if (ring->spare == NULL) /* acquire: pairs with ring_segment_freed */
        ring->spare = atomic_exchange_explicit(&ring->freed, NULL, memory_order_acquire);
    struct segment *segment = ring->spare;
    if (segment != NULL) {
        ring->spare = segment->link;
        return segment;
    }
    segment = memory_get(sizeof *segment);
    if (segment != NULL) {
        atomic_init(&segment->references, SEGMENT_FREE);
        segment->ring = ring;
        segment->next_all = ring->all;
        ring->all = segment;
    }
    return segment;
}

void keeper_put_segment(struct ring *ring, struct segment *segment)
{
    segment->link = ring->spare;
    ring->spare = segment;
}

static void retire_head(struct ring *ring)
{
    struct segment *head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* seq_cst, with the loads of `at` that follow, against ring_passed: either we see that a cursor has moved on, or it
     * sees the new head and comes to us. As a release: an overtaken reader that loads it finds the segment opened. */
    atomic_store(&ring->head, atomic_load_explicit(&head->next, memory_order_relaxed));
    if (!segment_all_committed(head)) {
        segment_pin_again(head); /* a publisher still writes into it */
        head->link = ring->limbo;
        ring->limbo = head;
    }
    segment_retire(head);
}

static void empty_limbo(struct ring *ring)
{
    for (struct segment **at = &ring->limbo; *at != NULL;) {
        struct segment *segment = *at;
        if (segment_all_committed(segment)) {
            *at = segment->link;
            segment_unpin(segment);
        } else {
            at = &segment->link;
        }
    }
}

/* Does a cursor of this list still need segment `number`, the oldest? One that was overtaken needs whatever is oldest.
 * The cursor that answers is moved to the front: it will be asked first next time. */
static bool needed_by(struct cursor **list, uint64_t number)
{
    for (struct cursor *c = *list; c != NULL; c = c->next) {
        struct segment *at = atomic_load(&c->at); /* seq_cst: pairs with the exchange in cursor_move, see retire_head */
        if (atomic_load_explicit(&at->number, memory_order_relaxed) > number)
            continue;
        if (c != *list) {
            c->previous->next = c->next;
            if (c->next != NULL)
                c->next->previous = c->previous;
            c->previous = NULL;
            c->next = *list;
            (*list)->previous = c;
            *list = c;
        }
        return true;
    }
    return false;
}

/* Does the history want to keep the head? Not if there is enough behind it, or it would be too much with it. */
static bool history_needs(const struct ring *ring, struct ring_limits tail, struct segment *head, struct segment *next)
{
    return tail.messages - atomic_load_explicit(&next->base, memory_order_relaxed) < ring->history.messages &&
           tail.bytes - atomic_load_explicit(&head->base_bytes, memory_order_relaxed) <= ring->history.bytes;
}

void keeper_reclaim(struct ring *ring)
{
    struct segment *current = keeper_current(ring), *head;
    struct ring_limits tail = keeper_tail(ring);
    if (ring->limbo != NULL)
        empty_limbo(ring);
    while ((head = atomic_load_explicit(&ring->head, memory_order_relaxed)) != current) {
        uint64_t number = atomic_load_explicit(&head->number, memory_order_relaxed);
        struct segment *next = atomic_load_explicit(&head->next, memory_order_relaxed);
        if (history_needs(ring, tail, head, next) || needed_by(&ring->blocking, number))
            return;
        if (ring->dropping != NULL && !ring_over(tail, next, ring->retain) && needed_by(&ring->dropping, number))
            return;
        retire_head(ring);
    }
}

/* A cursor counts from the start of its segment, even if it has read all of it: it moves on only when there is more. So
 * what is in its own segment must never keep publishers waiting, or both would wait for each other. */
static bool has_records_behind(struct segment *at, struct segment *current, struct ring_limits tail)
{
    if (at == current)
        return false;
    struct segment *next = atomic_load_explicit(&at->next, memory_order_relaxed);
    return tail.messages != atomic_load_explicit(&next->base, memory_order_relaxed);
}

bool keeper_is_behind(struct ring *ring, struct cursor *cursor)
{
    struct segment *at = atomic_load(&cursor->at); /* seq_cst: pairs with cursor_move, see wait_for_room */
    struct ring_limits tail = keeper_tail(ring);
    return has_records_behind(at, keeper_current(ring), tail) && ring_over(tail, at, cursor->limits);
}

struct room keeper_room(struct ring *ring)
{
    struct room room = {false, false};
    for (struct cursor *c = ring->blocking; c != NULL; c = c->next)
        if (keeper_is_behind(ring, c)) {
            room.full = true;
            room.deadlock |= cursor_is_of(c, thread_id());
        }
    return room;
}

static uint32_t next_bytes(struct ring *ring, uint64_t need)
{
    int64_t now = clock_ns();
    if (now - ring->rolled_ns < GROW_NS)
        ring->next_bytes = ring->next_bytes >= SEGMENT_BYTES / 2 ? SEGMENT_BYTES : ring->next_bytes * 2;
    else if (now - ring->rolled_ns > SHRINK_NS)
        ring->next_bytes = SEGMENT_MIN;
    ring->rolled_ns = now;
    uint64_t bytes = ring->next_bytes < ring->segment.bytes ? ring->next_bytes : ring->segment.bytes;
    if (bytes < need)
        bytes = need;
    return bytes > SEGMENT_BYTES / 2 ? SEGMENT_BYTES : (uint32_t)bytes;
}

static void append(struct segment *last, struct segment *segment, uint64_t records, uint64_t bytes)
{
    segment_open(segment, atomic_load_explicit(&last->number, memory_order_relaxed) + 1,
                 atomic_load_explicit(&last->base, memory_order_relaxed) + records,
                 atomic_load_explicit(&last->base_bytes, memory_order_relaxed) + bytes);
}

uint64_t keeper_link(struct ring *ring, struct segment *segment, struct segment *dedicated)
{
    struct segment *last = keeper_current(ring), *first = last;
    /* acquire: those who were armed before WAIT was set, for whoever takes it from the next word */
    uint64_t word = atomic_fetch_or_explicit(&ring->word, WORD_SEALED, memory_order_acquire);
    uint64_t kept = word & WORD_WAIT;
    last->dirty = word_offset(word);
    if (dedicated != NULL) {
        append(last, dedicated, word_records(word), word_offset(word));
        atomic_store_explicit(&dedicated->end, dedicated->data_bytes, memory_order_relaxed);
        append(dedicated, segment, 1, dedicated->data_bytes);
        atomic_store_explicit(&dedicated->next, segment, memory_order_relaxed); /* before anybody finds `dedicated` */
        first = dedicated;
        kept = 0; /* a message comes with it: the caller rings */
    } else {
        append(last, segment, word_records(word), word_offset(word));
        first = segment;
    }
    /* `next` before `end`: a reader that finds the end finds what follows. release: pairs with cursor_step. */
    atomic_store_explicit(&last->next, first, memory_order_release);
    atomic_store_explicit(&last->end, word_offset(word), memory_order_release);
    atomic_store_explicit(&ring->current, segment, memory_order_release);
    uint64_t number = atomic_load_explicit(&segment->number, memory_order_relaxed);
    atomic_store_explicit(&ring->word, word_at(number, 0, 0) | kept, memory_order_release);
    return word;
}

static uint32_t records_of(const struct ring *ring)
{
    return ring->segment.messages < WORD_MAX_RECORDS ? (uint32_t)ring->segment.messages : WORD_MAX_RECORDS;
}

/* The current segment has no data yet: gives it some. */
static bool furnish(struct ring *ring, struct segment *segment, uint64_t need)
{
    uint32_t bytes = next_bytes(ring, need);
    if (!segment_get_data(segment, bytes))
        return false;
    atomic_store_explicit(&segment->max_records, records_of(ring), memory_order_relaxed);
    /* release: pairs with the acquires in fits and cursor_furnished: who sees room sees the data */
    atomic_store_explicit(&segment->capacity, bytes, memory_order_release);
    return true;
}

bool keeper_roll(struct ring *ring, uint64_t need)
{
    struct segment *current = keeper_current(ring);
    if (need != 0 && atomic_load_explicit(&current->capacity, memory_order_relaxed) == 0)
        return furnish(ring, current, need);
    struct segment *segment = keeper_get_segment(ring);
    if (segment == NULL)
        return false;
    uint32_t bytes = need == 0 ? 0 : next_bytes(ring, need);
    if (need == 0) {
        segment_drop_data(segment);
    } else if (!segment_get_data(segment, bytes)) {
        keeper_put_segment(ring, segment);
        return false;
    }
    segment->dedicated = false;
    segment_set_capacity(segment, bytes, records_of(ring));
    keeper_link(ring, segment, NULL);
    return true;
}

/* -------------------------------------------------------------------------------------------------------- limits -- */

/* What is kept beyond the history is at most an eighth of it, or this little. */
static void fit_to_history(struct ring *ring)
{
    if (ring->history.messages == 0)
        return;
    uint64_t messages = ring->history.messages / 8, bytes = ring->history.bytes / 8;
    ring->segment.messages = at_most(ring->segment.messages, messages < 64 ? 64 : messages);
    ring->segment.bytes = at_most(ring->segment.bytes, bytes < 4096 ? 4096 : bytes);
}

void keeper_set_limits(struct ring *ring)
{
    struct ring_limits smallest = {8 * (uint64_t)WORD_MAX_RECORDS, 8 * (uint64_t)SEGMENT_BYTES};
    ring->retain = (struct ring_limits){0, 0};
    for (int i = 0; i < 2; i++)
        for (struct cursor *c = i ? ring->dropping : ring->blocking; c != NULL; c = c->next) {
            if (c->limits.messages < smallest.messages)
                smallest.messages = c->limits.messages;
            if (c->limits.bytes < smallest.bytes)
                smallest.bytes = c->limits.bytes;
            if (i == 1 && c->limits.messages > ring->retain.messages)
                ring->retain.messages = c->limits.messages;
            if (i == 1 && c->limits.bytes > ring->retain.bytes)
                ring->retain.bytes = c->limits.bytes;
        }
    ring->segment.messages = smallest.messages < 8 ? 1 : smallest.messages / 8;
    ring->segment.bytes = smallest.bytes / 8 < 64 ? 64 : smallest.bytes / 8;
    fit_to_history(ring);
}
