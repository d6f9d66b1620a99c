/* What `--json` prints: whatever the bytes of an event are, each line is one JSON object, in UTF-8, from which they can
 * be had again. What is printed is read here by a parser that shares nothing with the printer. */
#define _GNU_SOURCE
#include "fuzz.h"

#include "json.h"
#include "print.h"
#include "stamp.h"

/* ------------------------------------------------------------------------------------------------------ reading -- */

struct parser {
    const unsigned char *at, *end;
};

struct text { /* a string, decoded */
    char *bytes;
    size_t size;
};

static int peek(const struct parser *p)
{
    return p->at < p->end ? *p->at : -1;
}

static void expect(struct parser *p, const char *words)
{
    for (; *words != '\0'; words++, p->at++)
        CHECK(peek(p) == *words, "'%c' is missing before '%.*s'", *words, (int)(p->end - p->at), (const char *)p->at);
}

static bool accept(struct parser *p, const char *words)
{
    size_t size = strlen(words);
    bool there = (size_t)(p->end - p->at) >= size && memcmp(p->at, words, size) == 0;
    p->at += there ? size : 0;
    return there;
}

/* The well-formed sequences, as the table in the Unicode standard (3-7) has them: 0 if there is none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    static const unsigned char table[][4] = {
        /* first byte from, to; second byte from, to; those that follow are 80 to bf */
        {0xc2, 0xdf, 0x80, 0xbf}, {0xe0, 0xe0, 0xa0, 0xbf}, {0xe1, 0xec, 0x80, 0xbf}, {0xed, 0xed, 0x80, 0x9f},
        {0xee, 0xef, 0x80, 0xbf}, {0xf0, 0xf0, 0x90, 0xbf}, {0xf1, 0xf3, 0x80, 0xbf}, {0xf4, 0xf4, 0x80, 0x8f},
    };
    if (at[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t length = i == 0 ? 2 : i < 5 ? 3 : 4;
        bool first = at[0] >= table[i][0] && at[0] <= table[i][1];
        if (!first || left < length || at[1] < table[i][2] || at[1] > table[i][3])
            continue;
        for (size_t j = 2; j < length; j++)
            if (at[j] < 0x80 || at[j] > 0xbf)
                return 0;
        return length;
    }
    return 0;
}

static bool is_utf8(const char *bytes, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i += length)
        if ((length = utf8_length((const unsigned char *)bytes + i, size - i)) == 0)
            return false;
    return true;
}

static char read_escape(struct parser *p)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    int c = peek(p);
    CHECK(c > 0, "the string ends in an escape");
    p->at++;
    const char *found = strchr(letters, c);
    if (found != NULL)
        return meant[found - letters];
    CHECK(c == 'u' && p->end - p->at >= 4, "escape \\%c", c);
    unsigned code = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *p->at);
        CHECK(*p->at != '\0' && digit != NULL, "digit '%c'", *p->at);
        code = code * 16 + (unsigned)(digit - digits);
    }
    CHECK(code < 0x80, "\\u%04x, which could have been written as it is", code);
    return (char)code;
}

static struct text read_string(struct parser *p)
{
    struct text text = {malloc((size_t)(p->end - p->at) + 1), 0};
    CHECK(text.bytes != NULL, "out of memory");
    expect(p, "\"");
    while (peek(p) != '"') {
        CHECK(peek(p) >= 0x20, "the string has %d", peek(p));
        if (accept(p, "\\")) {
            text.bytes[text.size++] = read_escape(p);
            continue;
        }
        size_t length = utf8_length(p->at, (size_t)(p->end - p->at));
        CHECK(length != 0, "not UTF-8: '%.*s'", (int)(p->end - p->at), (const char *)p->at);
        memcpy(text.bytes + text.size, p->at, length);
        text.size += length;
        p->at += length;
    }
    p->at++;
    return text;
}

static unsigned base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    CHECK(c == '+' || c == '/', "'%c' in base64", c);
    return c == '+' ? 62 : 63;
}

/* In place. */
static void read_base64(struct text *text)
{
    size_t out = 0, size = text->size;
    CHECK(size % 4 == 0, "%zu digits", size);
    for (size_t i = 0; i < size; i += 4) {
        const char *four = text->bytes + i;
        unsigned missing = four[3] != '=' ? 0 : four[2] != '=' ? 1 : 2, bits = 0;
        CHECK(missing == 0 || i + 4 == size, "the end is in the middle");
        for (unsigned j = 0; j < 4; j++)
            bits = bits << 6 | (j < 4 - missing ? base64_value(four[j]) : 0);
        CHECK(missing == 0 || (bits & ((1u << 8 * missing) - 1)) == 0, "bits behind the end");
        for (unsigned j = 0; j < 3 - missing; j++)
            text->bytes[out++] = (char)(bits >> (16 - 8 * j));
    }
    text->size = out;
}

/* "name":"…" or "name_base64":"…": these bytes, and base64 only where it must be. NULL: null. */
static void expect_bytes(struct parser *p, const char *name, const void *bytes, size_t size)
{
    expect(p, "\"");
    expect(p, name);
    bool encoded = accept(p, "_base64");
    expect(p, "\":");
    if (bytes == NULL) {
        CHECK(!encoded, "null in base64");
        expect(p, "null");
        return;
    }
    struct text text = read_string(p);
    CHECK(encoded == !is_utf8(bytes, size), "%s is encoded: %d", name, encoded);
    if (encoded)
        read_base64(&text);
    CHECK(text.size == size && (size == 0 || memcmp(text.bytes, bytes, size) == 0), "%s has changed", name);
    free(text.bytes);
}

/* --------------------------------------------------------------------------------------------------- what to print -- */

struct sample {
    char *channel, *data, *key, *names[3], *values[3];
    size_t channel_size, data_size, key_size, value_sizes[3];
    bool has_key;
    size_t headers;
    int64_t timestamp_us;
};

static void take_sample(struct input *in, struct sample *s)
{
    memset(s, 0, sizeof *s);
    s->timestamp_us = (int64_t)input_number(in, 8);
    s->channel = input_bytes(in, 20, &s->channel_size);
    s->key = input_bytes(in, 20, &s->key_size);
    s->has_key = input_below(in, 2) != 0;
    for (unsigned most = input_below(in, 4); s->headers < most; s->headers++) {
        s->names[s->headers] = input_text(in, 10);
        s->values[s->headers] = input_bytes(in, 20, &s->value_sizes[s->headers]);
    }
    s->data_size = input_left(in);
    s->data = input_copy(in->at, s->data_size);
}

static void free_sample(struct sample *s)
{
    for (size_t i = 0; i < s->headers; i++) {
        free(s->names[i]);
        free(s->values[i]);
    }
    free(s->channel);
    free(s->key);
    free(s->data);
}

/* Through the library, which alone can make an event with key and headers. false: it is none that could be published. */
static bool make_event(struct bcast *b, const struct sample *s, struct bcast_sub **sub, struct bcast_event *event)
{
    struct bcast_header headers[3];
    struct bcast_message message = bcast_message_init();
    const char *channel = s->channel;
    if (s->channel_size == 0 || bcast_subscribe_many(b, &channel, &s->channel_size, 1, NULL, sub) != BCAST_OK)
        return false;
    for (size_t i = 0; i < s->headers; i++)
        headers[i] = (struct bcast_header){s->names[i], s->values[i], s->value_sizes[i]};
    message.channel = s->channel;
    message.channel_size = s->channel_size;
    message.data = s->data;
    message.size = s->data_size;
    message.key = s->has_key ? s->key : NULL;
    message.key_size = s->has_key ? s->key_size : 0;
    message.headers = headers;
    message.header_count = s->headers;
    if (bcast_publish_message(b, &message) != BCAST_OK)
        return false;
    CHECK(bcast_next(*sub, event, 0) == BCAST_OK && event->kind == BCAST_MESSAGE, "nothing came");
    event->timestamp_us = s->timestamp_us;
    return true;
}

static void check_message(struct parser *p, const struct sample *s)
{
    char stamp[STAMP_BYTES];
    stamp_write(stamp, s->timestamp_us);
    expect(p, "{\"kind\":\"message\",");
    expect_bytes(p, "channel", s->channel, s->channel_size);
    expect(p, ",");
    expect_bytes(p, "message", s->data, s->data_size);
    expect(p, ",\"id\":null,");
    expect_bytes(p, "timestamp", s->timestamp_us != 0 ? stamp : NULL, strlen(stamp));
    expect(p, ",");
    expect_bytes(p, "key", s->has_key ? s->key : NULL, s->key_size);
    expect(p, ",\"headers\":[");
    for (size_t i = 0; i < s->headers; i++) {
        expect(p, i == 0 ? "{" : ",{");
        expect_bytes(p, "name", s->names[i], strlen(s->names[i]));
        expect(p, ",");
        expect_bytes(p, "value", s->values[i], s->value_sizes[i]);
        expect(p, "}");
    }
    expect(p, "]}\n");
}

static void check_gap(struct parser *p, const struct sample *s, const struct bcast_event *gap)
{
    static const char *const counts[] = {"unknown", "exact", "at_least", "unknown"};
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)gap->lost);
    expect(p, "{\"kind\":\"gap\",");
    expect_bytes(p, "channel", s->channel, s->channel_size);
    expect(p, ",\"reason\":");
    free(read_string(p).bytes);
    expect(p, ",\"lost\":");
    expect(p, gap->count == BCAST_EXACT || gap->count == BCAST_AT_LEAST ? number : "null");
    expect(p, ",\"count\":\"");
    expect(p, counts[gap->count < 4 ? gap->count : 0]);
    expect(p, "\"}\n");
}

/* ---------------------------------------------------------------------------------------------------------- runs -- */

static void print_message(struct bcast *b, const struct sample *s)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_sub *sub = NULL;
    struct print print = {.json = true};
    char *out = NULL;
    size_t size = 0;
    if (make_event(b, s, &sub, &event)) {
        FILE *file = open_memstream(&out, &size);
        print_event(&print, &event, file, file);
        fclose(file);
        struct parser p = {(unsigned char *)out, (unsigned char *)out + size};
        check_message(&p, s);
        CHECK(p.at == p.end, "there is more: %s", (const char *)p.at);
        free(out);
    }
    bcast_release(&event);
    bcast_unsubscribe(sub);
}

static void print_gap(const struct sample *s)
{
    struct bcast_event gap = BCAST_EVENT_INIT;
    struct print print = {.json = true};
    char *out = NULL;
    size_t size = 0;
    gap.kind = BCAST_GAP;
    gap.channel = s->channel;
    gap.channel_size = (uint32_t)s->channel_size;
    gap.reason = (uint8_t)s->timestamp_us;
    gap.count = (uint8_t)(s->timestamp_us >> 8);
    gap.lost = (uint64_t)s->timestamp_us;
    FILE *file = open_memstream(&out, &size);
    print_event(&print, &gap, file, file);
    fclose(file);
    struct parser p = {(unsigned char *)out, (unsigned char *)out + size};
    check_gap(&p, s, &gap);
    CHECK(p.at == p.end, "there is more: %s", (const char *)p.at);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bcast *b; /* one for all runs: opening costs more than all the rest */
    if (b == NULL)
        CHECK(bcast_open("memory://", NULL, &b) == BCAST_OK, "open");
    struct input in = {data, data + size};
    struct sample sample;
    take_sample(&in, &sample);
    CHECK(json_utf8(sample.data, sample.data_size) == is_utf8(sample.data, sample.data_size), "is it UTF-8?");
    print_message(b, &sample);
    print_gap(&sample);
    free_sample(&sample);
    return 0;
}
