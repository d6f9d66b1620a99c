#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);      /* monotonic nanoseconds */
int64_t clock_wall_us(void); /* microseconds since 1970 */

/* The moment timeout_ms from now: OS_NEVER for BCAST_FOREVER and other negatives but BCAST_NOWAIT; the past for 0 and
 * BCAST_NOWAIT. */
int64_t clock_deadline(int timeout_ms);

#endif
