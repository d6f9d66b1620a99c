#define _POSIX_C_SOURCE 200809L
#include "io.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MOST_MS 10000
#define FEEDS_NS 10000000 /* before a step is tried again that lacked memory */

static void tell_state(struct io *io, enum bcast_state to, int status, const char *reason)
{
    const struct settings *settings = &io->b->settings;
    if (settings->on_state != NULL)
        settings->on_state(settings->state_context, to, status, reason);
}

/* Waits on the condition; with the mutex. False: the deadline has passed. */
bool io_wait(struct io *io, int64_t deadline_ns)
{
    int error, shield = thread_shield();
    struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    if (deadline_ns == OS_NEVER)
        error = pthread_cond_wait(&io->changed_cond, &io->mutex);
    else
        error = pthread_cond_timedwait(&io->changed_cond, &io->mutex, &until);
    thread_unshield(shield);
    return error != ETIMEDOUT;
}

int io_failed(struct io *io)
{
    return error_set(io->failed, "%s: %s", backend_of(io)->name, io->reason);
}

/* ------------------------------------------------------------------------------------------------ what comes in -- */

static void sink_connected(struct bcast_sink *sink)
{
    struct io *io = io_of(sink);
    io->connected = true;
    io->blocked = false;
    io->connected_ns = clock_ns();
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

static void sink_gap(struct bcast_sink *sink, struct bcast_topic *is, enum bcast_gap_reason reason, uint64_t lost,
                     enum bcast_count count)
{
    io_in_gap(io_of(sink), &((struct topic *)(void *)is)->inlet, &(struct gap_record){lost, reason, count});
}

static int sink_message(struct bcast_sink *sink, struct bcast_topic *is, const struct bcast_incoming *message)
{
    struct io *io = io_of(sink);
    struct topic *topic = (struct topic *)(void *)is;
    int status = io_in_message(io, &topic->inlet, message);
    while (status == BCAST_TIMEOUT && bcast_keeps(io->b) && ring_let_pass(&topic->inlet.channel->ring))
        status = io_in_message(io, &topic->inlet, message);
    if (status == BCAST_TIMEOUT && !topic->paused) {
        topic->paused = true;
        io->paused++;
        ring_notify_space(&topic->inlet.channel->ring, &io->bell);
    }
    return status;
}

/* ------------------------------------------------------------------------------------------ what else a sink does -- */

static void sink_filled(struct bcast_sink *sink, unsigned percent)
{
    atomic_store_explicit(&io_of(sink)->filled, percent, memory_order_relaxed);
}

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

static void deal_with_loss(struct io *io)
{
    bool was = io->connected;
    if (was && clock_ns() - io->connected_ns > (int64_t)BACKOFF_MOST_MS * 1000000)
        io->attempts = 0; /* not before: who accepts and then hangs up is not to be asked without a pause */
    io->lost = io->connected = io->blocked = false;
    io->alarm_ns = NO_TIME;
    backend_of(io)->disconnect(io->b->self);
    io_out_land_all(io, BCAST_ERR_UNKNOWN);
    io_fetch_fail(io, BCAST_ERR_CONNECT, io->lost_reason);
    if (was)
        io_topics_fail(io);
    log_write(&io->b->settings.log, BCAST_LOG_WARNING, "%s: %s", backend_of(io)->name, io->lost_reason);
    pthread_mutex_lock(&io->mutex);
    memcpy(io->reason, io->lost_reason, sizeof io->reason);
    if (io->terminal)
        io->failed = io->lost_status;
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
    tell_state(io, BCAST_LOST, io->lost_status, io->lost_reason);
    if (io->terminal) {
        io_out_refuse(io, io->lost_status);
        bcast_tell_failure(io->b, NULL);
    } else
        io->connect_ns = clock_ns() + backoff_ns(io);
}

/* ------------------------------------------------------------------------------------------------------ the loop -- */

static int poll_timeout(const struct io *io)
{
    int64_t next = io->alarm_ns < io->connect_ns ? io->alarm_ns : io->connect_ns;
    if (io->expire_ns < next && !io->connected)
        next = io->expire_ns;
    if (io->feeds_again && next > clock_ns() + FEEDS_NS)
        next = clock_ns() + FEEDS_NS;
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
    io_out_land_all(io, BCAST_ERR_UNKNOWN);
    io_fetch_fail(io, BCAST_ERR_CLOSED, "the broadcast is closed");
    io_out_refuse(io, BCAST_ERR_CLOSED);
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
        io_topics_settle(io);
        if (io->connected && bcast_keeps(io->b))
            io_fetch_wishes(io);
        if (bcast_keeps(io->b))
            io_feeds(io);
        io_topics_resume(io); /* behind the feeds: who has just come need not wait for who is full */
        if (io->connected && !io->lost)
            io_out_send(io);
        else if (io->failed != BCAST_OK && !outbound_arm(&io->outbound))
            io_out_refuse(io, io->failed);
        else if (io->failed == BCAST_OK && io->b->settings.queue_ms != 0)
            io_out_expire(io);
        if (io->lost)
            continue;
        int timeout = poll_timeout(io);
        atomic_store_explicit(&io->resting, true, memory_order_relaxed);
        bool some = poll(io->polled, io->polled_count, timeout) > 0;
        atomic_store_explicit(&io->resting, false, memory_order_relaxed);
        if (some)
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
    .struct_size = sizeof(struct bcast_sink),
    .connected = sink_connected,
    .lost = sink_lost,
    .subscribed = io_sink_subscribed,
    .message = sink_message,
    .gap = sink_gap,
    .result = io_sink_result,
    .fetched = io_sink_fetched,
    .fetch_gap = io_sink_fetch_gap,
    .fetch_ended = io_sink_fetch_ended,
    .filled = sink_filled,
    .watch = sink_watch,
    .alarm = sink_alarm,
    .wake = sink_wake,
    .log = sink_log,
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
    if (!os_guard_forked(&io->b->guard)) { /* it would wait for the parent's threads to leave them */
        pthread_cond_destroy(&io->changed_cond);
        pthread_mutex_destroy(&io->mutex);
    }
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
    io->outbound.most_ms = b->settings.queue_ms;
    io->b = b;
    io->sink = sink_calls;
    io->alarm_ns = io->connect_ns = io->expire_ns = NO_TIME;
    io->polled_room = 8;
    io->polled_count = 1;
    bell_init(&io->bell, bell_gone);
    io->polled = memory_get(io->polled_room * sizeof *io->polled);
    io->flight_room = 64; /* never none: so that messages can be refused without more memory */
    io->flights = memory_get(io->flight_room * sizeof *io->flights);
    bool whole = outbound_init(&io->outbound, &io->bell, limits) && io->polled != NULL && io->flights != NULL &&
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
        if (!io_wait(io, deadline))
            status =
                error_set(BCAST_ERR_CONNECT, "%s: not connected within open_timeout_ms (%d): %s", backend_of(io)->name,
                          settings->open_timeout_ms, io->reason[0] != '\0' ? io->reason : "no answer");
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
    if (io == NULL || !io->running || os_guard_forked(&io->b->guard))
        return;
    io_shut(io);
    pthread_join(io->thread, NULL);
    io->running = false;
    io_out_refuse(io, BCAST_ERR_CLOSED); /* whoever was publishing just then may have come after its last look */
}

void io_abandon(struct io *io)
{
    void *self = io->b->self;
    io->b->self = NULL;
    if (io->running && !atomic_load_explicit(&io->resting, memory_order_relaxed))
        return;
    if (self != NULL && backend_of(io)->close != NULL)
        backend_of(io)->close(self); /* first: it knows topics */
    io_topics_free(io);
}

void io_end(struct io *io)
{
    if (io == NULL)
        return;
    if (os_guard_forked(&io->b->guard)) {
        if (!ring_quiet(&io->outbound.ring)) {
            os_event_close(&io->bell.event);
            return;
        }
        io_out_forget(io);
    } else {
        io_out_refuse(io, BCAST_ERR_CLOSED); /* ... or even later, to a channel */
    }
    io_topics_free(io);
    io_free(io);
}

void io_stats(struct io *io, struct bcast_stats *stats)
{
    uint64_t tail = outbound_tail(&io->outbound);
    pthread_mutex_lock(&io->mutex);
    stats->published = tail;
    stats->received = atomic_load_explicit(&io->received, memory_order_relaxed);
    stats->broker_percent = atomic_load_explicit(&io->filled, memory_order_relaxed);
    stats->confirmed = io->good;
    stats->failed = io->bad;
    stats->unknown = io->unknown;
    stats->queued = tail - io->landed;
    stats->reconnects = io->reconnects;
    pthread_mutex_unlock(&io->mutex);
}
