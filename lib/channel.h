/* A channel: a name and its ring. Knows ring and base. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "ring.h"

struct registry;

struct channel {
    struct ring ring;
    _Atomic uint32_t references; /* 0: about to be removed from its registry; never rises again */
    uint32_t size;               /* of name, without its NUL */
    uint64_t hash;
    struct registry *registry;
    bool apart;  /* it is in no table */
    void *topic; /* the I/O thread's, see io_thread.c; NULL for memory:// */
    char name[]; /* with a NUL behind it */
};

#endif
