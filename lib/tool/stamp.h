/* Points in time as people write them: ISO 8601, UTC. Everything is in microseconds since 1970. */
#ifndef STAMP_H
#define STAMP_H

#include <stdbool.h>
#include <stdint.h>

#define STAMP_BYTES 48 /* of a text, NUL included */

void stamp_write(char text[STAMP_BYTES], int64_t us); /* 2026-01-31T12:00:00.000000Z */
/* Reads that, or 2026-01-31, 2026-01-31T12:00:00Z, or seconds since 1970; either with a fraction. */
bool stamp_read(const char *text, int64_t *us);

#endif
