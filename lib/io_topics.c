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
    ring_notify_space(&topic->channel->ring, NULL);
    topic->paused = false;
    io->paused--;
}

void io_topics_resume(struct io *io)
{
    for (struct topic *topic = NULL; io->paused != 0 && (topic = next_topic(io, topic)) != NULL;)
        if (topic->paused && ring_has_room(&topic->channel->ring)) {
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
    topic->channel->topic = NULL;
    pthread_mutex_unlock(&io->mutex);
    unpause(io, topic);
    channel_unref(topic->channel);
    memory_put(topic);
    pthread_mutex_lock(&io->mutex);
}

/* Makes the broker's view of one topic what the subscriptions want. With the mutex, which is let go while the backend
 * works. */
static void settle_topic(struct io *io, struct topic *topic)
{
    struct bcast_topic *is = &topic->is;
    if (topic->wanted != 0 && topic->state == TOPIC_OFF && topic->status == BCAST_OK && io->connected) {
        topic->state = TOPIC_ASKED;
        pthread_mutex_unlock(&io->mutex);
        backend_of(io)->subscribe(io->b->self, &is, 1);
        pthread_mutex_lock(&io->mutex);
    } else if (topic->wanted == 0) {
        bool known = topic->state != TOPIC_OFF && io->connected;
        topic->state = TOPIC_OFF;
        topic->status = BCAST_OK;
        topic->missing = false; /* nobody is left to be told */
        pthread_mutex_unlock(&io->mutex);
        if (known)
            backend_of(io)->unsubscribe(io->b->self, &is, 1);
        pthread_mutex_lock(&io->mutex);
        if (topic->wanted != 0) /* somebody came meanwhile */
            settle_topic(io, topic);
        else if (topic->waiting == 0 && !topic->changed)
            topic_free(io, topic);
    }
}

void io_topics_settle(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (io->changed != NULL) {
        struct topic *topic = io->changed;
        io->changed = topic->next_changed;
        topic->changed = false;
        settle_topic(io, topic);
    }
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
    topic->channel = channel;
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
    strncpy(topic->reason, reason != NULL ? reason : "", sizeof topic->reason - 1);
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
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
        topic->channel->topic = NULL;
        unpause(io, topic);
        channel_unref(topic->channel);
        memory_put(topic);
    }
}

/* ---------------------------------------------------------------------------------------------- what callers ask -- */

/* The broker's word, or why there is none. With the mutex. */
static int wait_for_topic(struct io *io, struct topic *topic, int64_t deadline_ns)
{
    for (;;) {
        if (topic->state == TOPIC_ON)
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

int io_want(struct io *io, struct channel *channel, int64_t deadline_ns)
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
    status = wait_for_topic(io, topic, deadline_ns);
    topic->waiting--;
    if (status != BCAST_OK && --topic->wanted == 0)
        change(io, topic);
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
