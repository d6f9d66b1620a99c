/* The list of backends: what is built in, what modules there are, and what each can do before anything is open. */
#include "test.h"

#include <broadcaster/backend.h>

static struct bcast_backend_info find(const char *name)
{
    struct bcast_backend_info info = bcast_backend_info_init();
    for (size_t i = 0; bcast_backend_info(i, &info) == BCAST_OK; i++)
        if (strcmp(info.name, name) == 0)
            return info;
    fail_msg("%s is not listed", name);
    return info;
}

static void memory_is_built_in(void **state)
{
    struct bcast_backend_info info = find("memory");
    (void)state;
    assert_string_equal(info.schemes, "memory");
    assert_string_equal(info.package, "");
    assert_int_equal(info.state, BCAST_BACKEND_BUILT_IN);
    assert_int_equal(info.max_channel_bytes, 4096);
    assert_int_equal(info.max_message_bytes, 0);
    assert_true((info.can & BCAST_CAN_PROCESSES) == 0);
}

/* At most: whatever one that is open can do, it was said before that it can. */
static void nothing_is_added_later(void **state)
{
    static const char *const urls[] = {"memory://", "memory://?history=5"};
    uint64_t can = find("memory").can, ever = 0;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bcast *b = test_open(urls[i]);
        struct bcast_capabilities capabilities = bcast_capabilities_init();
        must(bcast_capabilities(b, &capabilities));
        ever |= capabilities.can;
        bcast_close(b);
    }
    assert_int_equal(can, ever);
}

static void bad_questions(void **state)
{
    struct bcast_backend_info info = bcast_backend_info_init();
    (void)state;
    must_be(BCAST_ERR_INVALID, bcast_backend_info(0, NULL));
    must_be(BCAST_ERR_NOT_FOUND, bcast_backend_info(1000, &info));
    must_be(BCAST_ERR_NOT_FOUND, bcast_backend_info(SIZE_MAX, &info));
    info.struct_size = 3;
    must_be(BCAST_ERR_INVALID, bcast_backend_info(0, &info));
    info = bcast_backend_info_init();
    info.struct_size = offsetof(struct bcast_backend_info, state); /* of a program from before `state` */
    info.state = 99;
    must(bcast_backend_info(0, &info));
    assert_int_equal(info.state, 99);
}

#ifdef BCAST_TEST_HOOKS
static void modules(void **state)
{
    struct bcast_backend_info info = find("parrot");
    (void)state;
    assert_string_equal(info.schemes, "parrot ara");
    assert_string_equal(info.package, "test-parrot");
    assert_int_equal(info.state, BCAST_BACKEND_MODULE);
    assert_int_equal(info.max_channel_bytes, 100);
    assert_true((info.can & BCAST_CAN_PROCESSES) != 0);
    assert_int_equal(find("module").max_channel_bytes, 4096); /* it names no limit */
    info = find("absent");
    assert_int_equal(info.state, BCAST_BACKEND_MISSING);
    assert_string_equal(info.package, "test-absent");
    assert_int_equal(info.can, 0);
    assert_non_null(strstr(bcast_error_text(), "install test-absent"));
    assert_int_equal(find("hollow").state, BCAST_BACKEND_MISSING);
    bcast_close(test_open("ara://"));
    struct bcast *none;
    must_be(BCAST_ERR_SCHEME, bcast_open("parro://", NULL, &none));
    must_be(BCAST_ERR_SCHEME, bcast_open("rot://", NULL, &none));
    must_be(BCAST_ERR_SCHEME, bcast_open("parrotara://", NULL, &none));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_built_in),
        cmocka_unit_test(nothing_is_added_later),
        cmocka_unit_test(bad_questions),
#ifdef BCAST_TEST_HOOKS
        cmocka_unit_test(modules),
#endif
    };
    return cmocka_run_group_tests_name("backends", tests, NULL, NULL);
}
