#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void log_write(const struct log *log, enum bcast_log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (log->callback == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->callback(log->context, level, line);
}
