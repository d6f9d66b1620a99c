/* Reads a command's arguments: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -ab, before, between or after the words
 * that are no options; behind -- there are no more options. Complains on stderr, with what to do. */
#ifndef ARGS_H
#define ARGS_H

#include <stdbool.h>
#include <stdint.h>

struct args_option {
    const char *name;
    int id;            /* below 256: also its letter */
    const char *value; /* what its value is called; NULL: it has none */
};

struct args {
    const char *command;               /* for complaints: "broadcaster sub" */
    const struct args_option *options; /* the last one's name is NULL */
    char **words;                      /* those that are no options gather at the front */
    int count, at, plain;              /* of all words; the next one; of those that are no options */
    const char *letters;               /* what is left of -abc */
    bool plain_only;                   /* behind -- */
    const struct args_option *option;  /* the current one */
    const char *value;
};

enum { ARGS_END = -1, ARGS_BAD = -2 };

/* `words` without the command's name; they are put into another order. */
void args_begin(struct args *args, const char *command, const struct args_option *options, int count, char **words);
/* The next option's id; or ARGS_END: `plain` of `words` are no options; or ARGS_BAD: the complaint has been made. */
int args_next(struct args *args);

/* The current option's value as a number. false: the complaint has been made. */
bool args_number(const struct args *args, uint64_t least, uint64_t most, uint64_t *out);
/* The place of the value in a list that ends with NULL; negative: the complaint has been made. */
int args_choice(const struct args *args, const char *const *choices);

/* The value as a point in time, never 0; and whether it is a format that print_event understands. */
bool args_time(const struct args *args, int64_t *us);
bool args_format(const struct args *args);

/* What a command that wants a URL makes of its words. */
struct args_command {
    const char *name, *help;
    const struct args_option *options;                           /* "help", with id 'h', is one of them */
    bool (*option)(const struct args *args, int id, void *plan); /* false: the complaint has been made */
    int (*words)(const struct args *args, void *plan); /* in the end: those that are no options; an exit code */
};
/* An exit code; *url: the first word, to go on with, or NULL: everything has been said. */
int args_read(const struct args_command *command, int count, char **words, void *plan, const char **url);

/* One line on stderr that ends with where help is. Returns TOOL_USAGE. */
int args_complain(const struct args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
