/* The inside of the I/O thread: io_thread.c (its loop, its connection, its life), io_out.c (what is published, and its
 * results), io_topics.c (what is subscribed). Callers include io_thread.h. */
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
    _Atomic uint32_t poked;    /* sink->wake */
    _Atomic uint64_t received; /* relaxed: a statistic */

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

/* io_topics.c. On the I/O thread. */
void io_topics_settle(struct io *io); /* makes the broker's view what the subscriptions want */
void io_topics_resume(struct io *io); /* those that were paused and have room again */
void io_topics_fail(struct io *io);   /* the connection is gone: gaps, unless the backend resumes */
void io_topics_free(struct io *io);   /* when the thread has ended */
void io_sink_subscribed(struct bcast_sink *sink, struct bcast_topic *is, int status, const char *reason);

#endif
