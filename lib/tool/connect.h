/* Opens a broadcast for a command that wants to meet other processes on it. */
#ifndef CONNECT_H
#define CONNECT_H

#include <broadcaster/broadcaster.h>

/* TOOL_GOOD and the broadcast; or another exit code, said on stderr. What the library has to say later goes there too. */
int connect_open(const char *command, const char *url, struct bcast **out);

#endif
