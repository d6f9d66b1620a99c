#define _POSIX_C_SOURCE 200809L
#include "postgres_pair.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

#define GRACE_MS 1000 /* for a notification to go from one connection to the other */

/* What a connection is doing; the first ones while it is being made. OWN: what the backend has asked. */
enum command { IDLE = 0, TEST_LISTEN, TEST_NOTIFY, TEST_LAST, TEST_UNLISTEN, PREPARE, PULSE, USAGE, OWN };

static const char *link_name(int i)
{
    return i == POSTGRES_LISTENER ? "listening" : "publishing";
}

/* ---------------------------------------------------------------------------------------------------------- trouble -- */

void pair_lose(struct postgres_pair *pair, int status, bool terminal, const char *format, ...)
{
    char reason[256];
    va_list arguments;
    if (pair->lost)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    pair->lost = true;
    pair->sink->lost(pair->sink, status, reason, terminal);
}

static void try_next(struct postgres_pair *pair);

/* This address does not do. What a server says is worth more than that another does not answer. */
static void place_failed(struct postgres_pair *pair, const char *why, bool terminal, bool spoke)
{
    if (spoke || !pair->why_spoken) {
        snprintf(pair->why, sizeof pair->why, "%s", why);
        pair->why_spoken = spoke;
    }
    if (terminal)
        pair_lose(pair, BCAST_ERR_REFUSED, true, "%s", why);
    else if (pair->at + 1 >= pair->places.count)
        pair_lose(pair, BCAST_ERR_CONNECT, false, "%s", pair->why);
    else {
        pair->at++;
        try_next(pair);
    }
}

/* Returns whether there was trouble. */
static bool deal_with_failure(struct postgres_pair *pair)
{
    for (int i = 0; i < POSTGRES_SIDES && !pair->lost; i++) {
        struct postgres_link *link = &pair->links[i];
        if (link->state != POSTGRES_FAILED)
            continue;
        char why[sizeof link->why];
        memcpy(why, link->why, sizeof why);
        if (pair->connected)
            pair_lose(pair, BCAST_ERR_CONNECT, false, "the %s connection: %s", link_name(i), why);
        else
            place_failed(pair, why, link->terminal, link->spoke);
        return true;
    }
    return pair->lost;
}

/* ---------------------------------------------------------------------------------------------------------- commands -- */

static bool ask(struct postgres_pair *pair, int i, enum command command, const char *sql)
{
    pair->doing[i] = command;
    return postgres_ask(&pair->links[i], sql);
}

struct postgres_link *pair_idle(struct postgres_pair *pair, enum postgres_side side)
{
    return pair->connected && !pair->lost && !pair->links[side].asked ? &pair->links[side] : NULL;
}

void pair_asks(struct postgres_pair *pair, enum postgres_side side)
{
    pair->doing[side] = OWN;
}

static void refuse_pooler(struct postgres_pair *pair)
{
    pair_lose(
        pair, BCAST_ERR_REFUSED, true,
        "what is published over one connection does not reach the other: is there a pooler (pgbouncer) that gives each "
        "transaction another session? Connect to the server itself, or use pool_mode=session");
}

static void take_test(struct postgres_pair *pair, int i)
{
    if (i == POSTGRES_LISTENER)
        pair->heard = true;
    else
        refuse_pooler(pair); /* which has sent both connections' words through one session */
}

static void take_notifications(struct postgres_pair *pair, int i)
{
    for (PGnotify *notify; !pair->lost && (notify = postgres_notification(&pair->links[i])) != NULL; PQfreemem(notify))
        if (!pair->connected && strcmp(notify->relname, pair->test) == 0)
            take_test(pair, i);
        else if (i == POSTGRES_LISTENER)
            pair->calls->notified(pair->self, notify);
}

/* -------------------------------------------------------------------------------------------------- the test, at first -- */

static void set_alarm(struct postgres_pair *pair);

static void test_listen(struct postgres_pair *pair)
{
    uint64_t secret[2];
    char sql[80];
    hash_secret(secret);
    snprintf(pair->test, sizeof pair->test, "broadcaster_%016llx", (unsigned long long)(secret[0] ^ secret[1]));
    snprintf(sql, sizeof sql, "LISTEN %s", pair->test);
    (void)ask(pair, POSTGRES_LISTENER, TEST_LISTEN, sql);
}

static void test_notify(struct postgres_pair *pair)
{
    char sql[80];
    snprintf(sql, sizeof sql, "NOTIFY %s", pair->test);
    (void)ask(pair, POSTGRES_PUBLISHER, TEST_NOTIFY, sql);
}

static void test_passed(struct postgres_pair *pair)
{
    if (!pair->links[POSTGRES_LISTENER].asked)
        (void)ask(pair, POSTGRES_LISTENER, TEST_UNLISTEN, "UNLISTEN *");
}

static void prepare(struct postgres_pair *pair)
{
    struct postgres_link *link = &pair->links[POSTGRES_PUBLISHER];
    pair->doing[POSTGRES_PUBLISHER] = PREPARE;
    (void)postgres_asked(link, PQsendPrepare(link->conn, pair->calls->name, pair->calls->sql, 0, NULL));
}

static void now_connected(struct postgres_pair *pair)
{
    pair->connected = true;
    pair->beat_ns = clock_ns();
    pair->why[0] = '\0';
    set_alarm(pair);
    pair->calls->connected(pair->self);
}

/* While the connections are made: what has been answered, and what follows. */
static void test_answered(struct postgres_pair *pair, enum command command, const struct postgres_answer *answer)
{
    if (answer->code[0] != '\0') {
        place_failed(pair, answer->text, strcmp(answer->code, "42501") == 0, true);
        return;
    }
    if (command == TEST_NOTIFY) {
        pair->notified = true;
        pair->grace_ns = clock_ns() + (int64_t)GRACE_MS * 1000000;
        set_alarm(pair);
        prepare(pair);
    } else if (command == PREPARE) {
        pair->prepared = true;
    } else if (command == TEST_LAST && !pair->heard) {
        refuse_pooler(pair);
    }
    if (command == TEST_UNLISTEN && pair->prepared)
        now_connected(pair);
}

/* What can be done next, as far as the connections are there. */
static void go_on_testing(struct postgres_pair *pair)
{
    struct postgres_link *listener = &pair->links[POSTGRES_LISTENER], *publisher = &pair->links[POSTGRES_PUBLISHER];
    if (pair->connected || pair->lost)
        return;
    if (listener->state == POSTGRES_OPEN && pair->test[0] == '\0')
        test_listen(pair);
    else if (listener->state == POSTGRES_OPEN && publisher->state == POSTGRES_OPEN && !listener->asked &&
             !publisher->asked && !pair->notified)
        test_notify(pair);
    else if (pair->heard && pair->prepared)
        test_passed(pair);
}

/* ----------------------------------------------------------------------------------------------------------- answers -- */

static void take_usage(struct postgres_pair *pair, const struct postgres_answer *answer)
{
    char text[200];
    long usage = answer->result != NULL && PQntuples(answer->result) == 1
                     ? strtol(PQgetvalue(answer->result, 0, 0), NULL, 10)
                     : 0;
    pair->sink->filled(pair->sink, usage > 0 ? (unsigned)usage : 0);
    if (usage > 50 && !pair->warned) {
        snprintf(text, sizeof text,
                 "the server's queue of notifications is %ld %% full: some session listens and stays in a transaction "
                 "(see pg_stat_activity); when it is full nothing can be published",
                 usage);
        pair->sink->log(pair->sink, BCAST_LOG_WARNING, text);
    }
    pair->warned = usage > 50;
}

static void answered(struct postgres_pair *pair, int i)
{
    enum command command = (enum command)pair->doing[i];
    const struct postgres_answer *answer = &pair->links[i].answer;
    pair->doing[i] = IDLE;
    if (command == OWN)
        pair->calls->answered(pair->self, (enum postgres_side)i, answer);
    else if (command == USAGE)
        take_usage(pair, answer);
    else if (command != PULSE) {
        if (command == TEST_LAST)
            take_notifications(pair, i);
        test_answered(pair, command, answer);
    }
}

static void serve(struct postgres_pair *pair, int i)
{
    struct postgres_link *link = &pair->links[i];
    if (link->state == POSTGRES_CONNECTING)
        (void)postgres_step(link);
    else if (postgres_read(link)) {
        take_notifications(pair, i);
        while (!pair->lost && postgres_answered(link)) {
            answered(pair, i);
            take_notifications(pair, i);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- connecting -- */

static void drop_links(struct postgres_pair *pair)
{
    for (int i = 0; i < POSTGRES_SIDES; i++) {
        postgres_leave(&pair->links[i]);
        pair->doing[i] = IDLE;
    }
    pair->connected = pair->heard = pair->prepared = pair->notified = false;
    pair->test[0] = '\0';
    pair->grace_ns = 0;
}

/* Both at once. What fails at once is seen when we are woken: not from within itself. */
static void try_next(struct postgres_pair *pair)
{
    drop_links(pair);
    pair->give_up_ns = clock_ns() + (int64_t)pair->url->connect_ms * 1000000;
    for (int i = 0; i < POSTGRES_SIDES; i++)
        postgres_start(&pair->links[i], pair->sink, pair->url, &pair->places.list[pair->at]);
    set_alarm(pair);
    pair->sink->wake(pair->sink);
}

static void found(struct postgres_pair *pair, int status, const char *why)
{
    if (status == BCAST_OK && pair->places.count == 0)
        pair_lose(pair, BCAST_ERR_CONNECT, false, "none of the hosts has an address");
    else if (status == BCAST_OK)
        try_next(pair);
    else if (status == BCAST_ERR_NOMEM)
        pair_lose(pair, status, false, "out of memory");
    else if (status != BCAST_TIMEOUT)
        pair_lose(pair, status, false, "%s", why);
}

void pair_connect(struct postgres_pair *pair)
{
    pair->lost = pair->why_spoken = false;
    pair->why[0] = '\0';
    pair->at = 0;
    pair->give_up_ns = clock_ns() + (int64_t)pair->url->connect_ms * 1000000;
    set_alarm(pair);
    found(pair, places_find(&pair->places, pair->sink), "");
}

void pair_disconnect(struct postgres_pair *pair)
{
    places_forget(&pair->places);
    drop_links(pair);
    pair->lost = true;
}

/* --------------------------------------------------------------------------------------------------------- heartbeat -- */

/* When a connection has to be looked after next: it owes an answer, or has said nothing for long. */
static int64_t due_ns(const struct postgres_pair *pair, int i)
{
    const struct postgres_link *link = &pair->links[i];
    int64_t since = i == POSTGRES_LISTENER ? pair->beat_ns : link->heard_ns;
    if (link->asked)
        since = link->asked_ns > link->heard_ns ? link->asked_ns : link->heard_ns;
    return since + (int64_t)pair->url->heartbeat_ms * 1000000;
}

static void set_alarm(struct postgres_pair *pair)
{
    int64_t when = pair->give_up_ns;
    if (pair->connected && pair->url->heartbeat_ms == 0) {
        pair->sink->alarm(pair->sink, -1);
        return;
    }
    if (pair->connected)
        when = due_ns(pair, 0) < due_ns(pair, 1) ? due_ns(pair, 0) : due_ns(pair, 1);
    else if (pair->grace_ns != 0 && pair->grace_ns < when)
        when = pair->grace_ns;
    int64_t left = when - clock_ns();
    pair->sink->alarm(pair->sink, left <= 0 ? 0 : (int)(left / 1000000) + 1);
}

/* A connection that says nothing may be dead without knowing: one that listens hears nothing for hours, rightly or not. */
static void look_after(struct postgres_pair *pair, int i)
{
    if (clock_ns() < due_ns(pair, i))
        return;
    if (pair->links[i].asked) {
        pair_lose(pair, BCAST_ERR_CONNECT, false, "the %s connection: no answer for %llu ms (heartbeat_ms)",
                  link_name(i), (unsigned long long)pair->url->heartbeat_ms);
    } else if (i == POSTGRES_LISTENER) {
        pair->beat_ns = clock_ns();
        (void)ask(pair, i, USAGE, "SELECT (100 * pg_catalog.pg_notification_queue_usage())::pg_catalog.int4");
    } else {
        (void)ask(pair, i, PULSE, "");
    }
}

/* The server answers on the connection that listens, and still nothing was heard: then nothing ever will be. */
static void test_late(struct postgres_pair *pair)
{
    pair->grace_ns = 0;
    if (!pair->heard && !pair->links[POSTGRES_LISTENER].asked)
        (void)ask(pair, POSTGRES_LISTENER, TEST_LAST, "SELECT 1");
}

void pair_alarm(struct postgres_pair *pair)
{
    int64_t now = clock_ns();
    if (pair->connected) {
        for (int i = 0; i < POSTGRES_SIDES && !pair->lost; i++)
            look_after(pair, i);
    } else if (now >= pair->give_up_ns && pair->places.count == 0) {
        pair_lose(pair, BCAST_ERR_CONNECT, false, "the name server has not answered in time (connect_timeout)");
    } else if (now >= pair->give_up_ns) {
        const struct postgres_host *place = &pair->places.list[pair->at];
        char why[200];
        snprintf(why, sizeof why, "%s:%s: no answer in time (connect_timeout)",
                 place->name != NULL ? place->name : "the server", place->port);
        place_failed(pair, why, false, false);
    } else if (pair->grace_ns != 0 && now >= pair->grace_ns) {
        test_late(pair);
    }
    if (!deal_with_failure(pair))
        set_alarm(pair);
}

void pair_settle(struct postgres_pair *pair)
{
    go_on_testing(pair);
    (void)deal_with_failure(pair);
}

/* -------------------------------------------------------------------------------------------------------------- life -- */

void pair_ready(struct postgres_pair *pair, int fd)
{
    for (int i = 0; i < POSTGRES_SIDES && !pair->lost; i++)
        if (pair->links[i].watched != 0 && pair->links[i].fd == fd) {
            serve(pair, i);
            return; /* the other may have got this number since */
        }
}

void pair_woken(struct postgres_pair *pair)
{
    char why[200] = "";
    if (!pair->lost)
        found(pair, places_take(&pair->places, why, sizeof why), why);
}

bool pair_open(struct postgres_pair *pair, const struct postgres_url *url, struct bcast_sink *sink,
               const struct postgres_calls *calls, void *self)
{
    *pair = (struct postgres_pair){.sink = sink, .calls = calls, .self = self, .url = url, .lost = true};
    for (int i = 0; i < POSTGRES_SIDES; i++)
        pair->links[i].fd = -1;
    return places_open(&pair->places, url);
}

void pair_close(struct postgres_pair *pair, bool whole)
{
    for (int i = 0; i < POSTGRES_SIDES; i++)
        if (whole)
            postgres_close(&pair->links[i]);
        else if (pair->links[i].fd >= 0)
            close(pair->links[i].fd);
    places_close(&pair->places);
}
