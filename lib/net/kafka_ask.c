#include "kafka_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define PATIENCE_MS 2000 /* for an answer, before the worker does something else */

/* -------------------------------------------------------------------------------------------------------- sources -- */

static void run_drop(struct kafka_job *job)
{
    struct kafka_source *source = (struct kafka_source *)(void *)job;
    for (int32_t i = 0; i < source->started; i++)
        rd_kafka_consume_stop(source->topic, i);
    if (source->queue != NULL)
        rd_kafka_queue_destroy(source->queue);
    if (source->topic != NULL)
        rd_kafka_topic_destroy(source->topic);
}

static void done_drop(struct kafka_job *job, void *self)
{
    (void)self;
    memory_put(job);
}

struct kafka_source *kafka_source_new(const char *name)
{
    struct kafka_source *source = memory_get(sizeof *source + strlen(name) + 1);
    if (source == NULL)
        return NULL;
    strcpy(source->name, name);
    source->job.run = run_drop;
    source->job.done = done_drop;
    return source;
}

void kafka_source_free(struct kafka_source *source)
{
    memory_put(source);
}

void kafka_source_drop(struct kafka_source *source)
{
    run_drop(&source->job);
    memory_put(source);
}

/* --------------------------------------------------------------------------------------------------- is it there? -- */

static void answer(struct kafka_question *question, int status, const char *what, rd_kafka_resp_err_t error)
{
    question->status = status;
    snprintf(question->why, sizeof question->why, "%s%s%s", what, what[0] != '\0' && error != 0 ? ": " : "",
             error != 0 ? rd_kafka_err2str(error) : "");
}

/* The broker makes the topic when a producer asks for it, if it does so at all; soon, then. */
static void have_it_made(struct kafka_session *session, const char *name)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(session->producer, name, NULL);
    if (topic == NULL)
        return;
    if (rd_kafka_metadata(session->producer, 0, topic, &metadata, PATIENCE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

static void take_error(struct kafka_session *session, struct kafka_question *question, rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        question->missing = true;
        answer(question, BCAST_TIMEOUT,
               "there is no such topic, and the broker does not make it (auto.create.topics.enable)", 0);
        if (question->count == 0)
            have_it_made(session, question->source->name);
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION: answer(question, BCAST_ERR_REFUSED, "", error); break;
    default: answer(question, BCAST_TIMEOUT, "", error); break;
    }
}

/* Partitions that are new to us since we know the topic begin at their start. */
static bool take_partitions(struct kafka_question *question, size_t count)
{
    size_t known = question->count;
    if (count <= known)
        return true;
    int64_t *offsets = memory_get(count * sizeof *offsets);
    if (offsets == NULL) {
        answer(question, BCAST_ERR_NOMEM, "out of memory", 0);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        offsets[i] = i < known ? question->offsets[i] : known != 0 ? 0 : RD_KAFKA_OFFSET_INVALID;
    memory_put(question->offsets);
    question->offsets = offsets;
    question->count = count;
    return true;
}

static const struct rd_kafka_metadata_topic *topic_in(const struct rd_kafka_metadata *metadata, const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (strcmp(metadata->topics[i].topic, name) == 0)
            return &metadata->topics[i];
    return NULL;
}

/* False: no use in asking more of this kind now. */
static bool find_topic(struct kafka_session *session, struct kafka_question *question)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(session->consumer, question->source->name, NULL);
    if (topic == NULL) {
        answer(question, BCAST_ERR_REFUSED, "", rd_kafka_last_error());
        return true;
    }
    question->source->topic = topic;
    rd_kafka_resp_err_t error = rd_kafka_metadata(session->consumer, 0, topic, &metadata, PATIENCE_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        answer(question, BCAST_TIMEOUT, "no answer", error);
        return false;
    }
    const struct rd_kafka_metadata_topic *is = topic_in(metadata, question->source->name);
    if (is == NULL || is->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        take_error(session, question, is != NULL ? is->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    else
        (void)take_partitions(question, (size_t)is->partition_cnt);
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* -------------------------------------------------------------------------------------------- where is its end? -- */

static void add_unknown(rd_kafka_topic_partition_list_t *list, const struct kafka_question *question)
{
    for (size_t p = 0; question->status == BCAST_OK && p < question->count; p++)
        if (question->offsets[p] == RD_KAFKA_OFFSET_INVALID)
            rd_kafka_topic_partition_list_add(list, question->source->name, (int32_t)p)->offset = RD_KAFKA_OFFSET_END;
}

static void take_offset(struct kafka_ask *ask, size_t *at, const rd_kafka_topic_partition_t *is)
{
    while (*at < ask->count && strcmp(ask->questions[*at].source->name, is->topic) != 0)
        ++*at; /* they are in the order they were put in */
    if (*at == ask->count)
        return;
    struct kafka_question *question = &ask->questions[*at];
    if (is->err != RD_KAFKA_RESP_ERR_NO_ERROR || is->offset < 0)
        answer(question, BCAST_TIMEOUT, "the end of the topic is not known", is->err);
    else
        question->offsets[is->partition] = is->offset;
}

/* Of all topics at once: one round trip to each broker that leads some of them. */
static void find_ends(struct kafka_ask *ask)
{
    size_t at = 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)ask->count);
    for (size_t i = 0; i < ask->count; i++)
        add_unknown(list, &ask->questions[i]);
    rd_kafka_resp_err_t error =
        list->cnt != 0 ? rd_kafka_offsets_for_times(ask->session->consumer, list, PATIENCE_MS) : 0;
    for (int i = 0; i < list->cnt; i++) {
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            list->elems[i].err = error;
        take_offset(ask, &at, &list->elems[i]);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void begin(struct kafka_session *session, struct kafka_question *question)
{
    struct kafka_source *source = question->source;
    source->queue = rd_kafka_queue_new(session->consumer);
    for (size_t p = 0; p < question->count && question->status == BCAST_OK; p++) {
        if (rd_kafka_consume_start_queue(source->topic, (int32_t)p, question->offsets[p], source->queue) != 0)
            answer(question, BCAST_TIMEOUT, "it cannot be read", rd_kafka_last_error());
        else
            source->started++;
    }
}

void kafka_ask_run(struct kafka_job *job)
{
    struct kafka_ask *ask = (struct kafka_ask *)(void *)job;
    bool use = !kafka_session_over(ask->session);
    if (use && kafka_session_consumer(ask->session) == NULL) {
        ask->consumer_failed = true;
        use = false;
    }
    for (size_t i = 0; i < ask->count; i++) {
        if (use && !kafka_session_over(ask->session))
            use = find_topic(ask->session, &ask->questions[i]);
        else
            answer(&ask->questions[i], BCAST_TIMEOUT, "no answer", 0);
    }
    if (use)
        find_ends(ask);
    for (size_t i = 0; i < ask->count; i++)
        if (!use && ask->questions[i].status == BCAST_OK)
            answer(&ask->questions[i], BCAST_TIMEOUT, "no answer", 0);
        else if (ask->questions[i].status == BCAST_OK)
            begin(ask->session, &ask->questions[i]);
}

/* ----------------------------------------------------------------------------------------------------- later on -- */

void kafka_look_run(struct kafka_job *job)
{
    struct kafka_look *look = (struct kafka_look *)(void *)job;
    look->error = RD_KAFKA_RESP_ERR__DESTROY;
    if (kafka_session_over(look->session))
        return;
    look->error = rd_kafka_query_watermark_offsets(look->session->consumer, look->source->name, look->partition,
                                                   &look->low, &look->high, PATIENCE_MS);
    if (look->error == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_consume_stop(look->source->topic, look->partition);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rd_kafka_metadata_topic *)a)->topic,
                  ((const struct rd_kafka_metadata_topic *)b)->topic);
}

void kafka_refresh_run(struct kafka_job *job)
{
    struct kafka_refresh *refresh = (struct kafka_refresh *)(void *)job;
    if (kafka_session_over(refresh->session) ||
        rd_kafka_metadata(refresh->session->consumer, 0, NULL, &refresh->metadata, PATIENCE_MS) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    qsort(refresh->metadata->topics, (size_t)refresh->metadata->topic_cnt, sizeof *refresh->metadata->topics, by_name);
}

const struct rd_kafka_metadata_topic *kafka_refresh_find(const struct kafka_refresh *refresh, const char *name)
{
    struct rd_kafka_metadata_topic wanted;
    wanted.topic = (char *)(uintptr_t)name;
    return bsearch(&wanted, refresh->metadata->topics, (size_t)refresh->metadata->topic_cnt, sizeof wanted, by_name);
}
