/* SPDX-License-Identifier: MIT */
/*
 * The allocator that fails, and the calls that are refused, in the table of sys.h.
 */
#include "scarce.h"
#include <errno.h>

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

#pragma GCC diagnostic ignored "-Wunused-parameter"

int refused_errno;

#define REFUSED(type, call, ...)    \
    type refuse_##call(__VA_ARGS__) \
    {                               \
        errno = refused_errno;      \
        return -1;                  \
    }

REFUSED(int, ofd_lock, int fd, int cmd, struct flock *lock)
REFUSED(int, open, const char *path, int flags, mode_t mode)
REFUSED(ssize_t, pwrite, int fd, const void *buf, size_t size, off_t offset)
REFUSED(ssize_t, recv, int fd, void *buf, size_t size, int flags)
REFUSED(ssize_t, sendmsg, int fd, const struct msghdr *msg, int flags)
REFUSED(int, socket, int domain, int type, int protocol)
