#define _POSIX_C_SOURCE 200809L
#include "base/slab.h"

#include <string.h>

#define CHUNK 16384

struct slab_chunk {
    struct slab_chunk *next;
};

int slab_init(struct slab *slab)
{
    memset(slab, 0, sizeof *slab);
    slab->used = CHUNK;
    return pthread_mutex_init(&slab->mutex, NULL);
}

void slab_fini(struct slab *slab)
{
    while (slab->chunks != NULL) {
        struct slab_chunk *chunk = slab->chunks;
        slab->chunks = chunk->next;
        memory_put(chunk);
    }
    pthread_mutex_destroy(&slab->mutex);
}

static size_t class_of(size_t size)
{
    return (size + MEMORY_LINE - 1) / MEMORY_LINE - 1;
}

static void *take(struct slab *slab, size_t class)
{
    void *object = slab->free[class];
    size_t bytes = (class + 1) * MEMORY_LINE;
    if (object != NULL) {
        memcpy(&slab->free[class], object, sizeof(void *)); /* the next free one is written into each */
        return memset(object, 0, bytes);
    }
    if (slab->used + bytes > CHUNK) {
        struct slab_chunk *chunk = memory_get(CHUNK);
        if (chunk == NULL)
            return NULL;
        chunk->next = slab->chunks;
        slab->chunks = chunk;
        slab->used = MEMORY_LINE; /* behind the link */
    }
    object = (unsigned char *)slab->chunks + slab->used;
    slab->used += bytes;
    return object;
}

void *slab_get(struct slab *slab, size_t size)
{
    size_t class = class_of(size);
    if (SLAB_OFF || class >= SLAB_CLASSES)
        return memory_get(size);
    pthread_mutex_lock(&slab->mutex);
    void *object = take(slab, class);
    pthread_mutex_unlock(&slab->mutex);
    return object;
}

void slab_put(struct slab *slab, void *object, size_t size)
{
    size_t class = class_of(size);
    if (object == NULL)
        return;
    if (SLAB_OFF || class >= SLAB_CLASSES) {
        memory_put(object);
        return;
    }
    pthread_mutex_lock(&slab->mutex);
    memcpy(object, &slab->free[class], sizeof(void *));
    slab->free[class] = object;
    pthread_mutex_unlock(&slab->mutex);
}
