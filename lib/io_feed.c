#include "io.h"

#include <string.h>

#include "base/error.h"
#include "cursor.h"
#include "marks.h"

/* How a subscription gets from where it wants to begin to the channel's ring. Until its answers say that there is no more,
 * pages go into its past (PAGES), which takes no more than the reader lets it: it blocks, and the rest of a page is asked
 * for again. Then its cursor is put at the end of the channel's ring, where the topic stands at this moment (ATTACH), and
 * what was published between the last page and that place is fetched too (LAST): little, and the cursor holds back the
 * rest. What calls the backend is done in a step, never in the backend's own calls to the sink. */

#define PAGE_MESSAGES 2048 /* a broker may need milliseconds for one, in which a publisher sends thousands */
#define PAGE_BYTES ((size_t)4 << 20)
#define PLACE_BYTES 256 /* of a topic's position; more is allocated */

enum phase { FEED_BEGIN, FEED_WHERE, FEED_PAGES, FEED_ATTACH, FEED_LAST, FEED_SEAM, FEED_ENDED };

struct feed {
    struct inquiry inquiry; /* first */
    struct io *io;
    struct feed *next; /* of io->feeds, the I/O thread's; or of io->fresh, under io->mutex */
    _Atomic uint32_t references;
    struct channel *channel; /* a reference */
    struct cursor *cursor;   /* under the broadcast's mutex: NULL once cancelled */
    bool attached;           /* likewise */
    _Atomic bool cancelled;
    struct marks *marks; /* where the reader stands, from when it has begun; a reference */
    bool begun;          /* under io->mutex, like the next two */
    int status;
    char reason[200];

    /* The I/O thread's alone. */
    enum phase phase;
    bool placed;        /* `marks` was set by the caller: where it begins */
    bool given_up;      /* the broker will not tell the rest */
    struct inlet inlet; /* into the past; no channel: there is none. A reference */
    struct marks *at;   /* behind what is in there */
    char *from, *until; /* texts of what is asked for */
    size_t most;
    int64_t since_us;
};

static struct feed *feed_of(struct inquiry *inquiry)
{
    return (struct feed *)(void *)inquiry;
}

/* ---------------------------------------------------------------------------------------------------- its ends -- */

/* Where it begins is known: whoever waits for it goes on. Or not, and why. */
static void begun(struct feed *feed, int status, const char *reason)
{
    struct io *io = feed->io;
    pthread_mutex_lock(&io->mutex);
    feed->begun = true;
    feed->status = status;
    strncpy(feed->reason, reason != NULL ? reason : "", sizeof feed->reason - 1);
    pthread_cond_broadcast(&io->changed_cond);
    pthread_mutex_unlock(&io->mutex);
}

static void fail(struct feed *feed, int status, const char *reason)
{
    feed->phase = FEED_ENDED;
    begun(feed, status, reason);
}

bool io_feed_begun(const struct feed *feed)
{
    return feed->begun;
}

int io_feed_result(const struct feed *feed)
{
    if (feed->status != BCAST_OK)
        return error_set(feed->status, "%s: %s", backend_of(feed->io)->name, feed->reason);
    return BCAST_OK;
}

/* ------------------------------------------------------------------------------------------------------ attaching -- */

/* Where the topic stands, which is confirmed; NULL: no memory. */
static char *place_of(struct io *io, const struct topic *topic)
{
    size_t size = PLACE_BYTES;
    for (;;) {
        char *text = memory_get(size);
        if (text == NULL)
            return NULL;
        size_t length = backend_of(io)->position(io->b->self, &topic->is, text, size);
        if (length < size)
            return text;
        memory_put(text);
        size = length + 1;
    }
}

/* The topic, if the broker has confirmed it. */
static struct topic *topic_of(struct feed *feed)
{
    struct io *io = feed->io;
    pthread_mutex_lock(&io->mutex);
    struct topic *topic = feed->channel->topic;
    if (topic != NULL && topic->state != TOPIC_ON)
        topic = NULL;
    pthread_mutex_unlock(&io->mutex);
    return topic; /* it stays: only this thread frees topics */
}

/* Puts the cursor where the topic stands: from this thread's next message on, the reader has them in the channel's ring. */
static bool attach(struct feed *feed)
{
    struct bcast *b = feed->io->b;
    pthread_mutex_lock(&b->mutex);
    if (feed->cursor != NULL) /* else it is cancelled, and the last word on `attached` was spoken */
        feed->attached = cursor_open(feed->cursor, &feed->channel->ring, NULL);
    bool good = feed->attached || feed->cursor == NULL;
    pthread_mutex_unlock(&b->mutex);
    return good;
}

static int set_marks(struct feed *feed, const char *place)
{
    pthread_mutex_lock(&feed->marks->mutex);
    int status = marks_set(feed->marks, place);
    pthread_mutex_unlock(&feed->marks->mutex);
    return status;
}

/* Nothing is wanted that was before. */
static void begin_now(struct feed *feed, const char *place)
{
    int status = set_marks(feed, place);
    if (status == BCAST_OK && !attach(feed))
        status = BCAST_ERR_NOMEM;
    feed->phase = FEED_ENDED;
    begun(feed, status, status == BCAST_OK ? "" : bcast_error_text());
}

/* Without memory, or while the broker is away, it is tried again with the next step. */
static void attach_last(struct feed *feed)
{
    struct topic *topic = topic_of(feed);
    char *place = topic != NULL ? place_of(feed->io, topic) : NULL;
    if (place == NULL)
        return;
    if (!attach(feed)) {
        memory_put(place);
        return;
    }
    feed->until = place;
    feed->phase = feed->given_up || marks_cover(feed->at, place) ? FEED_SEAM : FEED_LAST;
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

static void ask(struct feed *feed, bool page)
{
    struct bcast_fetch *fetch = &feed->inquiry.fetch;
    *fetch = (struct bcast_fetch){.channel = feed->channel->name, .channel_size = feed->channel->size};
    if (page) {
        memory_put(feed->from);
        feed->from = marks_text(feed->at);
        if (feed->from == NULL)
            return; /* the next step tries again */
        fetch->position = feed->from;
        fetch->until = feed->until;
        fetch->limit = PAGE_MESSAGES;
        fetch->limit_bytes = PAGE_BYTES;
    } else {
        fetch->since_us = feed->since_us;
        fetch->only_where = 1;
        fetch->backwards = feed->most != 0;
        fetch->limit = feed->most != 0 ? feed->most : 1;
        fetch->limit_bytes = SIZE_MAX;
    }
    io_fetch_ask(feed->io, &feed->inquiry);
}

static int on_message(struct inquiry *inquiry, const struct bcast_incoming *message)
{
    struct feed *feed = feed_of(inquiry);
    if (feed->phase != FEED_PAGES && feed->phase != FEED_LAST)
        return BCAST_TIMEOUT;
    int status = io_in_message(feed->io, &feed->inlet, message);
    if (status == BCAST_OK && message->id != NULL)
        (void)marks_note(feed->at, message->id); /* the I/O thread's own: no lock. Else the page's end tells */
    return status;
}

static void on_gap(struct inquiry *inquiry, const struct gap_record *gap)
{
    struct feed *feed = feed_of(inquiry);
    if (feed->phase == FEED_PAGES || feed->phase == FEED_LAST)
        io_in_gap(feed->io, &feed->inlet, gap);
}

/* It is known where it begins: in front of the messages that are wanted. */
static void found(struct feed *feed, const char *place)
{
    int status = marks_set(feed->at, place);
    if (status == BCAST_OK)
        status = set_marks(feed, place);
    if (status != BCAST_OK) {
        fail(feed, status, bcast_error_text());
        return;
    }
    feed->phase = FEED_PAGES;
    begun(feed, BCAST_OK, "");
}

static void on_page(struct feed *feed, const struct bcast_fetch_end *end)
{
    if (marks_set(feed->at, end->newer) != BCAST_OK)
        return; /* then it is behind the last message, as it was noted */
    if (feed->inquiry.enough || end->more_newer)
        return;
    feed->phase = feed->phase == FEED_LAST ? FEED_SEAM : FEED_ATTACH;
}

/* Nothing more can be had of the past, though it had begun. */
static void give_up(struct feed *feed, const char *reason)
{
    log_write(&feed->io->b->settings.log, BCAST_LOG_ERROR, "%s: history of '%s': %s", backend_of(feed->io)->name,
              feed->channel->name, reason != NULL ? reason : "");
    io_in_gap(feed->io, &feed->inlet, &(struct gap_record){0, BCAST_GAP_BROKER, BCAST_COUNT_UNKNOWN});
    feed->given_up = true;
    feed->phase = feed->phase == FEED_LAST ? FEED_SEAM : FEED_ATTACH;
}

static void on_end(struct inquiry *inquiry, const struct bcast_fetch_end *end)
{
    struct feed *feed = feed_of(inquiry);
    if (end->status == BCAST_ERR_CONNECT || end->status == BCAST_ERR_CLOSED)
        return; /* the next step asks again, if there is one */
    if (feed->phase == FEED_WHERE && end->status != BCAST_OK)
        fail(feed, end->status, end->reason);
    else if (feed->phase == FEED_WHERE)
        found(feed, end->older);
    else if (end->status != BCAST_OK)
        give_up(feed, end->reason);
    else
        on_page(feed, end);
}

/* --------------------------------------------------------------------------------------------------------- steps -- */

/* Its marks say where it begins. Perhaps nobody waits for its word: without memory it begins with another step. */
static void begin_placed(struct feed *feed)
{
    char *place = marks_text(feed->marks);
    if (place != NULL && marks_set(feed->at, place) == BCAST_OK) {
        feed->phase = FEED_PAGES;
        begun(feed, BCAST_OK, "");
    }
    memory_put(place);
}

static void begin(struct feed *feed)
{
    struct topic *topic = topic_of(feed);
    if (topic == NULL)
        return;
    if (feed->inlet.channel == NULL) {
        char *place = place_of(feed->io, topic);
        if (place != NULL)
            begin_now(feed, place);
        else
            fail(feed, BCAST_ERR_NOMEM, "out of memory");
        memory_put(place);
        return;
    }
    ring_notify_space(&feed->inlet.channel->ring, &feed->io->bell);
    if (feed->placed)
        begin_placed(feed);
    else
        feed->phase = FEED_WHERE;
}

static void put_seam(struct feed *feed)
{
    struct record seam = {RECORD_SEAM, NULL, 0, 0, NULL};
    if (io_in_record(feed->io, &feed->inlet, &seam) == BCAST_OK)
        feed->phase = FEED_ENDED;
}

static void step(struct feed *feed)
{
    if (feed->phase == FEED_BEGIN)
        begin(feed);
    if (feed->phase == FEED_ATTACH)
        attach_last(feed);
    if (feed->phase == FEED_SEAM)
        put_seam(feed);
    if (feed->inquiry.asked)
        return;
    if (feed->phase == FEED_WHERE)
        ask(feed, false);
    else if ((feed->phase == FEED_PAGES || feed->phase == FEED_LAST) && ring_has_room(&feed->inlet.channel->ring))
        ask(feed, true);
}

static void add_fresh(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (io->fresh != NULL) {
        struct feed *feed = io->fresh;
        io->fresh = feed->next;
        feed->next = io->feeds;
        io->feeds = feed;
    }
    pthread_mutex_unlock(&io->mutex);
}

/* An answer may come at once. */
static void take_steps(struct feed *feed)
{
    enum phase before;
    do {
        before = feed->phase;
        step(feed);
    } while (feed->phase != before && feed->phase != FEED_ENDED && !feed->inquiry.asked && !feed->io->lost);
}

/* It waits for nobody: there was no memory for its step. */
static bool could_go_on(struct feed *feed)
{
    if (feed->inquiry.asked)
        return false;
    if (feed->phase == FEED_BEGIN || feed->phase == FEED_ATTACH)
        return topic_of(feed) != NULL;
    return feed->phase == FEED_WHERE || ring_has_room(&feed->inlet.channel->ring);
}

void io_feeds(struct io *io)
{
    io->feeds_again = false;
    add_fresh(io);
    for (struct feed **at = &io->feeds; *at != NULL && !io->lost;) {
        struct feed *feed = *at;
        if (atomic_load_explicit(&feed->cancelled, memory_order_relaxed)) /* a hint: attach looks with the mutex */
            feed->phase = FEED_ENDED;
        else if (io->connected)
            take_steps(feed);
        if (feed->phase != FEED_ENDED) {
            io->feeds_again |= io->connected && could_go_on(feed);
            at = &feed->next;
            continue;
        }
        *at = feed->next;
        io_fetch_forget(io, &feed->inquiry);
        io_feed_unref(feed);
    }
}

/* ---------------------------------------------------------------------------------------------------------- life -- */

void io_feed_unref(struct feed *feed)
{
    /* release: our use of it is over; acquire: so is everybody's, for who frees it */
    if (feed == NULL || atomic_fetch_sub_explicit(&feed->references, 1, memory_order_acq_rel) != 1)
        return;
    if (feed->inlet.channel != NULL) {
        if (!os_guard_forked(&feed->io->b->guard)) /* there it could wait for a thread that is not there */
            ring_notify_space(&feed->inlet.channel->ring, NULL);
        channel_unref(feed->inlet.channel);
    }
    channel_unref(feed->channel);
    marks_unref(feed->marks);
    marks_unref(feed->at);
    memory_put(feed->from);
    memory_put(feed->until);
    memory_put(feed);
}

int io_feed_begin(struct io *io, const struct feed_setup *setup, struct feed **out)
{
    struct feed *feed = memory_get(sizeof *feed);
    struct marks *at = marks_new(io->b->backend->order);
    if (feed == NULL || at == NULL) {
        memory_put(feed);
        marks_unref(at);
        return error_nomem();
    }
    atomic_init(&feed->references, 2);
    feed->inquiry.message = on_message;
    feed->inquiry.gap = on_gap;
    feed->inquiry.ended = on_end;
    feed->io = io;
    channel_ref(feed->channel = setup->channel);
    feed->cursor = setup->cursor;
    feed->marks = marks_ref(setup->marks);
    feed->at = at;
    feed->most = setup->most;
    feed->since_us = setup->since_us;
    if (setup->past != NULL)
        channel_ref(feed->inlet.channel = setup->past);
    feed->placed = setup->marks->set; /* nobody else has them yet, or they were passed with the broadcast's mutex */
    pthread_mutex_lock(&io->mutex);
    feed->next = io->fresh;
    io->fresh = feed;
    pthread_mutex_unlock(&io->mutex);
    bell_ring_one(&io->bell);
    *out = feed;
    return BCAST_OK;
}

void io_feed_cancel(struct feed *feed)
{
    feed->cursor = NULL;
    atomic_store_explicit(&feed->cancelled, true, memory_order_relaxed);
    bell_ring_one(&feed->io->bell);
}

bool io_feed_attached(const struct feed *feed)
{
    return feed->attached;
}

static void free_list(struct feed **list)
{
    while (*list != NULL) {
        struct feed *feed = *list;
        *list = feed->next;
        io_feed_unref(feed);
    }
}

void io_feeds_free(struct io *io)
{
    free_list(&io->fresh); /* nobody else is left: without the mutex, which in a forked child may be somebody's */
    free_list(&io->feeds);
}
