/* A subscription: cursors in one or more channels, and the bell where its threads sleep. Shared by subscription.c
 * (its life), reader.c (reading and waiting) and event.c (what was handed out). */
#ifndef SUBSCRIPTION_H
#define SUBSCRIPTION_H

#include "broadcast.h"
#include "cursor.h"
#include "options.h"

struct source { /* one channel of a subscription */
    struct cursor cursor;
    struct bcast_sub *sub;
    struct channel *channel;     /* a reference; NULL once it is removed and no reader can be at it any more */
    struct source *next;         /* of all its subscription's; under the broadcast's mutex */
    struct source *next_ready;   /* in the queue of those that may have something; whoever has the turn */
    struct source *next_rested;  /* in the list of those that have gone empty; the same */
    int64_t rested_ns;           /* when it did */
    bool queued;                 /* it is in that queue */
    bool resting;                /* it is in that list */
    bool opening;                /* the broker has not confirmed it yet; under the mutex */
    const struct channel *named; /* of a past: the one whose name its gaps have, as they may outlive it */
    bool is_past;                /* not the channel's ring, but one of its own, which is read before */
    struct source *other;        /* of a past: the source that follows, and the other way round; NULL: none; the same */
    struct feed *feed;           /* where the broker keeps messages: what brings it to its ring; NULL in a past */
    struct marks *marks;         /* likewise, and in its past: where it stands; else NULL */
    bool wants;                  /* a share in the broker's subscription; under the mutex */
    bool
        stale; /* it was overtaken, and is about to be replaced by what fetches what it missed; with the marks' mutex */
    _Atomic bool removed;
    _Atomic uint8_t missed; /* enum bcast_count: before its start so many messages are missing, and nobody was told; */
    uint64_t missed_count;  /* MISSED_STOOD: it was disconnected, and stood there. Written under the mutex */
};

enum { MISSED_STOOD = 255 };

/* Why a reader should look up from its ring. */
enum attention {
    ATTENTION_CLOSED = 1,       /* cancelled, or the broadcast was shut down */
    ATTENTION_DISCONNECTED = 2, /* overflowed */
    ATTENTION_CHANGED = 4,      /* channels were added or removed */
    ATTENTION_FAILED = 8        /* the broker will send no more of a channel: an end, behind what is there */
};

struct bcast_sub {
    struct bell bell; /* first: whoever drops its last reference frees the subscription */

    /* Readers: in an exclusive subscription one thread, in a shared one whoever has the turn. */
    _Atomic(struct source *) active; /* being read now; NULL: none */
    _Atomic(struct source *) quick;  /* the only source, as long as there is nothing else to look at */
    struct source *ready, **ready_end;
    struct source *rested, **rested_end; /* the longest first */
    struct holds holds;
    _Atomic uint64_t caught_at; /* sequence when it last had read everything */
    _Atomic int8_t chase; /* how often, of late, without having been far behind; negative: that was not long ago */
    bool shared;
    _Atomic bool alone;        /* it has one channel, and never had another */
    _Atomic uint8_t streak;    /* looks that found something in `active` since it became that */
    _Atomic uint8_t turn;      /* shared: 1 while a thread chooses the next source */
    _Atomic uint8_t attention; /* enum, or-ed */
    _Atomic uint16_t inside;   /* threads in bcast_next */
    _Atomic uint64_t received, lost, gaps, discarded;

    int timeout_ms; /* for the broker's confirmation */
    struct bcast *b;
    struct bcast_sub *previous, *next; /* of the broadcast's; under its mutex */
    struct sources *table;             /* where it has many channels: by name; the same */
    struct source first;               /* and the list of all; under the broadcast's mutex */
};

/* A hint between the workers of a shared subscription, one thread's in an exclusive one: relaxed. */
static inline bool sub_is_alone(struct bcast_sub *sub)
{
    return atomic_load_explicit(&sub->alone, memory_order_relaxed);
}

static inline struct bcast_sub *sub_of_holds(struct holds *holds)
{
    return (struct bcast_sub *)(void *)((unsigned char *)holds - offsetof(struct bcast_sub, holds));
}

/* Wakes everybody who waits on it, for a reason they will find in `attention`. Any thread. */
void sub_attend(struct bcast_sub *sub, uint32_t reasons);

/* Why nothing more will come of one of its channels, with its text; BCAST_OK: it may. A reader that has found nothing. */
int sub_failure(struct bcast_sub *sub);
/* How many gaps the broker's side may have told in the source's channel from `sequence` on. A reader of the source. */
uint64_t sub_gaps(struct bcast_sub *sub, struct source *source, uint64_t sequence);
bool sub_has(struct bcast_sub *sub, const struct channel *channel); /* with the broadcast's mutex */

/* The past has been read: what follows is looked at from now on. A reader of it that is alone in it. */
void sub_pass_seam(struct bcast_sub *sub, struct source *past);
/* A blocking subscription was overtaken, so that others need not wait for it: it gets what it has missed from the broker.
 * A reader of the source, without its marks' mutex. False: no memory. */
bool sub_fall_back(struct bcast_sub *sub, struct source *source);

/* Frees removed sources that nothing refers to any more. By a reader that has the turn and is alone inside. */
void sub_forget_removed(struct bcast_sub *sub);

#endif
