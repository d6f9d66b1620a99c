#include "extra.h"

#include "base/error.h"

int extra_measure(const struct bcast_incoming *message, uint32_t *size)
{
    size_t bytes = sizeof(struct extra);
    *size = 0;
    if (message->key == NULL && message->header_count == 0 && message->id == NULL && message->timestamp_us == 0 &&
        message->key_size == 0)
        return BCAST_OK;
    if ((message->key == NULL && message->key_size != 0) || (message->headers == NULL && message->header_count != 0))
        return error_set(BCAST_ERR_INVALID, "key or headers are NULL, but their size or count is not 0");
    if (message->key_size > EXTRA_MAX_KEY)
        return error_set(BCAST_ERR_TOO_LARGE, "a key of %zu bytes: at most %u are possible", message->key_size,
                         EXTRA_MAX_KEY);
    if (message->header_count > EXTRA_MAX_HEADERS)
        return error_set(BCAST_ERR_TOO_LARGE, "%zu headers: at most %u are possible", message->header_count,
                         EXTRA_MAX_HEADERS);
    bytes += message->key != NULL ? message->key_size : 0;
    bytes += message->id != NULL ? strlen(message->id) + 1 : 0;
    for (size_t i = 0; i < message->header_count && bytes <= EXTRA_MAX_BYTES; i++) {
        const struct bcast_header *header = &message->headers[i];
        if (header->name == NULL || *header->name == '\0' || (header->value == NULL && header->value_size != 0))
            return error_set(BCAST_ERR_INVALID, "header %zu has no name, or no value: a header has both", i);
        bytes += 2 * sizeof(uint32_t) + strlen(header->name) + 1;
        bytes += header->value_size < EXTRA_MAX_BYTES ? header->value_size : EXTRA_MAX_BYTES;
    }
    if (bytes > EXTRA_MAX_BYTES)
        return error_set(BCAST_ERR_TOO_LARGE, "key and headers of more than %u bytes: put large values into the data",
                         EXTRA_MAX_BYTES);
    *size = (uint32_t)bytes;
    return BCAST_OK;
}

const struct bcast_incoming *extra_fit(const struct bcast_incoming *message, struct bcast_incoming *less,
                                       uint32_t *size)
{
    if (extra_measure(message, size) == BCAST_OK)
        return message;
    *less = *message;
    less->key = NULL;
    less->key_size = less->header_count = 0;
    (void)extra_measure(less, size);
    return less;
}

static unsigned char *put(unsigned char *at, const void *from, size_t size)
{
    if (size != 0)
        memcpy(at, from, size);
    return at + size;
}

void extra_write(unsigned char *block, const struct bcast_incoming *message)
{
    struct extra extra = {
        .timestamp_us = message->timestamp_us,
        .key_size = message->key != NULL ? (uint32_t)message->key_size : EXTRA_NONE,
        .id_size = message->id != NULL ? (uint32_t)strlen(message->id) + 1 : 0,
        .header_count = (uint32_t)message->header_count,
    };
    block = put(block, &extra, sizeof extra);
    block = put(block, message->key, message->key != NULL ? message->key_size : 0);
    block = put(block, message->id, extra.id_size);
    for (size_t i = 0; i < message->header_count; i++) {
        const struct bcast_header *header = &message->headers[i];
        uint32_t sizes[2] = {(uint32_t)strlen(header->name) + 1, (uint32_t)header->value_size};
        block = put(block, sizes, sizeof sizes);
        block = put(block, header->name, sizes[0]);
        block = put(block, header->value, sizes[1]);
    }
}

/* ------------------------------------------------------------------------------------------------- public readers -- */

static const unsigned char *block_of(const struct bcast_event *event, struct extra *head)
{
    if (event == NULL || event->extra == NULL)
        return NULL;
    memcpy(head, event->extra, sizeof *head);
    return (const unsigned char *)event->extra + sizeof *head;
}

const void *bcast_event_key(const struct bcast_event *event, size_t *size)
{
    struct extra head;
    const unsigned char *key = block_of(event, &head);
    if (key != NULL && head.key_size == EXTRA_NONE)
        key = NULL;
    if (size != NULL)
        *size = key != NULL ? head.key_size : 0;
    return key;
}

static const unsigned char *id_of(const unsigned char *block, const struct extra *head)
{
    return block + (head->key_size != EXTRA_NONE ? head->key_size : 0);
}

const char *bcast_event_id(const struct bcast_event *event)
{
    struct extra head;
    const unsigned char *block = block_of(event, &head);
    return block != NULL && head.id_size != 0 ? (const char *)id_of(block, &head) : "";
}

size_t bcast_event_header_count(const struct bcast_event *event)
{
    struct extra head;
    return block_of(event, &head) != NULL ? head.header_count : 0;
}

int bcast_event_header(const struct bcast_event *event, size_t index, struct bcast_header *out)
{
    struct extra head;
    const unsigned char *block = block_of(event, &head);
    if (event == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_event_header: event and out must not be NULL");
    if (block == NULL || index >= head.header_count)
        return error_set(BCAST_ERR_NOT_FOUND, "the event has no header number %zu", index);
    const unsigned char *at = id_of(block, &head) + head.id_size;
    for (size_t i = 0;; i++) {
        uint32_t sizes[2];
        memcpy(sizes, at, sizeof sizes);
        at += sizeof sizes;
        if (i == index) {
            *out = (struct bcast_header){(const char *)at, at + sizes[0], sizes[1]};
            return BCAST_OK;
        }
        at += sizes[0] + sizes[1];
    }
}
