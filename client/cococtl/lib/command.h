/* SPDX-License-Identifier: MIT */
/* Running a firmware command under the lock. */
#pragma once

#include <limits.h>
#include <stdbool.h>

/* Where a command is: as it stands where it has a slash, else in the fixed search path. 0, -ENOENT,
 * -EACCES. */
int command_find(const char *name, char path[PATH_MAX]);

/* Runs it to its end: `argv` (NULL-terminated) with an environment of cococtl's making and, beside
 * standard input (empty), output and error, `lock_fd` and nothing else open. Its output goes to
 * stderr where `quiet_stdout`. Negative errno: it was not started. Else its exit status; 128 and
 * the signal's number where a signal ended it. */
int command_run(const char *path, char *const *argv, int lock_fd, bool quiet_stdout);
