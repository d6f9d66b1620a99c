/* A backend alone with a broker, for tests: its sink is a puppet, which writes down what it is told and holds the backend
 * to backend.h, and its I/O thread is the test's own, in poll. Whatever fails ends the test.
 *     struct alone *a = alone_open(&bcast_backend_redis_stream, url);
 *     alone_connect(a);
 *     struct answer *answer = alone_fetch(a, &fetch);      // waits until it has ended
 *     ... answer->messages[0].data ...
 *     alone_close(a);                                      // frees it all */
#ifndef ALONE_H
#define ALONE_H

#include "test.h"

#include <broadcaster/backend.h>

struct told { /* a message, or a gap, of a fetch or of a topic */
    bool is_gap;
    char *data, *key; /* NULL: none; with a NUL behind its end */
    size_t size, key_size, header_count;
    char *names[8], *values[8];
    char id[64];
    int64_t timestamp_us;
    enum bcast_gap_reason reason;
    uint64_t lost;
    enum bcast_count count;
};

struct tale { /* all of it, in order */
    struct told *all;
    size_t count, room;
};

struct answer {
    uint64_t request;
    struct tale tale;
    size_t messages, gaps;
    bool ended;
    int status;
    char reason[256], older[256], newer[256];
    bool more_older, more_newer;
    size_t enough_after; /* messages that are taken; SIZE_MAX: all */
    bool backwards, only_where, had_enough;
    struct answer *next;
};

struct alone;

struct alone *alone_open(const struct bcast_backend *backend, const char *url);
void alone_connect(struct alone *a); /* and waits for it */
void alone_disconnect(struct alone *a);
void alone_close(struct alone *a);

/* Waits for something to do, and does it. */
void alone_turn(struct alone *a);
/* Until the condition holds: fails after a minute. */
#define alone_until(a, condition)                                                                                      \
    do {                                                                                                               \
        time_t alone_start = time(NULL);                                                                               \
        while (!(condition)) {                                                                                         \
            if (time(NULL) - alone_start > 60)                                                                         \
                fail_msg("never happened: %s", #condition);                                                            \
            alone_turn(a);                                                                                             \
        }                                                                                                              \
    } while (0)
/* Called before each message that a fetch brings is taken. */
void alone_on_fetched(struct alone *a, void (*call)(void *context), void *context);
bool alone_is_lost(const struct alone *a); /* sink->lost was called */

/* Asks; the answer comes during turns. It stays until alone_close. */
struct answer *alone_ask(struct alone *a, const struct bcast_fetch *fetch);
/* As many messages as are taken before it is told that it is enough. */
struct answer *alone_ask_for(struct alone *a, const struct bcast_fetch *fetch, size_t enough_after);
struct answer *alone_fetch(struct alone *a, const struct bcast_fetch *fetch); /* and waits for its end */

/* One topic, one message. The results come in the order of the numbers, or it fails: how many went well. */
struct tale *alone_subscribe(struct alone *a, const char *channel);
const char *alone_position(struct alone *a);
void alone_publish(struct alone *a, const struct bcast_outgoing *message);
uint64_t alone_results(const struct alone *a);

#endif
