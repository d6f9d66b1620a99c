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

/* Reads the arguments into a plan that begins with history_plan_init; *url NULL: everything has been said, namely the
 * help. Returns TOOL_GOOD or TOOL_USAGE. */
struct history_plan history_plan_init(void);
int history_read(int count, char **words, struct history_plan *plan, const char **url);

/* Returns an enum tool_exit. */
int history_run(struct bcast *b, const struct history_plan *plan, FILE *out, FILE *err);

#endif
