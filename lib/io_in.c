#include "io.h"

#include "extra.h"

/* What is missing is told in front of what comes next: there may be no room, or no memory, to tell it at once. */
static void miss(struct inlet *inlet, const struct gap_record *gap)
{
    struct gap_record *all = &inlet->missed;
    if (!inlet->missing)
        *all = (struct gap_record){0, gap->reason, gap->count};
    inlet->missing = true;
    all->lost += gap->lost;
    if (all->reason < gap->reason) /* anything says more than that it was too much */
        all->reason = gap->reason;
    if (all->count < gap->count)
        all->count = gap->count;
}

/* Without waiting for room. A keeper that was stopped is waited for: the message is not ours to lose. */
static enum ring_result publish_now(struct io *io, struct inlet *inlet, const struct record *record)
{
    enum ring_result result;
    do
        result = ring_publish(&inlet->channel->ring, record, 0, &io->b->guard);
    while (result == RING_BUSY);
    return result;
}

/* Before it is there: a reader that is overtaken by it must not take it for a message. Nobody else publishes here. */
static void count_gap(struct io *io, struct inlet *inlet)
{
    pthread_mutex_lock(&io->mutex);
    inlet->gaps++;
    inlet->gap_end = ring_tail(&inlet->channel->ring).messages + 1;
    pthread_mutex_unlock(&io->mutex);
}

static enum ring_result tell_missing(struct io *io, struct inlet *inlet)
{
    struct record record = {RECORD_GAP, &inlet->missed, sizeof inlet->missed, 0, NULL};
    if (!inlet->missing)
        return RING_OK;
    count_gap(io, inlet);
    enum ring_result result = publish_now(io, inlet, &record);
    if (result == RING_OK)
        inlet->missing = false;
    return result;
}

static int no_memory_for(struct io *io, struct inlet *inlet)
{
    miss(inlet, &(struct gap_record){1, BCAST_GAP_OVERFLOW, BCAST_EXACT});
    log_write(&io->b->settings.log, BCAST_LOG_ERROR, "out of memory: a message was lost");
    return BCAST_OK;
}

int io_in_record(struct io *io, struct inlet *inlet, const struct record *record)
{
    enum ring_result result = tell_missing(io, inlet);
    if (result == RING_OK)
        result = publish_now(io, inlet, record);
    if (result == RING_NOMEM)
        return BCAST_ERR_NOMEM;
    return result == RING_FULL || result == RING_DEADLOCK ? BCAST_TIMEOUT : BCAST_OK;
}

void io_in_gap(struct io *io, struct inlet *inlet, const struct gap_record *gap)
{
    miss(inlet, gap);
    (void)tell_missing(io, inlet); /* or later */
}

int io_in_message(struct io *io, struct inlet *inlet, const struct bcast_incoming *message)
{
    _Alignas(8) unsigned char small[1024], *block = small;
    uint32_t size = 0;
    struct bcast_incoming less;
    message = extra_fit(message, &less, &size);
    if (size > sizeof small && (block = memory_get(size)) == NULL)
        return no_memory_for(io, inlet); /* half a message is none */
    if (size != 0)
        extra_write(block, message);
    struct record record = {0, message->data, (uint32_t)message->size, size, block};
    uint64_t received = atomic_load_explicit(&io->received, memory_order_relaxed); /* one thread counts */
    atomic_store_explicit(&io->received, received + 1, memory_order_relaxed);      /* before anybody can have read it */
    int status = io_in_record(io, inlet, &record);
    if (block != small)
        memory_put(block);
    if (status != BCAST_OK)
        atomic_store_explicit(&io->received, received, memory_order_relaxed);
    return status == BCAST_ERR_NOMEM ? no_memory_for(io, inlet) : status;
}
