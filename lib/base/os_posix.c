/* The portable fallback: slower, nothing but POSIX. Waiting goes through a few condition variables found by address.
 * They are the library's only writable statics besides the names of shared memory broadcasts: they hold no state, any
 * waiter may be woken for any word, and everybody looks again. */
#define _POSIX_C_SOURCE 200809L
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/thread.h"

#define LOTS 8

static struct lot {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
} lots[LOTS];

/* Which process they are of: 0: none yet; MAKING: one that is just making them. A forked child makes its own: threads of
 * its parent's, which it does not have, may be inside the ones it has copied. */
static _Atomic int64_t lots_of;
#define MAKING (-1)

static void make_lots(int64_t process)
{
    int64_t before = atomic_load(&lots_of);
    if (before == MAKING || before == process || !atomic_compare_exchange_strong(&lots_of, &before, MAKING))
        return;
    for (int i = 0; i < LOTS; i++) {
        pthread_mutex_init(&lots[i].mutex, NULL);
        pthread_cond_init(&lots[i].cond, NULL);
    }
    atomic_store(&lots_of, process);
}

static struct lot *lot_of(const _Atomic uint32_t *word)
{
    int64_t process = getpid();
    while (atomic_load(&lots_of) != process)
        make_lots(process);
    return &lots[((uintptr_t)word >> 6) % LOTS];
}

static struct timespec realtime_of(int64_t deadline_ns)
{
    struct timespec mono, real;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &real);
    int64_t left = deadline_ns - ((int64_t)mono.tv_sec * 1000000000 + mono.tv_nsec);
    int64_t at = (int64_t)real.tv_sec * 1000000000 + real.tv_nsec + (left > 0 ? left : 0);
    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

void os_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    int shield = thread_shield();
    struct lot *lot = lot_of(word);
    struct timespec until = {0, 0};
    if (deadline_ns != OS_NEVER)
        until = realtime_of(deadline_ns);
    pthread_mutex_lock(&lot->mutex);
    /* The waker changes *word before it takes the mutex: either we see the change, or its broadcast finds us. */
    if (atomic_load(word) == expected) {
        if (deadline_ns == OS_NEVER)
            pthread_cond_wait(&lot->cond, &lot->mutex);
        else
            pthread_cond_timedwait(&lot->cond, &lot->mutex, &until);
    }
    pthread_mutex_unlock(&lot->mutex);
    thread_unshield(shield);
}

void os_wake(_Atomic uint32_t *word, int count)
{
    struct lot *lot = lot_of(word);
    (void)count; /* others share the lot: wake them all */
    pthread_mutex_lock(&lot->mutex);
    pthread_cond_broadcast(&lot->cond);
    pthread_mutex_unlock(&lot->mutex);
}

int os_event_open(struct os_event *event)
{
    int fds[2];
    event->read_fd = event->write_fd = -1;
    if (fault_strikes(FAULT_EVENT))
        return EMFILE;
    if (pipe(fds) != 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    event->process = getpid();
    event->read_fd = fds[0];
    event->write_fd = fds[1];
    return 0;
}

void os_event_signal(const struct os_event *event)
{
    if (event->process != getpid())
        return;
    int shield = thread_shield();
    while (write(event->write_fd, "", 1) < 0 && errno == EINTR)
        ;
    thread_unshield(shield);
}

void os_event_drain(const struct os_event *event)
{
    char some[64];
    ssize_t got;
    if (event->process != getpid())
        return;
    int shield = thread_shield();
    do
        got = read(event->read_fd, some, sizeof some);
    while (got == (ssize_t)sizeof some || (got < 0 && errno == EINTR));
    thread_unshield(shield);
}

void os_event_close(struct os_event *event)
{
    int shield = thread_shield();
    if (event->read_fd >= 0)
        close(event->read_fd);
    if (event->write_fd >= 0)
        close(event->write_fd);
    thread_unshield(shield);
    event->read_fd = event->write_fd = -1;
}

int os_guard_open(struct os_guard *guard)
{
    guard->raised = fault_strikes(FAULT_GUARD) ? NULL : malloc(sizeof *guard->raised);
    if (guard->raised == NULL)
        return ENOMEM;
    guard->process = getpid();
    atomic_init(guard->raised, 1);
    return 0;
}

bool os_guard_raised(const struct os_guard *guard)
{
    return atomic_load_explicit(guard->raised, memory_order_relaxed) != 0 && !os_guard_forked(guard);
}

void os_guard_lower(struct os_guard *guard)
{
    atomic_store_explicit(guard->raised, 0, memory_order_release);
}

void os_guard_close(struct os_guard *guard)
{
    free((void *)guard->raised);
    guard->raised = NULL;
}

bool os_guard_forked(const struct os_guard *guard)
{
    return guard->process != getpid();
}

int os_thread_start(pthread_t *thread, const char *name, const struct os_thread_options *options, void *(*run)(void *),
                    void *argument)
{
    (void)name; /* names and affinity are not in POSIX */
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    if (options->stack_bytes != 0)
        error = pthread_attr_setstacksize(&attributes, options->stack_bytes);
    if (error == 0)
        error = thread_start_blocked(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

void *os_pages_get(size_t size)
{
    return fault_strikes(FAULT_PAGES) ? NULL : calloc(1, size);
}

void os_pages_put(void *pages, size_t size)
{
    (void)size;
    free(pages);
}
