/* Messages arrive: all of them, once, in order, with the bytes they were sent with. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

static void round_trip(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "trip");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    conf_say(t, other, channel, "one");
    conf_say(t, other, channel, "two");
    conf_hear(t, reader, "one");
    uint64_t sequence = reader->event.sequence;
    CHECK(t, strcmp(reader->event.channel, channel) == 0 && reader->event.channel_size == strlen(channel),
          "expected the event's channel to be '%s', got '%s' (%u bytes)", channel, reader->event.channel,
          (unsigned)reader->event.channel_size);
    conf_hear(t, reader, "two");
    CHECK(t, reader->event.sequence == sequence + 1, "expected sequence %" PRIu64 " after %" PRIu64 ", got %" PRIu64,
          sequence + 1, sequence, reader->event.sequence);
}

static void to_oneself(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "self");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct bcast_channel *handle;
    conf_say(t, b, channel, "by name");
    conf_hear(t, reader, "by name");
    MUST(t, bcast_channel(b, channel, 0, &handle));
    int status = bcast_publish_to(handle, "by handle", 9);
    bcast_channel_free(handle);
    conf_status(t, BCAST_OK, status, "bcast_publish_to(handle, \"by handle\", 9)");
    conf_hear(t, reader, "by handle");
}

/* ------------------------------------------------------------------------------------------------------ content -- */

static void same_bytes(struct conf_test *t, struct conf_reader *reader, const unsigned char *data, size_t size,
                       const char *what)
{
    size_t i = 0;
    conf_message(t, reader, what);
    const unsigned char *got = reader->event.data;
    CHECK(t, reader->event.size == size, "expected %s, %zu bytes, got %zu bytes", what, size, reader->event.size);
    while (i < size && got[i] == data[i])
        i++;
    CHECK(t, i == size, "expected %s intact, but byte %zu of %zu is 0x%02x, not 0x%02x", what, i, size, got[i],
          data[i]);
}

static const struct sample {
    const char *what, *data;
    size_t size;
} samples[] = {
    {"a NUL", "\0", 1},
    {"bytes with a NUL between", "ab\0cd", 5},
    {"NULs at the end", "ab\0\0", 4},
    {"bytes that are no UTF-8", "\xff\xfe\x80\xc3(", 5},
    {"line ends", "\r\n\r\n", 4},
};
#define SAMPLES (sizeof samples / sizeof samples[0])

static void empty_message(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "empty");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    MUST(t, bcast_publish(other, channel, "", 0));
    MUST(t, bcast_publish(other, channel, NULL, 0));
    conf_say(t, other, channel, "full");
    same_bytes(t, reader, NULL, 0, "an empty message");
    same_bytes(t, reader, NULL, 0, "an empty message from NULL");
    conf_hear(t, reader, "full");
}

static void bytes_intact(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "bytes");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    unsigned char *all = conf_memory(t, 1024);
    for (size_t i = 0; i < SAMPLES; i++) {
        MUST(t, bcast_publish(other, channel, samples[i].data, samples[i].size));
        same_bytes(t, reader, (const unsigned char *)samples[i].data, samples[i].size, samples[i].what);
    }
    for (unsigned round = conf_scale(t, 1000, 10); round-- > 0;) {
        size_t size = conf_random(&t->random) % 1024;
        for (size_t i = 0; i < size; i++)
            all[i] = (unsigned char)conf_random(&t->random);
        MUST(t, bcast_publish(other, channel, all, size));
        same_bytes(t, reader, all, size, "random bytes");
    }
}

/* Where not all bytes can be carried: each sample is either refused with a reason, or arrives intact. */
static void bytes_refused(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "bytes");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    unsigned refused = 0;
    if (t->can.can & BCAST_CAN_BINARY)
        conf_skip(t, "the backend carries any bytes: see bytes-intact");
    for (size_t i = 0; i < SAMPLES; i++) {
        int status = bcast_publish(other, channel, samples[i].data, samples[i].size);
        if (status == BCAST_OK) {
            same_bytes(t, reader, (const unsigned char *)samples[i].data, samples[i].size, samples[i].what);
            continue;
        }
        conf_refused(t, status, samples[i].what);
        refused++;
    }
    conf_say(t, other, channel, "plain text");
    conf_hear(t, reader, "plain text");
    CHECK(t, refused != 0, "BCAST_CAN_BINARY is not claimed, but all of it passes: claim it");
}

static void largest(struct conf_test *t)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_capabilities can = bcast_capabilities_init();
    options.max_message_bytes = 1024 * 1024;
    struct bcast *b = conf_open(t, &options), *other = t->with.isolated ? b : conf_open(t, &options);
    const char *channel = conf_name(t, "large");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    MUST(t, bcast_capabilities(b, &can));
    size_t most = can.max_message_bytes;
    CHECK(t, most > 0 && most <= options.max_message_bytes,
          "expected max_message_bytes of at most the 1 MiB asked for, got %zu", most);
    unsigned char *data = conf_memory(t, most + 1);
    for (size_t i = 0; i <= most; i++)
        data[i] = (unsigned char)('a' + conf_random(&t->random) % 26);
    MUST_BE(t, BCAST_ERR_TOO_LARGE, bcast_publish(other, channel, data, most + 1));
    MUST(t, bcast_publish(other, channel, data, most));
    same_bytes(t, reader, data, most, "the largest message");
    for (size_t size = most; size > 64; size /= 3) {
        MUST(t, bcast_publish(other, channel, data, size));
        same_bytes(t, reader, data, size, "a large message");
    }
}

/* Some brokers fold what is equal. */
static void equal_messages(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "equal");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    unsigned count = conf_scale(t, 1000, 100);
    for (unsigned i = 0; i < count; i++)
        conf_say(t, other, channel, "again");
    conf_say(t, other, channel, "different");
    for (unsigned i = 0; i < count; i++)
        conf_hear(t, reader, "again");
    conf_hear(t, reader, "different");
}

/* -------------------------------------------------------------------------------------------------------- order -- */

static void order(struct conf_test *t)
{
    enum { publishers = 4 };
    struct bcast *b = conf_open(t, NULL);
    const char *channel = conf_name(t, "order");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct conf_order *in_order = conf_memory(t, sizeof *in_order);
    struct conf_talker *talkers = conf_memory(t, publishers * sizeof *talkers);
    unsigned each = conf_scale(t, 5000, 200);
    for (unsigned i = 0; i < publishers; i++) {
        talkers[i] = (struct conf_talker){conf_another(t), channel, i, each, NULL};
        conf_start(t, conf_talk, &talkers[i]);
    }
    for (unsigned i = 0; i < publishers * each; i++) {
        conf_event(t, reader, "one message more of four publishers'");
        conf_in_order(t, in_order, &reader->event);
    }
    conf_join(t);
}

const struct conf_case conf_messages[] = {
    {"round-trip", round_trip, 0, 0},
    {"to-oneself", to_oneself, 0, 0},
    {"empty-message", empty_message, 0, 0},
    {"bytes-intact", bytes_intact, 0, BCAST_CAN_BINARY},
    {"bytes-refused", bytes_refused, 0, 0},
    {"largest-message", largest, 0, 0},
    {"equal-messages", equal_messages, 0, 0},
    {"order-per-publisher", order, 0, 0},
    {NULL, NULL, 0, 0},
};
