#include "kafka_fetch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kafka_ask.h"

#define PATIENCE_MS 2000 /* for an answer, before the worker does something else */
#define PLACE_ROOM 33    /* "2147483647:9223372036854775807," */

/* ------------------------------------------------------------------------------------------------------ positions -- */

/* There is one way only to write a number. */
static bool read_number(const char **at, int64_t most, int64_t *out)
{
    const char *digit = *at;
    int64_t number = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        if (number > (most - (*digit - '0')) / 10)
            return false;
        number = 10 * number + (*digit - '0');
    }
    if (digit == *at || (**at == '0' && digit != *at + 1))
        return false;
    *at = digit;
    *out = number;
    return true;
}

static bool read_place(const char **at, struct kafka_place *out)
{
    int64_t partition;
    if (!read_number(at, INT32_MAX, &partition) || *(*at)++ != ':')
        return false;
    out->partition = (int32_t)partition;
    if (strncmp(*at, "-1", 2) == 0) {
        out->offset = -1;
        *at += 2;
        return true;
    }
    return read_number(at, INT64_MAX - 1, &out->offset);
}

static int by_partition(const void *a, const void *b)
{
    int32_t one = ((const struct kafka_place *)a)->partition, other = ((const struct kafka_place *)b)->partition;
    return (one > other) - (one < other);
}

static bool read_places(const char *text, struct kafka_places *places)
{
    do {
        if (!read_place(&text, &places->list[places->count++]))
            return false;
    } while (*text++ == ',');
    qsort(places->list, places->count, sizeof *places->list, by_partition);
    for (size_t i = 1; i < places->count; i++)
        if (places->list[i - 1].partition == places->list[i].partition)
            return false;
    return text[-1] == '\0';
}

int kafka_where_read(const char *text, struct kafka_places *out)
{
    size_t count = 1;
    for (const char *comma = text; (comma = strchr(comma, ',')) != NULL; comma++)
        count++;
    *out = (struct kafka_places){memory_get(count * sizeof *out->list), 0};
    if (out->list == NULL)
        return BCAST_ERR_NOMEM;
    return read_places(text, out) ? BCAST_OK : BCAST_ERR_INVALID;
}

bool kafka_where_find(const struct kafka_places *places, int32_t partition, int64_t *offset)
{
    const struct kafka_place wanted = {partition, 0};
    const struct kafka_place *is =
        places->count != 0 ? bsearch(&wanted, places->list, places->count, sizeof wanted, by_partition) : NULL;
    if (is != NULL)
        *offset = is->offset;
    return is != NULL;
}

char *kafka_where_write(const struct kafka_places *places)
{
    size_t used = 0, size = places->count * PLACE_ROOM + 1;
    char *text = memory_get(size);
    for (size_t i = 0; text != NULL && i < places->count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId32 ":%" PRId64, i == 0 ? "" : ",",
                                 places->list[i].partition, places->list[i].offset);
    return text;
}

/* next - 1 is the last message handed on, or the last offset of a hole behind it. */
size_t kafka_where_topic(const struct bcast_topic *topic, char *buffer, size_t size)
{
    const struct kafka_stream *stream = topic->state;
    size_t used = 0;
    if (size != 0)
        buffer[0] = '\0';
    for (size_t i = 0; stream != NULL && i < stream->part_count; i++) {
        size_t left = used < size ? size - used : 0;
        used += (size_t)snprintf(left != 0 ? buffer + used : NULL, left, "%s%zu:%" PRId64, i == 0 ? "" : ",", i,
                                 stream->parts[i].next - 1);
    }
    return used;
}

/* -------------------------------------------------------------------------------------------- what is there of it -- */

static bool answer(struct kafka_fetch *fetch, int status, const char *what, rd_kafka_resp_err_t error)
{
    fetch->status = status;
    snprintf(fetch->why, sizeof fetch->why, "%s%s%s", what, what[0] != '\0' && error != 0 ? ": " : "",
             error != 0 ? rd_kafka_err2str(error) : "");
    return status == BCAST_OK;
}

static bool answer_error(struct kafka_fetch *fetch, const char *what, rd_kafka_resp_err_t error)
{
    bool final = error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
                 error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED || error == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
    return answer(fetch, final ? BCAST_ERR_REFUSED : BCAST_TIMEOUT, final ? "" : what, error);
}

static bool is_missing(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

static bool take_topic(struct kafka_fetch *fetch, const struct rd_kafka_metadata *metadata)
{
    if (metadata->topic_cnt != 1 || metadata->topics[0].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        fetch->known = true;
        return answer(fetch, BCAST_OK, "", 0);
    }
    if (metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return answer_error(fetch, "the topic is not known", metadata->topics[0].err);
    memory_put(fetch->parts);
    fetch->part_count = 0;
    fetch->parts = memory_get((size_t)metadata->topics[0].partition_cnt * sizeof *fetch->parts);
    if (fetch->parts == NULL)
        return answer(fetch, BCAST_ERR_NOMEM, "out of memory", 0);
    fetch->part_count = (size_t)metadata->topics[0].partition_cnt;
    return answer(fetch, BCAST_OK, "", 0);
}

/* A consumer that asks does not have the topic made. */
static bool find_topic(struct kafka_fetch *fetch, rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *metadata = NULL;
    if (fetch->topic == NULL && (fetch->topic = rd_kafka_topic_new(rk, fetch->name, NULL)) == NULL)
        return answer(fetch, BCAST_ERR_REFUSED, "", rd_kafka_last_error());
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, fetch->topic, &metadata, PATIENCE_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return answer(fetch, BCAST_TIMEOUT, "no answer", error);
    bool good = take_topic(fetch, metadata);
    rd_kafka_metadata_destroy(metadata);
    return good;
}

enum what { LOW, HIGH, SINCE };

static bool take_offset(struct kafka_fetch *fetch, const rd_kafka_topic_partition_t *is, enum what what)
{
    struct kafka_fetch_part *part = &fetch->parts[is->partition];
    if (is->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return answer_error(fetch, "its ends are not known", is->err);
    if (what == SINCE)
        part->since = is->offset < 0 ? part->high : is->offset; /* nothing is as young */
    else if (is->offset < 0)
        return answer(fetch, BCAST_TIMEOUT, "its ends are not known", 0);
    else
        *(what == LOW ? &part->low : &part->high) = is->offset;
    return true;
}

/* Of all partitions at once: one round trip to each broker that leads some of them. The end that is told is the one for
 * this isolation level: everything in front of it can be read now. */
static bool find_offsets(struct kafka_fetch *fetch, rd_kafka_t *rk, enum what what, int64_t when)
{
    bool good = true;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)fetch->part_count);
    for (size_t i = 0; i < fetch->part_count; i++)
        rd_kafka_topic_partition_list_add(list, fetch->name, (int32_t)i)->offset = when;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(rk, list, PATIENCE_MS);
    for (int i = 0; i < list->cnt && good; i++) {
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            list->elems[i].err = error;
        good = take_offset(fetch, &list->elems[i], what);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return good;
}

/* --------------------------------------------------------------------------------------------- what is wanted of it -- */

static void set_trimmed(struct kafka_fetch_part *part, int64_t from)
{
    part->gap = BCAST_GAP_TRIMMED;
    part->lost = (uint64_t)(part->low - from);
}

/* Of a topic that was made anew nobody knows what was lost; and what is older than what is wanted is not missed. */
static void bound_forwards(const struct kafka_fetch *fetch, struct kafka_fetch_part *part, int32_t number)
{
    int64_t offset = -1, until = -1;
    (void)kafka_where_find(&fetch->position, number, &offset);
    (void)kafka_where_find(&fetch->until, number, &until);
    part->from = part->low;
    if (fetch->position.list != NULL && offset + 1 > part->high) {
        part->gap = BCAST_GAP_TRIMMED;
    } else if (fetch->position.list != NULL && offset + 1 < part->low) {
        if (part->since <= part->low)
            set_trimmed(part, offset + 1);
    } else if (fetch->position.list != NULL) {
        part->from = offset + 1;
    }
    if (part->from < part->since)
        part->from = part->since;
    part->to = fetch->until.list != NULL && until + 1 < part->high ? until + 1 : part->high;
    if (part->to < part->from)
        part->to = part->from;
    part->mark = part->from;
}

static void bound_backwards(const struct kafka_fetch *fetch, struct kafka_fetch_part *part, int32_t number)
{
    int64_t offset = -1;
    (void)kafka_where_find(&fetch->position, number, &offset);
    part->top = fetch->position.list != NULL && offset + 1 < part->high ? offset + 1 : part->high;
    part->mark = part->to = part->top;
    part->from = part->low > part->since ? part->low : part->since;
    if (part->to < part->from)
        part->to = part->from;
}

static bool find_all(struct kafka_fetch *fetch, rd_kafka_t *rk)
{
    if (!find_topic(fetch, rk) || fetch->known)
        return fetch->known;
    if (!find_offsets(fetch, rk, LOW, RD_KAFKA_OFFSET_BEGINNING) ||
        !find_offsets(fetch, rk, HIGH, RD_KAFKA_OFFSET_END) ||
        (fetch->since_ms != 0 && !find_offsets(fetch, rk, SINCE, fetch->since_ms)))
        return false;
    for (size_t i = 0; i < fetch->part_count; i++) {
        if (fetch->backwards)
            bound_backwards(fetch, &fetch->parts[i], (int32_t)i);
        else
            bound_forwards(fetch, &fetch->parts[i], (int32_t)i);
        kafka_merge_aim(fetch, &fetch->parts[i]);
    }
    fetch->known = true;
    return true;
}

/* What was there a moment ago is not: deleted by now, from its start or altogether. */
static bool look(struct kafka_fetch *fetch, struct kafka_fetch_part *part, rd_kafka_t *rk)
{
    int64_t low = 0, high = 0;
    rd_kafka_resp_err_t error =
        rd_kafka_query_watermark_offsets(rk, fetch->name, (int32_t)(part - fetch->parts), &low, &high, PATIENCE_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && !is_missing(error))
        return answer_error(fetch, "its ends are not known", error);
    part->look = false;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || part->next > high) {
        part->from = part->begin = part->end = part->to = part->next;
        part->whole = true;
        return true;
    }
    part->low = low;
    if (!fetch->backwards && low > part->next)
        set_trimmed(part, part->next);
    part->from = fetch->backwards && part->from < low ? low : part->from;
    part->begin = part->begin < low ? low : part->begin;
    part->next = part->next < low ? low : part->next;
    part->whole = part->next >= part->end;
    part->aim = !part->whole;
    return true;
}

/* ---------------------------------------------------------------------------------------------- beginning and end -- */

static void stop(struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    if (part->queue == NULL)
        return;
    rd_kafka_queue_cb_event_enable(part->queue, NULL, NULL);
    rd_kafka_consume_stop(fetch->topic, (int32_t)(part - fetch->parts));
    rd_kafka_queue_destroy(part->queue);
    part->queue = NULL;
}

/* One of librdkafka's threads, with the queue's lock. */
static void on_messages(rd_kafka_t *rk, void *opaque)
{
    (void)rk;
    kafka_hub_wake(opaque);
}

/* A queue for each partition: how far one is read ahead of the others is librdkafka's to bound. */
static bool start(struct kafka_fetch *fetch, struct kafka_fetch_part *part, rd_kafka_t *rk)
{
    stop(fetch, part);
    part->queue = rd_kafka_queue_new(rk);
    rd_kafka_queue_cb_event_enable(part->queue, on_messages, fetch->session->hub);
    if (rd_kafka_consume_start_queue(fetch->topic, (int32_t)(part - fetch->parts), part->next, part->queue) != 0) {
        rd_kafka_queue_destroy(part->queue);
        part->queue = NULL;
        return answer(fetch, BCAST_TIMEOUT, "it cannot be read", rd_kafka_last_error());
    }
    part->aim = false;
    return true;
}

void kafka_where_run(struct kafka_job *job)
{
    struct kafka_fetch *fetch = (struct kafka_fetch *)(void *)job;
    (void)answer(fetch, BCAST_TIMEOUT, "no answer", 0);
    if (kafka_session_over(fetch->session))
        return;
    rd_kafka_t *rk = kafka_session_fetcher(fetch->session);
    bool good = rk != NULL || answer(fetch, BCAST_ERR_CONNECT, fetch->session->text, 0);
    if (good && !fetch->known)
        good = find_all(fetch, rk);
    for (size_t i = 0; i < fetch->part_count && good && !kafka_session_over(fetch->session); i++) {
        struct kafka_fetch_part *part = &fetch->parts[i];
        good = (!part->look || look(fetch, part, rk)) && (!part->aim || start(fetch, part, rk));
    }
    if (good)
        (void)answer(fetch, BCAST_OK, "", 0);
}

void kafka_where_drop(struct kafka_job *job)
{
    struct kafka_fetch *fetch = (struct kafka_fetch *)(void *)((char *)job - offsetof(struct kafka_fetch, drop));
    for (size_t i = 0; i < fetch->part_count; i++) {
        kafka_merge_release(&fetch->parts[i]);
        stop(fetch, &fetch->parts[i]);
    }
    if (fetch->topic != NULL)
        rd_kafka_topic_destroy(fetch->topic);
}
