/* Whatever the library asks of the system fails once: memory, pages, fds, threads, the guard. Small programs run again
 * and again; the first time the first thing they ask for fails, then the second, until one runs through undisturbed.
 * Then once more, but everything from there on fails, until the program calls relief(). */
#define _GNU_SOURCE
#include "test.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include <broadcaster/backend.h>

#include "base/error.h"
#include "base/fault.h"
#include "broker.h"

#define EVERYTHING (FAULT_MEMORY | FAULT_PAGES | FAULT_EVENT | FAULT_THREAD | FAULT_GUARD)

static unsigned char data[300000];

static void relief(void)
{
    atomic_store(&fault_hooks.kinds, 0);
}

/* From here on: what a program sets up before does not fail. */
static void begin(void)
{
    atomic_store(&fault_hooks.kinds, EVERYTHING);
}

static void strike(uint64_t first, uint64_t count)
{
    relief(); /* also from a program that failed */
    atomic_store(&fault_hooks.asked, 0);
    atomic_store(&fault_hooks.failed, 0);
    atomic_store(&fault_hooks.first, first);
    atomic_store(&fault_hooks.count, count);
}

static size_t open_fds(void)
{
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    for (; fds != NULL && readdir(fds) != NULL;)
        count++;
    if (fds != NULL)
        closedir(fds);
    return count;
}

static void sweep(void (*program)(void))
{
    uint64_t most = 0;
    strike(0, 0);
    program(); /* what is made once, by whoever comes first */
    size_t fds = open_fds();
    for (int lasting = 0; lasting < 2; lasting++)
        for (uint64_t n = 1;; n++) {
            strike(n, lasting ? UINT64_MAX : 1);
            program();
            relief();
            assert_int_equal(open_fds(), fds);
            if (atomic_load(&fault_hooks.failed) == 0) {
                most = n - 1 > most ? n - 1 : most;
                break;
            }
        }
    assert_true(most != 0);
    print_message("%llu things to fail\n", (unsigned long long)most);
}

/* BCAST_OK, or out of memory with a text, and only if something was made to fail. */
static bool checked(const char *call, int status)
{
    if (status == BCAST_OK)
        return true;
    if (status != BCAST_ERR_NOMEM || atomic_load(&fault_hooks.failed) == 0)
        fail_msg("%s: status %d (%s)", call, status, bcast_error_text());
    if (strlen(bcast_error_text()) < 10)
        fail_msg("%s: the text is '%s'", call, bcast_error_text());
    return false;
}
#define good(call) (error_set(BCAST_OK, "%s", ""), checked(#call, (call)))

/* One more channel, from beginning to end. */
static void works(struct bcast *b)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    relief();
    struct bcast_sub *sub = test_subscribe(b, "afterwards", BCAST_DROP_OLDEST, 0);
    test_publish(b, "afterwards", "all is well");
    test_expect(sub, &event, "all is well");
    bcast_release(&event);
    bcast_unsubscribe(sub);
}

/* ---------------------------------------------------------------------------------------------------------- opening -- */

static void open_one(const char *url)
{
    struct bcast *b = (struct bcast *)(void *)data;
    begin();
    if (!good(bcast_open(url, NULL, &b))) {
        assert_null(b);
        return;
    }
    works(b);
    bcast_close(b);
}

static void open_private(void)
{
    open_one("memory://");
}
static void open_named(void)
{
    open_one("memory://shared%20by%20name");
}
static void open_history(void)
{
    open_one("memory://?history=10&history_bytes=100000");
}
static void open_second(void)
{
    struct bcast *first = test_open("memory://twice?history=5");
    open_one("memory://twice");
    works(first);
    bcast_close(first);
}

/* ------------------------------------------------------------------------------------------------------- publishing -- */

#define MOST 64

struct log_of { /* which messages were published, or received */
    uint32_t numbers[MOST];
    size_t count;
};

static void note(struct log_of *log, uint32_t number)
{
    assert_true(log->count < MOST);
    log->numbers[log->count++] = number;
}

static struct bcast_message message_of(const char *channel, uint32_t number, size_t size)
{
    struct bcast_message message = bcast_message_init();
    memcpy(data, &number, sizeof number);
    message.channel = channel;
    message.data = data;
    message.size = size;
    return message;
}

/* One message of each kind; notes those that were accepted. */
static void publish_kinds(struct bcast *b, struct bcast_channel *handle, struct log_of *log, uint32_t from)
{
    static char value[2000];
    struct bcast_header headers[2] = {{"first", "v", 1}, {"second", value, sizeof value}};
    size_t sizes[] = {8, 1000, 8, 200000, 60000, 130000, 8};
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bcast_message message = message_of("x", from + i, sizes[i]);
        int status;
        if (i == 2) {
            message.key = "key";
            message.key_size = 3;
            message.headers = headers;
            message.header_count = 2;
        }
        error_set(BCAST_OK, "%s", "");
        if (i % 3 == 0)
            status = bcast_publish(b, "x", data, sizes[i]);
        else if (i % 3 == 1 && handle != NULL)
            status = bcast_publish_to(handle, data, sizes[i]);
        else
            status = bcast_publish_message(b, &message);
        if (checked("publish", status))
            note(log, from + i);
    }
}

/* Message number 2 of each round had a key and headers. */
static void note_event(struct log_of *log, const struct bcast_event *event)
{
    uint32_t number;
    size_t size = 0;
    memcpy(&number, event->data, sizeof number);
    if (number % 10 == 2) {
        assert_memory_equal(bcast_event_key(event, &size), "key", 3);
        assert_int_equal(bcast_event_header_count(event), 2);
    } else {
        assert_null(bcast_event_key(event, &size));
    }
    note(log, number);
}

static void same(const struct log_of *published, const struct log_of *received)
{
    assert_int_equal(published->count, received->count);
    assert_memory_equal(published->numbers, received->numbers, published->count * sizeof published->numbers[0]);
}

/* Reads all there is, with every event held to the end: each segment wants a hold of its own. */
static void read_held(struct bcast_sub *sub, struct log_of *log)
{
    struct bcast_event events[MOST];
    size_t held = 0;
    memset(events, 0, sizeof events);
    for (;;) {
        error_set(BCAST_OK, "%s", "");
        int status = bcast_next(sub, &events[held], 0);
        if (status == BCAST_TIMEOUT)
            break;
        if (!checked("bcast_next", status)) {
            assert_int_equal(events[held].kind, 0);
            assert_null(events[held].data);
            relief();
            continue;
        }
        assert_int_equal(events[held].kind, BCAST_MESSAGE);
        note_event(log, &events[held++]);
        if (held % 3 == 0 && good(bcast_keep(&events[held - 1])))
            assert_true(events[held - 1].data != NULL);
    }
    while (held > 0)
        bcast_release(&events[--held]);
}

static void read_batches(struct bcast_sub *sub, struct log_of *log)
{
    struct bcast_event events[4];
    size_t count = 0;
    memset(events, 0, sizeof events);
    for (int status; (status = bcast_next_batch(sub, events, 4, &count, 0)) != BCAST_TIMEOUT;) {
        if (!checked("bcast_next_batch", status))
            relief();
        for (size_t i = 0; i < 4; i++)
            assert_true((events[i].kind != 0) == (i < count));
        for (size_t i = 0; i < count; i++)
            note_event(log, &events[i]);
    }
    for (size_t i = 0; i < 4; i++)
        bcast_release(&events[i]);
}

static void messages_over(const char *url, bool shared, void (*read)(struct bcast_sub *, struct log_of *))
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct log_of published = {.count = 0}, received = {.count = 0};
    struct bcast_channel *handle = NULL;
    struct bcast_sub *sub = NULL;
    struct bcast *b;
    options.policy = BCAST_BLOCK;
    options.shared = shared;
    begin();
    if (!good(bcast_open(url, NULL, &b)))
        return;
    if (good(bcast_subscribe(b, "x", &options, &sub))) {
        if (!good(bcast_channel(b, "x", 0, &handle)))
            assert_null(handle);
        publish_kinds(b, handle, &published, 0);
        read(sub, &received);
        publish_kinds(b, handle, &published, 10);
        relief();
        publish_kinds(b, handle, &published, 20);
        read(sub, &received);
        same(&published, &received);
        struct bcast_stats stats = bcast_stats_init();
        must(bcast_stats(b, &stats));
        assert_int_equal(stats.published, published.count);
        assert_int_equal(stats.kept_bytes, 0);
        assert_int_equal(test_stats(sub).received, published.count);
    } else {
        assert_null(sub);
    }
    works(b);
    bcast_channel_free(handle);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void messages_held(void)
{
    messages_over("memory://", false, read_held);
}
static void messages_batched(void)
{
    messages_over("memory://", false, read_batches);
}
static void messages_shared(void)
{
    messages_over("memory://", true, read_held);
}
static void messages_with_history(void)
{
    messages_over("memory://?history=100", true, read_batches);
}

/* -------------------------------------------------------------------------------------------------- many channels -- */

static size_t channels_of(struct bcast *b)
{
    struct bcast_stats stats = bcast_stats_init();
    must(bcast_stats(b, &stats));
    return stats.channels;
}

static void add_and_remove(struct bcast *b, struct bcast_sub *sub)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    char name[16];
    size_t there = 3;
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "channel %d", i);
        there += good(bcast_add_channel(sub, name, 0));
        assert_int_equal(test_stats(sub).channels, there);
    }
    for (int status; (status = bcast_next(sub, &event, 0)) != BCAST_TIMEOUT;)
        checked("bcast_next", status);
    must(bcast_remove_channel(sub, "b", 0));
    relief();
    must(bcast_add_channel(sub, "b", 0));
    test_publish(b, "b", "back");
    test_expect(sub, &event, "back");
    bcast_release(&event);
}

static void many_channels(void)
{
    static const char *const names[] = {"a", "b", "c"};
    struct bcast_sub *sub = NULL;
    struct bcast *b;
    begin();
    if (!good(bcast_open("memory://", NULL, &b)))
        return;
    if (good(bcast_subscribe_many(b, names, NULL, 3, NULL, &sub))) {
        add_and_remove(b, sub);
    } else {
        assert_null(sub);
        assert_int_equal(channels_of(b), 0); /* all or none */
    }
    works(b);
    bcast_unsubscribe(sub);
    assert_int_equal(channels_of(b), 0);
    bcast_close(b);
}

/* A coarse segment in use, and a reader that wants finer ones: attaching makes a new one. */
static void finer_limits(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = NULL;
    struct bcast *b = test_open("memory://");
    struct bcast_sub *coarse = test_subscribe(b, "x", BCAST_BLOCK, 0);
    options.limit_messages = 8;
    options.policy = BCAST_DISCONNECT;
    begin();
    good(bcast_publish(b, "x", "one", 3));
    good(bcast_subscribe(b, "x", &options, &sub));
    good(bcast_publish(b, "x", "two", 3));
    relief();
    test_publish(b, "x", "three");
    while (bcast_next(coarse, &event, 0) == BCAST_OK)
        ;
    works(b);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(coarse);
    bcast_close(b);
}

/* ------------------------------------------------------------------------------------------------------------- poll -- */

static void polled(void)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 0);
    begin();
    error_set(BCAST_OK, "%s", "");
    int fd = bcast_fd(sub);
    if (fd < 0) {
        checked("bcast_fd", fd);
        relief();
        fd = bcast_fd(sub); /* the second time it works */
    }
    assert_true(fd >= 0);
    relief();
    while (bcast_next(sub, &event, 0) != BCAST_TIMEOUT)
        ;
    test_publish(b, "x", "to be polled");
    struct pollfd pollfd = {fd, POLLIN, 0};
    until(poll(&pollfd, 1, 0) == 1);
    test_expect(sub, &event, "to be polled");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

/* ---------------------------------------------------------------------------------------------------------- history -- */

static void read_from(struct bcast *b, const struct bcast_sub_options *options, size_t expected)
{
    struct log_of log = {.count = 0};
    struct bcast_sub *sub = NULL;
    if (!good(bcast_subscribe(b, "x", options, &sub))) {
        assert_null(sub);
        return;
    }
    read_held(sub, &log);
    assert_int_equal(log.count, expected);
    bcast_unsubscribe(sub);
}

static void read_pages(struct bcast *b, size_t expected)
{
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_page *page = NULL;
    char after[64] = "";
    size_t read = 0;
    query.limit = 5;
    query.after = after;
    for (bool more = true; more;) {
        if (!good(bcast_history(b, "x", &query, &page))) {
            assert_null(page);
            relief();
            continue;
        }
        read += page->count;
        more = page->more;
        strcpy(after, page->newer);
        bcast_page_free(page);
    }
    assert_int_equal(read, expected);
}

static void read_newest_page(struct bcast *b)
{
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_page *page = NULL;
    query.since_us = 1;
    if (good(bcast_history(b, "x", &query, &page)))
        assert_true(page->count > 0);
    bcast_page_free(page);
}

static void history(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct log_of published = {.count = 0};
    char position[256];
    struct bcast *b = test_open("memory://?history=1000");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    must(bcast_position(sub, position, sizeof position, NULL));
    begin();
    publish_kinds(b, NULL, &published, 0);
    publish_kinds(b, NULL, &published, 10);
    good(bcast_position(sub, position, sizeof position, NULL));
    options.history = 1000;
    read_from(b, &options, published.count);
    options.history = 0;
    options.since_us = 1;
    read_from(b, &options, published.count);
    options.since_us = 0;
    options.resume = position;
    read_from(b, &options, published.count);
    if (published.count > 0)
        read_newest_page(b);
    read_pages(b, published.count);
    works(b);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

/* A channel without subscribers, and its first message is the one that fails. */
static void history_without_readers(void)
{
    struct log_of published = {.count = 0};
    struct bcast *b = test_open("memory://?history=1000");
    begin();
    publish_kinds(b, NULL, &published, 0);
    read_pages(b, published.count);
    works(b);
    bcast_close(b);
}

/* ------------------------------------------------------------------------------------------------------------- wire -- */

#define WATCHED 10

struct echo { /* a broker that sends everything back */
    struct bcast_sink *sink;
    struct bcast_topic *topics[8];
    size_t count;
    int fds[WATCHED];
    _Atomic bool lose; /* the connection, at the next woken */
    _Atomic int connects;
    _Atomic uint64_t results[2]; /* good, others */
    char states[256];
    bool connected;
};

static int echo_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct echo *e = setup->context;
    e->sink = sink;
    *self = e;
    return BCAST_OK;
}

static void echo_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_CONFIRM | BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY;
}

static void echo_connect(void *self)
{
    struct echo *e = self;
    e->connects++;
    for (int i = 0; i < WATCHED; i++)
        if (e->sink->watch(e->sink, e->fds[i], BCAST_WATCH_READ) != BCAST_OK) {
            e->sink->lost(e->sink, BCAST_ERR_NOMEM, "no room to watch the socket", 0);
            return;
        }
    e->connected = true;
    e->sink->connected(e->sink);
}

static void echo_disconnect(void *self)
{
    struct echo *e = self;
    e->count = 0;
    e->connected = false;
    for (int i = 0; i < WATCHED; i++)
        e->sink->watch(e->sink, e->fds[i], 0);
}

static void echo_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct echo *e = self;
    for (size_t i = 0; i < count; i++) {
        assert_true(e->count < 8);
        e->topics[e->count++] = topics[i];
        e->sink->subscribed(e->sink, topics[i], BCAST_OK, "");
    }
}

static void echo_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct echo *e = self;
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < e->count; t++)
            if (e->topics[t] == topics[i])
                e->topics[t--] = e->topics[--e->count];
}

static size_t echo_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct echo *e = self;
    for (size_t i = 0; i < count; i++) {
        const struct bcast_outgoing *m = &messages[i];
        struct bcast_incoming back = {.data = m->data,
                                      .size = m->size,
                                      .key = m->key,
                                      .key_size = m->key_size,
                                      .headers = m->headers,
                                      .header_count = m->header_count};
        for (size_t t = 0; t < e->count; t++)
            if (e->topics[t]->size == m->channel_size && memcmp(e->topics[t]->name, m->channel, m->channel_size) == 0)
                assert_int_equal(e->sink->message(e->sink, e->topics[t], &back), BCAST_OK);
        e->sink->result(e->sink, m->number, 1, BCAST_OK);
    }
    return count;
}

static void echo_woken(void *self)
{
    struct echo *e = self;
    if (e->connected && atomic_exchange(&e->lose, false))
        e->sink->lost(e->sink, BCAST_ERR_CONNECT, "the cable was pulled", 0);
}

static const struct bcast_backend echo_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "echo",
    .open = echo_open,
    .capabilities = echo_capabilities,
    .connect = echo_connect,
    .disconnect = echo_disconnect,
    .publish = echo_publish,
    .subscribe = echo_subscribe,
    .unsubscribe = echo_unsubscribe,
    .woken = echo_woken,
};

static void on_state(void *context, enum bcast_state state, int status, const char *reason)
{
    struct echo *e = context;
    size_t length = strlen(e->states);
    (void)status;
    assert_non_null(reason);
    if (length < sizeof e->states - 1)
        e->states[length] = "cCLX"[state];
}

static void on_result(void *context, int status)
{
    struct echo *e = context;
    e->results[status != BCAST_OK]++;
}

static bool open_echo(struct echo *e, struct bcast **b)
{
    static int ends[2];
    struct bcast_options options = bcast_options_init();
    memset(e, 0, sizeof *e);
    assert_int_equal(pipe(ends), 0);
    e->fds[0] = ends[0];
    for (int i = 1; i < WATCHED; i++)
        e->fds[i] = i == 1 ? ends[1] : dup(ends[0]);
    options.on_state = on_state;
    options.state_context = e;
    if (atomic_load(&fault_hooks.count) == UINT64_MAX && atomic_load(&fault_hooks.kinds) != 0)
        options.open_timeout_ms = 100; /* it may never connect */
    error_set(BCAST_OK, "%s", "");
    int status = bcast_open_backend(&echo_backend, e, &options, b);
    if (!(status == BCAST_ERR_CONNECT && options.open_timeout_ms == 100) && checked("bcast_open_backend", status))
        return true;
    assert_null(*b);
    return false;
}

static void close_echo(struct echo *e, struct bcast *b)
{
    bcast_close(b);
    if (b != NULL)
        assert_int_equal(e->states[strlen(e->states) - 1], 'X');
    for (int i = 0; i < WATCHED; i++)
        close(e->fds[i]);
}

/* Everything accepted gets one result. */
static size_t publish_wire(struct bcast *b, struct echo *e, uint32_t from)
{
    static const size_t sizes[] = {8, 2000, 200000, 8, 60000, 8};
    static char value[2000];
    struct bcast_header headers[2] = {{"first", "v", 1}, {"second", value, sizeof value}};
    size_t accepted = 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct bcast_message message = message_of("x", from + i, sizes[i]);
        message.on_result = on_result;
        message.context = e;
        if (i == 2) {
            message.key = "key";
            message.key_size = 3;
            message.headers = headers;
            message.header_count = 2;
        }
        accepted += good(bcast_publish_message(b, &message));
    }
    return accepted;
}

struct tally {
    size_t messages, gaps;
    uint64_t lost;
    bool unknown;
};

/* Reads until `expected` messages have come or were said to be lost. */
static void read_wire(struct bcast_sub *sub, struct tally *tally, size_t expected)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct log_of log = {.count = 0};
    while (tally->messages + tally->lost < expected) {
        int status = bcast_next(sub, &event, 20000);
        if (status == BCAST_TIMEOUT)
            fail_msg("%zu came, %llu were lost, of %zu", tally->messages, (unsigned long long)tally->lost, expected);
        if (!checked("bcast_next", status))
            continue;
        if (event.kind == BCAST_GAP) {
            tally->gaps++;
            tally->lost += event.lost;
            tally->unknown |= event.count == BCAST_COUNT_UNKNOWN;
        } else {
            tally->messages++;
            note_event(&log, &event);
        }
    }
    assert_int_equal(tally->messages + tally->lost, expected);
    bcast_release(&event);
}

/* Out of memory, or not yet: the I/O thread cannot do it for now. */
static bool good_or_late(const char *call, int status)
{
    return status == BCAST_TIMEOUT ? false : checked(call, status);
}

static void wire_messages(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct tally tally = {0};
    struct echo e;
    struct bcast_sub *sub = NULL;
    struct bcast *b;
    begin();
    if (!open_echo(&e, &b)) {
        close_echo(&e, NULL);
        return;
    }
    options.timeout_ms = 200;
    if (!good_or_late("bcast_subscribe", bcast_subscribe(b, "x", &options, &sub))) {
        assert_null(sub);
        relief();
        must(bcast_subscribe(b, "x", NULL, &sub));
    }
    size_t accepted = publish_wire(b, &e, 0);
    good_or_late("bcast_flush", bcast_flush(b, 50));
    relief();
    accepted += publish_wire(b, &e, 10); /* with these the I/O thread says what it had to drop */
    must(bcast_flush(b, 20000));
    assert_int_equal(e.results[0] + e.results[1], accepted);
    assert_int_equal(e.results[1], 0);
    read_wire(sub, &tally, accepted);
    works(b);
    bcast_unsubscribe(sub);
    close_echo(&e, b);
}

/* Lost in the middle: the gap is told, come what may. */
static void wire_reconnects(void)
{
    struct tally tally = {0};
    struct bcast_event event = BCAST_EVENT_INIT;
    struct echo e;
    struct bcast *b;
    assert_true(open_echo(&e, &b));
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    begin();
    int before = e.connects;
    e.lose = true;
    e.sink->wake(e.sink);
    until(e.connects > before);
    relief();
    struct bcast_sub *again = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0); /* it is connected again */
    size_t accepted = publish_wire(b, &e, 0);
    must(bcast_flush(b, 20000));
    must(bcast_next(sub, &event, 20000));
    assert_int_equal(event.kind, BCAST_GAP);
    assert_int_equal(event.reason, BCAST_GAP_RECONNECT);
    assert_int_equal(event.count, BCAST_COUNT_UNKNOWN);
    bcast_release(&event);
    read_wire(sub, &tally, accepted);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(again);
    close_echo(&e, b);
}

/* Closed while nothing can be had: every message gets its result all the same. */
static void wire_closes(void)
{
    struct echo e;
    struct bcast *b;
    size_t accepted = 0;
    assert_true(open_echo(&e, &b));
    begin();
    for (int i = 0; i < 20; i++)
        accepted += publish_wire(b, &e, 0);
    close_echo(&e, b);
    assert_int_equal(e.results[0] + e.results[1], accepted);
}

/* ------------------------------------------------------------------------------------------------------------ redis -- */

/* A module has hooks of its own, which nobody here reaches: only where redis:// is built in. */
static bool redis_is_built_in(void)
{
    struct bcast_backend_info info = bcast_backend_info_init();
    for (size_t i = 0; bcast_backend_info(i, &info) == BCAST_OK; i++)
        if (strcmp(info.name, "redis") == 0)
            return info.state == BCAST_BACKEND_BUILT_IN;
    return false;
}

static struct broker *redis_broker;
static const char *redis_url;

static bool open_redis(struct bcast **b)
{
    struct bcast_options options = bcast_options_init();
    bool lasting = atomic_load(&fault_hooks.count) == UINT64_MAX;
    if (lasting)
        options.open_timeout_ms = 100; /* it may never connect */
    error_set(BCAST_OK, "%s", "");
    int status = bcast_open(redis_url, &options, b);
    if (!(lasting && status == BCAST_ERR_CONNECT) && checked("bcast_open", status))
        return true;
    assert_null(*b);
    return false;
}

/* Reads what there is. False: there was no memory to subscribe again. */
static bool read_some(struct bcast_sub *sub, bool *ended)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    error_set(BCAST_OK, "%s", "");
    int status;
    while ((status = bcast_next(sub, &event, 20)) == BCAST_OK)
        *ended = *ended || (event.kind == BCAST_MESSAGE && event.size == 3 && memcmp(event.data, "end", 3) == 0);
    return status == BCAST_TIMEOUT || checked("bcast_next", status);
}

/* Afterwards everything works, on this connection or the next. */
static void end_redis(struct bcast *b, struct bcast_sub *sub)
{
    bool ended = false;
    time_t start = time(NULL);
    while (!ended) {
        if (sub == NULL)
            must(bcast_subscribe(b, "x", NULL, &sub));
        must(bcast_publish(b, "x", "end", 3));
        if (!read_some(sub, &ended)) {
            bcast_unsubscribe(sub);
            sub = NULL;
        }
        if (time(NULL) - start > 60)
            fail_msg("nothing is received any more");
    }
    bcast_unsubscribe(sub);
}

static size_t publish_redis(struct bcast *b, struct echo *results)
{
    static const size_t sizes[] = {8, 2000, 200000, 8, 3, 30000};
    size_t accepted = 0;
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bcast_message message = message_of("x", i, sizes[i]);
        message.on_result = on_result;
        message.context = results;
        accepted += good(bcast_publish_message(b, &message));
    }
    return accepted;
}

static void redis_messages(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *sub = NULL, *more[40] = {NULL};
    struct echo results;
    struct bcast *b;
    memset(&results, 0, sizeof results);
    begin();
    if (!open_redis(&b))
        return;
    options.timeout_ms = 200;
    if (!good_or_late("bcast_subscribe", bcast_subscribe(b, "x", &options, &sub)))
        assert_null(sub);
    for (int i = 0; i < 40; i++) { /* so many that tables grow */
        const char name[] = {'c', (char)('0' + i), '\0'};
        if (!good_or_late("bcast_subscribe", bcast_subscribe(b, name, &options, &more[i])))
            break;
    }
    size_t accepted = publish_redis(b, &results);
    (void)bcast_flush(b, 50);
    relief();
    end_redis(b, sub);
    for (int i = 0; i < 40; i++)
        bcast_unsubscribe(more[i]);
    bcast_close(b);
    assert_int_equal(results.results[0] + results.results[1], accepted);
}

/* Everything is subscribed again, or somebody is told that it is not. */
static void redis_reconnects(void)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_sub *subs[20], *new = NULL;
    struct bcast *b = test_open(redis_url);
    for (int i = 0; i < 20; i++)
        subs[i] = test_subscribe(b, i == 0 ? "x" : (const char[]){'c', (char)('0' + i), '\0'}, BCAST_DROP_OLDEST, 0);
    begin();
    assert_int_equal(broker_kill(redis_broker) | broker_restart(redis_broker), 0);
    options.timeout_ms = 300;
    (void)good_or_late("bcast_subscribe", bcast_subscribe(b, "new", &options, &new));
    relief();
    end_redis(b, subs[0]);
    for (int i = 1; i < 20; i++)
        bcast_unsubscribe(subs[i]);
    bcast_unsubscribe(new);
    bcast_close(b);
}

static void test_redis(void **state)
{
    static const char *const kinds[] = {"redis", "redis_tls"};
    (void)state;
    if (!redis_is_built_in())
        skip();
    for (int i = 0; i < 2; i++) {
        char url[300];
        assert_int_equal(broker_start(kinds[i], &redis_broker), 0);
        if (i == 0)
            snprintf(url, sizeof url, "%s", broker_url(redis_broker));
        else /* no look-up, whose thread may yet have a file open */
            snprintf(url, sizeof url, "rediss://127.0.0.1:%u?tls_ca=%s", broker_port(redis_broker),
                     broker_value(redis_broker, "CA"));
        redis_url = url;
        sweep(redis_messages);
        if (i == 0)
            sweep(redis_reconnects);
        broker_end(redis_broker);
    }
}

#define PROGRAM(name)                                                                                                  \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        sweep(name);                                                                                                   \
    }
PROGRAM(open_private)
PROGRAM(open_named)
PROGRAM(open_history)
PROGRAM(open_second)
PROGRAM(messages_held)
PROGRAM(messages_batched)
PROGRAM(messages_shared)
PROGRAM(messages_with_history)
PROGRAM(many_channels)
PROGRAM(finer_limits)
PROGRAM(polled)
PROGRAM(history)
PROGRAM(history_without_readers)
PROGRAM(wire_messages)
PROGRAM(wire_reconnects)
PROGRAM(wire_closes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_private),
        cmocka_unit_test(test_open_named),
        cmocka_unit_test(test_open_history),
        cmocka_unit_test(test_open_second),
        cmocka_unit_test(test_messages_held),
        cmocka_unit_test(test_messages_batched),
        cmocka_unit_test(test_messages_shared),
        cmocka_unit_test(test_messages_with_history),
        cmocka_unit_test(test_many_channels),
        cmocka_unit_test(test_finer_limits),
        cmocka_unit_test(test_polled),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_history_without_readers),
        cmocka_unit_test(test_wire_messages),
        cmocka_unit_test(test_wire_reconnects),
        cmocka_unit_test(test_wire_closes),
        cmocka_unit_test(test_redis),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
