#include "redis_out.h"

#include <stdio.h>

#define UNSENT_MOST (1u << 20) /* bytes on their way out, before we take no more */

/* One that was queued before the server had told its limit is not sent, as the server would end the connection; in its
 * place goes something harmless, so that its result comes in its turn. */
static bool send_message(struct redis_out *out, const struct bcast_outgoing *message)
{
    static const struct redis_ask too_large = {REDIS_TOO_LARGE, 1, NULL};
    static const struct redis_word harmless = {"PING", 4};
    if (message->size <= redis_most_bytes(out->redis))
        return out->send(out, message);
    return redis_send(out->redis, REDIS_COMMANDS, &too_large, &harmless, 1);
}

static bool has_room(struct redis_out *out)
{
    if (redis_unsent(out->redis, REDIS_COMMANDS) > UNSENT_MOST)
        redis_flush(out->redis, REDIS_COMMANDS);
    return redis_unsent(out->redis, REDIS_COMMANDS) <= UNSENT_MOST;
}

size_t redis_out_publish(struct redis_out *out, const struct bcast_outgoing *messages, size_t count)
{
    size_t taken = 0;
    results_sending(&out->results, &messages[0]);
    while (taken < count && has_room(out) && send_message(out, &messages[taken]))
        taken++;
    redis_flush(out->redis, REDIS_COMMANDS);
    return taken;
}

static int status_of(const struct redis_element *error)
{
    static const char *const final[] = {"NOPERM", "NOAUTH", "WRONGPASS"};
    for (size_t i = 0; i < sizeof final / sizeof *final; i++)
        if (error->size >= strlen(final[i]) && memcmp(error->text, final[i], strlen(final[i])) == 0)
            return BCAST_ERR_REFUSED;
    return BCAST_ERR_PUBLISH;
}

bool redis_out_element(struct redis_out *out, const struct redis_ask *ask, const struct redis_element *element)
{
    static const char too_large[] = "it is over the server's proto-max-bulk-len";
    if (ask == NULL || ask->kind > REDIS_TOO_LARGE)
        return false;
    if (element->depth != 0)
        return true;
    if (ask->kind == REDIS_TOO_LARGE)
        results_bad(&out->results, BCAST_ERR_TOO_LARGE, too_large, sizeof too_large - 1);
    else if (element->type == REDIS_ERROR)
        results_bad(&out->results, status_of(element), element->text, element->size);
    else
        results_good(&out->results);
    return true;
}

int redis_out_check(struct redis_out *out, const struct bcast_outgoing *message, char *error, size_t error_size)
{
    size_t most = redis_most_bytes(out->redis);
    if (message->size <= most && message->channel_size <= most)
        return BCAST_OK;
    snprintf(error, error_size, "the server takes at most %zu bytes (proto-max-bulk-len)", most);
    return BCAST_ERR_TOO_LARGE;
}
