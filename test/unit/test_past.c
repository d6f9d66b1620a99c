/* Subscriptions over a broker that keeps messages: those that begin in the past, and blocking ones that others overtake. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include "../conformance/log.h"

#define PATIENCE_MS 20000

static void *test_memory(size_t size)
{
    void *memory = calloc(1, size);
    assert_non_null(memory);
    return memory;
}

struct scene {
    struct log_broker *broker;
    struct bcast *b, *other; /* two connections: two parts of each channel */
};

static struct bcast *connect_to(struct log_broker *broker)
{
    struct bcast *b = NULL;
    must(log_open(broker, NULL, &b));
    return b;
}

static int set_up(void **state)
{
    struct scene *s = test_memory(sizeof *s);
    s->broker = log_broker_new(1000000);
    s->b = connect_to(s->broker);
    s->other = connect_to(s->broker);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    bcast_close(s->b);
    bcast_close(s->other);
    log_broker_free(s->broker);
    free(s);
    return 0;
}

static void publish_range(struct bcast *b, const char *channel, unsigned from, unsigned to)
{
    for (; from < to; from++)
        must(bcast_publish(b, channel, &from, sizeof from));
    must(bcast_flush(b, PATIENCE_MS));
}

static unsigned number_in(const struct bcast_event *event)
{
    unsigned number;
    assert_int_equal(event->kind, BCAST_MESSAGE);
    assert_int_equal(event->size, sizeof number);
    memcpy(&number, event->data, sizeof number);
    return number;
}

static void expect_range(struct bcast_sub *sub, unsigned from, unsigned to)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    for (; from < to; from++) {
        must(bcast_next(sub, &event, PATIENCE_MS));
        assert_int_equal(number_in(&event), from);
    }
    bcast_release(&event);
}

static void expect_gap(struct bcast_sub *sub, uint64_t lost)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    must(bcast_next(sub, &event, PATIENCE_MS));
    assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(event.reason, BCAST_GAP_TRIMMED);
    assert_int_equal(event.count, BCAST_EXACT);
    assert_int_equal(event.lost, lost);
    assert_string_equal(event.channel, "x");
    bcast_release(&event);
}

static struct bcast_sub *subscribe(struct bcast *b, enum bcast_policy policy, size_t limit, size_t history)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.policy = policy;
    options.limit_messages = limit;
    options.history = history;
    must(bcast_subscribe(b, "x", &options, &sub));
    return sub;
}

static char *position_of(struct bcast_sub *sub)
{
    size_t length = 0;
    must_be(BCAST_ERR_TOO_LARGE, bcast_position(sub, NULL, 0, &length));
    char *text = test_memory(length + 1);
    must(bcast_position(sub, text, length + 1, NULL));
    return text;
}

static struct bcast_sub *resume(struct bcast *b, const char *position)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.resume = position;
    must(bcast_subscribe(b, "x", &options, &sub));
    return sub;
}

/* ------------------------------------------------------------------------------------------------------- the past -- */

static void begins_in_the_past(void **state)
{
    struct scene *s = *state;
    publish_range(s->other, "x", 0, 5000);
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 3000);
    publish_range(s->other, "x", 5000, 5100);
    expect_range(sub, 2000, 5100);
    publish_range(s->other, "x", 5100, 5200);
    expect_range(sub, 5100, 5200);
    struct bcast_sub_stats stats = test_stats(sub);
    assert_int_equal(stats.received, 3200);
    assert_int_equal(stats.channels, 1);
    assert_int_equal(stats.lost, 0);
    bcast_unsubscribe(sub);
}

static void since(void **state)
{
    struct scene *s = *state;
    struct bcast_event event = BCAST_EVENT_INIT;
    publish_range(s->other, "x", 0, 100);
    struct bcast_sub *all = subscribe(s->b, BCAST_DROP_OLDEST, 0, 1000);
    expect_range(all, 0, 40);
    must(bcast_next(all, &event, PATIENCE_MS));
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.since_us = event.timestamp_us;
    bcast_release(&event);
    must(bcast_subscribe(s->b, "x", &options, &sub));
    expect_range(sub, 40, 100);
    options.history = 5;
    bcast_unsubscribe(sub);
    must(bcast_subscribe(s->b, "x", &options, &sub));
    expect_range(sub, 95, 100);
    bcast_unsubscribe(sub);
    options.history = 1000;
    must(bcast_subscribe(s->b, "x", &options, &sub));
    expect_range(sub, 40, 100);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(all);
}

/* The reader is not the one that holds back the broker: it has a limit of ten. */
static void little_room(void **state)
{
    struct scene *s = *state;
    publish_range(s->other, "x", 0, 500);
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL;
    options.limit_messages = 10;
    options.policy = BCAST_BLOCK;
    options.since_us = 1;
    must(bcast_subscribe(s->b, "x", &options, &sub));
    publish_range(s->other, "x", 500, 520);
    expect_range(sub, 0, 520);
    bcast_unsubscribe(sub);
}

static void position_anywhere(void **state)
{
    struct scene *s = *state;
    publish_range(s->other, "x", 0, 100);
    publish_range(s->b, "x", 100, 200); /* the other part */
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 150);
    char *at_first = position_of(sub);
    expect_range(sub, 50, 120);
    char *amid = position_of(sub);
    expect_range(sub, 120, 200);
    publish_range(s->other, "x", 200, 300);
    char *before_new = position_of(sub);
    expect_range(sub, 200, 250);
    char *late = position_of(sub);
    bcast_unsubscribe(sub);
    const struct {
        const char *position;
        unsigned from;
    } places[] = {{at_first, 50}, {amid, 120}, {before_new, 200}, {late, 250}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct bcast_sub *again = resume(s->other, places[i].position);
        expect_range(again, places[i].from, 300);
        bcast_unsubscribe(again);
    }
    free(at_first);
    free(amid);
    free(before_new);
    free(late);
}

/* A subscription that has not heard anything yet stands behind what was there before it. */
static void position_of_nothing(void **state)
{
    struct scene *s = *state;
    publish_range(s->other, "x", 0, 10);
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0),
                     *second = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    char *first = position_of(sub), *same = position_of(second);
    assert_string_equal(first, same);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(second);
    publish_range(s->b, "x", 10, 20);
    sub = resume(s->other, first);
    expect_range(sub, 10, 20);
    bcast_unsubscribe(sub);
    free(first);
    free(same);
}

static void trimmed_before(void **state)
{
    struct scene *s = *state;
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    publish_range(s->other, "x", 0, 100);
    expect_range(sub, 0, 10);
    char *position = position_of(sub);
    bcast_unsubscribe(sub);
    log_trim(s->broker, "x", 30);
    sub = resume(s->b, position);
    expect_gap(sub, 60);
    expect_range(sub, 70, 100);
    publish_range(s->other, "x", 100, 110);
    expect_range(sub, 100, 110);
    bcast_unsubscribe(sub);
    free(position);
}

/* What is fetched may be ahead of what the channel's ring has been given: then it comes again, and is left out. */
static void past_is_ahead(void **state)
{
    struct scene *s = *state;
    struct bcast_sub *first = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    log_lag(s->broker, 30);
    publish_range(s->other, "x", 0, 60);
    publish_range(s->b, "x", 60, 100); /* the other part */
    expect_range(first, 0, 70);
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 1000);
    expect_range(sub, 0, 100);
    log_lag(s->broker, 0);
    publish_range(s->other, "x", 100, 110);
    expect_range(sub, 100, 110);
    expect_range(first, 70, 110);
    assert_int_equal(test_stats(sub).received, 110);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(first);
}

static void cut_again_and_again(void **state)
{
    struct scene *s = *state;
    publish_range(s->other, "x", 0, 3000);
    log_cut_fetches(s->broker, 700);
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 3000);
    expect_range(sub, 0, 3000);
    log_cut_fetches(s->broker, 0);
    publish_range(s->other, "x", 3000, 3010);
    expect_range(sub, 3000, 3010);
    bcast_unsubscribe(sub);
}

static void left_in_the_past(void **state)
{
    struct scene *s = *state;
    struct bcast_event event = BCAST_EVENT_INIT;
    publish_range(s->other, "x", 0, 5000);
    publish_range(s->other, "y", 0, 10);
    struct bcast_sub *sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 5000);
    expect_range(sub, 0, 10);
    must(bcast_add_channel(sub, "y", 0));
    must_be(BCAST_ERR_EXISTS, bcast_add_channel(sub, "x", 0));
    must(bcast_remove_channel(sub, "x", 0));
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    assert_int_equal(test_stats(sub).channels, 1);
    must(bcast_add_channel(sub, "x", 0));
    publish_range(s->other, "x", 5000, 5001);
    expect_range(sub, 5000, 5001);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(subscribe(s->b, BCAST_DROP_OLDEST, 0, 5000)); /* and at once */
    sub = subscribe(s->b, BCAST_DROP_OLDEST, 0, 5000);              /* or not at all: it goes with its broadcast */
    expect_range(sub, 1, 2);
    bcast_cancel(sub);
    must_be(BCAST_ERR_CLOSED, bcast_next(sub, &event, 0));
    bcast_unsubscribe(sub);
}

static void many_channels(void **state)
{
    struct scene *s = *state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    const size_t count = sizeof names / sizeof names[0];
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = NULL;
    unsigned next[sizeof names / sizeof names[0]] = {0};
    for (size_t i = 0; i < count; i++)
        publish_range(s->other, names[i], 0, 300);
    options.history = 1000;
    must(bcast_subscribe_many(s->b, names, NULL, count, &options, &sub));
    for (size_t i = 0; i < count; i++)
        publish_range(s->other, names[i], 300, 320);
    for (size_t i = 0; i < count * 320; i++) {
        must(bcast_next(sub, &event, PATIENCE_MS));
        assert_int_equal(number_in(&event), next[event.channel[0] - 'a']++);
    }
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_unsubscribe(sub);
}

#define WORKERS 4
#define SHARED 20000

struct crew {
    struct bcast_sub *sub;
    _Atomic unsigned seen[SHARED], total;
};

static void *work(void *argument)
{
    struct crew *crew = argument;
    struct bcast_event events[16] = {BCAST_EVENT_INIT};
    size_t count;
    while (bcast_next_batch(crew->sub, events, 16, &count, PATIENCE_MS) == BCAST_OK)
        for (size_t i = 0; i < count; i++) {
            unsigned number;
            memcpy(&number, events[i].data, sizeof number);
            crew->seen[number]++;
            if (++crew->total == SHARED)
                bcast_cancel(crew->sub);
        }
    for (size_t i = 0; i < 16; i++)
        bcast_release(&events[i]);
    return NULL;
}

static void share(struct crew *crew)
{
    pthread_t threads[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, crew), 0);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SHARED; i++)
        assert_int_equal(crew->seen[i], 1);
    bcast_unsubscribe(crew->sub);
}

static void workers_share_the_past(void **state)
{
    struct scene *s = *state;
    struct crew *crew = test_memory(sizeof *crew);
    struct bcast_sub_options options = bcast_sub_options_init();
    publish_range(s->other, "x", 0, SHARED / 2);
    options.history = SHARED;
    options.shared = 1;
    must(bcast_subscribe(s->b, "x", &options, &crew->sub));
    publish_range(s->other, "x", SHARED / 2, SHARED);
    share(crew);
    free(crew);
}

/* ------------------------------------------------------------------------------------------------------- laggards -- */

static void laggard_harms_nobody(void **state)
{
    struct scene *s = *state;
    struct bcast_sub *slow = subscribe(s->b, BCAST_BLOCK, 100, 0);
    struct bcast_sub *strict = subscribe(s->b, BCAST_BLOCK, 1000, 0);
    struct bcast_sub *quick = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    for (unsigned i = 0; i < 20; i++) {
        publish_range(s->other, "x", i * 500, i * 500 + 500);
        expect_range(quick, i * 500, i * 500 + 500);
        expect_range(strict, i * 500, i * 500 + 500);
    }
    expect_range(slow, 0, 5000);
    char *position = position_of(slow);
    publish_range(s->other, "x", 10000, 10100);
    expect_range(slow, 5000, 10100);
    expect_range(strict, 10000, 10100);
    assert_int_equal(test_stats(slow).lost, 0);
    assert_int_equal(test_stats(slow).gaps, 0);
    publish_range(s->other, "x", 10100, 20000); /* and again */
    expect_range(quick, 10000, 20000);
    expect_range(slow, 10100, 20000);
    struct bcast_sub *again = resume(s->other, position);
    expect_range(again, 5000, 20000);
    free(position);
    bcast_unsubscribe(again);
    bcast_unsubscribe(slow);
    bcast_unsubscribe(strict);
    bcast_unsubscribe(quick);
}

/* Alone it holds back its channel; and no longer, as soon as somebody else comes. */
static void alone_it_pauses(void **state)
{
    struct scene *s = *state;
    struct bcast_sub *slow = subscribe(s->b, BCAST_BLOCK, 100, 0);
    publish_range(s->other, "x", 0, 10000);
    struct bcast_sub *news = NULL; /* what comes later has come: so it would have, too */
    must(bcast_subscribe(s->b, "news", NULL, &news));
    publish_range(s->other, "news", 0, 1);
    expect_range(news, 0, 1);
    assert_true(log_told(s->broker) < 500);
    struct bcast_sub *quick = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    publish_range(s->other, "x", 10000, 10001);
    do /* the channel goes on where it was held back */
        must(bcast_next(quick, &event, PATIENCE_MS));
    while (number_in(&event) != 10000);
    bcast_release(&event);
    expect_range(slow, 0, 10001);
    bcast_unsubscribe(slow);
    bcast_unsubscribe(news);
    bcast_unsubscribe(quick);
}

static void laggard_finds_it_trimmed(void **state)
{
    struct scene *s = *state;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *slow = subscribe(s->b, BCAST_BLOCK, 100, 0), *quick = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    publish_range(s->other, "x", 0, 5000);
    expect_range(quick, 0, 5000);
    log_trim(s->broker, "x", 50);
    unsigned next = 0;
    uint64_t lost = 0;
    while (next != 5000) {
        must(bcast_next(slow, &event, PATIENCE_MS));
        if (event.kind == BCAST_GAP) {
            assert_int_equal(event.reason, BCAST_GAP_TRIMMED);
            assert_int_equal(event.count, BCAST_EXACT);
            lost += event.lost;
            next += (unsigned)event.lost;
        } else {
            assert_int_equal(number_in(&event), next++);
        }
    }
    bcast_release(&event);
    assert_in_range(lost, 4000, 4950);
    bcast_unsubscribe(slow);
    bcast_unsubscribe(quick);
}

static void slow_workers(void **state)
{
    struct scene *s = *state;
    struct crew *crew = test_memory(sizeof *crew);
    struct bcast_sub_options options = bcast_sub_options_init();
    options.shared = 1;
    options.policy = BCAST_BLOCK;
    options.limit_messages = 50;
    must(bcast_subscribe(s->b, "x", &options, &crew->sub));
    struct bcast_sub *quick = subscribe(s->b, BCAST_DROP_OLDEST, 0, 0);
    publish_range(s->other, "x", 0, SHARED / 2);
    expect_range(quick, 0, SHARED / 2);
    publish_range(s->other, "x", SHARED / 2, SHARED);
    share(crew);
    bcast_unsubscribe(quick);
    free(crew);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(begins_in_the_past, set_up, tear_down),
        cmocka_unit_test_setup_teardown(since, set_up, tear_down),
        cmocka_unit_test_setup_teardown(little_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(position_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(position_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimmed_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(past_is_ahead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(left_in_the_past, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_channels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_share_the_past, set_up, tear_down),
        cmocka_unit_test_setup_teardown(laggard_harms_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(alone_it_pauses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(laggard_finds_it_trimmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_workers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
