#define _GNU_SOURCE
#include "alone.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "url.h"

#define FDS 8
#define TURN_MS 1000

struct alone {
    struct bcast_sink sink; /* first */
    const struct bcast_backend *backend;
    void *self;
    struct url url;
    struct pollfd fds[FDS]; /* [0]: wake */
    size_t fd_count;
    int wake_in; /* any thread writes */
    int64_t alarm_ms;
    bool connected, lost;
    struct answer *answers;
    uint64_t requests;
    struct bcast_topic topic;
    bool subscribed;
    struct tale tale;
    char position[256];
    uint64_t published, results;
    void (*on_fetched)(void *context);
    void *context;
};

static struct alone *of(struct bcast_sink *sink)
{
    return (struct alone *)(void *)sink;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---------------------------------------------------------------------------------------------------- writing down -- */

static char *copy(const void *bytes, size_t size)
{
    char *out = malloc(size + 1);
    assert_non_null(out);
    if (size != 0)
        memcpy(out, bytes, size);
    out[size] = '\0';
    return out;
}

static struct told *add(struct tale *tale)
{
    if (tale->count == tale->room) {
        tale->room = 2 * tale->room + 64;
        tale->all = realloc(tale->all, tale->room * sizeof *tale->all);
        assert_non_null(tale->all);
    }
    struct told *told = &tale->all[tale->count++];
    memset(told, 0, sizeof *told);
    return told;
}

static void add_message(struct tale *tale, const struct bcast_incoming *message)
{
    struct told *told = add(tale);
    told->data = copy(message->data, message->size);
    told->size = message->size;
    told->key = message->key != NULL ? copy(message->key, message->key_size) : NULL;
    told->key_size = message->key_size;
    told->timestamp_us = message->timestamp_us;
    assert_non_null(message->id);
    assert_true(strlen(message->id) < sizeof told->id);
    strcpy(told->id, message->id);
    told->header_count = message->header_count;
    for (size_t i = 0; i < message->header_count && i < sizeof told->names / sizeof *told->names; i++) {
        told->names[i] = copy(message->headers[i].name, strlen(message->headers[i].name));
        told->values[i] = copy(message->headers[i].value, message->headers[i].value_size);
    }
}

static void add_gap(struct tale *tale, enum bcast_gap_reason reason, uint64_t lost, enum bcast_count count)
{
    struct told *told = add(tale);
    told->is_gap = true;
    told->reason = reason;
    told->lost = lost;
    told->count = count;
    if (count == BCAST_EXACT)
        assert_true(lost != 0);
}

static void tale_free(struct tale *tale)
{
    for (size_t i = 0; i < tale->count; i++) {
        struct told *told = &tale->all[i];
        free(told->data);
        free(told->key);
        for (size_t h = 0; h < sizeof told->names / sizeof *told->names; h++) {
            free(told->names[h]);
            free(told->values[h]);
        }
    }
    free(tale->all);
}

/* ------------------------------------------------------------------------------------------------------- the sink -- */

static void sink_connected(struct bcast_sink *sink)
{
    assert_false(of(sink)->connected);
    of(sink)->connected = true;
}

static void sink_lost(struct bcast_sink *sink, int status, const char *reason, int terminal)
{
    (void)status, (void)reason, (void)terminal;
    assert_false(of(sink)->lost);
    of(sink)->lost = true;
}

static void sink_subscribed(struct bcast_sink *sink, struct bcast_topic *topic, int status, const char *reason)
{
    (void)reason;
    assert_ptr_equal(topic, &of(sink)->topic);
    assert_int_equal(status, BCAST_OK);
    of(sink)->subscribed = true;
}

static int sink_message(struct bcast_sink *sink, struct bcast_topic *topic, const struct bcast_incoming *message)
{
    assert_ptr_equal(topic, &of(sink)->topic);
    add_message(&of(sink)->tale, message);
    return BCAST_OK;
}

static void sink_gap(struct bcast_sink *sink, struct bcast_topic *topic, enum bcast_gap_reason reason, uint64_t lost,
                     enum bcast_count count)
{
    assert_ptr_equal(topic, &of(sink)->topic);
    add_gap(&of(sink)->tale, reason, lost, count);
}

static void sink_result(struct bcast_sink *sink, uint64_t number, uint64_t count, int status)
{
    assert_int_equal(number, of(sink)->results);
    assert_int_equal(status, BCAST_OK);
    of(sink)->results += count;
    assert_true(of(sink)->results <= of(sink)->published);
}

/* Nothing is told of a fetch that has ended, or was never asked for. */
static struct answer *answer_of(struct alone *a, uint64_t request)
{
    struct answer *answer = a->answers;
    assert_false(a->lost);
    while (answer != NULL && answer->request != request)
        answer = answer->next;
    assert_non_null(answer);
    assert_false(answer->ended);
    return answer;
}

static int sink_fetched(struct bcast_sink *sink, uint64_t request, const struct bcast_incoming *message)
{
    struct alone *a = of(sink);
    struct answer *answer = answer_of(a, request);
    assert_false(answer->only_where);
    assert_false(answer->had_enough); /* it is told once only */
    if (a->on_fetched != NULL)
        a->on_fetched(a->context);
    answer->had_enough = answer->messages == answer->enough_after;
    if (answer->had_enough)
        return BCAST_TIMEOUT;
    add_message(&answer->tale, message);
    answer->messages++;
    return BCAST_OK;
}

static void sink_fetch_gap(struct bcast_sink *sink, uint64_t request, enum bcast_gap_reason reason, uint64_t lost,
                           enum bcast_count count)
{
    struct answer *answer = answer_of(of(sink), request);
    assert_false(answer->backwards);
    add_gap(&answer->tale, reason, lost, count);
    answer->gaps++;
}

static void sink_fetch_ended(struct bcast_sink *sink, uint64_t request, const struct bcast_fetch_end *end)
{
    struct answer *answer = answer_of(of(sink), request);
    answer->ended = true;
    answer->status = end->status;
    if (end->status != BCAST_OK) {
        assert_non_null(end->reason);
        snprintf(answer->reason, sizeof answer->reason, "%s", end->reason);
        return;
    }
    assert_true(strlen(end->older) < sizeof answer->older && strlen(end->newer) < sizeof answer->newer);
    strcpy(answer->older, end->older);
    strcpy(answer->newer, end->newer);
    answer->more_older = end->more_older != 0;
    answer->more_newer = end->more_newer != 0;
}

static int sink_watch(struct bcast_sink *sink, int fd, int events)
{
    struct alone *a = of(sink);
    size_t i = 1;
    while (i < a->fd_count && a->fds[i].fd != fd)
        i++;
    if (events == 0) {
        if (i < a->fd_count)
            a->fds[i] = a->fds[--a->fd_count];
        return BCAST_OK;
    }
    if (i == a->fd_count)
        assert_true(++a->fd_count <= FDS);
    a->fds[i] = (struct pollfd){
        .fd = fd,
        .events = (short)((events & BCAST_WATCH_READ ? POLLIN : 0) | (events & BCAST_WATCH_WRITE ? POLLOUT : 0))};
    return BCAST_OK;
}

static void sink_alarm(struct bcast_sink *sink, int in_ms)
{
    of(sink)->alarm_ms = in_ms < 0 ? -1 : now_ms() + in_ms;
}

static void sink_wake(struct bcast_sink *sink)
{
    ssize_t written = write(of(sink)->wake_in, "", 1);
    (void)written; /* full: it will wake anyway */
}

static void sink_log(struct bcast_sink *sink, enum bcast_log_level level, const char *text)
{
    (void)sink, (void)level, (void)text;
}

/* ---------------------------------------------------------------------------------------------------------- life -- */

struct alone *alone_open(const struct bcast_backend *backend, const char *url)
{
    struct alone *a = calloc(1, sizeof *a);
    char error[200] = "";
    int ends[2];
    assert_non_null(a);
    a->sink = (struct bcast_sink){.struct_size = sizeof a->sink,
                                  .connected = sink_connected,
                                  .lost = sink_lost,
                                  .subscribed = sink_subscribed,
                                  .message = sink_message,
                                  .gap = sink_gap,
                                  .result = sink_result,
                                  .fetched = sink_fetched,
                                  .fetch_gap = sink_fetch_gap,
                                  .fetch_ended = sink_fetch_ended,
                                  .watch = sink_watch,
                                  .alarm = sink_alarm,
                                  .wake = sink_wake,
                                  .log = sink_log};
    a->backend = backend;
    a->alarm_ms = -1;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    a->fds[0] = (struct pollfd){.fd = ends[0], .events = POLLIN};
    a->fd_count = 1;
    a->wake_in = ends[1];
    assert_int_equal(url_parse(&a->url, url), BCAST_OK);
    struct bcast_backend_setup setup = {sizeof setup, &a->url.parts, NULL, 64u << 20, error, sizeof error};
    if (backend->open(&setup, &a->sink, &a->self) != BCAST_OK)
        fail_msg("%s: %s", url, error);
    return a;
}

void alone_connect(struct alone *a)
{
    a->connected = a->lost = false;
    a->backend->connect(a->self);
    alone_until(a, a->connected);
}

void alone_disconnect(struct alone *a)
{
    a->backend->disconnect(a->self);
    a->lost = true; /* nothing may be told any more */
    a->alarm_ms = -1;
    assert_int_equal(a->fd_count, 1); /* nothing is watched any more */
}

void alone_close(struct alone *a)
{
    struct bcast_topic *topic = &a->topic;
    if (a->subscribed)
        a->backend->unsubscribe(a->self, &topic, 1);
    a->backend->disconnect(a->self);
    a->backend->close(a->self);
    for (struct answer *answer = a->answers, *next; answer != NULL; answer = next) {
        next = answer->next;
        tale_free(&answer->tale);
        free(answer);
    }
    tale_free(&a->tale);
    url_free(&a->url);
    close(a->fds[0].fd);
    close(a->wake_in);
    free(a);
}

/* The backend may watch other fds with every call. */
static void serve(struct alone *a)
{
    struct pollfd ready[FDS];
    size_t count = a->fd_count;
    char bytes[64];
    memcpy(ready, a->fds, sizeof ready);
    if (ready[0].revents != 0) {
        while (read(ready[0].fd, bytes, sizeof bytes) > 0)
            ;
        a->backend->woken(a->self);
    }
    for (size_t i = 1; i < count && !a->lost; i++) {
        int events = (ready[i].revents & (POLLIN | POLLHUP) ? BCAST_WATCH_READ : 0) |
                     (ready[i].revents & POLLOUT ? BCAST_WATCH_WRITE : 0) |
                     (ready[i].revents & POLLERR ? BCAST_WATCH_ERROR : 0);
        if (events != 0)
            a->backend->ready(a->self, ready[i].fd, events);
    }
}

void alone_turn(struct alone *a)
{
    assert_false(a->lost);
    int64_t left = a->alarm_ms < 0 ? TURN_MS : a->alarm_ms - now_ms();
    int ready = poll(a->fds, a->fd_count, left < 0 ? 0 : left > TURN_MS ? TURN_MS : (int)left);
    if (ready > 0)
        serve(a);
    if (!a->lost && a->alarm_ms >= 0 && now_ms() >= a->alarm_ms) {
        a->alarm_ms = -1;
        a->backend->alarm(a->self);
    }
}

void alone_on_fetched(struct alone *a, void (*call)(void *context), void *context)
{
    a->on_fetched = call;
    a->context = context;
}

bool alone_is_lost(const struct alone *a)
{
    return a->lost;
}

/* -------------------------------------------------------------------------------------------------------- its calls -- */

struct answer *alone_ask_for(struct alone *a, const struct bcast_fetch *fetch, size_t enough_after)
{
    struct answer *answer = calloc(1, sizeof *answer);
    struct bcast_fetch with_number = *fetch;
    assert_non_null(answer);
    with_number.request = answer->request = ++a->requests;
    answer->enough_after = enough_after;
    answer->backwards = fetch->backwards != 0;
    answer->only_where = fetch->only_where != 0;
    answer->next = a->answers;
    a->answers = answer;
    /* What it is given is borrowed until it returns, and not longer. */
    char *channel = copy(fetch->channel, fetch->channel_size);
    char *position = fetch->position != NULL ? copy(fetch->position, strlen(fetch->position)) : NULL;
    char *until = fetch->until != NULL ? copy(fetch->until, strlen(fetch->until)) : NULL;
    with_number.channel = channel;
    with_number.position = position;
    with_number.until = until;
    a->backend->fetch(a->self, &with_number);
    free(channel);
    free(position);
    free(until);
    return answer;
}

struct answer *alone_ask(struct alone *a, const struct bcast_fetch *fetch)
{
    return alone_ask_for(a, fetch, SIZE_MAX);
}

struct answer *alone_fetch(struct alone *a, const struct bcast_fetch *fetch)
{
    struct answer *answer = alone_ask(a, fetch);
    alone_until(a, answer->ended);
    return answer;
}

struct tale *alone_subscribe(struct alone *a, const char *channel)
{
    struct bcast_topic *topic = &a->topic;
    topic->name = channel;
    topic->size = strlen(channel);
    a->backend->subscribe(a->self, &topic, 1);
    alone_until(a, a->subscribed);
    return &a->tale;
}

const char *alone_position(struct alone *a)
{
    char cut[3];
    size_t length = a->backend->position(a->self, &a->topic, a->position, sizeof a->position);
    assert_int_equal(length, strlen(a->position));
    assert_int_equal(a->backend->position(a->self, &a->topic, cut, sizeof cut), length);
    assert_true(strlen(cut) < sizeof cut && memcmp(cut, a->position, strlen(cut)) == 0);
    return a->position;
}

void alone_publish(struct alone *a, const struct bcast_outgoing *message)
{
    struct bcast_outgoing numbered = *message;
    numbered.number = a->published++;
    assert_int_equal(a->backend->publish(a->self, &numbered, 1), 1);
}

uint64_t alone_results(const struct alone *a)
{
    return a->results;
}
