#include "ring.h"

#include <ck_pr.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "cursor.h"
#include "word.h"

/* From Concurrency Kit this file takes the pause between two looks. Its ck_ring holds pointers of one consumer and is
 * bounded by its slots; this ring holds bytes for many. Its fences are stand-alone, which ThreadSanitizer cannot see:
 * here every ordering is on the access itself. */

enum { KEEPER_NONE = 0, KEEPER_HELD = 1, KEEPER_AGAIN = 2 };

#define GROW_NS 10000000     /* a segment that filled faster than this is followed by one twice as large */
#define SHRINK_NS 1000000000 /* ... slower than this: by the smallest */
#define PAUSES 100           /* looks before a publisher yields the processor, and yields before it sleeps */
#define YIELDS 50

struct room {
    bool full, deadlock;
};

static void reclaim(struct ring *ring);

/* ------------------------------------------------------------------------------------------------------- keeper -- */

static bool keeper_try(struct ring *ring)
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

static void keeper_leave(struct ring *ring)
{
    uint32_t held = KEEPER_HELD;
    while (!atomic_compare_exchange_strong_explicit(&ring->keeper, &held, KEEPER_NONE, memory_order_acq_rel,
                                                    memory_order_acquire)) {
        atomic_exchange_explicit(&ring->keeper, KEEPER_HELD, memory_order_acq_rel);
        reclaim(ring); /* somebody left a note meanwhile */
        held = KEEPER_HELD;
    }
}

/* For subscribing and unsubscribing, which may wait. */
static void keeper_enter(struct ring *ring)
{
    while (!keeper_try(ring))
        sched_yield();
}

/* -------------------------------------------------------------------------------- the keeper's work on the chain -- */

static struct segment *current_of(struct ring *ring)
{
    return atomic_load_explicit(&ring->current, memory_order_relaxed); /* only keepers write it */
}

static struct ring_limits tail_of(struct ring *ring)
{
    struct segment *current = current_of(ring);
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

static void drop_use(struct ring *ring)
{
    /* release: our use of the ring is over; acquire: so is everybody's, for who frees it */
    if (atomic_fetch_sub_explicit(&ring->in_use, 1, memory_order_acq_rel) == 1)
        ring_free(ring);
}

void ring_segment_opened(struct ring *ring)
{
    atomic_fetch_add_explicit(&ring->in_use, 1, memory_order_relaxed); /* the keeper has the ring itself */
}

void ring_segment_freed(struct ring *ring, struct segment *segment)
{
    struct segment *top = atomic_load_explicit(&ring->freed, memory_order_relaxed);
    do
        segment->link = top;
    while (!atomic_compare_exchange_weak_explicit(&ring->freed, &top, segment, memory_order_release,
                                                  memory_order_relaxed));
    drop_use(ring);
}

struct pool *ring_pool(struct ring *ring)
{
    return ring->pool;
}

static struct segment *descriptor_get(struct ring *ring)
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

static void descriptor_put(struct ring *ring, struct segment *segment)
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

/* Gives back every segment at the head that nobody needs. */
static void reclaim(struct ring *ring)
{
    struct segment *current = current_of(ring), *head;
    struct ring_limits tail = tail_of(ring);
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

/* Does a blocking cursor forbid a new segment? */
static struct room room_of(struct ring *ring)
{
    struct room room = {false, false};
    struct segment *current = current_of(ring);
    struct ring_limits tail = tail_of(ring);
    for (struct cursor *c = ring->blocking; c != NULL; c = c->next) {
        struct segment *at = atomic_load(&c->at); /* seq_cst: pairs with cursor_move, see wait_for_room */
        if (has_records_behind(at, current, tail) && ring_over(tail, at, c->limits)) {
            room.full = true;
            room.deadlock |= cursor_is_of(c, thread_id());
        }
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

/* Seals the current segment and makes `segment` the next. `dedicated`, if any, goes between the two. Returns the word
 * as it was sealed. Publishers wait between the two writes of `word`, which is why everything that takes time was done
 * before. */
static uint64_t link_next(struct ring *ring, struct segment *segment, struct segment *dedicated)
{
    struct segment *last = current_of(ring), *first = last;
    /* acquire: nothing of the new segment's set-up may be seen as part of the old one's */
    uint64_t word = atomic_fetch_or_explicit(&ring->word, WORD_SEALED, memory_order_acq_rel);
    uint64_t kept = word & WORD_WAIT;
    last->dirty = word_offset(word);
    if (dedicated != NULL) {
        append(last, dedicated, word_records(word), word_offset(word));
        atomic_store_explicit(&dedicated->end, dedicated->data_bytes, memory_order_relaxed);
        append(dedicated, segment, 1, dedicated->data_bytes);
        atomic_store_explicit(&dedicated->next, segment, memory_order_release);
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

static void set_capacity(struct segment *segment, uint32_t bytes, uint32_t records)
{
    atomic_store_explicit(&segment->capacity, bytes, memory_order_relaxed);
    atomic_store_explicit(&segment->max_records, records, memory_order_relaxed);
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

/* Begins a new segment that takes `need` bytes, or, for 0, one without data. */
static bool roll(struct ring *ring, uint64_t need)
{
    struct segment *current = current_of(ring);
    if (need != 0 && atomic_load_explicit(&current->capacity, memory_order_relaxed) == 0)
        return furnish(ring, current, need);
    struct segment *segment = descriptor_get(ring);
    if (segment == NULL)
        return false;
    uint32_t bytes = need == 0 ? 0 : next_bytes(ring, need);
    if (need == 0) {
        segment_drop_data(segment);
    } else if (!segment_get_data(segment, bytes)) {
        descriptor_put(ring, segment);
        return false;
    }
    segment->dedicated = false;
    set_capacity(segment, bytes, records_of(ring));
    link_next(ring, segment, NULL);
    return true;
}

/* -------------------------------------------------------------------------------------------------------- space -- */

static bool passed_deadline(int64_t deadline_ns)
{
    return deadline_ns != OS_NEVER && clock_ns() >= deadline_ns;
}

static struct room look_for_room(struct ring *ring)
{
    struct room room = {false, false}; /* the keeper is busy: perhaps making room */
    if (keeper_try(ring)) {
        room = room_of(ring);
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
            atomic_fetch_add(&ring->space_waiters, 1); /* seq_cst: pairs with ring_passed */
        uint32_t seen = atomic_load(&ring->space);
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
        if (park)
            atomic_fetch_sub(&ring->space_waiters, 1);
        if (!room.full || result != RING_OK)
            return result;
        if (!park)
            sched_yield();
    }
}

static void ring_space(struct ring *ring)
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
    atomic_fetch_sub(&ring->space_waiters, 1);
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
    if (atomic_load(&ring->head) == from && keeper_try(ring)) { /* seq_cst: pairs with retire_head */
        reclaim(ring);
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

/* Makes sure the current segment has room, or had for a moment. */
static enum ring_result make_room(struct ring *ring, uint64_t need, int64_t deadline_ns, const struct os_guard *guard,
                                  int *looks)
{
    if (!keeper_try(ring)) {
        if (++*looks < PAUSES)
            ck_pr_stall();
        else
            sched_yield();
        return RING_OK;
    }
    enum ring_result result = RING_OK;
    struct room room = {false, false};
    if (!fits(current_of(ring), atomic_load_explicit(&ring->word, memory_order_relaxed), need)) {
        reclaim(ring);
        room = room_of(ring);
        if (!room.full && !roll(ring, need))
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
    for (;;) {
        keeper_enter(ring);
        reclaim(ring);
        struct room room = room_of(ring);
        if (!room.full)
            break;
        keeper_leave(ring);
        result = wait_for_room(ring, deadline_ns, guard);
        if (result != RING_OK) {
            memory_put_block(data, need + RECORD_HEADER);
            return result;
        }
    }
    struct segment *segment = descriptor_get(ring), *next = descriptor_get(ring);
    if (segment == NULL || next == NULL) {
        if (segment != NULL)
            descriptor_put(ring, segment);
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
    set_capacity(segment, 0, 0);
    set_capacity(next, 0, 0);
    uint64_t word = link_next(ring, next, segment);
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
    /* acquire: the segment's set-up, and the waiters that were armed before WAIT was set (waiter_ring_list).
     * release: keeps those of others in between in the chain of exchanges. */
    return atomic_compare_exchange_strong_explicit(&ring->word, &word, word_advance(word, need), memory_order_acq_rel,
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
         * away. A plain look could still miss that publisher, and it us. */
        if (atomic_compare_exchange_weak_explicit(&ring->word, &word, word | WORD_WAIT, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    }
}

/* ------------------------------------------------------------------------------------------------ set up, cursors -- */

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

/* What is kept beyond the history is at most an eighth of it, or this little. */
static void fit_to_history(struct ring *ring)
{
    if (ring->history.messages == 0)
        return;
    uint64_t messages = ring->history.messages / 8, bytes = ring->history.bytes / 8;
    ring->segment.messages = at_most(ring->segment.messages, messages < 64 ? 64 : messages);
    ring->segment.bytes = at_most(ring->segment.bytes, bytes < 4096 ? 4096 : bytes);
}

static void set_limits(struct ring *ring)
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
    set_limits(ring);
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
    drop_use(ring);
}

void ring_interrupt(struct ring *ring)
{
    atomic_fetch_add(&ring->space, 1);
    os_wake(&ring->space, INT32_MAX);
}

struct ring_limits ring_tail(struct ring *ring)
{
    for (;;) {
        uint64_t word = atomic_load_explicit(&ring->word, memory_order_acquire);
        struct segment *current = atomic_load_explicit(&ring->current, memory_order_acquire);
        struct ring_limits tail = {atomic_load_explicit(&current->base, memory_order_acquire) + word_records(word),
                                   atomic_load_explicit(&current->base_bytes, memory_order_acquire) +
                                       word_offset(word)};
        /* All three belonged together if neither the segment nor the word has gone on to another number. */
        if ((uint32_t)atomic_load_explicit(&current->number, memory_order_acquire) == word_number(word) &&
            word_number(atomic_load_explicit(&ring->word, memory_order_acquire)) == word_number(word))
            return tail;
        sched_yield();
    }
}

static struct cursor **list_of(struct ring *ring, struct cursor *cursor)
{
    return cursor->policy == CURSOR_BLOCK ? &ring->blocking : &ring->dropping;
}

static void unlink_cursor(struct ring *ring, struct cursor *cursor)
{
    if (cursor->previous != NULL)
        cursor->previous->next = cursor->next;
    else
        *list_of(ring, cursor) = cursor->next;
    if (cursor->next != NULL)
        cursor->next->previous = cursor->previous;
    set_limits(ring);
}

/* The oldest message that the history still shows: of what is there, the last so many. */
static uint64_t oldest_shown(const struct ring *ring, uint64_t tail)
{
    uint64_t kept = tail - atomic_load_explicit(&atomic_load_explicit(&ring->head, memory_order_relaxed)->base,
                                                memory_order_relaxed);
    return tail - at_most(kept, ring->history.messages);
}

uint64_t ring_oldest(struct ring *ring)
{
    keeper_enter(ring);
    uint64_t oldest = oldest_shown(ring, tail_of(ring).messages);
    keeper_leave(ring);
    return oldest;
}

/* The sequence to begin with. All are counted back from the tail: sequences may wrap. */
static uint64_t start_of(const struct ring *ring, const struct ring_start *start, uint64_t tail)
{
    uint64_t back = at_most(tail - oldest_shown(ring, tail), start->most);
    if (start->given && (int64_t)(tail - start->sequence) < (int64_t)back)
        back = (int64_t)(tail - start->sequence) > 0 ? tail - start->sequence : 0;
    return tail - back;
}

/* Puts the cursor at the beginning of the segment that holds `sequence`: it skips what comes before (see cursor.h), as
 * soon as it is there to be skipped. */
static void place(struct ring *ring, struct cursor *cursor, uint64_t sequence)
{
    struct segment *segment = atomic_load_explicit(&ring->head, memory_order_relaxed), *current = current_of(ring);
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
    struct segment *segment = current_of(ring);
    uint64_t word = atomic_load(&ring->word);
    cursor->segment = segment;
    cursor->offset = word_offset(word);
    cursor->start = atomic_load_explicit(&segment->base, memory_order_relaxed) + word_records(word);
    cursor_set_sequence(cursor, cursor->start);
}

bool ring_attach(struct ring *ring, struct cursor *cursor, const struct ring_start *start)
{
    keeper_enter(ring);
    struct cursor **list = list_of(ring, cursor);
    cursor->next = *list;
    cursor->previous = NULL;
    if (*list != NULL)
        (*list)->previous = cursor;
    *list = cursor;
    set_limits(ring);
    struct segment *segment = current_of(ring);
    if (atomic_load_explicit(&segment->capacity, memory_order_relaxed) > ring->segment.bytes ||
        atomic_load_explicit(&segment->max_records, memory_order_relaxed) > ring->segment.messages) {
        /* The segment in use is coarser than the new limits want. */
        if (!roll(ring, 0)) {
            unlink_cursor(ring, cursor);
            keeper_leave(ring);
            return false;
        }
    }
    /* Before the position is read: who publishes after the position was read stores the message. seq_cst, so that a
     * publisher that finds no readers has published before. */
    atomic_fetch_add(&ring->readers, 1);
    if (start != NULL)
        place(ring, cursor, start_of(ring, start, tail_of(ring).messages));
    else
        place_at_end(ring, cursor);
    segment = cursor->segment;
    segment_pin_again(segment); /* it cannot be retired while we are the keeper */
    cursor->ring = ring;
    cursor->number = atomic_load_explicit(&segment->number, memory_order_relaxed);
    cursor->end = segment->dedicated ? atomic_load_explicit(&segment->end, memory_order_relaxed) : SEGMENT_OPEN;
    atomic_store(&cursor->at, segment);
    keeper_leave(ring);
    return true;
}

void ring_detach(struct ring *ring, struct cursor *cursor)
{
    keeper_enter(ring);
    unlink_cursor(ring, cursor);
    uint32_t left = atomic_fetch_sub(&ring->readers, 1) - 1, cursors = left - (ring->history.messages != 0);
    if (left == 0 && atomic_load_explicit(&current_of(ring)->capacity, memory_order_relaxed) != 0)
        roll(ring, 0); /* nobody reads it any more; without memory it waits for the next keeper */
    /* The cursor's waiter may still be armed, and keeps its subscription's memory. Ringing everybody gets rid of it: but
     * not at once, or every unsubscribe would wake every other subscription. */
    ring->dead_waiters += atomic_load(&cursor->waiter.state) == WAITER_ARMED;
    bool ring_all = ring->dead_waiters > cursors;
    if (ring_all)
        ring->dead_waiters = 0;
    reclaim(ring);
    keeper_leave(ring);
    if (ring_all)
        waiter_ring_list(&ring->armed);
    ring_space(ring);
}

bool ring_trim(struct ring *ring)
{
    if (!keeper_try(ring))
        return false;
    bool trim = ring->history.messages == 0 &&
                atomic_load_explicit(&current_of(ring)->capacity, memory_order_relaxed) > 4096 && roll(ring, 0);
    reclaim(ring);
    keeper_leave(ring);
    return trim;
}
