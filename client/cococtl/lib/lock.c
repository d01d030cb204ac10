/* SPDX-License-Identifier: MIT */
/*
 * The write lock over the table file, and who else has locks there.
 *
 * Locks are those of open file descriptions (fcntl(2), F_OFD_*): whoever inherits the descriptor
 * shares the lock, and it ends with the last of them. So a lock that was taken here lasts as long
 * as the firmware command, which inherited it, also where this process ends.
 *
 * The kernel does not say who holds such a lock (its pid is -1), but which descriptor carries which
 * lock, in /proc/PID/fdinfo (proc(5)). A file's locks are a list without a bound that the kernel
 * walks from its beginning: to ask once for each of n locks would be n * n steps.
 */
#include "lib/lock.h"
#include "coco_limits.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/terminal.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many locks are stepped around, and for how long. */
#define AROUND_MAX 64u
#define AROUND_NS  500000000u

/* Bytes from start to end; end 0: to the end of all files. */
static int try_range(int fd, int64_t start, int64_t end, struct lock_conflict *ret)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = start,
                         .l_len = end ? end - start : 0};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if ((errno != EAGAIN && errno != EACCES) || fcntl(fd, F_OFD_GETLK, &lock) < 0)
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

int lock_around(int fd, bool *ret_whole)
{
    struct {
        int64_t start, end;
    } todo[AROUND_MAX + 2] = {{COCO_LEASE_BASE_MIN, 0}, {0, COCO_LEASE_BASE_MIN}};
    const uint64_t deadline_ns = net_now_ns() + AROUND_NS;
    size_t n = 2, around = 0;

    while (n > 0 && around < AROUND_MAX && net_now_ns() < deadline_ns) {
        const int64_t start = todo[n - 1].start, end = todo[n - 1].end;
        struct lock_conflict conflict = {0};
        int r = try_range(fd, start, end, &conflict);
        if (r == -EAGAIN && conflict.start < 0)
            continue; /* it has just left */
        if (r == -EAGAIN && conflict.write)
            return -EBUSY;
        if (r < 0 && r != -EAGAIN)
            return r;
        n--;
        if (r == 0)
            continue;
        around++;
        const int64_t behind = conflict.start + conflict.length;
        if (conflict.length != 0 && (end == 0 || behind < end)) {
            todo[n].start = behind;
            todo[n++].end = end;
        }
        if (conflict.start > start) {
            todo[n].start = start;
            todo[n++].end = conflict.start;
        }
    }
    *ret_whole = n == 0;
    return 0;
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

/* What cannot be opened is not there any more, or not to be looked at. */

/* "lock:\t1: OFDLCK  ADVISORY  WRITE -1 00:2d:1234 0 EOF". Of the file that it is read for. POSIX:
 * one of the process, by F_SETLK; it stands in the way as well. */
static bool take_line(const char *line, const struct lock_query *query, struct lock_holder *holder)
{
    char kind[16], access[16], last_text[24];
    int64_t first;

    if (sscanf(line, "lock: %*d: %15s %*s %15s %*d %*x:%*x:%*u %" SCNd64 " %23s", kind, access,
               &first, last_text) != 4 ||
        (strcmp(kind, "OFDLCK") != 0 && strcmp(kind, "POSIX") != 0))
        return false;
    int64_t last = strcmp(last_text, "EOF") == 0 ? INT64_MAX : strtoll(last_text, NULL, 10);
    holder->write = holder->write || strcmp(access, "WRITE") == 0;
    holder->n_locks++;
    for (size_t i = 0; i < query->n_bytes; i++)
        holder->has[i] = holder->has[i] || (first <= query->bytes[i] && query->bytes[i] <= last);
    return true;
}

static bool take_descriptor(const char *pid, const char *number, const struct stat *file,
                            const struct lock_query *query, struct lock_holder *holder)
{
    char text[300];
    struct stat st;
    bool found = false;

    (void)snprintf(text, sizeof(text), "/proc/%.20s/fd/%.20s", pid, number);
    if (stat(text, &st) < 0 || st.st_dev != file->st_dev || st.st_ino != file->st_ino)
        return false;
    (void)snprintf(text, sizeof(text), "/proc/%.20s/fdinfo/%.20s", pid, number);
    FILE *info = memory_got(fopen(text, "re"));
    while (info && net_now_ns() < query->deadline_ns && fgets(text, sizeof(text), info))
        found = (strncmp(text, "lock:", 5) == 0 && take_line(text, query, holder)) || found;
    if (info)
        (void)fclose(info);
    return found;
}

static void read_process(const char *pid, struct lock_holder *holder)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "/proc/%.20s/comm", pid);
    FILE *from = memory_got(fopen(text, "re"));
    if (from && fgets(holder->comm, sizeof(holder->comm), from))
        holder->comm[strcspn(holder->comm, "\n")] = 0;
    if (from)
        (void)fclose(from);
    /* Not the owner of its files: that is root where the process made itself undumpable. */
    (void)snprintf(text, sizeof(text), "/proc/%.20s/status", pid);
    from = memory_got(fopen(text, "re"));
    holder->uid = (uid_t)-1;
    while (from && holder->uid == (uid_t)-1 && fgets(text, sizeof(text), from))
        if (strncmp(text, "Uid:", 4) == 0)
            holder->uid = (uid_t)strtoul(text + 4, NULL, 10);
    if (from)
        (void)fclose(from);
}

static bool take_process(const char *pid, const struct stat *file, const struct lock_query *query,
                         struct lock_holder *holder)
{
    char path[64];
    const struct dirent *entry;
    bool found = false;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *descriptors = memory_got(opendir(path));
    while (descriptors && net_now_ns() < query->deadline_ns && (entry = readdir(descriptors)))
        if (isdigit((unsigned char)entry->d_name[0]))
            found = take_descriptor(pid, entry->d_name, file, query, holder) || found;
    if (descriptors)
        (void)closedir(descriptors);
    if (found)
        read_process(pid, holder);
    return found;
}

static int most_first(const void *a, const void *b)
{
    const uint64_t x = ((const struct lock_holder *)a)->n_locks;
    const uint64_t y = ((const struct lock_holder *)b)->n_locks;

    return (x < y) - (x > y);
}

/* One more of them, or instead of the one that has fewest. The number of them then. */
static size_t keep(struct lock_holder *holders, size_t n, size_t max, struct lock_holder *one)
{
    size_t fewest = 0;

    if (n < max) {
        holders[n] = *one;
        return n + 1;
    }
    for (size_t i = 1; i < n; i++)
        if (holders[i].n_locks < holders[fewest].n_locks)
            fewest = i;
    if (holders[fewest].n_locks < one->n_locks) {
        const struct lock_holder other = holders[fewest];
        holders[fewest] = *one;
        *one = other;
    }
    free(one->has);
    return n;
}

size_t lock_holders(int fd, const struct lock_query *query, struct lock_holder *ret, size_t max)
{
    struct stat file;
    const struct dirent *entry;
    size_t n = 0;

    if (fstat(fd, &file) < 0)
        return 0;
    DIR *processes = memory_got(opendir("/proc"));
    while (processes && net_now_ns() < query->deadline_ns && (entry = readdir(processes))) {
        const pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid())
            continue;
        struct lock_holder one = {.pid = pid,
                                  .has = memory_got(calloc(query->n_bytes + 1, sizeof(bool)))};
        if (one.has && take_process(entry->d_name, &file, query, &one))
            n = keep(ret, n, max, &one);
        else
            free(one.has);
    }
    if (processes)
        (void)closedir(processes);
    qsort(ret, n, sizeof(*ret), most_first);
    return n;
}

void lock_print_holder(FILE *to, const struct lock_holder *holder)
{
    term_printf(to, "pid %d \"%s\", uid %u", (int)holder->pid, holder->comm, holder->uid);
    if (holder->n_locks > 1)
        term_printf(to, ", %" PRIu64 " locks", holder->n_locks);
}

pid_t lock_find_updater(int fd, uint64_t deadline_ns, char comm[32])
{
    const struct lock_query query = {.deadline_ns = deadline_ns};
    struct lock_holder holders[64];
    pid_t found = 0;

    size_t n = lock_holders(fd, &query, holders, sizeof(holders) / sizeof(holders[0]));
    for (size_t i = 0; i < n; i++) {
        if (holders[i].write && found == 0) {
            found = holders[i].pid;
            memcpy(comm, holders[i].comm, sizeof(holders[i].comm));
        }
        free(holders[i].has);
    }
    return found;
}
