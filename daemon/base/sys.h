/* SPDX-License-Identifier: MIT */
/*
 * Everything cocod asks of the system, through one table that tests replace: the clocks, the
 * allocator, and those system calls whose failure or order a test wants to decide.
 */
#pragma once

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct sys_calls {
    uint64_t (*now_us)(void); /* CLOCK_MONOTONIC, microseconds */
    int64_t (*wall_s)(void);  /* CLOCK_REALTIME, seconds since 1970 */
    /* A descriptor that becomes readable each time that CLOCK_REALTIME is set, until it is read. */
    int (*clock_watch)(void);
    void *(*alloc)(size_t size); /* zeroed, or NULL */
    void (*free)(void *p);
    void *(*crypto_realloc)(void *p, size_t size); /* OpenSSL's memory (chain_watch_memory) */

    int (*accept)(int fd, int flags);
    int (*getpeername)(int fd, struct sockaddr *addr, socklen_t *size);
    int (*socket)(int domain, int type, int protocol);
    int (*peer_cred)(int fd, struct ucred *ret);                /* SO_PEERCRED */
    int (*peer_groups)(int fd, gid_t *groups, socklen_t *size); /* SO_PEERGROUPS */
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t size);
    /* Less than `size` bytes: the socket had no more. Whatever comes with them is dropped. */
    ssize_t (*recv)(int fd, void *buf, size_t size, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*pwrite)(int fd, const void *buf, size_t size, off_t offset);
    ssize_t (*pread)(int fd, void *buf, size_t size, off_t offset);
    int (*ftruncate)(int fd, off_t size);
    int (*fsync)(int fd);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*ofd_lock)(int fd, int cmd, struct flock *lock); /* F_OFD_SETLK, F_OFD_GETLK */
};

/* The table in use. Only tests assign to it, before anything else runs. */
extern struct sys_calls sys;

/* What the system really does; for tests that replace single entries. */
extern const struct sys_calls sys_real;
