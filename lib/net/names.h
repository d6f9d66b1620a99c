/* A table of names: bytes to whatever begins with a struct name. One thread's. Knows base. */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name { /* the first member of what is kept, whose memory is the caller's */
    const char *text;
    size_t size;
    struct name *next; /* of the same list */
    uint64_t hash;
};

struct names {
    struct name **table; /* NULL: nothing was ever added; else mask + 1 lists */
    size_t mask, count;
    size_t empty; /* so many lists, from the first on, have nothing in them, as far as names_take knows */
    uint64_t secret[2];
};

void names_init(struct names *names);
struct name *names_find(const struct names *names, const char *text, size_t size); /* NULL: there is none */
/* With text and size filled in, and no other of that name there. False: no memory. */
bool names_add(struct names *names, struct name *name);
void names_drop(struct names *names, struct name *name);
struct name *names_take(struct names *names); /* any one, dropped; NULL: it is empty */
void names_free(struct names *names);         /* the table, not what was in it */

#endif
