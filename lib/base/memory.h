/* All of the library's own memory comes through here, so that tests can count it and make it fail (fault.h). */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define MEMORY_LINE 64 /* bytes that move between cores together */

void *memory_get(size_t size);       /* zeroed, aligned as a type of this size may need; or NULL */
void memory_put(void *memory);       /* NULL is allowed */
void *memory_get_block(size_t size); /* zeroed; large ones straight from the system */
void memory_put_block(void *block, size_t size);

#ifdef BCAST_TEST_HOOKS
#include <stdatomic.h>
#include <stdint.h>
struct memory_hooks {
    _Atomic uint64_t allocations; /* counted */
    /* Where the counters of new channels begin: to see them wrap. */
    _Atomic uint32_t first_number;
    _Atomic uint64_t first_sequence;
};
extern struct memory_hooks memory_hooks;
#endif

#endif
