#include "keeper.h"

#include <ck_pr.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "word.h"

/* From Concurrency Kit this file takes the pause between two looks. Its ck_ring holds pointers of one consumer and is
 * bounded by its slots; this ring holds bytes for many. Its fences are stand-alone, which ThreadSanitizer cannot see:
 * here every ordering is on the access itself. */

#ifndef BCAST_MODEL
#define PAUSES 100 /* looks before a publisher yields the processor, and yields before it sleeps */
#define YIELDS 50
#define PATIENCE 500 /* yields to a keeper before the deadline counts, or one asks who has it */
#else                /* where looking again is never the right decision for long */
#define PAUSES 1
#define YIELDS 0
#define PATIENCE INT32_MAX /* every thread runs again */
#endif

/* -------------------------------------------------------------------------------------------------------- space -- */

static bool passed_deadline(int64_t deadline_ns)
{
    return deadline_ns != OS_NEVER && clock_ns() >= deadline_ns;
}

static struct room look_for_room(struct ring *ring)
{
    struct room room = {false, false}; /* the keeper is busy: perhaps making room */
    if (keeper_try(ring)) {
        room = keeper_room(ring);
        keeper_leave(ring);
    }
    return room;
}

/* Waits until no blocking cursor stands in the way, as far as one can tell. Not as keeper. */
static enum ring_result wait_for_room(struct ring *ring, int64_t deadline_ns, const struct os_guard *guard)
{
    for (int i = 0;; i++) {
        bool park = i >= YIELDS;
        if (park)
            atomic_fetch_add(&ring->space_waiters, 1);                            /* seq_cst: pairs with ring_passed */
        uint32_t seen = atomic_load_explicit(&ring->space, memory_order_acquire); /* before what follows is looked at */
        struct room room = look_for_room(ring);
        enum ring_result result = RING_OK;
        /* The guard is lowered before `space` is rung: after a look at `seen` we see one or the other. */
        if (!os_guard_raised(guard))
            result = RING_CLOSED;
        else if (room.deadlock)
            result = RING_DEADLOCK;
        else if (room.full && (deadline_ns == 0 || passed_deadline(deadline_ns)))
            result = RING_FULL;
        else if (room.full && park)
            os_wait(&ring->space, seen, deadline_ns);
        if (park) /* relaxed: who does not know yet rings for nothing */
            atomic_fetch_sub_explicit(&ring->space_waiters, 1, memory_order_relaxed);
        if (!room.full || result != RING_OK)
            return result;
        if (!park)
            sched_yield();
    }
}

void ring_space(struct ring *ring)
{
    if (atomic_load(&ring->space_waiters) == 0) /* seq_cst: pairs with wait_for_room */
        return;
    ring_interrupt(ring);
    /* seq_cst, before the look at space_bell: pairs with ring_notify_space */
    atomic_fetch_add(&ring->space_ringers, 1);
    struct bell *bell = atomic_load(&ring->space_bell);
    if (bell != NULL)
        bell_ring_one(bell);
    atomic_fetch_sub(&ring->space_ringers, 1);
}

void ring_notify_space(struct ring *ring, struct bell *bell)
{
    struct bell *before = atomic_exchange(&ring->space_bell, bell);
    if (before == NULL && bell != NULL)
        atomic_fetch_add(&ring->space_waiters, 1); /* after the bell is there; then the caller looks for room again */
    if (before == NULL || bell != NULL)
        return;
    atomic_fetch_sub_explicit(&ring->space_waiters, 1, memory_order_relaxed);
    while (atomic_load(&ring->space_ringers) != 0)
        sched_yield(); /* somebody may still be about to ring the one that was there */
}

bool ring_has_room(struct ring *ring)
{
    return !look_for_room(ring).full;
}

void ring_passed(struct ring *ring, struct segment *from)
{
    ring_space(ring);
    struct segment *head = atomic_load(&ring->head); /* seq_cst: pairs with retire_head */
    /* A slower one keeps an older head. One that was overtaken, and left `from` long after it was the head, has kept
     * whatever was the oldest. */
    if (atomic_load_explicit(&head->number, memory_order_relaxed) >=
            atomic_load_explicit(&from->number, memory_order_relaxed) &&
        keeper_try(ring)) {
        keeper_reclaim(ring);
        keeper_leave(ring);
    }
}

/* ------------------------------------------------------------------------------------------------------ publish -- */

static bool fits(struct segment *segment, uint64_t word, uint64_t need)
{
    /* acquire: pairs with furnish */
    return word_offset(word) + need <= atomic_load_explicit(&segment->capacity, memory_order_acquire) &&
           word_records(word) < atomic_load_explicit(&segment->max_records, memory_order_relaxed);
}

/* The keeper is somebody else, who is done in a moment: unless it was stopped. RING_OK: look again. */
static enum ring_result wait_for_keeper(int64_t deadline_ns, const struct os_guard *guard, int *looks)
{
    if (*looks < INT_MAX)
        ++*looks;
    if (*looks < PAUSES) {
        ck_pr_stall();
        return RING_OK;
    }
    if (!os_guard_raised(guard))
        return RING_CLOSED;
    if (*looks - PAUSES >= PATIENCE && (deadline_ns == 0 || passed_deadline(deadline_ns)))
        return RING_BUSY;
    sched_yield();
    return RING_OK;
}

/* Makes sure the current segment has room, or had for a moment. */
static enum ring_result make_room(struct ring *ring, uint64_t need, int64_t deadline_ns, const struct os_guard *guard,
                                  int *looks)
{
    if (!keeper_try(ring))
        return wait_for_keeper(deadline_ns, guard, looks);
    fault_stop(FAULT_KEEPING);
    enum ring_result result = RING_OK;
    struct room room = {false, false};
    if (!fits(keeper_current(ring), atomic_load_explicit(&ring->word, memory_order_relaxed), need)) {
        keeper_reclaim(ring);
        room = keeper_room(ring);
        if (!room.full && !keeper_roll(ring, need))
            result = RING_NOMEM;
    }
    keeper_leave(ring);
    return room.full ? wait_for_room(ring, deadline_ns, guard) : result;
}

static void fill(unsigned char *at, const struct record *record)
{
    if (record->extra_size != 0) {
        memcpy(at, record->extra, record->extra_size);
        at += record_padded(record->extra_size);
    }
    if (record->size != 0)
        memcpy(at, record->data, record->size);
}

static inline void commit(unsigned char *at, uint64_t header)
{
    /* release: pairs with the acquire in record_look */
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, header, memory_order_release);
}

static void write_record(unsigned char *at, const struct record *record)
{
    fill(at + RECORD_HEADER, record);
    commit(at, record_header(record->size, record->extra_size) | record->flags);
}

/* The readers that waited when `word` was exchanged. */
static inline void ring_waiting(struct ring *ring, uint64_t word)
{
    if (word & WORD_WAIT)
        waiter_ring_list(&ring->armed);
}

/* A message larger than a segment gets one of its own. It is copied before anybody is kept waiting. */
static enum ring_result publish_dedicated(struct ring *ring, const struct record *record, uint64_t need,
                                          int64_t deadline_ns, const struct os_guard *guard)
{
    enum ring_result result = RING_NOMEM;
    unsigned char *data = memory_get_block(need + RECORD_HEADER);
    if (data == NULL)
        return RING_NOMEM;
    write_record(data, record);
    for (int looks = 0;;) {
        if (keeper_try(ring)) {
            keeper_reclaim(ring);
            struct room room = keeper_room(ring);
            if (!room.full)
                break;
            keeper_leave(ring);
            result = wait_for_room(ring, deadline_ns, guard);
        } else {
            result = wait_for_keeper(deadline_ns, guard, &looks);
        }
        if (result != RING_OK) {
            memory_put_block(data, need + RECORD_HEADER);
            return result;
        }
    }
    struct segment *segment = keeper_get_segment(ring), *next = keeper_get_segment(ring);
    if (segment == NULL || next == NULL) {
        if (segment != NULL)
            keeper_put_segment(ring, segment);
        keeper_leave(ring);
        memory_put_block(data, need + RECORD_HEADER);
        return RING_NOMEM;
    }
    segment_drop_data(segment);
    segment_drop_data(next);
    segment->data = data;
    segment->data_bytes = (uint32_t)need;
    segment->dedicated = true;
    next->dedicated = false;
    segment_set_capacity(segment, 0, 0);
    segment_set_capacity(next, 0, 0);
    uint64_t word = keeper_link(ring, next, segment);
    keeper_leave(ring);
    ring_waiting(ring, word);
    return RING_OK;
}

struct place { /* where a record may go */
    uint64_t word;
    struct segment *segment;
};

static inline bool has_room(struct ring *ring, uint64_t need, struct place *place)
{
    /* acquire: pairs with link_next, so that `current` is at least the segment this word speaks of */
    place->word = atomic_load_explicit(&ring->word, memory_order_acquire);
    place->segment = atomic_load_explicit(&ring->current, memory_order_acquire); /* it may be newer than the word */
    return !(place->word & WORD_SEALED) && fits(place->segment, place->word, need);
}

/* False: another publisher was faster. On true the segment's memory stays until the header is set: its keeper would
 * find it empty. */
static inline bool reserve(struct ring *ring, uint64_t need, const struct place *place)
{
    uint64_t word = place->word;
    /* acquire: the waiters that were armed before WAIT was set (waiter_ring_list); exchanges in between keep them in
     * the chain, whatever their order. */
    return atomic_compare_exchange_strong_explicit(&ring->word, &word, word_advance(word, need), memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline unsigned char *record_at(const struct place *place)
{
    return place->segment->data + word_offset(place->word);
}

bool ring_publish_quick(struct ring *ring, const void *data, size_t size)
{
    uint64_t need = record_bytes(size, 0);
    struct place place;
    if (!has_room(ring, need, &place) || !reserve(ring, need, &place))
        return false;
    fault_stop(FAULT_RESERVED);
    memcpy(record_at(&place) + RECORD_HEADER, data, size);
    commit(record_at(&place), record_header(size, 0));
    ring_waiting(ring, place.word);
    return true;
}

enum ring_result ring_publish(struct ring *ring, const struct record *record, int64_t deadline_ns,
                              const struct os_guard *guard)
{
    uint64_t need = record_bytes(record->size, record->extra_size);
    if (need > SEGMENT_BYTES)
        return publish_dedicated(ring, record, need, deadline_ns, guard);
    struct place place;
    int looks = 0;
    for (;;) {
        if (!has_room(ring, need, &place)) {
            enum ring_result result = make_room(ring, need, deadline_ns, guard, &looks);
            if (result != RING_OK)
                return result;
        } else if (reserve(ring, need, &place)) {
            break;
        }
    }
    fault_stop(FAULT_RESERVED);
    write_record(record_at(&place), record);
    ring_waiting(ring, place.word);
    return RING_OK;
}

bool ring_mark_waiting(struct ring *ring, uint64_t number, uint64_t offset)
{
    uint64_t word = atomic_load_explicit(&ring->word, memory_order_relaxed);
    for (;;) {
        if ((word & WORD_SEALED) || (uint32_t)number != word_number(word) || offset != word_offset(word))
            return false;
        /* An exchange even if WAIT is set: it puts our waiter, armed before, in front of the publisher that takes WAIT
         * away. A plain look could still miss that publisher, and it us. release: with it goes that we are armed. */
        if (atomic_compare_exchange_weak_explicit(&ring->word, &word, word | WORD_WAIT, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    }
}

/* -------------------------------------------------------------------------------------------------------- set up -- */

void ring_init(struct ring *ring, const struct ring_setup *setup)
{
    memset(ring, 0, sizeof *ring);
    ring->pool = setup->pool;
    ring->gone = setup->gone;
    ring->history = setup->history;
    atomic_init(&ring->in_use, 1);
    atomic_init(&ring->readers, setup->history.messages != 0);
    ring->next_bytes = SEGMENT_MIN;
    ring->first.ring = ring;
    segment_open(&ring->first, setup->first_number, setup->first_sequence, 0);
    keeper_set_limits(ring);
    atomic_init(&ring->word, word_at(setup->first_number, 0, 0));
    atomic_init(&ring->current, &ring->first);
    atomic_init(&ring->head, &ring->first);
}

void ring_fini(struct ring *ring)
{
    waiter_ring_list(&ring->armed); /* of subscriptions that are gone: drops what keeps their memory */
    while (ring->limbo != NULL) {   /* nobody publishes any more */
        struct segment *segment = ring->limbo;
        ring->limbo = segment->link;
        segment_unpin(segment);
    }
    struct segment *next;
    for (struct segment *s = atomic_load_explicit(&ring->head, memory_order_relaxed); s != NULL; s = next) {
        next = atomic_load_explicit(&s->next, memory_order_relaxed);
        segment_retire(s);
    }
    ring_drop_use(ring);
}

void ring_interrupt(struct ring *ring)
{
    atomic_fetch_add_explicit(&ring->space, 1, memory_order_release); /* with it goes why: room, or a lowered guard */
    os_wake(&ring->space, INT32_MAX);
}

struct ring_limits ring_tail(struct ring *ring)
{
    for (;;) {
        uint64_t word = atomic_load_explicit(&ring->word, memory_order_acquire);
        struct segment *current = atomic_load_explicit(&ring->current, memory_order_acquire);
        /* acquire, for what comes behind: pairs with segment_open */
        struct ring_limits tail = {atomic_load_explicit(&current->base, memory_order_acquire) + word_records(word),
                                   atomic_load_explicit(&current->base_bytes, memory_order_acquire) +
                                       word_offset(word)};
        /* All of it belonged together if `current` is not newer than the word, and the word has not gone on to another
         * number: before the descriptor is used for another one it has. */
        if ((uint32_t)atomic_load_explicit(&current->number, memory_order_relaxed) == word_number(word) &&
            word_number(atomic_load_explicit(&ring->word, memory_order_relaxed)) == word_number(word))
            return tail;
        sched_yield();
    }
}
