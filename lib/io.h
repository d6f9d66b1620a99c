/* The inside of the I/O thread: io_thread.c (its loop, its connection, its life), io_out.c (what is published, and its
 * results), io_topics.c (what is subscribed), io_in.c (what arrives), io_fetch.c and io_feed.c (what the broker keeps).
 * Callers include io_thread.h. */
#ifndef IO_H
#define IO_H

#include <poll.h>

#include "io_thread.h"
#include "outbound.h"
#include "topic.h"

#define NO_TIME INT64_MAX

struct flight { /* a message that was handed to the backend and has no result yet */
    bcast_result_callback on_result;
    void *context;
    bool done;
};

/* Something of what the broker keeps. Who asks fills in the first part; texts stay until it has ended. */
struct inquiry {
    struct bcast_fetch fetch; /* but for the request */
    /* On the I/O thread, without its mutex. BCAST_TIMEOUT: it was not taken, and no more are wanted. */
    int (*message)(struct inquiry *inquiry, const struct bcast_incoming *message);
    void (*gap)(struct inquiry *inquiry, const struct gap_record *gap);
    void (*ended)(struct inquiry *inquiry, const struct bcast_fetch_end *end); /* CONNECT: the connection was lost */
    void (*drop)(struct inquiry *inquiry);                                     /* of io_fetch: frees it */
    bool asked, enough; /* the I/O thread's alone: the backend has it; it is to stop */
    /* Of io_fetch, with the mutex: it waits to be asked; there is an answer; nobody waits for that any more. */
    bool wished, done, dropped;
    int status;
    char reason[200];
    struct inquiry *next;
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
    uint64_t taken;               /* number of the first message not yet handed over */
    int64_t alarm_ns, connect_ns; /* NO_TIME: none; so is ... */
    int64_t expire_ns;            /* ... when the oldest that is queued has waited for too long */
    int64_t connected_ns;         /* since when */
    unsigned attempts, paused;    /* paused: topics */
    bool connected, blocked;      /* blocked: the backend did not take all; wait for it to move */
    bool lost, terminal;          /* sink->lost was called; dealt with when the backend has returned */
    int lost_status;
    char lost_reason[200];
    struct inquiry *asked; /* those that the backend has */
    uint64_t requests;
    struct feed *feeds;
    bool feeds_again;          /* one of them has to be looked at soon, though nothing happens */
    _Atomic uint32_t poked;    /* sink->wake */
    _Atomic uint64_t received; /* relaxed: a statistic; so is the next */
    _Atomic unsigned filled;   /* what the backend says of the broker's queue, in percent */

    /* Shared with callers. */
    pthread_mutex_t mutex;
    pthread_cond_t changed_cond;
    pthread_t thread;
    bool running, stop;
    _Atomic bool resting; /* relaxed: the thread waits, and is not inside the backend; read in a forked child */
    bool ready;           /* connected at least once, for open */
    int failed;           /* terminal: what every call answers; BCAST_OK: not */
    char reason[200];
    uint64_t landed; /* every message before this number has its result */
    uint64_t good, bad, unknown, reconnects;
    uint64_t bad_unreported; /* since the last flush */
    int bad_status;          /* of the last of them */
    struct topic *topics, *changed;
    struct inquiry *wishes; /* of callers, not yet asked */
    struct feed *fresh;     /* not yet among `feeds` */
};

static inline struct io *io_of(struct bcast_sink *sink)
{
    return (struct io *)(void *)sink;
}

static inline const struct bcast_backend *backend_of(const struct io *io)
{
    return io->b->backend;
}

/* What went wrong for good, as a status with its text. With the mutex. */
int io_failed(struct io *io);
/* Waits on the condition; with the mutex. False: the deadline has passed. */
bool io_wait(struct io *io, int64_t deadline_ns);

/* io_out.c. On the I/O thread, but for io_check: any. */
void io_out_send(struct io *io);               /* hands over what is queued, for as long as the backend takes it all */
void io_out_refuse(struct io *io, int status); /* no use in waiting: everything queued gets this result */
void io_out_expire(struct io *io);             /* without a connection: what has waited for queue_ms gets its result */
void io_out_forget(struct io *io);             /* in a forked child: drops what is queued, without a result */
void io_out_land_all(struct io *io, int status); /* what was handed over and has no result will never get one */
void io_sink_result(struct bcast_sink *sink, uint64_t number, uint64_t count, int status);
int io_check(struct io *io, const struct bcast_outgoing *out); /* does the backend take it? */

/* io_in.c. On the I/O thread. */
/* BCAST_OK, or BCAST_TIMEOUT: the ring is full. Without memory the message is a gap. */
int io_in_message(struct io *io, struct inlet *inlet, const struct bcast_incoming *message);
int io_in_record(struct io *io, struct inlet *inlet, const struct record *record); /* or BCAST_ERR_NOMEM */
void io_in_gap(struct io *io, struct inlet *inlet, const struct gap_record *gap);

/* io_fetch.c. On the I/O thread, but for io_fetch. */
void io_fetch_ask(struct io *io, struct inquiry *inquiry);    /* with a connection */
void io_fetch_forget(struct io *io, struct inquiry *inquiry); /* its answer, if it is still to come, is not wanted */
void io_fetch_wishes(struct io *io);                          /* asks what callers want; with a connection */
void io_fetch_fail(struct io *io, int status, const char *reason); /* ends all that was asked */
void io_fetch_done(struct io *io, struct inquiry *inquiry,
                   const struct bcast_fetch_end *end); /* `ended` of io_fetch's */
int io_sink_fetched(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message);
void io_sink_fetch_gap(struct bcast_sink *sink, uint64_t request, enum bcast_gap_reason reason, uint64_t lost,
                       enum bcast_count count);
void io_sink_fetch_ended(struct bcast_sink *sink, uint64_t request, const struct bcast_fetch_end *end);

/* io_feed.c. On the I/O thread. */
void io_feeds(struct io *io); /* every feed takes its next step */
void io_feeds_free(struct io *io);
/* With the mutex: has it a place to begin at, or none? BCAST_OK, or why not, with its text. */
bool io_feed_begun(const struct feed *feed);
int io_feed_result(const struct feed *feed);

/* io_topics.c. On the I/O thread. */
void io_topics_settle(struct io *io); /* makes the broker's view what the subscriptions want */
void io_topics_resume(struct io *io); /* those that were paused and have room again */
void io_topics_fail(struct io *io);   /* the connection is gone: gaps, unless the backend resumes */
void io_topics_free(struct io *io);   /* when the thread has ended */
void io_sink_subscribed(struct bcast_sink *sink, struct bcast_topic *is, int status, const char *reason);

#endif
