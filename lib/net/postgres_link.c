#define _GNU_SOURCE /* uselocale */
#include "postgres_link.h"

#include <fcntl.h>
#include <locale.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* ----------------------------------------------------------------------------------------------------- what is said -- */

/* One line of it, without what is for PostgreSQL's programmers; lines are joined with "; ". */
static void tidy(char *out, size_t size, const char *text)
{
    size_t used = 0;
    out[0] = '\0';
    while (*text != '\0' && used + 1 < size) {
        size_t length = strcspn(text, "\n");
        const char *line = text;
        text += length + (text[length] == '\n');
        if (length == 0 || strncmp(line, "LOCATION:", 9) == 0)
            continue;
        int count = snprintf(out + used, size - used, "%s%.*s", used != 0 ? "; " : "", (int)length, line);
        used += count > 0 ? (size_t)count : 0;
    }
}

/* Before a connection stands libpq gives SQLSTATE within the text only, and only when asked to be verbose: takes it out,
 * "FATAL:  28P01: password" becomes "FATAL:  password". */
static void take_code(char *text, char code[6])
{
    code[0] = '\0';
    for (char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        size_t length = strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (length != 5 || strncmp(at + 8, ": ", 2) != 0)
            continue;
        memcpy(code, at + 3, 5);
        code[5] = '\0';
        memmove(at + 3, at + 10, strlen(at + 10) + 1);
        return;
    }
}

/* No password makes it right, no wait: who, with what, to which database. */
static bool is_terminal_code(const char *code)
{
    static const char *const codes[] = {"28", "3D000", "42501", "42704", "22023", "0A000"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strncmp(code, codes[i], strlen(codes[i])) == 0)
            return true;
    return false;
}

/* What libpq itself finds wrong has no code; its words are C's, see steps_in_english. */
static bool is_terminal_text(const char *text)
{
    static const char *const parts[] = {
        "no password supplied",      "certificate verify failed",
        "certificate required",      "unknown ca",
        "bad certificate",           "certificate expired",
        "does not match host name",  "does not exist\nEither provide the file",
        "root certificate file",     "certificate file",
        "private key file",          "server does not support SSL",
        "no pg_hba.conf entry",      "invalid sslmode",
        "invalid connection option", "invalid target_session_attrs",
        "invalid channel_binding",   "invalid gssencmode",
        "invalid integer value",     "channel binding required",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(text, parts[i]) != NULL)
            return true;
    return false;
}

static bool failed(struct postgres_link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool failed(struct postgres_link *link, const char *format, ...)
{
    va_list arguments;
    if (link->state == POSTGRES_FAILED)
        return false;
    va_start(arguments, format);
    vsnprintf(link->why, sizeof link->why, format, arguments);
    va_end(arguments);
    link->state = POSTGRES_FAILED;
    return false;
}

static bool connection_failed(struct postgres_link *link)
{
    char text[240], code[6];
    const char *said = link->conn != NULL ? PQerrorMessage(link->conn) : "out of memory";
    tidy(text, sizeof text, said);
    take_code(text, code);
    link->terminal = is_terminal_code(code) || (code[0] == '\0' && is_terminal_text(said)) ||
                     (link->conn != NULL && PQconnectionNeedsPassword(link->conn));
    link->spoke = code[0] != '\0' || link->terminal || strstr(said, "hot standby") != NULL;
    return failed(link, "%s", text);
}

/* It was open. A server that ends a connection says why before, and to nobody's question. */
static bool lost(struct postgres_link *link)
{
    char text[200];
    tidy(text, sizeof text, PQerrorMessage(link->conn));
    return failed(link, "%s", link->goodbye[0] != '\0' ? link->goodbye : text);
}

static void take_notice(void *context, const PGresult *result)
{
    struct postgres_link *link = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *said = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char text[200];
    tidy(text, sizeof text, said != NULL ? said : PQresultErrorMessage(result));
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        memcpy(link->goodbye, text, sizeof text);
    else
        link->sink->log(link->sink, BCAST_LOG_INFO, text);
}

static void take_text_notice(void *context, const char *said)
{
    struct postgres_link *link = context;
    char text[200];
    tidy(text, sizeof text, said);
    link->sink->log(link->sink, BCAST_LOG_INFO, text);
}

/* -------------------------------------------------------------------------------------------------------- connecting -- */

static bool watch(struct postgres_link *link, int events)
{
    int fd = PQsocket(link->conn);
    if (link->watched != 0 && fd != link->fd) {
        (void)link->sink->watch(link->sink, link->fd, 0);
        link->watched = 0;
    }
    link->fd = fd;
    if (events == link->watched || fd < 0)
        return true;
    if (link->sink->watch(link->sink, fd, events) != BCAST_OK)
        return failed(link, "out of memory");
    link->watched = events;
    return true;
}

void postgres_start(struct postgres_link *link, struct bcast_sink *sink, const struct postgres_url *url,
                    const struct postgres_host *host)
{
    const char *keys[POSTGRES_OPTIONS + 4], *values[POSTGRES_OPTIONS + 4];
    size_t count = url->count;
    memcpy(keys, url->keys, count * sizeof *keys);
    memcpy(values, url->values, count * sizeof *values);
    keys[count] = "port", values[count++] = host->port;
    if (host->name != NULL)
        keys[count] = "host", values[count++] = host->name;
    if (host->address != NULL)
        keys[count] = "hostaddr", values[count++] = host->address;
    keys[count] = NULL;
    *link = (struct postgres_link){.sink = sink, .fd = -1, .state = POSTGRES_CONNECTING};
    link->conn = PQconnectStartParams(keys, values, 0);
    if (link->conn == NULL || PQstatus(link->conn) == CONNECTION_BAD) {
        (void)connection_failed(link);
        return;
    }
    PQsetNoticeReceiver(link->conn, take_notice, link);
    PQsetNoticeProcessor(link->conn, take_text_notice, link);
    PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE); /* see take_code */
    (void)watch(link, BCAST_WATCH_WRITE);
}

static void opened(struct postgres_link *link)
{
    PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
    link->state = POSTGRES_OPEN;
    link->heard_ns = clock_ns();
    if (PQsetnonblocking(link->conn, 1) != 0)
        (void)lost(link);
    else
        (void)watch(link, BCAST_WATCH_READ);
}

/* libpq's complaints are understood by their text, so this thread has no language meanwhile. */
static PostgresPollingStatusType step_in_english(PGconn *conn)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = (locale_t)0;
    if (c != (locale_t)0)
        before = uselocale(c);
    PostgresPollingStatusType next = PQconnectPoll(conn);
    if (c != (locale_t)0) {
        uselocale(before);
        freelocale(c);
    }
    return next;
}

enum postgres_state postgres_step(struct postgres_link *link)
{
    if (link->state != POSTGRES_CONNECTING)
        return link->state;
    switch (step_in_english(link->conn)) {
    case PGRES_POLLING_OK: opened(link); break;
    case PGRES_POLLING_READING: (void)watch(link, BCAST_WATCH_READ); break;
    case PGRES_POLLING_WRITING: (void)watch(link, BCAST_WATCH_WRITE); break;
    default: (void)connection_failed(link);
    }
    return link->state;
}

/* ---------------------------------------------------------------------------------------------------------- commands -- */

static bool flush(struct postgres_link *link)
{
    int left = PQflush(link->conn);
    if (left < 0)
        return lost(link);
    return watch(link, BCAST_WATCH_READ | (left > 0 ? BCAST_WATCH_WRITE : 0));
}

static void forget_answer(struct postgres_link *link)
{
    PQclear(link->answer.result);
    link->answer = (struct postgres_answer){.result = NULL};
}

bool postgres_asked(struct postgres_link *link, int sent)
{
    if (!sent)
        return lost(link);
    forget_answer(link);
    link->asked = true;
    link->asked_ns = clock_ns();
    return flush(link);
}

bool postgres_ask(struct postgres_link *link, const char *sql)
{
    return postgres_asked(link, PQsendQuery(link->conn, sql));
}

/* What TLS has decrypted and libpq had no room for: poll knows nothing of it. */
static bool has_more(const struct postgres_link *link)
{
    SSL *ssl = PQsslStruct(link->conn, "OpenSSL");
    return ssl != NULL && SSL_pending(ssl) > 0;
}

bool postgres_read(struct postgres_link *link)
{
    link->heard_ns = clock_ns();
    do
        if (!PQconsumeInput(link->conn))
            return lost(link);
    while (has_more(link));
    return !(link->watched & BCAST_WATCH_WRITE) || flush(link);
}

static void take_error(struct postgres_link *link, const PGresult *result)
{
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    struct postgres_answer *answer = &link->answer;
    if (answer->code[0] != '\0')
        return; /* the first says it */
    snprintf(answer->code, sizeof answer->code, "%s", code != NULL ? code : "?");
    tidy(answer->text, sizeof answer->text, text != NULL ? text : PQresultErrorMessage(result));
    if (code == NULL || (severity != NULL && strcmp(severity, "ERROR") != 0))
        (void)failed(link, "%s", answer->text); /* the connection ends: what became of the command nobody knows */
}

static void take_result(struct postgres_link *link, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)
        take_error(link, result);
    if (status != PGRES_TUPLES_OK) {
        PQclear(result);
        return;
    }
    PQclear(link->answer.result);
    link->answer.result = result;
}

bool postgres_answered(struct postgres_link *link)
{
    while (link->asked && link->state == POSTGRES_OPEN && !PQisBusy(link->conn)) {
        PGresult *result = PQgetResult(link->conn);
        link->answering = result != NULL;
        if (result == NULL) {
            link->asked = false;
            return true;
        }
        take_result(link, result);
    }
    return false;
}

/* libpq stops reading where an answer begins: what was notified before it comes before it, and, as long as only a part of
 * the answer is there, nothing that might belong behind it. */
PGnotify *postgres_notification(struct postgres_link *link)
{
    return link->answering || link->state != POSTGRES_OPEN ? NULL : PQnotifies(link->conn);
}

/* -------------------------------------------------------------------------------------------------------------- life -- */

static void finish(struct postgres_link *link)
{
    forget_answer(link);
    PQfinish(link->conn);
    *link = (struct postgres_link){.fd = -1};
}

void postgres_leave(struct postgres_link *link)
{
    if (link->watched != 0)
        (void)link->sink->watch(link->sink, link->fd, 0);
    finish(link);
}

/* libpq says goodbye to the server in any case; here it says so to nobody. */
void postgres_close(struct postgres_link *link)
{
    int fd = link->conn != NULL ? PQsocket(link->conn) : -1;
    int nobody = fd >= 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    if (nobody >= 0) {
        (void)dup2(nobody, fd);
        close(nobody);
    } else if (fd >= 0) {
        close(fd);
    }
    finish(link);
}
