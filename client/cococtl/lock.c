/* SPDX-License-Identifier: MIT */
/*
 * The write lock over the table file, and who else has locks there.
 *
 * Locks are those of open file descriptions (fcntl(2), F_OFD_*): whoever inherits the descriptor
 * holds the lock with everybody else who has it, and it ends with the last of them. That is why a
 * lock that was taken here outlives this process for as long as the firmware command, which
 * inherited it, runs.
 *
 * The kernel does not say who holds an OFD lock (its pid is -1). It does say which descriptor
 * carries which lock, in /proc/PID/fdinfo (proc(5)), to those who may look; several processes can
 * carry the same one, and the first that is found is named.
 */
#include "lock.h"
#include "coco_limits.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Holders that are stepped around; more VMs than that have leases nowhere. */
#define AROUND_MAX 65536u

/* Bytes from start to end; end 0: to the end of all files. */
static int try_range(int fd, int64_t start, int64_t end, struct lock_conflict *ret)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = start,
                         .l_len = end ? end - start : 0};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return -errno;
    lock = (struct flock){.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = start,
                          .l_len = end ? end - start : 0};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    /* F_UNLCK: whoever stood in the way has just left. Nobody to name; the next try will tell. */
    *ret = (struct lock_conflict){.write = lock.l_type == F_WRLCK,
                                  .start = lock.l_type == F_UNLCK ? -1 : lock.l_start,
                                  .length = lock.l_len};
    return -EAGAIN;
}

int lock_try(int fd, struct lock_conflict *ret)
{
    return try_range(fd, 0, 0, ret);
}

int lock_around(int fd)
{
    int64_t start = 0;

    for (unsigned i = 0; i < AROUND_MAX; i++) {
        struct lock_conflict conflict = {0};
        int r = try_range(fd, start, 0, &conflict);
        if (r != -EAGAIN)
            return r;
        if (conflict.start < 0)
            continue;
        /* In front of it. What somebody took in this moment is the next round's matter. */
        if (conflict.start > start) {
            struct lock_conflict nearer = {0};
            r = try_range(fd, start, conflict.start, &nearer);
            if (r == -EAGAIN)
                continue;
            if (r < 0)
                return r;
        }
        if (conflict.length == 0)
            return 0;
        start = conflict.start + conflict.length;
    }
    return -ELOOP;
}

int lock_empty_table(int fd)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];
    size_t done = 0;

    /* The first entry goes first: from then on it is the empty table whatever stands behind. */
    while (done < sizeof(zeros)) {
        ssize_t n = pwrite(fd, zeros + done, sizeof(zeros) - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return ftruncate(fd, sizeof(zeros)) < 0 ? -errno : 0;
}

/* --- /proc ----------------------------------------------------------------------------------- */

struct wanted {
    dev_t device;
    ino_t inode;
    bool write;
    int64_t start;
};

/* "lock:\t1: OFDLCK  ADVISORY  WRITE -1 00:2d:1234 0 EOF" */
static bool line_matches(const char *line, const struct wanted *wanted)
{
    char kind[16], mode[16], access[16], last_text[24];
    unsigned major_number, minor_number;
    uint64_t inode;
    int64_t first, pid;

    if (sscanf(line, "lock: %*d: %15s %15s %15s %" SCNd64 " %x:%x:%" SCNu64 " %" SCNd64 " %23s",
               kind, mode, access, &pid, &major_number, &minor_number, &inode, &first,
               last_text) != 9)
        return false;
    int64_t last = strcmp(last_text, "EOF") == 0 ? INT64_MAX : strtoll(last_text, NULL, 10);
    return strcmp(kind, "OFDLCK") == 0 && strcmp(access, wanted->write ? "WRITE" : "READ") == 0 &&
           inode == wanted->inode && makedev(major_number, minor_number) == wanted->device &&
           (wanted->start < 0 || (first <= wanted->start && wanted->start <= last));
}

static bool descriptor_matches(const char *path, const struct wanted *wanted)
{
    FILE *info = fopen(path, "re");
    char text[256];
    bool found = false;

    while (info && !found && fgets(text, sizeof(text), info))
        found = strncmp(text, "lock:", 5) == 0 && line_matches(text, wanted);
    if (info)
        (void)fclose(info);
    return found;
}

static bool process_matches(const char *pid, const struct wanted *wanted)
{
    char path[300];
    bool found = false;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/fdinfo", pid);
    DIR *descriptors = opendir(path);
    const struct dirent *entry;
    while (descriptors && !found && (entry = readdir(descriptors))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, entry->d_name);
        found = descriptor_matches(path, wanted);
    }
    if (descriptors)
        (void)closedir(descriptors);
    return found;
}

static void read_comm(const char *pid, char comm[32])
{
    char path[64];

    comm[0] = 0;
    (void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    FILE *from = fopen(path, "re");
    if (from && fgets(comm, 32, from))
        comm[strcspn(comm, "\n")] = 0;
    if (from)
        (void)fclose(from);
}

pid_t lock_find_holder(int fd, bool write, int64_t start, char comm[32])
{
    struct stat st;
    pid_t found = 0;

    if (fstat(fd, &st) < 0)
        return 0;
    const struct wanted wanted = {st.st_dev, st.st_ino, write, start};
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes && !found && (entry = readdir(processes))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid == getpid() || !process_matches(entry->d_name, &wanted))
            continue;
        found = pid;
        read_comm(entry->d_name, comm);
    }
    if (processes)
        (void)closedir(processes);
    return found;
}
