/* SPDX-License-Identifier: MIT */
/*
 * The time that guests' models live in, moved by whoever steps them: by adding, or from
 * CLOCK_MONOTONIC. Loads and stores are atomic: models of several threads may share a clock.
 */
#pragma once

#include <stdint.h>

struct vclock {
    uint64_t now_us;
};

static inline uint64_t vclock_now_us(const struct vclock *clock)
{
    return __atomic_load_n(&clock->now_us, __ATOMIC_RELAXED);
}

static inline void vclock_advance_us(struct vclock *clock, uint64_t us)
{
    __atomic_fetch_add(&clock->now_us, us, __ATOMIC_RELAXED);
}

/* Moves forward to `us`; a clock never goes back. */
static inline void vclock_set_us(struct vclock *clock, uint64_t us)
{
    uint64_t now = vclock_now_us(clock);

    while (us > now && !__atomic_compare_exchange_n(&clock->now_us, &now, us, 0, __ATOMIC_RELAXED,
                                                    __ATOMIC_RELAXED))
        continue;
}
