/* An event and what it borrows. Shared by reader.c and history.c, which fill them, and event.c, which gives them back. */
#ifndef EVENT_H
#define EVENT_H

#include "broadcaster/broadcaster.h"

#include "channel.h"

/* What `event->hold` is, told apart by its lowest bits: a struct hold, for a message that is nothing but its data and
 * shares its segment (PLAIN), or for any other; a struct segment; a struct kept (event.c). */
enum { BORROWED_PLAIN = 0, BORROWED_OTHER = 1, BORROWED_SEGMENT = 2, BORROWED_KEPT = 3, BORROWED_MASK = 3 };

void event_release(struct bcast_event *event); /* ends the borrow; leaves the fields as they are */
void event_clear(struct bcast_event *event);

/* `content`: what follows the record's header, wherever it is. */
static inline void event_fill_message(struct bcast_event *event, const char *channel, uint32_t channel_size,
                                      const unsigned char *content, uint64_t header, uint64_t sequence)
{
    uint32_t extra = record_extra_size(header);
    event->data = content;
    event->size = record_size(header);
    event->sequence = sequence;
    event->channel = channel;
    event->timestamp_us = 0;
    event->lost = 0;
    event->extra = NULL;
    event->channel_size = channel_size;
    event->kind = BCAST_MESSAGE;
    event->reason = event->count = event->reserved = 0;
    if (extra != 0) {
        event->extra = content;
        event->data = content + record_padded(extra);
        memcpy(&event->timestamp_us, content, sizeof event->timestamp_us); /* it comes first in struct extra */
    }
}

static inline void event_fill_gap(struct bcast_event *event, const char *channel, uint32_t channel_size,
                                  const struct gap_record *gap, uint64_t sequence)
{
    event->data = NULL;
    event->size = 0;
    event->sequence = sequence;
    event->channel = channel;
    event->timestamp_us = 0;
    event->lost = gap->lost;
    event->extra = NULL;
    event->channel_size = channel_size;
    event->kind = BCAST_GAP;
    event->reason = (uint8_t)gap->reason;
    event->count = (uint8_t)gap->count;
    event->reserved = 0;
}

#endif
