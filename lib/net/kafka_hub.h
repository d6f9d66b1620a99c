/* Where threads meet on behalf of one Kafka backend: the worker, a thread for calls of librdkafka that wait; librdkafka's
 * own threads; and the I/O thread, which alone speaks to the library. It outlives the backend where the worker is still
 * inside such a call. Knows base and backend.h. */
#ifndef NET_KAFKA_HUB_H
#define NET_KAFKA_HUB_H

#include <pthread.h>
#include <stdbool.h>

#include "broadcaster/backend.h"

struct kafka_job {
    struct kafka_job *next;
    void (*run)(struct kafka_job *job); /* the worker; may wait */
    /* The I/O thread, in the order the jobs were given; frees it. `self` NULL: the backend is closed, and no more than
     * that is left to do (any thread). */
    void (*done)(struct kafka_job *job, void *self);
};

/* Something that may have messages to be read: a queue of librdkafka's. */
struct kafka_ready {
    struct kafka_ready *next, *previous;
    bool listed;
};

struct kafka_hub {
    pthread_mutex_t mutex; /* of what follows. A queue's lock may be held around it, so never the other way round */
    pthread_cond_t changed;
    struct bcast_sink *sink; /* NULL: closed */
    struct kafka_job *jobs, **jobs_end, *finished, **finished_end;
    struct kafka_ready ready; /* the head of a ring */
    bool running;             /* there is a worker */
    unsigned references;
    void *self; /* whose it is; for the I/O thread */
};

struct kafka_hub *kafka_hub_new(struct bcast_sink *sink); /* NULL: no memory */
/* Ends the worker, after what it was given; waits for it, but not for long. */
void kafka_hub_close(struct kafka_hub *hub);

/* The I/O thread. */
bool kafka_hub_start(struct kafka_hub *hub); /* the worker, unless there is one. False: no memory */
void kafka_hub_give(struct kafka_hub *hub, struct kafka_job *job);
struct kafka_job *kafka_hub_finished(struct kafka_hub *hub); /* one that is done; NULL: none */
struct kafka_ready *kafka_hub_take_ready(struct kafka_hub *hub);
void kafka_hub_forget_ready(struct kafka_hub *hub, struct kafka_ready *ready);

/* Any thread, also with a queue's lock. */
void kafka_hub_list_ready(struct kafka_hub *hub, struct kafka_ready *ready);
void kafka_hub_wake(struct kafka_hub *hub);

#endif
