/* What the public calls promise, over memory://. */
#define _GNU_SOURCE
#include "test.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void publish_and_next(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "news", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    test_publish(b, "news", "one");
    test_publish(b, "other", "not for us");
    test_publish(b, "news", "two");
    test_expect(sub, &event, "one");
    assert_string_equal(event.channel, "news");
    assert_int_equal(event.channel_size, 4);
    assert_int_equal(event.sequence, 0);
    test_expect(sub, &event, "two");
    assert_int_equal(event.sequence, 1);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    assert_int_equal(event.kind, 0);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 5));
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void bytes_are_intact(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 63, 64, 4096, 70000, 131064, 131065, 131072, 1 << 20, 64 << 20};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    unsigned char *data = malloc(64 << 20);
    (void)state;
    for (size_t i = 0; i < 64 << 20; i++)
        data[i] = (unsigned char)(i * 7 + (i >> 11));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        must(bcast_publish(b, "x", data, sizes[i]));
        must(bcast_next(sub, &event, 20000));
        assert_int_equal(event.size, sizes[i]);
        assert_non_null(event.data);
        assert_int_equal((uintptr_t)event.data % 8, 0);
        assert_memory_equal(event.data, data, sizes[i]);
    }
    bcast_release(&event);
    must_be(BCAST_ERR_TOO_LARGE, bcast_publish(b, "x", data, (64 << 20) + 1));
    free(data);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void key_and_headers(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_header headers[2] = {{"type", "text/plain", 10}, {"empty", "", 0}}, got;
    struct bcast_message message = bcast_message_init();
    size_t size;
    (void)state;
    message.channel = "x";
    message.data = "body";
    message.size = 4;
    message.key = "k\0y";
    message.key_size = 3;
    message.headers = headers;
    message.header_count = 2;
    must(bcast_publish_message(b, &message));
    test_expect(sub, &event, "body");
    assert_memory_equal(bcast_event_key(&event, &size), "k\0y", 3);
    assert_int_equal(size, 3);
    assert_int_equal(bcast_event_header_count(&event), 2);
    must(bcast_event_header(&event, 0, &got));
    assert_string_equal(got.name, "type");
    assert_int_equal(got.value_size, 10);
    assert_memory_equal(got.value, "text/plain", 10);
    must(bcast_event_header(&event, 1, &got));
    assert_string_equal(got.name, "empty");
    assert_int_equal(got.value_size, 0);
    must_be(BCAST_ERR_NOT_FOUND, bcast_event_header(&event, 2, &got));
    assert_string_equal(bcast_event_id(&event), "");
    test_publish(b, "x", "plain");
    test_expect(sub, &event, "plain");
    assert_null(bcast_event_key(&event, &size));
    assert_int_equal(bcast_event_header_count(&event), 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void count_result(void *context, int status)
{
    ((int *)context)[status == BCAST_OK]++;
}

static void results_and_flush(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_message message = bcast_message_init();
    int results[2] = {0, 0};
    (void)state;
    message.channel = "x";
    message.on_result = count_result;
    message.context = results;
    must(bcast_publish_message(b, &message));
    must(bcast_flush(b, 0));
    assert_int_equal(results[1], 1);
    assert_int_equal(results[0], 0);
    bcast_close(b);
}

static void channel_handle(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_channel *channel;
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    must(bcast_channel(b, "a\0b", 3, &channel));
    must(bcast_publish_to(channel, "lost", 4)); /* nobody listens */
    struct bcast_sub *sub;
    const char *name = "a\0b";
    size_t size = 3;
    must(bcast_subscribe_many(b, &name, &size, 1, NULL, &sub));
    must(bcast_publish_to(channel, "kept", 4));
    test_expect(sub, &event, "kept");
    assert_int_equal(event.channel_size, 3);
    assert_memory_equal(event.channel, "a\0b", 4);
    bcast_close(b); /* handles outlive it, and say so */
    must_be(BCAST_ERR_CLOSED, bcast_publish_to(channel, "late", 4));
    must_be(BCAST_ERR_CLOSED, bcast_next(sub, &event, 1000));
    bcast_unsubscribe(sub);
    bcast_channel_free(channel);
}

static void batches(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 0);
    struct bcast_event events[10];
    size_t count, all = 0;
    char text[16];
    (void)state;
    memset(events, 0, sizeof events);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_publish(b, "x", text);
    }
    while (all < 100) {
        must(bcast_next_batch(sub, events, 10, &count, 1000));
        assert_in_range(count, 1, 10);
        for (size_t i = 0; i < count; i++, all++) {
            snprintf(text, sizeof text, "%zu", all);
            assert_int_equal(events[i].size, strlen(text));
            assert_memory_equal(events[i].data, text, strlen(text));
        }
    }
    must_be(BCAST_TIMEOUT, bcast_next_batch(sub, events, 10, &count, 0));
    assert_int_equal(count, 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(events[i].kind, 0);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void several_channels(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    int seen[3] = {0};
    (void)state;
    must(bcast_subscribe_many(b, names, NULL, 3, NULL, &sub));
    for (int i = 0; i < 30; i++)
        test_publish(b, names[i % 3], "x");
    for (int i = 0; i < 30; i++) {
        must(bcast_next(sub, &event, 1000));
        seen[event.channel[0] - 'a']++;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(seen[i], 10);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    must_be(BCAST_ERR_EXISTS, bcast_add_channel(sub, "a", 0));
    must_be(BCAST_ERR_NOT_FOUND, bcast_remove_channel(sub, "d", 0));
    must(bcast_add_channel(sub, "d", 0));
    test_publish(b, "d", "from d");
    test_expect(sub, &event, "from d");
    test_publish(b, "a", "unread");
    must(bcast_remove_channel(sub, "a", 0));
    test_publish(b, "b", "from b");
    test_expect(sub, &event, "from b");
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    must(bcast_add_channel(sub, "a", 0));
    test_publish(b, "a", "again");
    test_expect(sub, &event, "again");
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    must(bcast_sub_stats(sub, &stats));
    assert_int_equal(stats.channels, 4);
    assert_int_equal(stats.discarded, 1);
    assert_int_equal(stats.received, 33);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void all_or_nothing(void **state)
{
    const char *names[] = {"a", "", "c"}, *twice[] = {"a", "b", "a"};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub;
    struct bcast_stats stats = bcast_stats_init();
    (void)state;
    must_be(BCAST_ERR_INVALID, bcast_subscribe_many(b, names, NULL, 3, NULL, &sub));
    assert_null(sub);
    must_be(BCAST_ERR_EXISTS, bcast_subscribe_many(b, twice, NULL, 3, NULL, &sub));
    must(bcast_stats(b, &stats));
    assert_int_equal(stats.channels, 0);
    assert_int_equal(stats.subscriptions, 0);
    bcast_close(b);
}

/* ------------------------------------------------------------------------------------------------- waking, ending -- */

static void *next_status(void *argument)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    int status = bcast_next(argument, &event, BCAST_FOREVER);
    bcast_release(&event);
    return (void *)(intptr_t)status;
}

static void cancel_wakes(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    pthread_t threads[4];
    void *status;
    (void)state;
    options.shared = 1;
    must(bcast_subscribe(b, "x", &options, &sub));
    for (int i = 0; i < 4; i++)
        test_start(&threads[i], next_status, sub);
    must(bcast_cancel(sub));
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, BCAST_ERR_CLOSED);
    }
    must_be(BCAST_ERR_CLOSED, bcast_next(sub, &event, 0));
    must_be(BCAST_ERR_CLOSED, bcast_add_channel(sub, "y", 0));
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void *publish_status(void *argument)
{
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.timeout_ms = BCAST_FOREVER;
    int status;
    while ((status = bcast_publish_message(argument, &message)) == BCAST_OK)
        ;
    return (void *)(intptr_t)status;
}

static void shutdown_wakes(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *full = test_subscribe(b, "x", BCAST_BLOCK, 4);
    struct bcast_sub *empty = test_subscribe(b, "y", BCAST_DROP_OLDEST, 4), *none;
    struct bcast_event event = BCAST_EVENT_INIT;
    pthread_t publisher, reader;
    void *status;
    (void)state;
    test_start(&publisher, publish_status, b);
    test_start(&reader, next_status, empty);
    must(bcast_shutdown(b));
    must(bcast_shutdown(b));
    pthread_join(publisher, &status);
    assert_int_equal((intptr_t)status, BCAST_ERR_CLOSED);
    pthread_join(reader, &status);
    assert_int_equal((intptr_t)status, BCAST_ERR_CLOSED);
    must_be(BCAST_ERR_CLOSED, bcast_publish(b, "x", "", 0));
    must_be(BCAST_ERR_CLOSED, bcast_subscribe(b, "x", NULL, &none));
    must_be(BCAST_ERR_CLOSED, bcast_flush(b, 0));
    must_be(BCAST_ERR_CLOSED, bcast_next(full, &event, 0));
    bcast_unsubscribe(full);
    bcast_unsubscribe(empty);
    bcast_close(b);
}

static void named_is_shared(void **state)
{
    struct bcast *one = test_open("memory://here"), *two = test_open("memory://here");
    struct bcast *other = test_open("memory://there"), *private = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(one, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    test_publish(other, "x", "no");
    test_publish(private, "x", "no");
    test_publish(two, "x", "yes");
    test_expect(sub, &event, "yes");
    bcast_close(two);
    test_publish(one, "x", "still");
    test_expect(sub, &event, "still");
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_unsubscribe(sub);
    bcast_close(one);
    bcast_close(other);
    bcast_close(private);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, timeout_ms) == 1;
}

static void pollable(void **state)
{
    static const char *const names[] = {"a", "b"};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    for (size_t count = 1; count <= 2; count++) {
        must(bcast_subscribe_many(b, names, NULL, count, NULL, &sub));
        int fd = bcast_fd(sub);
        assert_true(fd >= 0);
        assert_int_equal(bcast_fd(sub), fd);
        must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
        assert_false(readable(fd, 0));
        for (int i = 0; i < 50; i++) {
            test_publish(b, names[i % count], "x");
            test_publish(b, names[0], "x");
            assert_true(readable(fd, 20000));
            test_expect(sub, &event, "x");
            assert_true(readable(fd, 0));
            test_expect(sub, &event, "x");
            must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
            assert_false(readable(fd, 0));
        }
        must(bcast_cancel(sub));
        assert_true(readable(fd, 0));
        bcast_unsubscribe(sub);
    }
    bcast_close(b);
}

static void *cancels(void *sub)
{
    must(bcast_cancel(sub));
    return NULL;
}

/* The end comes while the reader looks and arms the fd: it must not get lost in between. */
static void poll_sees_every_end(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    pthread_t thread;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        must(bcast_subscribe(b, "x", NULL, &sub));
        int fd = bcast_fd(sub), status;
        assert_int_equal(pthread_create(&thread, NULL, cancels, sub), 0);
        while ((status = bcast_next(sub, &event, BCAST_NOWAIT)) == BCAST_TIMEOUT)
            assert_true(readable(fd, 20000));
        must_be(BCAST_ERR_CLOSED, status);
        pthread_join(thread, NULL);
        bcast_unsubscribe(sub);
    }
    bcast_close(b);
}

/* Many fds on one channel: the publisher signals one, the notifier the others. */
static void many_pollable(void **state)
{
    enum { COUNT = 40 };
    struct bcast *b = test_open("memory://");
    struct bcast_sub *subs[COUNT];
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        subs[i] = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
        assert_true(bcast_fd(subs[i]) >= 0);
        must_be(BCAST_TIMEOUT, bcast_next(subs[i], &event, 0));
    }
    for (int round = 0; round < 20; round++) {
        test_publish(b, "x", "x");
        for (int i = 0; i < COUNT; i++) {
            assert_true(readable(bcast_fd(subs[i]), 20000));
            test_expect(subs[i], &event, "x");
            must_be(BCAST_TIMEOUT, bcast_next(subs[i], &event, 0));
        }
    }
    for (int i = 0; i < COUNT; i++)
        bcast_unsubscribe(subs[i]);
    bcast_close(b);
}

/* --------------------------------------------------------------------------------------------------------- share -- */

static void *next_unless_busy(void *argument)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    do
        status = bcast_next(argument, &event, BCAST_FOREVER);
    while (status == BCAST_ERR_BUSY);
    return (void *)(intptr_t)status;
}

static void two_threads_in_one(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    pthread_t other;
    int status;
    (void)state;
    test_start(&other, next_unless_busy, sub);
    until((status = bcast_next(sub, &event, 0)) != BCAST_TIMEOUT);
    assert_int_equal(status, BCAST_ERR_BUSY);
    must(bcast_cancel(sub));
    pthread_join(other, NULL);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void workers_split(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    pthread_t threads[4];
    void *count;
    uintptr_t all = 0;
    (void)state;
    options.shared = 1;
    options.policy = BCAST_BLOCK;
    must(bcast_subscribe(b, "x", &options, &sub));
    for (int i = 0; i < 4; i++)
        test_start(&threads[i], test_read_all, sub);
    for (int i = 0; i < 10000; i++)
        test_publish(b, "x", "x");
    until(test_stats(sub).received == 10000);
    must(bcast_cancel(sub));
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &count);
        all += (uintptr_t)count;
    }
    assert_int_equal(all, 10000);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

/* ------------------------------------------------------------------------------------------------ around the calls -- */

static void states_and_capabilities(void **state);

static _Atomic int states_seen;

static void on_state(void *context, enum bcast_state to, int status, const char *reason)
{
    assert_ptr_equal(context, &states_seen);
    assert_int_equal(status, BCAST_OK);
    assert_non_null(reason);
    states_seen = states_seen * 10 + (int)to + 1;
}

static void states_and_capabilities(void **state)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_capabilities can = bcast_capabilities_init();
    struct bcast *b;
    (void)state;
    options.on_state = on_state;
    options.state_context = &states_seen;
    must(bcast_open("memory://", &options, &b));
    assert_int_equal(states_seen, 12);
    must(bcast_capabilities(b, &can));
    assert_true(can.can & BCAST_CAN_BLOCK);
    assert_false(can.can & BCAST_CAN_PROCESSES);
    assert_int_equal(can.max_message_bytes, 64 << 20);
    assert_int_equal(can.max_channel_bytes, 4096);
    bcast_close(b);
    assert_int_equal(states_seen, 124);
    assert_string_equal(bcast_version(), "0.1.0");
}

static void older_programs_still_work(void **state)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_stats stats = bcast_stats_init();
    struct bcast *b;
    (void)state;
    options.struct_size = offsetof(struct bcast_options, open_timeout_ms);
    options.open_timeout_ms = -77; /* beyond what the old program knew: not read */
    must(bcast_open("memory://", &options, &b));
    stats.struct_size = offsetof(struct bcast_stats, published);
    stats.published = 12345;
    must(bcast_stats(b, &stats));
    assert_int_equal(stats.published, 12345);
    bcast_close(b);
}

static void statistics(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_stats stats = bcast_stats_init();
    (void)state;
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    for (int i = 0; i < 10; i++) {
        test_publish(b, "x", "x");
        test_publish(b, "nobody", "x");
    }
    must(bcast_stats(b, &stats));
    assert_int_equal(stats.published, 20);
    assert_int_equal(stats.channels, 1);
    assert_int_equal(stats.subscriptions, 1);
    bcast_unsubscribe(sub);
    must(bcast_stats(b, &stats));
    assert_int_equal(stats.published, 20);
    assert_int_equal(stats.channels, 0);
    assert_int_equal(stats.subscriptions, 0);
    bcast_close(b);
}

static void in_a_forked_child(struct bcast *b, struct bcast_sub *sub, struct bcast_channel *channel)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *none;
    struct bcast *fresh;
    int good = bcast_publish(b, "x", "", 0) == BCAST_ERR_FORKED &&
               bcast_publish_to(channel, "", 0) == BCAST_ERR_FORKED &&
               bcast_next(sub, &event, 1000) == BCAST_ERR_FORKED && bcast_shutdown(b) == BCAST_ERR_FORKED &&
               bcast_subscribe(b, "x", NULL, &none) == BCAST_ERR_FORKED && bcast_fd(sub) == BCAST_ERR_FORKED &&
               bcast_add_channel(sub, "y", 0) == BCAST_ERR_FORKED && bcast_flush(b, 0) == BCAST_ERR_FORKED;
    bcast_unsubscribe(sub);
    bcast_channel_free(channel);
    bcast_close(b);
    good = good && bcast_open("memory://shared", NULL, &fresh) == BCAST_OK; /* not the parent's */
    if (good) {
        good = bcast_publish(fresh, "x", "", 0) == BCAST_OK;
        bcast_close(fresh);
    }
    _exit(good ? 0 : 1);
}

static void fork_is_clear(void **state)
{
    struct bcast *b = test_open("memory://shared");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_channel *channel;
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    (void)state;
    must(bcast_channel(b, "x", 0, &channel));
    test_publish(b, "x", "before");
    pid_t child = fork();
    if (child == 0)
        in_a_forked_child(b, sub, channel);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    test_expect(sub, &event, "before");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_channel_free(channel);
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_and_next),
        cmocka_unit_test(bytes_are_intact),
        cmocka_unit_test(key_and_headers),
        cmocka_unit_test(results_and_flush),
        cmocka_unit_test(channel_handle),
        cmocka_unit_test(batches),
        cmocka_unit_test(several_channels),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(cancel_wakes),
        cmocka_unit_test(shutdown_wakes),
        cmocka_unit_test(named_is_shared),
        cmocka_unit_test(pollable),
        cmocka_unit_test(poll_sees_every_end),
        cmocka_unit_test(many_pollable),
        cmocka_unit_test(two_threads_in_one),
        cmocka_unit_test(workers_split),
        cmocka_unit_test(states_and_capabilities),
        cmocka_unit_test(older_programs_still_work),
        cmocka_unit_test(statistics),
        cmocka_unit_test(fork_is_clear),
    };
    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
