/* SPDX-License-Identifier: MIT */
/*
 * Text that is composed in memory through stdio: whole, or none. Used by cocod and cococtl.
 *
 * Not open_memstream(3): where memory runs out, glibc's leaves bytes out, and may never say so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Must not be moved until it is ended. */
struct composed {
    FILE *to;
    char *text;
    size_t size, capacity;
    bool cut;
};

/* False: out of memory, and there is nothing to end. */
bool composed_begin(struct composed *composed);
/* True: `text` is the caller's to free, `size` bytes and a NUL behind them. False: out of memory;
 * there is no text. */
bool composed_end(struct composed *composed);
