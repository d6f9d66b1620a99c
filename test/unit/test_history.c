/* History over memory://: subscriptions that begin in the past, positions, and pages. */
#include "test.h"

#include <limits.h>

static void publish_number(struct bcast *b, const char *channel, unsigned number)
{
    must(bcast_publish(b, channel, &number, sizeof number));
}

static void publish_range(struct bcast *b, const char *channel, unsigned from, unsigned to)
{
    for (; from < to; from++)
        publish_number(b, channel, from);
}

static unsigned number_in(const struct bcast_event *event)
{
    unsigned number;
    assert_int_equal(event->kind, BCAST_MESSAGE);
    assert_int_equal(event->size, sizeof number);
    memcpy(&number, event->data, sizeof number);
    return number;
}

static struct bcast_sub *subscribe_with(struct bcast *b, const struct bcast_sub_options *options)
{
    struct bcast_sub *sub = NULL;
    must(bcast_subscribe(b, "x", options, &sub));
    return sub;
}

static struct bcast_sub *subscribe_to_last(struct bcast *b, size_t history)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.history = history;
    return subscribe_with(b, &options);
}

/* It has exactly these, and nothing else for now. */
static void expect_range(struct bcast_sub *sub, unsigned from, unsigned to)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    assert_int_equal(test_stats(sub).queued, to - from);
    for (; from < to; from++) {
        must(bcast_next(sub, &event, 0));
        assert_int_equal(number_in(&event), from);
    }
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_release(&event);
}

static void expect_gap(struct bcast_sub *sub, uint64_t lost, enum bcast_count count, enum bcast_gap_reason reason)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    must(bcast_next(sub, &event, 0));
    assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(event.reason, reason);
    assert_int_equal(event.count, count);
    assert_int_equal(event.lost, lost);
    bcast_release(&event);
}

/* --------------------------------------------------------------------------------------------------- subscribing -- */

static void last_messages_first(void **state)
{
    /* what was published, what is asked for, what comes; 100 are kept */
    static const unsigned cases[][3] = {{0, 10, 0},       {5, 10, 5},         {10, 10, 10},
                                        {11, 10, 10},     {100, 100, 100},    {101, 100, 100},
                                        {5000, 100, 100}, {5000, 60000, 100}, {5000, 1, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bcast *b = test_open("memory://?history=100");
        publish_range(b, "x", 0, cases[i][0]); /* nobody has even looked the channel up */
        struct bcast_sub *sub = subscribe_to_last(b, cases[i][1]);
        publish_range(b, "x", cases[i][0], cases[i][0] + 20);
        expect_range(sub, cases[i][0] - cases[i][2], cases[i][0] + 20);
        assert_int_equal(test_stats(sub).received, cases[i][2] + 20);
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
}

static void nothing_is_the_default(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    (void)state;
    publish_range(b, "x", 0, 50);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    publish_range(b, "x", 50, 53);
    expect_range(sub, 50, 53);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void history_outlives_subscriptions(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    (void)state;
    struct bcast_sub *first = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    publish_range(b, "x", 0, 300);
    bcast_unsubscribe(first);
    struct bcast_sub *second = subscribe_to_last(b, 1000);
    expect_range(second, 200, 300);
    bcast_unsubscribe(second);
    bcast_close(b);
}

static void shared_by_name(void **state)
{
    struct bcast *a = test_open("memory://hist?history=10"), *b = test_open("memory://hist"), *c = NULL;
    (void)state;
    publish_range(a, "x", 0, 20);
    bcast_close(a); /* what it published stays as long as somebody has the name open */
    struct bcast_sub *sub = subscribe_to_last(b, 10);
    expect_range(sub, 10, 20);
    must_be(BCAST_ERR_URL, bcast_open("memory://hist?history=11", NULL, &c));
    assert_non_null(strstr(bcast_error_text(), "10 messages"));
    bcast_unsubscribe(sub);
    bcast_close(b);
    c = test_open("memory://hist?history=11");
    sub = subscribe_to_last(c, 11);
    expect_range(sub, 0, 0);
    bcast_unsubscribe(sub);
    bcast_close(c);
}

static void workers_share_history(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event events[64];
    size_t count, total = 0;
    (void)state;
    memset(events, 0, sizeof events);
    publish_range(b, "x", 0, 3333);
    options.history = 777;
    options.shared = 1;
    struct bcast_sub *sub = subscribe_with(b, &options);
    assert_int_equal(test_stats(sub).queued, 777);
    while (bcast_next_batch(sub, events, 64, &count, 0) == BCAST_OK)
        for (size_t i = 0; i < count; i++)
            assert_int_equal(number_in(&events[i]), 3333 - 777 + total++);
    assert_int_equal(total, 777);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void large_messages_too(void **state)
{
    static char large[300000];
    struct bcast *b = test_open("memory://?history=10");
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    for (int i = 0; i < 30; i++) {
        memset(large, i, sizeof large);
        must(bcast_publish(b, "x", large, i % 2 ? sizeof large : 7));
    }
    struct bcast_sub *sub = subscribe_to_last(b, 9);
    for (int i = 21; i < 30; i++) {
        must(bcast_next(sub, &event, 0));
        assert_int_equal(event.size, i % 2 ? sizeof large : 7);
        assert_int_equal(((const char *)event.data)[6], i);
    }
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void bytes_bound_it_as_well(void **state)
{
    static const char data[1000];
    struct bcast *b = test_open("memory://?history=1000&history_bytes=100000");
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    for (int i = 0; i < 2000; i++)
        must(bcast_publish(b, "x", data, sizeof data));
    struct bcast_sub *sub = subscribe_to_last(b, 1000);
    /* such a record has 1,032 bytes, so 96 fit; precise to one segment, which is an eighth */
    assert_in_range(test_stats(sub).queued, 96 - 12, 96 + 13);
    while (bcast_next(sub, &event, 0) == BCAST_OK)
        assert_int_equal(event.kind, BCAST_MESSAGE);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void since_a_time(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub_options options = bcast_sub_options_init();
    int64_t times[300], before = 0;
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct timespec now;
        do { /* a microsecond of its own for each */
            clock_gettime(CLOCK_REALTIME, &now);
            times[i] = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        } while (times[i] <= before + 1);
        publish_number(b, "x", i);
        clock_gettime(CLOCK_REALTIME, &now);
        before = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    }
    for (unsigned i = 0; i < 300; i += 37) {
        options.since_us = times[i];
        options.history = 0;
        struct bcast_sub *sub = subscribe_with(b, &options);
        must(bcast_next(sub, &event, 0));
        assert_int_equal(number_in(&event), i);
        assert_in_range(event.timestamp_us, times[i], before);
        assert_int_equal(test_stats(sub).queued, 299 - i);
        bcast_unsubscribe(sub);
        options.history = 5; /* both: the last five of those */
        sub = subscribe_with(b, &options);
        expect_range(sub, i > 295 ? i : 295, 300);
        bcast_unsubscribe(sub);
    }
    options.since_us = before + 3600000000;
    struct bcast_sub *sub = subscribe_with(b, &options);
    expect_range(sub, 0, 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void keys_and_headers_are_kept(void **state)
{
    struct bcast *b = test_open("memory://?history=10");
    struct bcast_message message = bcast_message_init();
    struct bcast_header header = {"name", "value", 5}, got;
    struct bcast_event event = BCAST_EVENT_INIT;
    size_t size;
    (void)state;
    message.channel = "x";
    message.data = "data";
    message.size = 4;
    message.key = "key";
    message.key_size = 3;
    message.headers = &header;
    message.header_count = 1;
    must(bcast_publish_message(b, &message));
    struct bcast_sub *sub = subscribe_to_last(b, 1);
    test_expect(sub, &event, "data");
    assert_memory_equal(bcast_event_key(&event, &size), "key", 3);
    must(bcast_event_header(&event, 0, &got));
    assert_memory_equal(got.value, "value", 5);
    struct bcast_page *page;
    must(bcast_history(b, "x", NULL, &page));
    assert_int_equal(page->count, 1);
    assert_memory_equal(bcast_event_key(&page->events[0], &size), "key", 3);
    assert_memory_equal(page->events[0].data, "data", 4);
    assert_string_equal(page->events[0].channel, "x");
    bcast_page_free(page);
    bcast_unsubscribe(sub);
    bcast_release(&event);
    bcast_close(b);
}

/* ----------------------------------------------------------------------------------------------------- positions -- */

static struct bcast_sub *resume(struct bcast *b, const char *position)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.resume = position;
    return subscribe_with(b, &options);
}

static void goes_on_where_it_stood(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_event event = BCAST_EVENT_INIT;
    char position[100];
    size_t length;
    (void)state;
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    for (unsigned i = 0; i < 500; i += 50) {
        publish_range(b, "x", i, i + 50);
        for (unsigned n = 0; n < 50; n++) {
            must(bcast_next(sub, &event, 0));
            assert_int_equal(number_in(&event), i + n);
            if (n != i / 10)
                continue;
            must(bcast_position(sub, position, sizeof position, &length));
            assert_int_equal(strlen(position), length);
            struct bcast_sub *next = resume(b, position);
            expect_range(next, i + n + 1, i + 50);
            bcast_unsubscribe(next);
        }
    }
    must_be(BCAST_ERR_TOO_LARGE, bcast_position(sub, position, length, &length));
    must_be(BCAST_ERR_TOO_LARGE, bcast_position(sub, NULL, 0, &length));
    assert_int_equal(length, strlen("v1;x=0123456789abcdef.500"));
    bcast_unsubscribe(sub);
    bcast_release(&event);
    bcast_close(b);
}

static void position_of_many_channels(void **state)
{
    static const char *const names[] = {"x", "a b;c=d"};
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub, *next;
    char position[200];
    unsigned seen[2] = {0, 0};
    (void)state;
    must(bcast_subscribe_many(b, names, NULL, 2, NULL, &sub));
    publish_range(b, names[0], 0, 10);
    publish_range(b, names[1], 0, 20);
    for (int i = 0; i < 13; i++) {
        must(bcast_next(sub, &event, 0));
        seen[strcmp(event.channel, names[1]) == 0]++;
    }
    must(bcast_position(sub, position, sizeof position, NULL));
    options.resume = position;
    must(bcast_subscribe_many(b, names, NULL, 2, &options, &next));
    for (int i = 0; i < 17; i++) {
        must(bcast_next(next, &event, 0));
        assert_int_equal(number_in(&event), seen[strcmp(event.channel, names[1]) == 0]++);
    }
    must_be(BCAST_TIMEOUT, bcast_next(next, &event, 0));
    bcast_unsubscribe(next);
    must_be(BCAST_ERR_INVALID, bcast_subscribe(b, "another", &options, &next));
    assert_non_null(strstr(bcast_error_text(), "another"));
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void what_was_trimmed_is_a_gap(void **state)
{
    struct bcast *b = test_open("memory://?history=100"), *other = test_open("memory://?history=100");
    char position[100], again[100];
    (void)state;
    struct bcast_sub *sub = subscribe_to_last(b, 1);
    publish_range(b, "x", 0, 10);
    must(bcast_position(sub, position, sizeof position, NULL)); /* nothing handed out yet */
    bcast_unsubscribe(sub);
    publish_range(b, "x", 10, 1000);
    sub = resume(b, position);
    must(bcast_position(sub, again, sizeof again, NULL));
    assert_string_equal(position, again); /* nobody was told about the gap yet */
    expect_gap(sub, 900, BCAST_EXACT, BCAST_GAP_TRIMMED);
    expect_range(sub, 900, 1000);
    assert_int_equal(test_stats(sub).lost, 900);
    bcast_unsubscribe(sub);
    publish_range(other, "x", 0, 5); /* where the position means nothing */
    sub = resume(other, position);
    expect_gap(sub, 0, BCAST_COUNT_UNKNOWN, BCAST_GAP_TRIMMED);
    expect_range(sub, 0, 5);
    bcast_unsubscribe(sub);
    bcast_close(other);
    bcast_close(b);
}

static void overtaken_in_the_past(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    uint64_t expected = 50, lost = 0;
    char position[100];
    (void)state;
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    publish_range(b, "x", 0, 50);
    for (int i = 0; i < 50; i++)
        must(bcast_next(sub, &event, 0));
    must(bcast_position(sub, position, sizeof position, NULL));
    bcast_unsubscribe(sub);
    options.resume = position;
    options.limit_messages = 100; /* less than has been published since */
    publish_range(b, "x", 50, 900);
    sub = subscribe_with(b, &options);
    while (bcast_next(sub, &event, 0) == BCAST_OK) {
        if (event.kind == BCAST_GAP) {
            lost += event.lost;
            expected += event.lost;
            assert_int_equal(event.reason, BCAST_GAP_OVERFLOW);
        } else {
            assert_int_equal(number_in(&event), expected++);
        }
    }
    assert_int_equal(expected, 900);
    assert_in_range(lost, 1, 750);
    assert_int_equal(test_stats(sub).received + test_stats(sub).lost, 850);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

/* What a gap covers has been handed out: a position behind it does not ask for it again. Exclusive, and shared. */
static void position_behind_a_gap(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct bcast *b = test_open("memory://?history=1000");
        struct bcast_sub_options options = bcast_sub_options_init();
        struct bcast_event event = BCAST_EVENT_INIT;
        char position[100];
        options.limit_messages = 8;
        options.shared = shared;
        struct bcast_sub *sub = subscribe_with(b, &options);
        publish_range(b, "x", 0, 100);
        do
            must(bcast_next(sub, &event, 0));
        while (event.kind == BCAST_MESSAGE);
        assert_int_equal(test_stats(sub).queued, 100 - event.sequence);
        must(bcast_position(sub, position, sizeof position, NULL));
        struct bcast_sub *next = resume(b, position);
        expect_range(next, (unsigned)event.sequence, 100);
        bcast_release(&event);
        bcast_unsubscribe(next);
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
}

/* What a disconnected subscription lost was handed to nobody: a position behind the last event asks for it. */
static void position_after_a_disconnect(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct bcast *b = test_open("memory://?history=1000");
        struct bcast_sub_options options = bcast_sub_options_init();
        struct bcast_event event = BCAST_EVENT_INIT;
        char position[100];
        unsigned seen = 0;
        int status;
        options.policy = BCAST_DISCONNECT;
        options.limit_messages = 8;
        options.shared = shared;
        struct bcast_sub *sub = subscribe_with(b, &options);
        publish_range(b, "x", 0, 100);
        while ((status = bcast_next(sub, &event, 0)) == BCAST_OK)
            assert_int_equal(number_in(&event), seen++);
        assert_int_equal(status, BCAST_ERR_DISCONNECTED);
        must(bcast_position(sub, position, sizeof position, NULL));
        bcast_unsubscribe(sub);
        sub = resume(b, position);
        expect_range(sub, seen, 100);
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
}

/* --------------------------------------------------------------------------------------------------------- pages -- */

static struct bcast_page *page_of(struct bcast *b, const struct bcast_history_query *query)
{
    struct bcast_page *page = NULL;
    must(bcast_history(b, "x", query, &page));
    assert_non_null(page->newer);
    return page;
}

static void expect_page(const struct bcast_page *page, unsigned from, unsigned to)
{
    assert_int_equal(page->count, to - from);
    for (unsigned i = from; i < to; i++) {
        assert_int_equal(number_in(&page->events[i - from]), i);
        assert_int_equal(page->events[i - from].sequence, i);
        assert_true(page->events[i - from].timestamp_us > 0);
    }
}

static void pages_of_nothing(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    struct bcast_history_query query = bcast_history_query_init();
    (void)state;
    struct bcast_page *page = page_of(b, NULL), *next; /* a channel nobody ever heard of */
    assert_true(page->count == 0 && page->older == NULL && !page->more);
    publish_range(b, "x", 0, 3);
    query.after = page->newer;
    next = page_of(b, &query);
    expect_page(next, 0, 3);
    assert_true(next->older == NULL && !next->more);
    bcast_page_free(page);
    bcast_page_free(next);
    bcast_close(b);
}

/* From the newest to the beginning, and back again: every message once. */
static void there_and_back(void **state)
{
    static const unsigned published[] = {1, 7, 10, 99, 100, 101, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct bcast *b = test_open("memory://?history=100");
        struct bcast_history_query query = bcast_history_query_init();
        unsigned low = published[i], oldest = published[i] > 100 ? published[i] - 100 : 0;
        char at[100];
        publish_range(b, "x", 0, published[i]);
        query.limit = 10;
        for (;;) {
            struct bcast_page *page = page_of(b, &query);
            unsigned from = low - oldest > 10 ? low - 10 : oldest;
            expect_page(page, from, low);
            assert_int_equal(page->more, low != published[i]);
            low = from;
            bool end = page->older == NULL;
            assert_int_equal(end, low == oldest);
            if (!end)
                strcpy(at, page->older);
            bcast_page_free(page);
            if (end)
                break;
            query.before = at;
        }
        query.before = NULL;
        query.after = "";
        query.limit = 7;
        for (bool more = true; more;) {
            struct bcast_page *page = page_of(b, &query);
            unsigned to = published[i] - low > 7 ? low + 7 : published[i];
            expect_page(page, low, to);
            assert_int_equal(page->older != NULL, low != oldest);
            low = to;
            more = page->more;
            assert_int_equal(more, low != published[i]);
            strcpy(at, page->newer);
            query.after = at;
            bcast_page_free(page);
        }
        assert_int_equal(low, published[i]);
        bcast_close(b);
    }
}

static void positions_that_are_gone(void **state)
{
    struct bcast *b = test_open("memory://?history=100"), *other = test_open("memory://?history=100");
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_page *first, *page;
    (void)state;
    publish_range(b, "x", 0, 50);
    publish_range(other, "x", 0, 50);
    query.limit = 10;
    query.after = "";
    first = page_of(b, &query);
    publish_range(b, "x", 50, 250);
    query.after = first->newer; /* 10: the oldest kept is 150 now */
    page = page_of(b, &query);
    assert_int_equal(page->count, 11);
    assert_int_equal(page->events[0].kind, BCAST_GAP);
    assert_int_equal(page->events[0].reason, BCAST_GAP_TRIMMED);
    assert_int_equal(page->events[0].count, BCAST_EXACT);
    assert_int_equal(page->events[0].lost, 140);
    assert_int_equal(page->events[0].sequence, 150);
    assert_int_equal(number_in(&page->events[1]), 150);
    assert_null(page->older);
    bcast_page_free(page);
    page = NULL;
    must(bcast_history(other, "x", &query, &page)); /* of other channels: how many are missing nobody knows */
    assert_int_equal(page->events[0].count, BCAST_COUNT_UNKNOWN);
    assert_int_equal(number_in(&page->events[1]), 0);
    bcast_page_free(page);
    must(bcast_history(other, "nobody's", &query, &page)); /* also if there is no such channel any more */
    assert_int_equal(page->count, 1);
    assert_int_equal(page->events[0].count, BCAST_COUNT_UNKNOWN);
    bcast_page_free(page);
    query.after = NULL;
    query.before = first->newer;
    page = page_of(b, &query); /* everything before it is trimmed */
    assert_true(page->count == 0 && page->older == NULL && page->more);
    bcast_page_free(page);
    must_be(BCAST_ERR_NOT_FOUND, bcast_history(other, "x", &query, &page));
    assert_null(page);
    bcast_page_free(first);
    bcast_close(other);
    bcast_close(b);
}

static void pages_within_bytes(void **state)
{
    static char data[1000];
    struct bcast *b = test_open("memory://?history=100");
    struct bcast_history_query query = bcast_history_query_init();
    char at[100];
    (void)state;
    for (int i = 0; i < 50; i++) {
        memset(data, i, sizeof data);
        must(bcast_publish(b, "x", data, sizeof data));
    }
    query.limit_bytes = 3500;
    for (int high = 50; high > 0; high -= 3) { /* backwards: the newest that fit */
        struct bcast_page *page = page_of(b, &query);
        assert_int_equal(page->count, high > 3 ? 3 : high);
        assert_int_equal(*(const char *)page->events[page->count - 1].data, high - 1);
        if (high > 3)
            strcpy(at, page->older);
        query.before = at;
        bcast_page_free(page);
    }
    query.before = NULL;
    query.after = "";
    query.limit_bytes = 1; /* always one */
    for (int i = 0; i < 50; i++) {
        struct bcast_page *page = page_of(b, &query);
        assert_int_equal(page->count, 1);
        assert_int_equal(*(const char *)page->events[0].data, i);
        strcpy(at, page->newer);
        query.after = at;
        bcast_page_free(page);
    }
    bcast_close(b);
}

static void pages_since(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    struct bcast_history_query query = bcast_history_query_init();
    (void)state;
    publish_range(b, "x", 0, 10);
    struct bcast_page *page = page_of(b, NULL);
    int64_t last = page->events[9].timestamp_us;
    bcast_page_free(page);
    struct timespec now;
    do
        clock_gettime(CLOCK_REALTIME, &now);
    while ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 <= last + 1);
    publish_range(b, "x", 10, 20);
    query.since_us = last + 1;
    page = page_of(b, &query);
    expect_page(page, 10, 20);
    assert_null(page->older);
    bcast_page_free(page);
    query.after = "";
    query.limit = 3;
    page = page_of(b, &query);
    expect_page(page, 10, 13);
    bcast_page_free(page);
    bcast_close(b);
}

/* ----------------------------------------------------------------------------------------------------- bad input -- */

static void mistakes(void **state)
{
    struct bcast *none = test_open("memory://"), *b = test_open("memory://?history=10");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_capabilities can = bcast_capabilities_init();
    struct bcast_sub *sub;
    struct bcast_page *page;
    char position[100];
    (void)state;
    must(bcast_capabilities(none, &can));
    assert_int_equal(can.can & BCAST_CAN_HISTORY, 0);
    must(bcast_capabilities(b, &can));
    assert_int_not_equal(can.can & BCAST_CAN_HISTORY, 0);
    assert_int_not_equal(can.can & BCAST_CAN_TIMESTAMPS, 0);
    options.history = 1;
    must_be(BCAST_ERR_UNSUPPORTED, bcast_subscribe(none, "x", &options, &sub));
    assert_non_null(strstr(bcast_error_text(), "memory://?history="));
    must_be(BCAST_ERR_UNSUPPORTED, bcast_history(none, "x", NULL, &page));
    sub = test_subscribe(none, "x", BCAST_DROP_OLDEST, 0);
    must_be(BCAST_ERR_UNSUPPORTED, bcast_position(sub, position, sizeof position, NULL));
    bcast_unsubscribe(sub);
    options.limit_messages = 10;
    options.history = 11;
    must_be(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &options, &sub));
    assert_non_null(strstr(bcast_error_text(), "limit_messages"));
    options.resume = "v1;x=0000000000000000.0";
    must_be(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &options, &sub));
    options.history = 0;
    options.resume = "somewhere";
    must_be(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &options, &sub));
    assert_null(sub);
    query.before = query.after = "0000000000000000.0";
    must_be(BCAST_ERR_INVALID, bcast_history(b, "x", &query, &page));
    query.after = NULL;
    query.before = "yesterday";
    must_be(BCAST_ERR_INVALID, bcast_history(b, "x", &query, &page));
    query.before = NULL;
    query.limit = 100000;
    must_be(BCAST_ERR_INVALID, bcast_history(b, "x", &query, &page));
    query.limit = 0;
    query.timeout_ms = -3;
    must_be(BCAST_ERR_INVALID, bcast_history(b, "x", &query, &page));
    must_be(BCAST_ERR_INVALID, bcast_history(b, "", NULL, &page));
    must_be(BCAST_ERR_INVALID, bcast_history(b, NULL, NULL, &page));
    must_be(BCAST_ERR_INVALID, bcast_history(NULL, "x", NULL, &page));
    must_be(BCAST_ERR_INVALID, bcast_history(b, "x", NULL, NULL));
    must_be(BCAST_ERR_INVALID, bcast_position(NULL, position, sizeof position, NULL));
    bcast_page_free(NULL);
    must(bcast_shutdown(b));
    must_be(BCAST_ERR_CLOSED, bcast_history(b, "x", NULL, &page));
    assert_null(page);
    bcast_close(b);
    bcast_close(none);
}

static void bad_urls(void **state)
{
    static const char *const bad[] = {"memory://?history=",
                                      "memory://?history=0",
                                      "memory://?history=-1",
                                      "memory://?history=1x",
                                      "memory://?history= 1",
                                      "memory://?history_bytes=5",
                                      "memory://?history=1&keep=2",
                                      "memory://?history=1&history_bytes=0",
                                      "memory://?history=99999999999999999999"};
    struct bcast *b;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        must_be(BCAST_ERR_URL, bcast_open(bad[i], NULL, &b));
        assert_null(b);
    }
    must_be(BCAST_ERR_URL, bcast_open("memory://?history=many", NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "history=many"));
}

/* ---------------------------------------------------------------------------------------------------------- seam -- */

#define PUBLISHERS 3
#define EACH 30000

struct seam {
    struct bcast *b;
    _Atomic bool done;
    _Atomic int next;
};

static void *publish_marked(void *argument)
{
    struct seam *seam = argument;
    unsigned mark[2] = {(unsigned)atomic_fetch_add(&seam->next, 1), 0};
    for (; mark[1] < EACH; mark[1]++)
        if (bcast_publish(seam->b, "x", mark, sizeof mark) != BCAST_OK)
            abort();
    return NULL;
}

/* What a subscription sees must be one stretch: sequences one after the other, and each publisher's numbers too. */
static void read_stretch(struct bcast_sub *sub, unsigned length, uint64_t *sequence, unsigned last[PUBLISHERS])
{
    struct bcast_event event = BCAST_EVENT_INIT;
    for (unsigned i = 0; i < length && bcast_next(sub, &event, 100) == BCAST_OK; i++) {
        unsigned mark[2];
        assert_int_equal(event.kind, BCAST_MESSAGE);
        memcpy(mark, event.data, sizeof mark);
        if (*sequence != UINT64_MAX)
            assert_int_equal(event.sequence, *sequence + 1);
        if (last[mark[0]] != UINT_MAX)
            assert_int_equal(mark[1], last[mark[0]] + 1);
        *sequence = event.sequence;
        last[mark[0]] = mark[1];
    }
    bcast_release(&event);
}

static void *read_seams(void *argument)
{
    struct seam *seam = argument;
    while (!atomic_load(&seam->done)) {
        uint64_t sequence = UINT64_MAX;
        unsigned last[PUBLISHERS] = {UINT_MAX, UINT_MAX, UINT_MAX};
        char position[100];
        struct bcast_sub_options options = bcast_sub_options_init();
        options.limit_messages = PUBLISHERS * EACH; /* a reader may be off its processor for all of them */
        options.history = 200;
        struct bcast_sub *sub = subscribe_with(seam->b, &options);
        read_stretch(sub, 500, &sequence, last);
        must(bcast_position(sub, position, sizeof position, NULL));
        bcast_unsubscribe(sub);
        options.history = 0;
        options.resume = position; /* all that come meanwhile are kept */
        sub = subscribe_with(seam->b, &options);
        read_stretch(sub, 300, &sequence, last);
        bcast_unsubscribe(sub);
    }
    return NULL;
}

static void *page_through(void *argument)
{
    struct seam *seam = argument;
    uint64_t expected = 0;
    char at[100] = "";
    for (bool more = true; more || !atomic_load(&seam->done);) {
        struct bcast_history_query query = bcast_history_query_init();
        query.after = at;
        query.limit = 333;
        struct bcast_page *page = page_of(seam->b, &query);
        for (size_t i = 0; i < page->count; i++)
            assert_int_equal(page->events[i].sequence, expected++);
        strcpy(at, page->newer);
        more = page->more;
        bcast_page_free(page);
    }
    assert_int_equal(expected, PUBLISHERS * EACH);
    return NULL;
}

static void no_hole_and_no_duplicate(void **state)
{
    struct seam seam = {.b = test_open("memory://?history=100000")};
    pthread_t publishers[PUBLISHERS], readers[2], pager;
    (void)state;
    for (int i = 0; i < PUBLISHERS; i++)
        test_start(&publishers[i], publish_marked, &seam);
    for (int i = 0; i < 2; i++)
        test_start(&readers[i], read_seams, &seam);
    test_start(&pager, page_through, &seam);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i], NULL);
    atomic_store(&seam.done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    pthread_join(pager, NULL);
    bcast_close(seam.b);
}

/* A subscription that is not read keeps more in memory than the history may have: none of that is shown, and so no page
 * has a hole. */
static void slow_subscription_shows_nothing(void **state)
{
    struct bcast *b = test_open("memory://?history=100&history_bytes=500");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 1000);
    struct bcast_history_query query = bcast_history_query_init();
    (void)state;
    publish_range(b, "x", 0, 50);
    query.after = "";
    struct bcast_page *page = page_of(b, &query);
    assert_in_range(page->count, 1, 20);
    for (size_t i = 0; i < page->count; i++)
        assert_int_equal(number_in(&page->events[i]), 50 - page->count + i);
    bcast_page_free(page);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void empty_message_fills_a_page(void **state)
{
    struct bcast *b = test_open("memory://?history=10");
    struct bcast_history_query query = bcast_history_query_init();
    (void)state;
    test_publish(b, "x", "");
    test_publish(b, "x", "more than the limit");
    query.after = "";
    query.limit_bytes = 4;
    struct bcast_page *page = page_of(b, &query);
    assert_int_equal(page->count, 1);
    assert_true(page->more);
    bcast_page_free(page);
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_messages_first),
        cmocka_unit_test(nothing_is_the_default),
        cmocka_unit_test(history_outlives_subscriptions),
        cmocka_unit_test(shared_by_name),
        cmocka_unit_test(workers_share_history),
        cmocka_unit_test(large_messages_too),
        cmocka_unit_test(bytes_bound_it_as_well),
        cmocka_unit_test(since_a_time),
        cmocka_unit_test(keys_and_headers_are_kept),
        cmocka_unit_test(goes_on_where_it_stood),
        cmocka_unit_test(position_of_many_channels),
        cmocka_unit_test(what_was_trimmed_is_a_gap),
        cmocka_unit_test(overtaken_in_the_past),
        cmocka_unit_test(position_behind_a_gap),
        cmocka_unit_test(position_after_a_disconnect),
        cmocka_unit_test(pages_of_nothing),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(positions_that_are_gone),
        cmocka_unit_test(pages_within_bytes),
        cmocka_unit_test(pages_since),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(bad_urls),
        cmocka_unit_test(no_hole_and_no_duplicate),
        cmocka_unit_test(slow_subscription_shows_nothing),
        cmocka_unit_test(empty_message_fills_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
