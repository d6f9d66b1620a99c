#define _GNU_SOURCE
#include "broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60
#define PORTS_MAX 7
#define ARGS_MAX 64
#define VALUES_MAX 32
#define FILES_MAX 32

struct kind {
    const char *name, *script;
    unsigned ports;
    bool (*answers)(struct broker *);
    int goodbye; /* the signal that makes it stop in good order; 0: SIGTERM */
};

struct broker {
    const struct kind *kind;
    char folder[200];
    char ports[PORTS_MAX][24];    /* NAME=NUMBER */
    int reserved[PORTS_MAX];      /* sockets that keep the ports ours, also while the server is down */
    char *args[ARGS_MAX + 16];    /* env ... sh script kind ARGS */
    pid_t pid;                    /* of the server, which leads a process group; 0: does not run */
    pid_t keeper;                 /* see keep.sh */
    int keeper_fd;                /* -1: none */
    char *text;                   /* the file with the values */
    char *values[VALUES_MAX + 1]; /* in it */
    char *files[FILES_MAX];
    bool paused;
};

static bool redis_answers(struct broker *b);
static bool postgres_answers(struct broker *b);
static bool kafka_answers(struct broker *b);

static const struct kind kinds[] = {
    {"redis", "redis.sh", 1, redis_answers, 0},
    {"redis_aof", "redis.sh", 1, redis_answers, 0},
    {"redis_acl", "redis.sh", 1, redis_answers, 0},
    {"redis_tls", "redis.sh", 1, redis_answers, 0},
    {"redis_mtls", "redis.sh", 1, redis_answers, 0},
    {"redis_tls_expired", "redis.sh", 1, redis_answers, 0},
    {"redis_tls_wrong_host", "redis.sh", 1, redis_answers, 0},
    {"redis_unix", "redis.sh", 1, redis_answers, 0},
    {"postgres", "postgres.sh", 1, postgres_answers, SIGINT},
    {"postgres_base64", "postgres.sh", 1, postgres_answers, SIGINT},
    {"postgres_tls", "postgres.sh", 1, postgres_answers, SIGINT},
    {"postgres_standby", "postgres.sh", 1, postgres_answers, SIGINT},
    {"pgbouncer", "postgres.sh", 2, postgres_answers, 0},
    {"kafka", "kafka.sh", 7, kafka_answers, 0},
    {"kafka_no_create", "kafka.sh", 7, kafka_answers, 0},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

const char *const *broker_kinds(void)
{
    static const char *names[KINDS + 1];
    for (size_t i = 0; i < KINDS; i++)
        names[i] = kinds[i].name;
    return names;
}

/* ----------------------------------------------------------------------------------------------------- is it up? -- */

static bool ask(int fd, const char *question, size_t question_size, char *answer, size_t size)
{
    struct timeval patience = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, question, question_size, MSG_NOSIGNAL) != (ssize_t)question_size)
        return false;
    ssize_t got = recv(fd, answer, size - 1, 0);
    answer[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* On a Unix socket in its folder: nobody else's server can answer there. */
static bool ask_at(struct broker *b, const char *name, const char *question, size_t question_size, char *answer,
                   size_t size)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    const char *path = broker_file(b, name);
    if (strlen(path) >= sizeof where.sun_path)
        return false;
    strcpy(where.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof where) == 0 &&
                ask(fd, question, question_size, answer, size);
    if (fd >= 0)
        close(fd);
    return good;
}

/* It also answers while it loads what it had kept: that is not yet ready. */
static bool redis_answers(struct broker *b)
{
    char answer[200];
    return ask_at(b, "redis.sock", "PING\r\n", 6, answer, sizeof answer) &&
           (strncmp(answer, "+PONG", 5) == 0 || strncmp(answer, "-NOAUTH", 7) == 0);
}

/* A greeting of protocol 3.0: who is let in is answered with R, and while it starts everybody with E. */
static bool postgres_answers(struct broker *b)
{
    static const char greeting[] = "\0\0\0\x1f\0\3\0\0user\0app\0database\0app\0";
    char name[40], answer[200];
    snprintf(name, sizeof name, ".s.PGSQL.%u", broker_port(b));
    return ask_at(b, name, greeting, sizeof greeting, answer, sizeof answer) && answer[0] == 'R';
}

/* It listens for clients when it is ready to serve them: whoever is told what it can do, finds it so. */
static bool kafka_answers(struct broker *b)
{
    static const char versions[14] = {0, 0,  0, 10 /* bytes follow */, 0, 18 /* ApiVersions */, 0, 0, 0, 0, 0,
                                      1, -1, -1};
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[200];
    where.sin_port = htons((in_port_t)broker_port(b));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof where) == 0 &&
                ask(fd, versions, sizeof versions, answer, sizeof answer);
    if (fd >= 0)
        close(fd);
    return good;
}

/* ------------------------------------------------------------------------------------------------------- waiting -- */

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void breathe(void)
{
    nanosleep(&(struct timespec){0, 2000000}, NULL);
}

static bool has_ended(pid_t pid, int more)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | more) == 0 && info.si_pid == pid;
}

/* Calls `visit` for a process and all that descend from it, parents first. PostgreSQL's each lead a session of their own,
 * so that no signal to the group reaches them. */
static void each_process(pid_t pid, void (*visit)(pid_t, void *), void *context)
{
    char path[64];
    int child;
    visit(pid, context);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *in = fopen(path, "re");
    while (in != NULL && fscanf(in, "%d", &child) == 1)
        each_process(child, visit, context);
    if (in != NULL)
        fclose(in);
}

static void signal_one(pid_t pid, void *what)
{
    kill(pid, *(int *)what);
}

static void signal_all(pid_t pid, int what)
{
    kill(-pid, what);
    each_process(pid, signal_one, &what);
}

/* The process number stays taken until it is reaped, so the group that is killed is ours. */
static void sweep(struct broker *b)
{
    kill(-b->pid, SIGKILL);
    while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    b->pid = 0;
    b->paused = false;
    if (write(b->keeper_fd, "\n", 1) != 1)
        fprintf(stderr, "broker: the keeper of %s is gone\n", b->folder);
}

static bool await_end(struct broker *b)
{
    time_t start = seconds();
    while (!has_ended(b->pid, WNOWAIT)) {
        if (seconds() - start > PATIENCE_S)
            return false;
        breathe();
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------------- the start -- */

static int complain(struct broker *b, const char *what)
{
    char line[512];
    fprintf(stderr, "broker: %s: %s: %s\n", b->kind->name, what, errno != 0 ? strerror(errno) : "");
    FILE *log = fopen(broker_file(b, "log"), "re");
    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        fprintf(stderr, "broker: | %s", line);
    if (log != NULL)
        fclose(log);
    return -1;
}

/* Whoever binds with SO_REUSEADDR, as servers do, may listen on a port that another socket is merely bound to in the
 * same way; and the system gives it to nobody. So ports cannot collide, nor be taken while a server is down. */
static int reserve(struct broker *b, unsigned i)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    int fd = b->reserved[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(fd, (struct sockaddr *)&where, size) != 0 || getsockname(fd, (struct sockaddr *)&where, &size) != 0)
        return complain(b, "no port");
    if (i == 0)
        snprintf(b->ports[i], sizeof b->ports[i], "PORT=%u", ntohs(where.sin_port));
    else
        snprintf(b->ports[i], sizeof b->ports[i], "PORT_%u=%u", i + 1, ntohs(where.sin_port));
    return 0;
}

/* In a new process, perhaps of a program with threads: system calls only. */
static void become(char *const *words, int in, int out)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (dup2(in, 0) < 0 || (out >= 0 && (dup2(out, 1) < 0 || dup2(out, 2) < 0)))
        _exit(126);
    close_range(3, ~0u, 0); /* a test's sockets must not live on in the server */
    execvp(words[0], words);
    _exit(127);
}

static int start_keeper(struct broker *b)
{
    int ends[2];
    char *words[] = {"sh", BROKER_SCRIPTS "/keep.sh", b->folder, NULL};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return complain(b, "pipe");
    b->keeper = fork();
    if (b->keeper == 0) {
        setsid(); /* what ends a test may be meant for its whole process group */
        become(words, ends[0], -1);
    }
    close(ends[0]);
    b->keeper_fd = ends[1];
    return b->keeper > 0 ? 0 : complain(b, "fork");
}

/* The server begins when its keeper knows of it. If this process ends before, so does the new one. */
static void wait_for_go(int go)
{
    char byte;
    if (read(go, &byte, 1) != 1)
        _exit(125);
}

static int run(struct broker *b)
{
    char line[32], *const file = b->files[0];
    int go[2], log = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || nothing < 0 || pipe2(go, O_CLOEXEC) != 0)
        return complain(b, "log");
    b->pid = fork();
    if (b->pid == 0) {
        setpgid(0, 0);
        close(go[1]);
        wait_for_go(go[0]);
        become(b->args, nothing, log);
    }
    setpgid(b->pid, b->pid);
    int length = snprintf(line, sizeof line, "%d\n", (int)b->pid);
    bool good = b->pid > 0 && write(b->keeper_fd, line, (size_t)length) == length && write(go[1], "", 1) == 1;
    close(go[0]);
    close(go[1]);
    close(log);
    close(nothing);
    if (!good) {
        b->pid = b->pid > 0 ? b->pid : 0;
        return complain(b, "fork");
    }
    return 0;
}

static int await_answer(struct broker *b)
{
    time_t start = seconds();
    while (!b->kind->answers(b)) {
        errno = 0;
        if (has_ended(b->pid, WNOWAIT)) {
            complain(b, "ended at once");
            sweep(b);
            return -1;
        }
        if (seconds() - start > PATIENCE_S)
            return complain(b, "does not answer");
        breathe();
    }
    return 0;
}

static int read_values(struct broker *b)
{
    FILE *in = fopen(broker_file(b, "values"), "re");
    size_t room = 0, count = 0;
    free(b->text);
    b->text = NULL;
    memset(b->values, 0, sizeof b->values);
    if (in == NULL || getdelim(&b->text, &room, '\0', in) < 0) {
        if (in != NULL)
            fclose(in);
        return complain(b, "its script tells nothing");
    }
    fclose(in);
    char *rest = NULL;
    for (char *line = strtok_r(b->text, "\n", &rest); line != NULL && count < VALUES_MAX;
         line = strtok_r(NULL, "\n", &rest))
        b->values[count++] = line;
    return 0;
}

static int begin(struct broker *b)
{
    if (b->pid != 0 && broker_stop(b) != 0)
        return -1;
    unlink(broker_file(b, "values"));
    return run(b) != 0 || await_answer(b) != 0 || read_values(b) != 0 ? -1 : 0;
}

static void add_word(struct broker *b, unsigned *count, const char *word)
{
    if (*count + 1 < sizeof b->args / sizeof b->args[0])
        b->args[(*count)++] = strdup(word);
}

static void make_args(struct broker *b, const char *const *args)
{
    char word[300];
    unsigned count = 0;
    add_word(b, &count, "env");
    add_word(b, &count, "LC_ALL=C");
    snprintf(word, sizeof word, "DIR=%s", b->folder);
    add_word(b, &count, word);
    for (unsigned i = 0; i < b->kind->ports; i++)
        add_word(b, &count, b->ports[i]);
    add_word(b, &count, "sh");
    snprintf(word, sizeof word, "%s/%s", BROKER_SCRIPTS, b->kind->script);
    add_word(b, &count, word);
    add_word(b, &count, b->kind->name);
    for (; args != NULL && *args != NULL; args++)
        add_word(b, &count, *args);
}

static struct broker *find_kind(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            struct broker *b = calloc(1, sizeof *b);
            if (b == NULL)
                abort();
            b->kind = &kinds[i];
            b->keeper_fd = -1;
            for (unsigned p = 0; p < PORTS_MAX; p++)
                b->reserved[p] = -1;
            return b;
        }
    fprintf(stderr, "broker: there is no kind '%s'; there are:", name);
    for (size_t i = 0; i < KINDS; i++)
        fprintf(stderr, " %s", kinds[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

static int prepare(struct broker *b, const char *const *args)
{
    const char *where = getenv("TMPDIR");
    /* short, for a Unix socket's path has room for 107 bytes */
    snprintf(b->folder, sizeof b->folder, "%s/broker.XXXXXX", where != NULL && strlen(where) < 80 ? where : "/tmp");
    if (mkdtemp(b->folder) == NULL) {
        b->folder[0] = '\0';
        return complain(b, "mkdtemp");
    }
    broker_file(b, "log"); /* now, for its path is wanted where allocating may not be */
    for (unsigned i = 0; i < b->kind->ports; i++)
        if (reserve(b, i) != 0)
            return -1;
    make_args(b, args);
    return start_keeper(b);
}

int broker_start_with(const char *kind, const char *const *args, struct broker **out)
{
    struct broker *b = *out = find_kind(kind);
    if (b == NULL)
        return -1;
    if (prepare(b, args) != 0 || begin(b) != 0) {
        broker_end(b);
        *out = NULL;
        return -1;
    }
    return 0;
}

int broker_start(const char *kind, struct broker **out)
{
    return broker_start_with(kind, NULL, out);
}

/* ------------------------------------------------------------------------------------------------- while it runs -- */

struct dead {
    pid_t list[200];
    unsigned count;
};

static void remember(pid_t pid, void *context)
{
    struct dead *dead = context;
    kill(pid, SIGSTOP); /* it shall not make more of them while we count */
    if (dead->count < sizeof dead->list / sizeof dead->list[0])
        dead->list[dead->count++] = pid;
}

/* Or dead, and not ours to bury. */
static bool is_gone(pid_t pid)
{
    char path[64], line[300] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return true;
    bool read = fgets(line, sizeof line, in) != NULL;
    fclose(in);
    return !read || strstr(line, ") Z ") != NULL;
}

int broker_kill(struct broker *b)
{
    struct dead dead = {.count = 0};
    if (b->pid == 0)
        return 0;
    each_process(b->pid, remember, &dead);
    for (unsigned i = dead.count; i-- > 1;)
        kill(dead.list[i], SIGKILL);
    sweep(b);
    for (unsigned i = 1; i < dead.count; i++) /* a new server would find the old one's memory still in use */
        while (!is_gone(dead.list[i]))
            breathe();
    return 0;
}

int broker_stop(struct broker *b)
{
    if (b->pid == 0)
        return 0;
    kill(b->pid, b->kind->goodbye != 0 ? b->kind->goodbye : SIGTERM);
    signal_all(b->pid, SIGCONT); /* it may be paused */
    bool good = await_end(b);
    if (!good) {
        errno = 0;
        complain(b, "does not stop");
    }
    sweep(b);
    return good ? 0 : -1;
}

int broker_restart(struct broker *b)
{
    return begin(b);
}

/* Returns when it has happened: a signal is only on its way. */
static int signal_and_wait(struct broker *b, int what, int event, bool paused)
{
    time_t start = seconds();
    siginfo_t info = {.si_pid = 0};
    if (b->pid == 0)
        return complain(b, "pause or resume: it does not run");
    signal_all(b->pid, what);
    while (b->paused != paused) {
        if (waitid(P_PID, (id_t)b->pid, &info, event | WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == b->pid) {
            if (info.si_code != CLD_STOPPED && info.si_code != CLD_CONTINUED)
                return complain(b, "has ended");
            waitid(P_PID, (id_t)b->pid, &info, event | WNOHANG);
            b->paused = paused;
        } else if (seconds() - start > PATIENCE_S) {
            return complain(b, "takes no signal");
        } else {
            breathe();
        }
        info.si_pid = 0;
    }
    return 0;
}

int broker_pause(struct broker *b)
{
    return signal_and_wait(b, SIGSTOP, WSTOPPED, true);
}

int broker_resume(struct broker *b)
{
    return signal_and_wait(b, SIGCONT, WCONTINUED, false);
}

static void end_keeper(struct broker *b)
{
    close(b->keeper_fd);
    while (b->keeper > 0 && waitpid(b->keeper, NULL, 0) < 0 && errno == EINTR)
        ;
}

void broker_end(struct broker *b)
{
    if (b == NULL)
        return;
    if (b->pid != 0)
        broker_stop(b);
    if (b->keeper_fd >= 0)
        end_keeper(b);
    else if (b->folder[0] != '\0')
        rmdir(b->folder);
    for (unsigned i = 0; i < PORTS_MAX; i++)
        if (b->reserved[i] >= 0)
            close(b->reserved[i]);
    for (unsigned i = 0; i < FILES_MAX; i++)
        free(b->files[i]);
    for (unsigned i = 0; b->args[i] != NULL; i++)
        free(b->args[i]);
    free(b->text);
    free(b);
}

/* -------------------------------------------------------------------------------------------- what is said of it -- */

const char *broker_value(struct broker *b, const char *name)
{
    size_t length = strlen(name);
    for (char **value = b->values; *value != NULL; value++)
        if (strncmp(*value, name, length) == 0 && (*value)[length] == '=')
            return *value + length + 1;
    return NULL;
}

const char *broker_url(struct broker *b)
{
    return broker_value(b, "URL");
}

char *const *broker_values(struct broker *b)
{
    return b->values;
}

unsigned broker_port(struct broker *b)
{
    return (unsigned)strtoul(strchr(b->ports[0], '=') + 1, NULL, 10);
}

pid_t broker_pid(struct broker *b)
{
    return b->pid;
}

const char *broker_file(struct broker *b, const char *name)
{
    size_t folder = strlen(b->folder);
    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (b->files[i] == NULL && asprintf(&b->files[i], "%s/%s", b->folder, name) < 0)
            abort();
        if (strcmp(b->files[i] + folder + 1, name) == 0)
            return b->files[i];
    }
    fprintf(stderr, "broker: more than %d different files\n", FILES_MAX);
    abort();
}
