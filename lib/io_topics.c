#include "io.h"

#include <string.h>

#include "base/error.h"

/* Topics are added by any thread, but freed by the I/O thread only: it may let go of the mutex between two of them. */
static struct topic *next_topic(struct io *io, struct topic *topic)
{
    pthread_mutex_lock(&io->mutex);
    topic = topic != NULL ? topic->next : io->topics;
    pthread_mutex_unlock(&io->mutex);
    return topic;
}

static void unpause(struct io *io, struct topic *topic)
{
    if (!topic->paused)
        return;
    ring_notify_space(&topic->inlet.channel->ring, NULL);
    topic->paused = false;
    io->paused--;
}

/* Others than those that were in the way may have come. */
static bool has_room(struct io *io, struct topic *topic)
{
    struct ring *ring = &topic->inlet.channel->ring;
    return ring_has_room(ring) || (bcast_keeps(io->b) && ring_let_pass(ring));
}

void io_topics_resume(struct io *io)
{
    for (struct topic *topic = NULL; io->paused != 0 && (topic = next_topic(io, topic)) != NULL;)
        if (topic->paused && has_room(io, topic)) {
            unpause(io, topic);
            if (backend_of(io)->resume != NULL && io->connected)
                backend_of(io)->resume(io->b->self, &topic->is);
        }
}

static void topic_free(struct io *io, struct topic *topic)
{
    if (topic->previous != NULL)
        topic->previous->next = topic->next;
    else
        io->topics = topic->next;
    if (topic->next != NULL)
        topic->next->previous = topic->previous;
    topic->inlet.channel->topic = NULL;
    pthread_mutex_unlock(&io->mutex);
    unpause(io, topic);
    channel_unref(topic->inlet.channel);
    memory_put(topic);
    pthread_mutex_lock(&io->mutex);
}

struct asking { /* topics that are put to the backend together */
    struct bcast_topic *topics[64];
    size_t count;
};

/* With the mutex, which is let go while the backend works; like the next two. */
static void ask_now(struct io *io, struct asking *asking)
{
    size_t count = asking->count;
    asking->count = 0;
    if (count == 0)
        return;
    pthread_mutex_unlock(&io->mutex);
    backend_of(io)->subscribe(io->b->self, asking->topics, count);
    pthread_mutex_lock(&io->mutex);
}

static void drop_topic(struct io *io, struct topic *topic)
{
    struct bcast_topic *is = &topic->is;
    bool known = topic->known;
    topic->known = false;
    topic->state = TOPIC_OFF;
    topic->status = BCAST_OK;
    topic->inlet.missing = false; /* nobody is left to be told */
    if (known) {
        pthread_mutex_unlock(&io->mutex);
        backend_of(io)->unsubscribe(io->b->self, &is, 1);
        pthread_mutex_lock(&io->mutex);
    }
    if (topic->wanted == 0 && topic->waiting == 0 && !topic->changed)
        topic_free(io, topic);
}

/* Makes the broker's view of one topic what the subscriptions want. */
static void settle_topic(struct io *io, struct topic *topic, struct asking *asking)
{
    if (topic->wanted == 0) {
        ask_now(io, asking); /* it may be among them */
        if (topic->wanted == 0)
            drop_topic(io, topic);
    } else if (topic->state == TOPIC_OFF && topic->status == BCAST_OK && io->connected) {
        topic->state = TOPIC_ASKED;
        topic->known = true;
        asking->topics[asking->count++] = &topic->is;
        if (asking->count == sizeof asking->topics / sizeof *asking->topics)
            ask_now(io, asking);
    }
}

void io_topics_settle(struct io *io)
{
    struct asking asking = {.count = 0};
    pthread_mutex_lock(&io->mutex);
    do {
        ask_now(io, &asking);
        while (io->changed != NULL) {
            struct topic *topic = io->changed;
            io->changed = topic->next_changed;
            topic->changed = false;
            settle_topic(io, topic, &asking);
        }
    } while (asking.count != 0);
    pthread_mutex_unlock(&io->mutex);
}

/* With the mutex. */
static void change(struct io *io, struct topic *topic)
{
    if (topic->changed)
        return;
    topic->changed = true;
    topic->next_changed = io->changed;
    io->changed = topic;
    bell_ring_one(&io->bell);
}

static struct topic *topic_get(struct io *io, struct channel *channel)
{
    struct topic *topic = channel->topic;
    if (topic != NULL)
        return topic;
    topic = memory_get(sizeof *topic);
    if (topic == NULL)
        return NULL;
    channel_ref(channel);
    topic->inlet.channel = channel;
    topic->is.name = channel->name;
    topic->is.size = channel->size;
    topic->next = io->topics;
    if (io->topics != NULL)
        io->topics->previous = topic;
    io->topics = topic;
    channel->topic = topic;
    return topic;
}

void io_sink_subscribed(struct bcast_sink *sink, struct bcast_topic *is, int status, const char *reason)
{
    struct io *io = io_of(sink);
    struct topic *topic = (struct topic *)(void *)is;
    pthread_mutex_lock(&io->mutex);
    topic->status = status;
    topic->state = status == BCAST_OK ? TOPIC_ON : TOPIC_OFF;
    topic->known = status == BCAST_OK;
    strncpy(topic->reason, reason != NULL ? reason : "", sizeof topic->reason - 1);
    bool surprise = status != BCAST_OK && topic->wanted > topic->waiting; /* it had been confirmed before */
    bool again = surprise && status == BCAST_ERR_NOMEM;
    if (again)
        topic->status = BCAST_OK; /* no final word: everything is asked for anew */
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
    if (again)
        sink->lost(sink, status, reason, 0);
    else if (surprise)
        bcast_tell_failure(io->b, topic->inlet.channel);
}

void io_topics_fail(struct io *io)
{
    bool resumes = io->b->capabilities.can & BCAST_CAN_RESUME;
    for (struct topic *topic = NULL; (topic = next_topic(io, topic)) != NULL;) {
        pthread_mutex_lock(&io->mutex);
        bool gap = topic->state == TOPIC_ON && !resumes;
        topic->state = TOPIC_OFF;
        pthread_mutex_unlock(&io->mutex);
        unpause(io, topic);
        if (gap)
            io->sink.gap(&io->sink, &topic->is, BCAST_GAP_RECONNECT, 0, BCAST_COUNT_UNKNOWN);
    }
}

void io_topics_free(struct io *io)
{
    for (struct topic *topic = io->topics, *next; topic != NULL; topic = next) {
        next = topic->next;
        topic->inlet.channel->topic = NULL;
        unpause(io, topic);
        channel_unref(topic->inlet.channel);
        memory_put(topic);
    }
    io->topics = io->changed = NULL;
    io_feeds_free(io);
}

/* ---------------------------------------------------------------------------------------------- what callers ask -- */

/* The broker's word, or why there is none. With the mutex. */
static int wait_for_topic(struct io *io, struct topic *topic, struct feed *feed, int64_t deadline_ns)
{
    for (;;) {
        if (feed != NULL && io_feed_begun(feed))
            return io_feed_result(feed);
        if (feed == NULL && topic->state == TOPIC_ON)
            return BCAST_OK;
        if (topic->status != BCAST_OK)
            return error_set(topic->status, "%s: %s", backend_of(io)->name, topic->reason);
        if (io->failed != BCAST_OK)
            return io_failed(io);
        if (io->stop)
            return bcast_ended(io->b);
        if (!io_wait(io, deadline_ns))
            return error_set(BCAST_TIMEOUT, "%s has not confirmed the subscription in time%s%s", backend_of(io)->name,
                             io->reason[0] != '\0' ? "; the last trouble: " : "", io->reason);
    }
}

int io_ask(struct io *io, struct channel *channel)
{
    struct bcast_outgoing probe = {.channel = channel->name, .channel_size = channel->size};
    int status = io_check(io, &probe);
    if (status != BCAST_OK)
        return status;
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = topic_get(io, channel);
    if (topic == NULL) {
        pthread_mutex_unlock(&io->mutex);
        return error_nomem();
    }
    topic->wanted++;
    topic->waiting++;
    if (topic->state == TOPIC_OFF) {
        topic->status = BCAST_OK; /* a refusal is not for ever: ask again */
        change(io, topic);
    }
    pthread_mutex_unlock(&io->mutex);
    return BCAST_OK;
}

int io_await(struct io *io, struct channel *channel, struct feed *feed, int64_t deadline_ns)
{
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = channel->topic;
    int status = wait_for_topic(io, topic, feed, deadline_ns);
    topic->waiting--;
    if (status != BCAST_OK)
        topic->wanted--;
    if (topic->wanted == 0)
        change(io, topic); /* also if somebody else gave it up while we waited: it is freed when nobody waits */
    pthread_mutex_unlock(&io->mutex);
    return status;
}

void io_unask(struct io *io, struct channel *channel)
{
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = channel->topic;
    topic->waiting--;
    if (--topic->wanted == 0)
        change(io, topic);
    pthread_mutex_unlock(&io->mutex);
}

uint64_t io_gaps(struct io *io, struct channel *channel, uint64_t sequence)
{
    uint64_t gaps = 0;
    pthread_mutex_lock(&io->mutex);
    const struct topic *topic = channel->topic;
    if (topic != NULL && (int64_t)(topic->inlet.gap_end - sequence) > 0)
        gaps = topic->inlet.gaps;
    pthread_mutex_unlock(&io->mutex);
    return gaps;
}

int io_refusal(struct io *io, struct channel *channel)
{
    int status = BCAST_OK;
    pthread_mutex_lock(&io->mutex);
    const struct topic *topic = channel->topic;
    if (io->failed != BCAST_OK)
        status = io_failed(io);
    else if (topic != NULL && topic->status != BCAST_OK)
        status = error_set(topic->status, "%s: %s", backend_of(io)->name, topic->reason);
    pthread_mutex_unlock(&io->mutex);
    return status;
}

void io_unwant(struct io *io, struct channel *channel)
{
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = channel->topic;
    if (topic != NULL && --topic->wanted == 0)
        change(io, topic);
    pthread_mutex_unlock(&io->mutex);
}
