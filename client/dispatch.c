/* SPDX-License-Identifier: MIT */
/*
 * coco_vmm_handle_exit: from struct kvm_run to the exit's function and back; and how
 * KVM_EXIT_SNP_REQ_CERTS is switched on.
 *
 * Older linux/kvm.h do not have these exits, and VMMs declare them in their own ways. So they are
 * found in struct kvm_run by their offsets, which are ABI, and copied: an exit is read once, and
 * what is written back is what was answered, nothing else.
 */
#include "kvm_abi.h"
#include "vmm_internal.h"
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* `make check-abi` compares the rest with a header that has these exits. */
static_assert(offsetof(struct kvm_run, exit_reason) == COCO_KVM_RUN_OFF_EXIT_REASON, "kvm_run");
static_assert(offsetof(struct kvm_run, hypercall) == COCO_KVM_RUN_OFF_EXIT, "kvm_run");

/* By its number in released kernels. */
static uint32_t exit_reason(const struct kvm_run *run)
{
    uint32_t reason;

    memcpy(&reason, (const uint8_t *)run + COCO_KVM_RUN_OFF_EXIT_REASON, sizeof(reason));
#if defined(__x86_64__) || defined(__i386__)
    if (reason == COCO_KVM_EXIT_SNP_REQ_CERTS_POSTED)
        reason = COCO_KVM_EXIT_SNP_REQ_CERTS;
#endif
    return reason;
}

static void take(const struct kvm_run *run, void *to, size_t size)
{
    memcpy(to, (const uint8_t *)run + COCO_KVM_RUN_OFF_EXIT, size);
}

static void give(struct kvm_run *run, const void *from, size_t size)
{
    memcpy((uint8_t *)run + COCO_KVM_RUN_OFF_EXIT, from, size);
}

int coco_vmm_start_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu, struct kvm_run *run)
{
    union {
        struct coco_snp_exit snp;
        struct coco_tdx_exit tdx;
        struct coco_hypercall_exit hypercall;
        struct coco_event_exit event;
    } exit;
    int act;

    if (!run || !vcpu || vcpu->vmm != vmm)
        return -EINVAL;
    coco_vcpu_ran(vcpu);
    take(run, &exit, sizeof(exit));
    switch (exit_reason(run)) {
    case COCO_KVM_EXIT_SNP_REQ_CERTS:
        act = coco_vcpu_snp_start(vcpu, &exit.snp);
        return act < 0 || act == COCO_ACT_WAIT ? act : coco_vmm_finish_exit(vmm, vcpu, run);
    case COCO_KVM_EXIT_TDX:
        act = coco_vcpu_tdx(vcpu, &exit.tdx);
        if (act == COCO_ACT_RUN)
            give(run, &exit.tdx, sizeof(exit.tdx));
        return act;
    case COCO_KVM_EXIT_HYPERCALL:
        act = coco_vcpu_hypercall(vcpu, &exit.hypercall);
        if (act == COCO_ACT_RUN)
            give(run, &exit.hypercall, sizeof(exit.hypercall));
        return act;
    case COCO_KVM_EXIT_SYSTEM_EVENT:
        return coco_vcpu_event(vcpu, &exit.event);
    default:
        return COCO_ACT_UNHANDLED;
    }
}

int coco_vmm_finish_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu, struct kvm_run *run)
{
    struct coco_snp_exit snp;

    if (!run || !vcpu || vcpu->vmm != vmm || exit_reason(run) != COCO_KVM_EXIT_SNP_REQ_CERTS)
        return -EINVAL;
    take(run, &snp, sizeof(snp));
    int act = coco_vcpu_snp_finish(vcpu, &snp);
    if (act >= 0)
        give(run, &snp, sizeof(snp));
    return act;
}

int coco_vmm_handle_exit(struct coco_vmm *vmm, struct coco_vcpu *vcpu, struct kvm_run *run)
{
    int act = coco_vmm_start_exit(vmm, vcpu, run);

    if (act != COCO_ACT_WAIT)
        return act;
    (void)coco_snp_block(vcpu, act);
    return coco_vmm_finish_exit(vmm, vcpu, run);
}

/* --- KVM_EXIT_SNP_REQ_CERTS' switch ---------------------------------------------------------- */

int coco_snp_probe(int kvm_fd)
{
    uint64_t value = 0;
    struct kvm_device_attr attr = {.group = COCO_KVM_X86_GRP_SEV,
                                   .attr = COCO_KVM_X86_SEV_SNP_REQ_CERTS,
                                   .addr = (uint64_t)(uintptr_t)&value};

    if (ioctl(kvm_fd, KVM_HAS_DEVICE_ATTR, &attr) < 0)
        return errno == ENXIO || errno == ENOTTY || errno == EINVAL ? 0 : -errno;
    if (ioctl(kvm_fd, KVM_GET_DEVICE_ATTR, &attr) < 0)
        return errno == ENXIO ? 0 : -errno;
    return value != 0;
}

int coco_snp_enable(int vm_fd)
{
    struct kvm_sev_cmd command = {.id = COCO_KVM_SEV_SNP_ENABLE_REQ_CERTS};

    return ioctl(vm_fd, KVM_MEMORY_ENCRYPT_OP, &command) < 0 ? -errno : 0;
}
