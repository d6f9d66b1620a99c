/* Random schedules over memory://, checked against promise 1: per subscription and channel every message is delivered
 * once and in order, or covered by a gap with an exact count, or still queued at the end.
 *     stress [--seed N] [--rounds N | --deliveries N | --seconds N] [--large | --wide]
 * --wide: many subscribers of small messages with room to fall behind, for many deliveries.
 * A round is made from its seed alone: what a failing run prints repeats it, as far as the scheduler allows. */
#define _GNU_SOURCE
#include <broadcaster/broadcaster.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "stress.h"

#define CHANNELS 3
#define PUBLISHERS_MAX 4
#define SUBS_MAX 6
#define SUBS_WIDE 48
#define WORKERS_MAX 4
#define CHURNERS_MAX 2
#define BATCH 32
#define PATIENCE_MS 120000 /* longer than `watch` waits for anything at all to happen */

static _Atomic uint64_t deliveries, rounds_done;
/* ------------------------------------------------------------------------------------------------------ messages -- */

struct mark { /* the first bytes of every message that has any; the rest follows from it */
    uint32_t publisher, number, channel, size;
};

#define HUGE_BYTES (64u << 20) /* the default limit */
#define IS_EMPTY UINT64_MAX    /* stands for a message without bytes, which cannot say whose it is */

static unsigned char filler(const struct mark *mark, size_t i)
{
    return (unsigned char)(mark->publisher * 31 + mark->number * 7 + mark->channel * 3 + i);
}

static void fill(unsigned char *data, const struct mark *mark)
{
    size_t at = mark->size < 4096 ? mark->size : 4096, more;
    memcpy(data, mark, mark->size != 0 ? sizeof *mark : 0);
    for (size_t i = sizeof *mark; i < at; i++)
        data[i] = filler(mark, i);
    for (; at < mark->size; at += more) { /* it repeats itself every 256 bytes */
        more = at - 256 < mark->size - at ? at - 256 : mark->size - at;
        memcpy(data + at, data + 256, more);
    }
}

static void check_data(const struct bcast_event *event, struct mark *mark)
{
    memset(mark, 0, sizeof *mark);
    if (event->size == 0)
        return;
    CHECK(event->size >= sizeof *mark, "size %zu", event->size);
    memcpy(mark, event->data, sizeof *mark);
    CHECK(mark->size == event->size, "size %zu, not %u", event->size, mark->size);
    const unsigned char *data = event->data;
    size_t step = event->size > 4096 ? 61 : 1;
    for (size_t i = sizeof *mark; i < event->size; i += step)
        CHECK(data[i] == filler(mark, i), "byte %zu is damaged", i);
}

/* ---------------------------------------------------------------------------------------------------- one round -- */

struct round;

struct subscriber {
    struct round *round;
    struct bcast_sub *sub;
    enum bcast_policy policy;
    bool shared, many, with_fd, slow;
    unsigned workers, index;
    _Atomic uint64_t accounted[CHANNELS]; /* received and lost: the sequence to come, where one thread reads */
    uint32_t last[CHANNELS][PUBLISHERS_MAX];
    unsigned char *seen[CHANNELS]; /* shared: by sequence */
    pthread_t threads[WORKERS_MAX];
};

struct round {
    struct bcast *b;
    struct chance chance;
    bool large, wide;
    unsigned publishers, subscribers, churners;
    uint32_t messages; /* per publisher and channel */
    uint32_t size_max;
    uint64_t first;   /* sequence of the first message of each channel */
    unsigned history; /* kept of each channel; 0: none */
    struct subscriber subs[SUBS_WIDE];
    _Atomic uint64_t *marks[CHANNELS]; /* by sequence: which message it was, for the first who saw it */
    _Atomic bool published;
    pthread_t publisher_threads[PUBLISHERS_MAX], churner_threads[CHURNERS_MAX];
};

struct job {
    struct round *round;
    unsigned index;
    uint64_t seed;
};

static const char *const names[CHANNELS] = {"red", "green", "blue"};

static unsigned channel_of(const struct bcast_event *event)
{
    for (unsigned c = 0; c < CHANNELS; c++)
        if (strcmp(event->channel, names[c]) == 0)
            return c;
    CHECK(false, "channel '%s'", event->channel);
    return 0;
}

static uint64_t total(const struct round *round)
{
    return (uint64_t)round->messages * round->publishers;
}

/* All subscriptions must agree on what a sequence number stands for. */
static void check_sequence(struct round *round, const struct bcast_event *event, const struct mark *mark, unsigned c)
{
    uint64_t at = event->sequence - round->first;
    uint64_t is = event->size == 0 ? IS_EMPTY : (uint64_t)(mark->publisher + 1) << 32 | mark->number, before;
    CHECK(at < total(round), "sequence %llu", (unsigned long long)event->sequence);
    CHECK(mark->channel == c || event->size == 0, "a message of channel %u in %u", mark->channel, c);
    before = atomic_load_explicit(&round->marks[c][at], memory_order_relaxed);
    if (before == is || (before == 0 && atomic_compare_exchange_strong(&round->marks[c][at], &before, is)))
        return;
    CHECK(before == is, "two messages with sequence %llu", (unsigned long long)event->sequence);
}

static void check_order(struct subscriber *s, const struct mark *mark, unsigned c)
{
    uint32_t *last = &s->last[c][mark->publisher];
    CHECK(mark->number + 1 > *last, "publisher %u's %u after %u", mark->publisher, mark->number, *last);
    *last = mark->number + 1;
}

static void take_gap(struct subscriber *s, const struct bcast_event *event, unsigned c)
{
    CHECK(s->policy == BCAST_DROP_OLDEST, "a gap of %llu before %llu, subscription %u%s%s",
          (unsigned long long)event->lost, (unsigned long long)event->sequence, s->index, s->shared ? " shared" : "",
          s->many ? " many" : "");
    CHECK(event->count == BCAST_EXACT && event->reason == BCAST_GAP_OVERFLOW, "reason %d", event->reason);
    CHECK(event->lost > 0, "an empty gap");
    uint64_t before = atomic_fetch_add(&s->accounted[c], event->lost);
    if (!s->shared)
        CHECK(before + event->lost == event->sequence - s->round->first, "%llu + %llu lost is not %llu",
              (unsigned long long)before, (unsigned long long)event->lost, (unsigned long long)event->sequence);
}

static void take_message(struct subscriber *s, const struct bcast_event *event, unsigned c)
{
    struct mark mark;
    check_data(event, &mark);
    check_sequence(s->round, event, &mark, c);
    uint64_t before = atomic_fetch_add(&s->accounted[c], 1);
    if (s->shared) {
        CHECK(__atomic_exchange_n(&s->seen[c][event->sequence - s->round->first], 1, __ATOMIC_RELAXED) == 0,
              "sequence %llu twice", (unsigned long long)event->sequence);
    } else {
        CHECK(before == event->sequence - s->round->first, "sequence %llu, not %llu",
              (unsigned long long)event->sequence, (unsigned long long)before);
        if (event->size != 0)
            check_order(s, &mark, c);
    }
}

static void take(struct subscriber *s, const struct bcast_event *event)
{
    unsigned c = channel_of(event);
    if (event->kind == BCAST_GAP)
        take_gap(s, event, c);
    else
        take_message(s, event, c);
}

static bool complete(struct subscriber *s)
{
    for (unsigned c = 0; c < (s->many ? CHANNELS : 1); c++)
        if (atomic_load(&s->accounted[s->many ? c : s->index % CHANNELS]) < total(s->round))
            return false;
    return true;
}

/* Waits in poll, as a program with an event loop would. */
static void wait_in_poll(struct subscriber *s)
{
    struct pollfd p = {bcast_fd(s->sub), POLLIN, 0};
    CHECK(p.fd >= 0, "bcast_fd %d", p.fd);
    CHECK(poll(&p, 1, PATIENCE_MS) == 1, "the fd did not become readable");
}

/* `patient`: nothing for so long means that a wake-up was lost. */
static int read_some(struct subscriber *s, struct bcast_event *events, size_t *count, struct chance *chance,
                     bool *patient)
{
    int timeout = s->with_fd ? 0 : one_in(chance, 8) ? 1 : PATIENCE_MS;
    *patient = timeout == PATIENCE_MS;
    if (one_in(chance, 2))
        return bcast_next_batch(s->sub, events, 1 + below(chance, BATCH), count, timeout);
    *count = 1;
    return bcast_next(s->sub, &events[0], timeout);
}

/* Holds on to some events for a while, and looks whether they are still whole. */
static void hold_on(struct bcast_event *events, size_t count, struct chance *chance)
{
    struct mark mark;
    size_t i = below(chance, count);
    if (events[i].kind != BCAST_MESSAGE)
        return;
    if (one_in(chance, 2))
        CHECK(bcast_keep(&events[i]) == BCAST_OK, "keep");
    for (unsigned yields = (unsigned)below(chance, 50); yields > 0; yields--)
        sched_yield();
    check_data(&events[i], &mark);
}

static void *read_all(void *argument)
{
    struct job *job = argument;
    struct subscriber *s = &job->round->subs[job->index];
    struct chance chance = {job->seed};
    struct bcast_event events[BATCH];
    memset(events, 0, sizeof events);
    while (!complete(s)) {
        size_t count = 0;
        bool patient;
        int status = read_some(s, events, &count, &chance, &patient);
        if (status == BCAST_ERR_CLOSED)
            break;
        if (status == BCAST_TIMEOUT && s->with_fd)
            wait_in_poll(s);
        else
            CHECK(status == BCAST_OK || (status == BCAST_TIMEOUT && !patient), "status %d", status);
        if (status != BCAST_OK)
            continue;
        uint64_t messages = 0;
        for (size_t i = 0; i < count; i++) {
            take(s, &events[i]);
            messages += events[i].kind == BCAST_MESSAGE;
        }
        atomic_fetch_add_explicit(&deliveries, messages, memory_order_relaxed);
        if (s->slow && one_in(&chance, 4))
            hold_on(events, count, &chance);
    }
    if (s->workers > 1)
        bcast_cancel(s->sub); /* the others may be waiting for a message that will not come */
    for (unsigned i = 0; i < BATCH; i++)
        bcast_release(&events[i]);
    free(job);
    return NULL;
}

/* ----------------------------------------------------------------------------------------- publishers, churners -- */

static uint32_t some_size(struct round *round, struct chance *chance)
{
    if (one_in(chance, 50))
        return 0;
    uint32_t least = sizeof(struct mark);
    if (round->large && one_in(chance, 200))
        return (uint32_t)(100000 + below(chance, 400000));
    return least + (uint32_t)below(chance, one_in(chance, 20) ? round->size_max * 8 : round->size_max);
}

static void *publish_all(void *argument)
{
    struct job *job = argument;
    struct round *round = job->round;
    struct chance chance = {job->seed};
    struct bcast_channel *handles[CHANNELS];
    unsigned char *data = malloc(HUGE_BYTES);
    uint32_t huge = round->large && one_in(&chance, 8) ? (uint32_t)below(&chance, round->messages) : UINT32_MAX;
    for (unsigned c = 0; c < CHANNELS; c++)
        CHECK(bcast_channel(round->b, names[c], 0, &handles[c]) == BCAST_OK, "channel");
    for (uint32_t n = 0; n < round->messages; n++)
        for (unsigned c = 0; c < CHANNELS; c++) {
            struct mark mark = {job->index, n, c, n == huge && c == 0 ? HUGE_BYTES : some_size(round, &chance)};
            fill(data, &mark);
            int status;
            status = one_in(&chance, 2) ? bcast_publish_to(handles[c], data, mark.size)
                                        : bcast_publish(round->b, names[c], data, mark.size);
            CHECK(status == BCAST_OK, "publish %d", status);
            if (one_in(&chance, 500))
                sched_yield();
        }
    for (unsigned c = 0; c < CHANNELS; c++)
        bcast_channel_free(handles[c]);
    free(data);
    free(job);
    return NULL;
}

static void *cancel_soon(void *argument)
{
    sched_yield();
    bcast_cancel(argument);
    return NULL;
}

/* What a churner has seen of each channel: it must be contiguous, from the barrier on. */
struct view {
    uint64_t expected[CHANNELS];
    bool known[CHANNELS];
};

static void check_view(struct view *view, const struct bcast_event *event)
{
    struct mark mark;
    unsigned c = channel_of(event);
    uint64_t from = event->kind == BCAST_GAP ? event->sequence - event->lost : event->sequence;
    CHECK(!view->known[c] || from == view->expected[c], "%llu after %llu", (unsigned long long)from,
          (unsigned long long)view->expected[c]);
    view->known[c] = true;
    view->expected[c] = event->kind == BCAST_GAP ? event->sequence : event->sequence + 1;
    if (event->kind == BCAST_MESSAGE)
        check_data(event, &mark);
}

static int read_for_a_while(struct bcast_sub *sub, struct view *view, const char *other, struct chance *chance)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    int status = BCAST_OK;
    for (unsigned i = (unsigned)below(chance, 300); i > 0 && status >= 0; i--) {
        if (one_in(chance, 100))
            bcast_add_channel(sub, other, 0);
        if (one_in(chance, 100) && bcast_remove_channel(sub, other, 0) == BCAST_OK)
            for (unsigned c = 0; c < CHANNELS; c++)
                view->known[c] &= strcmp(names[c], other) != 0;
        status = bcast_next(sub, &event, (int)below(chance, 2));
        if (status == BCAST_OK)
            check_view(view, &event);
    }
    CHECK(status >= 0 || status == BCAST_ERR_CLOSED, "status %d", status);
    bcast_release(&event);
    return status;
}

static struct bcast_sub_options churner_options(struct round *round, struct chance *chance)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.policy = one_in(chance, 3) ? BCAST_BLOCK : BCAST_DROP_OLDEST;
    options.limit_messages = 1 + below(chance, 300);
    options.shared = one_in(chance, 3);
    if (round->history != 0 && one_in(chance, 2))
        options.history = below(chance, options.limit_messages + 1);
    return options;
}

/* Pages of what is kept, forwards from the oldest or backwards from the newest: whole and without holes. */
static void read_pages(struct round *round, struct chance *chance)
{
    struct bcast_history_query query = bcast_history_query_init();
    struct bcast_page *page, *before = NULL;
    bool forwards = one_in(chance, 2), known = false;
    unsigned c = (unsigned)below(chance, CHANNELS);
    uint64_t edge = 0; /* where the last page ended, or began */
    query.limit = 1 + below(chance, 200);
    query.after = forwards ? "" : NULL;
    for (unsigned pages = 0; pages < 10; pages++) {
        struct view view = {.known = {false}};
        CHECK(bcast_history(round->b, names[c], &query, &page) == BCAST_OK, "history");
        if (forwards && known) {
            view.known[c] = true;
            view.expected[c] = edge;
        }
        for (size_t i = 0; i < page->count; i++)
            check_view(&view, &page->events[i]);
        CHECK(forwards || !known || page->count == 0 || view.expected[c] == edge, "a page up to %llu, not %llu",
              (unsigned long long)view.expected[c], (unsigned long long)edge);
        if (page->count != 0) {
            known = true;
            edge = forwards ? view.expected[c] : page->events[0].sequence;
        }
        bcast_page_free(before);
        before = page;
        query.after = forwards ? page->newer : NULL;
        query.before = forwards ? NULL : page->older;
        if (page->count == 0 || (!forwards && page->older == NULL))
            break;
    }
    bcast_page_free(before);
}

/* What is counted while it moves can be no more than there is in the end. */
static void read_stats(struct round *round, struct chance *chance)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    struct subscriber *s = &round->subs[below(chance, round->subscribers)];
    uint64_t sum = total(round) * (s->many ? CHANNELS : 1);
    CHECK(bcast_sub_stats(s->sub, &stats) == BCAST_OK, "stats");
    CHECK(stats.received <= sum && stats.lost <= sum, "%llu received, %llu lost of %llu",
          (unsigned long long)stats.received, (unsigned long long)stats.lost, (unsigned long long)sum);
}

/* One subscription, and perhaps another that goes on where it stood. */
static void churn_once(struct round *round, struct chance *chance)
{
    struct bcast_sub_options options = churner_options(round, chance);
    struct bcast_sub *sub;
    struct view view = {.known = {false}};
    bool canceller_runs = one_in(chance, 3), again = round->history != 0 && one_in(chance, 2);
    unsigned first = (unsigned)below(chance, CHANNELS);
    const char *other = names[(first + 1) % CHANNELS];
    pthread_t canceller;
    char position[200];
    CHECK(bcast_subscribe(round->b, names[first], &options, &sub) == BCAST_OK, "subscribe");
    if (one_in(chance, 3))
        CHECK(bcast_fd(sub) >= 0, "fd");
    if (canceller_runs)
        pthread_create(&canceller, NULL, cancel_soon, sub);
    read_for_a_while(sub, &view, other, chance);
    if (again)
        CHECK(bcast_position(sub, position, sizeof position, NULL) == BCAST_OK, "position");
    if (canceller_runs)
        pthread_join(canceller, NULL);
    bcast_unsubscribe(sub);
    if (!again)
        return;
    for (unsigned c = 0; c < CHANNELS; c++)
        view.known[c] &= c == first;
    options.history = 0;
    options.resume = position;
    CHECK(bcast_subscribe(round->b, names[first], &options, &sub) == BCAST_OK, "resume at %s", position);
    read_for_a_while(sub, &view, other, chance);
    bcast_unsubscribe(sub);
}

/* Subscriptions that come and go while messages fly. */
static void *churn(void *argument)
{
    struct job *job = argument;
    struct chance chance = {job->seed};
    while (!atomic_load(&job->round->published)) {
        churn_once(job->round, &chance);
        if (job->round->history != 0)
            read_pages(job->round, &chance);
        read_stats(job->round, &chance);
    }
    free(job);
    return NULL;
}

/* -------------------------------------------------------------------------------------------------------- set-up -- */

static void start(struct round *round, pthread_t *thread, void *(*run)(void *), unsigned index)
{
    struct job *job = malloc(sizeof *job);
    *job = (struct job){round, index, draw(&round->chance)};
    CHECK(pthread_create(thread, NULL, run, job) == 0, "thread");
}

static void add_subscriber(struct round *round, unsigned index)
{
    struct subscriber *s = &round->subs[index];
    struct chance *chance = &round->chance;
    struct bcast_sub_options options = bcast_sub_options_init();
    memset(s, 0, sizeof *s);
    s->round = round;
    s->index = index;
    s->many = index >= CHANNELS && one_in(chance, 2); /* the first three keep each channel listened to */
    s->policy = index < CHANNELS || one_in(chance, 2) ? BCAST_BLOCK : BCAST_DROP_OLDEST;
    s->shared = one_in(chance, 3);
    s->workers = s->shared ? 1 + (unsigned)below(chance, WORKERS_MAX) : 1;
    s->with_fd = one_in(chance, 3) && s->workers == 1;
    s->slow = one_in(chance, round->wide ? 30 : 3);
    options.policy = s->policy;
    options.shared = s->shared;
    bool narrow = one_in(chance, round->wide ? 50 : 2);
    options.limit_messages = narrow ? 1 + below(chance, 50) : 1 + below(chance, round->wide ? 50000 : 5000);
    options.limit_bytes = one_in(chance, round->wide ? 100 : 4) ? 1 + below(chance, 100000) : 0;
    int status = s->many ? bcast_subscribe_many(round->b, names, NULL, CHANNELS, &options, &s->sub)
                         : bcast_subscribe(round->b, names[index % CHANNELS], &options, &s->sub);
    CHECK(status == BCAST_OK, "subscribe %d", status);
    for (unsigned c = 0; c < CHANNELS; c++)
        s->seen[c] = calloc(1, total(round));
}

static void check_stats(struct round *round, struct subscriber *s)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    uint64_t sum = total(round) * (s->many ? CHANNELS : 1);
    CHECK(bcast_sub_stats(s->sub, &stats) == BCAST_OK, "stats");
    CHECK(stats.received + stats.lost == sum && stats.queued == 0, "%llu + %llu of %llu, %llu queued",
          (unsigned long long)stats.received, (unsigned long long)stats.lost, (unsigned long long)sum,
          (unsigned long long)stats.queued);
}

/* Every other round all counters wrap around while it runs: segment numbers at 2^32, sequences at 2^64. */
static void begin_counting(struct round *round)
{
#ifdef BCAST_TEST_HOOKS
    bool wrap = one_in(&round->chance, 2);
    round->first = wrap ? 0 - below(&round->chance, 2 * total(round)) : 0;
    atomic_store(&memory_hooks.first_sequence, round->first);
    atomic_store(&memory_hooks.first_number, wrap ? UINT32_MAX - (uint32_t)below(&round->chance, 10) : 0);
#else
    (void)round;
#endif
}

static void run_round(uint64_t seed, const struct campaign *c)
{
    struct round *round = calloc(1, sizeof *round);
    struct chance *chance = &round->chance;
    atomic_store(&current_seed, seed);
    chance->state = seed;
    round->wide = c->wide;
    round->large = c->large || (!c->wide && one_in(chance, 10));
    round->publishers = 1 + (unsigned)below(chance, PUBLISHERS_MAX);
    round->subscribers = CHANNELS + (unsigned)below(chance, SUBS_MAX - CHANNELS + 1);
    round->churners = (unsigned)below(chance, CHURNERS_MAX + 1);
    round->messages = 200 + (uint32_t)below(chance, 3000);
    round->size_max = one_in(chance, 2) ? 64 : 2000;
    if (round->wide) {
        round->subscribers = SUBS_WIDE / 2 + (unsigned)below(chance, SUBS_WIDE / 2 + 1);
        round->messages = 5000 + (uint32_t)below(chance, 20000);
        round->size_max = 8;
    }
    begin_counting(round);
    struct bcast_options options = bcast_options_init();
    options.keep_bytes = SIZE_MAX;
    options.publish_timeout_ms = PATIENCE_MS;
    char url[64] = "memory://";
    if (one_in(chance, 2)) {
        round->history = 1 + (unsigned)below(chance, 2000);
        snprintf(url, sizeof url, "memory://?history=%u&history_bytes=%u", round->history,
                 1000 + (unsigned)below(chance, 1000000));
    }
    CHECK(bcast_open(url, &options, &round->b) == BCAST_OK, "open");
    for (unsigned c = 0; c < CHANNELS; c++)
        round->marks[c] = calloc(total(round), sizeof *round->marks[c]);
    for (unsigned i = 0; i < round->subscribers; i++)
        add_subscriber(round, i);
    for (unsigned i = 0; i < round->subscribers; i++)
        for (unsigned w = 0; w < round->subs[i].workers; w++)
            start(round, &round->subs[i].threads[w], read_all, i);
    for (unsigned i = 0; i < round->churners; i++)
        start(round, &round->churner_threads[i], churn, i);
    for (unsigned i = 0; i < round->publishers; i++)
        start(round, &round->publisher_threads[i], publish_all, i);
    for (unsigned i = 0; i < round->publishers; i++)
        pthread_join(round->publisher_threads[i], NULL);
    atomic_store(&round->published, true);
    for (unsigned i = 0; i < round->churners; i++)
        pthread_join(round->churner_threads[i], NULL);
    for (unsigned i = 0; i < round->subscribers; i++) {
        struct subscriber *s = &round->subs[i];
        for (unsigned w = 0; w < s->workers; w++)
            pthread_join(s->threads[w], NULL);
        check_stats(round, s);
        bcast_unsubscribe(s->sub);
        for (unsigned c = 0; c < CHANNELS; c++)
            free(s->seen[c]);
    }
    bcast_close(round->b);
    for (unsigned c = 0; c < CHANNELS; c++)
        free((void *)round->marks[c]);
    free(round);
    atomic_fetch_add(&rounds_done, 1);
}

/* A run that makes no progress for a minute is a failure, and says which seed it was. */
static void *watch(void *argument)
{
    uint64_t before = UINT64_MAX;
    (void)argument;
    for (unsigned still = 0; still < 60; still++) {
        struct timespec second = {1, 0};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
        uint64_t now = atomic_load(&deliveries) + atomic_load(&rounds_done);
        if (now != before)
            still = 0;
        before = now;
    }
    CHECK(false, "no progress for a minute");
    return NULL;
}

int main(int count, char **words)
{
    struct campaign c = campaign("stress", count, words);
    pthread_t watcher;
    pthread_create(&watcher, NULL, watch, NULL);
    pthread_detach(watcher);
    time_t said = time(NULL);
    for (uint64_t i = 0; campaign_goes_on(&c, i, atomic_load(&deliveries)); i++) {
        run_round(c.seed + i, &c);
        if (time(NULL) >= said + 60) {
            said = time(NULL);
            printf("stress: %llu rounds, %llu deliveries so far\n", (unsigned long long)rounds_done,
                   (unsigned long long)deliveries);
            fflush(stdout);
        }
    }
    printf("stress: %llu rounds, %llu deliveries, all accounted for\n", (unsigned long long)rounds_done,
           (unsigned long long)deliveries);
    return 0;
}
