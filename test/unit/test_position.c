/* Positions as texts. */
#include "test.h"

#include "position.h"

static void of_one_channel(void **state)
{
    struct position position = {UINT64_MAX, UINT64_MAX}, again;
    char text[POSITION_BYTES];
    (void)state;
    position_write(text, &position);
    assert_int_equal(strlen(text), POSITION_BYTES - 3); /* the longest there is */
    must(position_read(text, strlen(text), &again));
    assert_true(again.epoch == UINT64_MAX && again.sequence == UINT64_MAX);
    position = (struct position){0, 0};
    position_write(text, &position);
    must(position_read(text, strlen(text), &again));
    assert_true(again.epoch == 0 && again.sequence == 0);
}

static void malformed_ones(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "x",
                                      "0.0",
                                      "0000000000000000",
                                      "0000000000000000.",
                                      "0000000000000000.-1",
                                      "0000000000000000.01",
                                      "000000000000000G.1",
                                      "0000000000000000.1 ",
                                      " 0000000000000000.1",
                                      "000000000000000A.1",
                                      "0000000000000000.18446744073709551616",
                                      "0000000000000000.111111111111111111111"};
    struct position position;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (position_read(bad[i], strlen(bad[i]), &position) != BCAST_ERR_INVALID)
            fail_msg("'%s' was taken for a position", bad[i]);
}

static void of_a_subscription(void **state)
{
    static const char strange[] = "a=b;c%d\0e\xff"; /* and its NUL */
    struct position_writer writer;
    char text[200];
    const char *position;
    size_t size;
    (void)state;
    position_begin(&writer, text, sizeof text);
    position_add(&writer, "red", 3, "1.2");
    position_add(&writer, strange, sizeof strange, "3.4");
    position_add(&writer, "redder", 6, "5.6");
    assert_true(position_end(&writer));
    assert_string_equal(text, "v1;red=1.2;a%3Db%3Bc%25d%00e%FF%00=3.4;redder=5.6");
    must(position_find(text, "red", 3, &position, &size));
    assert_true(size == 3 && memcmp(position, "1.2", 3) == 0);
    must(position_find(text, strange, sizeof strange, &position, &size));
    assert_true(size == 3 && memcmp(position, "3.4", 3) == 0);
    must(position_find(text, "redder", 6, &position, &size));
    assert_true(size == 3 && memcmp(position, "5.6", 3) == 0);
    must_be(BCAST_ERR_INVALID, position_find(text, "re", 2, &position, &size));
    assert_non_null(strstr(bcast_error_text(), "'re'"));
    must_be(BCAST_ERR_INVALID, position_find(text, "reddest", 7, &position, &size));
}

static void malformed_subscriptions(void **state)
{
    static const char *const bad[] = {"",         "v2;red=1",  "v1red=1", "v1;red",     "v1;=1",    "v1;red=1;",
                                      "v1;r%4=1", "v1;r%G0=1", "v1;r%=1", "v1;red=1=2", "v1;r d=1", "v1;red=1;;a=2"};
    const char *position;
    size_t size;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (position_find(bad[i], "red", 3, &position, &size) != BCAST_ERR_INVALID)
            fail_msg("'%s' was taken for a position", bad[i]);
}

/* Every size of buffer: what is written ends inside, and the length is always told. */
static void short_buffers(void **state)
{
    struct position_writer writer;
    char text[64];
    (void)state;
    for (size_t size = 0; size < 20; size++) {
        memset(text, '#', sizeof text);
        position_begin(&writer, text, size);
        position_add(&writer, "a", 1, "12.34");
        assert_true(position_end(&writer) == (size > 10));
        assert_int_equal(writer.length, 10);
        assert_int_equal(text[size], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_one_channel),    cmocka_unit_test(malformed_ones),
        cmocka_unit_test(of_a_subscription), cmocka_unit_test(malformed_subscriptions),
        cmocka_unit_test(short_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
