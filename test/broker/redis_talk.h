/* What tests of redis:// have in common: a raw connection to ask the server itself, and a broadcast with everything it
 * says written down. */
#ifndef REDIS_TALK_H
#define REDIS_TALK_H

#include "test.h"

#include <stdarg.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker.h"
#include "proxy.h"

/* A text that stays good for the next fifteen of them. */
__attribute__((format(printf, 1, 2))) static inline const char *text(const char *format, ...)
{
    static char texts[16][600];
    static unsigned used;
    char *at = texts[used++ % 16];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(at, sizeof texts[0], format, arguments);
    va_end(arguments);
    return at;
}

static inline struct broker *start_with(const char *kind, const char *const *args)
{
    struct broker *broker = NULL;
    assert_int_equal(broker_start_with(kind, args, &broker), 0);
    return broker;
}

static inline struct proxy *start_proxy(struct broker *broker)
{
    struct proxy *proxy = NULL;
    assert_int_equal(proxy_start("127.0.0.1", broker_port(broker), 0, &proxy), 0);
    return proxy;
}

/* ------------------------------------------------------------------------------------------- asking the server -- */

static inline int raw_open(struct broker *broker)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    snprintf(where.sun_path, sizeof where.sun_path, "%s", broker_value(broker, "SOCKET"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&where, sizeof where), 0);
    return fd;
}

/* Everything up to the answer to the PING that follows the question. */
static inline const char *raw_ask(int fd, const char *question)
{
    static char answer[200000];
    const char *whole = text("%s\r\nPING end\r\n", question), *end = "$3\r\nend\r\n";
    size_t got = 0, length = strlen(end);
    assert_int_equal(send(fd, whole, strlen(whole), MSG_NOSIGNAL), strlen(whole));
    do {
        ssize_t more = recv(fd, answer + got, sizeof answer - 1 - got, 0);
        assert_true(more > 0);
        got += (size_t)more;
    } while (got < length || memcmp(answer + got - length, end, length) != 0);
    answer[got - length] = '\0';
    return answer;
}

static inline const char *ask(struct broker *broker, const char *question)
{
    int fd = raw_open(broker);
    if (broker_value(broker, "URL_NOBODY") != NULL) /* it has users */
        assert_string_equal(raw_ask(fd, "AUTH full full-password"), "+OK\r\n");
    const char *answer = raw_ask(fd, question);
    close(fd);
    return answer;
}

static inline void tell(struct broker *broker, const char *order)
{
    const char *answer = ask(broker, order);
    if (strcmp(answer, "+OK\r\n") != 0)
        fail_msg("%s: the server says %s", order, answer);
}

/* How many connections the server has subscribed to a channel. */
static inline unsigned subscribers(struct broker *broker, const char *channel)
{
    const char *answer = ask(broker, text("PUBSUB NUMSUB %s", channel)), *count = strrchr(answer, ':');
    assert_non_null(count);
    return (unsigned)strtoul(count + 1, NULL, 10);
}

/* --------------------------------------------------------------------------------------- a broadcast that is heard -- */

struct link {
    struct bcast *b;
    _Atomic int state, status, times[4]; /* the last state and its status; how often each was told */
    _Atomic long thread;                 /* that told the last one */
    pthread_mutex_t mutex;               /* of what follows */
    char said[60000];                    /* every line of the log, every reason */
    size_t used;
};

static inline void link_note(struct link *link, const char *line)
{
    pthread_mutex_lock(&link->mutex);
    size_t left = sizeof link->said - link->used, size = strlen(line);
    if (size + 2 < left)
        link->used += (size_t)snprintf(link->said + link->used, left, "%s\n", line);
    pthread_mutex_unlock(&link->mutex);
}

static inline void link_log(void *context, enum bcast_log_level level, const char *line)
{
    (void)level;
    link_note(context, line);
}

static inline void link_state(void *context, enum bcast_state state, int status, const char *reason)
{
    struct link *link = context;
    link_note(link, reason);
    link->status = status;
    link->thread = syscall(SYS_gettid);
    link->times[state]++;
    link->state = (int)state;
}

static inline bool link_said(struct link *link, const char *what)
{
    pthread_mutex_lock(&link->mutex);
    bool found = strstr(link->said, what) != NULL;
    pthread_mutex_unlock(&link->mutex);
    return found;
}

/* To be freed with link_close. `options` may be NULL. */
static inline struct link *link_new(void)
{
    struct link *link = calloc(1, sizeof *link);
    assert_non_null(link);
    pthread_mutex_init(&link->mutex, NULL);
    link->state = -1;
    return link;
}

static inline int link_try(struct link *link, const char *url, const struct bcast_options *options)
{
    struct bcast_options mine = options != NULL ? *options : bcast_options_init();
    mine.on_log = link_log;
    mine.on_state = link_state;
    mine.log_context = mine.state_context = link;
    return bcast_open(url, &mine, &link->b);
}

static inline struct link *link_open(const char *url)
{
    struct link *link = link_new();
    must(link_try(link, url, NULL));
    return link;
}

/* The I/O thread has nothing to do, and does nothing. */
static inline bool link_sleeps(const struct link *link)
{
    char line[300] = "";
    FILE *in = fopen(text("/proc/self/task/%ld/stat", (long)link->thread), "re");
    assert_non_null(in);
    bool good = fgets(line, sizeof line, in) != NULL && strstr(line, ") S ") != NULL;
    fclose(in);
    return good;
}

static inline void until_idle(const struct link *link)
{
    unsigned in_a_row = 0;
    until((in_a_row = link_sleeps(link) ? in_a_row + 1 : 0) == 100);
}

/* Without waiting for the server. */
static inline struct link *link_begin(const char *url)
{
    struct bcast_options options = bcast_options_init();
    struct link *link = link_new();
    options.open_timeout_ms = BCAST_NOWAIT;
    must(link_try(link, url, &options));
    return link;
}

static inline void link_close(struct link *link)
{
    bcast_close(link->b);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

/* The call's error text names it. */
static inline void must_name(const char *what)
{
    if (strstr(bcast_error_text(), what) == NULL)
        fail_msg("'%s' is not named in: %s", what, bcast_error_text());
}

/* Opening ends with that status, and a text that names `what`. */
static inline void must_not_open(const char *url, int expected, const char *what)
{
    struct bcast_options options = bcast_options_init();
    struct link *link = link_new();
    options.open_timeout_ms = expected == BCAST_ERR_CONNECT ? 300 : 20000;
    int status = link_try(link, url, &options);
    if (status != expected)
        fail_msg("%s: status %d (%s), not %d", url, status, bcast_error_text(), expected);
    assert_null(link->b);
    must_name(what);
    link_close(link);
}

/* A message goes round. */
static inline void talks(struct bcast *b, const char *channel)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = test_subscribe(b, channel, BCAST_DROP_OLDEST, 0);
    test_publish(b, channel, "round");
    test_expect(sub, &event, "round");
    must(bcast_flush(b, 20000));
    bcast_release(&event);
    bcast_unsubscribe(sub);
}

static inline void opens_and_talks(const char *url)
{
    struct bcast *b = NULL;
    int status = bcast_open(url, NULL, &b);
    if (status != BCAST_OK)
        fail_msg("%s: status %d (%s)", url, status, bcast_error_text());
    talks(b, "app:round");
    bcast_close(b);
}

/* The next event is a gap for a lost connection. */
static inline void expect_gap(struct bcast_sub *sub, struct bcast_event *event)
{
    must(bcast_next(sub, event, 20000));
    assert_int_equal(event->kind, BCAST_GAP);
    assert_int_equal(event->reason, BCAST_GAP_RECONNECT);
}

/* Publishes until the subscription, whose connection was lost, gets a message again. */
static inline void until_heard(struct bcast *b, const char *channel, struct bcast_sub *sub, struct bcast_event *event)
{
    time_t begin = time(NULL);
    do {
        if (time(NULL) - begin > 60)
            fail_msg("nothing is received on %s any more", channel);
        test_publish(b, channel, "again");
        int status = bcast_next(sub, event, 50);
        if (status != BCAST_TIMEOUT)
            must(status);
    } while (event->kind != BCAST_MESSAGE);
    assert_int_equal(event->size, 5);
}

#endif
