/* What is on its way to the broker: a ring of its own that every publishing thread appends to and the I/O thread reads.
 * Its bounds are the ring's; so is the waiting of publishers for room. Knows ring, cursor, channel and backend.h. */
#ifndef OUTBOUND_H
#define OUTBOUND_H

#include "broadcaster/backend.h"

#include "channel.h"
#include "cursor.h"
#include "registry.h"

#define OUTBOUND_BATCH 512
#define OUTBOUND_HEADERS 1024 /* of all messages of a batch; at least as many as one may have */

struct outbound {
    struct ring ring;
    struct pool pool;
    struct cursor cursor;
    struct holds holds;
    int most_ms; /* that a message may wait; 0: no bound */
};

/* A queued message as the I/O thread finds it; valid until it is skipped. */
struct outbound_message {
    struct bcast_outgoing out;
    struct channel *channel; /* a reference that the message carries; outbound_skip gives it back */
    bcast_result_callback on_result;
    void *context;
    int64_t expires_ns; /* OS_NEVER: does not */
    uint64_t header;    /* of the record */
};

struct outbound_batch {
    struct outbound_message messages[OUTBOUND_BATCH];
    struct bcast_outgoing out[OUTBOUND_BATCH]; /* the same, as a backend wants them */
    struct bcast_header headers[OUTBOUND_HEADERS];
    size_t count, headers_used;
};

/* `bell`: the I/O thread's. False: no memory. */
bool outbound_init(struct outbound *outbound, struct bell *bell, struct ring_limits limits);
void outbound_fini(struct outbound *outbound); /* nothing may be queued */

/* Any thread. Queues a copy; *status is BCAST_OK unless key or headers break a limit. */
enum ring_result outbound_put(struct outbound *outbound, struct channel *channel, const struct bcast_message *message,
                              int64_t deadline_ns, const struct os_guard *guard, int *status);
uint64_t outbound_tail(struct outbound *outbound); /* the number the next message will have */

/* The I/O thread. Looks at what is queued, without taking it; false: nothing. */
bool outbound_look(struct outbound *outbound, struct outbound_batch *batch);
void outbound_skip(struct outbound *outbound, struct outbound_batch *batch, size_t count);
/* Nothing is queued: the bell will ring when something is. False: something is. */
bool outbound_arm(struct outbound *outbound);

#endif
