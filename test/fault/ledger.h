/* What was published and what became of it, and what each subscription saw: promise 1, checked.
 * Every message after the barrier is delivered in order, or covered by a gap at its place; every one that was accepted
 * has exactly one result. */
#ifndef LEDGER_H
#define LEDGER_H

#include <broadcaster/broadcaster.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANNELS 3
#define PUBLISHERS 4      /* and one more, for probes */
#define ROOM 60000        /* messages per publisher and channel */
#define PROBER PUBLISHERS /* the publisher of probes: each alone says that the subscription works again */

extern _Atomic uint64_t ledger_seed;

#define CHECK(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "\ncampaign: seed %llu: %s: ", (unsigned long long)atomic_load(&ledger_seed), #what);      \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, " (%s)\n", bcast_error_text());                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum fate { FATE_NONE, FATE_PENDING, FATE_OK, FATE_UNKNOWN, FATE_FAILED, FATE_REFUSED, FATES };

struct ledger {
    _Atomic unsigned char fates[PUBLISHERS][CHANNELS][ROOM];
    uint32_t count[PUBLISHERS][CHANNELS]; /* by its publisher, until it has ended */
    _Atomic uint32_t probes[CHANNELS];    /* published; they may be lost, too */
};

/* A payload: a mark, and bytes that follow from it. */
struct mark {
    uint32_t publisher, channel, number, size;
    uint64_t checksum; /* of all the rest */
};
#define PAYLOAD_MAX 2000
void ledger_fill(unsigned char *payload, struct mark mark);
struct mark ledger_read(const void *payload, size_t size); /* and checks it */

/* The result callback; `context` is the message's fate. */
void ledger_result(void *context, int status);

struct ledger_range {
    uint32_t publisher, channel, from, to;
};

/* One subscription. Without workers all is by its one reader. */
struct view {
    struct ledger *ledger;
    bool shared, duplicates_allowed;
    uint64_t expected[CHANNELS]; /* sequence */
    bool known[CHANNELS];
    uint32_t next[CHANNELS][PUBLISHERS];
    bool gap[CHANNELS][PUBLISHERS]; /* one has come since the publisher's last message */
    bool inexact[CHANNELS];
    uint64_t lost[CHANNELS], missing[CHANNELS], missing_good[CHANNELS]; /* said to be, found to be, and confirmed */
    _Atomic bool probed[CHANNELS];
    _Atomic uint64_t received, gaps, lost_all, duplicates, had_gap[CHANNELS];
    _Atomic unsigned char *seen; /* shared: publisher, channel, number */
    struct ledger_range *open;   /* missing without a gap: none of them may turn out to be good */
    size_t open_count, open_room;
};

void view_begin(struct view *view, struct ledger *ledger, bool shared);
void view_take(struct view *view, const struct bcast_event *event, unsigned channel);
/* When all is over: every message has its result, and a probe has come. */
void view_end(struct view *view, const bool *channels);

#endif
