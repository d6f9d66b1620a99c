/* What the cases are written with. A case is a function; it fails by conf_fail, from any of its threads, and cleans
 * nothing up: connections, subscriptions, threads and memory belong to its test, which ends them all in the end. */
#ifndef CONF_H
#define CONF_H

#include <broadcaster/conformance.h>

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum conf_needs {
    CONF_RESTART = 1 << 0, /* stop and start */
    CONF_SHARED = 1 << 1   /* several connections to one broker */
};

struct conf_test;

struct conf_case {
    const char *name;
    void (*run)(struct conf_test *t);
    unsigned needs; /* enum conf_needs, or-ed */
    uint64_t can;   /* enum bcast_can, or-ed: skipped without */
};

/* Each file of cases has such a table, with an entry without a name at its end. */
extern const struct conf_case conf_messages[], conf_extras[], conf_channels[], conf_subscriptions[], conf_limits[],
    conf_endings[], conf_broker[], conf_restart[], conf_history[];

/* A subscription with the event it is read with. */
struct conf_reader {
    struct bcast_sub *sub;
    struct bcast_event event;
    struct conf_reader *next;
};

struct conf_handle;
struct conf_memory;
struct conf_thread;

struct conf_test {
    struct bcast_conformance with; /* the defaults filled in */
    const struct conf_case *is;
    struct bcast_capabilities can; /* of the backend */
    uint64_t random;               /* the case's thread only */
    bool down;                     /* the broker was stopped */
    struct bcast *first;           /* the first connection */

    pthread_mutex_t mutex; /* guards what follows */
    struct conf_handle *handles;
    struct conf_reader *readers;
    struct conf_memory *memory;
    struct conf_thread *threads;
    _Atomic bool failed;
    bool skipped, complained;
    char reason[768], complaint[256];
};

/* ------------------------------------------------------------------------------------------------- ways to end -- */

#if defined(__GNUC__)
#define CONF_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define CONF_PRINTF(text, first)
#endif

/* Ends the thread of the case that calls it. The first failure counts, and shuts every connection down, so that the
 * other threads end too. */
_Noreturn void conf_fail(struct conf_test *t, const char *format, ...) CONF_PRINTF(2, 3);
_Noreturn void conf_skip(struct conf_test *t, const char *format, ...) CONF_PRINTF(2, 3);
/* Something worth knowing about a case that passes. */
void conf_note(struct conf_test *t, const char *format, ...) CONF_PRINTF(2, 3);

/* The call must have had this status; an error must have come with a text. */
void conf_status(struct conf_test *t, int expected, int got, const char *call);
#define MUST_BE(t, expected, call) conf_status(t, expected, call, #call)
#define MUST(t, call) conf_status(t, BCAST_OK, call, #call)

/* The call was refused: it says why, and that it is the argument's fault and not the moment's. */
void conf_refused(struct conf_test *t, int got, const char *what);

#define CHECK(t, condition, ...)                                                                                       \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            conf_fail(t, __VA_ARGS__);                                                                                 \
    } while (0)

/* Waits until something is so, which other threads make so. */
#define UNTIL(t, condition, ...)                                                                                       \
    do {                                                                                                               \
        int64_t conf_end = conf_deadline(t);                                                                           \
        while (!(condition))                                                                                           \
            if (conf_overdue(t, conf_end))                                                                             \
                conf_fail(t, "never happened: " __VA_ARGS__);                                                          \
    } while (0)

int64_t conf_now_us(void); /* of a clock that only goes forwards */
int64_t conf_deadline(const struct conf_test *t);
bool conf_overdue(struct conf_test *t, int64_t deadline); /* stands back for a moment, if not */

/* --------------------------------------------------------------------------------------------------- ingredients -- */

/* `number` for the whole suite (10,000 rounds), in proportion to the rounds wanted; at least `least`. */
unsigned conf_scale(const struct conf_test *t, unsigned number, unsigned least);
uint32_t conf_random(uint64_t *state);

void *conf_memory(struct conf_test *t, size_t size); /* zeroed, until the test ends */
/* A name for a channel that nobody has used before. */
const char *conf_name(struct conf_test *t, const char *what);

/* The options may be NULL. */
struct bcast *conf_open(struct conf_test *t, const struct bcast_options *options);
/* One more connection to the broker; with an isolated backend, the one there is. */
struct bcast *conf_another(struct conf_test *t);
/* Before the end of the test, as it is the closing that is looked at. */
void conf_close(struct conf_test *t, struct bcast *b);

struct bcast_sub_options conf_limit(size_t limit_messages);
struct conf_reader *conf_subscribe(struct conf_test *t, struct bcast *b, const char *channel,
                                   const struct bcast_sub_options *options);
struct conf_reader *conf_subscribe_many(struct conf_test *t, struct bcast *b, const char *const *channels, size_t count,
                                        const struct bcast_sub_options *options);
void conf_unsubscribe(struct conf_test *t, struct conf_reader *reader);

typedef void (*conf_run)(struct conf_test *t, void *argument);
void conf_start(struct conf_test *t, conf_run run, void *argument);
void conf_join(struct conf_test *t); /* all threads so far; the case fails if one of them did */

void conf_stop_broker(struct conf_test *t);
void conf_start_broker(struct conf_test *t);

/* ------------------------------------------------------------------------------------------------------- talking -- */

/* Publishes a text; it must be accepted. */
void conf_say(struct conf_test *t, struct bcast *b, const char *channel, const char *format, ...) CONF_PRINTF(4, 5);
/* The next event is a message with exactly this text. */
void conf_hear(struct conf_test *t, struct conf_reader *reader, const char *format, ...) CONF_PRINTF(3, 4);
/* The next event, whatever it is: it must come before the deadline. `what` for the failure's text. */
void conf_event(struct conf_test *t, struct conf_reader *reader, const char *what);
/* The next event, which must be a message. */
void conf_message(struct conf_test *t, struct conf_reader *reader, const char *what);
/* The event in words; the text is the thread's until its next call. */
const char *conf_told(const struct bcast_event *event);
/* Two numbers in a message's text, as conf_say(…, "%u %u") says them. */
void conf_numbers(struct conf_test *t, const struct bcast_event *event, unsigned *who, unsigned *number);

/* What came from each of several publishers: their messages say "%u %u", who and which, and come in order, all, once. */
#define CONF_PUBLISHERS 64
struct conf_order {
    unsigned next[CONF_PUBLISHERS];
};
void conf_in_order(struct conf_test *t, struct conf_order *order, const struct bcast_event *event);

/* A publisher as a thread: says "%u %u" for every number below `count`. */
struct conf_talker {
    struct bcast *b;
    const char *channel;
    unsigned who, count;
    _Atomic bool *enough; /* or until that is so: `count` is then how many it said; NULL: none */
};
void conf_talk(struct conf_test *t, void *talker);

struct bcast_stats conf_stats(struct conf_test *t, struct bcast *b);
struct bcast_sub_stats conf_sub_stats(struct conf_test *t, struct conf_reader *reader);

#endif
