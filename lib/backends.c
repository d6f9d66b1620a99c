#define _POSIX_C_SOURCE 200809L
#include "backends.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "backends_config.h" /* made by the build: BACKENDS_BUILT_IN(entry), BACKENDS_MODULES(entry) */
#include "base/error.h"

#define DECLARE(symbol) extern const struct bcast_backend symbol;
#define ADDRESS(symbol) &symbol,
BACKENDS_BUILT_IN(DECLARE)
static const struct bcast_backend *const built_in[] = {BACKENDS_BUILT_IN(ADDRESS) NULL};

/* Backends that bring a client library with them are shared objects of their own, loaded when first asked for. */
struct module {
    const char *scheme, *path, *symbol, *package;
};
#define ENTRY(scheme, path, symbol, package) {scheme, path, symbol, package},
static const struct module modules[] = {BACKENDS_MODULES(ENTRY){NULL, NULL, NULL, NULL}};

static bool speaks(const struct bcast_backend *backend, const char *scheme)
{
    for (const char *const *s = backend->schemes; s != NULL && *s != NULL; s++)
        if (strcmp(*s, scheme) == 0)
            return true;
    return false;
}

static const struct bcast_backend *search(const struct bcast_backend *const *list, const char *scheme)
{
    for (; list != NULL && *list != NULL; list++)
        if (speaks(*list, scheme))
            return *list;
    return NULL;
}

static int load(const struct module *module, const struct bcast_backend **out)
{
    /* Never closed: the backend's code must outlive every thread that may still be in it. */
    void *library = dlopen(module->path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return error_set(BCAST_ERR_MODULE, "%s:// needs a module that does not load (%s): install %s", module->scheme,
                         dlerror(), module->package);
    *out = dlsym(library, module->symbol);
    return *out != NULL ? BCAST_OK
                        : error_set(BCAST_ERR_MODULE, "%s is not what %s:// needs: reinstall %s", module->path,
                                    module->scheme, module->package);
}

int backends_find(const char *scheme, const struct bcast_backend *const *own, const struct bcast_backend **out)
{
    *out = search(own, scheme);
    if (*out == NULL)
        *out = search(built_in, scheme);
    if (*out != NULL)
        return BCAST_OK;
    for (const struct module *module = modules; module->scheme != NULL; module++)
        if (strcmp(module->scheme, scheme) == 0)
            return load(module, out);
    return error_set(BCAST_ERR_SCHEME,
                     "no backend for %s://: this build has memory://; others come by the build's "
                     "options or by options.backends",
                     scheme);
}
