/* How long events last: borrowed, kept, and when what they came from has ended. */
#include "test.h"

static void keep_outlives_everything(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event small = BCAST_EVENT_INIT, large = BCAST_EVENT_INIT;
    struct bcast_stats stats = bcast_stats_init();
    char *data = malloc(1 << 20);
    (void)state;
    memset(data, 'L', 1 << 20);
    test_publish(b, "x", "small");
    must(bcast_publish(b, "x", data, 1 << 20));
    test_expect(sub, &small, "small");
    must(bcast_next(sub, &large, 1000));
    must(bcast_keep(&small));
    must(bcast_keep(&small));
    must(bcast_keep(&large));
    must(bcast_stats(b, &stats));
    assert_in_range(stats.kept_bytes, 1 << 20, (1 << 20) + 1000);
    bcast_unsubscribe(sub);
    bcast_close(b);
    assert_memory_equal(small.data, "small", 5);
    assert_string_equal(small.channel, "x");
    assert_memory_equal(large.data, data, 1 << 20);
    bcast_release(&small);
    bcast_release(&large);
    bcast_release(&large);
    free(data);
}

static void keep_has_a_budget(void **state)
{
    struct bcast_options options = bcast_options_init();
    struct bcast *b;
    struct bcast_event events[2] = {BCAST_EVENT_INIT, BCAST_EVENT_INIT};
    static char data[1000];
    (void)state;
    options.keep_bytes = 1500;
    must(bcast_open("memory://", &options, &b));
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    for (int i = 0; i < 2; i++) {
        must(bcast_publish(b, "x", data, sizeof data));
        must(bcast_next(sub, &events[i], 0));
    }
    must(bcast_keep(&events[0]));
    must_be(BCAST_ERR_LIMIT, bcast_keep(&events[1]));
    assert_int_equal(events[1].size, 1000); /* it stays as it was */
    bcast_release(&events[0]);
    must(bcast_keep(&events[1]));
    bcast_release(&events[1]);
    bcast_unsubscribe(sub);
    bcast_close(b);
}
/* An event object that borrows when its subscription ends keeps what it borrows, and is as good as any other after. */
struct outlived {
    const char *text; /* NULL: a large message */
    bool shared, close_first;
};

#define LARGE (1u << 20)

static void publish_outlived(struct bcast *b, const struct outlived *how)
{
    if (how->text != NULL) {
        test_publish(b, "outlived", how->text);
        return;
    }
    char *large = malloc(LARGE);
    memset(large, 'x', LARGE);
    must(bcast_publish(b, "outlived", large, LARGE));
    free(large);
}

static void check_outlived(const struct bcast_event *event, const struct outlived *how)
{
    assert_string_equal(event->channel, "outlived");
    if (how->text != NULL) {
        assert_int_equal(event->size, strlen(how->text));
        assert_memory_equal(event->data, how->text, event->size);
    } else {
        assert_int_equal(event->size, LARGE);
        assert_int_equal(((const char *)event->data)[LARGE - 1], 'x');
    }
}

static void outlive(const struct outlived *how)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    struct bcast_event first = BCAST_EVENT_INIT, second = BCAST_EVENT_INIT;
    options.shared = how->shared;
    must(bcast_subscribe(b, "outlived", &options, &sub));
    publish_outlived(b, how);
    publish_outlived(b, how);
    must(bcast_next(sub, &first, 20000));
    must(bcast_next(sub, &second, 20000));
    bcast_unsubscribe(sub);
    check_outlived(&first, how);
    struct bcast *other = test_open("memory://");
    if (how->close_first)
        bcast_close(b);
    sub = test_subscribe(other, "other", BCAST_DROP_OLDEST, 0);
    test_publish(other, "other", "next");
    test_expect(sub, &first, "next"); /* which releases what it had */
    check_outlived(&second, how);
    bcast_release(&first);
    bcast_release(&second);
    bcast_unsubscribe(sub);
    if (!how->close_first)
        bcast_close(b);
    bcast_close(other);
}

static void events_outlive_subscriptions(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        outlive(&(struct outlived){(i & 1) != 0 ? NULL : "still there", (i & 2) != 0, (i & 4) != 0});
}

/* What is kept when everything it came from has ended already is kept as well as anything. */
static void keep_after_the_end(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const struct outlived how = {(i & 1) != 0 ? NULL : "still there", (i & 2) != 0, false};
        struct bcast *b = test_open("memory://");
        struct bcast_sub_options options = bcast_sub_options_init();
        struct bcast_event event = BCAST_EVENT_INIT;
        struct bcast_sub *sub;
        options.shared = how.shared;
        must(bcast_subscribe(b, "outlived", &options, &sub));
        publish_outlived(b, &how);
        must(bcast_next(sub, &event, 20000));
        bcast_unsubscribe(sub);
        bcast_close(b);
        must(bcast_keep(&event));
        check_outlived(&event, &how);
        bcast_release(&event);
    }
}

/* Events of many segments, released in any order after the end. */
static void many_events_outlive(void **state)
{
    (void)state;
    enum { EVENTS = 1000 };
    static struct bcast_event events[EVENTS];
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "many", BCAST_BLOCK, 64 * EVENTS);
    uint64_t data[32] = {0};
    for (uint64_t i = 0; i < EVENTS; i++) {
        data[0] = i;
        must(bcast_publish(b, "many", data, sizeof data));
        must(bcast_next(sub, &events[i], 20000));
    }
    bcast_unsubscribe(sub);
    bcast_close(b);
    for (uint64_t i = 0; i < EVENTS; i++) {
        struct bcast_event *event = &events[i * 7919 % EVENTS];
        assert_int_equal(*(const uint64_t *)event->data, i * 7919 % EVENTS);
        bcast_release(event);
    }
}

/* A channel that is removed while one of its events is out. */
static void events_outlive_their_channel(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct bcast *b = test_open("memory://");
        struct bcast_sub_options options = bcast_sub_options_init();
        struct bcast_sub *sub;
        struct bcast_event out = BCAST_EVENT_INIT, event = BCAST_EVENT_INIT;
        options.shared = shared;
        must(bcast_subscribe(b, "stays", &options, &sub));
        for (int i = 0; i < 100; i++) {
            must(bcast_add_channel(sub, "goes", 0));
            test_publish(b, "goes", "out");
            test_expect(sub, &out, "out");
            must(bcast_remove_channel(sub, "goes", 0));
            test_publish(b, "stays", "here");
            test_expect(sub, &event, "here");
            assert_memory_equal(out.data, "out", 3);
            assert_string_equal(out.channel, "goes");
        }
        bcast_release(&out);
        bcast_release(&event);
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_outlives_everything),     cmocka_unit_test(keep_has_a_budget),
        cmocka_unit_test(events_outlive_subscriptions), cmocka_unit_test(many_events_outlive),
        cmocka_unit_test(keep_after_the_end),           cmocka_unit_test(events_outlive_their_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
