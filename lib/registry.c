#define _POSIX_C_SOURCE 200809L
#include "registry.h"

#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/thread.h"
#include "broadcaster/broadcaster.h"

/* Open addressing: a slot is empty, taken, or was taken. Readers may be in an old table while a new one is filled. */
struct table {
    size_t size;  /* a power of two */
    size_t taken; /* slots not empty */
    size_t live;  /* slots with a channel */
    _Atomic(struct channel *) slots[];
};

static const char gone_mark; /* its address marks a slot whose channel was removed; never read as one */
#define GONE ((struct channel *)(uintptr_t)&gone_mark)

#define SMALLEST 8

static struct table *table_new(size_t size)
{
    struct table *table = memory_get(sizeof *table + size * sizeof table->slots[0]);
    if (table != NULL)
        table->size = size;
    return table;
}

static void table_put(struct table *table, struct channel *channel)
{
    size_t at = channel->hash & (table->size - 1);
    while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) != NULL)
        at = (at + 1) & (table->size - 1);
    table->taken++;
    table->live++;
    atomic_store(&table->slots[at], channel); /* seq_cst: see grace.c; as a release it publishes the channel */
}

static struct channel *table_find(struct table *table, uint64_t hash, const char *name, size_t size)
{
    for (size_t at = hash & (table->size - 1);; at = (at + 1) & (table->size - 1)) {
        struct channel *channel = atomic_load(&table->slots[at]);
        if (channel == NULL)
            return NULL;
        if (channel != GONE && channel->hash == hash && channel->size == size &&
            memcmp(channel->name, name, size) == 0 &&
            atomic_load_explicit(&channel->references, memory_order_relaxed) != 0)
            return channel;
    }
}

int registry_new(const struct registry_setup *setup, struct registry **out)
{
    struct registry *registry = memory_get(sizeof *registry);
    struct table *table = table_new(SMALLEST);
    if (registry == NULL || table == NULL || slab_init(&registry->slab) != 0) {
        memory_put(registry);
        memory_put(table);
        return BCAST_ERR_NOMEM;
    }
    pthread_mutex_init(&registry->mutex, NULL); /* on Linux neither of the two can fail */
    atomic_init(&registry->table, table);
    atomic_init(&registry->references, 1);
    registry->process = getpid();
    hash_secret(registry->secret);
    registry->epoch = hash_bytes(registry->secret, "epoch", 5);
    registry->keep_limit = setup->keep_limit;
    registry->history = setup->history;
    *out = registry;
    return BCAST_OK;
}

struct registry *registry_ref(struct registry *registry)
{
    atomic_fetch_add_explicit(&registry->references, 1, memory_order_relaxed);
    return registry;
}

void registry_unref(struct registry *registry)
{
    if (atomic_fetch_sub_explicit(&registry->references, 1, memory_order_acq_rel) != 1)
        return;
    pool_fini(&registry->pool);
    slab_fini(&registry->slab);
    pthread_mutex_destroy(&registry->mutex);
    memory_put(atomic_load_explicit(&registry->table, memory_order_relaxed));
    memory_put(registry);
}

static bool all_quiet(struct registry *registry)
{
    struct table *table = atomic_load_explicit(&registry->table, memory_order_relaxed);
    for (size_t i = 0; i < table->size; i++) {
        struct channel *channel = atomic_load_explicit(&table->slots[i], memory_order_relaxed);
        if (channel != NULL && channel != GONE && !ring_quiet(&channel->ring))
            return false;
    }
    return grace_empty(&registry->grace);
}

bool registry_stuck(struct registry *registry)
{
    return registry->process != getpid() &&
           !(thread_mutex_free(&registry->mutex) && thread_mutex_free(&registry->slab.mutex) && all_quiet(registry));
}

struct channel *registry_find(struct registry *registry, const char *name, size_t size)
{
    return table_find(atomic_load(&registry->table), hash_bytes(registry->secret, name, size), name, size);
}

/* Under the mutex. */
static struct table *table_of(struct registry *registry)
{
    return atomic_load_explicit(&registry->table, memory_order_relaxed);
}

/* Makes room for one more channel. Under the mutex. */
static bool table_grow(struct registry *registry)
{
    struct table *old = table_of(registry);
    if ((old->taken + 1) * 4 <= old->size * 3)
        return true;
    size_t size = SMALLEST;
    while (size < 2 * (old->live + 1))
        size *= 2;
    struct table *table = table_new(size);
    if (table == NULL)
        return false;
    for (size_t i = 0; i < old->size; i++) {
        struct channel *channel = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
        if (channel != NULL && channel != GONE)
            table_put(table, channel);
    }
    atomic_store(&registry->table, table);
    grace_wait(&registry->grace);
    memory_put(old);
    return true;
}

static size_t channel_bytes(size_t name_size)
{
    size_t bytes = offsetof(struct channel, name) + name_size + 1;
    return (bytes + MEMORY_LINE - 1) & ~(size_t)(MEMORY_LINE - 1);
}

/* Nothing of its ring is borrowed any more either. Any thread that releases an event. */
static void channel_gone(struct ring *ring)
{
    struct channel *channel = (struct channel *)(void *)ring; /* a channel begins with its ring */
    struct registry *registry = channel->registry;
    if (registry_stuck(registry))
        return;
    slab_put(&registry->slab, channel, channel_bytes(channel->size));
    registry_unref(registry);
}

static struct channel *channel_new(struct registry *registry, const char *name, size_t size, uint64_t hash, bool apart)
{
    struct channel *channel = slab_get(&registry->slab, channel_bytes(size));
    if (channel == NULL)
        return NULL;
    struct ring_setup setup = {.pool = &registry->pool, .gone = channel_gone};
    if (!apart)
        setup.history = registry->history;
#ifdef BCAST_TEST_HOOKS
    setup.first_number = atomic_load(&memory_hooks.first_number);
    setup.first_sequence = atomic_load(&memory_hooks.first_sequence);
#endif
    ring_init(&channel->ring, &setup);
    atomic_init(&channel->references, setup.history.messages != 0 ? 2 : 1);
    channel->apart = apart;
    channel->size = (uint32_t)size;
    channel->hash = hash;
    memcpy(channel->name, name, size);
    channel->registry = registry_ref(registry);
    return channel;
}

struct channel *registry_get(struct registry *registry, const char *name, size_t size)
{
    uint64_t hash = hash_bytes(registry->secret, name, size);
    pthread_mutex_lock(&registry->mutex);
    struct channel *channel = table_find(table_of(registry), hash, name, size);
    if (channel == NULL || !channel_ref_unless_gone(channel)) {
        channel = table_grow(registry) ? channel_new(registry, name, size, hash, false) : NULL;
        if (channel != NULL)
            table_put(table_of(registry), channel);
    }
    pthread_mutex_unlock(&registry->mutex);
    return channel;
}

struct channel *registry_make_apart(struct registry *registry, const char *name, size_t size)
{
    return channel_new(registry, name, size, hash_bytes(registry->secret, name, size), true);
}

struct channel *registry_get_existing(struct registry *registry, const char *name, size_t size)
{
    grace_token token = grace_enter(&registry->grace);
    struct channel *channel = registry_find(registry, name, size);
    if (channel != NULL && !channel_ref_unless_gone(channel))
        channel = NULL;
    grace_leave(token);
    return channel;
}

bool channel_ref_unless_gone(struct channel *channel)
{
    uint32_t references = atomic_load_explicit(&channel->references, memory_order_relaxed);
    while (references != 0)
        if (atomic_compare_exchange_weak_explicit(&channel->references, &references, references + 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

void channel_ref(struct channel *channel)
{
    atomic_fetch_add_explicit(&channel->references, 1, memory_order_relaxed);
}

static void table_remove(struct table *table, struct channel *channel)
{
    for (size_t at = channel->hash & (table->size - 1);; at = (at + 1) & (table->size - 1))
        if (atomic_load_explicit(&table->slots[at], memory_order_relaxed) == channel) {
            atomic_store(&table->slots[at], GONE);
            table->live--;
            return;
        }
}

void channel_unref(struct channel *channel)
{
    /* release: our use of it is over; acquire: so is everybody's, for who removes it */
    if (atomic_fetch_sub_explicit(&channel->references, 1, memory_order_acq_rel) != 1)
        return;
    struct registry *registry = channel->registry;
    if (registry_stuck(registry))
        return;
    if (!channel->apart) {
        pthread_mutex_lock(&registry->mutex);
        table_remove(table_of(registry), channel);
        grace_wait(&registry->grace); /* publishers that found it by name */
        pthread_mutex_unlock(&registry->mutex);
        atomic_fetch_add_explicit(&registry->retired_messages, ring_tail(&channel->ring).messages,
                                  memory_order_relaxed);
    }
    ring_fini(&channel->ring);
}

void registry_forget(struct registry *registry)
{
    if (registry->history.messages == 0)
        return;
    struct table *table = atomic_load_explicit(&registry->table, memory_order_relaxed);
    for (size_t i = 0; i < table->size; i++) {
        struct channel *channel = atomic_load_explicit(&table->slots[i], memory_order_relaxed);
        if (channel != NULL && channel != GONE)
            channel_unref(channel);
    }
}

void registry_each(struct registry *registry, void (*visit)(struct channel *channel, void *context), void *context)
{
    pthread_mutex_lock(&registry->mutex);
    struct table *table = atomic_load_explicit(&registry->table, memory_order_relaxed);
    for (size_t i = 0; i < table->size; i++) {
        struct channel *channel = atomic_load_explicit(&table->slots[i], memory_order_relaxed);
        if (channel != NULL && channel != GONE)
            visit(channel, context);
    }
    pthread_mutex_unlock(&registry->mutex);
}
