/* Two connections to one Redis server, for the backends that speak with one: commands go over the first, events come by
 * the second. Looks the hosts up, connects to the first address that answers, greets (TLS, AUTH, SELECT), notices when
 * the server has gone silent, and takes replies apart with hiredis' reader, whose objects are never made: each element
 * is handed on where it lies. All of it is the I/O thread's. Knows stream, bytes, base, backend.h and hiredis. */
#ifndef NET_REDIS_H
#define NET_REDIS_H

#include <stdatomic.h>

#include "bytes.h"
#include "stream.h"

enum redis_side { REDIS_COMMANDS = 0, REDIS_EVENTS = 1, REDIS_SIDES = 2 };

enum redis_type { REDIS_TEXT = 1, REDIS_ARRAY, REDIS_NUMBER, REDIS_NOTHING, REDIS_STATUS, REDIS_ERROR };

struct redis_element {
    enum redis_type type;
    unsigned depth, index; /* 0: the reply itself; 1: element `index` of it; ... */
    long long number;      /* NUMBER; or how many elements an ARRAY has */
    const char *text;      /* TEXT, STATUS, ERROR: where it lies, until the call returns; not NUL-terminated */
    size_t size;
};

/* What was asked, so that the reply is understood. Equal ones in a row are one, with a count. */
struct redis_ask {
    unsigned kind; /* the backend's own, from REDIS_ASK on */
    unsigned count;
    void *what;
};
#define REDIS_ASK 16

struct redis_calls {
    void (*connected)(void *self);
    /* One element of a reply to `ask`, or of what was pushed (NULL): from the outside in, and in order. */
    void (*element)(void *self, enum redis_side side, const struct redis_ask *ask, const struct redis_element *element);
    void (*answered)(void *self, enum redis_side side, const struct redis_ask *ask); /* the reply is whole */
    void (*dropped)(void *self, enum redis_side side, const struct redis_ask *ask);  /* it will never come */
    void (*drained)(void *self, enum redis_side side); /* all that was read has been handed on; may be NULL */
};

struct redis;

/* BCAST_OK; or URL, NOMEM with a sentence in setup->error. `pushes`: what is pushed comes over the second connection. */
int redis_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, const struct redis_calls *calls,
               void *self, bool pushes, struct redis **out);
void redis_close(struct redis *redis); /* any thread, also in a forked child; NULL is allowed */

/* The backend's calls of these names, or what they call. `self` is the backend's, and begins with its struct redis *. */
void redis_connect(void *self);
void redis_disconnect(void *self);
void redis_ready(void *self, int fd, int events);
void redis_alarm(void *self);
void redis_woken(void *self);

/* Appends one command of `count` words to what goes out. False: the connection is lost, if only now, for no memory. */
struct redis_word {
    const void *text;
    size_t size;
};
bool redis_send(struct redis *redis, enum redis_side side, const struct redis_ask *ask, const struct redis_word *words,
                size_t count);
/* Writes what the server takes at the moment; the rest follows by itself. */
void redis_flush(struct redis *redis, enum redis_side side);
size_t redis_unsent(const struct redis *redis, enum redis_side side);
/* The connection is of no use any more. Told to the library once. */
void redis_lost(struct redis *redis, int status, bool terminal, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Tells the library that the server has refused a subscription, in the server's words. */
void redis_tell_refusal(struct redis *redis, struct bcast_topic *topic, const struct redis_element *error);

/* The largest message that the server takes; any thread. */
size_t redis_most_bytes(struct redis *redis);
uint64_t
redis_ping_ms(const struct redis *redis); /* after so much silence it asks whether the server is there; 0: never */

#define REDIS_PARAMS "db", "connect_timeout_ms", "ping_ms", TLS_PARAMS

#endif
