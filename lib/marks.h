/* Where somebody stands in a channel that its broker keeps: of each of its parts (partitions) the id of the last message
 * that was had. As a text it is a position, see backend.h. One lock for each; it is held while messages are handed out, so
 * that a position never is between a message and its mark. Knows base. */
#ifndef MARKS_H
#define MARKS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MARK_BYTES 48 /* of an id, its NUL counted */

struct mark {
    char id[MARK_BYTES];
    uint32_t part; /* so many bytes of it name the part, with the ':'; 0: the channel has no parts */
    bool doubtful; /* what comes next of this part may have been had already */
};

typedef int mark_order(const char *a, const char *b); /* of two ids of one part: which comes first */

struct marks {
    pthread_mutex_t mutex; /* of what follows */
    struct mark *all;
    size_t count, room, last; /* last: the one that was noted last */
    bool set;                 /* it stands anywhere yet */
    bool doubtful;            /* a part is */
    mark_order *order;        /* constant */
    _Atomic uint32_t references;
};

struct marks *marks_new(mark_order *order); /* with one reference; NULL: no memory */
struct marks *marks_ref(struct marks *marks);
void marks_unref(struct marks *marks); /* NULL is allowed */

/* With the mutex, like the next five. BCAST_OK, NOMEM, or INVALID: it is no list of ids. NOMEM leaves it as it was. */
int marks_set(struct marks *marks, const char *position);
int marks_note(struct marks *marks, const char *id);
/* Of every part, what comes next may have been had, or (false) not. */
void marks_doubt(struct marks *marks, bool doubtful);
/* Was that message had? If not, what follows in its part was not either. */
bool marks_has(struct marks *marks, const char *id);
/* Nothing that is behind the marks is in front of the position. */
bool marks_cover(struct marks *marks, const char *position);
/* Are these ids of the same part? Without the mutex. */
static inline bool marks_same_part(const char *a, const char *b)
{
    while (*a == *b && *a != ':' && *a != '\0')
        a++, b++;
    return *a == *b || (strchr(a, ':') == NULL && strchr(b, ':') == NULL);
}

/* As a position: its length; writes no more than `size` bytes, with the NUL. */
size_t marks_write(const struct marks *marks, char *buffer, size_t size);

/* The same in memory of its own, which the caller frees; NULL: no memory. Takes the mutex. */
char *marks_text(struct marks *marks);

#endif
