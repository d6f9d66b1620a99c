/* A channel that the broker is, or shall be, subscribed to: once, however many subscriptions want it. The I/O thread's
 * side of the barrier. Everything here is under io->mutex, but for what is marked. */
#ifndef TOPIC_H
#define TOPIC_H

#include <pthread.h>

#include "broadcaster/backend.h"

#include "channel.h"
#include "segment.h"

enum topic_state {
    TOPIC_OFF = 0,   /* the backend does not know it */
    TOPIC_ASKED = 1, /* given to `subscribe`, no answer yet */
    TOPIC_ON = 2     /* confirmed */
};

/* The I/O thread's way into a channel's ring, where only it publishes. The first three are its alone. */
struct inlet {
    struct channel *channel; /* a reference */
    bool missing;            /* messages did not get into the ring, and nobody was told yet: */
    struct gap_record missed;
    uint64_t gaps, gap_end; /* so many were told in the ring, the last of them just before this sequence */
};

struct topic {
    struct bcast_topic is; /* first: what the backend sees */
    struct inlet inlet;
    unsigned wanted;        /* subscriptions */
    unsigned waiting;       /* calls that wait for the answer; keeps it from being freed */
    enum topic_state state; /* written by the I/O thread */
    bool known;             /* the backend has it, with or without a connection; the I/O thread's alone, like ... */
    bool paused;            /* ... this */
    bool changed;           /* on the list of those the I/O thread shall look at */
    int status;             /* why the broker refused; BCAST_OK: it did not */
    char reason[200];
    struct topic *next_changed, *previous, *next;
};

#endif
