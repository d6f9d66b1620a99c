#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kafka_fetch.h"

/* A topic's partitions as one sequence: by time, of the same millisecond by partition, and never against a partition's own
 * order. What comes next depends on nothing but where each of them stands, so that pages fit together wherever they end.
 *
 * Forwards a partition is read as it comes. Backwards it is read in stretches, from the last one on, each of them whole:
 * no longer than what is wanted, longer where offsets have no messages, and cut off in front where they are large. */

#define BATCH 64           /* messages taken of a queue at once */
#define STRETCH_FIRST 1000 /* offsets */
#define STRETCH_MOST 1000000
#define HELD_MOST 4096 /* messages of a stretch */
#define HELD_BYTES_MOST (4u << 20)

/* ----------------------------------------------------------------------------------------------- what is held of one -- */

static bool has_some(const struct kafka_fetch_part *part)
{
    return part->held_at < part->held_end;
}

void kafka_merge_release(struct kafka_fetch_part *part)
{
    for (; has_some(part); part->held_at++)
        rd_kafka_message_destroy(part->held[part->held_at]);
    memory_put(part->held);
    part->held = NULL;
    part->held_at = part->held_end = part->held_room = 0;
}

static bool make_room(struct kafka_fetch_part *part)
{
    size_t count = part->held_end - part->held_at;
    rd_kafka_message_t **held = part->held;
    if (part->held_end < part->held_room)
        return true;
    if (count >= part->held_room / 2) {
        size_t room = part->held_room != 0 ? 2 * part->held_room : BATCH;
        if ((held = memory_get(room * sizeof(rd_kafka_message_t *))) == NULL)
            return false;
        part->held_room = room;
    }
    if (count != 0)
        memmove(held, part->held + part->held_at, count * sizeof(rd_kafka_message_t *));
    if (held != part->held)
        memory_put(part->held);
    part->held = held;
    part->held_at = 0;
    part->held_end = count;
    return true;
}

/* Backwards the last messages of a stretch are told first: if they are many, the others are read again later. */
static void cut_off(const struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    size_t most = fetch->limit_bytes < HELD_BYTES_MOST ? fetch->limit_bytes : HELD_BYTES_MOST;
    while (part->held_end - part->held_at > 1 &&
           (part->held_bytes > most || part->held_end - part->held_at > HELD_MOST)) {
        rd_kafka_message_t *message = part->held[part->held_at++];
        part->held_bytes -= message->len;
        part->begin = message->offset + 1;
        part->stretch = part->held_end - part->held_at;
        rd_kafka_message_destroy(message);
    }
}

/* --------------------------------------------------------------------------------------------------- what has come -- */

static bool fail(struct kafka_fetch *fetch, int status, const char *why)
{
    fetch->status = status;
    snprintf(fetch->why, sizeof fetch->why, "%s", why);
    return false;
}

static bool take_error(struct kafka *kafka, struct kafka_fetch *fetch, struct kafka_fetch_part *part,
                       const rd_kafka_message_t *message)
{
    char text[300];
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: part->whole = true; return true; /* what is left of it are holes */
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: part->look = true; return true;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return fail(fetch, BCAST_ERR_REFUSED, rd_kafka_err2str(message->err));
    default:
        snprintf(text, sizeof text, "%s: %s", fetch->name, rd_kafka_message_errstr(message));
        kafka->sink->log(kafka->sink, BCAST_LOG_WARNING, text);
        part->damaged = true;
        return true;
    }
}

static bool is_too_old(const struct kafka_fetch *fetch, const rd_kafka_message_t *message)
{
    int64_t ms = fetch->since_ms != 0 ? rd_kafka_message_timestamp(message, NULL) : 0;
    return ms > 0 && ms < fetch->since_ms;
}

/* False: no memory. Else it is kept, or gone. */
static bool take(const struct kafka_fetch *fetch, struct kafka_fetch_part *part, rd_kafka_message_t *message)
{
    bool wanted = message->offset >= part->next && message->offset < part->end && !is_too_old(fetch, message);
    if (wanted && !make_room(part)) {
        rd_kafka_message_destroy(message);
        return false;
    }
    if (message->offset >= part->next) {
        if (part->damaged && message->offset > part->next && !fetch->backwards)
            part->gap = BCAST_GAP_BROKER;
        part->damaged = false;
        part->next = message->offset + 1;
        part->whole = part->next >= part->end;
    }
    if (!wanted) {
        rd_kafka_message_destroy(message);
        return true;
    }
    part->held[part->held_end++] = message;
    part->held_bytes += message->len;
    part->got++;
    if (fetch->backwards)
        cut_off(fetch, part);
    return true;
}

static bool take_batch(struct kafka *kafka, struct kafka_fetch *fetch, struct kafka_fetch_part *part,
                       rd_kafka_message_t **batch, ssize_t count)
{
    bool good = true;
    for (ssize_t i = 0; i < count; i++) {
        if (good && !part->look && batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            good = take(fetch, part, batch[i]) || fail(fetch, BCAST_ERR_NOMEM, "out of memory");
            continue;
        }
        if (good && !part->look)
            good = take_error(kafka, fetch, part, batch[i]);
        rd_kafka_message_destroy(batch[i]);
    }
    return good;
}

static bool fill(struct kafka *kafka, struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    rd_kafka_message_t *batch[BATCH];
    while (!part->whole && !part->look && (fetch->backwards || !has_some(part))) {
        ssize_t count = rd_kafka_consume_batch_queue(part->queue, 0, batch, BATCH);
        if (count <= 0)
            break;
        if (!take_batch(kafka, fetch, part, batch, count))
            return false;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------------------- stretches -- */

static void step_back(struct kafka_fetch_part *part)
{
    part->end = part->begin;
    part->begin = part->end - part->from > (int64_t)part->stretch ? part->end - (int64_t)part->stretch : part->from;
    part->next = part->begin;
    part->got = part->held_bytes = 0;
    part->whole = part->begin >= part->end;
    part->aim = !part->whole;
}

void kafka_merge_aim(const struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    part->stretch = fetch->limit > STRETCH_FIRST ? STRETCH_FIRST : fetch->limit != 0 ? fetch->limit : 1;
    part->begin = part->next = fetch->backwards ? part->to : part->from;
    part->end = part->to;
    part->whole = part->from >= part->to;
    part->aim = !part->whole;
    if (part->aim && fetch->backwards)
        step_back(part);
}

bool kafka_merge_at_end(const struct kafka_fetch *fetch, const struct kafka_fetch_part *part)
{
    return part->whole && !has_some(part) && (!fetch->backwards || part->begin <= part->from);
}

static bool settle(struct kafka *kafka, struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    if (part->aim || part->look || kafka_merge_at_end(fetch, part))
        return true;
    if (!part->whole && !fill(kafka, fetch, part))
        return false;
    if (part->whole && !has_some(part) && !kafka_merge_at_end(fetch, part)) {
        if (part->got < (part->stretch + 1) / 2 && part->stretch < STRETCH_MOST)
            part->stretch *= 4; /* mostly holes */
        step_back(part);
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------------------- merging -- */

static rd_kafka_message_t *first_of(const struct kafka_fetch *fetch, const struct kafka_fetch_part *part)
{
    return part->held[fetch->backwards ? part->held_end - 1 : part->held_at];
}

/* `other` is of a later partition. */
static bool is_before(const struct kafka_fetch *fetch, const struct kafka_fetch_part *other,
                      const struct kafka_fetch_part *best)
{
    int64_t one = rd_kafka_message_timestamp(first_of(fetch, other), NULL);
    int64_t two = rd_kafka_message_timestamp(first_of(fetch, best), NULL);
    return fetch->backwards ? one >= two : one < two;
}

static rd_kafka_message_t *pop(const struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    rd_kafka_message_t *message = first_of(fetch, part);
    if (fetch->backwards)
        part->held_end--;
    else
        part->held_at++;
    return message;
}

void kafka_merge_put_back(const struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    if (fetch->backwards)
        part->held_end++;
    else
        part->held_at--;
}

enum kafka_merge kafka_merge_next(struct kafka *kafka, struct kafka_fetch *fetch, rd_kafka_message_t **out)
{
    bool ask = false, wait = false;
    struct kafka_fetch_part *best = NULL;
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct kafka_fetch_part *part = &fetch->parts[i];
        if (!settle(kafka, fetch, part))
            return KAFKA_MERGE_FAILED;
        if (part->aim || part->look)
            ask = true;
        else if (!has_some(part) || (fetch->backwards && !part->whole))
            wait = wait || !kafka_merge_at_end(fetch, part);
        else if (best == NULL || is_before(fetch, part, best))
            best = part;
    }
    if (ask || wait || best == NULL)
        return ask ? KAFKA_MERGE_ASK : wait ? KAFKA_MERGE_WAIT : KAFKA_MERGE_END;
    *out = pop(fetch, best);
    return KAFKA_MERGE_ONE;
}
