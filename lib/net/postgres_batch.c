#include "postgres_batch.h"

#include <arpa/inet.h>

#include "base/hash.h"
#include "text.h"

/* Of an array as PostgreSQL's binary form has it: dimensions, whether there are NULLs, the type, and, of the only
 * dimension, the length and the first index; then each element behind its length. */
#define HEAD_WORDS 5
#define HEAD_BYTES (HEAD_WORDS * sizeof(uint32_t))
#define TEXT_TYPE 25

void postgres_batch_init(struct postgres_batch *batch)
{
    hash_secret(batch->secret);
    postgres_batch_clear(batch);
}

void postgres_batch_free(struct postgres_batch *batch)
{
    bytes_free(&batch->channels);
    bytes_free(&batch->payloads);
}

void postgres_batch_clear(struct postgres_batch *batch)
{
    batch->count = 0;
    batch->channels.end = batch->channels.start = 0;
    batch->payloads.end = batch->payloads.start = 0;
    if (++batch->number == 0) { /* those of 65,536 batches ago would seem to be new */
        memset(batch->slots, 0, sizeof batch->slots);
        batch->number = 1;
    }
}

static void put_word(unsigned char *at, uint32_t word)
{
    word = htonl(word);
    memcpy(at, &word, sizeof word);
}

static bool is_equal(const struct bytes *bytes, const size_t *at, size_t i, const struct bytes *other, size_t begin)
{
    size_t size = at[i + 1] - at[i];
    return other->end - begin == size && memcmp(bytes->data + at[i], other->data + begin, size) == 0;
}

/* The message behind the last one: is it among those before? */
static bool is_repeat(struct postgres_batch *batch)
{
    size_t channel = batch->channel_at[batch->count], payload = batch->payload_at[batch->count];
    uint64_t hash = hash_bytes(batch->secret, batch->channels.data + channel, batch->channels.end - channel) ^
                    hash_bytes(batch->secret, batch->payloads.data + payload, batch->payloads.end - payload);
    size_t slot = hash % POSTGRES_SLOTS;
    for (; batch->slots[slot].used == batch->number; slot = (slot + 1) % POSTGRES_SLOTS) {
        size_t i = batch->slots[slot].index;
        if (batch->slots[slot].hash == (uint32_t)(hash >> 32) &&
            is_equal(&batch->channels, batch->channel_at, i, &batch->channels, channel) &&
            is_equal(&batch->payloads, batch->payload_at, i, &batch->payloads, payload))
            return true;
    }
    batch->slots[slot].hash = (uint32_t)(hash >> 32);
    batch->slots[slot].index = (uint16_t)batch->count;
    batch->slots[slot].used = batch->number;
    return false;
}

static void append(struct bytes *bytes, const void *data, size_t size)
{
    unsigned char *at = bytes->data + bytes->end;
    put_word(at, (uint32_t)size);
    if (size != 0)
        memcpy(at + sizeof(uint32_t), data, size);
    bytes_add(bytes, sizeof(uint32_t) + size);
}

/* Padded, as most expect it, unless only that would make it too long for a notification. */
static void append_base64(struct bytes *bytes, const void *data, size_t size)
{
    unsigned char *at = bytes->data + bytes->end;
    bool padded = (size + 2) / 3 * 4 < 8000;
    size_t length = text_to_base64(data, size, padded, (char *)at + sizeof(uint32_t));
    put_word(at, (uint32_t)length);
    bytes_add(bytes, sizeof(uint32_t) + length);
}

static bool reserve(struct bytes *bytes, size_t size)
{
    size_t head = bytes->end == 0 ? HEAD_BYTES : 0;
    if (bytes_reserve(bytes, head + sizeof(uint32_t) + size) == NULL)
        return false;
    bytes_add(bytes, head);
    return true;
}

enum postgres_added postgres_batch_add(struct postgres_batch *batch, const struct bcast_outgoing *message, bool base64)
{
    size_t most = base64 ? (message->size + 2) / 3 * 4 : message->size;
    if (batch->count == POSTGRES_BATCH ||
        (batch->count != 0 && bytes_queued(&batch->payloads) + most > POSTGRES_BATCH_BYTES))
        return POSTGRES_FULL;
    if (!reserve(&batch->channels, message->channel_size) || !reserve(&batch->payloads, most))
        return POSTGRES_NOMEM;
    size_t channel = batch->channels.end, payload = batch->payloads.end;
    batch->channel_at[batch->count] = channel;
    batch->payload_at[batch->count] = payload;
    append(&batch->channels, message->channel, message->channel_size);
    (base64 ? append_base64 : append)(&batch->payloads, message->data, message->size);
    if (is_repeat(batch)) {
        batch->channels.end = channel;
        batch->payloads.end = payload;
        return POSTGRES_REPEAT;
    }
    batch->count++;
    batch->channel_at[batch->count] = batch->channels.end;
    batch->payload_at[batch->count] = batch->payloads.end;
    return POSTGRES_ADDED;
}

/* The array of elements that end at `end`: its head goes in front of the first, over what has been dealt with. */
static const char *make_array(struct bytes *bytes, size_t begin, size_t end, size_t count, int *size)
{
    const uint32_t head[HEAD_WORDS] = {1, 0, TEXT_TYPE, (uint32_t)count, 1};
    unsigned char *at = bytes->data + begin - HEAD_BYTES;
    for (size_t i = 0; i < HEAD_WORDS; i++)
        put_word(at + i * sizeof(uint32_t), head[i]);
    *size = (int)(end - begin + HEAD_BYTES);
    return (const char *)at;
}

int postgres_batch_send(struct postgres_batch *batch, PGconn *conn, size_t first, size_t count)
{
    static const int binary[2] = {1, 1};
    int sizes[2];
    const char *values[2];
    const size_t *channels = &batch->channel_at[first], *payloads = &batch->payload_at[first];
    values[0] = make_array(&batch->channels, channels[0], channels[count], count, &sizes[0]);
    values[1] = make_array(&batch->payloads, payloads[0], payloads[count], count, &sizes[1]);
    return PQsendQueryPrepared(conn, POSTGRES_BATCH_NAME, 2, values, sizes, binary, 1);
}
