/* fetch and position of redis-stream://, as backend.h has them: the backend alone, against a real server. Where ids are
 * not the server's, entry i has the id "i-1" and the data "i", beginning with 1. */
#define _GNU_SOURCE
#include "alone.h"
#include "redis_talk.h"

#include "net/redis_id.h"

extern const struct bcast_backend bcast_backend_redis_stream;

static struct alone *begin_at(const char *url)
{
    struct alone *a = alone_open(&bcast_backend_redis_stream, url);
    alone_connect(a);
    return a;
}

static struct alone *begin(struct broker *broker)
{
    return begin_at(text("redis-stream://127.0.0.1:%u?ping_ms=86400000", broker_port(broker)));
}

static struct bcast_fetch of(const char *channel, size_t limit)
{
    return (struct bcast_fetch){
        .channel = channel, .channel_size = strlen(channel), .limit = limit, .limit_bytes = SIZE_MAX};
}

static struct bcast_fetch back(const char *channel, size_t limit)
{
    struct bcast_fetch fetch = of(channel, limit);
    fetch.backwards = 1;
    return fetch;
}

static struct bcast_fetch behind(const char *channel, size_t limit, const char *position)
{
    struct bcast_fetch fetch = of(channel, limit);
    fetch.position = position;
    return fetch;
}

/* Entries `from` to `to`, all at once. */
static void fill(int server, const char *key, unsigned from, unsigned to)
{
    const char *answer = raw_ask(
        server, text("EVAL \"for i=%u,%u do redis.call('XADD','%s',i..'-1','message',i) end\" 0", from, to, key));
    assert_string_equal(answer, "$-1\r\n");
}

static void expect_told(const struct told *told, unsigned number)
{
    const char *data = text("%u", number);
    assert_false(told->is_gap);
    assert_string_equal(told->data, data);
    assert_int_equal(told->size, strlen(data));
    assert_string_equal(told->id, text("%u-1", number));
    assert_int_equal(told->timestamp_us, INT64_C(1000) * number);
}

/* `count` messages from `first` on, in the direction that was asked for, without a gap; and where that lies. */
static void expect(const struct answer *answer, unsigned first, unsigned count)
{
    assert_int_equal(answer->status, BCAST_OK);
    assert_int_equal(answer->gaps, 0);
    assert_int_equal(answer->messages, count);
    for (unsigned i = 0; i < count; i++)
        expect_told(&answer->tale.all[i], answer->backwards ? first - i : first + i);
    if (count == 0)
        return;
    unsigned last = answer->backwards ? first - count + 1 : first + count - 1;
    assert_string_equal(answer->older, text("%u-0", answer->backwards ? last : first));
    assert_string_equal(answer->newer, text("%u-1", answer->backwards ? first : last));
}

static void expect_more(const struct answer *answer, bool older, bool newer)
{
    assert_int_equal(answer->more_older, older);
    assert_int_equal(answer->more_newer, newer);
}

/* Nothing: here it would have begun. */
static void expect_nothing(const struct answer *answer, const char *place)
{
    expect(answer, 0, 0);
    assert_string_equal(answer->older, place);
    assert_string_equal(answer->newer, place);
}

/* It begins with that gap, and then `messages` come from `first` on. */
static void expect_gap_first(const struct answer *answer, enum bcast_count count, uint64_t lost, unsigned first,
                             unsigned messages)
{
    assert_int_equal(answer->status, BCAST_OK);
    assert_int_equal(answer->gaps, 1);
    assert_int_equal(answer->messages, messages);
    assert_true(answer->tale.all[0].is_gap);
    assert_int_equal(answer->tale.all[0].reason, BCAST_GAP_TRIMMED);
    assert_int_equal(answer->tale.all[0].count, count);
    assert_int_equal(answer->tale.all[0].lost, lost);
    for (unsigned i = 0; i < messages; i++)
        expect_told(&answer->tale.all[1 + i], first + i);
}

/* ------------------------------------------------------------------------------------------------------------ ids -- */

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        struct redis_id id, before, next;
    } cases[] = {
        {{5, 7}, {5, 6}, {5, 8}}, {{5, 0}, {4, UINT64_MAX}, {5, 1}}, {{5, UINT64_MAX}, {5, UINT64_MAX - 1}, {6, 0}},
        {{0, 1}, {0, 0}, {0, 2}}, {{0, 0}, {0, 0}, {0, 1}},          {{1, 0}, {0, UINT64_MAX}, {1, 1}},
    };
    struct redis_id next;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(redis_id_compare(redis_id_before(cases[i].id), cases[i].before), 0);
        assert_true(redis_id_next(cases[i].id, &next));
        assert_int_equal(redis_id_compare(next, cases[i].next), 0);
    }
    assert_false(redis_id_next((struct redis_id){UINT64_MAX, UINT64_MAX}, &next));
}

/* -------------------------------------------------------------------------------------------------- what there is -- */

static void test_nothing(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    struct bcast_fetch forwards = of("x", 10), backwards = back("x", 10);
    expect_nothing(alone_fetch(a, &forwards), "0-0");
    expect_nothing(alone_fetch(a, &backwards), "0-0");
    backwards.position = "7-1";
    expect_nothing(alone_fetch(a, &backwards), "7-1");
    forwards.position = "0-0";
    expect_nothing(alone_fetch(a, &forwards), "0-0");
    forwards.since_us = INT64_MAX;
    struct answer *answer = alone_fetch(a, &forwards);
    expect_nothing(answer, "0-0");
    expect_more(answer, false, false);

    fill(server, "x", 1, 5);
    forwards = behind("x", 10, "5-1"); /* there is something, but not where it was asked for */
    answer = alone_fetch(a, &forwards);
    expect_nothing(answer, "5-1");
    expect_more(answer, true, false);
    backwards.position = "1-0";
    answer = alone_fetch(a, &backwards);
    expect_nothing(answer, "1-0");
    expect_more(answer, false, true);
    forwards.position = "18446744073709551615-18446744073709551615";
    forwards.until = "3-1";
    answer = alone_fetch(a, &forwards); /* nobody was ever there */
    expect_gap_first(answer, BCAST_COUNT_UNKNOWN, 0, 1, 3);
    raw_ask(server, "XADD y 18446744073709551615-18446744073709551615 message last");
    forwards.channel = "y"; /* but here somebody was */
    forwards.until = NULL;
    expect_nothing(alone_fetch(a, &forwards), forwards.position);
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void test_limits(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    fill(server, "x", 1, 300);
    static const unsigned limits[] = {1, 2, 31, 32, 33, 255, 256, 257, 299, 300, 301, 1000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        unsigned limit = limits[i], count = limit < 300 ? limit : 300;
        struct bcast_fetch fetch = of("x", limit);
        struct answer *answer = alone_fetch(a, &fetch);
        expect(answer, 1, count);
        expect_more(answer, false, count < 300);
        fetch = back("x", limit);
        answer = alone_fetch(a, &fetch);
        expect(answer, 300, count);
        expect_more(answer, count < 300, false);
    }
    struct bcast_fetch none = of("x", 0);
    struct answer *answer = alone_fetch(a, &none);
    expect(answer, 0, 0);
    expect_more(answer, false, true);
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* All pages of every size, in both directions: each begins where the one before has ended. */
static void test_pages(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    static const unsigned sizes[] = {1, 3, 32, 100, 299, 300};
    const char *place = NULL;
    fill(server, "x", 1, 300);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned size = sizes[i], have = 0;
        for (bool more = true; more; have += size) {
            struct bcast_fetch fetch = behind("x", size, have == 0 ? NULL : place);
            struct answer *answer = alone_fetch(a, &fetch);
            expect(answer, have + 1, 300 - have < size ? 300 - have : size);
            expect_more(answer, have != 0, have + size < 300);
            place = answer->newer;
            more = answer->more_newer;
        }
        assert_true(have >= 300);
        have = 0;
        for (bool more = true; more; have += size) {
            struct bcast_fetch fetch = back("x", size);
            fetch.position = have == 0 ? NULL : place;
            struct answer *answer = alone_fetch(a, &fetch);
            expect(answer, 300 - have, 300 - have < size ? 300 - have : size);
            expect_more(answer, have + size < 300, have != 0);
            place = answer->older;
            more = answer->more_older;
        }
        assert_true(have >= 300);
    }
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* ------------------------------------------------------------------------------------- while others go on writing -- */

struct writer {
    int server;
    unsigned next, every, seen;
};

static void write_one(void *context)
{
    struct writer *writer = context;
    if (++writer->seen % writer->every == 0) {
        fill(writer->server, "x", writer->next, writer->next);
        writer->next++;
    }
}

/* What there was when it was asked is told, whatever comes meanwhile; and that there is more. */
static void test_while_writing(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    struct writer writer = {raw_open(broker), 2001, 5, 0};
    fill(writer.server, "x", 1, 2000);
    alone_on_fetched(a, write_one, &writer);
    struct bcast_fetch fetch = of("x", 65536);
    struct answer *answer = alone_fetch(a, &fetch);
    expect(answer, 1, 2000);
    expect_more(answer, false, true);
    unsigned newest = writer.next - 1;
    fetch = back("x", 65536);
    answer = alone_fetch(a, &fetch);
    expect(answer, newest, newest);
    expect_more(answer, false, true);
    fetch = behind("x", 100, NULL); /* page by page it catches up */
    const char *place = "0-0";
    writer.every = 3;
    for (unsigned next = 1; next < 3000;) {
        fetch.position = place;
        answer = alone_fetch(a, &fetch);
        expect(answer, next, (unsigned)answer->messages);
        assert_in_range(answer->messages, 1, 100);
        next += (unsigned)answer->messages;
        place = answer->newer;
    }
    close(writer.server);
    alone_close(a);
    broker_end(broker);
}

/* Many at once, between them messages that are published, and while the other connection waits for what is to come. */
static void test_several(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    struct answer *answers[40];
    fill(server, "x", 1, 500);
    struct tale *live = alone_subscribe(a, "y");
    for (unsigned i = 0; i < 40; i++) {
        struct bcast_outgoing message = {
            .channel = "y", .channel_size = 1, .data = text("%u", i), .size = i < 10 ? 1 : 2};
        struct bcast_fetch fetch = i % 2 == 0 ? of("x", 20 * i + 1) : back("x", 20 * i + 1);
        alone_publish(a, &message);
        answers[i] = alone_ask(a, &fetch);
    }
    for (unsigned i = 0; i < 40; i++) {
        alone_until(a, answers[i]->ended);
        expect(answers[i], i % 2 == 0 ? 1 : 500, 20 * i + 1 < 500 ? 20 * i + 1 : 500);
    }
    alone_until(a, alone_results(a) == 40 && live->count == 40);
    struct bcast_fetch fetch = of("y", 100);
    struct answer *answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->messages, 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_string_equal(answer->tale.all[i].data, text("%u", i));
        assert_string_equal(answer->tale.all[i].id, live->all[i].id);
        assert_int_equal(answer->tale.all[i].timestamp_us, live->all[i].timestamp_us);
    }
    assert_string_equal(answer->newer, alone_position(a));
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* ---------------------------------------------------------------------------------------------------------- bounds -- */

static void test_bounds(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    struct bcast_fetch fetch = behind("x", 1000, "10-1");
    fill(server, "x", 1, 500);
    fetch.until = "42-1";
    fetch.limit = 32; /* which is what the first reply has at most: no one more is asked for */
    struct answer *answer = alone_fetch(a, &fetch);
    expect(answer, 11, 32);
    expect_more(answer, true, false);
    fetch.until = "20-1";
    fetch.limit = 1000;
    answer = alone_fetch(a, &fetch);
    expect(answer, 11, 10);
    expect_more(answer, true, false); /* behind `until` nobody asks */
    fetch.until = "20-0";
    expect(alone_fetch(a, &fetch), 11, 9);
    fetch.limit = 9;
    fetch.until = "20-1";
    answer = alone_fetch(a, &fetch);
    expect(answer, 11, 9);
    expect_more(answer, true, true);
    fetch.until = "19-9"; /* the next one is behind it */
    expect_more(alone_fetch(a, &fetch), true, false);
    fetch.until = "5-1";
    expect_nothing(alone_fetch(a, &fetch), "10-1");
    fetch = of("x", 1000);
    fetch.until = "9999-0";
    expect(alone_fetch(a, &fetch), 1, 500);

    fetch = of("x", 1000);
    fetch.since_us = 400000;
    answer = alone_fetch(a, &fetch);
    expect(answer, 400, 101);
    expect_more(answer, false, false);
    fetch.since_us = 400001; /* one microsecond later: the next millisecond */
    expect(alone_fetch(a, &fetch), 401, 100);
    fetch.position = "450-1";
    expect(alone_fetch(a, &fetch), 451, 50);
    fetch.since_us = 900000;
    expect_nothing(alone_fetch(a, &fetch), "500-1"); /* not in the future: somebody might go on there */
    fetch = back("x", 1000);
    fetch.since_us = 400000;
    answer = alone_fetch(a, &fetch);
    expect(answer, 500, 101);
    expect_more(answer, false, false);
    fetch.limit = 100;
    expect_more(alone_fetch(a, &fetch), true, false);
    fetch.limit = 101; /* as many as there are */
    expect_more(alone_fetch(a, &fetch), false, false);
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void expect_place(const struct answer *answer, const char *older, const char *newer)
{
    assert_int_equal(answer->status, BCAST_OK);
    assert_int_equal(answer->tale.count, 0);
    assert_string_equal(answer->older, older);
    assert_string_equal(answer->newer, newer);
}

static void test_only_where(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    struct bcast_fetch fetch = back("x", 1);
    fetch.only_where = 1;
    expect_place(alone_fetch(a, &fetch), "0-0", "0-0");
    fill(server, "x", 1, 3000);
    for (unsigned limit = 1; limit < 3000; limit = 3 * limit + 1) {
        fetch.limit = limit;
        struct answer *answer = alone_fetch(a, &fetch);
        expect_place(answer, text("%u-0", 3000 - limit + 1), "3000-1");
        expect_more(answer, true, false);
    }
    fetch.limit = 65536;
    expect_place(alone_fetch(a, &fetch), "1-0", "3000-1");
    fetch = of("x", 1);
    fetch.only_where = 1;
    fetch.since_us = 1234567;
    expect_place(alone_fetch(a, &fetch), "1235-0", "1235-1");
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void test_limit_bytes(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    raw_ask(server, "EVAL \"for i=1,400 do redis.call('XADD','x',i..'-1','message',string.rep('.',1000)) end\" 0");
    for (int backwards = 0; backwards < 2; backwards++)
        for (size_t bytes = 0; bytes < 400000; bytes = 5 * bytes + 1) {
            struct bcast_fetch fetch = backwards ? back("x", 1000) : of("x", 1000);
            size_t count = bytes == 0 ? 1 : (bytes + 999) / 1000;
            fetch.limit_bytes = bytes;
            struct answer *answer = alone_fetch(a, &fetch);
            assert_int_equal(answer->messages, count);
            expect_more(answer, backwards, !backwards);
            assert_string_equal(answer->older, text("%zu-0", backwards ? 401 - count : 1));
            assert_string_equal(answer->newer, text("%zu-1", backwards ? 400 : count));
        }
    raw_ask(server, "CONFIG RESETSTAT");
    struct bcast_fetch fetch = of("x", 1000);
    fetch.limit_bytes = 1;
    (void)alone_fetch(a, &fetch); /* by now it is known how large they are: the server is not asked for much more */
    const char *bytes = strstr(raw_ask(server, "INFO stats"), "total_net_output_bytes:");
    assert_non_null(bytes);
    assert_in_range(strtoul(strchr(bytes, ':') + 1, NULL, 10), 1000, 20000);
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* Large messages: never many of them in one reply, once that is known. */
static void test_large(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    raw_ask(server, "EVAL \"for i=1,60 do redis.call('XADD','x',i..'-1','message',string.rep('.',300000+i)) end\" 0");
    raw_ask(server, "CONFIG RESETSTAT");
    struct bcast_fetch fetch = of("x", 65536);
    struct answer *answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->messages, 60);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(answer->tale.all[i].size, 300001 + i);
    const char *calls = strstr(raw_ask(server, "INFO commandstats"), "cmdstat_xrange:calls=");
    assert_non_null(calls);
    assert_in_range(strtoul(strchr(calls, '=') + 1, NULL, 10), 1 + 28 / 8, 60);
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------------------- content -- */

static void expect_same(const struct told *one, const struct told *two)
{
    assert_int_equal(one->size, two->size);
    assert_memory_equal(one->data, two->data, one->size);
    assert_int_equal(one->key != NULL, two->key != NULL);
    assert_int_equal(one->key_size, two->key_size);
    if (one->key != NULL)
        assert_memory_equal(one->key, two->key, one->key_size);
    assert_int_equal(one->header_count, two->header_count);
    for (size_t i = 0; i < one->header_count; i++) {
        assert_string_equal(one->names[i], two->names[i]);
        assert_string_equal(one->values[i], two->values[i]);
    }
    assert_string_equal(one->id, two->id);
    assert_int_equal(one->timestamp_us, two->timestamp_us);
}

/* Whatever arrives as it is published is told in the same way later. */
static void test_content(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    const struct bcast_header headers[] = {{"colour", "red", 3}, {"empty", "", 0}};
    const char name[] = "na\r\nme $3 \xff";
    unsigned char bytes[256];
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    struct tale *live = alone_subscribe(a, name);
    for (unsigned i = 0; i < 16; i++) {
        struct bcast_outgoing message = {.channel = name, .channel_size = sizeof name - 1};
        message.data = bytes;
        message.size = i & 1 ? sizeof bytes : 0;
        message.key = i & 2 ? bytes : NULL;
        message.key_size = i & 4 ? 17 : 0;
        message.headers = i & 8 ? headers : NULL;
        message.header_count = i & 8 ? 2 : 0;
        if (message.key == NULL)
            message.key_size = 0;
        alone_publish(a, &message);
    }
    alone_until(a, live->count == 16);
    raw_ask(server, "XADD foreign 1-1 a 1 b 2");
    struct bcast_fetch fetch = of(name, 100);
    struct answer *forwards = alone_fetch(a, &fetch);
    fetch.backwards = 1;
    struct answer *backwards = alone_fetch(a, &fetch);
    assert_int_equal(forwards->messages, 16);
    assert_int_equal(backwards->messages, 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(live->all[i].size, i & 1 ? sizeof bytes : 0);
        assert_int_equal(live->all[i].header_count, i & 8 ? 2 : 0);
        expect_same(&live->all[i], &forwards->tale.all[i]);
        expect_same(&live->all[i], &backwards->tale.all[15 - i]);
    }
    fetch = of("foreign", 1);
    struct answer *foreign = alone_fetch(a, &fetch);
    assert_int_equal(foreign->messages, 1);
    assert_int_equal(foreign->tale.all[0].size, 0);
    assert_int_equal(foreign->tale.all[0].header_count, 2);
    assert_string_equal(foreign->tale.all[0].names[1], "b");
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* -------------------------------------------------------------------------------------------------- what is missing -- */

static void test_trimmed(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    fill(server, "x", 1, 1000);
    raw_ask(server, "XTRIM x MAXLEN 100");
    struct bcast_fetch fetch = behind("x", 1000, "0-0");
    struct answer *answer = alone_fetch(a, &fetch); /* from the very beginning it is known how many there were */
    expect_gap_first(answer, BCAST_EXACT, 900, 901, 100);
    assert_string_equal(answer->older, "901-0");
    expect_more(answer, false, false);
    fetch.position = "850-1"; /* in the midst it is not */
    expect_gap_first(alone_fetch(a, &fetch), BCAST_COUNT_UNKNOWN, 0, 901, 100);
    fetch.until = "860-1";
    answer = alone_fetch(a, &fetch);
    expect_gap_first(answer, BCAST_COUNT_UNKNOWN, 0, 0, 0);
    assert_string_equal(answer->newer, "860-1");
    expect_more(answer, false, false);
    fetch.position = "0-0";
    expect_gap_first(alone_fetch(a, &fetch), BCAST_COUNT_UNKNOWN, 0, 0, 0);
    fetch.position = "860-1"; /* nobody wants what is missing */
    expect_nothing(alone_fetch(a, &fetch), "860-1");
    fetch = behind("x", 1000, "901-0"); /* the place before the first that is left */
    expect(alone_fetch(a, &fetch), 901, 100);
    fetch.position = "950-1";
    expect(alone_fetch(a, &fetch), 951, 50);
    fetch.position = NULL; /* whatever there is */
    expect(alone_fetch(a, &fetch), 901, 100);
    fetch.position = "850-1";
    fetch.since_us = 990000; /* what is missing was older */
    expect(alone_fetch(a, &fetch), 990, 11);
    fetch = back("x", 1000);
    fetch.position = "850-1";
    expect_nothing(alone_fetch(a, &fetch), "850-1");
    fetch.position = NULL;
    expect(alone_fetch(a, &fetch), 1000, 100);

    raw_ask(server, "XTRIM x MAXLEN 0");
    fetch = behind("x", 1000, "0-0");
    answer = alone_fetch(a, &fetch);
    expect_gap_first(answer, BCAST_EXACT, 1000, 0, 0);
    assert_string_equal(answer->newer, "1000-1"); /* whoever goes on from there is not told again */
    fetch.position = answer->newer;
    expect_nothing(alone_fetch(a, &fetch), "1000-1");
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* Between two of a fetch's replies: a gap in the midst of it, exact where it has counted. */
struct trimmer {
    int server;
    unsigned at;
    const char *order;
};

static void trim_once(void *context)
{
    struct trimmer *trimmer = context;
    if (trimmer->at != 0 && --trimmer->at == 0)
        raw_ask(trimmer->server, trimmer->order);
}

static void test_trimmed_meanwhile(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    struct trimmer trimmer = {raw_open(broker), 0, "XTRIM x MAXLEN 100"};
    alone_on_fetched(a, trim_once, &trimmer);
    for (unsigned round = 0; round < 3; round++) {
        raw_ask(trimmer.server, "DEL x");
        fill(trimmer.server, "x", 1, 3000);
        if (round == 0)
            raw_ask(trimmer.server, "XTRIM x MAXLEN 2500"); /* nobody stood there */
        struct bcast_fetch fetch = behind("x", 10000, round == 0 ? NULL : round == 1 ? "0-0" : "5-1");
        trimmer.at = 10;
        struct answer *answer = alone_fetch(a, &fetch);
        unsigned first = round == 0 ? 501 : round == 1 ? 1 : 6, before = 0;
        assert_int_equal(answer->gaps, 1);
        for (; !answer->tale.all[before].is_gap; before++)
            expect_told(&answer->tale.all[before], first + before);
        const struct told *gap = &answer->tale.all[before];
        assert_in_range(before, 10, 256);
        assert_int_equal(gap->count, round == 2 ? BCAST_COUNT_UNKNOWN : BCAST_EXACT);
        assert_int_equal(gap->lost, round == 2 ? 0 : 2901 - first - before);
        assert_int_equal(answer->messages, before + 100);
        for (unsigned i = 0; i < 100; i++)
            expect_told(&answer->tale.all[before + 1 + i], 2901 + i);
    }
    close(trimmer.server);
    alone_close(a);
    broker_end(broker);
}

static void test_deleted_by_id(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    fill(server, "x", 1, 10);
    raw_ask(server, "XDEL x 4-1");
    struct bcast_fetch fetch = behind("x", 100, "2-1");
    struct answer *answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->gaps, 1);
    assert_int_equal(answer->messages, 7);
    expect_told(&answer->tale.all[0], 3);
    assert_true(answer->tale.all[1].is_gap); /* in its place */
    assert_int_equal(answer->tale.all[1].count, BCAST_AT_LEAST);
    assert_int_equal(answer->tale.all[1].lost, 1);
    expect_told(&answer->tale.all[2], 5);
    fetch.position = "4-1";
    expect(alone_fetch(a, &fetch), 5, 6);
    fetch.position = "0-0";
    answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->gaps, 1);
    assert_true(answer->tale.all[3].is_gap);
    fetch.position = NULL; /* who stood nowhere has missed nothing */
    answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->gaps, 0);
    assert_int_equal(answer->messages, 9);
    fetch = behind("x", 2, "3-1"); /* one page only is told */
    assert_int_equal(alone_fetch(a, &fetch)->gaps, 1);
    fetch.position = "5-1";
    expect(alone_fetch(a, &fetch), 6, 2);
    raw_ask(server, "XDEL x 10-1"); /* behind all that is left */
    fetch = behind("x", 100, "8-1");
    answer = alone_fetch(a, &fetch);
    assert_int_equal(answer->messages, 1);
    assert_int_equal(answer->gaps, 1);
    assert_string_equal(answer->newer, "10-1");
    fetch.position = answer->newer;
    expect_nothing(alone_fetch(a, &fetch), "10-1");
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void test_made_again(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    struct trimmer trimmer = {raw_open(broker), 0, "DEL x"};
    int server = trimmer.server;
    fill(server, "x", 1, 1000);
    struct bcast_fetch fetch = behind("x", 1000, "900-1");
    raw_ask(server, "DEL x");
    struct answer *answer = alone_fetch(a, &fetch);
    expect_gap_first(answer, BCAST_COUNT_UNKNOWN, 0, 0, 0);
    assert_string_equal(answer->newer, "0-0");
    expect_more(answer, false, false);
    fill(server, "x", 1, 300); /* or it is a server that had not got all of it */
    answer = alone_fetch(a, &fetch);
    expect_gap_first(answer, BCAST_COUNT_UNKNOWN, 0, 1, 300);
    assert_string_equal(answer->newer, "300-1");
    fetch.until = "200-1";
    expect_gap_first(alone_fetch(a, &fetch), BCAST_COUNT_UNKNOWN, 0, 1, 200);
    fetch.backwards = 1;
    expect(alone_fetch(a, &fetch), 300, 300);
    raw_ask(server, "XTRIM x MAXLEN 100"); /* it is said once */
    fetch = behind("x", 1000, "900-1");
    expect_gap_first(alone_fetch(a, &fetch), BCAST_COUNT_UNKNOWN, 0, 201, 100);
    raw_ask(server, "DEL x");

    fill(server, "x", 1, 1000); /* while it is being told */
    alone_on_fetched(a, trim_once, &trimmer);
    trimmer.at = 10;
    fetch = behind("x", 1000, "0-0");
    answer = alone_fetch(a, &fetch);
    assert_in_range(answer->messages, 10, 256);
    expect(answer, 1, (unsigned)answer->messages);
    expect_more(answer, false, false);
    fill(server, "x", 1, 1000);
    trimmer =
        (struct trimmer){server, 10, "EVAL \"redis.call('DEL','x') redis.call('XADD','x','3-1','message','3')\" 0"};
    answer = alone_fetch(a, &fetch);
    assert_in_range(answer->messages, 10, 256);
    expect(answer, 1, (unsigned)answer->messages);
    fetch.position = answer->newer; /* whoever goes on is told */
    expect_gap_first(alone_fetch(a, &fetch), BCAST_COUNT_UNKNOWN, 0, 3, 1);
    close(server);
    alone_close(a);
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------------------- refusals -- */

static void expect_status(struct alone *a, const struct bcast_fetch *fetch, int status, const char *word)
{
    struct answer *answer = alone_fetch(a, fetch);
    assert_int_equal(answer->status, status);
    assert_int_equal(answer->tale.count, 0);
    if (strstr(answer->reason, word) == NULL)
        fail_msg("'%s' is not in: %s", word, answer->reason);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "1",
                                      "-",
                                      "+",
                                      "1-",
                                      "-1",
                                      "1-1-1",
                                      "1-1 ",
                                      " 1-1",
                                      "1-+1",
                                      "0x1-1",
                                      "(1-1",
                                      "a-b",
                                      "1-1,2-2",
                                      "$",
                                      "99999999999999999999-1",
                                      "1-99999999999999999999"};
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    fill(server, "x", 1, 10);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bcast_fetch fetch = behind("x", 10, bad[i]), until = of("x", 10);
        expect_status(a, &fetch, BCAST_ERR_INVALID, "position");
        until.until = bad[i];
        expect_status(a, &until, BCAST_ERR_INVALID, "position");
        fetch.backwards = 1;
        expect_status(a, &fetch, BCAST_ERR_INVALID, "position");
    }
    struct bcast_fetch fetch = of("text", 10);
    raw_ask(server, "SET text 1");
    expect_status(a, &fetch, BCAST_ERR_REFUSED, "WRONGTYPE");
    fetch = of("x", 10);
    expect(alone_fetch(a, &fetch), 1, 10); /* the connection is as it was */
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void test_permission(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct alone *a = begin_at(text("redis-stream://app:app-password@127.0.0.1:%u", broker_port(broker)));
    struct bcast_fetch fetch = of("other", 10);
    expect_status(a, &fetch, BCAST_ERR_REFUSED, "NOPERM");
    fetch = of("app:x", 10);
    expect_nothing(alone_fetch(a, &fetch), "0-0");
    assert_string_equal(ask(broker, "ACL SETUSER app -xrange"), "+OK\r\n");
    expect_status(a, &fetch, BCAST_ERR_REFUSED, "xrange");
    fetch.backwards = 1;
    expect_nothing(alone_fetch(a, &fetch), "0-0");
    assert_string_equal(ask(broker, "ACL SETUSER app -multi"), "+OK\r\n");
    expect_status(a, &fetch, BCAST_ERR_REFUSED, "multi");
    alone_close(a);
    broker_end(broker);
}

/* ----------------------------------------------------------------------------------------------------- its own end -- */

/* Whoever has enough was told no more than was taken, and can go on behind that. */
static void test_enough(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker);
    int server = raw_open(broker);
    fill(server, "x", 1, 300);
    for (unsigned take = 0; take < 300; take = 2 * take + 1) {
        struct bcast_fetch fetch = of("x", 1000);
        struct answer *answer = alone_ask_for(a, &fetch, take);
        alone_until(a, answer->ended);
        expect(answer, 1, take);
        expect_more(answer, false, true);
        fetch.position = answer->newer;
        expect(alone_fetch(a, &fetch), take + 1, 300 - take);
        fetch = back("x", 1000);
        answer = alone_ask_for(a, &fetch, take);
        alone_until(a, answer->ended);
        expect(answer, 300, take);
        expect_more(answer, true, false);
        fetch.position = answer->older;
        expect(alone_fetch(a, &fetch), 300 - take, 300 - take);
    }
    raw_ask(server, "XTRIM x MAXLEN 100");
    struct bcast_fetch fetch = behind("x", 1000, "0-0");
    struct answer *answer = alone_ask_for(a, &fetch, 0);
    alone_until(a, answer->ended);
    expect_gap_first(answer, BCAST_EXACT, 200, 0, 0);
    fetch.position = answer->newer; /* what is missing was told */
    expect(alone_fetch(a, &fetch), 201, 100);
    close(server);
    alone_close(a);
    broker_end(broker);
}

static void cut(void *context)
{
    proxy_cut(context);
}

static void test_lost(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    struct alone *a = begin_at(text("redis-stream://127.0.0.1:%u", proxy_port(proxy)));
    int server = raw_open(broker);
    struct bcast_fetch fetch = of("x", 65536);
    struct answer *pending[3];
    fill(server, "x", 1, 3000);
    alone_on_fetched(a, cut, proxy);
    for (unsigned i = 0; i < 3; i++)
        pending[i] = alone_ask(a, &fetch);
    alone_until(a, alone_is_lost(a)); /* from then on the sink takes nothing of a fetch */
    alone_on_fetched(a, NULL, NULL);
    alone_disconnect(a);
    alone_connect(a);
    expect(alone_fetch(a, &fetch), 1, 3000);
    pending[0] = alone_ask(a, &fetch); /* without a loss */
    alone_disconnect(a);
    alone_connect(a);
    expect(alone_fetch(a, &fetch), 1, 3000);
    for (unsigned i = 0; i < 3; i++)
        assert_false(pending[i]->ended);
    (void)alone_ask(a, &fetch); /* under way when it is closed */
    close(server);
    alone_close(a);
    proxy_end(proxy);
    broker_end(broker);
}

/* -------------------------------------------------------------------------------------------------------- position -- */

static void test_position(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct alone *a = begin(broker), *b = begin(broker), *c = begin(broker);
    int server = raw_open(broker);
    struct tale *live = alone_subscribe(a, "x");
    assert_string_equal(alone_position(a), "0-0");
    fill(server, "x", 1, 5);
    alone_until(a, live->count == 5);
    assert_string_equal(alone_position(a), "5-1");
    (void)alone_subscribe(b, "x");
    assert_string_equal(alone_position(b), "5-1");
    raw_ask(server, "EVAL \"for i=6,100 do redis.call('XADD','x',i..'-1','message',i) end "
                    "redis.call('XTRIM','x','MAXLEN',0)\" 0");
    raw_ask(server, "XADD x 101-1 message 101"); /* so that it looks */
    alone_until(a, live->count >= 6 && !live->all[live->count - 1].is_gap);
    assert_string_equal(alone_position(a), "101-1");
    close(server);
    alone_close(a);
    alone_close(b);
    alone_close(c);
    broker_end(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_while_writing),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_only_where),
        cmocka_unit_test(test_limit_bytes),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_trimmed),
        cmocka_unit_test(test_trimmed_meanwhile),
        cmocka_unit_test(test_deleted_by_id),
        cmocka_unit_test(test_made_again),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_permission),
        cmocka_unit_test(test_enough),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_position),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests_name("redis-fetch", tests, NULL, NULL);
}
