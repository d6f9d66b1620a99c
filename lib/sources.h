/* The channels of a subscription: a list, and a table of it where there are many. All of it with the broadcast's mutex.
 * Knows subscription. */
#ifndef SOURCES_H
#define SOURCES_H

#include "subscription.h"

/* The one that is not removed, or NULL. */
struct source *sources_find(struct bcast_sub *sub, const struct channel *channel);
/* Its channel is set; `sub->first` is on the list already. False: no memory. */
bool sources_add(struct bcast_sub *sub, struct source *source);
void sources_drop(struct bcast_sub *sub, struct source *source); /* from the table: it is about to go */
void sources_free(struct bcast_sub *sub);

#endif
