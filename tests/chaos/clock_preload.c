/* SPDX-License-Identifier: MIT */
/*
 * The wall clock of a cocod in a chaos run, preloaded: the machine's plus the seconds in the file
 * CHAOS_CLOCK. The FIFO CHAOS_CLOCK.set tells that it was set, for the timer that the kernel would
 * cancel (timerfd_create(2)). CLOCK_MONOTONIC is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_s;
static int watch = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof(*offset_s), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (map != MAP_FAILED)
        offset_s = map;
    if (fd >= 0)
        close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    int r = (int)syscall(SYS_clock_gettime, clock, ts);

    if (r == 0 && clock == CLOCK_REALTIME && offset_s)
        ts->tv_sec += *offset_s;
    return r;
}

time_t time(time_t *ret)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    if (ret)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts = {0};

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
    return 0;
}

int timerfd_create(int clock, int flags)
{
    const char *path = getenv("CHAOS_CLOCK");
    char fifo[256];

    if (clock != CLOCK_REALTIME || !path)
        return (int)syscall(SYS_timerfd_create, clock, flags);
    snprintf(fifo, sizeof(fifo), "%s.set", path);
    watch = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return watch;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    if (fd == watch && fd >= 0)
        return 0;
    return (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
}
