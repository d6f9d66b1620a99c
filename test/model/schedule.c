/* Coroutines, and the exploration of decisions. A run is made of decisions; each has a number of options, of which 0 is
 * the obvious one: go on; or, for a thread that cannot, the next one after it; read the newest value. Whatever else is
 * decided is a deviation. Depth first: the last decision with an option left is taken differently, everything before it as it was.
 * At random: any, from a seed. */
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

enum state { RUNNABLE, YIELDED, ASLEEP, ENDED };

struct thread {
    ucontext_t context;
    enum state state;
    const void *place;   /* it sleeps there */
    uint64_t yielded_at; /* writes that there had been */
    void (*run)(void);
    char *stack;
};

static struct {
    struct thread threads[MODEL_THREADS + 1];
    unsigned count, self;
    bool alone; /* set-up and check: no decisions */
    uint64_t writes;
    ucontext_t back;
    jmp_buf failed;
} now;

struct decision {
    uint8_t taken, options;
    bool costs;
};

static struct {
    struct decision decisions[DECISIONS];
    unsigned depth, replayed; /* so far in this run; taken over from the one before */
    unsigned deviations, most;
    bool at_random;
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

void model_wrote(void)
{
    now.writes++;
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(search.failure, sizeof search.failure, format, arguments);
    va_end(arguments);
    longjmp(now.failed, 1);
}

/* ---------------------------------------------------------------------------------------------------- decisions -- */

static uint64_t draw(void)
{
    uint64_t z = search.chance += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned decide(unsigned options, bool costs)
{
    if (options < 2 || now.alone)
        return 0;
    if (search.at_random)
        return costs && draw() % search.rarely != 0 ? 0 : (unsigned)(draw() % options);
    if (costs && search.deviations == search.most)
        return 0;
    if (search.depth == DECISIONS)
        model_fail("the model is too small: DECISIONS");
    struct decision *d = &search.decisions[search.depth++];
    if (search.depth > search.replayed)
        *d = (struct decision){0, (uint8_t)options, costs};
    else if (d->options != options || d->costs != costs)
        model_fail("the run cannot be repeated: something in it is not of its own making");
    if (d->taken != 0 && costs)
        search.deviations++;
    return d->taken;
}

unsigned model_choose(unsigned options)
{
    return decide(options, true);
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

/* ------------------------------------------------------------------------------------------------------ threads -- */

static bool can_run(const struct thread *t)
{
    return t->state == RUNNABLE || (t->state == YIELDED && t->yielded_at != now.writes);
}

static unsigned others(unsigned list[MODEL_THREADS], bool (*wanted)(const struct thread *))
{
    unsigned count = 0;
    for (unsigned i = 1; i < now.count; i++) { /* those after it first */
        unsigned thread = (now.self + i - 1) % now.count + 1;
        if (wanted(&now.threads[thread]))
            list[count++] = thread;
    }
    return count;
}

static bool has_yielded(const struct thread *t)
{
    return t->state == YIELDED;
}

static void go_to(unsigned next)
{
    unsigned before = now.self;
    now.self = next;
    now.threads[next].state = RUNNABLE;
    if (next != before)
        swapcontext(&now.threads[before].context, &now.threads[next].context);
}

void model_point(const char *operation, const void *place, bool other)
{
    unsigned list[MODEL_THREADS], count;
    if (++search.points > 1000000)
        model_fail("a run that does not end");
    if (search.trace && !now.alone)
        printf("  thread %u: %-8s %6zx\n", now.self, operation, platform_offset(place));
    if (now.alone || !other)
        return;
    count = others(list, can_run);
    unsigned choice = decide(count + 1, true);
    if (choice != 0)
        go_to(list[choice - 1]);
}

/* The running thread cannot go on for now. */
static void give_way(void)
{
    unsigned list[MODEL_THREADS], count = others(list, can_run);
    if (count == 0)
        count = others(list, has_yielded); /* nobody has written: perhaps they only count how often they have looked */
    if (count == 0 && now.threads[now.self].state == YIELDED) {
        now.threads[now.self].state = RUNNABLE;
        return;
    }
    if (count == 0)
        swapcontext(&now.threads[now.self].context, &now.back);
    else
        go_to(list[decide(count, true)]);
}

int model_yield(void)
{
    if (now.alone)
        return 0;
    if (++search.points > 1000000)
        model_fail("a run that does not end");
    now.threads[now.self].state = YIELDED;
    now.threads[now.self].yielded_at = now.writes;
    give_way();
    return 0;
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
    model_wrote();
}

static void thread_main(void)
{
    unsigned self = now.self;
    now.threads[self].run();
    now.threads[self].state = ENDED;
    give_way();
    abort(); /* nobody goes to one that has ended */
}

static void start_threads(const struct scenario *scenario)
{
    for (now.count = 0; now.count < MODEL_THREADS && scenario->threads[now.count] != NULL;) {
        struct thread *t = &now.threads[++now.count];
        if (t->stack == NULL)
            t->stack = malloc(STACK);
        getcontext(&t->context);
        t->context.uc_stack = (stack_t){.ss_sp = t->stack, .ss_size = STACK};
        t->context.uc_link = NULL;
        t->run = scenario->threads[now.count - 1];
        t->state = RUNNABLE;
        makecontext(&t->context, thread_main, 0);
        memory_model_start(now.count, 0);
    }
}

static void run_threads(void)
{
    now.alone = false;
    now.self = 1 + decide(now.count, false);
    swapcontext(&now.back, &now.threads[now.self].context);
    now.alone = true;
    now.self = 0;
    for (unsigned i = 1; i <= now.count; i++)
        if (now.threads[i].state == ASLEEP)
            model_fail("thread %u sleeps for ever", i);
    for (unsigned i = 1; i <= now.count; i++)
        memory_model_join(i, 0);
}

/* True if nothing was wrong with it. */
static bool run_once(const struct scenario *scenario)
{
    search.depth = search.deviations = 0;
    search.points = 0;
    now.self = 0;
    now.writes = 0;
    now.alone = true;
    memory_model_reset();
    platform_reset();
    if (setjmp(now.failed) != 0)
        return false;
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

bool explore(const struct scenario *scenario, struct exploration *e)
{
    double start = seconds(), end = start + e->seconds;
    memory_model_learn(true);
    bool good = at_random(scenario, e, 2000, end);
    memory_model_learn(false);
    if (good && e->random_seconds > 0)
        good = at_random(scenario, e, 0, start + e->random_seconds);
    search.at_random = false;
    for (unsigned most = 0; good && most <= e->deviations; most++) {
        uint64_t runs = 0;
        search.most = most;
        search.replayed = 0;
        e->complete = 0;
        for (bool more = true; more && good && seconds() < end; more = more && next_run(), runs++) {
            e->runs++;
            good = run_once(scenario);
            if (!good)
                return failed(e, scenario);
            more = search.depth > 0;
            if (!more)
                break;
        }
        if (good && seconds() < end)
            e->complete = most + 1;
        printf("%s: up to %u deviations: %llu runs%s\n", scenario->name, most, (unsigned long long)runs,
               e->complete ? ", all there are" : ", out of time");
        fflush(stdout);
        if (!e->complete)
            break;
    }
    printf("%s: %llu runs, %.1f s\n", scenario->name, (unsigned long long)e->runs, seconds() - start);
    return good;
}
