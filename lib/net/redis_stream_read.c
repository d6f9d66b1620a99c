#include "redis_stream.h"

#define BATCH_BYTES (4u << 20) /* of one transaction, about, if entries are large */

/* ---------------------------------------------------------------------------------------------- what was missed -- */

static void gap(struct streams *self, struct stream_topic *stream, uint64_t lost, enum bcast_count count)
{
    self->sink->gap(self->sink, stream->topic, BCAST_GAP_TRIMMED, lost, count);
}

/* A gap was told, and there is no entry up to `at`: who goes on from where we are shall not be told it again. */
static void move_on(struct stream_topic *stream, struct redis_id at)
{
    if (redis_id_compare(at, stream->at) > 0)
        stream->at = at;
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
        move_on(stream, info->length != 0 ? redis_id_before(info->oldest) : info->last);
    }
}

/* Everything of it has been read, in the same transaction that counted it. */
static void judge_end(struct streams *self, struct stream_topic *stream, const struct redis_info *info)
{
    if (!info->counts)
        return;
    if (stream->counted && info->added > stream->index) { /* deleted in the middle of what we had not read yet */
        gap(self, stream, info->added - stream->index, BCAST_EXACT);
        move_on(stream, info->last);
    }
    stream->index = info->added;
    stream->counted = true;
}

/* -------------------------------------------------------------------------------------------- what XREAD brings -- */

/* The entry is whole. */
static void deliver(struct streams *self)
{
    struct stream_topic *stream = self->to;
    struct redis_entry *entry = &self->entry;
    self->bytes += entry->message.size + 64;
    self->messages++;
    if (self->sink->message(self->sink, stream->topic, &entry->message) == BCAST_TIMEOUT) {
        stream->paused = stream->busy = true; /* from here on again, once there is room */
        self->skip = true;
        return;
    }
    stream->at = entry->id;
    stream->index++;
}

static void take_field(struct streams *self, const struct redis_element *element)
{
    switch (redis_entry_field(&self->entry, element)) {
    case REDIS_ENTRY_WHOLE:
        deliver(self);
        redis_entry_end(&self->entry);
        break;
    case REDIS_ENTRY_NOMEM: redis_lost(self->redis, BCAST_ERR_NOMEM, false, "out of memory for an entry"); break;
    default: break;
    }
}

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
    if (self->to == NULL || !waited || self->entries < STREAM_FEW)
        return;
    self->to->busy = true;
    self->skip = true;
}

static void begin_entry(struct streams *self, const struct redis_element *id)
{
    if (!redis_entry_begin(&self->entry, id))
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
            redis_entry_fields(&self->entry, (size_t)element->number);
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
    self->entries = 0;
    judge(self, stream, &self->info);
}

/* The answer to a transaction: XINFO, XREAD, XINFO, XREAD, ... and perhaps one XREAD more. */
void redis_stream_take_exec(struct streams *self, const struct redis_element *element)
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

void redis_stream_forget_batch(struct streams *self)
{
    for (size_t i = 0; i < self->batch_count; i++)
        redis_stream_answered(self->batch[i]);
    self->batch_count = 0;
}

static void end_exec(struct streams *self)
{
    end_busy(self);
    redis_stream_forget_batch(self);
    if (self->messages == 0)
        return;
    uint64_t fit = BATCH_BYTES / (self->bytes / self->messages);
    self->ask_for = fit > STREAM_MANY ? STREAM_MANY : fit < STREAM_FEW ? STREAM_FEW : (size_t)fit;
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

void redis_stream_take_wait(struct streams *self, const struct redis_element *element)
{
    if (element->depth == 0 && element->type == REDIS_NOTHING)
        look_around(self);
    take_read(self, element, 0, true);
}

void redis_stream_end(struct streams *self, bool exec)
{
    if (exec)
        end_exec(self);
    self->bytes = self->messages = 0;
    self->reading = READING_NOT;
    self->to = NULL;
}
