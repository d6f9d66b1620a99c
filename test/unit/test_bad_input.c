/* Every public call, given what it cannot use: a status and a sentence, nothing lost, nothing leaked. */
#define _GNU_SOURCE
#include "test.h"

#include <broadcaster/backend.h>

#define refused(status, call)                                                                                          \
    do {                                                                                                               \
        must_be(status, call);                                                                                         \
        assert_true(strlen(bcast_error_text()) > 15);                                                                  \
    } while (0)

static void null_everywhere(void **state)
{
    struct bcast *b = test_open("memory://"), *none;
    struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0), *no_sub;
    struct bcast_channel *channel;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast_message message = bcast_message_init();
    struct bcast_capabilities capabilities = bcast_capabilities_init();
    struct bcast_stats stats = bcast_stats_init();
    struct bcast_sub_stats sub_stats = bcast_sub_stats_init();
    struct bcast_header header;
    const char *names[2] = {"x", NULL};
    size_t count;
    (void)state;
    refused(BCAST_ERR_INVALID, bcast_open(NULL, NULL, &none));
    assert_null(none);
    refused(BCAST_ERR_INVALID, bcast_open("memory://", NULL, NULL));
    refused(BCAST_ERR_INVALID, bcast_open_backend(NULL, NULL, NULL, &none));
    refused(BCAST_ERR_INVALID, bcast_shutdown(NULL));
    refused(BCAST_ERR_INVALID, bcast_publish(NULL, "x", "", 0));
    refused(BCAST_ERR_INVALID, bcast_publish(b, NULL, "", 0));
    refused(BCAST_ERR_INVALID, bcast_publish(b, "x", NULL, 1));
    refused(BCAST_ERR_INVALID, bcast_publish_message(NULL, &message));
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, NULL));
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message)); /* without a channel */
    refused(BCAST_ERR_INVALID, bcast_channel(NULL, "x", 0, &channel));
    refused(BCAST_ERR_INVALID, bcast_channel(b, NULL, 0, &channel));
    refused(BCAST_ERR_INVALID, bcast_channel(b, "x", 0, NULL));
    refused(BCAST_ERR_INVALID, bcast_publish_to(NULL, "", 0));
    refused(BCAST_ERR_INVALID, bcast_publish_message_to(NULL, &message));
    refused(BCAST_ERR_INVALID, bcast_flush(NULL, 0));
    refused(BCAST_ERR_INVALID, bcast_flush(b, -3));
    refused(BCAST_ERR_INVALID, bcast_subscribe(NULL, "x", NULL, &no_sub));
    refused(BCAST_ERR_INVALID, bcast_subscribe(b, NULL, NULL, &no_sub));
    refused(BCAST_ERR_INVALID, bcast_subscribe(b, "x", NULL, NULL));
    refused(BCAST_ERR_INVALID, bcast_subscribe_many(b, names, NULL, 0, NULL, &no_sub));
    refused(BCAST_ERR_INVALID, bcast_subscribe_many(b, names, NULL, 2, NULL, &no_sub));
    assert_null(no_sub);
    refused(BCAST_ERR_INVALID, bcast_add_channel(NULL, "x", 0));
    refused(BCAST_ERR_INVALID, bcast_add_channel(sub, NULL, 0));
    refused(BCAST_ERR_INVALID, bcast_remove_channel(NULL, "x", 0));
    refused(BCAST_ERR_INVALID, bcast_remove_channel(sub, NULL, 0));
    refused(BCAST_ERR_INVALID, bcast_next(NULL, &event, 0));
    refused(BCAST_ERR_INVALID, bcast_next(sub, NULL, 0));
    refused(BCAST_ERR_INVALID, bcast_next(sub, &event, -3));
    refused(BCAST_ERR_INVALID, bcast_next_batch(NULL, &event, 1, &count, 0));
    refused(BCAST_ERR_INVALID, bcast_next_batch(sub, NULL, 1, &count, 0));
    refused(BCAST_ERR_INVALID, bcast_next_batch(sub, &event, 0, &count, 0));
    refused(BCAST_ERR_INVALID, bcast_next_batch(sub, &event, 1, NULL, 0));
    refused(BCAST_ERR_INVALID, bcast_keep(NULL));
    refused(BCAST_ERR_INVALID, bcast_keep(&event));
    refused(BCAST_ERR_INVALID, bcast_fd(NULL));
    refused(BCAST_ERR_INVALID, bcast_cancel(NULL));
    refused(BCAST_ERR_INVALID, bcast_capabilities(NULL, &capabilities));
    refused(BCAST_ERR_INVALID, bcast_capabilities(b, NULL));
    refused(BCAST_ERR_INVALID, bcast_stats(NULL, &stats));
    refused(BCAST_ERR_INVALID, bcast_stats(b, NULL));
    refused(BCAST_ERR_INVALID, bcast_sub_stats(NULL, &sub_stats));
    refused(BCAST_ERR_INVALID, bcast_sub_stats(sub, NULL));
    refused(BCAST_ERR_INVALID, bcast_event_header(NULL, 0, &header));
    assert_null(bcast_event_key(NULL, NULL));
    assert_int_equal(bcast_event_header_count(NULL), 0);
    assert_string_equal(bcast_event_id(NULL), "");
    bcast_release(NULL);
    bcast_release(&event);
    bcast_unsubscribe(NULL);
    bcast_channel_free(NULL);
    bcast_close(NULL);
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void sizes_and_names(void **state)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_message message = bcast_message_init();
    struct bcast_header headers[300];
    static char name[5000], value[1 << 20];
    struct bcast *b;
    struct bcast_sub *sub;
    struct bcast_event event = BCAST_EVENT_INIT;
    (void)state;
    options.max_message_bytes = 100;
    must(bcast_open("memory://", &options, &b));
    memset(name, 'n', sizeof name - 1);
    refused(BCAST_ERR_INVALID, bcast_publish(b, "", "x", 1));
    refused(BCAST_ERR_TOO_LARGE, bcast_publish(b, name, "x", 1));
    refused(BCAST_ERR_TOO_LARGE, bcast_subscribe(b, name, NULL, &sub));
    name[4096] = '\0';
    must(bcast_subscribe(b, name, NULL, &sub));
    refused(BCAST_ERR_TOO_LARGE, bcast_publish(b, name, value, 101));
    must(bcast_publish(b, name, value, 100));
    for (int i = 0; i < 300; i++)
        headers[i] = (struct bcast_header){"n", "v", 1};
    message.channel = name;
    message.headers = headers;
    message.header_count = 257;
    refused(BCAST_ERR_TOO_LARGE, bcast_publish_message(b, &message));
    message.header_count = 256;
    must(bcast_publish_message(b, &message));
    headers[255].name = "";
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message));
    headers[255] = (struct bcast_header){"n", value, sizeof value};
    refused(BCAST_ERR_TOO_LARGE, bcast_publish_message(b, &message));
    headers[255] = (struct bcast_header){"n", NULL, 1};
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message));
    message.header_count = 0;
    message.key = value;
    message.key_size = 65536;
    refused(BCAST_ERR_TOO_LARGE, bcast_publish_message(b, &message));
    message.key_size = 65535;
    must(bcast_publish_message(b, &message));
    message.key = NULL;
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message));
    message.key_size = 0;
    message.timeout_ms = -5;
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message));
    for (int i = 0; i < 3; i++) /* and nothing that was refused arrived */
        must(bcast_next(sub, &event, 0));
    must_be(BCAST_TIMEOUT, bcast_next(sub, &event, 0));
    bcast_unsubscribe(sub);
    bcast_close(b);
}

static void malformed_options(void **state)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_sub_options sub_options = bcast_sub_options_init();
    struct bcast_stats stats = bcast_stats_init();
    struct bcast_message message = bcast_message_init();
    struct bcast *b = test_open("memory://"), *none;
    struct bcast_sub *sub;
    int cpu = 0;
    (void)state;
    options.struct_size = 0;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    options.struct_size = SIZE_MAX;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    options = bcast_options_init();
    options.open_timeout_ms = -3;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    options = bcast_options_init();
    options.publish_timeout_ms = -3;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    options = bcast_options_init();
    options.max_message_bytes = (size_t)2 << 30;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    options = bcast_options_init();
    options.thread_cpus = &cpu;
    refused(BCAST_ERR_INVALID, bcast_open("memory://", &options, &none));
    sub_options.struct_size = 3;
    refused(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &sub_options, &sub));
    sub_options = bcast_sub_options_init();
    sub_options.policy = (enum bcast_policy)7;
    refused(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &sub_options, &sub));
    sub_options = bcast_sub_options_init();
    sub_options.timeout_ms = -9;
    refused(BCAST_ERR_INVALID, bcast_subscribe(b, "x", &sub_options, &sub));
    stats.struct_size = 1;
    refused(BCAST_ERR_INVALID, bcast_stats(b, &stats));
    message.struct_size = 1;
    refused(BCAST_ERR_INVALID, bcast_publish_message(b, &message));
    bcast_close(b);
}

static void urls(void **state)
{
    static const struct {
        const char *url;
        int status;
    } bad[] = {
        {"", BCAST_ERR_URL},
        {"memory", BCAST_ERR_URL},
        {"memory:", BCAST_ERR_URL},
        {"nothing://", BCAST_ERR_SCHEME},
        {"memory://a:1", BCAST_ERR_URL},
        {"memory://a,b", BCAST_ERR_URL},
        {"memory://u@a", BCAST_ERR_URL},
        {"memory://a/b", BCAST_ERR_URL},
        {"memory://?depth=5", BCAST_ERR_URL},
    };
    struct bcast *b;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused(bad[i].status, bcast_open(bad[i].url, NULL, &b));
        assert_null(b);
    }
    must_be(BCAST_ERR_URL, bcast_open("memory://?depth=5", NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "depth"));
}

static int never_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    (void)sink, (void)self;
    snprintf(setup->error, setup->error_size, "today we are closed");
    return BCAST_ERR_REFUSED;
}

static void nothing(void *self)
{
    (void)self;
}

static void no_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self, (void)out;
}

static void local(void *self, struct bcast_local *out)
{
    (void)self, (void)out;
}

static void unusable_backends(void **state)
{
    struct bcast_backend backend = {.struct_size = sizeof backend,
                                    .version = BCAST_BACKEND_VERSION,
                                    .name = "shop",
                                    .open = never_open,
                                    .capabilities = no_capabilities,
                                    .local = local,
                                    .close = nothing};
    struct bcast *b;
    (void)state;
    refused(BCAST_ERR_REFUSED, bcast_open_backend(&backend, NULL, NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "shop: today we are closed"));
    backend.version = 99;
    refused(BCAST_ERR_BACKEND, bcast_open_backend(&backend, NULL, NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "99"));
    backend.version = BCAST_BACKEND_VERSION;
    backend.local = NULL; /* and none of the calls that a broker's backend must have */
    refused(BCAST_ERR_BACKEND, bcast_open_backend(&backend, NULL, NULL, &b));
    assert_null(b);
}

#ifdef BCAST_TEST_HOOKS
static void modules(void **state)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b = NULL;
    (void)state;
    refused(BCAST_ERR_MODULE, bcast_open("absent://", NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "install test-absent"));
    refused(BCAST_ERR_MODULE, bcast_open("hollow://", NULL, &b));
    assert_non_null(strstr(bcast_error_text(), "reinstall test-hollow"));
    assert_null(b);
    for (int i = 0; i < 2; i++) { /* loaded now, and loaded already */
        b = test_open("module://");
        struct bcast_sub *sub = test_subscribe(b, "x", BCAST_DROP_OLDEST, 0);
        test_publish(b, "x", "through a module");
        test_expect(sub, &event, "through a module");
        bcast_release(&event);
        bcast_unsubscribe(sub);
        bcast_close(b);
    }
}
#endif

static void statuses_have_texts(void **state)
{
    (void)state;
    for (int status = BCAST_ERR_BACKEND; status <= BCAST_TIMEOUT; status++)
        assert_string_not_equal(bcast_status_text(status), "unknown status");
    assert_string_equal(bcast_status_text(-1000), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_everywhere),   cmocka_unit_test(sizes_and_names),
        cmocka_unit_test(malformed_options), cmocka_unit_test(urls),
        cmocka_unit_test(unusable_backends), cmocka_unit_test(statuses_have_texts),
#ifdef BCAST_TEST_HOOKS
        cmocka_unit_test(modules),
#endif
    };
    return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}
