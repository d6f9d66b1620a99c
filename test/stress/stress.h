/* What stress programs share: chance that can be repeated, and a check that says which seed it was. */
#ifndef STRESS_H
#define STRESS_H

#include <broadcaster/broadcaster.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic uint64_t current_seed;

#define CHECK(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "\nstress: seed %llu: %s: ", (unsigned long long)atomic_load(&current_seed), #what);       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, " (%s)\n", bcast_error_text());                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct chance {
    uint64_t state;
};

static inline uint64_t draw(struct chance *chance)
{
    uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t below(struct chance *chance, uint64_t bound)
{
    return draw(chance) % bound;
}

static inline bool one_in(struct chance *chance, uint64_t n)
{
    return below(chance, n) == 0;
}

#endif
