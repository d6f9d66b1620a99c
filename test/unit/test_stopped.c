/* Threads that are stopped in the middle of a publish or a read, wherever that hurts most, and what the others may still
 * do: docs/architecture.md, "What is lock-free, and what is not". */
#define _GNU_SOURCE
#include "test.h"

#include "base/fault.h"

static _Thread_local enum fault_point victim_of; /* this thread stops there, once */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool released;
static _Atomic int parked;

static void park(enum fault_point point)
{
    if (victim_of != point)
        return;
    victim_of = 0;
    pthread_mutex_lock(&mutex);
    parked = 1;
    while (!released)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    parked = 0;
}

struct victim {
    pthread_t thread;
    enum fault_point point;
    struct bcast *b;
    struct bcast_channel *channel; /* NULL: it publishes by name */
    struct bcast_sub *sub;         /* not NULL: it reads */
    int status;
    uint32_t number;
    uint64_t received;
};

static void *victim_run(void *argument)
{
    struct victim *v = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    victim_of = v->point;
    if (v->sub != NULL)
        v->status = bcast_next(v->sub, &event, 20000);
    else if (v->channel != NULL)
        v->status = bcast_publish_to(v->channel, &v->number, sizeof v->number);
    else
        v->status = bcast_publish(v->b, "x", &v->number, sizeof v->number);
    v->received = event.kind == BCAST_MESSAGE;
    bcast_release(&event);
    return NULL;
}

static void stop_at(struct victim *v, enum fault_point point)
{
    released = false;
    v->point = point;
    atomic_store(&fault_hooks.stop, park);
    test_start(&v->thread, victim_run, v);
    until(parked == 1);
}

static void let_go(struct victim *v)
{
    pthread_mutex_lock(&mutex);
    released = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(v->thread, NULL);
    atomic_store(&fault_hooks.stop, NULL);
}

static struct bcast_sub *subscribe(struct bcast *b, enum bcast_policy policy, bool shared, size_t limit)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub;
    options.policy = policy;
    options.shared = shared;
    options.limit_messages = limit;
    must(bcast_subscribe(b, "x", &options, &sub));
    return sub;
}

static int publish(struct bcast *b, uint32_t number, int timeout_ms)
{
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.data = &number;
    message.size = sizeof number;
    message.timeout_ms = timeout_ms;
    return bcast_publish_message(b, &message);
}

/* Reads to the end: everything in order, and received + lost is all there was. Returns how many were lost. */
static uint64_t read_up_to(struct bcast_sub *sub, uint32_t from, uint32_t to)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    uint64_t lost = 0;
    while (from < to) {
        uint32_t number;
        must(bcast_next(sub, &event, 20000));
        if (event.kind == BCAST_GAP) {
            assert_int_equal(event.count, BCAST_EXACT);
            lost += event.lost;
            from += (uint32_t)event.lost;
            continue;
        }
        memcpy(&number, event.data, sizeof number);
        assert_int_equal(number, from);
        from++;
    }
    assert_int_equal(from, to);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_release(&event);
    return lost;
}

/* Message 0 is there, 1 is the stopped one's, 2 comes after it. */
static void nobody_passes(struct bcast *b, struct bcast_sub *sub, struct victim *v)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    must(publish(b, 0, 0));
    v->number = 1;
    stop_at(v, FAULT_RESERVED);
    must(publish(b, 2, BCAST_NOWAIT)); /* others go on */
    must(bcast_next(sub, &event, 0));
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, BCAST_NOWAIT));
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 20)); /* and readers do not, but their time-outs are kept */
    bcast_release(&event);
}

static void dropping_goes_on(bool shared, bool by_name)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = subscribe(b, BCAST_DROP_OLDEST, shared, 64);
    struct victim v = {.b = b};
    must(bcast_channel(b, "x", 0, &v.channel));
    struct bcast_channel *channel = v.channel;
    if (by_name)
        v.channel = NULL;
    nobody_passes(b, sub, &v);
    for (uint32_t i = 3; i < 5000; i++)
        must(publish(b, i, BCAST_NOWAIT));
    uint64_t lost = read_up_to(sub, 1, 5000); /* overtaken: what it holds up is dropped, exactly counted */
    assert_true(lost >= 2);
    let_go(&v);
    must(v.status);
    for (uint32_t i = 0; i < 5000; i++)
        must(publish(b, i, BCAST_NOWAIT));
    lost += read_up_to(sub, 0, 5000);
    struct bcast_sub_stats stats = test_stats(sub);
    assert_int_equal(stats.received + stats.lost, 10000);
    assert_int_equal(stats.lost, lost);
    assert_int_equal(stats.queued, 0);
    bcast_unsubscribe(sub);
    bcast_channel_free(channel);
    bcast_close(b);
}

static void stopped_publisher(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        dropping_goes_on(i & 1, i & 2);
}

static void *publish_until_full(void *argument)
{
    struct victim *v = argument;
    while ((v->status = publish(v->b, v->number, BCAST_NOWAIT)) == BCAST_OK)
        v->number++;
    return NULL;
}

/* The reader is another thread than the one that fills the ring, or it would be told that it waits for itself. */
static void stopped_publisher_and_blocking(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct bcast *b = test_open("memory://");
        struct bcast_sub *sub = subscribe(b, BCAST_BLOCK, shared, 64);
        struct victim v = {.b = b}, other = {.b = b, .number = 3};
        must(bcast_channel(b, "x", 0, &v.channel));
        nobody_passes(b, sub, &v);
        test_start(&other.thread, publish_until_full, &other);
        pthread_join(other.thread, NULL);
        assert_int_equal(other.status, BCAST_TIMEOUT);
        assert_in_range(other.number, 64, 64 + 24);
        let_go(&v);
        must(v.status);
        assert_int_equal(read_up_to(sub, 1, other.number), 0); /* nothing is lost, its own message included */
        assert_int_equal(test_stats(sub).received, other.number);
        bcast_unsubscribe(sub);
        bcast_channel_free(v.channel);
        bcast_close(b);
    }
}

static void everything_ends(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = subscribe(b, BCAST_BLOCK, true, 64);
    struct victim v = {.b = b};
    pthread_t reader;
    void *read;
    (void)state;
    must(bcast_channel(b, "x", 0, &v.channel));
    nobody_passes(b, sub, &v);
    test_start(&reader, test_read_all, sub);
    must(bcast_cancel(sub));
    pthread_join(reader, &read);
    assert_null(read);
    bcast_unsubscribe(sub);
    sub = subscribe(b, BCAST_DROP_OLDEST, false, 64);
    must(publish(b, 7, 0));
    bcast_unsubscribe(sub);
    bcast_close(b);
    let_go(&v); /* into a channel that is there for its handle only */
    must(v.status);
    must_be(BCAST_ERR_CLOSED, bcast_publish_to(v.channel, "", 0));
    bcast_channel_free(v.channel);
}

static void *unsubscribe(void *sub)
{
    bcast_unsubscribe(sub);
    return NULL;
}

/* By name it stands in the table of channels: a channel that comes or goes waits for it, everything else does not. */
static void by_name_holds_up_the_table(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = subscribe(b, BCAST_BLOCK, false, 64), *other = subscribe(b, BCAST_BLOCK, false, 64);
    struct victim v = {.b = b};
    pthread_t thread;
    (void)state;
    nobody_passes(b, sub, &v);
    bcast_unsubscribe(other); /* the channel stays */
    test_start(&thread, unsubscribe, sub);
    let_go(&v);
    must(v.status);
    pthread_join(thread, NULL);
    bcast_close(b);
}

static void *publish_for_ever(void *argument)
{
    struct victim *v = argument;
    v->status = publish(v->b, 9, BCAST_FOREVER);
    return NULL;
}

/* Who changes the chain is stopped: others cannot publish, but their time-outs are kept, and closing ends it. */
static void stopped_keeper(void **state)
{
    static const char large[200000];
    struct bcast_message message = bcast_message_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = subscribe(b, BCAST_DROP_OLDEST, false, 64);
    struct victim v = {.b = b}, other = {.b = b};
    (void)state;
    must(bcast_channel(b, "x", 0, &v.channel));
    stop_at(&v, FAULT_KEEPING);
    must_be(BCAST_TIMEOUT, publish(b, 5, BCAST_NOWAIT));
    assert_non_null(strstr(bcast_error_text(), "stopped"));
    must_be(BCAST_TIMEOUT, publish(b, 5, 20));
    message.channel = "x";
    message.data = large;
    message.size = sizeof large;
    message.timeout_ms = 20;
    must_be(BCAST_TIMEOUT, bcast_publish_message(b, &message));
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 20));
    test_start(&other.thread, publish_for_ever, &other);
    must(bcast_shutdown(b));
    pthread_join(other.thread, NULL);
    assert_int_equal(other.status, BCAST_ERR_CLOSED);
    let_go(&v);
    must(v.status);
    bcast_unsubscribe(sub);
    bcast_channel_free(v.channel);
    bcast_close(b);
}

/* A worker is stopped with what the others need to go on: they time out, can be cancelled, and go on after it. */
static void stopped_worker_at(enum fault_point point, bool cancel)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = subscribe(b, BCAST_DROP_OLDEST, true, 0);
    struct victim v = {.b = b, .sub = sub};
    pthread_t reader;
    uint64_t received = 0;
    static const char half[70000];
    must(bcast_add_channel(sub, "y", 0));
    uint64_t before = point == FAULT_STEPPING ? 4 : 0; /* who finds something needs no turn */
    for (uint64_t i = 0; i < before; i++)
        must(bcast_publish(b, "x", half, sizeof half)); /* each in a segment of its own */
    if (point == FAULT_STEPPING) {
        must(bcast_next(sub, &event, 20000)); /* the next has to move on first */
        received++;
    }
    stop_at(&v, point);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 20));
    must(bcast_publish(b, "x", "z", 1));
    must(bcast_publish(b, "y", "z", 1));
    if (cancel) {
        test_start(&reader, test_read_all, sub);
        must(bcast_cancel(sub));
        pthread_join(reader, NULL);
    }
    let_go(&v);
    if (!cancel) {
        must(v.status);
        for (received += v.received; received < before + 2; received++)
            must(bcast_next(sub, &event, 20000));
        assert_int_equal(test_stats(sub).received, before + 2);
        must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void stopped_worker(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        stopped_worker_at(FAULT_TURN, cancel);
        stopped_worker_at(FAULT_STEPPING, cancel);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_publisher), cmocka_unit_test(stopped_publisher_and_blocking),
        cmocka_unit_test(everything_ends),   cmocka_unit_test(by_name_holds_up_the_table),
        cmocka_unit_test(stopped_keeper),    cmocka_unit_test(stopped_worker),
    };
    return cmocka_run_group_tests_name("stopped", tests, NULL, NULL);
}
