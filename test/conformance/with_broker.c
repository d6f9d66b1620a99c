/* The suite against a real server: KIND [--scheme SCHEME] [OPTION...], where KIND is one of test/broker. */
#define _POSIX_C_SOURCE 200809L
#include <broadcaster/conformance.h>

#include <stdio.h>
#include <stdlib.h>

#include "broker.h"

static int stop(void *context)
{
    return broker_kill(context);
}

static int start(void *context)
{
    return broker_restart(context);
}

/* The server's URL, perhaps with another scheme. */
static char *url_of(struct broker *broker, const char *scheme)
{
    const char *url = broker_url(broker);
    size_t room = strlen(url) + (scheme != NULL ? strlen(scheme) : 0) + 1;
    char *copy = malloc(room); /* a restart makes the fixture's own go */
    snprintf(copy, room, "%s%s", scheme != NULL ? scheme : "", scheme != NULL ? strstr(url, "://") : url);
    return copy;
}

int main(int argc, char **argv)
{
    struct broker *broker;
    struct bcast_conformance conformance = bcast_conformance_init();
    if (argc < 2 || broker_start(argv[1], &broker) != 0)
        return 2;
    const char *scheme = argc > 3 && strcmp(argv[2], "--scheme") == 0 ? argv[3] : NULL;
    int used = scheme != NULL ? 3 : 1;
    char *url = url_of(broker, scheme);
    conformance.url = url;
    conformance.stop = stop;
    conformance.start = start;
    conformance.context = broker;
    int result = bcast_conformance_main(argc - used, argv + used, &conformance);
    broker_end(broker);
    free(url);
    return result;
}
