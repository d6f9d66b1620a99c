#include "url.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX in place. %00 is refused: what the parts are handed to ends strings at it. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
        if (low < 0 || (high | low) == 0)
            return false;
        *to++ = (char)(high << 4 | low);
        from += 2;
    }
    *to = '\0';
    return true;
}

/* Cuts `text` at the first `at`; returns what is behind it, or NULL. */
static char *cut(char *text, char at)
{
    char *found = strchr(text, at);
    if (found != NULL)
        *found++ = '\0';
    return found;
}

static int bad(const struct url *url, const char *what, const char *hint)
{
    return error_set(BCAST_ERR_URL, "%s in the URL %s: %s", what, url->parts.text, hint);
}

static int parse_scheme(struct url *url, char *text, char **rest)
{
    char *colon = strstr(text, "://");
    if (colon == NULL || colon == text)
        return bad(url, "no scheme", "write it like memory:// or redis://localhost");
    *colon = '\0';
    *rest = colon + 3;
    for (char *c = text; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '+' && *c != '.')
            return bad(url, "malformed scheme", "only letters, digits, '-', '+' and '.' may stand before ://");
        *c = (char)tolower((unsigned char)*c);
    }
    url->parts.scheme = text;
    return BCAST_OK;
}

static int parse_user(struct url *url, char **authority)
{
    char *at = strrchr(*authority, '@');
    if (at == NULL)
        return BCAST_OK;
    *at = '\0';
    char *user = *authority, *password = cut(user, ':');
    *authority = at + 1;
    if (!decode(user) || (password != NULL && !decode(password)))
        return bad(url, "malformed user or password", "write '%' as %25, '@' as %40, ':' as %3A, '/' as %2F");
    url->parts.user = user;
    url->parts.password = password;
    return BCAST_OK;
}

static int parse_port(struct url *url, struct bcast_host *host, const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || port == 0 || port > 65535)
        return bad(url, "malformed port", "a port is a number from 1 to 65535");
    host->port = (unsigned)port;
    return BCAST_OK;
}

static int parse_host(struct url *url, struct bcast_host *host, char *text)
{
    char *port = NULL;
    if (*text == '[') {
        char *close = strchr(text, ']');
        if (close == NULL || (close[1] != '\0' && close[1] != ':'))
            return bad(url, "malformed IPv6 address", "write it like [::1] or [::1]:6379");
        *close = '\0';
        port = close[1] == ':' ? close + 2 : NULL;
        text++;
    } else {
        port = cut(text, ':');
    }
    if (!decode(text))
        return bad(url, "malformed host", "'%' must be followed by two hexadecimal digits, and not by 00");
    host->name = text;
    return port == NULL ? BCAST_OK : parse_port(url, host, port);
}

static size_t count(const char *text, char what)
{
    size_t n = 1;
    for (; *text != '\0'; text++)
        n += *text == what;
    return n;
}

static int parse_hosts(struct url *url, char *text)
{
    if (*text == '\0')
        return BCAST_OK;
    url->hosts = memory_get(count(text, ',') * sizeof *url->hosts);
    if (url->hosts == NULL)
        return error_nomem();
    url->parts.hosts = url->hosts;
    for (char *next; text != NULL; text = next) {
        next = cut(text, ',');
        int status = parse_host(url, &url->hosts[url->parts.host_count++], text);
        if (status != BCAST_OK)
            return status;
    }
    return BCAST_OK;
}

static int parse_params(struct url *url, char *text)
{
    url->params = memory_get(count(text, '&') * sizeof *url->params);
    if (url->params == NULL)
        return error_nomem();
    url->parts.params = url->params;
    for (char *next; text != NULL; text = next) {
        next = cut(text, '&');
        if (*text == '\0')
            continue;
        char *value = cut(text, '=');
        if (value == NULL || *text == '\0' || !decode(text) || !decode(value))
            return bad(url, "malformed parameter", "write parameters like ?name=value&other=value");
        struct bcast_param *param = &url->params[url->parts.param_count++];
        param->name = text;
        param->value = value;
    }
    return BCAST_OK;
}

/* The URL as it may be shown: what is between the first ':' of the authority and the last '@' becomes ***. The last of
 * all: a password in which '/' or '?' was not encoded ends the authority too early, and the complaint about that shows
 * the URL. So does the complaint that there is no scheme. */
static void hide_password(char *text)
{
    char *scheme = strstr(text, "://"), *authority = scheme != NULL ? scheme + 3 : text;
    size_t length = scheme != NULL ? strcspn(authority, "/?") : strlen(authority);
    char *colon = memchr(authority, ':', length), *at = colon != NULL ? strrchr(colon, '@') : NULL;
    if (at == NULL)
        return;
    size_t rest = strlen(at) + 1;
    if (at - colon < 4) { /* too short to be replaced: take its end away, and the colon says there was one */
        memmove(colon + 1, at, rest);
        return;
    }
    memcpy(colon + 1, "***", 3);
    memmove(colon + 4, at, rest);
}

/* Whether a parameter's name says that its value is nobody's business, or hides what it says. */
static bool is_secret(const char *name, size_t size)
{
    static const char *const words[] = {"password", "secret"};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
        for (size_t i = 0; i + strlen(words[w]) <= size; i++)
            if (strncmp(name + i, words[w], strlen(words[w])) == 0)
                return true;
    return memchr(name, '%', size) != NULL;
}

/* Likewise the values of such parameters: *** for them, or fewer where they are shorter. */
static void hide_secrets(char *text)
{
    for (char *at = strchr(text, '?'); at != NULL && *at != '\0';) {
        char *name = at + 1, *end = name + strcspn(name, "&"), *value = memchr(name, '=', (size_t)(end - name));
        if (value != NULL && is_secret(name, (size_t)(value - name))) {
            size_t room = (size_t)(end - value) - 1, stars = room < 3 ? room : 3;
            memmove(value + 1 + stars, end, strlen(end) + 1);
            memcpy(value + 1, "***", stars);
            end = value + 1 + stars;
        }
        at = end;
    }
}

static int parse(struct url *url, char *text)
{
    char *authority = NULL, *path, *query;
    int status = parse_scheme(url, text, &authority);
    if (status != BCAST_OK)
        return status;
    query = cut(authority, '?');
    path = cut(authority, '/');
    if ((status = parse_user(url, &authority)) != BCAST_OK || (status = parse_hosts(url, authority)) != BCAST_OK)
        return status;
    if (path != NULL && !decode(path))
        return bad(url, "malformed path", "'%' must be followed by two hexadecimal digits, and not by 00");
    url->parts.path = path;
    return query == NULL ? BCAST_OK : parse_params(url, query);
}

int url_parse(struct url *url, const char *text)
{
    size_t size = strlen(text) + 1;
    memset(url, 0, sizeof *url);
    url->memory = memory_get(3 * size);
    if (url->memory == NULL)
        return error_nomem();
    char *raw = url->memory, *shown = raw + size, *work = shown + size;
    memcpy(raw, text, size);
    memcpy(shown, text, size);
    memcpy(work, text, size);
    hide_password(shown);
    hide_secrets(shown);
    url->parts.raw = raw;
    url->parts.text = shown;
    int status = parse(url, work);
    if (status != BCAST_OK)
        url_free(url);
    return status;
}

void url_free(struct url *url)
{
    memory_put(url->memory);
    memory_put(url->hosts);
    memory_put(url->params);
    memset(url, 0, sizeof *url);
}

/* "prefix.*" stands for every name that begins so, and goes on; "*" for every name. */
static bool is_prefixed(const char *name, const char *known)
{
    size_t size = strlen(known);
    return size > 0 && known[size - 1] == '*' && strncmp(name, known, size - 1) == 0 && name[size - 1] != '\0';
}

static bool is_known(const char *name, const char *const *known)
{
    for (; known != NULL && *known != NULL; known++)
        if (strcmp(name, *known) == 0 || is_prefixed(name, *known))
            return true;
    return false;
}

int url_check_params(const struct bcast_url *url, const char *const *known)
{
    for (size_t i = 0; i < url->param_count; i++)
        if (!is_known(url->params[i].name, known))
            return error_set(BCAST_ERR_URL, "%s:// has no parameter '%s'%s%s", url->scheme, url->params[i].name,
                             known != NULL && *known != NULL ? "; it has, among others, " : "; it has none",
                             known != NULL && *known != NULL ? *known : "");
    return BCAST_OK;
}
