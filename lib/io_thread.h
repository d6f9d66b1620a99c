/* The one thread of a broadcast that has a broker: carries what was published to the backend, and what arrives to the
 * channels' rings. Knows outbound, channel and backend.h; never a backend. */
#ifndef IO_THREAD_H
#define IO_THREAD_H

#include "broadcast.h"

struct io;

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
int io_await(struct io *io, struct channel *channel,
             int64_t deadline_ns); /* what was asked; not OK: no longer wanted */
void io_unwant(struct io *io, struct channel *channel);

/* Why nothing will come of this channel any more: the broker refused it when it was asked again, or will never be there
 * again. BCAST_OK: it may. */
int io_refusal(struct io *io, struct channel *channel);

/* How many gaps were told in this channel at most, if the last of them came at `sequence` or later; else 0. */
uint64_t io_gaps(struct io *io, struct channel *channel, uint64_t sequence);

void io_stats(struct io *io, struct bcast_stats *stats);

#endif
