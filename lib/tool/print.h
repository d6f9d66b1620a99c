/* How an event is shown: the bytes of its message, JSON, or a format of the user's. */
#ifndef PRINT_H
#define PRINT_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stdio.h>

struct print {
    bool json;
    const char *format; /* NULL: the message's bytes and a newline */
};

/* To `out`; gaps, unless it is JSON, as a sentence to `err`. Not flushed. */
void print_event(const struct print *print, const struct bcast_event *event, FILE *out, FILE *err);

/* What in a format means nothing, such as "%x"; NULL: all is good. */
const char *print_check(const char *format, char bad[3]);

#endif
