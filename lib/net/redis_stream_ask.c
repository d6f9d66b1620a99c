#include "redis_stream.h"

#include <stdio.h>

#define IDLE_TURNS                                                                                                     \
    16 /* in between so many transactions the streams that are not busy are looked at, if they are many */

void redis_stream_free_if_done(struct stream_topic *stream)
{
    if (stream->topic == NULL && stream->unanswered == 0)
        memory_put(stream);
}

void redis_stream_answered(struct stream_topic *stream)
{
    stream->unanswered--;
    redis_stream_free_if_done(stream);
}

static void kick_now(struct streams *self)
{
    char id[24];
    const struct redis_word words[] = {
        {"CLIENT", 6}, {"UNBLOCK", 7}, {id, (size_t)snprintf(id, sizeof id, "%lld", self->client_id)}};
    (void)redis_send(self->redis, REDIS_COMMANDS, &(struct redis_ask){STREAM_ASK_UNBLOCK, 1, NULL}, words, 3);
    redis_flush(self->redis, REDIS_COMMANDS);
}

void redis_stream_kick(struct streams *self)
{
    if (self->reading == READING_NOT)
        redis_stream_read_on(self);
    else if (self->reading == READING_WAITS && !self->kicked && self->client_id > 0) {
        self->kicked = true;
        kick_now(self);
    }
}

/* Its XREAD may not have been there yet when we said it: then once more. */
void redis_stream_take_kick(struct streams *self, const struct redis_element *element)
{
    if (self->reading == READING_WAITS && self->kicked && element->type == REDIS_NUMBER && element->number == 0)
        kick_now(self);
}

bool redis_stream_want_words(struct streams *self, size_t streams)
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

void redis_stream_put_word(struct streams *self, size_t *count, const char *text, size_t size)
{
    self->words[(*count)++] = (struct redis_word){text, size};
}

/* XREAD for one stream, or for all that are idle (NULL). `wait`: until there is something. */
static bool send_xread(struct streams *self, unsigned kind, struct stream_topic *one, size_t streams, size_t most,
                       bool wait)
{
    char number[24], ms[24];
    size_t count = 0, n = 0;
    if (!redis_stream_want_words(self, streams)) {
        redis_lost(self->redis, BCAST_ERR_NOMEM, false, "out of memory");
        return false;
    }
    redis_stream_put_word(self, &count, "XREAD", 5);
    redis_stream_put_word(self, &count, "COUNT", 5);
    redis_stream_put_word(self, &count, number, (size_t)snprintf(number, sizeof number, "%zu", most));
    if (wait) {
        redis_stream_put_word(self, &count, "BLOCK", 5);
        redis_stream_put_word(self, &count, ms,
                              (size_t)snprintf(ms, sizeof ms, "%llu", (unsigned long long)self->wait_ms));
    }
    redis_stream_put_word(self, &count, "STREAMS", 7);
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
    return redis_send(self->redis, REDIS_EVENTS, &(struct redis_ask){STREAM_ASK_QUEUED, 1, NULL}, words, 3) &&
           send_xread(self, STREAM_ASK_QUEUED, stream, 1, self->ask_for, false);
}

/* A transaction: for each busy stream XINFO and XREAD, and perhaps an XREAD for all others. */
static void read_busy(struct streams *self, size_t idle)
{
    self->idle_too = idle != 0 && (idle <= STREAM_FEW || ++self->turns >= IDLE_TURNS);
    if (self->idle_too)
        self->turns = 0;
    bool sent = send_plain(self, STREAM_ASK_QUEUED, "MULTI");
    for (struct stream_topic *s = self->all; s != NULL && sent && self->batch_count < STREAM_BUSY_MOST; s = s->next)
        if (s->on && !s->paused && s->busy)
            sent = send_busy(self, s);
    if (sent && self->idle_too)
        sent = send_xread(self, STREAM_ASK_QUEUED, NULL, idle, STREAM_FEW, false);
    if (sent && send_plain(self, STREAM_ASK_EXEC, "EXEC"))
        self->reading = READING_BUSY;
}

void redis_stream_read_on(struct streams *self)
{
    size_t idle = count_idle(self), busy = 0;
    if (self->client_id == 0 || self->reading != READING_NOT)
        return;
    for (const struct stream_topic *s = self->all; s != NULL && busy == 0; s = s->next)
        busy += s->on && !s->paused && s->busy;
    self->kicked = false;
    if (busy != 0)
        read_busy(self, idle);
    else if (idle != 0 && send_xread(self, STREAM_ASK_WAIT, NULL, idle, STREAM_FEW, true))
        self->reading = READING_WAITS;
    redis_flush(self->redis, REDIS_EVENTS);
}
