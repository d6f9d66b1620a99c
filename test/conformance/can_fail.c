/* Is the suite able to fail? Without arguments: runs cases against a backend with a defect (faulty.c), and each must
 * fail. With arguments: the suite as a program, against the same backend without a defect. */
#include "faulty.h"

#include <broadcaster/conformance.h>

#include <stdio.h>
#include <string.h>

static const struct trial {
    const char *defect; /* of the faulty backend; or a URL */
    const char *name;   /* of the case that must fail */
} trials[] = {
    {"swallows", "round-trip"},
    {"swallows", "to-oneself"},
    {"loses-empty", "empty-message"},
    {"cuts", "bytes-intact"},
    {"text-only", "bytes-refused"},
    {"corrupts", "largest-message"},
    {"folds", "equal-messages"},
    {"reorders", "order-per-publisher"},
    {"drops", "order-per-publisher"},
    {"duplicates", "order-per-publisher"},
    {"no-keys", "keys"},
    {"no-headers", "headers"},
    {"no-ids", "ids"},
    {"secret-ids", "ids"},
    {"no-times", "timestamps"},
    {"secret-times", "timestamps"},
    {"crosses", "isolation"},
    {"picky", "channel-names"},
    {"cuts-names", "channel-names-with-nul"},
    {"short-names", "longest-channel-name"},
    {"drops-all", "unsubscribed-is-dropped"},
    {"drops", "add-and-remove-channel"},
    {"drops", "one-leaves-others-stay"},
    {"swallows", "subscribe-again"},
    {"sticks", "unsubscribed-is-dropped"},
    {"swallows", "failed-subscribe-leaves-nothing"},
    {"drops", "many-channels"},
    {"duplicates", "many-channels"},
    {"early", "barrier"},
    {"chatty", "barrier"},
    {"drops", "barrier-second-subscriber"},
    {"early", "two-first-subscribers"},
    {"duplicates", "everyone-gets-everything"},
    {"duplicates", "workers-share"},
    {"drops", "workers-share"},
    {"drops", "many-publishers-many-subscribers"},
    {"reorders", "many-publishers-many-subscribers"},
    {"drops", "batches"},
    {"drops", "pollable-fd"},
    {"drops", "slow-subscriber-delays-nobody"},
    {"duplicates", "overflow-is-counted"},
    {"drops", "disconnect-when-full"},
    {"no-block", "block-is-lossless"},
    {"no-block", "block-holds-one-channel"},
    {"swallows", "cancel-wakes-everyone"},
    {"worn-out", "shutdown-wakes-everyone"},
    {"swallows", "use-after-close"},
    {"worn-out", "open-and-close"},
    {"chatty", "time-outs"},
    {"no-result", "results"},
    {"two-results", "results"},
    {"bad-result", "results"},
    {"two-results", "results-at-close"},
    {"connects-twice", "states"},
    {"moody", "capabilities"},
    {"no-others", "other-processes"},
    {"drops", "restart-loses-nothing-in-silence"},
    {"forgets", "restart-loses-nothing-in-silence"},
    {"resumes", "restart-loses-nothing-in-silence"},
    {"two-results", "restart-loses-nothing-in-silence"},
    {"stays-away", "restart-subscribe-while-down"},
    {"unaware", "restart-shutdown-while-down"},
    {"forgets", "restart-leave-while-down"},
    {"no-history", "history-of-nothing"},
    {"no-history", "history-fewer-than-wanted"},
    {"no-history", "history-exactly-as-wanted"},
    {"no-history", "history-more-than-wanted"},
    {"no-history", "history-seam"},
    {"no-history", "history-resume"},
    {"no-history", "history-trimmed"},
    {"no-history", "history-pages"},
    /* memory:// that keeps less than it is asked for, and more than is said */
    {"memory://forgetful?history=20", "history-fewer-than-wanted"},
    {"memory://forgetful?history=20", "history-exactly-as-wanted"},
    {"memory://forgetful?history=20", "history-more-than-wanted"},
    {"memory://forgetful?history=20", "history-resume"},
    {"memory://forgetful?history=20", "history-pages"},
    {"memory://mindful?history=1000", "history-trimmed"},
};

struct outcome {
    const struct trial *trial;
    int failed;
};

static void report(void *context, const char *name, enum bcast_conformance_result result, const char *reason,
                   unsigned long ms)
{
    struct outcome *outcome = context;
    if (strcmp(name, outcome->trial->name) != 0) /* another one whose name begins like that */
        return;
    outcome->failed = result == BCAST_CONFORMANCE_FAILED;
    printf("%-14s %-34s %5lu ms  %s\n", outcome->trial->defect, name, ms,
           outcome->failed ? reason : "not seen this time");
}

static struct bcast_conformance settings(struct faulty_broker *broker)
{
    struct bcast_conformance conformance = bcast_conformance_init();
    conformance.open = faulty_open;
    conformance.stop = faulty_stop;
    conformance.start = faulty_start;
    conformance.context = broker;
    return conformance;
}

static int seen(const struct trial *trial)
{
    bool by_url = strstr(trial->defect, "://") != NULL;
    struct faulty_broker *broker = faulty_broker_new(by_url ? "none" : trial->defect);
    struct outcome outcome = {trial, 0};
    if (broker == NULL) {
        printf("there is no defect '%s'\n", trial->defect);
        return 0;
    }
    struct bcast_conformance conformance = by_url ? bcast_conformance_init() : settings(broker);
    conformance.url = by_url ? trial->defect : NULL;
    conformance.only = trial->name;
    conformance.seed = 1;
    /* That one message overtakes another of the same publisher takes many of each. */
    conformance.rounds = strcmp(trial->defect, "reorders") == 0 ? 5000 : 500;
    conformance.deadline_ms = 500; /* most defects show in something that never comes */
    conformance.history_kept = 100;
    conformance.report = report;
    conformance.report_context = &outcome;
    (void)bcast_conformance_run(&conformance);
    faulty_broker_free(broker);
    fflush(stdout);
    return outcome.failed;
}

int main(int argc, char **argv)
{
    int missed = 0;
    if (argc > 1) {
        struct faulty_broker *broker = faulty_broker_new("none");
        struct bcast_conformance conformance = settings(broker);
        int code = bcast_conformance_main(argc, argv, &conformance);
        faulty_broker_free(broker);
        return code;
    }
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        int found = 0;
        for (int tries = 0; tries < 5 && !found;
             tries++)                 /* some defects show by chance: of two swapped messages, say, */
            found = seen(&trials[i]); /* only if both are of one publisher */
        missed += !found;
    }
    printf("%d defects were not seen\n", missed);
    return missed != 0;
}
