#define _POSIX_C_SOURCE 200809L
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "base/fault.h"

_Thread_local char thread_self;

bool thread_mutex_free(pthread_mutex_t *mutex)
{
    for (int i = 0; i < 100; i++) {
        if (pthread_mutex_trylock(mutex) == 0) {
            pthread_mutex_unlock(mutex);
            return true;
        }
        sched_yield();
    }
    return false;
}

int thread_start_blocked(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    if (fault_strikes(FAULT_THREAD))
        return EAGAIN;
    sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error != 0)
        return error;
    error = pthread_create(thread, attributes, run, argument); /* it inherits the mask */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}
