/* broadcaster pub: publishes its arguments, the lines of a stream, or all of it. */
#ifndef PUB_H
#define PUB_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stdio.h>

#define PUB_HEADERS 256 /* the library takes no more */

struct pub_plan {
    const char *channel;
    const char *const *messages; /* what to publish; with message_count 0: what `in` has */
    size_t message_count;
    bool whole;       /* all of `in` is one message; else: */
    char separator;   /* ends each message in `in`; behind the last one it may be missing */
    const char *name; /* of `in`, for complaints; NULL: stdin */
    const char *key;  /* NULL: none */
    struct bcast_header headers[PUB_HEADERS];
    size_t header_count;
    int timeout_ms; /* for room, and for the last confirmation; 0: a minute */
};

/* Reads the arguments into a plan that begins with pub_plan_init; *url NULL: everything has been said, namely the help.
 * Returns TOOL_GOOD or TOOL_USAGE. Cuts the words of --header in two. */
struct pub_plan pub_plan_init(void);
int pub_read(int count, char **words, struct pub_plan *plan, const char **url);

/* Returns an enum tool_exit, and closes `b`: only then has every message its result. */
int pub_run(struct bcast *b, const struct pub_plan *plan, FILE *in, FILE *err);

#endif
