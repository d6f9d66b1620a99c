#define _POSIX_C_SOURCE 200809L
#include "redis.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/param.h"

#define PORT 6379
#define MOST_BULK (512u << 20) /* proto-max-bulk-len as it comes */
#define READ_BYTES 65536
/* hiredis moves what is left in its buffer forward for every kilobyte it has parsed: so it never gets much at a time. */
#define FEED_BYTES 2048
#define LINE_MOST 65536 /* of an error, a status, a number */
#define LENGTH_MOST 32  /* of a bulk's length, with some to spare */
#define READS 16        /* at most, before others have their turn */

enum { ASK_AUTH = 1, ASK_SELECT, ASK_HELLO, ASK_LIMIT, ASK_PING };

struct link {
    struct redis *redis;
    enum redis_side side;
    struct stream stream;
    struct bytes out;
    redisReader *reader;
    struct redis_ask *asks; /* `asked` of them from `first` on, in a ring of `ask_room` */
    size_t first, asked, ask_room;
    unsigned greetings; /* replies to come before it is of use */
    bool greeted;
    bool pushed; /* the reply that is being read was not asked for */
    bool pinged;
    int64_t heard_ns, pinged_ns; /* bytes came last; we asked for some last */
};

struct redis {
    struct bcast_sink *sink;
    const struct redis_calls *calls;
    void *self;
    const struct bcast_url *url;
    SSL_CTX *tls;
    bool pushes, unix_path;
    uint64_t db, connect_ms, ping_ms;
    size_t most_reply;
    _Atomic size_t most_bytes; /* relaxed: what the server said last; publishers read it */

    struct lookup *lookup;
    struct addresses addresses;
    size_t at; /* the address that is tried or connected */
    int64_t give_up_ns;
    struct link links[REDIS_SIDES];
    bool connected, lost;
    bool next; /* this address does not do, try the next: once nothing of this one is in use any more */
    unsigned char in[READ_BYTES];
};

/* ------------------------------------------------------------------------------------------------------- trouble -- */

static void alarm_next(struct redis *redis);

void redis_lost(struct redis *redis, int status, bool terminal, const char *format, ...)
{
    char reason[240];
    va_list arguments;
    if (redis->lost)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    redis->lost = true;
    for (unsigned i = 0; redis->connected && redis->calls->drained != NULL && i < REDIS_SIDES; i++)
        redis->calls->drained(redis->self, (enum redis_side)i); /* now or never: nothing may follow the loss */
    redis->sink->lost(redis->sink, status, reason, terminal);
}

void redis_tell_refusal(struct redis *redis, struct bcast_topic *topic, const struct redis_element *error)
{
    char text[200];
    snprintf(text, sizeof text, "%.*s", (int)(error->size > 180 ? 180 : error->size), error->text);
    redis->sink->subscribed(redis->sink, topic, BCAST_ERR_REFUSED, text);
}

/* Nothing more is to be had of these connections. */
static bool is_over(const struct redis *redis)
{
    return redis->lost || redis->next;
}

/* What was asked and not answered. */
static void drop_asks(struct link *link)
{
    for (size_t i = 0; i < link->asked; i++) {
        const struct redis_ask *ask = &link->asks[(link->first + i) % link->ask_room];
        if (ask->kind >= REDIS_ASK)
            link->redis->calls->dropped(link->redis->self, link->side, ask);
    }
    link->first = link->asked = 0;
}

static void drop_links(struct redis *redis)
{
    for (unsigned i = 0; i < REDIS_SIDES; i++) {
        struct link *link = &redis->links[i];
        stream_leave(&link->stream);
        bytes_free(&link->out);
        drop_asks(link);
        link->greetings = 0;
        link->greeted = link->pinged = link->pushed = false;
    }
}

static void link_failed(struct link *link, int status, bool terminal, const char *why)
{
    struct redis *redis = link->redis;
    char where[160] = "the server";
    if (redis->at < redis->addresses.count)
        address_print(&redis->addresses.list[redis->at], where, sizeof where);
    if (redis->connected || terminal || redis->at + 1 >= redis->addresses.count)
        redis_lost(redis, status, terminal, "%s: %s", where, why);
    else
        redis->next = true;
}

static void stream_failed(struct link *link)
{
    char why[sizeof link->stream.why];
    memcpy(why, link->stream.why, sizeof why);
    link_failed(link, link->stream.terminal ? BCAST_ERR_REFUSED : BCAST_ERR_CONNECT, link->stream.terminal, why);
}

/* --------------------------------------------------------------------------------------------------------- asking -- */

static bool push_ask(struct link *link, const struct redis_ask *ask)
{
    if (link->asked != 0) {
        struct redis_ask *last = &link->asks[(link->first + link->asked - 1) % link->ask_room];
        if (last->kind == ask->kind && last->what == NULL && ask->what == NULL) {
            last->count++;
            return true;
        }
    }
    if (link->asked == link->ask_room) {
        size_t room = link->ask_room == 0 ? 64 : 2 * link->ask_room;
        struct redis_ask *asks = memory_get(room * sizeof *asks);
        if (asks == NULL)
            return false;
        for (size_t i = 0; i < link->asked; i++)
            asks[i] = link->asks[(link->first + i) % link->ask_room];
        memory_put(link->asks);
        link->asks = asks;
        link->first = 0;
        link->ask_room = room;
    }
    link->asks[(link->first + link->asked++) % link->ask_room] = (struct redis_ask){ask->kind, 1, ask->what};
    return true;
}

static void pop_ask(struct link *link)
{
    if (--link->asks[link->first].count != 0)
        return;
    link->first = (link->first + 1) % link->ask_room;
    link->asked--;
}

static unsigned char *write_count(unsigned char *at, char kind, size_t count)
{
    unsigned char digits[20];
    unsigned used = 0;
    *at++ = (unsigned char)kind;
    do
        digits[used++] = (unsigned char)('0' + count % 10);
    while ((count /= 10) != 0);
    while (used != 0)
        *at++ = digits[--used];
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

bool redis_send(struct redis *redis, enum redis_side side, const struct redis_ask *ask, const struct redis_word *words,
                size_t count)
{
    struct link *link = &redis->links[side];
    size_t size = 32;
    if (is_over(redis))
        return false;
    for (size_t i = 0; i < count; i++)
        size += words[i].size + 32;
    unsigned char *begin = bytes_reserve(&link->out, size), *at = begin;
    if (begin == NULL || !push_ask(link, ask)) {
        redis_lost(redis, BCAST_ERR_NOMEM, false, "out of memory for what is to be sent");
        return false;
    }
    at = write_count(at, '*', count);
    for (size_t i = 0; i < count; i++) {
        at = write_count(at, '$', words[i].size);
        if (words[i].size != 0)
            memcpy(at, words[i].text, words[i].size);
        at += words[i].size;
        *at++ = '\r';
        *at++ = '\n';
    }
    bytes_add(&link->out, (size_t)(at - begin));
    return true;
}

static void send_words(struct link *link, unsigned kind, const char *const *words, size_t count)
{
    struct redis_word list[4];
    for (size_t i = 0; i < count; i++)
        list[i] = (struct redis_word){words[i], strlen(words[i])};
    (void)redis_send(link->redis, link->side, &(struct redis_ask){kind, 1, NULL}, list, count);
}

void redis_flush(struct redis *redis, enum redis_side side)
{
    struct link *link = &redis->links[side];
    if (is_over(redis) || link->stream.state != STREAM_OPEN)
        return;
    while (bytes_queued(&link->out) != 0) {
        ptrdiff_t sent = stream_write(&link->stream, link->out.data + link->out.start, bytes_queued(&link->out));
        if (sent < 0) {
            stream_failed(link);
            return;
        }
        if (sent == 0)
            break;
        bytes_take(&link->out, (size_t)sent);
    }
    if (stream_watch(&link->stream, bytes_queued(&link->out) != 0) != BCAST_OK)
        stream_failed(link);
}

size_t redis_unsent(const struct redis *redis, enum redis_side side)
{
    return bytes_queued(&redis->links[side].out);
}

/* ------------------------------------------------------------------------------------------------------- greeting -- */

static void greet_with(struct link *link, unsigned kind, const char *const *words, size_t count)
{
    send_words(link, kind, words, count);
    link->greetings++;
}

static void greet(struct link *link)
{
    const struct bcast_url *url = link->redis->url;
    if (url->password != NULL && url->user != NULL && url->user[0] != '\0')
        greet_with(link, ASK_AUTH, (const char *const[]){"AUTH", url->user, url->password}, 3);
    else if (url->password != NULL)
        greet_with(link, ASK_AUTH, (const char *const[]){"AUTH", url->password}, 2);
    if (link->redis->db != 0) {
        char db[24];
        snprintf(db, sizeof db, "%llu", (unsigned long long)link->redis->db);
        greet_with(link, ASK_SELECT, (const char *const[]){"SELECT", db}, 2);
    }
    if (link->side == REDIS_COMMANDS)
        greet_with(link, ASK_LIMIT, (const char *const[]){"CONFIG", "GET", "proto-max-bulk-len"}, 3);
    greet_with(link, ASK_HELLO, (const char *const[]){"PING"}, 1); /* says whether a password is missing */
    redis_flush(link->redis, link->side);
}

static bool begins(const struct redis_element *element, const char *text)
{
    size_t size = strlen(text);
    return element->size >= size && memcmp(element->text, text, size) == 0;
}

/* How much of a refusal may be shown: a server that does not know AUTH quotes what it was given, the password too. */
static int shown_size(const struct redis_ask *ask, const struct redis_element *element)
{
    size_t size = 0;
    while (size < element->size && size < 150 &&
           (ask->kind != ASK_AUTH ||
            (element->text[size] != '\'' && element->text[size] != '`' && element->text[size] != '"')))
        size++;
    return (int)size;
}

/* The server does not want us as we are, or only not now. */
static void greeting_refused(struct link *link, const struct redis_ask *ask, const struct redis_element *element)
{
    char why[200];
    bool later = begins(element, "LOADING") || begins(element, "MASTERDOWN") || begins(element, "ERR max number") ||
                 begins(element, "BUSY");
    bool unimportant = ask->kind == ASK_LIMIT || (ask->kind == ASK_HELLO && begins(element, "NOPERM"));
    if (unimportant && !begins(element, "NOAUTH") && !later)
        return;
    static const char *const names[] = {"", "AUTH", "SELECT", "PING", "CONFIG", "PING"};
    snprintf(why, sizeof why, "%s: %.*s", names[ask->kind], shown_size(ask, element), element->text);
    bool terminal = !later && (ask->kind != ASK_HELLO || begins(element, "NOAUTH")) && ask->kind != ASK_PING;
    link_failed(link, terminal ? BCAST_ERR_REFUSED : BCAST_ERR_CONNECT, terminal, why);
}

static void greeting_element(struct link *link, const struct redis_ask *ask, const struct redis_element *element)
{
    if (element->depth == 0 && element->type == REDIS_ERROR && ask->kind != ASK_PING)
        greeting_refused(link, ask, element);
    if (ask->kind == ASK_LIMIT && element->depth == 1 && element->index == 1 && element->type == REDIS_TEXT &&
        element->size < 20) {
        char number[20] = "";
        memcpy(number, element->text, element->size);
        unsigned long long most = strtoull(number, NULL, 10);
        if (most != 0 && most <= SIZE_MAX)
            atomic_store_explicit(&link->redis->most_bytes, (size_t)most, memory_order_relaxed);
    }
}

static void greeting_answered(struct link *link, const struct redis_ask *ask)
{
    struct redis *redis = link->redis;
    if (ask->kind == ASK_PING || link->greeted || --link->greetings != 0)
        return;
    link->greeted = true;
    for (unsigned i = 0; i < REDIS_SIDES; i++)
        if (!redis->links[i].greeted)
            return;
    redis->connected = true;
    alarm_next(redis);
    redis->calls->connected(redis->self);
}

size_t redis_most_bytes(struct redis *redis)
{
    return atomic_load_explicit(&redis->most_bytes, memory_order_relaxed);
}

uint64_t redis_ping_ms(const struct redis *redis)
{
    return redis->ping_ms;
}

/* -------------------------------------------------------------------------------------------------------- replies -- */

static bool is_push(const struct redis_element *element)
{
    return element->depth == 1 && element->index == 0 && element->type == REDIS_TEXT &&
           ((element->size == 7 && memcmp(element->text, "message", 7) == 0) ||
            (element->size == 8 && memcmp(element->text, "pmessage", 8) == 0));
}

/* hiredis keeps what we return as the object of an array, and hands it to the array's elements: how deep it lies. */
static void *depth_as_object(unsigned depth)
{
    return (void *)(uintptr_t)(depth + 1);
}

static void *take_element(const redisReadTask *task, struct redis_element element)
{
    struct link *link = task->privdata;
    struct redis *redis = link->redis;
    element.depth = task->parent != NULL ? (unsigned)(uintptr_t)task->parent->obj : 0;
    element.index = task->parent != NULL ? (unsigned)task->idx : 0;
    if (is_over(redis))
        return depth_as_object(element.depth); /* the rest of what was read is of no use */
    if (redis->pushes && link->side == REDIS_EVENTS && is_push(&element))
        link->pushed = true;
    if (element.depth == 0 && element.type == REDIS_ARRAY && redis->pushes && link->side == REDIS_EVENTS)
        return depth_as_object(0); /* what it is, its first element says */
    const struct redis_ask *ask = link->pushed ? NULL : link->asked != 0 ? &link->asks[link->first] : NULL;
    if (ask == NULL && !link->pushed)
        redis_lost(redis, BCAST_ERR_CONNECT, false, "the server answered what nobody had asked");
    else if (ask != NULL && ask->kind < REDIS_ASK)
        greeting_element(link, ask, &element);
    else
        redis->calls->element(redis->self, link->side, ask, &element);
    return depth_as_object(element.depth);
}

static void *take_text(const redisReadTask *task, char *text, size_t size)
{
    enum redis_type type = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                           : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                              : REDIS_TEXT;
    return take_element(task, (struct redis_element){.type = type, .text = text, .size = size});
}

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

static void *take_array(const redisReadTask *task, array_size count)
{
    struct link *link = task->privdata;
    long long parts = (long long)count;
    if (parts > INT32_MAX) /* hiredis counts them in an int */
        redis_lost(link->redis, BCAST_ERR_CONNECT, false, "the server's answer has too many parts");
    return take_element(task, (struct redis_element){.type = REDIS_ARRAY, .number = parts});
}

static void *take_number(const redisReadTask *task, long long number)
{
    return take_element(task, (struct redis_element){.type = REDIS_NUMBER, .number = number});
}

static void *take_nothing(const redisReadTask *task)
{
    return take_element(task, (struct redis_element){.type = REDIS_NOTHING});
}

static void free_object(void *object)
{
    (void)object; /* a number */
}

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
static void *take_double(const redisReadTask *task, double number, char *text, size_t size)
{
    (void)number;
    return take_text(task, text, size);
}

static void *take_bool(const redisReadTask *task, int value)
{
    return take_number(task, value);
}
#endif

static redisReplyObjectFunctions functions = {
    .createString = take_text,
    .createArray = take_array,
    .createInteger = take_number,
    .createNil = take_nothing,
    .freeObject = free_object,
#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
    .createDouble = take_double,
    .createBool = take_bool,
#endif
};

static void answered(struct link *link)
{
    struct redis *redis = link->redis;
    if (link->pushed) {
        link->pushed = false;
        return;
    }
    if (link->asked == 0 || is_over(redis))
        return;
    struct redis_ask ask = link->asks[link->first];
    if (ask.kind < REDIS_ASK)
        greeting_answered(link, &ask);
    else
        redis->calls->answered(redis->self, link->side, &ask);
    if (link->asked != 0)
        pop_ask(link);
}

/* False: nothing more is to be had of it. */
static bool parse(struct link *link)
{
    void *reply = NULL;
    do {
        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
            redis_lost(link->redis, link->reader->err == REDIS_ERR_OOM ? BCAST_ERR_NOMEM : BCAST_ERR_CONNECT, false,
                       "the server's answer cannot be understood: %.100s", link->reader->errstr);
            return false;
        }
        if (reply != NULL)
            answered(link);
    } while (reply != NULL && !is_over(link->redis));
    return reply == NULL;
}

/* hiredis looks for the end of a line from its beginning, whenever there is more of it: so it must not grow for ever. In
 * what is left, and is not whole, only a bulk has such an end, behind its length. */
static bool is_long_line(const struct link *link)
{
    const char *rest = link->reader->buf + link->reader->pos;
    if (link->reader->len - link->reader->pos <= LINE_MOST)
        return false;
    const char *end = memchr(rest, '\n', LENGTH_MOST);
    return end == NULL || end == rest || end[-1] != '\r';
}

static bool feed(struct link *link, const unsigned char *bytes, size_t size)
{
    struct redis *redis = link->redis;
    for (size_t used = 0; used < size;) {
        /* In the midst of something large there is nothing to parse, and so nothing to move. */
        size_t piece = link->reader->len - link->reader->pos > FEED_BYTES ? size - used : FEED_BYTES;
        if (piece > size - used)
            piece = size - used;
        if (redisReaderFeed(link->reader, (const char *)bytes + used, piece) != REDIS_OK) {
            redis_lost(redis, BCAST_ERR_NOMEM, false, "out of memory for the server's answer");
            return false;
        }
        used += piece;
        if (!parse(link))
            return false;
        if (link->reader->len - link->reader->pos > redis->most_reply) {
            redis_lost(redis, BCAST_ERR_TOO_LARGE, false, "a message of over max_message_bytes arrived");
            return false;
        }
        if (is_long_line(link)) {
            redis_lost(redis, BCAST_ERR_CONNECT, false, "the server's answer cannot be understood: a line without end");
            return false;
        }
    }
    return true;
}

static void read_link(struct link *link)
{
    struct redis *redis = link->redis;
    ptrdiff_t count = 0;
    for (int reads = 0; reads < READS; reads++) {
        count = stream_read(&link->stream, redis->in, sizeof redis->in);
        if (count <= 0)
            break;
        link->heard_ns = clock_ns();
        link->pinged = false;
        if (!feed(link, redis->in, (size_t)count) || is_over(redis))
            break;
        if ((size_t)count < sizeof redis->in && !stream_has_more(&link->stream))
            break;
    }
    if (is_over(redis))
        return;
    if (redis->calls->drained != NULL && redis->connected)
        redis->calls->drained(redis->self, link->side);
    if (count < 0 || stream_watch(&link->stream, bytes_queued(&link->out) != 0) != BCAST_OK)
        stream_failed(link);
    else if (stream_has_more(&link->stream))
        redis->sink->wake(redis->sink);
}

/* ------------------------------------------------------------------------------------------------------ connecting -- */

static bool link_prepare(struct link *link)
{
    if (link->reader != NULL)
        redisReaderFree(link->reader);
    link->reader = redisReaderCreateWithFunctions(&functions);
    if (link->reader == NULL)
        return false;
    link->reader->privdata = link;
    link->reader->maxbuf = 1 << 20;
    return true;
}

static void go_on(struct link *link)
{
    enum stream_state before = link->stream.state;
    enum stream_state now = stream_step(&link->stream);
    if (now == STREAM_FAILED)
        stream_failed(link);
    else if (now == STREAM_OPEN && before != STREAM_OPEN)
        greet(link);
}

static void connect_next(struct redis *redis)
{
    const struct address *address = &redis->addresses.list[redis->at];
    drop_links(redis);
    redis->next = false;
    redis->give_up_ns = clock_ns() + (int64_t)redis->connect_ms * 1000000;
    for (unsigned i = 0; i < REDIS_SIDES; i++) {
        struct link *link = &redis->links[i];
        if (!link_prepare(link)) {
            redis_lost(redis, BCAST_ERR_NOMEM, false, "out of memory");
            return;
        }
        stream_connect(&link->stream, redis->sink, address, redis->url, redis->tls);
    }
    alarm_next(redis);
    redis->sink->wake(redis->sink); /* what has failed at once is seen there: not from within itself */
}

static void serve(struct link *link, int events)
{
    if (link->stream.state != STREAM_OPEN) {
        go_on(link);
        return;
    }
    if ((events & (BCAST_WATCH_READ | BCAST_WATCH_ERROR)) || link->stream.write_to_read)
        read_link(link);
    if (events & BCAST_WATCH_WRITE)
        redis_flush(link->redis, link->side);
}

/* At the end of everything that could find that an address does not do. */
static void settle(struct redis *redis)
{
    if (!redis->next || redis->lost)
        return;
    redis->at++;
    connect_next(redis);
}

static void looked_up(struct redis *redis)
{
    char why[200];
    int status = lookup_take(&redis->lookup, redis->url->hosts, &redis->addresses, why, sizeof why);
    if (status == BCAST_OK)
        connect_next(redis);
    else if (status != BCAST_TIMEOUT)
        redis_lost(redis, status, false, "%s", why);
}

static const struct bcast_host here = {"localhost", 0};

static struct redis *of(void *self)
{
    return *(struct redis **)self;
}

void redis_connect(void *self)
{
    struct redis *redis = of(self);
    const struct bcast_url *url = redis->url;
    int status;
    redis->lost = redis->connected = redis->next = false;
    redis->at = 0;
    if (redis->unix_path) {
        char path[sizeof((struct sockaddr_un *)0)->sun_path];
        snprintf(path, sizeof path, "/%s", url->path);
        status = addresses_of_path(&redis->addresses, path);
        if (status == BCAST_OK)
            connect_next(redis);
    } else {
        bool given = url->host_count != 0;
        status =
            lookup_start(given ? url->hosts : &here, given ? url->host_count : 1, PORT, redis->sink, &redis->lookup);
        redis->give_up_ns = clock_ns() + (int64_t)redis->connect_ms * 1000000;
        alarm_next(redis);
    }
    if (status != BCAST_OK)
        redis_lost(redis, status, false, "out of memory");
}

void redis_disconnect(void *self)
{
    struct redis *redis = of(self);
    lookup_forget(&redis->lookup);
    drop_links(redis);
    addresses_free(&redis->addresses);
    redis->connected = false;
    redis->lost = true;
}

void redis_ready(void *self, int fd, int events)
{
    struct redis *redis = of(self);
    for (unsigned i = 0; i < REDIS_SIDES && !is_over(redis); i++)
        if (redis->links[i].stream.state != STREAM_CLOSED && redis->links[i].stream.fd == fd)
            serve(&redis->links[i], events);
    settle(redis);
}

void redis_woken(void *self)
{
    struct redis *redis = of(self);
    if (redis->lookup != NULL && !is_over(redis))
        looked_up(redis);
    for (unsigned i = 0; i < REDIS_SIDES && !is_over(redis); i++)
        if (redis->links[i].stream.state != STREAM_CLOSED)
            serve(&redis->links[i], stream_has_more(&redis->links[i].stream) ? BCAST_WATCH_READ : 0);
    settle(redis);
}

/* ------------------------------------------------------------------------------------------------------ heartbeat -- */

/* When this connection has to be looked after next. */
static int64_t due(const struct redis *redis, const struct link *link)
{
    return (link->pinged ? link->pinged_ns : link->heard_ns) + (int64_t)redis->ping_ms * 1000000;
}

static void alarm_next(struct redis *redis)
{
    int64_t when = redis->give_up_ns, left;
    if (redis->connected && redis->ping_ms == 0)
        return;
    if (redis->connected) {
        when = due(redis, &redis->links[0]);
        for (unsigned i = 1; i < REDIS_SIDES; i++)
            if (due(redis, &redis->links[i]) < when)
                when = due(redis, &redis->links[i]);
    }
    left = when - clock_ns();
    redis->sink->alarm(redis->sink, left <= 0 ? 0 : (int)(left / 1000000) + 1);
}

/* A connection that says nothing may be dead without knowing: a subscription hears nothing for hours, rightly or not. */
static void look_after(struct link *link)
{
    struct redis *redis = link->redis;
    char why[100];
    int64_t now = clock_ns();
    if (now < due(redis, link))
        return;
    if (link->pinged) {
        snprintf(why, sizeof why, "no answer for %llu ms (ping_ms)", (unsigned long long)redis->ping_ms);
        link_failed(link, BCAST_ERR_CONNECT, false, why);
        return;
    }
    link->pinged = true;
    link->pinged_ns = now;
    send_words(link, ASK_PING, (const char *const[]){"PING"}, 1);
    redis_flush(redis, link->side);
}

void redis_alarm(void *self)
{
    struct redis *redis = of(self);
    if (redis->connected) {
        for (unsigned i = 0; i < REDIS_SIDES && !is_over(redis); i++)
            look_after(&redis->links[i]);
    } else if (clock_ns() >= redis->give_up_ns && redis->lookup != NULL) {
        redis_lost(redis, BCAST_ERR_CONNECT, false, "the host %s: no address within connect_timeout_ms",
                   redis->url->host_count != 0 ? redis->url->hosts[0].name : here.name);
    } else if (clock_ns() >= redis->give_up_ns) {
        link_failed(&redis->links[0], BCAST_ERR_CONNECT, false, "no answer within connect_timeout_ms");
    }
    settle(redis);
    if (!is_over(redis))
        alarm_next(redis);
}

/* ------------------------------------------------------------------------------------------------------------ life -- */

static int refuse(const struct bcast_backend_setup *setup, const char *text)
{
    snprintf(setup->error, setup->error_size, "%s", text);
    return BCAST_ERR_URL;
}

static int read_db(struct redis *redis, const struct bcast_backend_setup *setup)
{
    const char *path = redis->unix_path || setup->url->path == NULL ? "" : setup->url->path;
    if (path[0] != '\0' && param_text(setup->url, "db") != NULL)
        return refuse(setup, "the database is given twice, in the path and as db");
    if (strlen(path) > 9 || strspn(path, "0123456789") != strlen(path))
        return refuse(setup, "the path is the number of a database, as in redis://host/0");
    redis->db = strtoull(path, NULL, 10);
    return param_number(setup, "db", 0, INT32_MAX, &redis->db);
}

static int read_url(struct redis *redis, const struct bcast_backend_setup *setup)
{
    const struct bcast_url *url = setup->url;
    redis->unix_path = strstr(url->scheme, "+unix") != NULL;
    if (redis->unix_path && (url->host_count != 0 || url->path == NULL || url->path[0] == '\0'))
        return refuse(setup, "the URL is redis+unix:///path/to/the/socket");
    if (redis->unix_path && strlen(url->path) + 1 >= sizeof((struct sockaddr_un *)0)->sun_path)
        return refuse(setup, "the path of the socket is longer than the system takes");
    if (url->user != NULL && url->user[0] != '\0' && url->password == NULL)
        return refuse(setup, "a user without a password: redis://user:password@host, or redis://:password@host");
    redis->connect_ms = redis->ping_ms = 5000;
    int status = read_db(redis, setup);
    if (status == BCAST_OK)
        status = param_number(setup, "connect_timeout_ms", 1, 3600000, &redis->connect_ms);
    if (status == BCAST_OK)
        status = param_number(setup, "ping_ms", 0, 86400000, &redis->ping_ms);
    bool tls = strncmp(url->scheme, "rediss", 6) == 0;
    static const char *const tls_params[] = {TLS_PARAMS};
    for (size_t i = 0; !tls && status == BCAST_OK && i < sizeof tls_params / sizeof *tls_params; i++)
        if (param_text(url, tls_params[i]) != NULL) {
            snprintf(setup->error, setup->error_size, "%s wants the scheme that has TLS, rediss://", tls_params[i]);
            return BCAST_ERR_URL;
        }
    return status == BCAST_OK && tls ? tls_open(setup, &redis->tls) : status;
}

int redis_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, const struct redis_calls *calls,
               void *self, bool pushes, struct redis **out)
{
    if (setup->url == NULL)
        return refuse(setup, "it wants a URL: use bcast_open");
    struct redis *redis = memory_get(sizeof *redis);
    if (redis == NULL)
        return BCAST_ERR_NOMEM;
    redis->sink = sink;
    redis->calls = calls;
    redis->self = self;
    redis->url = setup->url;
    redis->pushes = pushes;
    redis->most_reply = setup->max_message_bytes + 65536;
    atomic_init(&redis->most_bytes, MOST_BULK);
    for (unsigned i = 0; i < REDIS_SIDES; i++)
        redis->links[i] = (struct link){.redis = redis, .side = (enum redis_side)i, .stream = {.fd = -1}};
    int status = read_url(redis, setup);
    if (status == BCAST_OK)
        *out = redis;
    else
        redis_close(redis);
    return status;
}

void redis_close(struct redis *redis)
{
    if (redis == NULL)
        return;
    for (unsigned i = 0; i < REDIS_SIDES; i++) {
        struct link *link = &redis->links[i];
        stream_close(&link->stream);
        bytes_free(&link->out);
        drop_asks(link);
        memory_put(link->asks);
        if (link->reader != NULL)
            redisReaderFree(link->reader);
    }
    addresses_free(&redis->addresses);
    SSL_CTX_free(redis->tls);
    memory_put(redis);
}
