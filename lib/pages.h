/* Pages of what a broker keeps. Knows book and io. */
#ifndef PAGES_H
#define PAGES_H

#include "book.h"
#include "broadcast.h"

struct pages_query {
    const char *before, *after; /* one of them at most */
    bool backwards;
    int64_t since_us;
    size_t limit, limit_bytes;
    int timeout_ms;
};

/* Reads one into the book, which is given away. BCAST_OK: it is *out. Else INVALID, NOT_FOUND, TIMEOUT, NOMEM, CLOSED, or
 * what the broker says. */
int pages_fetch(struct bcast *b, struct book *book, const struct pages_query *query, struct bcast_page **out);

#endif
