/* The library's files, compiled as for ThreadSanitizer, call what is here for every atomic operation: it is done, and
 * before it or after it the thread may be held up for a moment. So steps meet that are only a few nanoseconds apart
 * otherwise. How often and how long is chance, about which every thread changes its mind as it goes.
 * TORTURE_SEED in the environment repeats that chance, as far as the scheduler allows; the one in use is printed. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct temper {
    uint64_t state;
    uint32_t until;  /* operations to the next stop */
    uint32_t rarity; /* operations between two stops, on average */
    uint32_t stops;  /* before the next change of mind */
};

static _Thread_local struct temper temper;
static uint64_t seed;
static _Atomic uint64_t threads, stops_of_all;

__attribute__((constructor)) static void begin(void)
{
    const char *word = getenv("TORTURE_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    seed = word != NULL ? strtoull(word, NULL, 0) : (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    printf("torture: TORTURE_SEED=%llu\n", (unsigned long long)seed);
}

__attribute__((destructor)) static void end(void)
{
    printf("torture: over %llu stops\n", (unsigned long long)atomic_load(&stops_of_all));
}

static uint64_t draw(void)
{
    uint64_t z = temper.state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void change_mind(void)
{
    static const uint32_t rarities[] = {3, 20, 200, 2000, 20000};
    if (temper.state == 0)
        temper.state = seed + atomic_fetch_add(&threads, 1) * UINT64_C(0x2545f4914f6cdd1d);
    else
        atomic_fetch_add_explicit(&stops_of_all, temper.stops, memory_order_relaxed);
    temper.rarity = rarities[draw() % (sizeof rarities / sizeof *rarities)];
    temper.stops = 1 + (uint32_t)(draw() % 64);
}

static __attribute__((noinline)) void stop(void)
{
    static _Thread_local uint32_t left;
    if (left == 0) {
        change_mind();
        left = temper.stops;
    }
    left--;
    temper.until = 1 + (uint32_t)(draw() % (2 * temper.rarity));
    uint64_t how = draw() % 8;
    if (how < 5)
        sched_yield(); /* a long time, if others are waiting for this processor */
    else
        for (volatile uint64_t i = draw() % (how == 7 ? 20000 : 200); i > 0;)
            i = i - 1;
}

static inline void maybe(void)
{
    if (temper.until-- == 0)
        stop();
}

/* Before and after: the next thing that a thread does may be no atomic operation. */
#define DO(operation)                                                                                                  \
    maybe();                                                                                                           \
    operation;                                                                                                         \
    maybe();

/* `order` is a constant to the compiler's caller, not here: clang chooses at run time. */
#define ATOMICS(bits)                                                                                                  \
    typedef uint##bits##_t u##bits;                                                                                    \
    u##bits __tsan_atomic##bits##_load(const volatile u##bits *a, int order);                                          \
    u##bits __tsan_atomic##bits##_load(const volatile u##bits *a, int order)                                           \
    {                                                                                                                  \
        DO(u##bits is = __atomic_load_n(a, order))                                                                     \
        return is;                                                                                                     \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile u##bits *a, u##bits v, int order);                                       \
    void __tsan_atomic##bits##_store(volatile u##bits *a, u##bits v, int order){                                       \
        DO(__atomic_store_n(a, v, order))} CHANGE(bits, exchange, __atomic_exchange_n)                                 \
        CHANGE(bits, fetch_add, __atomic_fetch_add) CHANGE(bits, fetch_sub, __atomic_fetch_sub)                        \
            CHANGE(bits, fetch_and, __atomic_fetch_and) CHANGE(bits, fetch_or, __atomic_fetch_or)                      \
                CHANGE(bits, fetch_xor, __atomic_fetch_xor) COMPARE(bits, strong, false) COMPARE(bits, weak, true)     \
                    u##bits __tsan_atomic##bits##_compare_exchange_val(volatile u##bits *a, u##bits e, u##bits v,      \
                                                                       int good, int bad);                             \
    u##bits __tsan_atomic##bits##_compare_exchange_val(volatile u##bits *a, u##bits e, u##bits v, int good, int bad)   \
    {                                                                                                                  \
        DO(__atomic_compare_exchange_n(a, &e, v, false, good, bad))                                                    \
        return e;                                                                                                      \
    }
#define CHANGE(bits, name, function)                                                                                   \
    u##bits __tsan_atomic##bits##_##name(volatile u##bits *a, u##bits v, int order);                                   \
    u##bits __tsan_atomic##bits##_##name(volatile u##bits *a, u##bits v, int order)                                    \
    {                                                                                                                  \
        DO(u##bits was = function(a, v, order))                                                                        \
        return was;                                                                                                    \
    }
#define COMPARE(bits, strength, weak)                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile u##bits *a, u##bits *e, u##bits v, int good,        \
                                                          int bad);                                                    \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile u##bits *a, u##bits *e, u##bits v, int good,        \
                                                          int bad)                                                     \
    {                                                                                                                  \
        DO(bool done = __atomic_compare_exchange_n(a, e, v, weak, good, bad))                                          \
        return done;                                                                                                   \
    }
ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

void __tsan_init(void);
void __tsan_init(void)
{
}
