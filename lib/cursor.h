/* A cursor: one subscription's place in one ring. Knows ring only.
 *
 * Two kinds of reading. *Exclusive*: one thread at a time; the cursor's fields are plain, and per message it touches
 * nothing that is shared. *Shared*: any number of threads; each claims records by exchanging `position`. */
#ifndef CURSOR_H
#define CURSOR_H

#include "ring.h"

enum cursor_policy { CURSOR_DROP, CURSOR_BLOCK, CURSOR_DISCONNECT };

/* What keeps a segment's data in place for an exclusive reader: one pin, however many events were handed out of it.
 * Used by the reading thread only. */
enum hold_state {
    HOLD_LEFT,    /* its cursor has gone on: free once its events are released */
    HOLD_CURRENT, /* a cursor stands in it */
    HOLD_ORPHAN   /* its subscription has ended, but an event is still out */
};

struct hold {
    struct segment *segment; /* pinned; NULL: free */
    struct hold *next;       /* of its subscription's, in use or not; an orphan's does not matter */
    union {
        struct holds *of;       /* in use */
        struct hold *next_free; /* free */
    };
    uint32_t events; /* handed out and not released */
    uint8_t state;   /* enum hold_state */
};

struct holds { /* of one subscription; few: one for each cursor, and for each old segment with events still out */
    struct hold *more, *free; /* all but the first; those among them that are free */
    struct hold first;
    uint32_t orphans; /* when it has ended */
};

struct cursor {
    /* The reading thread's. In a shared cursor: the thread's that has set STEPPING in `position`. */
    _Alignas(MEMORY_LINE) unsigned char *data; /* of `segment`, which is pinned by `hold` (shared: by the cursor) */
    uint64_t offset;
    _Atomic uint64_t sequence; /* of the next record; atomic only for statistics. Shared: of the segment's first */
    uint64_t end; /* of the segment where that was known when we got here (a dedicated one); else SEGMENT_OPEN */
    struct segment *segment;
    struct hold *hold; /* NULL before the first record and in a shared cursor: then the cursor has `segment` pinned */
    uint64_t number;   /* of segment */
    struct ring *ring;

    /* Seen by the keeper, by ringers and by other readers. */
    _Alignas(MEMORY_LINE) _Atomic(struct segment *) at; /* the oldest segment this cursor still needs */
    _Atomic uint64_t position;                          /* shared: as in word.h, with STEPPING for SEALED */
    _Atomic uint64_t claimed;                           /* shared: up to which sequence, about; for statistics */
    _Atomic uintptr_t reader;                           /* thread_id of the last thread that read here; 0: none yet */
    _Atomic bool many_readers;                          /* it was not always the same */
    struct ring_limits limits;
    struct cursor *previous, *next; /* the keeper's list */
    struct holds *holds;            /* NULL: shared */
    uint64_t start;                 /* records before this sequence are skipped; constant */
    struct waiter waiter;
    uint8_t policy;      /* enum cursor_policy */
    _Atomic bool yields; /* it is a blocking one that no longer blocks: written by a keeper; the reader may know late */
    bool whole;          /* it entered the segment at its first record */
};

/* A run of records in one segment, which is pinned for the caller. */
struct claim {
    struct segment *segment;
    const unsigned char *data; /* the first record's header */
    uint64_t sequence;         /* of the first record */
    size_t count;
};

/* Do publishers have to wait for it? relaxed: whoever must know is the keeper. */
static inline bool cursor_blocks(const struct cursor *cursor)
{
    return cursor->policy == CURSOR_BLOCK && !atomic_load_explicit(&cursor->yields, memory_order_relaxed);
}

struct cursor_gap {
    uint64_t lost;
    uint64_t sequence; /* of what comes next */
};

enum cursor_result { CURSOR_EMPTY, CURSOR_RECORD, CURSOR_GAP, CURSOR_OVERFLOWN, CURSOR_NOMEM };

/* Attaches it to `ring`, at its end or at `start`. limits, policy, holds (NULL for shared) and waiter.bell are set.
 * False: no memory */
bool cursor_open(struct cursor *cursor, struct ring *ring, const struct ring_start *start);
/* Publishers and the keeper forget it. Any thread; the reading thread may still be at it. */
void cursor_detach(struct cursor *cursor);
/* Then, when nobody reads it any more: gives back what it had pinned. */
void cursor_close(struct cursor *cursor);

/* Exclusive. What is at the cursor? On CURSOR_RECORD, `data + offset` is a committed record; the caller hands it out
 * (hold->events) and goes on with cursor_skip. On CURSOR_GAP the cursor has moved behind the gap. Never waits. */
enum cursor_result cursor_look(struct cursor *cursor, struct cursor_gap *gap);

static inline uint64_t cursor_header(const struct cursor *cursor)
{
    return record_look(cursor->data + cursor->offset);
}

static inline uint64_t cursor_sequence(const struct cursor *cursor)
{
    return atomic_load_explicit(&cursor->sequence, memory_order_relaxed);
}
static inline void cursor_set_sequence(struct cursor *cursor, uint64_t sequence)
{
    atomic_store_explicit(&cursor->sequence, sequence, memory_order_relaxed);
}

/* Has it skipped what it should? Then it never has to again. */
static inline bool cursor_started(const struct cursor *cursor)
{
    return (int64_t)(cursor_sequence(cursor) - cursor->start) >= 0;
}

void cursor_leave_dedicated(struct cursor *cursor);

static inline void cursor_skip(struct cursor *cursor, uint64_t header)
{
    cursor->offset += record_stride(header);
    cursor_set_sequence(cursor, cursor_sequence(cursor) + 1);
    if (cursor->offset == cursor->end)
        cursor_leave_dedicated(cursor); /* so that its memory goes with its event */
}

/* One event less. Returns its `holds` if they had ended and this was the last event of all; else NULL. */
struct holds *hold_release(struct hold *hold);
/* No cursor will use them again. False: events are still out, and `holds` must stay until hold_release returns it. */
bool holds_end(struct holds *holds);

/* Shared. Claims up to `max` records. On CURSOR_RECORD the segment is pinned once for each of them. */
enum cursor_result cursor_claim(struct cursor *cursor, size_t max, struct claim *claim, struct cursor_gap *gap);

/* Marks the ring so that the cursor's waiter, armed before, is rung by the next publisher. False: there is something
 * behind the cursor, or soon will be. */
bool cursor_mark_waiting(struct cursor *cursor);
uint64_t cursor_next(struct cursor *cursor);   /* the sequence to be handed out next; any thread; a snapshot */
uint64_t cursor_queued(struct cursor *cursor); /* likewise */

/* Remembers who reads, so that a publisher can tell whether it waits for itself. */
static inline void cursor_read_by(struct cursor *cursor, uintptr_t thread)
{
    uintptr_t before = atomic_load_explicit(&cursor->reader, memory_order_relaxed);
    if (before == thread)
        return;
    if (before != 0)
        atomic_store_explicit(&cursor->many_readers, true, memory_order_relaxed);
    atomic_store_explicit(&cursor->reader, thread, memory_order_relaxed);
}

/* Is `thread` the only one that ever read here? */
static inline bool cursor_is_of(struct cursor *cursor, uintptr_t thread)
{
    return atomic_load_explicit(&cursor->reader, memory_order_relaxed) == thread &&
           !atomic_load_explicit(&cursor->many_readers, memory_order_relaxed);
}

#endif
