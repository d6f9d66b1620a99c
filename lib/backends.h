/* Finds the backend for a scheme: the caller's own, those built in, those installed as modules. */
#ifndef BACKENDS_H
#define BACKENDS_H

#include "broadcaster/backend.h"

int backends_find(const char *scheme, const struct bcast_backend *const *own, const struct bcast_backend **out);

#endif
