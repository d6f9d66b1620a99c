#define _GNU_SOURCE /* RTLD_NODELETE: see stay */
#include "address.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/memory.h"
#include "base/os.h"

struct lookup {
    const struct bcast_host *hosts; /* copied: whoever asked may be gone before the answer */
    size_t count;
    unsigned default_port;
    bool numeric; /* of all hosts: nobody needs to be asked */

    pthread_mutex_t mutex;   /* of what follows, between the I/O thread and the one that looks */
    struct bcast_sink *sink; /* NULL: nobody waits any more */
    unsigned references;
    bool done;
    int status;
    char why[200];
    struct addresses found;
};

/* -------------------------------------------------------------------------------------------------------- looking -- */

static bool append(struct addresses *addresses, const struct addrinfo *info, const char *host)
{
    struct address *list = memory_get((addresses->count + 1) * sizeof *list);
    if (list == NULL)
        return false;
    if (addresses->count != 0)
        memcpy(list, addresses->list, addresses->count * sizeof *list);
    memcpy(&list[addresses->count].at, info->ai_addr, info->ai_addrlen);
    list[addresses->count].size = info->ai_addrlen;
    list[addresses->count].host = host;
    memory_put(addresses->list);
    addresses->list = list;
    addresses->count++;
    return true;
}

/* May block, unless `flags` has AI_NUMERICHOST. 0, or what getaddrinfo says. */
static int look_up(const struct bcast_host *host, unsigned default_port, int flags, struct addresses *found)
{
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV}, *list = NULL;
    snprintf(port, sizeof port, "%u", host->port != 0 ? host->port : default_port);
    int error = getaddrinfo(host->name, port, &hints, &list);
    if (error != 0)
        return error;
    for (const struct addrinfo *info = list; info != NULL && error == 0; info = info->ai_next)
        error = append(found, info, host->name) ? 0 : EAI_MEMORY;
    freeaddrinfo(list);
    return error;
}

/* Every host, in their order; those that have no address are left out unless that is all of them. */
static void look_up_all(struct lookup *lookup, int flags, struct addresses *found)
{
    for (size_t i = 0; i < lookup->count; i++) {
        int error = look_up(&lookup->hosts[i], lookup->default_port, flags, found);
        if (error != 0)
            snprintf(lookup->why, sizeof lookup->why, "the host %s: %s", lookup->hosts[i].name, gai_strerror(error));
        if (error == EAI_MEMORY)
            lookup->status = BCAST_ERR_NOMEM;
    }
    if (found->count == 0 && lookup->status == BCAST_OK)
        lookup->status = BCAST_ERR_CONNECT;
}

static void release(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->mutex);
    bool last = --lookup->references == 0;
    pthread_mutex_unlock(&lookup->mutex);
    if (!last)
        return;
    pthread_mutex_destroy(&lookup->mutex);
    addresses_free(&lookup->found);
    memory_put(lookup);
}

static void *look(void *argument)
{
    struct lookup *lookup = argument;
    struct addresses found = {NULL, 0};
    look_up_all(lookup, AI_ADDRCONFIG, &found);
    pthread_mutex_lock(&lookup->mutex);
    lookup->found = found;
    lookup->done = true;
    if (lookup->sink != NULL)
        lookup->sink->wake(lookup->sink); /* with the mutex: it is there for as long as we have it */
    pthread_mutex_unlock(&lookup->mutex);
    release(lookup);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------- who asks -- */

static struct lookup *lookup_new(const struct bcast_host *hosts, size_t count)
{
    size_t size = sizeof(struct lookup) + count * sizeof *hosts;
    for (size_t i = 0; i < count; i++)
        size += strlen(hosts[i].name) + 1;
    struct lookup *lookup = memory_get(size);
    if (lookup == NULL)
        return NULL;
    struct bcast_host *copies = (struct bcast_host *)(void *)(lookup + 1);
    char *text = (char *)(copies + count);
    for (size_t i = 0; i < count; i++) {
        copies[i] = (struct bcast_host){text, hosts[i].port};
        text += strlen(strcpy(text, hosts[i].name)) + 1;
    }
    lookup->hosts = copies;
    lookup->count = count;
    if (pthread_mutex_init(&lookup->mutex, NULL) == 0)
        return lookup;
    memory_put(lookup);
    return NULL;
}

static bool is_numeric(const struct bcast_host *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host->name, bytes) == 1 || inet_pton(AF_INET6, host->name, bytes) == 1;
}

int lookup_start(const struct bcast_host *hosts, size_t count, unsigned default_port, struct bcast_sink *sink,
                 struct lookup **out)
{
    static const struct os_thread_options plain = {0};
    struct lookup *lookup = lookup_new(hosts, count);
    if (lookup == NULL)
        return BCAST_ERR_NOMEM;
    lookup->default_port = default_port;
    lookup->references = 1;
    lookup->sink = sink;
    lookup->numeric = true;
    for (size_t i = 0; i < count; i++)
        lookup->numeric = lookup->numeric && is_numeric(&hosts[i]);
    *out = lookup;
    if (lookup->numeric) {
        look_up_all(lookup, AI_NUMERICHOST, &lookup->found);
        lookup->done = true;
        sink->wake(sink);
        return BCAST_OK;
    }
    pthread_t thread;
    lookup->references = 2;
    if (os_thread_start(&thread, "bcast-dns", &plain, look, lookup) == 0) {
        pthread_detach(thread);
        return BCAST_OK;
    }
    lookup->references = 1;
    lookup_forget(out);
    return BCAST_ERR_NOMEM;
}

/* The addresses name the hosts as the caller has them: our copies go. */
static void rename_hosts(struct addresses *addresses, const struct lookup *lookup, const struct bcast_host *hosts)
{
    for (size_t i = 0; i < addresses->count; i++)
        for (size_t h = 0; h < lookup->count; h++)
            if (addresses->list[i].host == lookup->hosts[h].name)
                addresses->list[i].host = hosts[h].name;
}

int lookup_take(struct lookup **at, const struct bcast_host *hosts, struct addresses *out, char *why, size_t why_size)
{
    struct lookup *lookup = *at;
    pthread_mutex_lock(&lookup->mutex);
    bool done = lookup->done;
    pthread_mutex_unlock(&lookup->mutex);
    if (!done)
        return BCAST_TIMEOUT;
    int status = lookup->status;
    if (status == BCAST_OK) {
        rename_hosts(&lookup->found, lookup, hosts);
        *out = lookup->found;
        lookup->found = (struct addresses){NULL, 0};
    }
    snprintf(why, why_size, "%s", lookup->why);
    lookup_forget(at);
    return status;
}

/* A thread will yet run our code: it must stay in memory, also if the host program unloads the library. */
static void stay(void)
{
#ifdef RTLD_NODELETE
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&look, &info) != 0 && info.dli_fname != NULL)
        (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

void lookup_forget(struct lookup **at)
{
    struct lookup *lookup = *at;
    *at = NULL;
    if (lookup == NULL)
        return;
    pthread_mutex_lock(&lookup->mutex);
    lookup->sink = NULL;
    bool left = !lookup->done && lookup->references > 1;
    pthread_mutex_unlock(&lookup->mutex);
    if (left)
        stay();
    release(lookup);
}

/* ------------------------------------------------------------------------------------------------------- addresses -- */

int addresses_of_path(struct addresses *out, const char *path)
{
    struct sockaddr_un *un;
    if (strlen(path) >= sizeof un->sun_path)
        return BCAST_ERR_URL;
    out->list = memory_get(sizeof *out->list);
    if (out->list == NULL)
        return BCAST_ERR_NOMEM;
    un = (struct sockaddr_un *)(void *)&out->list->at;
    un->sun_family = AF_UNIX;
    strcpy(un->sun_path, path);
    out->list->size = sizeof *un;
    out->count = 1;
    return BCAST_OK;
}

void addresses_free(struct addresses *addresses)
{
    memory_put(addresses->list);
    *addresses = (struct addresses){NULL, 0};
}

void address_print(const struct address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?", port[8] = "?";
    if (address->at.ss_family == AF_UNIX) {
        snprintf(text, size, "%s", ((const struct sockaddr_un *)(const void *)&address->at)->sun_path);
        return;
    }
    (void)getnameinfo((const struct sockaddr *)&address->at, address->size, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = address->at.ss_family == AF_INET6;
    snprintf(text, size, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}
