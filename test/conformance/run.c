/* Runs the cases, and tells what became of them. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"
#include "run.h"

#include <time.h>
#include <unistd.h>

static const struct conf_case *const tables[] = {conf_messages,      conf_extras,  conf_channels,
                                                 conf_subscriptions, conf_limits,  conf_endings,
                                                 conf_broker,        conf_restart, conf_history};

static const struct conf_case *case_number(size_t index)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct conf_case *is = tables[i]; is->name != NULL; is++)
            if (index-- == 0)
                return is;
    return NULL;
}

const char *bcast_conformance_name(size_t index)
{
    const struct conf_case *is = case_number(index);
    return is != NULL ? is->name : NULL;
}

unsigned long conf_new_seed(void)
{
    uint64_t state = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid() ^ (uint64_t)conf_now_us();
    unsigned long seed = conf_random(&state);
    return seed != 0 ? seed : 1;
}

/* What an older program does not know of is as if it were zero. */
static int read_settings(struct bcast_conformance *with, const struct bcast_conformance *given)
{
    if (given == NULL || given->struct_size < sizeof given->struct_size)
        return BCAST_ERR_INVALID;
    size_t size = given->struct_size < sizeof *with ? given->struct_size : sizeof *with;
    memset(with, 0, sizeof *with);
    memcpy(with, given, size);
    if ((with->url == NULL) == (with->open == NULL) || (with->stop == NULL) != (with->start == NULL))
        return BCAST_ERR_INVALID;
    if (with->seed == 0)
        with->seed = conf_new_seed();
    if (with->rounds == 0)
        with->rounds = 10000;
    if (with->deadline_ms <= 0)
        with->deadline_ms = 60000;
    return BCAST_OK;
}

static void look_at_broker(struct conf_test *t)
{
    MUST(t, bcast_capabilities(conf_open(t, NULL), &t->can));
}

/* What can the broker do? And is it there at all? */
static int ask_capabilities(const struct bcast_conformance *with, struct bcast_capabilities *can)
{
    static const struct conf_case first = {"open", look_at_broker, 0, 0};
    struct conf_test test = {.with = *with, .is = &first, .can = bcast_capabilities_init()};
    conf_execute(&test);
    *can = test.can;
    if (!test.failed)
        return BCAST_OK;
    if (with->report != NULL)
        with->report(with->report_context, first.name, BCAST_CONFORMANCE_FAILED, test.reason, 0);
    return BCAST_ERR_CONNECT;
}

static const char *not_here(const struct conf_test *t)
{
    static const char *const names[] = {"BLOCK",   "HISTORY", "PATTERNS",   "KEYS",      "HEADERS", "BINARY",
                                        "CONFIRM", "IDS",     "TIMESTAMPS", "PROCESSES", "RESUME"};
    static char text[64];
    const struct conf_case *is = t->is;
    if (is->needs & CONF_RESTART && t->with.stop == NULL)
        return "the broker cannot be stopped and started here";
    if (is->needs & CONF_SHARED && t->with.isolated)
        return "every connection is a broker of its own";
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((is->can & ~t->can.can) >> i & 1) {
            snprintf(text, sizeof text, "the backend does not claim BCAST_CAN_%s", names[i]);
            return text;
        }
    return NULL;
}

static enum bcast_conformance_result run_case(const struct conf_case *is, const struct bcast_conformance *with,
                                              const struct bcast_capabilities *can)
{
    struct conf_test test = {.with = *with, .is = is, .can = *can, .random = with->seed};
    enum bcast_conformance_result result = BCAST_CONFORMANCE_SKIPPED;
    int64_t began = conf_now_us();
    const char *reason = not_here(&test);
    if (reason == NULL) {
        conf_execute(&test);
        reason = test.reason;
        result = test.failed    ? BCAST_CONFORMANCE_FAILED
                 : test.skipped ? BCAST_CONFORMANCE_SKIPPED
                                : BCAST_CONFORMANCE_PASSED;
    }
    if (with->report != NULL)
        with->report(with->report_context, is->name, result, reason, (unsigned long)((conf_now_us() - began) / 1000));
    return result;
}

int bcast_conformance_run(const struct bcast_conformance *conformance)
{
    struct bcast_conformance with;
    struct bcast_capabilities can;
    const struct conf_case *is;
    int failed = 0, found = 0, status = read_settings(&with, conformance);
    if (status == BCAST_OK)
        status = ask_capabilities(&with, &can);
    if (status != BCAST_OK)
        return status;
    for (size_t i = 0; (is = case_number(i)) != NULL; i++)
        if (with.only == NULL || strstr(is->name, with.only) != NULL) {
            found++;
            failed += run_case(is, &with, &can) == BCAST_CONFORMANCE_FAILED;
        }
    return found != 0 ? failed : BCAST_ERR_NOT_FOUND;
}
