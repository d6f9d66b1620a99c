#include "net/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kafka: a topic is a channel, a value a message; no key and no headers but those that are given. There is no group and
 * nothing is committed: every subscription sees everything, from the end of the topic at the time it was made. */

static int kafka_open_self(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    struct kafka *kafka = NULL;
    int status = kafka_open(setup, sink, &kafka);
    *out = kafka;
    return status;
}

static void kafka_close_self(void *self)
{
    kafka_close(self);
}

static void kafka_capabilities(void *self, struct bcast_capabilities *out)
{
    const struct kafka *kafka = self;
    out->can = BCAST_CAN_BLOCK | BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM |
               BCAST_CAN_IDS | BCAST_CAN_TIMESTAMPS | BCAST_CAN_PROCESSES | BCAST_CAN_RESUME | BCAST_CAN_HISTORY;
    out->max_message_bytes = kafka != NULL ? kafka->conf.most_bytes : 1000000000;
    out->max_channel_bytes = KAFKA_NAME_MOST;
}

static int kafka_check(void *self, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    const struct kafka *kafka = self;
    const char *why = kafka_name_refused(message->channel, message->channel_size);
    size_t size = message->size + message->key_size;
    if (why != NULL) {
        snprintf(error, error_size, "%s", why);
        return message->channel_size > KAFKA_NAME_MOST ? BCAST_ERR_TOO_LARGE : BCAST_ERR_REFUSED;
    }
    for (size_t i = 0; i < message->header_count; i++)
        size += strlen(message->headers[i].name) + message->headers[i].value_size + KAFKA_HEADER_ROOM;
    if (size <= kafka->conf.most_bytes)
        return BCAST_OK;
    snprintf(error, error_size, "%zu bytes of message, key and headers: the limit is %zu (kafka.message.max.bytes)",
             size, kafka->conf.most_bytes);
    return BCAST_ERR_TOO_LARGE;
}

static void kafka_connect_self(void *self)
{
    kafka_connect(self);
}

static void kafka_disconnect_self(void *self)
{
    kafka_disconnect(self);
}

static void kafka_alarm_self(void *self)
{
    kafka_in_alarm(self);
}

static void kafka_woken_self(void *self)
{
    kafka_woken(self);
}

static size_t kafka_publish_self(void *self, const struct bcast_outgoing *messages, size_t count)
{
    return kafka_publish(self, messages, count);
}

static void kafka_subscribe_self(void *self, struct bcast_topic *const *topics, size_t count)
{
    kafka_subscribe(self, topics, count);
}

static void kafka_unsubscribe_self(void *self, struct bcast_topic *const *topics, size_t count)
{
    kafka_unsubscribe(self, topics, count);
}

static void kafka_pause_self(void *self, struct bcast_topic *topic)
{
    (void)self, (void)topic; /* it pauses itself: its queue is not read until `resume` */
}

static void kafka_resume_self(void *self, struct bcast_topic *topic)
{
    kafka_resume(self, topic);
}

static void kafka_fetch_self(void *self, const struct bcast_fetch *fetch)
{
    kafka_fetch(self, fetch);
}

static size_t kafka_position_self(void *self, const struct bcast_topic *topic, char *buffer, size_t size)
{
    (void)self;
    return kafka_where_topic(topic, buffer, size);
}

static int64_t offset_in(const char *id)
{
    const char *colon = strchr(id, ':');
    return colon != NULL ? strtoll(colon + 1, NULL, 10) : -1;
}

static int kafka_order(const char *a, const char *b)
{
    int64_t first = offset_in(a), second = offset_in(b);
    return first < second ? -1 : first > second;
}

static const char *const schemes[] = {"kafka", "kafkas", NULL};
static const char *const params[] = {KAFKA_PARAMS, NULL};

BCAST_API extern const struct bcast_backend bcast_backend_kafka; /* a module is found by this name */
const struct bcast_backend bcast_backend_kafka = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "kafka",
    .schemes = schemes,
    .params = params,
    .open = kafka_open_self,
    .close = kafka_close_self,
    .capabilities = kafka_capabilities,
    .check = kafka_check,
    .connect = kafka_connect_self,
    .disconnect = kafka_disconnect_self,
    .alarm = kafka_alarm_self,
    .woken = kafka_woken_self,
    .publish = kafka_publish_self,
    .subscribe = kafka_subscribe_self,
    .unsubscribe = kafka_unsubscribe_self,
    .pause = kafka_pause_self,
    .resume = kafka_resume_self,
    .fetch = kafka_fetch_self,
    .position = kafka_position_self,
    .order = kafka_order,
};
