/* redis:// on bad days: the server is down, refuses, is silent, is killed, cuts us off; and TLS that does not fit. */
#define _GNU_SOURCE
#include "redis_talk.h"

#include <signal.h>

static void note_status(void *context, int status)
{
    *(_Atomic int *)context = status;
}

enum { WAITING = 1000 };

static int publish_noted(struct bcast *b, const char *channel, const char *data, int timeout_ms, _Atomic int *result)
{
    struct bcast_message message = bcast_message_init();
    message.channel = channel;
    message.data = data;
    message.size = strlen(data);
    message.timeout_ms = timeout_ms;
    message.on_result = note_status;
    message.context = (void *)result;
    *result = WAITING;
    return bcast_publish_message(b, &message);
}

static const char *through(struct proxy *proxy, const char *rest)
{
    return text("redis://127.0.0.1:%u%s", proxy_port(proxy), rest);
}

/* ----------------------------------------------------------------------------------------------------------- down -- */

static void test_open_while_down(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    broker_stop(broker);
    must_not_open(broker_url(broker), BCAST_ERR_CONNECT, text("127.0.0.1:%u: connect: ", broker_port(broker)));
    must_name("open_timeout_ms (300)");
    struct link *link = link_begin(broker_url(broker));
    until(link->times[BCAST_LOST] >= 2);
    assert_int_equal(broker_restart(broker), 0);
    until(link->state == BCAST_CONNECTED);
    talks(link->b, "x");
    link_close(link);
    broker_end(broker);
}

/* What is published before there is a connection waits for it, within bounds. */
static void test_queued_while_down(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    struct link *near = link_open(broker_url(broker)), *far = link_new();
    struct bcast_sub *sub = test_subscribe(near->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_options options = bcast_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    _Atomic int results[100];
    int count = 0;
    options.open_timeout_ms = BCAST_NOWAIT;
    options.queue_messages = 16;
    proxy_door(proxy, PROXY_REFUSE);
    must(link_try(far, through(proxy, ""), &options));
    while (count < 100 && publish_noted(far->b, "x", text("%d", count), BCAST_NOWAIT, &results[count]) == BCAST_OK)
        count++;
    assert_in_range(count, 16, 18); /* precise to a segment */
    must_name("queue_messages");
    must_be(BCAST_TIMEOUT, bcast_flush(far->b, 0));
    proxy_door(proxy, PROXY_OPEN);
    for (int i = 0; i < count; i++)
        test_expect(sub, &event, text("%d", i));
    must(bcast_flush(far->b, 20000));
    for (int i = 0; i < count; i++)
        assert_int_equal(results[i], BCAST_OK);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(near);
    link_close(far);
    proxy_end(proxy);
    broker_end(broker);
}

static void test_queued_for_too_long(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct bcast_options options = bcast_options_init();
    struct link *link = link_new();
    _Atomic int result;
    options.open_timeout_ms = BCAST_NOWAIT;
    options.queue_ms = 50;
    broker_stop(broker);
    must(link_try(link, broker_url(broker), &options));
    must(publish_noted(link->b, "x", "late", 0, &result));
    must_be(BCAST_ERR_PUBLISH, bcast_flush(link->b, 20000));
    must_name("refused");
    assert_int_equal(result, BCAST_ERR_CONNECT);
    assert_int_equal(broker_restart(broker), 0);
    until(link->state == BCAST_CONNECTED);
    must(publish_noted(link->b, "x", "in time", 0, &result));
    must(bcast_flush(link->b, 20000));
    assert_int_equal(result, BCAST_OK);
    link_close(link);
    broker_end(broker);
}

/* ---------------------------------------------------------------------------------------------------- permissions -- */

static void test_permissions(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct link *app = link_open(broker_value(broker, "URL_APP")), *mute = link_open(broker_value(broker, "URL_MUTE"));
    struct bcast_sub *sub = test_subscribe(app->b, "app:1", BCAST_DROP_OLDEST, 0), *none = NULL;
    struct bcast_event event = BCAST_EVENT_INIT;
    const char *const both[] = {"app:2", "other"};
    _Atomic int results[3];
    must(publish_noted(app->b, "app:1", "one", 0, &results[0]));
    must(publish_noted(app->b, "other", "two", 0, &results[1]));
    must(publish_noted(app->b, "app:1", "three", 0, &results[2]));
    must_be(BCAST_ERR_PUBLISH, bcast_flush(app->b, 20000));
    assert_int_equal(results[0], BCAST_OK);
    assert_int_equal(results[1], BCAST_ERR_REFUSED);
    assert_int_equal(results[2], BCAST_OK);
    assert_true(link_said(app, "NOPERM"));
    must(bcast_flush(app->b, 20000));
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(app->b, "other", NULL, &none));
    must_name("NOPERM");
    must_be(BCAST_ERR_REFUSED, bcast_subscribe_many(app->b, both, NULL, 2, NULL, &none));
    must_be(BCAST_ERR_REFUSED, bcast_add_channel(sub, "other", 0));
    assert_null(none);
    until(subscribers(broker, "app:2") == 0); /* all or none */
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(mute->b, "x", NULL, &none));
    must_name("NOPERM");
    must(bcast_publish(mute->b, "app:1", "four", 4));
    test_expect(sub, &event, "one");
    test_expect(sub, &event, "three");
    test_expect(sub, &event, "four");
    talks(app->b, "app:2");
    assert_int_equal(app->times[BCAST_LOST] + mute->times[BCAST_LOST], 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(app);
    link_close(mute);
    broker_end(broker);
}

/* The server ends the connection of who has subscribed to what it may not any more. */
static void test_permission_taken_away(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    tell(broker, "ACL SETUSER guest on >guest ~* &a &b +@all");
    struct link *link = link_open(text("redis://guest:guest@127.0.0.1:%u", broker_port(broker)));
    struct bcast_sub *loses = test_subscribe(link->b, "a", BCAST_DROP_OLDEST, 0);
    struct bcast_sub *stays = test_subscribe(link->b, "b", BCAST_DROP_OLDEST, 0);
    tell(broker, "ACL SETUSER guest resetchannels &b");
    while ((status = bcast_next(loses, &event, 20000)) == BCAST_OK)
        assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(status, BCAST_ERR_REFUSED);
    must_name("NOPERM");
    must_be(BCAST_ERR_REFUSED, bcast_next(loses, &event, 0));
    expect_gap(stays, &event);
    until_heard(link->b, "b", stays, &event);
    bcast_release(&event);
    bcast_unsubscribe(loses);
    tell(broker, "ACL SETUSER guest resetchannels &a &b"); /* given back: not refused for ever */
    talks(link->b, "a");
    bcast_release(&event);
    bcast_unsubscribe(stays);
    link_close(link);
    broker_end(broker);
}

/* ------------------------------------------------------------------------------------------------ refused for good -- */

enum caller { NEXT, FLUSH, SUBSCRIBE, PUBLISH, CALLERS };

struct call {
    struct link *link;
    struct bcast_sub *sub;
    enum caller caller;
    int status;
    char why[300];
    _Atomic bool done;
    _Atomic int result; /* PUBLISH */
    pthread_t thread;
};

static int wait_in(struct call *call)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub_options options = bcast_sub_options_init();
    int status;
    options.timeout_ms = BCAST_FOREVER;
    switch (call->caller) {
    case NEXT:
        while ((status = bcast_next(call->sub, &event, BCAST_FOREVER)) == BCAST_OK)
            ;
        return status;
    case FLUSH: return bcast_flush(call->link->b, BCAST_FOREVER);
    case SUBSCRIBE: return bcast_subscribe(call->link->b, "new", &options, &call->sub);
    default:
        while ((status = publish_noted(call->link->b, "x", "more", BCAST_FOREVER, &call->result)) == BCAST_OK)
            ;
        return status;
    }
}

static void *run_call(void *argument)
{
    struct call *call = argument;
    call->status = wait_in(call);
    snprintf(call->why, sizeof call->why, "%s", bcast_error_text());
    call->done = true;
    return NULL;
}

static void all_are_refused(struct call *calls)
{
    static const int expected[CALLERS] = {BCAST_ERR_REFUSED, BCAST_ERR_PUBLISH, BCAST_ERR_REFUSED, BCAST_ERR_REFUSED};
    for (int i = 0; i < CALLERS; i++) {
        until(calls[i].done);
        pthread_join(calls[i].thread, NULL);
        if (calls[i].status != expected[i] || strstr(calls[i].why, "WRONGPASS") == NULL)
            fail_msg("call %d ended with %d: %s", i, calls[i].status, calls[i].why);
    }
}

static void test_password_changed(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct proxy *proxy = start_proxy(broker);
    struct bcast_options options = bcast_options_init();
    struct link *link = link_new();
    struct call calls[CALLERS];
    _Atomic int result;
    options.queue_messages = 16;
    tell(broker, "ACL SETUSER guest on >before ~* &* +@all");
    const char *url = text("redis://guest:before@127.0.0.1:%u", proxy_port(proxy));
    must(link_try(link, url, &options));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    proxy_door(proxy, PROXY_REFUSE);
    proxy_cut(proxy);
    until(link->times[BCAST_LOST] > 0);
    while (publish_noted(link->b, "x", "waits", BCAST_NOWAIT, &result) == BCAST_OK)
        ;
    for (int i = 0; i < CALLERS; i++) {
        calls[i] = (struct call){.link = link, .sub = i == NEXT ? sub : NULL, .caller = (enum caller)i};
        test_start(&calls[i].thread, run_call, &calls[i]);
    }
    tell(broker, "ACL SETUSER guest resetpass >after");
    uint64_t before = proxy_stats(proxy).connections;
    proxy_door(proxy, PROXY_OPEN);
    all_are_refused(calls);
    assert_int_equal(link->status, BCAST_ERR_REFUSED);
    for (int i = 0; i < 100; i++)
        must_be(BCAST_ERR_REFUSED, bcast_publish(link->b, "x", "late", 4));
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(link->b, "y", NULL, &calls[0].sub));
    must_not_open(url, BCAST_ERR_REFUSED, "WRONGPASS"); /* meanwhile the first one would have tried again */
    assert_in_range(proxy_stats(proxy).connections - before, 2, 4);
    bcast_unsubscribe(sub);
    link_close(link);
    proxy_end(proxy);
    broker_end(broker);
}

/* Without waiting for it: told by the state, and by the next call. */
static void test_wrong_password_unwaited(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct link *link = link_begin(text("redis://full:wrong@127.0.0.1:%u", broker_port(broker)));
    struct bcast_sub *sub = NULL;
    until(link->state == BCAST_LOST);
    assert_int_equal(link->status, BCAST_ERR_REFUSED);
    must_be(BCAST_ERR_REFUSED, bcast_publish(link->b, "x", "x", 1));
    must_name("WRONGPASS");
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(link->b, "x", NULL, &sub));
    must_name("WRONGPASS");
    assert_int_equal(link->times[BCAST_CONNECTING], 1);
    link_close(link);
    broker_end(broker);
}

/* ------------------------------------------------------------------------------------------------------------ TLS -- */

static void test_tls(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_tls", NULL);
    unsigned port = broker_port(broker);
    const char *ca = broker_file(broker, "ca.pem"), *other = broker_file(broker, "other_ca.pem");
    opens_and_talks(broker_url(broker));
    opens_and_talks(text("rediss://127.0.0.1:%u?tls_ca=%s", port, ca)); /* the certificate has the address too */
    opens_and_talks(text("rediss://localhost:%u?tls_verify=none", port));
    opens_and_talks(text("rediss://localhost:%u?tls_ca=%s&tls_verify=full&tls_name=localhost", port, ca));
    must_not_open(text("rediss://localhost:%u", port), BCAST_ERR_REFUSED, "the server's certificate is not trusted");
    must_not_open(text("rediss://localhost:%u?tls_ca=%s", port, other), BCAST_ERR_REFUSED, "certificate");
    must_not_open(text("rediss://localhost:%u?tls_ca=%s&tls_name=example.org", port, ca), BCAST_ERR_REFUSED,
                  "certificate is not trusted: hostname mismatch");
    must_not_open(text("redis://localhost:%u?connect_timeout_ms=100", port), BCAST_ERR_CONNECT, "127.0.0.1");
    broker_end(broker);
}

static void test_tls_certificates(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_tls_expired", NULL);
    must_not_open(broker_url(broker), BCAST_ERR_REFUSED, "certificate has expired");
    opens_and_talks(text("rediss://localhost:%u?tls_verify=none", broker_port(broker)));
    broker_end(broker);
    broker = start_with("redis_tls_wrong_host", NULL);
    must_not_open(broker_url(broker), BCAST_ERR_REFUSED, "mismatch");
    must_name("tls_name");
    opens_and_talks(text("%s&tls_name=elsewhere.invalid", broker_url(broker)));
    broker_end(broker);
}

static void test_tls_of_clients(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_mtls", NULL);
    const char *mine = text("rediss://localhost:%u?tls_ca=%s", broker_port(broker), broker_file(broker, "ca.pem"));
    opens_and_talks(broker_url(broker));
    for (int i = 0; i < 10; i++) /* what the server says may come before or after it has hung up */
        must_not_open(mine, BCAST_ERR_REFUSED, "certificate required");
    must_not_open(text("%s&tls_cert=%s&tls_key=%s", mine, broker_file(broker, "other_client.pem"),
                       broker_file(broker, "other_client.key")),
                  BCAST_ERR_REFUSED, "unknown ca");
    must_not_open(text("%s&tls_cert=%s", mine, broker_file(broker, "client.pem")), BCAST_ERR_URL, "tls_key");
    must_not_open(
        text("%s&tls_cert=%s&tls_key=%s", mine, broker_file(broker, "client.pem"), broker_file(broker, "server.key")),
        BCAST_ERR_URL, "tls_key");
    broker_end(broker);
}

/* Who expects TLS and is answered without, or not at all, ends nevertheless. */
static void test_tls_to_a_plain_port(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link =
        link_begin(text("rediss://127.0.0.1:%u?tls_verify=none&connect_timeout_ms=200", broker_port(broker)));
    until(link->times[BCAST_LOST] >= 2);
    assert_int_equal(link->times[BCAST_CONNECTED], 0);
    link_close(link);
    must_not_open(text("rediss://127.0.0.1:%u?connect_timeout_ms=100", broker_port(broker)), BCAST_ERR_CONNECT,
                  "127.0.0.1");
    broker_end(broker);
}

/* Once what had filled the socket is on its way, the I/O thread has nothing to do, and does nothing. */
static void test_tls_is_idle_afterwards(void **state)
{
    static unsigned char data[8 << 20];
    (void)state;
    struct broker *broker = start_with("redis_tls", NULL);
    struct proxy *proxy = start_proxy(broker);
    const char *ca = broker_file(broker, "ca.pem");
    struct link *link = link_open(text("rediss://127.0.0.1:%u?ping_ms=0&tls_ca=%s", proxy_port(proxy), ca));
    for (int i = 0; i < 3; i++) {
        proxy_rule(proxy, PROXY_TO_SERVER, &(struct proxy_rule){.silent = true});
        must(bcast_publish(link->b, "x", data, sizeof data));
        must_be(BCAST_TIMEOUT, bcast_flush(link->b, 100));
        proxy_calm(proxy);
        must(bcast_flush(link->b, 20000));
    }
    until_idle(link);
    assert_int_equal(link->times[BCAST_LOST], 0);
    link_close(link);
    proxy_end(proxy);
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------------------- silence -- */

/* The connection is dead without knowing: told, told as a gap, and whole again when the world is. */
static void recovers(struct link *link, struct bcast_sub *sub, void (*mend)(void *), void *what)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    until(link->times[BCAST_LOST] > 0);
    assert_int_equal(link->status, BCAST_ERR_CONNECT);
    assert_true(link_said(link, "ping_ms"));
    expect_gap(sub, &event);
    mend(what);
    until_heard(link->b, "x", sub, &event);
    bcast_release(&event);
}

static void calm(void *proxy)
{
    proxy_calm(proxy);
}

static void resume(void *broker)
{
    assert_int_equal(broker_resume(broker), 0);
}

static void test_silent_network(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    for (int way = 0; way < 3; way++) {
        struct link *link = link_open(through(proxy, "?ping_ms=200&connect_timeout_ms=200"));
        struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
        for (int i = 0; i < 2; i++)
            if (way == 2 || way == i)
                proxy_rule(proxy, (enum proxy_way)i, &(struct proxy_rule){.silent = true});
        recovers(link, sub, calm, proxy);
        bcast_unsubscribe(sub);
        link_close(link);
    }
    proxy_end(proxy);
    broker_end(broker);
}

static void test_silent_server(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(text("%s?ping_ms=200&connect_timeout_ms=200", broker_url(broker)));
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    assert_int_equal(broker_pause(broker), 0);
    recovers(link, sub, resume, broker);
    bcast_unsubscribe(sub);
    link_close(link);
    broker_end(broker);
}

static void test_server_that_never_answers(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    static const enum proxy_door doors[] = {PROXY_MUTE, PROXY_IGNORE};
    for (int i = 0; i < 2; i++) {
        proxy_door(proxy, doors[i]);
        must_not_open(through(proxy, "?connect_timeout_ms=50"), BCAST_ERR_CONNECT,
                      "no answer within connect_timeout_ms");
        proxy_door(proxy, PROXY_OPEN);
    }
    assert_int_equal(broker_pause(broker), 0);
    must_not_open(text("%s?connect_timeout_ms=50", broker_url(broker)), BCAST_ERR_CONNECT, "connect_timeout_ms");
    assert_int_equal(broker_resume(broker), 0);
    opens_and_talks(broker_url(broker));
    proxy_end(proxy);
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------- the server cuts us off -- */

/* Reads the numbered messages that had still come before the gap, and the gap. */
static void read_up_to_gap(struct bcast_sub *sub, struct bcast_event *event)
{
    unsigned next = 0;
    for (;; next++) {
        must(bcast_next(sub, event, 20000));
        if (event->kind == BCAST_GAP)
            break;
        unsigned number;
        memcpy(&number, event->data, sizeof number);
        assert_int_equal(number, next);
    }
    assert_int_equal(event->reason, BCAST_GAP_RECONNECT);
}

static void test_output_buffer_limit(void **state)
{
    static const char *const limit[] = {"--client-output-buffer-limit", "pubsub 200kb 0 0", NULL};
    static unsigned char data[65536];
    (void)state;
    struct broker *broker = start_with("redis", limit);
    struct proxy *proxy = start_proxy(broker);
    struct link *slow = link_open(through(proxy, "?ping_ms=0")), *near = link_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(slow->b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    proxy_rule(proxy, PROXY_TO_CLIENT, &(struct proxy_rule){.silent = true});
    for (unsigned number = 0; number % 8 != 0 || subscribers(broker, "x") != 0; number++) {
        memcpy(data, &number, sizeof number);
        must(bcast_publish(near->b, "x", data, sizeof data));
        must(bcast_flush(near->b, 20000));
        assert_true(number < 10000);
    }
    proxy_calm(proxy);
    read_up_to_gap(sub, &event);
    until_heard(near->b, "x", sub, &event);
    assert_int_equal(slow->times[BCAST_LOST], 1);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(near);
    link_close(slow);
    proxy_end(proxy);
    broker_end(broker);
}

/* ---------------------------------------------------------------------------------------------------------- kill -9 -- */

enum { MOST = 200000 };

struct flood {
    struct bcast *b;
    _Atomic unsigned published;
    _Atomic bool enough;
    _Atomic int results[MOST], counts[MOST];
};

struct number {
    struct flood *flood;
    unsigned number;
};

static void note_result(void *context, int status)
{
    struct number *number = context;
    number->flood->results[number->number] = status;
    number->flood->counts[number->number]++;
}

static void *publish_flood(void *argument)
{
    static struct number numbers[MOST];
    struct flood *flood = argument;
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.on_result = note_result;
    for (unsigned i = 0; i < MOST && !flood->enough; i++) {
        numbers[i] = (struct number){flood, i};
        message.context = &numbers[i];
        message.data = &i;
        message.size = sizeof i;
        if (bcast_publish_message(flood->b, &message) != BCAST_OK)
            return argument;
        flood->published = i + 1;
        if (i % 64 == 63) /* not faster than the server, or all would be published before it is killed */
            (void)bcast_flush(flood->b, 20000);
    }
    return NULL;
}

/* Reads on until number `last`, or what is behind it. What is left out without a gap must not have been confirmed. */
static unsigned read_flood(struct flood *flood, struct bcast_sub *sub, unsigned last)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    unsigned next = 0, gaps = 0, number = 0;
    bool gap = false;
    while (next <= last) {
        must(bcast_next(sub, &event, 20000));
        if (event.kind == BCAST_GAP) {
            assert_int_equal(event.reason, BCAST_GAP_RECONNECT);
            gap = true;
            gaps++;
            continue;
        }
        memcpy(&number, event.data, sizeof number);
        assert_true(number >= next); /* none comes twice */
        for (; next < number && !gap; next++)
            if (flood->results[next] == BCAST_OK)
                fail_msg("number %u was confirmed; %u came next, and there was no gap", next, number);
        next = number + 1;
        gap = false;
    }
    bcast_release(&event);
    return gaps;
}

/* Killed when it has something that it will never answer. */
static void kill_with_messages(struct broker *broker, struct proxy *proxy, struct bcast *b)
{
    assert_int_equal(broker_pause(broker), 0);
    uint64_t bytes = proxy_stats(proxy).bytes[PROXY_TO_SERVER];
    must(bcast_publish(b, "y", "on its way", 10));
    until(proxy_stats(proxy).bytes[PROXY_TO_SERVER] > bytes);
    assert_int_equal(broker_kill(broker), 0);
}

static void test_killed_while_publishing(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    struct link *from = link_open(through(proxy, "")), *to = link_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(to->b, "x", BCAST_DROP_OLDEST, MOST);
    struct flood *flood = calloc(1, sizeof *flood);
    pthread_t thread;
    void *failed;
    assert_non_null(flood);
    flood->b = from->b;
    test_start(&thread, publish_flood, flood);
    for (int round = 1; round <= 2; round++) {
        unsigned now = flood->published;
        struct bcast_stats stats = bcast_stats_init();
        until(flood->published > now + 200);
        int losses[2] = {from->times[BCAST_LOST], to->times[BCAST_LOST]};
        kill_with_messages(broker, proxy, from->b);
        until(from->times[BCAST_LOST] > losses[0] && to->times[BCAST_LOST] > losses[1]);
        must(bcast_stats(from->b, &stats));
        assert_true(stats.unknown >= (uint64_t)round);
        assert_int_equal(broker_restart(broker), 0);
        until(from->state == BCAST_CONNECTED && to->state == BCAST_CONNECTED);
    }
    until(subscribers(broker, "x") == 1); /* what is published from here on arrives */
    unsigned after = flood->published;
    until(flood->published > after + 300 || flood->published == MOST);
    flood->enough = true;
    pthread_join(thread, &failed);
    assert_null(failed);
    int status = bcast_flush(from->b, 20000);
    assert_true(status == BCAST_OK || status == BCAST_ERR_PUBLISH);
    for (unsigned i = 0; i < flood->published; i++) {
        assert_int_equal(flood->counts[i], 1);
        assert_true(flood->results[i] == BCAST_OK || flood->results[i] == BCAST_ERR_UNKNOWN);
    }
    unsigned gaps = read_flood(flood, sub, flood->published - 1);
    assert_int_equal(gaps, 2);
    print_message("%u messages, %u gaps\n", (unsigned)flood->published, gaps);
    bcast_unsubscribe(sub);
    link_close(from);
    link_close(to);
    free(flood);
    proxy_end(proxy);
    broker_end(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_while_down),
        cmocka_unit_test(test_queued_while_down),
        cmocka_unit_test(test_queued_for_too_long),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_permission_taken_away),
        cmocka_unit_test(test_password_changed),
        cmocka_unit_test(test_wrong_password_unwaited),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_certificates),
        cmocka_unit_test(test_tls_of_clients),
        cmocka_unit_test(test_tls_to_a_plain_port),
        cmocka_unit_test(test_tls_is_idle_afterwards),
        cmocka_unit_test(test_silent_network),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_server_that_never_answers),
        cmocka_unit_test(test_output_buffer_limit),
        cmocka_unit_test(test_killed_while_publishing),
    };
    return cmocka_run_group_tests_name("redis_trouble", tests, NULL, NULL);
}
