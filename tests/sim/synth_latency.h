/* SPDX-License-Identifier: MIT */
/*
 * A histogram of latencies: exact below 64 µs; above, a quantile is at most one part in 32 too
 * large, and never over the largest value.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SYNTH_LATENCY_EXACT   64u
#define SYNTH_LATENCY_SPLIT   32u /* buckets of one power of two */
#define SYNTH_LATENCY_BUCKETS (SYNTH_LATENCY_EXACT + 26u * SYNTH_LATENCY_SPLIT)

struct synth_latency {
    uint64_t n;
    uint64_t max_us;
    uint64_t buckets[SYNTH_LATENCY_BUCKETS];
};

static inline size_t synth_latency_bucket(uint64_t us)
{
    if (us < SYNTH_LATENCY_EXACT)
        return (size_t)us;
    if (us > UINT32_MAX)
        us = UINT32_MAX;
    unsigned power = 63u - (unsigned)__builtin_clzll(us);

    return SYNTH_LATENCY_EXACT + (power - 6) * SYNTH_LATENCY_SPLIT +
           (size_t)((us >> (power - 5)) & (SYNTH_LATENCY_SPLIT - 1));
}

static inline void synth_latency_add(struct synth_latency *latency, uint64_t us)
{
    latency->n++;
    latency->buckets[synth_latency_bucket(us)]++;
    if (us > latency->max_us)
        latency->max_us = us;
}

static inline void synth_latency_merge(struct synth_latency *into, const struct synth_latency *from)
{
    into->n += from->n;
    for (size_t i = 0; i < SYNTH_LATENCY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
}

/* The value that `percent` of all are not above; 0 where there are none. */
static inline uint64_t synth_latency_quantile(const struct synth_latency *latency, unsigned percent)
{
    uint64_t rank = (latency->n * percent + 99) / 100, seen = 0;

    for (size_t i = 0; i < SYNTH_LATENCY_BUCKETS && latency->n > 0; i++) {
        seen += latency->buckets[i];
        if (seen < rank || seen == 0)
            continue;
        uint64_t top = i;
        if (i >= SYNTH_LATENCY_EXACT) {
            size_t above = i - SYNTH_LATENCY_EXACT;
            uint64_t sub = SYNTH_LATENCY_SPLIT + above % SYNTH_LATENCY_SPLIT;
            top = ((sub + 1) << (above / SYNTH_LATENCY_SPLIT + 1)) - 1;
        }
        return top < latency->max_us ? top : latency->max_us;
    }
    return 0;
}
