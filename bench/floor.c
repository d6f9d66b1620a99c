/* The floor: a bare ring that does the same work as the library and nothing else. One publisher, fixed segments of one
 * byte ring, gated readers; no channels, no policies, no API. The same messages, the same checks, the same pause, yield
 * and sleep, the same full fence before a publisher looks for sleepers (the library's is its compare-exchange).
 *     floor [-events N] MESSAGES SIZE SUBSCRIBERS [RING_BITS]
 * prints M deliveries/s. With -events, readers first describe up to N messages in an array of events, as any call that
 * returns several must, and look at their bytes afterwards; without, at once and in place. With -log P instead:
 * P publishers append to a shared log that nobody reads, as M messages/s. */
#define _GNU_SOURCE
#include <ck_pr.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "payload.h"

#define LINE 64
#define PAUSES 50
#define YIELDS 100
#define CHASES 32 /* and the same standing back of a reader that is too fast */
#define APART 400
#define FAR_BEHIND 256
#define CROWDED (-96)
#define GONE UINT64_MAX

static struct {
    _Alignas(LINE) _Atomic uint64_t tail;
    _Alignas(LINE) _Atomic uint32_t sleepers;
    _Atomic uint32_t bell;
    _Alignas(LINE) _Atomic uint32_t space;
    _Alignas(LINE) unsigned char *bytes;
    uint64_t capacity;
    size_t size;
    long messages;
    size_t events; /* at a time; 0: no array of events */
} ring;

struct event { /* as large as the library's */
    const unsigned char *data;
    uint64_t size, sequence, more[6];
};

struct reader {
    _Alignas(LINE) _Atomic uint64_t at;
    pthread_t thread;
    struct event *events;
    uint64_t count; /* messages read */
    struct payload_reader check;
};

static struct reader *readers;
static int reader_count;

static void sleep_on(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
}

static uint64_t padded(size_t size)
{
    return 8 + ((size + 7) & ~(size_t)7);
}

static void wait_for_tail(uint64_t at, int *looks)
{
    if (++*looks < PAUSES) {
        ck_pr_stall();
    } else if (*looks < PAUSES + YIELDS) {
        sched_yield();
    } else {
        atomic_fetch_add(&ring.sleepers, 1);
        uint32_t seen = atomic_load(&ring.bell);
        if (atomic_load(&ring.tail) == at)
            sleep_on(&ring.bell, seen);
        atomic_fetch_sub(&ring.sleepers, 1);
        *looks = 0;
    }
}

static void tell(struct reader *me, uint64_t at, uint64_t *told)
{
    atomic_store_explicit(&me->at, *told = at, memory_order_release);
}

static uint64_t read_in_place(struct reader *me, uint64_t at, uint64_t tail, uint64_t *told)
{
    while (at < tail) {
        unsigned char *record = ring.bytes + (at & (ring.capacity - 1));
        uint64_t size;
        memcpy(&size, record, 8);
        payload_check(&me->check, record + 8, size, ring.size, false, PAYLOAD_BYTES);
        at += padded(size);
        me->count++;
        if (at - *told > ring.capacity / 8)
            tell(me, at, told);
    }
    return at;
}

static size_t describe(struct reader *me, uint64_t *at, uint64_t tail)
{
    size_t count = 0;
    for (; count < ring.events && *at < tail; count++) {
        struct event *event = &me->events[count];
        unsigned char *record = ring.bytes + (*at & (ring.capacity - 1));
        memcpy(&event->size, record, 8);
        event->data = record + 8;
        event->sequence = me->count + count;
        *at += padded(event->size);
    }
    return count;
}

static uint64_t read_events(struct reader *me, uint64_t at, uint64_t tail, uint64_t *told)
{
    while (at < tail) {
        if (at - *told > ring.capacity / 8)
            tell(me, at, told); /* before the next are described: these have been looked at */
        size_t count = describe(me, &at, tail);
        for (size_t i = 0; i < count; i++)
            payload_check(&me->check, me->events[i].data, me->events[i].size, ring.size, false, PAYLOAD_BYTES);
        me->count += count;
    }
    return at;
}

static void *read_all(void *argument)
{
    struct reader *me = argument;
    uint64_t at = 0, told = 0, far_behind = FAR_BEHIND * padded(ring.size);
    int looks = 0, chase = 0;
    while (me->count < (uint64_t)ring.messages) {
        for (int i = 0; i < APART && chase == CHASES; i++)
            ck_pr_stall();
        uint64_t tail = atomic_load_explicit(&ring.tail, memory_order_acquire);
        if (tail == at) {
            wait_for_tail(at, &looks);
            if (looks >= PAUSES)
                chase = 0;
            continue;
        }
        looks = 0;
        if (tail - at > far_behind)
            chase = CROWDED;
        else
            chase += chase < CHASES;
        at = ring.events != 0 ? read_events(me, at, tail, &told) : read_in_place(me, at, tail, &told);
        tell(me, at, &told);
        if (atomic_load_explicit(&ring.space, memory_order_relaxed) & 1)
            wake_all(&ring.space);
    }
    atomic_store_explicit(&me->at, GONE, memory_order_release);
    wake_all(&ring.space);
    return NULL;
}

static uint64_t slowest(void)
{
    uint64_t least = GONE;
    for (int i = 0; i < reader_count; i++) {
        uint64_t at = atomic_load(&readers[i].at);
        least = at < least ? at : least;
    }
    return least;
}

static void wait_for_space(uint64_t end, uint64_t *gate)
{
    for (int looks = 0; end - (*gate = slowest()) > ring.capacity && *gate != GONE; looks++) {
        if (looks < 200) {
            ck_pr_stall();
            continue;
        }
        struct timespec soon = {0, 1000000};
        uint32_t seen = atomic_fetch_or(&ring.space, 1) | 1; /* odd: somebody waits */
        if (end - slowest() > ring.capacity)
            syscall(SYS_futex, &ring.space, FUTEX_WAIT_PRIVATE, seen, &soon, NULL, 0);
    }
}

static void publish_all(void)
{
    uint64_t tail = 0, gate = 0, step = padded(ring.size);
    unsigned char *data = calloc(1, ring.size);
    for (long i = 0; i < ring.messages; i++) {
        if (tail + step - gate > ring.capacity)
            wait_for_space(tail + step, &gate);
        payload_fill(data, ring.size, payload_mark(0, (uint64_t)i), 0, PAYLOAD_BYTES);
        unsigned char *record = ring.bytes + (tail & (ring.capacity - 1));
        uint64_t size = ring.size;
        memcpy(record, &size, 8);
        memcpy(record + 8, data, ring.size);
        tail += step;
        atomic_exchange_explicit(&ring.tail, tail, memory_order_seq_cst); /* the store and the fence */
        if (atomic_load_explicit(&ring.sleepers, memory_order_relaxed) != 0)
            wake_all(&ring.bell);
    }
    free(data);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int fan_out(void)
{
    uint64_t wrong = 0;
    readers = aligned_alloc(LINE, sizeof *readers * (size_t)(reader_count + 1));
    memset(readers, 0, sizeof *readers * (size_t)(reader_count + 1));
    for (int i = 0; i < reader_count; i++)
        readers[i].events = calloc(ring.events + 1, sizeof *readers[i].events);
    for (int i = 0; i < reader_count; i++)
        pthread_create(&readers[i].thread, NULL, read_all, &readers[i]);
    double begin = now();
    publish_all();
    wake_all(&ring.bell);
    for (int i = 0; i < reader_count; i++) {
        pthread_join(readers[i].thread, NULL);
        wrong += readers[i].check.wrong;
        free(readers[i].events);
    }
    double seconds = now() - begin;
    printf("%.3f\n", (double)ring.messages * reader_count / seconds / 1e6);
    free(readers);
    return wrong != 0;
}

/* ---------------------------------------------------------------------------------------------------- shared log -- */

static void *append_all(void *argument)
{
    unsigned me = *(unsigned *)argument;
    uint64_t step = padded(ring.size);
    unsigned char *data = calloc(1, ring.size);
    for (long i = 0; i < ring.messages; i++) {
        payload_fill(data, ring.size, payload_mark(me, (uint64_t)i), 0, PAYLOAD_BYTES);
        uint64_t at = atomic_load_explicit(&ring.tail, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&ring.tail, &at, at + step, memory_order_acq_rel,
                                                      memory_order_relaxed))
            ;
        unsigned char *record = ring.bytes + (at & (ring.capacity - 1));
        memcpy(record + 8, data, ring.size);
        atomic_store_explicit((_Atomic uint64_t *)(void *)record, ring.size, memory_order_release);
    }
    free(data);
    return NULL;
}

static void append(unsigned publishers)
{
    pthread_t threads[PAYLOAD_PUBLISHERS];
    unsigned numbers[PAYLOAD_PUBLISHERS];
    double begin = now();
    for (unsigned i = 0; i < publishers; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, append_all, &numbers[i]);
    }
    for (unsigned i = 0; i < publishers; i++)
        pthread_join(threads[i], NULL);
    printf("%.3f\n", (double)ring.messages * publishers / (now() - begin) / 1e6);
}

int main(int count, char **words)
{
    unsigned publishers = 0;
    if (count > 2 && strcmp(words[1], "-log") == 0) {
        publishers = (unsigned)atoi(words[2]);
        count -= 2;
        words += 2;
    } else if (count > 2 && strcmp(words[1], "-events") == 0) {
        ring.events = (size_t)atol(words[2]);
        count -= 2;
        words += 2;
    }
    if (count < 4 || publishers > PAYLOAD_PUBLISHERS) {
        fprintf(stderr, "usage: floor [-log PUBLISHERS | -events N] MESSAGES SIZE SUBSCRIBERS [RING_BITS]\n");
        return 2;
    }
    ring.messages = atol(words[1]);
    ring.size = (size_t)atol(words[2]);
    reader_count = atoi(words[3]);
    ring.capacity = UINT64_C(1) << (count > 4 ? atoi(words[4]) : 20);
    ring.bytes = aligned_alloc(4096, ring.capacity + 65536); /* a record may begin just before the end */
    if (ring.bytes == NULL || ring.size < PAYLOAD_MIN || ring.size > 65536 - 16)
        return 2;
    memset(ring.bytes, 0, ring.capacity + 65536);
    int failed = 0;
    if (publishers != 0)
        append(publishers);
    else
        failed = fan_out();
    free(ring.bytes);
    return failed;
}
