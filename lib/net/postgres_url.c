#define _POSIX_C_SOURCE 200809L
#include "postgres_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/param.h"

#define PORT "5432"

static const char *const own_params[] = {"heartbeat_ms", "encoding", "tls_verify", NULL};

static int refuse(const struct bcast_backend_setup *setup, const char *format, const char *what)
{
    char text[200];
    snprintf(text, sizeof text, "%s", what);
    snprintf(setup->error, setup->error_size, format, text);
    return BCAST_ERR_URL;
}

static bool is_own(const char *name, size_t size)
{
    for (const char *const *own = own_params; *own != NULL; own++)
        if (strlen(*own) == size && memcmp(*own, name, size) == 0)
            return true;
    return false;
}

/* --------------------------------------------------------------------------------------------------- what libpq reads -- */

static int check_names(const struct bcast_backend_setup *setup)
{
    PQconninfoOption *all = PQconndefaults();
    int status = all != NULL ? BCAST_OK : BCAST_ERR_NOMEM;
    for (size_t i = 0; i < setup->url->param_count && status == BCAST_OK; i++) {
        const char *name = setup->url->params[i].name;
        bool known = is_own(name, strlen(name)) || strcmp(name, "ssl") == 0; /* "ssl" is JDBC's: ssl=true */
        for (const PQconninfoOption *option = all; option->keyword != NULL && !known; option++)
            known = strcmp(option->keyword, name) == 0;
        if (!known)
            status = refuse(setup, "postgres:// has no parameter '%s', nor has libpq", name);
    }
    PQconninfoFree(all);
    return status;
}

/* The URL without what is ours. Names are compared as they are written: encoded ones are nobody's. */
static char *without_own(const char *raw)
{
    size_t size = strlen(raw) + 1;
    char *text = memory_get(size), *to = text;
    const char *query = strchr(raw, '?');
    if (text == NULL || query == NULL)
        return text != NULL ? memcpy(text, raw, size) : NULL;
    memcpy(to, raw, (size_t)(query - raw));
    to += query - raw;
    char separator = '?';
    for (const char *at = query + 1; *at != '\0';) {
        size_t length = strcspn(at, "&");
        if (length != 0 && !is_own(at, strcspn(at, "=&"))) {
            *to++ = separator;
            memcpy(to, at, length);
            to += length;
            separator = '&';
        }
        at += length + (at[length] == '&');
    }
    *to = '\0';
    return text;
}

/* libpq's own complaints quote the URL, password and all: they are not shown. */
static int parse(const struct bcast_backend_setup *setup, struct postgres_url *url)
{
    char *why = NULL, *text = without_own(setup->url->raw);
    if (text == NULL)
        return BCAST_ERR_NOMEM;
    url->given = PQconninfoParse(text, &why);
    memory_put(text);
    PQfreemem(why);
    if (url->given != NULL)
        return BCAST_OK;
    return refuse(setup,
                  "libpq does not understand the URL %s: is everything special in it percent-encoded, and each "
                  "parameter what libpq expects?",
                  setup->url->text);
}

static const char *given(const struct postgres_url *url, const char *keyword)
{
    for (const PQconninfoOption *option = url->given; option->keyword != NULL; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val;
    return NULL;
}

static void set(struct postgres_url *url, const char *key, const char *value)
{
    size_t i = 0;
    while (i < url->count && strcmp(url->keys[i], key) != 0)
        i++;
    if (i == POSTGRES_OPTIONS)
        return;
    url->keys[i] = key;
    url->values[i] = value;
    url->count += i == url->count;
}

/* Unless the URL or the environment says something else. */
static void set_default(struct postgres_url *url, const char *key, const char *variable, const char *value)
{
    if (given(url, key) == NULL && (variable == NULL || getenv(variable) == NULL))
        set(url, key, value);
}

/* --------------------------------------------------------------------------------------------------------------- TLS -- */

/* libpq looks for authorities in the user's home only. */
static void use_system_authorities(struct postgres_url *url)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    char own[512];
    const char *home = getenv("HOME");
    snprintf(own, sizeof own, "%s/.postgresql/root.crt", home != NULL ? home : "");
    if (given(url, "sslrootcert") != NULL || getenv("PGSSLROOTCERT") != NULL || access(own, R_OK) == 0)
        return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (access(files[i], R_OK) == 0) {
            set(url, "sslrootcert", files[i]);
            return;
        }
}

/* "require" says that there shall be TLS, not how: so it is TLS with everything verified. */
static int read_tls(const struct bcast_backend_setup *setup, struct postgres_url *url)
{
    const char *mode = given(url, "sslmode"), *verify = param_text(setup->url, "tls_verify");
    bool bare = mode != NULL && strcmp(mode, "require") == 0;
    if (verify != NULL && strcmp(verify, "full") != 0 && strcmp(verify, "none") != 0)
        return refuse(setup, "tls_verify is \"full\" (the default) or \"none\", not \"%s\"", verify);
    if (verify != NULL && !bare)
        return refuse(setup, "tls_verify=%s says how to verify with sslmode=require; another sslmode says so itself",
                      verify);
    if (bare && (verify == NULL || strcmp(verify, "full") == 0))
        set(url, "sslmode", mode = "verify-full");
    if (mode != NULL && strncmp(mode, "verify-", 7) == 0)
        use_system_authorities(url);
    return BCAST_OK;
}

/* ------------------------------------------------------------------------------------------------------------- hosts -- */

/* What libpq would use, environment and service file included. It says so of a connection only; this one ends before it
 * has begun, as nothing has such attributes. */
static PQconninfoOption *effective(const struct postgres_url *url)
{
    const char *keys[POSTGRES_OPTIONS + 1], *values[POSTGRES_OPTIONS + 1];
    size_t count = 0;
    for (const PQconninfoOption *option = url->given; option->keyword != NULL && count < POSTGRES_OPTIONS; option++)
        if (option->val != NULL && strcmp(option->keyword, "target_session_attrs") != 0) {
            keys[count] = option->keyword;
            values[count++] = option->val;
        }
    keys[count] = "target_session_attrs";
    values[count++] = "?";
    keys[count] = NULL;
    PGconn *conn = PQconnectStartParams(keys, values, 0);
    PQconninfoOption *all = conn != NULL ? PQconninfo(conn) : NULL;
    PQfinish(conn);
    return all;
}

static const char *value_of(const PQconninfoOption *option, const char *keyword)
{
    for (; option->keyword != NULL; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val != NULL ? option->val : "";
    return "";
}

static size_t count_parts(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* The next part of a list; "" when there is none left. */
static char *next_part(char **rest)
{
    char *part = *rest, *comma = strchr(part, ',');
    if (comma != NULL)
        *comma = '\0';
    *rest = comma != NULL ? comma + 1 : part + strlen(part);
    return part;
}

static int read_hosts(const struct bcast_backend_setup *setup, struct postgres_url *url, const PQconninfoOption *all)
{
    const char *names = value_of(all, "host"), *addresses = value_of(all, "hostaddr"), *ports = value_of(all, "port");
    size_t count = count_parts(addresses[0] != '\0' ? addresses : names), port_count = count_parts(ports);
    if ((names[0] != '\0' && count_parts(names) != count) || (port_count != 1 && port_count != count))
        return refuse(setup, "the URL %s has not as many hosts as addresses or ports", setup->url->text);
    size_t name_size = strlen(names) + 1, address_size = strlen(addresses) + 1;
    url->memory = memory_get(name_size + address_size + strlen(ports) + 1);
    url->hosts = memory_get(count * sizeof *url->hosts);
    if (url->memory == NULL || url->hosts == NULL)
        return BCAST_ERR_NOMEM;
    char *name = strcpy(url->memory, names), *address = strcpy(name + name_size, addresses);
    char *port = strcpy(address + address_size, ports), *same = port_count == 1 ? port : NULL;
    for (size_t i = 0; i < count; i++) {
        struct postgres_host *host = &url->hosts[i];
        host->name = next_part(&name);
        host->address = next_part(&address);
        host->port = same != NULL ? same : next_part(&port);
        host->name = host->name[0] != '\0' ? host->name : NULL;
        host->address = host->address[0] != '\0' ? host->address : NULL;
        host->port = host->port[0] != '\0' ? host->port : PORT;
    }
    url->host_count = count;
    return BCAST_OK;
}

/* -------------------------------------------------------------------------------------------------------------- life -- */

static int read_numbers(const struct bcast_backend_setup *setup, struct postgres_url *url, const PQconninfoOption *all)
{
    const char *encoding = param_text(setup->url, "encoding");
    long seconds = strtol(value_of(all, "connect_timeout"), NULL, 10);
    url->connect_ms = seconds > 0 && seconds < 3600 ? (uint64_t)seconds * 1000 : 5000;
    url->heartbeat_ms = 5000;
    if (encoding != NULL && strcmp(encoding, "base64") != 0)
        return refuse(setup, "encoding is \"base64\" or not given, not \"%s\"", encoding);
    url->base64 = encoding != NULL;
    return param_number(setup, "heartbeat_ms", 0, 86400000, &url->heartbeat_ms);
}

static void fill(struct postgres_url *url)
{
    for (const PQconninfoOption *option = url->given; option->keyword != NULL; option++)
        if (option->val != NULL && strncmp(option->keyword, "host", 4) != 0 && strcmp(option->keyword, "port") != 0)
            set(url, option->keyword, option->val);
    /* Kerberos asks its servers while everything waits. */
    set_default(url, "gssencmode", "PGGSSENCMODE", "disable");
    /* LISTEN and NOTIFY are the primary's. */
    set_default(url, "target_session_attrs", "PGTARGETSESSIONATTRS",
                PQlibVersion() >= 140000 ? "primary" : "read-write");
    set_default(url, "client_encoding", NULL, "UTF8");
    set_default(url, "fallback_application_name", NULL, "broadcaster");
    const char *encoding = given(url, "client_encoding");
    url->utf8 = encoding == NULL || strcmp(encoding, "UTF8") == 0 || strcmp(encoding, "utf8") == 0 ||
                strcmp(encoding, "UTF-8") == 0 || strcmp(encoding, "utf-8") == 0;
}

static int read_url(const struct bcast_backend_setup *setup, struct postgres_url *url)
{
    int status = check_names(setup);
    if (status == BCAST_OK)
        status = parse(setup, url);
    if (status != BCAST_OK)
        return status;
    fill(url);
    PQconninfoOption *all = effective(url);
    if (all == NULL)
        return BCAST_ERR_NOMEM;
    status = read_numbers(setup, url, all);
    if (status == BCAST_OK)
        status = read_tls(setup, url);
    if (status == BCAST_OK)
        status = read_hosts(setup, url, all);
    PQconninfoFree(all);
    return status;
}

int postgres_url_open(const struct bcast_backend_setup *setup, struct postgres_url *url)
{
    *url = (struct postgres_url){.given = NULL};
    if (setup->url == NULL)
        return refuse(setup, "it wants a URL%s", ": use bcast_open");
    int status = read_url(setup, url);
    if (status != BCAST_OK)
        postgres_url_close(url);
    return status;
}

void postgres_url_close(struct postgres_url *url)
{
    PQconninfoFree(url->given);
    memory_put(url->hosts);
    memory_put(url->memory);
    *url = (struct postgres_url){.given = NULL};
}
