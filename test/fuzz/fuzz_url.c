/* URLs: whatever is accepted is well-formed, and nobody is ever shown a password. */
#define _GNU_SOURCE
#include "fuzz.h"

#include "url.h"

#define SECRET "XyZZy42Q"

static bool decoded(const char *text, const char *end)
{
    return text == NULL || (text < end && memchr(text, '\0', (size_t)(end - text)) != NULL);
}

static void check_parts(const struct url *url, const char *text)
{
    const struct bcast_url *parts = &url->parts;
    const char *end = url->memory + 3 * (strlen(text) + 1);
    CHECK(strcmp(parts->raw, text) == 0, "raw is '%s'", parts->raw);
    CHECK(parts->scheme != NULL && *parts->scheme != '\0' && decoded(parts->scheme, end), "scheme");
    CHECK(strspn(parts->scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == strlen(parts->scheme), "scheme '%s'",
          parts->scheme);
    CHECK(decoded(parts->user, end) && decoded(parts->password, end) && decoded(parts->path, end), "no end");
    CHECK(parts->password == NULL || parts->user != NULL, "a password without a user");
    for (size_t i = 0; i < parts->host_count; i++)
        CHECK(decoded(parts->hosts[i].name, end) && parts->hosts[i].name != NULL && parts->hosts[i].port <= 65535,
              "host %zu, port %u", i, parts->hosts[i].port);
    for (size_t i = 0; i < parts->param_count; i++)
        CHECK(decoded(parts->params[i].name, end) && *parts->params[i].name != '\0' && parts->params[i].value != NULL &&
                  decoded(parts->params[i].value, end),
              "parameter %zu", i);
}

static void check_params(const struct bcast_url *url)
{
    static const char *const known[] = {"history", "history_bytes", NULL};
    bool good = true;
    for (size_t i = 0; i < url->param_count; i++)
        good = good && (strcmp(url->params[i].name, known[0]) == 0 || strcmp(url->params[i].name, known[1]) == 0);
    CHECK((url_check_params(url, known) == BCAST_OK) == good, "parameters of %s", url->text);
    CHECK((url_check_params(url, NULL) == BCAST_OK) == (url->param_count == 0), "parameters of %s", url->text);
}

/* Only memory:// is opened: nothing leaves the process. */
static int open_memory(const char *text)
{
    struct bcast *b = NULL;
    int status = bcast_open(text, NULL, &b);
    CHECK((status == BCAST_OK) == (b != NULL), "status %d", status);
    if (b != NULL)
        CHECK(bcast_publish(b, "c", "x", 1) == BCAST_OK, "publish");
    bcast_close(b);
    return status;
}

static int try(const char *text)
{
    struct url url;
    int status = url_parse(&url, text);
    CHECK(status == BCAST_OK || status == BCAST_ERR_URL, "status %d", status);
    if (status == BCAST_ERR_URL) {
        CHECK(*bcast_error_text() != '\0' && url.memory == NULL, "nothing is said of '%s'", text);
        return status;
    }
    check_parts(&url, text);
    check_params(&url.parts);
    if (strcmp(url.parts.scheme, "memory") == 0)
        open_memory(text);
    url_free(&url);
    return status;
}

/* Puts a secret where a password stands, or was meant to stand by somebody who forgot to encode it: between the first
 * ':' of the authority and the last '@'. Nothing that is shown may have it. */
static void try_secret(const char *text, unsigned where)
{
    const char *scheme = strstr(text, "://"), *authority = scheme != NULL ? scheme + 3 : text;
    const char *from = memchr(authority, ':', scheme != NULL ? strcspn(authority, "/?") : strlen(authority));
    const char *to = strrchr(text, '@');
    bool there = strstr(text, SECRET) != NULL; /* libFuzzer learns what it is compared with */
    if (there || from == NULL || to == NULL || to < from + 1)
        return;
    from += 1 + where % (size_t)(to - from);
    char *with = malloc(strlen(text) + sizeof SECRET);
    CHECK(with != NULL, "out of memory");
    sprintf(with, "%.*s%s%s", (int)(from - text), text, SECRET, from);
    struct url url;
    if (url_parse(&url, with) == BCAST_OK) {
        CHECK(strstr(url.parts.text, SECRET) == NULL, "shown: %s", url.parts.text);
        bool parameter = strchr(with, '?') != NULL; /* those are named in complaints */
        if (!parameter && strcmp(url.parts.scheme, "memory") == 0 && open_memory(with) != BCAST_OK)
            CHECK(strstr(bcast_error_text(), SECRET) == NULL, "shown");
        url_free(&url);
    } else {
        CHECK(strstr(bcast_error_text(), SECRET) == NULL, "shown");
    }
    free(with);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    unsigned where = input_byte(&in);
    char *text = input_copy(in.at, input_left(&in)), *memory = malloc(strlen(text) + 16);
    CHECK(memory != NULL, "out of memory");
    try(text);
    try_secret(text, where);
    sprintf(memory, "memory://%s", text); /* so that its parameters are met often */
    try(memory);
    free(memory);
    free(text);
    return 0;
}
