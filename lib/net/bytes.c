#include "bytes.h"

#define BYTES_LEAST 16384
#define BYTES_KEPT (1 << 20) /* what is larger is given back once it is empty */

unsigned char *bytes_reserve(struct bytes *bytes, size_t size)
{
    size_t queued = bytes_queued(bytes);
    if (bytes->room - bytes->end >= size)
        return bytes->data + bytes->end;
    if (bytes->room - queued >= size && queued <= bytes->start) { /* moved for less than was sent since the last time */
        memcpy(bytes->data, bytes->data + bytes->start, queued);
    } else {
        size_t room = bytes->room < BYTES_LEAST ? BYTES_LEAST : bytes->room;
        while (room - queued < size)
            room *= 2;
        unsigned char *data = memory_get_block(room);
        if (data == NULL)
            return NULL;
        if (queued != 0)
            memcpy(data, bytes->data + bytes->start, queued);
        memory_put_block(bytes->data, bytes->room);
        bytes->data = data;
        bytes->room = room;
    }
    bytes->start = 0;
    bytes->end = queued;
    return bytes->data + queued;
}

void bytes_take(struct bytes *bytes, size_t size)
{
    bytes->start += size;
    if (bytes->start != bytes->end)
        return;
    bytes->start = bytes->end = 0;
    if (bytes->room > BYTES_KEPT)
        bytes_free(bytes);
}

void bytes_free(struct bytes *bytes)
{
    memory_put_block(bytes->data, bytes->room);
    *bytes = (struct bytes){NULL, 0, 0, 0};
}
