/* Threads and what waits between them, as far as every POSIX system has it. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* pthread_create with all signals blocked in the new thread, so that the host program's handlers run in its own
 * threads. 0 or errno. */
int thread_start_blocked(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

#ifdef BCAST_MODEL
uintptr_t thread_id(void); /* threads are coroutines of one: see test/model */
#else

/* A thread-local variable whose address is a constant away from the thread pointer: two instructions and no call, also
 * in a shared library. It costs one byte of the room that the loader keeps for libraries that are opened later. */
#if defined(__GNUC__)
extern _Thread_local char thread_self __attribute__((tls_model("initial-exec")));
#else
extern _Thread_local char thread_self;
#endif

/* A number that differs between all threads alive in this process; never 0. */
static inline uintptr_t thread_id(void)
{
    return (uintptr_t)&thread_self;
}

#endif

#endif
