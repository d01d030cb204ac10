/* SPDX-License-Identifier: MIT */
/*
 * libcoco: two exits that were posted for Linux and never merged, for hosts with kernels that carry
 * them. Their numbers were reused upstream, so the VMM compares exit_reason with the number of its
 * own kernel and calls these; coco_vmm_handle_exit() does not know them.
 *
 * The rules of coco/vmm.h hold.
 */
#pragma once

#include <coco/vmm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* kvm_run.vmgexit of KVM_EXIT_VMGEXIT as in the SNP series v10 (October 2023; number 50 there): an
 * SNP guest's page state change. Later versions of the series have another layout. */
struct coco_vmgexit_exit {
    /* A request of the MSR protocol (0x014 in bits 11:0), or the GHCB's address. Out, for the MSR
     * protocol: the response, 0x015 with the error in bits 63:32, 0 where it was done. */
    uint64_t ghcb_msr;
    uint64_t ret; /* out, page form: SW_EXITINFO2, 0 or the error; MSR protocol: not looked at */
};

/* Page state change, MSR and page form, by ops.set_memory_attributes. In the page form cur_entry
 * and cur_page of what was done are written back, so that a guest which is told 0 with entries left
 * asks again for the rest. Tries for at most 100 ms a range, as coco_vcpu_hypercall() does.
 * COCO_ACT_RUN; COCO_ACT_UNHANDLED: not a page state change, or no set_memory_attributes; -EINTR,
 * MSR form: kicked, to be handed in again. GHCB specification, "SNP Page State Change". */
COCO_PUBLIC int coco_vcpu_psc(struct coco_vcpu *vcpu, struct coco_vmgexit_exit *exit);

/* kvm_run.coco of KVM_EXIT_COCO as posted in June 2024: certificates for an SNP guest. There is no
 * BUSY: the exit waits for at most exit_wait_ms, and then it is the empty table. */
struct coco_coco_exit {
    uint8_t nr; /* 0: KVM_EXIT_COCO_REQ_CERTS; others are left untouched */
    uint8_t pad[7];
    uint64_t gfn; /* guest page number */
    uint32_t npages;
    uint32_t ret; /* out: 0, 1 (INVALID_LEN, with npages) or 1 << 31 (GENERIC) */
};

/* Blocking; and as start, then coco_vcpu_process() as with coco_vcpu_snp_start(), and finish. The
 * errors are those of coco_vcpu_snp_certs(). Section "SEV-SNP". */
COCO_PUBLIC int coco_vcpu_coco_certs(struct coco_vcpu *vcpu, struct coco_coco_exit *exit);
COCO_PUBLIC int coco_vcpu_coco_start(struct coco_vcpu *vcpu, const struct coco_coco_exit *exit);
COCO_PUBLIC int coco_vcpu_coco_finish(struct coco_vcpu *vcpu, struct coco_coco_exit *exit);

#ifdef __cplusplus
}
#endif
