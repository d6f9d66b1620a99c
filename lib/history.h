/* What channels without a broker have kept: where a subscription begins in it, and pages of it. */
#ifndef HISTORY_H
#define HISTORY_H

#include "broadcast.h"
#include "options.h"

struct history_start {
    bool wanted; /* else it begins with the next message */
    struct ring_start at;
    bool resumed; /* at.sequence is what should come first */
    bool foreign; /* ... but the position is of other channels, which are gone */
};

/* Does it keep any? BCAST_OK or BCAST_ERR_UNSUPPORTED. */
int history_check(const struct bcast *b);

/* Where the options want a subscription of this channel to begin. May wait up to the options' time-out for a publisher
 * that has not finished. BCAST_OK, INVALID, UNSUPPORTED, TIMEOUT, NOMEM. */
int history_start(struct bcast *b, struct channel *channel, const struct sub_settings *settings,
                  struct history_start *out);

#endif
