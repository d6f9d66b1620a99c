/* One connection to PostgreSQL by libpq, none of whose calls may block: made step by step, one command at a time, and
 * watched for the server's falling silent. All of it is the I/O thread's. Knows postgres_url, base, backend.h, libpq. */
#ifndef NET_POSTGRES_LINK_H
#define NET_POSTGRES_LINK_H

#include "postgres_url.h"

enum postgres_state { POSTGRES_CLOSED = 0, POSTGRES_CONNECTING, POSTGRES_OPEN, POSTGRES_FAILED };

struct postgres_answer { /* to one command */
    char code[6];        /* SQLSTATE; "": it went well */
    char text[200];
    PGresult *result; /* the last with rows, or NULL */
};

struct postgres_link {
    struct bcast_sink *sink;
    PGconn *conn;
    int fd, watched;
    enum postgres_state state;
    bool asked, answering; /* a command is under way; parts of its answer have come */
    int64_t asked_ns, heard_ns;
    struct postgres_answer answer;
    char goodbye[200]; /* what the server said before it hung up */
    char why[240];     /* FAILED: a sentence */
    bool terminal;     /* FAILED: trying again is of no use */
    bool spoke;        /* FAILED: the server itself gave the reason */
};

/* Begins; postgres_step says how it went. `address`: NULL for a socket in the file system. */
void postgres_start(struct postgres_link *link, struct bcast_sink *sink, const struct postgres_url *url,
                    const struct postgres_host *host);
/* Goes on with connecting: after `ready`. Returns the state. */
enum postgres_state postgres_step(struct postgres_link *link);
/* OPEN: takes in what has come. False: FAILED. */
bool postgres_read(struct postgres_link *link);
/* The answer is whole: link->answer has it, until the next command. False: not yet, or FAILED. */
bool postgres_answered(struct postgres_link *link);
/* After one of libpq's PQsend calls, with what it returned. False: FAILED. */
bool postgres_asked(struct postgres_link *link, int sent);
bool postgres_ask(struct postgres_link *link, const char *sql); /* several statements: one transaction */
/* The next notification; NULL: none, for now. To be given to PQfreemem. */
PGnotify *postgres_notification(struct postgres_link *link);
void postgres_leave(struct postgres_link *link);
/* The same when there is no I/O thread any more: in a forked child, without a word to the server. */
void postgres_close(struct postgres_link *link);

#endif
