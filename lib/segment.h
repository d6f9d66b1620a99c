/* Segments: the pieces of memory a ring is made of. Knows base only.
 *
 * A segment's descriptor belongs to its ring and is never freed before it, so any thread may look at one at any time;
 * its data comes and goes. Before data is read the descriptor is *pinned*: a reference is added, and only then it is
 * checked that it still is the segment that was meant. While it has references its data stays. */
#ifndef SEGMENT_H
#define SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

#ifndef BCAST_MODEL
#define SEGMENT_BYTES (128u << 10) /* the largest that more than one message shares */
#define SEGMENT_SMALL 4096u        /* so little data is not worth giving back */
#else                              /* what is large is to be had for little */
#define SEGMENT_BYTES 256u
#define SEGMENT_SMALL 128u
#endif
#define SEGMENT_MIN 64u
#define SEGMENT_OPEN UINT64_MAX

/* A record: header, extra, data; each padded to 8 bytes. The header is 0 until the record is complete. */
#define RECORD_COMMITTED (UINT64_C(1) << 63)
#define RECORD_GAP (UINT64_C(1) << 62)  /* not a message: its data is a struct gap_record */
#define RECORD_SEAM (UINT64_C(1) << 61) /* not a message: the last of a ring; what follows is in another one */
#define RECORD_HEADER 8u

static inline uint64_t record_header(size_t size, size_t extra_size)
{
    return RECORD_COMMITTED | (uint64_t)extra_size << 32 | (uint32_t)size;
}
static inline uint32_t record_size(uint64_t header)
{
    return (uint32_t)header;
}
static inline uint32_t record_extra_size(uint64_t header)
{
    return (uint32_t)(header >> 32) & 0x1fffffffu;
}
static inline uint64_t record_padded(uint64_t size)
{
    return (size + 7) & ~UINT64_C(7);
}
static inline uint64_t record_bytes(uint64_t size, uint64_t extra_size)
{
    return RECORD_HEADER + record_padded(extra_size) + record_padded(size);
}
/* From a record with this header to the next. */
static inline uint64_t record_stride(uint64_t header)
{
    return record_bytes(record_size(header), record_extra_size(header));
}
/* The header of the record at `record`; 0 until it is complete. acquire: pairs with the publisher's commit. */
static inline uint64_t record_look(const unsigned char *record)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)record, memory_order_acquire);
}

struct gap_record { /* messages that a backend says were missed here */
    uint64_t lost;
    uint32_t reason, count; /* enum bcast_gap_reason, enum bcast_count */
};

/* A few full-size data blocks that rings hand to each other instead of the system. An array of slots: get and put are
 * one exchange or compare-exchange of a whole slot, so there is no ABA; the lowest slots stay warm in the cache. */
#define POOL_SLOTS 48
struct pool {
    _Atomic(void *) slots[POOL_SLOTS];
};
void pool_fini(struct pool *pool);

#define SEGMENT_RETIRED UINT32_C(0x80000000) /* no longer in the chain */
#define SEGMENT_FREE UINT32_C(0x40000000)    /* without data, waiting to be used again */
#define SEGMENT_PINS(references) (UINT32_C(0x3fffffff) & (references))

struct ring;

struct segment {
    _Atomic uint32_t references; /* pins and the two flags above */
    _Atomic bool complete;       /* a reader has seen every record committed: no need to look again */
    bool dedicated;              /* holds one message, too large to share */
    _Atomic uint64_t number;     /* of this use; never repeats within a ring */
    _Atomic uint64_t end;        /* bytes used once no more will be added; SEGMENT_OPEN before */
    _Atomic uint64_t base;       /* sequence of its first record */
    _Atomic uint64_t base_bytes; /* bytes of records before it, since the ring began */
    _Atomic uint32_t capacity;   /* bytes and records it may take; 0: it has no data (yet) */
    _Atomic uint32_t max_records;
    _Atomic(struct segment *) next;
    /* The rest is the keeper's, or that of who frees it; `data` is published by `capacity` or with the segment. */
    unsigned char *data;
    uint32_t data_bytes;
    uint32_t dirty;           /* bytes of data that may be non-zero */
    struct segment *link;     /* on a list of free or limbo ones */
    struct segment *next_all; /* of its ring's */
    struct ring *ring;
};

/* Adds a reference if the segment still is number `number`. Any thread. On true its data and `next` stay until
 * segment_unpin. acquire: what was written before it was opened is seen. */
bool segment_pin(struct segment *segment, uint64_t number);
void segment_pin_again(struct segment *segment); /* the caller has it pinned already */
void segment_unpin(struct segment *segment);

/* The keeper's side (see ring.c). */
bool segment_get_data(struct segment *segment, uint32_t bytes); /* zeroed; false: no memory */
void segment_open(struct segment *segment, uint64_t number, uint64_t base, uint64_t base_bytes);
bool segment_all_committed(struct segment *segment); /* it must be sealed */
void segment_retire(struct segment *segment);        /* may free its data at once */
void segment_drop_data(struct segment *segment);

static inline void segment_set_capacity(struct segment *segment, uint32_t bytes, uint32_t records)
{
    atomic_store_explicit(&segment->capacity, bytes, memory_order_relaxed);
    atomic_store_explicit(&segment->max_records, records, memory_order_relaxed);
}

/* keeper.c's side: a segment is in use; a segment has become free, and is put where the keeper finds it (the ring may
 * go with it); and where blocks are kept. */
void ring_segment_opened(struct ring *ring);
void ring_segment_freed(struct ring *ring, struct segment *segment);
struct pool *ring_pool(struct ring *ring);

#endif
