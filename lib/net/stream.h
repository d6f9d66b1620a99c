/* A non-blocking stream of bytes to a server: TCP or a socket in the file system, with or without TLS. All of it is the
 * I/O thread's. Knows address, tls, base and backend.h. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>

#include "address.h"
#include "tls.h"

enum stream_state { STREAM_CLOSED = 0, STREAM_CONNECTING, STREAM_GREETING /* of TLS */, STREAM_OPEN, STREAM_FAILED };

struct stream {
    struct bcast_sink *sink;
    SSL *ssl; /* NULL: none */
    int fd, watched;
    enum stream_state state;
    bool write_to_read; /* TLS: has to write before it can read on */
    bool terminal;      /* FAILED: trying again is of no use */
    char why[200];      /* FAILED: a sentence */
};

/* `context`: NULL for no TLS. Begins; stream_step says how it went. */
void stream_connect(struct stream *stream, struct bcast_sink *sink, const struct address *address,
                    const struct bcast_url *url, SSL_CTX *context);
/* Goes on with connecting: after `ready`, and at first. Returns the state. */
enum stream_state stream_step(struct stream *stream);
/* OPEN only. How many bytes; 0: none at the moment; negative: FAILED, with a reason. */
ptrdiff_t stream_read(struct stream *stream, void *bytes, size_t size);
ptrdiff_t stream_write(struct stream *stream, const void *bytes, size_t size);
/* Waits for bytes, and with `writing` for room. BCAST_OK or NOMEM. */
int stream_watch(struct stream *stream, bool writing);
bool stream_has_more(const struct stream *stream); /* bytes were read that poll does not know of */
void stream_fail(struct stream *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
void stream_leave(struct stream *stream); /* closes it, and watches it no more */
void stream_close(struct stream *stream); /* the same when there is no I/O thread any more, also in a forked child */

#endif
