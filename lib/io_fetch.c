#include "io.h"

#include <string.h>

#include "base/error.h"

/* Each of the answers goes to who asked: a feed, or a caller that waits for a page. */

static struct inquiry *find(struct io *io, uint64_t request)
{
    struct inquiry *inquiry = io->asked;
    while (inquiry != NULL && inquiry->fetch.request != request)
        inquiry = inquiry->next;
    return inquiry;
}

static void unlink_inquiry(struct inquiry **list, struct inquiry *inquiry)
{
    while (*list != inquiry)
        list = &(*list)->next;
    *list = inquiry->next;
}

static void answered(struct io *io, struct inquiry *inquiry)
{
    unlink_inquiry(&io->asked, inquiry);
    inquiry->asked = false;
}

void io_fetch_ask(struct io *io, struct inquiry *inquiry)
{
    inquiry->fetch.request = ++io->requests;
    inquiry->asked = true;
    inquiry->enough = false;
    inquiry->next = io->asked;
    io->asked = inquiry;
    backend_of(io)->fetch(io->b->self, &inquiry->fetch);
}

void io_fetch_forget(struct io *io, struct inquiry *inquiry)
{
    if (inquiry->asked)
        answered(io, inquiry);
}

int io_sink_fetched(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message)
{
    struct inquiry *inquiry = find(io_of(sink), request);
    if (inquiry == NULL || inquiry->enough)
        return BCAST_TIMEOUT;
    int status = inquiry->message(inquiry, message);
    inquiry->enough = status != BCAST_OK;
    return status;
}

void io_sink_fetch_gap(struct bcast_sink *sink, uint64_t request, enum bcast_gap_reason reason, uint64_t lost,
                       enum bcast_count count)
{
    struct inquiry *inquiry = find(io_of(sink), request);
    if (inquiry != NULL && !inquiry->enough)
        inquiry->gap(inquiry, &(struct gap_record){lost, reason, count});
}

void io_sink_fetch_ended(struct bcast_sink *sink, uint64_t request, const struct bcast_fetch_end *end)
{
    struct io *io = io_of(sink);
    struct inquiry *inquiry = find(io, request);
    if (inquiry == NULL)
        return;
    answered(io, inquiry);
    inquiry->ended(inquiry, end);
}

void io_fetch_fail(struct io *io, int status, const char *reason)
{
    struct bcast_fetch_end end = {.status = status, .reason = reason};
    while (io->asked != NULL) {
        struct inquiry *inquiry = io->asked;
        answered(io, inquiry);
        inquiry->ended(inquiry, &end);
    }
}

/* ------------------------------------------------------------------------------------------ of a caller that waits -- */

void io_fetch_wishes(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (io->wishes != NULL && !io->lost) {
        struct inquiry *inquiry = io->wishes;
        unlink_inquiry(&io->wishes, inquiry);
        inquiry->wished = false;
        pthread_mutex_unlock(&io->mutex);
        io_fetch_ask(io, inquiry);
        pthread_mutex_lock(&io->mutex);
    }
    pthread_mutex_unlock(&io->mutex);
}

/* With the mutex. */
static void wish(struct io *io, struct inquiry *inquiry)
{
    inquiry->wished = true;
    inquiry->next = io->wishes;
    io->wishes = inquiry;
}

void io_fetch_done(struct io *io, struct inquiry *inquiry, const struct bcast_fetch_end *end)
{
    bool again = end->status == BCAST_ERR_CONNECT;
    pthread_mutex_lock(&io->mutex);
    bool dropped = inquiry->dropped;
    if (!dropped && again) {
        wish(io, inquiry); /* when there is a connection */
    } else if (!dropped) {
        inquiry->status = end->status;
        strncpy(inquiry->reason, end->reason != NULL ? end->reason : "", sizeof inquiry->reason - 1);
        inquiry->done = true;
        pthread_cond_broadcast(&io->changed_cond);
    }
    pthread_mutex_unlock(&io->mutex);
    if (dropped)
        inquiry->drop(inquiry);
}

/* With the mutex. */
static int wait_for_answer(struct io *io, struct inquiry *inquiry, int64_t deadline_ns)
{
    for (;;) {
        if (inquiry->done && inquiry->status != BCAST_OK)
            return error_set(inquiry->status, "%s: %s", backend_of(io)->name, inquiry->reason);
        if (inquiry->done)
            return BCAST_OK;
        if (io->failed != BCAST_OK)
            return io_failed(io);
        if (io->stop)
            return bcast_ended(io->b);
        if (!io_wait(io, deadline_ns))
            return error_set(BCAST_TIMEOUT, "%s has not answered in time%s%s", backend_of(io)->name,
                             io->reason[0] != '\0' ? "; the last trouble: " : "", io->reason);
    }
}

int io_fetch(struct io *io, struct inquiry *inquiry, int64_t deadline_ns)
{
    pthread_mutex_lock(&io->mutex);
    wish(io, inquiry);
    bell_ring_one(&io->bell);
    int status = wait_for_answer(io, inquiry, deadline_ns);
    bool under_way = !inquiry->done && !inquiry->wished; /* then it is the I/O thread that frees it */
    if (inquiry->wished)
        unlink_inquiry(&io->wishes, inquiry);
    inquiry->dropped = under_way;
    pthread_mutex_unlock(&io->mutex);
    if (status != BCAST_OK && !under_way)
        inquiry->drop(inquiry);
    return status;
}
