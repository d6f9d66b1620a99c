/* Threads and what waits between them, as far as every POSIX system has it. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* pthread_create with all signals blocked in the new thread, so that the host program's handlers run in its own
 * threads. 0 or errno. */
int thread_start_blocked(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

/* A number that differs between all threads alive in this process; never 0. Where pthread_t is neither a number nor a
 * pointer this does not compile, and the address of a thread-local variable would have to do. */
static inline unsigned long thread_id(void)
{
    return (unsigned long)pthread_self();
}

#endif
