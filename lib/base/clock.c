#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"

#include <time.h>

#include "base/os.h"
#include "broadcaster/broadcaster.h"

static int64_t nanoseconds(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_ns(void)
{
    return nanoseconds(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return nanoseconds(CLOCK_REALTIME) / 1000;
}

int64_t clock_deadline(int timeout_ms)
{
    if (timeout_ms == 0 || timeout_ms == BCAST_NOWAIT)
        return 0;
    if (timeout_ms < 0)
        return OS_NEVER;
    return clock_ns() + (int64_t)timeout_ms * 1000000;
}
