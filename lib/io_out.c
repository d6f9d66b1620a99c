#include "base/clock.h"
#include "base/error.h"
#include "io.h"

/* ------------------------------------------------------------------------------------------------------- results -- */

static bool flights_grow(struct io *io)
{
    size_t room = io->flight_room * 2;
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
    if (status != BCAST_OK)
        io->bad_status = status;
    while (io->landed != io->taken && io->flights[io->landed % io->flight_room].done)
        io->landed++;
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
}

void io_sink_result(struct bcast_sink *sink, uint64_t number, uint64_t count, int status)
{
    struct io *io = io_of(sink);
    uint64_t landed = 0;
    for (uint64_t i = 0; i < count; i++)
        landed += land(io, number + i, status);
    count_landed(io, landed, status);
}

/* Everything that was handed over and has no result will never get one. */
void io_out_land_all(struct io *io, int status)
{
    uint64_t landed = 0;
    for (uint64_t n = io->landed; n != io->taken; n++)
        if (!io->flights[n % io->flight_room].done)
            landed += land(io, n, status);
    count_landed(io, landed, status);
}

/* Takes the first messages of the batch out of the queue and into flight: all, or as many as there is memory for. */
static size_t take_off(struct io *io)
{
    size_t count = io->batch.count;
    while (io->taken + count - io->landed > io->flight_room && flights_grow(io))
        ;
    size_t room = io->flight_room - (size_t)(io->taken - io->landed);
    if (count > room)
        count = room;
    for (size_t i = 0; i < count; i++) {
        const struct outbound_message *message = &io->batch.messages[i];
        io->flights[(io->taken + i) % io->flight_room] = (struct flight){message->on_result, message->context, false};
    }
    pthread_mutex_lock(&io->mutex);
    io->taken += count;
    pthread_mutex_unlock(&io->mutex);
    return count;
}

static void publish_batch(struct io *io)
{
    /* In flight before it is handed over: results may come from within publish. What is not taken is put back. */
    size_t count = take_off(io), taken = 0;
    if (count != 0)
        taken = backend_of(io)->publish(io->b->self, io->batch.out, count);
    if (taken > count)
        taken = count;
    pthread_mutex_lock(&io->mutex);
    io->taken -= count - taken;
    pthread_mutex_unlock(&io->mutex);
    io->blocked = taken < count || count == 0; /* no room for more until those in flight have their results */
    outbound_skip(&io->outbound, &io->batch, taken);
}

/* With the connection up: hands over what is queued, for as long as the backend takes it all. */
void io_out_send(struct io *io)
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
void io_out_refuse(struct io *io, int status)
{
    while (outbound_look(&io->outbound, &io->batch)) {
        uint64_t first = io->taken;
        size_t count = take_off(io); /* nothing else is in flight: so there is room */
        outbound_skip(&io->outbound, &io->batch, count);
        io_sink_result(&io->sink, first, count, status);
    }
}

/* How many messages of the batch, from its first, have waited for too long; when the next one will have. */
static size_t count_expired(struct io *io)
{
    size_t count = 0;
    int64_t now = clock_ns();
    while (count < io->batch.count && io->batch.messages[count].expires_ns <= now)
        count++;
    io->expire_ns = count < io->batch.count ? io->batch.messages[count].expires_ns : now;
    return count;
}

void io_out_expire(struct io *io)
{
    io->expire_ns = NO_TIME;
    while (!outbound_arm(&io->outbound) && outbound_look(&io->outbound, &io->batch)) {
        size_t count = count_expired(io);
        io->batch.count = count;
        if (count == 0 || (count = take_off(io)) == 0)
            return; /* not yet; or no memory for their results, so again at once */
        uint64_t first = io->taken - count;
        outbound_skip(&io->outbound, &io->batch, count);
        io_sink_result(&io->sink, first, count, BCAST_ERR_CONNECT);
        io->expire_ns = NO_TIME;
    }
}

void io_out_forget(struct io *io)
{
    while (outbound_look(&io->outbound, &io->batch) && io->batch.count != 0)
        outbound_skip(&io->outbound, &io->batch, io->batch.count);
}

/* ---------------------------------------------------------------------------------------------- what callers ask -- */

int io_check(struct io *io, const struct bcast_outgoing *out)
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
    struct bcast_outgoing out = {.channel = channel->name,
                                 .channel_size = channel->size,
                                 .data = m->data,
                                 .size = m->size,
                                 .key = m->key,
                                 .key_size = m->key_size,
                                 .headers = m->headers,
                                 .header_count = m->header_count};
    return io_check(io, &out);
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
    case RING_FULL:
        return error_set(BCAST_TIMEOUT, "the queue to the broker is full (queue_messages, queue_bytes); "
                                        "nothing was published");
    case RING_DEADLOCK:
        return error_set(BCAST_ERR_WOULD_DEADLOCK, "the queue to the broker is full, and a callback must "
                                                   "not wait for it");
    case RING_BUSY:
        return error_set(BCAST_TIMEOUT, "another publisher was stopped in the middle of its work, and did not go on in "
                                        "time; nothing was published");
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
        else if (!io_wait(io, deadline_ns))
            status =
                error_set(BCAST_TIMEOUT, "%llu messages have no result yet", (unsigned long long)(until - io->landed));
    if (status == BCAST_OK && io->bad_unreported != 0) {
        bool away =
            io->failed != BCAST_OK || io->bad_status == BCAST_ERR_UNKNOWN || io->bad_status == BCAST_ERR_CONNECT;
        status = error_set(BCAST_ERR_PUBLISH,
                           "%llu messages were not confirmed since the last flush; the last of them: %s%s%s",
                           (unsigned long long)io->bad_unreported, bcast_status_text(io->bad_status),
                           away && io->reason[0] != '\0' ? ": " : "", away ? io->reason : "");
        io->bad_unreported = 0;
    }
    pthread_mutex_unlock(&io->mutex);
    return status;
}
