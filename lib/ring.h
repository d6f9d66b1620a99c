/* The ring of a channel: a chain of segments that any thread appends to and every cursor reads. Knows base and wait.
 *
 * Publishing reserves room with one compare-exchange on `word`, copies, and commits with one store. Whatever changes
 * the chain itself (a new segment, giving old ones back, cursors coming and going) is done by one thread at a time,
 * the *keeper*. Nobody sleeps for that role: publishers and readers only try to get it; who finds it taken leaves a
 * note, and the keeper looks once more. docs/architecture.md has the argument, ordering by ordering. */
#ifndef RING_H
#define RING_H

#include "segment.h"
#include "wait.h"

enum ring_result {
    RING_OK = 0,
    RING_FULL = 1,     /* a blocking cursor has not caught up by the deadline */
    RING_DEADLOCK = 2, /* ... and it is this thread that would have to read it */
    RING_CLOSED = 3,   /* the guard was lowered while it waited */
    RING_NOMEM = 4,
    RING_BUSY = 5 /* another thread, which changes the chain of segments, was not done by the deadline */
};

struct ring_limits {
    uint64_t messages, bytes;
};

/* Is at least a limit's worth waiting from the start of `from`, up to `tail`? Of the keeper, or of who has it pinned. */
static inline bool ring_over(struct ring_limits tail, struct segment *from, struct ring_limits limits)
{
    return tail.messages - atomic_load_explicit(&from->base, memory_order_relaxed) >= limits.messages ||
           tail.bytes - atomic_load_explicit(&from->base_bytes, memory_order_relaxed) >= limits.bytes;
}

struct cursor;

struct ring {
    /* Publishers. word: WAIT:1 SEALED:1 offset/8:15 records:15 segment number:32 */
    _Alignas(MEMORY_LINE) _Atomic uint64_t word;
    _Atomic(struct segment *) current; /* the segment `word` speaks of, while it is not sealed */
    _Atomic uint32_t readers; /* cursors attached, and one if history is kept; 0: messages need not be stored */
    uint32_t next_bytes;      /* keeper: data of the next segment */
    _Alignas(8) unsigned char nothing[RECORD_HEADER]; /* stays 0: what a segment without data holds */
    struct pool *pool;
    void (*gone)(struct ring *);
    struct ring_limits retain; /* keeper: the largest limits among `dropping` */

    /* Waiting, and what cursors change when they leave a segment. */
    _Alignas(MEMORY_LINE) waiter_list armed; /* readers to ring when WAIT is found set */
    _Atomic uint32_t keeper;                 /* KEEPER_* */
    _Atomic uint32_t space;                  /* futex word of publishers that wait for a blocking cursor */
    _Atomic uint32_t space_waiters;          /* how many of them */
    _Atomic uint32_t space_ringers;          /* ... and who is about to ring it */
    _Atomic(struct bell *) space_bell;       /* of one that waits elsewhere; counted above */
    _Atomic(struct segment *) head;          /* the oldest segment in the chain; written by the keeper */
    _Atomic(struct segment *) freed; /* a stack; pushed by whoever drops a last pin, taken whole by the keeper */
    int64_t rolled_ns;               /* keeper: when the last segment began */

    /* The keeper's own. */
    _Alignas(MEMORY_LINE) struct segment *all; /* every descriptor but `first`, linked by next_all */
    struct segment *spare;                     /* free ones */
    _Atomic uint32_t in_use;    /* segments that are in the chain or pinned, ring_add_use, and one until ring_fini */
    struct segment *limbo;      /* retired, with a record that its publisher has not finished */
    struct cursor *blocking;    /* attached cursors that hold publishers back */
    struct cursor *dropping;    /* and those that do not */
    struct ring_limits segment; /* what one segment may take, from the smallest limits of all */
    struct ring_limits history; /* keep this much behind the end, whoever needs it; or no messages */
    uint32_t dead_waiters;      /* armed when their cursors left, so perhaps still on `armed` */
    struct segment first;
};

struct ring_setup {
    struct pool *pool;
    void (*gone)(struct ring *);
    struct ring_limits history; /* to be kept; without messages: none */
    uint32_t first_number;      /* lets tests begin near a wrap-around of segment numbers and sequences; 0 otherwise */
    uint64_t first_sequence;
};
void ring_init(struct ring *ring, const struct ring_setup *setup);
/* Nobody may use it any more but who has a segment pinned. With the last pin or use, perhaps at once, `gone` is called:
 * its memory may be used for something else. */
void ring_fini(struct ring *ring);
/* Keeps the ring's memory, also past ring_fini, until ring_drop_use. The caller has a segment pinned. Any thread. */
void ring_add_use(struct ring *ring);
void ring_drop_use(struct ring *ring);
void ring_interrupt(struct ring *ring); /* publishers that wait for room look at their guard again */

struct record {
    uint64_t flags; /* RECORD_GAP or 0 */
    const void *data;
    uint32_t size;
    uint32_t extra_size;
    const void *extra;
};

/* Appends one record and rings whoever waits for it. Any thread. Waits for room, and for the keeper (one that was
 * stopped is yielded to), until deadline_ns at most; with deadline 0 it yields a few times. All or nothing. */
enum ring_result ring_publish(struct ring *ring, const struct record *record, int64_t deadline_ns,
                              const struct os_guard *guard);

/* The same for bare data, if there is room in the current segment and nobody else publishes at this moment; otherwise
 * false, and nothing has happened. */
bool ring_publish_quick(struct ring *ring, const void *data, size_t size);

/* For a publisher that cannot wait inside: its bell is rung whenever there may be room again. NULL: no longer; once that
 * has returned, nobody is about to ring it. One bell at a time. */
void ring_notify_space(struct ring *ring, struct bell *bell);
bool ring_has_room(struct ring *ring); /* as far as one can tell */

/* In a forked child: has nobody stopped, in the parent, where others wait for him? */
bool ring_quiet(struct ring *ring);

/* How many records, and bytes of records, were appended since it began. */
struct ring_limits ring_tail(struct ring *ring);

/* Where a cursor begins in what the ring has kept: with its last `most` messages, but none before `sequence` if that is
 * `given`. */
struct ring_start {
    uint64_t most;
    uint64_t sequence;
    bool given;
};

/* The oldest message that the history shows. May wait for the keeper. */
uint64_t ring_oldest(struct ring *ring);

/* Attaches and detaches a cursor; may wait for the keeper. See cursor.h. Without `start`: at the end. False: no memory */
bool ring_attach(struct ring *ring, struct cursor *cursor, const struct ring_start *start);
void ring_detach(struct ring *ring, struct cursor *cursor);

/* For a publisher that found it full, and whose messages can be had again: blocking cursors that are in the way, while
 * another cursor is not, no longer block, and are overtaken instead (CURSOR_GAP). False: there is none, or no other. */
bool ring_let_pass(struct ring *ring);

/* A cursor has left `from`, which is still pinned, behind: gives back what nobody needs, lets publishers go on. Any thread; never waits. */
void ring_passed(struct ring *ring, struct segment *from);

/* Marks the ring so that the next publisher rings `armed`. False if something was published behind this position (it
 * may not be committed yet). The caller's waiter must be armed already. */
bool ring_mark_waiting(struct ring *ring, uint64_t number, uint64_t offset);

/* Puts an empty segment behind the current one, so that its data can be given back when every cursor has left it. False:
 * it is small, or now is not the time. Any thread; never waits. */
bool ring_trim(struct ring *ring);

#endif
