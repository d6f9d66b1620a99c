/* scheme://[user[:password]@][host[:port][,host[:port]…]][/path][?name=value[&…]], all of it percent-decoded. Knows base. */
#ifndef URL_H
#define URL_H

#include "broadcaster/backend.h"

struct url {
    struct bcast_url parts; /* points into `memory` and the two arrays */
    char *memory;
    struct bcast_host *hosts;
    struct bcast_param *params;
};

/* BCAST_OK, BCAST_ERR_URL with a text that names what is wrong and never shows the password, or BCAST_ERR_NOMEM. */
int url_parse(struct url *url, const char *text);
void url_free(struct url *url);

/* Refuses parameters that are not in `known` (NULL-terminated, or NULL for none; "prefix.*": all that begin so), by
 * name. */
int url_check_params(const struct bcast_url *url, const char *const *known);

#endif
