/* What happens to the whole process: fork, exec, dlclose, cancelled threads, signals. The argument is the shared library. */
#define _GNU_SOURCE
#include "test.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <broadcaster/backend.h>

#include "base/slab.h" /* for SLAB_OFF: is this built for a sanitizer? */

#if defined(__SANITIZE_THREAD__) || SLAB_HAS_FEATURE(thread_sanitizer)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

static const char *library;

/* --------------------------------------------------------------------------------------------------- a mute broker -- */

struct mute { /* it answers when it is told to */
    struct bcast_sink *sink;
    struct bcast_topic *asked;
    _Atomic bool hold; /* the confirmation of a subscription */
    _Atomic bool swallow;
    _Atomic bool answer; /* what is outstanding, at the next woken */
    _Atomic uint64_t taken;
    uint64_t answered;
};

static int mute_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    *self = setup->context;
    ((struct mute *)*self)->sink = sink;
    return BCAST_OK;
}

static void mute_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_CONFIRM;
}

static void mute_connect(void *self)
{
    struct mute *m = self;
    m->sink->connected(m->sink);
}

static void mute_disconnect(void *self)
{
    (void)self;
}

static void mute_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct mute *m = self;
    for (size_t i = 0; i < count; i++)
        if (m->hold)
            m->asked = topics[i];
        else
            m->sink->subscribed(m->sink, topics[i], BCAST_OK, "");
}

static void mute_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    (void)self, (void)topics, (void)count;
}

static size_t mute_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct mute *m = self;
    (void)messages;
    m->taken += count;
    if (!m->swallow) {
        m->sink->result(m->sink, m->answered, m->taken - m->answered, BCAST_OK);
        m->answered = m->taken;
    }
    return count;
}

static void mute_woken(void *self)
{
    struct mute *m = self;
    if (!atomic_exchange(&m->answer, false))
        return;
    if (m->asked != NULL)
        m->sink->subscribed(m->sink, m->asked, BCAST_OK, "");
    if (m->taken != m->answered)
        m->sink->result(m->sink, m->answered, m->taken - m->answered, BCAST_OK);
    m->answered = m->taken;
    m->asked = NULL;
}

static const struct bcast_backend mute_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "mute",
    .open = mute_open,
    .capabilities = mute_capabilities,
    .connect = mute_connect,
    .disconnect = mute_disconnect,
    .publish = mute_publish,
    .subscribe = mute_subscribe,
    .unsubscribe = mute_unsubscribe,
    .woken = mute_woken,
};

static struct bcast *open_mute(struct mute *m)
{
    struct bcast *b;
    must(bcast_open_backend(&mute_backend, m, NULL, &b));
    return b;
}

static void tell(struct mute *m)
{
    m->answer = true;
    m->sink->wake(m->sink);
}

/* ------------------------------------------------------------------------------------------------------------ fork -- */

struct handles {
    struct bcast *b;
    struct bcast_sub *sub;
    struct bcast_channel *channel;
    struct bcast_event held;
};

#define FORKED(call) ((call) == BCAST_ERR_FORKED && strlen(bcast_error_text()) > 15)

static bool all_refused(struct handles *h)
{
    struct bcast_event event = BCAST_EVENT_INIT, events[2] = {BCAST_EVENT_INIT, BCAST_EVENT_INIT};
    struct bcast_message message = bcast_message_init();
    struct bcast_stats stats = bcast_stats_init();
    struct bcast_sub_stats sub_stats = bcast_sub_stats_init();
    struct bcast_capabilities capabilities = bcast_capabilities_init();
    struct bcast_sub *no_sub;
    struct bcast_channel *no_channel;
    struct bcast_page *page;
    const char *names[] = {"x", "y"};
    char text[100];
    size_t count;
    message.channel = "x";
    return FORKED(bcast_publish(h->b, "x", "", 0)) && FORKED(bcast_publish_to(h->channel, "", 0)) &&
           FORKED(bcast_publish_message(h->b, &message)) && FORKED(bcast_publish_message_to(h->channel, &message)) &&
           FORKED(bcast_channel(h->b, "x", 0, &no_channel)) && FORKED(bcast_flush(h->b, 0)) &&
           FORKED(bcast_subscribe(h->b, "x", NULL, &no_sub)) &&
           FORKED(bcast_subscribe_many(h->b, names, NULL, 2, NULL, &no_sub)) &&
           FORKED(bcast_add_channel(h->sub, "z", 0)) && FORKED(bcast_remove_channel(h->sub, "x", 0)) &&
           FORKED(bcast_next(h->sub, &event, BCAST_FOREVER)) &&
           FORKED(bcast_next_batch(h->sub, events, 2, &count, BCAST_FOREVER)) && FORKED(bcast_fd(h->sub)) &&
           FORKED(bcast_cancel(h->sub)) && FORKED(bcast_position(h->sub, text, sizeof text, NULL)) &&
           FORKED(bcast_sub_stats(h->sub, &sub_stats)) && FORKED(bcast_stats(h->b, &stats)) &&
           FORKED(bcast_capabilities(h->b, &capabilities)) && FORKED(bcast_history(h->b, "x", NULL, &page)) &&
           FORKED(bcast_shutdown(h->b));
}

/* A broadcast of the child's own, of whatever name. */
static bool child_has_its_own(void)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub;
    struct bcast *b;
    bool good = bcast_open("memory://shared", NULL, &b) == BCAST_OK &&
                bcast_subscribe(b, "x", NULL, &sub) == BCAST_OK && bcast_publish(b, "x", "own", 3) == BCAST_OK &&
                bcast_next(sub, &event, 1000) == BCAST_OK && event.size == 3 &&
                bcast_next(sub, &event, 1) == BCAST_TIMEOUT;
    if (good) {
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
    return good;
}

static void free_all(struct handles *h, int order)
{
    if (order & 1)
        bcast_close(h->b);
    bcast_release(&h->held);
    bcast_unsubscribe(h->sub);
    bcast_channel_free(h->channel);
    if (!(order & 1))
        bcast_close(h->b);
}

static void child(struct handles *h, int order)
{
    int status = 0;
    if (!all_refused(h))
        status = 1;
    free_all(h, order);
    if (!child_has_its_own())
        status |= 2;
    _exit(status);
}

/* The child has this long; one that hangs is ended, and that is a failure. */
static void expect_good(pid_t pid)
{
    int status;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > 20) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail_msg("the child hangs");
        }
        sched_yield();
    }
    if (status != 0)
        fail_msg("the child: %x", (unsigned)status);
}

static struct handles open_all(struct bcast *b, const char *text)
{
    struct handles h = {.b = b};
    h.sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    must(bcast_channel(b, "x", 0, &h.channel));
    if (text != NULL) {
        test_publish(b, "x", text);
        test_publish(b, "x", "still to come");
        test_expect(h.sub, &h.held, text);
    }
    return h;
}

static bool readable(int fd)
{
    struct pollfd pollfd = {fd, POLLIN, 0};
    return poll(&pollfd, 1, 0) == 1;
}

static void fork_with_open_handles(void **state)
{
    static const char *const urls[] = {"memory://", "memory://shared", "memory://?history=10"};
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct bcast_event event = BCAST_EVENT_INIT;
        struct handles h = open_all(test_open(urls[i / 2]), "held");
        int fd = bcast_fd(h.sub);
        assert_true(fd >= 0);
        test_expect(h.sub, &event, "still to come");
        while (bcast_next(h.sub, &event, 0) != BCAST_TIMEOUT)
            ;
        assert_false(readable(fd));
        pid_t pid = fork();
        if (pid == 0)
            child(&h, i);
        expect_good(pid);
        assert_false(readable(fd)); /* nothing of the child's gets here */
        assert_memory_equal(h.held.data, "held", 4);
        test_publish(h.b, "x", "the parent goes on");
        until(readable(fd));
        test_expect(h.sub, &event, "the parent goes on");
        bcast_release(&event);
        free_all(&h, i);
    }
}

static void *subscribe_y(void *argument)
{
    struct bcast_sub *sub = NULL;
    if (bcast_subscribe(argument, "y", NULL, &sub) != BCAST_OK)
        return NULL;
    return sub;
}

/* With an I/O thread, messages on their way, and a thread that waits for the broker's word. */
static void fork_with_a_broker(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct mute m = {.swallow = true};
        struct handles h = open_all(open_mute(&m), NULL);
        pthread_t waiting;
        void *sub;
        m.hold = true;
        test_start(&waiting, subscribe_y, h.b);
        for (int j = 0; j < 100; j++)
            test_publish(h.b, "x", "without an answer");
        until(m.taken == 100);
        pid_t pid = fork();
        if (pid == 0)
            child(&h, i);
        expect_good(pid);
        do {
            tell(&m);
            m.hold = false;
        } while (bcast_flush(h.b, 10) != BCAST_OK);
        tell(&m);
        pthread_join(waiting, &sub);
        assert_non_null(sub);
        bcast_unsubscribe(sub);
        free_all(&h, i);
    }
}

static _Atomic bool enough;

static void *publish_on(void *argument)
{
    static const char large[200000];
    struct bcast *b = argument;
    for (unsigned i = 0; !enough; i++) {
        bcast_publish(b, "x", large, i % 64 == 0 ? sizeof large : i % 1000);
        bcast_publish(b, i & 1 ? "others" : "some", "", 0);
    }
    return NULL;
}

static void *come_and_go(void *argument)
{
    struct bcast *b = argument, *named;
    while (!enough) {
        struct bcast_sub *sub = NULL;
        if (bcast_subscribe(b, "some", NULL, &sub) == BCAST_OK)
            bcast_unsubscribe(sub);
        if (bcast_open("memory://shared", NULL, &named) == BCAST_OK)
            bcast_close(named);
    }
    return NULL;
}

/* Wherever the other threads are at that moment: the child does not wait for them. */
static void fork_while_others_work(void **state)
{
    (void)state;
    if (UNDER_TSAN) /* its own locks are not made for a fork in the midst of other threads */
        return;
    for (int i = 0; i < 60; i++) {
        struct handles h = open_all(test_open(i & 1 ? "memory://" : "memory://?history=100"), "held");
        struct bcast_sub *read = test_subscribe(h.b, "x", BCAST_DROP_OLDEST, 64);
        void *(*const work[])(void *) = {publish_on, publish_on, come_and_go, test_read_all};
        pthread_t threads[4];
        struct bcast_stats stats = bcast_stats_init();
        enough = false;
        for (int t = 0; t < 4; t++)
            test_start(&threads[t], work[t], t == 3 ? (void *)read : (void *)h.b);
        until(bcast_stats(h.b, &stats) == BCAST_OK && stats.published > 50);
        pid_t pid = fork();
        if (pid == 0)
            child(&h, i / 2);
        expect_good(pid);
        enough = true;
        bcast_cancel(read);
        for (int t = 0; t < 4; t++)
            pthread_join(threads[t], NULL);
        bcast_unsubscribe(read);
        free_all(&h, i / 2);
    }
}

/* ------------------------------------------------------------------------------------------------------------ exec -- */

static size_t count_in(const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void fds_end_with_exec(void **state)
{
    struct mute m = {0};
    size_t before = count_in("/proc/self/fd"), inherited = 0;
    struct bcast *b = test_open("memory://"), *broker = open_mute(&m);
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
    int fd = bcast_fd(sub);
    char path[32];
    (void)state;
    assert_true(fd >= 0 && count_in("/proc/self/fd") >= before + 2);
    for (int i = 0; i < 1024; i++) {
        int flags = fcntl(i, F_GETFD);
        inherited += flags >= 0 && !(flags & FD_CLOEXEC);
    }
    assert_true(inherited <= before);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/usr/bin/test", "test", "!", "-e", path, (char *)NULL);
        _exit(1);
    }
    expect_good(pid);
    test_publish(b, "x", "the parent goes on");
    bcast_unsubscribe(sub);
    bcast_close(b);
    bcast_close(broker);
}

/* -------------------------------------------------------------------------------------------------- dlopen, dlclose -- */

#define CALL(name, handle) ((__typeof__(&name))(uintptr_t)dlsym(handle, #name))

static void use(void *handle)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct mute m = {0};
    struct bcast_sub *sub;
    struct bcast *b, *broker;
    assert_int_equal(CALL(bcast_open, handle)("memory://shared", NULL, &b), BCAST_OK);
    assert_int_equal(CALL(bcast_subscribe, handle)(b, "x", NULL, &sub), BCAST_OK);
    assert_true(CALL(bcast_fd, handle)(sub) >= 0); /* with its thread */
    assert_int_equal(CALL(bcast_publish, handle)(b, "x", "hello", 5), BCAST_OK);
    assert_int_equal(CALL(bcast_next, handle)(sub, &event, 20000), BCAST_OK);
    assert_int_equal(CALL(bcast_open_backend, handle)(&mute_backend, &m, NULL, &broker), BCAST_OK);
    assert_int_equal(CALL(bcast_publish, handle)(broker, "x", "hello", 5), BCAST_OK);
    assert_int_equal(CALL(bcast_flush, handle)(broker, 20000), BCAST_OK);
    CALL(bcast_release, handle)(&event);
    CALL(bcast_unsubscribe, handle)(sub);
    CALL(bcast_close, handle)(b);
    CALL(bcast_close, handle)(broker);
}

static size_t mappings(void)
{
    size_t lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static bool loaded(void)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (handle != NULL)
        dlclose(handle);
    return handle != NULL;
}

/* The thread that calls is a new one every time: nothing of it is left either. */
static void *load_and_use(void *ignored)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    (void)ignored;
    if (handle == NULL)
        fail_msg("%s", dlerror());
    use(handle);
    dlclose(handle);
    return NULL;
}

static void loaded_and_unloaded(void **state)
{
    size_t fds = 0, tasks = 0, maps = 0;
    (void)state;
    for (int i = 0; i < 60; i++) {
        pthread_t thread;
        if (i == 10) {
            fds = count_in("/proc/self/fd");
            tasks = count_in("/proc/self/task");
            maps = mappings();
        }
        test_start(&thread, load_and_use, NULL);
        pthread_join(thread, NULL);
        assert_false(loaded());
        if (i >= 10) {
            assert_int_equal(count_in("/proc/self/fd"), fds);
            until(count_in("/proc/self/task") <= tasks);
        }
    }
    if (!SLAB_OFF) /* a sanitizer maps for itself */
        assert_true(mappings() <= maps + 5);
}

/* -------------------------------------------------------------------------------------------- threads that wait -- */

struct waiter_of {
    pthread_t thread;
    struct bcast *b;
    struct bcast_sub *sub;
    int (*call)(struct waiter_of *);
    int timeout_ms;
    int status;
    _Atomic pid_t task;
    _Atomic bool returned;
};

static int call_next(struct waiter_of *w)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    int status = bcast_next(w->sub, &event, w->timeout_ms);
    bcast_release(&event);
    return status;
}

static int call_publish(struct waiter_of *w)
{
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.timeout_ms = w->timeout_ms;
    return bcast_publish_message(w->b, &message);
}

static int call_flush(struct waiter_of *w)
{
    return bcast_flush(w->b, w->timeout_ms);
}

static int call_subscribe(struct waiter_of *w)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.timeout_ms = w->timeout_ms;
    return bcast_subscribe(w->b, "y", &options, &w->sub);
}

static void *wait_in_call(void *argument)
{
    struct waiter_of *w = argument;
    w->task = gettid();
    w->status = w->call(w);
    w->returned = true;
    pthread_testcancel();
    return w;
}

static bool asleep(const struct waiter_of *w)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)w->task);
    FILE *file = w->task != 0 ? fopen(path, "r") : NULL;
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = '?';
    fclose(file);
    return state == 'S';
}

static void start_waiting(struct waiter_of *w)
{
    test_start(&w->thread, wait_in_call, w);
    until(asleep(w));
}

/* It was cancelled while it waited, but the call went on until it had what it waited for. */
static void expect_cancelled(struct waiter_of *w, int status)
{
    void *result;
    pthread_join(w->thread, &result);
    assert_true(w->returned);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_int_equal(w->status, status);
}

static size_t fill(struct bcast *b)
{
    struct bcast_message message = bcast_message_init();
    size_t count = 0;
    message.channel = "x";
    message.timeout_ms = BCAST_NOWAIT;
    while (bcast_publish_message(b, &message) == BCAST_OK)
        count++;
    return count;
}

static void cancelled_over_memory(void **state)
{
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 64);
    struct waiter_of reader = {.b = b, .sub = sub, .call = call_next, .timeout_ms = BCAST_FOREVER};
    struct waiter_of publisher = {.b = b, .call = call_publish, .timeout_ms = BCAST_FOREVER};
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    start_waiting(&reader);
    pthread_cancel(reader.thread);
    test_publish(b, "x", "at last");
    expect_cancelled(&reader, BCAST_OK);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0)); /* we are its reader now, and nobody is left inside */
    size_t queued = fill(b) + 1;
    start_waiting(&publisher);
    pthread_cancel(publisher.thread);
    for (; queued > 0; queued--)
        must(bcast_next(sub, &event, 20000));
    expect_cancelled(&publisher, BCAST_OK);
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0)); /* not busy: nobody is left inside */
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void cancelled_with_a_broker(void **state)
{
    struct mute m = {.hold = true, .swallow = true};
    struct bcast *b = open_mute(&m);
    struct waiter_of subscriber = {.b = b, .call = call_subscribe, .timeout_ms = BCAST_FOREVER};
    struct waiter_of flusher = {.b = b, .call = call_flush, .timeout_ms = BCAST_FOREVER};
    (void)state;
    test_publish(b, "x", "without an answer");
    until(m.taken == 1);
    start_waiting(&subscriber);
    pthread_cancel(subscriber.thread);
    start_waiting(&flusher);
    pthread_cancel(flusher.thread);
    until(asleep(&subscriber) && asleep(&flusher));
    do
        tell(&m);
    while (bcast_flush(b, 10) != BCAST_OK || !subscriber.returned);
    expect_cancelled(&subscriber, BCAST_OK);
    expect_cancelled(&flusher, BCAST_OK);
    bcast_unsubscribe(subscriber.sub);
    bcast_close(b);
}

/* --------------------------------------------------------------------------------------------------------- signals -- */

static void on_signal(int number)
{
    (void)number;
}

#define WAITERS 5

struct storm {
    struct waiter_of *waiters;
    _Atomic uint64_t count;
    _Atomic bool over;
};

static void *shower(void *argument)
{
    struct storm *storm = argument;
    while (!storm->over) {
        for (int i = 0; i < WAITERS; i++)
            if (storm->waiters[i].task != 0)
                pthread_kill(storm->waiters[i].thread, SIGUSR1);
        storm->count++;
        sched_yield();
    }
    return NULL;
}

static int call_poll(struct waiter_of *w)
{
    struct pollfd pollfd = {bcast_fd(w->sub), POLLIN, 0};
    struct bcast_event event = BCAST_EVENT_INIT;
    for (int status;;) {
        while ((status = bcast_next(w->sub, &event, 0)) != BCAST_TIMEOUT)
            if (status != BCAST_OK || event.kind == BCAST_MESSAGE) {
                bcast_release(&event);
                return status;
            }
        poll(&pollfd, 1, -1); /* EINTR is the program's own affair: it looks again */
    }
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *wait_signalled(void *argument)
{
    struct waiter_of *w = argument;
    w->task = gettid();
    w->status = w->call(w);
    w->returned = true;
    return NULL;
}

/* Five calls wait, showered with signals; time-outs end them, not before their time, or what they wait for. */
static void storm_over(bool timed)
{
    struct mute m = {.hold = true, .swallow = true};
    struct bcast *b = test_open("memory://"), *broker = open_mute(&m);
    struct bcast_sub *full = test_subscribe(b, "x", BCAST_BLOCK, 64);
    struct bcast_sub *quiet = test_subscribe(b, "quiet", BCAST_BLOCK, 64);
    struct bcast_sub *polled = test_subscribe(b, "polled", BCAST_BLOCK, 64);
    int timeout = timed ? 150 : 20000;
    struct waiter_of waiters[WAITERS] = {
        {.sub = quiet, .call = call_next, .timeout_ms = timeout},
        {.b = b, .call = call_publish, .timeout_ms = timeout},
        {.b = broker, .call = call_flush, .timeout_ms = timeout},
        {.b = broker, .call = call_subscribe, .timeout_ms = timeout},
        {.sub = polled, .call = call_poll},
    };
    struct storm storm = {.waiters = waiters};
    struct bcast_event event = BCAST_EVENT_INIT;
    struct sigaction action = {.sa_handler = on_signal}, before;
    pthread_t thread;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0); /* without SA_RESTART */
    test_publish(broker, "x", "without an answer");
    size_t queued = fill(b);
    int64_t start = now_ms();
    for (int i = 0; i < WAITERS; i++)
        test_start(&waiters[i].thread, wait_signalled, &waiters[i]);
    test_start(&thread, shower, &storm);
    until(storm.count > 200);
    if (timed) {
        until(waiters[0].returned && waiters[1].returned && waiters[2].returned && waiters[3].returned);
        assert_true(now_ms() - start >= timeout);
    } else {
        for (int i = 0; i < WAITERS; i++)
            assert_false(waiters[i].returned);
        test_publish(b, "quiet", "for the one who reads");
        for (; queued > 0; queued--)
            must(bcast_next(full, &event, 20000));
        until((tell(&m), waiters[2].returned && waiters[3].returned));
        until(waiters[0].returned && waiters[1].returned);
    }
    test_publish(b, "polled", "for the one who polls");
    until(waiters[4].returned);
    storm.over = true;
    pthread_join(thread, NULL);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].status, timed && i < 4 ? BCAST_TIMEOUT : BCAST_OK);
    }
    sigaction(SIGUSR1, &before, NULL);
    bcast_release(&event);
    bcast_unsubscribe(waiters[3].sub);
    bcast_unsubscribe(full);
    bcast_unsubscribe(quiet);
    bcast_unsubscribe(polled);
    bcast_close(b);
    bcast_close(broker);
}

static void signals(void **state)
{
    (void)state;
    storm_over(true);
    storm_over(false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fork_with_open_handles),  cmocka_unit_test(fork_with_a_broker),
        cmocka_unit_test(fork_while_others_work),  cmocka_unit_test(fds_end_with_exec),
        cmocka_unit_test(loaded_and_unloaded),     cmocka_unit_test(cancelled_over_memory),
        cmocka_unit_test(cancelled_with_a_broker), cmocka_unit_test(signals),
    };
    if (argc != 2)
        return 2;
    library = argv[1];
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
