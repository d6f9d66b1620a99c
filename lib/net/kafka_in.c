#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kafka_ask.h"

/* No group and no commits: each topic's partitions are read from offsets that are ours, and stay ours for as long as
 * somebody wants the topic, whatever becomes of connections. Each topic has a queue of its own, which librdkafka fills up
 * to its bounds: one that is not read holds back nobody else. */

#define ASK_TOGETHER 64 /* topics */
#define RETRY_FIRST_MS 10
#define RETRY_MOST_MS 500

/* ---------------------------------------------------------------------------------------------------- life of one -- */

static struct kafka_stream *stream_add(struct kafka *kafka, struct bcast_topic *topic)
{
    struct kafka_stream *stream = memory_get(sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->topic = topic;
    stream->kafka = kafka;
    stream->next = kafka->streams;
    if (stream->next != NULL)
        stream->next->previous = stream;
    kafka->streams = stream;
    topic->state = stream;
    return stream;
}

static void stream_free(struct kafka_stream *stream)
{
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        stream->kafka->streams = stream->next;
    memory_put(stream->parts);
    memory_put(stream->held);
    memory_put(stream);
}

/* What librdkafka has of it goes; where we are in it stays. */
static void stream_leave(struct kafka_stream *stream)
{
    struct kafka *kafka = stream->kafka;
    struct kafka_source *source = stream->source;
    for (; stream->held_at < stream->held_count; stream->held_at++)
        rd_kafka_message_destroy(stream->held[stream->held_at]);
    stream->paused = stream->again = false;
    for (size_t i = 0; i < stream->part_count; i++)
        stream->parts[i].lost = stream->parts[i].again = false;
    stream->source = NULL;
    if (source == NULL)
        return;
    rd_kafka_queue_cb_event_enable(source->queue, NULL, NULL); /* from here on nobody lists it */
    kafka_hub_forget_ready(kafka->hub, &stream->ready);
    source->started = (int32_t)stream->part_count;
    kafka_hub_give(kafka->hub, &source->job);
}

/* Nobody wants it any more. It stays for the jobs that know of it. */
static void stream_drop(struct kafka_stream *stream)
{
    stream_leave(stream);
    stream->topic->state = NULL;
    stream->topic = NULL;
    if (stream->jobs == 0)
        stream_free(stream);
}

/* A job that knew of it is done. NULL: it was the last to do so. */
static struct kafka_stream *stream_back(struct kafka_stream *stream)
{
    stream->jobs--;
    if (stream->topic != NULL)
        return stream;
    if (stream->jobs == 0)
        stream_free(stream);
    return NULL;
}

void kafka_in_refuse(struct kafka_stream *stream, int status, const char *reason)
{
    struct kafka *kafka = stream->kafka;
    struct bcast_topic *topic = stream->topic;
    stream_drop(stream);
    kafka->sink->subscribed(kafka->sink, topic, status, reason);
}

/* ---------------------------------------------------------------------------------------------------------- times -- */

static void set_alarm(struct kafka *kafka)
{
    int64_t next = kafka->retry_ns < kafka->refresh_ns ? kafka->retry_ns : kafka->refresh_ns, now = clock_ns();
    if (next != INT64_MAX)
        kafka->sink->alarm(kafka->sink, next <= now ? 0 : (int)((next - now + 999999) / 1000000));
}

static void try_again(struct kafka *kafka)
{
    if (kafka->retry_ns != INT64_MAX)
        return;
    kafka->retry_ns = clock_ns() + (int64_t)kafka->retry_ms * 1000000;
    kafka->retry_ms = 2 * kafka->retry_ms < RETRY_MOST_MS ? 2 * kafka->retry_ms : RETRY_MOST_MS;
    set_alarm(kafka);
}

void kafka_in_refresh(struct kafka *kafka, uint64_t ms)
{
    int64_t at = clock_ns() + (int64_t)ms * 1000000;
    if (kafka->refreshing || at >= kafka->refresh_ns)
        return;
    kafka->refresh_ns = at;
    set_alarm(kafka);
}

/* ------------------------------------------------------------------------------------------------------ beginning -- */

static bool know_parts(struct kafka_stream *stream, const int64_t *offsets, size_t count)
{
    struct kafka_part *parts = memory_get(count * sizeof *parts);
    if (parts == NULL)
        return false;
    if (stream->part_count != 0)
        memcpy(parts, stream->parts, stream->part_count * sizeof *parts);
    for (size_t i = stream->part_count; i < count; i++)
        parts[i].next = offsets != NULL ? offsets[i] : 0;
    memory_put(stream->parts);
    stream->parts = parts;
    stream->part_count = count;
    return true;
}

/* One of librdkafka's threads, with the queue's lock. */
static void on_messages(rd_kafka_t *rk, void *opaque)
{
    struct kafka_stream *stream = opaque;
    (void)rk;
    kafka_hub_list_ready(stream->kafka->hub, &stream->ready);
}

static void start(struct kafka_stream *stream, struct kafka_source *source, const struct kafka_question *question)
{
    struct kafka *kafka = stream->kafka;
    if (!know_parts(stream, question->offsets, question->count)) {
        kafka_hub_give(kafka->hub, &source->job);
        kafka_in_refuse(stream, BCAST_ERR_NOMEM, "out of memory");
        return;
    }
    stream->source = source;
    rd_kafka_queue_cb_event_enable(source->queue, on_messages, stream);
    kafka_hub_list_ready(kafka->hub, &stream->ready); /* what came before that was not told */
    kafka->sink->subscribed(kafka->sink, stream->topic, BCAST_OK, NULL);
}

static void take_answer(struct kafka *kafka, struct kafka_question *question, bool current)
{
    struct kafka_source *source = question->source;
    struct kafka_stream *stream = stream_back(question->stream);
    if (stream == NULL || !current || question->status != BCAST_OK) {
        kafka_hub_give(kafka->hub, &source->job);
    }
    if (stream == NULL || !current)
        return;
    stream->asked = false;
    if (question->status == BCAST_OK) {
        start(stream, source, question);
    } else if (question->status != BCAST_TIMEOUT) {
        kafka_in_refuse(stream, question->status, question->why);
    } else {
        if (!question->missing)
            stream->missing_ns = 0;
        else if (stream->missing_ns == 0)
            stream->missing_ns = clock_ns();
        if (question->missing && clock_ns() - stream->missing_ns > (int64_t)kafka->conf.create_ms * 1000000) {
            kafka_in_refuse(stream, BCAST_ERR_REFUSED, question->why);
            return;
        }
        stream->again = true;
        try_again(kafka);
    }
}

static void done_ask(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_ask *ask = (struct kafka_ask *)(void *)job;
    bool current = kafka != NULL && kafka->session == ask->session && !kafka->lost;
    if (current)
        kafka->consumer = ask->session->consumer;
    for (size_t i = 0; i < ask->count; i++) {
        if (kafka != NULL)
            take_answer(kafka, &ask->questions[i], current);
        else
            kafka_source_drop(ask->questions[i].source);
        memory_put(ask->questions[i].offsets);
    }
    if (current && ask->consumer_failed)
        kafka_lost(kafka, ask->session->status, true, "%s", ask->session->text);
    memory_put(ask);
}

static bool question_of(struct kafka_stream *stream, struct kafka_question *question)
{
    question->source = kafka_source_new(stream->topic->name);
    if (question->source == NULL)
        return false;
    if (stream->part_count != 0) {
        question->offsets = memory_get(stream->part_count * sizeof *question->offsets);
        if (question->offsets == NULL) {
            kafka_source_free(question->source);
            return false;
        }
        for (size_t i = 0; i < stream->part_count; i++)
            question->offsets[i] = stream->parts[i].next;
    }
    question->count = stream->part_count;
    question->stream = stream;
    stream->jobs++;
    stream->asked = true;
    return true;
}

static void ask_about(struct kafka *kafka, struct kafka_stream *const *streams, size_t count)
{
    struct kafka_ask *ask = memory_get(sizeof *ask + count * sizeof *ask->questions);
    for (size_t i = 0; i < count; i++)
        if (ask == NULL || !question_of(streams[i], &ask->questions[ask->count]))
            kafka_in_refuse(streams[i], BCAST_ERR_NOMEM, "out of memory");
        else
            ask->count++;
    if (ask == NULL)
        return;
    ask->session = kafka->session;
    ask->job.run = kafka_ask_run;
    ask->job.done = done_ask;
    kafka_hub_give(kafka->hub, &ask->job);
}

void kafka_subscribe(struct kafka *kafka, struct bcast_topic *const *topics, size_t count)
{
    struct kafka_stream *streams[ASK_TOGETHER];
    size_t used = 0;
    kafka->retry_ms = RETRY_FIRST_MS;
    for (size_t i = 0; i < count; i++) {
        struct kafka_stream *stream = topics[i]->state != NULL ? topics[i]->state : stream_add(kafka, topics[i]);
        if (stream == NULL) {
            kafka->sink->subscribed(kafka->sink, topics[i], BCAST_ERR_NOMEM, "out of memory");
            continue;
        }
        stream->missing_ns = 0;
        streams[used++] = stream;
        if (used == ASK_TOGETHER) {
            ask_about(kafka, streams, used);
            used = 0;
        }
    }
    if (used != 0)
        ask_about(kafka, streams, used);
}

void kafka_unsubscribe(struct kafka *kafka, struct bcast_topic *const *topics, size_t count)
{
    (void)kafka;
    for (size_t i = 0; i < count; i++)
        if (topics[i]->state != NULL)
            stream_drop(topics[i]->state);
}

/* --------------------------------------------------------------------------------------- what the broker has not -- */

/* What it had from our position on it has no more, or it has never had as much: then it is another topic, of that name. */
static void done_look(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_look *look = (struct kafka_look *)(void *)job;
    struct kafka_stream *stream = kafka != NULL ? stream_back(look->stream) : NULL;
    if (stream == NULL || stream->source == NULL || stream->source != look->source || kafka->lost) {
        memory_put(look);
        return;
    }
    struct kafka_part *part = &stream->parts[look->partition];
    if (look->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        part->again = stream->again = true;
        try_again(kafka);
        memory_put(look);
        return;
    }
    part->lost = false;
    if (part->next < look->low)
        kafka->sink->gap(kafka->sink, stream->topic, BCAST_GAP_TRIMMED, (uint64_t)(look->low - part->next),
                         part->jumped ? BCAST_COUNT_UNKNOWN : BCAST_EXACT);
    else if (part->next > look->high)
        kafka->sink->gap(kafka->sink, stream->topic, BCAST_GAP_TRIMMED, 0, BCAST_COUNT_UNKNOWN);
    if (part->next < look->low || part->next > look->high)
        part->next = look->low;
    rd_kafka_consume_start_queue(stream->source->topic, look->partition, part->next, stream->source->queue);
    memory_put(look);
}

void kafka_in_look(struct kafka_stream *stream, int32_t partition)
{
    struct kafka *kafka = stream->kafka;
    struct kafka_look *look = memory_get(sizeof *look);
    stream->parts[partition].lost = true;
    stream->parts[partition].again = false;
    if (look == NULL) {
        kafka_lost(kafka, BCAST_ERR_NOMEM, false, "out of memory"); /* everything goes on where it was */
        return;
    }
    look->session = kafka->session;
    look->stream = stream;
    look->source = stream->source;
    look->partition = partition;
    look->job.run = kafka_look_run;
    look->job.done = done_look;
    stream->jobs++;
    kafka_hub_give(kafka->hub, &look->job);
}

/* ------------------------------------------------------------------------------------------------- topics change -- */

/* New partitions hold nothing that was there before us: they are read from their start. */
static void add_partitions(struct kafka_stream *stream, size_t count)
{
    size_t before = stream->part_count;
    if (!know_parts(stream, NULL, count))
        return; /* next time */
    for (size_t i = before; i < count; i++)
        rd_kafka_consume_start_queue(stream->source->topic, (int32_t)i, 0, stream->source->queue);
}

static void take_metadata(struct kafka_stream *stream, const struct rd_kafka_metadata_topic *is)
{
    if (is != NULL && is->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        stream->deleted = 0;
        if ((size_t)is->partition_cnt > stream->part_count)
            add_partitions(stream, (size_t)is->partition_cnt);
    } else if (is != NULL && is->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        if (++stream->deleted == 2) /* said twice: brokers that are starting do not know all yet */
            kafka_in_refuse(stream, BCAST_ERR_REFUSED, "the topic was deleted");
        else
            kafka_in_refresh(stream->kafka, RETRY_MOST_MS);
    }
}

static void done_refresh(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_refresh *refresh = (struct kafka_refresh *)(void *)job;
    if (kafka != NULL && kafka->session == refresh->session && !kafka->lost) {
        kafka->refreshing = false;
        kafka_in_refresh(kafka, kafka->conf.metadata_ms);
        for (struct kafka_stream *stream = kafka->streams, *next; refresh->metadata != NULL && stream != NULL;
             stream = next) {
            next = stream->next;
            if (stream->topic != NULL && stream->source != NULL)
                take_metadata(stream, kafka_refresh_find(refresh, stream->topic->name));
        }
    }
    if (refresh->metadata != NULL)
        rd_kafka_metadata_destroy(refresh->metadata);
    memory_put(refresh);
}

static void refresh_now(struct kafka *kafka)
{
    struct kafka_refresh *refresh = kafka->consumer != NULL ? memory_get(sizeof *refresh) : NULL;
    kafka->refresh_ns = INT64_MAX;
    if (refresh == NULL) {
        kafka_in_refresh(kafka, kafka->conf.metadata_ms);
        return;
    }
    kafka->refreshing = true;
    refresh->session = kafka->session;
    refresh->job.run = kafka_refresh_run;
    refresh->job.done = done_refresh;
    kafka_hub_give(kafka->hub, &refresh->job);
}

/* ------------------------------------------------------------------------------------------------------ all of them -- */

static void retry_now(struct kafka *kafka)
{
    struct kafka_stream *streams[ASK_TOGETHER];
    size_t used = 0;
    kafka->retry_ns = INT64_MAX;
    for (struct kafka_stream *stream = kafka->streams, *next; stream != NULL && !kafka->lost; stream = next) {
        next = stream->next;
        if (stream->topic == NULL || !stream->again)
            continue;
        stream->again = false;
        for (size_t i = 0; stream->source != NULL && i < stream->part_count && !kafka->lost; i++)
            if (stream->parts[i].again)
                kafka_in_look(stream, (int32_t)i);
        if (stream->source == NULL && !stream->asked)
            streams[used++] = stream;
        if (used == ASK_TOGETHER) {
            ask_about(kafka, streams, used);
            used = 0;
        }
    }
    if (used != 0 && !kafka->lost)
        ask_about(kafka, streams, used);
}

void kafka_in_alarm(struct kafka *kafka)
{
    int64_t now = clock_ns();
    if (!kafka->connected || kafka->lost)
        return;
    if (kafka->retry_ns <= now)
        retry_now(kafka);
    if (kafka->refresh_ns <= now && !kafka->lost)
        refresh_now(kafka);
    if (!kafka->lost)
        set_alarm(kafka);
}

void kafka_in_begin(struct kafka *kafka)
{
    kafka->retry_ms = RETRY_FIRST_MS;
    kafka->refreshing = false;
    kafka->retry_ns = kafka->refresh_ns = INT64_MAX;
    kafka_in_refresh(kafka, kafka->conf.metadata_ms);
}

void kafka_in_end(struct kafka *kafka)
{
    for (struct kafka_stream *stream = kafka->streams; stream != NULL; stream = stream->next) {
        stream_leave(stream);
        stream->asked = false;
    }
    kafka->retry_ns = kafka->refresh_ns = INT64_MAX;
}

void kafka_in_forget(struct kafka *kafka)
{
    while (kafka->streams != NULL)
        stream_free(kafka->streams);
}
