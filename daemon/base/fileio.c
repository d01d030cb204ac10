/* SPDX-License-Identifier: MIT */
/*
 * Reading asks for one byte more than the limit, to tell a file that is too large.
 */
#include "base/fileio.h"
#include "base/sys.h"
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE  4096u
#define FIRST_ROOM 4096u /* most files are smaller */

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

int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_size)
{
    struct stat st;
    int r = 0;
    int fd = sys.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (r == 0)
        r = read_all(fd, max, ret, ret_size);
    (void)close(fd);
    return r;
}

int folder_sync(const char *folder)
{
    int fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    int r = sys.fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return r;
}

static int write_new(const char *path, mode_t mode, const uint8_t *data, size_t size)
{
    int fd = sys.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    size_t done = 0;
    int r = 0;

    if (fd < 0)
        return -errno;
    while (r == 0 && done < size) {
        ssize_t n = sys.pwrite(fd, data + done, size - done, (off_t)done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            r = -EIO;
        else if (errno != EINTR)
            r = -errno;
    }
    if (r == 0 && sys.fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

int file_replace(const char *path, const char *temporary, mode_t mode, const void *data,
                 size_t size)
{
    char copy[PATH_SIZE];

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    int r = write_new(temporary, mode, data, size);
    if (r == 0 && sys.rename(temporary, path) < 0)
        r = -errno;
    if (r == 0)
        return folder_sync(dirname(copy));
    (void)sys.unlink(temporary);
    return r;
}
