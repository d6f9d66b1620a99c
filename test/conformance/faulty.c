/* A broker without a wire, and a backend that does what backend.h wants of it, or else has one of the defects below: so
 * that every case of the suite is seen to fail. A connection has an inbox; publishing puts a copy of the message into
 * that of each connection that has subscribed, and wakes it. */
#include "faulty.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In words, how it goes wrong: */
#define EACH_DEFECT(d)                                                                                                 \
    d(NONE, "none") d(SWALLOWS, "swallows") /* every message, but confirms it */                                       \
        d(DROPS, "drops")                   /* every 20th message */                                                   \
        d(DUPLICATES, "duplicates")         /* every 20th message */                                                   \
        d(REORDERS, "reorders")             /* every 20th message, and the next */                                     \
        d(FOLDS, "folds")                   /* equal messages in a row into one */                                     \
        d(CUTS, "cuts")                     /* data at its first NUL */                                                \
        d(CORRUPTS, "corrupts")             /* the last byte of long messages */                                       \
        d(LOSES_EMPTY, "loses-empty")       /* messages */                                                             \
        d(TEXT_ONLY, "text-only")           /* does not claim BINARY, and cuts at NULs instead of refusing them */     \
        d(CHATTY, "chatty")                 /* says something that nobody has published */                             \
        d(CROSSES, "crosses")               /* channels whose names differ in case only */                             \
        d(CUTS_NAMES, "cuts-names")         /* of channels, at their first NUL */                                      \
        d(PICKY, "picky")                   /* refuses to subscribe to names with a *, but not to publish there */     \
        d(SHORT_NAMES, "short-names")       /* claims longer names than it takes */                                    \
        d(EARLY, "early")                   /* confirms subscriptions before they are there */                         \
        d(STICKS, "sticks")                 /* goes on with a channel after unsubscribe */                             \
        d(DROPS_ALL, "drops-all")           /* channels when one is unsubscribed */                                    \
        d(FORGETS, "forgets")               /* to subscribe again after a lost connection */                           \
        d(SILENT_RESUME, "resumes")         /* it claims; but what comes while it is away is lost */                   \
        d(STAYS_AWAY, "stays-away")         /* never connects again */                                                 \
        d(UNAWARE, "unaware")               /* of a lost connection */                                                 \
        d(TWICE, "connects-twice")          /* it says */                                                              \
        d(MOODY, "moody")                   /* says something else of itself each time */                              \
        d(WORN_OUT, "worn-out")             /* after five connections */                                               \
        d(TWO_RESULTS, "two-results")       /* for every message */                                                    \
        d(NO_RESULT, "no-result")           /* for every 20th message */                                               \
        d(BAD_RESULT, "bad-result")         /* for every 20th message, which arrives all the same */                   \
        d(NO_KEYS, "no-keys")               /* claims them, and leaves them out */                                     \
        d(NO_HEADERS, "no-headers")         /* likewise */                                                             \
        d(NO_IDS, "no-ids")                 /* likewise */                                                             \
        d(NO_TIMES, "no-times")             /* likewise */                                                             \
        d(SECRET_IDS, "secret-ids")         /* has them, but does not claim them */                                    \
        d(SECRET_TIMES, "secret-times")     /* likewise */                                                             \
        d(NO_BLOCK, "no-block")             /* claims that it can be paused, and throws away what does not fit */      \
        d(NO_HISTORY, "no-history")         /* claims to keep messages, and makes them up */                           \
        d(NO_OTHERS, "no-others")           /* claims to reach other processes, and does not */

#define ENUMERATOR(defect, name) defect,
#define NAME(defect, name) name,
enum defect { EACH_DEFECT(ENUMERATOR) DEFECTS };
static const char *const names[DEFECTS] = {EACH_DEFECT(NAME)};

/* A message in an inbox: everything it points to is in one piece of memory with it. */
struct letter {
    struct letter *next;
    struct bcast_topic *topic;
    struct bcast_incoming in;
    struct bcast_header headers[8];
    char id[16];
    unsigned char bytes[];
};

struct connection {
    struct faulty_broker *broker;
    struct bcast_sink *sink;
    struct bcast_topic **topics, *late[64];
    size_t count, room, late_count;
    struct letter *inbox, **inbox_end, *held; /* held: comes a hundred messages late */
    unsigned overtaken;
    unsigned skip; /* so many messages are not delivered */
    bool connected, cut, was_cut;
    char left[256]; /* the last channel that was unsubscribed */
    struct connection *next;
};

struct faulty_broker {
    pthread_mutex_t mutex;
    enum defect defect;
    bool down;
    unsigned long published, opened;
    struct connection *connections;
    unsigned char last[64]; /* message */
    size_t last_size;
};

struct faulty_broker *faulty_broker_new(const char *defect)
{
    struct faulty_broker *broker = calloc(1, sizeof *broker);
    if (broker == NULL)
        return NULL;
    while (broker->defect < DEFECTS && strcmp(names[broker->defect], defect) != 0)
        broker->defect++;
    if (broker->defect == DEFECTS) {
        free(broker);
        return NULL;
    }
    pthread_mutex_init(&broker->mutex, NULL);
    return broker;
}

void faulty_broker_free(struct faulty_broker *broker)
{
    pthread_mutex_destroy(&broker->mutex);
    free(broker);
}

/* -------------------------------------------------------------------------------------------- open, close, claims -- */

static int faulty_backend_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return BCAST_ERR_NOMEM;
    c->broker = setup->context;
    c->sink = sink;
    c->inbox_end = &c->inbox;
    pthread_mutex_lock(&c->broker->mutex);
    c->next = c->broker->connections;
    c->broker->connections = c;
    c->broker->opened++;
    pthread_mutex_unlock(&c->broker->mutex);
    *self = c;
    return BCAST_OK;
}

static void burn_letters(struct connection *c)
{
    while (c->inbox != NULL) {
        struct letter *letter = c->inbox;
        c->inbox = letter->next;
        free(letter);
    }
    c->inbox_end = &c->inbox;
    free(c->held);
    c->held = NULL;
}

static void faulty_close(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    struct connection **at = &c->broker->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&c->broker->mutex);
    burn_letters(c);
    free(c->topics);
    free(c);
}

static bool has(const struct connection *c, enum defect defect)
{
    return c->broker->defect == defect;
}

static void faulty_capabilities(void *self, struct bcast_capabilities *out)
{
    const struct connection *c = self;
    out->can = BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM;
    out->max_channel_bytes = 255;
    if (c == NULL)
        return;
    out->can |= has(c, SILENT_RESUME) ? BCAST_CAN_RESUME : 0;
    out->can |= has(c, NO_IDS) ? BCAST_CAN_IDS : 0;
    out->can |= has(c, NO_TIMES) ? BCAST_CAN_TIMESTAMPS : 0;
    out->can |= has(c, NO_BLOCK) ? BCAST_CAN_BLOCK : 0;
    out->can |= has(c, NO_HISTORY) ? BCAST_CAN_HISTORY | BCAST_CAN_RESUME | BCAST_CAN_IDS : 0;
    out->can |= has(c, NO_OTHERS) ? BCAST_CAN_PROCESSES : 0;
    out->max_channel_bytes += has(c, MOODY) ? c->broker->opened % 2 : 0;
    out->can &= has(c, TEXT_ONLY) ? ~(uint64_t)BCAST_CAN_BINARY : ~UINT64_C(0);
}

static void faulty_connect(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    bool refused = c->broker->down || (c->was_cut && has(c, STAYS_AWAY)) || (has(c, WORN_OUT) && c->broker->opened > 5);
    c->connected = !refused;
    c->skip = has(c, SILENT_RESUME) && c->was_cut ? 40 : 0;
    c->cut = false;
    pthread_mutex_unlock(&c->broker->mutex);
    if (refused)
        c->sink->lost(c->sink, BCAST_ERR_CONNECT, "nobody is there", 0);
    else
        c->sink->connected(c->sink);
    if (!refused && has(c, TWICE))
        c->sink->connected(c->sink);
}

static void faulty_disconnect(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    c->connected = false;
    c->count = c->late_count = 0;
    burn_letters(c);
    pthread_mutex_unlock(&c->broker->mutex);
}

/* ------------------------------------------------------------------------------------------------------ publish -- */

static bool equal(const unsigned char *a, const unsigned char *b, size_t size, bool any_case)
{
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i] && !(any_case && (a[i] | 32) == (b[i] | 32)))
            return false;
    return true;
}

static size_t name_size(const struct connection *c, const char *name, size_t size)
{
    const char *end = has(c, CUTS_NAMES) ? memchr(name, '\0', size) : NULL;
    return end != NULL ? (size_t)(end - name) : size;
}

static bool is_for(const struct connection *c, const struct bcast_topic *topic, const struct bcast_outgoing *m)
{
    size_t size = name_size(c, topic->name, topic->size);
    if (has(c, STICKS) && topic == c->topics[0] && strcmp(m->channel, c->left) == 0)
        return true;
    return size == name_size(c, m->channel, m->channel_size) &&
           equal((const unsigned char *)topic->name, (const unsigned char *)m->channel, size, has(c, CROSSES));
}

/* Copies `size` bytes to *at and moves it on. */
static const void *pack(unsigned char **at, const void *data, size_t size)
{
    void *copy = *at;
    if (size != 0)
        memcpy(copy, data, size);
    *at += size;
    return copy;
}

static void pack_headers(const struct connection *c, struct letter *letter, const struct bcast_outgoing *m,
                         unsigned char **at)
{
    letter->in.headers = letter->headers;
    letter->in.header_count = has(c, NO_HEADERS) ? 0 : m->header_count < 8 ? m->header_count : 8;
    for (size_t i = 0; i < letter->in.header_count; i++) {
        const struct bcast_header *header = &m->headers[i];
        letter->headers[i].name = pack(at, header->name, strlen(header->name) + 1);
        letter->headers[i].value = pack(at, header->value, header->value_size);
        letter->headers[i].value_size = header->value_size;
    }
}

static size_t room_for(const struct bcast_outgoing *m)
{
    size_t room = m->size + m->key_size;
    for (size_t i = 0; i < m->header_count; i++)
        room += strlen(m->headers[i].name) + 1 + m->headers[i].value_size;
    return room;
}

static struct letter *write_letter(const struct connection *c, const struct bcast_outgoing *m)
{
    struct letter *letter = calloc(1, sizeof *letter + room_for(m));
    if (letter == NULL)
        abort(); /* a test's broker: there is nothing to be tested any more */
    unsigned char *at = letter->bytes;
    size_t size = m->size;
    if ((has(c, CUTS) || has(c, TEXT_ONLY)) && size != 0 && memchr(m->data, '\0', size) != NULL)
        size = strlen(m->data);
    letter->in.data = pack(&at, m->data, size);
    letter->in.size = size;
    if (has(c, CORRUPTS) && size > 1000)
        letter->bytes[size - 1] ^= 1;
    if (m->key != NULL && !has(c, NO_KEYS)) {
        letter->in.key = pack(&at, m->key, m->key_size);
        letter->in.key_size = m->key_size;
    }
    pack_headers(c, letter, m, &at);
    snprintf(letter->id, sizeof letter->id, "%lu", c->broker->published);
    letter->in.id = has(c, SECRET_IDS) ? letter->id : NULL;
    letter->in.timestamp_us = has(c, SECRET_TIMES) ? INT64_C(1700000000000000) : 0;
    return letter;
}

static void put_letter(struct connection *to, struct bcast_topic *topic, struct letter *letter)
{
    letter->topic = topic;
    struct letter *held = ++to->overtaken < 100 ? NULL : to->held; /* by then by one of the same publisher, too */
    if (has(to, REORDERS) && to->held == NULL && to->broker->published % 20 == 0) {
        to->held = letter;
        to->overtaken = 0;
        return;
    }
    letter->next = held;
    *to->inbox_end = letter;
    to->inbox_end = held != NULL ? &held->next : &letter->next;
    if (held != NULL)
        to->held = NULL;
}

/* With the broker's mutex. */
static void deliver(struct connection *to, const struct bcast_outgoing *m, unsigned copies)
{
    if (to->skip != 0) {
        to->skip--;
        return;
    }
    for (size_t t = 0; t < to->count; t++)
        if (is_for(to, to->topics[t], m)) {
            for (unsigned i = 0; i < copies; i++)
                put_letter(to, to->topics[t], write_letter(to, m));
            to->sink->wake(to->sink);
        }
}

static bool folded(struct faulty_broker *broker, const struct bcast_outgoing *m)
{
    bool same = m->size != 0 && m->size == broker->last_size && memcmp(m->data, broker->last, m->size) == 0;
    broker->last_size = m->size <= sizeof broker->last ? m->size : 0;
    if (broker->last_size != 0)
        memcpy(broker->last, m->data, m->size);
    return same;
}

static unsigned copies_of(struct connection *c, const struct bcast_outgoing *m)
{
    bool turn = ++c->broker->published % 20 == 0;
    if (has(c, SWALLOWS) || (has(c, DROPS) && turn) || (has(c, LOSES_EMPTY) && m->size == 0) ||
        (has(c, FOLDS) && folded(c->broker, m)))
        return 0;
    return has(c, DUPLICATES) && turn ? 2 : 1;
}

static void answer(struct connection *c, uint64_t number)
{
    bool turn = number % 20 == 19;
    if (has(c, NO_RESULT) && turn)
        return;
    if (has(c, BAD_RESULT) && turn) {
        c->sink->result(c->sink, number, 1, BCAST_ERR_REFUSED);
        return;
    }
    c->sink->result(c->sink, number, 1, BCAST_OK);
    if (has(c, TWO_RESULTS))
        c->sink->result(c->sink, number, 1, BCAST_OK);
}

static size_t faulty_publish(void *self, const struct bcast_outgoing *messages, size_t count)
{
    struct connection *c = self;
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&c->broker->mutex);
        bool lost = c->cut || c->broker->down;
        unsigned copies = lost ? 0 : copies_of(c, &messages[i]);
        for (struct connection *to = c->broker->connections; to != NULL && !lost; to = to->next)
            if (to->connected && !to->cut)
                deliver(to, &messages[i], copies);
        pthread_mutex_unlock(&c->broker->mutex);
        if (!lost)
            answer(c, messages[i].number);
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------------- subscribe -- */

/* With the broker's mutex. */
static void add_topic(struct connection *c, struct bcast_topic *topic)
{
    if (c->count == c->room) {
        size_t room = c->room != 0 ? 2 * c->room : 16;
        struct bcast_topic **more = realloc(c->topics, room * sizeof(struct bcast_topic *));
        if (more == NULL)
            abort();
        c->topics = more;
        c->room = room;
    }
    c->topics[c->count++] = topic;
}

static void subscribe_one(struct connection *c, struct bcast_topic *topic)
{
    bool again = topic->position[0]++ != 0;
    pthread_mutex_lock(&c->broker->mutex);
    if (has(c, EARLY) && c->late_count < 64) {
        c->late[c->late_count++] = topic;
        c->sink->alarm(c->sink, 20);
    } else if (!(again && has(c, FORGETS)))
        add_topic(c, topic);
    pthread_mutex_unlock(&c->broker->mutex);
    c->sink->subscribed(c->sink, topic, BCAST_OK, "");
    if (has(c, CHATTY))
        (void)c->sink->message(c->sink, topic, &(struct bcast_incoming){.data = "hello", .size = 5});
}

static bool refuses(const struct connection *c, const struct bcast_topic *topic)
{
    return (has(c, SHORT_NAMES) && topic->size > 100) || (has(c, PICKY) && strchr(topic->name, '*') != NULL);
}

static void faulty_subscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct connection *c = self;
    for (size_t i = 0; i < count; i++)
        if (refuses(c, topics[i]))
            c->sink->subscribed(c->sink, topics[i], BCAST_ERR_REFUSED, "I do not like the name");
        else
            subscribe_one(c, topics[i]);
}

static void faulty_alarm(void *self)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    while (c->late_count != 0)
        add_topic(c, c->late[--c->late_count]);
    pthread_mutex_unlock(&c->broker->mutex);
}

/* Nothing of it may come any more: the topic is about to be freed. With the broker's mutex. */
static void forget_topic(struct connection *c, const struct bcast_topic *topic)
{
    for (size_t t = 0; t < c->count; t++)
        if (c->topics[t] == topic)
            c->topics[t--] = c->topics[--c->count];
    for (size_t t = 0; t < c->late_count; t++)
        if (c->late[t] == topic)
            c->late[t--] = c->late[--c->late_count];
    if (c->held != NULL && c->held->topic == topic) {
        free(c->held);
        c->held = NULL;
    }
    c->inbox_end = &c->inbox;
    while (*c->inbox_end != NULL) {
        struct letter *letter = *c->inbox_end;
        if (letter->topic == topic) {
            *c->inbox_end = letter->next;
            free(letter);
        } else
            c->inbox_end = &letter->next;
    }
}

static void faulty_unsubscribe(void *self, struct bcast_topic *const *topics, size_t count)
{
    struct connection *c = self;
    pthread_mutex_lock(&c->broker->mutex);
    for (size_t i = 0; i < count; i++) {
        forget_topic(c, topics[i]);
        snprintf(c->left, sizeof c->left, "%s", topics[i]->name);
    }
    if (has(c, DROPS_ALL))
        c->count = 0;
    pthread_mutex_unlock(&c->broker->mutex);
}

/* ------------------------------------------------------------------------------------------------------- arrive -- */

static struct letter *take_letter(struct connection *c)
{
    pthread_mutex_lock(&c->broker->mutex);
    struct letter *letter = c->cut ? NULL : c->inbox;
    if (letter != NULL && (c->inbox = letter->next) == NULL)
        c->inbox_end = &c->inbox;
    pthread_mutex_unlock(&c->broker->mutex);
    return letter;
}

/* With NO_HISTORY: whatever is asked, it is made up. */
static void faulty_fetch(void *self, const struct bcast_fetch *fetch)
{
    struct connection *c = self;
    const struct bcast_incoming made_up = {.data = "nonsense", .size = 8, .id = "1"};
    const struct bcast_fetch_end end = {.status = BCAST_OK, .older = "0", .newer = "1"};
    if (!fetch->only_where)
        (void)c->sink->fetched(c->sink, fetch->request, &made_up);
    c->sink->fetch_ended(c->sink, fetch->request, &end);
}

static size_t faulty_position(void *self, const struct bcast_topic *topic, char *buffer, size_t size)
{
    (void)self, (void)topic;
    return (size_t)snprintf(buffer, size, "0");
}

static void faulty_woken(void *self)
{
    struct connection *c = self;
    struct letter *letter;
    while ((letter = take_letter(c)) != NULL) {
        (void)c->sink->message(c->sink, letter->topic, &letter->in); /* full: with NO_BLOCK it is gone */
        free(letter);
    }
    pthread_mutex_lock(&c->broker->mutex);
    bool lost = c->cut && c->connected && !has(c, UNAWARE);
    c->connected = c->connected && !c->cut;
    pthread_mutex_unlock(&c->broker->mutex);
    if (lost)
        c->sink->lost(c->sink, BCAST_ERR_CONNECT, "the broker went away", 0);
}

static const struct bcast_backend faulty_backend = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "faulty",
    .open = faulty_backend_open,
    .close = faulty_close,
    .capabilities = faulty_capabilities,
    .connect = faulty_connect,
    .disconnect = faulty_disconnect,
    .alarm = faulty_alarm,
    .woken = faulty_woken,
    .publish = faulty_publish,
    .subscribe = faulty_subscribe,
    .unsubscribe = faulty_unsubscribe,
    .fetch = faulty_fetch,
    .position = faulty_position,
    .order = strcmp,
};

int faulty_open(void *broker, const struct bcast_options *options, struct bcast **out)
{
    return bcast_open_backend(&faulty_backend, broker, options, out);
}

int faulty_stop(void *context)
{
    struct faulty_broker *broker = context;
    pthread_mutex_lock(&broker->mutex);
    broker->down = true;
    for (struct connection *c = broker->connections; c != NULL; c = c->next) {
        c->cut = c->was_cut = true;
        c->sink->wake(c->sink);
    }
    pthread_mutex_unlock(&broker->mutex);
    return 0;
}

int faulty_start(void *context)
{
    struct faulty_broker *broker = context;
    pthread_mutex_lock(&broker->mutex);
    broker->down = false;
    pthread_mutex_unlock(&broker->mutex);
    return 0;
}
