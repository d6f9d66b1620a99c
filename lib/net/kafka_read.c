#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kafka_ask.h"

/* What librdkafka has fetched, handed on as long as there is room for it. */

#define BATCH 256 /* messages, before another topic has its turn */

static struct kafka_stream *stream_of(struct kafka_ready *ready)
{
    return (struct kafka_stream *)(void *)((char *)ready - offsetof(struct kafka_stream, ready));
}

static char *write_number(char *at, int64_t number)
{
    char digits[24];
    unsigned used = 0;
    uint64_t left = (uint64_t)number;
    do
        digits[used++] = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    while (used != 0)
        *at++ = digits[--used];
    return at;
}

static size_t read_headers(const rd_kafka_message_t *message, struct bcast_header *headers, size_t most)
{
    size_t count = 0;
    rd_kafka_headers_t *list = NULL;
    if (rd_kafka_message_headers(message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    while (count < most && rd_kafka_header_get_all(list, count, &headers[count].name, &headers[count].value,
                                                   &headers[count].value_size) == RD_KAFKA_RESP_ERR_NO_ERROR)
        count++;
    return count;
}

static int hand_on(struct kafka_stream *stream, const rd_kafka_message_t *message)
{
    char id[48], *end = write_number(id, message->partition);
    struct bcast_header headers[257]; /* one more than anybody can publish here: then the library leaves them out */
    rd_kafka_timestamp_type_t type;
    int64_t ms = rd_kafka_message_timestamp(message, &type);
    *end++ = ':';
    *write_number(end, message->offset) = '\0';
    const struct bcast_incoming incoming = {
        .data = message->payload,
        .size = message->len,
        .key = message->key,
        .key_size = message->key_len,
        .headers = headers,
        .header_count = read_headers(message, headers, sizeof headers / sizeof headers[0]),
        .id = id,
        .timestamp_us = ms > 0 ? ms * 1000 : 0,
    };
    return stream->kafka->sink->message(stream->kafka->sink, stream->topic, &incoming);
}

/* Of a partition; the others go on. False: the topic is gone. */
static bool take_error(struct kafka_stream *stream, const rd_kafka_message_t *message)
{
    char text[300];
    struct kafka *kafka = stream->kafka;
    bool known = message->partition >= 0 && (size_t)message->partition < stream->part_count;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (known && !stream->parts[message->partition].lost)
            kafka_in_look(stream, message->partition);
        return true;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: kafka_in_refresh(kafka, 10); return true;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        kafka_in_refuse(stream, BCAST_ERR_REFUSED, rd_kafka_err2str(message->err));
        return false;
    default:
        snprintf(text, sizeof text, "%s: %s", stream->topic->name, rd_kafka_message_errstr(message));
        kafka->sink->log(kafka->sink, BCAST_LOG_WARNING, text);
        if (known)
            stream->parts[message->partition].damaged = true;
        return true;
    }
}

/* False: it was not taken, for the topic's subscription is full. */
static bool take(struct kafka_stream *stream, const rd_kafka_message_t *message)
{
    if (message->partition < 0 || (size_t)message->partition >= stream->part_count)
        return true;
    struct kafka_part *part = &stream->parts[message->partition];
    if (message->offset < part->next || part->lost) /* fetched before we began again elsewhere */
        return true;
    if (message->offset > part->next) { /* transactions leave such holes, and compaction, where nothing is missed */
        if (part->damaged)
            stream->kafka->sink->gap(stream->kafka->sink, stream->topic, BCAST_GAP_BROKER,
                                     (uint64_t)(message->offset - part->next), BCAST_COUNT_UNKNOWN);
        part->jumped = true;
        part->next = message->offset;
    }
    part->damaged = false;
    if (hand_on(stream, message) == BCAST_TIMEOUT)
        return false;
    part->next = message->offset + 1;
    return true;
}

/* From message `at` of those read on: keeps them, so that they are offered again. */
static void hold(struct kafka_stream *stream, rd_kafka_message_t **messages, size_t count)
{
    stream->paused = true;
    if (messages == stream->held) /* they are those that were kept already */
        return;
    memory_put(stream->held);
    stream->held = memory_get(count * sizeof(rd_kafka_message_t *));
    stream->held_at = 0;
    stream->held_count = stream->held != NULL ? count : 0;
    if (stream->held != NULL) {
        memcpy(stream->held, messages, count * sizeof(rd_kafka_message_t *));
        return;
    }
    for (size_t i = 0; i < count; i++)
        rd_kafka_message_destroy(messages[i]);
    kafka_lost(stream->kafka, BCAST_ERR_NOMEM, false, "out of memory"); /* they are fetched again */
}

/* How many of them are done with; fewer than all: the rest was kept, or there is nothing left to give it to. */
static size_t take_all(struct kafka_stream *stream, rd_kafka_message_t **messages, size_t count, bool *gone)
{
    for (size_t i = 0; i < count; i++) {
        if (*gone || stream->kafka->lost)
            ;
        else if (messages[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            *gone = !take_error(stream, messages[i]);
        else if (!take(stream, messages[i]))
            return i;
        rd_kafka_message_destroy(messages[i]);
    }
    return count;
}

/* What was kept goes first. False: it is full again. */
static bool take_held(struct kafka_stream *stream, bool *gone)
{
    size_t at = stream->held_at, count = stream->held_count;
    rd_kafka_message_t **held = stream->held;
    if (at == count)
        return true;
    stream->held = NULL; /* whatever happens now, it is not freed beside us */
    stream->held_at = stream->held_count = 0;
    at += take_all(stream, held + at, count - at, gone);
    if (at < count) {
        stream->held = held;
        stream->held_at = at;
        stream->held_count = count;
        stream->paused = true;
        return false;
    }
    memory_put(held);
    return true;
}

static void read_some(struct kafka_stream *stream)
{
    struct kafka *kafka = stream->kafka;
    rd_kafka_message_t *batch[BATCH];
    bool gone = false;
    if (stream->paused || !take_held(stream, &gone) || gone || kafka->lost)
        return;
    ssize_t count = rd_kafka_consume_batch_queue(stream->source->queue, 0, batch, BATCH);
    if (count <= 0)
        return;
    size_t done = take_all(stream, batch, (size_t)count, &gone);
    if (gone || kafka->lost)
        return;
    if (done < (size_t)count)
        hold(stream, batch + done, (size_t)count - done);
    else if (count == BATCH)
        kafka_hub_list_ready(kafka->hub, &stream->ready); /* behind those that wait */
}

void kafka_in_ready(struct kafka *kafka)
{
    for (int turns = 0; turns < 32 && !kafka->lost; turns++) { /* then publishers have theirs */
        struct kafka_ready *ready = kafka_hub_take_ready(kafka->hub);
        if (ready == NULL)
            return;
        read_some(stream_of(ready));
    }
    kafka_hub_wake(kafka->hub);
}

void kafka_resume(struct kafka *kafka, struct bcast_topic *topic)
{
    struct kafka_stream *stream = topic->state;
    if (stream == NULL || stream->source == NULL)
        return;
    stream->paused = false;
    kafka_hub_list_ready(kafka->hub, &stream->ready);
}
