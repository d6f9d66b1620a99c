/* Publishing to a Redis server: message after message over the first connection, results in the order of the replies.
 * The I/O thread's. Knows redis and results. */
#ifndef NET_REDIS_OUT_H
#define NET_REDIS_OUT_H

#include "redis.h"
#include "results.h"

enum { REDIS_PUBLISH = REDIS_ASK, REDIS_TOO_LARGE, REDIS_OTHERS /* from here on: the backend's own */ };

struct redis_out {
    struct redis *redis;
    struct results results;
    /* Appends the command for one message, asking REDIS_PUBLISH. False: as redis_send. */
    bool (*send)(struct redis_out *out, const struct bcast_outgoing *message);
};

size_t redis_out_publish(struct redis_out *out, const struct bcast_outgoing *messages, size_t count);
/* One element of a reply. False: it is none of ours. */
bool redis_out_element(struct redis_out *out, const struct redis_ask *ask, const struct redis_element *element);
/* For the backend's check: does the server take messages of this size? */
int redis_out_check(struct redis_out *out, const struct bcast_outgoing *message, char *error, size_t error_size);

#endif
