/* Publishing: bcast_publish and its relatives, for broadcasts with and without a broker. */
#include "broadcast.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/grace.h"
#include "base/thread.h"
#include "extra.h"
#include "io_thread.h"
#include "options.h"

struct bcast_channel {
    struct bcast *b;
    struct channel *channel;
};

#define EXTRA_ON_STACK 1024

static int too_large(const struct bcast *b, size_t size)
{
    return error_set(BCAST_ERR_TOO_LARGE,
                     "a message of %zu bytes: the limit is %zu (max_message_bytes, or the broker's)", size,
                     b->max_message_bytes);
}

static int no_data(void)
{
    return error_set(BCAST_ERR_INVALID, "data is NULL, but its size is not 0");
}

static int not_published(enum ring_result result, const struct bcast *b)
{
    switch (result) {
    case RING_OK: return BCAST_OK;
    case RING_FULL:
        return error_set(BCAST_TIMEOUT, "a blocking subscription of the channel is full and was not read in time; "
                                        "nothing was published");
    case RING_DEADLOCK:
        return error_set(BCAST_ERR_WOULD_DEADLOCK,
                         "a blocking subscription of the channel is full, and this thread is "
                         "the one that reads it: read before you publish, or use two threads");
    case RING_CLOSED: return bcast_ended(b);
    case RING_BUSY:
        return error_set(BCAST_TIMEOUT, "another publisher of the channel was stopped in the middle of its work, and "
                                        "did not go on in time; nothing was published");
    default: return error_nomem();
    }
}

/* ------------------------------------------------------------------------------------------- without a broker -- */

/* Does anybody listen? relaxed: who subscribed before this call, by whatever order the callers have between them, is
 * seen; and nothing else depends on it. */
static inline bool heard(struct ring *ring)
{
    return atomic_load_explicit(&ring->readers, memory_order_relaxed) != 0;
}

/* True if nobody listens: then the message is published as soon as it is counted. */
static inline bool unheard(struct registry *registry, struct ring *ring)
{
    if (ring != NULL && heard(ring))
        return false;
    atomic_fetch_add_explicit(&grace_stripe(&registry->grace)->count, 1, memory_order_relaxed);
    return true;
}

/* Is there something to wait for? */
static bool may_yet(enum ring_result result, int timeout_ms)
{
    return (result == RING_FULL || result == RING_BUSY) && timeout_ms != BCAST_NOWAIT;
}

static int publish_local(struct bcast *b, struct channel *channel, const struct record *record, int timeout_ms)
{
    if (unheard(b->registry, &channel->ring))
        return BCAST_OK;
    enum ring_result result = ring_publish(&channel->ring, record, 0, &b->guard); /* no look at the clock yet */
    if (may_yet(result, timeout_ms))
        result = ring_publish(&channel->ring, record, clock_deadline(timeout_ms), &b->guard);
    return result == RING_OK ? BCAST_OK : not_published(result, b);
}

/* The first message of a channel that is to keep its history. */
static int publish_first(struct bcast *b, const char *name, size_t size, const struct record *record, int timeout_ms)
{
    struct channel *channel = registry_get(b->registry, name, size);
    if (channel == NULL)
        return error_nomem();
    int status = publish_local(b, channel, record, timeout_ms);
    channel_unref(channel);
    return status;
}

/* By name: the channel cannot go away inside the grace period; who has to wait takes a reference instead. */
static int publish_named(struct bcast *b, const char *name, size_t size, const struct record *record, int timeout_ms)
{
    grace_token token = grace_enter(&b->registry->grace);
    struct channel *channel = registry_find(b->registry, name, size);
    enum ring_result result = RING_OK;
    if (channel == NULL && b->registry->history.messages != 0) {
        grace_leave(token);
        return publish_first(b, name, size, record, timeout_ms);
    }
    if (!unheard(b->registry, channel != NULL ? &channel->ring : NULL))
        result = ring_publish(&channel->ring, record, 0, &b->guard);
    bool wait = may_yet(result, timeout_ms) && channel_ref_unless_gone(channel);
    grace_leave(token);
    if (!wait)
        return result == RING_OK ? BCAST_OK : not_published(result, b);
    int status = publish_local(b, channel, record, timeout_ms);
    channel_unref(channel);
    return status;
}

static int publish_record(struct bcast *b, struct channel *channel, const struct bcast_message *m,
                          const struct record *record)
{
    int timeout_ms = m->timeout_ms != 0 ? m->timeout_ms : b->settings.publish_timeout_ms;
    int status = channel != NULL ? publish_local(b, channel, record, timeout_ms)
                                 : publish_named(b, m->channel, m->channel_size, record, timeout_ms);
    if (status == BCAST_OK && m->on_result != NULL) {
        int shield = thread_shield();
        m->on_result(m->context, BCAST_OK);
        thread_unshield(shield);
    }
    return status;
}

/* With key and headers: they become one block in front of the data. */
static int publish_whole(struct bcast *b, struct channel *channel, const struct bcast_message *m)
{
    _Alignas(8) unsigned char small[EXTRA_ON_STACK], *block = small;
    struct bcast_incoming extra = {
        .key = m->key, .key_size = m->key_size, .headers = m->headers, .header_count = m->header_count};
    if (!b->bare)
        extra.timestamp_us = clock_wall_us();
    uint32_t size;
    int status = extra_measure(&extra, &size);
    if (status != BCAST_OK)
        return status;
    if (size > sizeof small && (block = memory_get(size)) == NULL)
        return error_nomem();
    if (size != 0)
        extra_write(block, &extra);
    struct record record = {0, m->data, (uint32_t)m->size, size, block};
    status = publish_record(b, channel, m, &record);
    if (block != small)
        memory_put(block);
    return status;
}

/* ------------------------------------------------------------------------------------------------ with a broker -- */

static int publish_remote(struct bcast *b, struct channel *channel, const struct bcast_message *m)
{
    int64_t deadline = clock_deadline(m->timeout_ms != 0 ? m->timeout_ms : b->settings.publish_timeout_ms);
    if (channel != NULL)
        return io_publish(b->io, channel, m, deadline);
    channel = registry_get(b->registry, m->channel, m->channel_size);
    if (channel == NULL)
        return error_nomem();
    int status = io_publish(b->io, channel, m, deadline);
    channel_unref(channel);
    return status;
}

/* -------------------------------------------------------------------------------------------------- public calls -- */

/* `channel` NULL: by the message's name. */
static int publish_message(struct bcast *b, struct channel *channel, const struct bcast_message *message)
{
    struct bcast_message m;
    int status = options_copy(&m, sizeof m, message, "struct bcast_message");
    if (status != BCAST_OK)
        return status;
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    if (m.size > b->max_message_bytes)
        return too_large(b, m.size);
    if (m.data == NULL && m.size != 0)
        return no_data();
    if (m.timeout_ms < BCAST_NOWAIT)
        return error_set(BCAST_ERR_INVALID, "timeout_ms is %d: give milliseconds, BCAST_FOREVER or BCAST_NOWAIT",
                         m.timeout_ms);
    if (channel == NULL && (status = bcast_check_channel(b, m.channel, &m.channel_size)) != BCAST_OK)
        return status;
    return b->io != NULL ? publish_remote(b, channel, &m) : publish_whole(b, channel, &m);
}

static int publish_plain(struct bcast *b, const char *name, struct channel *channel, const void *data, size_t size)
{
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    if (size > b->max_message_bytes)
        return too_large(b, size);
    if (data == NULL && size != 0)
        return no_data();
    if (!b->bare) {
        struct bcast_message message = bcast_message_init();
        message.channel = name;
        message.data = data;
        message.size = size;
        return publish_message(b, channel, &message);
    }
    struct record record = {0, data, (uint32_t)size, 0, NULL};
    if (channel != NULL)
        return publish_local(b, channel, &record, b->settings.publish_timeout_ms);
    size_t name_size = 0;
    int status = bcast_check_channel(b, name, &name_size);
    return status != BCAST_OK ? status : publish_named(b, name, name_size, &record, b->settings.publish_timeout_ms);
}

int bcast_publish(struct bcast *b, const char *channel, const void *data, size_t size)
{
    if (b == NULL || channel == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_publish wants a broadcast and a channel");
    return publish_plain(b, channel, NULL, data, size);
}

/* The common case, without a detour: no broker, no history, somebody listens, and there is room. */
static inline bool publish_quick(struct bcast *b, struct channel *channel, const void *data, size_t size)
{
    return os_guard_raised(&b->guard) && b->bare && size <= b->max_message_bytes && data != NULL &&
           heard(&channel->ring) && ring_publish_quick(&channel->ring, data, size);
}

int bcast_publish_to(struct bcast_channel *channel, const void *data, size_t size)
{
    if (channel == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_publish_to wants a channel from bcast_channel");
    if (publish_quick(channel->b, channel->channel, data, size))
        return BCAST_OK;
    return publish_plain(channel->b, NULL, channel->channel, data, size);
}

int bcast_publish_message(struct bcast *b, const struct bcast_message *message)
{
    if (b == NULL || message == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_publish_message wants a broadcast and a message");
    return publish_message(b, NULL, message);
}

int bcast_publish_message_to(struct bcast_channel *channel, const struct bcast_message *message)
{
    if (channel == NULL || message == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_publish_message_to wants a channel and a message");
    return publish_message(channel->b, channel->channel, message);
}

int bcast_flush(struct bcast *b, int timeout_ms)
{
    if (b == NULL || timeout_ms < BCAST_NOWAIT)
        return error_set(BCAST_ERR_INVALID, "bcast_flush wants a broadcast, and a time-out in milliseconds, "
                                            "BCAST_FOREVER or BCAST_NOWAIT");
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    return b->io != NULL ? io_flush(b->io, clock_deadline(timeout_ms)) : BCAST_OK;
}

int bcast_channel(struct bcast *b, const char *channel, size_t size, struct bcast_channel **out)
{
    if (out != NULL)
        *out = NULL;
    if (b == NULL || channel == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_channel wants a broadcast, a name, and where to put the channel");
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    int status = bcast_check_channel(b, channel, &size);
    if (status != BCAST_OK)
        return status;
    struct bcast_channel *handle = memory_get(sizeof *handle);
    if (handle == NULL || (handle->channel = registry_get(b->registry, channel, size)) == NULL) {
        memory_put(handle);
        return error_nomem();
    }
    bcast_ref(b);
    handle->b = b;
    *out = handle;
    return BCAST_OK;
}

void bcast_channel_free(struct bcast_channel *channel)
{
    if (channel == NULL)
        return;
    if (!bcast_stuck(channel->b)) {
        channel_unref(channel->channel);
        bcast_unref(channel->b);
    }
    memory_put(channel);
}
