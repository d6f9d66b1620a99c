/* A table of names that are a stranger's choice: for finding the topic of what arrives. One thread's. Knows base. */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name {         /* first in whatever is looked up by it */
    const char *text; /* borrowed */
    size_t size;
    uint64_t hash;
    struct name *next; /* of the same list */
};

struct names {
    struct name **lists; /* mask + 1 of them, once there is a name */
    size_t mask, count;
    size_t empty;      /* nothing is in the lists before this one */
    struct name *last; /* that was found; NULL: none. It is often the next one, too */
    uint64_t secret[2];
};

void names_init(struct names *names);
void names_fini(struct names *names); /* what is in it is the caller's */
struct name *names_find(struct names *names, const char *text, size_t size);
/* `text` and `size` are set; nothing of that name is in it. False: no memory. */
bool names_add(struct names *names, struct name *name);
void names_remove(struct names *names, struct name *name);
struct name *names_any(struct names *names); /* NULL: it is empty */

#endif
