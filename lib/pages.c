#include "pages.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "io.h"
#include "marks.h"

/* A caller's question, which may outlive the caller's patience: then the I/O thread frees it. */
struct question {
    struct inquiry inquiry; /* first */
    struct io *io;
    struct book *book;
    size_t bytes; /* of data that it has */
    int status;   /* of what the book could not take */
    char texts[]; /* that the inquiry points to */
};

static struct question *question_of(struct inquiry *inquiry)
{
    return (struct question *)(void *)inquiry;
}

static int on_message(struct inquiry *inquiry, const struct bcast_incoming *message)
{
    struct question *question = question_of(inquiry);
    const struct bcast_fetch *fetch = &inquiry->fetch;
    if (question->bytes != 0 && question->bytes + message->size > fetch->limit_bytes)
        return BCAST_TIMEOUT;
    if (!book_add_incoming(question->book, message)) {
        question->status = BCAST_ERR_NOMEM;
        return BCAST_TIMEOUT;
    }
    question->bytes += message->size != 0 ? message->size : 1; /* an empty one is one, too */
    return BCAST_OK;
}

static void on_gap(struct inquiry *inquiry, const struct gap_record *gap)
{
    struct question *question = question_of(inquiry);
    if (!book_add_gap(question->book, gap, 0))
        question->status = BCAST_ERR_NOMEM;
}

static int finish(struct question *question, const struct bcast_fetch_end *end)
{
    struct book *book = question->book;
    if (question->status != BCAST_OK)
        return error_nomem();
    if (question->inquiry.fetch.backwards)
        book_turn(book);
    book->page.more = end->more_newer;
    return book_sign(book, end->more_older ? end->older : NULL, end->newer);
}

static void on_end(struct inquiry *inquiry, const struct bcast_fetch_end *end)
{
    struct question *question = question_of(inquiry);
    struct bcast_fetch_end mine = *end;
    if (end->status == BCAST_OK) {
        mine.status = finish(question, end);
        mine.reason = mine.status != BCAST_OK ? bcast_error_text() : "";
    } else {
        book_empty(question->book); /* it may be asked again */
        question->bytes = 0;
        question->status = BCAST_OK;
    }
    io_fetch_done(question->io, inquiry, &mine);
}

static void drop(struct inquiry *inquiry)
{
    struct question *question = question_of(inquiry);
    bcast_page_free(&question->book->page);
    memory_put(question);
}

static struct question *question_new(struct bcast *b, struct book *book, const struct pages_query *query)
{
    const char *position = query->before != NULL ? query->before : query->after;
    size_t size = position != NULL ? strlen(position) + 1 : 0;
    struct question *question = memory_get(sizeof *question + size);
    if (question == NULL)
        return NULL;
    if (size != 0)
        memcpy(question->texts, position, size);
    question->io = b->io;
    question->book = book;
    struct inquiry *inquiry = &question->inquiry;
    inquiry->message = on_message;
    inquiry->gap = on_gap;
    inquiry->ended = on_end;
    inquiry->drop = drop;
    inquiry->fetch = (struct bcast_fetch){.channel = book->channel,
                                          .channel_size = book->channel_size,
                                          .backwards = query->backwards,
                                          .position = position != NULL ? question->texts : NULL,
                                          .since_us = query->since_us,
                                          .limit = query->limit,
                                          .limit_bytes = query->limit_bytes};
    return question;
}

static int check_position(const char *text)
{
    struct marks *marks = text != NULL ? marks_new(NULL) : NULL;
    if (text != NULL && marks == NULL)
        return error_nomem();
    int status = text != NULL ? marks_set(marks, text) : BCAST_OK;
    marks_unref(marks);
    return status;
}

int pages_fetch(struct bcast *b, struct book *book, const struct pages_query *query, struct bcast_page **out)
{
    int status = check_position(query->before != NULL ? query->before : query->after);
    struct question *question = status == BCAST_OK ? question_new(b, book, query) : NULL;
    if (question == NULL) {
        bcast_page_free(&book->page);
        return status != BCAST_OK ? status : error_nomem();
    }
    status = io_fetch(b->io, &question->inquiry, clock_deadline(query->timeout_ms));
    if (status != BCAST_OK)
        return status; /* it was dropped */
    *out = &book->page;
    memory_put(question);
    return BCAST_OK;
}
