/* SPDX-License-Identifier: MIT */
/*
 * The real system behind the table of sys.h. Nothing here decides anything.
 */
#include "base/sys.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t real_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static int64_t real_wall_s(void)
{
    return (int64_t)time(NULL);
}

/* A timer that is never due, but is cancelled where the clock jumps (timerfd_create(2)). */
static int real_clock_watch(void)
{
    const struct itimerspec never = {.it_value.tv_sec = 8000000000}; /* the year 2223 */
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0 &&
        timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

static void *real_alloc(size_t size)
{
    return calloc(1, size);
}

static int real_accept(int fd, int flags)
{
    return accept4(fd, NULL, NULL, flags);
}

static int real_getpeername(int fd, struct sockaddr *addr, socklen_t *size)
{
    return getpeername(fd, addr, size);
}

static int real_peer_cred(int fd, struct ucred *ret)
{
    socklen_t size = sizeof(*ret);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &size);
}

static int real_peer_groups(int fd, gid_t *groups, socklen_t *size)
{
    return getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, size);
}

static int real_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    return connect(fd, addr, size);
}

/* Whatever comes with the bytes, descriptors above all, is dropped. The kernel ends a read there,
 * and that is undone: a short read means that the socket is empty. */
static ssize_t real_recv(int fd, void *buf, size_t size, int flags)
{
    size_t received = 0;

    for (;;) {
        struct iovec iov = {(char *)buf + received, size - received};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = recvmsg(fd, &msg, flags);
        if (n < 0)
            return received > 0 ? (ssize_t)received : n;
        received += (size_t)n;
        if (n == 0 || received == size || !(msg.msg_flags & MSG_CTRUNC))
            return (ssize_t)received;
    }
}

static int real_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int real_ofd_lock(int fd, int cmd, struct flock *lock)
{
    return fcntl(fd, cmd, lock);
}

#define SYS_REAL                                                                             \
    {                                                                                        \
        .now_us = real_now_us, .wall_s = real_wall_s, .clock_watch = real_clock_watch,       \
        .alloc = real_alloc, .free = free, .crypto_realloc = realloc, .accept = real_accept, \
        .getpeername = real_getpeername, .socket = socket, .peer_cred = real_peer_cred,      \
        .peer_groups = real_peer_groups, .connect = real_connect, .recv = real_recv,         \
        .sendmsg = sendmsg, .open = real_open, .pwrite = pwrite, .pread = pread,             \
        .ftruncate = ftruncate, .fsync = fsync, .mkdir = mkdir, .rename = rename,            \
        .unlink = unlink, .ofd_lock = real_ofd_lock,                                         \
    }

const struct sys_calls sys_real = SYS_REAL;
struct sys_calls sys = SYS_REAL;
