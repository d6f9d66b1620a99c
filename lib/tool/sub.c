#define _POSIX_C_SOURCE 200809L
#include "sub.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "connect.h"
#include "stop.h"
#include "tool.h"

#define COMMAND "broadcaster sub"
#define MOST_WORKERS 1024

/* ------------------------------------------------------------------------------------------------------- reading -- */

struct run {
    const struct sub_plan *plan;
    struct bcast_sub *sub;
    FILE *out, *err;
    pthread_mutex_t mutex; /* over what follows, and over `out` and `err`, so that no line is torn */
    pthread_cond_t change;
    uint64_t reserved, written;
    int64_t heard_ms; /* when something arrived last */
    bool ended, failed, lost, deserted;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All workers are to end. The mutex is held. */
static void end(struct run *run)
{
    run->ended = true;
    bcast_cancel(run->sub);
    pthread_cond_broadcast(&run->change);
}

/* `out` took no more. That its reader has seen enough is no error. The mutex is held. */
static void output_failed(struct run *run, int error)
{
    if (!run->ended && error == EPIPE)
        run->deserted = true;
    else if (!run->ended) {
        run->failed = true;
        fprintf(run->err, COMMAND ": cannot write: %s\n", strerror(error));
    }
    end(run);
}

static void flush(struct run *run)
{
    pthread_mutex_lock(&run->mutex);
    if (fflush(run->out) != 0)
        output_failed(run, errno);
    pthread_mutex_unlock(&run->mutex);
}

/* Before a worker takes a message it makes sure that it will be wanted: what was taken counts as read in the
 * subscription's position. false: there are enough. */
static bool reserve(struct run *run)
{
    pthread_mutex_lock(&run->mutex);
    while (!run->ended && run->plan->count != 0 && run->reserved == run->plan->count)
        pthread_cond_wait(&run->change, &run->mutex);
    bool wanted = !run->ended;
    run->reserved += wanted;
    pthread_mutex_unlock(&run->mutex);
    return wanted;
}

/* How long to wait at most, from now, in milliseconds, as bcast_next has it. */
static int patience(struct run *run)
{
    if (run->plan->quiet_ms < 0)
        return BCAST_FOREVER;
    pthread_mutex_lock(&run->mutex);
    int64_t left = run->heard_ms + run->plan->quiet_ms - now_ms();
    pthread_mutex_unlock(&run->mutex);
    return left < 0 ? 0 : (int)left;
}

/* The next event. Before it waits, everything that has been printed is on its way. */
static int next(struct run *run, struct bcast_event *event)
{
    int status = bcast_next(run->sub, event, 0);
    if (status != BCAST_TIMEOUT)
        return status;
    flush(run);
    for (int wait; status == BCAST_TIMEOUT && (wait = patience(run)) != 0;) /* another worker may have got something */
        status = bcast_next(run->sub, event, wait);
    return status;
}

/* Returns whether what had been reserved is still to come. */
static bool take(struct run *run, const struct bcast_event *event)
{
    bool gap = event->kind == BCAST_GAP;
    pthread_mutex_lock(&run->mutex);
    run->heard_ms = now_ms();
    run->lost |= gap;
    run->written += !gap;
    print_event(&run->plan->print, event, run->out, run->err);
    if (ferror(run->out))
        output_failed(run, errno);
    else if (run->plan->count != 0 && run->written == run->plan->count)
        end(run);
    pthread_mutex_unlock(&run->mutex);
    return gap;
}

/* Reading is over, for this reason. */
static void finish(struct run *run, int status)
{
    pthread_mutex_lock(&run->mutex);
    if (!run->ended && status != BCAST_TIMEOUT && status != BCAST_ERR_CLOSED) {
        fprintf(run->err, COMMAND ": %s\n", bcast_error_text());
        *(status == BCAST_ERR_DISCONNECTED ? &run->lost : &run->failed) = true;
    }
    end(run);
    pthread_mutex_unlock(&run->mutex);
}

static void *work(void *argument)
{
    struct run *run = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    bool reserved = false;
    while (reserved || (reserved = reserve(run))) {
        int status = next(run, &event);
        if (status != BCAST_OK) {
            finish(run, status);
            break;
        }
        reserved = take(run, &event);
    }
    bcast_release(&event);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- one run -- */

static void read_all(struct run *run)
{
    pthread_t threads[MOST_WORKERS];
    unsigned more = 0, workers = run->plan->workers;
    run->heard_ms = now_ms();
    while (more + 1 < workers && pthread_create(&threads[more], NULL, work, run) == 0)
        more++;
    work(run);
    for (unsigned i = 0; i < more; i++)
        pthread_join(threads[i], NULL);
    flush(run);
}

static bool print_position(struct run *run)
{
    size_t length = 0;
    bcast_position(run->sub, NULL, 0, &length);
    char *text = malloc(length + 1);
    bool good = text != NULL && bcast_position(run->sub, text, length + 1, &length) == BCAST_OK;
    if (good)
        fprintf(run->err, "position: %s\n", text);
    else
        fprintf(run->err, COMMAND ": no position: %s\n", bcast_error_text());
    free(text);
    return good;
}

static int exit_code(const struct run *run)
{
    if (run->failed)
        return TOOL_FAILED;
    if (run->lost)
        return TOOL_LOST;
    return run->written < run->plan->count && !run->deserted ? TOOL_TOO_FEW : TOOL_GOOD;
}

static void watch(const struct sub_plan *plan, struct bcast_sub *sub)
{
    if (plan->watch != NULL)
        plan->watch(plan->context, sub);
}

int sub_run(struct bcast *b, const struct sub_plan *plan, FILE *out, FILE *err)
{
    struct run run = {.plan = plan, .out = out, .err = err};
    struct bcast_sub_options options = plan->options;
    options.shared = plan->workers > 1;
    if (bcast_subscribe_many(b, plan->channels, NULL, plan->channel_count, &options, &run.sub) != BCAST_OK) {
        fprintf(err, COMMAND ": %s\n", bcast_error_text());
        return TOOL_FAILED;
    }
    pthread_mutex_init(&run.mutex, NULL);
    pthread_cond_init(&run.change, NULL);
    watch(plan, run.sub);
    if (!plan->quiet)
        fputs("ready\n", err);
    read_all(&run);
    if (plan->print_position && !print_position(&run))
        run.failed = true;
    watch(plan, NULL);
    bcast_unsubscribe(run.sub);
    pthread_cond_destroy(&run.change);
    pthread_mutex_destroy(&run.mutex);
    return exit_code(&run);
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const char help[] =
    "usage: " COMMAND " URL CHANNEL... [OPTION...]\n"
    "Prints every message of the channels, one per line; says 'ready' on stderr once nothing can be missed any more.\n"
    "\n"
    "  -c, --count N          end after N messages, of all channels together\n"
    "      --timeout-ms T     end when nothing has arrived for T milliseconds\n"
    "      --json             one JSON object per line: kind channel message id timestamp key headers; bytes that are\n"
    "                         not UTF-8 as message_base64 (key_base64, ...); gaps are objects of their own\n"
    "  -f, --format F         print F for each message, without a newline of its own:\n"
    "                           %c channel  %m message  %k key  %h headers  %i id  %s sequence  %S size in bytes\n"
    "                           %t time in ms since 1970  %T time as ISO 8601  %% percent  \\n \\t \\r \\0 \\\\\n"
    "      --history N        first the last N messages of each channel that the broker has kept\n"
    "      --since TIME       first what was published since then: 2026-01-31T12:00:00Z, or seconds since 1970\n"
    "      --resume POSITION  go on exactly where a subscription with --print-position ended\n"
    "      --print-position   say on stderr, in the end, where that was\n"
    "      --policy P         when output is too slow: drop_oldest (default), block (the publishers), disconnect\n"
    "      --workers N        N threads share the subscription; lines stay whole, their order is not kept\n"
    "  -q, --quiet            do not say 'ready'\n"
    "  -h, --help             this\n"
    "\n"
    "exit code: 0 good (also after SIGINT and SIGTERM)   1 error   2 usage   3 ended before --count was reached\n"
    "           4 messages were lost: there were gaps, which stderr, or --json, told about\n"
    "\n"
    "  " COMMAND " redis://localhost news                    print what comes, until ^C\n"
    "  " COMMAND " redis://localhost news -c 1 --timeout-ms 5000   wait for one message, at most 5 s\n"
    "  " COMMAND " redis-stream://localhost a b --json | jq .key    two channels, as JSON\n"
    "  " COMMAND " redis://localhost jobs -f '%c\\t%S\\t%m\\n'   channel, size and message\n";

enum { HISTORY = 256, SINCE, RESUME, POSITION, TIMEOUT, JSON, POLICY, WORKERS };

static const struct args_option known[] = {
    {"count", 'c', "N"},
    {"format", 'f', "F"},
    {"help", 'h', NULL},
    {"quiet", 'q', NULL},
    {"history", HISTORY, "N"},
    {"since", SINCE, "TIME"},
    {"resume", RESUME, "POSITION"},
    {"print-position", POSITION, NULL},
    {"timeout-ms", TIMEOUT, "T"},
    {"json", JSON, NULL},
    {"policy", POLICY, "drop_oldest, block, disconnect"},
    {"workers", WORKERS, "N"},
    {NULL, 0, NULL},
};

static const char *const policies[] = {"drop_oldest", "block", "disconnect", NULL};

static bool read_policy(const struct args *args, enum bcast_policy *policy)
{
    int which = args_choice(args, policies);
    *policy = which > 0 ? (enum bcast_policy)which : BCAST_DROP_OLDEST;
    return which >= 0;
}

static bool read_history(const struct args *args, struct bcast_sub_options *options)
{
    uint64_t number;
    bool good = args_number(args, 1, UINT32_MAX, &number);
    options->history = (size_t)number;
    if (number > 65536)
        options->limit_messages = (size_t)number; /* all of it waits to be read at first */
    return good;
}

static bool read_option(const struct args *args, int id, void *into)
{
    struct sub_plan *plan = into;
    uint64_t number = 0;
    bool good = true;
    switch (id) {
    case 'c': return args_number(args, 1, UINT64_MAX, &plan->count);
    case 'f': plan->print.format = args->value; return args_format(args);
    case 'q': plan->quiet = true; break;
    case HISTORY: return read_history(args, &plan->options);
    case SINCE: return args_time(args, &plan->options.since_us);
    case RESUME: plan->options.resume = args->value; break;
    case POSITION: plan->print_position = true; break;
    case TIMEOUT:
        good = args_number(args, 0, INT_MAX, &number);
        plan->quiet_ms = (int)number;
        break;
    case JSON: plan->print.json = true; break;
    case POLICY: return read_policy(args, &plan->options.policy);
    default: good = args_number(args, 1, MOST_WORKERS, &number); plan->workers = (unsigned)number;
    }
    return good;
}

static int read_words(const struct args *args, void *into)
{
    struct sub_plan *plan = into;
    if (args->plain < 2)
        return args_complain(args, "give a URL and at least one channel, such as redis://localhost news");
    if (plan->print.json && plan->print.format != NULL)
        return args_complain(args, "--json and --format are two ways to print: give one");
    if (plan->options.resume != NULL && (plan->options.history != 0 || plan->options.since_us != 0))
        return args_complain(args, "--resume says where to begin: give it without --history and --since");
    plan->channels = (const char *const *)args->words + 1;
    plan->channel_count = (size_t)args->plain - 1;
    return TOOL_GOOD;
}

struct sub_plan sub_plan_init(void)
{
    return (struct sub_plan){.options = bcast_sub_options_init(), .quiet_ms = -1, .workers = 1, .watch = stop_watch};
}

int sub_read(int count, char **words, struct sub_plan *plan, const char **url)
{
    static const struct args_command command = {COMMAND, help, known, read_option, read_words};
    return args_read(&command, count, words, plan, url);
}

int sub_main(int count, char **words)
{
    struct sub_plan plan = sub_plan_init();
    struct bcast *b = NULL;
    const char *url;
    int code = sub_read(count, words, &plan, &url);
    if (url == NULL)
        return code;
    if (!stop_begin()) {
        fputs(COMMAND ": no thread can be had\n", stderr);
        return TOOL_FAILED;
    }
    code = connect_open(COMMAND, url, &b);
    if (code == TOOL_GOOD) {
        code = sub_run(b, &plan, stdout, stderr);
        bcast_close(b);
    }
    stop_end();
    return code;
}
