/* memory:// — no wire at all: the library hands messages from publisher to subscriber itself. */
#include "broadcaster/backend.h"

#include <stdio.h>

static int memory_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    (void)sink;
    const struct bcast_url *url = setup->url;
    const char *name = "";
    if (url != NULL && (url->host_count > 1 || (url->host_count == 1 && url->hosts[0].port != 0) || url->user != NULL ||
                        (url->path != NULL && *url->path != '\0'))) {
        snprintf(setup->error, setup->error_size, "write memory://, or memory://name to share channels by name");
        return BCAST_ERR_URL;
    }
    if (url != NULL && url->host_count == 1)
        name = url->hosts[0].name;
    *self = (void *)(uintptr_t)name; /* the URL's, which outlives us; nothing else is needed */
    return BCAST_OK;
}

static const char *memory_local(void *self)
{
    return self;
}

static void memory_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_BLOCK | BCAST_CAN_KEYS | BCAST_CAN_HEADERS | BCAST_CAN_BINARY | BCAST_CAN_CONFIRM;
    out->max_channel_bytes = 4096;
}

static const char *const schemes[] = {"memory", NULL};

const struct bcast_backend bcast_backend_memory = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "memory",
    .schemes = schemes,
    .open = memory_open,
    .capabilities = memory_capabilities,
    .local = memory_local,
};
