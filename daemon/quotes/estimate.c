/* SPDX-License-Identifier: MIT */
/*
 * A moving median over the last 31 answers, each from the sending of the request to the whole
 * reply. A median, since one quote that waited for PCCS says nothing about the next.
 *
 * A sample is forgotten after 60 s, so that a QGS that was slow for a while is not held to be slow for
 * ever. With none left nothing is known, and nothing is made up.
 */
#include "quotes/estimate.h"

void estimate_add(struct estimate *estimate, uint64_t now_us, uint64_t took_us)
{
    unsigned i = estimate->n++ % ESTIMATE_SAMPLES;

    estimate->samples[i].at_us = now_us;
    estimate->samples[i].took_us = took_us;
}

uint64_t estimate_us(const struct estimate *estimate, uint64_t now_us)
{
    unsigned n = estimate->n < ESTIMATE_SAMPLES ? estimate->n : ESTIMATE_SAMPLES;
    uint64_t sorted[ESTIMATE_SAMPLES];
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        if (now_us - estimate->samples[i].at_us > ESTIMATE_AGE_US)
            continue;
        unsigned at = kept++;
        for (; at > 0 && sorted[at - 1] > estimate->samples[i].took_us; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = estimate->samples[i].took_us;
    }
    if (kept == 0)
        return ESTIMATE_UNKNOWN;
    return sorted[kept / 2] > 0 ? sorted[kept / 2] : 1;
}
