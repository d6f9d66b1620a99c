#define _POSIX_C_SOURCE 200809L
#include "shared.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "broadcaster/broadcaster.h"

/* "memory://name" means the same channels to everybody in the process, so the process has to know the names: this list
 * is the library's only lasting global state. A forked child starts with an empty one: it skips its parent's. */
static struct {
    _Atomic int64_t process; /* that has it locked: 0: none */
    struct named *first;
} names;

struct named {
    struct registry *registry;
    struct named *next;
    unsigned users;
    pid_t process;
    char name[];
};

/* Not a mutex: one that a thread of the parent's had at fork() would be locked for ever in the child, who may open
 * broadcasts of its own. What the parent left is a list at any moment; the child skips what is on it. */
static void lock(void)
{
    int64_t us = getpid(), holder = 0;
    /* acquire, with the release in unlock: the list as the last one left it */
    while (!atomic_compare_exchange_strong_explicit(&names.process, &holder, us, memory_order_acquire,
                                                    memory_order_relaxed)) {
        if (holder == us) {
            sched_yield();
            holder = 0;
        } /* else it is the parent: taken over at the next turn */
    }
}

static void unlock(void)
{
    atomic_store_explicit(&names.process, 0, memory_order_release);
}

static struct named *find(const char *name)
{
    for (struct named *n = names.first; n != NULL; n = n->next)
        if (n->process == getpid() && strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

static struct named *add(const char *name, const struct registry_setup *setup)
{
    struct named *named = memory_get(sizeof *named + strlen(name) + 1);
    if (named == NULL || registry_new(setup, &named->registry) != BCAST_OK) {
        memory_put(named);
        return NULL;
    }
    strcpy(named->name, name);
    named->process = getpid();
    named->next = names.first;
    names.first = named;
    return named;
}

/* Who does not say what history it wants joins what there is. */
static bool agrees(const struct registry *registry, const struct registry_setup *setup)
{
    const struct ring_limits *is = &registry->history, *wanted = &setup->history;
    return wanted->messages == 0 || (is->messages == wanted->messages && is->bytes == wanted->bytes);
}

/* With the lock. */
static int join(const char *name, const struct registry_setup *setup, struct registry **out)
{
    struct named *named = find(name);
    if (named == NULL)
        named = add(name, setup);
    if (named == NULL)
        return error_nomem();
    if (!agrees(named->registry, setup))
        return error_set(BCAST_ERR_URL,
                         "'%s' is open in this process and keeps another history (%llu messages of each channel): "
                         "open it the same way everywhere, or leave the parameters out",
                         name, (unsigned long long)named->registry->history.messages);
    named->users++;
    *out = registry_ref(named->registry);
    return BCAST_OK;
}

int shared_join(const char *name, const struct registry_setup *setup, struct registry **out)
{
    if (*name == '\0')
        return registry_new(setup, out) == BCAST_OK ? BCAST_OK : error_nomem();
    lock();
    int status = join(name, setup, out);
    unlock();
    return status;
}

void shared_leave(struct registry *registry)
{
    bool last = true;
    lock();
    for (struct named **at = &names.first; *at != NULL; at = &(*at)->next) {
        struct named *named = *at;
        if (named->registry != registry)
            continue;
        last = --named->users == 0;
        if (!last)
            break;
        *at = named->next;
        registry_unref(registry);
        memory_put(named);
        break;
    }
    unlock();
    if (last)
        registry_forget(registry);
    registry_unref(registry);
}
