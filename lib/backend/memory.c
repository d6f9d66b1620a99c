/* memory:// — no wire at all: the library hands messages from publisher to subscriber itself. */
#include "broadcaster/backend.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/param.h"

struct memory {
    const char *name; /* the URL's, which outlives us */
    uint64_t history, history_bytes;
};

static int read_url(const struct bcast_backend_setup *setup, struct memory *m)
{
    const struct bcast_url *url = setup->url;
    if (url->host_count > 1 || (url->host_count == 1 && url->hosts[0].port != 0) || url->user != NULL ||
        (url->path != NULL && *url->path != '\0')) {
        snprintf(setup->error, setup->error_size, "write memory://, or memory://name to share channels by name");
        return BCAST_ERR_URL;
    }
    if (url->host_count == 1)
        m->name = url->hosts[0].name;
    int status = param_number(setup, "history", 1, 1000000000, &m->history);
    if (status == BCAST_OK)
        status = param_number(setup, "history_bytes", 1, UINT64_C(1) << 40, &m->history_bytes);
    if (status == BCAST_OK && m->history == 0 && m->history_bytes != 0) {
        snprintf(setup->error, setup->error_size, "history_bytes bounds what history=N keeps: give both");
        return BCAST_ERR_URL;
    }
    return status;
}

static int memory_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    (void)sink;
    struct memory *m = memory_get(sizeof *m);
    if (m == NULL)
        return BCAST_ERR_NOMEM;
    m->name = "";
    int status = setup->url != NULL ? read_url(setup, m) : BCAST_OK;
    if (status != BCAST_OK) {
        memory_put(m);
        return status;
    }
    *self = m;
    return BCAST_OK;
}

static void memory_close(void *self)
{
    memory_put(self);
}

static void memory_local(void *self, struct bcast_local *out)
{
    const struct memory *m = self;
    out->name = m->name;
    out->history = m->history;
    out->history_bytes = m->history_bytes;
}

static void memory_capabilities(void *self, struct bcast_capabilities *out)
{
    out->can = BCAST_CAN_BLOCK | BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM;
    if (self == NULL) /* of one that is open the library knows better: its name may have had a history before */
        out->can |= BCAST_CAN_HISTORY | BCAST_CAN_TIMESTAMPS;
    out->max_channel_bytes = 4096;
}

static const char *const schemes[] = {"memory", NULL};
static const char *const params[] = {"history", "history_bytes", NULL};

const struct bcast_backend bcast_backend_memory = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "memory",
    .schemes = schemes,
    .params = params,
    .open = memory_open,
    .close = memory_close,
    .capabilities = memory_capabilities,
    .local = memory_local,
};
