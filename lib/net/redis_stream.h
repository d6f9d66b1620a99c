/* The inside of the backend redis-stream: redis_stream_ask.c (what is asked, over the connection that reads),
 * redis_stream_read.c (what comes, and what is missing). All of it is the I/O thread's.
 *
 * As long as little happens, one XREAD waits for all streams. A stream of which more than a few entries came is *busy*: it
 * is read in transactions that ask XINFO first, so that nothing can be trimmed between the two, and how many entries are
 * missing is known, and said where they are missing. What the waiting XREAD brought of it is not used.
 * Knows redis, redis_fetch, redis_out, names, backend.h. */
#ifndef NET_REDIS_STREAM_H
#define NET_REDIS_STREAM_H

#include "names.h"
#include "redis_fetch.h"
#include "redis_out.h"

#define STREAM_FEW 8 /* entries of a stream that the waiting XREAD asks for, at most; as many mean that it is busy */
#define STREAM_MANY 1000    /* that a transaction asks for */
#define STREAM_BUSY_MOST 64 /* streams in one transaction */

enum {
    STREAM_ASK_ID = REDIS_FETCH_OTHERS,
    STREAM_ASK_INFO,
    STREAM_ASK_UNBLOCK,
    STREAM_ASK_WAIT,
    STREAM_ASK_QUEUED,
    STREAM_ASK_EXEC
};

struct stream_topic {
    struct name name;          /* first; in the table as long as there is a topic */
    struct bcast_topic *topic; /* NULL: nobody wants it any more; it stays until the last answer */
    struct stream_topic *next, *previous;
    unsigned unanswered;
    struct redis_id at; /* of the last entry that was delivered, or where it began */
    uint64_t index;     /* how many entries were added to the stream up to there, if `counted` */
    bool known;         /* `at` is set: it survives a lost connection */
    bool on, paused, busy, counted;
};

enum stream_reading { READING_NOT = 0, READING_WAITS, READING_BUSY };

struct streams {
    struct redis *redis; /* first: see redis.h */
    struct bcast_sink *sink;
    struct redis_out out;
    struct redis_fetches fetches;
    struct names names;
    struct stream_topic *all, *checked; /* checked: the last one that was looked after while nothing came */
    uint64_t maxlen, wait_ms;
    long long client_id; /* of the connection that reads; 0: not known yet; negative: we may not know */
    enum stream_reading reading;
    bool changed;   /* there is more to be read: once all that was read has been handed on */
    bool kicked;    /* the waiting XREAD is to come back at once */
    unsigned turns; /* transactions since the idle streams were looked at */
    bool idle_too;  /* they are part of this one */
    struct stream_topic *batch[STREAM_BUSY_MOST]; /* what the transaction asks for */
    size_t batch_count, ask_for;

    struct redis_word *words; /* of a command; grows */
    char (*ids)[REDIS_ID_BYTES];
    size_t word_room, id_room;

    /* What is being read. */
    struct redis_info info;
    struct stream_topic *to;     /* NULL: nobody wants it */
    bool skip;                   /* it will be read again */
    size_t part;                 /* of a transaction's answer */
    struct stream_topic *judged; /* the busy stream whose part of it is being read; NULL: none */
    struct redis_info judged_info;
    struct redis_entry entry;
    uint64_t entries;         /* of this stream in this reply */
    uint64_t bytes, messages; /* of this reply */
};

/* redis_stream_ask.c */
bool redis_stream_want_words(struct streams *self, size_t streams); /* room in `words` and `ids`; false: no memory */
void redis_stream_put_word(struct streams *self, size_t *count, const char *text, size_t size);
void redis_stream_read_on(struct streams *self);
void redis_stream_kick(struct streams *self); /* something is to be read that the waiting XREAD does not know of */
void redis_stream_take_kick(struct streams *self, const struct redis_element *element);
void redis_stream_answered(struct stream_topic *stream); /* one answer about it came, or will never come */
void redis_stream_free_if_done(struct stream_topic *stream);

/* redis_stream_read.c */
void redis_stream_take_wait(struct streams *self, const struct redis_element *element);
void redis_stream_take_exec(struct streams *self, const struct redis_element *element);
void redis_stream_end(struct streams *self, bool exec); /* the reply is whole */
void redis_stream_forget_batch(struct streams *self);

#endif
