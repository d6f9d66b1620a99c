#include "options.h"

#include <string.h>

#include "base/error.h"

#define MIB ((size_t)1 << 20)

int options_copy(void *to, size_t known, const void *from, const char *what)
{
    size_t given = *(const size_t *)from;
    memset(to, 0, known);
    if (given < sizeof given || given > 65536)
        return error_set(BCAST_ERR_INVALID, "struct_size of %s is %zu: start with its _init function", what, given);
    memcpy(to, from, given < known ? given : known);
    return BCAST_OK;
}

int options_return(void *to, const void *from, size_t known, const char *what)
{
    size_t given = *(size_t *)to;
    if (given < sizeof given || given > 65536)
        return error_set(BCAST_ERR_INVALID, "struct_size of %s is %zu: start with its _init function", what, given);
    memcpy(to, from, given < known ? given : known);
    *(size_t *)to = given;
    return BCAST_OK;
}

static size_t or_default(size_t given, size_t usual)
{
    return given != 0 ? given : usual;
}

static bool bad_timeout(int timeout_ms)
{
    return timeout_ms < BCAST_NOWAIT;
}

int options_read(struct settings *settings, const struct bcast_options *options, struct bcast_options *copy)
{
    struct bcast_options none = bcast_options_init();
    int status = options_copy(copy, sizeof *copy, options != NULL ? options : &none, "struct bcast_options");
    if (status != BCAST_OK)
        return status;
    if (bad_timeout(copy->open_timeout_ms) || bad_timeout(copy->publish_timeout_ms))
        return error_set(BCAST_ERR_INVALID, "negative time-out in struct bcast_options: give milliseconds, "
                                            "BCAST_FOREVER or BCAST_NOWAIT");
    if (copy->queue_ms < 0)
        return error_set(BCAST_ERR_INVALID, "queue_ms is %d: give milliseconds, or 0 for no bound", copy->queue_ms);
    if (copy->max_message_bytes > 1024 * MIB)
        return error_set(BCAST_ERR_INVALID, "max_message_bytes is %zu, at most 1 GiB is possible",
                         copy->max_message_bytes);
    if (copy->thread_cpus != NULL && copy->thread_cpu_count == 0)
        return error_set(BCAST_ERR_INVALID, "thread_cpus without a thread_cpu_count: give both or none");
    *settings = (struct settings){
        .log = {copy->on_log, copy->log_context},
        .on_state = copy->on_state,
        .state_context = copy->state_context,
        .open_timeout_ms = copy->open_timeout_ms != 0 ? copy->open_timeout_ms : 10000,
        .publish_timeout_ms = copy->publish_timeout_ms != 0 ? copy->publish_timeout_ms : 5000,
        .max_message_bytes = or_default(copy->max_message_bytes, 64 * MIB),
        .keep_bytes = or_default(copy->keep_bytes, 64 * MIB),
        .queue_bytes = or_default(copy->queue_bytes, 64 * MIB),
        .queue_messages = or_default(copy->queue_messages, 65536),
        .queue_ms = copy->queue_ms,
        .threads = {copy->thread_stack_bytes, NULL, 0},
    };
    return BCAST_OK;
}

int options_read_sub(struct sub_settings *settings, const struct bcast_sub_options *options)
{
    static const enum cursor_policy policies[] = {CURSOR_DROP, CURSOR_BLOCK, CURSOR_DISCONNECT};
    struct bcast_sub_options none = bcast_sub_options_init(), copy;
    int status = options_copy(&copy, sizeof copy, options != NULL ? options : &none, "struct bcast_sub_options");
    if (status != BCAST_OK)
        return status;
    if ((unsigned)copy.policy > BCAST_DISCONNECT)
        return error_set(BCAST_ERR_INVALID, "policy %d: use BCAST_DROP_OLDEST, BCAST_BLOCK or BCAST_DISCONNECT",
                         (int)copy.policy);
    if (bad_timeout(copy.timeout_ms))
        return error_set(BCAST_ERR_INVALID, "negative time-out in struct bcast_sub_options: give milliseconds, "
                                            "BCAST_FOREVER or BCAST_NOWAIT");
    if (copy.resume != NULL && (copy.history != 0 || copy.since_us != 0))
        return error_set(BCAST_ERR_INVALID, "resume together with history or since_us: a position says it all");
    *settings = (struct sub_settings){
        .policy = policies[copy.policy],
        .shared = copy.shared != 0,
        .limits = {or_default(copy.limit_messages, 65536), or_default(copy.limit_bytes, 64 * MIB)},
        .timeout_ms = copy.timeout_ms != 0 ? copy.timeout_ms : 10000,
        .history = copy.history,
        .since_us = copy.since_us,
        .resume = copy.resume,
    };
    if (settings->history > settings->limits.messages)
        return error_set(BCAST_ERR_INVALID,
                         "history is %zu, but only %llu messages may wait unread: raise limit_messages", copy.history,
                         (unsigned long long)settings->limits.messages);
    return BCAST_OK;
}
