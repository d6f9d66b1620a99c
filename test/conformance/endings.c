/* Endings: cancel, shut down, close, and time-outs. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

struct waiters {
    struct conf_reader *shared;
    struct bcast *b;
    const char *channel;
    _Atomic unsigned started, ended, accepted, results;
};

static void wait_for_event(struct conf_test *t, void *argument)
{
    struct waiters *w = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    w->started++;
    int status = bcast_next(w->shared->sub, &event, BCAST_FOREVER);
    bcast_release(&event);
    w->ended++;
    conf_status(t, BCAST_ERR_CLOSED, status, "bcast_next, which waited for ever when its subscription ended");
}

static struct waiters *start_waiters(struct conf_test *t, int count)
{
    struct waiters *w = conf_memory(t, sizeof *w);
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = 1;
    w->b = conf_open(t, NULL);
    w->channel = conf_name(t, "wait");
    w->shared = conf_subscribe(t, w->b, w->channel, &options);
    for (int i = 0; i < count; i++)
        conf_start(t, wait_for_event, w);
    UNTIL(t, w->started == (unsigned)count, "the threads start");
    return w;
}

static void cancel(struct conf_test *t)
{
    for (unsigned round = conf_scale(t, 100, 5); round-- > 0;) {
        struct waiters *w = start_waiters(t, 4);
        for (uint32_t yields = conf_random(&t->random) % 50; yields-- > 0;)
            sched_yield(); /* so that it sometimes finds them asleep; it must wake them wherever they are */
        MUST(t, bcast_cancel(w->shared->sub));
        conf_join(t);
        MUST_BE(t, BCAST_ERR_CLOSED, bcast_next(w->shared->sub, &w->shared->event, BCAST_NOWAIT));
        struct conf_reader *next = conf_subscribe(t, w->b, w->channel, NULL);
        conf_say(t, w->b, w->channel, "others go on");
        conf_hear(t, next, "others go on");
        conf_unsubscribe(t, next);
        conf_unsubscribe(t, w->shared);
        conf_close(t, w->b);
    }
}

static void count_result(void *context, int status)
{
    struct waiters *w = context;
    (void)status;
    w->results++;
}

static void keep_publishing(struct conf_test *t, void *argument)
{
    struct waiters *w = argument;
    struct bcast_message m = bcast_message_init();
    int status;
    m.channel = w->channel;
    m.data = "x";
    m.size = 1;
    m.on_result = count_result;
    m.context = w;
    while ((status = bcast_publish_message(w->b, &m)) == BCAST_OK) {
        w->accepted++;
        sched_yield();
    }
    w->ended++;
    conf_status(t, BCAST_ERR_CLOSED, status, "bcast_publish_message, when the broadcast was shut down");
}

static void keep_flushing(struct conf_test *t, void *argument)
{
    struct waiters *w = argument;
    int status;
    while ((status = bcast_flush(w->b, BCAST_FOREVER)) == BCAST_OK)
        sched_yield();
    w->ended++;
    CHECK(
        t, status == BCAST_ERR_CLOSED || status == BCAST_ERR_PUBLISH,
        "expected CLOSED from a flush when the broadcast was shut down, or PUBLISH for what had no result, got %d (%s)",
        status, bcast_status_text(status));
}

static void keep_subscribing(struct conf_test *t, void *argument)
{
    struct waiters *w = argument;
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    int status;
    options.timeout_ms = BCAST_FOREVER;
    while ((status = bcast_subscribe(w->b, w->channel, &options, &sub)) == BCAST_OK)
        bcast_unsubscribe(sub);
    w->ended++;
    conf_status(t, BCAST_ERR_CLOSED, status, "bcast_subscribe, when the broadcast was shut down");
}

static void shutdown_wakes(struct conf_test *t)
{
    for (unsigned round = conf_scale(t, 100, 5); round-- > 0;) {
        struct waiters *w = start_waiters(t, 1), *busy = conf_memory(t, sizeof *busy);
        busy->b = w->b;
        busy->channel = conf_name(t, "busy");
        conf_start(t, keep_publishing, busy);
        conf_start(t, keep_flushing, busy);
        conf_start(t, keep_subscribing, busy);
        for (uint32_t yields = conf_random(&t->random) % 50; yields-- > 0;)
            sched_yield();
        MUST(t, bcast_shutdown(w->b));
        UNTIL(t, w->ended == 1 && busy->ended == 3, "everything that waits is woken by a shutdown");
        conf_join(t);
        conf_unsubscribe(t, w->shared);
        conf_close(t, w->b);
        CHECK(t, busy->results == busy->accepted, "expected a result for each of %u messages, got %u results",
              busy->accepted, busy->results);
    }
}

static void after_shutdown(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "after");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct bcast_channel *handle = NULL;
    struct bcast_sub *sub = NULL;
    size_t count;
    MUST(t, bcast_shutdown(b));
    MUST(t, bcast_shutdown(b));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_publish(b, channel, "x", 1));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_flush(b, BCAST_FOREVER));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_subscribe(b, channel, NULL, &sub));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_channel(b, channel, 0, &handle));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_next(reader->sub, &reader->event, BCAST_FOREVER));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_next_batch(reader->sub, &reader->event, 1, &count, BCAST_FOREVER));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_add_channel(reader->sub, "another", 0));
}

/* Subscriptions and channel handles outlive their broadcast, and so does what was borrowed. */
static void after_close(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "outlive");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct bcast_channel *handle = NULL;
    MUST(t, bcast_channel(b, channel, 0, &handle));
    conf_say(t, b, channel, "borrowed");
    int status = bcast_next(reader->sub, &reader->event, t->with.deadline_ms);
    if (status == BCAST_OK)
        conf_close(t, b);
    int late = bcast_publish_to(handle, "x", 1);
    bcast_channel_free(handle);
    CHECK(t, status == BCAST_OK, "expected the message 'borrowed', got %d (%s) from bcast_next", status,
          bcast_status_text(status));
    conf_status(t, BCAST_ERR_CLOSED, late, "bcast_publish_to, after the broadcast was closed");
    CHECK(t, reader->event.size == 8 && memcmp(reader->event.data, "borrowed", 8) == 0,
          "expected an event to stay as it was when the broadcast is closed, got %s", conf_told(&reader->event));
    MUST_BE(t, BCAST_ERR_CLOSED, bcast_next(reader->sub, &reader->event, BCAST_FOREVER));
}

static void open_and_close(struct conf_test *t)
{
    const char *channel = conf_name(t, "short");
    for (unsigned round = conf_scale(t, 200, 10); round-- > 0;) {
        struct bcast *b = conf_open(t, NULL);
        struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
        for (uint32_t count = conf_random(&t->random) % 10; count-- > 0;)
            conf_say(t, b, channel, "unread");
        if (round % 2)
            conf_unsubscribe(t, reader);
        conf_close(t, b);
        if (round % 2 == 0)
            conf_unsubscribe(t, reader);
    }
}

static void timeouts(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    struct conf_reader *reader = conf_subscribe(t, b, conf_name(t, "late"), NULL);
    struct bcast_event *event = &reader->event; /* the test's: released also if something arrives */
    size_t count;
    MUST_BE(t, BCAST_TIMEOUT, bcast_next(reader->sub, event, 0));
    MUST_BE(t, BCAST_TIMEOUT, bcast_next(reader->sub, event, BCAST_NOWAIT));
    for (int ms = 10; ms <= 50; ms += 20) {
        int64_t began = conf_now_us();
        MUST_BE(t, BCAST_TIMEOUT, bcast_next(reader->sub, event, ms));
        int64_t took = conf_now_us() - began;
        CHECK(t, took >= ms * 1000, "expected bcast_next to wait %d ms, it gave up after %" PRId64 " us", ms, took);
        began = conf_now_us();
        MUST_BE(t, BCAST_TIMEOUT, bcast_next_batch(reader->sub, event, 1, &count, ms));
        took = conf_now_us() - began;
        CHECK(t, took >= ms * 1000, "expected bcast_next_batch to wait %d ms, it gave up after %" PRId64 " us", ms,
              took);
        CHECK(t, event->kind == 0 && event->data == NULL, "expected an empty event after a time-out, got %s",
              conf_told(event));
    }
}

const struct conf_case conf_endings[] = {
    {"cancel-wakes-everyone", cancel, 0, 0},
    {"shutdown-wakes-everyone", shutdown_wakes, 0, 0},
    {"use-after-shutdown", after_shutdown, 0, 0},
    {"use-after-close", after_close, 0, 0},
    {"open-and-close", open_and_close, 0, 0},
    {"time-outs", timeouts, 0, 0},
    {NULL, NULL, 0, 0},
};
