#include "wait.h"

/* Why not Concurrency Kit here: ck_ec parks with periodic re-polls; ck_stack is this list, but orders with stand-alone
 * fences and plain loads, which ThreadSanitizer reports as races. Two short functions that it can see do the same. */

static void push(waiter_list *list, struct waiter *first, struct waiter **link)
{
    struct waiter *top = atomic_load_explicit(list, memory_order_relaxed);
    do
        *link = top;
    /* seq_cst: pairs with the look at a list after entering or leaving a bell (see leave_baton, bell_leave). As a
     * release it also hands the waiter over to whoever takes the list. */
    while (!atomic_compare_exchange_weak_explicit(list, &top, first, memory_order_seq_cst, memory_order_relaxed));
}

static struct waiter *take(waiter_list *list)
{
    /* seq_cst load first: most lists are empty, and a look costs less than an exchange. */
    if (atomic_load(list) == NULL)
        return NULL;
    return atomic_exchange(list, NULL);
}

/* --------------------------------------------------------------------------------------------------------- bell -- */

void bell_init(struct bell *bell, void (*destroy)(struct bell *))
{
    atomic_init(&bell->references, 1);
    bell->event.read_fd = bell->event.write_fd = -1;
    bell->destroy = destroy;
}

static void bell_ref(struct bell *bell)
{
    /* relaxed: the caller has a reference already */
    atomic_fetch_add_explicit(&bell->references, 1, memory_order_relaxed);
}

void bell_unref(struct bell *bell)
{
    /* release: our use of the bell is over before it is freed; acquire: so are the others', for who frees it */
    if (atomic_fetch_sub_explicit(&bell->references, 1, memory_order_acq_rel) == 1) {
        os_event_close(&bell->event);
        bell->destroy(bell);
    }
}

bool bell_has_sleepers(struct bell *bell)
{
    return atomic_load(&bell->sleepers) != 0; /* seq_cst: pairs with bell_enter */
}

static void signal_fd(struct bell *bell)
{
    uint32_t quiet = FD_QUIET;
    /* seq_cst: pairs with bell_drain_fd; and with the look at the waiter's ring it must not come before the push */
    if (atomic_load(&bell->fd_state) == FD_QUIET &&
        atomic_compare_exchange_strong_explicit(&bell->fd_state, &quiet, FD_SIGNALLED, memory_order_relaxed,
                                                memory_order_relaxed))
        os_event_signal(&bell->event);
}

static void wake(struct bell *bell, int count)
{
    /* seq_cst: either a thread that enters sees the new count and does not sleep, or we see it among the sleepers. */
    atomic_fetch_add(&bell->rings, 1);
    if (bell_has_sleepers(bell))
        os_wake(&bell->rings, count);
    signal_fd(bell);
}

void bell_ring_one(struct bell *bell)
{
    wake(bell, 1);
}

void bell_ring_all(struct bell *bell)
{
    wake(bell, INT32_MAX);
}

int bell_open_fd(struct bell *bell, struct notifier *notifier)
{
    int error = os_event_open(&bell->event);
    if (error != 0)
        return error;
    bell->notifier = notifier;
    /* release: publishes event and notifier to ringers, which load fd_state first */
    atomic_store_explicit(&bell->fd_state, FD_QUIET, memory_order_release);
    return 0;
}

void bell_drain_fd(struct bell *bell)
{
    if (atomic_load_explicit(&bell->fd_state, memory_order_relaxed) != FD_SIGNALLED)
        return; /* if it is by now, the fd stays readable */
    os_event_drain(&bell->event);
    /* A ring between drain and here leaves no trace on the fd: but it is on `rung`, where the caller looks next. seq_cst:
     * who still finds it SIGNALLED has rung before that look. */
    atomic_store(&bell->fd_state, FD_QUIET);
}

struct waiter *bell_take_rung(struct bell *bell)
{
    struct waiter *rung = take(&bell->rung);
    for (struct waiter *w = rung, *next; w != NULL; w = next) {
        next = w->rung_next; /* read before it is idle: then it may be armed, rung and linked again */
        /* release: pairs with waiter_arm */
        atomic_store_explicit(&w->state, WAITER_IDLE, memory_order_release);
    }
    return rung;
}

void bell_settle(struct bell *bell, struct waiter *own)
{
    for (struct waiter *w = take(&bell->rung), *next; w != NULL; w = next) {
        next = w->rung_next; /* read before it is idle, as above */
        if (w == own)
            atomic_store_explicit(&w->state, WAITER_IDLE, memory_order_release); /* pairs with waiter_arm */
        else
            push(&bell->rung, w, &w->rung_next);
    }
}

bool bell_has_rung(struct bell *bell)
{
    return atomic_load_explicit(&bell->rung, memory_order_relaxed) != NULL; /* after bell_enter: see there */
}

void bell_put_rung(struct bell *bell, struct waiter *waiter)
{
    atomic_store_explicit(&waiter->state, WAITER_RUNG, memory_order_relaxed); /* published by the push */
    push(&bell->rung, waiter, &waiter->rung_next);
}

/* ------------------------------------------------------------------------------------------------------ ringing -- */

static void notifier_push(struct notifier *notifier, struct waiter *chain);
static void ring_chain(struct waiter *chain, bool may_notify);

/* Cuts `chain` in half; returns the second half. */
static struct waiter *split(struct waiter *chain)
{
    struct waiter *slow = chain, *fast = chain->next;
    while (fast != NULL && (fast = fast->next) != NULL) {
        fast = fast->next;
        slow = slow->next;
    }
    struct waiter *half = slow->next;
    slow->next = NULL;
    return half;
}

/* Rings every chain that was left with the bell, if any, as two halves each: each half ends at its first sleeper,
 * who goes on with the rest. */
static void ring_batons(struct bell *bell)
{
    struct waiter *chain = take(&bell->batons);
    while (chain != NULL) {
        struct waiter *next = chain->chain_next;
        struct waiter *half = split(chain);
        ring_chain(chain, true);
        ring_chain(half, true);
        chain = next;
    }
}

/* Leaves `rest` with the bell if a thread is there that will find it: it looks after it was woken and before it goes. */
static bool leave_baton(struct bell *bell, struct waiter *rest)
{
    if (!bell_has_sleepers(bell))
        return false;
    push(&bell->batons, rest, &rest->chain_next);
    return true;
}

/* Rings one waiter's bell and finds somebody for `rest`. Returns what is left for the caller to ring. */
static struct waiter *ring_bell(struct bell *bell, struct waiter *rest, bool may_notify)
{
    bool left = rest != NULL && leave_baton(bell, rest);
    if (rest != NULL && !left && may_notify && atomic_load_explicit(&bell->fd_state, memory_order_acquire) != FD_NONE &&
        bell->notifier != NULL) {
        /* Nobody sleeps here but poll: one fd is ours to signal, the rest is the notifier's. */
        notifier_push(bell->notifier, rest);
        rest = NULL;
    }
    wake(bell, 1);
    if (!left)
        return rest;
    /* seq_cst on both sides: either we see here that the last sleeper has left, or it saw our baton. */
    if (!bell_has_sleepers(bell))
        ring_batons(bell);
    return NULL;
}

static void ring_chain(struct waiter *chain, bool may_notify)
{
    while (chain != NULL) {
        struct bell *bell = chain->bell;
        struct waiter *rest = chain->next; /* read before the owner may arm the waiter again */
        bell_put_rung(bell, chain);
        chain = ring_bell(bell, rest, may_notify);
        bell_unref(bell); /* the reference of the waiter that was armed */
    }
}

void waiter_ring_list(waiter_list *list)
{
    /* acquire: the owner's side of waiter_arm */
    ring_chain(atomic_exchange_explicit(list, NULL, memory_order_acq_rel), true);
}

void waiter_arm(struct waiter *waiter, waiter_list *list)
{
    uint32_t idle = WAITER_IDLE;
    /* acquire: pairs with bell_take_rung, so that the links are ours to write */
    if (!atomic_compare_exchange_strong_explicit(&waiter->state, &idle, WAITER_ARMED, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    bell_ref(waiter->bell);
    push(list, waiter, &waiter->next);
}

uint32_t bell_enter(struct bell *bell)
{
    atomic_fetch_add(&bell->sleepers, 1); /* seq_cst: pairs with wake and ring_bell */
    /* acquire: what was done before a ring that is counted here is seen by whoever looks now; and a ring that is not
     * counted ends the sleep. */
    uint32_t seen = atomic_load_explicit(&bell->rings, memory_order_acquire);
    ring_batons(bell); /* a baton left before `seen` would not wake us */
    return seen;
}

void bell_sleep(struct bell *bell, uint32_t seen, int64_t deadline_ns)
{
    os_wait(&bell->rings, seen, deadline_ns);
}

void bell_leave(struct bell *bell)
{
    atomic_fetch_sub(&bell->sleepers, 1); /* seq_cst: pairs with ring_bell */
    ring_batons(bell);
}

/* ----------------------------------------------------------------------------------------------------- notifier -- */

struct notifier {
    waiter_list chains;
    _Atomic uint32_t rings;    /* futex word */
    _Atomic uint32_t sleeping; /* 0 or 1 */
    _Atomic uint32_t stop;
    bool orphan; /* stopped by its own thread, which then frees it */
    pthread_t thread;
};

static void notifier_push(struct notifier *notifier, struct waiter *chain)
{
    push(&notifier->chains, chain, &chain->chain_next);
    atomic_fetch_add(&notifier->rings, 1); /* seq_cst against `sleeping`, as in wake() */
    if (atomic_load(&notifier->sleeping))
        os_wake(&notifier->rings, 1);
}

static void *notifier_run(void *argument)
{
    struct notifier *notifier = argument;
    for (;;) {
        atomic_store(&notifier->sleeping, 1);
        /* acquire: as in bell_enter */
        uint32_t seen = atomic_load_explicit(&notifier->rings, memory_order_acquire);
        bool stop = atomic_load_explicit(&notifier->stop, memory_order_relaxed);
        struct waiter *chain = take(&notifier->chains);
        if (chain == NULL && stop)
            break;
        if (chain == NULL)
            os_wait(&notifier->rings, seen, OS_NEVER);
        atomic_store_explicit(&notifier->sleeping, 0, memory_order_relaxed); /* at worst it is woken for nothing */
        while (chain != NULL) {
            struct waiter *next = chain->chain_next;
            ring_chain(chain, false); /* not back to ourselves */
            chain = next;
        }
    }
    if (notifier->orphan)
        memory_put(notifier);
    return NULL;
}

int notifier_start(struct notifier **out, const struct os_thread_options *options)
{
    struct notifier *notifier = memory_get(sizeof *notifier);
    if (notifier == NULL)
        return 12; /* ENOMEM */
    int error = os_thread_start(&notifier->thread, "bcast-notify", options, notifier_run, notifier);
    if (error != 0) {
        memory_put(notifier);
        return error;
    }
    *out = notifier;
    return 0;
}

void notifier_stop(struct notifier *notifier)
{
    if (notifier == NULL)
        return;
    if (pthread_equal(pthread_self(), notifier->thread)) {
        /* It has just dropped the last reference to a subscription, and with that to the broadcast. */
        notifier->orphan = true;
        pthread_detach(notifier->thread);
        atomic_store_explicit(&notifier->stop, 1, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&notifier->stop, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&notifier->rings, 1, memory_order_release);
    os_wake(&notifier->rings, 1);
    pthread_join(notifier->thread, NULL);
    memory_put(notifier);
}
