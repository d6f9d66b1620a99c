#include "names.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void names_init(struct names *names)
{
    *names = (struct names){.lists = NULL};
    hash_secret(names->secret);
}

void names_fini(struct names *names)
{
    memory_put(names->lists);
    names->lists = NULL;
}

static bool is(const struct name *name, const char *text, size_t size)
{
    return name->size == size && memcmp(name->text, text, size) == 0;
}

struct name *names_find(struct names *names, const char *text, size_t size)
{
    if (names->last != NULL && is(names->last, text, size))
        return names->last;
    if (names->count == 0)
        return NULL;
    uint64_t hash = hash_bytes(names->secret, text, size);
    struct name *name = names->lists[hash & names->mask];
    while (name != NULL && (name->hash != hash || !is(name, text, size)))
        name = name->next;
    if (name != NULL)
        names->last = name;
    return name;
}

static bool grow(struct names *names)
{
    size_t mask = names->lists == NULL ? 15 : 2 * names->mask + 1;
    struct name **lists = memory_get((mask + 1) * sizeof(struct name *));
    if (lists == NULL)
        return false;
    for (size_t i = 0; names->lists != NULL && i <= names->mask; i++)
        for (struct name *name = names->lists[i], *next; name != NULL; name = next) {
            next = name->next;
            name->next = lists[name->hash & mask];
            lists[name->hash & mask] = name;
        }
    memory_put(names->lists);
    names->lists = lists;
    names->mask = mask;
    names->empty = 0;
    return true;
}

bool names_add(struct names *names, struct name *name)
{
    if ((names->lists == NULL || names->count > names->mask) && !grow(names))
        return false;
    name->hash = hash_bytes(names->secret, name->text, name->size);
    name->next = names->lists[name->hash & names->mask];
    names->lists[name->hash & names->mask] = name;
    if (names->empty > (name->hash & names->mask))
        names->empty = name->hash & names->mask;
    names->count++;
    return true;
}

void names_remove(struct names *names, struct name *name)
{
    struct name **at = &names->lists[name->hash & names->mask];
    while (*at != name)
        at = &(*at)->next;
    *at = name->next;
    names->count--;
    if (names->last == name)
        names->last = NULL;
}

struct name *names_any(struct names *names)
{
    if (names->count == 0)
        return NULL;
    while (names->lists[names->empty] == NULL)
        names->empty++;
    return names->lists[names->empty];
}
