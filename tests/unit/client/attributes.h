/* SPDX-License-Identifier: MIT */
/*
 * For tests of what changes memory attributes: what the VMM's set_memory_attributes says, one call
 * after the other.
 */
#pragma once

#include "bed_fixture.h"

static int fails[4000]; /* what set_memory_attributes says, one after the other */
static unsigned n_calls;

static inline int fail_attributes(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)b;
    (void)gpa;
    (void)size;
    return op == BED_ATTRIBUTES ? fails[n_calls++] : 0;
}

static inline void again_for(unsigned n, int error)
{
    n_calls = 0;
    for (unsigned i = 0; i < sizeof(fails) / sizeof(fails[0]); i++)
        fails[i] = i < n ? error : 0;
    bed.fault = fail_attributes;
}
