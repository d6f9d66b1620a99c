/* What every unit test starts with. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <broadcaster/broadcaster.h>

/* The call must have this status; what it said is shown if not. */
#define must_be(expected, call)                                                                                        \
    do {                                                                                                               \
        int test_status = (call);                                                                                      \
        if (test_status != (expected))                                                                                 \
            fail_msg("%s: status %d (%s: %s), not %d", #call, test_status, bcast_status_text(test_status),             \
                     bcast_error_text(), (int)(expected));                                                             \
    } while (0)
#define must(call) must_be(BCAST_OK, call)

/* Waits for a condition, not for a time: fails after 20 seconds. */
#define until(condition)                                                                                               \
    do {                                                                                                               \
        struct timespec test_start, test_now;                                                                          \
        clock_gettime(CLOCK_MONOTONIC, &test_start);                                                                   \
        while (!(condition)) {                                                                                         \
            sched_yield();                                                                                             \
            clock_gettime(CLOCK_MONOTONIC, &test_now);                                                                 \
            if (test_now.tv_sec - test_start.tv_sec > 20)                                                              \
                fail_msg("never happened: %s", #condition);                                                            \
        }                                                                                                              \
    } while (0)

static inline struct bcast *test_open(const char *url)
{
    struct bcast *b = NULL;
    must(bcast_open(url, NULL, &b));
    return b;
}

static inline struct bcast_sub *test_subscribe(struct bcast *b, const char *channel, enum bcast_policy policy,
                                               size_t limit_messages)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.policy = policy;
    options.limit_messages = limit_messages;
    must(bcast_subscribe(b, channel, &options, &sub));
    return sub;
}

static inline void test_publish(struct bcast *b, const char *channel, const char *text)
{
    must(bcast_publish(b, channel, text, strlen(text)));
}

/* The next event is a message with this text. */
static inline void test_expect(struct bcast_sub *sub, struct bcast_event *event, const char *text)
{
    must(bcast_next(sub, event, 20000));
    assert_int_equal(event->kind, BCAST_MESSAGE);
    assert_int_equal(event->size, strlen(text));
    assert_memory_equal(event->data, text, event->size);
}

static inline struct bcast_sub_stats test_stats(struct bcast_sub *sub)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    must(bcast_sub_stats(sub, &stats));
    return stats;
}

static inline void test_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    assert_int_equal(pthread_create(thread, NULL, run, argument), 0);
}

/* A thread that reads a subscription until it ends, and returns how many messages there were. */
static inline void *test_read_all(void *argument)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = argument;
    uintptr_t count = 0;
    while (bcast_next(sub, &event, BCAST_FOREVER) == BCAST_OK)
        count += event.kind == BCAST_MESSAGE;
    return (void *)count;
}

#endif
