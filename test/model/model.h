/* A checker that runs the library's own C files: compiled with -fsanitize=thread, every access to memory becomes a call
 * into memory_model.c instead of ThreadSanitizer. Threads are coroutines of one system thread; schedule.c decides, before
 * every atomic operation, who goes on, and which of the values that C11 allows a load returns. It explores decisions
 * systematically, up to a number of preemptions and of old values read, or at random from a seed.
 *
 * Found are: data races on plain memory, memory used after it was freed, threads that sleep for ever, and whatever a
 * scenario asserts. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS 6 /* and the main one, number 0 */

/* -- for scenarios ------------------------------------------------------------------------------------------------ */

struct scenario {
    const char *name;
    void (*set_up)(void); /* alone */
    void (*threads[MODEL_THREADS + 1])(void);
    void (*check)(void); /* alone, when all threads have ended */
    bool by_value;       /* its threads say where they stand */
};

void model_time_passes(void); /* in the set-up: clocks go on, and sleepers are late */
/* How often the thread has yielded: it should sleep instead. */
unsigned model_yields(void);

/* For a scenario that is by value: the running thread's own state, that of the library's functions that it is in and
 * of all that is not in memory_get's memory, is known from this number, which is the scenario's alone. States that
 * differ in the way that led there only are then explored once; races are looked for on that one way. */
void model_at(uint64_t where);

void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* -- schedule.c: who goes on -------------------------------------------------------------------------------------- */

unsigned model_self(void); /* the running thread's number */
bool model_alone(void);    /* no threads yet, or no more */
/* Before an operation, at that place, that others may see; `other`: others use the place, too. */
void model_point(const char *operation, const void *place, bool writes, bool other);
void model_done(const void *place, bool writes); /* then */
unsigned model_choose(unsigned options);         /* how old a value to read; 0: the newest */
/* Goes on when another thread has written to what this one has read since it last yielded, or nobody else can run. */
int model_yield(void);
void model_wait(const void *place); /* sleeps until woken */
void model_wake(const void *place, int count);
unsigned model_start(void *(*run)(void *), void *argument); /* a thread, in the set-up; its number */
void model_join(unsigned thread);                           /* waits for its end */

/* -- memory_model.c: what is where -------------------------------------------------------------------------------- */

void memory_model_reset(void);
void memory_model_start(unsigned thread, unsigned by); /* it sees what `by` has seen */
void memory_model_join(unsigned thread, unsigned by);  /* `by` sees what it has seen */
/* Which places are used by more than one thread, one of which writes? Only there a preemption makes a difference. Learnt
 * in the first runs, which are at random, and by whatever is run later. */
void memory_model_learn(bool learning);
bool memory_model_learnt(void);                     /* there was another one */
bool memory_model_learnt_more(void);                /* ... and now it counts as such */
uint64_t memory_model_values_read(unsigned thread); /* since it said where it stands */
uint64_t memory_model_freed_blocks(void);
uint64_t memory_model_past(unsigned thread); /* a number for what it has done, and what all that depends on */
void memory_model_yielded(void);             /* the running thread: what it has read since memory_model_looks counts */
void memory_model_looks(void);
bool memory_model_changed(unsigned thread); /* something of that has been written since */
void memory_model_allocated(const void *memory, size_t size);
void memory_model_freed(const void *memory, size_t size);
bool memory_model_equals(const void *place, uint32_t value); /* the newest value, for a futex */
void memory_model_touched(const void *place);                /* a futex: sleeping and waking there are in one order */
uint32_t memory_model_exchange(void *place, uint32_t value); /* outside the library; acquires and releases */

static inline uint64_t model_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x632be59bd9b4e019);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* -- platform.c --------------------------------------------------------------------------------------------------- */

void platform_reset(void);
bool platform_owns(const void *place); /* in the arena that all memory of a run comes from */
size_t platform_offset(const void *place);
void *platform_get(size_t size); /* for a scenario itself: gone with the run */
size_t platform_blocks(void);    /* of memory_get, that were allocated and not freed */
uint64_t platform_content(void); /* a number for all that is in memory */
void model_poll(int fd);         /* sleeps until it is readable */
#define PLATFORM_BYTES ((size_t)1 << 20)

#endif
