#define _POSIX_C_SOURCE 200809L
#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/os.h"

#define FROM_SYSTEM (64u << 10) /* blocks this big never stay behind in the heap */

#ifdef BCAST_TEST_HOOKS
struct memory_hooks memory_hooks;

static bool allowed(void)
{
    atomic_fetch_add_explicit(&memory_hooks.allocations, 1, memory_order_relaxed);
    return !fault_strikes(FAULT_MEMORY);
}
#else
static bool allowed(void)
{
    return true;
}
#endif

void *memory_get(size_t size)
{
    void *memory = NULL;
    if (!allowed())
        return NULL;
    if (size % MEMORY_LINE != 0) /* the size of a type is a multiple of its alignment */
        return calloc(1, size);
    if (posix_memalign(&memory, MEMORY_LINE, size) != 0)
        return NULL;
    return memset(memory, 0, size);
}

void memory_put(void *memory)
{
    free(memory);
}

void *memory_get_block(size_t size)
{
    if (!allowed())
        return NULL;
    return size >= FROM_SYSTEM ? os_pages_get(size) : calloc(1, size);
}

void memory_put_block(void *block, size_t size)
{
    if (size >= FROM_SYSTEM)
        os_pages_put(block, size);
    else
        memory_put(block);
}
