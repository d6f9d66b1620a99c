/* Whose turn it is: which of a subscription's channels is read next. One is active; those that may have something queue
 * up behind it; the rest are armed in their rings, and come back when they are rung. A subscription of many channels so
 * costs nothing for those where nothing happens. Knows subscription, cursor and wait.
 *
 * All of it is done with the turn: in an exclusive subscription by its only reader, in a shared one by a worker that
 * has got it. Nobody waits for it. */
#ifndef TURN_H
#define TURN_H

#include "subscription.h"

#define TURN_TRIM_NS 250000000 /* this long without a message, and a channel's memory is given back */

/* What one look at a subscription has found. Statuses of enum bcast_status, and: */
enum {
    FOUND = BCAST_OK,
    NOTHING = 100,
    SOON = 101 /* a publisher, or another reader, is in the middle of something */
};

/* Makes another channel than `from` the active one. `empty`: nothing was found there. FOUND, NOTHING (there is none) or
 * SOON; *soon is the first that was neither empty nor could be read, NULL to begin with. */
int turn_switch(struct bcast_sub *sub, struct source *from, bool empty, struct source **soon);

/* `source` was empty. Arms it, so that it comes back when it is not. False: something is on its way. By who has the
 * turn, or reads the only channel. */
bool turn_rest(struct source *source);

/* Channels came or went. Forgets what was removed. */
void turn_change(struct bcast_sub *sub);

/* Gives back the memory of channels that have rested for TURN_TRIM_NS. False: some are not due yet. */
bool turn_trim(struct bcast_sub *sub);

#endif
