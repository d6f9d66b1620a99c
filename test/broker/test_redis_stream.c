/* redis-stream:// beside what every backend has to do: what entries look like, what is gone is counted, nothing that the
 * server kept is lost. */
#define _GNU_SOURCE
#include "redis_talk.h"

static const char *stream_url(struct broker *broker)
{
    return text("redis-stream://127.0.0.1:%u", broker_port(broker));
}

static void expect_lost(struct bcast_sub *sub, struct bcast_event *event, enum bcast_count count, uint64_t lost)
{
    must(bcast_next(sub, event, 20000));
    assert_int_equal(event->kind, BCAST_GAP);
    assert_int_equal(event->reason, BCAST_GAP_TRIMMED);
    assert_int_equal(event->count, count);
    assert_int_equal(event->lost, lost);
}

/* Entries that the server is told to add by somebody else: "0", "1", ... */
static void add_entries(int server, const char *key, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        (void)raw_ask(server, text("XADD %s * message %u", key, i));
}

static void expect_numbers(struct bcast_sub *sub, struct bcast_event *event, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        test_expect(sub, event, text("%u", i));
}

/* What others write is understood, and they understand us. */
static void test_fields(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(stream_url(broker));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_header header = {"colour", "red", 3}, got;
    struct bcast_message message = bcast_message_init();
    int server = raw_open(broker);
    size_t size;
    message.channel = "x";
    message.data = "ours";
    message.size = 4;
    message.key = "k";
    message.key_size = 1;
    message.headers = &header;
    message.header_count = 1;
    must(bcast_publish_message(link->b, &message));
    must(bcast_flush(link->b, 20000));
    const char *range = raw_ask(server, "XRANGE x - +");
    assert_non_null(
        strstr(range, "$7\r\nmessage\r\n$4\r\nours\r\n$3\r\nkey\r\n$1\r\nk\r\n$6\r\ncolour\r\n$3\r\nred\r\n"));
    test_expect(sub, &event, "ours");
    assert_memory_equal(bcast_event_key(&event, &size), "k", 1);
    assert_true(event.timestamp_us > INT64_C(1600000000000000));
    char id[64];
    snprintf(id, sizeof id, "%s", bcast_event_id(&event));
    assert_non_null(strstr(range, id));

    raw_ask(server, "XADD x * a 1 b 2"); /* no message of ours: fields are headers */
    test_expect(sub, &event, "");
    assert_int_equal(bcast_event_header_count(&event), 2);
    must(bcast_event_header(&event, 1, &got));
    assert_string_equal(got.name, "b");
    assert_memory_equal(got.value, "2", 1);
    raw_ask(server, "XADD x * single 1");
    test_expect(sub, &event, "");
    assert_int_equal(bcast_event_header_count(&event), 1);

    header.name = "message";
    must_be(BCAST_ERR_UNSUPPORTED, bcast_publish_message(link->b, &message));
    must_name("\"message\"");
    tell(broker, "SET text 1");
    struct bcast_sub *none;
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(link->b, "text", NULL, &none));
    must_name("WRONGTYPE");
    must(bcast_publish(link->b, "text", "x", 1));
    must_be(BCAST_ERR_PUBLISH, bcast_flush(link->b, 20000));
    close(server);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
    broker_end(broker);
}

/* A full blocking subscription is not read for; what is cut off meanwhile is counted, to the message, in its place. */
static void test_trimmed_while_paused(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(stream_url(broker));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_BLOCK, 16), *other;
    struct bcast_event event = BCAST_EVENT_INIT;
    int server = raw_open(broker);
    other = test_subscribe(link->b, "y", BCAST_DROP_OLDEST, 0);
    add_entries(server, "x", 0, 1000);
    until(bcast_sub_stats(sub, &(struct bcast_sub_stats){.struct_size = sizeof(struct bcast_sub_stats)}) == BCAST_OK &&
          test_stats(sub).queued >= 16);
    add_entries(server, "y", 0, 50);
    expect_numbers(other, &event, 0, 50); /* the other channel goes on; by then the first one is paused */
    unsigned kept = 100, have = 0;
    raw_ask(server, text("XTRIM x MAXLEN %u", kept));
    for (; have < 1000 - kept; have++) {
        must(bcast_next(sub, &event, 20000));
        if (event.kind == BCAST_GAP)
            break;
        assert_int_equal(event.size, strlen(text("%u", have)));
        assert_memory_equal(event.data, text("%u", have), event.size);
    }
    assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(event.reason, BCAST_GAP_TRIMMED);
    assert_int_equal(event.count, BCAST_EXACT);
    assert_int_equal(event.lost, 1000 - kept - have);
    expect_numbers(sub, &event, 1000 - kept, 1000);
    close(server);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(other);
    link_close(link);
    broker_end(broker);
}

/* While the connection is away: what was added is read, what was cut off is counted. */
static void test_resumes(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    struct link *link = link_open(text("redis-stream://127.0.0.1:%u", proxy_port(proxy)));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    int server = raw_open(broker);
    add_entries(server, "x", 0, 10);
    expect_numbers(sub, &event, 0, 10);
    for (int round = 0; round < 3; round++) {
        proxy_door(proxy, PROXY_REFUSE);
        proxy_cut(proxy);
        int lost = round + 1;
        until(link->times[BCAST_LOST] >= lost && link->state != BCAST_CONNECTED);
        add_entries(server, "x", 10, 2000);
        if (round == 1)
            raw_ask(server, "XTRIM x MAXLEN 500");
        if (round == 2)
            raw_ask(server, "DEL x");
        if (round == 2)
            add_entries(server, "x", 5000, 5003);
        proxy_door(proxy, PROXY_OPEN);
        if (round == 0)
            expect_numbers(sub, &event, 10, 2000); /* and not so much as a gap */
        if (round == 1) {
            expect_lost(sub, &event, BCAST_EXACT, 1990 - 500);
            expect_numbers(sub, &event, 1500, 2000);
        }
        if (round == 2) {
            expect_lost(sub, &event, BCAST_COUNT_UNKNOWN, 0);
            expect_numbers(sub, &event, 5000, 5003);
        }
    }
    close(server);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
    proxy_end(proxy);
    broker_end(broker);
}

/* A replica takes over that had not got everything: what it has is read, and that something may be missing is said. */
static void test_failover(void **state)
{
    (void)state;
    struct broker *one = start_with("redis", NULL), *two = start_with("redis", NULL);
    struct link *link = link_open(text("redis-stream://127.0.0.1:%u,127.0.0.1:%u", broker_port(one), broker_port(two)));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    int first = raw_open(one), second = raw_open(two);
    raw_ask(first, "XADD x 1-1 message both");
    raw_ask(second, "XADD x 1-1 message both");
    raw_ask(first, "XADD x 5-1 message only-the-first");
    test_expect(sub, &event, "both");
    test_expect(sub, &event, "only-the-first");
    raw_ask(second, "XADD x 2-1 message later");
    broker_kill(one);
    must(bcast_next(sub, &event, 20000));
    assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(event.count, BCAST_COUNT_UNKNOWN);
    raw_ask(second, "XADD x 3-1 message last");
    test_expect(sub, &event, "last");
    close(first);
    close(second);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
    broker_end(one);
    broker_end(two);
}

/* A real replica, which has everything when the server dies, is promoted: nothing is lost, nothing comes twice. */
static void test_promoted_replica(void **state)
{
    (void)state;
    struct broker *one = start_with("redis", NULL);
    const char *args[] = {"--replicaof", text("127.0.0.1 %u", broker_port(one)), NULL};
    struct broker *two = start_with("redis", args);
    struct link *link = link_open(text("redis-stream://127.0.0.1:%u,127.0.0.1:%u", broker_port(one), broker_port(two)));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    int first = raw_open(one), second = raw_open(two);
    until(strstr(raw_ask(second, "INFO replication"), "master_link_status:up") != NULL);
    add_entries(first, "x", 0, 500);
    expect_numbers(sub, &event, 0, 300);
    assert_non_null(strstr(raw_ask(first, "WAIT 1 20000"), ":1"));
    broker_kill(one);
    assert_non_null(strstr(raw_ask(second, "REPLICAOF NO ONE"), "OK"));
    add_entries(second, "x", 500, 600);
    expect_numbers(sub, &event, 300, 600);
    for (unsigned i = 600; i < 700; i++)
        test_publish(link->b, "x", text("%u", i));
    must(bcast_flush(link->b, 20000));
    expect_numbers(sub, &event, 600, 700);
    assert_int_equal(test_stats(sub).gaps, 0);
    close(first);
    close(second);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
    broker_end(one);
    broker_end(two);
}

/* One that sleeps holds back nobody, and misses nothing; the server has been restarted meanwhile. */
static void test_laggard(void **state)
{
    (void)state;
    const unsigned count = 20000;
    struct broker *broker = start_with("redis_aof", NULL);
    struct link *link = link_open(stream_url(broker));
    struct bcast_sub *slow = test_subscribe(link->b, "x", BCAST_BLOCK, 100);
    struct bcast_sub *quick = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    for (unsigned i = 0; i < count; i++)
        test_publish(link->b, "x", text("%u", i));
    must(bcast_flush(link->b, 20000));
    expect_numbers(quick, &event, 0, count);
    expect_numbers(slow, &event, 0, count / 4);
    broker_kill(broker);
    broker_restart(broker);
    expect_numbers(slow, &event, count / 4, count);
    assert_int_equal(test_stats(slow).gaps, 0);
    int server = raw_open(broker);
    add_entries(server, "x", count, count + 10);
    expect_numbers(slow, &event, count, count + 10);
    expect_numbers(quick, &event, count, count + 10);
    close(server);
    bcast_release(&event);
    bcast_unsubscribe(slow);
    bcast_unsubscribe(quick);
    link_close(link);
    broker_end(broker);
}

/* A channel that is added does not wait until the waiting XREAD has come back: that may take half of ping_ms. */
static void test_added_at_once(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(text("%s?ping_ms=86400000", stream_url(broker)));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "added %d", i);
        must(bcast_add_channel(sub, name, 0));
        test_publish(link->b, name, name);
        test_expect(sub, &event, name);
        if (i % 2 != 0)
            must(bcast_remove_channel(sub, name, 0));
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
    broker_end(broker);
}

static void test_maxlen(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(text("%s?maxlen=100", stream_url(broker)));
    for (int i = 0; i < 5000; i++)
        test_publish(link->b, "x", "some text");
    must(bcast_flush(link->b, 20000));
    const char *length = ask(broker, "XLEN x");
    assert_int_equal(length[0], ':');
    assert_in_range(strtoul(length + 1, NULL, 10), 100, 400);
    link_close(link);
    must_not_open(text("%s?maxlen=0", stream_url(broker)), BCAST_ERR_URL, "maxlen");
    must_not_open(text("redis://127.0.0.1:%u?maxlen=5", broker_port(broker)), BCAST_ERR_URL, "maxlen");
    broker_end(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),           cmocka_unit_test(test_trimmed_while_paused),
        cmocka_unit_test(test_resumes),          cmocka_unit_test(test_failover),
        cmocka_unit_test(test_promoted_replica), cmocka_unit_test(test_laggard),
        cmocka_unit_test(test_added_at_once),    cmocka_unit_test(test_maxlen),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests_name("redis-stream", tests, NULL, NULL);
}
