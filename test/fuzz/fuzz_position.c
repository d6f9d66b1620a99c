/* Positions as texts: what is written is found again, what is accepted is what would be written. */
#include "fuzz.h"

#include "position.h"

#define MOST 4

struct part {
    char *channel;
    size_t size;
    struct position position;
};

static bool has(const struct part *parts, unsigned count, const char *channel, size_t size)
{
    for (unsigned i = 0; i < count; i++)
        if (parts[i].size == size && memcmp(parts[i].channel, channel, size) == 0)
            return true;
    return false;
}

/* Distinct channels with positions. */
static unsigned take_parts(struct input *in, struct part *parts)
{
    unsigned count = 0;
    for (unsigned i = input_below(in, MOST + 1); i > 0; i--) {
        struct part part = {.channel = NULL};
        part.channel = input_bytes(in, 40, &part.size);
        part.position.epoch = input_number(in, 8);
        part.position.sequence = input_number(in, 8);
        if (part.size == 0 || has(parts, count, part.channel, part.size))
            free(part.channel);
        else
            parts[count++] = part;
    }
    return count;
}

static size_t write_parts(const struct part *parts, unsigned count, char *buffer, size_t size, bool *fits)
{
    struct position_writer writer;
    char text[POSITION_BYTES];
    position_begin(&writer, buffer, size);
    for (unsigned i = 0; i < count; i++) {
        position_write(text, &parts[i].position);
        position_add(&writer, parts[i].channel, parts[i].size, text);
    }
    *fits = position_end(&writer);
    return writer.length;
}

static void check_found(const char *text, const struct part *part)
{
    const char *found;
    size_t size;
    struct position position;
    CHECK(position_find(text, part->channel, part->size, &found, &size) == BCAST_OK, "'%s' is not found", text);
    CHECK(found >= text && found + size <= text + strlen(text), "outside");
    CHECK(position_read(found, size, &position) == BCAST_OK, "'%.*s' is not read", (int)size, found);
    CHECK(position.epoch == part->position.epoch && position.sequence == part->position.sequence, "another one");
}

static void round_trip(struct input *in)
{
    struct part parts[MOST];
    unsigned count = take_parts(in, parts);
    bool fits;
    size_t length = write_parts(parts, count, NULL, 0, &fits), less = input_byte(in);
    CHECK(!fits, "it fits into nothing");
    char *text = malloc(length + 1);
    CHECK(text != NULL, "out of memory");
    CHECK(write_parts(parts, count, text, length + 1, &fits) == length && fits && strlen(text) == length, "'%s'", text);
    for (unsigned i = 0; i < count; i++)
        check_found(text, &parts[i]);
    free(text);
    char *small = malloc(less + 1);
    CHECK(small != NULL, "out of memory");
    CHECK(write_parts(parts, count, small, less, &fits) == length && fits == (length < less), "%zu in %zu", length,
          less);
    free(small);
    for (unsigned i = 0; i < count; i++)
        free(parts[i].channel);
}

static void read_one(struct input *in)
{
    struct position position;
    char again[POSITION_BYTES];
    size_t size;
    char *text = input_bytes(in, 50, &size), *exact = malloc(size + (size == 0)); /* no NUL behind it */
    CHECK(exact != NULL, "out of memory");
    memcpy(exact, text, size);
    if (position_read(exact, size, &position) == BCAST_OK) {
        position_write(again, &position);
        CHECK(strlen(again) == size && memcmp(again, exact, size) == 0, "'%.*s' became '%s'", (int)size, exact, again);
    }
    free(exact);
    free(text);
}

static void find_one(struct input *in)
{
    const char *found = NULL;
    size_t size, found_size;
    char *channel = input_bytes(in, 40, &size), *text = input_copy(in->at, input_left(in));
    int status = position_find(text, channel, size, &found, &found_size);
    CHECK(status == BCAST_OK || status == BCAST_ERR_INVALID, "status %d", status);
    if (status == BCAST_OK) {
        CHECK(found > text && found[-1] == '=' && found + found_size <= text + strlen(text), "outside");
        CHECK(found[found_size] == ';' || found[found_size] == '\0', "it goes on with '%c'", found[found_size]);
    }
    free(text);
    free(channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    switch (input_below(&in, 3)) {
    case 0: round_trip(&in); break;
    case 1: read_one(&in); break;
    default: find_one(&in);
    }
    return 0;
}
