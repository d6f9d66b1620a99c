/* Running a scenario many times. */
#ifndef MODEL_SCHEDULE_H
#define MODEL_SCHEDULE_H

#include "model.h"

struct exploration {
    uint64_t seed;
    double seconds, random_seconds;   /* at most, altogether; of these at random */
    bool trace;                       /* of a run that fails */
    unsigned preemptions, old_values; /* in one run, at most */
    uint64_t runs;
    bool complete; /* every run with that many has been */
};

/* False if something was found, which is printed. */
bool explore(const struct scenario *scenario, struct exploration *e);

#endif
