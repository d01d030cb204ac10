/* SPDX-License-Identifier: MIT */
/*
 * The allocator that fails, in the table of sys.h.
 */
#include "scarce.h"
#include "base/sys.h"

static long left; /* allocations until one fails; negative: none does */
static bool for_good, failed;

static void *scarce_alloc(size_t size)
{
    if (left != 0) {
        left -= left > 0;
        return sys_real.alloc(size);
    }
    failed = true;
    if (!for_good)
        left = -1;
    return NULL;
}

static void begin(long n, bool and_all_after)
{
    left = n;
    for_good = and_all_after;
    failed = false;
    sys.alloc = scarce_alloc;
}

void memory_fail(long n)
{
    begin(n, false);
}

void memory_fail_from(long n)
{
    begin(n, true);
}

void memory_back(void)
{
    sys.alloc = sys_real.alloc;
}

bool memory_failed(void)
{
    return failed;
}
