/* Two connections to one database, one that listens and one that publishes: finds a server, makes both, tests that what
 * is published over the one is heard on the other, and notices when either has gone silent. All of it is the I/O
 * thread's. Knows postgres_link, postgres_places, base and backend.h. */
#ifndef NET_POSTGRES_PAIR_H
#define NET_POSTGRES_PAIR_H

#include "postgres_link.h"
#include "postgres_places.h"

enum postgres_side { POSTGRES_LISTENER = 0, POSTGRES_PUBLISHER = 1, POSTGRES_SIDES = 2 };

struct postgres_calls {
    const char *name, *sql; /* a statement that is prepared on the publishing connection */
    void (*connected)(void *self);
    void (*notified)(void *self, const PGnotify *notify);
    void (*answered)(void *self, enum postgres_side side, const struct postgres_answer *answer); /* to pair_asks */
};

struct postgres_pair {
    struct bcast_sink *sink;
    const struct postgres_calls *calls;
    void *self;
    const struct postgres_url *url;
    struct postgres_places places;
    size_t at;     /* the place that is tried or connected */
    char why[240]; /* the trouble with a place that says most */
    bool why_spoken;

    struct postgres_link links[POSTGRES_SIDES];
    int doing[POSTGRES_SIDES]; /* enum command, in the .c */
    bool connected, lost;
    bool notified, heard, prepared; /* of the test: it was sent, it has come; and the statement */
    bool warned;                    /* that the server's queue is filling up */
    char test[40];                  /* the channel of the test; "": not yet */
    int64_t give_up_ns, grace_ns, beat_ns;
};

bool pair_open(struct postgres_pair *pair, const struct postgres_url *url, struct bcast_sink *sink,
               const struct postgres_calls *calls, void *self); /* false: no memory */
/* Any thread, also in a forked child. `whole` false: it was forked in the midst of a call, libpq's part is in pieces. */
void pair_close(struct postgres_pair *pair, bool whole);

/* To be called from the backend's calls of these names. */
void pair_connect(struct postgres_pair *pair);
void pair_disconnect(struct postgres_pair *pair);
void pair_ready(struct postgres_pair *pair, int fd);
void pair_alarm(struct postgres_pair *pair);
void pair_woken(struct postgres_pair *pair);
/* At the end of every call of the backend's: deals with what has failed meanwhile. */
void pair_settle(struct postgres_pair *pair);

/* The connection, if it is free for a command; NULL: later. */
struct postgres_link *pair_idle(struct postgres_pair *pair, enum postgres_side side);
/* The command that is about to be sent, or was, is the backend's. */
void pair_asks(struct postgres_pair *pair, enum postgres_side side);
/* The connections are of no use any more. Told to the library once. */
void pair_lose(struct postgres_pair *pair, int status, bool terminal, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
