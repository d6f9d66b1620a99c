#include "past.h"

#include <string.h>

#include "base/error.h"
#include "io_thread.h"
#include "marks.h"
#include "position.h"
#include "sources.h"

#define MOST_MESSAGES 1024 /* that wait in a past */
#define MOST_BYTES ((uint64_t)4 << 20)

static bool wanted(const struct sub_settings *settings)
{
    return settings->history != 0 || settings->since_us != 0 || settings->resume != NULL;
}

/* The position to resume from, in the source's marks. */
static int read_resume(struct source *source, const char *resume)
{
    const char *text;
    size_t size;
    int status = position_find(resume, source->channel->name, source->channel->size, &text, &size);
    if (status != BCAST_OK)
        return status;
    char *copy = memory_get(size + 1);
    if (copy == NULL)
        return error_nomem();
    memcpy(copy, text, size);
    status = marks_set(source->course->marks, copy); /* nobody else has them yet */
    memory_put(copy);
    return status;
}

/* Takes a reference to the marks, which may be NULL for want of memory; then, too, it fails. */
static bool course_open(struct source *source, struct marks *marks)
{
    source->course = marks != NULL ? memory_get(sizeof *source->course) : NULL;
    source->kept = source->course != NULL;
    if (source->kept)
        source->course->marks = marks_ref(marks);
    return source->kept;
}

void course_close(struct source *source)
{
    if (!source->kept)
        return;
    io_feed_unref(source->course->feed);
    marks_unref(source->course->marks);
    memory_put(source->course);
    source->course = NULL;
    source->kept = false;
}

static void past_free(struct source *past)
{
    if (past->channel != NULL)
        channel_unref(past->channel);
    course_close(past);
    memory_put(past);
}

static struct source *past_new(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    struct source *past = memory_get(sizeof *past);
    if (past == NULL)
        return NULL;
    const struct channel *of = source->channel;
    struct sub_settings own = *settings;
    own.policy = CURSOR_BLOCK;
    if (own.limits.messages > MOST_MESSAGES)
        own.limits.messages = MOST_MESSAGES;
    if (own.limits.bytes > MOST_BYTES)
        own.limits.bytes = MOST_BYTES;
    source_set_up(sub, past, &own);
    past->is_past = true;
    past->channel = registry_make_apart(sub->b->registry, of->name, of->size);
    if (past->channel == NULL || !course_open(past, source->course->marks) ||
        !cursor_open(&past->cursor, &past->channel->ring, NULL)) {
        past_free(past);
        return NULL;
    }
    past->course->named = of;
    return past;
}

static void past_give_up(struct source *past)
{
    cursor_detach(&past->cursor);
    cursor_close(&past->cursor);
    past_free(past);
}

static int begin_feed(struct bcast_sub *sub, struct source *source, struct source *past,
                      const struct sub_settings *settings)
{
    struct feed_setup setup = {.channel = source->channel,
                               .cursor = &source->cursor,
                               .past = past != NULL ? past->channel : NULL,
                               .marks = source->course->marks,
                               .most = settings->history,
                               .since_us = settings->since_us};
    return io_feed_begin(sub->b->io, &setup, &source->course->feed);
}

/* On the list, both or none: what is on it already ends as if it had been removed. */
static bool enlist(struct bcast_sub *sub, struct source *source, struct source *past)
{
    if (past != NULL && !sources_add(sub, past))
        return false;
    if (sources_add(sub, source))
        return true;
    if (past != NULL)
        source_detach(past);
    return false;
}

/* With its marks: the feed, the past, and the list. */
static int begin(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings, bool with_past)
{
    struct source *past = with_past ? past_new(sub, source, settings) : NULL;
    if (with_past && past == NULL)
        return error_nomem();
    int status = begin_feed(sub, source, past, settings);
    if (status != BCAST_OK) {
        if (past != NULL)
            past_give_up(past);
        return status;
    }
    source->course->other = past;
    if (past != NULL)
        past->course->other = source;
    if (enlist(sub, source, past))
        return BCAST_OK;
    io_feed_cancel(source->course->feed);
    io_feed_unref(source->course->feed);
    source->course->feed = NULL;
    source->course->other = NULL;
    if (past != NULL && !atomic_load_explicit(&past->removed, memory_order_relaxed))
        past_give_up(past);
    return error_nomem();
}

int past_begin(struct bcast_sub *sub, struct source *source, const struct sub_settings *settings)
{
    struct marks *marks = marks_new(sub->b->backend->order);
    int status = course_open(source, marks) ? BCAST_OK : error_nomem();
    marks_unref(marks);
    if (status == BCAST_OK && settings->resume != NULL)
        status = read_resume(source, settings->resume);
    if (status == BCAST_OK)
        status = begin(sub, source, settings, wanted(settings));
    if (status != BCAST_OK)
        course_close(source);
    return status;
}

void sub_pass_seam(struct bcast_sub *sub, struct source *past)
{
    pthread_mutex_lock(&sub->b->mutex);
    struct source *source = past->course->other;
    if (source != NULL) { /* else it was removed, and the past with it */
        past->course->other = source->course->other = NULL;
        bell_put_rung(&sub->bell, &source->cursor.waiter); /* it was not armed yet */
    }
    source_detach(past);
    pthread_mutex_unlock(&sub->b->mutex);
    sub_attend(sub, ATTENTION_CHANGED); /* it can be forgotten */
}

/* With the mutex: a source in the place of one that was overtaken, from where its reader stands. */
static bool replace(struct bcast_sub *sub, struct source *source)
{
    struct sub_settings settings = {.policy = CURSOR_BLOCK, .shared = sub->shared, .limits = source->cursor.limits};
    struct source *fresh = memory_get(sizeof *fresh);
    if (fresh == NULL)
        return false;
    source_set_up(sub, fresh, &settings);
    channel_ref(fresh->channel = source->channel);
    if (!course_open(fresh, source->course->marks) || begin(sub, fresh, &settings, true) != BCAST_OK) {
        channel_unref(fresh->channel);
        course_close(fresh);
        memory_put(fresh);
        return false;
    }
    fresh->wants = source->wants; /* its share in the topic */
    source->wants = false;
    source_detach(source);
    bell_put_rung(&sub->bell, &fresh->course->other->cursor.waiter);
    return true;
}

bool sub_fall_back(struct bcast_sub *sub, struct source *source)
{
    pthread_mutex_lock(&sub->b->mutex);
    bool good = atomic_load_explicit(&source->removed, memory_order_relaxed) || replace(sub, source);
    pthread_mutex_unlock(&sub->b->mutex);
    if (good)
        sub_attend(sub, ATTENTION_CHANGED);
    return good;
}
