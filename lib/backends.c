#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "backends.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "backends_config.h" /* made by the build: BACKENDS_BUILT_IN(entry), BACKENDS_MODULES(entry) */
#include "base/error.h"
#include "base/thread.h"
#include "options.h"

#define DECLARE(symbol, schemes) extern const struct bcast_backend symbol;
#define ADDRESS(symbol, schemes) &symbol,
#define SCHEMES(symbol, schemes) schemes,
BACKENDS_BUILT_IN(DECLARE)
static const struct bcast_backend *const built_in[] = {BACKENDS_BUILT_IN(ADDRESS) NULL};
static const char *const built_in_schemes[] = {BACKENDS_BUILT_IN(SCHEMES) NULL};
#define BUILT_IN (sizeof built_in / sizeof *built_in - 1)

/* Backends that bring a client library with them are shared objects of their own, loaded when first asked for. */
struct module {
    const char *name, *schemes, *path, *symbol, *package; /* schemes: with a space between them */
};
#define ENTRY(name, schemes, path, symbol, package) {name, schemes, path, symbol, package},
static const struct module modules[] = {BACKENDS_MODULES(ENTRY){NULL, NULL, NULL, NULL, NULL}};
#define MODULES (sizeof modules / sizeof *modules - 1)

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

static bool serves(const struct module *module, const char *scheme)
{
    size_t size = strlen(scheme);
    for (const char *at = module->schemes; at != NULL; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, scheme, size) == 0 && (at[size] == ' ' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* A library that was moved as a whole finds its modules in `folder` beside it. NULL: not there. */
static void *open_beside(const struct module *module, const char *folder)
{
    char path[PATH_MAX];
    Dl_info self;
    if (dladdr((void *)(uintptr_t)&backends_check, &self) == 0 || self.dli_fname == NULL)
        return NULL;
    const char *slash = strrchr(self.dli_fname, '/');
    if (slash == NULL)
        return NULL;
    int size = snprintf(path, sizeof path, "%.*s%s%s", (int)(slash - self.dli_fname), self.dli_fname, folder,
                        strrchr(module->path, '/'));
    return size < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

/* Never closed: the backend's code must outlive every thread that may still be in it. */
static void *open_module(const struct module *module)
{
    int shield = thread_shield();
    void *library = open_beside(module, "/broadcaster"); /* installed */
    if (library == NULL)
        library = open_beside(module, ""); /* where they were built */
    if (library == NULL)
        library = dlopen(module->path, RTLD_NOW | RTLD_LOCAL);
    thread_unshield(shield);
    return library;
}

static int load(const struct module *module, const struct bcast_backend **out)
{
    void *library = open_module(module);
    if (library == NULL)
        return error_set(BCAST_ERR_MODULE, "%s:// needs a module that does not load (%s): install %s", module->name,
                         dlerror(), module->package);
    *out = dlsym(library, module->symbol);
    return *out != NULL ? BCAST_OK
                        : error_set(BCAST_ERR_MODULE, "%s is not what %s:// needs: reinstall %s", module->path,
                                    module->name, module->package);
}

int backends_find(const char *scheme, const struct bcast_backend *const *own, const struct bcast_backend **out)
{
    *out = search(own, scheme);
    if (*out == NULL)
        *out = search(built_in, scheme);
    if (*out != NULL)
        return BCAST_OK;
    for (const struct module *module = modules; module->name != NULL; module++) /* there may be none */
        if (serves(module, scheme))
            return load(module, out);
    return error_set(BCAST_ERR_SCHEME,
                     "no backend for %s://: this build has memory://; others come by the build's "
                     "options or by options.backends",
                     scheme);
}

/* ------------------------------------------------------------------------------------------------------- contract -- */

static bool usable(const struct bcast_backend *backend)
{
    return backend->struct_size >= offsetof(struct bcast_backend, local) + sizeof backend->local &&
           backend->version == BCAST_BACKEND_VERSION && backend->name != NULL && backend->open != NULL &&
           backend->capabilities != NULL &&
           (backend->local != NULL ||
            (backend->connect != NULL && backend->disconnect != NULL && backend->publish != NULL &&
             backend->subscribe != NULL && backend->unsubscribe != NULL));
}

int backends_check(const struct bcast_backend *backend)
{
    if (usable(backend))
        return BCAST_OK;
    if (backend->version != BCAST_BACKEND_VERSION)
        return error_set(BCAST_ERR_BACKEND,
                         "the backend was written for version %u of the contract, this library has "
                         "%u: recompile it",
                         backend->version, BCAST_BACKEND_VERSION);
    return error_set(BCAST_ERR_BACKEND, "the backend lacks its name or a call that the contract asks for");
}

/* -------------------------------------------------------------------------------------------------------- listing -- */

static void describe(const struct bcast_backend *backend, struct bcast_backend_info *out)
{
    struct bcast_capabilities most = bcast_capabilities_init();
    backend->capabilities(NULL, &most);
    out->can = most.can;
    out->max_message_bytes = most.max_message_bytes;
    out->max_channel_bytes = most.max_channel_bytes != 0 ? most.max_channel_bytes : BACKENDS_CHANNEL_BYTES;
}

static void describe_module(const struct module *module, struct bcast_backend_info *out)
{
    const struct bcast_backend *backend = NULL;
    out->name = module->name;
    out->schemes = module->schemes;
    out->package = module->package;
    out->state = BCAST_BACKEND_MISSING;
    if (load(module, &backend) != BCAST_OK || backends_check(backend) != BCAST_OK)
        return;
    out->state = BCAST_BACKEND_MODULE;
    describe(backend, out);
}

int bcast_backend_info(size_t index, struct bcast_backend_info *out)
{
    struct bcast_backend_info info = bcast_backend_info_init();
    if (out == NULL)
        return error_set(BCAST_ERR_INVALID, "bcast_backend_info wants to know where to put the answer");
    if (index >= BUILT_IN + MODULES)
        return error_set(BCAST_ERR_NOT_FOUND, "this library was built with %zu backends", BUILT_IN + MODULES);
    if (index >= BUILT_IN) {
        describe_module(&modules[index - BUILT_IN], &info);
    } else {
        info.name = built_in[index]->name;
        info.schemes = built_in_schemes[index];
        info.package = "";
        info.state = BCAST_BACKEND_BUILT_IN;
        describe(built_in[index], &info);
    }
    return options_return(out, &info, sizeof info, "struct bcast_backend_info");
}
