/* Reading a subscription: bcast_next, bcast_next_batch, bcast_fd. docs/architecture.md says how waiting works. */
#define _POSIX_C_SOURCE 200809L
#include "turn.h"

#include <ck_pr.h>
#include <sched.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "event.h"
#include "marks.h"

#ifndef BCAST_MODEL
#define PAUSES 50  /* looks before yielding the processor */
#define YIELDS 100 /* and yields before sleeping */
#else              /* where looking again is never the right decision for long */
#define PAUSES 1
#define YIELDS 0
#endif
#define CHASES 32      /* times that a reader catches up with the publisher before it stands back */
#define APART 400      /* ... for so many pauses: one to twenty microseconds, by the processor */
#define FAR_BEHIND 256 /* messages read between two times: it cannot have been near all the while */
#define CROWDED (-96)  /* where the count of times goes on from then */
#define STALLED 2000   /* looks at a record whose publisher seems to be stopped, before looking once a millisecond */
#define STREAK 64      /* looks at one channel that found something before the others have their turn */

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif

struct batch {
    struct bcast_event *events;
    size_t max, count;
    bool seam; /* the end of a past was found */
};

/* ------------------------------------------------------------------------------------------------- filling events -- */

/* Does the event still hold a plain message of this hold, so that its channel and the rest need not be written again? */
static inline bool is_plain(const struct bcast_event *event, const struct hold *hold)
{
    return event->hold == ((uintptr_t)hold | BORROWED_PLAIN);
}

static inline void refill_plain(struct bcast_event *event, const unsigned char *record, uint64_t header,
                                uint64_t sequence)
{
    event->data = record + RECORD_HEADER;
    event->size = record_size(header);
    event->sequence = sequence;
}

/* Committed, and neither a gap nor anything with an extra block. */
static inline bool plain_record(uint64_t header)
{
    return header >> 32 == RECORD_COMMITTED >> 32;
}

/* Counts are written by the reading thread, or by several if the subscription is shared; anybody may read them. */
static inline void count_up(struct bcast_sub *sub, _Atomic uint64_t *counter, uint64_t by)
{
    if (sub->shared)
        atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
    else
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

static void gap_event(struct bcast_sub *sub, struct source *source, struct bcast_event *event,
                      const struct gap_record *gap, uint64_t sequence)
{
    event_release(event);
    const struct channel *channel =
        source->is_past ? source->course->named : source->channel; /* the past's is gone soon */
    event_fill_gap(event, channel->name, channel->size, gap, sequence);
    count_up(sub, &sub->gaps, 1);
    count_up(sub, &sub->lost, gap->lost);
}

/* A record that is a gap, put in its place by a backend. */
static void gap_record_event(struct bcast_sub *sub, struct source *source, struct bcast_event *event,
                             const unsigned char *record, uint64_t sequence)
{
    struct gap_record gap;
    memcpy(&gap, record + RECORD_HEADER, sizeof gap);
    gap_event(sub, source, event, &gap, sequence + 1); /* of what comes next: it has one of its own */
}

/* ------------------------------------------------------------------------------------------- reading one source -- */

/* A record that is not a plain one, or goes into an event that did not hold one. Returns 1 if it is a message. */
static NOINLINE uint64_t take_other(struct bcast_sub *sub, struct source *source, struct bcast_event *event,
                                    const unsigned char *record, uint64_t header, uint64_t sequence)
{
    struct hold *hold = source->cursor.hold;
    if (header & RECORD_GAP) {
        gap_record_event(sub, source, event, record, sequence);
        return 0;
    }
    hold->events++; /* before the event's old one goes, which may be of this very hold */
    event_release(event);
    /* Whoever finds a plain event in its hand need not ask whether the segment is a dedicated one. */
    event->hold =
        (uintptr_t)hold | (plain_record(header) && !hold->segment->dedicated ? BORROWED_PLAIN : BORROWED_OTHER);
    event_fill_message(event, source->channel->name, source->channel->size, record + RECORD_HEADER, header, sequence);
    return 1;
}

/* A run of records in one segment, and the events they go into. */
struct run {
    unsigned char *record;
    const unsigned char *end; /* NULL: an empty header ends it */
    struct bcast_event *event, *last;
    uint64_t sequence;
};

/* As long as plain messages go into events that held one before. Nothing is called here, so that all of it stays in
 * registers; this loop is what bcast_next_batch costs. Messages of one size follow each other more often than not: then
 * the processor, which predicts that branch, need not wait for a header to arrive before it fetches the next. */
static inline struct run take_plain(struct run run, const struct hold *hold)
{
    uint64_t header, last = UINT64_MAX, stride = 0; /* no header is that */
    for (; run.event != run.last && is_plain(run.event, hold); run.event++, run.sequence++, run.record += stride) {
        header = record_look(run.record);
        if (header != last) {
            if (!plain_record(header))
                break;
            last = header;
            stride = record_bytes(record_size(header), 0);
        }
        refill_plain(run.event, run.record, last, run.sequence);
    }
    return run;
}

/* Hands out what is committed at an exclusive cursor, up to the end of its segment. */
static size_t take_exclusive(struct bcast_sub *sub, struct source *source, struct batch *batch)
{
    struct cursor *cursor = &source->cursor;
    struct run run = {cursor->data + cursor->offset, cursor->end != SEGMENT_OPEN ? cursor->data + cursor->end : NULL,
                      batch->events, batch->events + batch->max, cursor_sequence(cursor)};
    uint64_t others = 0, header;
    for (;;) {
        run = take_plain(run, cursor->hold);
        if (run.event == run.last || run.record == run.end || (header = record_look(run.record)) == 0)
            break;
        if (header & RECORD_SEAM) {
            batch->seam = true; /* nothing comes behind it */
            run.record += record_stride(header);
            run.sequence++;
            break;
        }
        others += 1 - take_other(sub, source, run.event, run.record, header, run.sequence);
        run.record += record_stride(header);
        run.event++;
        run.sequence++;
    }
    size_t count = (size_t)(run.event - batch->events);
    if (count == 0 && !batch->seam)
        return 0;
    cursor->offset = (uint64_t)(run.record - cursor->data);
    cursor_set_sequence(cursor, run.sequence);
    count_up(sub, &sub->received, count - others);
    if (run.record == run.end)
        cursor_leave_dedicated(cursor);
    return count;
}

static size_t take_claimed(struct bcast_sub *sub, struct source *source, const struct claim *claim, struct batch *batch)
{
    const unsigned char *record = claim->data;
    uint64_t messages = 0;
    for (size_t i = 0; i < claim->count; i++) {
        struct bcast_event *event = &batch->events[i];
        /* relaxed: claiming has seen it already, with acquire */
        uint64_t header = atomic_load_explicit((_Atomic uint64_t *)(void *)record, memory_order_relaxed);
        if (header & RECORD_SEAM) {
            batch->seam = true; /* nothing comes behind it */
            segment_unpin(claim->segment);
        } else if (header & RECORD_GAP) {
            gap_record_event(sub, source, event, record, claim->sequence + i);
            segment_unpin(claim->segment);
        } else {
            event_release(event);
            event_fill_message(event, source->channel->name, source->channel->size, record + RECORD_HEADER, header,
                               claim->sequence + i);
            event->hold = (uintptr_t)claim->segment | BORROWED_SEGMENT;
            messages++;
        }
        record += record_stride(header);
    }
    count_up(sub, &sub->received, messages);
    return claim->count - batch->seam;
}

static void note_stood(struct bcast_sub *sub, struct source *source, uint64_t stood)
{
    pthread_mutex_lock(&sub->b->mutex);
    if (atomic_load_explicit(&source->missed, memory_order_relaxed) != MISSED_STOOD ||
        (int64_t)(stood - source->missed_count) < 0)
        source->missed_count = stood;
    atomic_store_explicit(&source->missed, MISSED_STOOD, memory_order_relaxed);
    pthread_mutex_unlock(&sub->b->mutex);
}

static int disconnect(struct bcast_sub *sub, struct source *source, const struct cursor_gap *gap)
{
    uint64_t lost = gap->lost, stood = gap->sequence - lost;
    count_up(sub, &sub->discarded, lost);
    /* Nobody was told: whoever resumes where it stood still wants them. More than one worker may come here. */
    if (!source->kept) /* else its marks say where it stood */
        note_stood(sub, source, stood);
    sub_attend(sub, ATTENTION_DISCONNECTED);
    return error_set(BCAST_ERR_DISCONNECTED,
                     "the subscription fell %llu messages behind its limit and was ended: "
                     "raise limit_messages or limit_bytes, or read faster",
                     (unsigned long long)lost);
}

/* What was dropped may have been gaps that the broker's side had told: they are no messages, and what they covered nobody
 * may know. */
static int take_gap(struct bcast_sub *sub, struct source *source, const struct cursor_gap *gap, struct batch *batch)
{
    uint64_t gaps = sub_gaps(sub, source, gap->sequence - gap->lost);
    struct gap_record record = {gap->lost > gaps ? gap->lost - gaps : 0, BCAST_GAP_OVERFLOW,
                                gaps == 0 ? BCAST_EXACT : BCAST_AT_LEAST};
    gap_event(sub, source, &batch->events[0], &record, gap->sequence);
    batch->count = 1;
    return FOUND;
}

/* What was to come first is not kept any more: one reader is told. */
static bool take_missed(struct bcast_sub *sub, struct source *source, struct batch *batch)
{
    uint8_t count = atomic_load_explicit(&source->missed, memory_order_relaxed);
    if (count == 0 || count == MISSED_STOOD)
        return false;
    pthread_mutex_lock(&sub->b->mutex);
    count = atomic_load_explicit(&source->missed, memory_order_relaxed);
    struct gap_record record = {source->missed_count, BCAST_GAP_TRIMMED, count};
    bool taken = count != 0 && count != MISSED_STOOD; /* else another worker was faster */
    if (taken)
        atomic_store_explicit(&source->missed, 0, memory_order_relaxed);
    pthread_mutex_unlock(&sub->b->mutex);
    if (!taken)
        return false;
    gap_event(sub, source, &batch->events[0], &record, source->cursor.start);
    batch->count = 1;
    return true;
}

/* From now on the short way may be taken. seq_cst, against sub_attend: either it takes `quick` away again, or we see its
 * reason. */
static void go_quick(struct bcast_sub *sub, struct source *source)
{
    if (sub->shared || !sub_is_alone(sub) || source->kept || source->cursor.hold == NULL ||
        !cursor_started(&source->cursor) || atomic_load_explicit(&sub->quick, memory_order_relaxed) != NULL)
        return;
    atomic_store(&sub->quick, source);
    if (atomic_load(&sub->attention) != 0)
        atomic_store_explicit(&sub->quick, NULL, memory_order_relaxed);
}

static enum cursor_result read_ring(struct bcast_sub *sub, struct source *source, struct batch *batch,
                                    struct cursor_gap *gap)
{
    struct claim claim;
    enum cursor_result result;
    if (sub->shared) {
        result = cursor_claim(&source->cursor, batch->max, &claim, gap);
        if (result == CURSOR_RECORD)
            batch->count = take_claimed(sub, source, &claim, batch);
        return result;
    }
    cursor_read_by(&source->cursor, thread_id());
    result = cursor_look(&source->cursor, gap);
    if (result == CURSOR_RECORD)
        batch->count = take_exclusive(sub, source, batch);
    go_quick(sub, source);
    return result;
}

static int found(struct bcast_sub *sub, struct source *source, enum cursor_result result, const struct cursor_gap *gap,
                 struct batch *batch)
{
    switch (result) {
    case CURSOR_EMPTY: return NOTHING;
    case CURSOR_RECORD: return batch->count != 0 ? FOUND : NOTHING;
    case CURSOR_GAP: return take_gap(sub, source, gap, batch);
    case CURSOR_OVERFLOWN: return disconnect(sub, source, gap);
    default: return error_nomem();
    }
}

/* Takes the messages out of the batch that were had already: what the past brought last may have been ahead of what the
 * channel's ring was given. */
static void drop_known(struct bcast_sub *sub, struct marks *marks, struct batch *batch)
{
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct bcast_event *event = &batch->events[i];
        if (event->kind == BCAST_GAP && event->count == BCAST_COUNT_UNKNOWN)
            marks_doubt(marks, false); /* the broker's ids may begin anew */
        else if (event->kind == BCAST_MESSAGE && *bcast_event_id(event) != '\0' &&
                 marks_has(marks, bcast_event_id(event))) {
            bcast_release(event);
            count_up(sub, &sub->received, (uint64_t)-1);
            continue;
        }
        if (kept != i) {
            batch->events[kept] = *event;
            event_clear(event);
        }
        kept++;
    }
    batch->count = kept;
}

/* Of each part the last: messages of one often follow each other. Without memory it stands further back: no loss. */
static void note_marks(struct marks *marks, const struct batch *batch)
{
    const char *last = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i].kind != BCAST_MESSAGE)
            continue;
        const char *id = bcast_event_id(&batch->events[i]);
        if (*id == '\0')
            continue; /* a backend that breaks its word */
        if (last != NULL && !marks_same_part(last, id))
            (void)marks_note(marks, last);
        last = id;
    }
    if (last != NULL)
        (void)marks_note(marks, last);
}

/* There is no memory to fetch what was missed: then it is a gap like any other. */
static void go_on_stale(struct source *source)
{
    pthread_mutex_lock(&source->course->marks->mutex);
    source->course->stale = false;
    pthread_mutex_unlock(&source->course->marks->mutex);
}

/* Where the broker keeps messages: what is handed out and where the reader stands change together, for a position, and for
 * the workers of a shared subscription, of whom one may find that it was overtaken. */
static int read_kept(struct bcast_sub *sub, struct source *source, struct batch *batch)
{
    struct cursor_gap gap;
    enum cursor_result result = CURSOR_EMPTY;
    pthread_mutex_lock(&source->course->marks->mutex);
    do {
        result = source->course->stale ? CURSOR_EMPTY : read_ring(sub, source, batch, &gap);
        if (result == CURSOR_RECORD && source->course->marks->doubtful)
            drop_known(sub, source->course->marks, batch);
    } while (result == CURSOR_RECORD && batch->count == 0 && !batch->seam);
    if (result == CURSOR_RECORD)
        note_marks(source->course->marks, batch);
    if (batch->seam)
        marks_doubt(source->course->marks, true);
    bool lost = result == CURSOR_GAP || result == CURSOR_OVERFLOWN;
    bool overtaken = lost && (source->cursor.policy == CURSOR_BLOCK || source->course->joining);
    source->course->joining = source->course->joining && result == CURSOR_EMPTY;
    source->course->stale |= overtaken;
    pthread_mutex_unlock(&source->course->marks->mutex);
    if (batch->seam) {
        batch->seam = false;
        sub_pass_seam(sub, source);
    }
    if (overtaken && sub_fall_back(sub, source))
        return NOTHING;
    if (overtaken)
        go_on_stale(source);
    return found(sub, source, result, &gap, batch);
}

/* One look at one channel. */
static int read_source(struct bcast_sub *sub, struct source *source, struct batch *batch)
{
    if (take_missed(sub, source, batch))
        return FOUND;
    if (source->kept)
        return read_kept(sub, source, batch);
    struct cursor_gap gap;
    enum cursor_result result = read_ring(sub, source, batch, &gap);
    return found(sub, source, result, &gap, batch);
}

/* ------------------------------------------------------------------------------------------------------- looking -- */

/* A hint between the workers of a shared subscription, one thread's in an exclusive one: relaxed. */
static inline uint32_t streak(struct bcast_sub *sub)
{
    return atomic_load_explicit(&sub->streak, memory_order_relaxed);
}
static inline void set_streak(struct bcast_sub *sub, uint32_t streak)
{
    atomic_store_explicit(&sub->streak, (uint8_t)(streak < STREAK ? streak : STREAK), memory_order_relaxed);
}

/* One look at everything that may have something. */
static int look(struct bcast_sub *sub, struct batch *batch)
{
    struct source *soon = NULL;
    for (;;) {
        struct source *source = atomic_load(&sub->active); /* seq_cst: see turn_change */
        int status = NOTHING;
        bool alone = sub_is_alone(sub), more = source != NULL && (alone || streak(sub) < STREAK);
        if (more)
            status = read_source(sub, source, batch);
        if (status == FOUND)
            set_streak(sub, streak(sub) + 1);
        if (status != NOTHING || (alone && source != NULL))
            return status;
        status = turn_switch(sub, source, more, &soon);
        if (status != FOUND)
            return status;
    }
}

/* ------------------------------------------------------------------------------------------------------- waiting -- */

/* A reader that is faster than the publisher reads each message while the next is written right beside it, and their
 * processors take the same cache lines away from each other with every message. So a reader that has caught up CHASES
 * times, without ever waiting for long or falling behind, stands back for a moment before it looks again: then there is
 * more to read at once, and both get on faster. Who has been far behind probably shares its processor with others, who
 * have better use for that moment. Only of exclusive subscriptions of one channel; relaxed: hints. */
static inline void set_chase(struct bcast_sub *sub, int chase)
{
    atomic_store_explicit(&sub->chase, (int8_t)chase, memory_order_relaxed);
}

static inline void caught_up(struct bcast_sub *sub, const struct source *source)
{
    uint64_t sequence = cursor_sequence(&source->cursor);
    uint64_t before = atomic_load_explicit(&sub->caught_at, memory_order_relaxed);
    int chase = atomic_load_explicit(&sub->chase, memory_order_relaxed);
    atomic_store_explicit(&sub->caught_at, sequence, memory_order_relaxed);
    if (sequence - before > FAR_BEHIND)
        set_chase(sub, CROWDED);
    else if (chase < CHASES)
        set_chase(sub, chase + 1);
}

static inline void stand_back(struct bcast_sub *sub, int timeout_ms)
{
    if (atomic_load_explicit(&sub->chase, memory_order_relaxed) != CHASES || timeout_ms == 0 ||
        timeout_ms == BCAST_NOWAIT)
        return;
    for (int i = 0; i < APART; i++)
        ck_pr_stall();
}

struct waiting {
    int timeout_ms;
    int64_t deadline_ns; /* 0: not known yet */
    unsigned looks, stalled;
    bool trimmed;
};

enum outlook {
    QUIET,    /* nothing to do: sleep */
    TURMOIL,  /* somebody is between two steps, and will be done at once, unless stopped */
    OCCASION, /* look again */
};

/* Between bell_enter and bell_sleep. */
static enum outlook look_once_more(struct bcast_sub *sub, bool alone, int found)
{
    /* seq_cst, after entering: a worker that made a channel active looks for sleepers after it has read from it */
    struct source *source = atomic_load(&sub->active);
    bool rung = bell_has_rung(&sub->bell);
    if (atomic_load_explicit(&sub->attention, memory_order_relaxed) != 0) /* see bell_enter */
        return OCCASION;
    if (!alone && (rung || (sub->shared && source != NULL)))
        return found == SOON ? TURMOIL : OCCASION;
    if (found == SOON || (alone && (rung || (source != NULL && !turn_rest_alone(sub, source)))))
        return TURMOIL; /* a message is on its way, or a channel is just being added */
    return QUIET;
}

/* Sleeps on the bell, unless there is something to do. */
static void sleep_on_bell(struct bcast_sub *sub, struct waiting *waiting, int found)
{
    int64_t until = waiting->deadline_ns, now = clock_ns();
    bool alone = sub_is_alone(sub);
    if (alone)
        turn_settle(sub);
    uint32_t seen = bell_enter(&sub->bell);
    enum outlook outlook = look_once_more(sub, alone, found);
    if (outlook == OCCASION || (outlook == TURMOIL && ++waiting->stalled < STALLED)) {
        bell_leave(&sub->bell);
        sched_yield(); /* to whoever is in the middle of it */
        return;
    }
    /* Who has been stopped in the middle must not cost us a processor: a look once a millisecond will do. */
    int64_t first = outlook == TURMOIL ? now + 1000000 : waiting->trimmed ? OS_NEVER : now + TURN_TRIM_NS;
    bell_sleep(&sub->bell, seen, first < until ? first : until);
    bell_leave(&sub->bell);
    if (outlook == QUIET && !waiting->trimmed && first < until && clock_ns() >= first)
        waiting->trimmed = turn_trim(sub);
}

/* After a look that found nothing. BCAST_OK: look again; BCAST_TIMEOUT. */
static int wait_more(struct bcast_sub *sub, struct waiting *waiting, int found)
{
    if (waiting->timeout_ms == 0 || waiting->timeout_ms == BCAST_NOWAIT)
        return BCAST_TIMEOUT;
    if (++waiting->looks < PAUSES) {
        ck_pr_stall();
        return BCAST_OK;
    }
    set_chase(sub, 0);
    if (waiting->deadline_ns == 0)
        waiting->deadline_ns = clock_deadline(waiting->timeout_ms);
    if (waiting->looks < PAUSES + YIELDS) {
        sched_yield();
        return BCAST_OK;
    }
    if (waiting->deadline_ns != OS_NEVER && clock_ns() >= waiting->deadline_ns)
        return BCAST_TIMEOUT;
    sleep_on_bell(sub, waiting, found);
    return BCAST_OK;
}

/* With an fd: before saying "nothing", make sure that the fd will say when there is something. `seen`: the attention that
 * the caller has paid. */
static int look_before_poll(struct bcast_sub *sub, struct batch *batch, uint32_t seen)
{
    bell_drain_fd(&sub->bell);
    if (sub_is_alone(sub))
        turn_settle(sub);
    struct source *source = atomic_load_explicit(&sub->active, memory_order_acquire);
    bool rests = !sub_is_alone(sub) || source == NULL || turn_rest_alone(sub, source);
    int found = look(sub, batch);
    /* seq_cst: who called for attention and found the fd signalled, which is drained by now, is seen here. */
    bool called = (atomic_load(&sub->attention) & ~seen) != 0;
    if (found != SOON && rests && !called)
        return found;
    /* A record is on its way and will ring nobody, or somebody has rung in vain: poll returns, and they look again. */
    if (found == NOTHING || found == SOON)
        bell_ring_one(&sub->bell);
    return found;
}

/* A worker goes off with something while others sleep: it sees to it that they are woken for what comes next. */
static void pass_on(struct bcast_sub *sub)
{
    if (!bell_has_sleepers(&sub->bell))
        return;
    struct source *source = atomic_load_explicit(&sub->active, memory_order_acquire);
    if (sub_is_alone(sub))
        turn_settle(sub);
    if (!sub_is_alone(sub) || source == NULL || !turn_rest_alone(sub, source))
        bell_ring_one(&sub->bell);
}

static int ended(struct bcast_sub *sub, uint32_t attention)
{
    if (!os_guard_raised(&sub->b->guard))
        return bcast_ended(sub->b);
    if (attention & ATTENTION_DISCONNECTED)
        return error_set(BCAST_ERR_DISCONNECTED, "the subscription overflowed and was ended");
    return error_set(BCAST_ERR_CLOSED, "the subscription was cancelled");
}

static int find(struct bcast_sub *sub, struct batch *batch, int timeout_ms)
{
    struct waiting waiting = {.timeout_ms = timeout_ms};
    for (;;) {
        uint32_t attention = atomic_load_explicit(&sub->attention, memory_order_relaxed);
        if (attention & ATTENTION_CHANGED)
            turn_change(sub);
        if ((attention & (ATTENTION_CLOSED | ATTENTION_DISCONNECTED)) || !os_guard_raised(&sub->b->guard))
            return ended(sub, attention);
        int found = look(sub, batch);
        if ((found == NOTHING || found == SOON) &&
            atomic_load_explicit(&sub->bell.fd_state, memory_order_acquire) != FD_NONE &&
            (timeout_ms == 0 || timeout_ms == BCAST_NOWAIT))
            found = look_before_poll(sub, batch, attention & ~(uint32_t)ATTENTION_CHANGED);
        if (found == FOUND && sub->shared)
            pass_on(sub);
        if (found != NOTHING && found != SOON)
            return found;
        int status = BCAST_OK;
        if (found == NOTHING && (attention & ATTENTION_FAILED))
            status = sub_failure(sub);
        if (status == BCAST_OK)
            status = wait_more(sub, &waiting, found);
        if (status != BCAST_OK)
            return status;
    }
}

/* -------------------------------------------------------------------------------------------------- public calls -- */

/* One thread at a time in an exclusive subscription: this finds mistakes. acquire, with the release in leave: what the
 * last one inside has left is seen, by a thread that was only busy before too. */
static inline bool enter(struct bcast_sub *sub)
{
    if (sub->shared) {
        atomic_fetch_add(&sub->inside, 1); /* seq_cst: see turn_change */
        return true;
    }
    uint16_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(&sub->inside, &nobody, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void leave(struct bcast_sub *sub)
{
    if (sub->shared)
        atomic_fetch_sub_explicit(&sub->inside, 1, memory_order_release);
    else
        atomic_store_explicit(&sub->inside, 0, memory_order_release);
}

static int busy(void)
{
    return error_set(BCAST_ERR_BUSY, "another thread is in this subscription: let one thread read it, or set `shared` "
                                     "in its options");
}

/* The common case, without a detour: an exclusive subscription of one channel, which has something. `quick` is NULL
 * where that is not so, or where a reader has to look at `attention` first. */
static inline struct source *quick_source(struct bcast_sub *sub)
{
    struct source *source = atomic_load_explicit(&sub->quick, memory_order_relaxed);
    if (source == NULL || !os_guard_raised(&sub->b->guard))
        return NULL;
    cursor_read_by(&source->cursor, thread_id());
    return source;
}

/* A plain message into an event that held one before: what bcast_next costs. It only looks whether somebody is inside,
 * since it stays for no longer than the next thread would need to see it there. */
static inline bool take_one(struct bcast_sub *sub, struct bcast_event *event)
{
    struct source *source = quick_source(sub);
    if (source == NULL || atomic_load_explicit(&sub->inside, memory_order_relaxed) != 0)
        return false;
    struct cursor *cursor = &source->cursor;
    uint64_t header;
    if (!is_plain(event, cursor->hold) || !plain_record(header = cursor_header(cursor)))
        return false;
    refill_plain(event, cursor->data + cursor->offset, header, cursor_sequence(cursor));
    cursor->offset += record_bytes(record_size(header), 0);
    cursor_set_sequence(cursor, cursor_sequence(cursor) + 1);
    atomic_store_explicit(&sub->received, atomic_load_explicit(&sub->received, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    return true;
}

/* What bcast_next and bcast_next_batch have in common. Events that are not filled end up empty. */
static int read_events(struct bcast_sub *sub, struct batch *batch, int timeout_ms)
{
    int status = BCAST_OK;
    if (!enter(sub))
        return busy();
    struct source *quick = quick_source(sub);
    if (quick != NULL) {
        stand_back(sub, timeout_ms);
        batch->count = take_exclusive(sub, quick, batch);
        if (batch->count < batch->max)
            caught_up(sub, quick);
    }
    if (batch->count == 0) {
        for (size_t i = 0; i < batch->max; i++)
            event_release(&batch->events[i]);
        status = find(sub, batch, timeout_ms);
        if (status != BCAST_OK)
            batch->count = 0;
    }
    for (size_t i = batch->count; i < batch->max; i++)
        if (batch->events[i].kind != 0)
            bcast_release(&batch->events[i]);
    leave(sub);
    return status;
}

/* Kept out of bcast_next, which so needs no stack of its own. */
static NOINLINE int next_any(struct bcast_sub *sub, struct bcast_event *event, int timeout_ms)
{
    if (sub == NULL || event == NULL || timeout_ms < BCAST_NOWAIT)
        return error_set(BCAST_ERR_INVALID,
                         "bcast_next wants a subscription, an event, and a time-out in milliseconds, "
                         "BCAST_FOREVER or BCAST_NOWAIT");
    struct batch batch = {.events = event, .max = 1};
    return read_events(sub, &batch, timeout_ms);
}

int bcast_next(struct bcast_sub *sub, struct bcast_event *event, int timeout_ms)
{
    if (sub != NULL && event != NULL && timeout_ms >= BCAST_NOWAIT && take_one(sub, event))
        return BCAST_OK;
    return next_any(sub, event, timeout_ms);
}

int bcast_next_batch(struct bcast_sub *sub, struct bcast_event *events, size_t max, size_t *count, int timeout_ms)
{
    if (sub == NULL || events == NULL || max == 0 || count == NULL || timeout_ms < BCAST_NOWAIT)
        return error_set(BCAST_ERR_INVALID, "bcast_next_batch wants a subscription, events, how many, where to count "
                                            "them, and a time-out");
    struct batch batch = {.events = events, .max = max};
    int status = read_events(sub, &batch, timeout_ms);
    *count = batch.count;
    return status;
}

int bcast_fd(struct bcast_sub *sub)
{
    if (sub == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_fd wants a subscription");
    if (!os_guard_raised(&sub->b->guard))
        return bcast_ended(sub->b);
    struct notifier *notifier = NULL;
    int error = bcast_notifier(sub->b, &notifier);
    pthread_mutex_lock(&sub->b->mutex);
    int fd = sub->bell.event.read_fd;
    if (fd < 0 && error == 0 && bell_open_fd(&sub->bell, notifier) == 0) {
        fd = sub->bell.event.read_fd;
        bell_ring_all(&sub->bell); /* readable at first: the first calls to bcast_next arm it */
    }
    pthread_mutex_unlock(&sub->b->mutex);
    return fd >= 0 ? fd : error_set(BCAST_ERR_NOMEM, "no file descriptor or thread to be had for bcast_fd");
}
