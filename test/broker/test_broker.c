/* The fixtures themselves: servers start, answer, die, come back, and leave nothing behind. */
#define _GNU_SOURCE
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"

static struct broker *start(const char *kind)
{
    struct broker *b = NULL;
    assert_int_equal(broker_start(kind, &b), 0);
    assert_non_null(b);
    return b;
}

static int dial(unsigned port)
{
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&where, sizeof where) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Reads until the answer ends in a line, for it may come in parts. */
static void ask(int fd, const char *question, char *answer, size_t size)
{
    size_t got = 0;
    assert_int_equal(send(fd, question, strlen(question), MSG_NOSIGNAL), strlen(question));
    while (got == 0 || answer[got - 1] != '\n') {
        ssize_t more = recv(fd, answer + got, size - 1 - got, 0);
        assert_true(more > 0);
        got += (size_t)more;
    }
    answer[got] = '\0';
}

static void expect(struct broker *b, const char *question, const char *start_of_answer)
{
    char answer[1000];
    int fd = dial(broker_port(b));
    assert_true(fd >= 0);
    ask(fd, question, answer, sizeof answer);
    if (strncmp(answer, start_of_answer, strlen(start_of_answer)) != 0)
        fail_msg("%s was answered with %s", question, answer);
    close(fd);
}

static bool exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

static unsigned count_fds(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/* Killed by a process that has ended, it is another's to bury: a zombie is gone enough. */
static bool is_dead(pid_t pid)
{
    char path[64], line[200] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return true;
    char *got = fgets(line, sizeof line, in);
    fclose(in);
    return got == NULL || strstr(line, ") Z ") != NULL;
}

/* Ended with `end`; neither the process, nor its folder, nor a child, nor an fd is left. */
static void nothing_is_left(const char *kind, int (*end)(struct broker *))
{
    unsigned before = count_fds();
    struct broker *b = start(kind);
    char *log = strdup(broker_file(b, "log"));
    pid_t pid = broker_pid(b);
    assert_true(exists(log));
    if (end != NULL)
        assert_int_equal(end(b), 0);
    broker_end(b);
    assert_true(is_gone(pid));
    *strrchr(log, '/') = '\0';
    assert_false(exists(log));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(count_fds(), before);
    free(log);
}

static void test_every_kind(void **state)
{
    (void)state;
    for (const char *const *kind = broker_kinds(); *kind != NULL; kind++) {
        print_message("%s\n", *kind);
        nothing_is_left(*kind, NULL);
    }
    nothing_is_left("redis", broker_stop);
    nothing_is_left("redis", broker_kill);
    nothing_is_left("redis", broker_pause);
}

static void test_restart(void **state)
{
    (void)state;
    struct broker *b = start("redis");
    unsigned port = broker_port(b);
    for (int i = 0; i < 3; i++) {
        pid_t pid = broker_pid(b);
        int fd = dial(port);
        char byte;
        expect(b, "PING\r\n", "+PONG");
        assert_int_equal(i == 0 ? broker_stop(b) : i == 1 ? broker_kill(b) : broker_restart(b), 0);
        assert_true(is_gone(pid));
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
        if (i < 2)
            assert_int_equal(dial(port), -1);
        assert_int_equal(broker_restart(b), 0);
        assert_int_equal(broker_port(b), port);
    }
    expect(b, "PING\r\n", "+PONG");
    broker_end(b);
}

static void test_what_is_kept(void **state)
{
    (void)state;
    struct broker *forgets = start("redis"), *keeps = start("redis_aof");
    for (int i = 0; i < 2; i++) {
        struct broker *b = i == 0 ? forgets : keeps;
        expect(b, "SET key value\r\n", "+OK");
        broker_kill(b);
        assert_int_equal(broker_restart(b), 0);
        expect(b, "GET key\r\n", i == 0 ? "$-1" : "$5\r\nvalue");
        broker_end(b);
    }
}

static void test_two_at_once(void **state)
{
    (void)state;
    struct broker *a = start("redis"), *b = start("redis");
    assert_int_not_equal(broker_port(a), broker_port(b));
    broker_kill(a);
    expect(b, "PING\r\n", "+PONG");
    broker_end(a);
    expect(b, "PING\r\n", "+PONG");
    broker_end(b);
}

static void test_pause(void **state)
{
    (void)state;
    struct broker *b = start("redis");
    struct timeval a_moment = {0, 50000};
    char answer[100];
    int fd = dial(broker_port(b));
    ask(fd, "PING\r\n", answer, sizeof answer);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(broker_pause(b), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &a_moment, sizeof a_moment);
        assert_int_equal(send(fd, "PING\r\n", 6, MSG_NOSIGNAL), 6);
        assert_int_equal(recv(fd, answer, sizeof answer, 0), -1);
        assert_int_equal(broker_resume(b), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){20, 0}, sizeof a_moment);
        assert_int_equal(recv(fd, answer, sizeof answer, 0), 7);
    }
    close(fd);
    assert_int_equal(broker_pause(b), 0);
    assert_int_equal(broker_restart(b), 0); /* also out of a pause */
    expect(b, "PING\r\n", "+PONG");
    broker_kill(b);
    assert_int_equal(broker_pause(b), -1);
    broker_end(b);
}

static void test_users(void **state)
{
    (void)state;
    struct broker *b = start("redis_acl");
    expect(b, "PING\r\n", "-NOAUTH");
    expect(b, "AUTH secret\r\n", "+OK");
    expect(b, "AUTH full full-password\r\n", "+OK");
    expect(b, "AUTH full another\r\n", "-WRONGPASS");
    expect(b, "AUTH full full-password\r\nSUBSCRIBE any\r\n", "+OK\r\n*3");
    expect(b, "AUTH app app-password\r\nPUBLISH app:1 x\r\n", "+OK\r\n:0");
    expect(b, "AUTH app app-password\r\nPUBLISH other x\r\n", "+OK\r\n-NOPERM");
    expect(b, "AUTH mute mute-password\r\nSUBSCRIBE any\r\n", "+OK\r\n-NOPERM");
    expect(b, "AUTH mute mute-password\r\nPUBLISH any x\r\n", "+OK\r\n:0");
    assert_string_equal(strchr(broker_value(b, "URL_PASSWORD"), ':') + 3,
                        strstr(broker_value(b, "URL_PASSWORD"), ":se"));
    assert_null(broker_value(b, "URL_"));
    broker_end(b);
}

/* Does `openssl s_client` get through, with these options? */
static bool handshake(struct broker *b, const char *host, const char *more)
{
    char command[1000], folder[200];
    snprintf(folder, sizeof folder, "%s", broker_file(b, "log"));
    *strrchr(folder, '/') = '\0';
    snprintf(command, sizeof command,
             "cd %s && printf 'PING\\r\\nQUIT\\r\\n' | timeout 60 openssl s_client -quiet -connect 127.0.0.1:%u "
             "-verify_return_error -verify_hostname %s %s 2> client.log | grep -q PONG",
             folder, broker_port(b), host, more);
    return system(command) == 0;
}

static void test_tls(void **state)
{
    (void)state;
    struct broker *b = start("redis_tls");
    assert_true(exists(broker_value(b, "CA")));
    assert_true(handshake(b, "localhost", "-CAfile ca.pem"));
    assert_true(handshake(b, "localhost", "-CAfile ca.pem -cert client.pem -key client.key"));
    assert_false(handshake(b, "localhost", "-CAfile other_ca.pem"));
    assert_false(handshake(b, "example.org", "-CAfile ca.pem"));
    assert_int_equal(broker_restart(b), 0);
    assert_true(handshake(b, "localhost", "-CAfile ca.pem")); /* the same certificates as before */
    broker_end(b);
    b = start("redis_tls_expired");
    assert_false(handshake(b, "localhost", "-CAfile ca.pem"));
    broker_end(b);
    b = start("redis_tls_wrong_host");
    assert_false(handshake(b, "localhost", "-CAfile ca.pem"));
    assert_true(handshake(b, "elsewhere.invalid", "-CAfile ca.pem"));
    broker_end(b);
    b = start("redis_mtls");
    assert_false(handshake(b, "localhost", "-CAfile ca.pem"));
    assert_false(handshake(b, "localhost", "-CAfile ca.pem -cert other_client.pem -key other_client.key"));
    assert_true(handshake(b, "localhost", "-CAfile ca.pem -cert client.pem -key client.key"));
    broker_end(b);
}

static void test_arguments(void **state)
{
    (void)state;
    struct broker *b = NULL;
    const char *const args[] = {"--client-output-buffer-limit", "pubsub 1mb 1mb 1", NULL};
    assert_int_equal(broker_start_with("redis", args, &b), 0);
    for (int i = 0; i < 2; i++) {
        expect(b, "CONFIG GET client-output-buffer-limit\r\n", "*2\r\n$26\r\nclient-output-buffer-limit\r\n");
        assert_int_equal(broker_restart(b), 0);
    }
    broker_end(b);
    const char *const wrong[] = {"--no-such-option", "1", NULL};
    unsigned before = count_fds();
    print_message("a complaint of the server follows:\n");
    assert_int_equal(broker_start_with("redis", wrong, &b), -1);
    assert_null(b);
    assert_int_equal(broker_start("nonsense", &b), -1);
    assert_int_equal(count_fds(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* A socket that a client library did not mark stays open for its peer as long as anyone has it. */
static void test_inherits_nothing(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    struct broker *b = start("redis");
    close(ends[1]);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
    broker_end(b);
}

struct left {
    pid_t pid;
    char log[200];
};

/* A test program that starts a broker, tells its parent about it, and comes to a bad end. */
static void crash(int out)
{
    struct broker *b;
    struct left left = {0};
    if (broker_start("redis", &b) == 0) {
        left.pid = broker_pid(b);
        snprintf(left.log, sizeof left.log, "%s", broker_file(b, "log"));
        if (write(out, &left, sizeof left) == (ssize_t)sizeof left)
            kill(getpid(), SIGKILL);
    }
    _exit(1);
}

static void test_crash(void **state)
{
    (void)state;
    int ends[2];
    struct left left;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        crash(ends[1]);
    close(ends[1]);
    assert_int_equal(read(ends[0], &left, sizeof left), sizeof left);
    close(ends[0]);
    waitpid(pid, NULL, 0);
    until(is_dead(left.pid));
    *strrchr(left.log, '/') = '\0';
    until(!exists(left.log));
}

/* A thread may start a broker and end: the broker stays. */
static void *start_one(void *out)
{
    return broker_start("redis", out) == 0 ? out : NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct broker *b[3];
    pthread_t threads[3];
    void *good;
    for (int i = 0; i < 3; i++)
        test_start(&threads[i], start_one, &b[i]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_non_null(good);
    }
    for (int i = 0; i < 3; i++) {
        expect(b[i], "PING\r\n", "+PONG");
        broker_end(b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),   cmocka_unit_test(test_restart),
        cmocka_unit_test(test_what_is_kept), cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_pause),        cmocka_unit_test(test_users),
        cmocka_unit_test(test_tls),          cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_crash),        cmocka_unit_test(test_inherits_nothing),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
