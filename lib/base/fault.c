#include "base/fault.h"

#if defined(BCAST_TEST_HOOKS) && !defined(BCAST_MODEL)
struct fault_hooks fault_hooks;

bool fault_counted(enum fault_kind kind)
{
    (void)kind;
    uint64_t number = atomic_fetch_add(&fault_hooks.asked, 1) + 1;
    uint64_t first = atomic_load(&fault_hooks.first);
    if (number < first || number - first >= atomic_load(&fault_hooks.count))
        return false;
    atomic_fetch_add(&fault_hooks.failed, 1);
    return true;
}
#else
typedef int fault_none; /* a file of C has at least one declaration */
#endif
