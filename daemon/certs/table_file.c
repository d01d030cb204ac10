/* SPDX-License-Identifier: MIT */
/*
 * The file and its lock.
 *
 * The write lock covers every byte, so it excludes each VMM's lease byte, and whoever reads the
 * file under a lock as the kernel's documentation recommends. Locks are those of open file
 * descriptions (F_OFD_*): they end with the last descriptor and never by some other descriptor's
 * close().
 *
 * A reader without the lock, or one after a crash, must never take a mixture for a table. So the
 * first entry is zeroed before anything else is touched and written after all else: in between the
 * file is the empty table.
 */
#include "certs/table_file.h"
#include "base/sys.h"
#include "coco_limits.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int table_file_open(struct table_file *file, const struct table_file_options *options)
{
    struct stat st;

    *file = (struct table_file){.fd = -1};
    int fd = sys.open(options->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                      options->mode);
    if (fd < 0)
        return -errno;
    int r = 0;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = -EINVAL;
    /* The umask may have narrowed the mode; the file may be an older one. Who may open it for
     * writing could lock guests out, so the mode is made what the configuration says. */
    else if ((st.st_mode & 07777) != options->mode && fchmod(fd, options->mode) < 0)
        r = -errno;
    else if (options->group != (gid_t)-1 && st.st_gid != options->group &&
             fchown(fd, (uid_t)-1, options->group) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    if (getrandom(&file->next_session, sizeof(file->next_session), 0) < 0)
        file->next_session = 0;
    file->fd = fd;
    return 0;
}

void table_file_close(struct table_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

enum table_lock table_file_lock(struct table_file *file, uint64_t *ret_byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (sys.ofd_lock(file->fd, F_OFD_SETLK, &lock) == 0)
        return TABLE_LOCKED;
    if (errno != EAGAIN && errno != EACCES)
        return TABLE_LOCK_FAILED;
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (sys.ofd_lock(file->fd, F_OFD_GETLK, &lock) < 0)
        return TABLE_LOCK_FAILED;
    if (ret_byte)
        *ret_byte = (uint64_t)lock.l_start;
    /* F_UNLCK: whoever stood in the way has just left; the next try gets the lock. */
    return lock.l_type == F_WRLCK ? TABLE_UPDATER : TABLE_READERS;
}

void table_file_unlock(struct table_file *file)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    sys.ofd_lock(file->fd, F_OFD_SETLK, &lock);
}

/* A lock of somebody else's that a lock of that type in [start, end) would meet. */
static bool conflict(const struct table_file *file, short type, uint64_t start, uint64_t end,
                     struct table_holder *ret)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)start,
                         .l_len = end ? (off_t)(end - start) : 0};

    if (sys.ofd_lock(file->fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
        return false;
    *ret = (struct table_holder){.start = (uint64_t)lock.l_start,
                                 .length = (uint64_t)lock.l_len,
                                 .write = lock.l_type == F_WRLCK};
    return true;
}

bool table_file_holder(const struct table_file *file, uint64_t start, uint64_t end,
                       struct table_holder *ret)
{
    return conflict(file, F_WRLCK, start, end, ret);
}

bool table_file_taken(const struct table_file *file)
{
    struct table_holder holder;

    return conflict(file, F_WRLCK, 0, 0, &holder) && holder.write;
}

bool table_file_updater(const struct table_file *file)
{
    struct table_holder holder;

    if (!conflict(file, F_WRLCK, 0, 0, &holder))
        return false;
    /* A read lock meets write locks alone. */
    return holder.write || conflict(file, F_RDLCK, 0, 0, &holder);
}

static const uint8_t zeros[COCO_SNP_ENTRY_SIZE];

bool table_file_emptied(const struct table_file *file)
{
    uint8_t first[COCO_SNP_ENTRY_SIZE + TABLE_MARK_SIZE];
    ssize_t n = file->blind ? -1 : sys.pread(file->fd, first, sizeof(first), 0);

    if (n < 0 || (n >= (ssize_t)sizeof(zeros) && memcmp(first, zeros, sizeof(zeros)) != 0))
        return false;
    return !file->marked || n < (ssize_t)sizeof(first) ||
           memcmp(first + sizeof(zeros), file->mark, TABLE_MARK_SIZE) != 0;
}

static int write_at(int fd, const uint8_t *data, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t n = sys.pwrite(fd, data, size, offset);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (n == 0)
            return -EIO;
        data += n;
        size -= (size_t)n;
        offset += n;
    }
    return 0;
}

int table_file_mark(struct table_file *file)
{
    file->marked = file->blind = false;
    if (!table_file_emptied(file))
        return 0;
    int r = getrandom(file->mark, sizeof(file->mark), 0) < 0 ? -errno : 0;
    if (r == 0)
        r = write_at(file->fd, file->mark, sizeof(file->mark), sizeof(zeros));
    file->marked = r == 0;
    file->blind = r < 0;
    return r;
}

int table_file_write(struct table_file *file, const uint8_t *table, size_t size)
{
    if (size < sizeof(zeros))
        return -EINVAL;
    file->marked = file->blind = false;
    int r = write_at(file->fd, zeros, sizeof(zeros), 0);
    if (r < 0)
        return r;
    r = write_at(file->fd, table + sizeof(zeros), size - sizeof(zeros), sizeof(zeros));
    if (r < 0)
        return r;
    if (sys.ftruncate(file->fd, (off_t)size) < 0)
        return -errno;
    return write_at(file->fd, table, sizeof(zeros), 0);
}

bool table_file_is_named(const struct table_file *file, const char *path)
{
    struct stat own, named;

    return fstat(file->fd, &own) == 0 && lstat(path, &named) == 0 && own.st_dev == named.st_dev &&
           own.st_ino == named.st_ino;
}

int table_file_open_lease(struct table_file *file, uint64_t *ret_base)
{
    char path[64];
    uint32_t drawn;

    if (getrandom(&drawn, sizeof(drawn), 0) < 0)
        return -errno;
    /* By descriptor, not by name: the same inode whatever has become of the name. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
    int fd = sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* 1 MiB of table, then 26 bits that nobody guesses, 24 that no other session has, 12 of the
     * vCPU: below 2^63. */
    uint64_t session = (uint64_t)(drawn >> 6) << 24 | (file->next_session++ & 0xffffffu);
    *ret_base = COCO_LEASE_BASE_MIN + session * COCO_LEASE_BYTES;
    return fd;
}
