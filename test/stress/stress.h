/* What stress programs share: chance that can be repeated, and a check that says which seed it was. */
#ifndef STRESS_H
#define STRESS_H

#include <broadcaster/broadcaster.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* What the command line asks for: `rounds` rounds, or as many as it takes for so many `deliveries`, or as `seconds`
 * allow, each with the next seed. */
struct campaign {
    uint64_t seed, rounds, deliveries;
    time_t end;
    bool large, wide;
};

static inline struct campaign campaign(const char *name, int count, char **words)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct campaign c = {.seed = (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec, .end = now.tv_sec};
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--large") == 0) {
            c.large = true;
        } else if (strcmp(words[i], "--wide") == 0) {
            c.wide = true;
        } else if (i + 1 < count && strcmp(words[i], "--seed") == 0) {
            c.seed = strtoull(words[++i], NULL, 0);
        } else if (i + 1 < count && strcmp(words[i], "--rounds") == 0) {
            c.rounds = strtoull(words[++i], NULL, 0);
        } else if (i + 1 < count && strcmp(words[i], "--deliveries") == 0) {
            c.deliveries = strtoull(words[++i], NULL, 0);
        } else if (i + 1 < count && strcmp(words[i], "--seconds") == 0) {
            c.end += strtol(words[++i], NULL, 0);
        } else {
            fprintf(stderr, "usage: %s [--seed N] [--rounds N | --deliveries N | --seconds N] [--large | --wide]\n",
                    name);
            exit(2);
        }
    }
    printf("%s: first seed %llu\n", name, (unsigned long long)c.seed);
    fflush(stdout);
    return c;
}

static inline bool campaign_goes_on(const struct campaign *c, uint64_t done, uint64_t delivered)
{
    if (c->rounds != 0)
        return done < c->rounds;
    if (c->deliveries != 0)
        return delivered < c->deliveries;
    return done == 0 || time(NULL) < c->end;
}

#endif
