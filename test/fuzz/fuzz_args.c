/* What people type: arguments, formats, times. Whatever is accepted keeps its promises; the rest is complained about. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <limits.h>

#include "args.h"
#include "history.h"
#include "print.h"
#include "pub.h"
#include "stamp.h"
#include "sub.h"
#include "tool.h"

#define MOST_WORDS 40

/* The words of a command: what lies between the newlines, each in memory of its own, since they may be cut. */
struct words {
    int count;
    char *at[MOST_WORDS + 1], *own[MOST_WORDS];
};

static void take_words(struct input *in, struct words *words)
{
    words->count = 0;
    while (in->at < in->end && words->count < MOST_WORDS) {
        const uint8_t *end = memchr(in->at, '\n', input_left(in));
        size_t size = end != NULL ? (size_t)(end - in->at) : input_left(in);
        words->at[words->count] = words->own[words->count] = input_copy(in->at, size);
        words->count++;
        in->at += size + (end != NULL);
    }
    words->at[words->count] = NULL;
}

/* The words may have been put into another order, but not lost. */
static void free_words(struct words *words)
{
    for (int i = 0; i < words->count; i++)
        free(words->own[i]);
}

static bool is_word(const struct words *words, const char *word)
{
    for (int i = 0; i < words->count; i++)
        if (word == words->own[i])
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ formats and times -- */

/* What an accepted format prints cannot be wrong, but must end, and read nothing that is not there. */
static void print_with(const char *format)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct print print = {false, format};
    char *out = NULL;
    size_t size = 0, percents = 0;
    event.kind = BCAST_MESSAGE;
    event.channel = "c";
    event.channel_size = 1;
    event.data = "";
    event.timestamp_us = 1700000000123456;
    FILE *file = open_memstream(&out, &size);
    print_event(&print, &event, file, file);
    fclose(file);
    for (const char *at = format; *at != '\0'; at++)
        percents += *at == '%' || *at == '\\';
    CHECK(percents != 0 || (size == strlen(format) && memcmp(out, format, size) == 0), "'%s' printed '%s'", format,
          out);
    free(out);
}

static void check_format(const char *format)
{
    char bad[3] = "";
    const char *found = print_check(format, bad);
    CHECK(found == NULL || ((bad[0] == '%' || bad[0] == '\\') && strlen(bad) <= 2 && strstr(format, bad) != NULL),
          "'%s' in '%s'", bad, format);
    if (found == NULL)
        print_with(format);
}

static void check_stamp(const char *text)
{
    char again[STAMP_BYTES];
    int64_t us = -1, same = -2;
    if (!stamp_read(text, &us))
        return;
    CHECK(us >= 0 && us / 1000000 <= INT64_C(253402300799), "'%s' is %lld", text, (long long)us);
    stamp_write(again, us);
    CHECK(strlen(again) == strlen("2026-01-31T12:00:00.000000Z"), "'%s' became '%s'", text, again);
    CHECK(stamp_read(again, &same) && same == us, "'%s' became '%s'", text, again);
}

static void write_stamp(struct input *in)
{
    char text[STAMP_BYTES];
    stamp_write(text, (int64_t)input_number(in, 8));
    CHECK(memchr(text, '\0', sizeof text) != NULL && text[0] != '\0' && text[strlen(text) - 1] == 'Z', "no end");
}

/* ------------------------------------------------------------------------------------------------------- commands -- */

static void check_code(int code, const char *url)
{
    CHECK(code == TOOL_GOOD || (code == TOOL_USAGE && url == NULL), "code %d", code);
}

static void read_sub(struct words *words)
{
    const char *url;
    struct sub_plan plan = sub_plan_init();
    int code = sub_read(words->count, words->at, &plan, &url);
    check_code(code, url);
    if (url == NULL)
        return;
    CHECK(is_word(words, url) && plan.channel_count >= 1, "%zu channels", plan.channel_count);
    for (size_t i = 0; i < plan.channel_count; i++)
        CHECK(is_word(words, plan.channels[i]) && plan.channels[i] != url, "channel %zu", i);
    CHECK(plan.workers >= 1 && plan.workers <= 1024 && plan.quiet_ms >= -1, "%u workers", plan.workers);
    CHECK((unsigned)plan.options.policy <= BCAST_DISCONNECT && plan.options.since_us >= 0, "policy");
    CHECK(plan.options.history <= 65536 || plan.options.limit_messages >= plan.options.history, "history");
    CHECK(plan.options.resume == NULL || (plan.options.history == 0 && plan.options.since_us == 0), "resume");
    CHECK(plan.print.format == NULL || !plan.print.json, "two ways to print");
    if (plan.print.format != NULL)
        print_with(plan.print.format);
}

static void read_pub(struct words *words)
{
    const char *url;
    struct pub_plan plan = pub_plan_init();
    int code = pub_read(words->count, words->at, &plan, &url);
    check_code(code, url);
    if (url == NULL)
        return;
    CHECK(is_word(words, url) && is_word(words, plan.channel), "channel");
    for (size_t i = 0; i < plan.message_count; i++)
        CHECK(is_word(words, plan.messages[i]), "message %zu", i);
    CHECK(plan.timeout_ms > 0 && plan.header_count <= PUB_HEADERS, "%zu headers", plan.header_count);
    for (size_t i = 0; i < plan.header_count; i++)
        CHECK(*plan.headers[i].name != '\0' && strlen(plan.headers[i].value) == plan.headers[i].value_size, "header");
    CHECK((plan.message_count != 0) + plan.whole + (plan.separator == '\0') <= 1, "two sources");
}

static void read_history(struct words *words)
{
    const char *url;
    struct history_plan plan = history_plan_init();
    int code = history_read(words->count, words->at, &plan, &url);
    check_code(code, url);
    if (url == NULL)
        return;
    CHECK(is_word(words, url) && is_word(words, plan.channel), "channel");
    CHECK(plan.query.limit <= 65536 && (plan.query.before == NULL || plan.query.after == NULL), "two positions");
    CHECK(plan.print.format == NULL || !plan.print.json, "two ways to print");
    if (plan.print.format != NULL)
        print_with(plan.print.format);
}

static void run_backends(struct words *words)
{
    int code = backends_main(words->count, words->at);
    CHECK(code == TOOL_GOOD || code == TOOL_USAGE, "code %d", code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const commands[])(struct words *) = {read_sub, read_pub, read_history, run_backends};
    struct input in = {data, data + size};
    struct words words;
    unsigned what = input_below(&in, 7);
    if (what == 4) {
        write_stamp(&in);
        return 0;
    }
    if (what < 4) {
        take_words(&in, &words);
        commands[what](&words);
        free_words(&words);
        return 0;
    }
    char *text = input_copy(in.at, input_left(&in));
    (what == 5 ? check_format : check_stamp)(text);
    free(text);
    return 0;
}
