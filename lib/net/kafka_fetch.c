#include "kafka_fetch.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

/* One fetch after the other: librdkafka reads a partition at one place only. The worker asks where the topic's partitions
 * begin and end, and begins to read; what comes is put in order and told here. */

#define PATIENCE_MS 10000 /* with a broker that gives nothing of what it has: others wait */
#define RETRY_MS 50
#define TURN 256 /* messages, before others have theirs */

/* ----------------------------------------------------------------------------------------------------- life of one -- */

static void fetch_free(struct kafka_fetch *fetch)
{
    memory_put(fetch->position.list);
    memory_put(fetch->until.list);
    memory_put(fetch->parts);
    memory_put(fetch);
}

static void done_drop(struct kafka_job *job, void *self)
{
    (void)self;
    fetch_free((struct kafka_fetch *)(void *)((char *)job - offsetof(struct kafka_fetch, drop)));
}

/* Also while the worker has it: jobs are done in the order they are given. */
static void fetch_drop(struct kafka *kafka, struct kafka_fetch *fetch)
{
    fetch->gone = true;
    fetch->drop.run = kafka_where_drop;
    fetch->drop.done = done_drop;
    kafka_hub_give(kafka->hub, &fetch->drop);
}

static void arm(struct kafka *kafka, int64_t at_ns)
{
    kafka->fetch_ns = at_ns;
    kafka_in_set_alarm(kafka);
}

static void ask(struct kafka *kafka, struct kafka_fetch *fetch)
{
    fetch->asking = true;
    fetch->again = false;
    kafka_hub_give(kafka->hub, &fetch->job);
}

static void begin_first(struct kafka *kafka)
{
    struct kafka_fetch *fetch = kafka->fetches;
    if (fetch == NULL || fetch->begun || kafka->session == NULL || kafka->lost)
        return;
    fetch->begun = true;
    fetch->session = kafka->session;
    fetch->give_up_ns = clock_ns() + (int64_t)PATIENCE_MS * 1000000;
    arm(kafka, fetch->give_up_ns);
    ask(kafka, fetch);
}

/* ---------------------------------------------------------------------------------------------------------- the end -- */

static void refuse(struct kafka *kafka, uint64_t request, int status, const char *reason)
{
    const struct bcast_fetch_end end = {.status = status, .reason = reason};
    kafka->sink->fetch_ended(kafka->sink, request, &end);
}

/* Before the oldest message told, or behind the newest, in this partition; what follows as holes only is passed. */
static int64_t edge(const struct kafka_fetch *fetch, const struct kafka_fetch_part *part, bool newer)
{
    bool all = part->from < part->to && kafka_merge_at_end(fetch, part);
    if (newer == fetch->backwards)
        return fetch->backwards ? part->top : part->from;
    if (all)
        return fetch->backwards ? part->from : part->to;
    return part->mark;
}

/* Nothing told: the two are one. A topic that is not there has a beginning all the same. */
static char *write_edge(const struct kafka_fetch *fetch, bool newer)
{
    static struct kafka_place beginning = {0, -1};
    if (fetch->part_count == 0)
        return kafka_where_write(fetch->position.list != NULL ? &fetch->position
                                                              : &(struct kafka_places){&beginning, 1});
    struct kafka_places places = {memory_get(fetch->part_count * sizeof *places.list), fetch->part_count};
    if (places.list == NULL)
        return NULL;
    for (size_t i = 0; i < fetch->part_count; i++)
        places.list[i] = (struct kafka_place){
            (int32_t)i, edge(fetch, &fetch->parts[i], fetch->told != 0 ? newer : fetch->backwards) - 1};
    char *text = kafka_where_write(&places);
    memory_put(places.list);
    return text;
}

/* The library may ask for more, or leave, while it is told: so by then this one is off the list, and given to be dropped.
 * Its own memory stays until that has come back to this thread. */
static void finish(struct kafka *kafka, struct kafka_fetch *fetch, int status)
{
    char *older = write_edge(fetch, false), *newer = write_edge(fetch, true);
    struct bcast_fetch_end end = {.status = BCAST_OK, .older = older, .newer = newer};
    for (size_t i = 0; i < fetch->part_count; i++) {
        const struct kafka_fetch_part *part = &fetch->parts[i];
        end.more_older |= edge(fetch, part, false) > (part->low > part->since ? part->low : part->since);
        end.more_newer |= edge(fetch, part, true) < (fetch->backwards ? part->high : part->to);
    }
    kafka->fetches = fetch->next;
    kafka->fetch_ns = INT64_MAX;
    fetch_drop(kafka, fetch);
    if (status != BCAST_OK)
        refuse(kafka, fetch->request, status, fetch->why);
    else if (older == NULL || newer == NULL)
        refuse(kafka, fetch->request, BCAST_ERR_NOMEM, "out of memory");
    else
        kafka->sink->fetch_ended(kafka->sink, fetch->request, &end);
    memory_put(older);
    memory_put(newer);
    begin_first(kafka);
}

/* ---------------------------------------------------------------------------------------------------------- telling -- */

static void tell_gap(struct kafka *kafka, const struct kafka_fetch *fetch, struct kafka_fetch_part *part)
{
    int32_t number = (int32_t)(part - fetch->parts);
    bool exact = part->lost != 0 && !kafka_in_has_holes(kafka, fetch->name, number);
    if (part->gap != 0 && !fetch->only_where)
        kafka->sink->fetch_gap(kafka->sink, fetch->request, part->gap, part->lost,
                               exact ? BCAST_EXACT : BCAST_COUNT_UNKNOWN);
    part->gap = 0;
    part->lost = 0;
}

/* Also of partitions that are there no more: it is another topic then. */
static void tell_gaps(struct kafka *kafka, struct kafka_fetch *fetch)
{
    const struct kafka_places *places = &fetch->position;
    for (size_t i = 0; i < fetch->part_count; i++)
        tell_gap(kafka, fetch, &fetch->parts[i]);
    bool first = !fetch->answered;
    fetch->answered = true;
    if (!first || fetch->part_count == 0 || fetch->backwards || fetch->only_where || places->count == 0)
        return;
    if ((size_t)places->list[places->count - 1].partition >= fetch->part_count)
        kafka->sink->fetch_gap(kafka->sink, fetch->request, BCAST_GAP_TRIMMED, 0, BCAST_COUNT_UNKNOWN);
}

static bool has_enough(const struct kafka_fetch *fetch)
{
    return fetch->told >= fetch->limit || (fetch->told != 0 && fetch->told_bytes >= fetch->limit_bytes);
}

/* False: enough. */
static bool tell(struct kafka *kafka, struct kafka_fetch *fetch, rd_kafka_message_t *message)
{
    struct kafka_fetch_part *part = &fetch->parts[message->partition];
    tell_gap(kafka, fetch, part);
    if (!fetch->only_where) {
        struct kafka_incoming incoming;
        kafka_read_incoming(message, &incoming);
        if (kafka->sink->fetched(kafka->sink, fetch->request, &incoming.message) != BCAST_OK) {
            kafka_merge_put_back(fetch, part); /* not taken: it is still to come */
            return false;
        }
    }
    part->mark = fetch->backwards ? message->offset : message->offset + 1;
    fetch->told++;
    fetch->told_bytes += message->len;
    rd_kafka_message_destroy(message);
    return !has_enough(fetch);
}

void kafka_fetch_ready(struct kafka *kafka)
{
    struct kafka_fetch *fetch = kafka->fetches;
    rd_kafka_message_t *message = NULL;
    if (fetch == NULL || !fetch->begun || fetch->asking || fetch->again)
        return;
    for (int turn = 0; turn < TURN; turn++) {
        enum kafka_merge is = kafka_merge_next(kafka, fetch, &message);
        if (is == KAFKA_MERGE_WAIT)
            return;
        fetch->give_up_ns = clock_ns() + (int64_t)PATIENCE_MS * 1000000;
        if (is == KAFKA_MERGE_ASK) {
            ask(kafka, fetch);
            return;
        }
        if (is != KAFKA_MERGE_ONE || !tell(kafka, fetch, message)) {
            finish(kafka, fetch, is == KAFKA_MERGE_FAILED ? fetch->status : BCAST_OK);
            return;
        }
    }
    kafka_hub_wake(kafka->hub);
}

/* ------------------------------------------------------------------------------------------------- what is answered -- */

static void done_ask(struct kafka_job *job, void *self)
{
    struct kafka *kafka = self;
    struct kafka_fetch *fetch = (struct kafka_fetch *)(void *)job;
    if (fetch->gone) /* its `drop` follows */
        return;
    fetch->asking = false;
    kafka->fetcher = fetch->session->fetcher;
    if (kafka->lost)
        return;
    if (fetch->status == BCAST_TIMEOUT && clock_ns() < fetch->give_up_ns) {
        fetch->again = true;
        arm(kafka, clock_ns() + (int64_t)RETRY_MS * 1000000);
    } else if (fetch->status != BCAST_OK) {
        finish(kafka, fetch, fetch->status == BCAST_TIMEOUT ? BCAST_ERR_CONNECT : fetch->status);
    } else {
        tell_gaps(kafka, fetch);
        if (has_enough(fetch)) /* none is wanted */
            finish(kafka, fetch, BCAST_OK);
        else
            kafka_fetch_ready(kafka);
    }
}

void kafka_fetch_alarm(struct kafka *kafka)
{
    struct kafka_fetch *fetch = kafka->fetches;
    int64_t now = clock_ns();
    kafka->fetch_ns = INT64_MAX;
    if (fetch == NULL || !fetch->begun)
        return;
    if (now < fetch->give_up_ns || fetch->asking) {
        arm(kafka, fetch->give_up_ns > now ? fetch->give_up_ns : now + (int64_t)PATIENCE_MS * 1000000);
        if (fetch->again)
            ask(kafka, fetch);
        return;
    }
    if (!fetch->again)
        snprintf(fetch->why, sizeof fetch->why, "no answer");
    finish(kafka, fetch, BCAST_ERR_CONNECT);
}

/* ---------------------------------------------------------------------------------------------------------- the call -- */

static struct kafka_fetch *fetch_new(const struct bcast_fetch *ask, int *status)
{
    struct kafka_fetch *fetch = memory_get(sizeof *fetch + ask->channel_size + 1);
    *status = BCAST_ERR_NOMEM;
    if (fetch == NULL)
        return NULL;
    memcpy(fetch->name, ask->channel, ask->channel_size);
    fetch->request = ask->request;
    fetch->backwards = ask->backwards != 0;
    fetch->only_where = ask->only_where != 0;
    fetch->since_ms = ask->since_us > 0 ? (ask->since_us - 1) / 1000 + 1 : 0;
    fetch->limit = ask->limit;
    fetch->limit_bytes = ask->limit_bytes;
    fetch->job.run = kafka_where_run;
    fetch->job.done = done_ask;
    *status = ask->position != NULL ? kafka_where_read(ask->position, &fetch->position) : BCAST_OK;
    if (*status == BCAST_OK && ask->until != NULL && !fetch->backwards)
        *status = kafka_where_read(ask->until, &fetch->until);
    if (*status == BCAST_OK)
        return fetch;
    fetch_free(fetch);
    return NULL;
}

void kafka_fetch(struct kafka *kafka, const struct bcast_fetch *ask)
{
    int status;
    const char *why = kafka_name_refused(ask->channel, ask->channel_size);
    if (!kafka->connected || kafka->lost) {
        refuse(kafka, ask->request, BCAST_ERR_CONNECT, "there is no connection");
        return;
    }
    struct kafka_fetch *fetch = why == NULL ? fetch_new(ask, &status) : NULL, **end = &kafka->fetches;
    if (fetch == NULL) {
        refuse(kafka, ask->request, why != NULL ? BCAST_ERR_REFUSED : status,
               why != NULL                   ? why
               : status == BCAST_ERR_INVALID ? "not a position in a topic: PARTITION:OFFSET, of each partition, with "
                                               "commas in between"
                                             : "out of memory");
        return;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = fetch;
    begin_first(kafka);
}

void kafka_fetch_end(struct kafka *kafka)
{
    for (struct kafka_fetch *fetch = kafka->fetches, *next; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (fetch->begun)
            fetch_drop(kafka, fetch);
        else
            fetch_free(fetch);
    }
    kafka->fetches = NULL;
    kafka->fetch_ns = INT64_MAX;
}

/* A forked child may have a copy of what the worker was writing: that stays. */
void kafka_fetch_forget(struct kafka *kafka)
{
    for (struct kafka_fetch *fetch = kafka->fetches, *next; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (!fetch->asking)
            fetch_free(fetch);
    }
    kafka->fetches = NULL;
}
