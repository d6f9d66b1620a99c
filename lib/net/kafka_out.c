#include "kafka.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

#define BATCH 128

struct kafka_channel { /* that something was published to */
    rd_kafka_topic_t *topic;
    struct kafka_channel *next; /* of the same hash */
    uint64_t hash;
    char name[]; /* NUL-terminated */
};

/* ------------------------------------------------------------------------------------------------------- channels -- */

static bool grow(struct kafka *kafka)
{
    size_t mask = kafka->channels == NULL ? 15 : 2 * kafka->channels_mask + 1;
    struct kafka_channel **table = memory_get((mask + 1) * sizeof(struct kafka_channel *));
    if (table == NULL)
        return false;
    for (size_t i = 0; kafka->channels != NULL && i <= kafka->channels_mask; i++)
        for (struct kafka_channel *channel = kafka->channels[i], *next; channel != NULL; channel = next) {
            next = channel->next;
            channel->next = table[channel->hash & mask];
            table[channel->hash & mask] = channel;
        }
    memory_put(kafka->channels);
    kafka->channels = table;
    kafka->channels_mask = mask;
    return true;
}

static struct kafka_channel *channel_add(struct kafka *kafka, const struct bcast_outgoing *message, uint64_t hash)
{
    if (kafka->channels_count >= kafka->channels_mask && !grow(kafka))
        return NULL;
    struct kafka_channel *channel = memory_get(sizeof *channel + message->channel_size + 1);
    if (channel == NULL)
        return NULL;
    memcpy(channel->name, message->channel, message->channel_size);
    channel->hash = hash;
    channel->topic = rd_kafka_topic_new(kafka->producer, channel->name, NULL);
    if (channel->topic == NULL) {
        memory_put(channel);
        return NULL;
    }
    channel->next = kafka->channels[hash & kafka->channels_mask];
    kafka->channels[hash & kafka->channels_mask] = channel;
    kafka->channels_count++;
    return channel;
}

/* librdkafka's own look-up goes through all of its topics, one by one. */
static rd_kafka_topic_t *topic_of(struct kafka *kafka, const struct bcast_outgoing *message)
{
    uint64_t hash = hash_bytes(kafka->secret, message->channel, message->channel_size);
    struct kafka_channel *channel = kafka->channels != NULL ? kafka->channels[hash & kafka->channels_mask] : NULL;
    while (channel != NULL &&
           (channel->hash != hash || strncmp(channel->name, message->channel, message->channel_size) != 0 ||
            channel->name[message->channel_size] != '\0'))
        channel = channel->next;
    if (channel == NULL)
        channel = channel_add(kafka, message, hash);
    return channel != NULL ? channel->topic : NULL;
}

void kafka_channels_free(struct kafka_channel **table, size_t mask, bool topics)
{
    for (size_t i = 0; table != NULL && i <= mask; i++)
        for (struct kafka_channel *channel = table[i], *next; channel != NULL; channel = next) {
            next = channel->next;
            if (topics)
                rd_kafka_topic_destroy(channel->topic);
            memory_put(channel);
        }
    memory_put(table);
}

void kafka_out_end(struct kafka *kafka)
{
    kafka->session->channels = kafka->channels;
    kafka->session->channels_mask = kafka->channels_mask;
    kafka->channels = NULL;
    kafka->channels_mask = kafka->channels_count = 0;
    kafka->run_count = 0; /* told before the loss; or the library knows better */
}

/* -------------------------------------------------------------------------------------------------------- results -- */

void kafka_out_tell(struct kafka *kafka)
{
    uint64_t first = kafka->run_first, count = kafka->run_count;
    kafka->run_count = 0;
    if (count != 0)
        kafka->sink->result(kafka->sink, first, count, kafka->run_status);
}

static void deliver(struct kafka *kafka, uint64_t number, int status)
{
    if (kafka->run_count != 0 && (number != kafka->run_first + kafka->run_count || status != kafka->run_status))
        kafka_out_tell(kafka);
    if (kafka->run_count == 0) {
        kafka->run_first = number;
        kafka->run_status = status;
    }
    kafka->run_count++;
}

static int status_of(rd_kafka_resp_err_t error, bool possibly_sent)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return BCAST_OK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: return BCAST_ERR_TOO_LARGE;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION: return BCAST_ERR_REFUSED;
    default: return possibly_sent ? BCAST_ERR_UNKNOWN : BCAST_ERR_PUBLISH;
    }
}

static void complain(struct kafka *kafka, const char *topic, rd_kafka_resp_err_t error)
{
    char text[400];
    bool missing = error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (kafka->complained)
        return;
    kafka->complained = true;
    snprintf(text, sizeof text, "a message to %s failed: %s%s", topic, rd_kafka_err2str(error),
             missing                                         ? " (auto.create.topics.enable is off, perhaps)"
             : error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? " (message.max.bytes of the broker)"
                                                             : "");
    kafka->sink->log(kafka->sink, BCAST_LOG_WARNING, text);
}

/* The message carries as many bits of its number as a pointer has: it is one of the last that were handed over. */
static uint64_t number_of(const struct kafka *kafka, const void *mark)
{
    return kafka->newest - (uintptr_t)((uintptr_t)kafka->newest - (uintptr_t)mark);
}

void kafka_out_delivered(struct kafka *kafka, const rd_kafka_message_t *message)
{
    bool possibly = rd_kafka_message_status(message) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        complain(kafka, rd_kafka_topic_name(message->rkt), message->err);
    else
        kafka->complained = false;
    deliver(kafka, number_of(kafka, message->_private), status_of(message->err, possibly));
}

/* ---------------------------------------------------------------------------------------------------- publishing -- */

/* Never NULL: to Kafka that is not an empty message, but that there is none. */
static void *bytes_of(const void *data, size_t size)
{
    return (void *)(uintptr_t)(data != NULL || size != 0 ? data : "");
}

/* False: not now, librdkafka's queue is full. Anything else has, or will have, a result. */
static bool handed_over(struct kafka *kafka, const struct bcast_outgoing *message, rd_kafka_resp_err_t error)
{
    if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return false;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        complain(kafka, message->channel, error);
        deliver(kafka, message->number, status_of(error, false));
    }
    return true;
}

static rd_kafka_headers_t *headers_of(const struct bcast_outgoing *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->header_count);
    for (size_t i = 0; i < message->header_count; i++)
        rd_kafka_header_add(headers, message->headers[i].name, -1,
                            bytes_of(message->headers[i].value, message->headers[i].value_size),
                            (ssize_t)message->headers[i].value_size);
    return headers;
}

static bool publish_one(struct kafka *kafka, rd_kafka_topic_t *topic, const struct bcast_outgoing *message)
{
    rd_kafka_headers_t *headers = headers_of(message);
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {bytes_of(message->data, message->size), message->size}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)message->key, message->key_size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)message->number},
    };
    rd_kafka_error_t *why = rd_kafka_produceva(kafka->producer, parts, sizeof parts / sizeof parts[0]);
    rd_kafka_resp_err_t error = why != NULL ? rd_kafka_error_code(why) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (why != NULL)
        rd_kafka_error_destroy(why);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return handed_over(kafka, message, error);
}

/* Messages without headers, of one channel. How many were taken. */
static size_t publish_run(struct kafka *kafka, rd_kafka_topic_t *topic, const struct bcast_outgoing *messages,
                          size_t count)
{
    rd_kafka_message_t batch[BATCH];
    size_t taken = 0;
    memset(batch, 0, count * sizeof *batch);
    for (size_t i = 0; i < count; i++) {
        batch[i].payload = bytes_of(messages[i].data, messages[i].size);
        batch[i].len = messages[i].size;
        batch[i].key = (void *)(uintptr_t)messages[i].key;
        batch[i].key_len = messages[i].key_size;
        batch[i]._private = (void *)(uintptr_t)messages[i].number;
    }
    rd_kafka_produce_batch(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, batch, (int)count);
    while (taken < count && handed_over(kafka, &messages[taken], batch[taken].err))
        taken++;
    return taken;
}

/* How many, from the first on, go the same way. */
static size_t count_run(const struct bcast_outgoing *messages, size_t count)
{
    size_t run = 1;
    while (run < count && run < BATCH && messages[run].header_count == 0 &&
           messages[run].channel_size == messages[0].channel_size &&
           (messages[run].channel == messages[0].channel ||
            memcmp(messages[run].channel, messages[0].channel, messages[0].channel_size) == 0))
        run++;
    return run;
}

size_t kafka_publish(struct kafka *kafka, const struct bcast_outgoing *messages, size_t count)
{
    size_t taken = 0;
    if (kafka->doubt) /* queued with us their fate is known; the worker's answer wakes us */
        return 0;
    kafka->newest = messages[count - 1].number;
    while (taken < count) {
        const struct bcast_outgoing *first = &messages[taken];
        rd_kafka_topic_t *topic = topic_of(kafka, first);
        size_t run = first->header_count != 0 ? 1 : count_run(first, count - taken), done;
        if (topic == NULL) {
            deliver(kafka, first->number, BCAST_ERR_NOMEM);
            done = run = 1;
        } else if (first->header_count != 0) {
            done = publish_one(kafka, topic, first);
        } else {
            done = publish_run(kafka, topic, first, run);
        }
        taken += done;
        if (done < run)
            break;
    }
    kafka_out_tell(kafka);
    return taken;
}
