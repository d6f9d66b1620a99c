/* Threads and what waits between them, as far as every POSIX system has it. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* pthread_create with all signals blocked in the new thread, so that the host program's handlers run in its own
 * threads. 0 or errno. */
int thread_start_blocked(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

/* No call into the library is a cancellation point: a thread that was cancelled inside would leave locks and references
 * behind. Around what may wait, or calls into other libraries; thread_unshield gets what thread_shield returned. */
static inline int thread_shield(void)
{
    int before = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}
static inline void thread_unshield(int before)
{
    pthread_setcancelstate(before, &before);
}

/* In a forked child: is the mutex free, or was it taken by a thread of the parent's, which is not here to give it back?
 * A thread of the child's own that has it for a moment is waited for. */
bool thread_mutex_free(pthread_mutex_t *mutex);

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
