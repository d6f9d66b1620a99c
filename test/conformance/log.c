/* Every connection publishes into the same part of a channel each time, so that what one publisher says stays in order. A
 * message's id is PART:NUMBER, numbers beginning with 1. All of a channel is one list, in the order it was published. */
#define _POSIX_C_SOURCE 200809L
#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS 2
#define FETCHES 64

struct entry {
    struct bcast_incoming in; /* points into bytes */
    unsigned part;
    unsigned long number;
    char id[32];
    unsigned char *bytes;
};

struct channel {
    struct channel *next;
    char *name;
    size_t size;
    struct entry **entries;
    size_t count, room, first;    /* those before `first` are forgotten */
    unsigned long numbers[PARTS]; /* of the last of each part */
    unsigned long forgot[PARTS];  /* of the last forgotten */
};

struct place { /* behind these numbers */
    unsigned long numbers[PARTS];
};

struct reader { /* a topic's */
    struct reader *next;
    struct bcast_topic *topic;
    struct channel *channel;
    size_t at; /* index of the next entry */
    bool paused;
};

struct asked {
    struct bcast_fetch fetch;
    char *channel, *position, *until;
};

struct connection {
    struct connection *next;
    struct log_broker *broker;
    struct bcast_sink *sink;
    struct reader *readers;
    struct asked fetches[FETCHES];
    size_t fetch_count;
    unsigned part;
    bool connected, cut;
};

struct log_broker {
    pthread_mutex_t mutex;
    struct connection *connections;
    struct channel *channels;
    size_t kept, lag;
    unsigned opened, cut_fetches, fetches_left;
    bool down;
    unsigned long told, fetched, clock;
};

/* ------------------------------------------------------------------------------------------------------ the log -- */

struct log_broker *log_broker_new(size_t kept)
{
    struct log_broker *broker = calloc(1, sizeof *broker);
    if (broker == NULL)
        return NULL;
    broker->kept = kept;
    pthread_mutex_init(&broker->mutex, NULL);
    return broker;
}

static void entry_free(struct entry *entry)
{
    if (entry != NULL) {
        free((void *)(uintptr_t)entry->in.headers);
        free(entry->bytes);
    }
    free(entry);
}

void log_broker_free(struct log_broker *broker)
{
    while (broker->channels != NULL) {
        struct channel *channel = broker->channels;
        broker->channels = channel->next;
        for (size_t i = 0; i < channel->count; i++)
            entry_free(channel->entries[i]);
        free(channel->entries);
        free(channel->name);
        free(channel);
    }
    pthread_mutex_destroy(&broker->mutex);
    free(broker);
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort(); /* a broker in a test: without memory there is none */
    return memory;
}

static struct channel *channel_of(struct log_broker *broker, const char *name, size_t size)
{
    struct channel *channel = broker->channels;
    while (channel != NULL && (channel->size != size || memcmp(channel->name, name, size) != 0))
        channel = channel->next;
    if (channel != NULL)
        return channel;
    channel = must(calloc(1, sizeof *channel));
    channel->name = must(calloc(1, size + 1));
    memcpy(channel->name, name, size);
    channel->size = size;
    channel->next = broker->channels;
    return broker->channels = channel;
}

static void forget(struct channel *channel, size_t kept)
{
    for (; channel->count - channel->first > kept; channel->first++) {
        struct entry *entry = channel->entries[channel->first];
        channel->forgot[entry->part] = entry->number;
        entry_free(entry);
        channel->entries[channel->first] = NULL;
    }
}

static unsigned char *put(unsigned char **at, const void *from, size_t size)
{
    unsigned char *to = *at;
    if (size != 0)
        memcpy(to, from, size);
    *at += size;
    return to;
}

static struct entry *write_entry(const struct bcast_outgoing *m)
{
    struct entry *entry = must(calloc(1, sizeof *entry));
    size_t bytes = m->size + m->key_size + 1;
    for (size_t i = 0; i < m->header_count; i++)
        bytes += strlen(m->headers[i].name) + 1 + m->headers[i].value_size;
    unsigned char *at = entry->bytes = must(malloc(bytes));
    entry->in.data = put(&at, m->data, m->size);
    entry->in.size = m->size;
    if (m->key != NULL)
        entry->in.key = put(&at, m->key, m->key_size);
    entry->in.key_size = m->key_size;
    struct bcast_header *headers = m->header_count != 0 ? must(calloc(m->header_count, sizeof *headers)) : NULL;
    for (size_t i = 0; i < m->header_count; i++) {
        headers[i].name = (char *)put(&at, m->headers[i].name, strlen(m->headers[i].name) + 1);
        headers[i].value = put(&at, m->headers[i].value, m->headers[i].value_size);
        headers[i].value_size = m->headers[i].value_size;
    }
    entry->in.headers = headers;
    entry->in.header_count = m->header_count;
    return entry;
}

static void append(struct connection *c, const struct bcast_outgoing *m)
{
    struct log_broker *broker = c->broker;
    struct channel *channel = channel_of(broker, m->channel, m->channel_size);
    struct entry *entry = write_entry(m);
    if (channel->count == channel->room) {
        channel->room = channel->room == 0 ? 16 : 2 * channel->room;
        channel->entries = must(realloc(channel->entries, channel->room * sizeof(struct entry *)));
    }
    entry->part = c->part;
    entry->number = ++channel->numbers[c->part];
    snprintf(entry->id, sizeof entry->id, "%u:%lu", entry->part, entry->number);
    entry->in.id = entry->id;
    entry->in.timestamp_us = INT64_C(1700000000000000) + (int64_t)++broker->clock;
    channel->entries[channel->count++] = entry;
    forget(channel, broker->kept);
}

static void wake_all(struct log_broker *broker)
{
    for (struct connection *c = broker->connections; c != NULL; c = c->next)
        c->sink->wake(c->sink);
}

/* ------------------------------------------------------------------------------------------------------ fetching -- */

static bool read_place(const char *text, struct place *place)
{
    *place = (struct place){{0}};
    for (;;) {
        unsigned part;
        unsigned long number;
        int used = 0;
        if (sscanf(text, "%u:%lu%n", &part, &number, &used) != 2 || part >= PARTS)
            return false;
        place->numbers[part] = number;
        text += used;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
}

static void write_place(char text[64], const struct place *place)
{
    snprintf(text, 64, "0:%lu,1:%lu", place->numbers[0], place->numbers[1]);
}

static bool behind(const struct entry *entry, const struct place *place)
{
    return entry->number > place->numbers[entry->part];
}

struct answer { /* one that is being told */
    struct connection *c;
    const struct bcast_fetch *fetch;
    struct channel *channel;
    struct place from, until, older, newer;
    size_t told, bytes;
    bool cut;
};

static bool concerns(const struct answer *a, const struct entry *entry)
{
    bool inside = a->fetch->backwards ? !behind(entry, &a->from) : behind(entry, &a->from);
    return inside && !behind(entry, &a->until) && entry->in.timestamp_us >= a->fetch->since_us;
}

static bool enough(const struct answer *a)
{
    return a->told == a->fetch->limit || (a->told != 0 && a->bytes >= a->fetch->limit_bytes);
}

/* False: it goes no further. */
static bool tell(struct answer *a, const struct entry *entry)
{
    struct bcast_sink *sink = a->c->sink;
    struct log_broker *broker = a->c->broker;
    if (broker->cut_fetches != 0 && !a->fetch->only_where && broker->fetches_left-- == 0) {
        broker->fetches_left = broker->cut_fetches;
        a->cut = true;
        return false;
    }
    if (!a->fetch->only_where && sink->fetched(sink, a->fetch->request, &entry->in) != BCAST_OK)
        return false;
    broker->fetched += !a->fetch->only_where;
    a->told++;
    a->bytes += entry->in.size;
    if (a->fetch->backwards)
        a->older.numbers[entry->part] = entry->number - 1;
    else
        a->newer.numbers[entry->part] = entry->number;
    return true;
}

/* A position in front of the first that is kept: what is missing. */
static void tell_missing(struct answer *a)
{
    uint64_t lost = 0;
    for (unsigned p = 0; p < PARTS; p++)
        if (a->channel->forgot[p] > a->from.numbers[p])
            lost += a->channel->forgot[p] - a->from.numbers[p];
    if (lost != 0 && a->fetch->position != NULL)
        a->c->sink->fetch_gap(a->c->sink, a->fetch->request, BCAST_GAP_TRIMMED, lost, BCAST_EXACT);
    for (unsigned p = 0; p < PARTS; p++)
        if (a->channel->forgot[p] > a->from.numbers[p])
            a->from.numbers[p] = a->channel->forgot[p];
}

/* In front of everything that was not wanted because it is too old. */
static void pass_old(struct answer *a)
{
    for (size_t i = a->channel->first; i < a->channel->count; i++) {
        const struct entry *entry = a->channel->entries[i];
        if (behind(entry, &a->from) && entry->in.timestamp_us < a->fetch->since_us)
            a->from.numbers[entry->part] = entry->number;
    }
}

static void forwards(struct answer *a)
{
    tell_missing(a);
    pass_old(a);
    a->older = a->newer = a->from;
    for (size_t i = a->channel->first; i < a->channel->count && !enough(a); i++)
        if (concerns(a, a->channel->entries[i]) && !tell(a, a->channel->entries[i]))
            return;
}

static void backwards(struct answer *a)
{
    a->older = a->newer = a->from;
    for (size_t i = a->channel->count; i > a->channel->first && !enough(a); i--)
        if (concerns(a, a->channel->entries[i - 1]) && !tell(a, a->channel->entries[i - 1]))
            return;
}

static void end_fetch(struct answer *a)
{
    char older[64], newer[64];
    struct bcast_fetch_end end = {.status = BCAST_OK, .older = older, .newer = newer};
    write_place(older, &a->older);
    write_place(newer, &a->newer);
    for (size_t i = a->channel->first; i < a->channel->count; i++) {
        const struct entry *entry = a->channel->entries[i];
        end.more_older |= !behind(entry, &a->older) && entry->in.timestamp_us >= a->fetch->since_us;
        end.more_newer |= behind(entry, &a->newer) && (a->fetch->until == NULL || !behind(entry, &a->until));
    }
    a->c->sink->fetch_ended(a->c->sink, a->fetch->request, &end);
}

static void answer_one(struct connection *c, const struct asked *asked)
{
    struct answer a = {.c = c, .fetch = &asked->fetch};
    bool good = true;
    a.channel = channel_of(c->broker, asked->channel, asked->fetch.channel_size);
    memset(&a.until, 255, sizeof a.until);
    if (a.fetch->backwards)
        memcpy(a.from.numbers, a.channel->numbers, sizeof a.from.numbers);
    if (asked->position != NULL)
        good = read_place(asked->position, &a.from);
    if (asked->until != NULL)
        good = good && read_place(asked->until, &a.until);
    if (!good) {
        struct bcast_fetch_end end = {.status = BCAST_ERR_INVALID, .reason = "that is no place"};
        c->sink->fetch_ended(c->sink, a.fetch->request, &end);
        return;
    }
    if (a.fetch->backwards)
        backwards(&a);
    else
        forwards(&a);
    if (a.cut)
        c->cut = true;
    else
        end_fetch(&a);
}

static char *copy(const char *text, size_t size)
{
    if (text == NULL)
        return NULL;
    char *to = must(calloc(1, size + 1));
    memcpy(to, text, size);
    return to;
}

static void log_fetch(void *self, const struct bcast_fetch *fetch)
{
    struct connection *c = self;
    if (c->fetch_count == FETCHES)
        abort(); /* more than a test asks for */
    struct asked *asked = &c->fetches[c->fetch_count++];
    asked->fetch = *fetch;
    asked->channel = copy(fetch->channel, fetch->channel_size);
    asked->position = copy(fetch->position, fetch->position != NULL ? strlen(fetch->position) : 0);
    asked->until = copy(fetch->until, fetch->until != NULL ? strlen(fetch->until) : 0);
    c->sink->wake(c->sink);
}

static void drop_fetch(struct connection *c)
{
    struct asked *first = &c->fetches[0];
    free(first->channel);
    free(first->position);
    free(first->until);
    memmove(first, first + 1, --c->fetch_count * sizeof *first);
}

/* ----------------------------------------------------------------------------------------------------- the backend -- */

static int log_backend_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return BCAST_ERR_NOMEM;
    c->broker = setup->context;
    c->sink = sink;
    pthread_mutex_lock(&c->broker->mutex);
    c->part = c->broker->opened++ % PARTS;
    c->next = c->broker->connections;
    c->broker->connections = c;
    pthread_mutex_unlock(&c->broker->mutex);
    *self = c;
    return BCAST_OK;
}

static void drop_reader(struct connection *c, struct bcast_topic *topic)
{
    for (struct reader **at = &c->readers; *at != NULL; at = &(*at)->next)
        if ((*at)->topic == topic) {
            struct reader *reader = *at;
            *at = reader->next;
            free(reader);
            return;
        }
}

static void log_backend_close(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    struct connection **at = &c->broker->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&c->broker->mutex);
    while (c->fetch_count != 0)
        drop_fetch(c);
    while (c->readers != NULL)
        drop_reader(c, c->readers->topic);
    free(c);
}

static void log_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM | BCAST_CAN_RESUME |
               BCAST_CAN_IDS | BCAST_CAN_TIMESTAMPS | BCAST_CAN_BLOCK | BCAST_CAN_HISTORY;
    out->max_channel_bytes = 255;
}

static void log_connect(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    c->connected = !c->broker->down;
    c->cut = false;
    pthread_mutex_unlock(&c->broker->mutex);
    if (c->connected)
        c->sink->connected(c->sink);
    else
        c->sink->lost(c->sink, BCAST_ERR_CONNECT, "nobody is there", 0);
}

static void log_disconnect(void *self)
{
    struct connection *c = self;
    c->connected = false;
    while (c->fetch_count != 0)
        drop_fetch(c);
}

static size_t log_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    for (size_t i = 0; i < count; i++)
        append(c, &messages[i]);
    wake_all(c->broker);
    pthread_mutex_unlock(&c->broker->mutex);
    c->sink->result(c->sink, messages[0].number, count, BCAST_OK);
    return count;
}

/* A topic that it knows goes on where it was: see BCAST_CAN_RESUME. */
static void log_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct connection *c = self;
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&c->broker->mutex);
        struct reader *reader = topics[i]->state;
        if (reader == NULL) {
            reader = must(calloc(1, sizeof *reader));
            reader->topic = topics[i];
            reader->channel = channel_of(c->broker, topics[i]->name, topics[i]->size);
            reader->at = reader->channel->count;
            reader->next = c->readers;
            c->readers = reader;
            topics[i]->state = reader;
        }
        reader->paused = false;
        pthread_mutex_unlock(&c->broker->mutex);
        c->sink->subscribed(c->sink, topics[i], BCAST_OK, "");
    }
    c->sink->wake(c->sink);
}

static void log_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        drop_reader(self, topics[i]);
        topics[i]->state = NULL;
    }
}

static void log_pause(void *self, struct bcast_topic *topic)
{
    (void)self, (void)topic;
}

static void log_resume(void *self, struct bcast_topic *topic)
{
    struct connection *c = self;
    ((struct reader *)topic->state)->paused = false;
    c->sink->wake(c->sink);
}

/* With the broker's mutex. */
static void tell_reader(struct connection *c, struct reader *reader)
{
    struct channel *channel = reader->channel;
    if (reader->at < channel->first) {
        c->sink->gap(c->sink, reader->topic, BCAST_GAP_TRIMMED, channel->first - reader->at, BCAST_EXACT);
        reader->at = channel->first;
    }
    for (; reader->at + c->broker->lag < channel->count && !reader->paused; reader->at++) {
        reader->paused = c->sink->message(c->sink, reader->topic, &channel->entries[reader->at]->in) == BCAST_TIMEOUT;
        if (reader->paused)
            return;
        c->broker->told++;
    }
}

static size_t log_position(void *self, const struct bcast_topic *topic, char *buffer, size_t size)
{
    struct connection *c = self;
    const struct reader *reader = topic->state;
    struct place place = {{0}};
    char text[64];
    pthread_mutex_lock(&c->broker->mutex);
    memcpy(place.numbers, reader->channel->forgot, sizeof place.numbers);
    for (size_t i = reader->channel->first; i < reader->at; i++)
        place.numbers[reader->channel->entries[i]->part] = reader->channel->entries[i]->number;
    pthread_mutex_unlock(&c->broker->mutex);
    write_place(text, &place);
    return (size_t)snprintf(buffer, size, "%s", text);
}

static int log_order(const char *a, const char *b)
{
    unsigned part;
    unsigned long first = 0, second = 0;
    sscanf(a, "%u:%lu", &part, &first);
    sscanf(b, "%u:%lu", &part, &second);
    return first < second ? -1 : first > second;
}

static void log_woken(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    while (c->fetch_count != 0 && !c->cut && c->connected) {
        answer_one(c, &c->fetches[0]);
        drop_fetch(c);
    }
    for (struct reader *reader = c->readers; reader != NULL && !c->cut && c->connected; reader = reader->next)
        tell_reader(c, reader);
    bool lost = c->cut && c->connected;
    c->connected = c->connected && !c->cut;
    pthread_mutex_unlock(&c->broker->mutex);
    if (lost)
        c->sink->lost(c->sink, BCAST_ERR_CONNECT, "the broker went away", 0);
}

static const struct bcast_backend log_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "log",
    .open = log_backend_open,
    .close = log_backend_close,
    .capabilities = log_capabilities,
    .connect = log_connect,
    .disconnect = log_disconnect,
    .woken = log_woken,
    .publish = log_publish,
    .subscribe = log_subscribe,
    .unsubscribe = log_unsubscribe,
    .pause = log_pause,
    .resume = log_resume,
    .fetch = log_fetch,
    .position = log_position,
    .order = log_order,
};

/* ------------------------------------------------------------------------------------------------------ its owner -- */

int log_open(void *broker, const struct bcast_options *options, struct bcast **out)
{
    return bcast_open_backend(&log_backend, broker, options, out);
}

static void cut_all(struct log_broker *broker, bool down)
{
    pthread_mutex_lock(&broker->mutex);
    broker->down = down;
    for (struct connection *c = broker->connections; c != NULL; c = c->next)
        c->cut = true;
    wake_all(broker);
    pthread_mutex_unlock(&broker->mutex);
}

void log_cut(struct log_broker *broker)
{
    cut_all(broker, false);
}

int log_stop(void *broker)
{
    cut_all(broker, true);
    return 0;
}

int log_start(void *context)
{
    struct log_broker *broker = context;
    pthread_mutex_lock(&broker->mutex);
    broker->down = false;
    pthread_mutex_unlock(&broker->mutex);
    return 0;
}

void log_cut_fetches(struct log_broker *broker, unsigned after)
{
    pthread_mutex_lock(&broker->mutex);
    broker->cut_fetches = broker->fetches_left = after;
    pthread_mutex_unlock(&broker->mutex);
}

void log_lag(struct log_broker *broker, size_t messages)
{
    pthread_mutex_lock(&broker->mutex);
    broker->lag = messages;
    wake_all(broker);
    pthread_mutex_unlock(&broker->mutex);
}

unsigned long log_told(struct log_broker *broker)
{
    pthread_mutex_lock(&broker->mutex);
    unsigned long told = broker->told;
    pthread_mutex_unlock(&broker->mutex);
    return told;
}

unsigned long log_fetched(struct log_broker *broker)
{
    pthread_mutex_lock(&broker->mutex);
    unsigned long fetched = broker->fetched;
    pthread_mutex_unlock(&broker->mutex);
    return fetched;
}

void log_trim(struct log_broker *broker, const char *channel, size_t kept)
{
    pthread_mutex_lock(&broker->mutex);
    forget(channel_of(broker, channel, strlen(channel)), kept);
    pthread_mutex_unlock(&broker->mutex);
}
