/* SPDX-License-Identifier: MIT */
/*
 * Reading a small file whole: configuration and certificates. One byte more than the limit is asked
 * for, so that a file that is too large is told from one that just fits.
 */
#include "read_all.h"
#include "sys.h"
#include <errno.h>
#include <unistd.h>

int read_all(int fd, size_t max, uint8_t **ret, size_t *ret_size)
{
    uint8_t *data = sys.alloc(max + 1);
    size_t used = 0;
    int r = data ? 0 : -ENOMEM;

    while (r == 0) {
        ssize_t n = read(fd, data + used, max + 1 - used);
        if (n == 0)
            break;
        if (n < 0)
            r = errno == EINTR ? 0 : -errno;
        else
            used += (size_t)n;
        if (used > max)
            r = -EFBIG;
    }
    if (r < 0) {
        sys.free(data);
        return r;
    }
    *ret = data;
    *ret_size = used;
    return 0;
}
