/* SPDX-License-Identifier: MIT */
/*
 * Listening Unix and vsock sockets: made here, or inherited from systemd.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes a listening, non-blocking socket at `path`. A socket that a dead process left there is
 * replaced; one that somebody serves is -EADDRINUSE, and what is no socket -EEXIST. `group`
 * (gid_t)-1: left alone. The descriptor, or negative errno. */
int listen_unix(const char *path, mode_t mode, gid_t group);

/* Makes a listening, non-blocking vsock socket at the port, for every guest. The descriptor, or
 * negative errno. */
int listen_vsock(uint32_t port);

/* Takes over an inherited descriptor: a listening stream socket of that family, else
 * -EAFNOSUPPORT. It is made non-blocking and listen()ed on again, so that SO_PEERCRED shows clients
 * this process instead of systemd. */
int listen_inherited(int fd, int family);
