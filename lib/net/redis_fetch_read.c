#include "redis_fetch.h"

#include <stdio.h>

static bool is_behind(struct redis_id a, struct redis_id b)
{
    return redis_id_compare(a, b) > 0;
}

/* ---------------------------------------------------------------------------------------------- what was missed -- */

/* Forwards, from a position: what was behind it, and is there no more. The server tells how many entries are gone in all,
 * but not how many of them were behind a place in its midst: that is known only where they were counted from the start. */

static void tell_gap(struct redis_fetches *fetches, struct redis_fetch *fetch, uint64_t lost, enum bcast_count count)
{
    fetches->sink->fetch_gap(fetches->sink, fetch->request, BCAST_GAP_TRIMMED, lost, count);
}

static uint64_t gone_of(const struct redis_info *info)
{
    return info->length <= info->added ? info->added - info->length : 0;
}

/* Is all that is gone older than all that is left? Else some was deleted in between, by its id. */
static bool only_trimmed(const struct redis_info *info)
{
    return info->length == 0 || redis_id_compare(info->deleted, info->oldest) < 0;
}

/* Between `at` and `edge` there is no entry, and may have been some. */
static void tell_trimmed(struct redis_fetches *fetches, struct redis_fetch *fetch, struct redis_id edge)
{
    const struct redis_info *info = &fetch->info;
    uint64_t gone = gone_of(info), lost = gone > fetch->index ? gone - fetch->index : 0;
    bool counted = info->counts && fetch->counted, all = only_trimmed(info);
    if ((info->counts && gone == 0) || (counted && lost == (all ? 0 : 1)))
        return;
    if (counted && all && !is_behind(edge, fetch->until))
        tell_gap(fetches, fetch, lost, BCAST_EXACT);
    else if (is_behind(info->deleted, fetch->at) && !is_behind(info->deleted, edge) &&
             !is_behind(info->deleted, fetch->until))
        tell_gap(fetches, fetch, 1, BCAST_AT_LEAST);
    else if (info->counts || !redis_id_is_zero(fetch->at)) /* an old server, asked from the beginning: who knows */
        tell_gap(fetches, fetch, 0, BCAST_COUNT_UNKNOWN);
}

/* The oldest that are left may be behind `at`. */
static void judge_trimmed(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    const struct redis_info *info = &fetch->info;
    struct redis_id edge = info->length != 0 ? redis_id_before(info->oldest) : info->last;
    if (is_behind(edge, fetch->at) && is_behind(fetch->until, fetch->at)) {
        if (fetch->from_position || fetch->begun)
            tell_trimmed(fetches, fetch, edge);
        fetch->counted = false;
        fetch->at = is_behind(edge, fetch->until) ? fetch->until : edge;
    }
    if (redis_id_compare(fetch->at, edge) == 0 && info->counts && only_trimmed(info)) {
        fetch->index = gone_of(info);
        fetch->counted = true;
    }
}

/* The last one that somebody deleted by its id is behind `at`, but not behind `place`. */
static void judge_deleted(struct redis_fetches *fetches, struct redis_fetch *fetch, struct redis_id place)
{
    struct redis_id deleted = fetch->info.deleted;
    if (!fetch->from_position || !is_behind(deleted, fetch->at) || is_behind(deleted, place))
        return;
    tell_gap(fetches, fetch, 1, BCAST_AT_LEAST);
    fetch->at = deleted;
    fetch->counted = false;
}

/* ---------------------------------------------------------------------------------------------- where it stands -- */

static void stop(struct redis_fetch *fetch)
{
    fetch->stopped = true;
    fetch->more = REDIS_FETCH_NO_MORE;
}

static void begin_without_stream(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    if (fetch->from_position && !redis_id_is_zero(fetch->at))
        tell_gap(fetches, fetch, 0, BCAST_COUNT_UNKNOWN); /* it was deleted */
    if (!fetch->backwards || fetch->from_newest)
        fetch->at = (struct redis_id){0, 0};
    stop(fetch);
}

/* The position is of a stream that was deleted and made again, or of a server that had got more of it. */
static void begin_anew(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    tell_gap(fetches, fetch, 0, BCAST_COUNT_UNKNOWN);
    fetch->from_position = false;
    fetch->at = (struct redis_id){0, 0};
    fetch->again = true;
}

static void begin_forwards(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    const struct redis_info *info = &fetch->info;
    struct redis_id since = redis_id_before(fetch->since);
    if (is_behind(fetch->at, info->last)) {
        begin_anew(fetches, fetch);
        return;
    }
    if (is_behind(since, fetch->at)) {
        fetch->at = is_behind(since, info->last) ? info->last : since;
        fetch->counted = false;
    }
    fetch->end = info->last;
    judge_trimmed(fetches, fetch);
    fetch->begun = true;
}

/* What XINFO has said, before the first entry that comes with it. */
static void begin_range(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    const struct redis_info *info = &fetch->info;
    if (!info->exists && fetch->begun) {
        stop(fetch);
    } else if (!info->exists) {
        begin_without_stream(fetches, fetch);
    } else if (fetch->backwards) {
        fetch->at = is_behind(fetch->at, info->last) ? info->last : fetch->at;
        fetch->begun = true;
    } else if (!fetch->begun) {
        begin_forwards(fetches, fetch);
    } else if (is_behind(fetch->at, info->last)) {
        stop(fetch); /* it was made again since: who goes on from here is told so */
    } else {
        judge_trimmed(fetches, fetch);
    }
}

/* ------------------------------------------------------------------------------------------------------ entries -- */

/* Nothing more of this reply is wanted. */
static bool is_over(const struct redis_fetch *fetch)
{
    return fetch->again || fetch->stopped || fetch->more != REDIS_FETCH_UNKNOWN;
}

static void begin_entry(struct redis_fetches *fetches, struct redis_fetch *fetch, const struct redis_element *id)
{
    struct redis_entry *entry = &fetches->entry;
    if (!redis_entry_begin(entry, id))
        redis_lost(fetches->redis, BCAST_ERR_CONNECT, false, "the server's answer cannot be understood: an id");
    else if (redis_fetch_has_enough(fetch))
        fetch->more = REDIS_FETCH_MORE; /* this one */
    else if (!fetch->backwards)
        judge_deleted(fetches, fetch, redis_id_before(entry->id));
}

/* The entry is whole. One that was not taken has not been told. */
static void tell(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    const struct redis_entry *entry = &fetches->entry;
    if (!fetch->only_where && fetches->sink->fetched(fetches->sink, fetch->request, &entry->message) != BCAST_OK) {
        fetch->more = REDIS_FETCH_MORE;
        return;
    }
    if (fetch->told++ == 0)
        fetch->first = entry->id;
    fetch->told_bytes += entry->message.size;
    fetch->at = fetch->backwards ? redis_id_before(entry->id) : entry->id;
    fetch->index++;
}

static void take_field(struct redis_fetches *fetches, struct redis_fetch *fetch, const struct redis_element *element)
{
    switch (redis_entry_field(&fetches->entry, element)) {
    case REDIS_ENTRY_WHOLE:
        tell(fetches, fetch);
        redis_entry_end(&fetches->entry);
        break;
    case REDIS_ENTRY_NOMEM: redis_lost(fetches->redis, BCAST_ERR_NOMEM, false, "out of memory for an entry"); break;
    default: break;
    }
}

/* One element of XRANGE's answer: entries, each with its id and its fields. */
static void take_range(struct redis_fetches *fetches, struct redis_fetch *fetch, const struct redis_element *element)
{
    fetch->came += element->depth == 2;
    fetch->bytes += element->depth == 4 ? element->size : 0;
    if (element->depth == 1 && element->type == REDIS_ERROR)
        redis_fetch_refuse(fetch, element);
    else if (element->depth == 1 && !fetch->refused)
        begin_range(fetches, fetch);
    if (fetch->refused || is_over(fetch))
        return;
    if (element->depth == 3 && element->index == 0)
        begin_entry(fetches, fetch, element);
    else if (element->depth == 3 && element->type == REDIS_ARRAY)
        redis_entry_fields(&fetches->entry, (size_t)element->number);
    else if (element->depth == 4)
        take_field(fetches, fetch, element);
}

/* ---------------------------------------------------------------------------------------------- the transaction -- */

void redis_fetch_refuse(struct redis_fetch *fetch, const struct redis_element *error)
{
    if (!fetch->refused)
        snprintf(fetch->reason, sizeof fetch->reason, "%.*s", (int)(error->size > 180 ? 180 : error->size),
                 error->text != NULL ? error->text : "");
    fetch->refused = true;
}

static void take_info(struct redis_fetch *fetch, const struct redis_element *element)
{
    if (element->depth == 1 && element->type == REDIS_ERROR && !redis_info_is_none(element))
        redis_fetch_refuse(fetch, element);
    redis_info_take(&fetch->info, element, 1);
}

void redis_fetch_take(struct redis_fetches *fetches, struct redis_fetch *fetch, const struct redis_element *element)
{
    if (element->depth == 0) {
        fetch->came = fetch->bytes = 0;
        if (element->type != REDIS_ARRAY)
            redis_fetch_refuse(fetch, element);
        return;
    }
    if (element->depth == 1)
        fetch->part = element->index;
    if (fetch->part == 0)
        take_info(fetch, element);
    else if (fetch->part == 1)
        take_range(fetches, fetch, element);
}

void redis_fetch_take_end(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    if (fetch->came != 0)
        fetches->entry_bytes = fetch->bytes / fetch->came + 64;
    bool over = is_over(fetch);
    fetch->again = false;
    if (over || fetch->came >= fetch->asked)
        return;
    if (!fetch->backwards)
        judge_deleted(fetches, fetch, redis_fetch_upper(fetch));
    fetch->stopped = true; /* that was all: but of what there was when it began */
    if (fetch->backwards || !is_behind(fetch->until, fetch->end))
        fetch->more = REDIS_FETCH_NO_MORE;
}
