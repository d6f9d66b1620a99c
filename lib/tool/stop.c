#define _POSIX_C_SOURCE 200809L
#include "stop.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* over the next two */
static struct bcast_sub *watched;
static bool ending;

static pthread_t thread;
static sigset_t signals;

/* false: there is no time, or no use, for a clean end. */
static bool cancel(void)
{
    pthread_mutex_lock(&mutex);
    bool possible = watched != NULL;
    if (possible)
        bcast_cancel(watched);
    pthread_mutex_unlock(&mutex);
    return possible;
}

static bool ended(void)
{
    pthread_mutex_lock(&mutex);
    bool answer = ending;
    pthread_mutex_unlock(&mutex);
    return answer;
}

static void *listen(void *unused)
{
    (void)unused;
    int number;
    for (bool first = true; sigwait(&signals, &number) == 0; first = false) {
        if (ended())
            return NULL;
        if (!first || !cancel())
            _exit(128 + number); /* as shells count it */
    }
    return NULL;
}

bool stop_begin(void)
{
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0 && pthread_create(&thread, NULL, listen, NULL) == 0;
}

void stop_watch(void *context, struct bcast_sub *sub)
{
    (void)context;
    pthread_mutex_lock(&mutex);
    watched = sub;
    pthread_mutex_unlock(&mutex);
}

void stop_end(void)
{
    pthread_mutex_lock(&mutex);
    ending = true;
    pthread_mutex_unlock(&mutex);
    pthread_kill(thread, SIGTERM);
    pthread_join(thread, NULL);
}
