/* What happens when a subscription is full: each policy, both limits. */
#include "test.h"

static void drop_oldest_counts(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 64);
    struct bcast_event event = BCAST_EVENT_INIT;
    uint64_t expected = 0, lost = 0;
    char text[16];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_publish(b, "x", text);
    }
    while (bcast_next(sub, &event, 0) == BCAST_OK)
        if (event.kind == BCAST_GAP) {
            assert_int_equal(event.reason, BCAST_GAP_OVERFLOW);
            assert_int_equal(event.count, BCAST_EXACT);
            assert_null(event.data);
            lost += event.lost;
            expected += event.lost;
            assert_int_equal(event.sequence, expected);
        } else {
            snprintf(text, sizeof text, "%d", (int)expected);
            assert_memory_equal(event.data, text, event.size);
            assert_int_equal(event.sequence, expected++);
        }
    assert_int_equal(expected, 1000);
    /* at least the limit was kept, and at most a segment (an eighth) at either end more */
    assert_in_range(lost, 1000 - 64 - 16, 1000 - 64);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void smaller_limit_beside_a_larger(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *large = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_sub *small = test_subscribe(b, "x", BCAST_DROP_OLDEST, 32);
    struct bcast_event event = BCAST_EVENT_INIT;
    int messages = 0, lost = 0;
    (void)state;
    for (int i = 0; i < 1000; i++)
        test_publish(b, "x", "x");
    while (bcast_next(small, &event, 0) == BCAST_OK)
        if (event.kind == BCAST_GAP)
            lost += (int)event.lost;
        else
            messages++;
    assert_int_equal(messages + lost, 1000);
    assert_in_range(messages, 32, 32 + 8);
    for (int i = 0; i < 1000; i++)
        test_expect(large, &event, "x");
    bcast_release(&event);
    bcast_unsubscribe(large);
    bcast_unsubscribe(small);
    bcast_close(b);
}

static void byte_limit(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    static char data[10000];
    int messages = 0, lost = 0;
    (void)state;
    options.limit_bytes = 100000;
    must(bcast_subscribe(b, "x", &options, &sub));
    for (int i = 0; i < 500; i++)
        must(bcast_publish(b, "x", data, sizeof data));
    while (bcast_next(sub, &event, 0) == BCAST_OK)
        if (event.kind == BCAST_GAP)
            lost += (int)event.lost;
        else
            messages++;
    assert_int_equal(messages + lost, 500);
    assert_in_range(messages, 10, 14);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void disconnect_policy(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DISCONNECT, 64);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    int status;
    (void)state;
    for (int i = 0; i < 1000; i++)
        test_publish(b, "x", "x");
    while ((status = bcast_next(sub, &event, 0)) == BCAST_OK)
        assert_int_equal(event.kind, BCAST_MESSAGE);
    assert_int_equal(status, BCAST_ERR_DISCONNECTED);
    must_be(BCAST_ERR_DISCONNECTED, bcast_next(sub, &event, 0));
    must(bcast_sub_stats(sub, &stats));
    assert_int_equal(stats.received + stats.discarded + stats.queued, 1000);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void block_waits_for_room(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 16);
    struct bcast_message message = bcast_message_init();
    pthread_t reader;
    void *count;
    int queued = 0;
    (void)state;
    message.channel = "x";
    message.timeout_ms = BCAST_NOWAIT;
    while (bcast_publish_message(b, &message) == BCAST_OK)
        queued++;
    assert_in_range(queued, 16, 16 + 2 + 2);
    message.timeout_ms = 5;
    must_be(BCAST_TIMEOUT, bcast_publish_message(b, &message));
    assert_int_equal(test_stats(sub).queued, queued);
    test_start(&reader, test_read_all, sub);
    message.timeout_ms = BCAST_FOREVER;
    for (int i = 0; i < 1000; i++)
        must(bcast_publish_message(b, &message));
    until(test_stats(sub).queued == 0);
    must(bcast_cancel(sub));
    pthread_join(reader, &count);
    assert_int_equal((uintptr_t)count, queued + 1000);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void publishing_to_oneself(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 4);
    struct bcast_event event = BCAST_EVENT_INIT;
    int status, published = 1;
    (void)state;
    test_publish(b, "x", "1");
    test_expect(sub, &event, "1"); /* now the library knows who reads it */
    while ((status = bcast_publish(b, "x", "y", 1)) == BCAST_OK)
        assert_in_range(++published, 1, 100);
    assert_int_equal(status, BCAST_ERR_WOULD_DEADLOCK);
    for (int i = 1; i < published; i++)
        test_expect(sub, &event, "y");
    test_publish(b, "x", "z");
    test_expect(sub, &event, "z");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

/* Everything was read, but the reader stands at the end of its segment and the next one is still empty. */
static void read_is_not_full(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 1), *other;
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_message message = bcast_message_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    static char data[100];
    (void)state;
    message.channel = "x";
    message.data = data;
    message.size = sizeof data;
    message.timeout_ms = BCAST_NOWAIT;
    must(bcast_publish_message(b, &message));
    must(bcast_next(sub, &event, 0));
    options.limit_bytes = 64; /* wants smaller segments: a new one is begun */
    must(bcast_subscribe(b, "x", &options, &other));
    must(bcast_publish_message(b, &message));
    must(bcast_next(sub, &event, 0));
    bcast_release(&event);
    bcast_unsubscribe(other);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void unsubscribe_frees_publishers(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 4);
    struct bcast_message message = bcast_message_init();
    (void)state;
    message.channel = "x";
    message.timeout_ms = BCAST_NOWAIT;
    while (bcast_publish_message(b, &message) == BCAST_OK)
        ;
    bcast_unsubscribe(sub);
    must(bcast_publish_message(b, &message));
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drop_oldest_counts),   cmocka_unit_test(smaller_limit_beside_a_larger),
        cmocka_unit_test(byte_limit),           cmocka_unit_test(disconnect_policy),
        cmocka_unit_test(block_waits_for_room), cmocka_unit_test(publishing_to_oneself),
        cmocka_unit_test(read_is_not_full),     cmocka_unit_test(unsubscribe_frees_publishers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
