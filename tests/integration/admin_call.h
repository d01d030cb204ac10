/* SPDX-License-Identifier: MIT */
/*
 * Administration as a test does it: varlink by hand over a blocking socket, and the single steps of
 * a firmware update.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection to the admin socket, waiting 20 s at most for each reply; negative errno. Does not
 * fail the test: who calls it may have killed the daemon. */
int admin_connect(const char *path);
/* One call, whose reply (malloc'ed) is returned; NULL: the connection is gone. */
char *admin_call(int fd, const char *call);

struct admin_file {
    const uint8_t *data;
    size_t size;
};
/* Import of files, in one call. The reply, as admin_call. */
char *admin_import(int fd, const struct admin_file *files, size_t n);

/* BeginUpdate; false: refused, or gone. */
bool admin_begin_update(int fd, unsigned timeout_ms);
/* EndUpdate; whether cocod serves again. Into `key` (may be NULL) the chain's, "": empty table. */
bool admin_end_update(int fd, char key[192]);

/* The write lock over the whole table file, tried for `timeout_ms`, on a descriptor of its own that
 * children inherit; then the file is made the empty table. Negative errno. */
int admin_lock_table(const char *path, unsigned timeout_ms);
