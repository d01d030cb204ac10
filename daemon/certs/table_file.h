/* SPDX-License-Identifier: MIT */
/*
 * The table file: the current certificate table at offset 0, and the lock that all of this host
 * agrees on. PROTOCOL.md "The lease".
 *
 * Its inode never changes while the host is up, so it is never replaced, only rewritten, and only
 * under the write lock. It is rewritten so that a torn write reads as the empty table.
 *
 * An updater makes it the empty table before it changes anything, and nobody but cocod fills it: a
 * table in it says that no updater was there since. Where a lease keeps cocod from filling it, a
 * *mark* says the same: random bytes behind the empty table, where nobody reads, which the next
 * emptying cuts off.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct table_file_options {
    const char *path;
    mode_t mode;
    gid_t group; /* (gid_t)-1: leave */
};

#define TABLE_MARK_SIZE 16u

struct table_file {
    int fd;      /* -1: closed */
    bool marked; /* with `mark` */
    bool blind;  /* it could not be marked: an emptying leaves no trace */
    uint8_t mark[TABLE_MARK_SIZE];
    uint32_t next_session;
};

enum table_lock {
    TABLE_LOCKED,  /* this process holds the write lock now */
    TABLE_READERS, /* a lease stands in the way */
    TABLE_UPDATER, /* somebody else holds the write lock */
    TABLE_LOCK_FAILED,
};

/* Opens or makes the file. Negative errno. */
int table_file_open(struct table_file *file, const struct table_file_options *options);
void table_file_close(struct table_file *file);

/* Tries to take the write lock over the whole file. With TABLE_READERS and TABLE_UPDATER *ret_byte
 * (may be NULL) is the first byte of the lock in the way. */
enum table_lock table_file_lock(struct table_file *file, uint64_t *ret_byte);
void table_file_unlock(struct table_file *file);

/* Does somebody else hold the write lock over all of the file? One system call, and as quick with a
 * hundred thousand locks on it: the first that is found says whether it is write lock or leases. */
bool table_file_taken(const struct table_file *file);
/* The same of a write lock on any byte: one that was forced goes around leases. Where there are
 * leases, this costs as much as there are locks. */
bool table_file_updater(const struct table_file *file);

/* Was the file made the empty table since it was filled or marked? One system call. */
bool table_file_emptied(const struct table_file *file);
/* Marks the file where it is the empty table, also without the lock: an updater who has it then has
 * emptied it already, so it is asked for him afterwards. Negative errno: `blind`. */
int table_file_mark(struct table_file *file);

/* A lock of somebody else's in [start, end), end 0: without end; false: there is none. */
struct table_holder {
    uint64_t start;
    uint64_t length; /* 0: to the end */
    bool write;
};
bool table_file_holder(const struct table_file *file, uint64_t start, uint64_t end,
                       struct table_holder *ret);

/* Rewrites the file; under the write lock. Negative errno: the file then reads as the empty table,
 * or as the old one where not a byte could be written. */
int table_file_write(struct table_file *file, const uint8_t *table, size_t size);

/* Is it the file of that name still? */
bool table_file_is_named(const struct table_file *file, const char *path);

/* A read-only descriptor of the same inode for a new session, with locks of its own; and the first
 * of the session's COCO_LEASE_BYTES bytes. Negative errno. */
int table_file_open_lease(struct table_file *file, uint64_t *ret_base);
