#include "broadcast.h"

#include <string.h>

#include "backends.h"
#include "base/error.h"
#include "base/thread.h"
#include "io_thread.h"
#include "options.h"
#include "shared.h"
#include "subscription.h"

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *bcast_version(void)
{
    return VERSION(BCAST_VERSION_MAJOR, BCAST_VERSION_MINOR, BCAST_VERSION_PATCH);
}

void bcast_ref(struct bcast *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
}

bool bcast_stuck(struct bcast *b)
{
    return os_guard_forked(&b->guard) &&
           ((b->registry != NULL && registry_stuck(b->registry)) || !thread_mutex_free(&b->mutex));
}

static void bcast_free(struct bcast *b)
{
    if (bcast_stuck(b))
        return;
    int shield = thread_shield();
    if (os_guard_forked(&b->guard))
        memory_put(b->notifier); /* its thread is the parent's */
    else
        notifier_stop(b->notifier);
    if (b->self != NULL && b->backend->close != NULL)
        b->backend->close(b->self); /* until then its threads may call sink->wake, which is a part of io */
    io_end(b->io);                  /* with the topics, which the backend may have known until now */
    if (b->registry != NULL)
        shared_leave(b->registry);
    if (b->has_url)
        url_free(&b->url);
    os_guard_close(&b->guard);
    pthread_mutex_destroy(&b->mutex);
    memory_put(b);
    thread_unshield(shield);
}

void bcast_unref(struct bcast *b)
{
    if (atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1)
        bcast_free(b);
}

int bcast_ended(const struct bcast *b)
{
    if (os_guard_forked(&b->guard))
        return error_set(BCAST_ERR_FORKED, "this handle was opened before fork(): open a new one in this process");
    return error_set(BCAST_ERR_CLOSED, "the broadcast is closed");
}

void bcast_tell_failure(struct bcast *b, const struct channel *channel)
{
    pthread_mutex_lock(&b->mutex);
    for (struct bcast_sub *sub = b->subs; sub != NULL; sub = sub->next)
        if (channel == NULL || sub_has(sub, channel))
            sub_attend(sub, ATTENTION_FAILED);
    pthread_mutex_unlock(&b->mutex);
}

int bcast_notifier(struct bcast *b, struct notifier **out)
{
    int error = 0;
    pthread_mutex_lock(&b->mutex);
    if (b->notifier == NULL)
        error = notifier_start(&b->notifier, &b->settings.threads);
    *out = b->notifier;
    pthread_mutex_unlock(&b->mutex);
    return error;
}

int bcast_check_channel(struct bcast *b, const char *name, size_t *size)
{
    if (name == NULL)
        return error_set(BCAST_ERR_INVALID, "a channel's name must not be NULL");
    if (*size == 0)
        *size = strlen(name);
    if (*size == 0)
        return error_set(BCAST_ERR_INVALID, "a channel's name must not be empty");
    if (*size > b->capabilities.max_channel_bytes)
        return error_set(BCAST_ERR_TOO_LARGE, "a channel's name of %zu bytes: %s takes at most %zu", *size,
                         b->backend->name, b->capabilities.max_channel_bytes);
    return BCAST_OK;
}

/* --------------------------------------------------------------------------------------------------------- open -- */

static void state(struct bcast *b, enum bcast_state to, int status, const char *reason)
{
    if (b->settings.on_state != NULL)
        b->settings.on_state(b->settings.state_context, to, status, reason);
}

/* Who keeps messages must be able to say which, and where. */
static int check_history(const struct bcast *b)
{
    const uint64_t with = BCAST_CAN_RESUME | BCAST_CAN_IDS;
    const struct bcast_backend *is = b->backend;
    if (is->local != NULL || !(b->capabilities.can & BCAST_CAN_HISTORY) ||
        ((b->capabilities.can & with) == with && is->fetch != NULL && is->position != NULL && is->order != NULL))
        return BCAST_OK;
    return error_set(
        BCAST_ERR_BACKEND,
        "%s claims BCAST_CAN_HISTORY, which takes fetch, position, order, BCAST_CAN_RESUME and BCAST_CAN_IDS",
        is->name);
}

static int open_backend(struct bcast *b, void *context, struct bcast_sink *sink)
{
    char why[256] = "";
    struct bcast_backend_setup setup = {
        .struct_size = sizeof setup,
        .url = b->has_url ? &b->url.parts : NULL,
        .context = context,
        .max_message_bytes = b->max_message_bytes,
        .error = why,
        .error_size = sizeof why,
    };
    int status = b->backend->open(&setup, sink, &b->self);
    if (status != BCAST_OK)
        return error_set(status, "%s: %s", b->backend->name, why[0] != '\0' ? why : bcast_status_text(status));
    b->capabilities = bcast_capabilities_init();
    b->backend->capabilities(b->self, &b->capabilities);
    size_t most = b->capabilities.max_message_bytes;
    if (most != 0 && most < b->max_message_bytes)
        b->max_message_bytes = most;
    if (b->capabilities.max_channel_bytes == 0)
        b->capabilities.max_channel_bytes = BACKENDS_CHANNEL_BYTES;
    return check_history(b);
}

/* Finds or makes the channels' registry. */
static int join(struct bcast *b)
{
    struct bcast_local local = {.struct_size = sizeof local, .name = ""};
    if (b->backend->local != NULL)
        b->backend->local(b->self, &local);
    struct registry_setup setup = {b->settings.keep_bytes, {local.history, local.history_bytes}};
    if (local.history_bytes == 0)
        setup.history.bytes = UINT64_MAX;
    int status = shared_join(local.name, &setup, &b->registry);
    if (status == BCAST_OK && b->registry->history.messages != 0)
        b->capabilities.can |= BCAST_CAN_HISTORY | BCAST_CAN_TIMESTAMPS;
    b->bare = status == BCAST_OK && b->io == NULL && b->registry->history.messages == 0;
    return status;
}

static int start(struct bcast *b, void *context)
{
    struct bcast_sink *sink = NULL;
    bool local = b->backend->local != NULL;
    int status = local ? BCAST_OK : io_new(b, &b->io, &sink);
    if (status == BCAST_OK)
        status = open_backend(b, context, sink);
    if (status == BCAST_OK)
        status = join(b);
    if (status != BCAST_OK)
        return status;
    if (!local)
        return io_start(b->io);
    state(b, BCAST_CONNECTING, BCAST_OK, "");
    state(b, BCAST_CONNECTED, BCAST_OK, "");
    return BCAST_OK;
}

static int bcast_new(const struct bcast_options *options, struct bcast_options *copy, struct bcast **out)
{
    struct bcast *b = memory_get(sizeof *b);
    if (b == NULL)
        return error_nomem();
    int status = options_read(&b->settings, options, copy);
    if (status == BCAST_OK && pthread_mutex_init(&b->mutex, NULL) != 0)
        status = error_nomem();
    if (status == BCAST_OK && os_guard_open(&b->guard) != 0) {
        pthread_mutex_destroy(&b->mutex);
        status = error_nomem();
    }
    if (status != BCAST_OK) {
        memory_put(b);
        return status;
    }
    atomic_init(&b->references, 1);
    b->settings.threads.cpus = copy->thread_cpus;
    b->settings.threads.cpu_count = copy->thread_cpu_count;
    b->max_message_bytes = b->settings.max_message_bytes;
    *out = b;
    return BCAST_OK;
}

static int finish_open(struct bcast *b, void *context, struct bcast **out)
{
    int shield = thread_shield(), status = start(b, context);
    thread_unshield(shield);
    if (status == BCAST_OK) {
        *out = b;
        return BCAST_OK;
    }
    io_stop(b->io);
    bcast_unref(b);
    return status;
}

int bcast_open(const char *url, const struct bcast_options *options, struct bcast **out)
{
    struct bcast *b = NULL;
    struct bcast_options copy;
    if (out != NULL)
        *out = NULL;
    if (url == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID,
                         "bcast_open wants a URL, such as \"memory://\", and where to put the handle");
    int status = bcast_new(options, &copy, &b);
    if (status != BCAST_OK)
        return status;
    status = url_parse(&b->url, url);
    b->has_url = status == BCAST_OK;
    if (status == BCAST_OK)
        status = backends_find(b->url.parts.scheme, copy.backends, &b->backend);
    if (status == BCAST_OK)
        status = backends_check(b->backend);
    if (status == BCAST_OK)
        status = url_check_params(&b->url.parts, b->backend->params);
    if (status != BCAST_OK) {
        bcast_unref(b);
        return status;
    }
    return finish_open(b, NULL, out);
}

int bcast_open_backend(const struct bcast_backend *backend, void *context, const struct bcast_options *options,
                       struct bcast **out)
{
    struct bcast *b = NULL;
    struct bcast_options copy;
    if (out != NULL)
        *out = NULL;
    if (backend == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_open_backend wants a backend, and where to put the handle");
    int status = backends_check(backend);
    if (status == BCAST_OK)
        status = bcast_new(options, &copy, &b);
    if (status != BCAST_OK)
        return status;
    b->backend = backend;
    return finish_open(b, context, out);
}

/* -------------------------------------------------------------------------------------------------------- close -- */

static void interrupt(struct channel *channel, void *context)
{
    (void)context;
    ring_interrupt(&channel->ring);
}

int bcast_shutdown(struct bcast *b)
{
    if (b == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_shutdown wants a broadcast");
    if (os_guard_forked(&b->guard))
        return bcast_ended(b);
    pthread_mutex_lock(&b->mutex);
    bool first = !b->shut;
    b->shut = true;
    os_guard_lower(&b->guard);
    for (struct bcast_sub *sub = b->subs; sub != NULL; sub = sub->next)
        sub_attend(sub, ATTENTION_CLOSED);
    pthread_mutex_unlock(&b->mutex);
    if (!first)
        return BCAST_OK;
    registry_each(b->registry, interrupt, NULL);
    if (b->io != NULL)
        io_shut(b->io);
    else
        state(b, BCAST_CLOSED, BCAST_OK, "");
    return BCAST_OK;
}

void bcast_close(struct bcast *b)
{
    if (b == NULL)
        return;
    int shield = thread_shield();
    if (!os_guard_forked(&b->guard))
        bcast_shutdown(b);
    if (!bcast_stuck(b)) {
        if (os_guard_forked(&b->guard) && b->io != NULL)
            io_abandon(b->io);
        io_stop(b->io); /* what is left of it stays for subscriptions and channels that outlive us */
        bcast_unref(b);
    }
    thread_unshield(shield);
}

/* ------------------------------------------------------------------------------------------------------- figures -- */

int bcast_capabilities(struct bcast *b, struct bcast_capabilities *out)
{
    if (b == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_capabilities wants a broadcast and where to put the answer");
    if (os_guard_forked(&b->guard))
        return bcast_ended(b);
    struct bcast_capabilities answer = b->capabilities;
    answer.max_message_bytes = b->max_message_bytes;
    return options_return(out, &answer, sizeof answer, "struct bcast_capabilities");
}

static void add_channel(struct channel *channel, void *context)
{
    struct bcast_stats *stats = context;
    stats->channels++;
    stats->published += ring_tail(&channel->ring).messages;
}

int bcast_stats(struct bcast *b, struct bcast_stats *out)
{
    if (b == NULL || out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_stats wants a broadcast and where to put the statistics");
    if (os_guard_forked(&b->guard))
        return bcast_ended(b);
    struct bcast_stats stats = bcast_stats_init();
    struct registry *registry = b->registry;
    registry_each(registry, add_channel, &stats);
    stats.published += atomic_load_explicit(&registry->retired_messages, memory_order_relaxed);
    stats.received = stats.published;
    for (unsigned i = 0; i < GRACE_STRIPES; i++)
        stats.published += atomic_load_explicit(&registry->grace.stripes[i].count, memory_order_relaxed);
    stats.subscriptions = atomic_load_explicit(&registry->subscriptions, memory_order_relaxed);
    stats.kept_bytes = atomic_load_explicit(&registry->kept_bytes, memory_order_relaxed);
    if (b->io != NULL)
        io_stats(b->io, &stats);
    else
        stats.confirmed = stats.published;
    return options_return(out, &stats, sizeof stats, "struct bcast_stats");
}
