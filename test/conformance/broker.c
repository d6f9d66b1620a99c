/* What a broadcast tells of itself: results, statistics, states, capabilities; and other processes. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------ results -- */

struct fate {
    _Atomic int results, status;
};

static void note_result(void *context, int status)
{
    struct fate *fate = context;
    fate->status = status;
    fate->results++;
}

static void results_add_up(struct conf_test *t, const struct bcast_stats *before, const struct bcast_stats *after,
                           unsigned count)
{
    uint64_t results =
        after->confirmed + after->failed + after->unknown - before->confirmed - before->failed - before->unknown;
    CHECK(t, after->published - before->published == count, "expected %u messages published, bcast_stats says %" PRIu64,
          count, after->published - before->published);
    CHECK(t, results == count, "expected %u results (confirmed, failed, unknown), bcast_stats says %" PRIu64, count,
          results);
    CHECK(t, after->queued == 0, "expected nothing queued after a flush, bcast_stats says %" PRIu64, after->queued);
}

static void results(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "fate");
    unsigned count = conf_scale(t, 5000, 300);
    struct fate *fates = conf_memory(t, count * sizeof *fates);
    struct bcast_stats before = conf_stats(t, b);
    struct bcast_message m = bcast_message_init();
    m.channel = channel;
    m.on_result = note_result;
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        m.size = (size_t)snprintf(text, sizeof text, "%u", i);
        m.data = text;
        m.context = &fates[i];
        MUST(t, bcast_publish_message(b, &m));
    }
    MUST(t, bcast_flush(b, t->with.deadline_ms));
    struct bcast_stats after = conf_stats(t, b);
    for (unsigned i = 0; i < count; i++) {
        CHECK(t, fates[i].results == 1, "expected one result for message %u, got %d", i, (int)fates[i].results);
        CHECK(t, fates[i].status == BCAST_OK, "expected message %u to be confirmed, got %d (%s)", i,
              (int)fates[i].status, bcast_status_text(fates[i].status));
    }
    results_add_up(t, &before, &after, count);
    MUST(t, bcast_flush(b, BCAST_NOWAIT));
}

/* Whatever is under way when it is closed: each message has one result afterwards. */
static void results_at_close(struct conf_test *t)
{
    enum { count = 20 };
    for (unsigned round = conf_scale(t, 200, 10); round-- > 0;) {
        struct bcast *b = conf_open(t, NULL);
        struct fate *fates = conf_memory(t, count * sizeof *fates);
        struct bcast_message m = bcast_message_init();
        m.channel = conf_name(t, "fate");
        m.data = "x";
        m.size = 1;
        m.on_result = note_result;
        for (unsigned i = 0; i < count; i++) {
            m.context = &fates[i];
            MUST(t, bcast_publish_message(b, &m));
        }
        if (round % 2) /* in the middle of it; else perhaps before it has begun */
            UNTIL(t, fates[0].results != 0, "the first message has a result");
        conf_close(t, b);
        for (unsigned i = 0; i < count; i++)
            CHECK(t, fates[i].results == 1, "expected one result for message %u of %d when closed, got %d", i, count,
                  (int)fates[i].results);
    }
}

/* ------------------------------------------------------------------------------------------------------- states -- */

struct states {
    _Atomic int count;
    int seen[16];
};

static void note_state(void *context, enum bcast_state state, int status, const char *reason)
{
    struct states *states = context;
    (void)status, (void)reason;
    if (states->count < 16)
        states->seen[states->count] = (int)state;
    states->count++;
}

static void states(struct conf_test *t)
{
    static const int expected[] = {BCAST_CONNECTING, BCAST_CONNECTED, BCAST_CLOSED};
    struct bcast_options options = bcast_options_init();
    struct states *states = conf_memory(t, sizeof *states);
    options.on_state = note_state;
    options.state_context = states;
    struct bcast *b = conf_open(t, &options);
    UNTIL(t, states->count >= 2, "on_state is called with CONNECTING and CONNECTED");
    conf_close(t, b);
    CHECK(t, states->count == 3, "expected 3 states (CONNECTING, CONNECTED, CLOSED), got %d", (int)states->count);
    for (int i = 0; i < 3; i++)
        CHECK(t, states->seen[i] == expected[i], "expected state number %d to be %d, got %d", i, expected[i],
              states->seen[i]);
}

/* ------------------------------------------------------------------------------------------------- capabilities -- */

static void capabilities(struct conf_test *t)
{
    struct bcast_capabilities again = bcast_capabilities_init();
    MUST(t, bcast_capabilities(conf_open(t, NULL), &again));
    CHECK(t,
          again.can == t->can.can && again.max_channel_bytes == t->can.max_channel_bytes &&
              again.max_message_bytes == t->can.max_message_bytes,
          "expected the same capabilities from every connection, got 0x%" PRIx64
          " (names of %zu bytes, messages of %zu) "
          "and 0x%" PRIx64 " (%zu, %zu)",
          t->can.can, t->can.max_channel_bytes, t->can.max_message_bytes, again.can, again.max_channel_bytes,
          again.max_message_bytes);
    CHECK(t, !(again.can & BCAST_CAN_RESUME) || again.can & BCAST_CAN_CONFIRM || t->with.stop == NULL,
          "BCAST_CAN_RESUME is claimed without BCAST_CAN_CONFIRM: nobody can tell what was kept");
}

static void no_history(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "none");
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_page *page = NULL;
    struct bcast_sub *sub = NULL;
    char text[64];
    if (t->can.can & BCAST_CAN_HISTORY)
        conf_skip(t, "the backend keeps messages: see the cases of history");
    MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_history(b, channel, NULL, &page));
    options.history = 10;
    MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_subscribe(b, channel, &options, &sub));
    options = bcast_sub_options_init();
    options.since_us = 1;
    MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_subscribe(b, channel, &options, &sub));
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_position(reader->sub, text, sizeof text, NULL));
}

/* ---------------------------------------------------------------------------------------------- other processes -- */

/* In the child: once it is told that the parent has subscribed, it publishes through a connection of its own. */
static int publish_from_child(struct conf_test *t, int go, const char *channel)
{
    struct bcast_options options = bcast_options_init();
    struct bcast *b = NULL;
    char byte;
    options.backends = t->with.backends;
    if (read(go, &byte, 1) != 1)
        return 1;
    int status =
        t->with.open != NULL ? t->with.open(t->with.context, &options, &b) : bcast_open(t->with.url, &options, &b);
    if (status == BCAST_OK)
        status = bcast_publish(b, channel, "from another process", 20);
    if (status == BCAST_OK)
        status = bcast_flush(b, t->with.deadline_ms);
    bcast_close(b);
    return status == BCAST_OK ? 0 : 2;
}

static void processes(struct conf_test *t)
{
    const char *channel = conf_name(t, "process");
    int go[2], code = -1;
    if (pipe(go) != 0)
        conf_fail(t, "the suite itself could not make a pipe");
    pid_t child = fork(); /* before anything is open, and with no other thread of ours */
    if (child == 0)
        _exit(publish_from_child(t, go[0], channel));
    close(go[0]);
    CHECK(t, child > 0, "the suite itself could not fork");
    struct conf_reader *reader = conf_subscribe(t, conf_open(t, NULL), channel, NULL);
    ssize_t told = write(go[1], "g", 1);
    close(go[1]);
    CHECK(t, told == 1 && waitpid(child, &code, 0) == child, "the suite itself lost its child");
    CHECK(t, WIFEXITED(code) && WEXITSTATUS(code) == 0,
          "expected another process to publish, it ended with %d (1: not told to; 2: the library failed)",
          WIFEXITED(code) ? WEXITSTATUS(code) : -1);
    conf_hear(t, reader, "from another process");
}

const struct conf_case conf_broker[] = {
    {"results", results, 0, 0},
    {"results-at-close", results_at_close, 0, 0},
    {"states", states, 0, 0},
    {"capabilities", capabilities, 0, 0},
    {"history-is-refused", no_history, 0, 0},
    {"other-processes", processes, CONF_SHARED, BCAST_CAN_PROCESSES},
    {NULL, NULL, 0, 0},
};
