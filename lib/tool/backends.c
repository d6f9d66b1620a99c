/* broadcaster backends: what this build has, what of it is installed, and what each can do. */
#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "json.h"
#include "tool.h"

#define COMMAND "broadcaster backends"
#define MOST 64

static const struct {
    enum bcast_can bit;
    const char *name, *what;
} abilities[] = {
    {BCAST_CAN_PROCESSES, "processes", "reaches other processes"},
    {BCAST_CAN_HISTORY, "history", "keeps messages: history, resume"},
    {BCAST_CAN_BLOCK, "block", "publishers can be made to wait"},
    {BCAST_CAN_PATTERNS, "patterns", "subscribes to patterns"},
    {BCAST_CAN_KEYS, "keys", "messages have keys"},
    {BCAST_CAN_HEADERS, "headers", "messages have headers"},
    {BCAST_CAN_BINARY, "binary", "carries any bytes"},
    {BCAST_CAN_CONFIRM, "confirm", "confirms what was published"},
    {BCAST_CAN_IDS, "ids", "messages have ids"},
    {BCAST_CAN_TIMESTAMPS, "timestamps", "messages have timestamps"},
    {BCAST_CAN_RESUME, "resume", "loses nothing when reconnecting"},
};
#define ABILITIES (sizeof abilities / sizeof *abilities)

static const char *state_text(const struct bcast_backend_info *info)
{
    static const char *const texts[] = {"unknown", "built in", "module", "missing"};
    return texts[info->state >= 0 && info->state <= BCAST_BACKEND_MISSING ? info->state : 0];
}

/* ---------------------------------------------------------------------------------------------------------- JSON -- */

static void json_schemes(const char *schemes)
{
    for (bool first = true; *schemes != '\0'; first = false) {
        size_t size = strcspn(schemes, " ");
        if (!first)
            putchar(',');
        json_string(stdout, schemes, size);
        schemes += size + (schemes[size] != '\0');
    }
}

static void json_can(uint64_t can)
{
    const char *comma = "";
    for (size_t i = 0; i < ABILITIES; i++)
        if ((can & abilities[i].bit) != 0) {
            printf("%s\"%s\"", comma, abilities[i].name);
            comma = ",";
        }
}

static void json_size(const char *name, size_t size)
{
    if (size != 0)
        printf(",\"%s\":%zu", name, size);
    else
        printf(",\"%s\":null", name);
}

static void json_backend(const struct bcast_backend_info *info)
{
    static const char *const states[] = {"unknown", "built_in", "module", "missing"};
    putchar('{');
    json_text(stdout, "name", info->name);
    fputs(",\"schemes\":[", stdout);
    json_schemes(info->schemes);
    printf("],\"state\":\"%s\",", states[info->state >= 0 && info->state <= BCAST_BACKEND_MISSING ? info->state : 0]);
    json_text(stdout, "package", *info->package != '\0' ? info->package : NULL);
    if (info->state == BCAST_BACKEND_MISSING) {
        fputs(",\"can\":null", stdout);
    } else {
        fputs(",\"can\":[", stdout);
        json_can(info->can);
        putchar(']');
    }
    json_size("max_message_bytes", info->max_message_bytes);
    json_size("max_channel_bytes", info->max_channel_bytes);
    puts("}");
}

/* --------------------------------------------------------------------------------------------------------- tables -- */

static int width_of(const struct bcast_backend_info *info)
{
    size_t size = strlen(info->name);
    return (int)(size > 8 ? size : 8);
}

static void print_backend(const struct bcast_backend_info *info)
{
    printf("%-12s %-10s %s", info->name, state_text(info), info->schemes);
    if (info->state == BCAST_BACKEND_MISSING)
        printf("   (install %s)", info->package);
    putchar('\n');
}

static void print_row(size_t ability, const struct bcast_backend_info *infos, size_t count)
{
    printf("%-33s", abilities[ability].what);
    for (size_t i = 0; i < count; i++)
        if (infos[i].state != BCAST_BACKEND_MISSING)
            printf(" %*s", width_of(&infos[i]), (infos[i].can & abilities[ability].bit) != 0 ? "yes" : "-");
    putchar('\n');
}

static void print_limits(const char *what, const struct bcast_backend_info *infos, size_t count, bool channel)
{
    printf("%-33s", what);
    for (size_t i = 0; i < count; i++) {
        size_t most = channel ? infos[i].max_channel_bytes : infos[i].max_message_bytes;
        if (infos[i].state != BCAST_BACKEND_MISSING && most != 0)
            printf(" %*zu", width_of(&infos[i]), most);
        else if (infos[i].state != BCAST_BACKEND_MISSING)
            printf(" %*s", width_of(&infos[i]), "-");
    }
    putchar('\n');
}

static void print_tables(const struct bcast_backend_info *infos, size_t count)
{
    printf("%-12s %-10s %s\n", "backend", "state", "schemes");
    for (size_t i = 0; i < count; i++)
        print_backend(&infos[i]);
    printf("\n%-33s", "can, at most");
    for (size_t i = 0; i < count; i++)
        if (infos[i].state != BCAST_BACKEND_MISSING)
            printf(" %*s", width_of(&infos[i]), infos[i].name);
    putchar('\n');
    for (size_t i = 0; i < ABILITIES; i++)
        print_row(i, infos, count);
    print_limits("bytes of a channel's name", infos, count, true);
    print_limits("bytes of a message (-: no limit)", infos, count, false);
}

static size_t collect(struct bcast_backend_info *infos)
{
    size_t count = 0;
    while (count < MOST) {
        infos[count] = bcast_backend_info_init();
        if (bcast_backend_info(count, &infos[count]) != BCAST_OK)
            break;
        count++;
    }
    return count;
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const char help[] =
    "usage: " COMMAND " [--json]\n"
    "Lists the backends of this build: built in, a module that is installed, or a module that is missing (and what to\n"
    "install); and what each can do, at most: a URL's parameters, or the broker, may allow less.\n"
    "\n"
    "      --json    one JSON object per line\n"
    "  -h, --help    this\n"
    "\n"
    "  " COMMAND "\n"
    "  " COMMAND " --json | jq -r 'select(.state != \"missing\") | .schemes[]'\n";

static const struct args_option known[] = {{"json", 'j', NULL}, {"help", 'h', NULL}, {NULL, 0, NULL}};

int backends_main(int count, char **words)
{
    struct bcast_backend_info infos[MOST];
    struct args args;
    bool json = false;
    int id;
    args_begin(&args, COMMAND, known, count, words);
    while ((id = args_next(&args)) >= 0) {
        if (id == 'h')
            return fputs(help, stdout), TOOL_GOOD;
        json = true;
    }
    if (id == ARGS_BAD)
        return TOOL_USAGE;
    if (args.plain != 0)
        return args_complain(&args, "it takes no URL: it lists all there are");
    size_t found = collect(infos);
    for (size_t i = 0; json && i < found; i++)
        json_backend(&infos[i]);
    if (!json)
        print_tables(infos, found);
    return TOOL_GOOD;
}
