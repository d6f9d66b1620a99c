#define _GNU_SOURCE
#include "test.h"

#include "url.h"

static void parse(struct url *url, const char *text)
{
    must(url_parse(url, text));
}

static void whole_url(void **state)
{
    struct url url;
    (void)state;
    parse(&url, "Redis://me:p%40ss@one:1,[::1]:2,three/db%20name?a=1&b=%26");
    assert_string_equal(url.parts.scheme, "redis");
    assert_string_equal(url.parts.user, "me");
    assert_string_equal(url.parts.password, "p@ss");
    assert_int_equal(url.parts.host_count, 3);
    assert_string_equal(url.parts.hosts[0].name, "one");
    assert_int_equal(url.parts.hosts[0].port, 1);
    assert_string_equal(url.parts.hosts[1].name, "::1");
    assert_int_equal(url.parts.hosts[1].port, 2);
    assert_string_equal(url.parts.hosts[2].name, "three");
    assert_int_equal(url.parts.hosts[2].port, 0);
    assert_string_equal(url.parts.path, "db name");
    assert_int_equal(url.parts.param_count, 2);
    assert_string_equal(url.parts.params[1].name, "b");
    assert_string_equal(url.parts.params[1].value, "&");
    url_free(&url);
}

static void absent_parts(void **state)
{
    struct url url;
    (void)state;
    parse(&url, "memory://");
    assert_string_equal(url.parts.scheme, "memory");
    assert_null(url.parts.user);
    assert_null(url.parts.path);
    assert_int_equal(url.parts.host_count, 0);
    assert_int_equal(url.parts.param_count, 0);
    url_free(&url);
    parse(&url, "unix:///run/x.sock");
    assert_int_equal(url.parts.host_count, 0);
    assert_string_equal(url.parts.path, "run/x.sock");
    url_free(&url);
}

static void passwords_are_hidden(void **state)
{
    static const char *const urls[][2] = {
        {"a://u:secret@h", "a://u:***@h"},
        {"a://u:s3@h/p", "a://u:@h/p"},
        {"a://:secret@h", "a://:***@h"},
        {"a://u:se:cr@et@h?x=1", "a://u:***@h?x=1"},
        {"a://u@h", "a://u@h"},
        {"a://h:12/p", "a://h:12/p"},
        {"a://h/x:y@z", "a://h/x:y@z"},
        {"a://u:1/secret@h", "a://u:***@h"}, /* somebody forgot to encode it */
        {"a://u:1?secret=@h", "a://u:***@h"},
    };
    struct url url;
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        parse(&url, urls[i][0]);
        assert_string_equal(url.parts.text, urls[i][1]);
        assert_string_equal(url.parts.raw, urls[i][0]);
        url_free(&url);
    }
    must_be(BCAST_ERR_URL, url_parse(&url, "a://u:secret@h:port"));
    assert_null(strstr(bcast_error_text(), "secret"));
    assert_non_null(strstr(bcast_error_text(), "port"));
    must_be(BCAST_ERR_URL, url_parse(&url, "a://u:se/secret@h"));
    assert_null(strstr(bcast_error_text(), "secret"));
    must_be(BCAST_ERR_URL, url_parse(&url, "a:u:secret@h"));
    assert_null(strstr(bcast_error_text(), "secret"));
}

static void malformed(void **state)
{
    static const char *const urls[] = {
        "",          "memory",   "://x",     "memory:/x",  "a b://x",   "a://h:0",     "a://h:65536",
        "a://h:",    "a://h:1x", "a://[::1", "a://[::1]x", "a://%",     "a://%0",      "a://%00",
        "a://h/%zz", "a://h?x",  "a://h?=1", "a://h?a=%",  "a://%zz@h", "a://u:%zz@h", "a://h:-1"};
    struct url url;
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        must_be(BCAST_ERR_URL, url_parse(&url, urls[i]));
        assert_non_null(strstr(bcast_error_text(), ": ")); /* what is wrong: and what to do */
    }
}

static void unknown_params(void **state)
{
    static const char *const known[] = {"depth", "history", NULL}, *const any[] = {"own", "*", NULL};
    struct url url;
    (void)state;
    parse(&url, "a://h?depth=1&hsitory=2");
    must_be(BCAST_ERR_URL, url_check_params(&url.parts, known));
    assert_non_null(strstr(bcast_error_text(), "hsitory"));
    must_be(BCAST_ERR_URL, url_check_params(&url.parts, NULL));
    url_free(&url);
    parse(&url, "a://h?depth=1&history=2");
    must(url_check_params(&url.parts, known));
    must(url_check_params(&url.parts, any));
    url_free(&url);
}

/* Parameters that are secrets are not shown, wherever they are. */
static void secrets_in_parameters(void **state)
{
    static const char *const table[][2] = {
        {"k://h?a.password=hidden&b=1", "k://h?a.password=***&b=1"},
        {"k://h?b=1&client.secret=hidden", "k://h?b=1&client.secret=***"},
        {"k://h?password=ab&secret=&c=2", "k://h?password=**&secret=&c=2"},
        {"k://h?p%61ssword=hidden&", "k://h?p%61ssword=***&"},
        {"k://u:hidden@h?passwords=seen", "k://u:***@h?passwords=***"},
        {"k://h?pass=1&word=password", "k://h?pass=1&word=password"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct url url;
        must(url_parse(&url, table[i][0]));
        assert_string_equal(url.parts.text, table[i][1]);
        url_free(&url);
    }
}

static void parameters_by_prefix(void **state)
{
    static const char *const known[] = {"a", "k.*", NULL};
    static const char *const good[] = {"k://h?a=1&k.x=2", "k://h?k.x.y=2"}, *const bad[] = {"k://h?k.=1", "k://h?kx=1"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct url url;
        must(url_parse(&url, i < 2 ? good[i] : bad[i - 2]));
        must_be(i < 2 ? BCAST_OK : BCAST_ERR_URL, url_check_params(&url.parts, known));
        url_free(&url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_in_parameters), cmocka_unit_test(parameters_by_prefix), cmocka_unit_test(whole_url),
        cmocka_unit_test(absent_parts),          cmocka_unit_test(passwords_are_hidden), cmocka_unit_test(malformed),
        cmocka_unit_test(unknown_params),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
