/* What a Redis stream holds, page by page, for the backend's `fetch`: transactions of XINFO STREAM and XRANGE (backwards:
 * XREVRANGE) over the connection that publishes, as many in turn as the answer needs. Several fetches may be under way,
 * each with one transaction. redis_fetch.c: their life, and what is asked; redis_fetch_read.c: what comes.
 * The I/O thread's. Knows redis_entry, redis_out, backend.h. */
#ifndef NET_REDIS_FETCH_H
#define NET_REDIS_FETCH_H

#include "redis_entry.h"
#include "redis_out.h"

enum { REDIS_FETCH_QUEUED = REDIS_OTHERS, REDIS_FETCH_EXEC, REDIS_FETCH_OTHERS /* from here on: the backend's own */ };

/* What is known of the side that the fetch moves to, once it has come to its end. */
enum redis_fetch_more { REDIS_FETCH_UNKNOWN = 0, REDIS_FETCH_MORE, REDIS_FETCH_NO_MORE };

struct redis_fetch {
    struct redis_fetch *next;
    uint64_t request, limit, limit_bytes;
    bool backwards, only_where;
    bool from_position;    /* forwards: whoever asked stood somewhere, and can have missed something */
    bool from_newest;      /* backwards, without a position */
    struct redis_id since; /* nothing before it */
    struct redis_id until; /* nothing behind it: what was asked for */
    struct redis_id end;   /* and not behind this: what there was when it began */
    struct redis_id at;    /* forwards: up to here it is done; backwards: behind here it is */
    struct redis_id first; /* that was told, if `told` is not 0 */
    uint64_t told, told_bytes;
    uint64_t index;               /* how many entries were ever added up to `at`, if `counted` */
    bool counted, begun, stopped; /* begun: the first answer has come; stopped: nothing more is to be told */
    bool again;                   /* the position was of another stream: once more, from the beginning */
    enum redis_fetch_more more;

    /* Of the transaction that is under way. */
    struct redis_info info;
    uint64_t asked, came, bytes; /* entries; their size */
    unsigned part;               /* 0: XINFO's answer is read, 1: XRANGE's */
    bool refused;
    char reason[200];
    size_t channel_size;
    char channel[];
};

struct redis_fetches {
    struct redis *redis;
    struct bcast_sink *sink;
    struct redis_fetch *all;
    struct redis_entry entry; /* that is being read */
    uint64_t entry_bytes;     /* of an entry, as they were of late; 0: not known */
};

void redis_fetch_begin(struct redis_fetches *fetches, const struct bcast_fetch *wanted);
/* One element of a reply over the first connection; that is whole. False: it is none of ours. */
bool redis_fetch_element(struct redis_fetches *fetches, const struct redis_ask *ask,
                         const struct redis_element *element);
bool redis_fetch_answered(struct redis_fetches *fetches, const struct redis_ask *ask);
/* All that are under way, as their answers will never come, nor anything else of that connection. */
void redis_fetch_forget(struct redis_fetches *fetches);

/* redis_fetch_read.c: one element of the transaction's answer. */
void redis_fetch_refuse(struct redis_fetch *fetch, const struct redis_element *error); /* the first one is told */
void redis_fetch_take(struct redis_fetches *fetches, struct redis_fetch *fetch, const struct redis_element *element);
void redis_fetch_take_end(struct redis_fetches *fetches, struct redis_fetch *fetch); /* it is whole, and not refused */
struct redis_id redis_fetch_upper(const struct redis_fetch *fetch);                  /* forwards: nothing behind it */
bool redis_fetch_has_enough(const struct redis_fetch *fetch);

#endif
