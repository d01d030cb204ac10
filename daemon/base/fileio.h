/* SPDX-License-Identifier: MIT */
/*
 * Small files, whole: read with a limit, and replaced so that there is the old one or the new one.
 * Everything here blocks on the disk.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* At most `max` bytes from where the descriptor stands; -EFBIG where there are more, -ENOMEM,
 * read's errors. `ret` is of sys.alloc, max + 1 bytes long at most. The descriptor stays open. */
int read_all(int fd, size_t max, uint8_t **ret, size_t *ret_size);

/* A file's bytes, as read_all; also open's errors. It waits for no FIFO and no device. -EISDIR, or
 * -EINVAL where it is no regular file. */
int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_size);

/* Puts the bytes in the place of the file at `path`: writes them to `temporary`, which is on the
 * same file system and overwritten, then fsync, rename and fsync of the folder. After a kill or a
 * loss of power at any moment the file is the old one or the new one, and what this reports as done
 * is on the disk. Negative errno: the file is what it was, unless the last fsync failed. */
int file_replace(const char *path, const char *temporary, mode_t mode, const void *data,
                 size_t size);

/* The names in a folder are on the disk afterwards. Negative errno. */
int folder_sync(const char *folder);
