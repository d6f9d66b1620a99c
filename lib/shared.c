#define _POSIX_C_SOURCE 200809L
#include "shared.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "broadcaster/broadcaster.h"

/* "memory://name" means the same channels to everybody in the process, so the process has to know the names: this list
 * is the library's only lasting global state. A forked child starts with an empty one: it skips its parent's. */
static struct {
    pthread_mutex_t mutex;
    struct named *first;
} names = {PTHREAD_MUTEX_INITIALIZER, NULL};

struct named {
    struct registry *registry;
    struct named *next;
    unsigned users;
    pid_t process;
    char name[];
};

static struct named *find(const char *name)
{
    for (struct named *n = names.first; n != NULL; n = n->next)
        if (n->process == getpid() && strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

static struct named *add(const char *name, size_t keep_limit)
{
    struct named *named = memory_get(sizeof *named + strlen(name) + 1);
    if (named == NULL || registry_new(&named->registry) != BCAST_OK) {
        memory_put(named);
        return NULL;
    }
    strcpy(named->name, name);
    named->registry->keep_limit = keep_limit;
    named->process = getpid();
    named->next = names.first;
    names.first = named;
    return named;
}

int shared_join(const char *name, size_t keep_limit, struct registry **out)
{
    if (*name == '\0') {
        int status = registry_new(out);
        if (status != BCAST_OK)
            return error_nomem();
        (*out)->keep_limit = keep_limit;
        return BCAST_OK;
    }
    pthread_mutex_lock(&names.mutex);
    struct named *named = find(name);
    if (named == NULL)
        named = add(name, keep_limit);
    if (named != NULL) {
        named->users++;
        *out = registry_ref(named->registry);
    }
    pthread_mutex_unlock(&names.mutex);
    return named != NULL ? BCAST_OK : error_nomem();
}

void shared_leave(struct registry *registry)
{
    pthread_mutex_lock(&names.mutex);
    for (struct named **at = &names.first; *at != NULL; at = &(*at)->next) {
        struct named *named = *at;
        if (named->registry != registry || --named->users != 0)
            continue;
        *at = named->next;
        registry_unref(registry);
        memory_put(named);
        break;
    }
    pthread_mutex_unlock(&names.mutex);
    registry_unref(registry);
}
