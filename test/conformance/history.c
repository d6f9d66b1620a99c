/* What was published before: subscriptions that begin in the past, positions, and pages. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

/* Fewer than any backend keeps. */
#define SOME 50

static struct conf_reader *with_history(struct conf_test *t, struct bcast *b, const char *channel, size_t history)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.history = history;
    return conf_subscribe(t, b, channel, &options);
}

static void say_numbers(struct conf_test *t, struct bcast *b, const char *channel, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        conf_say(t, b, channel, "0 %u", i);
    MUST(t, bcast_flush(b, t->with.deadline_ms));
}

static void hear_numbers(struct conf_test *t, struct conf_reader *reader, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        conf_hear(t, reader, "0 %u", i);
}

/* ------------------------------------------------------------------------------------------------ subscriptions -- */

static void of_nothing(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-none");
    struct bcast_page *page = NULL;
    MUST(t, bcast_history(b, channel, NULL, &page));
    size_t count = page->count;
    bool older = page->older != NULL, newer = page->newer != NULL, more = page->more;
    bcast_page_free(page);
    CHECK(t, count == 0 && !older && newer && !more,
          "expected an empty page with nothing older and a position for what is newer, got %zu events", count);
    struct conf_reader *reader = with_history(t, b, channel, SOME);
    conf_say(t, other, channel, "0 0");
    hear_numbers(t, reader, 0, 1);
}

static void last_of(struct conf_test *t, unsigned published, unsigned wanted)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-last");
    say_numbers(t, other, channel, 0, published);
    struct conf_reader *reader = with_history(t, b, channel, wanted);
    say_numbers(t, other, channel, published, published + 10);
    hear_numbers(t, reader, published > wanted ? published - wanted : 0, published + 10);
}

static void fewer(struct conf_test *t)
{
    last_of(t, SOME / 2, SOME);
}

static void exactly(struct conf_test *t)
{
    last_of(t, SOME, SOME);
}

static void more(struct conf_test *t)
{
    last_of(t, 2 * SOME, SOME);
}

/* Begun while somebody publishes: one stretch, without a hole or a duplicate where the past ends. */
static void seam(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-seam");
    struct conf_talker *talker = conf_memory(t, sizeof *talker);
    _Atomic bool *enough = conf_memory(t, sizeof *enough);
    say_numbers(t, other, channel, 0, 0);
    *talker = (struct conf_talker){other, channel, 0, 0, enough};
    conf_start(t, conf_talk, talker);
    for (unsigned round = conf_scale(t, 300, 20); round-- > 0;) {
        struct conf_reader *reader = with_history(t, b, channel, SOME);
        unsigned who, number, next = 0;
        for (unsigned i = 0; i < 2 * SOME; i++) {
            conf_message(t, reader, "kept messages and new ones, without a hole");
            conf_numbers(t, &reader->event, &who, &number);
            CHECK(t, i == 0 || number == next,
                  "expected message %u (the %u. of a subscription with history %d), got %u", next, i + 1, SOME, number);
            next = number + 1;
        }
        conf_unsubscribe(t, reader);
    }
    *enough = true;
    conf_join(t);
}

static void resume(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-resume");
    struct bcast_sub_options options = bcast_sub_options_init();
    char position[1024];
    struct conf_reader *first = conf_subscribe(t, b, channel, NULL);
    say_numbers(t, other, channel, 0, SOME);
    hear_numbers(t, first, 0, SOME / 2);
    MUST(t, bcast_position(first->sub, position, sizeof position, NULL));
    conf_unsubscribe(t, first);
    options.resume = position;
    struct conf_reader *second = conf_subscribe(t, other, channel, &options);
    say_numbers(t, other, channel, SOME, SOME + 10);
    hear_numbers(t, second, SOME / 2, SOME + 10);
}

/* Behind a position that the broker has forgotten there is a gap first. */
static void trimmed(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-trim");
    struct bcast_sub_options options = bcast_sub_options_init();
    char position[1024];
    unsigned who, number, count = (unsigned)t->with.history_kept + 10;
    if (t->with.history_kept == 0)
        conf_skip(t, "it is not known how much the broker keeps (history_kept)");
    struct conf_reader *first = conf_subscribe(t, b, channel, NULL);
    say_numbers(t, other, channel, 0, 1);
    hear_numbers(t, first, 0, 1);
    MUST(t, bcast_position(first->sub, position, sizeof position, NULL));
    conf_unsubscribe(t, first);
    say_numbers(t, other, channel, 1, count);
    options.resume = position;
    struct conf_reader *second = conf_subscribe(t, b, channel, &options);
    conf_event(t, second, "a gap for what the broker has forgotten");
    struct bcast_event *event = &second->event;
    CHECK(t, event->kind == BCAST_GAP && event->reason == BCAST_GAP_TRIMMED, "expected a gap (trimmed), got %s",
          conf_told(event));
    uint64_t lost = event->lost;
    bool exact = event->count == BCAST_EXACT;
    conf_message(t, second, "the oldest message that is kept");
    conf_numbers(t, event, &who, &number);
    CHECK(t, !exact || number == 1 + lost, "expected message %" PRIu64 " behind a gap of exactly %" PRIu64 ", got %u",
          1 + lost, lost, number);
    hear_numbers(t, second, number + 1, count);
}

/* -------------------------------------------------------------------------------------------------------- pages -- */

/* The numbers of a page, which must follow each other; frees it. */
struct extent {
    unsigned from, to; /* to: exclusive */
    bool older, more;
    char before[512], after[512];
};

static void copy_position(char *to, const char *text)
{
    snprintf(to, 512, "%s", text != NULL ? text : "");
}

static struct extent read_page(struct conf_test *t, struct bcast *b, const char *channel, const char *before,
                               const char *after, size_t limit)
{
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_page *page = NULL;
    struct extent is = {.from = 0};
    unsigned who, number = 0;
    bool whole = true;
    query.before = before;
    query.after = after;
    query.limit = limit;
    MUST(t, bcast_history(b, channel, &query, &page));
    size_t count = page->count;
    for (size_t i = 0; i < count && whole; i++) {
        char text[32] = "";
        const struct bcast_event *event = &page->events[i];
        whole = event->kind == BCAST_MESSAGE && event->size < sizeof text;
        if (whole)
            memcpy(text, event->data, event->size);
        whole = whole && sscanf(text, "%u %u", &who, &number) == 2 && (i == 0 || number == is.to);
        is.from = i == 0 ? number : is.from;
        is.to = number + 1;
    }
    is.older = page->older != NULL;
    is.more = page->more != 0;
    copy_position(is.before, page->older);
    copy_position(is.after, page->newer);
    bcast_page_free(page);
    CHECK(t, whole, "expected a page whose messages follow each other, got another one after message %u", number);
    CHECK(t, count <= limit, "expected a page of at most %zu messages, got %zu", limit, count);
    return is;
}

/* Backwards from the newest page to the oldest message, then forwards again: everything once, each time. */
static void pages(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "h-pages");
    say_numbers(t, other, channel, 0, SOME);
    struct extent page = read_page(t, b, channel, NULL, NULL, 7);
    CHECK(t, page.from == SOME - 7 && page.to == SOME,
          "expected the newest page to have the messages %d to %d, got %u "
          "to %u",
          SOME - 7, SOME - 1, page.from, page.to - 1);
    while (page.older) {
        struct extent older = read_page(t, b, channel, page.before, NULL, 7);
        CHECK(t, older.to == page.from, "expected the page before message %u to end there, it ends with %u", page.from,
              older.to - 1);
        page = older;
    }
    CHECK(t, page.from == 0, "expected paging backwards to reach message 0, it ended with %u", page.from);
    page = read_page(t, b, channel, NULL, "", 7);
    CHECK(t, page.from == 0, "expected the oldest page to begin with message 0, it begins with %u", page.from);
    while (page.more) {
        struct extent newer = read_page(t, b, channel, NULL, page.after, 7);
        CHECK(t, newer.from == page.to, "expected the page behind message %u to begin there, it begins with %u",
              page.to - 1, newer.from);
        page = newer;
    }
    CHECK(t, page.to == SOME, "expected paging forwards to reach message %d, it ended with %u", SOME - 1, page.to - 1);
    conf_say(t, other, channel, "0 %d", SOME);
    MUST(t, bcast_flush(other, t->with.deadline_ms));
    struct extent last = read_page(t, b, channel, NULL, page.after, 7);
    CHECK(t, last.from == SOME && last.to == SOME + 1, "expected what came later behind the last page, got %u to %u",
          last.from, last.to);
}

static void unknown_position(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "h-nonsense");
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_page *page = NULL;
    struct bcast_sub *sub = NULL;
    query.before = "this is no position";
    int status = bcast_history(b, channel, &query, &page);
    CHECK(t, status == BCAST_ERR_INVALID || status == BCAST_ERR_NOT_FOUND,
          "expected INVALID or NOT_FOUND for a position that is none, got %d (%s)", status, bcast_status_text(status));
    options.resume = query.before;
    MUST_BE(t, BCAST_ERR_INVALID, bcast_subscribe(b, channel, &options, &sub));
}

const struct conf_case conf_history[] = {
    {"history-of-nothing", of_nothing, 0, BCAST_CAN_HISTORY},
    {"history-fewer-than-wanted", fewer, 0, BCAST_CAN_HISTORY},
    {"history-exactly-as-wanted", exactly, 0, BCAST_CAN_HISTORY},
    {"history-more-than-wanted", more, 0, BCAST_CAN_HISTORY},
    {"history-seam", seam, 0, BCAST_CAN_HISTORY},
    {"history-resume", resume, 0, BCAST_CAN_HISTORY},
    {"history-trimmed", trimmed, 0, BCAST_CAN_HISTORY},
    {"history-pages", pages, 0, BCAST_CAN_HISTORY},
    {"history-unknown-position", unknown_position, 0, BCAST_CAN_HISTORY},
    {NULL, NULL, 0, 0},
};
