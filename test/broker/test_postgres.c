/* postgres:// on real servers: its URLs, limits, what hostile names and payloads do, transactions, and every way of going
 * deaf. */
#define _GNU_SOURCE
#include "test.h"

#include <libpq-fe.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "proxy.h"

/* ------------------------------------------------------------------------------------------------------------ tools -- */

struct heard { /* what a broadcast has said of itself */
    pthread_mutex_t mutex;
    char log[20000], lost[2000]; /* lines, reasons */
    _Atomic int losses;
    _Atomic bool up;
};

static void append(struct heard *heard, char *to, size_t size, const char *text)
{
    pthread_mutex_lock(&heard->mutex);
    size_t used = strlen(to);
    snprintf(to + used, size - used, "%s\n", text);
    pthread_mutex_unlock(&heard->mutex);
}

static void on_log(void *context, enum bcast_log_level level, const char *text)
{
    struct heard *heard = context;
    (void)level;
    append(heard, heard->log, sizeof heard->log, text);
}

static void on_state(void *context, enum bcast_state state, int status, const char *reason)
{
    struct heard *heard = context;
    (void)status;
    if (state == BCAST_LOST)
        append(heard, heard->lost, sizeof heard->lost, reason);
    heard->losses += state == BCAST_LOST;
    heard->up = state == BCAST_CONNECTED;
}

static bool has_heard(struct heard *heard, const char *text)
{
    pthread_mutex_lock(&heard->mutex);
    bool found = strstr(heard->lost, text) != NULL || strstr(heard->log, text) != NULL;
    pthread_mutex_unlock(&heard->mutex);
    return found;
}

/* Printed into one of a few places: good for one call. */
static const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *text(const char *format, ...)
{
    static char places[8][2000];
    static unsigned next;
    char *place = places[next++ % 8];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(place, sizeof places[0], format, arguments);
    va_end(arguments);
    return place;
}

static struct broker *start(const char *kind)
{
    struct broker *broker = NULL;
    assert_int_equal(broker_start(kind, &broker), 0);
    return broker;
}

static int open_heard(const char *url, struct heard *heard, int timeout_ms, struct bcast **out)
{
    struct bcast_options options = bcast_options_init();
    *heard = (struct heard){.mutex = PTHREAD_MUTEX_INITIALIZER};
    options.on_log = on_log;
    options.on_state = on_state;
    options.log_context = options.state_context = heard;
    options.open_timeout_ms = timeout_ms;
    return bcast_open(url, &options, out);
}

/* Refused at once, with these words, and without a secret in any text. */
static void must_not_open(const char *url, int expected, const char *words)
{
    struct heard heard;
    struct bcast *b = NULL;
    int status = open_heard(url, &heard, expected == BCAST_ERR_CONNECT ? 500 : 20000, &b);
    if (status != expected || strstr(bcast_error_text(), words) == NULL)
        fail_msg("%s: status %d (%s), not %d with '%s'", url, status, bcast_error_text(), expected, words);
    assert_null(b);
    assert_null(strstr(bcast_error_text(), "hush"));
    assert_false(has_heard(&heard, "hush"));
}

/* One message after the other: whoever hears the first listens. */
static void talks(struct bcast *b)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = test_subscribe(b, "talks", BCAST_DROP_OLDEST, 0);
    test_publish(b, "talks", "one");
    test_publish(b, "talks", "two");
    test_expect(sub, &event, "one");
    test_expect(sub, &event, "two");
    bcast_release(&event);
    bcast_unsubscribe(sub);
}

static void opens_and_talks(const char *url)
{
    struct bcast *b = test_open(url);
    talks(b);
    bcast_close(b);
}

static void sql(struct broker *broker, const char *command)
{
    PGconn *conn = PQconnectdb(text("%s&dbname=app", broker_value(broker, "URL_ADMIN")));
    PGresult *result = PQexec(conn, command);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s: %s%s", command, PQerrorMessage(conn), PQresultErrorMessage(result));
    PQclear(result);
    PQfinish(conn);
}

static int sql_number(struct broker *broker, const char *query)
{
    PGconn *conn = PQconnectdb(broker_value(broker, "URL_ADMIN"));
    PGresult *result = PQexec(conn, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
        fail_msg("%s: %s", query, PQerrorMessage(conn));
    int number = atoi(PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(conn);
    return number;
}

static void next_is_gap(struct bcast_sub *sub, struct bcast_event *event, enum bcast_gap_reason reason)
{
    must(bcast_next(sub, event, 20000));
    assert_int_equal(event->kind, BCAST_GAP);
    assert_int_equal(event->reason, reason);
}

/* ------------------------------------------------------------------------------------------------------------- URLs -- */

static void test_urls_that_are_refused(void **state)
{
    static const struct {
        const char *url, *names;
    } table[] = {
        {"postgres://u:hush@127.0.0.1/db?nonsense=1", "'nonsense'"},
        {"postgresql://u:hush@127.0.0.1/db?sslmode=require&Nonsense=hush", "'Nonsense'"},
        {"postgres://127.0.0.1?heartbeat_ms=-1", "heartbeat_ms=-1"},
        {"postgres://127.0.0.1?heartbeat_ms=often", "heartbeat_ms=often"},
        {"postgres://127.0.0.1?encoding=rot13", "rot13"},
        {"postgres://127.0.0.1?tls_verify=maybe&sslmode=require", "maybe"},
        {"postgres://127.0.0.1?tls_verify=none", "sslmode=require"},
        {"postgres://127.0.0.1/db?ssl=maybe", "libpq does not understand"},
        {"postgres://u:hush@127.0.0.1/db?password=hush&ssl=no", "libpq does not understand"},
        {"postgres://a,b,c/db?hostaddr=127.0.0.1,127.0.0.2", "as many hosts"},
        {"postgres://u:hush@[::1/db", "IPv6"},
        {"postgres://127.0.0.1:0", "port"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        must_not_open(table[i].url, BCAST_ERR_URL, table[i].names);
    must_not_open("postgres://u:hush@127.0.0.1/db?target_session_attrs=nonsense", BCAST_ERR_REFUSED, "nonsense");
}

static void test_urls_that_open(void **state)
{
    (void)state;
    struct broker *broker = start("postgres");
    unsigned port = broker_port(broker);
    opens_and_talks(broker_url(broker));
    opens_and_talks(broker_value(broker, "URL_OLD"));
    opens_and_talks(broker_value(broker, "URL_UNIX"));
    opens_and_talks(broker_value(broker, "URL_LATIN"));
    opens_and_talks(text("%s?heartbeat_ms=0&application_name=me", broker_url(broker)));
    opens_and_talks(text("postgres://app:app-password@127.0.0.1:%u/app?heartbeat_ms=9&&connect_timeout=7", port));
    opens_and_talks(text("postgresql://app:app-password@localhost:%u/app", port));
    opens_and_talks(text("postgresql:///app?host=nowhere.invalid&hostaddr=127.0.0.1&port=%u&user=app"
                         "&password=app-password",
                         port));
    sql(broker, "create role odd login password 'p@s:s/w?d%&='");
    opens_and_talks(text("postgres://odd:p%%40s%%3As%%2Fw%%3Fd%%25%%26%%3D@127.0.0.1:%u/app", port));
    struct bcast *b = test_open(text("%s?application_name=me", broker_url(broker)));
    assert_int_equal(sql_number(broker, "select count(*) from pg_stat_activity where application_name = 'me'"), 2);
    bcast_close(b);
    broker_end(broker);
}

static void test_who_is_refused(void **state)
{
    (void)state;
    struct broker *broker = start("postgres");
    unsigned port = broker_port(broker);
    must_not_open(text("postgres://app:hush@127.0.0.1:%u/app", port), BCAST_ERR_REFUSED,
                  "password authentication failed");
    must_not_open(text("postgres://old:hush@127.0.0.1:%u/app", port), BCAST_ERR_REFUSED,
                  "password authentication failed");
    must_not_open(text("postgres://app@127.0.0.1:%u/app", port), BCAST_ERR_REFUSED, "no password supplied");
    must_not_open(text("postgres://app:app-password@127.0.0.1:%u/nowhere", port), BCAST_ERR_REFUSED, "\"nowhere\"");
    must_not_open(text("postgres://app:app-password@127.0.0.1:%u/app?sslmode=require", port), BCAST_ERR_REFUSED, "SSL");
    sql(broker, "revoke connect on database app from public");
    must_not_open(text("postgres://old:old-password@127.0.0.1:%u/app", port), BCAST_ERR_REFUSED, "permission denied");
    broker_stop(broker);
    must_not_open(text("postgres://app:hush@127.0.0.1:%u/app", port), BCAST_ERR_CONNECT, "refused");
    must_not_open("postgres://app:hush@no.such.host.invalid/app", BCAST_ERR_CONNECT, "no.such.host.invalid");
    broker_end(broker);
}

static void test_tls(void **state)
{
    (void)state;
    struct broker *broker = start("postgres_tls");
    const char *bare = broker_value(broker, "URL_BARE"), *ca = broker_file(broker, "ca.pem");
    const char *other = broker_file(broker, "other_ca.pem");
    opens_and_talks(broker_url(broker));
    opens_and_talks(bare); /* as libpq has it: TLS if the server wants it, unverified */
    opens_and_talks(text("%s?sslmode=require&sslrootcert=%s", bare, ca));
    opens_and_talks(text("%s?sslmode=require&tls_verify=none", bare));
    opens_and_talks(text("%s?ssl=true&sslrootcert=%s", bare, ca));
    must_not_open(text("%s?sslmode=require", bare), BCAST_ERR_REFUSED, "certificate");
    must_not_open(text("%s?ssl=true&sslrootcert=%s", bare, other), BCAST_ERR_REFUSED, "certificate verify failed");
    must_not_open(text("%s?sslmode=verify-full&sslrootcert=%s", bare, other), BCAST_ERR_REFUSED, "certificate");
    must_not_open(text("%s?sslmode=verify-full&sslrootcert=/no/such/file", bare), BCAST_ERR_REFUSED, "/no/such/file");
    must_not_open(text("%s?sslmode=disable", bare), BCAST_ERR_REFUSED, "pg_hba.conf");
    const char *elsewhere =
        text("postgres://app:app-password@elsewhere.invalid:%u/app?hostaddr=127.0.0.1&sslrootcert=%s",
             broker_port(broker), ca);
    must_not_open(text("%s&sslmode=verify-full", elsewhere), BCAST_ERR_REFUSED, "elsewhere.invalid");
    must_not_open(text("%s&sslmode=require", elsewhere), BCAST_ERR_REFUSED, "elsewhere.invalid");
    opens_and_talks(text("%s&sslmode=verify-ca", elsewhere));
    broker_end(broker);
}

/* Many in flight at once, through TLS: what it has decrypted beforehand must not be left lying. */
static void test_tls_in_bulk(void **state)
{
    (void)state;
    char payload[8000];
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres_tls");
    struct bcast *b = test_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(b, "bulk", BCAST_DROP_OLDEST, 10000);
    memset(payload, 'x', sizeof payload);
    for (unsigned i = 0; i < 3000; i++) {
        size_t size = 5 + i * 37 % 7990;
        memcpy(payload, text("%04u", i), 4);
        must(bcast_publish(b, "bulk", payload, size));
    }
    for (unsigned i = 0; i < 3000; i++) {
        must(bcast_next(sub, &event, 20000));
        assert_int_equal(event.size, 5 + i * 37 % 7990);
        assert_memory_equal(event.data, text("%04u", i), 4);
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

/* ----------------------------------------------------------------------------------------------------------- limits -- */

static void refused(struct bcast *b, const char *channel, const void *data, size_t size, int expected,
                    const char *words)
{
    must_be(expected, bcast_publish(b, channel, data, size));
    if (strstr(bcast_error_text(), words) == NULL)
        fail_msg("'%s' does not say '%s'", bcast_error_text(), words);
}

static void test_limits(void **state)
{
    static const char *const malformed[] = {"\xff",         "a\xc0\x80",    "\xed\xa0\x80",    "\xf4\x90\x80\x80",
                                            "\xe0\x80\x80", "12345678\xc3", "\xf0\x8f\xbf\xbf"};
    (void)state;
    char name[65], data[8001];
    struct bcast_sub *sub = NULL;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_url(broker));
    memset(name, 'n', 64);
    memset(data, 'd', sizeof data);
    name[64] = '\0';
    refused(b, "c", data, 8000, BCAST_ERR_TOO_LARGE, "7999");
    refused(b, name, "x", 1, BCAST_ERR_TOO_LARGE, "63");
    must_be(BCAST_ERR_TOO_LARGE, bcast_subscribe(b, name, NULL, &sub));
    refused(b, "c", "a\0b", 3, BCAST_ERR_UNSUPPORTED, "NUL");
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        refused(b, "c", malformed[i], strlen(malformed[i]), BCAST_ERR_UNSUPPORTED, "UTF-8");
    must_be(BCAST_ERR_UNSUPPORTED, bcast_subscribe(b, "\xff", NULL, &sub));
    assert_true(bcast_publish(b, "", "x", 1) < 0);
    name[63] = '\0';
    sub = test_subscribe(b, name, BCAST_DROP_OLDEST, 0);
    must(bcast_publish(b, name, data, 7999));
    must(bcast_publish(b, name, "\xf4\x8f\xbf\xbf\xed\x9f\xbf", 7));
    must(bcast_next(sub, &event, 20000));
    assert_int_equal(event.size, 7999);
    test_expect(sub, &event, "\xf4\x8f\xbf\xbf\xed\x9f\xbf");
    must(bcast_flush(b, 20000));
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

static void test_base64(void **state)
{
    (void)state;
    unsigned char data[6000];
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_value(broker, "URL_BINARY")), *plain = test_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(b, "bytes", BCAST_DROP_OLDEST, 0);
    struct bcast_sub *text_sub = test_subscribe(plain, "bytes", BCAST_DROP_OLDEST, 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 11);
    refused(b, "bytes", data, 6000, BCAST_ERR_TOO_LARGE, "5999");
    for (size_t size = 0; size < 6000; size += size < 20 || size > 5990 ? 1 : 97) {
        must(bcast_publish(b, "bytes", data, size));
        must(bcast_next(sub, &event, 20000));
        assert_int_equal(event.kind, BCAST_MESSAGE);
        assert_int_equal(event.size, size);
        if (size != 0)
            assert_memory_equal(event.data, data, size);
    }
    test_expect(text_sub, &event, "");
    must(bcast_next(text_sub, &event, 20000));
    assert_int_equal(event.size, 4);
    assert_memory_equal((const char *)event.data + 2, "==", 2);
    test_publish(plain, "bytes", "AA=");
    next_is_gap(sub, &event, BCAST_GAP_BROKER);
    assert_int_equal(event.lost, 1);
    test_publish(plain, "bytes", "aGk");
    test_expect(sub, &event, "hi");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(text_sub);
    bcast_close(b);
    bcast_close(plain);
    broker_end(broker);
}

/* ---------------------------------------------------------------------------------------------------------- hostile -- */

static uint64_t chance = 1;

static unsigned below(unsigned bound)
{
    chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(chance >> 33) % bound;
}

/* Of what ends a string, an identifier or a statement somewhere. */
static size_t hostile(char *out, size_t most)
{
    static const char *const pieces[] = {"\"",
                                         "'",
                                         "\\",
                                         ";",
                                         "--",
                                         "/*",
                                         "*/",
                                         "$1",
                                         "$$",
                                         "\n",
                                         "\t",
                                         " ",
                                         ",",
                                         "(",
                                         ")",
                                         "{",
                                         "}",
                                         "NULL",
                                         "E'",
                                         "U&\"",
                                         "drop table canary",
                                         "\"; drop table canary; --",
                                         "'); drop table canary; --",
                                         "\xc3\xa9",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         "\x01",
                                         "\x7f",
                                         "A",
                                         "a",
                                         "0",
                                         "::text",
                                         "%s",
                                         "COMMIT;",
                                         "\xe2\x80\x99"};
    size_t used = 0;
    for (unsigned count = 1 + below(8); count > 0; count--) {
        const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
        if (used + strlen(piece) <= most)
            memcpy(out + used, piece, strlen(piece));
        used += used + strlen(piece) <= most ? strlen(piece) : 0;
    }
    if (below(10) == 0)
        out[below((unsigned)used)] = (char)below(256); /* may be no text any more */
    return used;
}

static bool is_refused(int status)
{
    return status == BCAST_ERR_UNSUPPORTED || status == BCAST_ERR_INVALID || status == BCAST_ERR_TOO_LARGE;
}

static void one_hostile(struct bcast *b, struct bcast_event *event, unsigned *sent)
{
    char name[64] = "", data[300];
    size_t name_size = hostile(name, 63), size = hostile(data, sizeof data);
    struct bcast_sub *sub = NULL;
    int status = bcast_subscribe_many(b, (const char *const[]){name}, &name_size, 1, NULL, &sub);
    struct bcast_message message = bcast_message_init();
    if (is_refused(status))
        return;
    must_be(BCAST_OK, status);
    message.channel = name;
    message.channel_size = name_size;
    message.data = data;
    message.size = size;
    status = bcast_publish_message(b, &message);
    if (!is_refused(status)) {
        must_be(BCAST_OK, status);
        must(bcast_next(sub, event, 20000));
        assert_int_equal(event->kind, BCAST_MESSAGE);
        assert_int_equal(event->size, size);
        assert_memory_equal(event->data, data, size);
        assert_memory_equal(event->channel, name, name_size);
        *sent += 1;
    }
    bcast_release(event);
    bcast_unsubscribe(sub);
}

static void test_injection(void **state)
{
    (void)state;
    unsigned sent = 0;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    sql(broker, "create table canary (alive int); insert into canary values (1); alter table canary owner to app");
    struct bcast *b = test_open(broker_url(broker));
    for (unsigned i = 0; i < 10000; i++)
        one_hostile(b, &event, &sent);
    must(bcast_flush(b, 20000));
    assert_true(sent > 5000);
    assert_int_equal(sql_number(broker, "select count(*) from canary"), 1);
    talks(b);
    bcast_close(b);
    broker_end(broker);
}

/* ---------------------------------------------------------------------------------------------------- transactions -- */

struct outcome {
    _Atomic int good, refused, others;
};

static void on_result(void *context, int status)
{
    struct outcome *outcome = context;
    atomic_fetch_add(status == BCAST_OK            ? &outcome->good
                     : status == BCAST_ERR_REFUSED ? &outcome->refused
                                                   : &outcome->others,
                     1);
}

static void publish(struct bcast *b, const char *channel, const char *data, struct outcome *outcome)
{
    struct bcast_message message = bcast_message_init();
    message.channel = channel;
    message.data = data;
    message.size = strlen(data);
    message.on_result = on_result;
    message.context = outcome;
    must(bcast_publish_message(b, &message));
}

/* The database has no euro sign: a message with one is refused, and costs those around it nothing, not even the order. */
static void test_one_bad_message(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct outcome outcome = {0};
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    must(open_heard(broker_value(broker, "URL_LATIN"), &heard, 20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "good", BCAST_DROP_OLDEST, 0);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i <= 100; i++)
            publish(b, "good", i == round * 5 ? "a \xe2\x82\xac" : text("r\xc3\xa9sum\xc3\xa9 %d", i), &outcome);
        for (int i = 0; i <= 100; i++)
            if (i != round * 5)
                test_expect(sub, &event, text("r\xc3\xa9sum\xc3\xa9 %d", i));
    }
    must_be(BCAST_ERR_PUBLISH, bcast_flush(b, 20000));
    assert_int_equal(outcome.good, 2000);
    assert_int_equal(outcome.refused, 20);
    assert_int_equal(outcome.others, 0);
    assert_true(has_heard(&heard, "LATIN1"));
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

/* The same of names: those that were to be listened to together with it are listened to. */
static void test_one_bad_name(void **state)
{
    static const char *const names[] = {"one", "\xe2\x82\xac", "two", "three"};
    (void)state;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = NULL;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_value(broker, "URL_LATIN"));
    must_be(BCAST_ERR_REFUSED, bcast_subscribe_many(b, names, NULL, 4, NULL, &sub));
    assert_non_null(strstr(bcast_error_text(), "LATIN1"));
    sub = test_subscribe(b, "one", BCAST_DROP_OLDEST, 0);
    must(bcast_add_channel(sub, "two", 0));
    must_be(BCAST_ERR_REFUSED, bcast_add_channel(sub, "\xe2\x82\xac", 0));
    test_publish(b, "one", "1");
    test_publish(b, "two", "2");
    test_expect(sub, &event, "1");
    test_expect(sub, &event, "2");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

struct asking {
    struct bcast *b;
    const char *name;
    _Atomic int *begun;
    struct bcast_sub *sub;
    int status;
};

static void *ask(void *argument)
{
    struct asking *asking = argument;
    atomic_fetch_add(asking->begun, 1);
    asking->status = bcast_subscribe(asking->b, asking->name, NULL, &asking->sub);
    return NULL;
}

/* While the server is stopped they gather, so that they go out together. */
static void test_bad_name_in_company(void **state)
{
    static const char *const names[] = {"one", "two", "\xe2\x82\xac", "three", "four"};
    (void)state;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_value(broker, "URL_LATIN"));
    for (int round = 0; round < 10; round++) {
        struct asking asking[5];
        pthread_t threads[5];
        _Atomic int begun = 0;
        assert_int_equal(broker_pause(broker), 0);
        for (int i = 0; i < 5; i++) {
            asking[i] = (struct asking){b, names[i], &begun, NULL, 0};
            test_start(&threads[i], ask, &asking[i]);
        }
        until(begun == 5);
        assert_int_equal(broker_resume(broker), 0);
        for (int i = 0; i < 5; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(asking[i].status, i == 2 ? BCAST_ERR_REFUSED : BCAST_OK);
            bcast_unsubscribe(asking[i].sub);
        }
    }
    bcast_close(b);
    broker_end(broker);
}

static void test_repeats(void **state)
{
    static const char *const words[] = {"a", "b", "a", "a", "c", "b", "", ""};
    enum { rounds = 200 };
    (void)state;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(b, "again", BCAST_DROP_OLDEST, 0);
    struct bcast_sub *other = test_subscribe(b, "other", BCAST_DROP_OLDEST, 0);
    for (unsigned i = 0; i < rounds * 8; i++) {
        test_publish(b, "again", words[i % 8]);
        test_publish(b, "other", words[i % 8]); /* equal, but for the channel */
    }
    for (unsigned i = 0; i < rounds * 8; i++) {
        test_expect(sub, &event, words[i % 8]);
        test_expect(other, &event, words[i % 8]);
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_unsubscribe(other);
    bcast_close(b);
    broker_end(broker);
}

/* What others say and hear: nothing but the payload. */
static void test_plain_form(void **state)
{
    (void)state;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    struct bcast *b = test_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(b, "News \"now\"", BCAST_DROP_OLDEST, 0);
    PGconn *conn = PQconnectdb(broker_url(broker));
    PQclear(PQexec(conn, "LISTEN \"Other\"; NOTIFY \"News \"\"now\"\"\", 'from outside'"));
    test_expect(sub, &event, "from outside");
    test_publish(b, "Other", "from inside");
    must(bcast_flush(b, 20000));
    PQclear(PQexec(conn, "SELECT 1"));
    PGnotify *notify = PQnotifies(conn);
    assert_non_null(notify);
    assert_string_equal(notify->relname, "Other");
    assert_string_equal(notify->extra, "from inside");
    PQfreemem(notify);
    PQfinish(conn);
    assert_int_equal(
        sql_number(broker, "select count(*) from pg_stat_activity where usename = 'app' and state <> 'idle'"), 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

/* ------------------------------------------------------------------------------------------------------------- deaf -- */

/* A gap, and then it hears again. */
static void recovers(struct bcast *b, struct bcast_sub *sub, struct heard *heard, const char *reason)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    next_is_gap(sub, &event, BCAST_GAP_RECONNECT);
    if (!has_heard(heard, reason))
        fail_msg("lost, but not for '%s': %s", reason, heard->lost);
    until(heard->up);
    struct bcast_sub *barrier = test_subscribe(b, "barrier", BCAST_DROP_OLDEST, 0);
    bcast_unsubscribe(barrier);
    int status, tries = 0;
    do {
        test_publish(b, "deaf", "back");
        status = bcast_next(sub, &event, 200);
    } while ((status != BCAST_OK || event.kind != BCAST_MESSAGE) && ++tries < 100);
    must_be(BCAST_OK, status);
    while (bcast_next(sub, &event, 100) == BCAST_OK)
        ;
    bcast_release(&event);
}

static void test_terminated(void **state)
{
    static const char *const which[] = {"query like 'LISTEN%'", "query not like 'LISTEN%'", "true"};
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct broker *broker = start("postgres");
    must(open_heard(broker_url(broker), &heard, 20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "deaf", BCAST_DROP_OLDEST, 0);
    for (size_t i = 0; i < 3; i++) {
        sql(broker,
            text("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app' and %s", which[i]));
        recovers(b, sub, &heard, "terminating connection due to administrator command");
        heard.lost[0] = '\0';
    }
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

static void test_restarted(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct broker *broker = start("postgres");
    must(open_heard(broker_url(broker), &heard, 20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "deaf", BCAST_DROP_OLDEST, 0);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            assert_int_equal(broker_stop(broker), 0);
        else
            assert_int_equal(broker_kill(broker), 0);
        assert_int_equal(broker_restart(broker), 0);
        recovers(b, sub, &heard, i == 0 ? "terminating connection" : "closed the connection");
    }
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

/* Nobody hangs up; nothing is said any more. */
static void test_half_open(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct proxy *proxy = NULL;
    struct broker *broker = start("postgres");
    assert_int_equal(proxy_start("127.0.0.1", broker_port(broker), 0, &proxy), 0);
    must(open_heard(text("postgres://app:app-password@127.0.0.1:%u/app?heartbeat_ms=500", proxy_port(proxy)), &heard,
                    20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "deaf", BCAST_DROP_OLDEST, 0);
    for (int way = PROXY_TO_SERVER; way <= PROXY_TO_CLIENT; way++) {
        struct proxy_rule silent = {.silent = true};
        proxy_rule(proxy, (enum proxy_way)way, &silent);
        until(heard.losses > way);
        proxy_calm(proxy);
        recovers(b, sub, &heard, "heartbeat_ms");
    }
    bcast_unsubscribe(sub);
    bcast_close(b);
    proxy_end(proxy);
    broker_end(broker);
}

static void test_several_hosts(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct broker *first = start("postgres"), *second = start("postgres");
    unsigned a = broker_port(first), z = broker_port(second);
    must(open_heard(text("postgres://app:app-password@127.0.0.1:%u,127.0.0.1:%u/app", a, z), &heard, 20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "deaf", BCAST_DROP_OLDEST, 0);
    assert_int_equal(sql_number(first, "select count(*) from pg_stat_activity where usename = 'app'"), 2);
    broker_kill(first);
    recovers(b, sub, &heard, "");
    assert_int_equal(sql_number(second, "select count(*) from pg_stat_activity where usename = 'app'"), 2);
    opens_and_talks(text("postgres://app:app-password@no.such.host.invalid:%u,localhost:%u/app", a, z));
    opens_and_talks(text("postgres://app:app-password@/app?host=no.such.host.invalid,%s&port=1,%u", "127.0.0.1", z));
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(first);
    broker_end(second);
}

static void test_standby(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct broker *broker = start("postgres_standby"), *primary = start("postgres");
    must_not_open(broker_url(broker), BCAST_ERR_CONNECT, "standby");
    must_not_open(text("%s?target_session_attrs=any", broker_url(broker)), BCAST_ERR_CONNECT, "recovery");
    opens_and_talks(
        text("postgres://app:app-password@127.0.0.1:%u,127.0.0.1:%u/app", broker_port(broker), broker_port(primary)));
    must(open_heard(broker_url(broker), &heard, BCAST_NOWAIT, &b));
    until(heard.losses > 0);
    sql(broker, "select pg_promote()");
    talks(b); /* its subscription waits until then */
    bcast_close(b);
    broker_end(broker);
    broker_end(primary);
}

static void test_pooler(void **state)
{
    (void)state;
    struct broker *broker = start("pgbouncer");
    must_not_open(broker_url(broker), BCAST_ERR_REFUSED, "pgbouncer");
    opens_and_talks(broker_value(broker, "URL_BEHIND"));
    broker_end(broker);
}

static uint64_t filled(struct bcast *b)
{
    struct bcast_stats stats = bcast_stats_init();
    must(bcast_stats(b, &stats));
    return stats.broker_percent;
}

/* The server's queue has 8 GB: instead of filling it, this role is told something else about it. */
static void test_full_queue(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct broker *broker = start("postgres");
    must(open_heard(text("%s?heartbeat_ms=50", broker_url(broker)), &heard, 20000, &b));
    talks(b);
    assert_false(has_heard(&heard, "queue"));
    assert_in_range(filled(b), 0, 50);
    bcast_close(b);
    sql(broker, "create schema told authorization app;"
                "create function told.so(int4, float8) returns float8 language sql as 'select 77.0::float8';"
                "create operator told.* (leftarg = int4, rightarg = float8, function = told.so);"
                "alter role app set search_path = told, pg_catalog");
    must(open_heard(text("%s?heartbeat_ms=50", broker_url(broker)), &heard, 20000, &b));
    until(has_heard(&heard, "77 % full"));
    assert_int_equal(filled(b), 77);
    talks(b);
    bcast_close(b);
    broker_end(broker);
}

/* ------------------------------------------------------------------------------------------------------------- fork -- */

static void fork_and_close(struct bcast *b, struct bcast_sub *sub)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        bcast_unsubscribe(sub);
        bcast_close(b);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_fork(void **state)
{
    (void)state;
    struct heard heard;
    struct bcast *b;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct broker *broker = start("postgres");
    must(open_heard(broker_url(broker), &heard, 20000, &b));
    struct bcast_sub *sub = test_subscribe(b, "fork", BCAST_DROP_OLDEST, 0);
    for (int i = 0; i < 20; i++) {
        fork_and_close(b, sub); /* the I/O thread may be at work still, from what came last ... */
        fork_and_close(b, sub); /* ... and no longer */
        test_publish(b, "fork", text("%d", i));
        test_expect(sub, &event, text("%d", i));
    }
    assert_int_equal(heard.losses, 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    broker_end(broker);
}

/* With a word: the tests of which it is the name; '*' stands for anything. */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_that_are_refused),
        cmocka_unit_test(test_urls_that_open),
        cmocka_unit_test(test_who_is_refused),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_in_bulk),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_one_bad_message),
        cmocka_unit_test(test_one_bad_name),
        cmocka_unit_test(test_bad_name_in_company),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_plain_form),
        cmocka_unit_test(test_terminated),
        cmocka_unit_test(test_restarted),
        cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_several_hosts),
        cmocka_unit_test(test_standby),
        cmocka_unit_test(test_pooler),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
