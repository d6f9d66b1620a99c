/* The suite on a broker inside the test that keeps the last 50,000 messages of each channel. */
#include "log.h"

#include <broadcaster/conformance.h>

int main(int argc, char **argv)
{
    struct bcast_conformance conformance = bcast_conformance_init();
    struct log_broker *broker = log_broker_new(50000);
    if (broker == NULL)
        return 2;
    conformance.open = log_open;
    conformance.stop = log_stop;
    conformance.start = log_start;
    conformance.context = broker;
    conformance.history_kept = 50000;
    int code = bcast_conformance_main(argc, argv, &conformance);
    log_broker_free(broker);
    return code;
}
