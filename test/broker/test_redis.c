/* redis:// on real servers: its URLs, what is said in texts, names and payloads, limits, subscriptions as the server
 * sees them, a forked child. What goes wrong on the way is in test_redis_trouble.c. */
#define _GNU_SOURCE
#include "redis_talk.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ----------------------------------------------------------------------------------------------------------- URLs -- */

static void test_urls_that_are_refused(void **state)
{
    static const struct {
        const char *url, *names;
    } table[] = {
        {"redis://127.0.0.1?nonsense=1", "'nonsense'"},
        {"redis://someone@127.0.0.1", "a user without a password"},
        {"redis://127.0.0.1/first", "the path is the number of a database"},
        {"redis://127.0.0.1/1234567890", "the path is the number of a database"},
        {"redis://127.0.0.1/0?db=1", "twice"},
        {"redis://127.0.0.1?db=first", "db=first"},
        {"redis://127.0.0.1?ping_ms=-1", "ping_ms=-1"},
        {"redis://127.0.0.1?connect_timeout_ms=0", "connect_timeout_ms=0"},
        {"redis://127.0.0.1?tls_verify=none", "tls_verify wants"},
        {"redis://127.0.0.1?tls_ca=/ca.pem", "rediss://"},
        {"redis+unix:///redis.sock?tls_ca=/ca.pem", "tls_ca"},
        {"rediss://127.0.0.1?tls_verify=bogus", "bogus"},
        {"rediss://127.0.0.1?tls_ca=/no/such/ca.pem", "tls_ca /no/such/ca.pem"},
        {"rediss://127.0.0.1?tls_cert=/no/such/me.pem", "tls_cert /no/such/me.pem"},
        {"rediss://127.0.0.1?tls_key=/no/such/me.key", "tls_key /no/such/me.key"},
        {"redis+unix://", "redis+unix:///path"},
        {"redis+unix://host/path", "redis+unix:///path"},
        {"redis://[::1", "IPv6"},
        {"redis://127.0.0.1:0", "port"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        must_not_open(table[i].url, BCAST_ERR_URL, table[i].names);
    must_not_open(text("redis+unix:///%0200d", 0), BCAST_ERR_URL, "path");
}

static void test_urls_with_passwords(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    unsigned port = broker_port(broker);
    opens_and_talks(broker_url(broker));
    opens_and_talks(broker_value(broker, "URL_PASSWORD"));
    tell(broker, "ACL SETUSER odd on >p@s:s/w?d%&= ~* &* +@all");
    opens_and_talks(text("redis://odd:p%%40s%%3As%%2Fw%%3Fd%%25%%26%%3D@127.0.0.1:%u/0", port));
    opens_and_talks(text("redis+unix://full:full-password@%s", broker_value(broker, "SOCKET")));
    must_not_open(text("redis://full:secret@127.0.0.1:%u", port), BCAST_ERR_REFUSED, "WRONGPASS");
    must_not_open(text("redis://:another@127.0.0.1:%u", port), BCAST_ERR_REFUSED, "AUTH");
    must_not_open(broker_value(broker, "URL_NOBODY"), BCAST_ERR_REFUSED, "NOAUTH");
    broker_end(broker);
}

/* Both connections are in that database. */
static void must_be_in(struct broker *broker, const char *url, const char *db)
{
    struct link *link = link_open(url);
    const char *found = strstr(ask(broker, "CLIENT LIST"), db);
    if (found == NULL || strstr(found + 1, db) == NULL)
        fail_msg("%s: two connections in%sare not in %s", url, db, ask(broker, "CLIENT LIST"));
    talks(link->b, "x");
    link_close(link);
}

static void test_urls_with_databases(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    unsigned port = broker_port(broker);
    const char *socket_path = broker_value(broker, "SOCKET");
    must_be_in(broker, text("redis://127.0.0.1:%u/3", port), " db=3 ");
    must_be_in(broker, text("redis://127.0.0.1:%u?db=4", port), " db=4 ");
    must_be_in(broker, text("redis://127.0.0.1:%u/?db=5", port), " db=5 ");
    must_be_in(broker, text("redis+unix://%s?db=6", socket_path), " db=6 ");
    opens_and_talks(text("redis+unix://%s", socket_path));
    must_not_open(text("redis://127.0.0.1:%u/99", port), BCAST_ERR_REFUSED, "SELECT: ERR DB index");
    must_not_open("redis+unix:///no/such/socket", BCAST_ERR_CONNECT, "/no/such/socket: connect: No such file");
    broker_end(broker);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static void test_urls_with_hosts(void **state)
{
    static const char *const both[] = {"--bind", "127.0.0.1", "-::1", NULL};
    (void)state;
    struct broker *broker = start_with("redis", both);
    struct proxy *proxy = start_proxy(broker);
    unsigned port = broker_port(broker), shut = proxy_port(proxy);
    proxy_door(proxy, PROXY_REFUSE);
    opens_and_talks(text("redis://localhost:%u", port));
    opens_and_talks(text("redis://127.0.0.1:%u,127.0.0.1:%u", shut, port));
    opens_and_talks(text("redis://127.0.0.1:%u,localhost:%u/0", shut, port)); /* with a look-up */
    opens_and_talks(text("redis://no.such.host.invalid,127.0.0.1:%u/0", port));
    proxy_door(proxy, PROXY_SLAM);
    opens_and_talks(text("redis://127.0.0.1:%u,127.0.0.1:%u", shut, port));
    proxy_door(proxy, PROXY_MUTE); /* it takes connections, and never says a word */
    opens_and_talks(text("redis://127.0.0.1:%u,127.0.0.1:%u?connect_timeout_ms=100", shut, port));
    proxy_door(proxy, PROXY_REFUSE);
    if (has_ipv6()) {
        opens_and_talks(text("redis://[::1]:%u/0", port));
        opens_and_talks(text("redis://127.0.0.1:%u,[::1]:%u/0", shut, port));
        broker_stop(broker);
        must_not_open(text("redis://127.0.0.1:%u,[::1]:%u/0", shut, port), BCAST_ERR_CONNECT, text("[::1]:%u: ", port));
    }
    broker_stop(broker);
    must_not_open(text("redis://127.0.0.1:%u,127.0.0.1:%u", shut, port), BCAST_ERR_CONNECT,
                  text("127.0.0.1:%u: connect: Connection refused", port));
    proxy_end(proxy);
    broker_end(broker);
}

/* How long a resolver takes to say no is its own affair. */
static void test_unknown_host(void **state)
{
    (void)state;
    struct link *link = link_begin("redis://no.such.host.invalid");
    until(link->times[BCAST_LOST] > 0);
    assert_int_equal(link->status, BCAST_ERR_CONNECT);
    assert_true(link_said(link, "the host no.such.host.invalid: "));
    link_close(link);
    must_not_open("redis://no.such.host.invalid", BCAST_ERR_CONNECT, "open_timeout_ms");
}

/* -------------------------------------------------------------------------------------------------------- secrets -- */

#define SECRET "Hush-3a7f"

static void keeps_the_secret(const char *url, int expected)
{
    struct bcast_options options = bcast_options_init();
    struct link *link = link_new();
    options.open_timeout_ms = 300;
    int status = link_try(link, url, &options);
    if (status != expected)
        fail_msg("%s: status %d (%s), not %d", url, status, bcast_error_text(), expected);
    if (status == BCAST_OK)
        talks(link->b, "x");
    if (strstr(bcast_error_text(), SECRET) != NULL)
        fail_msg("%s: the password is in: %s", url, bcast_error_text());
    if (link_said(link, SECRET))
        fail_msg("%s: the password is in: %s", url, link->said);
    link_close(link);
}

static void test_secrets(void **state)
{
    /* a server without AUTH shows what it was given */
    static const char *const no_auth[] = {"--rename-command", "AUTH", "", NULL};
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL);
    struct proxy *proxy = start_proxy(broker);
    unsigned port = broker_port(broker), through = proxy_port(proxy);
    tell(broker, "ACL SETUSER who on >" SECRET " ~* &* +@all");
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u", port), BCAST_OK);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u/99", port), BCAST_ERR_REFUSED);
    keeps_the_secret(text("redis://full:" SECRET "@127.0.0.1:%u", port), BCAST_ERR_REFUSED);
    keeps_the_secret(text("redis://:" SECRET "@127.0.0.1:%u", port), BCAST_ERR_REFUSED);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u?what=1", port), BCAST_ERR_URL);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u?db=x", port), BCAST_ERR_URL);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%ux", port), BCAST_ERR_URL);
    keeps_the_secret(text("redis://who:" SECRET "/more@127.0.0.1:%u", port), BCAST_ERR_URL);
    keeps_the_secret(text("rediss://who:" SECRET "@127.0.0.1:%u?tls_ca=/no/such", port), BCAST_ERR_URL);
    keeps_the_secret(text("rediss://who:" SECRET "@127.0.0.1:%u", port), BCAST_ERR_CONNECT);
    proxy_door(proxy, PROXY_REFUSE);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u", through), BCAST_ERR_CONNECT);
    proxy_door(proxy, PROXY_OPEN);
    proxy_rule(proxy, PROXY_TO_CLIENT, &(struct proxy_rule){.replace = "!garbage\r\n", .replace_size = 10});
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u", through), BCAST_ERR_CONNECT);
    proxy_end(proxy);
    broker_end(broker);
    broker = start_with("redis", no_auth);
    keeps_the_secret(text("redis://who:" SECRET "@127.0.0.1:%u", broker_port(broker)), BCAST_ERR_REFUSED);
    keeps_the_secret(text("redis://:" SECRET "@127.0.0.1:%u", broker_port(broker)), BCAST_ERR_REFUSED);
    must_not_open(text("redis://:" SECRET "@127.0.0.1:%u", broker_port(broker)), BCAST_ERR_REFUSED, "AUTH");
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------- names and payloads -- */

static void goes_round(struct bcast *b, struct bcast *other, const void *name, size_t name_size, const void *data,
                       size_t size)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_message message = bcast_message_init();
    const char *names[] = {name};
    struct bcast_sub *sub = NULL;
    must(bcast_subscribe_many(b, names, &name_size, 1, NULL, &sub));
    message.channel = name;
    message.channel_size = name_size;
    message.data = data;
    message.size = size;
    must(bcast_publish_message(other, &message));
    must(bcast_next(sub, &event, 20000));
    assert_int_equal(event.kind, BCAST_MESSAGE);
    assert_int_equal(event.channel_size, name_size);
    assert_memory_equal(event.channel, name, name_size);
    assert_int_equal(event.size, size);
    assert_memory_equal(event.data, data, size);
    bcast_release(&event);
    bcast_unsubscribe(sub);
}

static void test_names_and_payloads(void **state)
{
    static const char odd[] = "\r\n*1\r\n$4\r\nQUIT\r\n\0\xff\x80 message pmessage";
    (void)state;
    size_t large = 8u << 20;
    unsigned char *payload = malloc(large);
    char *long_name = malloc(4096);
    assert_true(payload != NULL && long_name != NULL);
    for (size_t i = 0; i < large; i++)
        payload[i] = (unsigned char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < 4096; i++)
        long_name[i] = (char)(i % 256);
    struct broker *broker = start_with("redis", NULL);
    struct link *one = link_open(broker_url(broker)), *two = link_open(broker_url(broker));
    goes_round(one->b, two->b, odd, sizeof odd - 1, payload, 256);
    goes_round(one->b, two->b, "\r\n", 2, "", 0);
    goes_round(one->b, two->b, "\0", 1, "\r\n", 2);
    goes_round(one->b, two->b, "\xff", 1, odd, sizeof odd - 1);
    goes_round(one->b, two->b, "message", 7, "message", 7);
    goes_round(one->b, two->b, "subscribe", 9, "pmessage", 8);
    goes_round(one->b, two->b, long_name, 4096, long_name, 4096);
    goes_round(one->b, two->b, "large", 5, payload, large);
    goes_round(one->b, one->b, "large", 5, payload, large);
    assert_int_equal(one->times[BCAST_LOST] + two->times[BCAST_LOST], 0);
    link_close(one);
    link_close(two);
    broker_end(broker);
    free(payload);
    free(long_name);
}

/* --------------------------------------------------------------------------------- subscriptions, on the server -- */

static void test_one_subscription_per_channel(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(broker_url(broker));
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *subs[20];
    assert_int_equal(subscribers(broker, "x"), 0);
    for (int i = 0; i < 20; i++)
        subs[i] = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    assert_int_equal(subscribers(broker, "x"), 1);
    assert_string_equal(ask(broker, "PUBLISH x once"), ":1\r\n");
    for (int i = 0; i < 20; i++)
        test_expect(subs[i], &event, "once");
    bcast_release(&event);
    for (int i = 0; i < 19; i++)
        bcast_unsubscribe(subs[i]);
    must(bcast_add_channel(subs[19], "y", 0)); /* behind whatever the others have caused */
    assert_int_equal(subscribers(broker, "x"), 1);
    assert_int_equal(subscribers(broker, "y"), 1);
    must(bcast_remove_channel(subs[19], "y", 0));
    until(subscribers(broker, "y") == 0);
    bcast_unsubscribe(subs[19]);
    until(subscribers(broker, "x") == 0);
    talks(link->b, "x");
    assert_int_equal(link->times[BCAST_LOST], 0);
    link_close(link);
    broker_end(broker);
}

static unsigned channels_on(struct broker *broker)
{
    int fd = raw_open(broker);
    const char *answer = raw_ask(
        fd, "EVAL \"local n = 0 for _ in pairs(redis.call('PUBSUB', 'CHANNELS')) do n = n + 1 end return n\" 0");
    close(fd);
    assert_int_equal(answer[0], ':');
    return (unsigned)strtoul(answer + 1, NULL, 10);
}

enum { MANY = 10000 };

static void test_many_channels(void **state)
{
    static char names[MANY][16];
    static const char *list[MANY];
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct link *link = link_open(broker_url(broker));
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = NULL;
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "many-%d", i);
        list[i] = names[i];
    }
    must(bcast_subscribe_many(link->b, list, NULL, MANY, NULL, &sub));
    assert_int_equal(channels_on(broker), MANY);
    assert_string_equal(ask(broker, "PUBLISH many-9999 last"), ":1\r\n");
    test_expect(sub, &event, "last");
    bcast_release(&event);
    bcast_unsubscribe(sub);
    until(channels_on(broker) == 0);
    link_close(link);
    broker_end(broker);
}

/* --------------------------------------------------------------------------------------------------------- limits -- */

static void note_status(void *context, int status)
{
    *(_Atomic int *)context = status;
}

enum { WAITING = 1000 };

static char data[2 << 20];

static void publish_size(struct bcast *b, size_t size, _Atomic int *result)
{
    struct bcast_message message = bcast_message_init();
    message.channel = "x";
    message.data = data;
    message.size = size;
    message.on_result = note_status;
    message.context = (void *)result;
    *result = WAITING;
    must(bcast_publish_message(b, &message));
}

static void test_bulk_limit(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL);
    struct proxy *proxy = start_proxy(broker);
    const char *url = text("redis://127.0.0.1:%u", proxy_port(proxy));
    struct bcast_event event = BCAST_EVENT_INIT;
    _Atomic int results[4];
    tell(broker, "CONFIG SET proto-max-bulk-len 1mb");
    struct link *near = link_open(broker_url(broker));
    struct bcast_sub *sub = test_subscribe(near->b, "x", BCAST_DROP_OLDEST, 0);
    must_be(BCAST_ERR_TOO_LARGE, bcast_publish(near->b, "x", data, 2 << 20));
    must_name("1048576");
    must_name("proto-max-bulk-len");
    proxy_door(proxy, PROXY_REFUSE);
    struct link *late = link_begin(url);
    publish_size(late->b, 1000, &results[0]);
    publish_size(late->b, (1 << 20) + 1, &results[1]);
    publish_size(late->b, 1 << 20, &results[2]);
    publish_size(late->b, 0, &results[3]);
    proxy_door(proxy, PROXY_OPEN);
    must_be(BCAST_ERR_PUBLISH, bcast_flush(late->b, 20000));
    for (int i = 0; i < 4; i++)
        assert_int_equal(results[i], i == 1 ? BCAST_ERR_TOO_LARGE : BCAST_OK);
    for (int i = 0; i < 3; i++) {
        must(bcast_next(sub, &event, 20000));
        assert_int_equal(event.size, i == 0 ? 1000 : i == 1 ? 1 << 20 : 0);
    }
    assert_int_equal(late->times[BCAST_CONNECTED], 1);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(near);
    link_close(late);
    proxy_end(proxy);
    broker_end(broker);
}

static void test_maxclients(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis_acl", NULL); /* so that it is an answer to the password */
    int fd = raw_open(broker);
    assert_string_equal(raw_ask(fd, "AUTH full full-password\r\nCONFIG SET maxclients 2"), "+OK\r\n+OK\r\n");
    struct link *link = link_begin(broker_url(broker)); /* it wants two, and one is ours */
    until(link->times[BCAST_LOST] >= 2);
    assert_int_equal(link->times[BCAST_CONNECTED], 0);
    assert_int_equal(link->status, BCAST_ERR_CONNECT);
    assert_true(link_said(link, "max number of clients"));
    assert_string_equal(raw_ask(fd, "CONFIG SET maxclients 100"), "+OK\r\n");
    until(link->state == BCAST_CONNECTED);
    talks(link->b, "x");
    close(fd);
    link_close(link);
    broker_end(broker);
}

/* ----------------------------------------------------------------------------------------------------------- fork -- */

static unsigned open_sockets(void)
{
    unsigned count = 0;
    struct stat status;
    for (int fd = 0; fd < 1000; fd++)
        count += fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
    return count;
}

/* Its copies of the parent's sockets go with the handle: else the server would keep a connection that the parent has
 * closed. */
static int child(struct link *link, struct bcast_sub *sub)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    unsigned sockets = open_sockets();
    int wrong = bcast_publish(link->b, "x", "child", 5) != BCAST_ERR_FORKED;
    wrong |= bcast_next(sub, &event, 0) != BCAST_ERR_FORKED;
    wrong |= bcast_flush(link->b, 0) != BCAST_ERR_FORKED;
    bcast_unsubscribe(sub);
    bcast_close(link->b);
    wrong |= (open_sockets() != sockets - 2) << 1;
    return wrong;
}

static void forks(struct broker *broker, const char *url)
{
    int status = -1;
    struct link *link = link_open(url);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = test_subscribe(link->b, "x", BCAST_DROP_OLDEST, 0);
    test_publish(link->b, "x", "before");
    test_expect(sub, &event, "before");
    must(bcast_flush(link->b, 20000));
    until_idle(link); /* what the thread was at work on would stay in the child */
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(link, sub));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(ask(broker, "PUBLISH x server"), ":1\r\n");
    test_expect(sub, &event, "server");
    test_publish(link->b, "x", "after");
    test_expect(sub, &event, "after");
    must(bcast_flush(link->b, 20000));
    assert_int_equal(link->times[BCAST_LOST], 0);
    bcast_release(&event);
    bcast_unsubscribe(sub);
    link_close(link);
}

static void test_fork(void **state)
{
    (void)state;
    struct broker *broker = start_with("redis", NULL), *tls = start_with("redis_tls", NULL);
    forks(broker, broker_url(broker));
    forks(tls, broker_url(tls));
    broker_end(broker);
    broker_end(tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_that_are_refused),
        cmocka_unit_test(test_urls_with_passwords),
        cmocka_unit_test(test_urls_with_databases),
        cmocka_unit_test(test_urls_with_hosts),
        cmocka_unit_test(test_unknown_host),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_names_and_payloads),
        cmocka_unit_test(test_one_subscription_per_channel),
        cmocka_unit_test(test_many_channels),
        cmocka_unit_test(test_bulk_limit),
        cmocka_unit_test(test_maxclients),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
