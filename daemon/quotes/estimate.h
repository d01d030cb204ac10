/* SPDX-License-Identifier: MIT */
/*
 * How long a quote takes: the median of the last answers. Pure; the caller tells the time.
 */
#pragma once

#include <stdint.h>

#define ESTIMATE_SAMPLES  31u
#define ESTIMATE_START_US 50000u           /* without samples */
#define ESTIMATE_AGE_US   (60u * 1000000u) /* an older sample does not count */

struct estimate {
    struct {
        uint64_t at_us;
        uint64_t took_us;
    } samples[ESTIMATE_SAMPLES];
    unsigned n; /* ever added */
};

void estimate_add(struct estimate *estimate, uint64_t now_us, uint64_t took_us);
/* The median, or ESTIMATE_START_US. */
uint64_t estimate_us(const struct estimate *estimate, uint64_t now_us);
/* For people: the median of the last samples, however old; 0: there was none ever. */
uint64_t estimate_measured_us(const struct estimate *estimate);
