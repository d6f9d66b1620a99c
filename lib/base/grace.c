#define _POSIX_C_SOURCE 200809L
#include "base/grace.h"

#include <sched.h>

#include "base/thread.h"

struct grace_stripe *grace_stripe(struct grace *grace)
{
    return &grace->stripes[(thread_id() * UINT64_C(0x9e3779b97f4a7c15)) >> 61];
}

grace_token grace_enter(struct grace *grace)
{
    uint32_t phase = atomic_load(&grace->phase) & 1;
    grace_token token = &grace_stripe(grace)->inside[phase];
    /* seq_cst, like every load of a shared pointer inside: if grace_wait does not count us, we see what was unlinked
     * before it as unlinked. */
    atomic_fetch_add(token, 1);
    return token;
}

void grace_leave(grace_token token)
{
    atomic_fetch_sub_explicit(token, 1, memory_order_release); /* pairs with the loads in anybody */
}

static bool anybody(struct grace *grace, uint32_t phase)
{
    for (unsigned i = 0; i < GRACE_STRIPES; i++)
        if (atomic_load(&grace->stripes[i].inside[phase]) != 0)
            return true;
    return false;
}

bool grace_empty(struct grace *grace)
{
    return !anybody(grace, 0) && !anybody(grace, 1);
}

void grace_wait(struct grace *grace)
{
    /* Twice: who loaded the phase before the first change may count itself only after we looked. */
    for (int turn = 0; turn < 2; turn++) {
        uint32_t phase = atomic_fetch_add(&grace->phase, 1) & 1;
        while (anybody(grace, phase))
            sched_yield();
    }
}
