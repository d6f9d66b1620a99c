#include "history.h"

#include "args.h"
#include "connect.h"
#include "json.h"
#include "tool.h"

#define COMMAND "broadcaster history"

static void json_page(const struct bcast_page *page, FILE *out)
{
    fputs("{\"kind\":\"page\",", out);
    json_text(out, "older", page->older);
    putc(',', out);
    json_text(out, "newer", page->newer);
    fprintf(out, ",\"more\":%s}\n", page->more ? "true" : "false");
}

static void print_ends(const struct bcast_page *page, FILE *err)
{
    if (page->older != NULL)
        fprintf(err, "older: %s\n", page->older);
    fprintf(err, "newer: %s\nmore: %s\n", page->newer, page->more ? "yes" : "no");
}

int history_run(struct bcast *b, const struct history_plan *plan, FILE *out, FILE *err)
{
    struct bcast_page *page;
    bool lost = false;
    if (bcast_history(b, plan->channel, &plan->query, &page) != BCAST_OK) {
        fprintf(err, COMMAND ": %s\n", bcast_error_text());
        return TOOL_FAILED;
    }
    for (size_t i = 0; i < page->count; i++) {
        print_event(&plan->print, &page->events[i], out, err);
        lost |= page->events[i].kind == BCAST_GAP;
    }
    fflush(out); /* the positions come behind the page */
    if (plan->print.json)
        json_page(page, out);
    else if (!plan->quiet)
        print_ends(page, err);
    bcast_page_free(page);
    return lost ? TOOL_LOST : TOOL_GOOD;
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const char help[] =
    "usage: " COMMAND " URL CHANNEL [OPTION...]\n"
    "Prints a page of what the broker has kept of the channel, the oldest message first: the newest page, unless said\n"
    "otherwise. On stderr, where the pages around it are: 'older: P' for --before, 'newer: P' for --after, and "
    "whether\n"
    "there are more messages behind it already; with --json all that is a last object.\n"
    "\n"
    "      --limit N      messages of a page (default 100)\n"
    "      --before P     the page that ends just before P\n"
    "      --after P      the page that begins there; '': with the oldest message\n"
    "      --since TIME   nothing older: 2026-01-31T12:00:00Z, or seconds since 1970\n"
    "      --json         one JSON object per line, as broadcaster sub\n"
    "  -f, --format F     as broadcaster sub\n"
    "  -q, --quiet        no positions on stderr\n"
    "  -h, --help         this\n"
    "\n"
    "exit code: 0 good   1 error   2 usage   4 messages behind --after P are not kept any more\n"
    "\n"
    "  " COMMAND " redis://localhost news --limit 10               the last ten\n"
    "  " COMMAND " redis://localhost news --before 1700000000000-3  those before them\n"
    "  " COMMAND " kafka://localhost log --after '' --json         from the beginning\n";

enum { LIMIT = 256, BEFORE, AFTER, SINCE, JSON };

static const struct args_option known[] = {
    {"limit", LIMIT, "N"},    {"before", BEFORE, "P"}, {"after", AFTER, "P"},
    {"since", SINCE, "TIME"}, {"json", JSON, NULL},    {"format", 'f', "F"},
    {"quiet", 'q', NULL},     {"help", 'h', NULL},     {NULL, 0, NULL},
};

static bool read_option(const struct args *args, int id, void *into)
{
    struct history_plan *plan = into;
    uint64_t number = 0;
    bool good = true;
    switch (id) {
    case LIMIT:
        good = args_number(args, 1, 65536, &number);
        plan->query.limit = (size_t)number;
        break;
    case BEFORE: plan->query.before = args->value; break;
    case AFTER: plan->query.after = args->value; break;
    case SINCE: return args_time(args, &plan->query.since_us);
    case JSON: plan->print.json = true; break;
    case 'f': plan->print.format = args->value; return args_format(args);
    default: plan->quiet = true;
    }
    return good;
}

static int read_words(const struct args *args, void *into)
{
    struct history_plan *plan = into;
    if (args->plain != 2)
        return args_complain(args, "give a URL and one channel, such as redis://localhost news");
    if (plan->print.json && plan->print.format != NULL)
        return args_complain(args, "--json and --format are two ways to print: give one");
    if (plan->query.before != NULL && plan->query.after != NULL)
        return args_complain(args, "a page is before one position or after one: give --before or --after");
    plan->channel = args->words[1];
    return TOOL_GOOD;
}

struct history_plan history_plan_init(void)
{
    return (struct history_plan){.query = bcast_history_query_init()};
}

int history_read(int count, char **words, struct history_plan *plan, const char **url)
{
    static const struct args_command command = {COMMAND, help, known, read_option, read_words};
    return args_read(&command, count, words, plan, url);
}

int history_main(int count, char **words)
{
    struct history_plan plan = history_plan_init();
    struct bcast *b = NULL;
    const char *url;
    int code = history_read(count, words, &plan, &url);
    if (url == NULL)
        return code;
    code = connect_open(COMMAND, url, &b);
    if (code != TOOL_GOOD)
        return code;
    code = history_run(b, &plan, stdout, stderr);
    bcast_close(b);
    return code;
}
