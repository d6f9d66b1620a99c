/* kafka:// against a real broker: what is Kafka's alone. What every backend does, the conformance suite tries. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <librdkafka/rdkafka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"

static struct broker *broker;

static int start_broker(void **state)
{
    (void)state;
    return broker_start("kafka", &broker);
}

static int end_broker(void **state)
{
    (void)state;
    broker_end(broker);
    return 0;
}

static struct bcast *open_with(const char *value, const char *more)
{
    char url[1000];
    snprintf(url, sizeof url, "%s%s", broker_value(broker, value), more);
    return test_open(url);
}

static int try_open(const char *value, const char *more)
{
    char url[1000];
    struct bcast *b = NULL;
    snprintf(url, sizeof url, "%s%s", broker_value(broker, value), more);
    int status = bcast_open(url, NULL, &b);
    bcast_close(b);
    return status;
}

static struct bcast_sub *subscribe(struct bcast *b, const char *channel)
{
    return test_subscribe(b, channel, BCAST_DROP_OLDEST, 0);
}

/* ---------------------------------------------------------------------------------------- librdkafka, by ourselves -- */

static rd_kafka_t *raw_open(void)
{
    char why[200], servers[64];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(servers, sizeof servers, "127.0.0.1:%u", broker_port(broker));
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof why);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(rk);
    return rk;
}

static void raw_publish(const char *channel, int32_t partition, const char *text)
{
    rd_kafka_t *rk = raw_open();
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = channel},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)text, strlen(text)}},
    };
    assert_null(rd_kafka_produceva(rk, parts, sizeof parts / sizeof parts[0]));
    assert_int_equal(rd_kafka_flush(rk, 20000), 0);
    rd_kafka_destroy(rk);
}

enum admin { MORE_PARTITIONS, DELETE_TOPIC, DELETE_RECORDS };

static void ask_admin(rd_kafka_t *rk, rd_kafka_queue_t *queue, enum admin what, const char *channel, int64_t number)
{
    char why[200];
    if (what == MORE_PARTITIONS) {
        rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(channel, (size_t)number, why, sizeof why);
        rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
        rd_kafka_NewPartitions_destroy(more);
    } else if (what == DELETE_TOPIC) {
        rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(channel);
        rd_kafka_DeleteTopics(rk, &gone, 1, NULL, queue);
        rd_kafka_DeleteTopic_destroy(gone);
    } else {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, channel, 0)->offset = number;
        rd_kafka_DeleteRecords_t *gone = rd_kafka_DeleteRecords_new(list);
        rd_kafka_DeleteRecords(rk, &gone, 1, NULL, queue);
        rd_kafka_DeleteRecords_destroy(gone);
        rd_kafka_topic_partition_list_destroy(list);
    }
}

static void administer(enum admin what, const char *channel, int64_t number)
{
    rd_kafka_t *rk = raw_open();
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    ask_admin(rk, queue, what, channel, number);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_string_equal(rd_kafka_event_error_string(event), "Success");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

/* ------------------------------------------------------------------------------------------------- what is refused -- */

static void test_names(void **state)
{
    static const char *const bad[] = {".", "..", "a b", "a/b", "caf\xc3\xa9", "a:b", "*"};
    char text[251];
    struct bcast *b = open_with("URL", "");
    struct bcast_sub *sub = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        must_be(BCAST_ERR_REFUSED, bcast_publish(b, bad[i], "x", 1));
        must_be(BCAST_ERR_REFUSED, bcast_subscribe(b, bad[i], NULL, &sub));
        assert_non_null(strstr(bcast_error_text(), "topic"));
    }
    memset(text, 'a', 250);
    text[250] = '\0';
    must_be(BCAST_ERR_TOO_LARGE, bcast_publish(b, text, "x", 1));
    bcast_close(b);
}

static void test_settings(void **state)
{
    (void)state;
    must_be(BCAST_ERR_URL, try_open("URL", "&kafka.no.such.thing=1"));
    assert_non_null(strstr(bcast_error_text(), "no.such.thing"));
    must_be(BCAST_ERR_URL, try_open("URL", "&kafka.linger.ms=soon"));
    assert_non_null(strstr(bcast_error_text(), "linger.ms"));
    must_be(BCAST_ERR_URL, try_open("URL", "&kafka.group.id=mine"));
    assert_non_null(strstr(bcast_error_text(), "group.id"));
    must_be(BCAST_ERR_URL, try_open("URL", "&kafka.=1"));
    must_be(BCAST_ERR_URL, try_open("URL", "&sasl=kerberos"));
    must_be(BCAST_ERR_URL, try_open("URL", "&sasl=plain"));
    must_be(BCAST_ERR_URL, try_open("URL", "&tls_ca=/nowhere"));
    must_be(BCAST_ERR_URL, try_open("URL", "&compression=7zip"));
    must(try_open("URL", "&compression=lz4&kafka.linger.ms=1"));
}

static void note_status(void *context, int status)
{
    atomic_store((_Atomic int *)context, status);
}

static int fate_of(struct bcast *b, const char *channel, size_t size)
{
    struct bcast_message m = bcast_message_init();
    _Atomic int status = 1000;
    char *data = calloc(1, size);
    assert_non_null(data);
    m.channel = channel;
    m.data = data;
    m.size = size;
    m.on_result = note_status;
    m.context = &status;
    must(bcast_publish_message(b, &m));
    until(atomic_load(&status) != 1000);
    free(data);
    return atomic_load(&status);
}

static void test_oversize(void **state)
{
    struct bcast *b = open_with("URL", ""), *bold = open_with("URL", "&kafka.message.max.bytes=3000000");
    char *data = calloc(1, 2000000);
    (void)state;
    assert_non_null(data);
    must_be(BCAST_ERR_TOO_LARGE, bcast_publish(b, "large", data, 1000000));
    free(data);
    assert_int_equal(fate_of(b, "large", 900000), BCAST_OK);
    assert_int_equal(fate_of(bold, "large", 2000000), BCAST_ERR_TOO_LARGE); /* by the broker's own limit */
    assert_int_equal(fate_of(bold, "large", 1), BCAST_OK);
    bcast_close(b);
    bcast_close(bold);
}

static void test_missing_topic(void **state)
{
    struct broker *with = broker;
    struct bcast_sub *sub = NULL;
    (void)state;
    assert_int_equal(broker_start("kafka_no_create", &broker), 0);
    struct bcast *b = open_with("URL", "&create_timeout_ms=300");
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(b, "missing", NULL, &sub));
    assert_non_null(strstr(bcast_error_text(), "auto.create.topics.enable"));
    assert_int_equal(fate_of(b, "missing", 1), BCAST_ERR_PUBLISH);
    bcast_close(b);
    broker_end(broker);
    broker = with;
}

/* ------------------------------------------------------------------------------------------------------ who may in -- */

static void works(const char *value)
{
    struct bcast *b = open_with(value, "");
    struct bcast_sub *sub = subscribe(b, "users");
    struct bcast_event event = BCAST_EVENT_INIT;
    test_publish(b, "users", value);
    test_expect(sub, &event, value);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void test_passwords(void **state)
{
    static const char *const more[] = {"", "&sasl=scram-sha-256", "&sasl=scram-sha-512"};
    char url[300];
    struct bcast *b = NULL;
    (void)state;
    works("URL_SASL");
    works("URL_SCRAM_256");
    works("URL_SCRAM_512");
    for (int i = 0; i < 3; i++) {
        snprintf(url, sizeof url, "kafka://app:tell-nobody@127.0.0.1:%s?open=1",
                 strrchr(broker_value(broker, "URL_SASL"), ':') + 1);
        char *end = strchr(strrchr(url, ':'), '/');
        snprintf(end, sizeof url - (size_t)(end - url), "?outage_ms=250%s", more[i]);
        must_be(BCAST_ERR_REFUSED, bcast_open(url, NULL, &b));
        assert_null(strstr(bcast_error_text(), "tell-nobody"));
        assert_non_null(strstr(bcast_error_text(), "uthentication"));
    }
}

static void test_certificates(void **state)
{
    char url[600];
    struct bcast *b = NULL;
    (void)state;
    works("URL_TLS");
    works("URL_SASL_TLS");
    snprintf(url, sizeof url, "%.*s?tls_ca=%s", (int)strcspn(broker_value(broker, "URL_TLS"), "?"),
             broker_value(broker, "URL_TLS"), broker_value(broker, "OTHER_CA"));
    must_be(BCAST_ERR_REFUSED, bcast_open(url, NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "certificate"));
    snprintf(url, sizeof url, "%.*s?tls_verify=none", (int)strcspn(broker_value(broker, "URL_TLS"), "?"),
             broker_value(broker, "URL_TLS"));
    must(bcast_open(url, NULL, &b));
    bcast_close(b);
}

/* ----------------------------------------------------------------------------------------------------- while it runs -- */

static void test_barrier(void **state)
{
    const char *full = getenv("KAFKA_BARRIER");
    int rounds = full != NULL ? atoi(full) : 1000;
    struct bcast *b = open_with("URL", ""), *other = open_with("URL", "");
    struct bcast_event event = BCAST_EVENT_INIT;
    char channel[32], text[32];
    (void)state;
    for (int i = 0; i < rounds; i++) {
        snprintf(channel, sizeof channel, "barrier-%d", i % 8);
        snprintf(text, sizeof text, "%d", i);
        struct bcast_sub *sub = subscribe(b, channel);
        test_publish(other, channel, text);
        test_expect(sub, &event, text);
        bcast_release(&event);
        bcast_unsubscribe(sub);
    }
    bcast_close(b);
    bcast_close(other);
}

/* What is published to a new partition before anybody here knows of it arrives as well. */
static void test_partitions_added(void **state)
{
    struct bcast *b = open_with("URL", "&metadata_ms=200");
    struct bcast_sub *sub = subscribe(b, "grows"), *another = subscribe(b, "grows-not");
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    test_publish(b, "grows", "before");
    test_expect(sub, &event, "before");
    assert_string_equal(bcast_event_id(&event), "0:0");
    administer(MORE_PARTITIONS, "grows", 3);
    raw_publish("grows", 2, "new");
    test_expect(sub, &event, "new");
    assert_string_equal(bcast_event_id(&event), "2:0");
    raw_publish("grows", 0, "old");
    test_expect(sub, &event, "old");
    test_publish(b, "grows-not", "undisturbed");
    test_expect(another, &event, "undisturbed");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(another);
    bcast_close(b);
}

static void test_topic_deleted(void **state)
{
    struct bcast *b = open_with("URL", "&metadata_ms=200"), *other = open_with("URL", "");
    struct bcast_sub *sub = subscribe(b, "short-lived"), *stays = subscribe(b, "long-lived");
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    raw_publish("short-lived", 0, "once");
    test_expect(sub, &event, "once");
    administer(DELETE_TOPIC, "short-lived", 0);
    must_be(BCAST_ERR_REFUSED, bcast_next(sub, &event, 20000));
    assert_non_null(strstr(bcast_error_text(), "deleted"));
    test_publish(other, "long-lived", "still here");
    test_expect(stays, &event, "still here");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(stays);
    bcast_close(b);
    bcast_close(other);
}

/* The broker drops what a full subscription has not yet fetched: so many, to the message. */
static void test_trimmed(void **state)
{
    enum { COUNT = 100, KEPT_FROM = 60 };
    struct bcast *b = open_with("URL", "&kafka.queued.min.messages=1&kafka.max.partition.fetch.bytes=3000");
    struct bcast *other = open_with("URL", "&kafka.batch.num.messages=1");
    struct bcast_sub *sub = test_subscribe(b, "trimmed", BCAST_BLOCK, 4);
    struct bcast_event event = BCAST_EVENT_INIT;
    char text[1000] = "";
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        must(bcast_publish(other, "trimmed", text, sizeof text));
    }
    must(bcast_flush(other, 20000));
    administer(DELETE_RECORDS, "trimmed", KEPT_FROM);
    uint64_t next = 0, gaps = 0;
    while (next < COUNT) {
        must(bcast_next(sub, &event, 20000));
        if (event.kind == BCAST_GAP) {
            assert_int_equal(event.reason, BCAST_GAP_TRIMMED);
            assert_int_equal(event.count, BCAST_EXACT);
            next += event.lost;
            assert_int_equal(next, KEPT_FROM);
            gaps++;
        } else {
            assert_int_equal(strtoul(event.data, NULL, 10), next);
            next++;
        }
    }
    assert_int_equal(gaps, 1);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    bcast_close(other);
}

static void test_fork(void **state)
{
    struct bcast *b = open_with("URL", "");
    struct bcast_sub *sub = subscribe(b, "forked");
    struct bcast_event event = BCAST_EVENT_INIT;
    int status = -1;
    (void)state;
    test_publish(b, "forked", "before");
    test_expect(sub, &event, "before");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool dead = bcast_publish(b, "forked", "child", 5) == BCAST_ERR_FORKED;
        bcast_release(&event);
        bcast_unsubscribe(sub);
        bcast_close(b);
        _exit(dead ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    test_publish(b, "forked", "parent");
    test_expect(sub, &event, "parent");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_partitions_added),
        cmocka_unit_test(test_topic_deleted),
        cmocka_unit_test(test_trimmed),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_missing_topic),
    };
    return cmocka_run_group_tests(tests, start_broker, end_broker);
}
