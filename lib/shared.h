/* Which broadcasts share their channels: those of one name in this process. Knows registry. */
#ifndef SHARED_H
#define SHARED_H

#include "registry.h"

/* The registry of that name, made if need be; a new one for "". BCAST_OK, BCAST_ERR_NOMEM, or BCAST_ERR_URL if it keeps
 * another history than is asked for. */
int shared_join(const char *name, const struct registry_setup *setup, struct registry **out);
void shared_leave(struct registry *registry);

#endif
