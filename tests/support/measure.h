/* SPDX-License-Identifier: MIT */
/*
 * Times and how they are sorted. Header only: for the programs that have no Check, too.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t monotonic_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t monotonic_us(void)
{
    return monotonic_ns() / 1000u;
}

static inline uint64_t monotonic_ms(void)
{
    return monotonic_ns() / 1000000u;
}

/* Names what sorts values of that type: sort_u64(values, n). */
#define MEASURE_SORT(name, type)                                                              \
    static inline int name##_compare(const void *a, const void *b)                            \
    {                                                                                         \
        return (*(const type *)a > *(const type *)b) - (*(const type *)a < *(const type *)b); \
    }                                                                                         \
    static inline void name(type values[], size_t n)                                          \
    {                                                                                         \
        qsort(values, n, sizeof(type), name##_compare);                                       \
    }

MEASURE_SORT(sort_u32, uint32_t)
MEASURE_SORT(sort_u64, uint64_t)
MEASURE_SORT(sort_doubles, double)
