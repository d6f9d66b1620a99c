/* The suite against a real server: KIND [OPTION...], where KIND is one of test/broker. */
#include <broadcaster/conformance.h>

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
    conformance.url = broker_url(broker);
    conformance.stop = stop;
    conformance.start = start;
    conformance.context = broker;
    int result = bcast_conformance_main(argc - 1, argv + 1, &conformance);
    broker_end(broker);
    return result;
}
