#include "outbound.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "extra.h"

/* In front of each record's extra block: */
struct head {
    struct channel *channel;
    bcast_result_callback on_result;
    void *context;
    int64_t expires_ns;
    uint32_t extra_size; /* of what follows; 0: neither key nor headers */
};

#define SMALL 1024

bool outbound_init(struct outbound *outbound, struct bell *bell, struct ring_limits limits)
{
    ring_init(&outbound->ring, &(struct ring_setup){.pool = &outbound->pool});
    outbound->cursor.policy = CURSOR_BLOCK;
    outbound->cursor.limits = limits;
    outbound->cursor.holds = &outbound->holds;
    outbound->cursor.waiter.bell = bell;
    return cursor_open(&outbound->cursor, &outbound->ring, NULL);
}

void outbound_fini(struct outbound *outbound)
{
    cursor_detach(&outbound->cursor);
    cursor_close(&outbound->cursor);
    holds_end(&outbound->holds);
    ring_fini(&outbound->ring);
    pool_fini(&outbound->pool);
}

static enum ring_result put(struct outbound *outbound, const struct record *record, int64_t deadline_ns,
                            const struct os_guard *guard, struct channel *channel)
{
    channel_ref(channel); /* the message's; taken before the I/O thread can see it */
    enum ring_result result = ring_publish(&outbound->ring, record, deadline_ns, guard);
    if (result != RING_OK)
        channel_unref(channel);
    return result;
}

enum ring_result outbound_put(struct outbound *outbound, struct channel *channel, const struct bcast_message *message,
                              int64_t deadline_ns, const struct os_guard *guard, int *status)
{
    _Alignas(8) unsigned char small[SMALL], *block = small;
    struct bcast_incoming extra = {.key = message->key,
                                   .key_size = message->key_size,
                                   .headers = message->headers,
                                   .header_count = message->header_count};
    struct head head = {channel, message->on_result, message->context, OS_NEVER, 0};
    if (outbound->most_ms != 0)
        head.expires_ns = clock_deadline(outbound->most_ms);
    *status = extra_measure(&extra, &head.extra_size);
    if (*status != BCAST_OK)
        return RING_OK;
    uint32_t size = (uint32_t)sizeof head + head.extra_size;
    if (size > sizeof small && (block = memory_get(size)) == NULL)
        return RING_NOMEM;
    memcpy(block, &head, sizeof head);
    if (head.extra_size != 0)
        extra_write(block + sizeof head, &extra);
    struct record record = {0, message->data, (uint32_t)message->size, size, block};
    enum ring_result result = put(outbound, &record, deadline_ns, guard, channel);
    if (block != small)
        memory_put(block);
    return result;
}

uint64_t outbound_tail(struct outbound *outbound)
{
    return ring_tail(&outbound->ring).messages;
}

/* Spreads the headers of one message out as a backend wants them. False: no room in this batch. */
static bool spread_headers(struct outbound_batch *batch, struct outbound_message *message, const unsigned char *extra)
{
    struct bcast_event event = {.extra = extra};
    size_t count = bcast_event_header_count(&event);
    if (batch->headers_used + count > OUTBOUND_HEADERS)
        return false;
    message->out.headers = batch->headers + batch->headers_used;
    message->out.header_count = count;
    for (size_t i = 0; i < count; i++)
        bcast_event_header(&event, i, &batch->headers[batch->headers_used++]);
    message->out.key = bcast_event_key(&event, &message->out.key_size);
    return true;
}

static bool read_message(struct outbound_batch *batch, const unsigned char *record, uint64_t header, uint64_t number)
{
    struct outbound_message *message = &batch->messages[batch->count];
    struct head head;
    memcpy(&head, record + RECORD_HEADER, sizeof head);
    *message = (struct outbound_message){
        .out = {.number = number,
                .channel = head.channel->name,
                .channel_size = head.channel->size,
                .data = record + RECORD_HEADER + record_padded(record_extra_size(header)),
                .size = record_size(header)},
        .channel = head.channel,
        .on_result = head.on_result,
        .context = head.context,
        .expires_ns = head.expires_ns,
        .header = header,
    };
    if (head.extra_size != 0 && !spread_headers(batch, message, record + RECORD_HEADER + sizeof head))
        return false;
    batch->out[batch->count++] = message->out;
    return true;
}

bool outbound_look(struct outbound *outbound, struct outbound_batch *batch)
{
    struct cursor *cursor = &outbound->cursor;
    struct cursor_gap gap;
    batch->count = batch->headers_used = 0;
    if (cursor_look(cursor, &gap) != CURSOR_RECORD) /* it blocks: there are no gaps */
        return false;
    uint64_t offset = cursor->offset, number = cursor_sequence(cursor);
    while (batch->count < OUTBOUND_BATCH && offset != cursor->end) {
        unsigned char *record = cursor->data + offset;
        uint64_t header = record_look(record);
        if (header == 0 || !read_message(batch, record, header, number++))
            break;
        offset += record_stride(header);
    }
    return true;
}

void outbound_skip(struct outbound *outbound, struct outbound_batch *batch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct channel *channel = batch->messages[i].channel;
        cursor_skip(&outbound->cursor, batch->messages[i].header);
        channel_unref(channel);
    }
}

bool outbound_arm(struct outbound *outbound)
{
    waiter_arm(&outbound->cursor.waiter, &outbound->ring.armed);
    return cursor_mark_waiting(&outbound->cursor);
}
