/* Which broadcasts share their channels: those of one name in this process. Knows registry. */
#ifndef SHARED_H
#define SHARED_H

#include "registry.h"

/* The registry of that name, made if need be; a new one for "". BCAST_OK or BCAST_ERR_NOMEM. */
int shared_join(const char *name, size_t keep_limit, struct registry **out);
void shared_leave(struct registry *registry);

#endif
