/* Waiting and waking. Knows base only.
 *
 * A reader that finds nothing to read *arms* its waiter: it pushes it onto the list of the ring it reads, once, and
 * marks the ring. The publisher that finds the mark takes the whole list and rings the first bell; whoever is woken
 * there rings two more, each of which gets half of what is left, and so on. So ringing costs a publisher one system
 * call, however many wait, and nobody is woken twice.
 *
 *   waiter   one per cursor (a subscription's place in one ring): armed at most once at a time
 *   bell     one per subscription: where its threads sleep, and its pollable fd
 *   baton    waiters that still have to be rung, left with a bell whose sleeper will do it
 *   notifier a thread that rings for those who cannot: subscriptions that are waited for in poll, outside the library
 *
 * Nothing here takes a lock. What a preempted thread can delay: a ringer that has taken a list and not rung yet delays
 * those on it, nobody else. docs/architecture.md argues why no wake-up is lost. */
#ifndef WAIT_H
#define WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/os.h"

struct notifier;
struct waiter;

typedef _Atomic(struct waiter *) waiter_list; /* a stack; pushed one by one, taken whole: so it has no ABA */

struct bell {
    _Alignas(MEMORY_LINE) _Atomic uint32_t rings; /* futex word: counts rings; sleepers sleep while it stands still */
    _Atomic uint32_t sleepers;                    /* threads between bell_enter and bell_leave */
    _Atomic uint32_t references;                  /* the owner, and one for each armed waiter */
    _Atomic uint32_t fd_state;                    /* enum below */
    waiter_list batons; /* chains of waiters to be rung by a thread that sleeps here, linked by chain_next */
    waiter_list rung;   /* waiters that were rung and that the owner has not looked at yet, linked by rung_next */
    struct os_event event;
    struct notifier *notifier;          /* set before fd_state leaves FD_NONE; outlives the bell */
    void (*destroy)(struct bell *bell); /* called by whoever drops the last reference */
};

enum { FD_NONE = 0, FD_QUIET = 1, FD_SIGNALLED = 2 };

enum waiter_state {
    WAITER_IDLE = 0,  /* only its owner knows it */
    WAITER_ARMED = 1, /* on a ring's list, or in a baton: holds a reference to its bell */
    WAITER_RUNG = 2   /* on its bell's `rung` list: the owner's again, as soon as it has taken that list */
};

struct waiter {
    struct bell *bell;
    _Atomic uint32_t state;
    struct waiter *next; /* on a ring's list or in a chain; owned by who took the list */
    union {
        struct waiter *chain_next; /* first of a chain among a bell's batons: the next chain */
        struct waiter *rung_next;  /* on a bell's `rung` list, which it reaches only after that */
    };
};

void bell_init(struct bell *bell, void (*destroy)(struct bell *));
void bell_unref(struct bell *bell);

/* The owner's side, around every sleep:
 *     uint32_t seen = bell_enter(bell);      then look once more whether there is something to do, and if not:
 *     bell_sleep(bell, seen, deadline_ns);   returns on a ring, at the deadline, or for no reason
 *     bell_leave(bell);                      always, also without a sleep: passes on a baton left here meanwhile */
uint32_t bell_enter(struct bell *bell);
void bell_sleep(struct bell *bell, uint32_t seen, int64_t deadline_ns);
void bell_leave(struct bell *bell);

/* Takes the waiters rung since the last call and makes each idle. Any thread of the owner's. The list, linked by
 * rung_next, may be walked only by who alone can arm its waiters meanwhile. */
struct waiter *bell_take_rung(struct bell *bell);
/* Makes `own` idle if it was rung; whatever else was stays so. Any thread of the owner's. */
void bell_settle(struct bell *bell, struct waiter *own);
bool bell_has_rung(struct bell *bell);
void bell_put_rung(struct bell *bell, struct waiter *waiter); /* as if it had been rung; it must be idle, or RUNG */

void bell_ring_one(struct bell *bell); /* wakes one sleeper */
void bell_ring_all(struct bell *bell); /* wakes all, and makes the fd readable */
bool bell_has_sleepers(struct bell *bell);

/* Gives the bell an fd: 0 or errno. By the owner, once. */
int bell_open_fd(struct bell *bell, struct notifier *notifier);
void bell_drain_fd(struct bell *bell); /* makes it unreadable; then look again before waiting on it */

/* Puts the waiter on `list` unless it is armed already. Release: what its owner wrote before is seen by its ringer. */
void waiter_arm(struct waiter *waiter, waiter_list *list);
/* Rings everybody on `list`. Any thread; one or two system calls. */
void waiter_ring_list(waiter_list *list);

int notifier_start(struct notifier **out, const struct os_thread_options *options); /* 0 or errno */
void notifier_stop(struct notifier *notifier); /* joins; everything pushed before is rung. NULL is allowed */

#endif
