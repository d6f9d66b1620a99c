/* Reading what others may take away: between grace_enter and grace_leave nothing that was reachable at the first is
 * freed. grace_wait, called after something was made unreachable, waits until everybody who may have seen it has left.
 *
 * This is what ck_epoch does. It is not used because it wants a record per thread, and ours are the host program's
 * threads, which come and go without telling us; and because its ordering is in stand-alone fences. Here threads share
 * a few counters, each on a line of its own. */
#ifndef BASE_GRACE_H
#define BASE_GRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

#define GRACE_STRIPES 8

struct grace {
    _Alignas(MEMORY_LINE) _Atomic uint32_t phase;
    struct grace_stripe {
        _Alignas(MEMORY_LINE) _Atomic uint64_t inside[2]; /* how many entered in an even phase, and in an odd one */
        _Atomic uint64_t count; /* for statistics: free of charge, as the line is ours already */
    } stripes[GRACE_STRIPES];
};

typedef _Atomic uint64_t *grace_token;

struct grace_stripe *grace_stripe(struct grace *grace); /* this thread's */
grace_token grace_enter(struct grace *grace);           /* any thread; never waits; do not wait for anything inside */
void grace_leave(grace_token token);
bool grace_empty(struct grace *grace); /* nobody is inside at this moment */
void grace_wait(struct grace *grace);  /* one thread at a time (its caller's lock); not from inside */

#endif
