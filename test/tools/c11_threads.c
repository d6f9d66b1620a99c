/* C11's threads as POSIX ones, which ThreadSanitizer knows: a thread made by the others crashes under it, and it does not
 * see what their locks do. To be preloaded (LD_PRELOAD) where a library that uses them, such as librdkafka, is. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

struct beginning {
    thrd_start_t run;
    void *argument;
};

static void *begin(void *argument)
{
    struct beginning b = *(struct beginning *)argument;
    free(argument);
    return (void *)(intptr_t)b.run(b.argument);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    struct beginning *b = malloc(sizeof *b);
    if (b == NULL)
        return thrd_nomem;
    *b = (struct beginning){run, argument};
    if (pthread_create(thread, NULL, begin, b) == 0)
        return thrd_success;
    free(b);
    return thrd_error;
}

int thrd_join(thrd_t thread, int *result)
{
    void *value = NULL;
    if (pthread_join(thread, &value) != 0)
        return thrd_error;
    if (result != NULL)
        *result = (int)(intptr_t)value;
    return thrd_success;
}

/* Both kinds are one in the C library. */
static pthread_mutex_t *mutex(mtx_t *m)
{
    return (pthread_mutex_t *)(void *)m;
}

static pthread_cond_t *cond(cnd_t *c)
{
    return (pthread_cond_t *)(void *)c;
}

int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
    int error = pthread_mutex_init(mutex(m), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error == 0 ? thrd_success : thrd_error;
}

void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy(mutex(m));
}

int mtx_lock(mtx_t *m)
{
    return pthread_mutex_lock(mutex(m)) == 0 ? thrd_success : thrd_error;
}

int mtx_unlock(mtx_t *m)
{
    return pthread_mutex_unlock(mutex(m)) == 0 ? thrd_success : thrd_error;
}

int cnd_init(cnd_t *c)
{
    return pthread_cond_init(cond(c), NULL) == 0 ? thrd_success : thrd_error;
}

void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy(cond(c));
}

int cnd_signal(cnd_t *c)
{
    return pthread_cond_signal(cond(c)) == 0 ? thrd_success : thrd_error;
}

int cnd_broadcast(cnd_t *c)
{
    return pthread_cond_broadcast(cond(c)) == 0 ? thrd_success : thrd_error;
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
    return pthread_cond_wait(cond(c), mutex(m)) == 0 ? thrd_success : thrd_error;
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until)
{
    int error = pthread_cond_timedwait(cond(c), mutex(m), until);
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}
