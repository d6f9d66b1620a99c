#include "base/param.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char *param_text(const struct bcast_url *url, const char *name)
{
    for (size_t i = 0; url != NULL && i < url->param_count; i++)
        if (strcmp(url->params[i].name, name) == 0)
            return url->params[i].value;
    return NULL;
}

int param_number(const struct bcast_backend_setup *setup, const char *name, uint64_t least, uint64_t most,
                 uint64_t *out)
{
    const char *text = param_text(setup->url, name);
    if (text == NULL)
        return BCAST_OK;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < least || value > most) {
        snprintf(setup->error, setup->error_size, "%s=%.40s: write a number from %llu to %llu", name, text,
                 (unsigned long long)least, (unsigned long long)most);
        return BCAST_ERR_URL;
    }
    *out = value;
    return BCAST_OK;
}
