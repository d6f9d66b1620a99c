#include "turn.h"

#include <limits.h>

#include "base/clock.h"
#include "base/fault.h"

static bool turn_try(struct bcast_sub *sub)
{
    /* acquire: the queue as the last thread left it; an exclusive subscription has only one thread anyway */
    return !sub->shared || atomic_exchange_explicit(&sub->turn, 1, memory_order_acquire) == 0;
}

static void turn_leave(struct bcast_sub *sub)
{
    if (sub->shared)
        atomic_store_explicit(&sub->turn, 0, memory_order_release);
}

static void enqueue(struct bcast_sub *sub, struct source *source)
{
    if (source->queued)
        return;
    source->queued = true;
    source->next_ready = NULL;
    *sub->ready_end = source;
    sub->ready_end = &source->next_ready;
}

static struct source *dequeue(struct bcast_sub *sub)
{
    struct source *source = sub->ready;
    if (source == NULL)
        return NULL;
    source->queued = false;
    sub->ready = source->next_ready;
    if (sub->ready == NULL)
        sub->ready_end = &sub->ready;
    return source;
}

/* With the turn: `source` has just gone empty, and its channel may have grown. It is trimmed when it has been so for a
 * while, whatever the other channels do meanwhile. */
static void remember_rest(struct bcast_sub *sub, struct source *source, int64_t now)
{
    if (source->resting)
        return;
    source->resting = true;
    source->rested_ns = now;
    source->next_rested = NULL;
    *sub->rested_end = source;
    sub->rested_end = &source->next_rested;
}

/* With the turn: trims up to `most` of those that have rested for long enough. */
static void trim_rested(struct bcast_sub *sub, int most, int64_t now)
{
    struct source *source;
    for (; most > 0 && (source = sub->rested) != NULL && now - source->rested_ns >= TURN_TRIM_NS; most--) {
        source->resting = false;
        sub->rested = source->next_rested;
        if (sub->rested == NULL)
            sub->rested_end = &sub->rested;
        /* relaxed: trimming one that has been rung meanwhile costs a little, and hurts nobody */
        if (atomic_load_explicit(&source->cursor.waiter.state, memory_order_relaxed) == WAITER_ARMED &&
            ring_trim(source->cursor.ring))
            enqueue(sub, source); /* its cursor has to leave what was trimmed */
    }
}

/* With the turn: takes the removed ones off the list. */
static void drop_rested(struct bcast_sub *sub)
{
    struct source **at = &sub->rested;
    while (*at != NULL) {
        struct source *source = *at;
        if (!atomic_load_explicit(&source->removed, memory_order_relaxed)) {
            at = &source->next_rested;
            continue;
        }
        source->resting = false;
        *at = source->next_rested;
    }
    sub->rested_end = at;
}

static struct source *source_of(struct waiter *waiter)
{
    return (struct source *)(void *)((unsigned char *)waiter - offsetof(struct source, cursor.waiter));
}

static void enqueue_rung(struct bcast_sub *sub)
{
    struct waiter *oldest = NULL;
    for (struct waiter *w = bell_take_rung(&sub->bell), *next; w != NULL; w = next) {
        next = w->rung_next; /* newest first: turn it around */
        w->rung_next = oldest;
        oldest = w;
    }
    for (; oldest != NULL; oldest = oldest->rung_next)
        enqueue(sub, source_of(oldest));
}

/* With the turn. The next channel that may have something; NULL: none. */
static struct source *next_source(struct bcast_sub *sub)
{
    struct source *source;
    enqueue_rung(sub);
    while ((source = dequeue(sub)) != NULL)
        if (!atomic_load_explicit(&source->removed, memory_order_relaxed))
            return source;
    return NULL;
}

/* Arms the source, which was empty. False: there is something in it, or soon will be. */
static bool turn_rest(struct source *source)
{
    waiter_arm(&source->cursor.waiter, &source->cursor.ring->armed);
    return cursor_mark_waiting(&source->cursor);
}

void turn_settle(struct bcast_sub *sub)
{
    if (!turn_try(sub))
        return;
    if (sub_is_alone(sub))
        bell_settle(&sub->bell, &sub->first.cursor.waiter);
    turn_leave(sub);
}

bool turn_rest_alone(struct bcast_sub *sub, struct source *source)
{
    if (!turn_try(sub))
        return false;
    bool rests = sub_is_alone(sub) && turn_rest(source);
    turn_leave(sub);
    return rests;
}

int turn_switch(struct bcast_sub *sub, struct source *from, bool empty, struct source **soon)
{
    if (!turn_try(sub))
        return SOON;
    int status = FOUND;
    int64_t now = clock_ns();
    fault_stop(FAULT_TURN);
    if (atomic_load_explicit(&sub->active, memory_order_relaxed) == from) { /* else another worker was faster */
        if (from != NULL && !atomic_load_explicit(&from->removed, memory_order_relaxed)) {
            bool rests = empty && turn_rest(from);
            if (rests)
                remember_rest(sub, from, now);
            else
                enqueue(sub, from);
            if (empty && !rests && *soon == NULL)
                *soon = from;
        }
        if (sub->rested != NULL)
            trim_rested(sub, 2, now); /* more than one comes in at a time: the list gets shorter */
        struct source *next = next_source(sub);
        atomic_store(&sub->active, next); /* seq_cst: pairs with sleep_on_bell */
        atomic_store_explicit(&sub->streak, 0, memory_order_relaxed);
        if (next == NULL)
            status = NOTHING;
        else if (next == *soon)
            status = SOON; /* all the way round */
    }
    turn_leave(sub);
    return status;
}

bool turn_trim(struct bcast_sub *sub)
{
    if (sub_is_alone(sub)) {
        struct source *source = atomic_load_explicit(&sub->active, memory_order_acquire);
        if (source != NULL)
            ring_trim(source->cursor.ring);
        return true;
    }
    if (!turn_try(sub))
        return false;
    trim_rested(sub, INT_MAX, clock_ns());
    bool all = sub->rested == NULL;
    turn_leave(sub);
    return all;
}

void turn_change(struct bcast_sub *sub)
{
    if (!turn_try(sub))
        return; /* the attention stays; another worker, or the next call, does it */
    /* acquire: which were removed, by those whose attention this takes away */
    atomic_fetch_and_explicit(&sub->attention, (uint8_t)~ATTENTION_CHANGED, memory_order_acquire);
    atomic_store_explicit(&sub->alone, false, memory_order_relaxed); /* and `quick` is NULL since the attention */
    struct source *active = atomic_load_explicit(&sub->active, memory_order_relaxed);
    if (active != NULL && atomic_load_explicit(&active->removed, memory_order_relaxed))
        atomic_store(&sub->active, NULL);
    drop_rested(sub);
    /* Only us: nobody is at a removed one. seq_cst, after `active`: a worker that enters later (see enter and look) does
     * not find it there any more. */
    if (atomic_load(&sub->inside) == 1)
        sub_forget_removed(sub);
    turn_leave(sub);
}
