/* Names to addresses, without blocking: numeric ones at once, others on a thread of their own, which is left to itself
 * where nobody waits for it any more (a name server may take half a minute to say nothing). Knows base and backend.h. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>

#include "broadcaster/backend.h"

struct address {
    struct sockaddr_storage at;
    socklen_t size;
    const char *host; /* as given; borrowed. NULL: a path in this machine */
};

struct addresses {
    struct address *list; /* in the order of the hosts */
    size_t count;
};

struct lookup;

/* The I/O thread, all of it. BCAST_OK: *out is under way, and sink->wake
 * says when it is worth asking; or NOMEM. */
int lookup_start(const struct bcast_host *hosts, size_t count, unsigned default_port, struct bcast_sink *sink,
                 struct lookup **out);
/* BCAST_TIMEOUT: not yet. Otherwise it is over and forgotten: BCAST_OK, CONNECT with a sentence in `why`, or NOMEM. `hosts`:
 * the same again; the addresses borrow their names. */
int lookup_take(struct lookup **lookup, const struct bcast_host *hosts, struct addresses *out, char *why,
                size_t why_size);
void lookup_forget(struct lookup **lookup); /* *lookup may be NULL */

/* One address, of a socket in the file system. BCAST_OK, NOMEM, or URL where the path is too long. */
int addresses_of_path(struct addresses *out, const char *path);
void addresses_free(struct addresses *addresses);
void address_print(const struct address *address, char *text, size_t size); /* "[::1]:6379" */

#endif
