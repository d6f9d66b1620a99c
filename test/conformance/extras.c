/* What a message has besides its data: key, headers, id, timestamp. What is claimed works, what is not is refused. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

static struct bcast_message message(const char *channel, const char *data)
{
    struct bcast_message m = bcast_message_init();
    m.channel = channel;
    m.data = data;
    m.size = strlen(data);
    return m;
}

static void has_key(struct conf_test *t, struct conf_reader *reader, const char *key, size_t size)
{
    size_t got_size = 12345;
    const void *got = bcast_event_key(&reader->event, &got_size);
    if (key == NULL)
        CHECK(t, got == NULL && got_size == 0, "expected no key, got one of %zu bytes", got_size);
    else
        CHECK(t, got != NULL && got_size == size && memcmp(got, key, size) == 0,
              "expected a key of %zu bytes, got %s%zu bytes, or others", size, got == NULL ? "none, " : "", got_size);
}

static void keys(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "keys");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct bcast_message m = message(channel, "with");
    m.key = "k 1";
    m.key_size = 3;
    if (!(t->can.can & BCAST_CAN_KEYS)) {
        MUST_BE(t, BCAST_ERR_UNSUPPORTED, bcast_publish_message(other, &m));
        conf_say(t, other, channel, "without");
        conf_hear(t, reader, "without");
        has_key(t, reader, NULL, 0);
        return;
    }
    MUST(t, bcast_publish_message(other, &m));
    conf_say(t, other, channel, "without");
    conf_hear(t, reader, "with");
    has_key(t, reader, "k 1", 3);
    conf_hear(t, reader, "without");
    has_key(t, reader, NULL, 0);
}

static void has_header(struct conf_test *t, struct conf_reader *reader, size_t index, const struct bcast_header *wanted)
{
    struct bcast_header got;
    MUST(t, bcast_event_header(&reader->event, index, &got));
    CHECK(t, strcmp(got.name, wanted->name) == 0, "expected header %zu to be '%s', got '%s'", index, wanted->name,
          got.name);
    CHECK(t, got.value_size == wanted->value_size && memcmp(got.value, wanted->value, got.value_size) == 0,
          "expected header '%s' with %zu bytes, got %zu bytes, or others", got.name, wanted->value_size,
          got.value_size);
}

static void headers(struct conf_test *t)
{
    static const struct bcast_header sent[] = {{"type", "text/plain", 10}, {"empty", "", 0}, {"trace", "a=1;b=2", 7}};
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "headers");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    struct bcast_message m = message(channel, "with");
    m.headers = sent;
    m.header_count = 3;
    bool can = t->can.can & BCAST_CAN_HEADERS;
    MUST_BE(t, can ? BCAST_OK : BCAST_ERR_UNSUPPORTED, bcast_publish_message(other, &m));
    conf_say(t, other, channel, "without");
    if (can) {
        conf_hear(t, reader, "with");
        CHECK(t, bcast_event_header_count(&reader->event) == 3, "expected 3 headers, got %zu",
              bcast_event_header_count(&reader->event));
        for (size_t i = 0; i < 3; i++)
            has_header(t, reader, i, &sent[i]);
    }
    conf_hear(t, reader, "without");
    CHECK(t, bcast_event_header_count(&reader->event) == 0, "expected no headers, got %zu",
          bcast_event_header_count(&reader->event));
}

static void ids(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "ids");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    char last[256] = "";
    for (unsigned i = 0; i < 10; i++) {
        conf_say(t, other, channel, "%u", i);
        conf_hear(t, reader, "%u", i);
        const char *id = bcast_event_id(&reader->event);
        if (!(t->can.can & BCAST_CAN_IDS)) {
            CHECK(t, *id == '\0', "BCAST_CAN_IDS is not claimed, but a message has the id '%s': claim it", id);
            continue;
        }
        CHECK(t, *id != '\0', "expected message %u to have an id, got none", i);
        CHECK(t, strcmp(id, last) != 0, "expected message %u to have an id of its own, got '%s' once more", i, id);
        snprintf(last, sizeof last, "%s", id);
    }
}

static void timestamps(struct conf_test *t)
{
    struct bcast *b = conf_open(t, NULL), *other = conf_another(t);
    const char *channel = conf_name(t, "timestamps");
    struct conf_reader *reader = conf_subscribe(t, b, channel, NULL);
    int64_t last = INT64_C(1500000000000000); /* in 2017: a clock behind that is none, or the unit is another one */
    for (unsigned i = 0; i < 10; i++) {
        conf_say(t, other, channel, "%u", i);
        conf_hear(t, reader, "%u", i);
        int64_t is = reader->event.timestamp_us;
        if (!(t->can.can & BCAST_CAN_TIMESTAMPS)) {
            CHECK(t, is == 0, "BCAST_CAN_TIMESTAMPS is not claimed, but a message has one: claim it");
            continue;
        }
        CHECK(t, is >= last, "expected a timestamp of %" PRId64 " us or later, got %" PRId64, last, is);
        CHECK(t, is < INT64_C(10000000000000000), "expected a timestamp in microseconds, got %" PRId64, is);
        last = is;
    }
}

const struct conf_case conf_extras[] = {
    {"keys", keys, 0, 0}, {"headers", headers, 0, 0}, {"ids", ids, 0, 0}, {"timestamps", timestamps, 0, 0},
    {NULL, NULL, 0, 0},
};
