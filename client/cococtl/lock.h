/* SPDX-License-Identifier: MIT */
/*
 * The write lock over the table file: PROTOCOL.md "The lease".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Somebody else's lock. */
struct lock_conflict {
    bool write; /* another updater, or cocod while it rewrites the file */
    int64_t start;
    int64_t length; /* 0: to the end of all files */
};

/* Tries to write-lock the whole file. 0; -EAGAIN and who stands in the way (the first of them);
 * another negative errno. */
int lock_try(int fd, struct lock_conflict *ret);

/* Locks whatever nobody else holds: all but the bytes in the way. 0 or a negative errno. */
int lock_around(int fd);

/* Makes the file the empty table; whoever reads meanwhile, reads the table or the empty one. */
int lock_empty_table(int fd);

/* A process that holds an OFD lock of that kind on the open file, touching byte `start` (whoever
 * it may be, where negative); found through /proc, so not without the right to look. 0: none was
 * found. `comm` is the process's own name for itself, a claim. */
pid_t lock_find_holder(int fd, bool write, int64_t start, char comm[32]);
