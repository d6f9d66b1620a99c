#include "results.h"

#include <stdio.h>

void results_connected(struct results *results)
{
    results->fresh = true;
    results->good = 0;
}

void results_sending(struct results *results, const struct bcast_outgoing *message)
{
    if (results->fresh)
        results->first = message->number;
    results->fresh = false;
}

void results_good(struct results *results)
{
    results->good++;
}

void results_tell(struct results *results)
{
    uint64_t first = results->first, count = results->good;
    if (count == 0)
        return;
    results->first += count;
    results->good = 0;
    results->complained = false;
    results->sink->result(results->sink, first, count, BCAST_OK);
}

void results_bad(struct results *results, int status, const char *why, size_t why_size)
{
    char text[200];
    results_tell(results);
    if (!results->complained) {
        snprintf(text, sizeof text, "a message was refused: %.*s", (int)(why_size > 150 ? 150 : why_size), why);
        results->sink->log(results->sink, BCAST_LOG_WARNING, text);
        results->complained = true;
    }
    results->sink->result(results->sink, results->first++, 1, status);
}
