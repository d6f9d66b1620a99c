/* Channels: apart from each other, with any name the backend takes, many of them, coming and going. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

/* ---------------------------------------------------------------------------------------------------- isolation -- */

static void isolation(struct conf_test *t)
{
    enum { count = 6 };
    static const char *const ends[count] = {"a", "aa", "A", "a.b", "a-", "b"};
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *base = conf_name(t, "apart-");
    struct conf_reader *readers[count];
    char *names[count];
    unsigned rounds = conf_scale(t, 100, 10);
    for (unsigned i = 0; i < count; i++) {
        names[i] = conf_memory(t, 80);
        snprintf(names[i], 80, "%s%s", base, ends[i]);
        readers[i] = conf_subscribe(t, b, names[i], NULL);
    }
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < count; i++)
            conf_say(t, other, names[i], "%u for %s", round, ends[i]);
    for (unsigned i = 0; i < count; i++)
        for (unsigned round = 0; round < rounds; round++) {
            conf_hear(t, readers[i], "%u for %s", round, ends[i]);
            CHECK(t, strcmp(readers[i]->event.channel, names[i]) == 0, "expected the channel '%s', got '%s'", names[i],
                  readers[i]->event.channel);
        }
}

/* -------------------------------------------------------------------------------------------------------- names -- */

static const struct odd_name {
    const char *what, *text;
    size_t size;
} odd_names[] = {
    {"a space in a channel's name", " x", 2},
    {"line ends in a channel's name", "\r\nx", 3},
    {"quotes in a channel's name", "\"'`", 3},
    {"wildcards in a channel's name", "*?[x]", 5},
    {"the wildcards of others in a channel's name", "+/#>", 4},
    {"a percent sign and a backslash in a channel's name", "%s\\", 3},
    {"a NUL in a channel's name", "\0x", 2},
    {"another NUL in a channel's name", "\0y", 2},
    {"a channel's name that is no UTF-8", "\xff\xfe", 2},
    {"UTF-8 in a channel's name", "\xc3\xa4\xe2\x82\xac", 5},
    {"capitals in a channel's name", "XyZ", 3},
};

/* Either both subscribing and publishing refuse it, or what is published arrives, under that very name. */
static void try_name(struct conf_test *t, struct bcast *b, struct bcast *other, const struct odd_name *odd)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast_message m = bcast_message_init();
    struct conf_reader *reader = conf_memory(t, sizeof *reader);
    char *name = conf_memory(t, 128);
    size_t size = (size_t)snprintf(name, 64, "%s", conf_name(t, "n"));
    memcpy(name + size, odd->text, odd->size);
    size += odd->size;
    const char *names[] = {name};
    options.timeout_ms = t->with.deadline_ms;
    m.channel = name;
    m.channel_size = size;
    m.data = odd->what;
    m.size = strlen(odd->what);
    int status = bcast_subscribe_many(b, names, &size, 1, &options, &reader->sub);
    if (status != BCAST_OK) {
        conf_refused(t, status, odd->what);
        status = bcast_publish_message(other, &m);
        CHECK(t, status != BCAST_OK, "expected publishing to refuse %s, as subscribing does", odd->what);
        conf_refused(t, status, odd->what);
        return;
    }
    status = bcast_publish_message(other, &m);
    if (status == BCAST_OK && bcast_next(reader->sub, &reader->event, t->with.deadline_ms) != BCAST_OK)
        status = BCAST_TIMEOUT;
    bool same = status == BCAST_OK && reader->event.kind == BCAST_MESSAGE && reader->event.channel_size == size &&
                memcmp(reader->event.channel, name, size) == 0 && reader->event.size == m.size &&
                memcmp(reader->event.data, m.data, m.size) == 0;
    bcast_release(&reader->event);
    bcast_unsubscribe(reader->sub);
    CHECK(t, same, "expected %s to work for publishing as it does for subscribing, got %d (%s)", odd->what, status,
          status == BCAST_OK ? "another name, or another message" : bcast_status_text(status));
}

static void names(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    for (size_t i = 0; i < sizeof odd_names / sizeof odd_names[0]; i++)
        try_name(t, b, other, &odd_names[i]);
}

/* Cut at a NUL, all of these would be one. */
static void names_to_the_end(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    struct bcast_message m = bcast_message_init();
    const char *base = conf_name(t, "nul");
    size_t size = strlen(base) + 2;
    char *full[2];
    struct conf_reader *readers[2];
    for (int i = 0; i < 2; i++) {
        full[i] = conf_memory(t, 80);
        memcpy(full[i], base, size - 2);
        full[i][size - 1] = (char)('x' + i);
        readers[i] = conf_memory(t, sizeof *readers[i]);
        int status = bcast_subscribe_many(b, (const char *const *)&full[i], &size, 1, NULL, &readers[i]->sub);
        if (status != BCAST_OK && i == 0)
            conf_refused(t, status, "a NUL in a channel's name");
        if (status != BCAST_OK && i == 0)
            conf_skip(t, "the backend refuses names with a NUL");
        readers[i]->next = t->readers; /* from here on the test's */
        t->readers = readers[i]->sub != NULL ? readers[i] : t->readers;
        conf_status(t, BCAST_OK, status, "subscribing to a second name with a NUL");
    }
    for (int i = 0; i < 2; i++) {
        m.channel = full[i];
        m.channel_size = size;
        m.data = &full[i][size - 1];
        m.size = 1;
        MUST(t, bcast_publish_message(other, &m));
    }
    for (int i = 0; i < 2; i++)
        conf_hear(t, readers[i], "%c", 'x' + i);
}

static char *long_name(struct conf_test *t, size_t size)
{
    const char *begin = conf_name(t, "l");
    char *name = conf_memory(t, size + 64);
    memset(name, 'n', size);
    memcpy(name, begin, strlen(begin) < size ? strlen(begin) : size);
    return name;
}

static void longest_name(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    struct bcast_sub *sub;
    size_t most = t->can.max_channel_bytes;
    CHECK(t, most > 0, "expected max_channel_bytes to say how long a channel's name may be, got 0");
    if (most > 1 << 20)
        conf_skip(t, "names may be longer than a megabyte");
    char *longest = long_name(t, most), *longer = long_name(t, most + 1);
    struct conf_reader *reader = conf_subscribe(t, b, longest, NULL);
    conf_say(t, other, longest, "to the longest name");
    conf_hear(t, reader, "to the longest name");
    MUST_BE(t, BCAST_ERR_TOO_LARGE, bcast_subscribe(b, longer, NULL, &sub));
    MUST_BE(t, BCAST_ERR_TOO_LARGE, bcast_publish(other, longer, "x", 1));
    MUST_BE(t, BCAST_ERR_INVALID, bcast_subscribe(b, "", NULL, &sub));
    MUST_BE(t, BCAST_ERR_INVALID, bcast_publish(other, "", "x", 1));
}

/* ---------------------------------------------------------------------------------------------- coming and going -- */

/* One subscription, whose one channel is published to all the time while another one comes and goes. */
static void add_and_remove(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *steady = conf_name(t, "steady"), *guest = conf_name(t, "guest");
    struct conf_reader *reader = conf_subscribe(t, b, steady, NULL);
    struct conf_order *order = conf_memory(t, sizeof *order);
    struct conf_talker *talker = conf_memory(t, sizeof *talker);
    _Atomic bool *enough = conf_memory(t, sizeof *enough);
    unsigned rounds = conf_scale(t, 500, 20);
    *talker = (struct conf_talker){other, steady, 0, 0, enough};
    conf_start(t, conf_talk, talker);
    for (unsigned round = 0; round < rounds; round++) {
        MUST(t, bcast_add_channel(reader->sub, guest, 0));
        conf_say(t, other, guest, "1 %u", round);
        for (bool seen = false; !seen;) {
            conf_event(t, reader, "the guest's message, and all of the steady channel's");
            seen = strcmp(reader->event.channel, guest) == 0;
            conf_in_order(t, order, &reader->event);
        }
        MUST(t, bcast_remove_channel(reader->sub, guest, 0));
    }
    MUST_BE(t, BCAST_ERR_NOT_FOUND, bcast_remove_channel(reader->sub, guest, 0));
    MUST_BE(t, BCAST_ERR_EXISTS, bcast_add_channel(reader->sub, steady, 0));
    *enough = true;
    conf_join(t);
    while (order->next[0] < talker->count) {
        conf_event(t, reader, "the rest of the steady channel's messages");
        conf_in_order(t, order, &reader->event);
    }
}

/* Another subscription to the same channel ends: this one goes on. */
static void one_leaves(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "leave");
    struct conf_reader *stays = conf_subscribe(t, b, channel, NULL);
    for (unsigned i = 0; i < conf_scale(t, 500, 20); i++) {
        struct conf_reader *leaves = conf_subscribe(t, b, channel, NULL);
        conf_say(t, other, channel, "%u", 2 * i);
        conf_hear(t, leaves, "%u", 2 * i);
        conf_unsubscribe(t, leaves);
        conf_say(t, other, channel, "%u", 2 * i + 1);
        conf_hear(t, stays, "%u", 2 * i);
        conf_hear(t, stays, "%u", 2 * i + 1);
    }
}

/* What was said between two subscriptions may still be on its way when the second one begins, and then reach it: it comes
 * once, first, and nothing else does. */
static void hear_again(struct conf_test *t, struct conf_reader *reader, unsigned round)
{
    unsigned to_nobody, number;
    conf_message(t, reader, "what was published after subscribing again");
    conf_numbers(t, &reader->event, &to_nobody, &number);
    if (to_nobody && number + 1 == round) {
        conf_hear(t, reader, "0 %u", round);
        return;
    }
    CHECK(t, !to_nobody && number == round, "expected the message '0 %u', got %s", round, conf_told(&reader->event));
}

static void again(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "again");
    for (unsigned round = 0; round < conf_scale(t, 500, 20); round++) {
        struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
        conf_say(t, other, channel, "0 %u", round);
        hear_again(t, reader, round);
        conf_unsubscribe(t, reader);
        conf_say(t, other, channel, "1 %u", round);
        MUST(t, bcast_flush(other, t->with.deadline_ms));
    }
}

/* Unsubscribing reaches the broker: nothing of a channel comes in that nobody wants any more. */
static void dropped(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *gone = conf_name(t, "gone"), *here = conf_name(t, "here");
    struct conf_reader *reader = conf_subscribe(t, b, here, NULL), *leaves = conf_subscribe(t, b, gone, NULL);
    conf_unsubscribe(t, leaves);
    if (!(t->can.can & BCAST_CAN_HISTORY)) /* where messages are kept, channels may be too */
        UNTIL(t, conf_stats(t, b).channels == 1, "the channel that nobody wants is forgotten");
    uint64_t before = conf_stats(t, b).received;
    for (unsigned i = 0; i < 100; i++)
        conf_say(t, other, gone, "to nobody");
    conf_say(t, other, here, "to somebody");
    conf_hear(t, reader, "to somebody");
    UNTIL(t, conf_stats(t, b).received != before, "what was received is counted");
    uint64_t after = conf_stats(t, b).received;
    if (t->can.can & BCAST_CAN_HISTORY)
        return;
    CHECK(t, after - before == 1, "expected 1 message to come in after the other channel was left, got %" PRIu64,
          after - before);
}

/* ------------------------------------------------------------------------------------------------------- failing -- */

/* All or none: what fails leaves nothing behind, and spoils nothing. */
static void failed_subscribe(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *good = conf_name(t, "good"), *second = conf_name(t, "second");
    struct bcast_sub *sub = NULL;
    char *longer = long_name(t, t->can.max_channel_bytes > 1 << 20 ? 1 : t->can.max_channel_bytes + 1);
    const char *twice[] = {good, second, good}, *too_long[] = {good, longer};
    struct bcast_stats before = conf_stats(t, b);
    MUST_BE(t, BCAST_ERR_EXISTS, bcast_subscribe_many(b, twice, NULL, 3, NULL, &sub));
    CHECK(t, sub == NULL, "expected no subscription from a call that failed, got one");
    if (t->can.max_channel_bytes <= 1 << 20)
        MUST_BE(t, BCAST_ERR_TOO_LARGE, bcast_subscribe_many(b, too_long, NULL, 2, NULL, &sub));
    CHECK(t, sub == NULL, "expected no subscription from a call that failed, got one");
    CHECK(t, conf_stats(t, b).subscriptions == before.subscriptions,
          "expected %" PRIu64 " subscriptions after failed ones, got %" PRIu64, before.subscriptions,
          conf_stats(t, b).subscriptions);
    if (!(t->can.can & BCAST_CAN_HISTORY)) /* where messages are kept, channels may be too */
        UNTIL(t, conf_stats(t, b).channels == before.channels, "the channels of failed subscriptions are forgotten");
    struct conf_reader *reader = conf_subscribe(t, b, good, NULL);
    conf_say(t, other, good, "fine");
    conf_hear(t, reader, "fine");
}

/* --------------------------------------------------------------------------------------------------------- many -- */

static const char **many_names(struct conf_test *t, unsigned count)
{
    const char **names = conf_memory(t, count * sizeof *names);
    for (unsigned i = 0; i < count; i++)
        names[i] = conf_name(t, "many");
    return names;
}

static void many_channels(struct conf_test *t)
{
    enum { subs = 10 };
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    unsigned count = conf_scale(t, 10000, 100) / subs * subs, each = count / subs;
    const char **names = many_names(t, count);
    struct conf_reader *readers[subs];
    uint64_t before = conf_stats(t, b).channels;
    for (unsigned s = 0; s < subs; s++)
        readers[s] = conf_subscribe_many(t, b, names + (size_t)s * each, each, NULL);
    for (unsigned i = 0; i < count; i++)
        conf_say(t, other, names[i], "%u %u", 0, i);
    bool *seen = conf_memory(t, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned who, number;
        conf_message(t, readers[i / each], "one message for each of many channels");
        conf_numbers(t, &readers[i / each]->event, &who, &number);
        CHECK(t, number < count && !seen[number] && number / each == i / each,
              "expected each channel's message once, got number %u again, or in another subscription", number);
        CHECK(t, strcmp(readers[i / each]->event.channel, names[number]) == 0,
              "expected message %u on the channel '%s', got it on '%s'", number, names[number],
              readers[i / each]->event.channel);
        seen[number] = true;
    }
    for (unsigned s = 0; s < subs; s++)
        conf_unsubscribe(t, readers[s]);
    if (!(t->can.can & BCAST_CAN_HISTORY))
        UNTIL(t, conf_stats(t, b).channels == before, "all of many channels are forgotten");
}

const struct conf_case conf_channels[] = {
    {"isolation", isolation, 0, 0},
    {"channel-names", names, 0, 0},
    {"channel-names-with-nul", names_to_the_end, 0, 0},
    {"longest-channel-name", longest_name, 0, 0},
    {"add-and-remove-channel", add_and_remove, 0, 0},
    {"one-leaves-others-stay", one_leaves, 0, 0},
    {"subscribe-again", again, 0, 0},
    {"unsubscribed-is-dropped", dropped, 0, 0},
    {"failed-subscribe-leaves-nothing", failed_subscribe, 0, 0},
    {"many-channels", many_channels, 0, 0},
    {NULL, NULL, 0, 0},
};
