/* The one thread of a broadcast that has a broker: carries what was published to the backend, and what arrives to the
 * channels' rings. Knows outbound, channel and backend.h; never a backend. */
#ifndef IO_THREAD_H
#define IO_THREAD_H

#include "broadcast.h"

struct cursor;
struct io;
struct feed;
struct inquiry;
struct marks;

/* Makes the queue and the sink, which the backend's `open` wants. */
int io_new(struct bcast *b, struct io **out, struct bcast_sink **sink);
/* Starts the thread and, unless open_timeout_ms is BCAST_NOWAIT, waits until it is connected. */
int io_start(struct io *io);
/* Every waiting call returns; the thread is on its way out. Does not wait. */
void io_shut(struct io *io);
/* In a forked child: the copies of the parent's connections go now, or the server would keep them when the parent has
 * ended; and so do topics, through which channels and subscriptions hold the broadcast, and which no thread will free.
 * What the thread was at work on when we forked stays as it is. */
void io_abandon(struct io *io);
/* Joins the thread (not in a forked child, which has none) and frees everything. NULL is allowed. */
void io_stop(struct io *io);
void io_end(struct io *io); /* and its memory: nobody has a handle any more */

/* Queues one message; waits for room until deadline_ns. */
int io_publish(struct io *io, struct channel *channel, const struct bcast_message *message, int64_t deadline_ns);
int io_flush(struct io *io, int64_t deadline_ns);

/* A subscription wants the channel from now on, or no longer. The first makes the backend subscribe, and waits for the
 * broker's word; the last makes it unsubscribe, without waiting. */
int io_ask(struct io *io, struct channel *channel);    /* asks; does not wait. BCAST_OK: io_await must follow ... */
void io_unask(struct io *io, struct channel *channel); /* ... or this: it is no longer wanted, nor the answer */
/* What was asked, and, if not NULL, until the feed has begun. Not OK: no longer wanted. */
int io_await(struct io *io, struct channel *channel, struct feed *feed, int64_t deadline_ns);
void io_unwant(struct io *io, struct channel *channel);

/* Where the broker keeps messages, it is the I/O thread that puts a subscription's cursor into the channel's ring, as only
 * there the ring's end and the broker's are the same place; and before that, if something was published before that the
 * subscription wants, it fetches that, page by page, into a ring of the subscription's own: the past. The last record in
 * there says that what follows is in the channel's ring (RECORD_SEAM). */
struct feed_setup {
    struct channel *channel; /* that was asked for */
    struct cursor *cursor;   /* to be opened there; stays until io_feed_cancel */
    struct channel *past;    /* with a blocking cursor in its ring; NULL: nothing is wanted of it */
    struct marks *marks;     /* where the reader stands; with a past, `set` if that is where it begins. Else: */
    size_t most;             /* it begins with so many of the most recent messages, 0: with all, but with ... */
    int64_t since_us;        /* ... none older */
};
/* With the broadcast's mutex. BCAST_OK or NOMEM. The feed is counted: io_feed_unref. */
int io_feed_begin(struct io *io, const struct feed_setup *setup, struct feed **out);
/* With the broadcast's mutex: the cursor and the past are left alone from now on. */
void io_feed_cancel(struct feed *feed);
/* With the broadcast's mutex: has the cursor been opened? */
bool io_feed_attached(const struct feed *feed);
void io_feed_unref(struct feed *feed); /* NULL is allowed */

/* A page: has the inquiry asked, again if the connection goes, and waits for its end. Not BCAST_OK: it is dropped, now or
 * later. */
int io_fetch(struct io *io, struct inquiry *inquiry, int64_t deadline_ns);

/* Why nothing will come of this channel any more: the broker refused it when it was asked again, or will never be there
 * again. BCAST_OK: it may. */
int io_refusal(struct io *io, struct channel *channel);

/* How many gaps were told in this channel at most, if the last of them came at `sequence` or later; else 0. */
uint64_t io_gaps(struct io *io, struct channel *channel, uint64_t sequence);

void io_stats(struct io *io, struct bcast_stats *stats);

#endif
