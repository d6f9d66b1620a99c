/* SPDX-License-Identifier: BSD-3-Clause
 *
 * broadcaster: publish to a channel; every subscriber of that channel, in this process and in every other one, gets
 * the message. This is the whole C API. It compiles as C11 and as C++17.
 *
 * Conventions
 * - Every call that can fail returns an enum bcast_status: 0 is good, positive is "not now" (a time-out), negative is
 *   an error. bcast_error_text() then says, for the calling thread, what went wrong and what to do about it.
 * - Sized structs (options, messages, statistics) start with their own size. Initialise them with the function of the
 *   same name ending in _init: it stores the size your program was compiled with, so a newer library still
 *   understands an older program. Zero is the default of every other member.
 * - Time-outs are in milliseconds: BCAST_FOREVER waits without end, BCAST_NOWAIT does not wait. Where a time-out is a
 *   member of an option struct, 0 means the default written beside it; as a parameter, 0 means "do not wait".
 * - Strings are UTF-8 by custom only: channel names and data are bytes, NUL included where a size is given.
 * - Unless a call says otherwise it may be made from any thread at any time. No call may be made from a signal
 *   handler. Callbacks must return; they must not throw, and must not close the handle they were called for.
 * - After fork() every handle is dead in the child: calls return BCAST_ERR_FORKED; bcast_close and bcast_unsubscribe
 *   free its memory (what another thread was changing at the moment of the fork stays) and touch nothing outside the
 *   process.
 * - No call is a cancellation point: a thread that is cancelled (pthread_cancel) inside one ends at its next cancellation
 *   point after it; bcast_cancel and bcast_shutdown end what it waits for. Asynchronous cancelability must be off.
 * - Signals do not end or shorten a wait, whatever their handlers' flags.
 */
#ifndef BROADCASTER_BROADCASTER_H
#define BROADCASTER_BROADCASTER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BCAST_VERSION_MAJOR 0
#define BCAST_VERSION_MINOR 1
#define BCAST_VERSION_PATCH 0

#if defined(__GNUC__)
#define BCAST_API __attribute__((visibility("default")))
#else
#define BCAST_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define BCAST_FOREVER (-1) /* time-out: wait until it happens or the handle is closed */
#define BCAST_NOWAIT (-2)  /* time-out: return at once */

enum bcast_status {
    BCAST_OK = 0,
    BCAST_TIMEOUT = 1, /* nothing arrived, or nothing could be queued, within the time-out; try again */

    BCAST_ERR_INVALID = -1,         /* an argument is missing or out of range */
    BCAST_ERR_NOMEM = -2,           /* memory, threads or file descriptors ran out */
    BCAST_ERR_CLOSED = -3,          /* the handle was cancelled, shut down or closed */
    BCAST_ERR_FORKED = -4,          /* the handle belongs to the parent process; open a new one here */
    BCAST_ERR_BUSY = -5,            /* two threads in one subscription that is not `shared` */
    BCAST_ERR_URL = -6,             /* the URL cannot be parsed, or has an unknown parameter */
    BCAST_ERR_SCHEME = -7,          /* no backend for this scheme */
    BCAST_ERR_MODULE = -8,          /* the backend exists, but its module is not installed or does not load */
    BCAST_ERR_UNSUPPORTED = -9,     /* this backend cannot do that; bcast_capabilities tells beforehand */
    BCAST_ERR_TOO_LARGE = -10,      /* message, name, key or headers over the limit */
    BCAST_ERR_LIMIT = -11,          /* the budget for kept events is spent */
    BCAST_ERR_WOULD_DEADLOCK = -12, /* the full subscription is read by this thread only: waiting would be for ever */
    BCAST_ERR_DISCONNECTED = -13,   /* the subscription overflowed and its policy is BCAST_DISCONNECT */
    BCAST_ERR_NOT_FOUND = -14,      /* the subscription has no such channel */
    BCAST_ERR_EXISTS = -15,         /* the subscription has that channel already */
    BCAST_ERR_CONNECT = -16,        /* the broker cannot be reached */
    BCAST_ERR_REFUSED = -17,        /* the broker refused: password, permission, certificate, name */
    BCAST_ERR_PUBLISH = -18,        /* flush: some messages failed or their fate is unknown */
    BCAST_ERR_UNKNOWN = -19,        /* a publish whose answer was lost: it may or may not have arrived */
    BCAST_ERR_BACKEND = -20         /* a backend broke its contract */
};

/* A short constant text for a status; never NULL. */
BCAST_API const char *bcast_status_text(int status);

/* What the last failed call of this thread has to say: a sentence that tells what to do. Valid until the thread's next
 * call into the library; "" when nothing failed yet. Never allocates. */
BCAST_API const char *bcast_error_text(void);

/* The version of the library that is linked, such as "0.1.0"; the macros above are those it was compiled against. */
BCAST_API const char *bcast_version(void);

/* ---------------------------------------------------------------------------------------------- open and close -- */

struct bcast;         /* a broadcast: one URL, one connection */
struct bcast_channel; /* a channel looked up once, to publish to */
struct bcast_sub;     /* a subscription to one or more channels */
struct bcast_backend; /* see backend.h */

enum bcast_log_level { BCAST_LOG_ERROR = 0, BCAST_LOG_WARNING = 1, BCAST_LOG_INFO = 2, BCAST_LOG_DEBUG = 3 };

/* Called from any thread that is inside the library; `text` is one line and valid during the call only. */
typedef void (*bcast_log_callback)(void *context, enum bcast_log_level level, const char *text);

enum bcast_state { BCAST_CONNECTING = 0, BCAST_CONNECTED = 1, BCAST_LOST = 2, BCAST_CLOSED = 3 };

/* Called from the I/O thread, or from within bcast_open and bcast_shutdown; in order, never twice at the same time.
 * `reason` is a sentence ("" where there is nothing to say) and valid during the call only. */
typedef void (*bcast_state_callback)(void *context, enum bcast_state state, int status, const char *reason);

struct bcast_options {
    size_t struct_size;
    const struct bcast_backend *const *backends; /* NULL-terminated: schemes of your own; read during open only */
    bcast_log_callback on_log;
    void *log_context;
    bcast_state_callback on_state;
    void *state_context;
    int open_timeout_ms;       /* default 10,000; BCAST_NOWAIT: connect in the background */
    int publish_timeout_ms;    /* default 5,000: how long a publish waits for room */
    size_t max_message_bytes;  /* data of one message; default 64 MiB, at most 1 GiB */
    size_t keep_bytes;         /* budget for bcast_keep over all subscriptions; default 64 MiB */
    size_t queue_bytes;        /* messages waiting to be sent to a broker; default 64 MiB */
    size_t queue_messages;     /* default 65,536 */
    int queue_ms;              /* and for so long, while there is no connection: BCAST_ERR_CONNECT; default: no bound */
    size_t thread_stack_bytes; /* of the library's own threads; default: the system's */
    const int *thread_cpus;    /* CPUs the library's threads may run on; NULL: all. Read during open only */
    size_t thread_cpu_count;
};

static inline struct bcast_options bcast_options_init(void)
{
    struct bcast_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

/* Opens `url`, for example "memory://" (private to this handle), "memory://name" (shared by name in this process).
 * `options` may be NULL. On success *out is a handle for bcast_close; on failure it is NULL.
 * May block up to open_timeout_ms. Status: OK, TIMEOUT, INVALID, NOMEM, URL, SCHEME, MODULE, CONNECT, REFUSED. */
BCAST_API int bcast_open(const char *url, const struct bcast_options *options, struct bcast **out);

/* The same over a backend of your own (see backend.h), without a URL. `context` is handed to its open call. */
BCAST_API int bcast_open_backend(const struct bcast_backend *backend, void *context,
                                 const struct bcast_options *options, struct bcast **out);

/* Ends everything on this broadcast and wakes every blocked call, which return BCAST_ERR_CLOSED, as do all later ones.
 * The handle stays valid. Sticky, idempotent, does not block. Status: OK, INVALID, FORKED. */
BCAST_API int bcast_shutdown(struct bcast *b);

/* Shuts down and frees `b`. Its channel handles and subscriptions stay valid, answer BCAST_ERR_CLOSED, and must still
 * be freed. No other call on `b` itself may be under way or follow: where threads publish to it, call bcast_shutdown,
 * let them return, then close. Waits for the I/O thread to end. Not from a callback. NULL is allowed. */
BCAST_API void bcast_close(struct bcast *b);

/* ----------------------------------------------------------------------------------------------------- publish -- */

struct bcast_header {
    const char *name; /* NUL-terminated, not empty */
    const void *value;
    size_t value_size;
};

/* What became of a message: BCAST_OK (the broker, or for memory:// every subscription, has it), or the error.
 * Called once per message, from the publishing thread (memory://), the I/O thread, or from within bcast_close. */
typedef void (*bcast_result_callback)(void *context, int status);

struct bcast_message {
    size_t struct_size;
    const char *channel; /* not used by bcast_publish_message_to */
    size_t channel_size; /* 0: up to the NUL */
    const void *data;    /* copied before the call returns */
    size_t size;         /* may be 0 */
    const void *key;     /* NULL: none. At most 65,535 bytes */
    size_t key_size;
    const struct bcast_header *headers; /* at most 256; names and values together at most 1 MiB */
    size_t header_count;
    int timeout_ms; /* 0: the broadcast's publish_timeout_ms */
    bcast_result_callback on_result;
    void *context;
};

static inline struct bcast_message bcast_message_init(void)
{
    struct bcast_message message;
    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    return message;
}

/* Publishes `size` bytes to the channel called `channel`. The data is copied; all or nothing. Waits up to
 * publish_timeout_ms for room where a BCAST_BLOCK subscription, or the queue to the broker, is full.
 * Status: OK (memory: delivered to every subscription's queue; broker: queued), TIMEOUT (not published), INVALID,
 * TOO_LARGE, NOMEM, CLOSED, FORKED, WOULD_DEADLOCK, UNSUPPORTED, and the broker's terminal error. */
BCAST_API int bcast_publish(struct bcast *b, const char *channel, const void *data, size_t size);

/* The same with key, headers, a time-out of its own and a result callback. */
BCAST_API int bcast_publish_message(struct bcast *b, const struct bcast_message *message);

/* Looks `channel` up once, so that publishing need not. `size` 0: up to the NUL. Free it with bcast_channel_free. */
BCAST_API int bcast_channel(struct bcast *b, const char *channel, size_t size, struct bcast_channel **out);
BCAST_API void bcast_channel_free(struct bcast_channel *channel);
BCAST_API int bcast_publish_to(struct bcast_channel *channel, const void *data, size_t size);
BCAST_API int bcast_publish_message_to(struct bcast_channel *channel, const struct bcast_message *message);

/* Waits until every message published before the call has its result. Status: OK (all confirmed), TIMEOUT, PUBLISH
 * (some failed or are unknown since the last flush; bcast_stats counts them), CLOSED, FORKED, INVALID. */
BCAST_API int bcast_flush(struct bcast *b, int timeout_ms);

/* --------------------------------------------------------------------------------------------------- subscribe -- */

enum bcast_policy {
    BCAST_DROP_OLDEST = 0, /* the oldest messages make room; a gap event says how many */
    BCAST_BLOCK = 1,       /* publishers wait: nothing is lost (not on brokers that cannot be paused) */
    BCAST_DISCONNECT = 2   /* the subscription ends with BCAST_ERR_DISCONNECTED */
};

struct bcast_sub_options {
    size_t struct_size;
    enum bcast_policy policy;
    int shared;            /* non-zero: several threads may read it and split its messages */
    size_t limit_messages; /* per channel, what may wait unread; default 65,536; precise to one segment, which is */
    size_t limit_bytes;    /* at most an eighth of the limit, or one message; default 64 MiB */
    int timeout_ms;        /* for the broker's confirmation; default 10,000 */

    /* What was published before, delivered first and without a seam; only where BCAST_CAN_HISTORY. Default: nothing. */
    size_t history;     /* per channel, so many of the most recent messages (since_us: of those); <= limit_messages */
    int64_t since_us;   /* what was published at that time, in microseconds since 1970, or later; 0: no bound */
    const char *resume; /* a text from bcast_position: goes on exactly there. Without the two above. What is not kept
                           any more is a gap (BCAST_GAP_TRIMMED). Read during the call only */
};

static inline struct bcast_sub_options bcast_sub_options_init(void)
{
    struct bcast_sub_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

enum bcast_kind { BCAST_MESSAGE = 1, BCAST_GAP = 2 };

enum bcast_gap_reason { BCAST_GAP_OVERFLOW = 1, BCAST_GAP_RECONNECT = 2, BCAST_GAP_TRIMMED = 3, BCAST_GAP_BROKER = 4 };

enum bcast_count { BCAST_EXACT = 1, BCAST_AT_LEAST = 2, BCAST_COUNT_UNKNOWN = 3 };

/* One event. Start with `struct bcast_event event = BCAST_EVENT_INIT;` and give the same object to bcast_next again
 * and again. What its pointers reach is borrowed until the object is given to bcast_next again or released, also if its
 * subscription and broadcast have ended by then (of a gap, only the channel's name is borrowed, and ends with the
 * subscription). So release it in the end, or what it borrows stays in memory. Do not write to it, do not copy it. */
struct bcast_event {
    const void *data;      /* aligned to 8 bytes; never NULL for a message, NULL for a gap */
    size_t size;           /* of data */
    uint64_t sequence;     /* position in the channel, counted in this process; after a gap, of what comes next. What a
                              broker had kept (history, pages) is counted by itself */
    const char *channel;   /* also NUL-terminated */
    int64_t timestamp_us;  /* microseconds since 1970, from the broker where it has one; 0: not known */
    uint64_t lost;         /* gap: how many messages; see count */
    const void *extra;     /* key, headers and id: use the calls below */
    uintptr_t hold;        /* the library's; 0 in a fresh event */
    uint32_t channel_size; /* without the NUL */
    uint8_t kind;          /* enum bcast_kind */
    uint8_t reason;        /* gap: enum bcast_gap_reason */
    uint8_t count;         /* gap: enum bcast_count, how exact `lost` is */
    uint8_t reserved;
};

#ifdef __cplusplus
#define BCAST_EVENT_INIT bcast_event()
#else
#define BCAST_EVENT_INIT                                                                                               \
    {                                                                                                                  \
        0                                                                                                              \
    }
#endif

/* The message's key: NULL and size 0 where there is none. The pointer is borrowed like the data. */
BCAST_API const void *bcast_event_key(const struct bcast_event *event, size_t *size);
BCAST_API size_t bcast_event_header_count(const struct bcast_event *event);
/* Header number `index`, in the order they were published. Status: OK, NOT_FOUND, INVALID. */
BCAST_API int bcast_event_header(const struct bcast_event *event, size_t index, struct bcast_header *out);
/* The broker's id of the message as text ("" where it has none). */
BCAST_API const char *bcast_event_id(const struct bcast_event *event);

/* Subscribes to `channel`. Once this has returned BCAST_OK, the next message anyone publishes will be received.
 * `options` may be NULL. Status: OK, TIMEOUT, INVALID, TOO_LARGE, NOMEM, CLOSED, FORKED, UNSUPPORTED, REFUSED. */
BCAST_API int bcast_subscribe(struct bcast *b, const char *channel, const struct bcast_sub_options *options,
                              struct bcast_sub **out);

/* The same for `count` channels at once, all or none. `sizes` may be NULL (names end at their NUL). */
BCAST_API int bcast_subscribe_many(struct bcast *b, const char *const *channels, const size_t *sizes, size_t count,
                                   const struct bcast_sub_options *options, struct bcast_sub **out);

/* Adds a channel, from its next message on, or removes one (what is still unread of it is discarded), also while other
 * threads read. After add has returned, the channel's next message will be received; after remove has returned, calls
 * to bcast_next that start later return nothing of it. `size` 0: up to the NUL. Status: as subscribe, and EXISTS,
 * NOT_FOUND. */
BCAST_API int bcast_add_channel(struct bcast_sub *sub, const char *channel, size_t size);
BCAST_API int bcast_remove_channel(struct bcast_sub *sub, const char *channel, size_t size);

/* Gives the next event, waiting up to timeout_ms. `event` is released first. One thread at a time, unless the
 * subscription is `shared`. Status: OK, TIMEOUT, CLOSED, DISCONNECTED, FORKED, BUSY, INVALID, NOMEM; with anything
 * but OK the event is empty. With time-out 0 a subscription of several channels may not see yet what was published a
 * moment ago: its fd, and any call that waits, do. */
BCAST_API int bcast_next(struct bcast_sub *sub, struct bcast_event *event, int timeout_ms);

/* Gives up to `max` events of one channel at once: waits for the first, takes what else is there. *count says how
 * many; all `max` events are released first. Status as bcast_next. */
BCAST_API int bcast_next_batch(struct bcast_sub *sub, struct bcast_event *events, size_t max, size_t *count,
                               int timeout_ms);

/* Ends the borrow and empties the event; an empty event is allowed. By the thread that reads the subscription, or any
 * thread if the subscription is `shared` or the event was kept. After bcast_unsubscribe: by one thread at a time. */
BCAST_API void bcast_release(struct bcast_event *event);

/* Makes the event independent of the ring: small messages are copied, so that nothing else is held in memory, large
 * ones referenced; any thread may then release it. Status: OK, LIMIT (keep_bytes), NOMEM, INVALID: it stays as it was. */
BCAST_API int bcast_keep(struct bcast_event *event);

/* for (each event until the status is not OK); `status` tells afterwards why it ended. Release or reuse `event` if you
 * leave with break. */
#define bcast_foreach(sub, event, status)                                                                              \
    for ((status) = bcast_next((sub), (event), BCAST_FOREVER); (status) == BCAST_OK;                                   \
         (status) = bcast_next((sub), (event), BCAST_FOREVER))

/* A file descriptor for poll or epoll: readable when bcast_next has something to return. Call bcast_next with time-out
 * 0 until it returns BCAST_TIMEOUT: only that makes it wait for the next event. It belongs to the subscription: do not
 * read, write or close it. Negative: a status. */
BCAST_API int bcast_fd(struct bcast_sub *sub);

/* Wakes every thread blocked on `sub`; these and all later calls on it return BCAST_ERR_CLOSED. Sticky. */
BCAST_API int bcast_cancel(struct bcast_sub *sub);

/* Where the subscription stands, as a text for `resume` in the options of another one, of the same channels (or some of
 * them), in this broadcast or in another one on the same broker: behind the last event handed out of each channel. With
 * workers that share it: behind what has been handed out to any of them. NUL-terminated into `buffer`; *length (may be
 * NULL) is how long it is without the NUL. Status: OK, TOO_LARGE (`size` <= *length: nothing is written), INVALID,
 * UNSUPPORTED (the broadcast keeps no history). */
BCAST_API int bcast_position(struct bcast_sub *sub, char *buffer, size_t size, size_t *length);

/* Frees the subscription, and its fd with its last event: those that are still borrowed stay good until released.
 * No other call on it may be under way or follow: cancel, and let the threads that read it return, first. NULL is
 * allowed. */
BCAST_API void bcast_unsubscribe(struct bcast_sub *sub);

/* ----------------------------------------------------------------------------------------------------- history -- */

struct bcast_history_query {
    size_t struct_size;
    size_t channel_size; /* 0: up to the NUL */
    size_t limit;        /* messages of a page; default 100, at most 65,536 */
    size_t limit_bytes;  /* and bytes of their data, but always one message; default 16 MiB */
    const char *before;  /* the page that ends just before this position */
    const char *after;   /* the page that begins there; "": with the oldest. Without both: the newest page */
    int64_t since_us;    /* nothing published before that time, in microseconds since 1970; 0: no bound */
    int timeout_ms;      /* for the broker's answer; default 10,000 */
};

static inline struct bcast_history_query bcast_history_query_init(void)
{
    struct bcast_history_query query;
    memset(&query, 0, sizeof query);
    query.struct_size = sizeof query;
    return query;
}

/* A page belongs to the caller, who may read it from any thread, until bcast_page_free. Its events are not released
 * one by one. A position is a text, good until the broker forgets: also in another process, where the broker is one. */
struct bcast_page {
    const struct bcast_event *events; /* the oldest first; before them a gap, if messages behind `after` are not kept */
    size_t count;
    const char *older; /* for `before`: the page before this one. NULL: there is nothing older */
    const char *newer; /* for `after`: what follows. Never NULL: it may yet come */
    int more;          /* non-zero: something follows already */
};

/* Reads a page of what is kept of `channel`; one that nobody knows is empty. `query` may be NULL. Both directions cover
 * every message exactly once, whatever is published meanwhile. May block up to timeout_ms. Status: OK, TIMEOUT, INVALID,
 * TOO_LARGE, NOMEM, CLOSED, FORKED, UNSUPPORTED (nothing is kept; bcast_capabilities), NOT_FOUND (`before` is not a
 * position of this broadcast's messages). */
BCAST_API int bcast_history(struct bcast *b, const char *channel, const struct bcast_history_query *query,
                            struct bcast_page **out);
BCAST_API void bcast_page_free(struct bcast_page *page); /* NULL is allowed */

/* ------------------------------------------------------------------------------------- capabilities, statistics -- */

enum bcast_can {
    BCAST_CAN_BLOCK = 1 << 0,      /* BCAST_BLOCK subscriptions */
    BCAST_CAN_HISTORY = 1 << 1,    /* keeps messages: history, resume */
    BCAST_CAN_PATTERNS = 1 << 2,   /* subscribes to patterns */
    BCAST_CAN_KEYS = 1 << 3,       /* carries keys */
    BCAST_CAN_HEADERS = 1 << 4,    /* carries headers */
    BCAST_CAN_BINARY = 1 << 5,     /* carries any bytes */
    BCAST_CAN_CONFIRM = 1 << 6,    /* BCAST_OK in a result callback is the broker's word */
    BCAST_CAN_IDS = 1 << 7,        /* events have ids */
    BCAST_CAN_TIMESTAMPS = 1 << 8, /* events have the broker's timestamps */
    BCAST_CAN_PROCESSES = 1 << 9,  /* reaches other processes */
    BCAST_CAN_RESUME = 1 << 10     /* goes on behind the last message received after a lost connection, without a gap */
};

struct bcast_capabilities {
    size_t struct_size;
    uint64_t can;             /* enum bcast_can, or-ed */
    size_t max_message_bytes; /* 0: no limit of its own */
    size_t max_channel_bytes;
};

static inline struct bcast_capabilities bcast_capabilities_init(void)
{
    struct bcast_capabilities capabilities;
    memset(&capabilities, 0, sizeof capabilities);
    capabilities.struct_size = sizeof capabilities;
    return capabilities;
}

BCAST_API int bcast_capabilities(struct bcast *b, struct bcast_capabilities *out);

enum bcast_backend_state {
    BCAST_BACKEND_BUILT_IN = 1,
    BCAST_BACKEND_MODULE = 2, /* in a module of its own, which is installed and loads */
    BCAST_BACKEND_MISSING = 3 /* its module is not installed, or does not load; `can` and the limits are 0 */
};

struct bcast_backend_info {
    size_t struct_size;
    const char *name;         /* "redis" */
    const char *schemes;      /* "redis rediss": what its URLs begin with, a space between them */
    const char *package;      /* what to install for its module; "" if it is built in */
    uint64_t can;             /* enum bcast_can, or-ed: what it can at most. What is open may do less: ask it */
    size_t max_message_bytes; /* 0: no limit of its own */
    size_t max_channel_bytes;
    int state; /* enum bcast_backend_state */
};

static inline struct bcast_backend_info bcast_backend_info_init(void)
{
    struct bcast_backend_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    return info;
}

/* Describes the backend number `index` of those this library was built with; loads its module if it has one. The texts
 * are constant and stay valid. Opens nothing. Status: OK (also for one that is missing: bcast_error_text says why),
 * NOT_FOUND (`index` is behind the last), INVALID. */
BCAST_API int bcast_backend_info(size_t index, struct bcast_backend_info *out);

struct bcast_stats {
    size_t struct_size;
    uint64_t channels;      /* that exist now */
    uint64_t subscriptions; /* that exist now */
    uint64_t published;     /* messages accepted since open */
    uint64_t received;      /* messages that came in from the broker (memory: as published) */
    uint64_t confirmed;     /* results: good */
    uint64_t failed;        /* results: refused or given up */
    uint64_t unknown;       /* results: the answer was lost */
    uint64_t queued;        /* waiting to be sent, or for an answer */
    uint64_t reconnects;
    uint64_t kept_bytes; /* by bcast_keep, now */
    uint64_t
        broker_percent; /* how full the broker's own queue was when last asked: at 100 it takes nothing. PostgreSQL only */
};

static inline struct bcast_stats bcast_stats_init(void)
{
    struct bcast_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    return stats;
}

/* A snapshot; counters are exact when nothing is under way. For memory://name, of all handles of that name. */
BCAST_API int bcast_stats(struct bcast *b, struct bcast_stats *out);

struct bcast_sub_stats {
    size_t struct_size;
    uint64_t channels;
    uint64_t received;  /* messages handed out */
    uint64_t lost;      /* counted in gaps handed out */
    uint64_t gaps;      /* gap events handed out */
    uint64_t queued;    /* waiting to be read, what an unreported gap will cover included */
    uint64_t discarded; /* unread when a channel was removed or the subscription was disconnected */
};

static inline struct bcast_sub_stats bcast_sub_stats_init(void)
{
    struct bcast_sub_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    return stats;
}

BCAST_API int bcast_sub_stats(struct bcast_sub *sub, struct bcast_sub_stats *out);

#ifdef __cplusplus
}
#endif
#endif
