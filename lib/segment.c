#include "segment.h"

#include <string.h>

static void *pool_get(struct pool *pool)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++)
        if (atomic_load_explicit(&pool->slots[i], memory_order_relaxed) != NULL) {
            /* acquire: pairs with pool_put, the block's last readers are done */
            void *block = atomic_exchange_explicit(&pool->slots[i], NULL, memory_order_acquire);
            if (block != NULL)
                return block;
        }
    return NULL;
}

static bool pool_put(struct pool *pool, void *block)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++) {
        void *empty = NULL;
        if (atomic_load_explicit(&pool->slots[i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong_explicit(&pool->slots[i], &empty, block, memory_order_release,
                                                    memory_order_relaxed))
            return true;
    }
    return false;
}

void pool_fini(struct pool *pool)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++)
        if (pool->slots[i] != NULL)
            memory_put_block(pool->slots[i], SEGMENT_BYTES + RECORD_HEADER);
}

/* Behind the data there is always room for one more header, which stays 0: a reader at the very end finds nothing. */
static size_t block_bytes(size_t bytes)
{
    return bytes + RECORD_HEADER;
}

bool segment_get_data(struct segment *segment, uint32_t bytes)
{
    if (segment->data != NULL && segment->data_bytes >= bytes && segment->data_bytes / 4 <= bytes) {
        memset(segment->data, 0, segment->dirty); /* a small one kept its data */
        return true;
    }
    segment_drop_data(segment);
    unsigned char *block = NULL;
    if (bytes == SEGMENT_BYTES && (block = pool_get(ring_pool(segment->ring))) != NULL)
        memset(block, 0, block_bytes(bytes));
    else if ((block = memory_get_block(block_bytes(bytes))) == NULL)
        return false;
    segment->data = block;
    segment->data_bytes = bytes;
    return true;
}

void segment_drop_data(struct segment *segment)
{
    unsigned char *data = segment->data;
    if (data == NULL)
        return;
    segment->data = NULL;
    if (segment->data_bytes != SEGMENT_BYTES || !pool_put(ring_pool(segment->ring), data))
        memory_put_block(data, block_bytes(segment->data_bytes));
}

void segment_open(struct segment *segment, uint64_t number, uint64_t base, uint64_t base_bytes)
{
    ring_segment_opened(segment->ring);
    /* relaxed, most of them: published by the and below, and by the word or `next` that leads here */
    atomic_store_explicit(&segment->complete, false, memory_order_relaxed);
    atomic_store_explicit(&segment->next, NULL, memory_order_relaxed);
    atomic_store_explicit(&segment->end, SEGMENT_OPEN, memory_order_relaxed);
    /* release: who sees these, although it came for what the descriptor was before, sees that the word went on */
    atomic_store_explicit(&segment->base, base, memory_order_release);
    atomic_store_explicit(&segment->base_bytes, base_bytes, memory_order_release);
    atomic_store_explicit(&segment->number, number, memory_order_relaxed);
    /* release: pairs with segment_pin. The count stays: a mistaken pin may be on its way out right now. */
    atomic_fetch_and_explicit(&segment->references, ~(SEGMENT_RETIRED | SEGMENT_FREE), memory_order_release);
}

static void free_if_unused(struct segment *segment)
{
    uint32_t unused = SEGMENT_RETIRED;
    /* Only one thread gets from "retired, no pins" to "free". relaxed: the caller's exchange has seen that all readers
     * are done, and `freed` tells the keeper. */
    if (!atomic_compare_exchange_strong_explicit(&segment->references, &unused, SEGMENT_FREE, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    if (segment->data_bytes > SEGMENT_SMALL)
        segment_drop_data(segment);
    ring_segment_freed(segment->ring, segment);
}

bool segment_pin(struct segment *segment, uint64_t number)
{
    /* acquire: pairs with segment_open: if it has become another one, we see its number */
    uint32_t before = atomic_fetch_add_explicit(&segment->references, 1, memory_order_acquire);
    if (!(before & (SEGMENT_RETIRED | SEGMENT_FREE)) &&
        atomic_load_explicit(&segment->number, memory_order_relaxed) == number)
        return true;
    segment_unpin(segment);
    return false;
}

void segment_pin_again(struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
}

void segment_unpin(struct segment *segment)
{
    /* release: our reads are over before the data is used again */
    uint32_t before = atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel);
    if ((before & SEGMENT_RETIRED) && SEGMENT_PINS(before) == 1)
        free_if_unused(segment);
}

bool segment_all_committed(struct segment *segment)
{
    /* relaxed: the reader that has set it has the segment pinned; nothing comes after before its pin is gone */
    if (atomic_load_explicit(&segment->complete, memory_order_relaxed))
        return true;
    uint64_t end = atomic_load_explicit(&segment->end, memory_order_relaxed);
    for (uint64_t offset = 0; offset < end;) {
        uint64_t header = record_look(segment->data + offset);
        if (header == 0)
            return false;
        offset += record_stride(header);
    }
    return true;
}

void segment_retire(struct segment *segment)
{
    uint32_t before = atomic_fetch_or_explicit(&segment->references, SEGMENT_RETIRED, memory_order_acq_rel);
    if (SEGMENT_PINS(before) == 0)
        free_if_unused(segment);
}
