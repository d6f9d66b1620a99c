/* See parrot.c. */
#ifndef PARROT_H
#define PARROT_H

#include <broadcaster/backend.h>

#include <stdbool.h>

extern const struct bcast_backend bcast_backend_parrot;

#endif
