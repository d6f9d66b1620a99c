#include "base/param.h"
#include "net/names.h"
#include "net/redis_id.h"
#include "net/redis_out.h"

#include <stdio.h>

/* Redis Streams: a channel is a stream, a message an entry of it: the data in the field "message", the key in "key", each
 * header in a field of its own name. XADD goes over one connection, reading over the other.
 *
 * Reading. As long as little happens, one XREAD waits for all streams. A stream of which more than a few entries came is
 * *busy*: it is read in transactions that ask XINFO first, so that nothing can be trimmed between the two, and how many
 * entries are missing is known, and said where they are missing. What the waiting XREAD brought of it is not used. */

#define FEW 8     /* entries of a stream that the waiting XREAD asks for, at most; as many mean that it is busy */
#define MANY 1000 /* that a transaction asks for */
#define BATCH_BYTES (4u << 20) /* but not more than about so much */
#define BUSY_MOST 64           /* streams in one transaction */
#define IDLE_TURNS                                                                                                     \
    16 /* in between so many transactions the streams that are not busy are looked at, if they are many */

enum { ASK_ID = REDIS_OTHERS, ASK_INFO, ASK_UNBLOCK, ASK_WAIT, ASK_QUEUED, ASK_EXEC };

struct stream_topic {
    struct name name;          /* first; in the table as long as there is a topic */
    struct bcast_topic *topic; /* NULL: nobody wants it any more; it stays until the last answer */
    struct stream_topic *next, *previous;
    unsigned unanswered;
    struct redis_id at; /* of the last entry that was delivered, or where it began */
    uint64_t index;     /* how many entries were added to the stream up to there, if `counted` */
    bool known;         /* `at` is set: it survives a lost connection */
    bool on, paused, busy, counted;
};

enum reading { READING_NOT = 0, READING_WAITS, READING_BUSY };

struct streams {
    struct redis *redis; /* first: see redis.h */
    struct bcast_sink *sink;
    struct redis_out out;
    struct names names;
    struct stream_topic *all, *checked; /* checked: the last one that was looked after while nothing came */
    uint64_t maxlen, wait_ms;
    long long client_id; /* of the connection that reads; 0: not known yet; negative: we may not know */
    enum reading reading;
    bool changed;                          /* there is more to be read: once all that was read has been handed on */
    bool kicked;                           /* the waiting XREAD is to come back at once */
    unsigned turns;                        /* transactions since the idle streams were looked at */
    bool idle_too;                         /* they are part of this one */
    struct stream_topic *batch[BUSY_MOST]; /* what the transaction asks for */
    size_t batch_count, ask_for;

    struct redis_word *words; /* of a command; grows */
    char (*ids)[REDIS_ID_BYTES];
    size_t word_room, id_room;

    /* What is being read. */
    struct redis_info info;
    struct stream_topic *to;     /* NULL: nobody wants it */
    bool skip;                   /* it will be read again */
    bool plain;                  /* this entry has nothing but its data */
    size_t part;                 /* of a transaction's answer */
    struct stream_topic *judged; /* the busy stream whose part of it is being read; NULL: none */
    struct redis_info judged_info;
    struct redis_id id;
    uint64_t entries, came;   /* of this stream in this reply: how many there are, how many were delivered */
    uint64_t bytes, messages; /* of this reply */
    struct bcast_incoming message;
    struct bytes scratch; /* fields of an entry that has several */
    struct bcast_header headers[256];
    size_t field_count;
};

static void read_on(struct streams *self);

/* --------------------------------------------------------------------------------------------------------- topics -- */

static struct stream_topic *topic_new(struct streams *self, struct bcast_topic *topic)
{
    struct stream_topic *stream = memory_get(sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->topic = topic;
    stream->name = (struct name){.text = topic->name, .size = topic->size};
    if (!names_add(&self->names, &stream->name)) {
        memory_put(stream);
        return NULL;
    }
    stream->next = self->all;
    if (self->all != NULL)
        self->all->previous = stream;
    self->all = stream;
    topic->state = stream;
    return stream;
}

static void topic_free_if_done(struct stream_topic *stream)
{
    if (stream->topic == NULL && stream->unanswered == 0)
        memory_put(stream);
}

/* One answer about it came, or will never come. */
static void topic_answered(struct stream_topic *stream)
{
    stream->unanswered--;
    topic_free_if_done(stream);
}

static void topic_drop(struct streams *self, struct stream_topic *stream)
{
    names_remove(&self->names, &stream->name);
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        self->all = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    if (self->to == stream)
        self->to = NULL;
    if (self->checked == stream)
        self->checked = NULL;
    stream->topic->state = NULL;
    stream->topic = NULL;
    topic_free_if_done(stream);
}

static void streams_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct streams *self = context;
    for (size_t i = 0; i < count; i++) {
        struct stream_topic *stream = topics[i]->state;
        if (stream == NULL && (stream = topic_new(self, topics[i])) == NULL) {
            self->sink->subscribed(self->sink, topics[i], BCAST_ERR_NOMEM, "out of memory");
            continue;
        }
        const struct redis_word words[] = {{"XINFO", 5}, {"STREAM", 6}, {topics[i]->name, topics[i]->size}};
        stream->unanswered +=
            redis_send(self->redis, REDIS_COMMANDS, &(struct redis_ask){ASK_INFO, 1, stream}, words, 3);
    }
    redis_flush(self->redis, REDIS_COMMANDS);
}

static void streams_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (topics[i]->state != NULL)
            topic_drop(context, topics[i]->state); /* the waiting XREAD may still bring something of it, to nobody */
}

/* -------------------------------------------------------------------------------------------------------- reading -- */

static void kick_now(struct streams *self)
{
    char id[24];
    const struct redis_word words[] = {
        {"CLIENT", 6}, {"UNBLOCK", 7}, {id, (size_t)snprintf(id, sizeof id, "%lld", self->client_id)}};
    (void)redis_send(self->redis, REDIS_COMMANDS, &(struct redis_ask){ASK_UNBLOCK, 1, NULL}, words, 3);
    redis_flush(self->redis, REDIS_COMMANDS);
}

/* Something is to be read that the waiting XREAD does not know of. */
static void kick(struct streams *self)
{
    if (self->reading == READING_NOT)
        read_on(self);
    else if (self->reading == READING_WAITS && !self->kicked && self->client_id > 0) {
        self->kicked = true;
        kick_now(self);
    }
}

/* Its XREAD may not have been there yet when we said it: then once more. */
static void take_kick(struct streams *self, const struct redis_element *element)
{
    if (self->reading == READING_WAITS && self->kicked && element->type == REDIS_NUMBER && element->number == 0)
        kick_now(self);
}

static bool want_words(struct streams *self, size_t streams)
{
    size_t words = 2 * streams + 8;
    if (words > self->word_room) {
        struct redis_word *more = memory_get(2 * words * sizeof *more);
        if (more == NULL)
            return false;
        memory_put(self->words);
        self->words = more;
        self->word_room = 2 * words;
    }
    if (streams > self->id_room) {
        char(*more)[REDIS_ID_BYTES] = memory_get(2 * streams * sizeof *more);
        if (more == NULL)
            return false;
        memory_put(self->ids);
        self->ids = more;
        self->id_room = 2 * streams;
    }
    return true;
}

static bool is_idle(const struct stream_topic *stream)
{
    return stream->on && !stream->paused && !stream->busy;
}

static size_t count_idle(const struct streams *self)
{
    size_t count = 0;
    for (const struct stream_topic *stream = self->all; stream != NULL; stream = stream->next)
        count += is_idle(stream);
    return count;
}

static void put_word(struct streams *self, size_t *count, const char *text, size_t size)
{
    self->words[(*count)++] = (struct redis_word){text, size};
}

/* XREAD for one stream, or for all that are idle (NULL). `wait`: until there is something. */
static bool send_xread(struct streams *self, unsigned kind, struct stream_topic *one, size_t streams, size_t most,
                       bool wait)
{
    char number[24], ms[24];
    size_t count = 0, n = 0;
    if (!want_words(self, streams)) {
        redis_lost(self->redis, BCAST_ERR_NOMEM, false, "out of memory");
        return false;
    }
    put_word(self, &count, "XREAD", 5);
    put_word(self, &count, "COUNT", 5);
    put_word(self, &count, number, (size_t)snprintf(number, sizeof number, "%zu", most));
    if (wait) {
        put_word(self, &count, "BLOCK", 5);
        put_word(self, &count, ms, (size_t)snprintf(ms, sizeof ms, "%llu", (unsigned long long)self->wait_ms));
    }
    put_word(self, &count, "STREAMS", 7);
    for (struct stream_topic *s = one != NULL ? one : self->all; s != NULL && n < streams; s = s->next)
        if (s == one || is_idle(s)) {
            self->words[count + n] = (struct redis_word){s->topic->name, s->topic->size};
            self->words[count + streams + n] = (struct redis_word){self->ids[n], redis_id_write(self->ids[n], s->at)};
            n++;
        }
    return redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){kind, 1, NULL}, self->words, count + 2 * streams);
}

static bool send_plain(struct streams *self, unsigned kind, const char *text)
{
    const struct redis_word word = {text, strlen(text)};
    return redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){kind, 1, NULL}, &word, 1);
}

static bool send_busy(struct streams *self, struct stream_topic *stream)
{
    const struct redis_word words[] = {{"XINFO", 5}, {"STREAM", 6}, {stream->topic->name, stream->topic->size}};
    self->batch[self->batch_count++] = stream;
    stream->unanswered++;
    return redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){ASK_QUEUED, 1, NULL}, words, 3) &&
           send_xread(self, ASK_QUEUED, stream, 1, self->ask_for, false);
}

/* A transaction: for each busy stream XINFO and XREAD, and perhaps an XREAD for all others. */
static void read_busy(struct streams *self, size_t idle)
{
    self->idle_too = idle != 0 && (idle <= FEW || ++self->turns >= IDLE_TURNS);
    if (self->idle_too)
        self->turns = 0;
    bool sent = send_plain(self, ASK_QUEUED, "MULTI");
    for (struct stream_topic *s = self->all; s != NULL && sent && self->batch_count < BUSY_MOST; s = s->next)
        if (s->on && !s->paused && s->busy)
            sent = send_busy(self, s);
    if (sent && self->idle_too)
        sent = send_xread(self, ASK_QUEUED, NULL, idle, FEW, false);
    if (sent && send_plain(self, ASK_EXEC, "EXEC"))
        self->reading = READING_BUSY;
}

static void read_on(struct streams *self)
{
    size_t idle = count_idle(self), busy = 0;
    if (self->client_id == 0 || self->reading != READING_NOT)
        return;
    for (const struct stream_topic *s = self->all; s != NULL && busy == 0; s = s->next)
        busy += s->on && !s->paused && s->busy;
    self->kicked = false;
    if (busy != 0)
        read_busy(self, idle);
    else if (idle != 0 && send_xread(self, ASK_WAIT, NULL, idle, FEW, true))
        self->reading = READING_WAITS;
    redis_flush(self->redis, REDIS_EVENTS);
}

/* ------------------------------------------------------------------------------------------------ what was missed -- */

static void gap(struct streams *self, struct stream_topic *stream, uint64_t lost, enum bcast_count count)
{
    self->sink->gap(self->sink, stream->topic, BCAST_GAP_TRIMMED, lost, count);
}

/* The stream begins anew: nobody knows what it had held behind our place. */
static void start_over(struct streams *self, struct stream_topic *stream, struct redis_id at)
{
    if (stream->at.ms != 0 || stream->at.seq != 0)
        gap(self, stream, 0, BCAST_COUNT_UNKNOWN);
    stream->at = at;
    stream->index = 0;
    stream->counted = at.ms == 0 && at.seq == 0;
}

/* What XINFO says about a stream that we have read up to `at`: what is gone that we have not had? */
static void judge(struct streams *self, struct stream_topic *stream, const struct redis_info *info)
{
    const struct redis_id none = {0, 0};
    uint64_t removed = info->added - info->length;
    if (!info->exists)
        start_over(self, stream, none);
    else if (redis_id_compare(info->last, stream->at) < 0)
        start_over(self, stream, info->last); /* another server, which had not got all of it */
    else if (info->counts && stream->counted && info->added < stream->index)
        start_over(self, stream, stream->at); /* it was deleted, and made again since */
    else if (info->counts && stream->counted && info->length <= info->added && removed > stream->index) {
        gap(self, stream, removed - stream->index, BCAST_EXACT);
        stream->index = removed;
    }
}

/* Everything of it has been read, in the same transaction that counted it. */
static void judge_end(struct streams *self, struct stream_topic *stream, const struct redis_info *info)
{
    if (!info->counts)
        return;
    if (stream->counted && info->added > stream->index) /* deleted in the middle of what we had not read yet */
        gap(self, stream, info->added - stream->index, BCAST_EXACT);
    stream->index = info->added;
    stream->counted = true;
}

/* --------------------------------------------------------------------------------------------------------- entries -- */

static void deliver(struct streams *self)
{
    char id[REDIS_ID_BYTES];
    struct stream_topic *stream = self->to;
    self->message.id = id;
    self->message.timestamp_us = self->id.ms <= INT64_MAX / 1000 ? (int64_t)self->id.ms * 1000 : 0;
    redis_id_write(id, self->id);
    if (self->message.data == NULL)
        self->message.data = "";
    self->bytes += self->message.size + 64;
    self->messages++;
    if (self->sink->message(self->sink, stream->topic, &self->message) == BCAST_TIMEOUT) {
        stream->paused = stream->busy = true; /* from here on again, once there is room */
        self->skip = true;
        return;
    }
    stream->at = self->id;
    stream->index++;
    self->came++;
}

static bool is_field(const struct redis_element *element, const char *name)
{
    return element->size == strlen(name) && memcmp(element->text, name, element->size) == 0;
}

/* A field, name or value, of an entry that has more than one: kept until the entry is whole. Where in `scratch`, counted
 * from its start, as that may move. */
static bool keep_field(struct streams *self, const struct redis_element *element, size_t *where)
{
    unsigned char *room = bytes_reserve(&self->scratch, element->size + 1);
    if (room == NULL) {
        redis_lost(self->redis, BCAST_ERR_NOMEM, false, "out of memory for an entry");
        return false;
    }
    if (element->size != 0)
        memcpy(room, element->text, element->size);
    room[element->size] = '\0';
    *where = bytes_queued(&self->scratch) + 1;
    bytes_add(&self->scratch, element->size + 1);
    return true;
}

static const char *kept(const struct streams *self, size_t where)
{
    return (const char *)self->scratch.data + self->scratch.start + where - 1;
}

/* All fields are there: what they are. */
static void deliver_fields(struct streams *self)
{
    size_t used = 0;
    for (size_t i = 0; i < self->message.header_count; i++) {
        struct bcast_header *field = &self->headers[i];
        const char *name = kept(self, (size_t)(uintptr_t)field->name),
                   *value = kept(self, (size_t)(uintptr_t)field->value);
        if (strcmp(name, "message") == 0) {
            self->message.data = value;
            self->message.size = field->value_size;
        } else if (strcmp(name, "key") == 0) {
            self->message.key = value;
            self->message.key_size = field->value_size;
        } else {
            self->headers[used++] = (struct bcast_header){name, value, field->value_size};
        }
    }
    self->message.headers = self->headers;
    self->message.header_count = used;
    deliver(self);
    bytes_take(&self->scratch, bytes_queued(&self->scratch));
}

/* One of several. More than anybody can have are left out. */
static void take_one_of_fields(struct streams *self, const struct redis_element *element)
{
    size_t where = 0, most = sizeof self->headers / sizeof *self->headers;
    bool value = element->index % 2 != 0, last = element->index + 1 == self->field_count;
    struct bcast_header *field = &self->headers[self->message.header_count];
    if (self->message.header_count < most && keep_field(self, element, &where)) {
        if (!value) {
            field->name = (const char *)(uintptr_t)where;
        } else {
            field->value = (const void *)(uintptr_t)where;
            field->value_size = element->size;
            self->message.header_count++;
        }
    }
    if (last)
        deliver_fields(self);
}

static void take_field(struct streams *self, const struct redis_element *element)
{
    if (element->index == 0)
        self->plain = self->field_count == 2 && is_field(element, "message");
    if (!self->plain) {
        take_one_of_fields(self, element);
    } else if (element->index == 1) {
        self->message.data = element->text;
        self->message.size = element->size;
        deliver(self);
    }
}

/* ----------------------------------------------------------------------------------------------- what XREAD brings -- */

static void begin_stream(struct streams *self, const struct redis_element *key)
{
    self->to = (struct stream_topic *)(void *)names_find(&self->names, key->text, key->size);
    self->skip = self->to == NULL || !self->to->on || self->to->paused;
}

/* `waited`: the reply is that of the XREAD that waits, or of the one for idle streams: of a stream with much in it, it may
 * not be all that there was. */
static void begin_entries(struct streams *self, const struct redis_element *entries, bool waited)
{
    self->entries = (uint64_t)entries->number;
    self->came = 0;
    if (self->to == NULL || !waited || self->entries < FEW)
        return;
    self->to->busy = true;
    self->skip = true;
}

static void begin_entry(struct streams *self, const struct redis_element *id)
{
    self->message = (struct bcast_incoming){.data = NULL};
    self->field_count = 0;
    if (id->type != REDIS_TEXT || !redis_id_read(id->text, id->size, &self->id))
        redis_lost(self->redis, BCAST_ERR_CONNECT, false, "the server's answer cannot be understood: an id");
}

/* One element of XREAD's answer, which lies at `depth`: streams, each with its entries, each with its fields. */
static void take_read(struct streams *self, const struct redis_element *element, unsigned depth, bool waited)
{
    bool array = element->type == REDIS_ARRAY;
    switch (element->depth - depth) {
    case 2:
        if (element->index == 0)
            begin_stream(self, element);
        else if (element->index == 1 && array)
            begin_entries(self, element, waited);
        break;
    case 4:
        if (self->skip)
            break;
        if (element->index == 0)
            begin_entry(self, element);
        else if (element->index == 1 && array)
            self->field_count = (size_t)element->number;
        break;
    case 5:
        if (!self->skip)
            take_field(self, element);
        break;
    default: break;
    }
}

/* The part of one busy stream is over. */
static void end_busy(struct streams *self)
{
    struct stream_topic *stream = self->judged;
    self->judged = NULL;
    if (stream == NULL || stream->topic == NULL || stream->paused)
        return;
    if (self->entries >= self->ask_for)
        return;
    judge_end(self, stream, &self->judged_info);
    stream->busy = false;
}

/* XINFO has been read, and now comes what there is: only here all that is known fits together. */
static void begin_busy(struct streams *self, struct stream_topic *stream)
{
    end_busy(self);
    if (stream->topic == NULL || !stream->on)
        return;
    self->judged = stream;
    self->judged_info = self->info;
    self->came = self->entries = 0;
    judge(self, stream, &self->info);
}

/* The answer to a transaction: XINFO, XREAD, XINFO, XREAD, ... and perhaps one XREAD more. */
static void take_exec(struct streams *self, const struct redis_element *element)
{
    if (element->depth == 0 && element->type != REDIS_ARRAY) {
        redis_lost(self->redis, BCAST_ERR_CONNECT, false, "the server refused to read: %.*s",
                   (int)(element->size > 150 ? 150 : element->size), element->text != NULL ? element->text : "");
        return;
    }
    if (element->depth == 1)
        self->part = element->index;
    if (element->depth == 0)
        return;
    size_t which = self->part / 2;
    struct stream_topic *stream = which < self->batch_count ? self->batch[which] : NULL;
    if (stream == NULL) {
        if (element->depth == 1)
            end_busy(self);
        take_read(self, element, 1, true);
    } else if (self->part % 2 == 0) {
        redis_info_take(&self->info, element, 1);
    } else {
        if (element->depth == 1)
            begin_busy(self, stream);
        take_read(self, element, 1, false);
    }
}

static void forget_batch(struct streams *self)
{
    for (size_t i = 0; i < self->batch_count; i++)
        topic_answered(self->batch[i]);
    self->batch_count = 0;
}

static void end_exec(struct streams *self)
{
    end_busy(self);
    forget_batch(self);
    if (self->messages == 0)
        return;
    uint64_t fit = BATCH_BYTES / (self->bytes / self->messages);
    self->ask_for = fit > MANY ? MANY : fit < FEW ? FEW : (size_t)fit;
}

/* Nothing has come for a while: a stream that was deleted, or made again with smaller ids, would stay silent. One after
 * the other is looked at. */
static void look_around(struct streams *self)
{
    struct stream_topic *next = self->checked != NULL && self->checked->next != NULL ? self->checked->next : self->all;
    self->checked = next;
    if (next != NULL && next->on)
        next->busy = true;
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static void take_info_refusal(struct streams *self, struct stream_topic *stream, const struct redis_element *element)
{
    static const char none[] = "ERR no such key";
    struct bcast_topic *topic = stream->topic;
    if (topic == NULL || (element->size == sizeof none - 1 && memcmp(element->text, none, element->size) == 0))
        return;
    topic_drop(self, stream);
    redis_tell_refusal(self->redis, topic, element);
}

static void take_element(void *context, enum redis_side side, const struct redis_ask *ask,
                         const struct redis_element *element)
{
    struct streams *self = context;
    (void)side;
    if (redis_out_element(&self->out, ask, element))
        return;
    switch (ask->kind) {
    case ASK_ID: self->client_id = element->type == REDIS_NUMBER && element->number > 0 ? element->number : -1; break;
    case ASK_INFO:
        redis_info_take(&self->info, element, 0);
        if (element->depth == 0 && element->type == REDIS_ERROR)
            take_info_refusal(self, ask->what, element);
        break;
    case ASK_UNBLOCK: take_kick(self, element); break;
    case ASK_WAIT:
        if (element->depth == 0 && element->type == REDIS_NOTHING)
            look_around(self);
        take_read(self, element, 0, true);
        break;
    case ASK_EXEC: take_exec(self, element); break;
    default: break;
    }
}

/* XINFO, asked when it was subscribed. */
static void begin_topic(struct streams *self, struct stream_topic *stream)
{
    if (stream->topic == NULL)
        return;
    if (!stream->known) {
        stream->at = self->info.last;
        stream->index = self->info.added;
        stream->counted = self->info.counts || !self->info.exists;
    } else {
        stream->busy = true; /* the transaction that reads on will say what is missing */
    }
    stream->known = stream->on = true;
    self->sink->subscribed(self->sink, stream->topic, BCAST_OK, NULL);
}

static void take_answer(void *context, enum redis_side side, const struct redis_ask *ask)
{
    struct streams *self = context;
    struct stream_topic *stream = ask->what;
    (void)side;
    if (ask->kind == ASK_INFO) {
        begin_topic(self, stream);
        topic_answered(stream);
        self->changed = true;
    } else if (ask->kind == ASK_EXEC || ask->kind == ASK_WAIT || ask->kind == ASK_ID) {
        if (ask->kind == ASK_EXEC)
            end_exec(self);
        self->bytes = self->messages = 0;
        self->reading = READING_NOT;
        self->to = NULL;
        read_on(self);
    }
}

static void take_dropped(void *context, enum redis_side side, const struct redis_ask *ask)
{
    (void)context, (void)side;
    if (ask->what != NULL)
        topic_answered(ask->what);
}

static void take_pause(void *context, enum redis_side side)
{
    struct streams *self = context;
    if (side == REDIS_COMMANDS)
        results_tell(&self->out.results);
    if (self->changed)
        kick(self);
    self->changed = false;
}

static void take_connection(void *context)
{
    struct streams *self = context;
    const struct redis_word words[] = {{"CLIENT", 6}, {"ID", 2}};
    results_connected(&self->out.results);
    self->client_id = 0;
    (void)redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){ASK_ID, 1, NULL}, words, 2);
    redis_flush(self->redis, REDIS_EVENTS);
    self->sink->connected(self->sink);
}

/* ------------------------------------------------------------------------------------------------------ publishing -- */

static bool send_message(struct redis_out *out, const struct bcast_outgoing *message)
{
    static const struct redis_ask ask = {REDIS_PUBLISH, 1, NULL};
    struct streams *self = (struct streams *)(void *)((unsigned char *)out - offsetof(struct streams, out));
    char most[24];
    size_t count = 0;
    if (!want_words(self, message->header_count + 4)) {
        redis_lost(out->redis, BCAST_ERR_NOMEM, false, "out of memory");
        return false;
    }
    put_word(self, &count, "XADD", 4);
    put_word(self, &count, message->channel, message->channel_size);
    if (self->maxlen != 0) {
        put_word(self, &count, "MAXLEN", 6);
        put_word(self, &count, "~", 1);
        put_word(self, &count, most, (size_t)snprintf(most, sizeof most, "%llu", (unsigned long long)self->maxlen));
    }
    put_word(self, &count, "*", 1);
    put_word(self, &count, "message", 7);
    put_word(self, &count, message->data, message->size);
    if (message->key != NULL) {
        put_word(self, &count, "key", 3);
        put_word(self, &count, message->key, message->key_size);
    }
    for (size_t i = 0; i < message->header_count; i++) {
        put_word(self, &count, message->headers[i].name, strlen(message->headers[i].name));
        put_word(self, &count, message->headers[i].value, message->headers[i].value_size);
    }
    return redis_send(out->redis, REDIS_COMMANDS, &ask, self->words, count);
}

static size_t streams_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    return redis_out_publish(&((struct streams *)context)->out, messages, count);
}

static int streams_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    for (size_t i = 0; i < message->header_count; i++)
        if (strcmp(message->headers[i].name, "message") == 0 || strcmp(message->headers[i].name, "key") == 0) {
            snprintf(error, error_size, "a header cannot be called \"%s\": that is the field of the message's own",
                     message->headers[i].name);
            return BCAST_ERR_UNSUPPORTED;
        }
    return redis_out_check(&((struct streams *)context)->out, message, error, error_size);
}

/* ------------------------------------------------------------------------------------------------------- the calls -- */

static const struct redis_calls calls = {
    .connected = take_connection,
    .element = take_element,
    .answered = take_answer,
    .dropped = take_dropped,
    .drained = take_pause,
};

static void forget_reading(struct streams *self)
{
    forget_batch(self);
    self->reading = READING_NOT;
    self->kicked = self->changed = false;
    self->to = self->judged = NULL;
    bytes_free(&self->scratch);
    for (struct stream_topic *stream = self->all; stream != NULL; stream = stream->next)
        stream->on = stream->paused = false;
}

static void streams_disconnect(void *context)
{
    redis_disconnect(context);
    forget_reading(context);
}

static void streams_resume(void *context, struct bcast_topic *topic)
{
    struct stream_topic *stream = topic->state;
    if (stream == NULL)
        return;
    stream->paused = false;
    kick(context);
}

static void streams_close(void *context)
{
    struct streams *self = context;
    redis_close(self->redis);
    forget_reading(self);
    while (self->all != NULL)
        topic_drop(self, self->all);
    names_fini(&self->names);
    memory_put(self->words);
    memory_put(self->ids);
    memory_put(self);
}

static int streams_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    struct streams *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    self->ask_for = MANY;
    names_init(&self->names);
    int status = redis_open(setup, sink, &calls, self, false, &self->redis);
    if (status == BCAST_OK)
        status = param_number(setup, "maxlen", 1, INT64_MAX, &self->maxlen);
    if (status != BCAST_OK) {
        redis_close(self->redis);
        memory_put(self);
        return status;
    }
    /* A connection that waits answers nothing else: it has to come back before it is taken for dead. */
    self->wait_ms = redis_ping_ms(self->redis) / 2;
    self->out = (struct redis_out){self->redis, {.sink = sink}, send_message};
    *out = self;
    return BCAST_OK;
}

static void streams_capabilities(void *context, struct bcast_capabilities *out)
{
    (void)context;
    out->can = BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES | BCAST_CAN_IDS | BCAST_CAN_TIMESTAMPS |
               BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_RESUME | BCAST_CAN_BLOCK;
    out->max_message_bytes = 512u << 20;
}

static const char *const schemes[] = {"redis-stream", "rediss-stream", "redis-stream+unix", NULL};
static const char *const params[] = {REDIS_PARAMS, "maxlen", NULL};

BCAST_API extern const struct bcast_backend bcast_backend_redis_stream; /* a module is found by this name */
const struct bcast_backend bcast_backend_redis_stream = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "redis-stream",
    .schemes = schemes,
    .params = params,
    .open = streams_open,
    .close = streams_close,
    .capabilities = streams_capabilities,
    .check = streams_check,
    .connect = redis_connect,
    .disconnect = streams_disconnect,
    .ready = redis_ready,
    .alarm = redis_alarm,
    .woken = redis_woken,
    .publish = streams_publish,
    .subscribe = streams_subscribe,
    .unsubscribe = streams_unsubscribe,
    .resume = streams_resume,
};
