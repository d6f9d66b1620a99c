/* Does the campaign's checker notice what it is there for? Each case is a short story told to a view; those that
 * break the promise must end the process. */
#define _GNU_SOURCE
#include "test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger.h"

static struct ledger ledger;
static struct view view;
static uint64_t sequence;

static void publish(unsigned p, uint32_t number, enum fate fate)
{
    ledger.fates[p][0][number] = FATE_PENDING;
    ledger.count[p][0] = number + 1;
    if (fate == FATE_REFUSED)
        ledger.fates[p][0][number] = FATE_REFUSED;
    else if (fate != FATE_PENDING)
        ledger_result((void *)&ledger.fates[p][0][number], fate == FATE_OK        ? BCAST_OK
                                                           : fate == FATE_UNKNOWN ? BCAST_ERR_UNKNOWN
                                                                                  : BCAST_ERR_CONNECT);
}

static void take(unsigned p, uint32_t number)
{
    unsigned char payload[100];
    struct bcast_event event = {.kind = BCAST_MESSAGE, .data = payload, .size = 50, .sequence = sequence++};
    ledger_fill(payload, (struct mark){p, 0, number, 50, 0});
    view_take(&view, &event, 0);
}

static void gap(uint64_t lost, enum bcast_count count)
{
    sequence += lost;
    struct bcast_event event = {
        .kind = BCAST_GAP, .lost = lost, .count = (uint8_t)count, .reason = BCAST_GAP_RECONNECT, .sequence = sequence};
    view_take(&view, &event, 0);
}

static void end(void)
{
    static const bool channels[CHANNELS] = {true};
    take(PROBER, 0);
    view_end(&view, channels);
}

static void begin(bool shared)
{
    sequence = 100;
    view_begin(&view, &ledger, shared);
    for (uint32_t n = 0; n < 5; n++)
        publish(0, n, FATE_OK);
    publish(1, 0, FATE_OK);
    take(0, 0);
    take(1, 0);
    take(0, 1);
}

static void all(void)
{
    begin(false);
    for (uint32_t n = 2; n < 5; n++)
        take(0, n);
    end();
}

static void all_shared(void)
{
    begin(true);
    for (uint32_t n = 4; n > 1; n--)
        take(0, n);
    end();
}

static void gap_in_place(void)
{
    begin(false);
    gap(0, BCAST_COUNT_UNKNOWN);
    take(0, 4);
    end();
}

static void gap_at_the_end(void)
{
    begin(false);
    gap(3, BCAST_EXACT);
    end();
}

static void unknown_is_missing(void)
{
    begin(false);
    publish(1, 1, FATE_UNKNOWN);
    publish(1, 2, FATE_FAILED);
    publish(1, 3, FATE_REFUSED);
    publish(1, 4, FATE_OK);
    for (uint32_t n = 2; n < 5; n++)
        take(0, n);
    take(1, 4);
    end();
}

static void lost(void)
{
    begin(false);
    take(0, 3);
}

static void lost_at_the_end(void)
{
    begin(false);
    take(0, 2);
    end();
}

static void lost_in_shared(void)
{
    begin(true);
    take(0, 4);
    end();
}

static void gap_too_late(void)
{
    begin(false);
    take(0, 4);
    gap(0, BCAST_COUNT_UNKNOWN);
}

static void gap_too_early(void)
{
    begin(false);
    gap(0, BCAST_COUNT_UNKNOWN);
    take(0, 2);
    take(0, 4);
}

static void gap_too_small(void)
{
    begin(false);
    gap(2, BCAST_EXACT);
    end();
}

static void gap_too_large(void)
{
    begin(false);
    gap(5, BCAST_EXACT); /* three are missing, and the probe might have been a second one */
    end();
}

static void confirmed_later(void)
{
    begin(false);
    publish(1, 1, FATE_PENDING);
    publish(1, 2, FATE_OK);
    take(1, 2);
    ledger_result((void *)&ledger.fates[1][0][1], BCAST_OK);
    for (uint32_t n = 2; n < 5; n++)
        take(0, n);
    end();
}

static void out_of_order(void)
{
    begin(false);
    gap(0, BCAST_COUNT_UNKNOWN);
    take(0, 3);
    take(0, 2);
}

static void twice(void)
{
    begin(false);
    take(0, 1);
}

static void twice_in_shared(void)
{
    begin(true);
    take(0, 1);
}

static void never_published(void)
{
    begin(false);
    take(1, 1);
}

static void refused_but_arrives(void)
{
    begin(false);
    publish(1, 1, FATE_REFUSED);
    take(1, 1);
}

static void two_results(void)
{
    publish(0, 0, FATE_OK);
    ledger_result((void *)&ledger.fates[0][0][0], BCAST_OK);
}

static void wrong_sequence(void)
{
    begin(false);
    sequence++;
    take(0, 2);
}

static void damaged(void)
{
    unsigned char payload[50];
    ledger_fill(payload, (struct mark){0, 0, 0, 50, 0});
    payload[49] ^= 4;
    ledger_read(payload, 50);
}

/* Runs a story in a process of its own; did it end well? */
static bool good(void (*story)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(open("/dev/null", O_WRONLY), 2);
        story();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#define check(story, kept)                                                                                             \
    if (good(story) != (kept))                                                                                         \
    fail_msg("%s: %s", #story, (kept) ? "nothing is wrong with that" : "not noticed")

static void test_good(void **state)
{
    (void)state;
    check(all, true);
    check(all_shared, true);
    check(gap_in_place, true);
    check(gap_at_the_end, true);
    check(unknown_is_missing, true);
}

static void test_bad(void **state)
{
    (void)state;
    check(lost, false);
    check(lost_at_the_end, false);
    check(lost_in_shared, false);
    check(gap_too_late, false);
    check(gap_too_early, false);
    check(gap_too_small, false);
    check(gap_too_large, false);
    check(confirmed_later, false);
    check(out_of_order, false);
    check(twice, false);
    check(twice_in_shared, false);
    check(never_published, false);
    check(refused_but_arrives, false);
    check(two_results, false);
    check(wrong_sequence, false);
    check(damaged, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
