#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"
#include "base/hash.h"
#include "net/address.h"
#include "net/postgres_batch.h"
#include "net/postgres_listen.h"
#include "net/text.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* PostgreSQL's LISTEN and NOTIFY: one connection listens, the other publishes. Nothing is added to what the user gives:
 * the payload is the message, the channel is the channel, so that whatever else speaks to that database is understood. */

#define MOST_BYTES 7999
#define MOST_BINARY 5999 /* as base64 */
#define GRACE_MS 1000    /* for a notification to go from one connection to the other */

enum { LISTENER = 0, PUBLISHER = 1, LINKS = 2 };

/* What a connection is doing; the first ones while it is being made. */
enum command { IDLE = 0, TEST_LISTEN, TEST_NOTIFY, TEST_LAST, TEST_UNLISTEN, PREPARE, TELL, BATCH, PULSE, USAGE };

struct pg {
    struct bcast_sink *sink;
    struct postgres_url url;
    atomic_int inside; /* the I/O thread is within libpq: a child that is forked then finds it in pieces */

    struct bcast_host *names; /* of those of url.hosts that are to be looked up */
    size_t name_count;
    struct lookup *lookup;
    struct addresses addresses;
    struct postgres_host *places; /* whom to try, in order */
    char (*place_text)[INET6_ADDRSTRLEN];
    size_t place_count, at;
    char why[240]; /* the last trouble but one, where it says more */
    bool why_spoken;

    struct postgres_link links[LINKS];
    enum command doing[LINKS];
    bool connected, lost;
    bool heard;    /* the test's notification has come */
    bool prepared; /* ... */
    bool notified; /* ... it was sent */
    char test[40]; /* its channel */
    int64_t give_up_ns, grace_ns, beat_ns;

    struct postgres_listen listen;
    struct postgres_batch batch;
    uint64_t first;    /* number of the batch's first message */
    size_t done, sent; /* so many of the batch have their results; so many more are on their way together */
    size_t together;   /* how many may share a transaction, after one was refused; 0: all */
    bool complained;   /* about a message that was refused: once, until one goes well again */
    bool warned;       /* that the queue is filling up */
    unsigned char bytes[8192];
};

static const char *link_name(int i)
{
    return i == LISTENER ? "listening" : "publishing";
}

/* ---------------------------------------------------------------------------------------------------------- trouble -- */

static void lose(struct pg *self, int status, bool terminal, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void lose(struct pg *self, int status, bool terminal, const char *format, ...)
{
    char reason[256];
    va_list arguments;
    if (self->lost)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    self->lost = true;
    self->sink->lost(self->sink, status, reason, terminal);
}

static void out_of_memory(struct pg *self)
{
    lose(self, BCAST_ERR_NOMEM, false, "out of memory");
}

static void try_next(struct pg *self);

/* This address does not do. What a server says is worth more than that another does not answer. */
static void place_failed(struct pg *self, const char *why, bool terminal, bool spoke)
{
    if (spoke || !self->why_spoken) {
        snprintf(self->why, sizeof self->why, "%s", why);
        self->why_spoken = spoke;
    }
    if (terminal)
        lose(self, BCAST_ERR_REFUSED, true, "%s", why);
    else if (self->at + 1 >= self->place_count)
        lose(self, BCAST_ERR_CONNECT, false, "%s", self->why);
    else {
        self->at++;
        try_next(self);
    }
}

/* Returns whether there was trouble. */
static bool deal_with_failure(struct pg *self)
{
    for (int i = 0; i < LINKS && !self->lost; i++) {
        struct postgres_link *link = &self->links[i];
        if (link->state != POSTGRES_FAILED)
            continue;
        char why[sizeof link->why];
        memcpy(why, link->why, sizeof why);
        if (self->connected)
            lose(self, BCAST_ERR_CONNECT, false, "the %s connection: %s", link_name(i), why);
        else
            place_failed(self, why, link->terminal, link->spoke);
        return true;
    }
    return self->lost;
}

/* ---------------------------------------------------------------------------------------------------------- results -- */

static bool ask(struct pg *self, int i, enum command command, const char *sql)
{
    self->doing[i] = command;
    return postgres_ask(&self->links[i], sql);
}

static void send_batch(struct pg *self)
{
    struct postgres_link *link = &self->links[PUBLISHER];
    size_t count = self->batch.count - self->done;
    if (count == 0 || link->asked || self->lost)
        return;
    if (self->together != 0 && count > self->together)
        count = self->together;
    self->sent = count;
    self->doing[PUBLISHER] = BATCH;
    (void)postgres_asked(link, postgres_batch_send(&self->batch, link->conn, self->done, count));
}

static int status_of(const char *code)
{
    if (strncmp(code, "42501", 5) == 0 || strncmp(code, "22", 2) == 0)
        return BCAST_ERR_REFUSED; /* no permission; no character of the database's encoding */
    return BCAST_ERR_PUBLISH;
}

static void complain(struct pg *self, const struct postgres_answer *answer)
{
    char text[256];
    if (self->complained)
        return;
    snprintf(text, sizeof text, "a message was refused: %s", answer->text);
    self->sink->log(self->sink, BCAST_LOG_WARNING, text);
    self->complained = true;
}

/* Nothing of a transaction that was refused has been sent: smaller ones, in the same order, until the bad one is alone. */
static void batch_answered(struct pg *self, const struct postgres_answer *answer)
{
    bool good = answer->code[0] == '\0';
    size_t count = self->sent;
    uint64_t first = self->first + self->done;
    if (!good && count > 1) {
        self->together = count / 2;
    } else {
        self->together = good ? 2 * self->together : self->together;
        self->done += count;
        if (self->done == self->batch.count) {
            postgres_batch_clear(&self->batch);
            self->done = self->together = 0;
        }
        if (good)
            self->complained = false;
        else
            complain(self, answer);
        self->sink->result(self->sink, first, count, good ? BCAST_OK : status_of(answer->code));
    }
    send_batch(self);
}

static size_t pg_publish(struct pg *self, const struct bcast_outgoing *messages, size_t count)
{
    size_t taken = 0;
    if (self->batch.count != 0 || self->links[PUBLISHER].asked)
        return 0;
    self->first = messages[0].number;
    for (enum postgres_added added = POSTGRES_ADDED; taken < count; taken++)
        if ((added = postgres_batch_add(&self->batch, &messages[taken], self->url.base64)) != POSTGRES_ADDED) {
            if (added == POSTGRES_NOMEM && taken == 0)
                out_of_memory(self);
            break;
        }
    send_batch(self);
    (void)deal_with_failure(self);
    return taken;
}

/* ------------------------------------------------------------------------------------------------------ what arrives -- */

static void deliver(struct pg *self, struct bcast_topic *topic, const char *text)
{
    struct bcast_incoming message = {.data = text, .size = strlen(text)};
    if (self->url.base64) {
        size_t size = 0;
        if (message.size >= sizeof self->bytes || !text_from_base64(text, message.size, self->bytes, &size)) {
            self->sink->gap(self->sink, topic, BCAST_GAP_BROKER, 1, BCAST_EXACT);
            self->sink->log(self->sink, BCAST_LOG_WARNING, "a message arrived that is not base64: see encoding=base64");
            return;
        }
        message.data = self->bytes;
        message.size = size;
    }
    (void)self->sink->message(self->sink, topic, &message);
}

static void refuse_pooler(struct pg *self)
{
    lose(
        self, BCAST_ERR_REFUSED, true,
        "what is published over one connection does not reach the other: is there a pooler (pgbouncer) that gives each "
        "transaction another session? Connect to the server itself, or use pool_mode=session");
}

static void take_test(struct pg *self, int i)
{
    if (i == LISTENER)
        self->heard = true;
    else
        refuse_pooler(self); /* which has sent both connections' words through one session */
}

static void take_notifications(struct pg *self, int i)
{
    for (PGnotify *notify; !self->lost && (notify = postgres_notification(&self->links[i])) != NULL;
         PQfreemem(notify)) {
        struct bcast_topic *topic = i == LISTENER ? listen_find(&self->listen, notify->relname) : NULL;
        if (topic != NULL)
            deliver(self, topic, notify->extra);
        else if (!self->connected && strcmp(notify->relname, self->test) == 0)
            take_test(self, i);
    }
}

/* -------------------------------------------------------------------------------------------------- the test, at first -- */

static void set_alarm(struct pg *self);

static void test_listen(struct pg *self)
{
    uint64_t secret[2];
    char sql[80];
    hash_secret(secret);
    snprintf(self->test, sizeof self->test, "broadcaster_%016llx", (unsigned long long)(secret[0] ^ secret[1]));
    snprintf(sql, sizeof sql, "LISTEN %s", self->test);
    (void)ask(self, LISTENER, TEST_LISTEN, sql);
}

static void test_notify(struct pg *self)
{
    char sql[80];
    snprintf(sql, sizeof sql, "NOTIFY %s", self->test);
    (void)ask(self, PUBLISHER, TEST_NOTIFY, sql);
}

static void test_passed(struct pg *self)
{
    if (!self->links[LISTENER].asked)
        (void)ask(self, LISTENER, TEST_UNLISTEN, "UNLISTEN *");
}

static void prepare(struct pg *self)
{
    struct postgres_link *link = &self->links[PUBLISHER];
    self->doing[PUBLISHER] = PREPARE;
    (void)postgres_asked(link, PQsendPrepare(link->conn, POSTGRES_BATCH_NAME, POSTGRES_BATCH_SQL, 0, NULL));
}

static void now_connected(struct pg *self)
{
    self->connected = true;
    self->beat_ns = clock_ns();
    self->why[0] = '\0';
    set_alarm(self);
    self->sink->connected(self->sink);
}

/* While the connections are made: what has been answered, and what follows. */
static void test_answered(struct pg *self, int i, enum command command, const struct postgres_answer *answer)
{
    if (answer->code[0] != '\0') {
        place_failed(self, answer->text, strcmp(answer->code, "42501") == 0, true);
        return;
    }
    if (command == TEST_NOTIFY) {
        self->notified = true;
        self->grace_ns = clock_ns() + (int64_t)GRACE_MS * 1000000;
        set_alarm(self);
        prepare(self);
    } else if (command == PREPARE) {
        self->prepared = true;
    } else if (command == TEST_LAST && !self->heard) {
        refuse_pooler(self);
    }
    if (command == TEST_UNLISTEN && self->prepared)
        now_connected(self);
    (void)i;
}

/* What can be done next, as far as the connections are there. */
static void go_on_testing(struct pg *self)
{
    struct postgres_link *listener = &self->links[LISTENER], *publisher = &self->links[PUBLISHER];
    if (self->connected || self->lost)
        return;
    if (listener->state == POSTGRES_OPEN && self->test[0] == '\0')
        test_listen(self);
    else if (listener->state == POSTGRES_OPEN && publisher->state == POSTGRES_OPEN && !listener->asked &&
             !publisher->asked && !self->notified)
        test_notify(self);
    else if (self->heard && self->prepared)
        test_passed(self);
}

/* ----------------------------------------------------------------------------------------------------------- answers -- */

static void take_usage(struct pg *self, const struct postgres_answer *answer)
{
    char text[200];
    long usage = answer->result != NULL && PQntuples(answer->result) == 1
                     ? strtol(PQgetvalue(answer->result, 0, 0), NULL, 10)
                     : 0;
    if (usage > 50 && !self->warned) {
        snprintf(text, sizeof text,
                 "the server's queue of notifications is %ld %% full: some session listens and stays in a transaction "
                 "(see pg_stat_activity); when it is full nothing can be published",
                 usage);
        self->sink->log(self->sink, BCAST_LOG_WARNING, text);
    }
    self->warned = usage > 50;
}

static void answered(struct pg *self, int i)
{
    enum command command = self->doing[i];
    const struct postgres_answer *answer = &self->links[i].answer;
    self->doing[i] = IDLE;
    switch (command) {
    case TELL: listen_answered(&self->listen, answer); break;
    case BATCH: batch_answered(self, answer); break;
    case USAGE: take_usage(self, answer); break;
    case IDLE:
    case PULSE: break;
    case TEST_LAST: take_notifications(self, i); /* fall through */
    default: test_answered(self, i, command, answer);
    }
}

static void tell(struct pg *self)
{
    if (!self->connected || self->lost || self->links[LISTENER].asked)
        return;
    if (listen_tell(&self->listen, &self->links[LISTENER]))
        self->doing[LISTENER] = TELL;
}

static void serve(struct pg *self, int i)
{
    struct postgres_link *link = &self->links[i];
    if (link->state == POSTGRES_CONNECTING)
        (void)postgres_step(link);
    else if (postgres_read(link)) {
        take_notifications(self, i);
        while (!self->lost && postgres_answered(link)) {
            answered(self, i);
            take_notifications(self, i);
        }
    } else
        take_notifications(self, i);
}

/* -------------------------------------------------------------------------------------------------------- connecting -- */

static void drop_links(struct pg *self)
{
    for (int i = 0; i < LINKS; i++) {
        postgres_leave(&self->links[i]);
        self->doing[i] = IDLE;
    }
    self->connected = self->heard = self->prepared = self->notified = false;
    self->test[0] = '\0';
    self->grace_ns = 0;
}

/* Both at once. What fails at once is seen when we are woken: not from within itself. */
static void try_next(struct pg *self)
{
    drop_links(self);
    self->give_up_ns = clock_ns() + (int64_t)self->url.connect_ms * 1000000;
    for (int i = 0; i < LINKS; i++)
        postgres_start(&self->links[i], self->sink, &self->url, &self->places[self->at]);
    set_alarm(self);
    self->sink->wake(self->sink);
}

static bool is_path(const struct postgres_host *host)
{
    return host->name == NULL || host->name[0] == '/' || host->name[0] == '@';
}

static bool wants_lookup(const struct postgres_host *host)
{
    return host->address == NULL && !is_path(host);
}

static void add_place(struct pg *self, const struct postgres_host *host, const struct address *address)
{
    struct postgres_host *place = &self->places[self->place_count];
    *place = *host;
    if (address != NULL &&
        getnameinfo((const struct sockaddr *)&address->at, address->size, self->place_text[self->place_count],
                    INET6_ADDRSTRLEN, NULL, 0, NI_NUMERICHOST) == 0)
        place->address = self->place_text[self->place_count];
    if (address == NULL || place->address != NULL)
        self->place_count++;
}

static void free_places(struct pg *self)
{
    addresses_free(&self->addresses);
    memory_put(self->places);
    memory_put(self->place_text);
    self->places = NULL;
    self->place_text = NULL;
    self->place_count = self->at = 0;
}

/* Every address of every host, in the order of the URL. */
static bool make_places(struct pg *self)
{
    size_t most = self->url.host_count + self->addresses.count, looked = 0;
    self->places = memory_get(most * sizeof *self->places);
    self->place_text = memory_get(most * sizeof *self->place_text);
    if (self->places == NULL || self->place_text == NULL)
        return false;
    for (size_t i = 0; i < self->url.host_count; i++) {
        const struct postgres_host *host = &self->url.hosts[i];
        if (!wants_lookup(host)) {
            add_place(self, host, NULL);
            continue;
        }
        for (size_t a = 0; a < self->addresses.count; a++)
            if (self->addresses.list[a].host == self->names[looked].name)
                add_place(self, host, &self->addresses.list[a]);
        looked++;
    }
    return true;
}

static void begin(struct pg *self)
{
    if (!make_places(self))
        out_of_memory(self);
    else if (self->place_count == 0)
        lose(self, BCAST_ERR_CONNECT, false, "none of the hosts has an address");
    else
        try_next(self);
}

static void looked_up(struct pg *self)
{
    char why[200];
    int status = lookup_take(&self->lookup, self->names, &self->addresses, why, sizeof why);
    if (status == BCAST_OK || (status == BCAST_ERR_CONNECT && self->name_count < self->url.host_count))
        begin(self); /* there are others, which need no name server */
    else if (status != BCAST_TIMEOUT)
        lose(self, status, false, "%s", why);
}

static void pg_connect(struct pg *self)
{
    self->lost = self->why_spoken = false;
    self->why[0] = '\0';
    free_places(self);
    self->give_up_ns = clock_ns() + (int64_t)self->url.connect_ms * 1000000;
    if (self->name_count == 0) {
        begin(self);
        return;
    }
    if (lookup_start(self->names, self->name_count, 5432, self->sink, &self->lookup) != BCAST_OK)
        out_of_memory(self);
    else
        set_alarm(self);
}

static void pg_disconnect(struct pg *self)
{
    lookup_forget(&self->lookup);
    drop_links(self);
    listen_forget(&self->listen);
    postgres_batch_clear(&self->batch);
    self->done = self->together = 0;
    self->lost = true;
}

/* --------------------------------------------------------------------------------------------------------- heartbeat -- */

/* When a connection has to be looked after next: it owes an answer, or has said nothing for long. */
static int64_t due_ns(const struct pg *self, int i)
{
    const struct postgres_link *link = &self->links[i];
    int64_t since = i == LISTENER ? self->beat_ns : link->heard_ns;
    if (link->asked)
        since = link->asked_ns > link->heard_ns ? link->asked_ns : link->heard_ns;
    return since + (int64_t)self->url.heartbeat_ms * 1000000;
}

static void set_alarm(struct pg *self)
{
    int64_t when = self->give_up_ns;
    if (self->connected && self->url.heartbeat_ms == 0)
        return;
    if (self->connected)
        when = due_ns(self, 0) < due_ns(self, 1) ? due_ns(self, 0) : due_ns(self, 1);
    else if (self->grace_ns != 0 && self->grace_ns < when)
        when = self->grace_ns;
    int64_t left = when - clock_ns();
    self->sink->alarm(self->sink, left <= 0 ? 0 : (int)(left / 1000000) + 1);
}

/* A connection that says nothing may be dead without knowing: one that listens hears nothing for hours, rightly or not. */
static void look_after(struct pg *self, int i)
{
    if (clock_ns() < due_ns(self, i))
        return;
    if (self->links[i].asked) {
        lose(self, BCAST_ERR_CONNECT, false, "the %s connection: no answer for %llu ms (heartbeat_ms)", link_name(i),
             (unsigned long long)self->url.heartbeat_ms);
    } else if (i == LISTENER) {
        self->beat_ns = clock_ns();
        (void)ask(self, i, USAGE, "SELECT (100 * pg_catalog.pg_notification_queue_usage())::pg_catalog.int4");
    } else {
        (void)ask(self, i, PULSE, "");
    }
}

/* The server answers on the connection that listens, and still nothing was heard: then nothing ever will be. */
static void test_late(struct pg *self)
{
    self->grace_ns = 0;
    if (!self->heard && !self->links[LISTENER].asked)
        (void)ask(self, LISTENER, TEST_LAST, "SELECT 1");
}

static void pg_alarm(struct pg *self)
{
    int64_t now = clock_ns();
    if (self->connected) {
        for (int i = 0; i < LINKS && !self->lost; i++)
            look_after(self, i);
    } else if (now >= self->give_up_ns && self->place_count == 0) {
        lose(self, BCAST_ERR_CONNECT, false, "the name server has not answered in time (connect_timeout)");
    } else if (now >= self->give_up_ns) {
        const struct postgres_host *place = &self->places[self->at];
        char why[200];
        snprintf(why, sizeof why, "%s:%s: no answer in time (connect_timeout)",
                 place->name != NULL ? place->name : "the server", place->port);
        place_failed(self, why, false, false);
    } else if (self->grace_ns != 0 && now >= self->grace_ns) {
        test_late(self);
    }
    if (!deal_with_failure(self))
        set_alarm(self);
}

static void settle(struct pg *self)
{
    go_on_testing(self);
    tell(self);
    (void)deal_with_failure(self);
}

/* --------------------------------------------------------------------------------------------------------- the calls -- */

static void enter(struct pg *self)
{
    atomic_store_explicit(&self->inside, 1,
                          memory_order_relaxed); /* read by a child of fork, which is this process's copy */
}

static void leave(struct pg *self)
{
    atomic_store_explicit(&self->inside, 0, memory_order_relaxed);
}

static void postgres_close_self(void *context)
{
    struct pg *self = context;
    bool whole = atomic_load_explicit(&self->inside, memory_order_relaxed) == 0;
    for (int i = 0; i < LINKS; i++)
        if (whole)
            postgres_close(&self->links[i]);
        else if (self->links[i].fd >= 0)
            close(self->links[i].fd);
    if (whole)
        listen_free(&self->listen);
    postgres_batch_free(&self->batch);
    free_places(self);
    memory_put(self->names);
    postgres_url_close(&self->url);
    memory_put(self);
}

static bool list_names(struct pg *self)
{
    self->names = memory_get(self->url.host_count * sizeof *self->names);
    for (size_t i = 0; self->names != NULL && i < self->url.host_count; i++)
        if (wants_lookup(&self->url.hosts[i]))
            self->names[self->name_count++] = (struct bcast_host){self->url.hosts[i].name, 0};
    return self->names != NULL;
}

static int postgres_open_self(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **out)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL); /* before libpq does: the host program's end is not ours to tidy */
    struct pg *self = memory_get(sizeof *self);
    if (self == NULL)
        return BCAST_ERR_NOMEM;
    self->sink = sink;
    self->lost = true;
    for (int i = 0; i < LINKS; i++)
        self->links[i].fd = -1;
    listen_init(&self->listen, sink);
    postgres_batch_init(&self->batch);
    int status = postgres_url_open(setup, &self->url);
    if (status == BCAST_OK && !list_names(self))
        status = BCAST_ERR_NOMEM;
    if (status == BCAST_OK)
        *out = self;
    else
        postgres_close_self(self);
    return status;
}

static void postgres_capabilities(void *context, struct bcast_capabilities *out)
{
    const struct pg *self = context;
    bool binary = self == NULL || self->url.base64;
    out->can = BCAST_CAN_CONFIRM | BCAST_CAN_PROCESSES | (binary ? BCAST_CAN_BINARY : 0);
    out->max_message_bytes = self != NULL && binary ? MOST_BINARY : MOST_BYTES;
    out->max_channel_bytes = POSTGRES_NAME_MOST;
}

static int postgres_check_text(const struct pg *self, const char *what, const void *text, size_t size, char *error,
                               size_t error_size)
{
    if (size != 0 && memchr(text, '\0', size) != NULL) {
        snprintf(error, error_size,
                 "%s with a NUL byte cannot be carried; encoding=base64 in the URL carries any message", what);
        return BCAST_ERR_UNSUPPORTED;
    }
    if (self->url.utf8 && !text_is_utf8(text, size)) {
        snprintf(error, error_size, "%s must be valid UTF-8; encoding=base64 in the URL carries any message", what);
        return BCAST_ERR_UNSUPPORTED;
    }
    return BCAST_OK;
}

static int postgres_check(void *context, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    const struct pg *self = context;
    size_t most = self->url.base64 ? MOST_BINARY : MOST_BYTES;
    if (message->channel_size == 0 || message->channel_size > POSTGRES_NAME_MOST) {
        snprintf(error, error_size, "a channel's name has 1 to %d bytes, not %zu", POSTGRES_NAME_MOST,
                 message->channel_size);
        return message->channel_size == 0 ? BCAST_ERR_INVALID : BCAST_ERR_TOO_LARGE;
    }
    if (message->size > most) {
        snprintf(error, error_size, "a message has at most %zu bytes%s, not %zu", most,
                 self->url.base64 ? " with encoding=base64" : "", message->size);
        return BCAST_ERR_TOO_LARGE;
    }
    int status =
        postgres_check_text(self, "a channel's name", message->channel, message->channel_size, error, error_size);
    if (status == BCAST_OK && !self->url.base64)
        status = postgres_check_text(self, "a message", message->data, message->size, error, error_size);
    return status;
}

static void postgres_connect_self(void *context)
{
    enter(context);
    pg_connect(context);
    leave(context);
}

static void postgres_disconnect_self(void *context)
{
    enter(context);
    pg_disconnect(context);
    leave(context);
}

static void postgres_ready_self(void *context, int fd, int events)
{
    struct pg *self = context;
    (void)events;
    enter(self);
    for (int i = 0; i < LINKS && !self->lost; i++)
        if (self->links[i].watched != 0 && self->links[i].fd == fd) {
            serve(self, i);
            break; /* the other may have got this number since */
        }
    settle(self);
    leave(self);
}

static void postgres_alarm_self(void *context)
{
    enter(context);
    pg_alarm(context);
    leave(context);
}

static void postgres_woken_self(void *context)
{
    struct pg *self = context;
    enter(self);
    if (self->lookup != NULL && !self->lost)
        looked_up(self);
    settle(self);
    leave(self);
}

static size_t postgres_publish(void *context, const struct bcast_outgoing *messages, size_t count)
{
    enter(context);
    size_t taken = pg_publish(context, messages, count);
    leave(context);
    return taken;
}

static void postgres_subscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pg *self = context;
    enter(self);
    for (size_t i = 0; i < count; i++)
        listen_add(&self->listen, topics[i]);
    settle(self);
    leave(self);
}

static void postgres_unsubscribe(void *context, struct bcast_topic *const *topics, size_t count)
{
    struct pg *self = context;
    enter(self);
    for (size_t i = 0; i < count; i++)
        listen_drop(&self->listen, topics[i]);
    settle(self);
    leave(self);
}

static const char *const schemes[] = {"postgres", "postgresql", NULL};
static const char *const params[] = {"*", NULL}; /* libpq's: see net/postgres_url.c */

BCAST_API extern const struct bcast_backend bcast_backend_postgres; /* a module is found by this name */
const struct bcast_backend bcast_backend_postgres = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "postgres",
    .schemes = schemes,
    .params = params,
    .open = postgres_open_self,
    .close = postgres_close_self,
    .capabilities = postgres_capabilities,
    .check = postgres_check,
    .connect = postgres_connect_self,
    .disconnect = postgres_disconnect_self,
    .ready = postgres_ready_self,
    .alarm = postgres_alarm_self,
    .woken = postgres_woken_self,
    .publish = postgres_publish,
    .subscribe = postgres_subscribe,
    .unsubscribe = postgres_unsubscribe,
};
