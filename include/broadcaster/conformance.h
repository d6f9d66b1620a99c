/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The conformance suite: what every backend must do, as cases that can be run against any of them, yours included.
 * Link with libbroadcaster_conformance.a (pkg-config: broadcaster-conformance). A whole program is
 *
 *     #include <broadcaster/conformance.h>
 *     int main(int argc, char **argv) { return bcast_conformance_main(argc, argv, NULL); }
 *
 * to be run as `program URL`. Only calls of broadcaster.h are used. Every case opens its own connections, uses channels
 * that nobody has used before (their names begin with "bc-"), waits for what must happen and not for a time, and closes
 * everything. What a backend does not claim in its capabilities it must refuse with a clear error: that is tested too.
 *
 * These calls are for one thread at a time in a process. The conventions are those of broadcaster.h.
 */
#ifndef BROADCASTER_CONFORMANCE_H
#define BROADCASTER_CONFORMANCE_H

#include "broadcaster.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bcast_conformance_result {
    BCAST_CONFORMANCE_PASSED = 0,
    BCAST_CONFORMANCE_FAILED = 1,
    BCAST_CONFORMANCE_SKIPPED = 2 /* it has no meaning for this backend, or cannot be tried here: `reason` says why */
};

/* Called after each case, from the thread that called bcast_conformance_run. `reason` is a sentence: of a failure, what
 * was expected and what happened; of one that passed, "" or what is worth knowing. The texts are valid during the call
 * only. `ms` is how long the case took, in milliseconds. */
typedef void (*bcast_conformance_report)(void *context, const char *name, enum bcast_conformance_result result,
                                         const char *reason, unsigned long ms);

/* What is tested, and how. Everything it points to belongs to the caller, and must stay until the run is over. */
struct bcast_conformance {
    size_t struct_size;

    /* Either a URL, opened again for each connection; `backends` as in struct bcast_options. "memory://" would be
     * another broker each time: give it a name, or say `isolated`. */
    const char *url;
    const struct bcast_backend *const *backends;
    /* Or a function: it opens one more connection to the same broker with these options, as bcast_open does. It may be
     * called from any thread. */
    int (*open)(void *context, const struct bcast_options *options, struct bcast **out);
    int isolated; /* non-zero: what one connection publishes no other one receives. Cases then share one handle */

    /* Makes the broker go away, so that all connections break (stop), and come back (start), perhaps without what it
     * had kept. 0 is success. `stop` may return before the connections are seen to be broken, `start` before new ones
     * are taken. NULL: the cases that restart the broker are skipped. */
    int (*stop)(void *context);
    int (*start)(void *context);
    void *context; /* for the three above */

    const char *only;    /* only cases whose name contains this text; NULL: all */
    unsigned long seed;  /* of everything random, and of the names of channels; 0: another one each time */
    unsigned rounds;     /* default 10,000: fewer (or more) shrink (or stretch) every case in proportion */
    int deadline_ms;     /* default 60,000: what has not happened by then has failed */
    size_t history_kept; /* so many newer messages make the broker forget an old one. 0: not known, case skipped */

    bcast_conformance_report report; /* NULL: nothing is told */
    void *report_context;
};

static inline struct bcast_conformance bcast_conformance_init(void)
{
    struct bcast_conformance conformance;
    memset(&conformance, 0, sizeof conformance);
    conformance.struct_size = sizeof conformance;
    return conformance;
}

/* Runs the cases, one after the other, and returns how many failed; negative (enum bcast_status): nothing could be run,
 * as there is neither a URL nor an open function, the broker cannot be reached, or `only` fits no case. */
int bcast_conformance_run(const struct bcast_conformance *conformance);

/* The name of case number `index`; NULL behind the last one. Constant. */
const char *bcast_conformance_name(size_t index);

/* The same for a program's main: reads the command line (--help tells), runs, and prints a line for each case, the seed,
 * and at last "N passed, N failed" to stdout. `conformance` has the values for what the command line does not say, and
 * may be NULL; its report is not used. Returns the exit code: 0 if nothing failed, 1 if something did, 2 if nothing could
 * be run. */
int bcast_conformance_main(int argc, char **argv, const struct bcast_conformance *conformance);

#ifdef __cplusplus
}
#endif
#endif
