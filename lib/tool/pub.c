#define _POSIX_C_SOURCE 200809L
#include "pub.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "args.h"
#include "connect.h"
#include "tool.h"

#define COMMAND "broadcaster pub"
#define FILE_MOST ((size_t)1 << 30) /* no message may be larger */

/* -------------------------------------------------------------------------------------------------------- results -- */

struct run {
    struct bcast *b;
    const struct pub_plan *plan;
    FILE *err;
    pthread_mutex_t mutex; /* over `failed` and `err`: results come from another thread */
    bool failed;
};

/* A message that waits for its result. */
struct ticket {
    struct run *run;
    uint64_t number; /* of the argument or line; the first one is 1 */
};

static void report(struct run *run, uint64_t number, const char *why)
{
    const char *what = run->plan->message_count != 0 ? "message" : run->plan->separator == '\n' ? "line" : "record";
    pthread_mutex_lock(&run->mutex);
    run->failed = true;
    if (run->plan->whole)
        fprintf(run->err, COMMAND ": %s: %s\n", run->plan->name != NULL ? run->plan->name : "stdin", why);
    else
        fprintf(run->err, COMMAND ": %s %llu: %s\n", what, (unsigned long long)number, why);
    pthread_mutex_unlock(&run->mutex);
}

static void on_result(void *context, int status)
{
    struct ticket *ticket = context;
    if (status != BCAST_OK)
        report(ticket->run, ticket->number, bcast_status_text(status));
    free(ticket);
}

/* ------------------------------------------------------------------------------------------------------ publishing -- */

/* Is it this message's fault, so that the next one may do better? */
static bool only_this_one(int status)
{
    return status == BCAST_ERR_TOO_LARGE || status == BCAST_ERR_INVALID;
}

/* false: there is no use in going on. */
static bool publish(struct run *run, uint64_t number, const void *data, size_t size)
{
    struct ticket *ticket = malloc(sizeof *ticket);
    if (ticket == NULL) {
        report(run, number, strerror(ENOMEM));
        return false;
    }
    *ticket = (struct ticket){run, number};
    struct bcast_message message = bcast_message_init();
    message.channel = run->plan->channel;
    message.data = data;
    message.size = size;
    message.key = run->plan->key;
    message.key_size = run->plan->key != NULL ? strlen(run->plan->key) : 0;
    message.headers = run->plan->headers;
    message.header_count = run->plan->header_count;
    message.timeout_ms = run->plan->timeout_ms;
    message.on_result = on_result;
    message.context = ticket;
    int status = bcast_publish_message(run->b, &message);
    if (status == BCAST_OK)
        return true; /* the ticket is on_result's */
    free(ticket);
    report(run, number, bcast_error_text());
    return only_this_one(status);
}

static void publish_words(struct run *run)
{
    const struct pub_plan *plan = run->plan;
    for (size_t i = 0; i < plan->message_count; i++)
        if (!publish(run, i + 1, plan->messages[i], strlen(plan->messages[i])))
            return;
}

static void publish_lines(struct run *run, FILE *in)
{
    char *line = NULL, separator = run->plan->separator;
    size_t room = 0;
    ssize_t size;
    uint64_t number = 0;
    bool more = true;
    while (more && (size = getdelim(&line, &room, separator, in)) >= 0) {
        size -= size != 0 && line[size - 1] == separator;
        more = publish(run, ++number, line, (size_t)size);
    }
    if (more && !feof(in))
        report(run, number + 1, strerror(errno));
    free(line);
}

/* NULL: `*why` says so. */
static char *read_whole(FILE *in, size_t *size, const char **why)
{
    size_t room = 65536, got;
    char *data = malloc(room);
    *why = strerror(ENOMEM);
    for (*size = 0; data != NULL && (got = fread(data + *size, 1, room - *size, in)) != 0;) {
        *size += got;
        if (*size < room)
            continue;
        char *more = room < 2 * FILE_MOST ? realloc(data, room * 2) : NULL;
        if (more == NULL)
            free(data);
        data = more;
        room *= 2;
    }
    if (data != NULL && ferror(in)) {
        *why = strerror(errno);
        free(data);
        return NULL;
    }
    return data;
}

static void publish_whole(struct run *run, FILE *in)
{
    size_t size;
    const char *why;
    char *data = read_whole(in, &size, &why);
    if (data != NULL)
        publish(run, 1, data, size);
    else
        report(run, 1, why);
    free(data);
}

int pub_run(struct bcast *b, const struct pub_plan *plan, FILE *in, FILE *err)
{
    struct run run = {.b = b, .plan = plan, .err = err};
    pthread_mutex_init(&run.mutex, NULL);
    if (plan->message_count != 0)
        publish_words(&run);
    else if (plan->whole)
        publish_whole(&run, in);
    else
        publish_lines(&run, in);
    int status = bcast_flush(b, plan->timeout_ms != 0 ? plan->timeout_ms : 60000);
    if (status != BCAST_OK && status != BCAST_ERR_PUBLISH) { /* each message that failed has its own line */
        fprintf(err, COMMAND ": %s\n", bcast_error_text());
        run.failed = true;
    }
    bcast_close(b);
    pthread_mutex_destroy(&run.mutex);
    return run.failed ? TOOL_FAILED : TOOL_GOOD;
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const char help[] =
    "usage: " COMMAND " URL CHANNEL [MESSAGE...] [OPTION...]\n"
    "Publishes each MESSAGE; without any, each line of stdin. Ends when all of them are confirmed, and names on "
    "stderr\n"
    "each one that was not.\n"
    "\n"
    "  -k, --key K         give every message the key K\n"
    "  -H, --header N=V    and a header; may be repeated\n"
    "      --file F        publish the whole file as one message; -: stdin\n"
    "  -0, --null          messages on stdin end with NUL instead of a newline\n"
    "      --timeout-ms T  wait so long for room, and for the last confirmation (default 60,000)\n"
    "  -q, --quiet         accepted for symmetry: only failures are ever reported\n"
    "  -h, --help          this\n"
    "\n"
    "exit code: 0 all confirmed   1 at least one failed   2 usage\n"
    "\n"
    "  " COMMAND " redis://localhost news 'hello' 'and good bye'   two messages\n"
    "  journalctl -f | " COMMAND " redis://localhost log             a message per line\n"
    "  " COMMAND " redis-stream://localhost img --file a.png -k 17 -H type=image/png\n"
    "  " COMMAND " redis://localhost news -- -starts-with-a-dash\n";

enum { FILE_NAME = 256, TIMEOUT };

static const struct args_option known[] = {
    {"key", 'k', "K"},   {"header", 'H', "NAME=VALUE"}, {"file", FILE_NAME, "F"}, {"timeout-ms", TIMEOUT, "T"},
    {"null", '0', NULL}, {"quiet", 'q', NULL},          {"help", 'h', NULL},      {NULL, 0, NULL},
};

static bool read_header(const struct args *args, struct pub_plan *plan)
{
    char *equals = strchr(args->value, '=');
    if (equals == NULL || equals == args->value || plan->header_count == PUB_HEADERS) {
        args_complain(args, "--header wants NAME=VALUE, at most %d times, not '%s'", PUB_HEADERS, args->value);
        return false;
    }
    *equals = '\0';
    plan->headers[plan->header_count++] = (struct bcast_header){args->value, equals + 1, strlen(equals + 1)};
    return true;
}

static bool read_option(const struct args *args, int id, void *into)
{
    struct pub_plan *plan = into;
    uint64_t number;
    switch (id) {
    case 'k': plan->key = args->value; return true;
    case 'H': return read_header(args, plan);
    case '0': plan->separator = '\0'; return true;
    case FILE_NAME:
        plan->whole = true;
        plan->name = args->value;
        return true;
    case TIMEOUT:
        if (!args_number(args, 1, INT_MAX, &number))
            return false;
        plan->timeout_ms = (int)number;
        return true;
    default: return true;
    }
}

static int read_words(const struct args *args, void *into)
{
    struct pub_plan *plan = into;
    if (args->plain < 2)
        return args_complain(args, "give a URL and a channel, such as redis://localhost news");
    plan->channel = args->words[1];
    plan->messages = (const char *const *)args->words + 2;
    plan->message_count = (size_t)args->plain - 2;
    if ((plan->message_count != 0) + plan->whole + (plan->separator == '\0') > 1)
        return args_complain(args, "messages, --file and --null are three sources: give one");
    return TOOL_GOOD;
}

static FILE *open_input(const struct pub_plan *plan)
{
    if (plan->name == NULL || strcmp(plan->name, "-") == 0)
        return stdin;
    FILE *file = fopen(plan->name, "rb");
    if (file == NULL)
        fprintf(stderr, COMMAND ": %s: %s\n", plan->name, strerror(errno));
    return file;
}

struct pub_plan pub_plan_init(void)
{
    return (struct pub_plan){.separator = '\n', .timeout_ms = 60000};
}

int pub_read(int count, char **words, struct pub_plan *plan, const char **url)
{
    static const struct args_command command = {COMMAND, help, known, read_option, read_words};
    return args_read(&command, count, words, plan, url);
}

int pub_main(int count, char **words)
{
    struct pub_plan plan = pub_plan_init();
    struct bcast *b = NULL;
    const char *url;
    int code = pub_read(count, words, &plan, &url);
    if (url == NULL)
        return code;
    FILE *in = open_input(&plan);
    if (in == NULL)
        return TOOL_FAILED;
    code = connect_open(COMMAND, url, &b);
    if (code == TOOL_GOOD)
        code = pub_run(b, &plan, in, stderr);
    if (in != stdin)
        fclose(in);
    return code;
}
