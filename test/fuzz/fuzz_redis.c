/* The redis backend against a server that may send anything: the network below it is played here, its bytes come from
 * the input, and the sink holds it to backend.h. As long as the server is an honest one (nothing but right answers was
 * sent to what was asked), every result, subscription and message is also foretold exactly.
 *
 * net/redis.c is included, not linked: how much hiredis' readers hold can only be seen from within. */
#include "../../lib/net/redis.c"

#include "fuzz.h"

#include <hiredis/sds.h>

#define OPERATIONS 300
#define TOPICS 4
#define MESSAGES 4096
#define QUEUE 8192              /* answers that are owed; answers on their way */
#define MOST (64u << 10)        /* max_message_bytes */
#define SENT_MOST (2500u << 10) /* bytes to be published in one program: more only takes time */
#define FLOOD_MOST (520u << 10) /* likewise, bytes that are no more than many */
#define MEMORY_MOST (8u << 20)  /* what the backend may hold at any time */
#define READER_MOST (MOST + 65536 + READ_BYTES + 2 * FEED_BYTES)

extern const struct bcast_backend bcast_backend_redis;

static const char *const names[TOPICS] = {"a", "news", "z\r\n\0$3", "message"};
static const size_t name_sizes[TOPICS] = {1, 4, 6, 7};

enum state { OFF = 0, ASKED, ON };

struct wish { /* a topic, as the library sees it */
    struct bcast_topic *is;
    enum state state;
    unsigned asked; /* how often, over this connection: each is another subscription */
};

struct letter {
    unsigned size, topic;
    uint8_t seed;
    bool too_large, done;
};

enum command { PING, GREETING, LIMIT, PUBLISH, TOO_LARGE, SUBSCRIBE, UNSUBSCRIBE, MESSAGE };

/* What the server owes (an answer), or has put on its way: then until byte `end` of what it sent. */
struct owed {
    enum command command;
    unsigned topic, which; /* which: of the topic's subscriptions; 0: none */
    int status;
    unsigned size;
    uint8_t seed;
    uint64_t end;
};

struct server { /* one side of it */
    struct stream *stream;
    struct link *link;
    unsigned char *bytes; /* [read, size) is on its way to the backend; `allowed` of it may be read now */
    size_t size, room, read, allowed;
    unsigned char *heard; /* what the backend has written, from the first command that is not whole */
    size_t heard_size, heard_room;
    size_t takes, piece; /* bytes it takes at the moment; gives at once */
    bool has_more, ends, is_slow;
    bool spoilt;  /* not all that it says is an answer: only what lies ... */
    size_t right; /* ... before this */
    size_t answers_count, answers_first, sent_count, sent_first;
    int watched;
    struct owed answers[QUEUE], sent[QUEUE]; /* last */
};

static struct world {
    struct input in;
    struct bcast_sink sink;
    void *self;
    int64_t now, alarm; /* alarm: negative, none */
    bool connecting, connected, lost, woken;
    bool honest, beating; /* beating: time has passed, so that heartbeats may be among the commands */
    bool any_too_large;
    size_t limit; /* what CONFIG GET tells */
    struct wish wishes[TOPICS];
    unsigned seen[TOPICS], serving[TOPICS]; /* by the server: SUBSCRIBEs, and which it delivers to */
    struct letter letters[MESSAGES];
    size_t taken, done, results,
        arrived;    /* letters: handed over; with a result; those in honesty; seen by the server */
    uint64_t first; /* number of letters[0] */
    size_t sent_bytes, flooded;
    struct server servers[REDIS_SIDES];
    unsigned refuse_connects, hosts;
    bool lookup_fails, lookup_slow;
    size_t live, live_bytes, fail_in; /* memory; fail_in 0: none fails */
} w;

static unsigned char pattern[MOST + 512];

static void dishonest(void)
{
    w.honest = false;
}

/* From here on, this side says anything. */
static void spoil(struct server *server, size_t from)
{
    dishonest();
    if (!server->spoilt || from < server->right)
        server->right = from;
    server->spoilt = true;
}

/* ------------------------------------------------------------------------------------------------------- memory -- */

#define HEAD 64

void *memory_get(size_t size)
{
    if (w.fail_in != 0 && --w.fail_in == 0) {
        dishonest();
        return NULL;
    }
    size_t whole = (size + HEAD + 63) / 64 * 64;
    unsigned char *memory = aligned_alloc(64, whole);
    CHECK(memory != NULL, "out of memory");
    memset(memory, 0, whole);
    memcpy(memory, &size, sizeof size);
    w.live++;
    w.live_bytes += size;
    CHECK(w.live_bytes < MEMORY_MOST, "%zu bytes are held", w.live_bytes);
    return memory + HEAD;
}

void memory_put(void *memory)
{
    size_t size;
    if (memory == NULL)
        return;
    memcpy(&size, (unsigned char *)memory - HEAD, sizeof size);
    w.live--;
    w.live_bytes -= size;
    free((unsigned char *)memory - HEAD);
}

void *memory_get_block(size_t size)
{
    return memory_get(size);
}

void memory_put_block(void *block, size_t size)
{
    (void)size;
    memory_put(block);
}

int64_t clock_ns(void)
{
    return w.now;
}

/* ---------------------------------------------------------------------------------------------------- addresses -- */

struct lookup {
    int dummy;
};

int lookup_start(const struct bcast_host *hosts, size_t count, unsigned default_port, struct bcast_sink *sink,
                 struct lookup **out)
{
    (void)hosts, (void)count, (void)default_port;
    *out = memory_get(sizeof **out);
    if (*out == NULL)
        return BCAST_ERR_NOMEM;
    sink->wake(sink);
    return BCAST_OK;
}

static int make_addresses(struct addresses *out, size_t count)
{
    out->list = memory_get(count * sizeof *out->list);
    if (out->list == NULL)
        return BCAST_ERR_NOMEM;
    out->count = count;
    return BCAST_OK;
}

int lookup_take(struct lookup **lookup, const struct bcast_host *hosts, struct addresses *out, char *why,
                size_t why_size)
{
    (void)hosts;
    if (w.lookup_slow) {
        w.lookup_slow = false;
        return BCAST_TIMEOUT;
    }
    lookup_forget(lookup);
    snprintf(why, why_size, "no such name");
    return w.lookup_fails ? BCAST_ERR_CONNECT : make_addresses(out, w.hosts);
}

void lookup_forget(struct lookup **lookup)
{
    memory_put(*lookup);
    *lookup = NULL;
}

int addresses_of_path(struct addresses *out, const char *path)
{
    (void)path;
    return make_addresses(out, 1);
}

void addresses_free(struct addresses *addresses)
{
    memory_put(addresses->list);
    *addresses = (struct addresses){NULL, 0};
}

void address_print(const struct address *address, char *text, size_t size)
{
    (void)address;
    snprintf(text, size, "somewhere");
}

int tls_open(const struct bcast_backend_setup *setup, SSL_CTX **out)
{
    (void)setup;
    *out = NULL;
    return BCAST_OK;
}

/* --------------------------------------------------------------------------------------------------- the server -- */

static void server_forget(struct server *server)
{
    free(server->bytes);
    free(server->heard);
    memset(server, 0, offsetof(struct server, answers)); /* those lists are long */
}

static void server_say(struct server *server, const void *bytes, size_t size)
{
    if (server->size + size > server->room) {
        server->room = 2 * server->room + size;
        server->bytes = realloc(server->bytes, server->room);
        CHECK(server->bytes != NULL, "out of memory");
    }
    if (size != 0)
        memcpy(server->bytes + server->size, bytes, size);
    server->size += size;
}

static void server_say_text(struct server *server, const char *text)
{
    server_say(server, text, strlen(text));
}

static void server_say_bulk(struct server *server, const void *bytes, size_t size)
{
    char head[32];
    snprintf(head, sizeof head, "$%zu\r\n", size);
    server_say_text(server, head);
    server_say(server, bytes, size);
    server_say_text(server, "\r\n");
}

struct word {
    const char *text;
    size_t size;
};

static bool is_word(const struct word *word, const char *text)
{
    return word->size == strlen(text) && memcmp(word->text, text, word->size) == 0;
}

static unsigned topic_of(const struct word *word)
{
    for (unsigned t = 0; t < TOPICS; t++)
        if (word->size == name_sizes[t] && memcmp(word->text, names[t], word->size) == 0)
            return t;
    CHECK(false, "a topic nobody asked for: %.*s", (int)word->size, word->text);
    return 0;
}

static struct letter *next_letter(bool too_large)
{
    CHECK(w.arrived < w.taken, "more is sent than was published");
    struct letter *letter = &w.letters[w.arrived++];
    CHECK(letter->too_large == too_large, "a message of %u bytes with a limit of %zu", letter->size, w.limit);
    return letter;
}

static struct owed understand_publish(const struct word *words, unsigned count)
{
    CHECK(count == 3, "PUBLISH of %u words", count);
    const struct letter *letter = next_letter(false);
    CHECK(topic_of(&words[1]) == letter->topic, "another channel");
    CHECK(words[2].size == letter->size && memcmp(words[2].text, pattern + letter->seed, letter->size) == 0,
          "another message");
    return (struct owed){.command = PUBLISH};
}

static bool greeted_of(const struct server *server)
{
    return server->link->greeted;
}

static struct owed understand(struct server *server, const struct word *words, unsigned count)
{
    bool events = server == &w.servers[REDIS_EVENTS];
    if (is_word(&words[0], "PUBLISH") && !events && w.connected)
        return w.honest ? understand_publish(words, count) : (struct owed){.command = PUBLISH};
    if (is_word(&words[0], "SUBSCRIBE") && events && count == 2) {
        unsigned topic = topic_of(&words[1]);
        return (struct owed){.command = SUBSCRIBE, .topic = topic, .which = ++w.seen[topic]};
    }
    if (is_word(&words[0], "UNSUBSCRIBE") && events && count == 2)
        return (struct owed){.command = UNSUBSCRIBE, .topic = topic_of(&words[1])};
    if (is_word(&words[0], "PING") && count == 1) {
        bool in_place = w.honest && !events && w.any_too_large && greeted_of(server);
        if (in_place)
            (void)next_letter(true);
        return (struct owed){.command = in_place ? TOO_LARGE : PING};
    }
    if (is_word(&words[0], "CONFIG") && count == 3 && !events)
        return (struct owed){.command = LIMIT};
    CHECK(is_word(&words[0], "AUTH") || is_word(&words[0], "SELECT"), "it says %.*s", (int)words[0].size,
          words[0].text);
    return (struct owed){.command = GREETING};
}

/* The number of "*3\r\n" or "$3\r\n". False: it is not whole yet. */
static bool heard_number(const unsigned char **at, const unsigned char *end, char kind, size_t *number)
{
    const unsigned char *p = *at;
    if (p == end)
        return false;
    CHECK(*p == kind, "%c instead of %c", *p, kind);
    *number = 0;
    for (p++; p < end && *p >= '0' && *p <= '9'; p++)
        *number = *number * 10 + (*p - '0');
    if (end - p < 2)
        return false;
    CHECK(p[0] == '\r' && p[1] == '\n', "no end of the line");
    *at = p + 2;
    return true;
}

/* One command, if it is whole. */
static bool hear_one(struct server *server, const unsigned char **at, const unsigned char *end)
{
    struct word words[3];
    size_t count, size;
    const unsigned char *p = *at;
    if (!heard_number(&p, end, '*', &count))
        return false;
    CHECK(count >= 1 && count <= 3, "%zu words", count);
    for (size_t i = 0; i < count; i++) {
        if (!heard_number(&p, end, '$', &size) || (size_t)(end - p) < size + 2)
            return false;
        words[i] = (struct word){(const char *)p, size};
        p += size + 2;
        CHECK(p[-2] == '\r' && p[-1] == '\n', "no end of the word");
    }
    struct owed owed = understand(server, words, (unsigned)count);
    CHECK(server->answers_count < QUEUE, "the program is too long");
    server->answers[server->answers_count++] = owed;
    *at = p;
    return true;
}

static void hear(struct server *server, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    if (server->heard_size + size > server->heard_room) {
        server->heard_room = 2 * server->heard_room + size;
        server->heard = realloc(server->heard, server->heard_room);
        CHECK(server->heard != NULL, "out of memory");
    }
    memcpy(server->heard + server->heard_size, bytes, size);
    server->heard_size += size;
    const unsigned char *at = server->heard, *end = at + server->heard_size;
    while (hear_one(server, &at, end))
        ;
    server->heard_size = (size_t)(end - at);
    memmove(server->heard, at, server->heard_size);
}

static const char *error_text(struct input *in, int *status)
{
    static const char *const texts[] = {"-NOPERM no\r\n", "-ERR no\r\n",    "-LOADING\r\n",           "-NOAUTH\r\n",
                                        "-\r\n",          "-WRONGPASS\r\n", "-ERR max number of\r\n", "-BUSY\r\n"};
    const char *text = texts[input_below(in, 8)];
    bool refused =
        strstr(text, "NOPERM") != NULL || strstr(text, "NOAUTH") != NULL || strstr(text, "WRONGPASS") != NULL;
    *status = refused ? BCAST_ERR_REFUSED : BCAST_ERR_PUBLISH;
    return text;
}

/* What it was asked first. With `refusing`, it is an error. */
static void answer_one(struct server *server, bool refusing)
{
    struct owed owed = server->answers[server->answers_first++];
    char text[40];
    if (refusing) {
        server_say_text(server, error_text(&w.in, &owed.status));
        if (owed.command == SUBSCRIBE)
            owed.status = BCAST_ERR_REFUSED;
        if (owed.command != PUBLISH && owed.command != SUBSCRIBE && owed.command != TOO_LARGE)
            dishonest(); /* whether it goes on is for others to check */
    } else if (owed.command == PUBLISH) {
        server_say_text(server, ":1\r\n");
    } else if (owed.command == LIMIT) {
        snprintf(text, sizeof text, "%zu", w.limit);
        server_say_text(server, "*2\r\n$18\r\nproto-max-bulk-len\r\n");
        server_say_bulk(server, text, strlen(text));
    } else if (owed.command == SUBSCRIBE || owed.command == UNSUBSCRIBE) {
        w.serving[owed.topic] = owed.which;
        server_say_text(server, "*3\r\n");
        server_say_text(server, owed.command == SUBSCRIBE ? "$9\r\nsubscribe\r\n" : "$11\r\nunsubscribe\r\n");
        server_say_bulk(server, names[owed.topic], name_sizes[owed.topic]);
        server_say_text(server, ":1\r\n");
    } else {
        bool array = owed.command == PING && (w.serving[0] | w.serving[1] | w.serving[2] | w.serving[3]) != 0 &&
                     server == &w.servers[REDIS_EVENTS];
        server_say_text(server, array ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
    }
    if (owed.command == TOO_LARGE)
        owed.status = BCAST_ERR_TOO_LARGE;
    owed.end = server->size;
    server->sent[server->sent_count++] = owed;
}

static void answer(struct server *server, unsigned count)
{
    while (count-- > 0 && server->answers_first < server->answers_count)
        answer_one(server, false);
}

/* A message to a channel, as the server pushes it, whether anybody has subscribed or not. */
static void push(unsigned topic, unsigned size, uint8_t seed)
{
    struct server *server = &w.servers[REDIS_EVENTS];
    if (server->sent_count + server->answers_count + 8 > QUEUE)
        return;
    server_say_text(server, "*3\r\n$7\r\nmessage\r\n");
    server_say_bulk(server, names[topic], name_sizes[topic]);
    server_say_bulk(server, pattern + seed, size);
    struct owed message = {MESSAGE, topic, w.serving[topic], BCAST_OK, size, seed, server->size};
    server->sent[server->sent_count++] = message;
}

/* --------------------------------------------------------------------------------------------- what is foretold -- */

/* Must the backend tell of it? */
static bool is_due(const struct owed *owed)
{
    const struct wish *wish = &w.wishes[owed->topic];
    switch (owed->command) {
    case PUBLISH:
    case TOO_LARGE: return true;
    case SUBSCRIBE: return wish->state == ASKED && wish->asked == owed->which;
    case MESSAGE: return wish->state == ON && wish->asked == owed->which;
    default: return false;
    }
}

static struct owed *next_due(enum redis_side side)
{
    struct server *server = &w.servers[side];
    while (server->sent_first < server->sent_count && !is_due(&server->sent[server->sent_first]))
        server->sent_first++;
    CHECK(server->sent_first < server->sent_count, "the server has said nothing of the kind");
    struct owed *owed = &server->sent[server->sent_first++];
    CHECK(owed->end <= server->read, "it is not even whole yet");
    return owed;
}

/* All that the backend has read, it has told. */
static void check_told(struct server *server)
{
    if (!w.honest || w.lost || !w.connecting)
        return;
    while (server->sent_first < server->sent_count && server->sent[server->sent_first].end <= server->read) {
        const struct owed *owed = &server->sent[server->sent_first++];
        CHECK(!is_due(owed), "it was not told of %d", (int)owed->command);
    }
}

/* ------------------------------------------------------------------------------------------------------ streams -- */

static struct server *server_of(const struct stream *stream)
{
    for (unsigned i = 0; i < REDIS_SIDES; i++)
        if (w.servers[i].stream == stream)
            return &w.servers[i];
    CHECK(false, "another stream");
    return NULL;
}

void stream_fail(struct stream *stream, const char *format, ...)
{
    stream->state = STREAM_FAILED;
    snprintf(stream->why, sizeof stream->why, "%s", format);
}

void stream_connect(struct stream *stream, struct bcast_sink *sink, const struct address *address,
                    const struct bcast_url *url, SSL_CTX *context)
{
    struct link *link = (struct link *)(void *)((unsigned char *)stream - offsetof(struct link, stream));
    struct server *server = &w.servers[link->side];
    (void)address, (void)url, (void)context;
    CHECK(stream->state == STREAM_CLOSED, "it was not closed");
    server_forget(server);
    server->stream = stream;
    server->link = link;
    server->takes = SIZE_MAX;
    server->piece = 65536;
    *stream = (struct stream){.sink = sink, .fd = 1000 + (int)link->side, .state = STREAM_CONNECTING};
    if (w.refuse_connects != 0 && w.refuse_connects-- % 2 == 1)
        stream_fail(stream, "refused");
    else
        (void)stream_watch(stream, true);
}

enum stream_state stream_step(struct stream *stream)
{
    struct server *server = server_of(stream);
    if (server->ends) {
        stream_fail(stream, "ended");
        stream->terminal = server->is_slow;
    }
    if (stream->state == STREAM_CONNECTING)
        stream->state = STREAM_OPEN;
    if (stream->state != STREAM_FAILED)
        (void)stream_watch(stream, false);
    return stream->state;
}

ptrdiff_t stream_read(struct stream *stream, void *bytes, size_t size)
{
    struct server *server = server_of(stream);
    CHECK(stream->state == STREAM_OPEN, "it is read from when it is not open");
    if (server->ends) {
        stream_fail(stream, "the end");
        return -1;
    }
    size_t count = server->allowed < server->size - server->read ? server->allowed : server->size - server->read;
    if (count > size)
        count = size;
    if (count > server->piece)
        count = server->piece;
    if (count != 0)
        memcpy(bytes, server->bytes + server->read, count);
    server->read += count;
    server->allowed -= count;
    return (ptrdiff_t)count;
}

ptrdiff_t stream_write(struct stream *stream, const void *bytes, size_t size)
{
    struct server *server = server_of(stream);
    CHECK(stream->state == STREAM_OPEN && size != 0, "it is written to when it is not open, or nothing");
    if (server->takes < size)
        size = server->takes;
    server->takes -= server->takes == SIZE_MAX ? 0 : size;
    hear(server, bytes, size);
    return (ptrdiff_t)size;
}

int stream_watch(struct stream *stream, bool writing)
{
    int events = BCAST_WATCH_READ | (writing ? BCAST_WATCH_WRITE : 0);
    stream->watched = events;
    return stream->sink->watch(stream->sink, stream->fd, events);
}

bool stream_has_more(const struct stream *stream)
{
    const struct server *server = server_of(stream);
    return server->has_more && server->allowed != 0 && server->read < server->size;
}

void stream_leave(struct stream *stream)
{
    if (stream->watched != 0)
        (void)stream->sink->watch(stream->sink, stream->fd, 0);
    stream_close(stream);
}

void stream_close(struct stream *stream)
{
    *stream = (struct stream){.fd = -1};
}

/* ----------------------------------------------------------------------------------------------------- the sink -- */

static void check_up(const char *what)
{
    CHECK(w.connecting && !w.lost, "%s with no connection", what);
}

static void told_connected(struct bcast_sink *sink)
{
    (void)sink;
    check_up("connected");
    CHECK(!w.connected, "twice");
    w.connected = true;
}

/* What had its answer must have its result, whatever came behind it. */
static size_t results_due(const struct server *server)
{
    size_t count = 0, until = server->spoilt && server->right < server->read ? server->right : server->read;
    for (size_t i = 0; i < server->sent_count && server->sent[i].end <= until; i++)
        count += server->sent[i].command == PUBLISH;
    return count;
}

static void told_lost(struct bcast_sink *sink, int status, const char *reason, int terminal)
{
    (void)sink;
    check_up("lost");
    CHECK(status < 0 && reason[0] != '\0' && strlen(reason) < 250 && (terminal == 0 || status == BCAST_ERR_REFUSED),
          "status %d, terminal %d: %s", status, terminal, reason);
    CHECK(!w.honest || w.beating || w.servers[0].ends || w.servers[1].ends || !w.connected,
          "an honest server is left: %s", reason);
    CHECK(!w.connected || results_due(&w.servers[REDIS_COMMANDS]) <= w.done, "a result is lost");
    w.lost = true;
}

static struct wish *wish_of(const struct bcast_topic *topic)
{
    for (unsigned t = 0; t < TOPICS; t++)
        if (w.wishes[t].is == topic)
            return &w.wishes[t];
    CHECK(false, "a topic that is gone");
    return NULL;
}

static void told_subscribed(struct bcast_sink *sink, struct bcast_topic *topic, int status, const char *reason)
{
    struct wish *wish = wish_of(topic);
    (void)sink;
    CHECK(wish->state == ASKED, "nobody has asked, or it was told already");
    CHECK((status == BCAST_OK) == (reason == NULL), "status %d", status);
    if (status == BCAST_ERR_NOMEM) { /* from within subscribe, which may come when it is lost */
        CHECK(!w.honest, "no memory");
    } else {
        check_up("subscribed");
        CHECK(w.connected && (status == BCAST_OK || status == BCAST_ERR_REFUSED), "status %d", status);
        if (w.honest) {
            const struct owed *owed = next_due(REDIS_EVENTS);
            CHECK(owed->command == SUBSCRIBE && &w.wishes[owed->topic] == wish && owed->status == status, "another");
        }
    }
    wish->state = status == BCAST_OK ? ON : OFF;
}

static int told_message(struct bcast_sink *sink, struct bcast_topic *topic, const struct bcast_incoming *message)
{
    struct wish *wish = wish_of(topic);
    (void)sink;
    check_up("message");
    CHECK(w.connected && wish->state == ON, "a message without a subscription");
    CHECK(message->size <= READER_MOST, "%zu bytes", message->size);
    char *copy = input_copy(message->data, message->size);
    if (w.honest) {
        const struct owed *owed = next_due(REDIS_EVENTS);
        CHECK(owed->command == MESSAGE && &w.wishes[owed->topic] == wish, "another");
        CHECK(owed->size == message->size && memcmp(copy, pattern + owed->seed, owed->size) == 0, "other bytes");
    }
    free(copy);
    return BCAST_OK;
}

static void told_gap(struct bcast_sink *sink, struct bcast_topic *topic, enum bcast_gap_reason reason, uint64_t lost,
                     enum bcast_count count)
{
    (void)sink, (void)topic, (void)reason, (void)lost, (void)count;
    CHECK(false, "it tells of gaps");
}

static void told_result(struct bcast_sink *sink, uint64_t number, uint64_t count, int status)
{
    (void)sink;
    check_up("result");
    CHECK(w.connected && count != 0 && number >= w.first && number - w.first <= w.taken &&
              count <= w.taken - (number - w.first),
          "%llu results from %llu", (unsigned long long)count, (unsigned long long)number);
    for (uint64_t i = number - w.first; count-- > 0; i++) {
        CHECK(!w.letters[i].done, "a second result");
        w.letters[i].done = true;
        w.done++;
        if (w.honest) {
            CHECK(i == w.results++, "not in order");
            CHECK(next_due(REDIS_COMMANDS)->status == status, "status %d", status);
        }
    }
}

static int told_watch(struct bcast_sink *sink, int fd, int events)
{
    (void)sink;
    CHECK(fd >= 1000 && fd < 1000 + REDIS_SIDES, "fd %d", fd);
    w.servers[fd - 1000].watched = events;
    return BCAST_OK;
}

static void told_alarm(struct bcast_sink *sink, int in_ms)
{
    (void)sink;
    check_up("alarm");
    w.alarm = in_ms < 0 ? -1 : w.now + (int64_t)in_ms * 1000000;
}

static void told_wake(struct bcast_sink *sink)
{
    (void)sink;
    w.woken = true;
}

static void told_log(struct bcast_sink *sink, enum bcast_log_level level, const char *text)
{
    (void)sink, (void)level;
    CHECK(strlen(text) < 250, "a long line");
}

/* ----------------------------------------------------------------------------------------------- the operations -- */

static const struct bcast_backend *const backend = &bcast_backend_redis;

/* After every call: what is held, what was told; and what the library does about a loss. */
static void after(void)
{
    for (unsigned i = 0; i < REDIS_SIDES; i++) {
        const struct link *link = w.servers[i].link;
        check_told(&w.servers[i]);
        if (link == NULL || link->reader == NULL || link->reader->buf == NULL)
            continue;
        CHECK(w.lost || !is_long_line(link), "it waits for the end of a line of %zu", link->reader->len);
        CHECK(link->reader->len <= READER_MOST && sdsalloc(link->reader->buf) <= 2 * READER_MOST,
              "the reader holds %zu of %zu", link->reader->len, sdsalloc(link->reader->buf));
    }
}

static void forget_connection(void)
{
    w.connecting = w.connected = w.lost = w.woken = w.beating = w.any_too_large = false;
    w.alarm = -1;
    w.taken = w.done = w.results = w.arrived = 0;
    memset(w.seen, 0, sizeof w.seen);
    memset(w.serving, 0, sizeof w.serving);
    for (unsigned i = 0; i < REDIS_SIDES; i++)
        server_forget(&w.servers[i]);
}

static void drop_wish(struct wish *wish)
{
    if (wish->is != NULL)
        free((void *)(uintptr_t)wish->is->name);
    free(wish->is);
    *wish = (struct wish){NULL, OFF, 0};
}

static void disconnect(void)
{
    size_t taken = w.taken;
    backend->disconnect(w.self);
    CHECK(w.servers[0].watched == 0 && w.servers[1].watched == 0, "it still watches");
    forget_connection();
    w.first += taken;
    for (unsigned t = 0; t < TOPICS; t++) {
        CHECK(w.wishes[t].is == NULL || w.wishes[t].is->state == NULL, "a topic still has its state");
        drop_wish(&w.wishes[t]);
    }
}

static void begin(void)
{
    unsigned how = input_byte(&w.in);
    w.hosts = 1 + how % 3;
    w.lookup_slow = how >> 2 & 1;
    w.lookup_fails = (how & 0x38) == 0x38;
    w.refuse_connects = how >> 6;
    w.limit = w.limit == 0 ? 1000 : w.limit;
    w.connecting = w.honest = true;
    backend->connect(w.self);
}

static void unsubscribe(unsigned t)
{
    struct wish *wish = &w.wishes[t];
    if (wish->is == NULL || !w.connected)
        return;
    struct bcast_topic *topics[1] = {wish->is};
    unsigned asked = wish->asked;
    backend->unsubscribe(w.self, topics, 1);
    drop_wish(wish); /* its memory is gone from now on */
    wish->asked = asked;
}

static void subscribe(unsigned t, unsigned count)
{
    struct bcast_topic *topics[TOPICS];
    unsigned asked = 0;
    for (; count > 0; count--, t = (t + 1) % TOPICS) {
        struct wish *wish = &w.wishes[t];
        if (wish->state != OFF || !w.connected)
            continue;
        if (wish->is == NULL) {
            wish->is = calloc(1, sizeof *wish->is);
            CHECK(wish->is != NULL, "out of memory");
            wish->is->name = input_copy(names[t], name_sizes[t]);
            wish->is->size = name_sizes[t];
        }
        wish->state = ASKED;
        wish->asked++;
        topics[asked++] = wish->is;
    }
    if (asked != 0)
        backend->subscribe(w.self, topics, asked);
}

static void publish(unsigned count, unsigned size, unsigned topic, uint8_t seed)
{
    struct bcast_outgoing out[16];
    if (!w.connected || w.taken + count > MESSAGES)
        return;
    w.sent_bytes += (size_t)count * size;
    if (w.sent_bytes > SENT_MOST)
        size = 0;
    size_t before = w.taken, most = redis_most_bytes(w.servers[0].link->redis);
    for (unsigned i = 0; i < count; i++) {
        w.letters[before + i] = (struct letter){size, topic, (uint8_t)(seed + i), size > most, false};
        out[i] = (struct bcast_outgoing){.number = w.first + before + i,
                                         .channel = names[topic],
                                         .channel_size = name_sizes[topic],
                                         .data = pattern + (uint8_t)(seed + i),
                                         .size = size};
    }
    w.any_too_large = w.any_too_large || size > most;
    if (w.any_too_large && w.beating)
        dishonest();  /* two kinds of PING, not to be told apart from here */
    w.taken += count; /* results may come from within */
    size_t taken = backend->publish(w.self, out, count);
    CHECK(taken <= count, "it has taken %zu of %u", taken, count);
    for (size_t i = taken; i < count; i++)
        CHECK(!w.letters[before + i].done, "a result for what it did not take");
    w.taken = before + taken;
}

static void let_read(struct server *server, size_t count, size_t piece, bool has_more)
{
    int fd = 1000 + (int)(server - w.servers);
    server->allowed = count;
    server->piece = piece;
    server->has_more = has_more;
    for (size_t before = SIZE_MAX; !w.lost && (server->watched & BCAST_WATCH_READ) && before != server->read; after()) {
        before = server->read;
        backend->ready(w.self, fd, BCAST_WATCH_READ);
    }
    server->allowed = 0;
}

static void let_write(struct server *server, size_t count)
{
    server->takes = count;
    if (server->watched & BCAST_WATCH_WRITE)
        backend->ready(w.self, 1000 + (int)(server - w.servers), BCAST_WATCH_WRITE);
}

static void wake(void)
{
    if (!w.woken)
        return;
    w.woken = false;
    backend->woken(w.self);
}

/* Everything goes well for a while. */
static void flow(void)
{
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 2 && !w.lost && w.connecting; i++)
            wake();
        for (unsigned i = 0; i < REDIS_SIDES && !w.lost && w.connecting; i++) {
            let_write(&w.servers[i], SIZE_MAX);
            if (w.lost)
                return;
            answer(&w.servers[i], QUEUE);
            let_read(&w.servers[i], SIZE_MAX, 65536, false);
        }
    }
}

static void pass_time(void)
{
    if (w.alarm < 0)
        return;
    w.beating = true;
    if (w.any_too_large)
        dishonest();
    w.now = w.now > w.alarm ? w.now : w.alarm;
    w.alarm = -1;
    backend->alarm(w.self);
}

static const char *const evil[] = {"*2147483647\r\n",
                                   "*4294967296\r\n",
                                   "*-2\r\n",
                                   "*9223372036854775807\r\n",
                                   "$9223372036854775807\r\n",
                                   "$9223372036854775806\r\n",
                                   "$18446744073709551615\r\n",
                                   "$-2\r\n",
                                   "$536870913\r\n",
                                   "$4294967295\r\n",
                                   "$2147483647\r\n",
                                   "*1\r\n",
                                   "*2\r\n",
                                   "*3\r\n",
                                   "*4\r\n",
                                   "*0\r\n",
                                   "*-1\r\n",
                                   "$-1\r\n",
                                   "$0\r\n\r\n",
                                   "$7\r\nmessage\r\n",
                                   "$8\r\npmessage\r\n",
                                   "$9\r\nsubscribe\r\n",
                                   "$1\r\na\r\n",
                                   "$4\r\nnews\r\n",
                                   "+OK\r\n",
                                   "-ERR no\r\n",
                                   "-NOPERM\r\n",
                                   ":1\r\n",
                                   ":-9223372036854775808\r\n",
                                   ":9223372036854775808\r\n",
                                   ":\r\n",
                                   "+\r\n",
                                   "$3\r\nabc",
                                   "\r\n",
                                   "\r",
                                   "\n",
                                   ">3\r\n",
                                   ">0\r\n",
                                   "%1\r\n",
                                   "%4611686018427387904\r\n",
                                   "~2\r\n",
                                   "#t\r\n",
                                   "_\r\n",
                                   "(123456789012345678901234567890\r\n",
                                   "=7\r\ntxt:abc\r\n",
                                   "=1\r\na\r\n",
                                   "|1\r\n",
                                   ",1.5\r\n",
                                   ",inf\r\n",
                                   ",nan\r\n",
                                   "*1152921504606846976\r\n",
                                   "*536870912\r\n",
                                   "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
                                   "$18\r\nproto-max-bulk-len\r\n",
                                   "$1\r\n5\r\n",
                                   "+message\r\n",
                                   "$6\r\n5\r\n*1\r\n\r\n",
                                   "!3\r\nERR\r\n",
                                   "*02\r\n",
                                   "$+1\r\na\r\n",
                                   "$ 1\r\na\r\n",
                                   "*\r\n",
                                   "$\r\n"};
#define EVILS (sizeof evil / sizeof *evil)

static void say_evil(struct server *server, unsigned which, unsigned count)
{
    const char *text = evil[which % EVILS];
    spoil(server, server->size);
    for (size_t size = strlen(text); count > 0 && w.flooded + size < FLOOD_MOST; count--, w.flooded += size)
        server_say(server, text, size);
}

static void say_raw(struct server *server)
{
    size_t size;
    char *bytes = input_bytes(&w.in, 64, &size);
    spoil(server, server->size);
    server_say(server, bytes, size);
    free(bytes);
}

static void flood(struct server *server, unsigned char what, size_t size)
{
    unsigned char block[512];
    spoil(server, server->size);
    memset(block, what, sizeof block);
    for (; size > 0 && w.flooded < FLOOD_MOST; size -= size < sizeof block ? size : sizeof block) {
        server_say(server, block, size < sizeof block ? size : sizeof block);
        w.flooded += sizeof block;
    }
}

/* What is on its way changes. */
static void mutate(struct server *server, unsigned how, size_t at, unsigned char byte)
{
    size_t left = server->size - server->read;
    spoil(server, server->read);
    if (left == 0)
        return;
    unsigned char *place = server->bytes + server->read + at % left, *end = server->bytes + server->size;
    if (how == 0)
        *place = byte;
    else if (how == 1)
        *place ^= (unsigned char)(1u << byte % 8);
    else if (how == 2)
        server->size = (size_t)(place - server->bytes);
    else if (place + 1 < end) {
        memmove(place, place + 1, (size_t)(end - place - 1));
        server->size--;
    }
}

static unsigned some_size(void)
{
    unsigned size = input_byte(&w.in);
    return size < 240 ? size : size == 255 ? MOST : size < 250 ? (size - 239) * 400 : (size - 249) * 10000;
}

static void end_stream(struct server *server, bool final)
{
    server->ends = true;
    server->is_slow = final;
    if (server->watched != 0)
        backend->ready(w.self, 1000 + (int)(server - w.servers), BCAST_WATCH_READ | BCAST_WATCH_ERROR);
}

static void run_server(unsigned operation, struct server *server)
{
    bool room = server->sent_count + server->answers_count + 8 < QUEUE;
    size_t many;
    unsigned a;
    switch (operation) {
    case 0: answer(server, input_byte(&w.in)); break;
    case 1:
        if (server->answers_first < server->answers_count && room)
            answer_one(server, true);
        break;
    case 2: a = input_below(&w.in, TOPICS), push(a, some_size(), input_byte(&w.in)); break;
    case 3: say_raw(server); break;
    case 4: a = input_byte(&w.in), say_evil(server, a, 1); break;
    case 5: a = input_byte(&w.in), say_evil(server, a, 1u << input_below(&w.in, 14)); break;
    case 6: a = input_byte(&w.in), flood(server, (unsigned char)a, (size_t)1 << input_below(&w.in, 20)); break;
    case 7: a = input_below(&w.in, 4), many = input_number(&w.in, 2), mutate(server, a, many, input_byte(&w.in)); break;
    case 8: many = some_size(), let_read(server, many, 1 + some_size(), input_below(&w.in, 2)); break;
    case 9: let_read(server, SIZE_MAX, 65536, false); break;
    case 10: let_write(server, some_size()); break;
    default: end_stream(server, input_below(&w.in, 2)); break;
    }
}

static void run_library(unsigned operation)
{
    unsigned a = input_byte(&w.in), b = input_byte(&w.in);
    switch (operation) {
    case 0: subscribe(a % TOPICS, 1 + b % TOPICS); break;
    case 1: unsubscribe(a % TOPICS); break;
    case 2: publish(1 + a % 16, some_size(), b % TOPICS, (uint8_t)b); break;
    case 3: wake(); break;
    case 4: pass_time(); break;
    case 5: w.now += (int64_t)a * 50000000; break;
    case 6: flow(); break;
    case 7: w.fail_in = a; break;
    case 8: w.limit = b < 128 ? (size_t)512 << 20 : a; break;
    default: disconnect(); break;
    }
}

/* The library is told of a loss at once, but gets to it only when it has done what it was about. */
static void deal_with_loss(void)
{
    unsigned more = input_byte(&w.in);
    if (more & 1)
        wake();
    if (more & 2)
        subscribe(more >> 4 & 3, 2);
    if (more & 4)
        unsubscribe(more >> 6);
    disconnect();
}

static void run(void)
{
    for (unsigned i = 0; i < OPERATIONS && input_left(&w.in) != 0; i++) {
        if (!w.connecting)
            begin();
        unsigned operation = input_byte(&w.in);
        if (operation >= 128)
            run_server((operation & 63) % 12, &w.servers[operation >> 6 & 1]);
        else
            run_library(operation % 10);
        if (w.connecting)
            after();
        if (w.lost)
            deal_with_loss();
    }
}

static bool open_backend(struct bcast_url *url)
{
    char error[200] = "";
    unsigned how = input_byte(&w.in);
    static const struct bcast_host hosts[] = {{"one", 1}, {"two", 0}, {"::1", 6379}};
    static const struct bcast_param params[] = {{"ping_ms", "100"}, {"connect_timeout_ms", "300"}};
    *url = (struct bcast_url){.text = "redis://", .raw = "redis://", .scheme = how & 1 ? "redis+unix" : "redis"};
    url->path = how & 1 ? "tmp/socket" : how & 2 ? "3" : NULL;
    url->password = how & 4 ? "secret" : NULL;
    url->user = how & 8 ? "user" : NULL;
    url->hosts = how & 1 || how & 16 ? NULL : hosts;
    url->host_count = url->hosts == NULL ? 0 : 3;
    url->params = params;
    url->param_count = how >> 6;
    if (url->param_count > 2)
        url->param_count = 2;
    struct bcast_backend_setup setup = {sizeof setup, url, NULL, MOST, error, sizeof error};
    return backend->open(&setup, &w.sink, &w.self) == BCAST_OK;
}

/* No two places alike, and all that means something to the protocol. */
static void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 7 == 3 ? (unsigned char)"\r\n*$:\0-"[i / 7 % 7] : (unsigned char)(i * 31 + i / 256 + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bcast_url url;
    if (pattern[0] == 0)
        fill_pattern();
    w.in = (struct input){data, data + size};
    w.sink = (struct bcast_sink){.struct_size = sizeof w.sink,
                                 .connected = told_connected,
                                 .lost = told_lost,
                                 .subscribed = told_subscribed,
                                 .message = told_message,
                                 .gap = told_gap,
                                 .result = told_result,
                                 .watch = told_watch,
                                 .alarm = told_alarm,
                                 .wake = told_wake,
                                 .log = told_log};
    w.now = 1000000000;
    w.alarm = -1;
    w.first = 1;
    w.sent_bytes = w.flooded = w.limit = w.fail_in = 0;
    if (open_backend(&url)) {
        run();
        if (w.connecting)
            disconnect();
        backend->close(w.self);
    }
    CHECK(w.live == 0, "%zu allocations are left", w.live);
    return 0;
}
