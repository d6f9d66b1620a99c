/* The suite against a real server: KIND [OPTION...], where KIND is one of test/broker. */
#define _POSIX_C_SOURCE 200809L
#include <broadcaster/conformance.h>

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

int main(int argc, char **argv)
{
    struct broker *broker;
    struct bcast_conformance conformance = bcast_conformance_init();
    if (argc < 2 || broker_start(argv[1], &broker) != 0)
        return 2;
    char *url = strdup(broker_url(broker)); /* a restart makes the fixture's own go */
    conformance.url = url;
    conformance.stop = stop;
    conformance.start = start;
    conformance.context = broker;
    int result = bcast_conformance_main(argc - 1, argv + 1, &conformance);
    broker_end(broker);
    free(url);
    return result;
}
