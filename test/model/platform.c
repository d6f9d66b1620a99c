/* What base/ is to the library, here: memory that is never used twice within a run, a clock that stands still, futexes
 * and thread numbers of the model. */
#include "model.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/os.h"
#include "base/thread.h"

static _Alignas(64) unsigned char arena[PLATFORM_BYTES];
static size_t used;
static struct {
    size_t at, size;
} blocks[4096];
static unsigned block_count;
struct memory_hooks memory_hooks;

void platform_reset(void)
{
    memset(arena, 0, used);
    used = 0;
    block_count = 0;
}

bool platform_owns(const void *place)
{
    return (const unsigned char *)place >= arena && (const unsigned char *)place < arena + PLATFORM_BYTES;
}

size_t platform_offset(const void *place)
{
    return (size_t)((const unsigned char *)place - arena);
}

void *memory_get(size_t size)
{
    size_t at = (used + 63) & ~(size_t)63;
    if (at + size + 64 > PLATFORM_BYTES || block_count == sizeof blocks / sizeof *blocks)
        model_fail("the model is too small: PLATFORM_BYTES");
    used = at + size;
    blocks[block_count].at = at;
    blocks[block_count++].size = size;
    memory_model_allocated(arena + at, size);
    return arena + at;
}

void memory_put(void *memory)
{
    if (memory == NULL)
        return;
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i].at == platform_offset(memory)) {
            memory_model_freed(memory, blocks[i].size);
            return;
        }
    model_fail("freed what was not allocated");
}

void *memory_get_block(size_t size)
{
    return memory_get(size);
}

void memory_put_block(void *block, size_t size)
{
    (void)size;
    memory_put(block);
}

int64_t clock_ns(void)
{
    return 1000000000;
}

int64_t clock_wall_us(void)
{
    return 1000000;
}

int64_t clock_deadline(int timeout_ms)
{
    if (timeout_ms == 0 || timeout_ms == -2)
        return 0;
    return timeout_ms < 0 ? OS_NEVER : clock_ns() + (int64_t)timeout_ms * 1000000;
}

uintptr_t thread_id(void)
{
    return model_self() + 1;
}

void os_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    (void)deadline_ns; /* a time-out must never be what saves a sleeper */
    model_point("wait", (const void *)word, true);
    if (memory_model_equals((const void *)word, expected))
        model_wait((const void *)word);
}

void os_wake(_Atomic uint32_t *word, int count)
{
    model_point("wake", (const void *)word, true);
    model_wake((const void *)word, count);
}

/* No fds here: bells are waited for by sleeping only. */
int os_event_open(struct os_event *event)
{
    event->read_fd = event->write_fd = -1;
    return 24;
}
void os_event_signal(const struct os_event *event)
{
    (void)event;
}
void os_event_drain(const struct os_event *event)
{
    (void)event;
}
void os_event_close(struct os_event *event)
{
    (void)event;
}
int os_thread_start(pthread_t *thread, const char *name, const struct os_thread_options *options, void *(*run)(void *),
                    void *argument)
{
    (void)thread, (void)name, (void)options, (void)run, (void)argument;
    return 11;
}

int os_guard_open(struct os_guard *guard)
{
    guard->raised = memory_get(sizeof *guard->raised);
    *(uint32_t *)(void *)guard->raised = 1;
    return 0;
}
void os_guard_lower(struct os_guard *guard)
{
    atomic_store_explicit(guard->raised, 0, memory_order_relaxed);
}
void os_guard_close(struct os_guard *guard)
{
    memory_put((void *)guard->raised);
}
bool os_guard_forked(const struct os_guard *guard)
{
    (void)guard;
    return false;
}

long model_read(int fd, void *to, size_t size);
long model_read(int fd, void *to, size_t size)
{
    (void)fd, (void)to, (void)size;
    return -1; /* no randomness: a run must be repeatable */
}
