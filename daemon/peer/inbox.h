/* SPDX-License-Identifier: MIT */
/*
 * What one connection has received and not dispatched yet: a frame's beginning, or frames beyond a
 * turn. Loop thread only.
 */
#pragma once

#include "peer/account.h"
#include <stddef.h>
#include <stdint.h>

/* A connection's place covers so many bytes; only a larger buffer is charged as memory. */
#define PEER_PARTIAL_FREE 4224u

struct inbox {
    uint8_t *bytes; /* NULL: nothing was kept */
    uint32_t size;
    uint32_t capacity;
};

/* Keeps `size` bytes, which may lie in the inbox itself, with room for the frame that they begin:
 * of `need` bytes, 0: not known yet, but of `most` at most. -EDQUOT: the account may hold no more;
 * -ENOMEM. */
int inbox_keep(struct inbox *inbox, struct account *account, const uint8_t *data, size_t size,
               size_t need, size_t most);
void inbox_clear(struct inbox *inbox, struct account *account);
