/* What it costs to publish when subscribers sleep, and how soon they have the message. Beside it the barest way to do
 * the same: threads that wait on one futex, woken all at once.
 *     parked [--rounds N] [--subscribers N] [--json]
 * In turn, N rounds: one and many subscribers, the library and the bare futex. Medians over rounds of: the time that
 * the publishing call takes; the time until the last has it, median and p99. */
#define _GNU_SOURCE
#include <broadcaster/broadcaster.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
#define SHOTS 200 /* messages per round */
#define ROUNDS_MOST 1000

struct scene {
    bool bare;
    int sleepers;
    struct bcast *b;
    struct bcast_channel *channel;
    struct bcast_sub *subs[MOST];
    pthread_t threads[MOST];
    _Atomic uint32_t futex; /* counts messages */
    _Atomic int arrived;
    _Atomic uint64_t last_ns; /* when the latest of them had it */
    _Atomic int next_index;
};

enum { PUBLISH_US, LAST_US, LAST_P99_US, FIGURES };
struct figures {
    double of[FIGURES];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void must(int status, const char *what)
{
    if (status == BCAST_OK)
        return;
    fprintf(stderr, "parked: %s: %s\n", what, bcast_error_text());
    exit(1);
}

static void have_it(struct scene *scene)
{
    uint64_t now = now_ns(), last = atomic_load(&scene->last_ns);
    while (now > last && !atomic_compare_exchange_weak(&scene->last_ns, &last, now))
        ;
    atomic_fetch_add(&scene->arrived, 1);
}

static void *sleeper(void *argument)
{
    struct scene *scene = argument;
    int index = atomic_fetch_add(&scene->next_index, 1);
    struct bcast_event event = BCAST_EVENT_INIT;
    for (uint32_t seen = 0; seen < SHOTS; seen++) {
        if (!scene->bare)
            must(bcast_next(scene->subs[index], &event, BCAST_FOREVER), "next");
        while (scene->bare && atomic_load(&scene->futex) == seen)
            syscall(SYS_futex, &scene->futex, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        have_it(scene);
    }
    bcast_release(&event);
    return NULL;
}

static void fire(struct scene *scene)
{
    if (!scene->bare) {
        must(bcast_publish_to(scene->channel, "wake up", 7), "publish");
        return;
    }
    atomic_fetch_add(&scene->futex, 1);
    syscall(SYS_futex, &scene->futex, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double part(double *values, int count, double where)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[(int)(where * (count - 1))];
}

static void set_up(struct scene *scene)
{
    if (!scene->bare) {
        must(bcast_open("memory://", NULL, &scene->b), "open");
        must(bcast_channel(scene->b, "parked", 0, &scene->channel), "channel");
        for (int i = 0; i < scene->sleepers; i++)
            must(bcast_subscribe(scene->b, "parked", NULL, &scene->subs[i]), "subscribe");
    }
    for (int i = 0; i < scene->sleepers; i++)
        pthread_create(&scene->threads[i], NULL, sleeper, scene);
}

static void tear_down(struct scene *scene)
{
    for (int i = 0; i < scene->sleepers; i++)
        pthread_join(scene->threads[i], NULL);
    if (scene->bare)
        return;
    for (int i = 0; i < scene->sleepers; i++)
        bcast_unsubscribe(scene->subs[i]);
    bcast_channel_free(scene->channel);
    bcast_close(scene->b);
}

static struct figures play(bool bare, int sleepers)
{
    static struct scene scene;
    static double publish[SHOTS], last[SHOTS];
    memset(&scene, 0, sizeof scene);
    scene.bare = bare;
    scene.sleepers = sleepers;
    set_up(&scene);
    for (int i = 0; i < SHOTS; i++) {
        nanosleep(&(struct timespec){0, 2000000 + sleepers * 10000}, NULL); /* by then all of them sleep */
        uint64_t begin = now_ns();
        fire(&scene);
        uint64_t end = now_ns();
        while (atomic_load(&scene.arrived) < (i + 1) * sleepers)
            sched_yield();
        publish[i] = (double)(end - begin) / 1e3;
        last[i] = (double)(atomic_load(&scene.last_ns) - begin) / 1e3;
    }
    tear_down(&scene);
    return (struct figures){{part(publish, SHOTS, 0.5), part(last, SHOTS, 0.5), part(last, SHOTS, 0.99)}};
}

enum { OURS_ONE, BARE_ONE, OURS_MANY, BARE_MANY, SCENES };
static struct figures results[SCENES][ROUNDS_MOST];

static double median(int scene, int figure, int rounds)
{
    static double values[ROUNDS_MOST];
    for (int i = 0; i < rounds; i++)
        values[i] = results[scene][i].of[figure];
    return part(values, rounds, 0.5);
}

/* The median of the ratios within each round. */
static double ratio(int scene, int to, int figure, int rounds)
{
    static double values[ROUNDS_MOST];
    for (int i = 0; i < rounds; i++)
        values[i] = results[scene][i].of[figure] / results[to][i].of[figure];
    return part(values, rounds, 0.5);
}

static void report(int rounds, int many, bool json)
{
    static const char *const names[SCENES] = {"library", "bare futex", "library", "bare futex"};
    double publish = ratio(OURS_MANY, OURS_ONE, PUBLISH_US, rounds);
    double last = ratio(OURS_MANY, BARE_MANY, LAST_US, rounds);
    double p99 = ratio(OURS_ONE, BARE_ONE, LAST_P99_US, rounds);
    if (json) {
        printf("{\"rounds\": %d, \"subscribers\": %d, \"publish_many_to_one\": %.3f, \"last_to_wake_all\": %.3f, "
               "\"p99_to_futex\": %.3f}\n",
               rounds, many, publish, last, p99);
        return;
    }
    printf("%-10s  %8s  %10s  %14s  %11s\n", "", "sleepers", "publish µs", "last has it µs", "its p99 µs");
    for (int i = 0; i < SCENES; i++)
        printf("%-10s  %8d  %10.2f  %14.2f  %11.2f\n", names[i], i < OURS_MANY ? 1 : many,
               median(i, PUBLISH_US, rounds), median(i, LAST_US, rounds), median(i, LAST_P99_US, rounds));
    printf("publish, %d parked to one parked: %.2f   last of %d to wake-all: %.2f   p99 of one to bare futex: %.2f\n",
           many, publish, many, last, p99);
}

static int number(const char *text, int most)
{
    int value = text != NULL ? atoi(text) : 0;
    if (value < 1 || value > most) {
        fprintf(stderr, "usage: parked [--rounds 1-%d] [--subscribers 1-%d] [--json]\n", ROUNDS_MOST, MOST);
        exit(2);
    }
    return value;
}

int main(int count, char **words)
{
    int rounds = 9, many = 64;
    bool json = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--json") == 0)
            json = true;
        else if (strcmp(words[i], "--rounds") == 0)
            rounds = number(words[++i], ROUNDS_MOST);
        else if (strcmp(words[i], "--subscribers") == 0)
            many = number(words[++i], MOST);
        else
            number(NULL, 0);
    }
    for (int i = 0; i < rounds; i++)
        for (int scene = 0; scene < SCENES; scene++) {
            if (isatty(2))
                fprintf(stderr, "\rround %d of %d ", i + 1, rounds);
            results[scene][i] = play(scene == BARE_ONE || scene == BARE_MANY, scene < OURS_MANY ? 1 : many);
        }
    if (isatty(2))
        fprintf(stderr, "\r%20s\r", "");
    report(rounds, many, json);
    return 0;
}
