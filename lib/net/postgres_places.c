#define _POSIX_C_SOURCE 200809L
#include "postgres_places.h"

#include <netdb.h>

#include "base/memory.h"

#define PORT 5432 /* asked of the name service for its form only */

static bool is_path(const struct postgres_host *host)
{
    return host->name == NULL || host->name[0] == '/' || host->name[0] == '@';
}

static bool wants_lookup(const struct postgres_host *host)
{
    return host->address == NULL && !is_path(host);
}

static void add(struct postgres_places *places, const struct postgres_host *host, const struct address *address)
{
    struct postgres_host *place = &places->list[places->count];
    *place = *host;
    if (address != NULL && getnameinfo((const struct sockaddr *)&address->at, address->size,
                                       places->text[places->count], INET6_ADDRSTRLEN, NULL, 0, NI_NUMERICHOST) == 0)
        place->address = places->text[places->count];
    if (address == NULL || place->address != NULL)
        places->count++;
}

static void free_list(struct postgres_places *places)
{
    addresses_free(&places->addresses);
    memory_put(places->list);
    memory_put(places->text);
    places->list = NULL;
    places->text = NULL;
    places->count = 0;
}

/* Every address of every host, in the order of the URL. */
static bool make(struct postgres_places *places)
{
    size_t most = places->url->host_count + places->addresses.count, looked = 0;
    places->list = memory_get(most * sizeof *places->list);
    places->text = memory_get(most * sizeof *places->text);
    if (places->list == NULL || places->text == NULL)
        return false;
    for (size_t i = 0; i < places->url->host_count; i++) {
        const struct postgres_host *host = &places->url->hosts[i];
        if (!wants_lookup(host)) {
            add(places, host, NULL);
            continue;
        }
        for (size_t a = 0; a < places->addresses.count; a++)
            if (places->addresses.list[a].host == places->names[looked].name)
                add(places, host, &places->addresses.list[a]);
        looked++;
    }
    return true;
}

int places_find(struct postgres_places *places, struct bcast_sink *sink)
{
    free_list(places);
    if (places->name_count == 0)
        return make(places) ? BCAST_OK : BCAST_ERR_NOMEM;
    int status = lookup_start(places->names, places->name_count, PORT, sink, &places->lookup);
    return status == BCAST_OK ? BCAST_TIMEOUT : status;
}

int places_take(struct postgres_places *places, char *why, size_t why_size)
{
    if (places->lookup == NULL)
        return BCAST_TIMEOUT;
    int status = lookup_take(&places->lookup, places->names, &places->addresses, why, why_size);
    bool others = status == BCAST_ERR_CONNECT && places->name_count < places->url->host_count;
    if (status != BCAST_OK && !others) /* others need no name service */
        return status;
    return make(places) ? BCAST_OK : BCAST_ERR_NOMEM;
}

void places_forget(struct postgres_places *places)
{
    lookup_forget(&places->lookup);
}

bool places_open(struct postgres_places *places, const struct postgres_url *url)
{
    *places = (struct postgres_places){.url = url};
    places->names = memory_get(url->host_count * sizeof *places->names);
    for (size_t i = 0; places->names != NULL && i < url->host_count; i++)
        if (wants_lookup(&url->hosts[i]))
            places->names[places->name_count++] = (struct bcast_host){url->hosts[i].name, 0};
    return places->names != NULL;
}

void places_close(struct postgres_places *places)
{
    free_list(places);
    memory_put(places->names);
}
