/* SIGINT and SIGTERM as a wish to end a subscription. A thread waits for them: no handler, nothing is interrupted. */
#ifndef STOP_H
#define STOP_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>

/* From now on, in this thread and in those it starts, the two signals end the program only through stop_watch: while
 * there is nothing to watch, or when they come a second time, at once. false: no thread could be had. */
bool stop_begin(void);
/* What the first signal cancels; NULL: nothing. `context` is not used. */
void stop_watch(void *context, struct bcast_sub *sub);
void stop_end(void);

#endif
