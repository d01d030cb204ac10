/* SPDX-License-Identifier: MIT */
/* cocod's table file, opened by root. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct ctl;

/* Opens the table file for writing, CLOEXEC: the one that --table-file, cocod's configuration or
 * the default names, where it is the one that the daemon says it has, and could be: owned by
 * `cocod`, the user who said so. The exit status; the reason was printed. */
int table_open(const struct ctl *ctl, const char *told, uid_t cocod, int *ret_fd);

/* Does the file hold a certificate table, or nothing? To be asked under the lock, before it is
 * emptied. */
bool table_holds_one(int fd);
