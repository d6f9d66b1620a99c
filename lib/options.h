/* Reads the public, sized structs: takes what the caller's version of them has, and fills in defaults. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "broadcast.h"
#include "cursor.h"

/* Copies min(known, given) bytes of a sized struct over zeroes. BCAST_ERR_INVALID if its size makes no sense. */
int options_copy(void *to, size_t known, const void *from, const char *what);
/* For results: fills the caller's struct up to the size it says it has. */
int options_return(void *to, const void *from, size_t known, const char *what);

int options_read(struct settings *settings, const struct bcast_options *options, struct bcast_options *copy);

struct sub_settings {
    enum cursor_policy policy;
    bool shared;
    struct ring_limits limits;
    int timeout_ms;
    size_t history; /* what is to be delivered first */
    int64_t since_us;
    const char *resume;
};

int options_read_sub(struct sub_settings *settings, const struct bcast_sub_options *options);

#endif
