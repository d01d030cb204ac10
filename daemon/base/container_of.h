/* SPDX-License-Identifier: MIT */
/*
 * From a timer, a turn, an item of a list to the object that it is part of.
 */
#pragma once

#include <stddef.h>

/* The `type` whose `member` is at `ptr`; a pointer of another type than the member's is an error of
 * the compiler's. */
#define container_of(ptr, type, member)                                      \
    ({                                                                       \
        __typeof__(&((type *)0)->member) container_of_ptr = (ptr);           \
        (type *)(void *)((char *)container_of_ptr - offsetof(type, member)); \
    })
