#define _POSIX_C_SOURCE 200809L
#include "history.h"

#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "book.h"
#include "event.h"
#include "pages.h"
#include "position.h"

#define MOST_MESSAGES ((size_t)65536)

/* -------------------------------------------------------------------------------------------------------- walking -- */

/* A reader of its own, of what is there already. It never keeps more than the history does anyway. */
struct walk {
    struct cursor cursor;
    struct holds holds;
    uint64_t end;  /* the sequence behind the last that it wants */
    uint64_t lost; /* by the look that just moved it on */
    int64_t deadline_ns;
};

static int walk_begin(struct walk *walk, struct ring *ring, const struct ring_start *start, int timeout_ms)
{
    memset(walk, 0, sizeof *walk);
    walk->cursor.limits = ring->history;
    walk->cursor.policy = CURSOR_DROP;
    walk->cursor.holds = &walk->holds;
    walk->deadline_ns = clock_deadline(timeout_ms);
    if (!cursor_open(&walk->cursor, ring, start))
        return error_nomem();
    walk->end = ring_tail(ring).messages;
    return BCAST_OK;
}

static void walk_end(struct walk *walk)
{
    cursor_detach(&walk->cursor);
    cursor_close(&walk->cursor);
    (void)holds_end(&walk->holds);
}

static bool before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0; /* sequences may wrap */
}

/* Stands at the next record, with *header; 0: there is none any more. */
static int walk_look(struct walk *walk, uint64_t *header)
{
    struct cursor_gap gap;
    *header = 0;
    while (before(cursor_next(&walk->cursor), walk->end))
        switch (cursor_look(&walk->cursor, &gap)) {
        case CURSOR_RECORD:
            if (before(cursor_sequence(&walk->cursor), walk->end))
                *header = cursor_header(&walk->cursor);
            return BCAST_OK;
        case CURSOR_GAP: walk->lost += gap.lost; break;
        case CURSOR_EMPTY: /* it was published before we came: its publisher is about to finish */
            if (walk->deadline_ns != OS_NEVER && clock_ns() >= walk->deadline_ns)
                return error_set(BCAST_TIMEOUT, "a publisher has not finished its message in time");
            sched_yield();
            break;
        default: return error_nomem();
        }
    return BCAST_OK;
}

static int64_t time_of(const unsigned char *record)
{
    int64_t timestamp_us;
    memcpy(&timestamp_us, record + RECORD_HEADER, sizeof timestamp_us); /* it comes first in struct extra */
    return timestamp_us;
}

/* The first message that was published at that time or later. */
static int find_since(struct ring *ring, int64_t since_us, int timeout_ms, uint64_t *sequence)
{
    struct walk walk;
    uint64_t header;
    int status = walk_begin(&walk, ring, &(struct ring_start){.most = UINT64_MAX}, timeout_ms);
    if (status != BCAST_OK)
        return status;
    while ((status = walk_look(&walk, &header)) == BCAST_OK && header != 0) {
        if (time_of(walk.cursor.data + walk.cursor.offset) >= since_us)
            break;
        cursor_skip(&walk.cursor, header);
    }
    *sequence = cursor_next(&walk.cursor);
    walk_end(&walk);
    return status;
}

/* --------------------------------------------------------------------------------------------- for subscriptions -- */

int history_check(const struct bcast *b)
{
    if (bcast_keeps(b))
        return BCAST_OK;
    if (b->io != NULL)
        return error_set(BCAST_ERR_UNSUPPORTED, "%s keeps no history that could be read", b->backend->name);
    if (b->registry->history.messages == 0)
        return error_set(BCAST_ERR_UNSUPPORTED, "this broadcast keeps no history: open it as memory://?history=1000");
    return BCAST_OK;
}

static int resume_start(struct bcast *b, struct channel *channel, const char *resume, struct history_start *out)
{
    const char *text;
    size_t size;
    struct position position;
    int status = position_find(resume, channel->name, channel->size, &text, &size);
    if (status == BCAST_OK)
        status = position_read(text, size, &position);
    if (status != BCAST_OK)
        return status;
    out->resumed = true;
    out->foreign = position.epoch != b->registry->epoch;
    out->at.given = !out->foreign;
    out->at.sequence = position.sequence;
    if (!out->foreign && before(ring_tail(&channel->ring).messages, position.sequence))
        return error_set(BCAST_ERR_INVALID, "the position to resume from is ahead of the channel");
    return BCAST_OK;
}

int history_start(struct bcast *b, struct channel *channel, const struct sub_settings *settings,
                  struct history_start *out)
{
    *out = (struct history_start){.at.most = UINT64_MAX};
    out->wanted = settings->history != 0 || settings->since_us != 0 || settings->resume != NULL;
    if (!out->wanted)
        return BCAST_OK;
    int status = history_check(b);
    if (status != BCAST_OK)
        return status;
    if (settings->resume != NULL)
        return resume_start(b, channel, settings->resume, out);
    if (settings->history != 0)
        out->at.most = settings->history;
    if (settings->since_us == 0)
        return BCAST_OK;
    out->at.given = true;
    return find_since(&channel->ring, settings->since_us, settings->timeout_ms, &out->at.sequence);
}

/* ----------------------------------------------------------------------------------------------- reading a page -- */

struct query { /* what was asked for, and where that is */
    size_t limit, limit_bytes;
    bool backwards;
    bool resumed, foreign;     /* `after` is a position; but of other channels, which are gone */
    uint64_t oldest, tail;     /* what there is */
    uint64_t least;            /* what may be shown: no older than that */
    uint64_t from, first, end; /* the position; the page before it was read */
    int timeout_ms;
};

static uint64_t later(uint64_t a, uint64_t b)
{
    return before(a, b) ? b : a;
}

/* The range of the page. Backwards it ends at the position, forwards it begins there. */
static void set_range(struct query *q)
{
    uint64_t limit = q->limit;
    if (q->backwards) {
        q->end = q->from;
        q->first = before(q->least, q->end) ? q->least : q->end;
        if (q->end - q->first > limit)
            q->first = q->end - limit;
        return;
    }
    q->first = later(q->from, q->least);
    q->end = before(q->first, q->tail) ? q->tail : q->first;
    if (q->end - q->first > limit)
        q->end = q->first + limit;
}

static int walk_range(struct walk *walk, struct ring *ring, const struct query *q)
{
    struct ring_start start = {.most = UINT64_MAX, .sequence = q->first, .given = true};
    int status = walk_begin(walk, ring, &start, q->timeout_ms);
    walk->end = q->end;
    walk->lost = walk->cursor.start - q->first; /* trimmed since we looked */
    return status;
}

/* How many bytes of data there are in the range. */
static int measure(struct ring *ring, const struct query *q, uint64_t *bytes)
{
    struct walk walk;
    uint64_t header;
    int status = walk_range(&walk, ring, q);
    if (status != BCAST_OK)
        return status;
    for (*bytes = 0; (status = walk_look(&walk, &header)) == BCAST_OK && header != 0; cursor_skip(&walk.cursor, header))
        *bytes += record_size(header);
    walk_end(&walk);
    return status;
}

/* Puts what was trimmed under the reader's eyes in its place; nobody asked for what comes before the page. */
static bool note_lost(struct book *book, struct walk *walk, const struct query *q)
{
    uint64_t to = cursor_next(&walk->cursor);
    if (walk->lost != 0 && (book->page.count > 0 || q->resumed)) {
        if (q->backwards && before(q->end, to)) { /* what comes after this page was shown already */
            walk->lost -= to - q->end;
            to = q->end;
        }
        if (!book_add_gap(book, &(struct gap_record){walk->lost, BCAST_GAP_TRIMMED, BCAST_EXACT}, to))
            return false;
    }
    walk->lost = 0;
    return true;
}

/* Reads the range into the book. `excess`: so many bytes, of the oldest, are too much. Sets q->end to where it ended. */
static int read_range(struct book *book, struct walk *walk, struct query *q, uint64_t excess)
{
    uint64_t header, read = 0;
    bool any = false;
    int status;
    for (; (status = walk_look(walk, &header)) == BCAST_OK && header != 0; cursor_skip(&walk->cursor, header)) {
        uint64_t sequence = cursor_sequence(&walk->cursor), size = record_size(header);
        if (excess != 0 && sequence + 1 != q->end) {
            excess -= size < excess ? size : excess;
            q->first = sequence + 1;
            continue;
        }
        if (!q->backwards && any && read + size > q->limit_bytes)
            break;
        read += size;
        any = true; /* an empty one counts as the one message that a page has always */
        if (!note_lost(book, walk, q) || !book_add(book, walk->cursor.data + walk->cursor.offset, header, sequence))
            return error_nomem();
    }
    if (status == BCAST_OK && !note_lost(book, walk, q))
        status = error_nomem();
    if (status == BCAST_OK) {
        if (header != 0)
            q->end = cursor_next(&walk->cursor);
        else if (!q->backwards || book->page.count == 0)
            q->end = later(cursor_next(&walk->cursor), q->end);
    }
    return status;
}

static bool note_start(struct book *book, const struct query *q)
{
    if (q->foreign)
        return book_add_gap(book, &(struct gap_record){0, BCAST_GAP_TRIMMED, BCAST_COUNT_UNKNOWN}, q->first);
    if (q->resumed && before(q->from, q->oldest))
        return book_add_gap(book, &(struct gap_record){q->oldest - q->from, BCAST_GAP_TRIMMED, BCAST_EXACT}, q->oldest);
    return true;
}

static int read_page(struct book *book, struct ring *ring, struct query *q)
{
    struct walk walk;
    uint64_t bytes = 0;
    int status = q->backwards ? measure(ring, q, &bytes) : BCAST_OK;
    if (status == BCAST_OK)
        status = walk_range(&walk, ring, q);
    if (status != BCAST_OK)
        return status;
    status = note_start(book, q) ? BCAST_OK : error_nomem();
    if (status == BCAST_OK)
        status = read_range(book, &walk, q, bytes > q->limit_bytes ? bytes - q->limit_bytes : 0);
    walk_end(&walk);
    return status;
}

static int sign(struct book *book, const struct query *q, uint64_t epoch, uint64_t tail)
{
    char older[POSITION_BYTES], newer[POSITION_BYTES];
    position_write(older, &(struct position){epoch, q->first});
    position_write(newer, &(struct position){epoch, q->end});
    book->page.more = before(q->end, tail);
    return book_sign(book, before(q->least, q->first) ? older : NULL, newer);
}

/* -------------------------------------------------------------------------------------------------- the public call -- */

static int read_query(const struct bcast_history_query *given, struct bcast_history_query *copy, struct query *q)
{
    struct bcast_history_query none = bcast_history_query_init();
    int status = options_copy(copy, sizeof *copy, given != NULL ? given : &none, "struct bcast_history_query");
    if (status != BCAST_OK)
        return status;
    if (copy->before != NULL && copy->after != NULL)
        return error_set(BCAST_ERR_INVALID, "a page is before one position or after one: give one of the two");
    if (copy->limit > MOST_MESSAGES)
        return error_set(BCAST_ERR_INVALID, "a page of %zu messages: at most %zu are possible, take several pages",
                         copy->limit, MOST_MESSAGES);
    if (copy->timeout_ms < BCAST_NOWAIT)
        return error_set(BCAST_ERR_INVALID, "timeout_ms is %d: give milliseconds, BCAST_FOREVER or BCAST_NOWAIT",
                         copy->timeout_ms);
    *q = (struct query){
        .limit = copy->limit != 0 ? copy->limit : 100,
        .limit_bytes = copy->limit_bytes != 0 ? copy->limit_bytes : (size_t)16 << 20,
        .backwards = copy->after == NULL,
        .resumed = copy->after != NULL && *copy->after != '\0',
        .timeout_ms = copy->timeout_ms != 0 ? copy->timeout_ms : 10000,
    };
    return BCAST_OK;
}

/* Where the query's position is. */
static int locate(const struct bcast_history_query *query, uint64_t epoch, struct query *q)
{
    struct position position;
    const char *text = query->before != NULL ? query->before : q->resumed ? query->after : NULL;
    q->from = q->backwards ? q->tail : q->oldest;
    if (text == NULL)
        return BCAST_OK;
    int status = position_read(text, strlen(text), &position);
    if (status != BCAST_OK)
        return status;
    bool known = position.epoch == epoch && !before(q->tail, position.sequence);
    if (!known && q->backwards)
        return error_set(BCAST_ERR_NOT_FOUND,
                         "the position is not one of this broadcast's: begin with the newest page");
    q->foreign = !known;
    if (known)
        q->from = position.sequence;
    return BCAST_OK;
}

/* With the channel, or NULL if it does not exist. */
static int answer(struct bcast *b, struct channel *channel, const struct bcast_history_query *query, struct query *q,
                  struct book *book)
{
    uint64_t epoch = b->registry->epoch;
    int status = BCAST_OK;
    if (channel != NULL) {
        q->oldest = q->least = ring_oldest(&channel->ring);
        q->tail = ring_tail(&channel->ring).messages;
        if (query->since_us != 0)
            status = find_since(&channel->ring, query->since_us, q->timeout_ms, &q->least);
    }
    if (status == BCAST_OK)
        status = locate(query, epoch, q);
    if (status != BCAST_OK)
        return status;
    set_range(q);
    if (channel != NULL)
        status = read_page(book, &channel->ring, q);
    else if (!note_start(book, q)) /* what a position of channels that are gone stood before was lost here too */
        status = error_nomem();
    if (status == BCAST_OK)
        status = sign(book, q, epoch, channel != NULL ? ring_tail(&channel->ring).messages : q->end);
    return status;
}

int bcast_history(struct bcast *b, const char *channel, const struct bcast_history_query *query,
                  struct bcast_page **out)
{
    struct bcast_history_query copy;
    struct query q;
    if (out != NULL)
        *out = NULL;
    if (b == NULL || channel == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_history wants a broadcast, a channel, and where to put the page");
    if (!os_guard_raised(&b->guard))
        return bcast_ended(b);
    int status = read_query(query, &copy, &q);
    if (status == BCAST_OK)
        status = bcast_check_channel(b, channel, &copy.channel_size);
    if (status == BCAST_OK)
        status = history_check(b);
    if (status != BCAST_OK)
        return status;
    struct book *book = book_new(channel, copy.channel_size);
    if (book == NULL)
        return error_nomem();
    if (bcast_keeps(b)) { /* the book is theirs now */
        const struct pages_query asked = {.before = copy.before,
                                          .after = q.resumed ? copy.after : NULL,
                                          .backwards = q.backwards,
                                          .since_us = copy.since_us,
                                          .limit = q.limit,
                                          .limit_bytes = q.limit_bytes,
                                          .timeout_ms = q.timeout_ms};
        return pages_fetch(b, book, &asked, out);
    }
    struct channel *found = registry_get_existing(b->registry, channel, copy.channel_size);
    status = answer(b, found, &copy, &q, book);
    if (found != NULL)
        channel_unref(found);
    if (status != BCAST_OK) {
        bcast_page_free(&book->page);
        return status;
    }
    *out = &book->page;
    return BCAST_OK;
}
