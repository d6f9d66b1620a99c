/* A random program of calls over memory://, in one thread, next to a model of what must come of it: promise 1. Of every
 * channel a subscription has, each message published since it began is received once, in order and whole, or counted in
 * a gap, or still queued; pages of the history are contiguous, in both directions. */
#define _POSIX_C_SOURCE 200809L
#include "fuzz.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

#include "position.h"

#define BROADCASTS 3
#define HANDLES 2
#define SUBS 5
#define TOPICS 3
#define EVENTS 8
#define PLACES 4       /* positions that are kept for later */
#define OPERATIONS 300 /* of one program */
#define PATTERN 300000 /* bytes of the largest message, and some */
#define LARGE 140000   /* more than a segment takes */

static const char *const names[TOPICS] = {"a", "topic/two", "z\0y"};
static const size_t name_sizes[TOPICS] = {1, 9, 3};

/* ----------------------------------------------------------------------------------------------------- the model -- */

struct letter { /* a message; its bytes follow from the seed */
    uint32_t size;
    uint8_t seed, key_size, headers; /* key_size 0: none */
};

struct topic {
    struct letter *letters;
    size_t count, room;
};

/* What belongs to a name, or to one broadcast without a name, as long as anybody uses it. */
struct home {
    struct home *next;
    const char *name; /* "": private */
    uint64_t history, history_bytes, published;
    unsigned users, subscriptions;
    struct topic topics[TOPICS];
};

struct station {
    struct bcast *b;
    struct home *home;
    bool shut;
};

struct handle {
    struct bcast_channel *channel;
    struct home *home;
    struct bcast *of; /* NULL: it was closed */
    unsigned topic;
};

struct flow { /* one channel of a subscription */
    bool there, based, missed, foreign;
    uint64_t next, base, missed_count; /* next: in the topic's letters */
};

struct listener {
    struct bcast_sub *sub;
    struct home *home;
    struct bcast *of; /* NULL: it was closed */
    bool closed, disconnected;
    enum bcast_policy policy;
    uint64_t limit_messages, limit_bytes;
    struct flow flows[TOPICS];
    uint64_t received, lost, gaps, discarded;
};

struct note { /* what an event must go on to show */
    struct home *home;
    struct listener *of;
    struct letter letter;
    unsigned topic;
    uint64_t sequence;
    uint8_t kind;
};

struct place { /* a position, of a page or a subscription */
    char text[400];
    const struct home *home;
    bool of_page, there[TOPICS];
    uint64_t at[TOPICS];
};

static struct world {
    struct input in;
    struct home *homes;
    struct station stations[BROADCASTS];
    struct handle handles[HANDLES];
    struct listener listeners[SUBS];
    struct bcast_event events[EVENTS];
    struct note notes[EVENTS];
    struct place places[PLACES];
} w;

static unsigned char pattern[PATTERN];

static unsigned pick(unsigned bound)
{
    return input_below(&w.in, bound);
}

static const void *bytes_of(const struct letter *letter)
{
    return pattern + letter->seed;
}

static void append(struct topic *topic, const struct letter *letter)
{
    if (topic->count == topic->room) {
        topic->room = topic->room * 2 + 16;
        topic->letters = realloc(topic->letters, topic->room * sizeof *topic->letters);
        CHECK(topic->letters != NULL, "out of memory");
    }
    topic->letters[topic->count++] = *letter;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t queued(const struct listener *l)
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < TOPICS; t++)
        if (l->flows[t].there)
            sum += l->home->topics[t].count - l->flows[t].next;
    return sum;
}

/* ------------------------------------------------------------------------------------------------------- homes -- */

static struct home *home_of(const char *name)
{
    for (struct home *h = w.homes; *name != '\0' && h != NULL; h = h->next)
        if (h->users != 0 && strcmp(h->name, name) == 0)
            return h;
    return NULL;
}

/* Events keep what is left of their subscription, and so the name, for longer than anybody could rely on. */
static bool haunted(const char *name)
{
    for (unsigned i = 0; i < EVENTS; i++)
        if (w.notes[i].kind != 0 && *name != '\0' && strcmp(w.notes[i].home->name, name) == 0)
            return true;
    return false;
}

static struct home *home_new(const char *name, uint64_t history, uint64_t bytes)
{
    struct home *home = calloc(1, sizeof *home);
    CHECK(home != NULL, "out of memory");
    home->name = name;
    home->history = history;
    home->history_bytes = bytes;
    home->next = w.homes;
    w.homes = home;
    return home;
}

static bool forgotten(const char *url)
{
    struct bcast *b;
    struct bcast_stats stats = bcast_stats_init();
    struct bcast_capabilities capabilities = bcast_capabilities_init();
    CHECK(bcast_open(url, NULL, &b) == BCAST_OK, "open");
    CHECK(bcast_stats(b, &stats) == BCAST_OK && bcast_capabilities(b, &capabilities) == BCAST_OK, "stats");
    bcast_close(b);
    return stats.published == 0 && stats.channels == 0 && stats.kept_bytes == 0 &&
           (capabilities.can & BCAST_CAN_HISTORY) == 0;
}

/* With the last of everybody who used it a name is forgotten, and all that was published under it. Not at once where an
 * fd was used: the thread behind it may still have the subscription in its hands. */
static void check_forgotten(const char *url)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!forgotten(url)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        CHECK(now.tv_sec - start.tv_sec < 10, "%s is still there", url);
        sched_yield();
    }
}

static void open_station(void)
{
    static const struct {
        const char *url, *name;
        uint64_t history, bytes;
    } kinds[] = {
        {"memory://", "", 0, 0},
        {"memory://?history=8", "", 8, 0},
        {"memory://x", "x", 0, 0},
        {"memory://?history=100&history_bytes=5000", "", 100, 5000},
        {"memory://x?history=16", "x", 16, 0},
        {"memory://y?history=300", "y", 300, 0},
    };
    unsigned kind = pick(sizeof kinds / sizeof *kinds);
    struct station *s = &w.stations[pick(BROADCASTS)];
    struct home *home = home_of(kinds[kind].name);
    struct bcast_options options = bcast_options_init();
    if (s->b != NULL || (home == NULL && haunted(kinds[kind].name)))
        return;
    if (home == NULL && *kinds[kind].name != '\0')
        check_forgotten(*kinds[kind].name == 'x' ? "memory://x" : "memory://y");
    options.publish_timeout_ms = BCAST_NOWAIT;
    options.max_message_bytes = LARGE * 2;
    options.keep_bytes = 1 + (size_t)pick(4) * 3000;
    int status = bcast_open(kinds[kind].url, &options, &s->b);
    if (home != NULL && kinds[kind].history != 0 &&
        (kinds[kind].history != home->history || kinds[kind].bytes != home->history_bytes)) {
        CHECK(status == BCAST_ERR_URL && s->b == NULL, "status %d", status);
        return;
    }
    CHECK(status == BCAST_OK, "status %d", status);
    if (home == NULL)
        home = home_new(kinds[kind].name, kinds[kind].history, kinds[kind].bytes);
    home->users++;
    s->home = home;
    s->shut = false;
}

static void end_all_of(const struct bcast *b, bool closed)
{
    for (unsigned i = 0; i < SUBS; i++)
        if (w.listeners[i].sub != NULL && w.listeners[i].of == b) {
            w.listeners[i].closed = true;
            w.listeners[i].of = closed ? NULL : w.listeners[i].of;
        }
    for (unsigned i = 0; i < HANDLES && closed; i++)
        if (w.handles[i].of == b)
            w.handles[i].of = NULL;
}

static void close_station(struct station *s)
{
    if (s->b == NULL)
        return;
    bcast_close(s->b);
    end_all_of(s->b, true);
    s->home->users--;
    s->b = NULL;
}

static struct station *station_of(const struct bcast *b)
{
    for (unsigned i = 0; i < BROADCASTS; i++)
        if (b != NULL && w.stations[i].b == b)
            return &w.stations[i];
    return NULL;
}

static void shut_station(void)
{
    struct station *s = &w.stations[pick(BROADCASTS)];
    if (s->b == NULL)
        return;
    CHECK(bcast_shutdown(s->b) == BCAST_OK, "shutdown");
    end_all_of(s->b, false);
    s->shut = true;
}

/* ------------------------------------------------------------------------------------------------------- publish -- */

static bool may_block(const struct home *home, unsigned topic)
{
    for (unsigned i = 0; i < SUBS; i++) {
        const struct listener *l = &w.listeners[i];
        if (l->sub != NULL && l->home == home && l->policy == BCAST_BLOCK && l->flows[topic].there &&
            home->topics[topic].count != l->flows[topic].next)
            return true;
    }
    return false;
}

static void published(int status, struct home *home, bool shut, unsigned topic, const struct letter *letter)
{
    if (shut) {
        CHECK(status == BCAST_ERR_CLOSED, "status %d", status);
    } else if (letter->size > LARGE * 2) {
        CHECK(status == BCAST_ERR_TOO_LARGE, "status %d", status);
    } else if (status == BCAST_TIMEOUT || status == BCAST_ERR_WOULD_DEADLOCK) {
        CHECK(may_block(home, topic), "nobody blocks, but status %d", status);
    } else {
        CHECK(status == BCAST_OK, "status %d", status);
        append(&home->topics[topic], letter);
        home->published++;
    }
}

static struct letter take_letter(void)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 24, 64, 200, 1000, 4096};
    struct letter letter = {.seed = input_byte(&w.in)};
    unsigned which = pick(64);
    letter.size = which < 60 ? sizes[which % 10] + which / 10 : which == 63 ? LARGE : (uint32_t)input_number(&w.in, 2);
    if (which == 62 && pick(4) == 0)
        letter.size = LARGE * 2 + 1;
    if (pick(4) == 0) {
        letter.key_size = (uint8_t)pick(100);
        letter.headers = (uint8_t)pick(4);
    }
    return letter;
}

static int publish_with(struct bcast *b, struct bcast_channel *channel, unsigned topic, const struct letter *letter)
{
    struct bcast_header headers[4];
    struct bcast_message message = bcast_message_init();
    for (unsigned i = 0; i < letter->headers; i++)
        headers[i] = (struct bcast_header){"name", pattern + letter->seed + i, i * 40u};
    message.channel = channel == NULL ? names[topic] : NULL;
    message.channel_size = name_sizes[topic];
    message.data = bytes_of(letter);
    message.size = letter->size;
    message.key = letter->key_size != 0 ? bytes_of(letter) : NULL;
    message.key_size = letter->key_size;
    message.headers = headers;
    message.header_count = letter->headers;
    message.timeout_ms = BCAST_NOWAIT;
    return channel != NULL ? bcast_publish_message_to(channel, &message) : bcast_publish_message(b, &message);
}

static void publish(void)
{
    struct station *s = &w.stations[pick(BROADCASTS)];
    unsigned topic = pick(TOPICS), times = 1;
    struct letter letter = take_letter();
    if (s->b == NULL)
        return;
    if (letter.size < 300 && pick(4) == 0)
        times = 1 + pick(200);
    bool plain = letter.key_size == 0 && letter.headers == 0 && topic != 2; /* which has a NUL in its name */
    for (; times > 0; times--, letter.seed++) {
        int status = plain ? bcast_publish(s->b, names[topic], bytes_of(&letter), letter.size)
                           : publish_with(s->b, NULL, topic, &letter);
        published(status, s->home, s->shut, topic, &letter);
    }
}

static void open_handle(void)
{
    struct station *s = &w.stations[pick(BROADCASTS)];
    struct handle *h = &w.handles[pick(HANDLES)];
    unsigned topic = pick(TOPICS);
    if (s->b == NULL || h->channel != NULL)
        return;
    int status = bcast_channel(s->b, names[topic], name_sizes[topic], &h->channel);
    CHECK(status == (s->shut ? BCAST_ERR_CLOSED : BCAST_OK) && (status == BCAST_OK) == (h->channel != NULL), "%d",
          status);
    if (status != BCAST_OK)
        return;
    h->home = s->home;
    h->of = s->b;
    h->topic = topic;
    h->home->users++;
}

static void free_handle(struct handle *h)
{
    if (h->channel == NULL)
        return;
    bcast_channel_free(h->channel);
    h->home->users--;
    h->channel = NULL;
    h->of = NULL;
}

static void publish_by_handle(void)
{
    struct handle *h = &w.handles[pick(HANDLES)];
    struct letter letter = take_letter();
    if (h->channel == NULL)
        return;
    const struct station *s = station_of(h->of);
    bool plain = letter.key_size == 0 && letter.headers == 0, shut = s == NULL || s->shut;
    for (unsigned times = letter.size < 300 ? 1 + pick(20) : 1; times > 0; times--, letter.seed++) {
        int status = plain ? bcast_publish_to(h->channel, bytes_of(&letter), letter.size)
                           : publish_with(NULL, h->channel, h->topic, &letter);
        published(status, h->home, shut, h->topic, &letter);
    }
}

/* -------------------------------------------------------------------------------------------------------- events -- */

static void check_letter(const struct bcast_event *event, const struct letter *letter, unsigned topic)
{
    size_t key_size;
    struct bcast_header header;
    const void *key = bcast_event_key(event, &key_size);
    CHECK(event->size == letter->size && event->data != NULL && (uintptr_t)event->data % 8 == 0, "size %zu, not %u",
          event->size, letter->size);
    CHECK(memcmp(event->data, bytes_of(letter), letter->size) == 0, "the data of %llu is damaged",
          (unsigned long long)event->sequence);
    CHECK(event->channel_size == name_sizes[topic] && memcmp(event->channel, names[topic], name_sizes[topic] + 1) == 0,
          "channel '%s'", event->channel);
    CHECK((key != NULL) == (letter->key_size != 0) && key_size == letter->key_size, "a key of %zu bytes", key_size);
    CHECK(key == NULL || memcmp(key, bytes_of(letter), key_size) == 0, "the key is damaged");
    CHECK(bcast_event_header_count(event) == letter->headers, "%zu headers", bcast_event_header_count(event));
    for (unsigned i = 0; i < letter->headers; i++) {
        CHECK(bcast_event_header(event, i, &header) == BCAST_OK && strcmp(header.name, "name") == 0, "header %u", i);
        CHECK(header.value_size == i * 40 && memcmp(header.value, pattern + letter->seed + i, i * 40) == 0, "value %u",
              i);
    }
}

/* What was handed out some time ago is still whole. */
static void check_note(unsigned i)
{
    CHECK(w.events[i].kind == w.notes[i].kind, "event %u has become of kind %u", i, w.events[i].kind);
    if (w.notes[i].kind == BCAST_MESSAGE) {
        CHECK(w.events[i].sequence == w.notes[i].sequence, "event %u has another sequence", i);
        check_letter(&w.events[i], &w.notes[i].letter, w.notes[i].topic);
    }
}

static unsigned topic_of(const struct bcast_event *event)
{
    for (unsigned t = 0; t < TOPICS; t++)
        if (event->channel_size == name_sizes[t] && memcmp(event->channel, names[t], name_sizes[t]) == 0)
            return t;
    CHECK(false, "channel '%.*s'", (int)event->channel_size, event->channel);
    return 0;
}

/* Had it more to keep than its limits allow? Counting more than enough for what comes with each message. */
static bool over_limit(const struct listener *l, const struct flow *f, const struct topic *topic)
{
    uint64_t bytes = 0;
    for (uint64_t i = f->next; i < topic->count; i++)
        bytes += topic->letters[i].size + 512;
    return topic->count - f->next > l->limit_messages || bytes > l->limit_bytes;
}

static void take_gap(struct listener *l, struct flow *f, const struct topic *topic, const struct bcast_event *event)
{
    l->gaps++;
    l->lost += event->lost;
    if (f->missed) {
        CHECK(event->reason == BCAST_GAP_TRIMMED, "reason %u", event->reason);
        CHECK(event->count == (f->foreign ? BCAST_COUNT_UNKNOWN : BCAST_EXACT), "count %u", event->count);
        CHECK(event->lost == f->missed_count, "%llu lost", (unsigned long long)event->lost);
        f->missed = false;
        return;
    }
    CHECK(l->policy == BCAST_DROP_OLDEST, "a gap with policy %d", l->policy);
    CHECK(event->reason == BCAST_GAP_OVERFLOW && event->count == BCAST_EXACT && event->lost != 0, "reason %u",
          event->reason);
    CHECK(over_limit(l, f, topic), "%llu lost, with %llu queued and a limit of %llu", (unsigned long long)event->lost,
          (unsigned long long)(topic->count - f->next), (unsigned long long)l->limit_messages);
    f->next += event->lost;
    CHECK(f->next <= topic->count, "more was lost than there was");
    CHECK(l->limit_bytes < UINT32_MAX || topic->count - f->next >= l->limit_messages,
          "only %llu are left of a limit of %llu", (unsigned long long)(topic->count - f->next),
          (unsigned long long)l->limit_messages);
}

static void take_event(struct listener *l, unsigned i)
{
    const struct bcast_event *event = &w.events[i];
    unsigned t = topic_of(event);
    struct flow *f = &l->flows[t];
    const struct topic *topic = &l->home->topics[t];
    CHECK(f->there, "an event of '%s', which it does not have", names[t]);
    w.notes[i] = (struct note){l->home, l, {0}, t, event->sequence, event->kind};
    if (event->kind == BCAST_GAP)
        take_gap(l, f, topic, event);
    if (!f->based)
        f->base = event->sequence - f->next;
    f->based = true;
    CHECK(event->sequence == f->base + f->next, "sequence %llu, not %llu + %llu", (unsigned long long)event->sequence,
          (unsigned long long)f->base, (unsigned long long)f->next);
    if (event->kind == BCAST_GAP)
        return;
    CHECK(event->kind == BCAST_MESSAGE && !f->missed && f->next < topic->count, "kind %u", event->kind);
    w.notes[i].letter = topic->letters[f->next++];
    l->received++;
    check_letter(event, &w.notes[i].letter, t);
}

static void ended(struct listener *l, int status)
{
    if (l->closed || l->disconnected) {
        CHECK((l->closed && status == BCAST_ERR_CLOSED) || (l->disconnected && status == BCAST_ERR_DISCONNECTED), "%d",
              status);
    } else if (status == BCAST_ERR_DISCONNECTED) {
        CHECK(l->policy == BCAST_DISCONNECT, "policy %d", l->policy);
        bool over = false;
        for (unsigned t = 0; t < TOPICS; t++)
            over = over || (l->flows[t].there && over_limit(l, &l->flows[t], &l->home->topics[t]));
        CHECK(over, "no channel is over its limit");
        l->disconnected = true;
    } else {
        CHECK(status == BCAST_TIMEOUT, "status %d", status);
        for (unsigned t = 0; t < TOPICS; t++)
            CHECK(!l->flows[t].there || !l->flows[t].missed, "a gap was not told of");
        CHECK(queued(l) == 0, "nothing comes, but %llu are queued", (unsigned long long)queued(l));
    }
}

static void read_some(void)
{
    struct listener *l = &w.listeners[pick(SUBS)];
    unsigned first = pick(EVENTS), most = pick(3) == 0 ? 1 + pick(EVENTS - first) : 1;
    size_t count = 1;
    if (l->sub == NULL)
        return;
    for (unsigned times = 1 + pick(8); times > 0; times--) {
        for (unsigned i = first; i < first + most; i++) {
            check_note(i);
            w.notes[i].kind = 0;
        }
        /* Of several channels one may be rung a moment later, by the thread that serves fds: it must come, in time. */
        bool must_come = !l->closed && queued(l) != 0;
        int timeout_ms = must_come ? 20000 : pick(2) ? 0 : BCAST_NOWAIT;
        int status = most == 1 ? bcast_next(l->sub, &w.events[first], timeout_ms)
                               : bcast_next_batch(l->sub, &w.events[first], most, &count, timeout_ms);
        if (status != BCAST_OK) {
            ended(l, status);
            return;
        }
        CHECK(!l->closed && !l->disconnected && count >= 1 && count <= most, "%zu of %u events", count, most);
        for (unsigned i = first; i < first + count; i++)
            take_event(l, i);
    }
}

static void keep_or_release(void)
{
    unsigned i = pick(EVENTS);
    if (pick(2) != 0) {
        int status = bcast_keep(&w.events[i]);
        CHECK(w.notes[i].kind != 0 ? status == BCAST_OK || status == BCAST_ERR_LIMIT : status == BCAST_ERR_INVALID,
              "%d", status);
        check_note(i);
        return;
    }
    check_note(i);
    bcast_release(&w.events[i]);
    w.notes[i].kind = 0;
    check_note(i);
}

/* ----------------------------------------------------------------------------------------------------- subscribe -- */

static struct bcast_sub_options take_options(struct listener *l)
{
    static const size_t limits[] = {0, 1, 2, 7, 8, 9, 50, 300};
    struct bcast_sub_options options = bcast_sub_options_init();
    options.policy = (enum bcast_policy)pick(3);
    options.shared = pick(3) == 0;
    options.limit_messages = limits[pick(8)];
    options.limit_bytes = pick(4) == 0 ? 1 + input_number(&w.in, 2) : 0;
    l->policy = options.policy;
    l->limit_messages = options.limit_messages != 0 ? options.limit_messages : 65536;
    l->limit_bytes = options.limit_bytes != 0 ? options.limit_bytes : UINT32_MAX;
    return options;
}

static void take_start(const struct listener *l, struct bcast_sub_options *options, const struct place **place)
{
    *place = NULL;
    switch (pick(6)) {
    case 0: options->history = at_most(1 + pick(60), l->limit_messages); break;
    case 1: options->since_us = (int64_t)1 << pick(60); break;
    case 2:
    case 3:
        *place = &w.places[pick(PLACES)];
        if ((*place)->home == NULL || (*place)->of_page)
            *place = NULL;
        else
            options->resume = (*place)->text;
    }
}

/* How many of a topic its home shows; where that depends on bytes, at most. */
static uint64_t kept(const struct home *home, unsigned t)
{
    return at_most(home->topics[t].count, home->history);
}

/* Sets where each flow begins, as far as it follows from the options; *exact: it does. Returns how many are queued. */
static uint64_t set_starts(struct listener *l, const struct bcast_sub_options *options, const struct place *place,
                           bool *exact)
{
    *exact = l->home->history_bytes == 0 && options->since_us == 0;
    for (unsigned t = 0; t < TOPICS; t++) {
        struct flow *f = &l->flows[t];
        uint64_t count = l->home->topics[t].count, back = 0;
        if (options->history != 0)
            back = at_most(options->history, kept(l->home, t));
        if (place != NULL || options->since_us != 0)
            back = kept(l->home, t);
        f->foreign = place != NULL && place->home != l->home;
        if (place != NULL && !f->foreign)
            back = at_most(back, count - place->at[t]);
        f->next = count - back;
        f->based = l->home->history != 0; /* there every message counts, from the first */
        f->missed_count = place != NULL && !f->foreign ? f->next - place->at[t] : 0;
        f->missed = f->foreign || f->missed_count != 0;
    }
    return queued(l);
}

static struct bcast_sub_stats stats_of(const struct listener *l)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    CHECK(bcast_sub_stats(l->sub, &stats) == BCAST_OK, "stats");
    return stats;
}

static void begin(struct listener *l, const struct bcast_sub_options *options, const struct place *place)
{
    bool exact, wanted = options->history != 0 || options->since_us != 0 || place != NULL;
    uint64_t most = set_starts(l, options, place, &exact), is = stats_of(l).queued;
    CHECK(is <= most && (!wanted || !exact || is == most) && (wanted || is == 0), "%llu queued of %llu",
          (unsigned long long)is, (unsigned long long)most);
    for (unsigned t = 0; t < TOPICS && wanted && !exact; t++) { /* it has one channel only */
        struct flow *f = &l->flows[t];
        uint64_t trimmed = most - is;
        if (!f->there)
            continue;
        f->next += trimmed;
        f->missed_count += place != NULL && !f->foreign ? trimmed : 0;
        f->missed = f->foreign || f->missed_count != 0;
    }
}

/* What must come of it, without a place to resume from, or with one. */
static int expected(const struct station *s, const struct listener *l, const struct bcast_sub_options *options,
                    const struct place *place)
{
    bool wanted = options->history != 0 || options->since_us != 0 || place != NULL;
    if (s->shut)
        return BCAST_ERR_CLOSED;
    if (wanted && s->home->history == 0)
        return BCAST_ERR_UNSUPPORTED;
    for (unsigned t = 0; t < TOPICS; t++)
        if (place != NULL && l->flows[t].there && !place->there[t])
            return BCAST_ERR_INVALID;
    return BCAST_OK;
}

static void subscribe(void)
{
    struct station *s = &w.stations[pick(BROADCASTS)];
    struct listener *l = &w.listeners[pick(SUBS)], fresh = {.home = s->home, .of = s->b};
    const char *channels[TOPICS];
    size_t sizes[TOPICS], count = 0;
    const struct place *place;
    if (s->b == NULL || l->sub != NULL)
        return;
    struct bcast_sub_options options = take_options(&fresh);
    take_start(&fresh, &options, &place);
    bool exact = s->home->history_bytes == 0 && options.since_us == 0;
    unsigned which = 1 + pick(7);
    for (unsigned t = 0; t < TOPICS; t++)
        if (((which >> t) & 1) != 0 && (count == 0 || exact)) {
            fresh.flows[t].there = true;
            channels[count] = names[t];
            sizes[count++] = name_sizes[t];
        }
    int status = bcast_subscribe_many(s->b, channels, sizes, count, &options, &fresh.sub);
    CHECK(status == expected(s, &fresh, &options, place), "status %d", status);
    if (status != BCAST_OK)
        return;
    *l = fresh;
    begin(l, &options, place);
    l->home->users++;
    l->home->subscriptions++;
}

static void unsubscribe(struct listener *l)
{
    if (l->sub == NULL)
        return;
    bcast_unsubscribe(l->sub);
    for (unsigned i = 0; i < EVENTS; i++) /* of a gap the channel's name has ended with it */
        if (w.notes[i].of == l && w.notes[i].kind == BCAST_GAP) {
            bcast_release(&w.events[i]);
            w.notes[i].kind = 0;
        }
    l->home->users--;
    l->home->subscriptions--;
    l->sub = NULL;
}

static void change_channel(void)
{
    struct listener *l = &w.listeners[pick(SUBS)];
    unsigned t = pick(TOPICS);
    bool add = pick(2) != 0;
    if (l->sub == NULL)
        return;
    struct flow *f = &l->flows[t];
    uint64_t count = l->home->topics[t].count;
    int status = add ? bcast_add_channel(l->sub, names[t], name_sizes[t])
                     : bcast_remove_channel(l->sub, names[t], name_sizes[t]);
    if (l->closed || l->disconnected) {
        CHECK(status == BCAST_ERR_CLOSED, "status %d", status);
    } else if (add && f->there) {
        CHECK(status == BCAST_ERR_EXISTS, "status %d", status);
    } else if (!add && !f->there) {
        CHECK(status == BCAST_ERR_NOT_FOUND, "status %d", status);
    } else {
        CHECK(status == BCAST_OK, "status %d", status);
        l->discarded += add ? 0 : count - f->next;
        *f = (struct flow){.there = add, .next = count, .based = l->home->history != 0};
    }
}

static void cancel(void)
{
    struct listener *l = &w.listeners[pick(SUBS)];
    if (l->sub == NULL)
        return;
    CHECK(bcast_cancel(l->sub) == BCAST_OK, "cancel");
    l->closed = true;
}

static void use_fd(void)
{
    struct listener *l = &w.listeners[pick(SUBS)];
    if (l->sub == NULL || pick(4) != 0) /* it starts a thread, which takes long */
        return;
    const struct station *s = station_of(l->of);
    struct pollfd p = {bcast_fd(l->sub), POLLIN, 0};
    CHECK(p.fd >= 0 || (s == NULL || s->shut), "fd %d", p.fd);
    if (p.fd >= 0 && (l->closed || l->disconnected || queued(l) != 0))
        CHECK(poll(&p, 1, 5000) == 1, "there is something, but the fd is not readable");
}

/* -------------------------------------------------------------------------------------------- positions and pages -- */

static void take_position(void)
{
    struct listener *l = &w.listeners[pick(SUBS)];
    struct place *place = &w.places[pick(PLACES)];
    size_t length;
    if (l->sub == NULL)
        return;
    *place = (struct place){.home = NULL};
    int status = bcast_position(l->sub, place->text, sizeof place->text, &length);
    CHECK(status == (l->home->history != 0 ? BCAST_OK : BCAST_ERR_UNSUPPORTED), "status %d", status);
    if (status != BCAST_OK)
        return;
    CHECK(strlen(place->text) == length, "length %zu", length);
    place->home = l->home;
    for (unsigned t = 0; t < TOPICS; t++) {
        place->there[t] = l->flows[t].there;
        place->at[t] = l->flows[t].next - (l->flows[t].missed ? l->flows[t].missed_count : 0);
    }
}

static uint64_t index_of(const char *text)
{
    struct position position;
    CHECK(position_read(text, strlen(text), &position) == BCAST_OK, "position '%s'", text);
    return position.sequence;
}

struct asked {
    struct bcast_history_query query;
    struct home *home;
    const struct place *place;
    unsigned topic;
    bool foreign;
};

static void take_query(struct asked *a)
{
    const struct place *place = &w.places[pick(PLACES)];
    a->query = bcast_history_query_init();
    a->query.channel_size = name_sizes[a->topic];
    a->query.limit = pick(3) != 0 ? 1 + pick(30) : 0;
    a->query.limit_bytes = pick(4) == 0 ? 1 + (size_t)pick(256) * 8 : 0;
    bool usable = place->home != NULL && place->of_page && (place->home != a->home || place->there[a->topic]);
    unsigned direction = pick(4);
    if (direction == 0)
        a->query.after = "";
    if (direction < 2 || !usable)
        return;
    a->place = place;
    a->foreign = place->home != a->home;
    *(direction == 2 ? &a->query.after : &a->query.before) = place->text;
}

static void check_page_start(const struct asked *a, const struct bcast_page *page, uint64_t first, bool gap)
{
    const struct topic *topic = &a->home->topics[a->topic];
    uint64_t oldest = topic->count - kept(a->home, a->topic); /* at least */
    bool exact = a->home->history_bytes == 0;
    if (a->query.after != NULL && a->place != NULL && !a->foreign) {
        uint64_t at = a->place->at[a->topic];
        CHECK(gap == (first != at) && first >= at && first >= oldest, "it begins with %llu", (unsigned long long)first);
        CHECK(!exact || first == (at < oldest ? oldest : at), "%llu is not next", (unsigned long long)first);
        CHECK(!gap || page->events[0].lost == first - at, "%llu lost", (unsigned long long)page->events[0].lost);
    } else {
        CHECK(gap == (a->foreign && a->query.after != NULL), "gap");
        CHECK(a->query.after == NULL || !exact || first == oldest, "%llu is not the oldest", (unsigned long long)first);
    }
}

static void check_page(const struct asked *a, const struct bcast_page *page)
{
    const struct topic *topic = &a->home->topics[a->topic];
    bool gap = page->count != 0 && page->events[0].kind == BCAST_GAP;
    uint64_t messages = page->count - gap, end = index_of(page->newer), first = end - messages, bytes = 0;
    uint64_t limit = a->query.limit != 0 ? a->query.limit : 100;
    CHECK(messages <= limit && end <= topic->count && first <= end, "%llu messages", (unsigned long long)messages);
    CHECK((page->more != 0) == (end != topic->count), "more is %d", page->more);
    for (uint64_t i = 0; i < messages; i++) {
        const struct bcast_event *event = &page->events[i + gap];
        CHECK(event->kind == BCAST_MESSAGE && event->sequence == first + i,
              "kind %u, %llu, not %llu + %llu of %llu, before %llu", event->kind, (unsigned long long)event->sequence,
              (unsigned long long)first, (unsigned long long)i, (unsigned long long)messages, (unsigned long long)end);
        check_letter(event, &topic->letters[first + i], a->topic);
        bytes += event->size;
    }
    CHECK(a->query.limit_bytes == 0 || messages < 2 || bytes <= a->query.limit_bytes, "%llu bytes",
          (unsigned long long)bytes);
    CHECK(page->older == NULL || index_of(page->older) == first, "older is %s", page->older);
    if (a->query.after != NULL) {
        check_page_start(a, page, first, gap);
        CHECK(a->query.limit_bytes != 0 || messages == at_most(limit, topic->count - first), "it could have more");
        return;
    }
    uint64_t until = a->place != NULL ? a->place->at[a->topic] : topic->count;
    uint64_t oldest = topic->count - kept(a->home, a->topic), all = until > oldest ? until - oldest : 0;
    bool trimmed = messages == 0 && end > until; /* all that was before it: it ends with what is kept then */
    CHECK(!gap && (end == until || trimmed), "it ends before %llu", (unsigned long long)end);
    CHECK(messages <= all &&
              (a->home->history_bytes != 0 || a->query.limit_bytes != 0 || messages == at_most(limit, all)),
          "%llu messages of %llu", (unsigned long long)messages, (unsigned long long)all);
    CHECK(a->home->history_bytes != 0 || (page->older != NULL) == (messages < all), "older");
}

static void remember_end(const struct asked *a, const struct bcast_page *page)
{
    struct place *place = &w.places[pick(PLACES)];
    const char *text = pick(2) != 0 && page->older != NULL ? page->older : page->newer;
    *place = (struct place){.home = a->home, .of_page = true};
    strcpy(place->text, text);
    place->there[a->topic] = true;
    place->at[a->topic] = index_of(text);
}

static void read_page(void)
{
    struct station *s = &w.stations[pick(BROADCASTS)];
    struct asked a = {.home = s->home, .topic = pick(TOPICS)};
    struct bcast_page *page;
    if (s->b == NULL)
        return;
    take_query(&a);
    int status = bcast_history(s->b, names[a.topic], &a.query, &page), good = BCAST_OK;
    if (s->shut)
        good = BCAST_ERR_CLOSED;
    else if (a.home->history == 0)
        good = BCAST_ERR_UNSUPPORTED;
    else if (a.foreign && a.query.before != NULL)
        good = BCAST_ERR_NOT_FOUND;
    CHECK(status == good, "status %d, not %d", status, good);
    if (status != BCAST_OK)
        return;
    check_page(&a, page);
    remember_end(&a, page);
    bcast_page_free(page);
}

/* ---------------------------------------------------------------------------------------------------- statistics -- */

static void check_listener(const struct listener *l)
{
    if (l->sub == NULL)
        return;
    struct bcast_sub_stats stats = stats_of(l);
    CHECK(stats.received == l->received && stats.lost == l->lost && stats.gaps == l->gaps,
          "%llu received, %llu lost, not %llu and %llu", (unsigned long long)stats.received,
          (unsigned long long)stats.lost, (unsigned long long)l->received, (unsigned long long)l->lost);
    if (l->disconnected)
        return;
    CHECK(stats.queued == queued(l), "%llu queued, not %llu", (unsigned long long)stats.queued,
          (unsigned long long)queued(l));
    CHECK(stats.discarded == l->discarded, "%llu discarded", (unsigned long long)stats.discarded);
}

static void check_station(const struct station *s)
{
    struct bcast_stats stats = bcast_stats_init();
    if (s->b == NULL)
        return;
    CHECK(bcast_stats(s->b, &stats) == BCAST_OK, "stats");
    CHECK(stats.subscriptions == s->home->subscriptions, "%llu subscriptions", (unsigned long long)stats.subscriptions);
    CHECK(stats.published == s->home->published, "%llu published, not %llu", (unsigned long long)stats.published,
          (unsigned long long)s->home->published);
}

/* --------------------------------------------------------------------------------------------------------- programs -- */

static void operate(void)
{
    switch (pick(24)) {
    case 0:
    case 1: open_station(); break;
    case 2: close_station(&w.stations[pick(BROADCASTS)]); break;
    case 3: shut_station(); break;
    case 4: open_handle(); break;
    case 5: free_handle(&w.handles[pick(HANDLES)]); break;
    case 6:
    case 7: publish_by_handle(); break;
    case 8:
    case 9: subscribe(); break;
    case 10: unsubscribe(&w.listeners[pick(SUBS)]); break;
    case 11: change_channel(); break;
    case 12: cancel(); break;
    case 13: use_fd(); break;
    case 14: take_position(); break;
    case 15: read_page(); break;
    case 16: keep_or_release(); break;
    case 17: check_listener(&w.listeners[pick(SUBS)]); break;
    case 18: check_station(&w.stations[pick(BROADCASTS)]); break;
    case 19:
    case 20: read_some(); break;
    default: publish();
    }
}

static void finish(void)
{
    for (unsigned i = 0; i < SUBS; i++) {
        check_listener(&w.listeners[i]);
        unsubscribe(&w.listeners[i]);
    }
    for (unsigned i = 0; i < BROADCASTS; i++) {
        check_station(&w.stations[i]);
        close_station(&w.stations[i]);
    }
    for (unsigned i = 0; i < HANDLES; i++)
        free_handle(&w.handles[i]);
    for (unsigned i = 0; i < EVENTS; i++) { /* they outlive everything */
        check_note(i);
        bcast_release(&w.events[i]);
    }
    check_forgotten("memory://x");
    check_forgotten("memory://y");
    while (w.homes != NULL) {
        struct home *home = w.homes;
        w.homes = home->next;
        for (unsigned t = 0; t < TOPICS; t++)
            free(home->topics[t].letters);
        free(home);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t i = 0; pattern[PATTERN - 1] == 0 && i < PATTERN; i++)
        pattern[i] = (unsigned char)((i * 131 + i / 251) | 1);
    memset(&w, 0, sizeof w);
    w.in = (struct input){data, data + size};
    for (unsigned i = 0; i < OPERATIONS && w.in.at < w.in.end; i++)
        operate();
    finish();
    return 0;
}
