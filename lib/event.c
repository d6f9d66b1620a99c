#include "event.h"

#include "subscription.h"

#include "base/error.h"

/* A kept event of a large message references its segment; of a small one it is a copy. Either has a use of its channel's
 * ring, which keeps the channel in memory. Not a reference to the channel: that may have ended already, with everything
 * but the event. */
struct kept {
    struct channel *channel;
    struct segment *segment; /* pinned; or NULL and the copy follows */
    size_t bytes;            /* charged to the budget */
    _Alignas(8) unsigned char copy[];
};

static void release_kept(struct kept *kept)
{
    atomic_fetch_sub_explicit(&kept->channel->registry->kept_bytes, kept->bytes, memory_order_relaxed);
    if (kept->segment != NULL)
        segment_unpin(kept->segment);
    ring_drop_use(&kept->channel->ring);
    memory_put(kept);
}

/* The subscription that an event came from may have ended: the last of its events takes what is left of it along. */
static void release_borrowed(struct hold *hold)
{
    struct holds *ended = hold_release(hold);
    if (ended != NULL)
        bell_unref(&sub_of_holds(ended)->bell);
}

void event_release(struct bcast_event *event)
{
    uintptr_t hold = event->hold;
    void *what = (void *)(hold & ~(uintptr_t)BORROWED_MASK);
    event->hold = 0;
    if (what == NULL)
        return;
    switch (hold & BORROWED_MASK) {
    case BORROWED_PLAIN:
    case BORROWED_OTHER: release_borrowed(what); break;
    case BORROWED_SEGMENT: segment_unpin(what); break;
    case BORROWED_KEPT: release_kept(what); break;
    }
}

void event_clear(struct bcast_event *event)
{
    static const struct bcast_event empty;
    *event = empty;
}

void bcast_release(struct bcast_event *event)
{
    if (event == NULL)
        return;
    event_release(event);
    event_clear(event);
}

static struct segment *segment_of(const struct bcast_event *event)
{
    void *what = (void *)(event->hold & ~(uintptr_t)BORROWED_MASK);
    return (event->hold & BORROWED_MASK) == BORROWED_SEGMENT ? what : ((struct hold *)what)->segment;
}

/* Charges the budget, or says that it is spent. */
static int charge(struct registry *registry, size_t bytes, size_t budget)
{
    uint64_t kept = atomic_fetch_add_explicit(&registry->kept_bytes, bytes, memory_order_relaxed);
    if (kept + bytes <= budget)
        return BCAST_OK;
    atomic_fetch_sub_explicit(&registry->kept_bytes, bytes, memory_order_relaxed);
    return error_set(BCAST_ERR_LIMIT,
                     "%zu bytes cannot be kept, %llu of %zu are in use: release kept events, or raise "
                     "keep_bytes",
                     bytes, (unsigned long long)kept, budget);
}

static void copy_into(struct kept *kept, struct bcast_event *event, size_t extra)
{
    if (extra != 0) {
        memcpy(kept->copy, event->extra, extra);
        event->extra = kept->copy;
    }
    if (event->size != 0)
        memcpy(kept->copy + extra, event->data, event->size);
    event->data = kept->copy + extra;
}

int bcast_keep(struct bcast_event *event)
{
    if (event == NULL || event->kind == 0)
        return error_set(BCAST_ERR_INVALID, "bcast_keep: there is no event to keep");
    if (event->hold == 0 || (event->hold & BORROWED_MASK) == BORROWED_KEPT)
        return BCAST_OK; /* kept already, or a gap: it borrows nothing but its channel's name */
    struct segment *segment = segment_of(event);
    struct channel *channel = (struct channel *)(void *)segment->ring; /* a channel begins with its ring */
    bool reference = segment->dedicated;
    size_t extra =
        event->extra != NULL ? (size_t)((const unsigned char *)event->data - (const unsigned char *)event->extra) : 0;
    size_t copied = reference ? 0 : extra + event->size;
    size_t bytes = sizeof(struct kept) + extra + event->size;
    int status = charge(channel->registry, bytes, channel->registry->keep_limit);
    if (status != BCAST_OK)
        return status;
    struct kept *kept = memory_get(sizeof *kept + copied);
    if (kept == NULL) {
        atomic_fetch_sub_explicit(&channel->registry->kept_bytes, bytes, memory_order_relaxed);
        return error_nomem();
    }
    kept->channel = channel;
    kept->bytes = bytes;
    ring_add_use(&channel->ring);
    if (reference) {
        segment_pin_again(segment);
        kept->segment = segment;
    } else {
        copy_into(kept, event, extra);
    }
    event_release(event);
    event->hold = (uintptr_t)kept | BORROWED_KEPT;
    return BCAST_OK;
}
