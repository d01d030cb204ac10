/* SPDX-License-Identifier: MIT */
/*
 * A moving median over the last 31 answers, each from the sending of the request to the whole
 * reply. A median, since one quote that waited for PCCS says nothing about the next.
 *
 * Start value: 50 ms, until there is a sample; about ten times what QGS needs, so that a cocod that
 * knows nothing refuses only what is far from possible. Decay: a sample is forgotten after 60 s; a
 * QGS that was slow for a while is not held to be slow for ever, and with none left it is the start
 * value again.
 */
#include "quotes/estimate.h"

void estimate_add(struct estimate *estimate, uint64_t now_us, uint64_t took_us)
{
    unsigned i = estimate->n++ % ESTIMATE_SAMPLES;

    estimate->samples[i].at_us = now_us;
    estimate->samples[i].took_us = took_us;
}

/* Of the samples since then; 0: there is none. */
static uint64_t median_us(const struct estimate *estimate, uint64_t since_us)
{
    unsigned n = estimate->n < ESTIMATE_SAMPLES ? estimate->n : ESTIMATE_SAMPLES;
    uint64_t sorted[ESTIMATE_SAMPLES];
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        if (estimate->samples[i].at_us < since_us)
            continue;
        unsigned at = kept++;
        for (; at > 0 && sorted[at - 1] > estimate->samples[i].took_us; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = estimate->samples[i].took_us;
    }
    return kept > 0 ? sorted[kept / 2] : 0;
}

uint64_t estimate_us(const struct estimate *estimate, uint64_t now_us)
{
    uint64_t us = median_us(estimate, now_us > ESTIMATE_AGE_US ? now_us - ESTIMATE_AGE_US : 0);

    return us > 0 ? us : ESTIMATE_START_US;
}

uint64_t estimate_measured_us(const struct estimate *estimate)
{
    return median_us(estimate, 0);
}
