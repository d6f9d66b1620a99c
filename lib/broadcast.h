/* What a broadcast handle is made of. Shared by broadcast.c, publish.c and subscription.c. */
#ifndef BROADCAST_H
#define BROADCAST_H

#include "broadcaster/backend.h"

#include "base/log.h"
#include "base/os.h"
#include "registry.h"
#include "url.h"

struct io;

struct settings { /* the caller's options, with defaults filled in */
    struct log log;
    bcast_state_callback on_state;
    void *state_context;
    int open_timeout_ms, publish_timeout_ms, queue_ms; /* queue_ms: 0: no bound */
    size_t max_message_bytes, keep_bytes, queue_bytes, queue_messages;
    struct os_thread_options threads;
};

struct bcast {
    /* Read by every publish; written at open. */
    struct os_guard guard; /* raised until shutdown, and not in a forked child */
    struct registry *registry;
    struct io *io; /* NULL: local, publishers write into the rings themselves */
    bool bare;     /* they do, and nothing but the data: no time of publishing */
    size_t max_message_bytes;

    struct settings settings;
    struct bcast_capabilities capabilities;
    const struct bcast_backend *backend;
    void *self; /* the backend's */
    struct url url;
    bool has_url;

    _Atomic uint32_t references; /* the handle, its subscriptions and channel handles */
    pthread_mutex_t mutex;       /* of what follows */
    struct bcast_sub *subs;
    struct notifier *notifier; /* started with the first fd */
    bool shut;
};

/* Does the broker keep messages, so that they can be had again? */
static inline bool bcast_keeps(const struct bcast *b)
{
    return b->io != NULL && (b->capabilities.can & BCAST_CAN_HISTORY);
}

void bcast_ref(struct bcast *b);
void bcast_unref(struct bcast *b);
/* BCAST_ERR_FORKED or BCAST_ERR_CLOSED, with its text. */
int bcast_ended(const struct bcast *b);
/* In a forked child: nothing of it can be freed. See registry_stuck. */
bool bcast_stuck(struct bcast *b);
/* Nothing will come of `channel` (NULL: of any) any more: its subscriptions' readers are told, once they have read what is
 * there. The I/O thread, without its mutex. */
void bcast_tell_failure(struct bcast *b, const struct channel *channel);
/* The shared notifier, started if need be: 0 or errno. */
int bcast_notifier(struct bcast *b, struct notifier **out);
/* BCAST_OK if the broadcast can carry a channel of this name; `size` 0 is replaced by the length up to the NUL. */
int bcast_check_channel(struct bcast *b, const char *name, size_t *size);

#endif
