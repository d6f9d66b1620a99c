/* Fan-out: P threads publish, S subscriptions receive everything; every message is checked, for contents and order. */
#define _GNU_SOURCE
#include <broadcaster/broadcaster.h>

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cputime.h"
#include "fanout.h"
#include "payload.h"

#define BATCH_MAX 1024
#define SAMPLES 65536 /* latencies kept per reader */

struct plan {
    const char *url;
    unsigned subscribers, publishers, workers, idle, batch;
    size_t size;
    uint64_t messages, rate;
    uint64_t channels; /* to be subscribed at once, in a measurement of its own */
    int policy;        /* enum bcast_policy; negative: block, or else drop_oldest with room for all */
    enum payload_depth depth;
    bool json;
};

struct run {
    struct plan plan;
    struct bcast *b, *in; /* to publish, to receive; the same where there is no broker */
    long out_thread, in_thread;
    uint64_t out_ns, in_ns; /* CPU of the library's threads */
    bool drops;             /* the policy is drop_oldest by default, so that nothing should be lost */
    struct bcast_channel *channel;
    struct bcast_sub **subs, **idle;
    pthread_barrier_t start;
    _Atomic uint64_t published, cpu_ns, failed;
    _Atomic uint64_t *seen; /* per subscription: received and lost */
    _Atomic uint64_t received, lost, gaps, wrong;
    uint32_t *latencies;
    _Atomic size_t latency_count;
    uint64_t stamp_every;
};

struct worker {
    struct run *run;
    unsigned index;
    pthread_t thread;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static const char *program; /* how it was called, for texts */

static void die(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, bcast_error_text());
    exit(1);
}

/* ------------------------------------------------------------------------------------------------------ threads -- */

static void pace(uint64_t start, uint64_t number, uint64_t rate)
{
    uint64_t due = start + (uint64_t)((double)number * 1e9 / (double)rate);
    struct timespec until = {(time_t)(due / 1000000000), (long)(due % 1000000000)};
    if (due > now_ns(CLOCK_MONOTONIC) + 50000)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    while (now_ns(CLOCK_MONOTONIC) < due)
        ;
}

static void *publish(void *argument)
{
    struct worker *me = argument;
    struct run *run = me->run;
    const struct plan *plan = &run->plan;
    uint64_t mine = plan->messages / plan->publishers;
    unsigned char *data = calloc(1, plan->size);
    pthread_barrier_wait(&run->start);
    uint64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), start = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < mine; i++) {
        if (plan->rate != 0)
            pace(start, i, plan->rate);
        payload_fill(data, plan->size, payload_mark(me->index, i),
                     i % run->stamp_every == 0 ? now_ns(CLOCK_MONOTONIC) : 0, plan->depth);
        int status;
        while ((status = bcast_publish_to(run->channel, data, plan->size)) == BCAST_TIMEOUT)
            ;
        if (status != BCAST_OK)
            die("publish");
        if (i % 65536 == 65535)
            atomic_fetch_add_explicit(&run->published, 65536, memory_order_relaxed);
    }
    atomic_fetch_add(&run->published, mine % 65536);
    atomic_fetch_add(&run->cpu_ns, now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
    free(data);
    return NULL;
}

struct tally {
    struct payload_reader reader;
    uint64_t received, lost, gaps;
    size_t size;  /* of every message */
    bool may_gap; /* numbers may be missing */
    enum payload_depth depth;
};

static void note_latency(struct run *run, uint64_t time_ns)
{
    size_t at = atomic_fetch_add_explicit(&run->latency_count, 1, memory_order_relaxed) % SAMPLES;
    uint64_t took = now_ns(CLOCK_MONOTONIC) - time_ns;
    run->latencies[at] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
}

static inline void take(struct run *run, struct tally *tally, const struct bcast_event *event, enum payload_depth depth)
{
    if (event->kind == BCAST_GAP) {
        tally->lost += event->lost;
        tally->gaps++;
        return;
    }
    uint64_t time_ns = payload_check(&tally->reader, event->data, event->size, tally->size, tally->may_gap, depth);
    tally->received++;
    if (time_ns != 0)
        note_latency(run, time_ns);
}

/* Compiled once for each depth. */
static inline void take_all(struct run *run, struct tally *tally, const struct bcast_event *events, size_t count)
{
    for (size_t i = 0; i < count && tally->depth == PAYLOAD_BYTES; i++)
        take(run, tally, &events[i], PAYLOAD_BYTES);
    for (size_t i = 0; i < count && tally->depth == PAYLOAD_SUM; i++)
        take(run, tally, &events[i], PAYLOAD_SUM);
    for (size_t i = 0; i < count && tally->depth == PAYLOAD_TEXT; i++)
        take(run, tally, &events[i], PAYLOAD_TEXT);
}

struct reading {
    struct run *run;
    struct bcast_sub *sub;
    struct bcast_event *events;
    struct tally tally;
    uint64_t total; /* to be received or lost */
};

static bool more(const struct reading *r)
{
    return r->tally.received + r->tally.lost < r->total;
}

static int read_singly(struct reading *r)
{
    int status = BCAST_OK;
    while (more(r) && (status = bcast_next(r->sub, r->events, 5000)) == BCAST_OK)
        take_all(r->run, &r->tally, r->events, 1);
    return status;
}

static int read_batches(struct reading *r)
{
    size_t count;
    int status = BCAST_OK;
    while (more(r) && (status = bcast_next_batch(r->sub, r->events, r->run->plan.batch, &count, 5000)) == BCAST_OK)
        take_all(r->run, &r->tally, r->events, count);
    return status;
}

/* With fellow workers, until all of them together have everything. */
static int read_shared(struct reading *r, _Atomic uint64_t *seen)
{
    size_t count = 1;
    unsigned batch = r->run->plan.batch;
    int status = BCAST_OK;
    while (atomic_load(seen) < r->total) {
        status =
            batch > 1 ? bcast_next_batch(r->sub, r->events, batch, &count, 5000) : bcast_next(r->sub, r->events, 5000);
        if (status != BCAST_OK)
            break;
        uint64_t before = r->tally.received + r->tally.lost;
        take_all(r->run, &r->tally, r->events, count);
        uint64_t done = r->tally.received + r->tally.lost - before;
        if (atomic_fetch_add(seen, done) + done >= r->total)
            bcast_cancel(r->sub); /* the fellow workers may go */
    }
    return status;
}

static void *receive(void *argument)
{
    struct worker *me = argument;
    struct run *run = me->run;
    const struct plan *plan = &run->plan;
    unsigned which = me->index / plan->workers;
    struct reading *r = calloc(1, sizeof *r);
    *r = (struct reading){.run = run,
                          .sub = run->subs[which],
                          .events = calloc(BATCH_MAX, sizeof *r->events),
                          .tally = {.size = plan->size,
                                    .may_gap = run->drops || plan->policy > BCAST_BLOCK || plan->workers > 1,
                                    .depth = plan->depth},
                          .total = plan->messages / plan->publishers * plan->publishers};
    pthread_barrier_wait(&run->start);
    int status = plan->workers > 1 ? read_shared(r, &run->seen[which])
                 : plan->batch > 1 ? read_batches(r)
                                   : read_singly(r);
    if (status != BCAST_OK && status != BCAST_ERR_CLOSED && status != BCAST_TIMEOUT)
        die("next");
    for (unsigned i = 0; i < BATCH_MAX; i++)
        bcast_release(&r->events[i]);
    atomic_fetch_add(&run->received, r->tally.received);
    atomic_fetch_add(&run->lost, r->tally.lost);
    atomic_fetch_add(&run->gaps, r->tally.gaps);
    bool whole = r->tally.received == r->total && plan->depth == PAYLOAD_SUM;
    bool adds_up = r->tally.reader.sum == payload_sum(plan->publishers, plan->messages / plan->publishers);
    atomic_fetch_add(&run->wrong, r->tally.reader.wrong + (whole && !adds_up));
    free(r->events);
    free(r);
    return NULL;
}

static _Atomic int measuring;

static void *show_progress(void *argument)
{
    struct run *run = argument;
    while (atomic_load(&measuring)) {
        usleep(200000);
        fprintf(stderr, "\r  %u subscribers: %3.0f %% ", run->plan.subscribers,
                100.0 * (double)atomic_load(&run->published) / (double)run->plan.messages);
    }
    fprintf(stderr, "\r%40s\r", "");
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------ one run -- */

static struct bcast_sub **subscribe(struct run *run, unsigned count, int policy)
{
    struct bcast_sub **subs = calloc(count + 1, sizeof(struct bcast_sub *));
    struct bcast_sub_options options = bcast_sub_options_init();
    options.policy = policy >= 0 ? (enum bcast_policy)policy : run->drops ? BCAST_DROP_OLDEST : BCAST_BLOCK;
    if (policy < 0 && run->drops) { /* as if nobody were ever too slow */
        options.limit_messages = run->plan.messages + 1;
        options.limit_bytes = (size_t)run->plan.messages * (run->plan.size + 64);
    }
    options.shared = run->plan.workers > 1;
    for (unsigned i = 0; i < count; i++)
        if (bcast_subscribe(run->in, "fanout", &options, &subs[i]) != BCAST_OK)
            die("subscribe");
    return subs;
}

static void unsubscribe(struct bcast_sub **subs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bcast_unsubscribe(subs[i]);
    free(subs);
}

/* Over a broker one connection publishes and another receives, as if they were two programs. */
static void open_both(struct run *run)
{
    struct bcast_capabilities can = bcast_capabilities_init();
    if (bcast_open(run->plan.url, NULL, &run->b) != BCAST_OK || bcast_capabilities(run->b, &can) != BCAST_OK)
        die("open");
    run->in = run->b;
    if (!(can.can & BCAST_CAN_BINARY)) {
        run->plan.depth = PAYLOAD_TEXT;
        run->plan.size = run->plan.size < PAYLOAD_TEXT_MIN ? PAYLOAD_TEXT_MIN : run->plan.size;
    }
    run->drops = run->plan.policy == BCAST_DROP_OLDEST || !(can.can & BCAST_CAN_BLOCK);
    if (!(can.can & BCAST_CAN_PROCESSES))
        return;
    run->out_thread = cputime_thread("bcast-io");
    if (bcast_open(run->plan.url, NULL, &run->in) != BCAST_OK)
        die("open");
    run->in_thread = cputime_thread("bcast-io");
}

static void set_up(struct run *run)
{
    const struct plan *plan = &run->plan;
    open_both(run);
    if (bcast_channel(run->b, "fanout", 0, &run->channel) != BCAST_OK)
        die("channel");
    run->subs = subscribe(run, plan->subscribers, plan->policy);
    run->idle = subscribe(run, plan->idle, BCAST_DROP_OLDEST);
    run->seen = calloc(plan->subscribers + 1, sizeof *run->seen);
    run->latencies = calloc(SAMPLES, sizeof *run->latencies);
    run->stamp_every = plan->rate != 0 ? 1 : 509; /* a prime: no beat with segments */
    pthread_barrier_init(&run->start, NULL, plan->subscribers * plan->workers + plan->publishers + 1);
}

static void tear_down(struct run *run)
{
    pthread_barrier_destroy(&run->start);
    unsubscribe(run->subs, run->plan.subscribers);
    unsubscribe(run->idle, run->plan.idle);
    bcast_channel_free(run->channel);
    if (run->in != run->b)
        bcast_close(run->in);
    bcast_close(run->b);
    free((void *)run->seen);
    free(run->latencies);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(struct run *run, double part)
{
    size_t count = run->latency_count < SAMPLES ? run->latency_count : SAMPLES;
    qsort(run->latencies, count, sizeof *run->latencies, by_value);
    return count == 0 ? 0 : run->latencies[(size_t)(part * (double)(count - 1))] / 1e3;
}

static void report(struct run *run, double published_s, double all_s)
{
    const struct plan *plan = &run->plan;
    uint64_t messages = plan->messages / plan->publishers * plan->publishers;
    double per_s = (double)messages / published_s, deliveries = (double)run->received / all_s;
    uint64_t lost = messages * plan->subscribers - run->received;
    double p50 = percentile_us(run, 0.5), p99 = percentile_us(run, 0.99);
    double cpu = (double)run->cpu_ns / (double)messages;
    double out = (double)(run->cpu_ns + run->out_ns) / (double)messages, in = (double)run->in_ns / (double)messages;
    if (plan->json)
        printf(
            "{\"url\": \"%s\", \"subscribers\": %u, \"publishers\": %u, \"size\": %zu, \"messages\": %llu, "
            "\"seconds\": %.4f, \"publish_per_s\": %.0f, \"deliveries_per_s\": %.0f, \"lost\": %llu, \"gaps\": %llu, "
            "\"p50_us\": %.2f, \"p99_us\": %.2f, \"publisher_cpu_ns\": %.1f, \"cpu_ns_per_publish\": %.1f, "
            "\"io_cpu_ns_per_message\": %.1f}\n",
            plan->url, plan->subscribers, plan->publishers, plan->size, (unsigned long long)messages, all_s, per_s,
            deliveries, (unsigned long long)lost, (unsigned long long)run->gaps, p50, p99, cpu, out, in);
    else
        printf("%11u %11llu %12llu %14.2f %16.2f %9llu %11.1f %11.1f", plan->subscribers, (unsigned long long)messages,
               (unsigned long long)run->received, per_s / 1e6, deliveries / 1e6, (unsigned long long)lost, p50, p99);
    if (!plan->json)
        printf(run->in_thread != 0 ? " %11.2f %11.2f\n" : "\n", out / 1e3, in / 1e3);
    fflush(stdout);
}

static int measure(const struct plan *plan)
{
    struct run *run = calloc(1, sizeof *run);
    run->plan = *plan;
    set_up(run);
    unsigned readers = plan->subscribers * plan->workers;
    struct worker *workers = calloc(readers + plan->publishers, sizeof *workers);
    for (unsigned i = 0; i < readers + plan->publishers; i++) {
        workers[i] = (struct worker){.run = run, .index = i < readers ? i : i - readers};
        pthread_create(&workers[i].thread, NULL, i < readers ? receive : publish, &workers[i]);
    }
    pthread_t progress;
    bool show = isatty(2) && !plan->json;
    atomic_store(&measuring, 1);
    if (show)
        pthread_create(&progress, NULL, show_progress, run);
    pthread_barrier_wait(&run->start);
    uint64_t begin = now_ns(CLOCK_MONOTONIC), out = cputime_ns(run->out_thread), in = cputime_ns(run->in_thread);
    for (unsigned i = readers; i < readers + plan->publishers; i++)
        pthread_join(workers[i].thread, NULL);
    if (bcast_flush(run->b, 60000) != BCAST_OK)
        die("flush");
    uint64_t published = now_ns(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < readers; i++)
        pthread_join(workers[i].thread, NULL);
    uint64_t end = now_ns(CLOCK_MONOTONIC);
    run->out_ns = cputime_ns(run->out_thread) - out;
    run->in_ns = cputime_ns(run->in_thread) - in;
    atomic_store(&measuring, 0);
    if (show)
        pthread_join(progress, NULL);
    report(run, (double)(published - begin) / 1e9, (double)(end - begin) / 1e9);
    uint64_t wrong = run->wrong;
    if (wrong != 0)
        fprintf(stderr, "%s: %llu messages were damaged or out of order\n", program, (unsigned long long)wrong);
    tear_down(run);
    free(workers);
    free(run);
    return wrong != 0;
}

/* ------------------------------------------------------------------------------------------------- many channels -- */

static void name_channels(char (*names)[32], const char **list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "fanout %zu", i);
        list[i] = names[i];
    }
}

/* One subscription to all of them, then one subscription each. */
static int measure_channels(const struct plan *plan)
{
    size_t count = plan->channels;
    char(*names)[32] = calloc(count, sizeof *names);
    const char **list = calloc(count, sizeof *list);
    struct bcast_sub **subs = calloc(count, sizeof(struct bcast_sub *)), *all;
    struct bcast *b;
    name_channels(names, list, count);
    if (bcast_open(plan->url, NULL, &b) != BCAST_OK)
        die("open");
    uint64_t begin = now_ns(CLOCK_MONOTONIC);
    if (bcast_subscribe_many(b, list, NULL, count, NULL, &all) != BCAST_OK)
        die("subscribe");
    uint64_t together = now_ns(CLOCK_MONOTONIC) - begin;
    bcast_unsubscribe(all);
    begin = now_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < count; i++)
        if (bcast_subscribe(b, list[i], NULL, &subs[i]) != BCAST_OK)
            die("subscribe");
    uint64_t singly = now_ns(CLOCK_MONOTONIC) - begin;
    unsubscribe(subs, (unsigned)count);
    bcast_close(b);
    printf(plan->json ? "{\"channels\": %zu, \"together_s\": %.3f, \"singly_s\": %.3f}\n"
                      : "%zu channels subscribed: in one call %.3f s, in a call each %.3f s\n",
           count, (double)together / 1e9, (double)singly / 1e9);
    free((void *)list);
    free(names);
    return 0;
}

/* ----------------------------------------------------------------------------------------------------- arguments -- */

static const char help[] =
    "usage: %s [URL] [--url URL] [--subscribers N[,N...]] [--publishers N] [--size BYTES] [--messages N]\n"
    "       [--policy block|drop_oldest|disconnect] [--batch N] [--workers N] [--idle-subscribers N] [--rate N]\n"
    "       [--check bytes|sum] [--channels N] [--json]\n"
    "Publishes to one channel and checks what every subscription receives, over memory:// unless there is a URL.\n"
    "--batch 1 uses bcast_next, more bcast_next_batch; --workers N lets N threads share each subscription; --rate is\n"
    "in messages per second and publisher (0: as fast as possible). --check sum only adds up the messages' numbers:\n"
    "for comparisons with programs that do no more. Latencies are from before publish to after next. Through a broker "
    "one\n"
    "connection publishes and another receives; 'out' and 'in' are microseconds of CPU per message: of publisher and "
    "I/O\n"
    "thread to publish it, of the I/O thread to receive it. --channels N measures how long subscribing to N takes.\n"
    "\n"
    "  %s                                        1, 4, 16 and 64 subscribers in this process\n"
    "  %s --subscribers 8 --size 1024 --json     one line for programs\n";

static void show_help(void)
{
    printf(help, program, program, program);
    exit(0);
}

static void refuse_option(void) /* getopt has said which */
{
    fprintf(stderr, "%s: see '%s --help'\n", program, program);
    exit(2);
}

static uint64_t number(const char *text, const char *option, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || end == text || value < least || value > most) {
        fprintf(stderr, "%s: --%s wants a number from %llu to %llu, not '%s'\n", program, option,
                (unsigned long long)least, (unsigned long long)most, text);
        exit(2);
    }
    return value;
}

static enum bcast_policy policy(const char *text)
{
    static const char *const names[] = {"drop_oldest", "block", "disconnect"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum bcast_policy)i;
    fprintf(stderr, "%s: --policy is drop_oldest, block or disconnect, not '%s'\n", program, text);
    exit(2);
}

static enum payload_depth depth(const char *text)
{
    if (strcmp(text, "sum") == 0 || strcmp(text, "bytes") == 0)
        return strcmp(text, "sum") == 0 ? PAYLOAD_SUM : PAYLOAD_BYTES;
    fprintf(stderr, "%s: --check is bytes or sum, not '%s'\n", program, text);
    exit(2);
}

static const struct option options[] = {
    {"url", 1, NULL, 'u'},   {"subscribers", 1, NULL, 's'}, {"publishers", 1, NULL, 'p'},
    {"size", 1, NULL, 'z'},  {"messages", 1, NULL, 'm'},    {"policy", 1, NULL, 'o'},
    {"batch", 1, NULL, 'b'}, {"workers", 1, NULL, 'w'},     {"idle-subscribers", 1, NULL, 'i'},
    {"rate", 1, NULL, 'r'},  {"check", 1, NULL, 'c'},       {"channels", 1, NULL, 'n'},
    {"json", 0, NULL, 'j'},  {"help", 0, NULL, 'h'},        {NULL, 0, NULL, 0},
};

static void parse(int count, char **words, struct plan *plan, char **subscribers)
{
    for (int c; (c = getopt_long(count, words, "h", options, NULL)) != -1;)
        switch (c) {
        case 'u': plan->url = optarg; break;
        case 's': *subscribers = optarg; break;
        case 'p': plan->publishers = (unsigned)number(optarg, "publishers", 1, PAYLOAD_PUBLISHERS); break;
        case 'z': plan->size = number(optarg, "size", PAYLOAD_MIN, 1 << 30); break;
        case 'm': plan->messages = number(optarg, "messages", 1, UINT64_C(1) << 50); break;
        case 'o': plan->policy = policy(optarg); break;
        case 'b': plan->batch = (unsigned)number(optarg, "batch", 1, BATCH_MAX); break;
        case 'w': plan->workers = (unsigned)number(optarg, "workers", 1, 1024); break;
        case 'i': plan->idle = (unsigned)number(optarg, "idle-subscribers", 0, 100000); break;
        case 'r': plan->rate = number(optarg, "rate", 0, 1000000000); break;
        case 'c': plan->depth = depth(optarg); break;
        case 'n': plan->channels = number(optarg, "channels", 1, 10000000); break;
        case 'j': plan->json = true; break;
        case 'h': show_help(); break;
        default: refuse_option();
        }
    if (optind < count)
        plan->url = words[optind++];
    if (optind < count) {
        fprintf(stderr, "%s: one URL is enough, what is '%s'?\n", program, words[optind]);
        exit(2);
    }
}

int fanout_main(int count, char **words)
{
    program = words[0];
    struct plan plan = {.url = "memory://", .publishers = 1, .workers = 1, .batch = 64, .size = 64, .policy = -1};
    char usual[] = "1,4,16,64", *subscribers = usual;
    parse(count, words, &plan, &subscribers);
    bool usual_count = plan.messages == 0, broker = strncmp(plan.url, "memory", 6) != 0;
    if (plan.channels != 0)
        return measure_channels(&plan);
    if (!plan.json)
        printf("%11s %11s %12s %14s %16s %9s %11s %11s%s\n", "subscribers", "published", "delivered", "M published/s",
               "M deliveries/s", "lost", "p50 µs", "p99 µs", broker ? "         out          in" : "");
    int failed = 0;
    for (char *text = strtok(subscribers, ","); text != NULL; text = strtok(NULL, ",")) {
        plan.subscribers = (unsigned)number(text, "subscribers", 0, 10000);
        if (usual_count)
            plan.messages = broker ? 1000000 : 40000000 / (plan.subscribers < 4 ? 1 : plan.subscribers / 4);
        failed |= measure(&plan);
    }
    return failed;
}
