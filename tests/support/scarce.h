/* SPDX-License-Identifier: MIT */
/*
 * The daemon's memory runs out: sys.alloc fails when it is told to. Numbers count from the call on,
 * from 0: the next allocation. And the kernel refuses: REFUSE(sendmsg, EPIPE) until sys has the
 * call of sys_real again.
 */
#pragma once

#include "base/sys.h"
#include <stdbool.h>

void memory_fail(long n);      /* allocation `n` fails, no other */
void memory_fail_from(long n); /* allocation `n` and all that follow fail */
void memory_back(void);        /* none fails */
bool memory_failed(void);      /* one has failed since */

#define REFUSE(call, error) (refused_errno = (error), sys.call = refuse_##call)

extern int refused_errno;
int refuse_ofd_lock(int fd, int cmd, struct flock *lock);
int refuse_open(const char *path, int flags, mode_t mode);
ssize_t refuse_pwrite(int fd, const void *buf, size_t size, off_t offset);
ssize_t refuse_recv(int fd, void *buf, size_t size, int flags);
ssize_t refuse_sendmsg(int fd, const struct msghdr *msg, int flags);
int refuse_socket(int domain, int type, int protocol);
