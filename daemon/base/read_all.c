/* SPDX-License-Identifier: MIT */
/*
 * Reading a small file whole: configuration and certificates. One byte more than the limit is asked
 * for, so that a file that is too large is told from one that just fits.
 */
#include "base/read_all.h"
#include "base/sys.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Most files are smaller. */
#define FIRST_ROOM 4096u

static int grow(uint8_t **data, size_t *room, size_t most)
{
    size_t more = *room < most / 2 ? 2 * *room : most;
    uint8_t *copy = sys.alloc(more);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, *data, *room);
    sys.free(*data);
    *data = copy;
    *room = more;
    return 0;
}

int read_all(int fd, size_t max, uint8_t **ret, size_t *ret_size)
{
    size_t used = 0, room = max < FIRST_ROOM ? max + 1 : FIRST_ROOM;
    uint8_t *data = sys.alloc(room);
    int r = data ? 0 : -ENOMEM;

    while (r == 0) {
        ssize_t n = read(fd, data + used, room - used);
        if (n == 0)
            break;
        if (n < 0)
            r = errno == EINTR ? 0 : -errno;
        else
            used += (size_t)n;
        if (used > max)
            r = -EFBIG;
        else if (r == 0 && used == room)
            r = grow(&data, &room, max + 1);
    }
    if (r < 0) {
        sys.free(data);
        return r;
    }
    *ret = data;
    *ret_size = used;
    return 0;
}
