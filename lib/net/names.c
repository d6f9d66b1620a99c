#include "names.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void names_init(struct names *names)
{
    *names = (struct names){.table = NULL};
    hash_secret(names->secret);
}

struct name *names_find(const struct names *names, const char *text, size_t size)
{
    if (names->table == NULL)
        return NULL;
    uint64_t hash = hash_bytes(names->secret, text, size);
    struct name *name = names->table[hash & names->mask];
    while (name != NULL && (name->hash != hash || name->size != size || memcmp(name->text, text, size) != 0))
        name = name->next;
    return name;
}

static void put(struct name **table, size_t mask, struct name *name)
{
    name->next = table[name->hash & mask];
    table[name->hash & mask] = name;
}

static bool grow(struct names *names)
{
    size_t mask = names->table == NULL ? 15 : 2 * names->mask + 1;
    struct name **table = memory_get((mask + 1) * sizeof(struct name *));
    if (table == NULL)
        return false;
    for (size_t i = 0; names->table != NULL && i <= names->mask; i++)
        for (struct name *name = names->table[i], *next; name != NULL; name = next) {
            next = name->next;
            put(table, mask, name);
        }
    memory_put(names->table);
    names->table = table;
    names->mask = mask;
    return true;
}

bool names_add(struct names *names, struct name *name)
{
    if (names->count >= names->mask && !grow(names))
        return false;
    name->hash = hash_bytes(names->secret, name->text, name->size);
    put(names->table, names->mask, name);
    names->empty = 0;
    names->count++;
    return true;
}

void names_drop(struct names *names, struct name *name)
{
    struct name **at = &names->table[name->hash & names->mask];
    while (*at != name)
        at = &(*at)->next;
    *at = name->next;
    names->count--;
}

struct name *names_take(struct names *names)
{
    if (names->count == 0)
        return NULL;
    while (names->table[names->empty] == NULL)
        names->empty++;
    struct name *name = names->table[names->empty];
    names->table[names->empty] = name->next;
    names->count--;
    return name;
}

void names_free(struct names *names)
{
    memory_put(names->table);
    names->table = NULL;
    names->mask = names->count = names->empty = 0;
}
