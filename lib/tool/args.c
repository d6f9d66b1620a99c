#include "args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "stamp.h"
#include "tool.h"

void args_begin(struct args *args, const char *command, const struct args_option *options, int count, char **words)
{
    *args = (struct args){.command = command, .options = options, .words = words, .count = count};
}

int args_complain(const struct args *args, const char *format, ...)
{
    va_list list;
    fprintf(stderr, "%s: ", args->command);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "; see '%s --help'\n", args->command);
    return TOOL_USAGE;
}

static int complain(const struct args *args, const char *what, const char *name, size_t size)
{
    args_complain(args, "%s '%.*s'", what, (int)size, name);
    return ARGS_BAD;
}

/* The option has been found; `value` is what was written into the same word, or NULL. */
static int take(struct args *args, const struct args_option *option, const char *value)
{
    args->option = option;
    args->value = value;
    if (option->value != NULL && value == NULL) {
        if (args->at == args->count) {
            args_complain(args, "--%s wants a value: --%s %s", option->name, option->name, option->value);
            return ARGS_BAD;
        }
        args->value = args->words[args->at++];
    }
    return option->id;
}

static int take_long(struct args *args, const char *word)
{
    size_t size = strcspn(word, "=");
    const char *value = word[size] == '=' ? word + size + 1 : NULL;
    for (const struct args_option *o = args->options; o->name != NULL; o++) {
        if (strlen(o->name) != size || memcmp(o->name, word, size) != 0)
            continue;
        if (value != NULL && o->value == NULL) {
            args_complain(args, "--%s takes no value", o->name);
            return ARGS_BAD;
        }
        return take(args, o, value);
    }
    return complain(args, "there is no option", word - 2, size + 2);
}

static int take_letter(struct args *args)
{
    char letter[] = {'-', *args->letters++, '\0'};
    const char *rest = *args->letters != '\0' ? args->letters : NULL;
    const struct args_option *o = args->options;
    while (o->name != NULL && o->id != (unsigned char)letter[1])
        o++;
    if (o->name == NULL)
        return complain(args, "there is no option", letter, 2);
    if (rest == NULL || o->value != NULL)
        args->letters = NULL;
    return take(args, o, o->value != NULL ? rest : NULL);
}

int args_next(struct args *args)
{
    if (args->letters != NULL)
        return take_letter(args);
    while (args->at < args->count) {
        char *word = args->words[args->at++];
        if (args->plain_only || word[0] != '-' || word[1] == '\0') {
            args->words[args->plain++] = word;
        } else if (word[1] != '-') {
            args->letters = word + 1;
            return take_letter(args);
        } else if (word[2] != '\0') {
            return take_long(args, word + 2);
        } else {
            args->plain_only = true;
        }
    }
    return ARGS_END;
}

bool args_number(const struct args *args, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(args->value, &end, 10);
    bool good = args->value[0] >= '0' && args->value[0] <= '9' && *end == '\0' && errno == 0;
    *out = number;
    if (good && number >= least && number <= most)
        return true;
    args_complain(args, "--%s wants a number from %llu to %llu, not '%s'", args->option->name,
                  (unsigned long long)least, (unsigned long long)most, args->value);
    return false;
}

int args_choice(const struct args *args, const char *const *choices)
{
    for (int i = 0; choices[i] != NULL; i++)
        if (strcmp(choices[i], args->value) == 0)
            return i;
    args_complain(args, "--%s is one of %s, not '%s'", args->option->name, args->option->value, args->value);
    return -1;
}

bool args_time(const struct args *args, int64_t *us)
{
    if (!stamp_read(args->value, us)) {
        args_complain(args, "--%s wants a time such as 2026-01-31T12:00:00Z, or seconds since 1970, not '%s'",
                      args->option->name, args->value);
        return false;
    }
    *us += *us == 0; /* 0 is "no bound" to the library, and means no history at all in a subscription */
    return true;
}

bool args_format(const struct args *args)
{
    char bad[3];
    if (print_check(args->value, bad) == NULL)
        return true;
    args_complain(args, "--%s: '%s' means nothing; %% and \\ themselves are written %%%% and \\\\", args->option->name,
                  bad);
    return false;
}

int args_read(const struct args_command *command, int count, char **words, void *plan, const char **url)
{
    struct args args;
    int id;
    *url = NULL;
    args_begin(&args, command->name, command->options, count, words);
    while ((id = args_next(&args)) >= 0) {
        if (id == 'h')
            return fputs(command->help, stdout), TOOL_GOOD;
        if (!command->option(&args, id, plan))
            return TOOL_USAGE;
    }
    int code = id == ARGS_BAD ? TOOL_USAGE : command->words(&args, plan);
    if (code == TOOL_GOOD)
        *url = args.words[0];
    return code;
}
