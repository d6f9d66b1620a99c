/* What a subscription reads before its channel's ring, where the broker keeps messages: a source of its own, the *past*,
 * which a feed fills (io_thread.h). Its channel is found by nobody else. When it has been read, its reader goes on with the
 * source that follows, which it finds on the subscription's list. Knows subscription. */
#ifndef PAST_H
#define PAST_H

#include "subscription.h"

/* Puts `source`, whose channel the broker was asked for, on its way to the channel's ring, and on the list; with a past, if
 * the settings want anything of it. With the broadcast's mutex. BCAST_OK, NOMEM, INVALID. */
int past_begin(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings);

/* The rest is subscription.c's. */
void source_set_up(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings);
void source_detach(struct source *source); /* with the broadcast's mutex */

#endif
