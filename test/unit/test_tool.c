/* The command's insides: what it writes, and its subcommands over broadcasts that are open already. */
#define _GNU_SOURCE
#include "test.h"

#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "args.h"
#include "history.h"
#include "json.h"
#include "parrot.h"
#include "pub.h"
#include "stamp.h"
#include "sub.h"
#include "tool.h"

/* What a subcommand wrote and returned. */
struct said {
    char *out, *err;
    size_t out_size, err_size;
    int code;
    FILE *to_out, *to_err;
};

static void listen_to(struct said *said)
{
    *said = (struct said){0};
    said->to_out = open_memstream(&said->out, &said->out_size);
    said->to_err = open_memstream(&said->err, &said->err_size);
}

static void stop_listening(struct said *said)
{
    fclose(said->to_out);
    fclose(said->to_err);
}

/* And forgets it. */
static void expect_said(struct said *said, int code, const char *out, const char *err)
{
    assert_string_equal(said->out, out);
    assert_string_equal(said->err, err);
    assert_int_equal(said->code, code);
    free(said->out);
    free(said->err);
}

/* ---------------------------------------------------------------------------------------------------------- JSON -- */

static void utf8(void **state)
{
    static const char *const good[] = {"",
                                       "plain",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "a\xc3\xa4z\xe2\x82\xac\xf0\x9f\x98\x80"};
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "a\x80",
        "\xff",
        "\xfe",
        "\xf8\x88\x80\x80\x80", /* five bytes */
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf7\xbf\xbf\xbf", /* too high */
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98", /* cut off */
        "\xc3(",
        "\xe2(\x82",
        "\xe2\x82(",
        "\xf0\x9f\x98(",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(json_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (json_utf8(bad[i], strlen(bad[i])))
            fail_msg("number %zu is not UTF-8", i);
    assert_true(json_utf8("a\0b", 3));
    assert_false(json_utf8("\xe2\x82\xac", 2)); /* what follows is not ours */
}

static void strings(void **state)
{
    static const struct {
        const char *data;
        size_t size;
        const char *json;
    } cases[] = {
        {"", 0, "\"x\":\"\""},
        {"a\"b\\c/", 6, "\"x\":\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t", 5, "\"x\":\"\\b\\f\\n\\r\\t\""},
        {"a\0\x01\x1f\x7f", 5, "\"x\":\"a\\u0000\\u0001\\u001f\\u007f\""},
        {"\xc3\xa4", 2, "\"x\":\"\xc3\xa4\""},
        {NULL, 0, "\"x\":null"},
        {"\xff", 1, "\"x_base64\":\"/w==\""},
        {"\xff\xfe", 2, "\"x_base64\":\"//4=\""},
        {"\xff\xfe\xfd", 3, "\"x_base64\":\"//79\""},
        {"\xff\0\x10\x83\x10", 5, "\"x_base64\":\"/wAQgxA=\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said;
        listen_to(&said);
        json_bytes(said.to_out, "x", cases[i].data, cases[i].size);
        stop_listening(&said);
        expect_said(&said, 0, cases[i].json, "");
    }
}

static void base64(void **state)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}}; /* RFC 4648 */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said;
        listen_to(&said);
        json_base64(said.to_out, cases[i][0], strlen(cases[i][0]));
        stop_listening(&said);
        expect_said(&said, 0, cases[i][1], "");
    }
}

/* --------------------------------------------------------------------------------------------- times and formats -- */

static void stamps(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"0", 0},
        {"1700000000", 1700000000000000},
        {"1700000000.5", 1700000000500000},
        {"1700000000.0000019", 1700000000000001},
        {"2023-11-14", 1699920000000000},
        {"2023-11-14T22:13:20Z", 1700000000000000},
        {"2023-11-14 22:13:20z", 1700000000000000},
        {"2023-11-14T22:13:20.000001Z", 1700000000000001},
        {"2024-02-29T00:00:00.25Z", 1709164800250000},
    };
    static const char *const bad[] = {
        "",
        "x",
        "-1",
        "1x",
        "1.",
        "99999999999999999999",
        "2023-11",
        "2023-13-01",
        "2023-00-01",
        "2023-02-29",
        "2023-04-31",
        "2023-11-14T",
        "2023-11-14T22:13Z",
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:20+01:00",
        "2023-11-14T24:13:20Z",
        "2023-11-14T22:60:20Z",
        "2023-11-14T22:13:20Zx",
        "2023-11-14x",
        "1969-12-31",
        "23-11-14",
        "2023-11-14T22:13:20.Z",
    };
    char text[STAMP_BYTES];
    int64_t us;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(stamp_read(good[i].text, &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (stamp_read(bad[i], &us))
            fail_msg("'%s' is no time", bad[i]);
    stamp_write(text, 1700000000000001);
    assert_string_equal(text, "2023-11-14T22:13:20.000001Z");
    stamp_write(text, -1);
    assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
    stamp_write(text, INT64_MAX); /* the year 294247 */
    assert_non_null(strstr(text, ".775807Z"));
}

static void formats(void **state)
{
    char bad[3];
    (void)state;
    assert_null(print_check("", bad));
    assert_null(print_check("%c%m%k%t%T%i%s%S%h%%\\n\\t\\r\\0\\\\ text", bad));
    assert_string_equal(print_check("%c %x", bad), "%x");
    assert_string_equal(print_check("%%x%", bad), "%");
    assert_string_equal(print_check("\\q", bad), "\\q");
    assert_string_equal(print_check("%m\\", bad), "\\");
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const struct args_option options[] = {
    {"count", 'c', "N"}, {"long-only", 300, "TEXT"}, {"quiet", 'q', NULL}, {"null", '0', NULL}, {NULL, 0, NULL}};

/* Reads words that are separated by spaces; writes what they mean: "c=5 q plain plain" */
static int parse(const char *line, char *meaning)
{
    char copy[200], *words[20];
    int count = 0, id;
    struct args args;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "))
        words[count++] = word;
    args_begin(&args, "test", options, count, words);
    *meaning = '\0';
    while ((id = args_next(&args)) >= 0)
        sprintf(meaning + strlen(meaning), id < 256 ? "%c%s%s " : "#%.0d%s%s ", id < 256 ? id : 0,
                args.value != NULL ? "=" : "", args.value != NULL ? args.value : "");
    for (int i = 0; i < args.plain; i++)
        sprintf(meaning + strlen(meaning), "%s ", words[i]);
    return id;
}

static void arguments(void **state)
{
    static const char *const good[][2] = {
        {"", ""},
        {"a b", "a b "},
        {"a -c 5 b", "c=5 a b "},
        {"-c5 a --quiet b", "c=5 q a b "},
        {"--count=5 a", "c=5 a "},
        {"--count 5 --count= a", "c=5 c= a "},
        {"-q0c5 a", "q 0 c=5 a "},
        {"-q0c 5 a", "q 0 c=5 a "},
        {"--long-only -q a", "#=-q a "},
        {"a -- -q -- b", "a -q -- b "},
        {"- a", "- a "},
    };
    static const char *const bad[] = {"--coun 5",    "--counter 5", "-x",  "-qx", "--quiet=1",
                                      "a b --count", "-c",          "-qc", "--=5"};
    char meaning[400];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse(good[i][0], meaning), ARGS_END);
        assert_string_equal(meaning, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(bad[i], meaning), ARGS_BAD);
}

static void argument_values(void **state)
{
    static const char *const choices[] = {"one", "two", NULL}, *const bad[] = {"",   "x",  "-1",
                                                                               "+1", " 1", "1x",
                                                                               "0",  "11", "99999999999999999999"};
    struct args args = {.command = "test", .option = &options[0]};
    uint64_t number;
    (void)state;
    args.value = "10";
    assert_true(args_number(&args, 1, 10, &number));
    assert_int_equal(number, 10);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        args.value = bad[i];
        assert_false(args_number(&args, 1, 10, &number));
    }
    args.value = "two";
    assert_int_equal(args_choice(&args, choices), 1);
    args.value = "three";
    assert_true(args_choice(&args, choices) < 0);
    int64_t us;
    args.value = "0";
    assert_true(args_time(&args, &us));
    assert_int_equal(us, 1);
}

/* ----------------------------------------------------------------------------------------------------------- sub -- */

static const char *const one_channel[] = {"x"};

static struct sub_plan sub_plan(void)
{
    return (struct sub_plan){.channels = one_channel,
                             .channel_count = 1,
                             .options = bcast_sub_options_init(),
                             .quiet_ms = -1,
                             .workers = 1,
                             .quiet = true};
}

static struct said run_sub(struct bcast *b, const struct sub_plan *plan)
{
    struct said said;
    listen_to(&said);
    said.code = sub_run(b, plan, said.to_out, said.to_err);
    stop_listening(&said);
    return said;
}

static void publish_hello(void *b, struct bcast_sub *sub)
{
    if (sub == NULL)
        return;
    test_publish(b, "x", "hello");
    test_publish(b, "x", "");
    test_publish(b, "x", "two\nlines");
}

static void sub_prints(void **state)
{
    struct bcast *b = test_open("memory://");
    (void)state;
    struct sub_plan plan = sub_plan();
    plan.watch = publish_hello;
    plan.context = b;
    plan.count = 3;
    plan.quiet = false;
    struct said said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "hello\n\ntwo\nlines\n", "ready\n");
    plan.count = 2; /* not one more */
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "hello\n\n", "ready\n");
    plan.quiet = true;
    plan.print.format = "%c:%m:%S:%s:%k:%t%T%i:%h:%%\\n";
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "x:hello:5:0::::%\nx::0:1::::%\n", "");
    bcast_close(b);
}

static void publish_rich(void *b, struct bcast_sub *sub)
{
    static const struct bcast_header headers[] = {{"a", "1", 1}, {"b\"", "\xff\xfe", 2}, {"c", NULL, 0}};
    struct bcast_message message = bcast_message_init();
    if (sub == NULL)
        return;
    message.channel = "\xe9t\xe9";
    message.data = "\0\n\x80";
    message.size = 3;
    message.key = "k\x01";
    message.key_size = 2;
    message.headers = headers;
    message.header_count = 3;
    must(bcast_publish_message(b, &message));
    message.channel = "x";
    message.size = 2;
    message.key = "\x80";
    message.key_size = 1;
    message.header_count = 1;
    must(bcast_publish_message(b, &message));
}

static void sub_prints_everything(void **state)
{
    static const char *const channels[] = {"x", "\xe9t\xe9"};
    struct bcast *b = test_open("memory://");
    (void)state;
    struct sub_plan plan = sub_plan();
    plan.channels = channels;
    plan.channel_count = 2;
    plan.watch = publish_rich;
    plan.context = b;
    plan.count = 2;
    plan.print.json = true;
    struct said said = run_sub(b, &plan);
    static const char first[] =
        "{\"kind\":\"message\",\"channel_base64\":\"6XTp\",\"message_base64\":\"AAqA\",\"id\":null,"
        "\"timestamp\":null,\"key\":\"k\\u0001\",\"headers\":[{\"name\":\"a\",\"value\":\"1\"},"
        "{\"name\":\"b\\\"\",\"value_base64\":\"//4=\"},{\"name\":\"c\",\"value\":\"\"}]}\n";
    static const char second[] = "{\"kind\":\"message\",\"channel\":\"x\",\"message\":\"\\u0000\\n\",\"id\":null,"
                                 "\"timestamp\":null,\"key_base64\":\"gA==\",\"headers\":[{\"name\":\"a\","
                                 "\"value\":\"1\"}]}\n";
    assert_non_null(strstr(said.out, first)); /* between channels there is no order */
    assert_non_null(strstr(said.out, second));
    assert_int_equal(said.out_size, strlen(first) + strlen(second));
    free(said.out);
    free(said.err);
    plan.print = (struct print){.format = "%k %h\\n"};
    plan.channel_count = 1;
    plan.count = 1;
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "\x80 a=1\n", "");
    bcast_close(b);
}

static void sub_ends_in_time(void **state)
{
    struct bcast *b = test_open("memory://");
    (void)state;
    struct sub_plan plan = sub_plan();
    plan.quiet_ms = 1;
    struct said said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "", "");
    plan.watch = publish_hello;
    plan.context = b;
    plan.count = 4;
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_TOO_FEW, "hello\n\ntwo\nlines\n", "");
    plan.quiet_ms = 0;
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_TOO_FEW, "hello\n\ntwo\nlines\n", "");
    plan.quiet_ms = INT_MAX;
    plan.count = 3;
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "hello\n\ntwo\nlines\n", "");
    bcast_close(b);
}

static void *cancel(void *sub)
{
    must(bcast_cancel(sub));
    return NULL;
}

static void cancel_from_a_thread(void *context, struct bcast_sub *sub)
{
    if (sub != NULL)
        test_start(context, cancel, sub);
    else
        pthread_join(*(pthread_t *)context, NULL);
}

static void sub_is_cancelled(void **state)
{
    struct bcast *b = test_open("memory://");
    pthread_t thread;
    (void)state;
    struct sub_plan plan = sub_plan();
    plan.watch = cancel_from_a_thread;
    plan.context = &thread;
    for (plan.workers = 1; plan.workers < 4; plan.workers++) {
        struct said said = run_sub(b, &plan);
        expect_said(&said, TOOL_GOOD, "", "");
    }
    bcast_close(b);
}

static void publish_100(void *b, struct bcast_sub *sub)
{
    char text[16];
    for (int i = 0; i < 100 && sub != NULL; i++) {
        sprintf(text, "%d", i);
        test_publish(b, "x", text);
    }
}

/* How many lines, each of which is a number below 100 that was not there before. */
static int count_numbers(const char *lines, bool *seen)
{
    int count = 0;
    for (const char *at = lines; *at != '\0'; at = strchr(at, '\n') + 1, count++) {
        char *end;
        long number = strtol(at, &end, 10);
        assert_true(*end == '\n' && number >= 0 && number < 100 && !seen[number]);
        seen[number] = true;
    }
    return count;
}

static void sub_tells_of_gaps(void **state)
{
    struct bcast *b = test_open("memory://");
    unsigned lost;
    (void)state;
    struct sub_plan plan = sub_plan();
    plan.watch = publish_100;
    plan.context = b;
    plan.options.limit_messages = 8;
    plan.quiet_ms = 0;
    struct said said = run_sub(b, &plan);
    assert_int_equal(said.code, TOOL_LOST);
    assert_int_equal(sscanf(said.err, "gap: %u messages of 'x' lost (overflow)", &lost), 1);
    bool seen[100] = {false};
    assert_int_equal(count_numbers(said.out, seen) + lost, 100);
    char gap[200];
    snprintf(gap, sizeof gap, "gap: %u messages of 'x' lost (overflow)\n", lost);
    assert_string_equal(said.err, gap);
    free(said.out);
    free(said.err);
    plan.print.json = true;
    said = run_sub(b, &plan);
    assert_int_equal(said.code, TOOL_LOST);
    assert_int_equal(said.err_size, 0);
    snprintf(gap, sizeof gap,
             "{\"kind\":\"gap\",\"channel\":\"x\",\"reason\":\"overflow\",\"lost\":%u,\"count\":\"exact\"}\n", lost);
    assert_non_null(strstr(said.out, gap));
    free(said.out);
    free(said.err);
    plan.options.policy = BCAST_DISCONNECT;
    said = run_sub(b, &plan);
    assert_int_equal(said.code, TOOL_LOST);
    assert_non_null(strstr(said.err, "broadcaster sub: "));
    free(said.out);
    free(said.err);
    bcast_close(b);
}

static void gaps_in_words(void **state)
{
    static const struct {
        struct bcast_event gap;
        const char *plain, *json;
    } cases[] = {
        {{.kind = BCAST_GAP, .reason = BCAST_GAP_RECONNECT, .count = BCAST_COUNT_UNKNOWN},
         "gap: an unknown number of messages of '\xff' lost (reconnect)\n",
         "{\"kind\":\"gap\",\"channel_base64\":\"/"
         "w==\",\"reason\":\"reconnect\",\"lost\":null,\"count\":\"unknown\"}\n"},
        {{.kind = BCAST_GAP, .reason = BCAST_GAP_TRIMMED, .count = BCAST_EXACT, .lost = 1},
         "gap: 1 message of '\xff' lost (trimmed)\n",
         "{\"kind\":\"gap\",\"channel_base64\":\"/w==\",\"reason\":\"trimmed\",\"lost\":1,\"count\":\"exact\"}\n"},
        {{.kind = BCAST_GAP, .reason = BCAST_GAP_BROKER, .count = BCAST_AT_LEAST, .lost = 2},
         "gap: at least 2 messages of '\xff' lost (broker)\n",
         "{\"kind\":\"gap\",\"channel_base64\":\"/w==\",\"reason\":\"broker\",\"lost\":2,\"count\":\"at_least\"}\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bcast_event gap = cases[i].gap;
        struct said said;
        gap.channel = "\xff";
        gap.channel_size = 1;
        listen_to(&said);
        print_event(&(struct print){.format = "%m"}, &gap, said.to_out, said.to_err);
        print_event(&(struct print){.json = true}, &gap, said.to_out, said.to_err);
        stop_listening(&said);
        expect_said(&said, 0, cases[i].json, cases[i].plain);
    }
}

static void sub_goes_back(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    char position[200];
    (void)state;
    publish_100(b, (void *)b);
    struct sub_plan plan = sub_plan();
    plan.options.history = 3;
    plan.count = 2;
    plan.print_position = true;
    struct said said = run_sub(b, &plan);
    assert_string_equal(said.out, "97\n98\n");
    assert_int_equal(sscanf(said.err, "position: %199s", position), 1);
    free(said.out);
    free(said.err);
    plan.options.history = 0;
    plan.options.resume = position;
    plan.print_position = false;
    plan.count = 0;
    plan.quiet_ms = 0;
    said = run_sub(b, &plan);
    expect_said(&said, TOOL_GOOD, "99\n", "");
    plan.options.resume = "nonsense";
    said = run_sub(b, &plan);
    assert_int_equal(said.code, TOOL_FAILED);
    assert_non_null(strstr(said.err, "not a position"));
    free(said.out);
    free(said.err);
    plan.options.resume = NULL;
    plan.options.since_us = 1;
    plan.print.format = "%T|";
    said = run_sub(b, &plan);
    assert_int_equal(said.out_size, 100 * strlen("2023-11-14T22:13:20.000001Z|"));
    free(said.out);
    free(said.err);
    bcast_close(b);
}

/* A stream that lets everybody else run before it writes. */
static ssize_t write_late(void *to, const char *data, size_t size)
{
    for (int i = 0; i < 50; i++)
        sched_yield();
    return (ssize_t)fwrite(data, 1, size, to);
}

static struct said run_sub_late(struct bcast *b, const struct sub_plan *plan)
{
    struct said said;
    listen_to(&said);
    FILE *late = fopencookie(said.to_out, "w", (cookie_io_functions_t){.write = write_late});
    setvbuf(late, NULL, _IONBF, 0);
    said.code = sub_run(b, plan, late, said.to_err);
    fclose(late);
    stop_listening(&said);
    return said;
}

/* Each message once, in a line of its own; and whatever was not printed is still there for whoever resumes. */
static void sub_with_workers(void **state)
{
    struct bcast *b = test_open("memory://?history=1000");
    (void)state;
    publish_100(b, (void *)b);
    for (unsigned workers = 2; workers < 20; workers++) {
        bool seen[100] = {false};
        char position[200];
        struct sub_plan plan = sub_plan();
        plan.workers = workers;
        plan.options.history = 100;
        plan.count = 40 + workers;
        plan.print_position = true;
        struct said said = run_sub_late(b, &plan);
        assert_int_equal(said.code, TOOL_GOOD);
        assert_int_equal(count_numbers(said.out, seen), 40 + workers);
        assert_int_equal(sscanf(said.err, "position: %199s", position), 1);
        free(said.out);
        free(said.err);
        plan.options.history = 0;
        plan.options.resume = position;
        plan.count = 0;
        plan.quiet_ms = 0;
        said = run_sub(b, &plan);
        assert_int_equal(count_numbers(said.out, seen), 60 - workers);
        free(said.out);
        free(said.err);
    }
    bcast_close(b);
}

/* ------------------------------------------------------------------------------------------------- sub's output -- */

struct pipe_reader {
    struct bcast *b;
    int fd;
    pthread_t thread;
    char got[32];
};

static void read_line(struct pipe_reader *r)
{
    size_t size = 0;
    while (size < sizeof r->got - 1 && read(r->fd, &r->got[size], 1) == 1 && r->got[size++] != '\n')
        ;
    r->got[size] = '\0';
}

/* Says the next thing only when the last one has come out. */
static void *talk(void *argument)
{
    struct pipe_reader *r = argument;
    for (int i = 0; i < 3; i++) {
        char text[16];
        sprintf(text, "line %d\n", i);
        must(bcast_publish(r->b, "x", text, strlen(text) - 1));
        read_line(r);
        assert_string_equal(r->got, text);
    }
    return NULL;
}

static void start_talking(void *argument, struct bcast_sub *sub)
{
    struct pipe_reader *r = argument;
    if (sub != NULL)
        test_start(&r->thread, talk, r);
}

static void sub_holds_nothing_back(void **state)
{
    struct pipe_reader reader = {.b = test_open("memory://")};
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    reader.fd = ends[0];
    FILE *out = fdopen(ends[1], "w");
    struct sub_plan plan = sub_plan();
    plan.watch = start_talking;
    plan.context = &reader;
    plan.count = 3;
    assert_int_equal(sub_run(reader.b, &plan, out, stderr), TOOL_GOOD);
    pthread_join(reader.thread, NULL);
    fclose(out);
    close(ends[0]);
    bcast_close(reader.b);
}

static int run_into(struct bcast *b, FILE *out, char *err, size_t err_size)
{
    struct sub_plan plan = sub_plan();
    FILE *to_err = fmemopen(err, err_size, "w");
    plan.watch = publish_hello;
    plan.context = b;
    plan.count = 4;
    int code = sub_run(b, &plan, out, to_err);
    fclose(to_err);
    fclose(out);
    return code;
}

static void sub_cannot_write(void **state)
{
    struct bcast *b = test_open("memory://");
    char err[200] = "";
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(run_into(b, fdopen(ends[1], "w"), err, sizeof err), TOOL_GOOD); /* nobody reads any more */
    assert_string_equal(err, "");
    FILE *full = fopen("/dev/full", "w");
    if (full != NULL) {
        assert_int_equal(run_into(b, full, err, sizeof err), TOOL_FAILED);
        assert_non_null(strstr(err, "cannot write: "));
    }
    bcast_close(b);
}

/* ----------------------------------------------------------------------------------------------------------- pub -- */

static struct pub_plan pub_plan(void)
{
    return (struct pub_plan){.channel = "x", .separator = '\n'};
}

/* Publishes `input`, with what was published read back: each message in brackets. Returns the exit code. */
static int run_pub(const struct pub_plan *plan, const char *input, size_t size, char *heard, size_t room, char *err)
{
    struct bcast *here = test_open("memory://pub"), *b = NULL;
    struct bcast_options options = bcast_options_init();
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = test_subscribe(here, "x", BCAST_DROP_OLDEST, 0);
    options.max_message_bytes = 4 << 20;
    must(bcast_open("memory://pub", &options, &b));
    FILE *in = fmemopen((void *)(size != 0 ? input : "x"), size != 0 ? size : 1, "r"),
         *to_err = fmemopen(err, 400, "w");
    if (size == 0)
        getc(in);
    int code = pub_run(b, plan, in, to_err);
    size_t used = 0;
    while (bcast_next(sub, &event, 0) == BCAST_OK) {
        assert_true(used + event.size + 3 < room);
        heard[used++] = '[';
        memcpy(heard + used, event.data, event.size);
        used += event.size;
        heard[used++] = ']';
    }
    heard[used] = '\0';
    fclose(in);
    fclose(to_err);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(here);
    return code;
}

static void pub_reads_lines(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"\n", "[]"},
        {"a", "[a]"},
        {"a\n", "[a]"},
        {"a\nb", "[a][b]"},
        {"a\n\nb\n", "[a][][b]"},
        {"a\r\nb\n", "[a\r][b]"},
    };
    struct pub_plan plan = pub_plan();
    char heard[200], err[400] = "";
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run_pub(&plan, cases[i][0], strlen(cases[i][0]), heard, sizeof heard, err), TOOL_GOOD);
        assert_string_equal(heard, cases[i][1]);
        assert_string_equal(err, "");
    }
    plan.separator = '\0';
    assert_int_equal(run_pub(&plan, "a\nb\0\0c", 6, heard, sizeof heard, err), TOOL_GOOD);
    assert_string_equal(heard, "[a\nb][][c]");
}

static void pub_reads_long_lines(void **state)
{
    size_t size = 3 << 20;
    char *input = malloc(size + 3), *heard = malloc(size + 100), err[400] = "";
    struct pub_plan plan = pub_plan();
    (void)state;
    memset(input, 'y', size);
    memcpy(input + size, "\nz", 3);
    assert_int_equal(run_pub(&plan, input, size + 2, heard, size + 100, err), TOOL_GOOD);
    assert_int_equal(strlen(heard), size + 5);
    assert_memory_equal(heard + 1, input, size);
    assert_string_equal(heard + 1 + size, "][z]");
    free(input);
    free(heard);
}

static void pub_takes_words_and_files(void **state)
{
    static const char *const words[] = {"one", "", "two words"};
    struct pub_plan plan = pub_plan();
    char heard[200], err[400] = "";
    (void)state;
    plan.messages = words;
    plan.message_count = 3;
    assert_int_equal(run_pub(&plan, "not read", 8, heard, sizeof heard, err), TOOL_GOOD);
    assert_string_equal(heard, "[one][][two words]");
    plan = pub_plan();
    plan.whole = true;
    assert_int_equal(run_pub(&plan, "a\nb\n", 4, heard, sizeof heard, err), TOOL_GOOD);
    assert_string_equal(heard, "[a\nb\n]");
    assert_int_equal(run_pub(&plan, "", 0, heard, sizeof heard, err), TOOL_GOOD);
    assert_string_equal(heard, "[]");
    size_t size = 200000; /* more than is read at first */
    char *input = malloc(size), *much = malloc(size + 100);
    memset(input, '\n', size);
    assert_int_equal(run_pub(&plan, input, size, much, size + 100, err), TOOL_GOOD);
    assert_int_equal(strlen(much), size + 2);
    free(input);
    free(much);
}

static void pub_sends_key_and_headers(void **state)
{
    static const char *const words[] = {"m"};
    struct bcast *here = test_open("memory://pub"), *b = test_open("memory://pub");
    struct bcast_sub *sub = test_subscribe(here, "x", BCAST_DROP_OLDEST, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct pub_plan plan = pub_plan();
    struct said said;
    (void)state;
    plan.messages = words;
    plan.message_count = 1;
    plan.key = "the key";
    plan.headers[0] = (struct bcast_header){"name", "value", 5};
    plan.header_count = 1;
    assert_int_equal(pub_run(b, &plan, stdin, stderr), TOOL_GOOD);
    must(bcast_next(sub, &event, 0));
    listen_to(&said);
    print_event(&(struct print){.format = "%m|%k|%h"}, &event, said.to_out, said.to_err);
    stop_listening(&said);
    expect_said(&said, 0, "m|the key|name=value", "");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(here);
}

static void pub_names_what_failed(void **state)
{
    size_t large = 5 << 20;
    char *input = malloc(large + 10), heard[200], err[400] = "";
    struct pub_plan plan = pub_plan();
    (void)state;
    memset(input, 'y', large + 10);
    memcpy(input, "a\n", 2);
    memcpy(input + large + 6, "\nz\n", 4);
    assert_int_equal(run_pub(&plan, input, large + 9, heard, sizeof heard, err), TOOL_FAILED);
    assert_string_equal(heard, "[a][z]"); /* the others are published all the same */
    assert_memory_equal(err, "broadcaster pub: line 2: ", 25);
    assert_null(strstr(err, "line 3"));
    free(input);
    plan.channel = ""; /* no use in going on */
    plan.whole = true;
    plan.name = "some file";
    assert_int_equal(run_pub(&plan, "a", 1, heard, sizeof heard, err), TOOL_FAILED);
    assert_memory_equal(err, "broadcaster pub: some file: ", 28);
}

/* Those that the broker refuses, and those it never answers. */
static void pub_waits_for_confirmation(void **state)
{
    static const char *const words[] = {"good", "bad one", "good", "mute", "bad two"};
    struct pub_plan plan = pub_plan();
    struct bcast *b = NULL;
    struct said said;
    (void)state;
    plan.messages = words;
    plan.message_count = 3;
    must(bcast_open_backend(&bcast_backend_parrot, NULL, NULL, &b));
    listen_to(&said);
    said.code = pub_run(b, &plan, stdin, said.to_err);
    stop_listening(&said);
    expect_said(&said, TOOL_FAILED, "", "broadcaster pub: message 2: refused by the broker\n");
    plan.message_count = 5;
    plan.timeout_ms = 1;
    must(bcast_open_backend(&bcast_backend_parrot, NULL, NULL, &b));
    listen_to(&said);
    said.code = pub_run(b, &plan, stdin, said.to_err);
    stop_listening(&said);
    assert_int_equal(said.code, TOOL_FAILED);
    assert_non_null(strstr(said.err, "message 2: ")); /* in so short a time, the good ones may be unknown as well */
    assert_non_null(strstr(said.err, "message 4: "));
    assert_non_null(strstr(said.err, "message 5: "));
    assert_non_null(strstr(said.err, " no result yet\n"));
    free(said.out);
    free(said.err);
}

/* ------------------------------------------------------------------------------------------------------- history -- */

static struct said run_history(struct bcast *b, const struct history_plan *plan)
{
    struct said said;
    listen_to(&said);
    said.code = history_run(b, plan, said.to_out, said.to_err);
    stop_listening(&said);
    return said;
}

static void history_pages(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    char older[100], newer[100], oldest[100];
    (void)state;
    publish_100(b, (void *)b);
    struct history_plan plan = {.channel = "x", .query = bcast_history_query_init()};
    plan.query.limit = 2;
    struct said said = run_history(b, &plan);
    assert_string_equal(said.out, "98\n99\n");
    assert_int_equal(sscanf(said.err, "older: %99s\nnewer: %99s\nmore: no\n", older, newer), 2);
    assert_string_equal(strstr(said.err, "more"), "more: no\n");
    free(said.out);
    free(said.err);
    plan.query.before = older;
    plan.quiet = true;
    said = run_history(b, &plan);
    expect_said(&said, TOOL_GOOD, "96\n97\n", "");
    plan.query.before = NULL;
    plan.query.after = newer;
    test_publish(b, "x", "new");
    said = run_history(b, &plan);
    expect_said(&said, TOOL_GOOD, "new\n", "");
    plan.query.after = "";
    plan.quiet = false;
    said = run_history(b, &plan);
    assert_string_equal(said.out, "1\n2\n");
    assert_null(strstr(said.err, "older"));
    assert_int_equal(sscanf(said.err, "newer: %99s", oldest), 1);
    assert_non_null(strstr(said.err, "\nmore: yes\n"));
    free(said.out);
    free(said.err);
    for (int i = 0; i < 5; i++)
        test_publish(b, "x", "more");
    plan.query.after = oldest; /* the next few of which are gone by now */
    plan.query.limit = 1;
    said = run_history(b, &plan);
    assert_int_equal(said.code, TOOL_LOST);
    assert_non_null(strstr(said.err, "gap: 3 messages of 'x' lost (trimmed)\n"));
    free(said.out);
    free(said.err);
    bcast_close(b);
}

static void history_as_json(void **state)
{
    struct bcast *b = test_open("memory://?history=100");
    char expected[400], older[100], newer[100];
    (void)state;
    publish_100(b, (void *)b);
    struct history_plan plan = {.channel = "x", .query = bcast_history_query_init(), .print.json = true};
    plan.query.limit = 1;
    struct bcast_page *page;
    must(bcast_history(b, "x", &plan.query, &page));
    snprintf(older, sizeof older, "%s", page->older);
    snprintf(newer, sizeof newer, "%s", page->newer);
    bcast_page_free(page);
    struct said said = run_history(b, &plan);
    snprintf(expected, sizeof expected, "{\"kind\":\"page\",\"older\":\"%s\",\"newer\":\"%s\",\"more\":false}\n", older,
             newer);
    assert_memory_equal(said.out, "{\"kind\":\"message\",\"channel\":\"x\",\"message\":\"99\",", 47);
    assert_string_equal(strchr(said.out, '\n') + 1, expected);
    assert_int_equal(said.err_size, 0);
    free(said.out);
    free(said.err);
    plan.channel = "nobody knows it";
    said = run_history(b, &plan);
    assert_memory_equal(said.out, "{\"kind\":\"page\",\"older\":null,", 28);
    free(said.out);
    free(said.err);
    plan.query.before = "nonsense";
    said = run_history(b, &plan);
    assert_int_equal(said.code, TOOL_FAILED);
    assert_non_null(strstr(said.err, "broadcaster history: "));
    free(said.out);
    free(said.err);
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8),
        cmocka_unit_test(strings),
        cmocka_unit_test(base64),
        cmocka_unit_test(stamps),
        cmocka_unit_test(formats),
        cmocka_unit_test(arguments),
        cmocka_unit_test(argument_values),
        cmocka_unit_test(sub_prints),
        cmocka_unit_test(sub_prints_everything),
        cmocka_unit_test(sub_ends_in_time),
        cmocka_unit_test(sub_is_cancelled),
        cmocka_unit_test(sub_tells_of_gaps),
        cmocka_unit_test(gaps_in_words),
        cmocka_unit_test(sub_goes_back),
        cmocka_unit_test(sub_with_workers),
        cmocka_unit_test(sub_holds_nothing_back),
        cmocka_unit_test(sub_cannot_write),
        cmocka_unit_test(pub_reads_lines),
        cmocka_unit_test(pub_reads_long_lines),
        cmocka_unit_test(pub_takes_words_and_files),
        cmocka_unit_test(pub_sends_key_and_headers),
        cmocka_unit_test(pub_names_what_failed),
        cmocka_unit_test(pub_waits_for_confirmation),
        cmocka_unit_test(history_pages),
        cmocka_unit_test(history_as_json),
    };
    return cmocka_run_group_tests_name("tool", tests, NULL, NULL);
}
