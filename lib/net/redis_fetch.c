#include "redis_fetch.h"

#include <stdio.h>

#define FEW 32                 /* entries in the first answer, as long as nobody knows how large they are */
#define MANY 256               /* in any: others' answers wait behind it */
#define REPLY_BYTES (1u << 20) /* and about so much */

static const struct redis_id greatest = {UINT64_MAX, UINT64_MAX};

static struct redis_id lesser(struct redis_id a, struct redis_id b)
{
    return redis_id_compare(a, b) < 0 ? a : b;
}

static struct redis_id greater(struct redis_id a, struct redis_id b)
{
    return redis_id_compare(a, b) > 0 ? a : b;
}

struct redis_id redis_fetch_upper(const struct redis_fetch *fetch)
{
    return lesser(fetch->until, fetch->end);
}

bool redis_fetch_has_enough(const struct redis_fetch *fetch)
{
    return fetch->told >= fetch->limit || (fetch->told != 0 && fetch->told_bytes >= fetch->limit_bytes);
}

/* ------------------------------------------------------------------------------------------------------- ending -- */

static void remove_fetch(struct redis_fetches *fetches, const struct redis_fetch *fetch)
{
    struct redis_fetch **at = &fetches->all;
    while (*at != fetch)
        at = &(*at)->next;
    *at = fetch->next;
}

/* The sink may ask the next from within. */
static void finish(struct redis_fetches *fetches, struct redis_fetch *fetch, struct bcast_fetch_end *end)
{
    remove_fetch(fetches, fetch);
    fetches->sink->fetch_ended(fetches->sink, fetch->request, end);
    memory_put(fetch);
}

static void fail(struct redis_fetches *fetches, uint64_t request, int status, const char *reason)
{
    struct bcast_fetch_end end = {.status = status, .reason = reason};
    fetches->sink->fetch_ended(fetches->sink, request, &end);
}

static bool any_older(const struct redis_fetch *fetch, struct redis_id than)
{
    return fetch->info.length != 0 && redis_id_compare(fetch->info.oldest, than) <= 0 &&
           redis_id_compare(than, fetch->since) >= 0;
}

static bool any_newer(const struct redis_fetch *fetch, struct redis_id than)
{
    return fetch->info.length != 0 && redis_id_compare(fetch->info.newest, than) > 0 &&
           redis_id_compare(fetch->until, than) > 0;
}

/* Where the answer lies, and what is around it: what was seen counts for more than what XINFO lets one think. */
static void finish_well(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    char older[REDIS_ID_BYTES], newer[REDIS_ID_BYTES];
    struct bcast_fetch_end end = {.status = BCAST_OK, .older = older, .newer = newer};
    struct redis_id low = fetch->at, high = fetch->at;
    if (fetch->told != 0 && fetch->backwards)
        high = fetch->first;
    else if (fetch->told != 0)
        low = redis_id_before(fetch->first);
    end.more_older = any_older(fetch, low);
    end.more_newer = any_newer(fetch, high);
    if (fetch->more != REDIS_FETCH_UNKNOWN)
        *(fetch->backwards ? &end.more_older : &end.more_newer) = fetch->more == REDIS_FETCH_MORE;
    redis_id_write(older, low);
    redis_id_write(newer, high);
    finish(fetches, fetch, &end);
}

void redis_fetch_forget(struct redis_fetches *fetches)
{
    while (fetches->all != NULL) {
        struct redis_fetch *fetch = fetches->all;
        fetches->all = fetch->next;
        memory_put(fetch);
    }
    redis_entry_forget(&fetches->entry);
}

/* ------------------------------------------------------------------------------------------------------- asking -- */

/* One more than is wanted, to know whether there is one. */
static uint64_t how_many(const struct redis_fetches *fetches, const struct redis_fetch *fetch)
{
    uint64_t size = fetches->entry_bytes, most = size == 0 ? FEW : REPLY_BYTES / size + 1;
    uint64_t left = fetch->limit - fetch->told, left_bytes = fetch->limit_bytes - fetch->told_bytes;
    if (most > MANY)
        most = MANY;
    if (size != 0 && most > left_bytes / size + 2)
        most = left_bytes / size + 2;
    return left < most ? left + 1 : most;
}

static bool send_one(struct redis_fetches *fetches, struct redis_fetch *fetch, unsigned kind,
                     const struct redis_word *words, size_t count)
{
    return redis_send(fetches->redis, REDIS_COMMANDS, &(struct redis_ask){kind, 1, fetch}, words, count);
}

static bool send_range(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    char low_text[REDIS_ID_BYTES], high_text[REDIS_ID_BYTES], number[24];
    struct redis_id low = fetch->since, high = fetch->at;
    if (!fetch->backwards) {
        bool any = redis_id_next(fetch->at, &low);
        low = any ? greater(low, fetch->since) : greatest;
        high = any ? redis_fetch_upper(fetch) : (struct redis_id){0, 0}; /* behind the greatest there is nothing */
    }
    struct redis_word a = {low_text, redis_id_write(low_text, low)}, b = {high_text, redis_id_write(high_text, high)};
    const struct redis_word words[] = {
        {fetch->backwards ? "XREVRANGE" : "XRANGE", fetch->backwards ? 9 : 6},
        {fetch->channel, fetch->channel_size},
        fetch->backwards ? b : a,
        fetch->backwards ? a : b,
        {"COUNT", 5},
        {number, (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)fetch->asked)}};
    return send_one(fetches, fetch, REDIS_FETCH_QUEUED, words, 6);
}

/* Together, so that nothing can be trimmed between the two. A loss is told to the library, which answers for us. */
static void ask(struct redis_fetches *fetches, struct redis_fetch *fetch)
{
    static const struct redis_word multi = {"MULTI", 5}, exec = {"EXEC", 4};
    const struct redis_word info[] = {{"XINFO", 5}, {"STREAM", 6}, {fetch->channel, fetch->channel_size}};
    fetch->asked = how_many(fetches, fetch);
    if (send_one(fetches, fetch, REDIS_FETCH_QUEUED, &multi, 1) &&
        send_one(fetches, fetch, REDIS_FETCH_QUEUED, info, 3) && send_range(fetches, fetch) &&
        send_one(fetches, fetch, REDIS_FETCH_EXEC, &exec, 1))
        redis_flush(fetches->redis, REDIS_COMMANDS);
}

static bool read_position(const char *text, struct redis_id *out)
{
    return text == NULL || redis_id_read(text, strlen(text), out);
}

/* What was asked for. False: a position is none. */
static bool read_wish(struct redis_fetch *fetch, const struct bcast_fetch *wanted)
{
    struct redis_id position = {0, 0};
    fetch->until = fetch->end = greatest;
    if (!read_position(wanted->position, &position) || !read_position(wanted->until, &fetch->until))
        return false;
    fetch->request = wanted->request;
    fetch->backwards = wanted->backwards != 0;
    fetch->only_where = wanted->only_where != 0;
    fetch->limit = wanted->limit;
    fetch->limit_bytes = wanted->limit_bytes;
    if (wanted->since_us > 0) /* in milliseconds, as ids are */
        fetch->since.ms = (uint64_t)wanted->since_us / 1000 + (wanted->since_us % 1000 != 0);
    if (fetch->backwards) {
        fetch->until = greatest;
        fetch->from_newest = wanted->position == NULL;
        fetch->at = fetch->from_newest ? greatest : position;
    } else {
        fetch->from_position = wanted->position != NULL;
        fetch->counted = fetch->from_position && redis_id_is_zero(position);
        fetch->at = position;
    }
    return true;
}

void redis_fetch_begin(struct redis_fetches *fetches, const struct bcast_fetch *wanted)
{
    struct redis_fetch *fetch = memory_get(sizeof *fetch + wanted->channel_size + 1);
    if (fetch == NULL) {
        fail(fetches, wanted->request, BCAST_ERR_NOMEM, "out of memory");
        return;
    }
    memcpy(fetch->channel, wanted->channel, wanted->channel_size);
    fetch->channel_size = wanted->channel_size;
    if (!read_wish(fetch, wanted)) {
        memory_put(fetch);
        fail(fetches, wanted->request, BCAST_ERR_INVALID,
             "not a position in a Redis stream: it is the id of an entry, such as 1700000000000-0");
        return;
    }
    fetch->next = fetches->all;
    fetches->all = fetch;
    ask(fetches, fetch);
}

/* ------------------------------------------------------------------------------------------------------ answers -- */

bool redis_fetch_element(struct redis_fetches *fetches, const struct redis_ask *ask,
                         const struct redis_element *element)
{
    if (ask->kind == REDIS_FETCH_EXEC)
        redis_fetch_take(fetches, ask->what, element);
    else if (ask->kind == REDIS_FETCH_QUEUED && element->depth == 0 && element->type == REDIS_ERROR)
        redis_fetch_refuse(ask->what, element);
    return ask->kind == REDIS_FETCH_EXEC || ask->kind == REDIS_FETCH_QUEUED;
}

bool redis_fetch_answered(struct redis_fetches *fetches, const struct redis_ask *of)
{
    struct redis_fetch *fetch = of->what;
    if (of->kind != REDIS_FETCH_EXEC)
        return of->kind == REDIS_FETCH_QUEUED;
    if (fetch->refused) {
        struct bcast_fetch_end end = {.status = BCAST_ERR_REFUSED, .reason = fetch->reason};
        finish(fetches, fetch, &end);
        return true;
    }
    redis_fetch_take_end(fetches, fetch);
    if (fetch->stopped || fetch->more != REDIS_FETCH_UNKNOWN || redis_fetch_has_enough(fetch))
        finish_well(fetches, fetch);
    else
        ask(fetches, fetch);
    return true;
}
