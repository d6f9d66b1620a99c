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

/* For a subscription that is alone with its only channel, which is active always. But a worker may take it for alone when
 * it no longer is: another channel was added, and another worker has put this one to rest, or is just about to. So these
 * try to get the turn, and only then look whether it is still alone.
 * Settle: it was rung, and can be armed again. Another one that was rung is just being added: it waits for turn_change. */
void turn_settle(struct bcast_sub *sub);
/* It was empty: arms it. False: something is on its way, or somebody else is at it. */
bool turn_rest_alone(struct bcast_sub *sub, struct source *source);

/* Channels came or went. Forgets what was removed. */
void turn_change(struct bcast_sub *sub);

/* Gives back the memory of channels that have rested for TURN_TRIM_NS. False: some are not due yet. */
bool turn_trim(struct bcast_sub *sub);

#endif
