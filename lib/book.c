#include "book.h"

#include <string.h>

#include "base/error.h"
#include "extra.h"

#define BLOCK_BYTES ((size_t)65536)
#define FEW 16 /* events, to begin with */

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(8) unsigned char bytes[];
};

struct book *book_new(const char *channel, size_t size)
{
    struct book *book = memory_get(sizeof *book + size + 1);
    if (book == NULL)
        return NULL;
    memcpy(book->channel, channel, size);
    book->channel_size = (uint32_t)size;
    return book;
}

void book_empty(struct book *book)
{
    while (book->blocks != NULL) {
        struct block *block = book->blocks;
        book->blocks = block->next;
        memory_put(block);
    }
    book->page.count = 0;
}

void bcast_page_free(struct bcast_page *page)
{
    struct book *book = (struct book *)(void *)page; /* a book begins with its page */
    if (book == NULL)
        return;
    book_empty(book);
    memory_put(book->events);
    memory_put(book->older);
    memory_put(book->newer);
    memory_put(book);
}

static unsigned char *book_room(struct book *book, size_t size)
{
    struct block *block = book->blocks;
    size = record_padded(size + (size == 0)); /* data is never NULL */
    if (block == NULL || block->size - block->used < size) {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = memory_get(sizeof *block + bytes);
        if (block == NULL)
            return NULL;
        block->size = bytes;
        block->next = book->blocks;
        book->blocks = block;
    }
    block->used += size;
    return block->bytes + block->used - size;
}

/* Room for one more. */
static struct bcast_event *next_event(struct book *book)
{
    if (book->page.count == book->room) {
        size_t room = book->room == 0 ? FEW : 2 * book->room;
        struct bcast_event *events = memory_get(room * sizeof *events);
        if (events == NULL)
            return NULL;
        if (book->room != 0)
            memcpy(events, book->events, book->room * sizeof *events);
        memory_put(book->events);
        book->page.events = book->events = events;
        book->room = room;
    }
    return &book->events[book->page.count];
}

bool book_add(struct book *book, const unsigned char *record, uint64_t header, uint64_t sequence)
{
    size_t bytes = record_padded(record_extra_size(header)) + record_size(header);
    struct bcast_event *event = next_event(book);
    unsigned char *room = event != NULL ? book_room(book, bytes) : NULL;
    if (room == NULL)
        return false;
    memcpy(room, record + RECORD_HEADER, bytes);
    event_fill_message(event, book->channel, book->channel_size, room, header, sequence);
    book->page.count++;
    return true;
}

bool book_add_incoming(struct book *book, const struct bcast_incoming *message)
{
    uint32_t extra = 0;
    struct bcast_incoming less;
    message = extra_fit(message, &less, &extra);
    struct bcast_event *event = next_event(book);
    unsigned char *room = event != NULL ? book_room(book, record_padded(extra) + message->size) : NULL;
    if (room == NULL)
        return false;
    if (extra != 0)
        extra_write(room, message);
    if (message->size != 0)
        memcpy(room + record_padded(extra), message->data, message->size);
    event_fill_message(event, book->channel, book->channel_size, room, record_header(message->size, extra), 0);
    book->page.count++;
    return true;
}

bool book_add_gap(struct book *book, const struct gap_record *gap, uint64_t sequence)
{
    struct bcast_event *event = next_event(book);
    if (event == NULL)
        return false;
    event_fill_gap(event, book->channel, book->channel_size, gap, sequence);
    book->page.count++;
    return true;
}

void book_turn(struct book *book)
{
    for (size_t low = 0, high = book->page.count; low + 1 < high; low++) {
        struct bcast_event event = book->events[low];
        book->events[low] = book->events[--high];
        book->events[high] = event;
    }
}

/* In the place of what it was before. */
static bool replace(char **text, const char *by)
{
    memory_put(*text);
    *text = memory_get(strlen(by) + 1);
    if (*text != NULL)
        strcpy(*text, by);
    return *text != NULL;
}

int book_sign(struct book *book, const char *older, const char *newer)
{
    if ((older != NULL && !replace(&book->older, older)) || !replace(&book->newer, newer))
        return error_nomem();
    book->page.older = older != NULL ? book->older : NULL;
    book->page.newer = book->newer;
    return BCAST_OK;
}
