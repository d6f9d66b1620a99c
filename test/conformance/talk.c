/* Saying and hearing. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"

#include <stdarg.h>

void conf_say(struct conf_test *t, struct bcast *b, const char *channel, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    MUST(t, bcast_publish(b, channel, text, (size_t)size));
}

static const char *gap_text(const struct bcast_event *event, char *text, size_t size)
{
    static const char *const reasons[] = {"?", "overflow", "reconnect", "trimmed", "broker"};
    static const char *const counts[] = {"?", "exactly", "at least", "an unknown number, at least"};
    snprintf(text, size, "a gap (%s) of %s %" PRIu64 " messages on '%s'",
             reasons[event->reason <= BCAST_GAP_BROKER ? event->reason : 0],
             counts[event->count <= BCAST_COUNT_UNKNOWN ? event->count : 0], event->lost, event->channel);
    return text;
}

const char *conf_told(const struct bcast_event *event)
{
    static _Thread_local char text[256];
    char data[41] = "";
    if (event->kind == BCAST_GAP)
        return gap_text(event, text, sizeof text);
    if (event->kind != BCAST_MESSAGE)
        return "an empty event";
    for (size_t i = 0; i < event->size && i < sizeof data - 1; i++) {
        unsigned char c = ((const unsigned char *)event->data)[i];
        data[i] = (char)(c >= ' ' && c < 127 ? c : '.');
    }
    snprintf(text, sizeof text, "the message '%s'%s of %zu bytes on '%s'", data, event->size > 40 ? "…" : "",
             event->size, event->channel);
    return text;
}

void conf_event(struct conf_test *t, struct conf_reader *reader, const char *what)
{
    int status = bcast_next(reader->sub, &reader->event, t->with.deadline_ms);
    if (status == BCAST_TIMEOUT)
        conf_fail(t, "expected %s, got nothing in %d ms", what, t->with.deadline_ms);
    if (status != BCAST_OK)
        conf_fail(t, "expected %s, got %d (%s: %s) from bcast_next", what, status, bcast_status_text(status),
                  bcast_error_text());
    CHECK(t, reader->event.kind == BCAST_MESSAGE || reader->event.kind == BCAST_GAP,
          "expected %s, got an event of the kind %d", what, reader->event.kind);
}

void conf_message(struct conf_test *t, struct conf_reader *reader, const char *what)
{
    conf_event(t, reader, what);
    CHECK(t, reader->event.kind == BCAST_MESSAGE, "expected %s, got %s", what, conf_told(&reader->event));
    CHECK(t, reader->event.data != NULL, "expected %s, got a message whose data is NULL", what);
}

void conf_hear(struct conf_test *t, struct conf_reader *reader, const char *format, ...)
{
    char text[256], what[300];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(what, sizeof what, "the message '%s'", text);
    conf_message(t, reader, what);
    CHECK(t, reader->event.size == (size_t)size && memcmp(reader->event.data, text, (size_t)size) == 0,
          "expected %s, got %s", what, conf_told(&reader->event));
}

void conf_numbers(struct conf_test *t, const struct bcast_event *event, unsigned *who, unsigned *number)
{
    char text[32] = "";
    if (event->size < sizeof text)
        memcpy(text, event->data, event->size);
    CHECK(t, sscanf(text, "%u %u", who, number) == 2, "expected a message of two numbers, got %s", conf_told(event));
}

void conf_in_order(struct conf_test *t, struct conf_order *order, const struct bcast_event *event)
{
    unsigned who, number;
    CHECK(t, event->kind == BCAST_MESSAGE, "expected messages only, got %s", conf_told(event));
    conf_numbers(t, event, &who, &number);
    CHECK(t, who < CONF_PUBLISHERS, "expected a publisher's number, got %s", conf_told(event));
    CHECK(t, number == order->next[who], "expected message %u of publisher %u, got %u (%s)", order->next[who], who,
          number, number < order->next[who] ? "a second time, or out of order" : "some are missing, or out of order");
    order->next[who]++;
}

void conf_talk(struct conf_test *t, void *argument)
{
    struct conf_talker *talker = argument;
    unsigned number = 0;
    for (; talker->enough != NULL ? !*talker->enough && !t->failed : number < talker->count; number++) {
        conf_say(t, talker->b, talker->channel, "%u %u", talker->who, number);
        if (talker->enough != NULL)
            sched_yield(); /* for ever, but not alone */
    }
    talker->count = number;
}

struct bcast_stats conf_stats(struct conf_test *t, struct bcast *b)
{
    struct bcast_stats stats = bcast_stats_init();
    MUST(t, bcast_stats(b, &stats));
    return stats;
}

struct bcast_sub_stats conf_sub_stats(struct conf_test *t, struct conf_reader *reader)
{
    struct bcast_sub_stats stats = bcast_sub_stats_init();
    MUST(t, bcast_sub_stats(reader->sub, &stats));
    return stats;
}
