#include "ledger.h"

#include <string.h>

_Atomic uint64_t ledger_seed;

/* ------------------------------------------------------------------------------------------------------ payloads -- */

static uint64_t checksum(const unsigned char *payload, size_t size)
{
    uint64_t sum = UINT64_C(1469598103934665603);
    for (size_t i = 0; i < size; i++)
        if (i < offsetof(struct mark, checksum) || i >= sizeof(struct mark))
            sum = (sum ^ payload[i]) * UINT64_C(1099511628211);
    return sum;
}

void ledger_fill(unsigned char *payload, struct mark mark)
{
    memcpy(payload, &mark, sizeof mark);
    for (size_t i = sizeof mark; i < mark.size; i++)
        payload[i] = (unsigned char)(mark.number * 7 + mark.publisher * 31 + i);
    mark.checksum = checksum(payload, mark.size);
    memcpy(payload, &mark, sizeof mark);
}

struct mark ledger_read(const void *payload, size_t size)
{
    struct mark mark;
    CHECK(size >= sizeof mark && size <= PAYLOAD_MAX, "a message of %zu bytes", size);
    memcpy(&mark, payload, sizeof mark);
    CHECK(mark.size == size, "size %zu, not %u", size, mark.size);
    CHECK(mark.checksum == checksum(payload, size), "damaged: %u's %u", mark.publisher, mark.number);
    CHECK(mark.publisher <= PROBER && mark.channel < CHANNELS && mark.number < ROOM, "strange");
    return mark;
}

void ledger_result(void *context, int status)
{
    _Atomic unsigned char *fate = context;
    unsigned char is = status == BCAST_OK ? FATE_OK : status == BCAST_ERR_UNKNOWN ? FATE_UNKNOWN : FATE_FAILED;
    unsigned char before = atomic_exchange(fate, is);
    CHECK(before == FATE_PENDING, "a second result, %d: there was %d", status, before);
}

/* --------------------------------------------------------------------------------------------------------- views -- */

void view_begin(struct view *view, struct ledger *ledger, bool shared)
{
    memset(view, 0, sizeof *view);
    view->ledger = ledger;
    view->shared = shared;
    if (!shared)
        return;
    view->seen = calloc((size_t)PUBLISHERS * CHANNELS * ROOM, 1);
    CHECK(view->seen != NULL, "memory");
}

static enum fate fate_of(const struct view *view, unsigned p, unsigned c, uint32_t n)
{
    return (enum fate)atomic_load(&view->ledger->fates[p][c][n]);
}

static void remember(struct view *view, unsigned p, unsigned c, uint32_t n)
{
    if (view->open_count == view->open_room) {
        view->open_room = view->open_room * 2 + 16;
        view->open = realloc(view->open, view->open_room * sizeof *view->open);
        CHECK(view->open != NULL, "memory");
    }
    view->open[view->open_count++] = (struct ledger_range){p, c, n, n + 1};
}

/* These have not come, and what follows them has. */
static void miss(struct view *view, unsigned p, unsigned c, uint32_t from, uint32_t to)
{
    for (uint32_t n = from; n < to; n++) {
        enum fate fate = fate_of(view, p, c, n);
        CHECK(view->gap[c][p] || fate != FATE_OK, "publisher %u's %u in channel %u is lost without a gap", p, n, c);
        if (!view->gap[c][p] && fate == FATE_PENDING)
            remember(view, p, c, n);
        view->missing[c] += fate != FATE_REFUSED;
        view->missing_good[c] += fate == FATE_OK;
    }
}

/* A probe was published when all others had their results: what has not come by now does not come. */
static void take_probe(struct view *view, unsigned c)
{
    if (!view->shared && !view->probed[c])
        for (unsigned p = 0; p < PUBLISHERS; p++) {
            miss(view, p, c, view->next[c][p], view->ledger->count[p][c]);
            view->next[c][p] = view->ledger->count[p][c];
        }
    atomic_store(&view->probed[c], true);
}

static void take_mark(struct view *view, struct mark mark)
{
    unsigned p = mark.publisher, c = mark.channel;
    uint32_t *next = &view->next[c][p];
    CHECK(fate_of(view, p, c, mark.number) != FATE_REFUSED && fate_of(view, p, c, mark.number) != FATE_NONE,
          "publisher %u's %u was not published", p, mark.number);
    if (mark.number < *next) {
        atomic_fetch_add(&view->duplicates, 1);
        CHECK(view->duplicates_allowed, "publisher %u's %u after %u", p, mark.number, *next - 1);
        return;
    }
    miss(view, p, c, *next, mark.number);
    *next = mark.number + 1;
    view->gap[c][p] = false;
}

static void take_shared(struct view *view, struct mark mark)
{
    size_t at = ((size_t)mark.publisher * CHANNELS + mark.channel) * ROOM + mark.number;
    if (atomic_exchange(&view->seen[at], 1) == 0)
        return;
    atomic_fetch_add(&view->duplicates, 1);
    CHECK(view->duplicates_allowed, "publisher %u's %u twice", mark.publisher, mark.number);
}

static void take_message(struct view *view, const struct bcast_event *event, unsigned channel)
{
    struct mark mark = ledger_read(event->data, event->size);
    CHECK(mark.channel == channel, "a message of channel %u in %u", mark.channel, channel);
    atomic_fetch_add(&view->received, mark.publisher != PROBER);
    if (mark.publisher == PROBER)
        take_probe(view, channel);
    else if (view->shared)
        take_shared(view, mark);
    else
        take_mark(view, mark);
}

static void take_gap(struct view *view, const struct bcast_event *event, unsigned c)
{
    CHECK(event->data == NULL && event->count >= BCAST_EXACT && event->count <= BCAST_COUNT_UNKNOWN, "count %d",
          event->count);
    CHECK(event->reason >= BCAST_GAP_OVERFLOW && event->reason <= BCAST_GAP_BROKER, "reason %d", event->reason);
    atomic_fetch_add(&view->gaps, 1);
    atomic_fetch_add(&view->lost_all, event->lost);
    atomic_fetch_add(&view->had_gap[c], 1);
    if (view->shared || view->probed[c])
        return;
    view->lost[c] += event->lost;
    view->inexact[c] |= event->count != BCAST_EXACT;
    for (unsigned p = 0; p < PUBLISHERS; p++)
        view->gap[c][p] = true;
}

/* A gap says the sequence of what comes next. */
static void check_sequence(struct view *view, const struct bcast_event *event, unsigned c)
{
    bool is_gap = event->kind == BCAST_GAP, known = view->known[c];
    uint64_t ahead = event->sequence - view->expected[c];
    CHECK(!known || ahead == 0 || is_gap, "sequence %llu, not %llu", (unsigned long long)event->sequence,
          (unsigned long long)view->expected[c]);
    CHECK(!known || ahead < INT64_MAX, "sequence %llu after %llu", (unsigned long long)event->sequence,
          (unsigned long long)view->expected[c]);
    view->known[c] = true;
    view->expected[c] = event->sequence + !is_gap;
}

void view_take(struct view *view, const struct bcast_event *event, unsigned channel)
{
    if (!view->shared)
        check_sequence(view, event, channel);
    if (event->kind == BCAST_GAP)
        take_gap(view, event, channel);
    else
        take_message(view, event, channel);
}

static void end_shared(struct view *view, unsigned c)
{
    for (unsigned p = 0; p < PUBLISHERS; p++)
        for (uint32_t n = 0; n < view->ledger->count[p][c]; n++)
            CHECK(view->seen[((size_t)p * CHANNELS + c) * ROOM + n] || view->had_gap[c] != 0 ||
                      fate_of(view, p, c, n) != FATE_OK,
                  "publisher %u's %u in channel %u is lost, and there was no gap", p, n, c);
}

void view_end(struct view *view, const bool *channels)
{
    for (size_t i = 0; i < view->open_count; i++) {
        struct ledger_range *range = &view->open[i];
        CHECK(fate_of(view, range->publisher, range->channel, range->from) != FATE_OK,
              "publisher %u's %u in channel %u is lost without a gap", range->publisher, range->from, range->channel);
    }
    for (unsigned c = 0; c < CHANNELS; c++) {
        if (channels[c] && view->shared)
            end_shared(view, c);
        if (!channels[c] || view->shared || view->inexact[c])
            continue;
        CHECK(view->lost[c] >= view->missing_good[c] && view->lost[c] <= view->missing[c] + view->ledger->probes[c],
              "exactly %llu lost in channel %u, but %llu are missing, %llu of these confirmed",
              (unsigned long long)view->lost[c], c, (unsigned long long)view->missing[c],
              (unsigned long long)view->missing_good[c]);
    }
    free(view->open);
    free((void *)view->seen);
}
