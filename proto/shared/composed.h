/* SPDX-License-Identifier: MIT */
/*
 * Text that is composed in memory through stdio: whole, or none. Used by cocod and cococtl; knows
 * neither.
 *
 * Not open_memstream(3): what glibc's cannot find room for it leaves out, and tells of it neither
 * at the end nor, where memory comes back, anywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Must stay where it is until it is ended. */
struct composed {
    FILE *to;
    char *text;
    size_t size, capacity;
    bool cut;
};

/* False: out of memory, and there is nothing to be ended. */
bool composed_begin(struct composed *composed);
/* True: `text` is the caller's to free, of `size` bytes and a NUL behind them. False: something is
 * missing in it, and it is gone. */
bool composed_end(struct composed *composed);
