/* How readers sleep and who wakes them (lib/wait.c; find and sleep_on_bell in lib/reader.c; ring_mark_waiting in
 * lib/ring.c), for spin: every order of steps. test/model/spin.sh says with how many threads, and runs it.
 *
 * One step here is one access to shared memory there, or one system call; what a thread does by itself is put to the
 * access before it. Memory is sequentially consistent: weaker orders are for the checker of the real files beside this.
 *
 * What is smaller than the library, and why nothing is lost by it:
 *   - The ring is, of each subscription, how much it has not read: all that waiting asks of `word` is whether it still
 *     stands where the cursor stands. An exclusive reader takes all there is at once, a worker one message.
 *   - The count of a bell's rings is, of each thread, whether it still is what the thread has seen.
 *   - A list of waiters is a set, of which any may be the first. With three waiters a baton has two at most, and each
 *     half of that is one: so who takes batons rings each of their waiters by itself, and leaves none.
 * Left out: many channels in one subscription, memory (references to bells), the pauses before a reader sleeps. */

#ifndef SLEEPERS
#define SLEEPERS 3 /* threads; at most 3 */
#endif
#ifndef WORKERS
#define WORKERS 1 /* so many of them, the first, share a subscription; each of the others has one of its own */
#endif
#ifndef POLLERS
#define POLLERS 0 /* 1: the last one waits in poll, on the fd of its subscription, which is not a shared one */
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 1 /* of each publisher */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0 /* up to so many sleeps end without a ring; who had one may go for good, or come again */
#endif
/* More: LEAVE, who has got a message may go for good; CANCEL, the first subscription ends at any moment; CLOSE, all do,
 * one after the other; COMMIT, reserving and committing a record are two steps; COARSE, a bell is rung in one step:
 * what that leaves out are late wake-ups, which are time-outs to who is woken by them (not for workers, whose bell is
 * one). And the defects that have to be found: NO_RECHECK NO_GENERATION NO_RUNG_CHECK NO_LAST_LOOK NO_LOOK_ENTERING
 * NO_LOOK_LEAVING MARK_LATE ARM_LATE NO_CHAIN HALF_CHAIN NO_PASS_ON NO_REST SEEN_LATE WAKE_NONE CLOSE_ONE NO_ATTENTION
 * NO_NOTIFIER FD_LATE NO_DRAIN_LOOK. */

#define BELLS (SLEEPERS - WORKERS + 1)
#define BIT(i) (1 << (i))
#define SHARED(b) ((b) == 0 && WORKERS > 1)
#define THREADS(b) ((b) == 0 -> BIT(WORKERS) - 1 : BIT((b) + WORKERS - 1))
#define POLLED(b) (POLLERS == 1 && (b) == BELLS - 1)

#if defined(CANCEL) || defined(CLOSE)
#define ENDS
#endif

byte unread[BELLS];
byte pending;  /* reserved, not committed */
bool waits;    /* the ring's WAIT */
byte armed;    /* the ring's list: bits of bells, of which each has one waiter */
byte idle = BIT(BELLS) - 1; /* waiters that are neither armed nor rung */
byte rung;     /* on their bell's list */
byte batons[BELLS];
byte sleepers[BELLS];
byte same;     /* bits of threads: the rings are still those it has seen */
byte asleep;   /* ... it sleeps in the futex */
byte gone;     /* ... it has left for good */
byte closed;   /* bits of bells */
byte timeouts;

#if POLLERS
bool signalled, readable; /* fd_state, and the fd */
byte given;               /* to the notifier */
bool notifier_same, notifier_sleeping, notifier_asleep;
#endif

inline choose(set, one)
{
    if
    :: (set) & 1 -> one = 0
    :: (set) & 2 -> one = 1
    :: (set) & 4 -> one = 2
    fi
}

#if POLLERS
inline signal_fd(b)
{
    if
    :: !POLLED(b) || signalled
    :: atomic { POLLED(b) && !signalled -> signalled = true }; readable = true
    fi
}
#endif

/* os_wake of one thread: of any that sleeps there */
inline wake_one(b)
{
#ifndef WAKE_NONE
    if
    :: (asleep & THREADS(b)) == 0
    :: asleep & THREADS(b) & 1 -> asleep = asleep & ~1
    :: asleep & THREADS(b) & 2 -> asleep = asleep & ~2
    :: asleep & THREADS(b) & 4 -> asleep = asleep & ~4
    fi
#else
    skip
#endif
}

/* bell_ring_one */
inline wake(b)
{
#ifdef COARSE
    atomic { same = same & ~THREADS(b); wake_one(b) }
#else
    same = same & ~THREADS(b);
    if
    :: sleepers[b] == 0
    :: sleepers[b] != 0 -> atomic { wake_one(b) }
    fi
#endif
#if POLLERS
    ; signal_fd(b)
#endif
}

/* bell_ring_all */
inline wake_all(b)
{
    same = same & ~THREADS(b);
    if
    :: sleepers[b] == 0
    :: sleepers[b] != 0 -> asleep = asleep & ~THREADS(b)
    fi
#if POLLERS
    ; signal_fd(b)
#endif
}

#ifdef COARSE
#define WITH_WAKE(wake) atomic { wake;
#else
#define WITH_WAKE(wake) wake; atomic {
#endif

/* ring_batons */
inline ring_batons(b)
{
    if
    :: batons[b] == 0
    :: atomic { batons[b] != 0 -> mine = batons[b]; batons[b] = 0 };
        do
        :: atomic { choose(mine, who);
                mine = mine & ~BIT(who);
#ifdef HALF_CHAIN
                mine = 0;
#endif
                rung = rung | BIT(who) };
            WITH_WAKE(wake(who))
                who = 0;
                if
                :: mine == 0 -> break
                :: else
                fi
            }
        od
    fi
}

/* waiter_ring_list; `first` is whose bell is rung */
inline ring_list(list, may_notify)
{
    atomic {
        chain = list;
        list = 0;
        if
        :: chain == 0 -> goto rung_all
        :: else
        fi
    };
rings:
    atomic {
        choose(chain, first);
        chain = chain & ~BIT(first);
#ifndef MARK_LATE
        rung = rung | BIT(first);
#endif
#ifdef NO_CHAIN
        chain = 0;
#endif
        if
        :: chain == 0 -> goto wakes
        :: else
        fi
    };
    atomic {
        if
        :: sleepers[first] != 0 -> left = true
#if POLLERS
        :: sleepers[first] == 0 && may_notify && POLLED(first) -> goto notifies
        :: sleepers[first] == 0 && !(may_notify && POLLED(first)) -> goto wakes
#else
        :: sleepers[first] == 0 -> goto wakes
#endif
        fi
    };
    atomic { batons[first] = batons[first] | chain; chain = 0 };
#if POLLERS
    goto wakes;
notifies:
    atomic {
#ifndef NO_NOTIFIER
        given = given | chain;
#endif
        chain = 0
    };
    notifier_same = false;
    if
    :: !notifier_sleeping
    :: notifier_sleeping -> notifier_asleep = false
    fi;
#endif
wakes:
#ifdef MARK_LATE
    wake(first);
    rung = rung | BIT(first);
    atomic {
#else
    WITH_WAKE(wake(first))
#endif
        if
        :: left -> left = false
        :: !left && chain != 0 -> goto rings
        :: else -> first = 0; goto rung_all
        fi
    };
#ifndef NO_LAST_LOOK
    if
    :: sleepers[first] == 0 -> ring_batons(first)
    :: sleepers[first] != 0
    fi;
#endif
    first = 0;
rung_all:
    skip
}

inline arrive()
{
    d_step {
        unread[0] = (SHARED(0) -> unread[0] + 1 : 1);
#if SLEEPERS - WORKERS > 0
        unread[1] = 1;
#endif
#if SLEEPERS - WORKERS > 1
        unread[2] = 1
#endif
    }
}

proctype publisher()
{
    byte chain, mine, who, first;
    bool left;
    byte said;
    do
    :: said == MESSAGES -> break
    :: atomic { said != MESSAGES && !waits -> said++;
#ifdef COMMIT
            pending++ };
        atomic { pending--;
#endif
            arrive() }
    :: atomic { said != MESSAGES && waits -> said++; waits = false;
#ifdef COMMIT
            pending++ };
        atomic { pending--;
#endif
            arrive() };
        ring_list(armed, true)
    od
}

inline leave(b)
{
    sleepers[b]--;
    same = same & ~BIT(me);
    rests = false
}

inline settle(b)
{
    if
    :: !(rung & BIT(b))
    :: atomic { rung & BIT(b) && !SHARED(b) -> rung = rung & ~BIT(b); idle = idle | BIT(b) }
    :: atomic { rung & BIT(b) && SHARED(b) -> rung = rung & ~BIT(b) };
        idle = idle | BIT(b)
    fi
}

/* waiter_arm */
inline arm(b)
{
    if
    :: !(idle & BIT(b))
    :: atomic { idle & BIT(b) && !SHARED(b) -> idle = idle & ~BIT(b); armed = armed | BIT(b) }
    :: atomic { idle & BIT(b) && SHARED(b) -> idle = idle & ~BIT(b) };
        armed = armed | BIT(b)
    fi
}

/* cursor_mark_waiting; sets `rests`, if there is nothing to read. A worker first looks where the cursor stands, which
 * others move. */
inline mark(b)
{
#if WORKERS > 1
    if
    :: SHARED(b) && unread[b] != 0
    :: !SHARED(b) || unread[b] == 0 ->
#endif
        atomic {
            if
#ifndef NO_RECHECK
            :: unread[b] + pending != 0
            :: unread[b] + pending == 0 ->
#else
            :: true ->
#endif
                waits = true;
                rests = true
            fi
        }
#if WORKERS > 1
    fi
#endif
}

inline rest(b)
{
#ifdef ARM_LATE
    mark(b);
    arm(b)
#else
    arm(b);
    mark(b)
#endif
}

/* A worker goes off with a message. */
inline pass_on(b)
{
#ifndef NO_PASS_ON
    if
    :: sleepers[b] == 0
    :: sleepers[b] != 0 ->
        settle(b);
#ifndef NO_REST
        rest(b);
#else
        rests = true;
#endif
        if
        :: atomic { rests -> rests = false }
        :: !rests -> wake(b)
        fi
    fi
#else
    skip
#endif
}

/* bcast_next, again and again. What it sees that only itself can change is put to the step after. */
proctype reader(byte me; byte b)
{
    byte mine, who;
    bool rests, late;
again:
#ifdef ENDS
    if
    :: closed & BIT(b) -> goto off
    :: !(closed & BIT(b))
    fi;
#endif
    if
    :: atomic { unread[b] != 0 -> unread[b] = (SHARED(b) -> unread[b] - 1 : 0); late = false;
            if
            :: SHARED(b) -> skip
            :: !SHARED(b) -> goto again
#ifdef LEAVE
            :: !SHARED(b) -> goto off
#endif
            fi };
#if WORKERS > 1
        pass_on(b);
#ifdef LEAVE
        if
        :: goto off
        :: goto again
        fi
#else
        goto again
#endif
#endif
#if TIMEOUTS > 0
    :: unread[b] == 0 && late -> goto off
#endif
    :: atomic { unread[b] == 0 -> late = false }
    fi;
    settle(b);
    sleepers[b]++;
#ifndef SEEN_LATE
    same = same | BIT(me);
#endif
#ifndef NO_LOOK_ENTERING
    ring_batons(b);
#endif
#ifndef NO_RUNG_CHECK
    if
    :: atomic { rung & BIT(b) -> leave(b) }; goto left
    :: !(rung & BIT(b))
    fi;
#endif
#if defined(ENDS) && !defined(NO_ATTENTION)
    if
    :: atomic { closed & BIT(b) -> leave(b) }; goto left
    :: !(closed & BIT(b))
    fi;
#endif
    rest(b);
#ifdef SEEN_LATE
    same = same | BIT(me);
#endif
    if
    :: atomic { !rests -> leave(b) }; goto left
#ifndef NO_GENERATION
    :: atomic { rests && !(same & BIT(me)) -> leave(b) }; goto left
    :: atomic { rests && (same & BIT(me)) -> asleep = asleep | BIT(me) };
#else
    :: atomic { rests -> asleep = asleep | BIT(me) };
#endif
    fi;
end_asleep:
    if
    :: atomic { !(asleep & BIT(me)) -> leave(b) }
#if TIMEOUTS > 0
    :: atomic { (asleep & BIT(me)) && timeouts != 0 -> timeouts--; asleep = asleep & ~BIT(me); late = true;
            leave(b) }
#endif
    fi;
left:
#ifndef NO_LOOK_LEAVING
    ring_batons(b);
#endif
    goto again;
off:
    gone = gone | BIT(me)
}

#if POLLERS
/* bcast_next with time-out 0 (look_before_poll), and poll */
proctype poller(byte me; byte b)
{
    byte mine, who;
    bool rests;
again:
#ifdef ENDS
    if
    :: closed & BIT(b) -> goto off
    :: !(closed & BIT(b))
    fi;
#endif
    if
    :: atomic { unread[b] != 0 -> unread[b] = 0 }; goto again
    :: unread[b] == 0
    fi;
    if
    :: signalled ->
#ifdef FD_LATE
        signalled = false;
        readable = false
#else
        readable = false;
        signalled = false
#endif
    :: !signalled
    fi;
    settle(b);
    rest(b);
#ifndef NO_DRAIN_LOOK
    if
    :: atomic { unread[b] != 0 -> unread[b] = 0; rests = false }; goto again
    :: unread[b] == 0
    fi;
    if
    :: atomic { rests -> rests = false }
    :: !rests -> wake(b)
    fi;
#else
    rests = false;
#endif
end_polls:
    readable;
    goto again;
off:
    gone = gone | BIT(me)
}

/* notifier_run */
proctype notifier()
{
    byte chain, mine, who, first;
    bool left;
again:
    notifier_sleeping = true;
    notifier_same = true;
    if
    :: given == 0 ->
        if
        :: atomic { notifier_same -> notifier_asleep = true };
end_notifier:
            !notifier_asleep
        :: !notifier_same
        fi;
        notifier_sleeping = false
    :: given != 0 ->
        notifier_sleeping = false;
        ring_list(given, false)
    fi;
    goto again
}
#endif

#ifdef ENDS
/* sub_attend, of bcast_cancel or bcast_shutdown */
proctype closer()
{
    byte b;
    do
    :: b < BELLS ->
        closed = closed | BIT(b);
#ifdef CLOSE_ONE
        wake(b);
#else
        wake_all(b);
#endif
#ifdef CLOSE
        b++
#else
        break
#endif
    :: b == BELLS -> break
    od
}
#endif

/* When nothing moves any more: who is not gone sleeps, has nothing to read, and will be rung for what comes. */
#define QUIET(me, b) \
    ((gone & BIT(me)) || (((asleep & BIT(me)) || POLLED(b)) && unread[b] == 0 && !(closed & BIT(b)) && waits && \
                          (armed & BIT(b))))

active proctype monitor()
{
    timeout ->
    d_step {
        assert(batons[0] == 0 && QUIET(0, 0));
#if WORKERS > 1
        assert(QUIET(1, 0));
#endif
#if WORKERS > 2
        assert(QUIET(2, 0));
#endif
#if SLEEPERS - WORKERS > 0
        assert(batons[1] == 0 && QUIET(WORKERS, 1));
#endif
#if SLEEPERS - WORKERS > 1
        assert(batons[2] == 0 && QUIET(WORKERS + 1, 2));
#endif
#if POLLERS
        assert(given == 0 && ((gone & BIT(SLEEPERS - 1)) || !signalled));
#endif
    }
}

init {
    byte i;
    atomic {
        do
        :: i < TIMEOUTS -> timeouts++; i++
        :: break
        od;
        i = 0;
        do
        :: i < SLEEPERS - POLLERS -> run reader(i, (i < WORKERS -> 0 : i - WORKERS + 1)); i++
        :: else -> break
        od;
#if POLLERS
        run poller(SLEEPERS - 1, BELLS - 1);
        run notifier();
#endif
        i = 0;
        do
        :: i < PUBLISHERS -> run publisher(); i++
        :: else -> break
        od;
#ifdef ENDS
        run closer();
#endif
        i = 0
    }
}
