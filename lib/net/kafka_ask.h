/* What is asked of Kafka about topics, by jobs of the worker's (see kafka_hub.h), and what it has of each that is read.
 * Part of the inside of the backend: see kafka.h. */
#ifndef NET_KAFKA_ASK_H
#define NET_KAFKA_ASK_H

#include "kafka.h"

struct kafka_part {
    int64_t next; /* offset of the next message wanted */
    bool jumped;  /* offsets without a message were seen: they are not a count of messages here */
    bool damaged; /* something in front of the next message could not be read */
    bool lost;    /* what we want is not there: a job looks what is */
    bool again;   /* it has to be looked for again */
};

/* What the broker and we know of a topic; topic->state. The I/O thread's. */
struct kafka_stream {
    struct kafka *kafka;
    struct bcast_topic *topic; /* NULL: nobody wants it any more, it waits for `jobs` */
    unsigned jobs;             /* that know of it */
    struct kafka_part *parts;  /* partitions; none: not known yet */
    size_t part_count;
    struct kafka_source *source; /* of this session; NULL: it is not read yet */
    struct kafka_ready ready;
    rd_kafka_message_t **held; /* messages that were refused, and those behind */
    size_t held_at, held_count;
    int64_t missing_ns;        /* since when the broker does not know it; 0: it does, or was not asked */
    bool paused, asked, again; /* asked: a job is under way; again: it will have to */
    unsigned deleted;          /* the broker has said so, so many times */
    struct kafka_stream *next, *previous;
};

/* kafka_in.c, for kafka_read.c */
void kafka_in_refuse(struct kafka_stream *stream, int status, const char *reason); /* it is gone afterwards */
void kafka_in_look(struct kafka_stream *stream, int32_t partition); /* what is wanted is not there: what is? */
void kafka_in_refresh(struct kafka *kafka, uint64_t ms);            /* looks at all topics, by then at the latest */

/* What librdkafka has of a topic in one session. Its job ends it. */
struct kafka_source {
    struct kafka_job job;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue; /* NULL: it was not begun */
    int32_t started;         /* partitions */
    char name[];
};

struct kafka_source *kafka_source_new(const char *name); /* NULL: no memory */
void kafka_source_free(struct kafka_source *source);     /* not begun, or ended */
void kafka_source_drop(struct kafka_source *source);     /* the worker: ends and frees it */

/* Where does a topic stand, or, where its positions are known, is it there? Reads from there on. */
struct kafka_question {
    struct kafka_stream *stream; /* the I/O thread's; not looked into */
    struct kafka_source *source;
    int64_t *offsets; /* of the first `count` partitions; then of all */
    size_t count;
    int status;   /* TIMEOUT: not now */
    bool missing; /* there is no such topic, at the moment */
    char why[160];
};

struct kafka_ask {
    struct kafka_job job;
    struct kafka_session *session;
    bool consumer_failed;
    size_t count;
    struct kafka_question questions[];
};

/* What does a partition have? Stops reading it. */
struct kafka_look {
    struct kafka_job job;
    struct kafka_session *session;
    struct kafka_stream *stream;
    struct kafka_source *source;
    int32_t partition;
    int64_t low, high;
    rd_kafka_resp_err_t error;
};

/* What has become of all topics? */
struct kafka_refresh {
    struct kafka_job job;
    struct kafka_session *session;
    const struct rd_kafka_metadata *metadata; /* topics by name; NULL: no answer */
};

/* The worker. */
void kafka_ask_run(struct kafka_job *job);
void kafka_look_run(struct kafka_job *job);
void kafka_refresh_run(struct kafka_job *job);

const struct rd_kafka_metadata_topic *kafka_refresh_find(const struct kafka_refresh *refresh, const char *name);

#endif
