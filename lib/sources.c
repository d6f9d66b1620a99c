#include "sources.h"

#define FEW 8 /* up to so many, a look at each is as fast */

struct sources {
    size_t mask, used;      /* used: also by what is gone */
    struct source *slots[]; /* NULL: free */
};

/* In the place of one that has gone: the search goes on behind it. */
#define GONE ((struct source *)(uintptr_t)1)

static size_t place_of(const struct channel *channel)
{
    return (size_t)(channel->hash * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

struct source *sources_find(struct bcast_sub *sub, const struct channel *channel)
{
    const struct sources *table = sub->table;
    if (table == NULL) {
        struct source *source = &sub->first;
        while (source != NULL &&
               (source->channel != channel || atomic_load_explicit(&source->removed, memory_order_relaxed)))
            source = source->next;
        return source;
    }
    for (size_t i = place_of(channel) & table->mask; table->slots[i] != NULL; i = (i + 1) & table->mask)
        if (table->slots[i] != GONE && table->slots[i]->channel == channel &&
            !atomic_load_explicit(&table->slots[i]->removed, memory_order_relaxed))
            return table->slots[i];
    return NULL;
}

static void put(struct sources *table, struct source *source)
{
    size_t i = place_of(source->channel) & table->mask;
    while (table->slots[i] != NULL)
        i = (i + 1) & table->mask;
    table->slots[i] = source;
    table->used++;
}

static size_t count_sources(const struct bcast_sub *sub)
{
    size_t count = 0;
    for (const struct source *source = &sub->first; source != NULL; source = source->next)
        count++;
    return count;
}

/* At most half full, with what is on the list and has a channel. */
static bool rebuild(struct bcast_sub *sub, size_t count)
{
    size_t room = 4 * FEW;
    while (room < 4 * count)
        room *= 2;
    struct sources *table = memory_get(sizeof *table + room * sizeof(struct source *));
    if (table == NULL)
        return false;
    table->mask = room - 1;
    for (struct source *source = &sub->first; source != NULL; source = source->next)
        if (source->channel != NULL)
            put(table, source);
    memory_put(sub->table);
    sub->table = table;
    return true;
}

static bool has_room(struct bcast_sub *sub)
{
    if (sub->table != NULL)
        return 2 * (sub->table->used + 1) <= sub->table->mask || rebuild(sub, count_sources(sub) + 1);
    size_t count = count_sources(sub) + 1;
    return count <= FEW || rebuild(sub, count);
}

bool sources_add(struct bcast_sub *sub, struct source *source)
{
    if (!has_room(sub))
        return false;
    if (source != &sub->first) {
        source->next = sub->first.next;
        sub->first.next = source;
    }
    if (sub->table != NULL)
        put(sub->table, source);
    return true;
}

void sources_drop(struct bcast_sub *sub, struct source *source)
{
    struct sources *table = sub->table;
    if (table == NULL || source->channel == NULL)
        return;
    size_t i = place_of(source->channel) & table->mask;
    while (table->slots[i] != NULL && table->slots[i] != source)
        i = (i + 1) & table->mask;
    if (table->slots[i] == source)
        table->slots[i] = GONE;
}

void sources_free(struct bcast_sub *sub)
{
    memory_put(sub->table);
    sub->table = NULL;
}
