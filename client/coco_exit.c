/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_COCO, KVM_EXIT_COCO_REQ_CERTS, as posted for Linux in June 2024 and dropped later:
 * coco/unmerged.h. It is KVM_EXIT_SNP_REQ_CERTS with other numbers, and without BUSY: the exit
 * waits, and when its time is over the guest gets the empty table.
 */
#include "coco/unmerged.h"
#include "kvm_abi.h"
#include "vmm_internal.h"
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#define REQ_CERTS       0u
#define ERR_INVALID_LEN 1u
#define ERR_GENERIC     (1u << 31)

static_assert(offsetof(struct coco_coco_exit, gfn) == 8 &&
                  offsetof(struct coco_coco_exit, ret) == 20,
              "as posted");

int coco_vcpu_coco_start(struct coco_vcpu *vcpu, const struct coco_coco_exit *exit)
{
    uint64_t gpa;

    if (exit->nr != REQ_CERTS)
        return COCO_ACT_UNHANDLED;
    /* A page number that is none: an address that no page has, and so the guest's own fault. */
    if (__builtin_mul_overflow(exit->gfn, (uint64_t)COCO_PAGE_SIZE, &gpa))
        gpa = UINT64_MAX;
    return coco_snp_begin(vcpu, gpa, exit->npages, true);
}

int coco_vcpu_coco_finish(struct coco_vcpu *vcpu, struct coco_coco_exit *exit)
{
    struct coco_snp_exit snp = {0};
    int act = coco_vcpu_snp_finish(vcpu, &snp);

    if (act < 0)
        return act;
    if (snp.ret == COCO_KVM_SNP_RET_ENOSPC)
        exit->npages = (uint32_t)snp.npages;
    exit->ret = snp.ret == COCO_KVM_SNP_RET_OK       ? 0
                : snp.ret == COCO_KVM_SNP_RET_ENOSPC ? ERR_INVALID_LEN
                                                     : ERR_GENERIC;
    return act;
}

int coco_vcpu_coco_certs(struct coco_vcpu *vcpu, struct coco_coco_exit *exit)
{
    int act = coco_vcpu_coco_start(vcpu, exit);

    if (act <= 0)
        return act;
    (void)coco_snp_block(vcpu, act);
    return coco_vcpu_coco_finish(vcpu, exit);
}
