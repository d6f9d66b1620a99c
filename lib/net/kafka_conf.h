/* What a Kafka URL says, as settings of librdkafka. Knows base, backend.h and librdkafka. */
#ifndef NET_KAFKA_CONF_H
#define NET_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>

#include "broadcaster/backend.h"

struct kafka_conf {
    rd_kafka_conf_t *settings; /* of both directions; whatever does not concern one of them it ignores */
    uint64_t connect_ms;       /* for the first answer of a new connection */
    uint64_t outage_ms;        /* brokers that are away for no longer are nobody's business */
    uint64_t metadata_ms;      /* how often new partitions are looked for */
    uint64_t create_ms;        /* how long a topic may take to come into being */
    size_t most_bytes;         /* of a message with its key and headers: message.max.bytes, less what is around them */
};

/* BCAST_OK; or URL with a sentence in setup->error. */
int kafka_conf_open(const struct bcast_backend_setup *setup, struct kafka_conf *out);
void kafka_conf_close(struct kafka_conf *conf);

/* Could there be such a topic? NULL: yes; else why not. */
const char *kafka_name_refused(const char *name, size_t size);

#define KAFKA_NAME_MOST 249
/* What librdkafka counts besides the bytes: of a message, and of each of its headers. */
#define KAFKA_MESSAGE_ROOM 64
#define KAFKA_HEADER_ROOM 16
#define KAFKA_PARAMS                                                                                                   \
    "sasl", "tls_ca", "tls_cert", "tls_key", "tls_verify", "compression", "connect_timeout_ms", "outage_ms",           \
        "metadata_ms", "create_timeout_ms", "kafka.*"

#endif
