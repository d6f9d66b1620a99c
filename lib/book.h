/* A page of history, and everything that its events point to. One thread's at a time. Knows event. */
#ifndef BOOK_H
#define BOOK_H

#include "broadcaster/backend.h"

#include "event.h"

struct block; /* of what the events point to */

struct book {
    struct bcast_page page; /* first: what the caller sees; its events are `events` */
    struct bcast_event *events;
    size_t room; /* for so many */
    struct block *blocks;
    char *older, *newer;
    uint32_t channel_size;
    char channel[]; /* with a NUL behind it */
};

struct book *book_new(const char *channel,
                      size_t size); /* NULL: no memory; so is false below. Freed by bcast_page_free */
void book_empty(struct book *book);
bool book_add(struct book *book, const unsigned char *record, uint64_t header, uint64_t sequence);
bool book_add_incoming(struct book *book, const struct bcast_incoming *message);
bool book_add_gap(struct book *book, const struct gap_record *gap, uint64_t sequence);
void book_turn(struct book *book);                                      /* the last event becomes the first */
int book_sign(struct book *book, const char *older, const char *newer); /* older may be NULL. BCAST_OK or NOMEM */

#endif
