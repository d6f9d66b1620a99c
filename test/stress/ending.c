/* Shutdown and cancel at any moment, while publishers publish and readers read, wait or park. Every call returns; what
 * was published is received, lost in a counted gap, or still queued; events that are out stay good to the end.
 *     ending [--seed N] [--rounds N | --deliveries N | --seconds N] */
#define _GNU_SOURCE
#include "stress.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define PUBLISHERS 3
#define SUBS 4
#define WORKERS 2

struct ending {
    struct bcast *b;
    struct bcast_sub *subs[SUBS];
    bool cancelled[SUBS];
    _Atomic uint64_t published, received[SUBS], lost[SUBS];
    _Atomic uint32_t under_way; /* messages tried so far */
    uint32_t moment;            /* when to end it */
};

struct job {
    struct ending *ending;
    unsigned index;
};

static void *publish(void *argument)
{
    struct job *job = argument;
    struct ending *e = job->ending;
    uint64_t data[8] = {job->index};
    for (;;) {
        atomic_fetch_add(&e->under_way, 1);
        int status = bcast_publish(e->b, "x", data, sizeof data);
        if (status == BCAST_ERR_CLOSED)
            return NULL;
        CHECK(status == BCAST_OK || status == BCAST_TIMEOUT, "publish: %d", status);
        atomic_fetch_add(&e->published, status == BCAST_OK);
        data[1] += status == BCAST_OK;
    }
}

static void *read_to_the_end(void *argument)
{
    struct job *job = argument;
    struct ending *e = job->ending;
    unsigned which = job->index % SUBS;
    struct bcast_event events[2] = {BCAST_EVENT_INIT, BCAST_EVENT_INIT}; /* in turn: one of them is always out */
    int status;
    for (unsigned i = 0; (status = bcast_next(e->subs[which], &events[i % 2], BCAST_FOREVER)) == BCAST_OK; i++) {
        const struct bcast_event *event = &events[i % 2], *other = &events[(i + 1) % 2];
        bool message = event->kind == BCAST_MESSAGE;
        atomic_fetch_add(message ? &e->received[which] : &e->lost[which], message ? 1 : event->lost);
        CHECK(other->kind != BCAST_MESSAGE || *(const uint64_t *)other->data < PUBLISHERS, "damaged");
    }
    CHECK(status == BCAST_ERR_CLOSED, "next: %d", status);
    bcast_release(&events[0]);
    bcast_release(&events[1]);
    return NULL;
}

static void subscribe(struct ending *e, struct chance *chance)
{
    for (unsigned i = 0; i < SUBS; i++) {
        struct bcast_sub_options options = bcast_sub_options_init();
        options.policy = one_in(chance, 3) ? BCAST_BLOCK : BCAST_DROP_OLDEST;
        options.limit_messages = 1 + below(chance, 200);
        options.shared = i == SUBS - 1; /* read by WORKERS */
        e->cancelled[i] = one_in(chance, 4);
        CHECK(bcast_subscribe(e->b, "x", &options, &e->subs[i]) == BCAST_OK, "subscribe");
    }
}

static void check(struct ending *e, unsigned i)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    CHECK(bcast_sub_stats(e->subs[i], &stats) == BCAST_OK, "stats");
    CHECK(stats.received == e->received[i] && stats.lost == e->lost[i], "%llu received, %llu lost, by its own count",
          (unsigned long long)stats.received, (unsigned long long)stats.lost);
    CHECK(stats.received + stats.lost + stats.queued == e->published, "%llu + %llu + %llu is not %llu",
          (unsigned long long)stats.received, (unsigned long long)stats.lost, (unsigned long long)stats.queued,
          (unsigned long long)e->published);
}

/* Returns how much was received. */
static uint64_t run(uint64_t seed)
{
    struct chance chance = {seed};
    struct ending e = {.moment = (uint32_t)below(&chance, 3000)};
    pthread_t publishers[PUBLISHERS], readers[SUBS + WORKERS - 1];
    struct job jobs[PUBLISHERS + SUBS + WORKERS - 1];
    struct bcast_options options = bcast_options_init();
    options.publish_timeout_ms = 50; /* a cancelled subscription that blocks is not read any more */
    atomic_store(&current_seed, seed);
    CHECK(bcast_open("memory://", &options, &e.b) == BCAST_OK, "open");
    subscribe(&e, &chance);
    for (unsigned i = 0; i < PUBLISHERS + SUBS + WORKERS - 1; i++)
        jobs[i] = (struct job){&e, i < PUBLISHERS ? i : i - PUBLISHERS};
    for (unsigned i = 0; i < SUBS + WORKERS - 1; i++) { /* the last workers share the last subscription */
        jobs[PUBLISHERS + i].index = i < SUBS ? i : SUBS - 1;
        pthread_create(&readers[i], NULL, read_to_the_end, &jobs[PUBLISHERS + i]);
    }
    for (unsigned i = 0; i < PUBLISHERS; i++)
        pthread_create(&publishers[i], NULL, publish, &jobs[i]);
    while (atomic_load(&e.under_way) < e.moment / 2)
        sched_yield();
    for (unsigned i = 0; i < SUBS; i++)
        if (e.cancelled[i])
            bcast_cancel(e.subs[i]);
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do { /* it may be that nothing gets on, for a full subscription that was cancelled */
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (atomic_load(&e.under_way) < e.moment && now.tv_sec - begin.tv_sec < 2);
    CHECK(bcast_shutdown(e.b) == BCAST_OK, "shutdown");
    for (unsigned i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i], NULL);
    for (unsigned i = 0; i < SUBS + WORKERS - 1; i++)
        pthread_join(readers[i], NULL);
    uint64_t received = 0;
    for (unsigned i = 0; i < SUBS; i++) {
        check(&e, i);
        received += e.received[i];
        bcast_unsubscribe(e.subs[i]);
    }
    bcast_close(e.b);
    return received;
}

int main(int count, char **words)
{
    struct campaign c = campaign("ending", count, words);
    uint64_t rounds = 0, delivered = 0;
    for (; campaign_goes_on(&c, rounds, delivered); rounds++)
        delivered += run(c.seed + rounds);
    printf("ending: %llu rounds, %llu deliveries\n", (unsigned long long)rounds, (unsigned long long)delivered);
    return 0;
}
