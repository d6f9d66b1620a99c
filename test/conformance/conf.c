#define _POSIX_C_SOURCE 200809L
#include "conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

struct conf_handle {
    struct bcast *b; /* NULL: closed already */
    struct conf_handle *next;
};

struct conf_memory {
    struct conf_memory *next;
    max_align_t bytes[];
};

struct conf_thread {
    pthread_t thread;
    struct conf_test *test;
    conf_run run;
    void *argument;
    struct conf_thread *next;
};

static _Thread_local jmp_buf *way_out;

/* ------------------------------------------------------------------------------------------------- ways to end -- */

static void shut_all(struct conf_test *t)
{
    for (struct conf_handle *handle = t->handles; handle != NULL; handle = handle->next)
        if (handle->b != NULL)
            (void)bcast_shutdown(handle->b);
}

void conf_fail(struct conf_test *t, const char *format, ...)
{
    va_list arguments;
    pthread_mutex_lock(&t->mutex);
    if (!t->failed) {
        va_start(arguments, format);
        vsnprintf(t->reason, sizeof t->reason, format, arguments);
        va_end(arguments);
        t->failed = true;
        shut_all(t); /* with the mutex: so none of them is closed meanwhile */
    }
    pthread_mutex_unlock(&t->mutex);
    longjmp(*way_out, 1);
}

void conf_skip(struct conf_test *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(t->reason, sizeof t->reason, format, arguments);
    va_end(arguments);
    t->skipped = true;
    longjmp(*way_out, 1);
}

void conf_note(struct conf_test *t, const char *format, ...)
{
    va_list arguments;
    pthread_mutex_lock(&t->mutex);
    va_start(arguments, format);
    if (!t->failed)
        vsnprintf(t->reason, sizeof t->reason, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&t->mutex);
}

void conf_status(struct conf_test *t, int expected, int got, const char *call)
{
    if (got != expected)
        conf_fail(t, "expected %d (%s), got %d (%s: %s) from %s", expected, bcast_status_text(expected), got,
                  bcast_status_text(got), got != BCAST_OK ? bcast_error_text() : "", call);
    if (got < 0 && bcast_error_text()[0] == '\0')
        conf_fail(t, "expected bcast_error_text to say why, got none with %d (%s) from %s", got, bcast_status_text(got),
                  call);
}

void conf_refused(struct conf_test *t, int got, const char *what)
{
    if (got != BCAST_ERR_INVALID && got != BCAST_ERR_UNSUPPORTED && got != BCAST_ERR_TOO_LARGE &&
        got != BCAST_ERR_REFUSED)
        conf_fail(t, "expected INVALID, UNSUPPORTED, TOO_LARGE or REFUSED for %s, got %d (%s)", what, got,
                  bcast_status_text(got));
    if (bcast_error_text()[0] == '\0')
        conf_fail(t, "expected bcast_error_text to say why %s is refused, got none", what);
}

int64_t conf_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t conf_deadline(const struct conf_test *t)
{
    return conf_now_us() + (int64_t)t->with.deadline_ms * 1000;
}

bool conf_overdue(struct conf_test *t, int64_t deadline)
{
    struct timespec moment = {0, 200000}; /* not what makes it happen: leaves the processor to those who do */
    if (t->failed)
        longjmp(*way_out, 1);
    if (conf_now_us() > deadline)
        return true;
    nanosleep(&moment, NULL);
    return false;
}

/* --------------------------------------------------------------------------------------------------- ingredients -- */

unsigned conf_scale(const struct conf_test *t, unsigned number, unsigned least)
{
    uint64_t scaled = (uint64_t)number * t->with.rounds / 10000;
    return scaled < least ? least : scaled > UINT32_MAX / 2 ? UINT32_MAX / 2 : (unsigned)scaled;
}

/* splitmix64 */
uint32_t conf_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(z >> 32);
}

void *conf_memory(struct conf_test *t, size_t size)
{
    struct conf_memory *memory = calloc(1, sizeof *memory + size);
    if (memory == NULL)
        conf_fail(t, "the suite itself ran out of memory");
    pthread_mutex_lock(&t->mutex);
    memory->next = t->memory;
    t->memory = memory;
    pthread_mutex_unlock(&t->mutex);
    return memory->bytes;
}

/* Only what every broker takes, and short: 63 bytes is all that some have. */
const char *conf_name(struct conf_test *t, const char *what)
{
    static _Atomic unsigned counter;
    char *name = conf_memory(t, 64);
    snprintf(name, 64, "bc-%08lx-%u-%.32s", t->with.seed & 0xffffffff, counter++, what);
    return name;
}

/* An error in the log is the library's word on a backend that breaks its contract. Told at the end: the I/O thread must
 * not be left by a jump. */
static void note_log(void *context, enum bcast_log_level level, const char *text)
{
    struct conf_test *t = context;
    if (level != BCAST_LOG_ERROR)
        return;
    pthread_mutex_lock(&t->mutex);
    if (!t->complained)
        snprintf(t->complaint, sizeof t->complaint, "%s", text);
    t->complained = true;
    pthread_mutex_unlock(&t->mutex);
}

struct bcast *conf_open(struct conf_test *t, const struct bcast_options *options)
{
    struct bcast_options with = options != NULL ? *options : bcast_options_init();
    struct conf_handle *handle = conf_memory(t, sizeof *handle);
    with.backends = t->with.backends;
    with.on_log = note_log;
    with.log_context = t;
    with.open_timeout_ms = with.open_timeout_ms != 0 ? with.open_timeout_ms : t->with.deadline_ms;
    with.publish_timeout_ms = with.publish_timeout_ms != 0 ? with.publish_timeout_ms : t->with.deadline_ms;
    int status = t->with.open != NULL ? t->with.open(t->with.context, &with, &handle->b)
                                      : bcast_open(t->with.url, &with, &handle->b);
    conf_status(t, BCAST_OK, status, "opening another connection");
    pthread_mutex_lock(&t->mutex);
    handle->next = t->handles;
    t->handles = handle;
    if (t->first == NULL)
        t->first = handle->b;
    bool late = t->failed;
    pthread_mutex_unlock(&t->mutex);
    if (late)
        longjmp(*way_out, 1);
    return handle->b;
}

struct bcast *conf_another(struct conf_test *t)
{
    return t->with.isolated && t->first != NULL ? t->first : conf_open(t, NULL);
}

void conf_close(struct conf_test *t, struct bcast *b)
{
    pthread_mutex_lock(&t->mutex);
    for (struct conf_handle *handle = t->handles; handle != NULL; handle = handle->next)
        if (handle->b == b)
            handle->b = NULL;
    if (t->first == b)
        t->first = NULL;
    pthread_mutex_unlock(&t->mutex);
    bcast_close(b);
}

struct bcast_sub_options conf_limit(size_t limit_messages)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.limit_messages = limit_messages;
    return options;
}

struct conf_reader *conf_subscribe_many(struct conf_test *t, struct bcast *b, const char *const *channels, size_t count,
                                        const struct bcast_sub_options *options)
{
    struct bcast_sub_options with = options != NULL ? *options : bcast_sub_options_init();
    struct conf_reader *reader = conf_memory(t, sizeof *reader);
    if (with.timeout_ms == 0)
        with.timeout_ms = t->with.deadline_ms;
    MUST(t, bcast_subscribe_many(b, channels, NULL, count, &with, &reader->sub));
    pthread_mutex_lock(&t->mutex);
    reader->next = t->readers;
    t->readers = reader;
    pthread_mutex_unlock(&t->mutex);
    return reader;
}

struct conf_reader *conf_subscribe(struct conf_test *t, struct bcast *b, const char *channel,
                                   const struct bcast_sub_options *options)
{
    return conf_subscribe_many(t, b, &channel, 1, options);
}

void conf_unsubscribe(struct conf_test *t, struct conf_reader *reader)
{
    pthread_mutex_lock(&t->mutex);
    for (struct conf_reader **at = &t->readers; *at != NULL; at = &(*at)->next)
        if (*at == reader) {
            *at = reader->next;
            break;
        }
    pthread_mutex_unlock(&t->mutex);
    bcast_release(&reader->event);
    bcast_unsubscribe(reader->sub);
    reader->sub = NULL;
}

static void *thread_run(void *argument)
{
    struct conf_thread *thread = argument;
    jmp_buf here;
    way_out = &here;
    if (setjmp(here) == 0)
        thread->run(thread->test, thread->argument);
    return NULL;
}

void conf_start(struct conf_test *t, conf_run run, void *argument)
{
    struct conf_thread *thread = conf_memory(t, sizeof *thread);
    thread->test = t;
    thread->run = run;
    thread->argument = argument;
    if (pthread_create(&thread->thread, NULL, thread_run, thread) != 0)
        conf_fail(t, "the suite itself could not start a thread");
    thread->next = t->threads;
    t->threads = thread;
}

static void join_all(struct conf_test *t)
{
    for (; t->threads != NULL; t->threads = t->threads->next)
        pthread_join(t->threads->thread, NULL);
}

void conf_join(struct conf_test *t)
{
    join_all(t);
    if (t->failed)
        longjmp(*way_out, 1);
}

void conf_stop_broker(struct conf_test *t)
{
    t->down = true;
    int code = t->with.stop(t->with.context);
    CHECK(t, code == 0, "the broker could not be stopped: %d", code);
}

void conf_start_broker(struct conf_test *t)
{
    int code = t->with.start(t->with.context);
    CHECK(t, code == 0, "the broker could not be started: %d", code);
    t->down = false;
}

/* --------------------------------------------------------------------------------------------- the life of a test -- */

static void clean_up(struct conf_test *t)
{
    shut_all(t);
    join_all(t);
    for (struct conf_reader *reader = t->readers; reader != NULL; reader = reader->next) {
        bcast_release(&reader->event);
        bcast_unsubscribe(reader->sub);
    }
    for (struct conf_handle *handle = t->handles; handle != NULL; handle = handle->next)
        bcast_close(handle->b);
    for (struct conf_memory *memory = t->memory, *next; memory != NULL; memory = next) {
        next = memory->next;
        free(memory);
    }
    if (t->complained && !t->failed) {
        snprintf(t->reason, sizeof t->reason, "expected no errors in the log, got: %s", t->complaint);
        t->failed = true;
    }
    if (t->down)
        (void)t->with.start(t->with.context); /* for the next case */
    pthread_mutex_destroy(&t->mutex);
}

void conf_execute(struct conf_test *t)
{
    jmp_buf here;
    way_out = &here;
    pthread_mutex_init(&t->mutex, NULL);
    if (setjmp(here) == 0)
        t->is->run(t);
    way_out = NULL;
    clean_up(t);
}
