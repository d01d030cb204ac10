/* SPDX-License-Identifier: MIT */
/* The write lock over the table file: PROTOCOL.md "The lease". */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
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

/* For an update that goes on although others have read locks: locks the table's own bytes, and of
 * the bytes behind, where leases are, what nobody else holds, past 64 locks and for half a second
 * at most. *ret_whole: that was all. 0; -EBUSY where another has a write lock; a negative errno. */
int lock_around(int fd, bool *ret_whole);

/* Makes the file the empty table; whoever reads meanwhile, reads the table or the empty one. */
int lock_empty_table(int fd);

/* A process that has locks on the file, as the kernel says: by the descriptors that it has open. */
struct lock_holder {
    pid_t pid;
    uid_t uid;        /* its real one */
    char comm[32];    /* its own name for itself, a claim */
    bool write;       /* one of them is a write lock */
    uint64_t n_locks; /* by all its descriptors; one that it has twice counts twice */
    bool *has; /* of each byte that was asked for: is one of them on it? The caller frees it. */
};

/* Those of other processes that the caller may see in /proc, in one pass; several can carry one
 * lock. Ends at `deadline_ns`, but for the kernel's list of one descriptor. Returns how many were
 * found, up to `max`: those with the most locks, these first. */
struct lock_query {
    uint64_t deadline_ns;
    const int64_t *bytes;
    size_t n_bytes;
};
size_t lock_holders(int fd, const struct lock_query *query, struct lock_holder *ret, size_t max);

/* "pid 4711 "qemu", uid 64055, 20000 locks". */
void lock_print_holder(FILE *to, const struct lock_holder *holder);

/* One of them with a write lock: its pid, and its comm. 0: none was found. */
pid_t lock_find_updater(int fd, uint64_t deadline_ns, char comm[32]);
