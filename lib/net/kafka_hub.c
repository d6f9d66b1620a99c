#define _GNU_SOURCE /* RTLD_NODELETE: see stay */
#include "kafka_hub.h"

#include <dlfcn.h>
#include <errno.h>
#include <time.h>

#include "base/memory.h"
#include "base/os.h"
#include "base/thread.h"

#define CLOSE_PATIENCE_S 2

static struct kafka_job *take(struct kafka_job **list, struct kafka_job ***end)
{
    struct kafka_job *job = *list;
    if (job != NULL && (*list = job->next) == NULL)
        *end = list;
    return job;
}

static void append(struct kafka_job ***end, struct kafka_job *job)
{
    job->next = NULL;
    **end = job;
    *end = &job->next;
}

static void release(struct kafka_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    bool last = --hub->references == 0;
    pthread_mutex_unlock(&hub->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&hub->changed);
    pthread_mutex_destroy(&hub->mutex);
    memory_put(hub);
}

/* ----------------------------------------------------------------------------------------------------- the worker -- */

/* What is given is done, also once the backend is closed: then it is nobody else's to finish. */
static struct kafka_job *next_job(struct kafka_hub *hub)
{
    struct kafka_job *job;
    while ((job = take(&hub->jobs, &hub->jobs_end)) == NULL) {
        struct kafka_job *finished = hub->sink == NULL ? take(&hub->finished, &hub->finished_end) : NULL;
        if (finished != NULL) {
            pthread_mutex_unlock(&hub->mutex);
            finished->done(finished, NULL);
            pthread_mutex_lock(&hub->mutex);
        } else if (hub->sink == NULL) {
            return NULL;
        } else {
            pthread_cond_wait(&hub->changed, &hub->mutex);
        }
    }
    return job;
}

static void *work(void *argument)
{
    struct kafka_hub *hub = argument;
    pthread_mutex_lock(&hub->mutex);
    for (struct kafka_job *job; (job = next_job(hub)) != NULL;) {
        pthread_mutex_unlock(&hub->mutex);
        job->run(job);
        pthread_mutex_lock(&hub->mutex);
        append(&hub->finished_end, job);
        if (hub->sink != NULL)
            hub->sink->wake(hub->sink); /* with the mutex: it is there for as long as we have it */
    }
    hub->running = false;
    pthread_cond_broadcast(&hub->changed);
    pthread_mutex_unlock(&hub->mutex);
    release(hub);
    return NULL;
}

bool kafka_hub_start(struct kafka_hub *hub)
{
    static const struct os_thread_options plain = {0};
    pthread_t thread;
    pthread_mutex_lock(&hub->mutex);
    if (!hub->running && os_thread_start(&thread, "bcast-kafka", &plain, work, hub) == 0) {
        pthread_detach(thread);
        hub->running = true;
        hub->references++;
    }
    bool running = hub->running;
    pthread_mutex_unlock(&hub->mutex);
    return running;
}

/* A thread will yet run our code: it must stay in memory, also if the host program unloads the library. */
static void stay(void)
{
#ifdef RTLD_NODELETE
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&work, &info) != 0 && info.dli_fname != NULL)
        (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

void kafka_hub_close(struct kafka_hub *hub)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CLOSE_PATIENCE_S;
    pthread_mutex_lock(&hub->mutex);
    hub->sink = NULL;
    pthread_cond_broadcast(&hub->changed);
    while (hub->running && pthread_cond_timedwait(&hub->changed, &hub->mutex, &until) != ETIMEDOUT)
        ;
    bool left = hub->running;
    pthread_mutex_unlock(&hub->mutex);
    if (left)
        stay();
    release(hub);
}

/* --------------------------------------------------------------------------------------------------- between them -- */

struct kafka_hub *kafka_hub_new(struct bcast_sink *sink)
{
    pthread_condattr_t attributes;
    struct kafka_hub *hub = memory_get(sizeof *hub);
    if (hub == NULL || pthread_mutex_init(&hub->mutex, NULL) != 0) {
        memory_put(hub);
        return NULL;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int error = pthread_cond_init(&hub->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error != 0) {
        pthread_mutex_destroy(&hub->mutex);
        memory_put(hub);
        return NULL;
    }
    hub->sink = sink;
    hub->jobs_end = &hub->jobs;
    hub->finished_end = &hub->finished;
    hub->ready.next = hub->ready.previous = &hub->ready;
    hub->references = 1;
    return hub;
}

void kafka_hub_give(struct kafka_hub *hub, struct kafka_job *job)
{
    pthread_mutex_lock(&hub->mutex);
    append(&hub->jobs_end, job);
    pthread_cond_broadcast(&hub->changed);
    pthread_mutex_unlock(&hub->mutex);
}

struct kafka_job *kafka_hub_finished(struct kafka_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    struct kafka_job *job = take(&hub->finished, &hub->finished_end);
    pthread_mutex_unlock(&hub->mutex);
    return job;
}

static void unlist(struct kafka_ready *ready)
{
    ready->previous->next = ready->next;
    ready->next->previous = ready->previous;
    ready->listed = false;
}

struct kafka_ready *kafka_hub_take_ready(struct kafka_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    struct kafka_ready *ready = hub->ready.next != &hub->ready ? hub->ready.next : NULL;
    if (ready != NULL)
        unlist(ready);
    pthread_mutex_unlock(&hub->mutex);
    return ready;
}

void kafka_hub_forget_ready(struct kafka_hub *hub, struct kafka_ready *ready)
{
    pthread_mutex_lock(&hub->mutex);
    if (ready->listed)
        unlist(ready);
    pthread_mutex_unlock(&hub->mutex);
}

void kafka_hub_list_ready(struct kafka_hub *hub, struct kafka_ready *ready)
{
    pthread_mutex_lock(&hub->mutex);
    if (!ready->listed) {
        ready->listed = true;
        ready->next = &hub->ready;
        ready->previous = hub->ready.previous;
        ready->previous->next = hub->ready.previous = ready;
    }
    if (hub->sink != NULL)
        hub->sink->wake(hub->sink);
    pthread_mutex_unlock(&hub->mutex);
}

void kafka_hub_wake(struct kafka_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    if (hub->sink != NULL)
        hub->sink->wake(hub->sink);
    pthread_mutex_unlock(&hub->mutex);
}
