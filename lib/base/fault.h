/* What tests may make go wrong inside: what the library asks of the system fails, a thread stops in the middle. Only with
 * the build option test_hooks; in any other build nothing of it is left. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum fault_kind { FAULT_MEMORY = 1, FAULT_PAGES = 2, FAULT_EVENT = 4, FAULT_THREAD = 8, FAULT_GUARD = 16 };

enum fault_point {
    FAULT_RESERVED = 1, /* a publisher has reserved its record and not committed it */
    FAULT_KEEPING = 2,  /* a publisher is the keeper of its ring */
    FAULT_TURN = 3,     /* a worker has the turn of its subscription */
    FAULT_STEPPING = 4  /* a worker moves its subscription on to another segment */
};

#if defined(BCAST_TEST_HOOKS) && !defined(BCAST_MODEL)
#include <stdatomic.h>
#include <stdint.h>

struct fault_hooks {
    _Atomic uint32_t kinds;                 /* enum fault_kind, or-ed: those that are counted */
    _Atomic uint64_t asked, failed;         /* how many were, and how many of them did not get it */
    _Atomic uint64_t first, count;          /* number `first` fails (1: the next), and all up to `count` of them */
    void (*_Atomic stop)(enum fault_point); /* called at each point; NULL: nobody */
};
extern struct fault_hooks fault_hooks;

bool fault_counted(enum fault_kind kind);

/* Shall this fail? */
static inline bool fault_strikes(enum fault_kind kind)
{
    uint32_t kinds = atomic_load_explicit(&fault_hooks.kinds, memory_order_relaxed);
    return (kinds & (uint32_t)kind) != 0 && fault_counted(kind);
}

static inline void fault_stop(enum fault_point point)
{
    /* acquire: the hook finds what the test has set up for it */
    void (*stop)(enum fault_point) = atomic_load_explicit(&fault_hooks.stop, memory_order_acquire);
    if (stop != NULL)
        stop(point);
}

#else

static inline bool fault_strikes(enum fault_kind kind)
{
    (void)kind;
    return false;
}

static inline void fault_stop(enum fault_point point)
{
    (void)point;
}

#endif
#endif
