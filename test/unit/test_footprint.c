/* What the library needs, and gives back. Not under a sanitizer: those keep memory for themselves. */
#define _GNU_SOURCE
#include "test.h"

#include <malloc.h>
#include <unistd.h>

#include "base/memory.h"

static size_t resident(void)
{
    size_t total, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &total, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void idle_channels(void **state)
{
    enum { COUNT = 100000 };
    struct bcast *b = test_open("memory://");
    struct bcast_sub **subs = malloc(COUNT * sizeof(struct bcast_sub *));
    struct bcast_event event = BCAST_EVENT_INIT;
    char name[32];
    (void)state;
    memset(subs, 0, COUNT * sizeof(struct bcast_sub *)); /* resident before we look */
    size_t before = resident(), names = 0;
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "channel %d", i);
        names += strlen(name) + 1;
        must(bcast_subscribe(b, name, NULL, &subs[i]));
        test_publish(b, name, "a message of an ordinary size, as one may send to a chat room");
        must(bcast_next(subs[i], &event, 0));
        bcast_release(&event);
    }
    size_t each = (resident() - before - names) / COUNT;
    print_message("%zu bytes for a channel and its subscription\n", each);
    assert_in_range(each, 1, 1024);
    for (int i = 0; i < COUNT; i++)
        bcast_unsubscribe(subs[i]);
    free(subs);
    bcast_close(b);
}

static void pass_through(struct bcast *b, struct bcast_sub *sub, size_t size, size_t total)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    unsigned char *data = malloc(size);
    memset(data, 1, size);
    size_t burst = (16 << 20) / size < 1 ? 1 : (16 << 20) / size;
    for (size_t done = 0; done < total / size; done += burst) {
        for (size_t i = 0; i < burst; i++)
            must(bcast_publish(b, "x", data, size));
        for (size_t i = 0; i < burst; i++)
            must(bcast_next(sub, &event, 0));
    }
    bcast_release(&event);
    free(data);
}

static void memory_comes_back(void **state)
{
    static const size_t sizes[] = {64 << 20, 1000, 200000, 64 << 20};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, SIZE_MAX >> 1);
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        malloc_trim(0);
        size_t before = resident();
        pass_through(b, sub, sizes[i], (size_t)1 << 30);
        size_t after = resident();
        print_message("1 GiB in messages of %zu bytes: %+.1f MiB\n", sizes[i],
                      ((double)after - (double)before) / 1048576);
        assert_true(after < before + (10 << 20));
    }
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static size_t resident_after(struct bcast *b, struct bcast_sub *sub, struct bcast_event *event)
{
    test_publish(b, "busy", "on and on");
    test_expect(sub, event, "on and on");
    must_be(BCAST_TIMEOUT, bcast_next(sub, event, 1));
    malloc_trim(0);
    return resident();
}

/* One subscription of many channels: what they have grown to is given back as they come to rest, although the reader
 * never has time to look after them: one channel goes on and on. */
static void channels_come_to_rest(void **state)
{
    enum { CHANNELS = 256, MESSAGES = 500, SIZE = 1000 };
    static const char data[SIZE];
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "busy", BCAST_BLOCK, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    char name[32];
    (void)state;
    for (int i = 0; i < CHANNELS; i++) {
        snprintf(name, sizeof name, "channel %d", i);
        must(bcast_add_channel(sub, name, 0));
    }
    malloc_trim(0);
    size_t before = resident();
    for (int i = 0; i < CHANNELS; i++) {
        snprintf(name, sizeof name, "channel %d", i);
        for (int j = 0; j < MESSAGES; j++)
            must(bcast_publish(b, name, data, SIZE));
        for (int j = 0; j < MESSAGES; j++)
            must(bcast_next(sub, &event, 20000));
    }
    size_t grown = resident();
    until(resident_after(b, sub, &event) < before + (10 << 20));
    print_message("%d channels: %+.1f MiB, and then %+.1f MiB\n", CHANNELS, ((double)grown - (double)before) / 1048576,
                  ((double)resident() - (double)before) / 1048576);
    assert_true(grown > before + (20 << 20));
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void no_allocation_per_message(void **state)
{
    static const size_t sizes[] = {0, 64, 1000, 60000, 130000};
    struct bcast *b = test_open("memory://");
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_BLOCK, 0);
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_channel *channel;
    static unsigned char data[130000];
    (void)state;
    must(bcast_channel(b, "x", 0, &channel));
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t warm = 0;
        for (int i = 0; i < 60000; i++) {
            if (i == 40000)
                warm = atomic_load(&memory_hooks.allocations);
            must(bcast_publish_to(channel, data, sizes[s]));
            must(bcast_publish(b, "x", data, sizes[s]));
            must(bcast_next(sub, &event, 0));
            must(bcast_next(sub, &event, 0));
        }
        assert_int_equal(atomic_load(&memory_hooks.allocations), warm);
    }
    bcast_release(&event);
    bcast_channel_free(channel);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(channels_come_to_rest),
        cmocka_unit_test(idle_channels),
        cmocka_unit_test(no_allocation_per_message),
    };
    return cmocka_run_group_tests_name("footprint", tests, NULL, NULL);
}
