/* History over kafka://, against a real broker: the backend's calls alone, with a sink and a loop of the test's own in place
 * of the library. */
#define _GNU_SOURCE
#include "test.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <broadcaster/backend.h>

#include "broker.h"
#include "url.h"

extern const struct bcast_backend bcast_backend_kafka;

static struct broker *broker;
static rd_kafka_t *producer;

#define ALL 100000
#define MESSAGES_MOST 4000
#define HOUR_MS 3600000

/* -------------------------------------------------------------------------------------------------------- the sink -- */

struct gap {
    size_t before; /* so many messages came first */
    enum bcast_gap_reason reason;
    uint64_t lost;
    enum bcast_count count;
};

struct answer {
    char (*ids)[48];
    int64_t *times_us;
    size_t count, bytes;
    struct gap gaps[4];
    size_t gap_count;
    int status, more_older, more_newer;
    char *older, *newer, *reason;
    bool ended;
};

struct puppet {
    struct bcast_sink sink;
    struct url url;
    void *self;
    int wake_fd;
    int64_t alarm_ms; /* -1: none */
    bool connected, lost;
    struct bcast_topic topic;
    size_t confirmed, received;
    struct answer answer;                               /* to request 1; the others are only counted */
    size_t ended, enough;                               /* enough: messages of an answer; 0: never */
    void (*look)(const struct bcast_incoming *message); /* at what is fetched */
};

static struct puppet *of(struct bcast_sink *sink)
{
    return (struct puppet *)(void *)sink;
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_connected(struct bcast_sink *sink)
{
    of(sink)->connected = true;
}

static void on_lost(struct bcast_sink *sink, int status, const char *reason, int terminal)
{
    (void)status, (void)reason, (void)terminal;
    of(sink)->lost = true;
}

static void on_subscribed(struct bcast_sink *sink, struct bcast_topic *topic, int status, const char *reason)
{
    (void)topic, (void)reason;
    must(status);
    of(sink)->confirmed++;
}

static int on_message(struct bcast_sink *sink, struct bcast_topic *topic, const struct bcast_incoming *message)
{
    (void)topic, (void)message;
    of(sink)->received++;
    return BCAST_OK;
}

static int on_fetched(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message)
{
    struct puppet *p = of(sink);
    if (request != 1)
        return BCAST_OK;
    assert_false(p->answer.ended);
    assert_true(p->answer.count < MESSAGES_MOST);
    if (p->enough != 0 && p->answer.count == p->enough)
        return BCAST_TIMEOUT;
    if (p->look != NULL)
        p->look(message);
    snprintf(p->answer.ids[p->answer.count], sizeof p->answer.ids[0], "%s", message->id);
    p->answer.times_us[p->answer.count++] = message->timestamp_us;
    p->answer.bytes += message->size;
    return BCAST_OK;
}

static void on_fetch_gap(struct bcast_sink *sink, uint64_t request, enum bcast_gap_reason reason, uint64_t lost,
                         enum bcast_count count)
{
    struct answer *answer = &of(sink)->answer;
    if (request != 1)
        return;
    assert_true(answer->gap_count < 4);
    answer->gaps[answer->gap_count++] = (struct gap){answer->count, reason, lost, count};
}

static char *copy(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

static void on_fetch_ended(struct bcast_sink *sink, uint64_t request, const struct bcast_fetch_end *end)
{
    struct puppet *p = of(sink);
    p->ended++;
    if (request != 1)
        return;
    assert_false(p->answer.ended);
    p->answer.ended = true;
    p->answer.status = end->status;
    p->answer.more_older = end->more_older;
    p->answer.more_newer = end->more_newer;
    p->answer.older = copy(end->older);
    p->answer.newer = copy(end->newer);
    p->answer.reason = copy(end->reason);
}

static void on_alarm(struct bcast_sink *sink, int in_ms)
{
    of(sink)->alarm_ms = in_ms < 0 ? -1 : now_ms(CLOCK_MONOTONIC) + in_ms;
}

static void on_wake(struct bcast_sink *sink)
{
    uint64_t one = 1;
    assert_int_equal(write(of(sink)->wake_fd, &one, sizeof one), sizeof one);
}

static void on_log(struct bcast_sink *sink, enum bcast_log_level level, const char *text)
{
    (void)sink, (void)level, (void)text;
}

/* -------------------------------------------------------------------------------------------------------- the loop -- */

static void turn(struct puppet *p)
{
    uint64_t count;
    struct pollfd fd = {.fd = p->wake_fd, .events = POLLIN};
    int64_t left = p->alarm_ms >= 0 ? p->alarm_ms - now_ms(CLOCK_MONOTONIC) : 1000;
    poll(&fd, 1, left < 0 ? 0 : left < 1000 ? (int)left : 1000);
    if (fd.revents != 0 && read(p->wake_fd, &count, sizeof count) > 0)
        bcast_backend_kafka.woken(p->self);
    if (p->alarm_ms >= 0 && now_ms(CLOCK_MONOTONIC) >= p->alarm_ms) {
        p->alarm_ms = -1;
        bcast_backend_kafka.alarm(p->self);
    }
}

#define turn_until(p, condition)                                                                                       \
    do {                                                                                                               \
        int64_t end_ms = now_ms(CLOCK_MONOTONIC) + 20000;                                                              \
        while (!(condition)) {                                                                                         \
            turn(p);                                                                                                   \
            if (now_ms(CLOCK_MONOTONIC) > end_ms)                                                                      \
                fail_msg("never happened: %s", #condition);                                                            \
        }                                                                                                              \
    } while (0)

static void connect_puppet(struct puppet *p)
{
    p->connected = p->lost = false;
    bcast_backend_kafka.connect(p->self);
    turn_until(p, p->connected);
}

static struct puppet *puppet_open(const char *value)
{
    char error[200];
    struct puppet *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->sink = (struct bcast_sink){
        .struct_size = sizeof p->sink,
        .connected = on_connected,
        .lost = on_lost,
        .subscribed = on_subscribed,
        .message = on_message,
        .fetched = on_fetched,
        .fetch_gap = on_fetch_gap,
        .fetch_ended = on_fetch_ended,
        .alarm = on_alarm,
        .wake = on_wake,
        .log = on_log,
    };
    must(url_parse(&p->url, broker_value(broker, value)));
    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->alarm_ms = -1;
    p->answer.ids = calloc(MESSAGES_MOST, sizeof p->answer.ids[0]);
    p->answer.times_us = calloc(MESSAGES_MOST, sizeof p->answer.times_us[0]);
    struct bcast_backend_setup setup = {
        .struct_size = sizeof setup, .url = &p->url.parts, .error = error, .error_size = sizeof error};
    must(bcast_backend_kafka.open(&setup, &p->sink, &p->self));
    connect_puppet(p);
    return p;
}

static void clear(struct answer *answer)
{
    free(answer->older);
    free(answer->newer);
    free(answer->reason);
    *answer = (struct answer){.ids = answer->ids, .times_us = answer->times_us};
}

static void puppet_close(struct puppet *p)
{
    bcast_backend_kafka.disconnect(p->self);
    bcast_backend_kafka.close(p->self);
    clear(&p->answer);
    free(p->answer.ids);
    free(p->answer.times_us);
    url_free(&p->url);
    close(p->wake_fd);
    free(p);
}

static struct bcast_fetch wanted(const char *channel, int backwards, size_t limit)
{
    return (struct bcast_fetch){.request = 1,
                                .channel = channel,
                                .channel_size = strlen(channel),
                                .backwards = backwards,
                                .limit = limit,
                                .limit_bytes = 1u << 30};
}

static struct answer *fetch(struct puppet *p, const struct bcast_fetch *ask)
{
    clear(&p->answer);
    bcast_backend_kafka.fetch(p->self, ask);
    turn_until(p, p->answer.ended);
    if (p->answer.status == BCAST_OK) {
        assert_non_null(p->answer.older);
        assert_non_null(p->answer.newer);
    }
    return &p->answer;
}

/* -------------------------------------------------------------------------------------- what is there to be fetched -- */

static rd_kafka_t *open_producer(const char *transactional_id)
{
    char why[200], servers[64];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(servers, sizeof servers, "127.0.0.1:%u", broker_port(broker));
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof why);
    rd_kafka_conf_set(conf, "linger.ms", "1", why, sizeof why);
    if (transactional_id != NULL)
        rd_kafka_conf_set(conf, "transactional.id", transactional_id, why, sizeof why);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(rk);
    return rk;
}

static void put_with(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t ms, const void *data, size_t size)
{
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = ms},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)data, size}},
    };
    assert_null(rd_kafka_produceva(rk, parts, sizeof parts / sizeof parts[0]));
}

static void put(const char *topic, int32_t partition, int64_t ms, const char *text)
{
    put_with(producer, topic, partition, ms, text, strlen(text));
}

static void flush(void)
{
    assert_int_equal(rd_kafka_flush(producer, 20000), 0);
}

static void await(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_string_equal(rd_kafka_event_error_string(event), "Success");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

static void make_topic(const char *name, int partitions)
{
    char why[200];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(producer);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, why, sizeof why);
    rd_kafka_CreateTopics(producer, &topic, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(topic);
    await(queue);
}

static void delete_records(const char *name, int32_t partition, int64_t before)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(producer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, name, partition)->offset = before;
    rd_kafka_DeleteRecords_t *gone = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(producer, &gone, 1, NULL, queue);
    rd_kafka_DeleteRecords_destroy(gone);
    rd_kafka_topic_partition_list_destroy(list);
    await(queue);
}

/* What a topic has, in the order it is to be told. */
struct story {
    const char *topic;
    int partitions;
    size_t count;
    int64_t start_ms;
    char ids[MESSAGES_MOST][48];
};

static struct story three, one;

/* Two or three messages have the same time, in the partitions unevenly and against their order: `pattern` says where; within
 * a group of the same time the story has them by partition. */
static void tell_story(struct story *story, const char *topic, int partitions, size_t count)
{
    static const int pattern[] = {2, 0, 0, 1, 1, 0, 2, 0, 1, 0, 0, 0};
    int64_t offsets[3] = {0};
    *story = (struct story){.topic = topic, .partitions = partitions, .count = count};
    story->start_ms = now_ms(CLOCK_REALTIME) - HOUR_MS;
    make_topic(topic, partitions);
    for (size_t group = 0; group < count; group += 3) {
        size_t used = group;
        for (size_t i = group; i < group + 3 && i < count; i++)
            put(topic, pattern[i % 12] % partitions, story->start_ms + (int64_t)group, "text");
        for (int p = 0; p < partitions; p++)
            for (size_t i = group; i < group + 3 && i < count; i++)
                if (pattern[i % 12] % partitions == p)
                    snprintf(story->ids[used++], sizeof story->ids[0], "%d:%" PRId64, p, offsets[p]++);
    }
    flush();
}

static void same(const struct answer *answer, const struct story *story, size_t from, size_t count, int backwards)
{
    assert_int_equal(answer->status, BCAST_OK);
    assert_int_equal(answer->count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(answer->ids[i], story->ids[backwards ? from + count - 1 - i : from + i]);
}

static int set_up(void **state)
{
    static const char *const args[] = {
        "--override", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "--override", "super.users=User:ANONYMOUS",
        "--override", "allow.everyone.if.no.acl.found=true",
        NULL};
    (void)state;
    if (broker_start_with("kafka", args, &broker) != 0)
        return -1;
    producer = open_producer(NULL);
    tell_story(&three, "three", 3, 100);
    tell_story(&one, "one", 1, 40);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rd_kafka_destroy(producer);
    broker_end(broker);
    return 0;
}

/* ------------------------------------------------------------------------------------------------- how many, and where -- */

static void test_nothing(void **state)
{
    struct puppet *p = puppet_open("URL");
    (void)state;
    make_topic("empty", 2);
    for (int backwards = 0; backwards < 2; backwards++) {
        struct bcast_fetch ask = wanted("empty", backwards, 10);
        struct answer *answer = fetch(p, &ask);
        assert_int_equal(answer->status, BCAST_OK);
        assert_int_equal(answer->count, 0);
        assert_string_equal(answer->older, "0:-1,1:-1");
        assert_string_equal(answer->newer, "0:-1,1:-1");
        assert_false(answer->more_older || answer->more_newer);
        ask = wanted("unknown", backwards, 10);
        answer = fetch(p, &ask);
        assert_int_equal(answer->status, BCAST_OK);
        assert_int_equal(answer->count, 0);
        assert_string_equal(answer->newer, "0:-1");
    }
    const struct rd_kafka_metadata *metadata = NULL;
    assert_int_equal(rd_kafka_metadata(producer, 1, NULL, &metadata, 20000), 0);
    for (int i = 0; i < metadata->topic_cnt; i++) /* asking did not make it */
        assert_string_not_equal(metadata->topics[i].topic, "unknown");
    rd_kafka_metadata_destroy(metadata);
    puppet_close(p);
}

static void check_counts(struct puppet *p, const struct story *story)
{
    const size_t limits[] = {1, 10, story->count - 1, story->count, story->count + 1, ALL};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        size_t count = limits[i] < story->count ? limits[i] : story->count;
        struct bcast_fetch ask = wanted(story->topic, 0, limits[i]);
        struct answer *answer = fetch(p, &ask);
        same(answer, story, 0, count, 0);
        assert_int_equal(answer->more_newer, count < story->count);
        assert_int_equal(answer->more_older, 0);
        ask.backwards = 1;
        answer = fetch(p, &ask);
        same(answer, story, story->count - count, count, 1);
        assert_int_equal(answer->more_older, count < story->count);
        assert_int_equal(answer->more_newer, 0);
    }
}

static void test_counts(void **state)
{
    struct puppet *p = puppet_open("URL");
    (void)state;
    check_counts(p, &three);
    check_counts(p, &one);
    for (size_t i = 0; i < three.count; i++) /* as it was told */
        assert_true(i == 0 || strcmp(three.ids[i], three.ids[i - 1]) != 0);
    puppet_close(p);
}

static void check_pages(struct puppet *p, const struct story *story, size_t limit, int backwards)
{
    char position[200] = "";
    struct bcast_fetch ask = wanted(story->topic, backwards, limit);
    for (size_t done = 0; done < story->count;) {
        size_t count = story->count - done < limit ? story->count - done : limit;
        struct answer *answer = fetch(p, &ask);
        same(answer, story, backwards ? story->count - done - count : done, count, backwards);
        done += count;
        assert_int_equal(backwards ? answer->more_older : answer->more_newer, done < story->count);
        snprintf(position, sizeof position, "%s", backwards ? answer->older : answer->newer);
        /* the other edge is where this page began */
        if (ask.position != NULL && done != count)
            assert_int_equal(backwards ? answer->more_newer : answer->more_older, 1);
        ask.position = position;
    }
    assert_int_equal(fetch(p, &ask)->count, 0);
    assert_string_equal(p->answer.older, position);
    assert_string_equal(p->answer.newer, position);
}

static void test_pages(void **state)
{
    struct puppet *p = puppet_open("URL");
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        check_pages(p, &three, 7, backwards);
        check_pages(p, &three, 33, backwards);
        check_pages(p, &one, 3, backwards);
    }
    puppet_close(p);
}

/* Back and forth over the same place: the page behind `older` is the page again, and before `newer` likewise. */
static void test_turning_round(void **state)
{
    char position[200];
    struct puppet *p = puppet_open("URL");
    struct bcast_fetch ask = wanted("three", 1, 20);
    (void)state;
    same(fetch(p, &ask), &three, 80, 20, 1);
    snprintf(position, sizeof position, "%s", p->answer.older);
    ask.position = position;
    same(fetch(p, &ask), &three, 60, 20, 1);
    snprintf(position, sizeof position, "%s", p->answer.older);
    ask.backwards = 0;
    same(fetch(p, &ask), &three, 60, 20, 0);
    snprintf(position, sizeof position, "%s", p->answer.newer);
    ask.backwards = 1;
    same(fetch(p, &ask), &three, 60, 20, 1);
    ask = wanted("three", 0, 20); /* a partition that is not named */
    ask.position = "1:1000000000";
    must(fetch(p, &ask)->status);
    ask.position = "0:1,2:0";
    for (size_t i = 0; i < fetch(p, &ask)->count; i++)
        assert_true(strcmp(p->answer.ids[i], "0:1") != 0 && strcmp(p->answer.ids[i], "2:0") != 0);
    assert_int_equal(p->answer.gap_count, 0);
    ask.backwards = 1;
    ask.position = "2:1";
    assert_int_equal(fetch(p, &ask)->count, 2);
    assert_string_equal(p->answer.ids[0], "2:1");
    assert_string_equal(p->answer.ids[1], "2:0");
    assert_string_equal(p->answer.newer, "0:-1,1:-1,2:1");
    puppet_close(p);
}

static void test_until(void **state)
{
    char start[200], end[200];
    struct puppet *p = puppet_open("URL");
    struct bcast_fetch ask = wanted("three", 0, 30);
    (void)state;
    snprintf(start, sizeof start, "%s", fetch(p, &ask)->newer);
    ask.limit = 70;
    snprintf(end, sizeof end, "%s", fetch(p, &ask)->newer);
    ask.limit = ALL;
    ask.position = start;
    ask.until = end;
    same(fetch(p, &ask), &three, 30, 40, 0);
    assert_string_equal(p->answer.older, start);
    assert_string_equal(p->answer.newer, end);
    assert_true(p->answer.more_older && !p->answer.more_newer); /* up to there */
    ask.limit = 39;
    same(fetch(p, &ask), &three, 30, 39, 0);
    assert_true(p->answer.more_older && p->answer.more_newer);
    ask.limit = ALL;
    ask.until = start;
    assert_int_equal(fetch(p, &ask)->count, 0);
    assert_string_equal(p->answer.newer, start);
    ask.position = NULL;
    ask.until = "1:2"; /* and nothing of the others */
    assert_int_equal(fetch(p, &ask)->count, 3);
    assert_string_equal(p->answer.ids[2], "1:2");
    assert_string_equal(p->answer.newer, "0:-1,1:2,2:-1");
    puppet_close(p);
}

static void test_since(void **state)
{
    struct puppet *p = puppet_open("URL");
    struct bcast_fetch ask = wanted("three", 0, ALL);
    (void)state;
    ask.since_us = (three.start_ms + 60) * 1000;
    same(fetch(p, &ask), &three, 60, 40, 0);
    assert_int_equal(p->answer.more_older, 0); /* nothing that is not too old */
    ask.since_us++;                            /* just after it */
    same(fetch(p, &ask), &three, 63, 37, 0);
    ask.backwards = 1;
    same(fetch(p, &ask), &three, 63, 37, 1);
    assert_int_equal(p->answer.more_older, 0);
    ask.limit = 10;
    same(fetch(p, &ask), &three, 90, 10, 1);
    assert_int_equal(p->answer.more_older, 1);
    for (ask.backwards = 0; ask.backwards < 2; ask.backwards++) {
        ask.since_us = (three.start_ms + HOUR_MS) * 1000;
        assert_int_equal(fetch(p, &ask)->count, 0);
        assert_string_equal(p->answer.older, p->answer.newer);
    }
    /* times that go back within a partition */
    make_topic("unruly", 1);
    for (int i = 0; i < 6; i++)
        put("unruly", 0, three.start_ms + (i % 2 == 0 ? 100 + i : i), "text");
    flush();
    ask = wanted("unruly", 0, ALL);
    assert_int_equal(fetch(p, &ask)->count, 6);
    for (ask.backwards = 0; ask.backwards < 2; ask.backwards++) {
        ask.since_us = (three.start_ms + 100) * 1000;
        assert_int_equal(fetch(p, &ask)->count, 3);
        assert_string_equal(p->answer.ids[1], "0:2");
    }
    puppet_close(p);
}

static void test_only_where(void **state)
{
    char older[200], newer[200];
    struct puppet *p = puppet_open("URL");
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct bcast_fetch ask = wanted("three", backwards, 40);
        snprintf(older, sizeof older, "%s", fetch(p, &ask)->older);
        snprintf(newer, sizeof newer, "%s", p->answer.newer);
        ask.only_where = 1;
        assert_int_equal(fetch(p, &ask)->count, 0);
        assert_string_equal(p->answer.older, older);
        assert_string_equal(p->answer.newer, newer);
        ask.limit = 0;
        assert_string_equal(fetch(p, &ask)->older, backwards ? newer : older);
        assert_string_equal(p->answer.newer, backwards ? newer : older);
    }
    puppet_close(p);
}

/* Large messages, that are not all held at once: backwards they are read more than once, and told once. */
static void test_bytes(void **state)
{
    enum { COUNT = 60, SIZE = 100000 };
    struct puppet *p = puppet_open("URL");
    char *data = calloc(1, SIZE), id[48];
    (void)state;
    assert_non_null(data);
    make_topic("large", 1);
    for (int i = 0; i < COUNT; i++)
        put_with(producer, "large", 0, three.start_ms, data, SIZE);
    flush();
    free(data);
    for (int backwards = 0; backwards < 2; backwards++) {
        struct bcast_fetch ask = wanted("large", backwards, ALL);
        assert_int_equal(fetch(p, &ask)->count, COUNT);
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "0:%d", backwards ? COUNT - 1 - i : i);
            assert_string_equal(p->answer.ids[i], id);
        }
        ask.limit_bytes = 5 * SIZE;
        assert_int_equal(fetch(p, &ask)->count, 5);
        assert_string_equal(backwards ? p->answer.older : p->answer.newer, backwards ? "0:54" : "0:4");
        ask.limit_bytes = 1;
        assert_int_equal(fetch(p, &ask)->count, 1);
    }
    puppet_close(p);
}

/* The message that is one too many has not been told; also if it is the last one. */
static void test_enough(void **state)
{
    static const size_t enough[] = {13, 99};
    struct puppet *p = puppet_open("URL");
    (void)state;
    for (int i = 0; i < 4; i++) {
        char position[200];
        int backwards = i % 2;
        size_t first = enough[i / 2], rest = three.count - first;
        struct bcast_fetch ask = wanted("three", backwards, ALL);
        p->enough = first;
        same(fetch(p, &ask), &three, backwards ? rest : 0, first, backwards);
        assert_int_equal(backwards ? p->answer.more_older : p->answer.more_newer, 1);
        snprintf(position, sizeof position, "%s", backwards ? p->answer.older : p->answer.newer);
        p->enough = 0;
        ask.position = position;
        same(fetch(p, &ask), &three, backwards ? 0 : first, rest, backwards);
    }
    puppet_close(p);
}

/* ---------------------------------------------------------------------------------------------------- what they carry -- */

static void look_at_binary(const struct bcast_incoming *message)
{
    assert_int_equal(message->size, 5);
    assert_memory_equal(message->data, "a\0\xff\n", 5);
    assert_int_equal(message->key_size, 3);
    assert_memory_equal(message->key, "k\0y", 3);
    assert_int_equal(message->header_count, 2);
    assert_string_equal(message->headers[0].name, "one");
    assert_int_equal(message->headers[0].value_size, 2);
    assert_memory_equal(message->headers[0].value, "\0x", 2);
    assert_string_equal(message->headers[1].name, "two");
    assert_int_equal(message->timestamp_us, three.start_ms * 1000);
    assert_string_equal(message->id, "0:0");
}

static void test_content(void **state)
{
    struct puppet *p = puppet_open("URL");
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = "content"},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = three.start_ms},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(char[]){"a\0\xff\n"}, 5}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(char[]){"k\0y"}, 3}},
        {.vtype = RD_KAFKA_VTYPE_HEADER, .u.header = {"one", "\0x", 2}},
        {.vtype = RD_KAFKA_VTYPE_HEADER, .u.header = {"two", "", 0}},
    };
    (void)state;
    make_topic("content", 1);
    assert_null(rd_kafka_produceva(producer, parts, sizeof parts / sizeof parts[0]));
    flush();
    p->look = look_at_binary;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct bcast_fetch ask = wanted("content", backwards, 10);
        assert_int_equal(fetch(p, &ask)->count, 1);
    }
    puppet_close(p);
}

/* 0 is a message, 1 a transaction with its mark behind it, 3 to 5 one that was aborted, 7 another with the last mark: 8. */
static void make_holes(void)
{
    rd_kafka_t *rk = open_producer("test");
    make_topic("holes", 1);
    put("holes", 0, three.start_ms, "plain");
    flush();
    assert_null(rd_kafka_init_transactions(rk, 20000));
    for (int round = 0; round < 3; round++) {
        assert_null(rd_kafka_begin_transaction(rk));
        for (int i = 0; i < (round == 1 ? 3 : 1); i++)
            put_with(rk, "holes", 0, three.start_ms, "text", 4);
        assert_int_equal(rd_kafka_flush(rk, 20000), 0);
        assert_null(round == 1 ? rd_kafka_abort_transaction(rk, 20000) : rd_kafka_commit_transaction(rk, 20000));
    }
    rd_kafka_destroy(rk);
}

static void check_holes(struct puppet *p, size_t limit, int backwards)
{
    static const char *const ids[] = {"0:0", "0:1", "0:7"};
    char position[48] = "";
    struct bcast_fetch ask = wanted("holes", backwards, limit);
    for (size_t done = 0, more = 1; more != 0; ask.position = position) {
        struct answer *answer = fetch(p, &ask);
        assert_int_equal(answer->status, BCAST_OK);
        for (size_t i = 0; i < answer->count; i++, done++)
            assert_string_equal(answer->ids[i], ids[backwards ? 2 - done : done]);
        snprintf(position, sizeof position, "%s", backwards ? answer->older : answer->newer);
        more = answer->count;
        assert_true(more != 0 || done == 3);
    }
}

static void test_holes(void **state)
{
    struct puppet *p = puppet_open("URL");
    struct bcast_fetch ask = wanted("holes", 0, ALL);
    (void)state;
    make_holes();
    until(strcmp(fetch(p, &ask)->newer, "0:8") == 0); /* the broker writes its marks later */
    assert_int_equal(p->answer.more_newer, 0);
    for (size_t limit = 1; limit < 5; limit++) {
        check_holes(p, limit, 0);
        check_holes(p, limit, 1);
    }
    puppet_close(p);
}

/* -------------------------------------------------------------------------------------------------- while it changes -- */

static void *publish_many(void *argument)
{
    int64_t start_ms = *(int64_t *)argument;
    for (int i = 0; i < 1500; i++)
        put("busy", i % 3, start_ms + 500 + i / 4, "text");
    flush();
    return NULL;
}

/* Nothing is lost and nothing doubled: of each partition the offsets come one after the other. */
static size_t follow(const struct answer *answer, int64_t next[3], int step)
{
    for (size_t i = 0; i < answer->count; i++) {
        int partition = atoi(answer->ids[i]);
        assert_int_equal(atoll(strchr(answer->ids[i], ':') + 1), next[partition]);
        next[partition] += step;
    }
    return answer->count;
}

static void test_while_published(void **state)
{
    char newest[200], position[200] = "";
    int64_t forwards[3] = {0}, backwards[3];
    struct puppet *p = puppet_open("URL");
    pthread_t thread;
    (void)state;
    make_topic("busy", 3);
    for (int i = 0; i < 300; i++)
        put("busy", i % 3, three.start_ms + i, "text");
    flush();
    test_start(&thread, publish_many, &three.start_ms);
    struct bcast_fetch ask = wanted("busy", 1, 40);
    must(fetch(p, &ask)->status);
    snprintf(newest, sizeof newest, "%s", p->answer.newer);
    assert_int_equal(
        sscanf(newest, "0:%" SCNd64 ",1:%" SCNd64 ",2:%" SCNd64, &backwards[0], &backwards[1], &backwards[2]), 3);
    ask.position = position;
    while (follow(&p->answer, backwards, -1) != 0) {
        snprintf(position, sizeof position, "%s", p->answer.older);
        must(fetch(p, &ask)->status);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(backwards[i], -1);
    size_t count = 0;
    ask = wanted("busy", 0, 100);
    while (count < 1800) {
        count += follow(fetch(p, &ask), forwards, 1);
        snprintf(position, sizeof position, "%s", p->answer.newer);
        ask.position = position;
    }
    assert_int_equal(fetch(p, &ask)->count, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    puppet_close(p);
}

static void expect_gap(const struct answer *answer, uint64_t lost, enum bcast_count count)
{
    assert_int_equal(answer->status, BCAST_OK);
    assert_int_equal(answer->gap_count, 1);
    assert_int_equal(answer->gaps[0].before, 0);
    assert_int_equal(answer->gaps[0].reason, BCAST_GAP_TRIMMED);
    assert_int_equal(answer->gaps[0].lost, lost);
    assert_int_equal(answer->gaps[0].count, count);
}

static void test_trimmed(void **state)
{
    struct puppet *p = puppet_open("URL");
    (void)state;
    make_topic("trimmed", 2);
    for (int i = 0; i < 40; i++)
        put("trimmed", i % 2, three.start_ms + i, "text");
    flush();
    delete_records("trimmed", 1, 15);
    struct bcast_fetch ask = wanted("trimmed", 0, ALL);
    assert_int_equal(fetch(p, &ask)->count, 25);
    assert_int_equal(p->answer.gap_count, 0); /* from the oldest: whichever that is */
    assert_string_equal(p->answer.older, "0:-1,1:14");
    ask.position = "0:9,1:4";
    expect_gap(fetch(p, &ask), 10, BCAST_EXACT);
    assert_int_equal(p->answer.count, 15);
    ask.position = "0:9,1:14";
    assert_int_equal(fetch(p, &ask)->gap_count, 0);
    ask.position = "0:19,1:100"; /* of another topic that had the name */
    expect_gap(fetch(p, &ask), 0, BCAST_COUNT_UNKNOWN);
    assert_int_equal(p->answer.count, 5);
    ask.position = "0:19,1:19,2:7";
    expect_gap(fetch(p, &ask), 0, BCAST_COUNT_UNKNOWN);
    assert_int_equal(p->answer.count, 0);
    ask.position = "0:9,1:4";
    ask.only_where = 1;
    assert_string_equal(fetch(p, &ask)->older, "0:9,1:14");
    assert_int_equal(p->answer.gap_count, 0);
    ask.only_where = 0;
    ask.backwards = 1;
    assert_int_equal(fetch(p, &ask)->count, 10);
    assert_int_equal(p->answer.gap_count, 0);
    assert_int_equal(p->answer.more_older, 0);
    puppet_close(p);
}

/* ---------------------------------------------------------------------------------------------- what is not answered -- */

static void test_malformed(void **state)
{
    static const char *const bad[] = {"",        "1",     "1:",     ":1",   "1:2,",         ",1:2",
                                      "1:2,1:3", "a:1",   "1:b",    "01:1", "1:01",         "1:-2",
                                      " 1:1",    "1:1 ",  "+1:1",   "1:+1", "2147483648:1", "1:9223372036854775808",
                                      "0-0",     "1:-11", "1:2;2:3"};
    struct puppet *p = puppet_open("URL");
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bcast_fetch ask = wanted("three", 0, 10);
        ask.position = bad[i];
        assert_int_equal(fetch(p, &ask)->status, BCAST_ERR_INVALID);
        assert_non_null(p->answer.reason);
        ask.position = NULL;
        ask.until = bad[i];
        assert_int_equal(fetch(p, &ask)->status, BCAST_ERR_INVALID);
    }
    struct bcast_fetch ask = wanted("three", 0, 10);
    ask.position = "2:-1,0:-1,1:-1"; /* whatever the order */
    same(fetch(p, &ask), &three, 0, 10, 0);
    assert_int_equal(p->answer.gap_count, 0);
    ask = wanted("no/such", 0, 10);
    assert_int_equal(fetch(p, &ask)->status, BCAST_ERR_REFUSED);
    puppet_close(p);
}

static void test_refused(void **state)
{
    char why[200];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(producer);
    (void)state;
    make_topic("secret", 1);
    rd_kafka_AclBinding_t *acl =
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, "secret", RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:somebody",
                                "*", RD_KAFKA_ACL_OPERATION_ALL, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, why, sizeof why);
    rd_kafka_CreateAcls(producer, &acl, 1, NULL, queue);
    rd_kafka_AclBinding_destroy(acl);
    await(queue);
    struct puppet *p = puppet_open("URL_SASL");
    struct bcast_fetch ask = wanted("secret", 0, 10);
    assert_int_equal(fetch(p, &ask)->status, BCAST_ERR_REFUSED);
    assert_non_null(strstr(p->answer.reason, "authorization failed"));
    ask = wanted("one", 0, 10);
    same(fetch(p, &ask), &one, 0, 10, 0);
    puppet_close(p);
}

/* Several at once are all answered; those under way when it is disconnected are not, and leave nothing behind. */
static void test_several(void **state)
{
    struct puppet *p = puppet_open("URL");
    struct bcast_fetch first = wanted("three", 1, 10), other = wanted("three", 0, 50);
    other.request = 2;
    (void)state;
    for (int round = 0; round < 3; round++) {
        clear(&p->answer);
        p->ended = 0;
        for (int i = 0; i < 5; i++)
            bcast_backend_kafka.fetch(p->self, &other);
        bcast_backend_kafka.fetch(p->self, &first);
        if (round == 1)
            turn_until(p, p->ended == 2);
        if (round != 2) {
            bcast_backend_kafka.disconnect(p->self);
            connect_puppet(p);
            assert_int_equal(p->ended, round == 1 ? 2 : 0);
        }
    }
    turn_until(p, p->ended == 6);
    same(&p->answer, &three, 90, 10, 1);
    clear(&p->answer);
    bcast_backend_kafka.fetch(p->self, &first); /* closed in the middle */
    puppet_close(p);
}

/* ---------------------------------------------------------------------------------------------------------- position -- */

static void test_position(void **state)
{
    char text[200], shorter[8];
    struct puppet *p = puppet_open("URL");
    struct bcast_topic *topic = &p->topic;
    (void)state;
    make_topic("position", 3);
    put("position", 2, three.start_ms, "before");
    flush();
    topic->name = "position";
    topic->size = strlen(topic->name);
    bcast_backend_kafka.subscribe(p->self, &topic, 1);
    turn_until(p, p->confirmed == 1);
    assert_int_equal(bcast_backend_kafka.position(p->self, topic, text, sizeof text), 13);
    assert_string_equal(text, "0:-1,1:-1,2:0");
    put("position", 0, three.start_ms + 1, "one");
    put("position", 0, three.start_ms + 2, "two");
    put("position", 2, three.start_ms + 3, "three");
    flush();
    turn_until(p, p->received == 3);
    assert_int_equal(bcast_backend_kafka.position(p->self, topic, text, sizeof text), 12);
    assert_string_equal(text, "0:1,1:-1,2:1");
    assert_int_equal(bcast_backend_kafka.position(p->self, topic, shorter, sizeof shorter), 12);
    assert_string_equal(shorter, "0:1,1:-");
    struct bcast_fetch ask =
        wanted("position", 1, 2); /* what is fetched and what is subscribed do not disturb each other */
    ask.position = text;
    assert_int_equal(fetch(p, &ask)->count, 2);
    assert_string_equal(p->answer.ids[0], "2:1");
    assert_string_equal(p->answer.ids[1], "0:1");
    ask.backwards = 0;
    assert_int_equal(fetch(p, &ask)->count, 0);
    assert_string_equal(p->answer.newer, text);
    put("position", 1, three.start_ms + 4, "four");
    flush();
    turn_until(p, p->received == 4);
    assert_int_equal(fetch(p, &ask)->count, 1);
    bcast_backend_kafka.unsubscribe(p->self, &topic, 1);
    puppet_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),         cmocka_unit_test(test_counts),   cmocka_unit_test(test_pages),
        cmocka_unit_test(test_turning_round),   cmocka_unit_test(test_until),    cmocka_unit_test(test_since),
        cmocka_unit_test(test_only_where),      cmocka_unit_test(test_bytes),    cmocka_unit_test(test_enough),
        cmocka_unit_test(test_content),         cmocka_unit_test(test_holes),    cmocka_unit_test(test_trimmed),
        cmocka_unit_test(test_while_published), cmocka_unit_test(test_refused),  cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_several),         cmocka_unit_test(test_position),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
