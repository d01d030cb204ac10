/* SPDX-License-Identifier: MIT */
/*
 * What each fuzz target has: its entry, and what it demands, as the oracles for tests do.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                               \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "oracle: %s does not hold at %s:%d\n", #condition, __FILE__, \
                    __LINE__);                                                           \
            abort();                                                                     \
        }                                                                                \
    } while (0)

/* What an output is filled with before a decoder that must not touch it. */
#define UNTOUCHED 0x5a

static inline int untouched(const void *object, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)object)[i] != UNTOUCHED)
            return 0;
    return 1;
}
