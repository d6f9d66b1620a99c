#ifndef BASE_PARAM_H
#define BASE_PARAM_H

#include "broadcaster/backend.h"

/* The value of a URL's parameter; NULL: it is not given. */
const char *param_text(const struct bcast_url *url, const char *name);

/* The same as a number from `least` to `most`; *out stays as it is where it is not given. BCAST_OK, or BCAST_ERR_URL with
 * a sentence in setup->error. */
int param_number(const struct bcast_backend_setup *setup, const char *name, uint64_t least, uint64_t most,
                 uint64_t *out);

#endif
