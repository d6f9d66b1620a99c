/* History: what a topic has, read by a consumer of its own, one fetch after the other. kafka_fetch.c (the fetches, and what
 * is told of them), kafka_merge.c (partitions as one sequence), kafka_where.c (positions, and what the worker does).
 * Part of the inside of the backend: see kafka.h.
 *
 * While `asking`, a fetch is the worker's, but for what says otherwise; else the I/O thread's. */
#ifndef NET_KAFKA_FETCH_H
#define NET_KAFKA_FETCH_H

#include "kafka.h"

/* A position: ids of messages, sorted by partition. */
struct kafka_place {
    int32_t partition;
    int64_t offset;
};

struct kafka_places {
    struct kafka_place *list; /* NULL: not given */
    size_t count;
};

struct kafka_fetch_part {
    int64_t low, high; /* what the broker has, or had when it was asked */
    int64_t since;     /* nothing in front of it is wanted */
    int64_t from, to;  /* of these offsets */
    int64_t mark;      /* forwards: behind the last one told; backwards: of the last one told, or behind all */
    int64_t top;       /* backwards: where `mark` began */
    /* Backwards, as a partition can be read forwards only, it is read in stretches, the last one first. */
    int64_t begin, end;  /* of what is being read */
    int64_t next;        /* the offset wanted next */
    size_t stretch, got; /* offsets to be read at once; messages there were the last time */
    rd_kafka_message_t **held;
    size_t held_at, held_end, held_room;
    size_t held_bytes;         /* backwards */
    enum bcast_gap_reason gap; /* 0: none, or told */
    uint64_t lost;             /* there; 0: nobody knows */
    bool aim;                  /* for the worker: to be read from `next` on */
    bool look;                 /* for the worker: what is wanted is not there: what is? */
    bool whole;                /* nothing more will come of begin..end */
    bool damaged;              /* something in front of the next message could not be read */
    rd_kafka_queue_t *queue;   /* where its messages arrive; NULL: it was not begun */
};

struct kafka_fetch {
    struct kafka_job job, drop; /* asks and begins; ends it: with that it leaves the list */
    struct kafka_session *session;
    struct kafka_fetch *next;
    uint64_t request;
    struct kafka_places position, until;
    int64_t since_ms; /* 0: no bound */
    size_t limit, limit_bytes, told, told_bytes;
    bool backwards, only_where;
    bool begun, asking, again; /* I/O thread. again: what was asked has to be asked again */
    bool answered, gone;       /* I/O thread: once; its `drop` was given */
    int64_t give_up_ns;        /* I/O thread */
    /* What the worker answers: */
    int status; /* TIMEOUT: not now */
    bool known; /* the topic's partitions are; none: there is no such topic */
    char why[200];
    rd_kafka_topic_t *topic;
    struct kafka_fetch_part *parts;
    size_t part_count;
    char name[];
};

/* kafka_where.c */
int kafka_where_read(const char *text, struct kafka_places *out); /* BCAST_OK, INVALID, NOMEM */
bool kafka_where_find(const struct kafka_places *places, int32_t partition, int64_t *offset);
char *kafka_where_write(const struct kafka_places *places); /* NULL: no memory. Freed with memory_put */
void kafka_where_run(struct kafka_job *job);                /* the worker */
void kafka_where_drop(struct kafka_job *job);               /* the worker */

/* kafka_merge.c */
enum kafka_merge { KAFKA_MERGE_ONE, KAFKA_MERGE_WAIT, KAFKA_MERGE_ASK, KAFKA_MERGE_END, KAFKA_MERGE_FAILED };
/* The next message, in the direction asked for; the caller's to destroy. WAIT: more has to come; ASK: the worker has to
 * begin, or to look, first; FAILED: see fetch->status. */
enum kafka_merge kafka_merge_next(struct kafka *kafka, struct kafka_fetch *fetch, rd_kafka_message_t **out);
/* The last one that was given, of this partition; then it is not the caller's any more. */
void kafka_merge_put_back(const struct kafka_fetch *fetch, struct kafka_fetch_part *part);
/* It has nothing more of what was asked for. */
bool kafka_merge_at_end(const struct kafka_fetch *fetch, const struct kafka_fetch_part *part);
void kafka_merge_aim(const struct kafka_fetch *fetch,
                     struct kafka_fetch_part *part);     /* its first stretch. Any thread */
void kafka_merge_release(struct kafka_fetch_part *part); /* what is held */

#endif
