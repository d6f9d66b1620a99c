#include "print.h"

#include <string.h>

#include "json.h"
#include "stamp.h"

static void put(const void *data, size_t size, FILE *out)
{
    if (size != 0)
        fwrite(data, 1, size, out);
}

/* ---------------------------------------------------------------------------------------------------------- gaps -- */

static const char *reason_text(const struct bcast_event *gap)
{
    static const char *const texts[] = {"unknown", "overflow", "reconnect", "trimmed", "broker"};
    return texts[gap->reason < sizeof texts / sizeof *texts ? gap->reason : 0];
}

static void print_gap(const struct bcast_event *gap, FILE *err)
{
    if (gap->count == BCAST_COUNT_UNKNOWN)
        fputs("gap: an unknown number of messages", err);
    else
        fprintf(err, "gap: %s%llu message%s", gap->count == BCAST_AT_LEAST ? "at least " : "",
                (unsigned long long)gap->lost, gap->lost == 1 ? "" : "s");
    fputs(" of '", err);
    put(gap->channel, gap->channel_size, err);
    fprintf(err, "' lost (%s)\n", reason_text(gap));
}

/* ---------------------------------------------------------------------------------------------------------- JSON -- */

static void json_gap(const struct bcast_event *gap, FILE *out)
{
    static const char *const counts[] = {"unknown", "exact", "at_least", "unknown"};
    fputs("{\"kind\":\"gap\",", out);
    json_bytes(out, "channel", gap->channel, gap->channel_size);
    fprintf(out, ",\"reason\":\"%s\",\"lost\":", reason_text(gap));
    if (gap->count == BCAST_EXACT || gap->count == BCAST_AT_LEAST)
        fprintf(out, "%llu", (unsigned long long)gap->lost);
    else
        fputs("null", out);
    fprintf(out, ",\"count\":\"%s\"}\n", counts[gap->count < 4 ? gap->count : 0]);
}

static void json_headers(const struct bcast_event *event, FILE *out)
{
    struct bcast_header header;
    fputs(",\"headers\":[", out);
    for (size_t i = 0; bcast_event_header(event, i, &header) == BCAST_OK; i++) {
        fputs(i == 0 ? "{" : ",{", out);
        json_text(out, "name", header.name);
        putc(',', out);
        json_bytes(out, "value", header.value != NULL ? header.value : "", header.value_size);
        putc('}', out);
    }
    putc(']', out);
}

static void json_message(const struct bcast_event *event, FILE *out)
{
    const char *id = bcast_event_id(event);
    char stamp[STAMP_BYTES];
    size_t key_size;
    const void *key = bcast_event_key(event, &key_size);
    stamp_write(stamp, event->timestamp_us);
    fputs("{\"kind\":\"message\",", out);
    json_bytes(out, "channel", event->channel, event->channel_size);
    putc(',', out);
    json_bytes(out, "message", event->data, event->size);
    putc(',', out);
    json_text(out, "id", *id != '\0' ? id : NULL);
    putc(',', out);
    json_text(out, "timestamp", event->timestamp_us != 0 ? stamp : NULL);
    putc(',', out);
    json_bytes(out, "key", key, key_size);
    json_headers(event, out);
    fputs("}\n", out);
}

/* -------------------------------------------------------------------------------------------------------- formats -- */

static const char escapes[] = "ntr0\\", escaped[] = "\n\t\r\0\\", fields[] = "cmktTisSh%";

const char *print_check(const char *format, char bad[3])
{
    for (const char *at = format; *at != '\0'; at++) {
        const char *known = *at == '%' ? fields : *at == '\\' ? escapes : NULL;
        if (known == NULL)
            continue;
        memcpy(bad, (char[]){at[0], at[1], '\0'}, 3);
        if (at[1] == '\0' || strchr(known, at[1]) == NULL)
            return bad;
        at++;
    }
    return NULL;
}

static void write_headers(const struct bcast_event *event, FILE *out)
{
    struct bcast_header header;
    for (size_t i = 0; bcast_event_header(event, i, &header) == BCAST_OK; i++) {
        fprintf(out, "%s%s=", i == 0 ? "" : ",", header.name);
        put(header.value, header.value_size, out);
    }
}

static void write_field(char field, const struct bcast_event *event, FILE *out)
{
    char stamp[STAMP_BYTES];
    size_t key_size = 0;
    const void *key = field == 'k' ? bcast_event_key(event, &key_size) : NULL;
    bool timed = event->timestamp_us != 0;
    switch (field) {
    case 'c': put(event->channel, event->channel_size, out); break;
    case 'm': put(event->data, event->size, out); break;
    case 'k': put(key, key_size, out); break;
    case 't': timed ? fprintf(out, "%lld", (long long)(event->timestamp_us / 1000)) : 0; break;
    case 'T':
        stamp_write(stamp, event->timestamp_us);
        fputs(timed ? stamp : "", out);
        break;
    case 'i': fputs(bcast_event_id(event), out); break;
    case 's': fprintf(out, "%llu", (unsigned long long)event->sequence); break;
    case 'S': fprintf(out, "%zu", event->size); break;
    case 'h': write_headers(event, out); break;
    default: putc('%', out);
    }
}

/* `format` has been checked. */
static void write_format(const char *format, const struct bcast_event *event, FILE *out)
{
    for (; *format != '\0'; format++)
        if (*format == '%')
            write_field(*++format, event, out);
        else if (*format == '\\')
            putc(escaped[strchr(escapes, *++format) - escapes], out);
        else
            putc(*format, out);
}

void print_event(const struct print *print, const struct bcast_event *event, FILE *out, FILE *err)
{
    if (event->kind == BCAST_GAP && print->json)
        json_gap(event, out);
    else if (event->kind == BCAST_GAP)
        print_gap(event, err);
    else if (print->json)
        json_message(event, out);
    else
        write_format(print->format != NULL ? print->format : "%m\\n", event, out);
}
