#include "subscription.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "history.h"
#include "io_thread.h"
#include "marks.h"
#include "past.h"
#include "position.h"
#include "sources.h"

void sub_attend(struct bcast_sub *sub, uint32_t reasons)
{
    /* seq_cst, before the ring: a reader that goes to sleep sees it; and before `quick` is taken away: see go_quick */
    atomic_fetch_or(&sub->attention, (uint8_t)reasons);
    atomic_store(&sub->quick, NULL);
    bell_ring_all(&sub->bell);
}

/* ------------------------------------------------------------------------------------------------------- sources -- */

/* What the position to resume from stood before, and is not kept any more. */
static void note_missed(struct source *source, const struct history_start *start)
{
    if (!start->resumed)
        return;
    source->missed_count = start->foreign ? 0 : source->cursor.start - start->at.sequence;
    if (start->foreign)
        atomic_init(&source->missed, BCAST_COUNT_UNKNOWN);
    else if (source->missed_count != 0)
        atomic_init(&source->missed, BCAST_EXACT);
}

/* The last step, when no reader is in its ring: with the channel the ring may go, once nothing of it is pinned. */
static void source_leave(struct source *source)
{
    if (source->channel != NULL)
        channel_unref(source->channel);
    source->channel = NULL;
    io_feed_unref(source->feed);
    marks_unref(source->marks);
    source->feed = NULL;
    source->marks = NULL;
}

/* With the broadcast's mutex: is its cursor in a ring? Where the broker keeps messages, the I/O thread puts it there. */
static bool is_attached(const struct source *source)
{
    return source->feed == NULL || io_feed_attached(source->feed);
}

void source_set_up(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    struct cursor *cursor = &source->cursor;
    cursor->limits = settings->limits;
    cursor->policy = (uint8_t)settings->policy;
    cursor->holds = sub->shared ? NULL : &sub->holds;
    cursor->waiter.bell = &sub->bell;
    source->sub = sub;
}

/* Puts it into the channel's ring: what is published there from now on, or was what the settings want, waits for it. */
static int open_cursor(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    struct history_start start;
    int status = history_start(sub->b, source->channel, settings, &start);
    if (status != BCAST_OK)
        return status;
    if (!cursor_open(&source->cursor, &source->channel->ring, start.wanted ? &start.at : NULL))
        return error_nomem();
    note_missed(source, &start);
    return BCAST_OK;
}

static void close_cursor(struct source *source)
{
    cursor_detach(&source->cursor);
    cursor_close(&source->cursor);
}

/* The broker has been asked for its channel: puts it on the list, in its ring or on its way there. With the broadcast's
 * mutex. */
static int source_place(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    if (bcast_keeps(sub->b))
        return past_begin(sub, source, settings);
    int status = open_cursor(sub, source, settings);
    if (status == BCAST_OK && !sources_add(sub, source)) {
        close_cursor(source);
        status = error_nomem();
    }
    return status;
}

/* With the broadcast's mutex, and a reference to the channel. */
static int source_attach(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    source_set_up(sub, source, settings);
    int status = sub->b->io != NULL ? io_ask(sub->b->io, source->channel) : BCAST_OK;
    if (status != BCAST_OK)
        return status;
    status = source_place(sub, source, settings);
    if (status != BCAST_OK && sub->b->io != NULL)
        io_unask(sub->b->io, source->channel);
    return status;
}

/* Publishers no longer wait for it, nothing more is received. Once. */
void source_detach(struct source *source)
{
    struct bcast_sub *sub = source->sub;
    if (source->channel == NULL || atomic_exchange_explicit(&source->removed, true, memory_order_relaxed))
        return;
    bool forked = os_guard_forked(&sub->b->guard); /* then the I/O thread is not there to be told */
    if (source->feed != NULL && !forked)
        io_feed_cancel(source->feed);
    if (is_attached(source)) {
        atomic_fetch_add_explicit(&sub->discarded, cursor_queued(&source->cursor), memory_order_relaxed);
        cursor_detach(&source->cursor);
    }
    if (source->wants && !forked)
        io_unwant(sub->b->io, source->channel);
    struct source *past = source->other;
    if (past == NULL)
        return;
    past->other = source->other = NULL;
    if (past->is_past)
        source_detach(past);
}

/* With the broadcast's mutex, under which it is written; or it was said in `attention` since. */
static bool is_removed(struct source *source)
{
    return atomic_load_explicit(&source->removed, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------------------ subscriptions -- */

/* The last reference is gone: its owner's, and those of waiters that were still on a ring's list. */
static void destroy(struct bell *bell)
{
    struct bcast_sub *sub = (struct bcast_sub *)(void *)bell;
    struct bcast *b = sub->b;
    if (bcast_stuck(b))
        return;
    while (sub->first.next != NULL) {
        struct source *source = sub->first.next;
        sub->first.next = source->next;
        memory_put(source);
    }
    sources_free(sub);
    slab_put(&b->registry->slab, sub, sizeof *sub);
    bcast_unref(b);
}

static int sub_new(struct bcast *b, const struct sub_settings *settings, struct bcast_sub **out)
{
    if (settings->policy == CURSOR_BLOCK && !(b->capabilities.can & BCAST_CAN_BLOCK))
        return error_set(BCAST_ERR_UNSUPPORTED,
                         "%s cannot hold its messages back, so BCAST_BLOCK could not keep its "
                         "promise: use BCAST_DROP_OLDEST with a larger limit",
                         b->backend->name);
    struct bcast_sub *sub = slab_get(&b->registry->slab, sizeof *sub);
    if (sub == NULL)
        return error_nomem();
    bell_init(&sub->bell, destroy);
    sub->b = b;
    sub->timeout_ms = settings->timeout_ms;
    sub->shared = settings->shared;
    sub->ready_end = &sub->ready;
    sub->rested_end = &sub->rested;
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
    if (b->io != NULL && io_refusal(b->io, sub->first.channel) != BCAST_OK)
        sub_attend(sub, ATTENTION_FAILED); /* between the broker's word and now */
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

/* Drops the owner's reference, now or with the last event that is still out. */
static void end(struct bcast_sub *sub)
{
    pthread_mutex_lock(&sub->b->mutex);
    for (struct source *s = &sub->first; s != NULL; s = s->next)
        source_detach(s);
    pthread_mutex_unlock(&sub->b->mutex);
    for (struct source *s = &sub->first; s != NULL; s = s->next)
        if (s->channel != NULL && is_attached(s))
            cursor_close(&s->cursor);
    bool over = holds_end(&sub->holds);
    for (struct source *s = &sub->first; s != NULL; s = s->next)
        source_leave(s);
    if (over)
        bell_unref(&sub->bell);
}

/* The first half of adding a channel: in its ring, and on the list, and the broker has been asked. */
static int source_begin(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings,
                        const char *name, size_t size)
{
    int status = bcast_check_channel(sub->b, name, &size);
    if (status != BCAST_OK)
        return status;
    struct channel *found = registry_get(sub->b->registry, name, size);
    if (found == NULL)
        return error_nomem();
    pthread_mutex_lock(&sub->b->mutex);
    source->channel = found;
    source->opening = true;
    if (sources_find(sub, found) != NULL && sources_find(sub, found) != source)
        status = error_set(BCAST_ERR_EXISTS, "the subscription has the channel '%.*s' already", (int)size, name);
    else
        status = source_attach(sub, source, settings);
    if (status != BCAST_OK)
        source_leave(source);
    pthread_mutex_unlock(&sub->b->mutex);
    return status;
}

/* The second half: the broker's word. On failure the source stays on the list, removed. `ring`: else it is put where the
 * reader looks at it, which arms it; before others can remove it, and the reader forget it. */
static int source_finish(struct bcast_sub *sub, struct source *source, int64_t deadline_ns, bool ring)
{
    struct bcast *b = sub->b;
    int status = b->io == NULL ? BCAST_OK : io_await(b->io, source->channel, source->feed, deadline_ns);
    pthread_mutex_lock(&b->mutex);
    source->wants = b->io != NULL && status == BCAST_OK;
    if (status != BCAST_OK)
        source_detach(source);
    else if (source->other != NULL)
        bell_put_rung(&sub->bell, &source->other->cursor.waiter); /* its past: it rings for the source itself */
    else if (ring)
        bell_put_rung(&sub->bell, &source->cursor.waiter);
    source->opening = false;
    pthread_mutex_unlock(&b->mutex);
    return status;
}

/* Instead of the second half: another channel of the same call has failed, for a reason that stays this thread's. */
static void source_abandon(struct bcast_sub *sub, struct source *source)
{
    struct bcast *b = sub->b;
    if (b->io != NULL)
        io_unask(b->io, source->channel);
    pthread_mutex_lock(&b->mutex);
    source_detach(source);
    source->opening = false;
    pthread_mutex_unlock(&b->mutex);
}

/* All in their rings, and asked for; fewer, if one fails. */
static int begin_all(struct bcast_sub *sub, const struct sub_settings *settings, const char *const *channels,
                     const size_t *sizes, size_t count)
{
    int status = BCAST_OK;
    for (size_t i = 0; i < count && status == BCAST_OK; i++) {
        struct source *source = i == 0 ? &sub->first : memory_get(sizeof *source);
        if (source == NULL)
            return error_nomem();
        status = source_begin(sub, source, settings, channels[i], sizes != NULL ? sizes[i] : 0);
        if (status != BCAST_OK && source != &sub->first)
            memory_put(source);
    }
    return status;
}

/* Nobody reads it yet. */
static int add_all(struct bcast_sub *sub, const struct sub_settings *settings, const char *const *channels,
                   const size_t *sizes, size_t count)
{
    int status = begin_all(sub, settings, channels, sizes, count);
    int64_t deadline = clock_deadline(sub->timeout_ms);
    for (struct source *source = &sub->first; source != NULL; source = source->next) {
        if (source->channel == NULL || source->is_past)
            continue; /* the first did not even begin; a past is its source's matter */
        if (status == BCAST_OK)
            status = source_finish(sub, source, deadline, count > 1);
        else
            source_abandon(sub, source);
    }
    if (status != BCAST_OK)
        return status;
    bool alone = count == 1 && sub->first.next == NULL; /* a past makes two of them */
    atomic_store_explicit(&sub->alone, alone, memory_order_relaxed);
    if (alone)
        atomic_store_explicit(&sub->active, &sub->first, memory_order_relaxed); /* nobody else has `sub` yet */
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
    struct sub_settings settings;
    int status = options_read_sub(&settings, options);
    if (status == BCAST_OK)
        status = sub_new(b, &settings, &sub);
    if (status != BCAST_OK)
        return status;
    status = add_all(sub, &settings, channels, sizes, count);
    if (status != BCAST_OK) {
        end(sub);
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
    if (atomic_load(&sub->attention) & (ATTENTION_CLOSED | ATTENTION_DISCONNECTED))
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
    struct cursor *model = &sub->first.cursor; /* the same policy and limits for all */
    struct sub_settings settings = {
        .policy = model->policy, .shared = sub->shared, .limits = model->limits, .timeout_ms = sub->timeout_ms};
    status = source_begin(sub, source, &settings, channel, size);
    if (status != BCAST_OK) {
        memory_put(source);
        return status;
    }
    status = source_finish(sub, source, clock_deadline(sub->timeout_ms), true);
    if (status != BCAST_OK)
        return status; /* removed already: a reader, or unsubscribe, frees it */
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
    pthread_mutex_lock(&sub->b->mutex);
    struct channel *found = registry_get_existing(sub->b->registry, channel, size);
    struct source *source = found != NULL ? sources_find(sub, found) : NULL;
    if (source != NULL && source->opening)
        source = NULL;
    if (source != NULL)
        source_detach(source);
    else
        status = error_set(BCAST_ERR_NOT_FOUND, "the subscription has no channel '%.*s'", (int)size, channel);
    pthread_mutex_unlock(&sub->b->mutex);
    if (found != NULL)
        channel_unref(found);
    if (source != NULL)
        sub_attend(sub, ATTENTION_CHANGED);
    return status;
}

bool sub_has(struct bcast_sub *sub, const struct channel *channel)
{
    const struct source *source = sources_find(sub, channel);
    return source != NULL && !source->opening;
}

uint64_t sub_gaps(struct bcast_sub *sub, struct source *source, uint64_t sequence)
{
    return sub->b->io != NULL && source->channel != NULL ? io_gaps(sub->b->io, source->channel, sequence) : 0;
}

int sub_failure(struct bcast_sub *sub)
{
    int status = BCAST_OK;
    /* Before the look: whoever raises it later finds it, or is found by it. */
    atomic_fetch_and(&sub->attention, (uint8_t)~ATTENTION_FAILED);
    pthread_mutex_lock(&sub->b->mutex);
    for (struct source *s = &sub->first; s != NULL && status == BCAST_OK; s = s->next)
        if (s->channel != NULL && !is_removed(s) && !s->opening)
            status = io_refusal(sub->b->io, s->channel);
    pthread_mutex_unlock(&sub->b->mutex);
    if (status != BCAST_OK)
        atomic_fetch_or(&sub->attention, ATTENTION_FAILED); /* every call is told */
    return status;
}

/* Nothing refers to it any more: no queue, no list of waiters. */
static bool forgettable(struct source *source)
{
    return is_removed(source) && !source->opening && !source->queued && !source->resting &&
           atomic_load_explicit(&source->cursor.waiter.state, memory_order_relaxed) == WAITER_IDLE;
}

void sub_forget_removed(struct bcast_sub *sub)
{
    struct source *forgotten = NULL;
    pthread_mutex_lock(&sub->b->mutex);
    for (struct source **at = &sub->first.next; *at != NULL;) {
        struct source *source = *at;
        if (!forgettable(source)) {
            at = &source->next;
            continue;
        }
        *at = source->next;
        sources_drop(sub, source);
        source->next = forgotten;
        forgotten = source;
    }
    pthread_mutex_unlock(&sub->b->mutex);
    while (forgotten != NULL) {
        struct source *source = forgotten;
        forgotten = source->next;
        if (is_attached(source))
            cursor_close(&source->cursor);
        source_leave(source);
        memory_put(source);
    }
}

static int add_marks(struct position_writer *writer, const struct source *source)
{
    char *text = marks_text(source->marks);
    if (text == NULL)
        return error_nomem();
    position_add(writer, source->channel->name, source->channel->size, text);
    memory_put(text);
    return BCAST_OK;
}

/* Any thread: a snapshot. */
static int write_position(struct bcast_sub *sub, struct position_writer *writer)
{
    char text[POSITION_BYTES];
    int status = BCAST_OK;
    pthread_mutex_lock(&sub->b->mutex);
    for (struct source *s = &sub->first; s != NULL && status == BCAST_OK; s = s->next) {
        if (s->channel == NULL || is_removed(s) || s->opening || s->is_past)
            continue;
        if (bcast_keeps(sub->b)) {
            status = add_marks(writer, s);
            continue;
        }
        struct position position = {sub->b->registry->epoch, cursor_next(&s->cursor)};
        uint8_t missed = atomic_load_explicit(&s->missed, memory_order_relaxed);
        if (missed == MISSED_STOOD)
            position.sequence = s->missed_count;
        else if (missed != 0) /* nobody was told yet */
            position.sequence -= s->missed_count;
        position_write(text, &position);
        position_add(writer, s->channel->name, s->channel->size, text);
    }
    pthread_mutex_unlock(&sub->b->mutex);
    return status;
}

int bcast_position(struct bcast_sub *sub, char *buffer, size_t size, size_t *length)
{
    struct position_writer writer;
    if (length != NULL)
        *length = 0;
    if (sub == NULL || (buffer == NULL && size != 0))
        return error_set(BCAST_ERR_INVALID, "bcast_position wants a subscription and a buffer");
    if (os_guard_forked(&sub->b->guard))
        return bcast_ended(sub->b);
    int status = history_check(sub->b);
    if (status != BCAST_OK)
        return status;
    position_begin(&writer, buffer, size);
    status = write_position(sub, &writer);
    if (status != BCAST_OK)
        return status;
    if (length != NULL)
        *length = writer.length;
    if (!position_end(&writer))
        return error_set(BCAST_ERR_TOO_LARGE, "the position has %zu bytes and a NUL, the buffer only %zu bytes",
                         writer.length, size);
    return BCAST_OK;
}

int bcast_cancel(struct bcast_sub *sub)
{
    if (sub == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_cancel wants a subscription");
    if (os_guard_forked(&sub->b->guard))
        return bcast_ended(sub->b);
    sub_attend(sub, ATTENTION_CLOSED);
    return BCAST_OK;
}

void bcast_unsubscribe(struct bcast_sub *sub)
{
    if (sub == NULL)
        return;
    if (bcast_stuck(sub->b)) {
        os_event_close(&sub->bell.event);
        return;
    }
    delist(sub);
    end(sub);
}

int bcast_sub_stats(struct bcast_sub *sub, struct bcast_sub_stats *out)
{
    if (sub == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_sub_stats wants a subscription and where to put the statistics");
    if (os_guard_forked(&sub->b->guard))
        return bcast_ended(sub->b);
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    stats.received = atomic_load_explicit(&sub->received, memory_order_relaxed);
    stats.lost = atomic_load_explicit(&sub->lost, memory_order_relaxed);
    stats.gaps = atomic_load_explicit(&sub->gaps, memory_order_relaxed);
    stats.discarded = atomic_load_explicit(&sub->discarded, memory_order_relaxed);
    pthread_mutex_lock(&sub->b->mutex);
    for (struct source *s = &sub->first; s != NULL; s = s->next)
        if (s->channel != NULL && !is_removed(s) && !s->opening) {
            stats.channels += !s->is_past;
            stats.queued += is_attached(s) ? cursor_queued(&s->cursor) : 0;
        }
    pthread_mutex_unlock(&sub->b->mutex);
    return options_return(out, &stats, sizeof stats, "struct bcast_sub_stats");
}
