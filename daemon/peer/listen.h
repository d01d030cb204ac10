/* SPDX-License-Identifier: MIT */
/*
 * Listening Unix sockets: made here, or inherited from systemd.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Makes a listening, non-blocking socket at `path`. A socket that a dead process left there is
 * replaced; one that somebody serves is -EADDRINUSE, and what is no socket -EEXIST. `group`
 * (gid_t)-1: left alone. The descriptor, or negative errno. */
int listen_unix(const char *path, mode_t mode, gid_t group);

/* Takes over an inherited descriptor: it must be a listening Unix stream socket. It is made
 * non-blocking and listen()ed on again, so that SO_PEERCRED shows clients this process instead of
 * systemd. */
int listen_inherited(int fd);

/* A group by name or number; "" gives (gid_t)-1. -ENOENT. */
int listen_group(const char *name, gid_t *ret);
