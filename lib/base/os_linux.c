/* Linux: futex, eventfd, a page that fork() wipes. */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/thread.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

void os_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    /* The BITSET form takes an absolute CLOCK_MONOTONIC time: a signal that interrupts it costs no time. */
    /* syscall() is no cancellation point */
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_ns == OS_NEVER ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

void os_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

int os_event_open(struct os_event *event)
{
    event->read_fd = event->write_fd = -1;
    if (fault_strikes(FAULT_EVENT))
        return EMFILE;
    event->read_fd = event->write_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    event->process = getpid();
    return event->read_fd < 0 ? errno : 0;
}

void os_event_signal(const struct os_event *event)
{
    uint64_t one = 1;
    if (event->process != getpid())
        return;
    int shield = thread_shield();
    while (write(event->write_fd, &one, sizeof one) < 0 && errno == EINTR)
        ; /* EAGAIN: the counter is full, so the fd is readable already */
    thread_unshield(shield);
}

void os_event_drain(const struct os_event *event)
{
    uint64_t count;
    if (event->process != getpid())
        return;
    int shield = thread_shield();
    while (read(event->read_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    thread_unshield(shield);
}

void os_event_close(struct os_event *event)
{
    int shield = thread_shield();
    if (event->read_fd >= 0)
        close(event->read_fd);
    thread_unshield(shield);
    event->read_fd = event->write_fd = -1;
}

int os_guard_open(struct os_guard *guard)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (fault_strikes(FAULT_GUARD))
        return ENOMEM;
    void *raised = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raised == MAP_FAILED)
        return ENOMEM;
    if (madvise(raised, page, MADV_WIPEONFORK) != 0) {
        int error = errno;
        munmap(raised, page);
        return error;
    }
    guard->raised = raised;
    guard->process = getpid();
    atomic_store_explicit(guard->raised, 1, memory_order_release);
    return 0;
}

void os_guard_lower(struct os_guard *guard)
{
    atomic_store_explicit(guard->raised, 0, memory_order_release);
}

void os_guard_close(struct os_guard *guard)
{
    if (guard->raised != NULL)
        munmap((void *)guard->raised, (size_t)sysconf(_SC_PAGESIZE));
    guard->raised = NULL;
}

bool os_guard_forked(const struct os_guard *guard)
{
    return guard->process != getpid();
}

int os_thread_start(pthread_t *thread, const char *name, const struct os_thread_options *options, void *(*run)(void *),
                    void *argument)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    if (options->stack_bytes != 0)
        error = pthread_attr_setstacksize(&attributes, options->stack_bytes);
    if (error == 0 && options->cpus != NULL) {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (size_t i = 0; i < options->cpu_count; i++)
            if (options->cpus[i] >= 0 && options->cpus[i] < CPU_SETSIZE)
                CPU_SET(options->cpus[i], &set);
        error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    if (error == 0)
        error = thread_start_blocked(thread, &attributes, run, argument);
    if (error == 0)
        pthread_setname_np(*thread, name);
    pthread_attr_destroy(&attributes);
    return error;
}

void *os_pages_get(size_t size)
{
    if (fault_strikes(FAULT_PAGES))
        return NULL;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void os_pages_put(void *pages, size_t size)
{
    munmap(pages, size);
}
