/* Messages that go out together, in one transaction: as two arrays, of channels and of payloads, in the form that the
 * server wants them in. They stay until each has its result, as whoever shares a transaction with a bad one has to be
 * sent again. The I/O thread's. Knows bytes, base, backend.h and libpq. */
#ifndef NET_POSTGRES_BATCH_H
#define NET_POSTGRES_BATCH_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "broadcaster/backend.h"
#include "bytes.h"

#define POSTGRES_BATCH 512
#define POSTGRES_BATCH_BYTES (1u << 20)
#define POSTGRES_SLOTS 1024 /* a power of two, twice as many as messages */

struct postgres_batch {
    struct bytes channels, payloads;
    size_t channel_at[POSTGRES_BATCH + 1], payload_at[POSTGRES_BATCH + 1];
    size_t count;
    struct {
        uint32_t hash;
        uint16_t index, used; /* used: the low bits of `number`, of the batch it belongs to */
    } slots[POSTGRES_SLOTS];
    uint16_t number;
    uint64_t secret[2];
};

/* Once per connection; and, before it, `postgres_batch_init`. */
#define POSTGRES_BATCH_NAME "broadcaster"
#define POSTGRES_BATCH_SQL                                                                                             \
    "SELECT FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) "      \
    "AS t(c, p) WHERE pg_catalog.pg_notify(c, p) IS NULL"

void postgres_batch_init(struct postgres_batch *batch);
void postgres_batch_free(struct postgres_batch *batch);
void postgres_batch_clear(struct postgres_batch *batch);

enum postgres_added { POSTGRES_ADDED = 0, POSTGRES_FULL, POSTGRES_REPEAT, POSTGRES_NOMEM };
/* Copies it. REPEAT: the server would fold it into an equal one that is there already. */
enum postgres_added postgres_batch_add(struct postgres_batch *batch, const struct bcast_outgoing *message, bool base64);

/* Sends `count` messages from `first` on; what is in front of them may be overwritten. As libpq's PQsend calls. */
int postgres_batch_send(struct postgres_batch *batch, PGconn *conn, size_t first, size_t count);

#endif
