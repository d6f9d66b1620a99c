/* What differs between systems, and nothing else. os_linux.c has the fast way, os_posix.c a portable one; exactly one
 * of them is built. Knows libc only. */
#ifndef BASE_OS_H
#define BASE_OS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sleeps while *word == expected, until woken or until deadline_ns (clock_ns(), OS_NEVER: none). May return without
 * reason; the caller looks again. Any thread. */
#define OS_NEVER INT64_MAX
void os_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
/* Wakes up to `count` threads that sleep on `word`. Never touches *word, so the memory may already be gone. */
void os_wake(_Atomic uint32_t *word, int count);

/* A pollable event: readable from os_event_signal until os_event_drain. `fds` of -1 mean none. */
struct os_event {
    int read_fd, write_fd;
    int64_t process; /* that opened it: a forked child must not signal its parent */
};
int os_event_open(struct os_event *event); /* 0 or errno */
/* The next two do nothing in a forked child. */
void os_event_signal(const struct os_event *event);
void os_event_drain(const struct os_event *event);
void os_event_close(struct os_event *event);

/* A flag that reads false once it was lowered, and in every process forked after it was made. */
struct os_guard {
    _Atomic uint32_t *raised;
    int64_t process;
};
int os_guard_open(struct os_guard *guard); /* raised; 0 or errno */
void os_guard_lower(struct os_guard *guard);
void os_guard_close(struct os_guard *guard);
bool os_guard_forked(const struct os_guard *guard); /* is this another process than the one that made it? Slow */

#ifdef OS_GUARD_BY_PID
bool os_guard_raised(const struct os_guard *guard);
#else
/* One load of a line that is written once in its life. */
static inline bool os_guard_raised(const struct os_guard *guard)
{
    return atomic_load_explicit(guard->raised, memory_order_relaxed) != 0;
}
#endif

/* Starts a thread that blocks all signals and carries `name` (at most 15 bytes). 0 or errno. */
struct os_thread_options {
    size_t stack_bytes; /* 0: the system's default */
    const int *cpus;    /* NULL: all */
    size_t cpu_count;
};
int os_thread_start(pthread_t *thread, const char *name, const struct os_thread_options *options, void *(*run)(void *),
                    void *argument);

/* Zeroed memory from the system that goes back to it when freed: for what is too big to leave in the heap. */
void *os_pages_get(size_t size);
void os_pages_put(void *pages, size_t size);

#endif
