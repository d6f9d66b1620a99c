/* A backend in a module of its own, as those with a client library are. */
#include <broadcaster/backend.h>

static const char *const schemes[] = {"module", 0};

static int module_open(const struct bcast_backend_setup *setup, struct bcast_sink *sink, void **self)
{
    (void)setup, (void)sink;
    *self = 0;
    return BCAST_OK;
}

static void module_close(void *self)
{
    (void)self;
}

static void module_capabilities(void *self, struct bcast_capabilities *out)
{
    (void)self;
    out->can = BCAST_CAN_BINARY;
}

static void module_local(void *self, struct bcast_local *out)
{
    (void)self, (void)out;
}

extern const struct bcast_backend bcast_backend_module;
const struct bcast_backend bcast_backend_module = {
    .struct_size = sizeof(struct bcast_backend),
    .version = BCAST_BACKEND_VERSION,
    .name = "module",
    .schemes = schemes,
    .open = module_open,
    .close = module_close,
    .capabilities = module_capabilities,
    .local = module_local,
};
