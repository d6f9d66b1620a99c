#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "broadcaster/broadcaster.h"

/* Where a broadcast's log goes: the host program's callback, or nowhere. Copied freely; any thread may write to it. */
struct log {
    bcast_log_callback callback;
    void *context;
};

void log_write(const struct log *log, enum bcast_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
