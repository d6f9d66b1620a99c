#include "kafka_conf.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/param.h"

#define PORT 9092

/* ------------------------------------------------------------------------------------------------------ the names -- */

const char *kafka_name_refused(const char *name, size_t size)
{
    if (size == 0)
        return "a topic's name must not be empty";
    if (size > KAFKA_NAME_MOST)
        return "a topic's name has at most 249 characters";
    if (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')))
        return "a topic cannot be called '.' or '..'";
    for (size_t i = 0; i < size; i++) {
        char c = name[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return "a topic's name is made of A-Z, a-z, 0-9, '.', '_' and '-'";
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------- one setting -- */

struct making {
    const struct bcast_backend_setup *setup;
    rd_kafka_conf_t *settings;
    int status;
};

/* What librdkafka says names the setting, and may quote the value: not where that is a secret. */
static void set_as(struct making *making, const char *shown, const char *name, const char *value)
{
    char why[200] = "";
    if (value == NULL || making->status != BCAST_OK)
        return;
    if (rd_kafka_conf_set(making->settings, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return;
    bool secret = strstr(name, "password") != NULL || strstr(name, "secret") != NULL || strstr(name, ".pem") != NULL;
    snprintf(making->setup->error, making->setup->error_size, "%s: %s", shown, secret ? "is not accepted" : why);
    making->status = BCAST_ERR_URL;
}

static void set(struct making *making, const char *name, const char *value)
{
    set_as(making, name, name, value);
}

static void refuse(struct making *making, const char *text)
{
    if (making->status == BCAST_OK)
        snprintf(making->setup->error, making->setup->error_size, "%s", text);
    making->status = BCAST_ERR_URL;
}

/* ------------------------------------------------------------------------------------------------- parts of the URL -- */

/* What we want otherwise than librdkafka; a parameter kafka.* has the last word. */
static void set_defaults(struct making *making)
{
    static const char *const table[][2] = {
        {"client.id", "broadcaster"},
        {"enable.idempotence", "true"},
        {"linger.ms", "0"}, /* what has gathered while the last request was made goes out at once */
        {"queue.buffering.max.kbytes", "65536"},
        {"queued.max.messages.kbytes", "16384"}, /* of each partition, read ahead */
        {"fetch.wait.max.ms", "50"},             /* for a channel that is added has to wait so long */
        {"fetch.error.backoff.ms", "100"},
        {"reconnect.backoff.ms", "50"},
        {"reconnect.backoff.max.ms", "1000"},
        {"socket.timeout.ms", "15000"},
        {"socket.keepalive.enable", "true"},
        {"log.connection.close", "false"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        set(making, table[i][0], table[i][1]);
}

static void set_hosts(struct making *making)
{
    const struct bcast_url *url = making->setup->url;
    size_t size = 1, used = 0;
    for (size_t i = 0; i < url->host_count; i++)
        size += strlen(url->hosts[i].name) + 16;
    char *list = memory_get(size);
    if (list == NULL) {
        making->status = BCAST_ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < url->host_count; i++) {
        const struct bcast_host *host = &url->hosts[i];
        bool six = strchr(host->name, ':') != NULL;
        used += (size_t)snprintf(list + used, size - used, "%s%s%s%s:%u", i == 0 ? "" : ",", six ? "[" : "", host->name,
                                 six ? "]" : "", host->port != 0 ? host->port : PORT);
    }
    set(making, "bootstrap.servers", list);
    memory_put(list);
}

static void set_tls(struct making *making)
{
    const struct bcast_url *url = making->setup->url;
    const char *verify = param_text(url, "tls_verify"), *certificate = param_text(url, "tls_cert");
    const char *key = param_text(url, "tls_key");
    set_as(making, "tls_ca", "ssl.ca.location", param_text(url, "tls_ca"));
    set_as(making, "tls_cert", "ssl.certificate.location", certificate);
    set_as(making, "tls_key", "ssl.key.location", key != NULL ? key : certificate);
    set(making, "ssl.endpoint.identification.algorithm", "https");
    if (verify != NULL && strcmp(verify, "none") == 0)
        set(making, "enable.ssl.certificate.verification", "false");
    else if (verify != NULL && strcmp(verify, "full") != 0)
        refuse(making, "tls_verify is \"full\" (the default) or \"none\"");
}

static void set_sasl(struct making *making)
{
    static const char *const mechanisms[][2] = {
        {"plain", "PLAIN"}, {"scram-sha-256", "SCRAM-SHA-256"}, {"scram-sha-512", "SCRAM-SHA-512"}};
    const struct bcast_url *url = making->setup->url;
    const char *wanted = param_text(url, "sasl"), *mechanism = NULL;
    for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
        if (strcmp(wanted != NULL ? wanted : "plain", mechanisms[i][0]) == 0)
            mechanism = mechanisms[i][1];
    if (mechanism == NULL)
        refuse(making, "sasl is \"plain\" (the default), \"scram-sha-256\" or \"scram-sha-512\"");
    else if (url->user == NULL || url->user[0] == '\0' || url->password == NULL)
        refuse(making, "user and password belong together, and to sasl: kafka://user:password@host");
    set(making, "sasl.mechanisms", mechanism);
    set(making, "sasl.username", url->user);
    set(making, "sasl.password", url->password);
}

static void set_protocol(struct making *making)
{
    const struct bcast_url *url = making->setup->url;
    bool tls = strcmp(url->scheme, "kafkas") == 0;
    bool sasl = url->user != NULL || url->password != NULL || param_text(url, "sasl") != NULL;
    set(making, "security.protocol", tls ? sasl ? "sasl_ssl" : "ssl" : sasl ? "sasl_plaintext" : "plaintext");
    if (tls)
        set_tls(making);
    else if (param_text(url, "tls_ca") != NULL || param_text(url, "tls_cert") != NULL ||
             param_text(url, "tls_key") != NULL || param_text(url, "tls_verify") != NULL)
        refuse(making, "tls_ca, tls_cert, tls_key and tls_verify belong to kafkas://");
    if (sasl)
        set_sasl(making);
}

/* Settings that would make another thing of it than what is promised. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "group.instance.id",
        "auto.offset.reset",
        "transactional.id",
        "enable.auto.commit",
        "auto.commit.enable",
        "offset.store.method",
        "enable.partition.eof",
        "delivery.report.only.error",
        "allow.auto.create.topics",
        "log.queue",
    };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static void set_given(struct making *making)
{
    char text[200];
    const struct bcast_url *url = making->setup->url;
    set_as(making, "compression", "compression.codec", param_text(url, "compression"));
    for (size_t i = 0; i < url->param_count; i++) {
        const char *name = url->params[i].name;
        if (strncmp(name, "kafka.", 6) != 0)
            continue;
        if (is_ours(name + 6)) {
            snprintf(text, sizeof text, "%.100s cannot be set: the library relies on it", name);
            refuse(making, text);
        }
        set_as(making, name, name + 6, url->params[i].value);
    }
}

static int read_times(const struct bcast_backend_setup *setup, struct kafka_conf *out)
{
    out->connect_ms = out->create_ms = 10000;
    out->outage_ms = 250;
    out->metadata_ms = 10000;
    int status = param_number(setup, "connect_timeout_ms", 1, 3600000, &out->connect_ms);
    if (status == BCAST_OK)
        status = param_number(setup, "outage_ms", 1, 3600000, &out->outage_ms);
    if (status == BCAST_OK)
        status = param_number(setup, "metadata_ms", 10, 3600000, &out->metadata_ms);
    if (status == BCAST_OK)
        status = param_number(setup, "create_timeout_ms", 1, 3600000, &out->create_ms);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- all of it -- */

static size_t most_bytes(const rd_kafka_conf_t *settings)
{
    char text[32] = "";
    size_t size = sizeof text;
    size_t most =
        rd_kafka_conf_get(settings, "message.max.bytes", text, &size) == RD_KAFKA_CONF_OK ? strtoul(text, NULL, 10) : 0;
    return most > KAFKA_MESSAGE_ROOM ? most - KAFKA_MESSAGE_ROOM : most;
}

int kafka_conf_open(const struct bcast_backend_setup *setup, struct kafka_conf *out)
{
    char create[24];
    struct making making = {setup, rd_kafka_conf_new(), BCAST_OK};
    making.status = read_times(setup, out);
    snprintf(create, sizeof create, "%llu", (unsigned long long)out->create_ms);
    if (setup->url->path != NULL && setup->url->path[0] != '\0')
        refuse(&making, "kafka://host:port has no path");
    set_defaults(&making);
    set(&making, "topic.metadata.propagation.max.ms", create);
    set_hosts(&making);
    set_protocol(&making);
    set_given(&making);
    /* What follows is how it works: nobody else's to decide. */
    set(&making, "auto.offset.reset", "error"); /* to be told that messages are gone */
    set(&making, "log.queue", "true");
    set(&making, "enable.auto.commit", "false");
    set(&making, "enable.auto.offset.store", "false");
    if (making.status != BCAST_OK) {
        rd_kafka_conf_destroy(making.settings);
        return making.status;
    }
    out->settings = making.settings;
    out->most_bytes = most_bytes(out->settings);
    return BCAST_OK;
}

void kafka_conf_close(struct kafka_conf *conf)
{
    if (conf->settings != NULL)
        rd_kafka_conf_destroy(conf->settings);
    conf->settings = NULL;
}
