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
static unsigned block_count, freed_count;
static int64_t now_ns;  /* 0: it stands still */
static uint32_t fds[8]; /* an fd is a word, 1 while it is readable */
static int fd_count;
struct memory_hooks memory_hooks;

void platform_reset(void)
{
    memset(arena, 0, used);
    used = 0;
    block_count = freed_count = 0;
    memset(fds, 0, sizeof fds);
    fd_count = 0;
    now_ns = 0;
}

bool platform_owns(const void *place)
{
    return (const unsigned char *)place >= arena && (const unsigned char *)place < arena + PLATFORM_BYTES;
}

size_t platform_offset(const void *place)
{
    return (size_t)((const unsigned char *)place - arena);
}

uint64_t platform_content(void)
{
    uint64_t a = used, b = memory_model_freed_blocks();
    for (size_t at = 0; at < used; at += 16) { /* what is behind the last block is 0 */
        uint64_t words[2];
        memcpy(words, arena + at, sizeof words);
        a = (a ^ words[0]) * UINT64_C(0x9e3779b97f4a7c15);
        b = (b ^ words[1]) * UINT64_C(0xbf58476d1ce4e5b9);
        a ^= a >> 29;
        b ^= b >> 31;
    }
    return model_mix(a, b);
}

size_t platform_blocks(void)
{
    return block_count - freed_count;
}

void *platform_get(size_t size)
{
    size_t at = (used + 63) & ~(size_t)63;
    if (at + size + 64 > PLATFORM_BYTES)
        model_fail("the model is too small: PLATFORM_BYTES");
    used = at + size;
    memory_model_allocated(arena + at, size);
    return arena + at;
}

void *memory_get(size_t size)
{
    unsigned char *memory = platform_get(size);
    if (block_count == sizeof blocks / sizeof *blocks)
        model_fail("the model is too small: blocks");
    blocks[block_count].at = platform_offset(memory);
    blocks[block_count++].size = size;
    return memory;
}

void memory_put(void *memory)
{
    if (memory == NULL)
        return;
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i].at == platform_offset(memory)) {
            memory_model_freed(memory, blocks[i].size);
            freed_count++;
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

/* It stands still, or it goes on by a third of a second with every look. */
int64_t clock_ns(void)
{
    if (now_ns == 0)
        return 1000000000;
    memory_model_touched(&now_ns);
    return now_ns += 333000000;
}

void model_time_passes(void)
{
    now_ns = 1000000000;
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
    /* A time-out must never be what saves a sleeper; but where time passes it may come first. */
    model_point("wait", (const void *)word, true, true);
    memory_model_touched((const void *)word);
    if (!memory_model_equals((const void *)word, expected))
        return;
    if (now_ns != 0 && deadline_ns != OS_NEVER && model_choose(2) == 0)
        model_yield();
    else
        model_wait((const void *)word);
}

void os_wake(_Atomic uint32_t *word, int count)
{
    model_point("wake", (const void *)word, true, true);
    memory_model_touched((const void *)word);
    model_wake((const void *)word, count);
}

int os_event_open(struct os_event *event)
{
    if (fd_count == (int)(sizeof fds / sizeof *fds))
        model_fail("the model is too small: fds");
    event->read_fd = event->write_fd = fd_count++;
    return 0;
}
void os_event_signal(const struct os_event *event)
{
    memory_model_exchange(&fds[event->write_fd], 1);
    memory_model_touched(&fds[event->write_fd]);
    model_wake(&fds[event->write_fd], 1000);
}
void os_event_drain(const struct os_event *event)
{
    memory_model_exchange(&fds[event->read_fd], 0);
}
void os_event_close(struct os_event *event)
{
    if (event->read_fd >= 0)
        memory_model_exchange(&fds[event->read_fd], 2);
    event->read_fd = event->write_fd = -1;
}

void model_poll(int fd)
{
    for (;;) {
        model_point("poll", &fds[fd], true, true);
        memory_model_touched(&fds[fd]);
        if (memory_model_equals(&fds[fd], 1))
            return;
        model_wait(&fds[fd]);
    }
}

int os_thread_start(pthread_t *thread, const char *name, const struct os_thread_options *options, void *(*run)(void *),
                    void *argument)
{
    (void)name, (void)options;
    *thread = model_start(run, argument);
    return 0;
}

int model_pthread_join(pthread_t thread, void **result);
int model_pthread_join(pthread_t thread, void **result)
{
    (void)result;
    model_join((unsigned)thread);
    return 0;
}
int model_pthread_detach(pthread_t thread);
int model_pthread_detach(pthread_t thread)
{
    (void)thread;
    return 0;
}
pthread_t model_pthread_self(void);
pthread_t model_pthread_self(void)
{
    return model_self();
}

int os_guard_open(struct os_guard *guard)
{
    guard->raised = memory_get(sizeof *guard->raised);
    *(uint32_t *)(void *)guard->raised = 1;
    return 0;
}
void os_guard_lower(struct os_guard *guard)
{
    memory_model_exchange((void *)guard->raised, 0);
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
