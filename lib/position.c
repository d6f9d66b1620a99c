#include "position.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "broadcaster/broadcaster.h"

#define VERSION "v1"

static bool plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~/:", c) != NULL);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int malformed(void)
{
    return error_set(BCAST_ERR_INVALID,
                     "not a position: give a text from bcast_position, or of a page of bcast_history, "
                     "as it was");
}

/* ------------------------------------------------------------------------------------------------- of one channel -- */

void position_write(char text[POSITION_BYTES], const struct position *position)
{
    snprintf(text, POSITION_BYTES, "%016llx.%llu", (unsigned long long)position->epoch,
             (unsigned long long)position->sequence);
}

int position_read(const char *text, size_t size, struct position *out)
{
    char copy[POSITION_BYTES], again[POSITION_BYTES];
    unsigned long long epoch, sequence;
    if (size >= sizeof copy)
        return malformed();
    memcpy(copy, text, size);
    copy[size] = '\0';
    if (sscanf(copy, "%16llx.%20llu", &epoch, &sequence) != 2)
        return malformed();
    *out = (struct position){epoch, sequence};
    position_write(again, out); /* there is one way only to write it */
    return strcmp(copy, again) == 0 ? BCAST_OK : malformed();
}

/* ---------------------------------------------------------------------------------------------- of a subscription -- */

/* One character of a channel's name, moving on: -1 at its end, -2 where it is malformed. */
static int decode(const char **at)
{
    unsigned char c = (unsigned char)**at;
    if (plain(c)) {
        ++*at;
        return c;
    }
    if (c != '%')
        return c == '=' ? -1 : -2;
    int high = hex_digit((*at)[1]), low = high < 0 ? -1 : hex_digit((*at)[2]);
    if (low < 0)
        return -2;
    *at += 3;
    return high << 4 | low;
}

/* Reads a name up to its '=': is it this one? */
static int read_name(const char **at, const char *channel, size_t size, bool *same)
{
    size_t i = 0;
    int c;
    for (*same = true; (c = decode(at)) >= 0; i++)
        *same = *same && i < size && (unsigned char)channel[i] == c;
    *same = *same && i == size;
    ++*at;
    return c == -1 && i != 0 ? BCAST_OK : malformed();
}

int position_find(const char *text, const char *channel, size_t channel_size, const char **position, size_t *size)
{
    const char *at = text + strlen(VERSION);
    *position = NULL;
    if (strncmp(text, VERSION, strlen(VERSION)) != 0)
        return malformed();
    while (*at == ';') {
        bool same;
        at++;
        if (read_name(&at, channel, channel_size, &same) != BCAST_OK)
            return malformed();
        size_t length = strcspn(at, ";=");
        if (same) {
            *position = at;
            *size = length;
        }
        at += length;
    }
    if (*at != '\0')
        return malformed();
    if (*position == NULL)
        return error_set(BCAST_ERR_INVALID,
                         "the position to resume from has no channel '%.*s': it was taken from a "
                         "subscription of others",
                         (int)channel_size, channel);
    return BCAST_OK;
}

static void add(struct position_writer *writer, char c)
{
    if (writer->length < writer->size)
        writer->buffer[writer->length] = c;
    writer->length++;
}

static void add_text(struct position_writer *writer, const char *text)
{
    while (*text != '\0')
        add(writer, *text++);
}

void position_begin(struct position_writer *writer, char *buffer, size_t size)
{
    *writer = (struct position_writer){buffer, size, 0};
    add_text(writer, VERSION);
}

void position_add(struct position_writer *writer, const char *channel, size_t channel_size, const char *position)
{
    static const char digits[] = "0123456789ABCDEF";
    add(writer, ';');
    for (size_t i = 0; i < channel_size; i++) {
        unsigned char c = (unsigned char)channel[i];
        if (plain(c)) {
            add(writer, (char)c);
            continue;
        }
        add(writer, '%');
        add(writer, digits[c >> 4]);
        add(writer, digits[c & 15]);
    }
    add(writer, '=');
    add_text(writer, position);
}

bool position_end(struct position_writer *writer)
{
    bool fits = writer->length < writer->size;
    if (fits)
        writer->buffer[writer->length] = '\0';
    else if (writer->size > 0)
        writer->buffer[0] = '\0';
    return fits;
}
