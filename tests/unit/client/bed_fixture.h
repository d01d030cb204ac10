/* SPDX-License-Identifier: MIT */
/*
 * A bed (vmm_bed.h) for each test: FIXTURE(.setup = tdx_bed, .teardown = end_bed).
 */
#pragma once

#include "support.h"
#include "vmm_bed.h"

static struct bed bed;

/* The bed again, of that kind and with options of its own. */
static inline void new_bed(enum kvm_model_type type,
                           void (*change)(struct coco_vmm_options *options))
{
    bed_done(&bed);
    ck_assert(bed_init(&bed, type, change));
}

static inline void snp_bed(void)
{
    ck_assert(bed_init(&bed, KVM_MODEL_SNP, NULL));
}

static inline void tdx_bed(void)
{
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, NULL));
}

static inline void end_bed(void)
{
    bed_done(&bed);
}
