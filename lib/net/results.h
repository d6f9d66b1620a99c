/* The results of what was published, where the server answers in the order it was asked: told in runs, not one by one.
 * The I/O thread's. Knows backend.h. */
#ifndef NET_RESULTS_H
#define NET_RESULTS_H

#include <stdbool.h>

#include "broadcaster/backend.h"

struct results {
    struct bcast_sink *sink;
    uint64_t first, good; /* the first message without a result; so many from there on went well, and nobody was told */
    bool fresh;           /* nothing was sent over this connection yet */
    bool complained;      /* in the log, about one that did not go well: once, until one does */
};

void results_connected(struct results *results);
void results_sending(struct results *results, const struct bcast_outgoing *message); /* the first of each batch */
void results_good(struct results *results);
void results_bad(struct results *results, int status, const char *why, size_t why_size); /* why: for the log */
void results_tell(struct results *results); /* there may be no more for a while */

#endif
