/* SPDX-License-Identifier: MIT */
/*
 * A descriptor's bytes to their end, with a limit.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* At most `max` bytes from where the descriptor stands; -EFBIG where there are more, -ENOMEM,
 * read's errors. `ret` is of sys.alloc, max + 1 bytes long. The descriptor stays open. */
int read_all(int fd, size_t max, uint8_t **ret, size_t *ret_size);
