/* Publishers and subscriptions over a real broker, while the network and the broker fail at random; checks promise 1.
 *     campaign [--kind KIND] [--url-scheme SCHEME] [--seed N] [--seconds N | --rounds N] [--faults N] [--duplicates]
 *              [--verbose]
 * Kind memory: memory://, without a broker and faults. --url-scheme: another than that of the broker's URL.
 * --duplicates: messages may come twice. What a round does comes from its seed, as far as time allows: a failing run
 * prints it. */
#define _GNU_SOURCE
#include "broker.h"
#include "ledger.h"
#include "proxy.h"

#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define SUBS 5
#define WORKERS 3

struct chance {
    uint64_t state;
};

static uint64_t below(struct chance *chance, uint64_t bound)
{
    uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % bound;
}

static const struct options {
    const char *kind, *scheme;
    uint64_t seed, rounds, faults;
    long seconds;
    bool duplicates, verbose;
} * options;

enum server_fault { SERVER_KILL, SERVER_STOP, SERVER_PAUSE, SERVER_FAULTS };
static const char *const server_faults[SERVER_FAULTS] = {"kill -9", "stop", "pause"};

static struct {
    uint64_t rounds, published, refused, confirmed, unknown, failed, received, gaps, lost, duplicates, reconnects;
    uint64_t server[SERVER_FAULTS], network[PROXY_FAULTS];
} totals;

static const char *const names[CHANNELS] = {"campaign-red", "campaign-green", "campaign-blue"};

struct round;

struct subscriber {
    struct round *round;
    struct bcast_sub *sub;
    struct view view;
    bool channels[CHANNELS], slow;
    unsigned workers;
    pthread_t threads[WORKERS];
};

struct publisher {
    struct round *round;
    struct bcast *b;
    struct chance chance;
    unsigned index;
    pthread_t thread;
};

struct round {
    struct chance chance;
    struct bcast *near, *far; /* straight to the broker, and through the proxy */
    struct broker *broker;
    struct proxy *proxy;
    struct ledger *ledger;
    struct subscriber subs[SUBS];
    struct publisher publishers[PUBLISHERS];
    _Atomic bool over;
    uint32_t probes[CHANNELS];
};

static _Atomic uint64_t progress;

/* ---------------------------------------------------------------------------------------------------- publishing -- */

static void pause_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void publish(struct publisher *p, unsigned c)
{
    unsigned char payload[PAYLOAD_MAX];
    uint32_t number = p->round->ledger->count[p->index][c]++;
    uint32_t more = (uint32_t)below(&p->chance, below(&p->chance, 10) == 0 ? PAYLOAD_MAX - sizeof(struct mark) : 40);
    struct mark mark = {p->index, c, number, (uint32_t)sizeof mark + more, 0};
    struct bcast_message message = bcast_message_init();
    _Atomic unsigned char *fate = &p->round->ledger->fates[p->index][c][number];
    ledger_fill(payload, mark);
    message.channel = names[c];
    message.data = payload;
    message.size = mark.size;
    message.on_result = ledger_result;
    message.context = fate;
    atomic_store(fate, FATE_PENDING);
    int status = bcast_publish_message(p->b, &message);
    CHECK(status == BCAST_OK || status == BCAST_TIMEOUT || status == BCAST_ERR_NOMEM, "publish %d", status);
    if (status != BCAST_OK)
        CHECK(atomic_exchange(fate, FATE_REFUSED) == FATE_PENDING, "a result, and refused");
    atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

static void *publish_all(void *argument)
{
    struct publisher *p = argument;
    bool full = false;
    while (!atomic_load(&p->round->over) && !full) {
        for (uint64_t burst = 1 + below(&p->chance, 100); burst > 0 && !full; burst--) {
            unsigned c = (unsigned)below(&p->chance, CHANNELS);
            full = p->round->ledger->count[p->index][c] >= ROOM;
            if (!full)
                publish(p, c);
        }
        pause_us(below(&p->chance, 5000)); /* so that a round lasts long enough for its faults */
    }
    return NULL;
}

/* --------------------------------------------------------------------------------------------------- subscribing -- */

static unsigned channel_of(const struct bcast_event *event)
{
    for (unsigned c = 0; c < CHANNELS; c++)
        if (strcmp(event->channel, names[c]) == 0)
            return c;
    CHECK(false, "channel '%s'", event->channel);
    return 0;
}

static void *read_all(void *argument)
{
    struct subscriber *s = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct chance chance = {(uintptr_t)s};
    int status;
    bcast_foreach(s->sub, &event, status)
    {
        view_take(&s->view, &event, channel_of(&event));
        atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
        if (s->slow && below(&chance, 50) == 0)
            pause_us(below(&chance, 2000));
    }
    CHECK(status == BCAST_ERR_CLOSED, "next %d", status);
    bcast_release(&event);
    return NULL;
}

/* One with a single channel, one with workers, one with all channels, two of which too much is asked. */
static void subscribe(struct round *round, unsigned index)
{
    struct subscriber *s = &round->subs[index];
    struct bcast_sub_options sub_options = bcast_sub_options_init();
    bool many = index == 2 || index == 4;
    unsigned only = (unsigned)below(&round->chance, CHANNELS);
    s->round = round;
    s->slow = index >= 3;
    s->workers = index == 1 ? WORKERS : 1;
    sub_options.shared = index == 1;
    sub_options.timeout_ms = PATIENCE_MS;
    if (s->slow)
        sub_options.limit_messages = 1 + below(&round->chance, 200);
    for (unsigned c = 0; c < CHANNELS; c++)
        s->channels[c] = many || c == only;
    view_begin(&s->view, round->ledger, index == 1);
    s->view.duplicates_allowed = options->duplicates;
    int status = many ? bcast_subscribe_many(round->far, names, NULL, CHANNELS, &sub_options, &s->sub)
                      : bcast_subscribe(round->far, names[only], &sub_options, &s->sub);
    CHECK(status == BCAST_OK, "subscribe %d", status);
    for (unsigned w = 0; w < s->workers; w++)
        CHECK(pthread_create(&s->threads[w], NULL, read_all, s) == 0, "thread");
}

/* -------------------------------------------------------------------------------------------------------- faults -- */

static void server_fault(struct round *round, enum server_fault fault)
{
    if (options->verbose)
        fprintf(stderr, "campaign: %s\n", server_faults[fault]);
    if (fault == SERVER_KILL)
        broker_kill(round->broker);
    else if (fault == SERVER_STOP)
        CHECK(broker_stop(round->broker) == 0, "stop");
    else
        CHECK(broker_pause(round->broker) == 0, "pause");
    pause_us(below(&round->chance, 500000));
    if (fault == SERVER_PAUSE)
        CHECK(broker_resume(round->broker) == 0, "resume");
    else
        CHECK(broker_restart(round->broker) == 0, "restart");
    totals.server[fault]++;
}

static void run_plan(struct round *round)
{
    proxy_plan(round->proxy, below(&round->chance, UINT64_MAX), options->verbose ? PROXY_LOUD : 0);
    pause_us(below(&round->chance, 2000000));
}

static void run_faults(struct round *round)
{
    uint64_t count = 1 + below(&round->chance, options->faults);
    for (uint64_t i = 0; i < count; i++) {
        pause_us(below(&round->chance, 300000));
        if (round->broker == NULL)
            continue;
        if (below(&round->chance, 3) == 0)
            server_fault(round, (enum server_fault)below(&round->chance, SERVER_FAULTS));
        else if (below(&round->chance, 3) == 0)
            proxy_calm(round->proxy);
        else
            run_plan(round);
    }
    if (round->proxy != NULL)
        proxy_calm(round->proxy);
}

/* ------------------------------------------------------------------------------------------------------- the end -- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void await_results(struct round *round)
{
    struct bcast *all[] = {round->near, round->far};
    for (int i = 0; i < 2; i++) {
        int status = bcast_flush(all[i], PATIENCE_MS);
        CHECK(status == BCAST_OK || status == BCAST_ERR_PUBLISH, "flush %d", status);
    }
    for (unsigned p = 0; p < PUBLISHERS; p++)
        for (unsigned c = 0; c < CHANNELS; c++)
            for (uint32_t n = 0; n < round->ledger->count[p][c]; n++)
                CHECK(round->ledger->fates[p][c][n] != FATE_PENDING, "publisher %u's %u has no result", p, n);
}

static bool has_recovered(const struct round *round)
{
    for (unsigned i = 0; i < SUBS; i++)
        for (unsigned c = 0; c < CHANNELS; c++)
            if (round->subs[i].channels[c] && !atomic_load(&round->subs[i].view.probed[c]))
                return false;
    return true;
}

/* Every subscription works again, on every channel, with nobody's help. */
static void probe(struct round *round)
{
    unsigned char payload[PAYLOAD_MAX];
    int64_t end = now_ms() + PATIENCE_MS;
    while (!has_recovered(round)) {
        CHECK(now_ms() < end, "no recovery");
        for (unsigned c = 0; c < CHANNELS; c++) {
            struct mark mark = {PROBER, c, round->probes[c]++, sizeof mark, 0};
            ledger_fill(payload, mark);
            atomic_fetch_add(&round->ledger->probes[c], 1);
            int status = bcast_publish(round->near, names[c], payload, mark.size);
            CHECK(status == BCAST_OK || status == BCAST_TIMEOUT, "probe %d", status);
        }
        for (int i = 0; i < 50 && !has_recovered(round); i++)
            pause_us(2000);
    }
}

static void count_fates(const struct ledger *ledger)
{
    uint64_t sums[FATES] = {0};
    for (unsigned p = 0; p < PUBLISHERS; p++)
        for (unsigned c = 0; c < CHANNELS; c++)
            for (uint32_t n = 0; n < ledger->count[p][c]; n++)
                sums[ledger->fates[p][c][n]]++;
    totals.confirmed += sums[FATE_OK];
    totals.unknown += sums[FATE_UNKNOWN];
    totals.failed += sums[FATE_FAILED];
    totals.refused += sums[FATE_REFUSED];
    totals.published += sums[FATE_OK] + sums[FATE_UNKNOWN] + sums[FATE_FAILED];
}

static void end_subscriber(struct subscriber *s)
{
    bcast_cancel(s->sub);
    for (unsigned w = 0; w < s->workers; w++)
        pthread_join(s->threads[w], NULL);
    bcast_unsubscribe(s->sub);
    view_end(&s->view, s->channels);
    totals.received += s->view.received;
    totals.gaps += s->view.gaps;
    totals.lost += s->view.lost_all;
    totals.duplicates += s->view.duplicates;
}

static void end_broadcast(struct bcast *b)
{
    struct bcast_stats stats = bcast_stats_init();
    CHECK(bcast_stats(b, &stats) == BCAST_OK, "stats");
    totals.reconnects += stats.reconnects;
    bcast_close(b);
}

/* -------------------------------------------------------------------------------------------------------- rounds -- */

/* A broker that tells its clients where they shall connect has a URL of its own for those who go through a proxy; and
 * payloads are any bytes, for which some have another URL, too. */
static const char *url_of(struct round *round, bool far)
{
    if (round->broker == NULL)
        return "memory://campaign";
    const char *proxied = far ? broker_value(round->broker, "URL_PROXIED") : NULL;
    const char *binary = broker_value(round->broker, "URL_BINARY");
    return proxied != NULL ? proxied : binary != NULL ? binary : broker_url(round->broker);
}

/* The broker's URL, with the scheme asked for, and another port. */
static void make_url(struct round *round, bool far, unsigned port, char *out, size_t size)
{
    const char *url = url_of(round, far);
    const char *rest = strstr(url, "://");
    char digits[16];
    int scheme = (int)(rest - url);
    snprintf(digits, sizeof digits, ":%u/", round->broker != NULL ? broker_port(round->broker) : 0);
    const char *at = strstr(rest, digits);
    if (options->scheme != NULL)
        snprintf(out, size, "%s", options->scheme);
    else
        snprintf(out, size, "%.*s", scheme, url);
    size_t used = strlen(out);
    if (at == NULL)
        snprintf(out + used, size - used, "%s", rest);
    else
        snprintf(out + used, size - used, "%.*s:%u/%s", (int)(at - rest), rest, port, at + strlen(digits));
}

static void open_both(struct round *round)
{
    struct bcast_options open_options = bcast_options_init();
    char near[500], far[500];
    open_options.open_timeout_ms = PATIENCE_MS;
    open_options.publish_timeout_ms = 500;
    make_url(round, false, round->broker != NULL ? broker_port(round->broker) : 0, near, sizeof near);
    make_url(round, true, round->proxy != NULL ? proxy_port(round->proxy) : 0, far, sizeof far);
    CHECK(bcast_open(near, &open_options, &round->near) == BCAST_OK, "open %s", near);
    CHECK(bcast_open(far, &open_options, &round->far) == BCAST_OK, "open %s", far);
}

static void begin_broker(struct round *round)
{
    if (strcmp(options->kind, "memory") == 0)
        return;
    CHECK(broker_start(options->kind, &round->broker) == 0, "no broker");
    const char *behind = broker_value(round->broker, "PROXIED_PORT"), *at = broker_value(round->broker, "PROXY_PORT");
    unsigned port = behind != NULL ? (unsigned)strtoul(behind, NULL, 10) : broker_port(round->broker);
    CHECK(proxy_start("127.0.0.1", port, at != NULL ? (unsigned)strtoul(at, NULL, 10) : 0, &round->proxy) == 0,
          "no proxy");
}

static void end_broker(struct round *round)
{
    if (round->proxy != NULL)
        for (unsigned i = 0; i < PROXY_FAULTS; i++)
            totals.network[i] += proxy_stats(round->proxy).faults[i];
    proxy_end(round->proxy);
    broker_end(round->broker);
}

static void start_publisher(struct round *round, unsigned index)
{
    struct publisher *p = &round->publishers[index];
    p->round = round;
    p->b = index % 2 == 0 ? round->near : round->far;
    p->index = index;
    p->chance.state = below(&round->chance, UINT64_MAX);
    CHECK(pthread_create(&p->thread, NULL, publish_all, p) == 0, "thread");
}

static void run_round(uint64_t seed)
{
    struct round *round = calloc(1, sizeof *round);
    CHECK(round != NULL && (round->ledger = calloc(1, sizeof *round->ledger)) != NULL, "memory");
    atomic_store(&ledger_seed, seed);
    round->chance.state = seed;
    begin_broker(round);
    open_both(round);
    for (unsigned i = 0; i < SUBS; i++)
        subscribe(round, i);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        start_publisher(round, i);
    run_faults(round);
    atomic_store(&round->over, true);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        pthread_join(round->publishers[i].thread, NULL);
    await_results(round);
    probe(round);
    for (unsigned i = 0; i < SUBS; i++)
        end_subscriber(&round->subs[i]);
    end_broadcast(round->near);
    end_broadcast(round->far);
    end_broker(round);
    count_fates(round->ledger);
    free(round->ledger);
    free(round);
    totals.rounds++;
    atomic_fetch_add(&progress, 1);
}

/* Nothing at all for so long means that something waits for ever: a call, or close. */
static void *watch(void *argument)
{
    uint64_t before = UINT64_MAX;
    for (int still = 0; still < 2 * PATIENCE_MS / 1000; still++) {
        pause_us(1000000);
        uint64_t now = atomic_load(&progress);
        still = now != before ? 0 : still;
        before = now;
    }
    CHECK(false, "no progress");
    return argument;
}

/* ------------------------------------------------------------------------------------------------------- figures -- */

static void print_totals(void)
{
    const struct {
        const char *name;
        uint64_t value;
    } table[] = {{"rounds", totals.rounds},        {"published", totals.published},
                 {"confirmed", totals.confirmed},  {"unknown", totals.unknown},
                 {"failed", totals.failed},        {"refused", totals.refused},
                 {"received", totals.received},    {"gaps", totals.gaps},
                 {"lost in gaps", totals.lost},    {"duplicates", totals.duplicates},
                 {"reconnects", totals.reconnects}};
    const size_t count = sizeof table / sizeof table[0];
    for (size_t i = 0; i < count; i++)
        printf("%-20s %12llu\n", table[i].name, (unsigned long long)table[i].value);
    for (unsigned i = 0; i < SERVER_FAULTS; i++)
        printf("broker: %-12s %12llu\n", server_faults[i], (unsigned long long)totals.server[i]);
    for (unsigned i = 0; i < PROXY_FAULT_FLIP; i++)
        printf("network: %-11s %12llu\n", proxy_fault_name((enum proxy_fault)i), (unsigned long long)totals.network[i]);
    printf("{\"kind\": \"%s\"", options->kind);
    for (size_t i = 0; i < count; i++)
        printf(", \"%s\": %llu", table[i].name, (unsigned long long)table[i].value);
    printf(", \"faults\": {");
    for (unsigned i = 0; i < SERVER_FAULTS; i++)
        printf("\"%s\": %llu, ", server_faults[i], (unsigned long long)totals.server[i]);
    for (unsigned i = 0; i < PROXY_FAULT_FLIP; i++)
        printf("%s\"%s\": %llu", i == 0 ? "" : ", ", proxy_fault_name((enum proxy_fault)i),
               (unsigned long long)totals.network[i]);
    printf("}}\n");
}

static bool read_options(struct options *o, int count, char **words)
{
    for (int i = 1; i < count; i++) {
        bool more = i + 1 < count;
        if (strcmp(words[i], "--verbose") == 0)
            o->verbose = true;
        else if (strcmp(words[i], "--duplicates") == 0)
            o->duplicates = true;
        else if (more && strcmp(words[i], "--kind") == 0)
            o->kind = words[++i];
        else if (more && strcmp(words[i], "--url-scheme") == 0)
            o->scheme = words[++i];
        else if (more && strcmp(words[i], "--seed") == 0)
            o->seed = strtoull(words[++i], NULL, 0);
        else if (more && strcmp(words[i], "--rounds") == 0)
            o->rounds = strtoull(words[++i], NULL, 0);
        else if (more && strcmp(words[i], "--faults") == 0)
            o->faults = strtoull(words[++i], NULL, 0);
        else if (more && strcmp(words[i], "--seconds") == 0)
            o->seconds = strtol(words[++i], NULL, 0);
        else
            return false;
    }
    return o->faults != 0;
}

int main(int count, char **words)
{
    struct options o = {.kind = "redis", .faults = 10, .seed = (uint64_t)time(NULL) * 1000003};
    pthread_t watcher;
    if (!read_options(&o, count, words)) {
        fprintf(stderr, "usage: campaign [--kind KIND] [--url-scheme SCHEME] [--seed N] [--seconds N | --rounds N] "
                        "[--faults N] [--duplicates] [--verbose]\n");
        return 2;
    }
    options = &o;
    printf("campaign: first seed %llu\n", (unsigned long long)o.seed);
    fflush(stdout);
    CHECK(pthread_create(&watcher, NULL, watch, NULL) == 0, "thread");
    pthread_detach(watcher);
    int64_t end = now_ms() + o.seconds * 1000;
    for (uint64_t i = 0; o.rounds != 0 ? i < o.rounds : i == 0 || now_ms() < end; i++)
        run_round(o.seed + i);
    print_totals();
    return 0;
}
