#define _POSIX_C_SOURCE 200809L
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

void stream_fail(struct stream *stream, const char *format, ...)
{
    va_list arguments;
    if (stream->state == STREAM_FAILED)
        return;
    va_start(arguments, format);
    vsnprintf(stream->why, sizeof stream->why, format, arguments);
    va_end(arguments);
    stream->state = STREAM_FAILED;
}

static void fail_by_errno(struct stream *stream, const char *what, int error)
{
    char text[100] = "";
    if (strerror_r(error, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", error);
    stream_fail(stream, "%s: %s", what, text);
}

static int open_socket(int family)
{
#ifdef SOCK_NONBLOCK
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd >= 0)
        (void)(fcntl(fd, F_SETFD, FD_CLOEXEC) | fcntl(fd, F_SETFL, O_NONBLOCK));
    return fd;
#endif
}

int stream_watch(struct stream *stream, bool writing)
{
    bool connecting = stream->state == STREAM_CONNECTING;
    int events =
        (connecting ? 0 : BCAST_WATCH_READ) | (writing || connecting || stream->write_to_read ? BCAST_WATCH_WRITE : 0);
    if (events == stream->watched)
        return BCAST_OK;
    int status = stream->sink->watch(stream->sink, stream->fd, events);
    if (status == BCAST_OK)
        stream->watched = events;
    else
        stream_fail(stream, "out of memory");
    return status;
}

void stream_connect(struct stream *stream, struct bcast_sink *sink, const struct address *address,
                    const struct bcast_url *url, SSL_CTX *context)
{
    int on = 1;
    *stream = (struct stream){.sink = sink, .state = STREAM_CONNECTING};
    stream->fd = open_socket(address->at.ss_family);
    if (stream->fd < 0) {
        fail_by_errno(stream, "no socket", errno);
        return;
    }
    (void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* we send in batches ourselves */
    if (connect(stream->fd, (const struct sockaddr *)&address->at, address->size) != 0 && errno != EINPROGRESS &&
        errno != EINTR) {
        fail_by_errno(stream, "connect", errno);
        return;
    }
    if (context != NULL &&
        (stream->ssl = tls_connection(context, url, address->host != NULL ? address->host : "", stream->fd)) == NULL)
        stream_fail(stream, "out of memory for TLS");
    else
        (void)stream_watch(stream, true);
}

/* --------------------------------------------------------------------------------------------------------- TLS -- */

/* What OpenSSL made of it: 0: has to wait; negative: failed. */
static int tls_outcome(struct stream *stream, int result)
{
    int saved = errno;
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ: stream->write_to_read = false; return 0;
    case SSL_ERROR_WANT_WRITE: stream->write_to_read = true; return 0;
    case SSL_ERROR_ZERO_RETURN: stream_fail(stream, "the server closed the connection"); return -1;
    case SSL_ERROR_SYSCALL:
        if (saved != 0 && ERR_peek_error() == 0)
            fail_by_errno(stream, "connection", saved);
        else
            stream_fail(stream, "the server closed the connection");
        ERR_clear_error();
        return -1;
    default: break;
    }
    char why[sizeof stream->why];
    stream->terminal = tls_complaint(stream->ssl, why, sizeof why);
    stream_fail(stream, "%s", why);
    return -1;
}

static void greet(struct stream *stream)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(stream->ssl);
    if (result == 1)
        stream->state = STREAM_OPEN;
    else
        (void)tls_outcome(stream, result);
}

enum stream_state stream_step(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING) {
        int error = 0;
        struct sockaddr_storage peer;
        socklen_t size = sizeof error, peer_size = sizeof peer;
        (void)getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0)
            fail_by_errno(stream, "connect", error);
        else if (getpeername(stream->fd, (struct sockaddr *)&peer, &peer_size) == 0)
            stream->state = stream->ssl != NULL ? STREAM_GREETING : STREAM_OPEN;
    }
    if (stream->state == STREAM_GREETING)
        greet(stream);
    if (stream->state != STREAM_FAILED)
        (void)stream_watch(stream, stream->write_to_read);
    return stream->state;
}

/* ------------------------------------------------------------------------------------------------ reading, writing -- */

static ptrdiff_t plain_outcome(struct stream *stream, ptrdiff_t count)
{
    if (count >= 0)
        return count;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return 0;
    fail_by_errno(stream, "connection", errno);
    return -1;
}

ptrdiff_t stream_read(struct stream *stream, void *bytes, size_t size)
{
    if (stream->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        stream->write_to_read = false;
        int count = SSL_read(stream->ssl, bytes, size > INT32_MAX ? INT32_MAX : (int)size);
        return count > 0 ? count : tls_outcome(stream, count);
    }
    ptrdiff_t count = recv(stream->fd, bytes, size, 0);
    if (count == 0) {
        stream_fail(stream, "the server closed the connection");
        return -1;
    }
    return plain_outcome(stream, count);
}

/* The server has gone. Why, it may have said before: it is for stream_read to find that, or the end. */
static bool is_gone(int error)
{
    return error == EPIPE || error == ECONNRESET;
}

static ptrdiff_t tls_write(struct stream *stream, const void *bytes, size_t size)
{
    bool before = stream->write_to_read;
    ERR_clear_error();
    errno = 0;
    int count = SSL_write(stream->ssl, bytes, size > INT32_MAX ? INT32_MAX : (int)size);
    if (count > 0)
        return count;
    if (SSL_get_error(stream->ssl, count) == SSL_ERROR_SYSCALL && is_gone(errno)) {
        ERR_clear_error();
        return 0;
    }
    ptrdiff_t outcome = tls_outcome(stream, count);
    stream->write_to_read = before; /* reading does not wait for what a write waits for */
    return outcome;
}

ptrdiff_t stream_write(struct stream *stream, const void *bytes, size_t size)
{
    if (stream->ssl != NULL)
        return tls_write(stream, bytes, size);
    ptrdiff_t count = send(stream->fd, bytes, size, MSG_NOSIGNAL);
    return count < 0 && is_gone(errno) ? 0 : plain_outcome(stream, count);
}

bool stream_has_more(const struct stream *stream)
{
    return stream->ssl != NULL && SSL_pending(stream->ssl) > 0;
}

void stream_leave(struct stream *stream)
{
    if (stream->watched != 0)
        (void)stream->sink->watch(stream->sink, stream->fd, 0);
    stream_close(stream);
}

void stream_close(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED)
        return;
    SSL_free(stream->ssl);
    if (stream->fd >= 0)
        close(stream->fd);
    *stream = (struct stream){.fd = -1};
}
