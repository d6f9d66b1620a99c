/* Whom to connect to: every address of every host of the URL, in its order. The I/O thread's. Knows address,
 * postgres_url, base and backend.h. */
#ifndef NET_POSTGRES_PLACES_H
#define NET_POSTGRES_PLACES_H

#include <netinet/in.h>

#include "address.h"
#include "postgres_url.h"

struct postgres_places {
    const struct postgres_url *url;
    struct bcast_host *names; /* of those hosts that are to be looked up */
    size_t name_count;
    struct lookup *lookup;
    struct addresses addresses;
    struct postgres_host *list; /* what libpq gets: addresses, so that it looks nothing up itself */
    size_t count;
    char (*text)[INET6_ADDRSTRLEN];
};

bool places_open(struct postgres_places *places, const struct postgres_url *url); /* false: no memory */
void places_close(struct postgres_places *places);
/* BCAST_OK: they are there. BCAST_TIMEOUT: they are looked up, sink->wake says when to take them. Or NOMEM. */
int places_find(struct postgres_places *places, struct bcast_sink *sink);
/* BCAST_OK; BCAST_TIMEOUT: not yet; or CONNECT, NOMEM with a sentence. */
int places_take(struct postgres_places *places, char *why, size_t why_size);
void places_forget(struct postgres_places *places);

#endif
