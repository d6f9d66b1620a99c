/* What the library does for every backend with a broker: connecting again, gaps, the barrier, results, flush, states.
 * The backend here is a puppet: it loops messages back, and fails as the test tells it to. */
#define _GNU_SOURCE
#include "test.h"

#include <broadcaster/backend.h>

#define TOPICS 32

struct puppet {
    struct bcast_sink *sink;
    struct bcast_topic *topics[TOPICS];
    size_t count;
    struct bcast_topic *asked; /* a subscription whose confirmation is being held back */
    _Atomic int connects, disconnects, subscribes, unsubscribes, paused, resumed;
    /* what the test wants */
    _Atomic int fail_connects; /* that many attempts fail */
    _Atomic bool terminal;     /* ... for ever */
    _Atomic bool hold;         /* subscribe waits for release */
    _Atomic bool release;
    _Atomic bool refuse;  /* subscriptions */
    _Atomic bool lose;    /* the connection, at the next woken */
    _Atomic bool swallow; /* published messages get no result */
    _Atomic bool reject;  /* ... get an error */
    _Atomic int per_call; /* messages taken at once; 0: all */
    _Atomic bool deliver_paused;
    uint64_t next_number;
    bool connected, is_paused;
    unsigned char waiting[64]; /* a message that was not taken */
    size_t waiting_size;
    uint64_t can;
};

static int puppet_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct puppet *p = setup->context;
    p->sink = sink;
    *self = p;
    return BCAST_OK;
}

static void puppet_capabilities(void *self, struct bcast_capabilities *out)
{
    out->can = ((struct puppet *)self)->can | BCAST_CAN_CONFIRM;
}

static void puppet_connect(void *self)
{
    struct puppet *p = self;
    p->connects++;
    if (p->fail_connects > 0) {
        p->fail_connects--;
        p->sink->lost(p->sink, p->terminal ? BCAST_ERR_REFUSED : BCAST_ERR_CONNECT,
                      p->terminal ? "wrong password" : "connection refused", p->terminal);
        return;
    }
    p->connected = true;
    p->sink->connected(p->sink);
}

static void puppet_disconnect(void *self)
{
    struct puppet *p = self;
    p->disconnects++;
    p->count = 0;
    p->connected = false;
}

static void confirm(struct puppet *p, struct bcast_topic *topic)
{
    if (p->refuse) {
        p->sink->subscribed(p->sink, topic, BCAST_ERR_REFUSED, "no permission");
        return;
    }
    assert_true(p->count < TOPICS);
    p->topics[p->count++] = topic;
    p->sink->subscribed(p->sink, topic, BCAST_OK, "");
}

static void puppet_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct puppet *p = self;
    for (size_t i = 0; i < count; i++) {
        p->subscribes++;
        if (p->hold)
            p->asked = topics[i];
        else
            confirm(p, topics[i]);
    }
}

static void puppet_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct puppet *p = self;
    for (size_t i = 0; i < count; i++) {
        p->unsubscribes++;
        if (p->asked == topics[i])
            p->asked = NULL;
        for (size_t t = 0; t < p->count; t++)
            if (p->topics[t] == topics[i])
                p->topics[t--] = p->topics[--p->count];
    }
}

static void loop_back(struct puppet *p, const void *data, size_t size)
{
    struct bcast_incoming back = {.data = data, .size = size};
    for (size_t t = 0; t < p->count && !p->is_paused; t++)
        if (p->sink->message(p->sink, p->topics[t], &back) == BCAST_TIMEOUT) {
            p->is_paused = true;
            p->paused++;
            memcpy(p->waiting, data, size);
            p->waiting_size = size;
        }
}

static size_t puppet_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct puppet *p = self;
    size_t taken = 0;
    for (; taken < count && (p->per_call == 0 || taken < (size_t)p->per_call) && !p->is_paused; taken++) {
        assert_true(messages[taken].number == p->next_number);
        p->next_number++;
        loop_back(p, messages[taken].data, messages[taken].size);
        if (!p->swallow)
            p->sink->result(p->sink, messages[taken].number, 1, p->reject ? BCAST_ERR_REFUSED : BCAST_OK);
    }
    if (taken < count && !p->is_paused)
        p->sink->alarm(p->sink, 0);
    return taken;
}

static void puppet_alarm(void *self)
{
    (void)self; /* being called is enough: what was left is offered again */
}

static void puppet_resume(void *self, struct bcast_topic *topic)
{
    struct puppet *p = self;
    struct bcast_incoming back = {.data = p->waiting, .size = p->waiting_size};
    p->resumed++;
    p->is_paused = false;
    assert_int_equal(p->sink->message(p->sink, topic, &back), BCAST_OK);
    p->sink->wake(p->sink);
}

static void puppet_woken(void *self)
{
    struct puppet *p = self;
    if (p->lose && p->connected) {
        p->lose = false;
        p->sink->lost(p->sink, BCAST_ERR_CONNECT, "the cable was pulled", 0);
    }
    if (p->release && p->asked != NULL) {
        struct bcast_topic *topic = p->asked;
        p->asked = NULL;
        confirm(p, topic);
    }
}

static const struct bcast_backend puppet_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "puppet",
    .open = puppet_open,
    .capabilities = puppet_capabilities,
    .connect = puppet_connect,
    .disconnect = puppet_disconnect,
    .publish = puppet_publish,
    .subscribe = puppet_subscribe,
    .unsubscribe = puppet_unsubscribe,
    .alarm = puppet_alarm,
    .woken = puppet_woken,
    .resume = puppet_resume,
};

static char states[64];

static void on_state(void *context, enum bcast_state state, int status, const char *reason)
{
    (void)context, (void)status, (void)reason;
    size_t length = strlen(states);
    if (length < sizeof states - 1)
        states[length] = "cCLX"[state];
}

static struct bcast *open_puppet(struct puppet *p, int open_timeout_ms)
{
    struct bcast_options options = bcast_options_init();
    struct bcast *b;
    memset(states, 0, sizeof states);
    options.open_timeout_ms = open_timeout_ms;
    options.on_state = on_state;
    must(bcast_open_backend(&puppet_backend, p, &options, &b));
    return b;
}

static struct bcast_stats stats_of(struct bcast *b)
{
    struct bcast_stats stats = bcast_stats_init();
    must(bcast_stats(b, &stats));
    return stats;
}

static void round_trip(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    char text[16];
    (void)state;
    p.per_call = 7;
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_publish(b, "x", text);
    }
    must(bcast_flush(b, 20000));
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_expect(sub, &event, text);
    }
    assert_int_equal(stats_of(b).confirmed, 2000);
    assert_int_equal(stats_of(b).queued, 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    until(p.unsubscribes == 1);
    bcast_close(b);
    assert_string_equal(states, "cCX");
}

static void open_fails_or_waits(void **state)
{
    struct puppet p = {.fail_connects = 3};
    struct bcast_options options = bcast_options_init();
    struct bcast *b = open_puppet(&p, 0); /* waits until the fourth attempt */
    (void)state;
    assert_int_equal(p.connects, 4);
    bcast_close(b);
    assert_string_equal(states, "cLcLcLcCX");

    struct puppet never = {.fail_connects = 1000000};
    options.open_timeout_ms = 30;
    must_be(BCAST_ERR_CONNECT, bcast_open_backend(&puppet_backend, &never, &options, &b));
    assert_non_null(strstr(bcast_error_text(), "connection refused"));

    struct puppet later = {.fail_connects = 2};
    b = open_puppet(&later, BCAST_NOWAIT);
    test_publish(b, "x", "queued meanwhile");
    must(bcast_flush(b, 20000));
    bcast_close(b);
}

static void terminal_failure(void **state)
{
    struct puppet p = {.fail_connects = 1, .terminal = true};
    struct bcast_options options = bcast_options_init();
    struct bcast *b;
    struct bcast_sub *sub;
    (void)state;
    must_be(BCAST_ERR_REFUSED, bcast_open_backend(&puppet_backend, &p, &options, &b));
    assert_non_null(strstr(bcast_error_text(), "wrong password"));

    struct puppet later = {.terminal = true, .hold = true};
    b = open_puppet(&later, 0);
    later.fail_connects = 1;
    later.lose = true;
    later.sink->wake(later.sink);
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(b, "x", NULL, &sub));
    assert_non_null(strstr(bcast_error_text(), "wrong password"));
    must_be(BCAST_ERR_REFUSED, bcast_publish(b, "x", "", 0));
    assert_int_equal(later.connects, 2); /* no hot loop */
    bcast_close(b);
}

static void reconnect_is_a_gap(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *one = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_sub *two = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    assert_int_equal(p.subscribes, 1); /* one at the broker, however many here */
    test_publish(b, "x", "before");
    must(bcast_flush(b, 20000));
    p.fail_connects = 2;
    p.lose = true;
    p.sink->wake(p.sink);
    until(p.connects == 4 && p.subscribes == 2);
    test_publish(b, "x", "after");
    for (int i = 0; i < 2; i++) {
        struct bcast_sub *sub = i == 0 ? one : two;
        test_expect(sub, &event, "before");
        must(bcast_next(sub, &event, 20000));
        assert_int_equal(event.kind, BCAST_GAP);
        assert_int_equal(event.reason, BCAST_GAP_RECONNECT);
        assert_int_equal(event.count, BCAST_COUNT_UNKNOWN);
        uint64_t next = event.sequence;
        test_expect(sub, &event, "after");
        assert_true(event.sequence == next);
        assert_int_equal(test_stats(sub).gaps, 1);
    }
    assert_int_equal(stats_of(b).reconnects, 1);
    bcast_release(&event);
    bcast_unsubscribe(one);
    assert_int_equal(p.unsubscribes, 0);
    bcast_unsubscribe(two);
    until(p.unsubscribes == 1);
    bcast_close(b);
    assert_string_equal(states, "cCLcLcLcCX");
}

static void expect_gap_and_end(struct bcast_sub *sub, const char *why)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    must(bcast_next(sub, &event, 20000));
    assert_int_equal(event.kind, BCAST_GAP);
    for (int i = 0; i < 3; i++) { /* every call is told */
        must_be(BCAST_ERR_REFUSED, bcast_next(sub, &event, 20000));
        assert_non_null(strstr(bcast_error_text(), why));
    }
}

static void *wait_for_the_end(void *argument)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    test_expect(argument, &event, "before");
    bcast_release(&event);
    expect_gap_and_end(argument, "wrong password");
    return NULL;
}

/* The broker will never want us again: who waits is told, behind what there was. */
static void terminal_failure_ends_subscriptions(void **state)
{
    static const char *const names[] = {"x", "y"};
    struct puppet p = {.terminal = true};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0), *many;
    struct bcast_event event = BCAST_EVENT_INIT;
    pthread_t waiting;
    int messages = 0;
    (void)state;
    must(bcast_subscribe_many(b, names, NULL, 2, NULL, &many));
    test_start(&waiting, wait_for_the_end, sub);
    test_publish(b, "x", "before");
    must(bcast_flush(b, 20000));
    while (test_stats(sub).received == 0)
        sched_yield();
    p.fail_connects = 1;
    p.lose = true;
    p.sink->wake(p.sink);
    pthread_join(waiting, NULL);
    for (int i = 0; i < 4; i++) { /* the puppet gives every topic everything; the order of channels is free */
        must(bcast_next(many, &event, 20000));
        messages += event.kind == BCAST_MESSAGE;
    }
    assert_int_equal(messages, 2);
    must_be(BCAST_ERR_REFUSED, bcast_next(many, &event, 20000));
    bcast_unsubscribe(sub);
    bcast_unsubscribe(many);
    bcast_close(b);
}

/* The connection is back, but the broker does not want to send this channel any more: no silence. */
static void refused_when_asked_again(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0), *again;
    (void)state;
    p.refuse = true;
    p.lose = true;
    p.sink->wake(p.sink);
    expect_gap_and_end(sub, "no permission");
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(b, "x", NULL, &again));
    p.refuse = false; /* asking is allowed, and then both hear it */
    again = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    test_publish(b, "x", "after");
    for (int i = 0; i < 2; i++) {
        struct bcast_event event = BCAST_EVENT_INIT;
        test_expect(i == 0 ? again : sub, &event, "after");
        bcast_release(&event);
    }
    bcast_unsubscribe(sub);
    bcast_unsubscribe(again);
    bcast_close(b);
}

/* An overflow that drops a gap of the broker's as well counts messages only, and does not claim to know all of them. */
static void overflow_over_a_gap(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 64);
    struct bcast_event event = BCAST_EVENT_INIT;
    uint64_t got[2] = {0}, lost[2] = {0};
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 500; i++)
            test_publish(b, "x", "filler");
        must(bcast_flush(b, 20000));
        if (round == 0) {
            p.lose = true;
            p.sink->wake(p.sink);
            until(p.subscribes == 2);
        }
        for (int i = 0; i < 500; i++)
            test_publish(b, "x", "filler");
        must(bcast_flush(b, 20000));
        while (bcast_next(sub, &event, 0) == BCAST_OK) {
            got[round] += event.kind == BCAST_MESSAGE;
            lost[round] += event.lost;
            if (event.kind == BCAST_GAP)
                assert_int_equal(event.count, round == 0 ? BCAST_AT_LEAST : BCAST_EXACT);
        }
        assert_int_equal(got[round] + lost[round], 1000);
        assert_in_range(lost[round], 1, 1000);
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void resuming_backend_has_no_gap(void **state)
{
    struct puppet p = {.can = BCAST_CAN_RESUME};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    p.lose = true;
    p.sink->wake(p.sink);
    until(p.subscribes == 2);
    test_publish(b, "x", "after");
    test_expect(sub, &event, "after");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void count_result(void *context, int status)
{
    _Atomic int *counts = context;
    counts[status == BCAST_OK ? 0 : status == BCAST_ERR_UNKNOWN ? 1 : 2]++;
}

static struct bcast_message counted_message(_Atomic int *counts)
{
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.on_result = count_result;
    message.context = counts;
    return message;
}

static void results(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    _Atomic int counts[3] = {0};
    struct bcast_message message = counted_message(counts);
    (void)state;
    must(bcast_publish_message(b, &message));
    must(bcast_flush(b, 20000));
    assert_int_equal(counts[0], 1);
    p.reject = true;
    must(bcast_publish_message(b, &message));
    must_be(BCAST_ERR_PUBLISH, bcast_flush(b, 20000));
    assert_int_equal(counts[2], 1);
    must(bcast_flush(b, 20000)); /* said once */
    p.reject = false;
    p.swallow = true;
    for (int i = 0; i < 10; i++)
        must(bcast_publish_message(b, &message));
    must_be(BCAST_TIMEOUT, bcast_flush(b, 10));
    until(p.next_number == 12);
    p.lose = true;
    p.sink->wake(p.sink);
    must_be(BCAST_ERR_PUBLISH, bcast_flush(b, 20000)); /* unknown: sent, and no answer will come */
    assert_int_equal(counts[1], 10);
    assert_int_equal(stats_of(b).unknown, 10);
    bcast_close(b);
    assert_int_equal(counts[0] + counts[1] + counts[2], 12);
}

static void close_gives_every_message_a_result(void **state)
{
    struct puppet p = {.fail_connects = 1000000};
    struct bcast *b = open_puppet(&p, BCAST_NOWAIT);
    _Atomic int counts[3] = {0};
    struct bcast_message message = counted_message(counts);
    (void)state;
    for (int i = 0; i < 100; i++)
        must(bcast_publish_message(b, &message));
    bcast_close(b);
    assert_int_equal(counts[2], 100); /* never sent: closed */
}

/* Without a connection a message waits for queue_ms; a later one is judged by its own time. */
static void queue_expires(void **state)
{
    struct puppet p = {.fail_connects = 1000000};
    struct bcast_options options = bcast_options_init();
    struct bcast *b;
    _Atomic int counts[3] = {0};
    struct bcast_message message = counted_message(counts);
    (void)state;
    options.open_timeout_ms = BCAST_NOWAIT;
    options.queue_ms = -1;
    must_be(BCAST_ERR_INVALID, bcast_open_backend(&puppet_backend, &p, &options, &b));
    options.queue_ms = 50;
    must(bcast_open_backend(&puppet_backend, &p, &options, &b));
    for (int i = 0; i < 2000; i++)
        must(bcast_publish_message(b, &message));
    must_be(BCAST_ERR_PUBLISH, bcast_flush(b, 20000));
    must(bcast_publish_message(b, &message)); /* the I/O thread has gone to sleep since */
    must_be(BCAST_ERR_PUBLISH, bcast_flush(b, 20000));
    assert_int_equal(stats_of(b).failed, 2001);
    assert_int_equal(counts[0] + counts[1] + counts[2], 2001);
    p.next_number = 2001;
    p.fail_connects = 0;
    until(stats_of(b).queued == 0 && p.connected);
    must(bcast_publish_message(b, &message));
    must(bcast_flush(b, 20000));
    bcast_close(b);
}

struct racer {
    struct bcast *b;
    _Atomic int accepted, counts[3];
};

static void *publish_until_closed(void *argument)
{
    struct racer *racer = argument;
    struct bcast_message message = counted_message(racer->counts);
    while (bcast_publish_message(racer->b, &message) == BCAST_OK)
        racer->accepted++;
    return NULL;
}

/* Also what is accepted while the I/O thread is ending. */
static void shutdown_gives_every_message_a_result(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct puppet p = {.count = 0};
        struct racer racer = {.b = open_puppet(&p, 0)};
        pthread_t thread;
        test_start(&thread, publish_until_closed, &racer);
        until(racer.accepted > round % 50);
        must(bcast_shutdown(racer.b));
        pthread_join(thread, NULL);
        bcast_close(racer.b);
        assert_int_equal(racer.counts[0] + racer.counts[1] + racer.counts[2], racer.accepted);
    }
}

static void full_queue(void **state)
{
    struct puppet p = {.fail_connects = 1000000};
    struct bcast_options options = bcast_options_init();
    struct bcast_message message = bcast_message_init();
    struct bcast *b;
    int queued = 0;
    (void)state;
    options.open_timeout_ms = BCAST_NOWAIT;
    options.queue_messages = 64;
    must(bcast_open_backend(&puppet_backend, &p, &options, &b));
    message.channel = "x";
    message.timeout_ms = BCAST_NOWAIT;
    while (bcast_publish_message(b, &message) == BCAST_OK)
        queued++;
    assert_in_range(queued, 64, 64 + 16);
    message.timeout_ms = 5;
    must_be(BCAST_TIMEOUT, bcast_publish_message(b, &message));
    p.fail_connects = 0;
    message.timeout_ms = 20000;
    must(bcast_publish_message(b, &message));
    must(bcast_flush(b, 20000));
    bcast_close(b);
}

struct wish {
    struct bcast *b;
    struct bcast_sub *sub;
    int status;
};

static void *subscribe_to_x(void *argument)
{
    struct wish *wish = argument;
    wish->status = bcast_subscribe(wish->b, "x", NULL, &wish->sub);
    return NULL;
}

static void barrier(void **state)
{
    struct puppet p = {.hold = true};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub;
    struct wish wishes[2] = {{.b = b}, {.b = b}};
    pthread_t threads[2];
    (void)state;
    options.timeout_ms = 20;
    must_be(BCAST_TIMEOUT, bcast_subscribe(b, "x", &options, &sub)); /* no confirmation, no subscription */
    until(p.unsubscribes == 1);
    for (int i = 0; i < 2; i++) /* two racing first subscribers wait for the same word */
        test_start(&threads[i], subscribe_to_x, &wishes[i]);
    until(p.subscribes == 2);
    p.release = true;
    while (p.count == 0) {
        p.sink->wake(p.sink);
        sched_yield();
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        must(wishes[i].status);
    }
    assert_int_equal(p.subscribes, 2);
    test_publish(b, "x", "heard");
    for (int i = 0; i < 2; i++) {
        test_expect(wishes[i].sub, &event, "heard");
        bcast_release(&event);
        bcast_unsubscribe(wishes[i].sub);
    }
    bcast_close(b);
}

static void refused_subscription(void **state)
{
    struct puppet p = {.refuse = true};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    must_be(BCAST_ERR_REFUSED, bcast_subscribe(b, "x", NULL, &sub));
    assert_non_null(strstr(bcast_error_text(), "no permission"));
    p.refuse = false;
    must(bcast_subscribe(b, "x", NULL, &sub)); /* it left nothing behind */
    p.refuse = true;
    must_be(BCAST_ERR_REFUSED, bcast_add_channel(sub, "y", 0));
    p.refuse = false;
    test_publish(b, "x", "still there");
    test_expect(sub, &event, "still there");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void last_leaves_first_comes(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    for (int i = 0; i < 500; i++) {
        struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
        test_publish(b, "x", "in the instant after");
        test_expect(sub, &event, "in the instant after");
        bcast_release(&event);
        bcast_unsubscribe(sub);
    }
    until(p.subscribes == p.unsubscribes);
    bcast_close(b);
}

static void block_needs_a_pause(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    (void)state;
    options.policy = BCAST_BLOCK;
    must_be(BCAST_ERR_UNSUPPORTED, bcast_subscribe(b, "x", &options, &sub));
    assert_non_null(strstr(bcast_error_text(), "BCAST_DROP_OLDEST"));
    bcast_close(b);
}

static void full_block_pauses(void **state)
{
    struct puppet p = {.can = BCAST_CAN_BLOCK};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 16);
    struct bcast_event event = BCAST_EVENT_INIT;
    char text[16];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_publish(b, "x", text);
    }
    until(p.paused >= 1);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        test_expect(sub, &event, text);
    }
    must(bcast_flush(b, 20000));
    assert_true(p.resumed >= 1);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void shutdown_wakes_waiting_calls(void **state)
{
    struct puppet p = {.hold = true};
    struct bcast *b = open_puppet(&p, 0);
    struct wish wish = {.b = b};
    pthread_t thread;
    (void)state;
    test_start(&thread, subscribe_to_x, &wish);
    until(p.subscribes == 1);
    must(bcast_shutdown(b));
    pthread_join(thread, NULL);
    assert_int_equal(wish.status, BCAST_ERR_CLOSED);
    bcast_close(b);
}

static void unsupported_extras(void **state)
{
    struct puppet p = {0};
    struct bcast *b = open_puppet(&p, 0);
    struct bcast_header header = {"n", "v", 1};
    struct bcast_message message = bcast_message_init();
    (void)state;
    message.channel = "x";
    message.key = "k";
    message.key_size = 1;
    must_be(BCAST_ERR_UNSUPPORTED, bcast_publish_message(b, &message));
    message.key = NULL;
    message.key_size = 0;
    message.headers = &header;
    message.header_count = 1;
    must_be(BCAST_ERR_UNSUPPORTED, bcast_publish_message(b, &message));
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(open_fails_or_waits),
        cmocka_unit_test(terminal_failure),
        cmocka_unit_test(terminal_failure_ends_subscriptions),
        cmocka_unit_test(refused_when_asked_again),
        cmocka_unit_test(queue_expires),
        cmocka_unit_test(overflow_over_a_gap),
        cmocka_unit_test(reconnect_is_a_gap),
        cmocka_unit_test(resuming_backend_has_no_gap),
        cmocka_unit_test(results),
        cmocka_unit_test(close_gives_every_message_a_result),
        cmocka_unit_test(shutdown_gives_every_message_a_result),
        cmocka_unit_test(full_queue),
        cmocka_unit_test(barrier),
        cmocka_unit_test(refused_subscription),
        cmocka_unit_test(last_leaves_first_comes),
        cmocka_unit_test(block_needs_a_pause),
        cmocka_unit_test(full_block_pauses),
        cmocka_unit_test(shutdown_wakes_waiting_calls),
        cmocka_unit_test(unsupported_extras),
    };
    return cmocka_run_group_tests_name("I/O thread", tests, NULL, NULL);
}
