/* The channels of a broadcast, by name. Looking one up takes no lock; adding and removing take one. Knows channel.
 *
 * Of Concurrency Kit, ck_hs is this table: one writer, many readers. ThreadSanitizer reports its plain loads ordered by
 * fences, and its readers need the same protection against a channel that is being freed; so it is written out here. */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "base/grace.h"
#include "base/slab.h"
#include "channel.h"

struct table;

struct registry {
    struct grace grace;
    _Atomic(struct table *) table;
    struct pool pool;
    struct slab slab;                  /* for channels and subscriptions */
    _Atomic uint64_t retired_messages; /* of channels that are gone */
    _Atomic uint64_t kept_bytes;       /* by kept events, of at most ... */
    size_t keep_limit;                 /* ... this many */
    _Atomic uint64_t subscriptions;
    pthread_mutex_t mutex; /* of changes to the table */
    uint64_t secret[2];    /* of the hash: channel names may be a stranger's choice */
    uint64_t epoch;        /* a number that nobody else has: positions in other channels of these names are not ours */
    struct ring_limits history; /* of every channel; without messages: none is kept */
    _Atomic uint32_t references;
    int64_t process; /* that made it */
};

struct registry_setup {
    size_t keep_limit;
    struct ring_limits history;
};
/* With one reference; BCAST_OK or BCAST_ERR_NOMEM. */
int registry_new(const struct registry_setup *setup, struct registry **out);
/* Lets go of the channels that are there for their history only. Once; nobody adds channels any more. */
void registry_forget(struct registry *registry);
struct registry *registry_ref(struct registry *registry);
void registry_unref(struct registry *registry); /* frees it with the last; every channel must be gone */

/* In a forked child: did the parent's threads, who are not here, leave something behind that others wait for? Then what
 * is left of it stays as it is: nobody can say that it is whole. Always false in the process that made it. */
bool registry_stuck(struct registry *registry);

/* Between grace_enter and grace_leave: the channel, or NULL. Never waits. */
struct channel *registry_find(struct registry *registry, const char *name, size_t size);
/* The channel with a reference, or NULL if there is none. Never waits for long. */
struct channel *registry_get_existing(struct registry *registry, const char *name, size_t size);
/* The channel, made if need be, with a reference; NULL: no memory. One that keeps history stays until registry_forget. */
struct channel *registry_get(struct registry *registry, const char *name, size_t size);

/* A channel of that name that nobody finds, with a reference; NULL: no memory. It keeps no history. */
struct channel *registry_make_apart(struct registry *registry, const char *name, size_t size);

bool channel_ref_unless_gone(struct channel *channel); /* for one found inside a grace period */
void channel_ref(struct channel *channel);
void channel_unref(struct channel *channel);

/* Calls `visit` for every channel; the table stands still meanwhile. */
void registry_each(struct registry *registry, void (*visit)(struct channel *channel, void *context), void *context);

#endif
