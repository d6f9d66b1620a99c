/* Ids of stream entries, and what XINFO STREAM says. Knows redis. */
#ifndef NET_REDIS_ID_H
#define NET_REDIS_ID_H

#include "redis.h"

struct redis_id {
    uint64_t ms, seq;
};

#define REDIS_ID_BYTES 44 /* of its text, NUL included */

size_t redis_id_write(char text[REDIS_ID_BYTES], struct redis_id id); /* how long it is, without the NUL */
bool redis_id_read(const char *text, size_t size, struct redis_id *out);
static inline int redis_id_compare(struct redis_id a, struct redis_id b)
{
    return a.ms != b.ms ? (a.ms < b.ms ? -1 : 1) : a.seq != b.seq ? (a.seq < b.seq ? -1 : 1) : 0;
}

static inline bool redis_id_is_zero(struct redis_id id)
{
    return id.ms == 0 && id.seq == 0;
}

/* The smallest id behind `id`: false, there is none. The largest before it; of "0-0" that is itself. */
bool redis_id_next(struct redis_id id, struct redis_id *out);
struct redis_id redis_id_before(struct redis_id id);

/* Filled in element by element. */
struct redis_info {
    bool exists, counts; /* counts: the server knows how many entries were ever added (Redis 7) */
    uint64_t length, added;
    struct redis_id last;           /* the largest id there ever was */
    struct redis_id oldest, newest; /* of the entries there are, if `length` is not 0 */
    struct redis_id deleted;        /* the largest that was deleted by its id (Redis 7), not trimmed; "0-0": none */
    unsigned field;                 /* whose value comes next */
};

/* `depth`: of the reply itself. The reply begins with an array, or an error. */
void redis_info_take(struct redis_info *info, const struct redis_element *element, unsigned depth);
bool redis_info_is_none(const struct redis_element *error); /* it says that there is no such stream */

#endif
