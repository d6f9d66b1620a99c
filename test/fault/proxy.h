/* A TCP proxy that does to a connection what networks and servers do on bad days, for tests:
 *     struct proxy *p;
 *     proxy_start("127.0.0.1", broker_port(b), 0, &p);
 *     ... connect to 127.0.0.1, port proxy_port(p) ...
 *     struct proxy_rule rule = {.action = PROXY_RESET, .after = 7, .times = 1};
 *     proxy_rule(p, PROXY_TO_CLIENT, &rule); // the next reply breaks off after 7 bytes
 *     proxy_end(p);
 * Any thread may call anything but proxy_end at any time; what was asked for is in force when the call returns. */
#ifndef PROXY_H
#define PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy;

enum proxy_way { PROXY_TO_SERVER = 0, PROXY_TO_CLIENT = 1 };

/* Once per connection, when `after` bytes have gone this way since the rule was set (or the connection was made). */
enum proxy_action {
    PROXY_NOTHING,
    PROXY_RESET,    /* RST to both sides; what was not yet passed on is lost */
    PROXY_FIN,      /* an orderly end, to both sides */
    PROXY_HALF_FIN, /* an orderly end this way; the other way goes on */
    PROXY_INJECT,   /* `bytes` go this way, between the others */
    PROXY_SILENCE,  /* from there on nothing is passed on this way, until a new rule */
};

/* What happens to bytes that go one way. All zero: they are passed on as they come. What chance decides, the seed and
 * the place decide: the number of the connection, the way, and how many bytes came before. */
struct proxy_rule {
    uint64_t seed;
    unsigned delay_ms, jitter_ms; /* each read's bytes arrive that much later, and up to jitter_ms more; in order */
    unsigned piece;               /* written in pieces of so many bytes */
    bool any_piece;               /* of 1 to `piece` bytes, by chance */
    size_t merge_bytes;           /* held back until there are so many */
    unsigned merge_ms;            /* or so much time has passed; 0: for ever */
    unsigned bytes_per_second;    /* a slow drip */
    bool silent;                  /* nothing is read or written; sockets stay open; nothing is lost when it ends */
    unsigned flips;               /* of a million bytes so many have a bit turned over */
    const void *replace;          /* instead of what comes, these bytes, again and again; copied */
    size_t replace_size;
    enum proxy_action action;
    uint64_t after;
    unsigned times;    /* so many times in all since the rule was set; 0: for every connection */
    const void *bytes; /* copied */
    size_t size;
};

/* How new connections are received. */
enum proxy_door {
    PROXY_OPEN,
    PROXY_REFUSE, /* nobody listens: "connection refused" */
    PROXY_SLAM,   /* accepted, then RST */
    PROXY_MUTE,   /* accepted, and never a word; such a connection stays so */
    PROXY_IGNORE, /* not accepted: to the client it looks as if it were; served when the door opens again */
};

/* Listens on 127.0.0.1, `listen_port` or (0) a free one, and connects to host (a numeric address) and port for each
 * connection. 0, or -1 having said why on stderr. */
int proxy_start(const char *host, unsigned port, unsigned listen_port, struct proxy **out);
void proxy_end(struct proxy *p); /* resets what is open. NULL is allowed */
unsigned proxy_port(const struct proxy *p);

/* For the connections there are and those to come. NULL: all zero. */
void proxy_rule(struct proxy *p, enum proxy_way way, const struct proxy_rule *rule);
void proxy_door(struct proxy *p, enum proxy_door door);
/* Ends the plan, takes back rules, opens the door. */
void proxy_calm(struct proxy *p);

/* Now, to all connections. */
void proxy_cut(struct proxy *p);                          /* RST */
void proxy_fin(struct proxy *p);                          /* an orderly end, both ways */
void proxy_half_fin(struct proxy *p, enum proxy_way way); /* an orderly end, one way */
void proxy_inject(struct proxy *p, enum proxy_way way, const void *bytes, size_t size);

enum proxy_fault {
    PROXY_FAULT_DELAY, /* to one side or both, as with those that follow */
    PROXY_FAULT_BYTES, /* one at a time */
    PROXY_FAULT_PIECES,
    PROXY_FAULT_MERGE,
    PROXY_FAULT_DRIP,
    PROXY_FAULT_SILENCE,
    PROXY_FAULT_RESET, /* after some bytes */
    PROXY_FAULT_FIN,
    PROXY_FAULT_HALF_FIN,
    PROXY_FAULT_CUT, /* now */
    PROXY_FAULT_REFUSE,
    PROXY_FAULT_SLAM,
    PROXY_FAULT_MUTE,
    PROXY_FAULT_IGNORE,
    PROXY_FAULT_FLIP, /* these three only with PROXY_HOSTILE */
    PROXY_FAULT_REPLACE,
    PROXY_FAULT_INJECT,
    PROXY_FAULTS
};
const char *proxy_fault_name(enum proxy_fault fault);

/* One fault after the other, with calm in between, all from the seed, until proxy_calm. Each ends after a number of
 * bytes and, since some let no bytes through, at the latest after a time. */
enum { PROXY_HOSTILE = 1, PROXY_LOUD = 2 /* says on stderr what it does */ };
void proxy_plan(struct proxy *p, uint64_t seed, int flags);

struct proxy_stats {
    uint64_t connections;          /* that came in */
    uint64_t open;                 /* now */
    uint64_t bytes[2];             /* written, by enum proxy_way */
    uint64_t actions;              /* of rules, that have happened */
    uint64_t faults[PROXY_FAULTS]; /* begun by plans */
};
struct proxy_stats proxy_stats(struct proxy *p);

#endif
