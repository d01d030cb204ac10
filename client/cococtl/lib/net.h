/* SPDX-License-Identifier: MIT */
/* Connecting to one of cocod's sockets, and waiting with a deadline. */
#pragma once

#include <stdint.h>

uint64_t net_now_ns(void);
/* A connected, non-blocking descriptor, or a negative errno. */
int net_connect(const char *path);
/* Waits for events until the deadline; 0 or -ETIMEDOUT, -errno. */
int net_wait(int fd, short events, uint64_t deadline_ns);
/* Says that `path` could not be connected to and what to do; returns the exit status. */
int net_explain(const char *path, const char *option, int error);
