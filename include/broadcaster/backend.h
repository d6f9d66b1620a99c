/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The contract between the library and a backend. Whoever only publishes and subscribes needs broadcaster.h alone.
 *
 * A backend speaks one broker's protocol and nothing else. The library gives it outgoing messages and topics; it gives
 * the library, through the *sink*, what arrives. It never sees channels' rings or subscriptions. Connecting again,
 * waiting in between, gaps, the barrier of subscribe, flush, and what state the broadcast is in are the library's.
 *
 * Threads. All calls into a backend come from one thread, the broadcast's I/O thread, but for `open`, `check` and
 * `capabilities`, which come from the host program's. All calls into the sink must come from the I/O thread, that is,
 * from within one of the calls below; but for sink->wake, which any thread may call at any time, also from within a
 * client library's own threads: `woken` then runs on the I/O thread.
 * No call into a backend may block: sockets are non-blocking, names are resolved elsewhere (or by a thread of the
 * backend's that wakes it). A backend has as many fds as it wants (watch), and one moment to be called at (alarm).
 *
 * Errors. A call that returns int returns an enum bcast_status. What it cannot do at all it leaves NULL, and says so
 * in its capabilities.
 */
#ifndef BROADCASTER_BACKEND_H
#define BROADCASTER_BACKEND_H

#include "broadcaster.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BCAST_BACKEND_VERSION 1u

/* A URL taken apart: percent-decoded, NUL-terminated, valid as long as the backend is open. Members that are absent
 * are NULL. */
struct bcast_host {
    const char *name; /* IPv6 without its brackets */
    unsigned port;    /* 0: not given */
};

struct bcast_param {
    const char *name, *value;
};

struct bcast_url {
    const char *text;                            /* as given, without passwords and secrets: for logs and errors */
    const char *raw;                             /* as given: for client libraries that want it; never to be shown */
    const char *scheme, *user, *password, *path; /* path without its leading slash */
    const struct bcast_host *hosts;
    size_t host_count;
    const struct bcast_param *params;
    size_t param_count;
};

/* One channel, or pattern, that the library wants to receive. It belongs to the library and stays where it is from
 * `subscribe` until `unsubscribe` has returned. The backend may use `state` and `position` as it likes; they are zero
 * at first, and survive a reconnect. While `state` is not NULL, `unsubscribe` comes also without a connection. */
struct bcast_topic {
    const char *name; /* also NUL-terminated */
    size_t size;
    int pattern; /* non-zero: name is a pattern */
    void *state;
    uint64_t position[2];
};

/* One message to send. Borrowed until `publish` has returned; the backend copies what it has not written by then. */
struct bcast_outgoing {
    uint64_t number; /* rises by one with every message of this broadcast; for sink->result */
    const char *channel;
    size_t channel_size;
    const void *data;
    size_t size;
    const void *key; /* NULL: none */
    size_t key_size;
    const struct bcast_header *headers;
    size_t header_count;
};

/* One message that arrived. Copied during sink->message. */
struct bcast_incoming {
    const void *data;
    size_t size;
    const void *key; /* NULL: none */
    size_t key_size;
    const struct bcast_header *headers;
    size_t header_count;
    const char *id;       /* NULL: none */
    int64_t timestamp_us; /* 0: not known */
};

enum bcast_watch { BCAST_WATCH_READ = 1, BCAST_WATCH_WRITE = 2, BCAST_WATCH_ERROR = 4 };

struct bcast_fetch_end;

/* What a backend calls. `sink` is always the one it got in `open`. */
struct bcast_sink {
    size_t struct_size;

    /* Connected: publish and subscribe may come. Once per connect. */
    void (*connected)(struct bcast_sink *sink);
    /* The connection is gone, or could not be made. Everything handed to `publish` without a result is unknown; every
     * topic will be subscribed again. `disconnect` follows, and, later, `connect`. With `terminal` non-zero there is no
     * use in trying again (wrong password): status and reason are what every call will answer from now on. */
    void (*lost)(struct bcast_sink *sink, int status, const char *reason, int terminal);

    /* The broker has confirmed the subscription (BCAST_OK): everything published from now on will arrive. Or it has
     * refused it, with the reason. */
    void (*subscribed)(struct bcast_sink *sink, struct bcast_topic *topic, int status, const char *reason);
    /* A message arrived. BCAST_OK; or BCAST_TIMEOUT: a blocking subscription is full. Then the message was not taken:
     * stop delivering this topic and offer it again after `resume`. Only backends that can pause are told so. */
    int (*message)(struct bcast_sink *sink, struct bcast_topic *topic, const struct bcast_incoming *message);
    /* Messages were missed here. */
    void (*gap)(struct bcast_sink *sink, struct bcast_topic *topic, enum bcast_gap_reason reason, uint64_t lost,
                enum bcast_count count);
    /* The fate of `count` messages from `number` on: BCAST_OK, BCAST_ERR_UNKNOWN or another error. Every message gets
     * exactly one result, in any order; `lost` gives it to those that have none. */
    void (*result)(struct bcast_sink *sink, uint64_t number, uint64_t count, int status);
    /* The answer to `fetch`: one call for each message, in the direction asked for; BCAST_TIMEOUT: it was not taken (it does
     * not count as told), and what is left of this answer is not wanted. Then, or without any, fetch_ended: once for every fetch, but for those that were under way
     * when `lost` was called, or `disconnect`: the library answers those itself. */
    int (*fetched)(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message);
    /* Before the next message that is fetched, some are missing that the position asked for stood before. */
    void (*fetch_gap)(struct bcast_sink *sink, uint64_t request, enum bcast_gap_reason reason, uint64_t lost,
                      enum bcast_count count);
    void (*fetch_ended)(struct bcast_sink *sink, uint64_t request, const struct bcast_fetch_end *end);

    /* How full a queue of the broker's own is, in percent, beyond which it takes nothing: for bcast_stats. */
    void (*filled)(struct bcast_sink *sink, unsigned percent);

    /* Watches `fd` for `events` (enum bcast_watch, or-ed; 0: no more). `ready` is called while it is ready. BCAST_OK or
     * BCAST_ERR_NOMEM. */
    int (*watch)(struct bcast_sink *sink, int fd, int events);
    /* Asks for `alarm` to be called in that many milliseconds; negative: not. One alarm at a time. */
    void (*alarm)(struct bcast_sink *sink, int in_ms);
    /* Asks for `woken` to be called soon. Any thread. */
    void (*wake)(struct bcast_sink *sink);
    /* One line to the host program's log. Any thread. */
    void (*log)(struct bcast_sink *sink, enum bcast_log_level level, const char *text);
};

struct bcast_backend_setup {
    size_t struct_size;
    const struct bcast_url *url; /* NULL for bcast_open_backend */
    void *context;               /* what was given to bcast_open_backend; else NULL */
    size_t max_message_bytes;
    char *error; /* room for a sentence when open fails */
    size_t error_size;
};

/* What the broker keeps (BCAST_CAN_HISTORY). A *position* is a place between messages of a channel, as a text: the id of
 * the message it is behind; where the channel has several parts (partitions), one such id of each part, with commas in
 * between. An id is MARK or PART:MARK, of up to 47 printable characters without ',', ';', '=' and '%'. A part's messages
 * have an order, and arrive in it; a part that a position does not name is meant from its beginning. A position need not
 * be the id of a message that is, or ever was, there ("0-0"). */
struct bcast_fetch {
    uint64_t request; /* to be given back to the sink */
    const char
        *channel; /* also NUL-terminated; it need not be subscribed; all texts are borrowed until `fetch` returns */
    size_t channel_size;
    int backwards; /* from newer messages to older ones, beginning with the newest; else forwards */
    const char
        *position; /* backwards: what is not behind it; NULL: from the newest. Forwards: what is behind it; NULL: from
                             the oldest. If the broker has thrown away messages behind it: fetch_gap, and what is left */
    const char *until;  /* forwards: nothing that is behind this position; NULL: whatever is there now */
    int64_t since_us;   /* nothing that is older than this time; 0: no bound */
    size_t limit;       /* messages, at most; may be larger than what is read at once */
    size_t limit_bytes; /* of data, about: enough once it is reached; one message at least */
    int only_where;     /* no message is wanted: only where they are, in fetch_ended */
};

struct bcast_fetch_end {
    int status; /* BCAST_OK; INVALID: not a position of this backend's; NOT_FOUND: of nothing that it knows; REFUSED, ... */
    const char *reason; /* of a status other than BCAST_OK */
    /* The positions before the oldest and behind the newest of what was told (with only_where: would have been). If that was
     * nothing: where the answer would have begun, forwards; both the same. */
    const char *older, *newer;
    int more_older,
        more_newer; /* is there anything before (since_us), and behind (up to `until`), as far as is known? */
};

/* What a backend without a wire wants of the library. */
struct bcast_local {
    size_t struct_size;
    const char *name;       /* whose channels these are in this process; "" (as it comes): nobody else's */
    uint64_t history;       /* messages to be kept of each channel; 0: none. With it, events have timestamps */
    uint64_t history_bytes; /* and at most so many bytes of them, headers and keys included; 0: no bound */
};

struct bcast_backend {
    size_t struct_size;
    uint32_t version;           /* BCAST_BACKEND_VERSION */
    const char *name;           /* for texts: "redis" */
    const char *const *schemes; /* NULL-terminated: {"redis", "rediss", NULL}; NULL: only for bcast_open_backend */
    /* NULL-terminated: URL parameters it understands; all others are refused. "prefix.*": whatever begins with "prefix."
     * passes, "*": whatever there is, as only `open` (its client library) knows them; it is `open` then that must refuse
     * what it does not know, by name. NULL: none. */
    const char *const *params;

    /* Takes the URL apart and makes the backend's own state; no I/O. On failure writes setup->error. */
    int (*open)(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self);
    /* Frees it. Connections have been closed by `disconnect` before, but not in a forked child, where nothing may be said
     * to the broker. Topics that were not unsubscribed are still there. Nobody may call the sink once it has returned. */
    void (*close)(void *self);
    /* Fills in `can` and the limits. The same for as long as it is open. With `self` NULL, nothing is open: what it can
     * at most, whatever the URL and the broker; bcast_backend_info asks so, from any thread. */
    void (*capabilities)(void *self, struct bcast_capabilities *out);
    /* Could this message, or (data NULL, size 0) a subscription to this channel, ever be carried? Else the status and
     * a sentence in `error`. Any thread. NULL: whatever the capabilities allow. */
    int (*check)(void *self, const struct bcast_outgoing *message, char *error, size_t error_size);

    /* Not NULL in a backend without a wire: then none of the calls below is ever made, and messages go straight to the
     * subscriptions of every broadcast in this process whose backend answers the same name. */
    void (*local)(void *self, struct bcast_local *out);

    void (*connect)(void *self);    /* begins; sink->connected or sink->lost follows, from here or later */
    void (*disconnect)(void *self); /* closes all connections at once */
    void (*ready)(void *self, int fd, int events); /* may be NULL where nothing is watched */
    void (*alarm)(void *self);                     /* may be NULL where none is asked for */
    void (*woken)(void *self);                     /* may be NULL where sink->wake is not used */

    /* Takes the first messages of a batch, as many as it can at the moment, and returns how many. If fewer than all,
     * the rest is offered again after the next ready, alarm or woken. */
    size_t (*publish)(void *self, const struct bcast_outgoing *messages, size_t count);

    void (*subscribe)(void *self, struct bcast_topic *const *topics, size_t count);
    /* Each that was subscribed and not refused; also while there is no connection. */
    void (*unsubscribe)(void *self, struct bcast_topic *const *topics, size_t count);
    void (*pause)(void *self, struct bcast_topic *topic);  /* only with BCAST_CAN_BLOCK */
    void (*resume)(void *self, struct bcast_topic *topic); /* likewise */
    /* Only with BCAST_CAN_HISTORY, which comes with BCAST_CAN_RESUME and BCAST_CAN_IDS. `fetch` asks; the answer comes
     * through the sink, from here or later; several may be under way. `position` writes where a topic stands that was
     * confirmed: behind the last message that sink->message took, or told a gap for, or where it began; returns its length,
     * writes no more than `size` bytes with the NUL. */
    void (*fetch)(void *self, const struct bcast_fetch *fetch);
    size_t (*position)(void *self, const struct bcast_topic *topic, char *buffer, size_t size);
    /* Which of two ids of one part comes first: negative: a; 0: they are the same; positive: b. Any thread. */
    int (*order)(const char *a, const char *b);
};

#ifdef __cplusplus
}
#endif
#endif
