/* Line-aligned memory for many small objects, without the holes that a general allocator leaves between aligned blocks.
 * Freed objects are used again for others of about their size; the memory itself goes back with the slab. Locks: for
 * what is made when a channel or subscription is, never per message. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <pthread.h>
#include <stddef.h>

#include "base/memory.h"

#ifdef __has_feature
#define SLAB_HAS_FEATURE(x) __has_feature(x)
#else
#define SLAB_HAS_FEATURE(x) 0
#endif

/* Under a sanitizer everything comes from the heap: it would not see that an object was freed and used again. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SLAB_HAS_FEATURE(address_sanitizer) ||            \
    SLAB_HAS_FEATURE(thread_sanitizer)
#define SLAB_OFF 1
#else
#define SLAB_OFF 0
#endif

#define SLAB_CLASSES 16u /* of MEMORY_LINE, 2 * MEMORY_LINE, …; larger ones come from the heap */

struct slab {
    pthread_mutex_t mutex;
    void *free[SLAB_CLASSES];
    struct slab_chunk *chunks;
    size_t used; /* of the newest chunk */
};

int slab_init(struct slab *slab); /* 0 or errno */
void slab_fini(struct slab *slab);
void *slab_get(struct slab *slab, size_t size); /* zeroed; or NULL */
void slab_put(struct slab *slab, void *object, size_t size);

#endif
