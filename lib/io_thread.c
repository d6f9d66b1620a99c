#define _POSIX_C_SOURCE 200809L
#include "io_thread.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "extra.h"
#include "outbound.h"
#include "topic.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MOST_MS 10000
#define NO_TIME INT64_MAX

struct flight { /* a message that was handed to the backend and has no result yet */
    bcast_result_callback on_result;
    void *context;
    bool done;
};

struct io {
    struct bcast_sink sink; /* first: what the backend sees */
    struct bell bell;       /* its fd wakes the I/O thread: for messages, for wishes, for sink->wake */
    struct bcast *b;
    struct outbound outbound;

    /* The I/O thread's alone. */
    struct outbound_batch batch;
    struct pollfd *polled; /* [0] is the bell's; the others what the backend watches */
    size_t polled_count, polled_room;
    struct flight *flights; /* of message number `landed` + i, at index (landed + i) % flight_room */
    size_t flight_room;
    uint64_t taken;         /* number of the first message not yet handed over */
    int64_t alarm_ns, connect_ns; /* NO_TIME: none */
    unsigned attempts, paused; /* paused: topics */
    bool connected, blocked; /* blocked: the backend did not take all; wait for it to move */
    bool lost, terminal;     /* sink->lost was called; dealt with when the backend has returned */
    int lost_status;
    char lost_reason[200];
    _Atomic uint32_t poked;    /* sink->wake */
    _Atomic uint64_t received; /* relaxed: a statistic */

    /* Shared with callers. */
    pthread_mutex_t mutex;
    pthread_cond_t changed_cond;
    pthread_t thread;
    bool running, stop;
    bool ready;   /* connected at least once, for open */
    int failed;   /* terminal: what every call answers; BCAST_OK: not */
    char reason[200];
    uint64_t landed; /* every message before this number has its result */
    uint64_t good, bad, unknown, reconnects;
    uint64_t bad_unreported; /* since the last flush */
    struct topic *topics, *changed;
};

static struct io *io_of(struct bcast_sink *sink)
{
    return (struct io *)(void *)sink;
}

static const struct bcast_backend *backend_of(const struct io *io)
{
    return io->b->backend;
}

static void tell_state(struct io *io, enum bcast_state to, int status, const char *reason)
{
    const struct settings *settings = &io->b->settings;
    if (settings->on_state != NULL)
        settings->on_state(settings->state_context, to, status, reason);
}

/* Waits on the condition; with the mutex. False: the deadline has passed. */
static bool wait_until(struct io *io, int64_t deadline_ns)
{
    if (deadline_ns == OS_NEVER)
        return pthread_cond_wait(&io->changed_cond, &io->mutex) == 0;
    struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    return pthread_cond_timedwait(&io->changed_cond, &io->mutex, &until) != ETIMEDOUT;
}

/* ------------------------------------------------------------------------------------------------------- results -- */

static bool flights_grow(struct io *io)
{
    size_t room = io->flight_room == 0 ? 64 : io->flight_room * 2;
    struct flight *flights = memory_get(room * sizeof *flights);
    if (flights == NULL)
        return false;
    for (uint64_t n = io->landed; n != io->taken; n++)
        flights[n % room] = io->flights[n % io->flight_room];
    memory_put(io->flights);
    io->flights = flights;
    io->flight_room = room;
    return true;
}

/* Gives one message its result; false: it is none that waits for one. */
static bool land(struct io *io, uint64_t number, int status)
{
    struct flight *flight = &io->flights[number % io->flight_room];
    if (number - io->landed >= io->taken - io->landed || flight->done) {
        log_write(&io->b->settings.log, BCAST_LOG_ERROR, "%s gave a second result, or one for a message it never got",
                  backend_of(io)->name);
        return false;
    }
    flight->done = true;
    if (flight->on_result != NULL)
        flight->on_result(flight->context, status);
    return true;
}

/* Counts `count` results, and tells who waits for them. */
static void count_landed(struct io *io, uint64_t count, int status)
{
    if (count == 0)
        return;
    pthread_mutex_lock(&io->mutex);
    uint64_t *counter = status == BCAST_OK ? &io->good : status == BCAST_ERR_UNKNOWN ? &io->unknown : &io->bad;
    *counter += count;
    io->bad_unreported += status == BCAST_OK ? 0 : count;
    while (io->landed != io->taken && io->flights[io->landed % io->flight_room].done)
        io->landed++;
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
}

static void sink_result(struct bcast_sink *sink, uint64_t number, uint64_t count, int status)
{
    struct io *io = io_of(sink);
    uint64_t landed = 0;
    for (uint64_t i = 0; i < count; i++)
        landed += land(io, number + i, status);
    count_landed(io, landed, status);
}

/* Everything that was handed over and has no result will never get one. */
static void land_all(struct io *io, int status)
{
    uint64_t landed = 0;
    for (uint64_t n = io->landed; n != io->taken; n++)
        if (!io->flights[n % io->flight_room].done)
            landed += land(io, n, status);
    count_landed(io, landed, status);
}

/* Takes the first `count` messages of the batch out of the queue and into flight. */
static bool take_off(struct io *io, size_t count)
{
    while (io->taken + count - io->landed > io->flight_room)
        if (!flights_grow(io))
            return false;
    for (size_t i = 0; i < count; i++) {
        const struct outbound_message *message = &io->batch.messages[i];
        io->flights[(io->taken + i) % io->flight_room] = (struct flight){message->on_result, message->context, false};
    }
    pthread_mutex_lock(&io->mutex);
    io->taken += count;
    pthread_mutex_unlock(&io->mutex);
    return true;
}

static void publish_batch(struct io *io)
{
    /* In flight before it is handed over: results may come from within publish. What is not taken is put back. */
    if (!take_off(io, io->batch.count))
        return;
    size_t taken = backend_of(io)->publish(io->b->self, io->batch.out, io->batch.count);
    if (taken > io->batch.count)
        taken = io->batch.count;
    pthread_mutex_lock(&io->mutex);
    io->taken -= io->batch.count - taken;
    pthread_mutex_unlock(&io->mutex);
    io->blocked = taken < io->batch.count;
    outbound_skip(&io->outbound, &io->batch, taken);
}

/* With the connection up: hands over what is queued, for as long as the backend takes it all. */
static void publish_queued(struct io *io)
{
    for (int turns = 0; turns < 16 && io->connected && !io->lost && !io->blocked; turns++) {
        if (!outbound_look(&io->outbound, &io->batch)) {
            if (outbound_arm(&io->outbound))
                return;
            continue;
        }
        publish_batch(io);
    }
    if (io->connected && !io->blocked)
        bell_ring_one(&io->bell); /* there may be more: but first see what the broker says */
}

/* No use in waiting: everything queued gets this result. */
static void refuse_queued(struct io *io, int status)
{
    while (outbound_look(&io->outbound, &io->batch)) {
        size_t count = io->batch.count;
        uint64_t first = io->taken;
        if (!take_off(io, count))
            return;
        outbound_skip(&io->outbound, &io->batch, count);
        sink_result(&io->sink, first, count, status);
    }
}

/* ------------------------------------------------------------------------------------------------ what comes in -- */

static void sink_connected(struct bcast_sink *sink)
{
    struct io *io = io_of(sink);
    io->connected = true;
    io->blocked = false;
    io->attempts = 0;
    pthread_mutex_lock(&io->mutex);
    io->reconnects += io->ready;
    io->ready = true;
    for (struct topic *topic = io->topics; topic != NULL; topic = topic->next)
        if (!topic->changed) { /* all of them are to be subscribed (again) */
            topic->changed = true;
            topic->next_changed = io->changed;
            io->changed = topic;
        }
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
    tell_state(io, BCAST_CONNECTED, BCAST_OK, "");
}

static void sink_lost(struct bcast_sink *sink, int status, const char *reason, int terminal)
{
    struct io *io = io_of(sink);
    if (io->lost)
        return;
    io->lost = true; /* dealt with once the backend has returned: see deal_with_loss */
    io->terminal = terminal != 0;
    io->lost_status = status;
    strncpy(io->lost_reason, reason != NULL ? reason : "", sizeof io->lost_reason - 1);
}

static void sink_subscribed(struct bcast_sink *sink, struct bcast_topic *is, int status, const char *reason)
{
    struct io *io = io_of(sink);
    struct topic *topic = (struct topic *)(void *)is;
    pthread_mutex_lock(&io->mutex);
    topic->status = status;
    topic->state = status == BCAST_OK ? TOPIC_ON : TOPIC_OFF;
    strncpy(topic->reason, reason != NULL ? reason : "", sizeof topic->reason - 1);
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
}

static int into_ring(struct io *io, struct topic *topic, const struct record *record)
{
    enum ring_result result = ring_publish(&topic->channel->ring, record, 0, &io->b->guard);
    if (result == RING_NOMEM)
        log_write(&io->b->settings.log, BCAST_LOG_ERROR, "out of memory: a message was lost");
    return result == RING_FULL || result == RING_DEADLOCK ? BCAST_TIMEOUT : BCAST_OK;
}

static void sink_gap(struct bcast_sink *sink, struct bcast_topic *is, enum bcast_gap_reason reason, uint64_t lost,
                     enum bcast_count count)
{
    struct gap_record gap = {lost, reason, count};
    struct record record = {RECORD_GAP, &gap, sizeof gap, 0, NULL};
    into_ring(io_of(sink), (struct topic *)(void *)is, &record);
}

static int sink_message(struct bcast_sink *sink, struct bcast_topic *is, const struct bcast_incoming *message)
{
    _Alignas(8) unsigned char small[1024], *block = small;
    struct io *io = io_of(sink);
    struct topic *topic = (struct topic *)(void *)is;
    uint32_t size = 0;
    extra_measure(message, &size); /* fails for more headers than anybody can publish here: the data still arrives */
    if (size > sizeof small && (block = memory_get(size)) == NULL)
        size = 0;
    if (size != 0)
        extra_write(block, message);
    struct record record = {0, message->data, (uint32_t)message->size, size, block};
    int status = into_ring(io, topic, &record);
    if (block != small)
        memory_put(block);
    if (status == BCAST_TIMEOUT && !topic->paused) {
        topic->paused = true;
        io->paused++;
        ring_notify_space(&topic->channel->ring, &io->bell);
    }
    atomic_fetch_add_explicit(&io->received, status == BCAST_OK, memory_order_relaxed);
    return status;
}

/* Topics are added by any thread, but freed by the I/O thread only: it may let go of the mutex between two of them. */
static struct topic *next_topic(struct io *io, struct topic *topic)
{
    pthread_mutex_lock(&io->mutex);
    topic = topic != NULL ? topic->next : io->topics;
    pthread_mutex_unlock(&io->mutex);
    return topic;
}

static void unpause(struct io *io, struct topic *topic)
{
    if (!topic->paused)
        return;
    ring_notify_space(&topic->channel->ring, NULL);
    topic->paused = false;
    io->paused--;
}

static void resume_paused(struct io *io)
{
    for (struct topic *topic = NULL; io->paused != 0 && (topic = next_topic(io, topic)) != NULL;)
        if (topic->paused && ring_has_room(&topic->channel->ring)) {
            unpause(io, topic);
            if (backend_of(io)->resume != NULL && io->connected)
                backend_of(io)->resume(io->b->self, &topic->is);
        }
}

static void sink_fetched(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message, int status)
{
    (void)sink, (void)request, (void)message, (void)status; /* nobody asks yet */
}

/* ------------------------------------------------------------------------------------------ what else a sink does -- */

static int sink_watch(struct bcast_sink *sink, int fd, int events)
{
    struct io *io = io_of(sink);
    short wanted = (short)((events & BCAST_WATCH_READ ? POLLIN : 0) | (events & BCAST_WATCH_WRITE ? POLLOUT : 0));
    for (size_t i = 1; i < io->polled_count; i++)
        if (io->polled[i].fd == fd) {
            io->polled[i].events = wanted;
            if (events == 0)
                io->polled[i] = io->polled[--io->polled_count];
            return BCAST_OK;
        }
    if (events == 0)
        return BCAST_OK;
    if (io->polled_count == io->polled_room) {
        struct pollfd *more = memory_get(2 * io->polled_room * sizeof *more);
        if (more == NULL)
            return BCAST_ERR_NOMEM;
        memcpy(more, io->polled, io->polled_count * sizeof *more);
        memory_put(io->polled);
        io->polled = more;
        io->polled_room *= 2;
    }
    io->polled[io->polled_count++] = (struct pollfd){fd, wanted, 0};
    return BCAST_OK;
}

static void sink_alarm(struct bcast_sink *sink, int in_ms)
{
    io_of(sink)->alarm_ns = in_ms < 0 ? NO_TIME : clock_ns() + (int64_t)in_ms * 1000000;
}

static void sink_wake(struct bcast_sink *sink)
{
    struct io *io = io_of(sink);
    atomic_store(&io->poked, 1);
    bell_ring_one(&io->bell);
}

static void sink_log(struct bcast_sink *sink, enum bcast_log_level level, const char *text)
{
    log_write(&io_of(sink)->b->settings.log, level, "%s: %s", backend_of(io_of(sink))->name, text);
}

/* ------------------------------------------------------------------------------------------------------- topics -- */

static void topic_free(struct io *io, struct topic *topic)
{
    if (topic->previous != NULL)
        topic->previous->next = topic->next;
    else
        io->topics = topic->next;
    if (topic->next != NULL)
        topic->next->previous = topic->previous;
    topic->channel->topic = NULL;
    pthread_mutex_unlock(&io->mutex);
    unpause(io, topic);
    channel_unref(topic->channel);
    memory_put(topic);
    pthread_mutex_lock(&io->mutex);
}

/* Makes the broker's view of one topic what the subscriptions want. With the mutex, which is let go while the backend
 * works. */
static void settle_topic(struct io *io, struct topic *topic)
{
    struct bcast_topic *is = &topic->is;
    if (topic->wanted != 0 && topic->state == TOPIC_OFF && topic->status == BCAST_OK && io->connected) {
        topic->state = TOPIC_ASKED;
        pthread_mutex_unlock(&io->mutex);
        backend_of(io)->subscribe(io->b->self, &is, 1);
        pthread_mutex_lock(&io->mutex);
    } else if (topic->wanted == 0) {
        bool known = topic->state != TOPIC_OFF && io->connected;
        topic->state = TOPIC_OFF;
        topic->status = BCAST_OK;
        pthread_mutex_unlock(&io->mutex);
        if (known)
            backend_of(io)->unsubscribe(io->b->self, &is, 1);
        pthread_mutex_lock(&io->mutex);
        if (topic->wanted != 0) /* somebody came meanwhile */
            settle_topic(io, topic);
        else if (topic->waiting == 0 && !topic->changed)
            topic_free(io, topic);
    }
}

static void settle_topics(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (io->changed != NULL) {
        struct topic *topic = io->changed;
        io->changed = topic->next_changed;
        topic->changed = false;
        settle_topic(io, topic);
    }
    pthread_mutex_unlock(&io->mutex);
}

/* With the mutex. */
static void change(struct io *io, struct topic *topic)
{
    if (topic->changed)
        return;
    topic->changed = true;
    topic->next_changed = io->changed;
    io->changed = topic;
    bell_ring_one(&io->bell);
}

static struct topic *topic_get(struct io *io, struct channel *channel)
{
    struct topic *topic = channel->topic;
    if (topic != NULL)
        return topic;
    topic = memory_get(sizeof *topic);
    if (topic == NULL)
        return NULL;
    channel_ref(channel);
    topic->channel = channel;
    topic->is.name = channel->name;
    topic->is.size = channel->size;
    topic->next = io->topics;
    if (io->topics != NULL)
        io->topics->previous = topic;
    io->topics = topic;
    channel->topic = topic;
    return topic;
}

/* --------------------------------------------------------------------------------------------------- connection -- */

static void connect_now(struct io *io)
{
    io->connect_ns = NO_TIME;
    tell_state(io, BCAST_CONNECTING, BCAST_OK, "");
    backend_of(io)->connect(io->b->self);
}

/* Doubling, with a quarter of chance either way, so that a thousand clients do not come back at the same moment. */
static int64_t backoff_ns(struct io *io)
{
    int64_t ms = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < io->attempts && ms < BACKOFF_MOST_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MOST_MS)
        ms = BACKOFF_MOST_MS;
    io->attempts++;
    uint64_t chance = ((uint64_t)clock_ns() ^ (uintptr_t)io) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return ms * 750000 + (int64_t)(chance % (uint64_t)(ms * 500000));
}

static void fail_topics(struct io *io)
{
    bool resumes = io->b->capabilities.can & BCAST_CAN_RESUME;
    for (struct topic *topic = NULL; (topic = next_topic(io, topic)) != NULL;) {
        pthread_mutex_lock(&io->mutex);
        bool gap = topic->state == TOPIC_ON && !resumes;
        topic->state = TOPIC_OFF;
        pthread_mutex_unlock(&io->mutex);
        unpause(io, topic);
        if (gap)
            sink_gap(&io->sink, &topic->is, BCAST_GAP_RECONNECT, 0, BCAST_COUNT_UNKNOWN);
    }
}

static void deal_with_loss(struct io *io)
{
    bool was = io->connected;
    io->lost = io->connected = io->blocked = false;
    io->alarm_ns = NO_TIME;
    backend_of(io)->disconnect(io->b->self);
    land_all(io, BCAST_ERR_UNKNOWN);
    if (was)
        fail_topics(io);
    log_write(&io->b->settings.log, BCAST_LOG_WARNING, "%s: %s", backend_of(io)->name, io->lost_reason);
    pthread_mutex_lock(&io->mutex);
    memcpy(io->reason, io->lost_reason, sizeof io->reason);
    if (io->terminal)
        io->failed = io->lost_status;
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
    tell_state(io, BCAST_LOST, io->lost_status, io->lost_reason);
    if (io->terminal)
        refuse_queued(io, io->lost_status);
    else
        io->connect_ns = clock_ns() + backoff_ns(io);
}

/* ------------------------------------------------------------------------------------------------------ the loop -- */

static int poll_timeout(const struct io *io)
{
    int64_t next = io->alarm_ns < io->connect_ns ? io->alarm_ns : io->connect_ns;
    if (next == NO_TIME)
        return -1;
    int64_t left = next - clock_ns();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

static void serve_fds(struct io *io)
{
    for (size_t i = io->polled_count; i-- > 1;) { /* backwards: a watch that ends is replaced by the last one */
        struct pollfd *p = &io->polled[i];
        if (p->revents == 0)
            continue;
        int events = (p->revents & POLLIN ? BCAST_WATCH_READ : 0) | (p->revents & POLLOUT ? BCAST_WATCH_WRITE : 0) |
                     (p->revents & (POLLERR | POLLHUP | POLLNVAL) ? BCAST_WATCH_ERROR : 0);
        p->revents = 0;
        io->blocked = false;
        backend_of(io)->ready(io->b->self, p->fd, events);
        if (io->lost)
            return;
    }
}

static void serve_times(struct io *io)
{
    if (io->connect_ns != NO_TIME && clock_ns() >= io->connect_ns)
        connect_now(io);
    if (io->alarm_ns != NO_TIME && clock_ns() >= io->alarm_ns) {
        io->alarm_ns = NO_TIME;
        io->blocked = false;
        if (backend_of(io)->alarm != NULL)
            backend_of(io)->alarm(io->b->self);
    }
    if (atomic_exchange(&io->poked, 0) != 0) {
        io->blocked = false;
        if (backend_of(io)->woken != NULL)
            backend_of(io)->woken(io->b->self);
    }
}

static bool stopping(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    bool stop = io->stop;
    pthread_mutex_unlock(&io->mutex);
    return stop;
}

static void end(struct io *io)
{
    backend_of(io)->disconnect(io->b->self);
    io->connected = false;
    land_all(io, BCAST_ERR_UNKNOWN);
    refuse_queued(io, BCAST_ERR_CLOSED);
    tell_state(io, BCAST_CLOSED, BCAST_OK, "");
}

static void *io_run(void *argument)
{
    struct io *io = argument;
    cursor_read_by(&io->outbound.cursor, thread_id()); /* a callback that publishes into a full queue waits for us */
    connect_now(io);
    while (!stopping(io)) {
        if (io->lost)
            deal_with_loss(io);
        settle_topics(io);
        resume_paused(io);
        if (io->connected && !io->lost)
            publish_queued(io);
        else if (io->failed != BCAST_OK && !outbound_arm(&io->outbound))
            refuse_queued(io, io->failed);
        if (io->lost)
            continue;
        if (poll(io->polled, io->polled_count, poll_timeout(io)) > 0)
            serve_fds(io);
        bell_drain_fd(&io->bell);
        (void)bell_take_rung(&io->bell);
        if (!io->lost)
            serve_times(io);
    }
    end(io);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------ life -- */

static void bell_gone(struct bell *bell)
{
    (void)bell; /* part of struct io: see io_free */
}

static const struct bcast_sink sink_calls = {
    .struct_size = sizeof(struct bcast_sink), .connected = sink_connected, .lost = sink_lost,
    .subscribed = sink_subscribed, .message = sink_message, .gap = sink_gap, .result = sink_result,
    .fetched = sink_fetched, .watch = sink_watch, .alarm = sink_alarm, .wake = sink_wake, .log = sink_log,
};

static int init_locks(struct io *io)
{
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&io->mutex, NULL) != 0)
        return -1;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int error = pthread_cond_init(&io->changed_cond, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error != 0)
        pthread_mutex_destroy(&io->mutex);
    return error;
}

static void io_free(struct io *io)
{
    outbound_fini(&io->outbound);
    os_event_close(&io->bell.event);
    pthread_cond_destroy(&io->changed_cond);
    pthread_mutex_destroy(&io->mutex);
    memory_put(io->polled);
    memory_put(io->flights);
    memory_put(io);
}

int io_new(struct bcast *b, struct io **out, struct bcast_sink **sink)
{
    struct io *io = memory_get(sizeof *io);
    if (io == NULL || init_locks(io) != 0) {
        memory_put(io);
        return error_nomem();
    }
    struct ring_limits limits = {b->settings.queue_messages, b->settings.queue_bytes};
    io->b = b;
    io->sink = sink_calls;
    io->alarm_ns = io->connect_ns = NO_TIME;
    io->polled_room = 8;
    io->polled_count = 1;
    bell_init(&io->bell, bell_gone);
    io->polled = memory_get(io->polled_room * sizeof *io->polled);
    bool whole = outbound_init(&io->outbound, &io->bell, limits) && io->polled != NULL &&
                 bell_open_fd(&io->bell, NULL) == 0;
    if (!whole) {
        io_free(io);
        return error_nomem();
    }
    io->polled[0] = (struct pollfd){io->bell.event.read_fd, POLLIN, 0};
    *out = io;
    *sink = &io->sink;
    return BCAST_OK;
}

static int io_failed(struct io *io)
{
    return error_set(io->failed, "%s: %s", backend_of(io)->name, io->reason);
}

int io_start(struct io *io)
{
    const struct settings *settings = &io->b->settings;
    int64_t deadline = clock_deadline(settings->open_timeout_ms);
    if (os_thread_start(&io->thread, "bcast-io", &settings->threads, io_run, io) != 0)
        return error_set(BCAST_ERR_NOMEM, "the I/O thread cannot be started: check thread_stack_bytes, thread_cpus and "
                                          "the process's limits");
    io->running = true;
    if (settings->open_timeout_ms == BCAST_NOWAIT)
        return BCAST_OK;
    int status = BCAST_OK;
    pthread_mutex_lock(&io->mutex);
    while (!io->ready && io->failed == BCAST_OK && status == BCAST_OK)
        if (!wait_until(io, deadline))
            status = error_set(BCAST_ERR_CONNECT, "%s: not connected within open_timeout_ms (%d): %s",
                               backend_of(io)->name, settings->open_timeout_ms,
                               io->reason[0] != '\0' ? io->reason : "no answer");
    if (!io->ready && io->failed != BCAST_OK)
        status = io_failed(io);
    pthread_mutex_unlock(&io->mutex);
    return status;
}

void io_shut(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    io->stop = true;
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
    ring_interrupt(&io->outbound.ring);
    bell_ring_one(&io->bell);
}

void io_stop(struct io *io)
{
    if (io == NULL)
        return;
    if (!os_guard_forked(&io->b->guard) && io->running) {
        io_shut(io);
        pthread_join(io->thread, NULL);
    }
    for (struct topic *topic = io->topics, *next; topic != NULL; topic = next) {
        next = topic->next;
        topic->channel->topic = NULL;
        unpause(io, topic);
        channel_unref(topic->channel);
        memory_put(topic);
    }
    io_free(io);
}

/* ---------------------------------------------------------------------------------------------- what callers ask -- */

static int check(struct io *io, const struct bcast_outgoing *out)
{
    char why[256] = "";
    if (backend_of(io)->check == NULL)
        return BCAST_OK;
    int status = backend_of(io)->check(io->b->self, out, why, sizeof why);
    return status == BCAST_OK ? BCAST_OK : error_set(status, "%s: %s", backend_of(io)->name, why);
}

static int terminal_failure(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    int status = io->failed != BCAST_OK ? io_failed(io) : BCAST_OK;
    pthread_mutex_unlock(&io->mutex);
    return status;
}

static int check_message(struct io *io, struct channel *channel, const struct bcast_message *m)
{
    uint64_t can = io->b->capabilities.can;
    if (m->key != NULL && !(can & BCAST_CAN_KEYS))
        return error_set(BCAST_ERR_UNSUPPORTED, "%s carries no keys", backend_of(io)->name);
    if (m->header_count != 0 && !(can & BCAST_CAN_HEADERS))
        return error_set(BCAST_ERR_UNSUPPORTED, "%s carries no headers", backend_of(io)->name);
    struct bcast_outgoing out = {.channel = channel->name, .channel_size = channel->size, .data = m->data,
                                 .size = m->size, .key = m->key, .key_size = m->key_size, .headers = m->headers,
                                 .header_count = m->header_count};
    return check(io, &out);
}

int io_publish(struct io *io, struct channel *channel, const struct bcast_message *message, int64_t deadline_ns)
{
    int status = terminal_failure(io);
    if (status == BCAST_OK)
        status = check_message(io, channel, message);
    if (status != BCAST_OK)
        return status;
    switch (outbound_put(&io->outbound, channel, message, deadline_ns, &io->b->guard, &status)) {
    case RING_OK: return status;
    case RING_FULL: return error_set(BCAST_TIMEOUT, "the queue to the broker is full (queue_messages, queue_bytes); "
                                                    "nothing was published");
    case RING_DEADLOCK: return error_set(BCAST_ERR_WOULD_DEADLOCK, "the queue to the broker is full, and a callback must "
                                                                   "not wait for it");
    case RING_CLOSED: return bcast_ended(io->b);
    default: return error_nomem();
    }
}

int io_flush(struct io *io, int64_t deadline_ns)
{
    uint64_t until = outbound_tail(&io->outbound);
    int status = BCAST_OK;
    pthread_mutex_lock(&io->mutex);
    while ((int64_t)(until - io->landed) > 0 && status == BCAST_OK)
        if (io->stop)
            status = bcast_ended(io->b);
        else if (!wait_until(io, deadline_ns))
            status = error_set(BCAST_TIMEOUT, "%llu messages have no result yet",
                               (unsigned long long)(until - io->landed));
    if (status == BCAST_OK && io->bad_unreported != 0) {
        status = error_set(BCAST_ERR_PUBLISH, "%llu messages were not confirmed since the last flush%s%s",
                           (unsigned long long)io->bad_unreported, io->reason[0] != '\0' ? ": " : "", io->reason);
        io->bad_unreported = 0;
    }
    pthread_mutex_unlock(&io->mutex);
    return status;
}

/* The broker's word, or why there is none. With the mutex. */
static int wait_for_topic(struct io *io, struct topic *topic, int64_t deadline_ns)
{
    for (;;) {
        if (topic->state == TOPIC_ON)
            return BCAST_OK;
        if (topic->status != BCAST_OK)
            return error_set(topic->status, "%s: %s", backend_of(io)->name, topic->reason);
        if (io->failed != BCAST_OK)
            return io_failed(io);
        if (io->stop)
            return bcast_ended(io->b);
        if (!wait_until(io, deadline_ns))
            return error_set(BCAST_TIMEOUT, "%s has not confirmed the subscription in time%s%s", backend_of(io)->name,
                             io->reason[0] != '\0' ? "; the last trouble: " : "", io->reason);
    }
}

int io_want(struct io *io, struct channel *channel, int64_t deadline_ns)
{
    struct bcast_outgoing probe = {.channel = channel->name, .channel_size = channel->size};
    int status = check(io, &probe);
    if (status != BCAST_OK)
        return status;
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = topic_get(io, channel);
    if (topic == NULL) {
        pthread_mutex_unlock(&io->mutex);
        return error_nomem();
    }
    topic->wanted++;
    topic->waiting++;
    if (topic->state == TOPIC_OFF) {
        topic->status = BCAST_OK; /* a refusal is not for ever: ask again */
        change(io, topic);
    }
    status = wait_for_topic(io, topic, deadline_ns);
    topic->waiting--;
    if (status != BCAST_OK && --topic->wanted == 0)
        change(io, topic);
    pthread_mutex_unlock(&io->mutex);
    return status;
}

void io_unwant(struct io *io, struct channel *channel)
{
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = channel->topic;
    if (topic != NULL && --topic->wanted == 0)
        change(io, topic);
    pthread_mutex_unlock(&io->mutex);
}

void io_stats(struct io *io, struct bcast_stats *stats)
{
    uint64_t tail = outbound_tail(&io->outbound);
    pthread_mutex_lock(&io->mutex);
    stats->published = tail;
    stats->received = atomic_load_explicit(&io->received, memory_order_relaxed);
    stats->confirmed = io->good;
    stats->failed = io->bad;
    stats->unknown = io->unknown;
    stats->queued = tail - io->landed;
    stats->reconnects = io->reconnects;
    pthread_mutex_unlock(&io->mutex);
}
