/* Running a scenario many times. */
#ifndef MODEL_SCHEDULE_H
#define MODEL_SCHEDULE_H

#include "model.h"

struct exploration {
    uint64_t seed;
    double seconds, random_seconds; /* at most, altogether; of these at random */
    bool trace;                     /* of a run that fails */
    unsigned deviations;            /* preemptions and stale reads of one run, at most */
    uint64_t runs;
    unsigned complete; /* 1 + the last number of deviations of which every run has been; 0: none */
};

/* False if something was found, which is printed. */
bool explore(const struct scenario *scenario, struct exploration *e);

#endif
