/* A checker that runs the library's own C files: compiled with -fsanitize=thread, every access to memory becomes a call
 * into memory_model.c instead of ThreadSanitizer. Threads are coroutines of one system thread; schedule.c decides, before
 * every atomic operation, who goes on, and which of the values that C11 allows a load returns. It explores decisions
 * systematically, up to a number of deviations from the obvious one, or at random from a seed.
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
};

void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* -- schedule.c: who goes on -------------------------------------------------------------------------------------- */

unsigned model_self(void); /* the running thread's number */
bool model_alone(void);    /* no threads yet, or no more */
/* Before an operation, at that place, that others may see; `other`: others use the place, too. */
void model_point(const char *operation, const void *place, bool other);
/* Takes one of `options`, of which 0 is the obvious one; others cost a deviation. */
unsigned model_choose(unsigned options);
int model_yield(void);              /* goes on when another thread has written, or nobody else can run */
void model_wait(const void *place); /* sleeps until woken */
void model_wake(const void *place, int count);
void model_wrote(void); /* something that a thread that has yielded may wait for */

/* -- memory_model.c: what is where -------------------------------------------------------------------------------- */

void memory_model_reset(void);
void memory_model_start(unsigned thread, unsigned by); /* it sees what `by` has seen */
void memory_model_join(unsigned thread, unsigned by);  /* `by` sees what it has seen */
/* Is the place used by more than one thread? Learnt in the first runs, which are at random. */
void memory_model_learn(bool learning);
void memory_model_allocated(const void *memory, size_t size);
void memory_model_freed(const void *memory, size_t size);
bool memory_model_equals(const void *place, uint32_t value); /* the newest value, for a futex */

/* -- platform.c --------------------------------------------------------------------------------------------------- */

void platform_reset(void);
bool platform_owns(const void *place); /* in the arena that all memory of a run comes from */
size_t platform_offset(const void *place);
#define PLATFORM_BYTES ((size_t)1 << 20)

#endif
