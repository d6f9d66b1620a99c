/* The proxy by hand or for a script:
 *     proxy LISTEN_PORT HOST:PORT [--seed N [--hostile]] [--verbose] [COMMAND...]
 * LISTEN_PORT 0: a free one; PORT=... is printed. With --seed it runs a plan. Each COMMAND, and then each line on stdin
 * until that ends, is one of
 *     to-server NAME=VALUE...    to-client NAME=VALUE...    the rule: delay jitter piece any merge merge-ms rate
 *                                                          silent flips replace action after times bytes seed
 *     door open|refuse|slam|mute|ignore       cut       fin       half-fin to-server|to-client
 *     inject to-server|to-client TEXT         plan SEED calm      stats
 * and is answered with ok, or a complaint. Actions: reset fin half-fin inject silence. */
#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find(const char *const *table, const char *word)
{
    for (int i = 0; word != NULL && table[i] != NULL; i++)
        if (strcmp(table[i], word) == 0)
            return i;
    return -1;
}

static const char *const ways[] = {"to-server", "to-client", NULL};
static const char *const doors[] = {"open", "refuse", "slam", "mute", "ignore", NULL};
static const char *const actions[] = {"nothing", "reset", "fin", "half-fin", "inject", "silence", NULL};

static bool set_number(struct proxy_rule *rule, const char *name, unsigned long long n)
{
    struct {
        const char *name;
        unsigned *number;
    } table[] = {{"delay", &rule->delay_ms},       {"jitter", &rule->jitter_ms}, {"piece", &rule->piece},
                 {"merge-ms", &rule->merge_ms},    {"flips", &rule->flips},      {"times", &rule->times},
                 {"rate", &rule->bytes_per_second}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return *table[i].number = (unsigned)n, true;
    if (strcmp(name, "merge") == 0)
        return rule->merge_bytes = (size_t)n, true;
    if (strcmp(name, "after") == 0)
        return rule->after = n, true;
    if (strcmp(name, "seed") == 0)
        return rule->seed = n, true;
    if (strcmp(name, "any") == 0)
        return rule->any_piece = n != 0, true;
    if (strcmp(name, "silent") == 0)
        return rule->silent = n != 0, true;
    return false;
}

static bool set(struct proxy_rule *rule, char *word)
{
    char *end, *value = strchr(word, '=');
    if (value == NULL)
        return false;
    *value++ = '\0';
    if (strcmp(word, "replace") == 0)
        return rule->replace = value, rule->replace_size = strlen(value), true;
    if (strcmp(word, "bytes") == 0)
        return rule->bytes = value, rule->size = strlen(value), true;
    if (strcmp(word, "action") == 0) {
        int action = find(actions, value);
        rule->action = (enum proxy_action)(action < 0 ? 0 : action);
        return action >= 0;
    }
    unsigned long long n = strtoull(value, &end, 0);
    return *value != '\0' && *end == '\0' && set_number(rule, word, n);
}

static bool rule(struct proxy *p, int way, char *rest)
{
    struct proxy_rule rule = {0};
    for (char *word = strtok(rest, " "); word != NULL; word = strtok(NULL, " "))
        if (!set(&rule, word))
            return false;
    proxy_rule(p, (enum proxy_way)way, &rule);
    return true;
}

static bool show(struct proxy *p)
{
    struct proxy_stats stats = proxy_stats(p);
    printf("connections=%llu open=%llu to-server=%llu to-client=%llu actions=%llu\n",
           (unsigned long long)stats.connections, (unsigned long long)stats.open, (unsigned long long)stats.bytes[0],
           (unsigned long long)stats.bytes[1], (unsigned long long)stats.actions);
    return true;
}

static bool door(struct proxy *p, const char *name)
{
    int door = find(doors, name);
    if (door >= 0)
        proxy_door(p, (enum proxy_door)door);
    return door >= 0;
}

static bool inject(struct proxy *p, char *rest)
{
    int way = find(ways, strtok(rest, " "));
    char *text = strtok(NULL, "");
    if (way < 0 || text == NULL)
        return false;
    proxy_inject(p, (enum proxy_way)way, text, strlen(text));
    return true;
}

static bool half_fin(struct proxy *p, const char *name)
{
    int way = find(ways, name);
    if (way >= 0)
        proxy_half_fin(p, (enum proxy_way)way);
    return way >= 0;
}

static bool obey(struct proxy *p, char *line, int flags)
{
    static const char *const words[] = {"door", "cut", "fin", "half-fin", "inject", "plan", "calm", "stats", NULL};
    static char empty[] = "";
    char *rest = line + strcspn(line, " ");
    rest = *rest != '\0' ? (*rest = '\0', rest + 1) : empty;
    if (find(ways, line) >= 0)
        return rule(p, find(ways, line), rest);
    switch (find(words, line)) {
    case 0: return door(p, rest);
    case 1: return proxy_cut(p), true;
    case 2: return proxy_fin(p), true;
    case 3: return half_fin(p, rest);
    case 4: return inject(p, rest);
    case 5: return proxy_plan(p, strtoull(rest, NULL, 0), flags), true;
    case 6: return proxy_calm(p), true;
    case 7: return show(p);
    default: return false;
    }
}

static void answer(bool good)
{
    printf("%s\n", good ? "ok" : "not understood: see test/fault/main.c");
    fflush(stdout);
}

static int usage(void)
{
    fprintf(stderr, "usage: proxy LISTEN_PORT HOST:PORT [--seed N [--hostile]] [--verbose] [COMMAND...]\n");
    return 2;
}

static int serve(struct proxy *p, char **words, int count)
{
    char line[4096], *seed = NULL;
    int flags = 0, i = 0;
    for (; i < count && strncmp(words[i], "--", 2) == 0; i++) {
        if (strcmp(words[i], "--hostile") == 0)
            flags |= PROXY_HOSTILE;
        else if (strcmp(words[i], "--verbose") == 0)
            flags |= PROXY_LOUD;
        else if (strcmp(words[i], "--seed") == 0 && i + 1 < count)
            seed = words[++i];
        else
            return usage();
    }
    printf("PORT=%u\n", proxy_port(p));
    if (seed != NULL)
        proxy_plan(p, strtoull(seed, NULL, 0), flags);
    for (; i < count; i++)
        answer(obey(p, words[i], flags));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        answer(obey(p, line, flags));
    }
    return 0;
}

int main(int count, char **words)
{
    struct proxy *p;
    char *colon = count > 2 ? strrchr(words[2], ':') : NULL;
    if (colon == NULL)
        return usage();
    *colon = '\0';
    if (proxy_start(words[2], (unsigned)strtoul(colon + 1, NULL, 10), (unsigned)strtoul(words[1], NULL, 10), &p) != 0)
        return 1;
    int status = serve(p, words + 3, count - 3);
    proxy_end(p);
    return status;
}
