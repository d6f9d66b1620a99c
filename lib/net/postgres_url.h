/* What a postgres:// URL says: libpq's own parameters are libpq's to read, ours are taken out before. Knows base,
 * backend.h and libpq. */
#ifndef NET_POSTGRES_URL_H
#define NET_POSTGRES_URL_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "broadcaster/backend.h"

#define POSTGRES_OPTIONS 64

struct postgres_host {
    const char *name; /* NULL: whatever libpq finds by itself on this machine; with a '/' first: a folder of sockets */
    const char *address; /* NULL: is to be looked up, if it is the name of a host */
    const char *port;
};

struct postgres_url {
    PQconninfoOption *given;                                               /* what the URL says, for libpq */
    const char *keys[POSTGRES_OPTIONS + 1], *values[POSTGRES_OPTIONS + 1]; /* the same, but for the hosts */
    size_t count;
    struct postgres_host *hosts;
    size_t host_count;
    uint64_t heartbeat_ms, connect_ms;
    bool base64;
    bool utf8; /* the connection's encoding */
    char *memory;
};

/* BCAST_OK; or URL, NOMEM with a sentence in setup->error, which never shows a secret. Reads the environment and, where
 * it is named there or in the URL, libpq's service file. */
int postgres_url_open(const struct bcast_backend_setup *setup, struct postgres_url *out);
void postgres_url_close(struct postgres_url *url);

#endif
