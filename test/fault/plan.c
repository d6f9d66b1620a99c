/* Random sequences of faults. Step by step: a fault, then calm, and so on; what each is comes from the seed and its
 * number. It lasts until so many bytes have gone, counted over all connections, or a time has passed. */
#include "inside.h"

#include <stdio.h>

#define MOST_BYTES 20000
#define LEAST_US 20000
#define MOST_US 400000

static const char *const names[PROXY_FAULTS] = {
    "delay", "bytes",  "pieces", "merge", "drip",   "silence", "reset",   "fin",    "half-fin",
    "cut",   "refuse", "slam",   "mute",  "ignore", "flip",    "replace", "inject",
};

const char *proxy_fault_name(enum proxy_fault fault)
{
    return fault < PROXY_FAULTS ? names[fault] : "?";
}

struct dice {
    uint64_t seed, step, throws;
};

static uint64_t below(struct dice *dice, uint64_t bound)
{
    return pump_chance(dice->seed, dice->step, 0, dice->throws++) % bound;
}

static const char garbage[] = "+OK\r\n$-7\r\n*99999999999\r\n:::\r\n-\0\xff\xfe*3\r\n$7\r\nmessage\r\n$1\r\n";

static struct proxy_rule make_rule(enum proxy_fault fault, struct dice *dice)
{
    struct proxy_rule rule = {.seed = dice->seed + dice->step};
    switch (fault) {
    case PROXY_FAULT_DELAY:
        rule.delay_ms = (unsigned)below(dice, 30);
        rule.jitter_ms = (unsigned)below(dice, 30);
        break;
    case PROXY_FAULT_BYTES: rule.piece = 1; break;
    case PROXY_FAULT_PIECES:
        rule.piece = 2 + (unsigned)below(dice, 40);
        rule.any_piece = true;
        break;
    case PROXY_FAULT_MERGE:
        rule.merge_bytes = 1000 + below(dice, 60000);
        rule.merge_ms = 1 + (unsigned)below(dice, 100);
        break;
    case PROXY_FAULT_DRIP: rule.bytes_per_second = 500 + (unsigned)below(dice, 20000); break;
    case PROXY_FAULT_SILENCE: rule.silent = true; break;
    case PROXY_FAULT_RESET: rule.action = PROXY_RESET; break;
    case PROXY_FAULT_FIN: rule.action = PROXY_FIN; break;
    case PROXY_FAULT_HALF_FIN: rule.action = PROXY_HALF_FIN; break;
    case PROXY_FAULT_FLIP: rule.flips = 1 + (unsigned)below(dice, 10000); break;
    case PROXY_FAULT_REPLACE:
        rule.replace = garbage;
        rule.replace_size = 1 + below(dice, sizeof garbage - 1);
        break;
    case PROXY_FAULT_INJECT:
        rule.action = PROXY_INJECT;
        rule.bytes = garbage;
        rule.size = 1 + below(dice, sizeof garbage - 1);
        break;
    default: break;
    }
    if (rule.action != PROXY_NOTHING)
        rule.after = below(dice, 2) != 0 ? below(dice, 100) : below(dice, 5000);
    return rule;
}

static void begin_fault(struct proxy *p, enum proxy_fault fault, struct dice *dice)
{
    unsigned ways = 1 + (unsigned)below(dice, 3);
    struct proxy_rule rule = make_rule(fault, dice);
    for (unsigned way = 0; way < 2; way++)
        if (ways & 1u << way)
            inside_rule(p, way, &rule);
    switch (fault) {
    case PROXY_FAULT_CUT: p->wish.cut = true; break;
    case PROXY_FAULT_REFUSE: p->door = PROXY_REFUSE; break;
    case PROXY_FAULT_SLAM: p->door = PROXY_SLAM; break;
    case PROXY_FAULT_MUTE: p->door = PROXY_MUTE; break;
    case PROXY_FAULT_IGNORE: p->door = PROXY_IGNORE; break;
    default: break;
    }
    /* a door matters only to those who come in */
    if (fault >= PROXY_FAULT_REFUSE && fault <= PROXY_FAULT_IGNORE)
        p->wish.cut = true;
    p->stats.faults[fault]++;
    if (p->plan.flags & PROXY_LOUD)
        fprintf(stderr, "proxy: step %llu, after %llu bytes: %s%s%s\n", (unsigned long long)p->plan.step,
                (unsigned long long)(p->stats.bytes[0] + p->stats.bytes[1]), names[fault],
                ways & 1 ? " to the server" : "", ways & 2 ? " to the client" : "");
}

/* Mute connections would stay mute for ever: whoever is in one learns of the end of the fault. */
static void end_fault(struct proxy *p)
{
    if (p->door == PROXY_MUTE)
        p->wish.cut = true;
    inside_calm(p);
}

void plan_step(struct proxy *p, int64_t now_us, int64_t *again_us)
{
    struct plan *plan = &p->plan;
    uint64_t bytes = p->stats.bytes[0] + p->stats.bytes[1];
    if (!plan->on)
        return;
    if (bytes >= plan->end_bytes || now_us >= plan->end_us) {
        struct dice dice = {plan->seed, plan->step, 0};
        end_fault(p);
        if (plan->step % 2 == 0)
            begin_fault(p, below(&dice, plan->flags & PROXY_HOSTILE ? PROXY_FAULTS : PROXY_FAULT_FLIP), &dice);
        plan->step++;
        plan->end_bytes = bytes + 1 + below(&dice, MOST_BYTES);
        plan->end_us = now_us + LEAST_US + (int64_t)below(&dice, MOST_US);
        *again_us = now_us;
    } else if (plan->end_us < *again_us) {
        *again_us = plan->end_us;
    }
}
