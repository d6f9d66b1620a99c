#include "subscription.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "io_thread.h"

void sub_attend(struct bcast_sub *sub, uint32_t reasons)
{
    atomic_fetch_or(&sub->attention, reasons); /* seq_cst, before the ring: a reader that goes to sleep sees it */
    bell_ring_all(&sub->bell);
}

/* ------------------------------------------------------------------------------------------------------- sources -- */

/* Attaches a source to a channel: after this, what is published there is received. */
static int source_open(struct bcast_sub *sub, struct source *source, const char *name, size_t size)
{
    struct bcast *b = sub->b;
    struct channel *channel = registry_get(b->registry, name, size);
    if (channel == NULL)
        return error_nomem();
    struct cursor *cursor = &source->cursor;
    cursor->limits = sub->settings.limits;
    cursor->policy = sub->settings.policy;
    cursor->holds = sub->shared ? NULL : &sub->holds;
    cursor->waiter.bell = &sub->bell;
    source->sub = sub;
    if (!cursor_open(cursor, &channel->ring)) {
        channel_unref(channel);
        return error_nomem();
    }
    source->channel = channel;
    int status = b->io == NULL ? BCAST_OK : io_want(b->io, channel, clock_deadline(sub->settings.timeout_ms));
    if (status != BCAST_OK) {
        cursor_detach(cursor);
        cursor_close(cursor);
        channel_unref(channel);
        source->channel = NULL;
    }
    return status;
}

/* Detaches it: publishers no longer wait for it, nothing more is received. */
static void source_detach(struct source *source)
{
    struct bcast_sub *sub = source->sub;
    if (atomic_exchange(&source->removed, 1))
        return;
    atomic_fetch_add_explicit(&sub->discarded, cursor_queued(&source->cursor), memory_order_relaxed);
    cursor_detach(&source->cursor);
    if (sub->b->io != NULL)
        io_unwant(sub->b->io, source->channel);
}

/* The last step, when neither a reader nor a borrowed event is in its ring: with the channel the ring may go. */
static void source_leave(struct source *source)
{
    if (source->channel != NULL)
        channel_unref(source->channel);
    source->channel = NULL;
}

static struct source *source_find(struct bcast_sub *sub, const char *name, size_t size)
{
    for (struct source *s = sub->sources; s != NULL; s = s->next)
        if (!atomic_load(&s->removed) && s->channel->size == size && memcmp(s->channel->name, name, size) == 0)
            return s;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ subscriptions -- */

/* The last reference is gone: its owner's, and those of waiters that were still on a ring's list. */
static void destroy(struct bell *bell)
{
    struct bcast_sub *sub = (struct bcast_sub *)(void *)bell;
    while (sub->sources != NULL) {
        struct source *source = sub->sources;
        sub->sources = source->next;
        if (source != &sub->first)
            memory_put(source);
    }
    pthread_mutex_destroy(&sub->mutex);
    bcast_unref(sub->b);
    memory_put(sub);
}

static int sub_new(struct bcast *b, const struct bcast_sub_options *options, struct bcast_sub **out)
{
    struct sub_settings settings;
    int status = options_read_sub(&settings, options);
    if (status != BCAST_OK)
        return status;
    if (settings.policy == CURSOR_BLOCK && !(b->capabilities.can & BCAST_CAN_BLOCK))
        return error_set(BCAST_ERR_UNSUPPORTED, "%s cannot hold its messages back, so BCAST_BLOCK could not keep its "
                         "promise: use BCAST_DROP_OLDEST with a larger limit", b->backend->name);
    struct bcast_sub *sub = memory_get(sizeof *sub);
    if (sub == NULL)
        return error_nomem();
    if (pthread_mutex_init(&sub->mutex, NULL) != 0) {
        memory_put(sub);
        return error_nomem();
    }
    bell_init(&sub->bell, destroy);
    sub->b = b;
    sub->settings = settings;
    sub->shared = settings.shared;
    sub->ready_end = &sub->ready;
    bcast_ref(b);
    *out = sub;
    return BCAST_OK;
}

/* Makes it known to its broadcast, which may be shut down just now. */
static void enlist(struct bcast_sub *sub)
{
    struct bcast *b = sub->b;
    pthread_mutex_lock(&b->mutex);
    sub->next = b->subs;
    if (b->subs != NULL)
        b->subs->previous = sub;
    b->subs = sub;
    if (b->shut)
        sub_attend(sub, ATTENTION_CLOSED);
    pthread_mutex_unlock(&b->mutex);
    atomic_fetch_add_explicit(&b->registry->subscriptions, 1, memory_order_relaxed);
}

static void delist(struct bcast_sub *sub)
{
    struct bcast *b = sub->b;
    pthread_mutex_lock(&b->mutex);
    if (sub->previous != NULL)
        sub->previous->next = sub->next;
    else
        b->subs = sub->next;
    if (sub->next != NULL)
        sub->next->previous = sub->previous;
    pthread_mutex_unlock(&b->mutex);
    atomic_fetch_sub_explicit(&b->registry->subscriptions, 1, memory_order_relaxed);
}

static void close_sources(struct bcast_sub *sub)
{
    for (struct source *s = sub->sources; s != NULL; s = s->next) {
        source_detach(s);
        cursor_close(&s->cursor);
    }
    holds_free(&sub->holds);
    for (struct source *s = sub->sources; s != NULL; s = s->next)
        source_leave(s);
}

static int add_source(struct bcast_sub *sub, struct source *source, const char *name, size_t size)
{
    int status = bcast_check_channel(sub->b, name, &size);
    if (status != BCAST_OK)
        return status;
    if (source_find(sub, name, size) != NULL)
        return error_set(BCAST_ERR_EXISTS, "the subscription has the channel '%.*s' already", (int)size, name);
    status = source_open(sub, source, name, size);
    if (status != BCAST_OK)
        return status;
    source->next = sub->sources;
    sub->sources = source;
    return BCAST_OK;
}

static int add_all(struct bcast_sub *sub, const char *const *channels, const size_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct source *source = i == 0 ? &sub->first : memory_get(sizeof *source);
        if (source == NULL)
            return error_nomem();
        int status = add_source(sub, source, channels[i], sizes != NULL ? sizes[i] : 0);
        if (status != BCAST_OK) {
            if (source != &sub->first)
                memory_put(source);
            return status;
        }
        if (count > 1)
            bell_put_rung(&sub->bell, &source->cursor.waiter); /* the first look at each arms it */
    }
    sub->alone = count == 1;
    if (sub->alone)
        atomic_store_explicit(&sub->active, &sub->first, memory_order_release);
    return BCAST_OK;
}

int bcast_subscribe_many(struct bcast *b, const char *const *channels, const size_t *sizes, size_t count,
                         const struct bcast_sub_options *options, struct bcast_sub **out)
{
    struct bcast_sub *sub = NULL;
    if (out != NULL)
        *out = NULL;
    if (b == NULL || channels == NULL || count == 0 || out == NULL)
        return error_set(BCAST_ERR_INVALID, "subscribing wants a broadcast, at least one channel, and where to put the "
                                            "subscription");
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    int status = sub_new(b, options, &sub);
    if (status != BCAST_OK)
        return status;
    status = add_all(sub, channels, sizes, count);
    if (status != BCAST_OK) {
        close_sources(sub);
        bell_unref(&sub->bell);
        return status;
    }
    enlist(sub);
    *out = sub;
    return BCAST_OK;
}

int bcast_subscribe(struct bcast *b, const char *channel, const struct bcast_sub_options *options,
                    struct bcast_sub **out)
{
    return bcast_subscribe_many(b, &channel, NULL, 1, options, out);
}

static int sub_ended(const struct bcast_sub *sub)
{
    if (!os_guard_raised(&sub->b->guard))
        return bcast_ended(sub->b);
    if (atomic_load(&sub->attention) & ~(uint32_t)ATTENTION_CHANGED)
        return error_set(BCAST_ERR_CLOSED, "the subscription was cancelled");
    return BCAST_OK;
}

int bcast_add_channel(struct bcast_sub *sub, const char *channel, size_t size)
{
    if (sub == NULL || channel == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_add_channel wants a subscription and a channel");
    int status = sub_ended(sub);
    if (status != BCAST_OK)
        return status;
    struct source *source = memory_get(sizeof *source);
    if (source == NULL)
        return error_nomem();
    pthread_mutex_lock(&sub->mutex);
    status = add_source(sub, source, channel, size);
    pthread_mutex_unlock(&sub->mutex);
    if (status != BCAST_OK) {
        memory_put(source);
        return status;
    }
    bell_put_rung(&sub->bell, &source->cursor.waiter);
    sub_attend(sub, ATTENTION_CHANGED);
    return BCAST_OK;
}

int bcast_remove_channel(struct bcast_sub *sub, const char *channel, size_t size)
{
    if (sub == NULL || channel == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_remove_channel wants a subscription and a channel");
    int status = sub_ended(sub);
    if (status == BCAST_OK)
        status = bcast_check_channel(sub->b, channel, &size);
    if (status != BCAST_OK)
        return status;
    pthread_mutex_lock(&sub->mutex);
    struct source *source = source_find(sub, channel, size);
    if (source != NULL)
        source_detach(source);
    else
        status = error_set(BCAST_ERR_NOT_FOUND, "the subscription has no channel '%.*s'", (int)size, channel);
    pthread_mutex_unlock(&sub->mutex);
    if (source != NULL)
        sub_attend(sub, ATTENTION_CHANGED);
    return status;
}

/* Nothing refers to it any more: no queue, no list of waiters, no borrowed event. Of a shared subscription's events
 * nobody keeps count, so there a removed channel stays until the end. */
static bool forgettable(struct bcast_sub *sub, struct source *source)
{
    return source != &sub->first && !sub->shared && atomic_load(&source->removed) && !source->queued &&
           atomic_load(&source->cursor.waiter.state) == WAITER_IDLE &&
           !holds_borrowed(&sub->holds, &source->channel->ring);
}

void sub_forget_removed(struct bcast_sub *sub)
{
    pthread_mutex_lock(&sub->mutex);
    for (struct source **at = &sub->sources; *at != NULL;) {
        struct source *source = *at;
        if (!forgettable(sub, source)) {
            at = &source->next;
            continue;
        }
        *at = source->next;
        cursor_close(&source->cursor);
        source_leave(source);
        memory_put(source);
    }
    pthread_mutex_unlock(&sub->mutex);
}

int bcast_cancel(struct bcast_sub *sub)
{
    if (sub == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_cancel wants a subscription");
    sub_attend(sub, ATTENTION_CLOSED);
    return BCAST_OK;
}

void bcast_unsubscribe(struct bcast_sub *sub)
{
    if (sub == NULL)
        return;
    delist(sub);
    close_sources(sub);
    bell_unref(&sub->bell);
}

int bcast_sub_stats(struct bcast_sub *sub, struct bcast_sub_stats *out)
{
    if (sub == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_sub_stats wants a subscription and where to put the statistics");
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    stats.received = atomic_load_explicit(&sub->received, memory_order_relaxed);
    stats.lost = atomic_load_explicit(&sub->lost, memory_order_relaxed);
    stats.gaps = atomic_load_explicit(&sub->gaps, memory_order_relaxed);
    stats.discarded = atomic_load_explicit(&sub->discarded, memory_order_relaxed);
    pthread_mutex_lock(&sub->mutex);
    for (struct source *s = sub->sources; s != NULL; s = s->next)
        if (!atomic_load(&s->removed)) {
            stats.channels++;
            stats.queued += cursor_queued(&s->cursor);
        }
    pthread_mutex_unlock(&sub->mutex);
    return options_return(out, &stats, sizeof stats, "struct bcast_sub_stats");
}
