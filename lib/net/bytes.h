/* Bytes on their way out: a queue that grows. One thread's. Knows base. */
#ifndef NET_BYTES_H
#define NET_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"

struct bytes {
    unsigned char *data;
    size_t start, end, room; /* [start, end) is queued */
};

/* Room for `size` more bytes behind the end, or NULL: no memory. What was written there counts from bytes_add on. */
unsigned char *bytes_reserve(struct bytes *bytes, size_t size);
static inline void bytes_add(struct bytes *bytes, size_t size)
{
    bytes->end += size;
}
void bytes_take(struct bytes *bytes, size_t size); /* the first `size` are gone */
void bytes_free(struct bytes *bytes);
static inline size_t bytes_queued(const struct bytes *bytes)
{
    return bytes->end - bytes->start;
}

#endif
