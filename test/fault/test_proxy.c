/* The proxy itself: each fault does what it says. Behind it is a server that answers each byte with the same byte. */
#define _GNU_SOURCE
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proxy.h"
#include "pump.h"

/* ---------------------------------------------------------------------------------------------------- the server -- */

struct echo {
    pthread_t thread;
    int listener;
    unsigned port;
    _Atomic unsigned open, ended, reset; /* connections */
};

#define DIE '\xfe' /* to be said to the server: it resets this connection */

struct visit {
    struct echo *echo;
    int fd;
};

static void *answer(void *argument)
{
    struct visit visit = *(struct visit *)argument;
    char bytes[4096];
    ssize_t got;
    free(argument);
    while ((got = recv(visit.fd, bytes, sizeof bytes, 0)) > 0 && bytes[0] != DIE)
        for (ssize_t at = 0, sent; at < got; at += sent)
            if ((sent = send(visit.fd, bytes + at, (size_t)(got - at), MSG_NOSIGNAL)) < 0)
                goto gone;
gone:
    if (got > 0)
        setsockopt(visit.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    atomic_fetch_add(got == 0 ? &visit.echo->ended : &visit.echo->reset, 1);
    close(visit.fd);
    atomic_fetch_sub(&visit.echo->open, 1);
    return NULL;
}

static void *receive(void *argument)
{
    struct echo *echo = argument;
    int fd;
    while ((fd = accept(echo->listener, NULL, NULL)) >= 0) {
        pthread_t thread;
        struct visit *visit = malloc(sizeof *visit);
        *visit = (struct visit){echo, fd};
        atomic_fetch_add(&echo->open, 1);
        pthread_create(&thread, NULL, answer, visit);
        pthread_detach(thread);
    }
    return NULL;
}

static void start_echo(struct echo *echo)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    echo->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(echo->listener, (struct sockaddr *)&where, size), 0);
    assert_int_equal(listen(echo->listener, 100), 0);
    assert_int_equal(getsockname(echo->listener, (struct sockaddr *)&where, &size), 0);
    echo->port = ntohs(where.sin_port);
    test_start(&echo->thread, receive, echo);
}

static void end_echo(struct echo *echo)
{
    shutdown(echo->listener, SHUT_RDWR);
    pthread_join(echo->thread, NULL);
    close(echo->listener);
    until(echo->open == 0);
}

static struct echo echo;
static struct proxy *p;

static int begin(void **state)
{
    (void)state;
    memset(&echo, 0, sizeof echo);
    start_echo(&echo);
    return proxy_start("127.0.0.1", echo.port, 0, &p);
}

static int end(void **state)
{
    (void)state;
    proxy_end(p);
    end_echo(&echo);
    return 0;
}

/* ---------------------------------------------------------------------------------------------------- the client -- */

static int try_dial(void)
{
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)proxy_port(p)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){20, 0}, sizeof(struct timeval));
    if (connect(fd, (struct sockaddr *)&where, sizeof where) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int dial(void)
{
    int fd = try_dial();
    assert_true(fd >= 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int fd, const char *text)
{
    char bytes[1000];
    size_t size = strlen(text), got = 0;
    while (got < size) {
        ssize_t more = recv(fd, bytes + got, size - got, 0);
        if (more <= 0)
            fail_msg("after %zu bytes: %s", got, more == 0 ? "the end" : strerror(errno));
        got += (size_t)more;
    }
    assert_memory_equal(bytes, text, size);
}

static void hear_end(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void hear_reset(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

/* Nothing is to come, so any time is too short to be sure: but if something does, it is an error for certain. */
static void hear_nothing(int fd)
{
    struct pollfd wait = {fd, POLLIN, 0};
    assert_int_equal(poll(&wait, 1, 50), 0);
}

static void says_and_hears(int fd, const char *text)
{
    say(fd, text);
    hear(fd, text);
}

static void works(void)
{
    int fd = dial();
    says_and_hears(fd, "does it work?");
    close(fd);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --------------------------------------------------------------------------------------------------------- tests -- */

static void test_plain(void **state)
{
    (void)state;
    int a = dial(), b = dial();
    says_and_hears(a, "one");
    says_and_hears(b, "two");
    says_and_hears(a, "three");
    struct proxy_stats stats = proxy_stats(p);
    assert_int_equal(stats.connections, 2);
    assert_int_equal(stats.open, 2);
    assert_int_equal(stats.bytes[PROXY_TO_SERVER], 11);
    assert_int_equal(stats.bytes[PROXY_TO_CLIENT], 11);
    shutdown(a, SHUT_WR); /* its end is passed on, and the server's answer to that */
    hear_end(a);
    close(a);
    close(b);
    until(proxy_stats(p).open == 0 && echo.ended == 2);
}

#define MUCH 3000000

static void *send_much(void *argument)
{
    char bytes[10000];
    for (unsigned at = 0; at < MUCH; at += sizeof bytes) {
        for (unsigned i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)((at + i) % 251);
        for (size_t sent = 0; sent < sizeof bytes;) {
            ssize_t more = send(*(int *)argument, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
            if (more < 0)
                return NULL;
            sent += (size_t)more;
        }
    }
    return argument;
}

/* Everything arrives, in order. */
static void much_goes(unsigned much)
{
    int fd = dial();
    pthread_t thread;
    void *good;
    unsigned char bytes[10000];
    unsigned at = 0;
    test_start(&thread, send_much, &fd);
    while (at < much) {
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++, at++)
            if (bytes[i] != at % 251)
                fail_msg("byte %u is %u", at, bytes[i]);
    }
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, &good);
    assert_true(much < MUCH || good != NULL);
    close(fd);
}

static void test_much(void **state)
{
    (void)state;
    much_goes(MUCH);
    const struct proxy_rule rules[] = {{.seed = 1, .piece = 5000, .any_piece = true},
                                       {.delay_ms = 2, .jitter_ms = 5},
                                       {.merge_bytes = 100000, .merge_ms = 5}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        proxy_rule(p, PROXY_TO_CLIENT, &rules[i]);
        proxy_rule(p, PROXY_TO_SERVER, &rules[i]);
        much_goes(MUCH / 3);
    }
}

static void test_delay(void **state)
{
    (void)state;
    int fd = dial();
    says_and_hears(fd, "quick");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.delay_ms = 200, .jitter_ms = 50});
    int64_t start = now_ms();
    say(fd, "slow");
    hear_nothing(fd);
    hear(fd, "slow");
    assert_true(now_ms() - start >= 199);
    say(fd, "held");
    until(proxy_stats(p).bytes[PROXY_TO_SERVER] == 13);
    proxy_rule(p, PROXY_TO_CLIENT, NULL); /* what is under way stays late */
    hear(fd, "held");
    close(fd);
}

/* How many pieces arrive depends on the reader, so what is written is looked at where it is decided. */
static void pieces(const struct proxy_rule *rule, size_t least, size_t most, unsigned count_least)
{
    static const unsigned char bytes[1000];
    struct pump pump = {0};
    unsigned count = 0;
    int64_t again = INT64_MAX;
    pump_push(&pump, rule, 3, bytes, sizeof bytes, 1);
    for (; pump.held != 0; count++) {
        size_t size = pump_ready(&pump, rule, 3, 1, &again);
        assert_in_range(size, least, most);
        pump_wrote(&pump, size, 1);
    }
    assert_true(count >= count_least);
    assert_true(again == INT64_MAX);
    pump_free(&pump);
}

static void test_pieces(void **state)
{
    (void)state;
    pieces(&(struct proxy_rule){.piece = 1}, 1, 1, 1000);
    pieces(&(struct proxy_rule){.piece = 7, .any_piece = true, .seed = 5}, 1, 7, 200);
    pieces(&(struct proxy_rule){.piece = 7}, 6, 7, 143);
    pieces(&(struct proxy_rule){.merge_bytes = 900}, 1000, 1000, 1);
    struct pump empty = {0};
    assert_int_equal(pump_room(&empty, &(struct proxy_rule){.piece = 1}), PUMP_ROOM);
    assert_int_equal(pump_room(&empty, &(struct proxy_rule){.silent = true}), 0); /* so the sender comes to a stop */
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.piece = 1});
    proxy_rule(p, PROXY_TO_SERVER, &(struct proxy_rule){.piece = 3, .any_piece = true});
    works();
}

static void test_merge(void **state)
{
    (void)state;
    int fd = dial();
    char bytes[100];
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.merge_bytes = 9});
    say(fd, "one");
    hear_nothing(fd);
    say(fd, "two");
    hear_nothing(fd);
    say(fd, "three");
    assert_int_equal(recv(fd, bytes, sizeof bytes, 0), 11); /* all in one */
    assert_memory_equal(bytes, "onetwothree", 11);
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.merge_bytes = 100, .merge_ms = 100});
    int64_t start = now_ms();
    says_and_hears(fd, "late");
    assert_true(now_ms() - start >= 99);
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.merge_bytes = 100});
    say(fd, "last");
    shutdown(fd, SHUT_WR); /* no more will come to fill it */
    hear(fd, "last");
    hear_end(fd);
    close(fd);
}

static void test_drip(void **state)
{
    (void)state;
    int fd = dial();
    proxy_rule(p, PROXY_TO_SERVER, &(struct proxy_rule){.bytes_per_second = 100});
    int64_t start = now_ms();
    says_and_hears(fd, "0123456789012345678901234567890123456789"); /* 40 bytes, of which 11 may go at once */
    assert_true(now_ms() - start >= 250);
    close(fd);
}

static void test_reset(void **state)
{
    (void)state;
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.action = PROXY_RESET, .after = 4, .times = 1});
    int fd = dial(), other;
    say(fd, "abcdef");
    hear(fd, "abcd");
    hear_reset(fd);
    close(fd);
    until(echo.reset == 1);
    works(); /* it was to happen once */
    proxy_rule(p, PROXY_TO_SERVER, &(struct proxy_rule){.action = PROXY_RESET, .after = 4});
    for (int i = 0; i < 2; i++) { /* each connection */
        fd = dial();
        say(fd, "abcdef");
        char bytes[10];
        ssize_t got, all = 0;
        while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0)
            all += got;
        assert_int_equal(got, -1);
        assert_true(all <= 4);
        close(fd);
    }
    assert_int_equal(proxy_stats(p).actions, 3);
    proxy_calm(p);
    fd = dial();
    other = dial();
    says_and_hears(fd, "a");
    says_and_hears(other, "b");
    proxy_cut(p);
    hear_reset(fd);
    hear_reset(other);
    close(fd);
    close(other);
    works();
}

/* The rule counts from when it is set, also in a connection that has been there before. */
static void test_counted_from_the_rule(void **state)
{
    (void)state;
    int fd = dial();
    says_and_hears(fd, "before");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.action = PROXY_RESET, .after = 3});
    say(fd, "after");
    hear(fd, "aft");
    hear_reset(fd);
    close(fd);
}

static void test_fin(void **state)
{
    (void)state;
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.action = PROXY_FIN, .after = 4, .times = 1});
    int fd = dial();
    say(fd, "abcdef");
    hear(fd, "abcd");
    hear_end(fd);
    until(echo.ended == 1);
    close(fd);
    fd = dial();
    says_and_hears(fd, "a");
    proxy_fin(p);
    for (int i = 0; i < 10; i++)
        say(fd, "too late"); /* is no reason for a reset */
    hear_end(fd);
    close(fd);
    until(echo.ended == 2 && proxy_stats(p).open == 0);
    works();
}

static void test_half_fin(void **state)
{
    (void)state;
    int fd = dial();
    says_and_hears(fd, "a");
    proxy_half_fin(p, PROXY_TO_CLIENT);
    hear_end(fd);
    say(fd, "still heard");
    until(proxy_stats(p).bytes[PROXY_TO_SERVER] == 12);
    assert_int_equal(echo.ended + echo.reset, 0);
    close(fd);
    until(echo.ended == 1);
    proxy_rule(p, PROXY_TO_SERVER, &(struct proxy_rule){.action = PROXY_HALF_FIN, .after = 2});
    fd = dial();
    say(fd, "abc");
    hear(fd, "ab"); /* the other way still goes */
    hear_end(fd);   /* until the server ends it, too */
    until(echo.ended == 2);
    close(fd);
}

static void test_silence(void **state)
{
    (void)state;
    int fd = dial(), gone = dial();
    says_and_hears(fd, "a");
    says_and_hears(gone, "a");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.silent = true});
    say(fd, "one way");
    hear_nothing(fd);
    until(proxy_stats(p).bytes[PROXY_TO_SERVER] == 9);
    proxy_rule(p, PROXY_TO_SERVER, &(struct proxy_rule){.silent = true});
    say(fd, "both");
    close(gone);
    int new = dial(); /* also for new ones */
    say(new, "new");
    hear_nothing(new);
    hear_nothing(fd);
    assert_int_equal(proxy_stats(p).bytes[PROXY_TO_SERVER], 9);
    assert_int_equal(echo.ended, 0);
    proxy_calm(p);
    hear(fd, "one wayboth"); /* nothing was lost */
    hear(new, "new");
    until(echo.ended == 1);
    close(new);
    close(fd);
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.action = PROXY_SILENCE, .after = 3});
    fd = dial();
    say(fd, "abcdef");
    hear(fd, "abc");
    hear_nothing(fd);
    proxy_calm(p);
    hear(fd, "def");
    close(fd);
}

/* A server that dies behind a silence: the client must not learn of it before the silence ends. */
static void test_silence_hides_death(void **state)
{
    (void)state;
    int fd = dial();
    says_and_hears(fd, "a");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.silent = true});
    proxy_half_fin(p, PROXY_TO_SERVER);
    until(echo.ended == 1);
    hear_nothing(fd);
    proxy_calm(p);
    hear_end(fd);
    close(fd);
    fd = dial();
    says_and_hears(fd, "a");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.silent = true});
    say(fd, (const char[]){DIE, '\0'});
    until(echo.reset == 1 && echo.open == 0);
    say(fd, "anyone there?");
    hear_nothing(fd);
    say(fd, "no?");
    proxy_calm(p);
    hear_reset(fd);
    close(fd);
}

static void test_door(void **state)
{
    (void)state;
    int there = dial(), fd;
    says_and_hears(there, "a");
    for (int i = 0; i < 2; i++) {
        proxy_door(p, PROXY_REFUSE);
        assert_int_equal(try_dial(), -1);
        assert_int_equal(errno, ECONNREFUSED);
        says_and_hears(there, "still there");
        proxy_door(p, PROXY_OPEN);
        works();
    }
    proxy_door(p, PROXY_SLAM);
    fd = dial();
    hear_reset(fd);
    close(fd);
    proxy_door(p, PROXY_MUTE);
    uint64_t before = proxy_stats(p).connections;
    until(echo.open == 1);
    fd = dial();
    say(fd, "hello?");
    until(proxy_stats(p).connections == before + 1);
    hear_nothing(fd);
    assert_int_equal(echo.open, 1);
    proxy_door(p, PROXY_IGNORE);
    int ignored = dial();
    say(ignored, "hello!");
    hear_nothing(ignored);
    assert_int_equal(proxy_stats(p).connections, before + 1);
    proxy_door(p, PROXY_OPEN);
    hear(ignored, "hello!");
    hear_nothing(fd);
    proxy_cut(p);
    hear_reset(fd);
    close(fd);
    close(ignored);
    close(there);
}

static void test_no_server(void **state)
{
    (void)state;
    end_echo(&echo);
    int fd = dial();
    hear_reset(fd);
    close(fd);
    start_echo(&echo);
}

static void test_hostile(void **state)
{
    (void)state;
    int fd = dial();
    says_and_hears(fd, "a");
    proxy_inject(p, PROXY_TO_CLIENT, "surprise", 8);
    hear(fd, "surprise");
    proxy_inject(p, PROXY_TO_SERVER, "echo", 4);
    hear(fd, "echo");
    proxy_rule(p, PROXY_TO_CLIENT, &(struct proxy_rule){.replace = "-ERR", .replace_size = 4});
    char bytes[8];
    say(fd, "12345678");
    for (size_t got = 0; got < sizeof bytes;) {
        ssize_t more = recv(fd, bytes + got, sizeof bytes - got, 0);
        assert_true(more > 0);
        got += (size_t)more;
    }
    for (int i = 1; i < 8; i++) /* where in the text it begins, what came before decides */
        assert_int_equal(strchr("-ERR-", bytes[i - 1]) != NULL && strchr("-ERR", bytes[i]) != NULL, 1);
    close(fd);
    proxy_rule(p, PROXY_TO_CLIENT,
               &(struct proxy_rule){.action = PROXY_INJECT, .after = 2, .bytes = "!!", .size = 2, .times = 1});
    fd = dial();
    say(fd, "abcd");
    hear(fd, "ab!!cd");
    close(fd);
    works();
}

/* 1,000 bytes of zero through bits that turn over; returns what arrived. */
static void flipped(uint64_t seed, unsigned piece, unsigned char *out)
{
    static const char zeros[1000];
    struct proxy_rule rule = {.seed = seed, .flips = 50000, .piece = piece};
    int fd = dial();
    proxy_rule(p, PROXY_TO_CLIENT, &rule);
    assert_int_equal(send(fd, zeros, sizeof zeros, MSG_NOSIGNAL), sizeof zeros);
    for (size_t got = 0; got < sizeof zeros;) {
        ssize_t more = recv(fd, out + got, sizeof zeros - got, 0);
        assert_true(more > 0);
        got += (size_t)more;
    }
    close(fd);
    proxy_calm(p);
}

/* The same seed, connection and place: the same bits, however the bytes travelled. */
static void test_flips(void **state)
{
    unsigned char first[1000], again[1000];
    unsigned changed = 0, different = 0;
    flipped(7, 0, first);
    end(state);
    begin(state);
    flipped(7, 1, again);
    assert_memory_equal(first, again, sizeof first);
    end(state);
    begin(state);
    flipped(8, 0, again);
    for (int i = 0; i < 1000; i++) {
        changed += first[i] != 0;
        different += first[i] != again[i];
        assert_int_equal(first[i] & (first[i] - 1), 0); /* one bit */
    }
    assert_in_range(changed, 20, 100);
    assert_true(different > 20);
}

static unsigned count_fds(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* Traffic under a plan, whatever happens to it; afterwards all is well, and all is given back. */
static void try_traffic(uint64_t seed)
{
    struct timeval moment = {0, 20000};
    uint64_t sum = 0;
    proxy_plan(p, seed, PROXY_HOSTILE);
    while (sum < 25) {
        char bytes[1000] = {0};
        int fd = try_dial();
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment);
            for (int i = 0; i < 20 && send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0; i++)
                if (recv(fd, bytes, sizeof bytes, 0) == 0)
                    break;
            close(fd);
        }
        struct proxy_stats stats = proxy_stats(p);
        sum = 0;
        for (int i = 0; i < PROXY_FAULTS; i++)
            sum += stats.faults[i];
    }
}

static void test_plan(void **state)
{
    end(state);
    unsigned before = count_fds();
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(state);
        try_traffic(seed);
        proxy_calm(p);
        works();
        proxy_cut(p);
        until(proxy_stats(p).open == 0 && count_fds() == before + 4); /* two listeners, reserved, event */
        end(state);
        until(count_fds() == before);
    }
    begin(state);
}

/* What happens first is the same each time. */
static void test_plan_repeats(void **state)
{
    (void)state;
    struct proxy_stats first[2];
    for (int i = 0; i < 2; i++) {
        uint64_t sum = 0;
        end(state);
        begin(state);
        proxy_plan(p, 42, 0);
        while (sum < 3) {
            first[i] = proxy_stats(p);
            sum = 0;
            for (int f = 0; f < PROXY_FAULTS; f++)
                sum += first[i].faults[f];
        }
    }
    assert_memory_equal(first[0].faults, first[1].faults, sizeof first[0].faults);
}

static void *disturb(void *argument)
{
    for (unsigned i = 0; i < 200; i++) {
        struct proxy_rule rule = {.piece = i % 7, .any_piece = true, .replace = "x", .replace_size = i % 2};
        proxy_rule(p, i % 2 ? PROXY_TO_CLIENT : PROXY_TO_SERVER, &rule);
        if (i % 20 == 0)
            proxy_cut(p);
        if (i % 30 == 0)
            proxy_inject(p, PROXY_TO_CLIENT, "zz", 2);
        proxy_door(p, i % 10 == 0 ? PROXY_REFUSE : PROXY_OPEN);
    }
    return argument;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        test_start(&threads[i], disturb, NULL);
    for (int i = 0; i < 100; i++) {
        int fd = try_dial();
        if (fd < 0)
            continue;
        send(fd, "hello", 5, MSG_NOSIGNAL);
        close(fd);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    proxy_calm(p);
    works();
}

#define with(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with(test_plain), with(test_much),         with(test_delay),   with(test_pieces),
        with(test_merge), with(test_drip),         with(test_reset),   with(test_counted_from_the_rule),
        with(test_fin),   with(test_half_fin),     with(test_silence), with(test_silence_hides_death),
        with(test_door),  with(test_no_server),    with(test_hostile), with(test_flips),
        with(test_plan),  with(test_plan_repeats), with(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
