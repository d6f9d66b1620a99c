/* broadcaster sub: prints what arrives. */
#ifndef SUB_H
#define SUB_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "print.h"

struct sub_plan {
    const char *const *channels;
    size_t channel_count;
    struct bcast_sub_options options; /* sub_run sets `shared` */
    struct print print;
    uint64_t count; /* messages until it ends; 0: no end */
    int quiet_ms;   /* it ends when nothing arrived for so long; negative: never */
    unsigned workers;
    bool print_position; /* to `err`, in the end */
    bool quiet;          /* does not say that it is ready */

    /* Called with the subscription once there is one, and with NULL before it is freed; may be NULL. */
    void (*watch)(void *context, struct bcast_sub *sub);
    void *context;
};

/* Reads the arguments into a plan that begins with sub_plan_init; *url NULL: everything has been said, namely the help.
 * Returns TOOL_GOOD or TOOL_USAGE. */
struct sub_plan sub_plan_init(void);
int sub_read(int count, char **words, struct sub_plan *plan, const char **url);

/* Until the count, the time-out, bcast_cancel, or the end of whoever reads `out`. Returns an enum tool_exit. */
int sub_run(struct bcast *b, const struct sub_plan *plan, FILE *out, FILE *err);

#endif
