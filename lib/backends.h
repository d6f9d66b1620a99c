/* Finds the backend for a scheme: the caller's own, those built in, those installed as modules. */
#ifndef BACKENDS_H
#define BACKENDS_H

#include "broadcaster/backend.h"

#define BACKENDS_CHANNEL_BYTES 4096 /* of a channel's name, where a backend has no limit of its own */

int backends_find(const char *scheme, const struct bcast_backend *const *own, const struct bcast_backend **out);

/* Does it have what the contract asks for? BCAST_OK or BCAST_ERR_BACKEND, with its text. */
int backends_check(const struct bcast_backend *backend);

#endif
