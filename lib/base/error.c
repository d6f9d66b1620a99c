#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "broadcaster/broadcaster.h"

static _Thread_local char text[512];

int error_set(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return status;
}

const char *bcast_error_text(void)
{
    return text;
}

const char *bcast_status_text(int status)
{
    switch (status) {
    case BCAST_OK: return "good";
    case BCAST_TIMEOUT: return "timed out";
    case BCAST_ERR_INVALID: return "invalid argument";
    case BCAST_ERR_NOMEM: return "out of memory or other resources";
    case BCAST_ERR_CLOSED: return "closed";
    case BCAST_ERR_FORKED: return "the handle belongs to the parent process";
    case BCAST_ERR_BUSY: return "the subscription is in use by another thread";
    case BCAST_ERR_URL: return "malformed URL";
    case BCAST_ERR_SCHEME: return "unknown URL scheme";
    case BCAST_ERR_MODULE: return "backend module missing";
    case BCAST_ERR_UNSUPPORTED: return "not supported by this backend";
    case BCAST_ERR_TOO_LARGE: return "too large";
    case BCAST_ERR_LIMIT: return "budget spent";
    case BCAST_ERR_WOULD_DEADLOCK: return "would wait for itself";
    case BCAST_ERR_DISCONNECTED: return "disconnected after an overflow";
    case BCAST_ERR_NOT_FOUND: return "not found";
    case BCAST_ERR_EXISTS: return "exists already";
    case BCAST_ERR_CONNECT: return "cannot connect";
    case BCAST_ERR_REFUSED: return "refused by the broker";
    case BCAST_ERR_PUBLISH: return "some messages were not confirmed";
    case BCAST_ERR_UNKNOWN: return "fate unknown";
    case BCAST_ERR_BACKEND: return "backend error";
    default: return "unknown status";
    }
}
