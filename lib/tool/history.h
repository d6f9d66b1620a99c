/* broadcaster history: prints a page of what is kept of a channel. */
#ifndef HISTORY_H
#define HISTORY_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stdio.h>

#include "print.h"

struct history_plan {
    const char *channel;
    struct bcast_history_query query;
    struct print print;
    bool quiet; /* no positions on `err` */
};

/* Returns an enum tool_exit. */
int history_run(struct bcast *b, const struct history_plan *plan, FILE *out, FILE *err);

#endif
