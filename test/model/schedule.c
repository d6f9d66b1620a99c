/* Coroutines, and the exploration of decisions. A run is made of decisions; each has a number of options, of which 0 is
 * the obvious one: go on; or, for a thread that cannot, the next one after it; read the newest value. Taking the
 * processor from a thread that could go on (a preemption), and reading an old value, are counted; of each a run has at
 * most so many. Who comes next when a thread sleeps, yields or ends is free.
 *
 * Depth first: the last decision with an option left is taken differently, everything before it as it was. What a thread
 * has done so far is summed up in a number, into which goes all it has read, and who had written that (see
 * memory_model.c): two runs with the same numbers for all threads have come to the same state, however their steps were
 * interleaved. Where a run comes to a state from which everything has been explored with as many preemptions and old
 * values left, it ends.
 *
 * At random: any decision, from a seed. */
#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "schedule.h"

#define DECISIONS 20000
#define STACK (256u << 10)

enum state { RUNNABLE, YIELDED, ASLEEP, JOINING, ENDED };

struct thread {
    ucontext_t context;
    enum state state;
    unsigned yields;
    const void *place; /* it sleeps there; or was preempted before an operation there */
    bool writes;       /* ... which writes */
    bool too_early; /* ... and nobody has done anything since that this operation would not have been as good before */
    unsigned other; /* it waits for the end of that one */
    void (*run)(void);
    void *(*run_started)(void *);
    void *argument;
    char *stack;
};

static struct {
    struct thread threads[MODEL_THREADS + 1];
    unsigned count, self;
    bool alone; /* set-up and check: no decisions */
    ucontext_t back;
    jmp_buf failed;
} now;

enum { FAILED = 1, PRUNED = 2 }; /* why a run ended early */

enum cost { PREEMPTIONS, OLD_VALUES, COSTS };

struct decision {
    uint8_t taken, options, free, cost;
};

static struct {
    struct decision decisions[DECISIONS];
    unsigned depth, replayed; /* so far in this run; taken over from the one before */
    unsigned looked;          /* ... when it last looked whether the state is known */
    unsigned spent[COSTS], most[COSTS];
    bool at_random, by_value;
    uint64_t chance, rarely;
    uint64_t points;
    bool trace;
    char failure[512];
} search;

unsigned model_self(void)
{
    return now.self;
}

bool model_alone(void)
{
    return now.alone;
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(search.failure, sizeof search.failure, format, arguments);
    va_end(arguments);
    longjmp(now.failed, FAILED);
}

/* ---------------------------------------------------------------------------------------------------- decisions -- */

static uint64_t draw(void)
{
    uint64_t z = search.chance += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The first `free` options cost nothing. */
static unsigned decide(unsigned options, unsigned free, enum cost cost)
{
    if (now.alone)
        return 0;
    if (search.at_random) {
        if (options > free && draw() % search.rarely != 0)
            options = free;
        return options < 2 ? 0 : (unsigned)(draw() % options);
    }
    if (search.spent[cost] == search.most[cost])
        options = free;
    if (options < 2)
        return 0;
    if (search.depth == DECISIONS)
        model_fail("the model is too small: DECISIONS");
    struct decision *d = &search.decisions[search.depth++];
    if (search.depth > search.replayed)
        *d = (struct decision){0, (uint8_t)options, (uint8_t)free, (uint8_t)cost};
    else if (d->options != options || d->free != free || d->cost != cost)
        model_fail("the run cannot be repeated: something in it is not of its own making");
    if (d->taken >= free)
        search.spent[cost]++;
    return d->taken;
}

unsigned model_choose(unsigned options)
{
    return decide(options, 1, OLD_VALUES);
}

/* Prepares the next run. False: every one has been. */
static bool next_run(void)
{
    while (search.depth > 0 &&
           search.decisions[search.depth - 1].taken + 1 == search.decisions[search.depth - 1].options)
        search.depth--;
    if (search.depth == 0)
        return false;
    search.decisions[search.depth - 1].taken++;
    search.replayed = search.depth;
    return true;
}

/* ------------------------------------------------------------------------------------------------------- states -- */

#define MOST_OLD 4

struct visited {
    uint64_t state;          /* 0: none */
    uint8_t spent[MOST_OLD]; /* by old values read: the fewest preemptions with which it was reached; 255: not */
};

static struct {
    struct visited *all;
    size_t size, count;
} visited;

static void forget_states(void)
{
    free(visited.all);
    visited.size = 1 << 16;
    visited.count = 0;
    visited.all = calloc(visited.size, sizeof *visited.all);
}

static struct visited *find_state(uint64_t state)
{
    size_t at = state & (visited.size - 1);
    while (visited.all[at].state != 0 && visited.all[at].state != state)
        at = (at + 1) & (visited.size - 1);
    return &visited.all[at];
}

static void more_states(void)
{
    struct visited *old = visited.all;
    size_t size = visited.size;
    visited.size *= 2;
    visited.all = calloc(visited.size, sizeof *visited.all);
    if (visited.all == NULL) {
        fprintf(stderr, "no memory for %zu states\n", visited.size);
        exit(3);
    }
    for (size_t i = 0; i < size; i++)
        if (old[i].state != 0)
            *find_state(old[i].state) = old[i];
    free(old);
}

static bool can_run(unsigned thread);

static uint64_t state_now(void)
{
    uint64_t state = search.by_value ? platform_content() : 0;
    for (unsigned i = 1; i <= now.count; i++) {
        uint64_t does = now.threads[i].state * 4u + now.threads[i].too_early * 2u + can_run(i);
        state = model_mix(state, model_mix(search.by_value ? memory_model_values_read(i) : memory_model_past(i), does));
    }
    return model_mix(state, now.self) | 1;
}

/* Where a decision may be taken: ends the run if everything that may come now has been explored. Where there is nothing to
 * decide any more it is not worth the memory to know every state: only the first, and those where a thread gives way. */
static void look_back(bool often)
{
    if (often && search.spent[PREEMPTIONS] == search.most[PREEMPTIONS] && search.looked == search.depth)
        return;
    if (search.at_random || search.trace || now.alone || search.depth < search.replayed)
        return;
    uint64_t state = state_now();
    search.looked = search.depth;
    struct visited *v = find_state(state);
    unsigned preemptions = search.spent[PREEMPTIONS], old = search.spent[OLD_VALUES];
    if (v->state == 0) {
        if (++visited.count * 4 > visited.size * 3) {
            more_states();
            v = find_state(state);
        }
        memset(v->spent, 255, sizeof v->spent);
        v->state = state;
    }
    for (unsigned i = 0; i <= old; i++)
        if (v->spent[i] <= preemptions)
            longjmp(now.failed, PRUNED);
    v->spent[old] = (uint8_t)preemptions;
}

/* ------------------------------------------------------------------------------------------------------ threads -- */

/* One that has yielded would only find again what it has found, until somebody has written there. */
static bool can_run(unsigned thread)
{
    const struct thread *t = &now.threads[thread];
    switch (t->state) {
    case RUNNABLE: return true;
    case YIELDED: return memory_model_changed(thread);
    case JOINING: return now.threads[t->other].state == ENDED;
    default: return false;
    }
}
static bool has_yielded(unsigned thread)
{
    return now.threads[thread].state == YIELDED;
}
static bool is_runnable(unsigned thread)
{
    return now.threads[thread].state == RUNNABLE;
}
static bool can_run_again(unsigned thread)
{
    return !is_runnable(thread) && can_run(thread);
}

/* Adds those others to the list of which that is true. But not a thread that was preempted before an operation with which
 * nothing that was done since is in conflict: that it is preempted behind this operation instead comes to the same, costs
 * no more, and is explored, too. */
static unsigned others(unsigned *list, unsigned count, bool (*wanted)(unsigned thread))
{
    for (unsigned i = 1; i < now.count; i++) { /* those after it first */
        unsigned thread = (now.self + i - 1) % now.count + 1;
        if (!now.threads[thread].too_early && wanted(thread))
            list[count++] = thread;
    }
    return count;
}

void model_done(const void *place, bool writes)
{
    for (unsigned i = 1; i <= now.count; i++)
        if (now.threads[i].too_early && now.threads[i].place == place && (writes || now.threads[i].writes))
            now.threads[i].too_early = false;
}

static void go_to(unsigned next)
{
    unsigned before = now.self;
    now.self = next;
    now.threads[next].state = RUNNABLE;
    if (next != before)
        swapcontext(&now.threads[before].context, &now.threads[next].context);
}

void model_point(const char *operation, const void *place, bool writes, bool other)
{
    unsigned list[MODEL_THREADS], count;
    if (++search.points > 1000000)
        model_fail("a run that does not end");
    if (search.trace && !now.alone)
        printf("  thread %u: %-8s %6zx\n", now.self, operation, platform_offset(place));
    if (now.alone || !other)
        return;
    look_back(true);
    count = others(list, 0, can_run);
    unsigned choice = decide(count + 1, 1, PREEMPTIONS);
    if (choice == 0)
        return;
    now.threads[now.self].place = place;
    now.threads[now.self].writes = writes;
    now.threads[now.self].too_early = !search.at_random;
    go_to(list[choice - 1]);
}

/* The running thread cannot go on for now. One that only yields makes way for those that have not: if others, who have,
 * come first all the same, that is a preemption of them; or two that look in turns could keep a third one waiting. */
static void give_way(void)
{
    unsigned list[MODEL_THREADS];
    bool yields = now.threads[now.self].state == YIELDED;
    look_back(false);
    unsigned free = others(list, 0, is_runnable), count = others(list, free, can_run_again);
    if (free == 0 || !yields)
        free = count;
    for (unsigned i = 1; i <= now.count && count == 0; i++)
        if (now.threads[i].too_early)
            longjmp(now.failed, PRUNED);
    if (count == 0)
        free = count = others(list, 0, has_yielded); /* perhaps they only count how often they have looked */
    if (count == 0 && yields) {
        now.threads[now.self].state = RUNNABLE;
        return;
    }
    if (count == 0)
        swapcontext(&now.threads[now.self].context, &now.back);
    else
        go_to(list[decide(count, free, PREEMPTIONS)]);
}

int model_yield(void)
{
    if (now.alone)
        return 0;
    if (++search.points > 1000000)
        model_fail("a run that does not end");
    now.threads[now.self].state = YIELDED;
    now.threads[now.self].yields++;
    memory_model_yielded();
    give_way();
    memory_model_looks();
    return 0;
}

unsigned model_yields(void)
{
    return now.threads[now.self].yields;
}

void model_wait(const void *place)
{
    if (now.alone)
        model_fail("the main thread sleeps, and nobody is there to wake it");
    now.threads[now.self].state = ASLEEP;
    now.threads[now.self].place = place;
    give_way();
}

void model_wake(const void *place, int count)
{
    for (unsigned i = 1; i <= now.count && count > 0; i++)
        if (now.threads[i].state == ASLEEP && now.threads[i].place == place) {
            now.threads[i].state = RUNNABLE;
            count--;
        }
}

void model_join(unsigned thread)
{
    if (!now.alone && now.threads[thread].state != ENDED) {
        now.threads[now.self].state = JOINING;
        now.threads[now.self].other = thread;
        give_way();
    }
    if (now.threads[thread].state != ENDED)
        model_fail("thread %u is joined, and does not end", thread);
    memory_model_join(thread, now.self);
}

static void thread_main(void)
{
    struct thread *self = &now.threads[now.self];
    if (self->run_started != NULL)
        self->run_started(self->argument);
    else
        self->run();
    self->state = ENDED;
    give_way();
    abort(); /* nobody goes to one that has ended */
}

static struct thread *add_thread(void)
{
    if (now.count == MODEL_THREADS)
        model_fail("the model is too small: MODEL_THREADS");
    struct thread *t = &now.threads[++now.count];
    if (t->stack == NULL)
        t->stack = malloc(STACK);
    getcontext(&t->context);
    t->context.uc_stack = (stack_t){.ss_sp = t->stack, .ss_size = STACK};
    t->context.uc_link = NULL;
    t->run = NULL;
    t->run_started = NULL;
    t->too_early = false;
    t->yields = 0;
    t->state = RUNNABLE;
    makecontext(&t->context, thread_main, 0);
    return t;
}

unsigned model_start(void *(*run)(void *), void *argument)
{
    if (!now.alone)
        model_fail("threads are started in the set-up");
    struct thread *t = add_thread();
    t->run_started = run;
    t->argument = argument;
    return now.count;
}

static void start_threads(const struct scenario *scenario)
{
    for (unsigned i = 0; i < MODEL_THREADS && scenario->threads[i] != NULL; i++)
        add_thread()->run = scenario->threads[i];
    for (unsigned i = 1; i <= now.count; i++)
        memory_model_start(i, 0);
}

static void run_threads(void)
{
    now.alone = false;
    now.self = 1 + decide(now.count, now.count, PREEMPTIONS);
    swapcontext(&now.back, &now.threads[now.self].context);
    now.alone = true;
    now.self = 0;
    for (unsigned i = 1; i <= now.count; i++)
        if (now.threads[i].state != ENDED)
            model_fail("thread %u sleeps for ever", i);
    for (unsigned i = 1; i <= now.count; i++)
        memory_model_join(i, 0);
}

/* True if nothing was wrong with it. */
static bool run_once(const struct scenario *scenario)
{
    search.depth = search.spent[PREEMPTIONS] = search.spent[OLD_VALUES] = 0;
    search.points = 0;
    search.looked = UINT32_MAX;
    now.self = now.count = 0;
    now.alone = true;
    memory_model_reset();
    platform_reset();
    int ended = setjmp(now.failed);
    if (ended != 0)
        return ended == PRUNED;
    scenario->set_up();
    start_threads(scenario);
    run_threads();
    if (scenario->check != NULL)
        scenario->check();
    return true;
}

/* --------------------------------------------------------------------------------------------------- exploration -- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The run that failed, once more, with everything it did. */
static bool failed(struct exploration *e, const struct scenario *scenario)
{
    printf("%s: FAILED in run %llu%s: %s\n", scenario->name, (unsigned long long)e->runs,
           search.at_random ? " at random" : "", search.failure);
    if (search.at_random)
        printf("%s: seed %llu\n", scenario->name, (unsigned long long)e->seed);
    if (!e->trace)
        return false;
    search.trace = true;
    search.replayed = search.depth;
    search.chance = e->seed;
    if (search.at_random)
        search.rarely = 2 + draw() % 60;
    run_once(scenario);
    search.trace = false;
    return false;
}

static bool at_random(const struct scenario *scenario, struct exploration *e, uint64_t runs, double until)
{
    search.at_random = true;
    for (uint64_t i = 0; (runs != 0 ? i < runs : true) && seconds() < until; i++) {
        search.chance = e->seed;
        search.rarely = 2 + draw() % 60;
        e->runs++;
        if (!run_once(scenario))
            return failed(e, scenario);
        e->seed++;
    }
    return true;
}

/* Every run with at most search.most of each. False: one has failed. */
static bool all_runs(const struct scenario *scenario, struct exploration *e, double end)
{
    uint64_t runs, begun = 0;
    double start = seconds();
    bool more;
    do { /* from the beginning, whenever a place turns out to be used by several threads after all */
        forget_states();
        search.replayed = 0;
        runs = 0;
        begun++;
        for (more = true; more && seconds() < end; more = next_run()) {
            runs++;
            e->runs++;
            if (!run_once(scenario))
                return failed(e, scenario);
            if (memory_model_learnt())
                break;
        }
    } while (memory_model_learnt_more());
    e->complete = !more;
    printf("%s: up to %u preemptions, %u old values: %llu runs, %zu states, %.1f s%s\n", scenario->name,
           search.most[PREEMPTIONS], search.most[OLD_VALUES], (unsigned long long)runs, visited.count,
           seconds() - start, more ? ", out of time" : ", all there are");
    fflush(stdout);
    return true;
}

bool explore(const struct scenario *scenario, struct exploration *e)
{
    double start = seconds(), end = start + e->seconds;
    memory_model_learn(true);
    bool good = at_random(scenario, e, 2000, end);
    memory_model_learn(false);
    if (good && e->random_seconds > 0)
        good = at_random(scenario, e, 0, start + e->random_seconds);
    search.at_random = false;
    e->complete = true;
    for (unsigned i = 0; good && e->complete && i <= e->preemptions; i++) {
        search.most[PREEMPTIONS] = i;
        search.most[OLD_VALUES] = i < e->old_values ? i : e->old_values;
        search.by_value = scenario->by_value && search.most[OLD_VALUES] == 0;
        good = all_runs(scenario, e, end);
    }
    printf("%s: %llu runs, %.1f s\n", scenario->name, (unsigned long long)e->runs, seconds() - start);
    return good;
}
