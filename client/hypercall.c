/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_HYPERCALL, KVM_HC_MAP_GPA_RANGE: a guest makes pages shared or private.
 *
 * KVM takes 0, EINVAL and, from Linux 7.2 on, EAGAIN for `ret`; before 7.2 any number but 0 is a
 * failure. EAGAIN becomes a TD's RETRY, and is said only where the VMM allows it
 * (COCO_VMM_MAP_GPA_EAGAIN). SNP has no such code, and its guests end themselves at a failure. So a
 * change that cannot be made right now is tried again in here first.
 *
 * A kick ends the tries, but must not become a failure that kills the guest. Without EAGAIN the
 * exit stays unanswered, and the VMM hands it in again after the kick: the change is idempotent.
 *
 * While the VM is quiesced, a guest that can be told EAGAIN is told so at once. For any other guest
 * the change is made, since the exit must be completed; the tries end within 100 ms.
 */
#include "kvm_abi.h"
#include "vmm_internal.h"
#include <errno.h>
#include <poll.h>

/* EAGAIN is given 100 ms; this many EINTRs are a VMM that never lets the change through. */
#define AGAIN_TRIES 100u
#define INTR_TRIES  1000u

/* Is the guest told EAGAIN without a try? */
static bool put_off(const struct coco_vmm *vmm)
{
    return (vmm->flags & COCO_VMM_MAP_GPA_EAGAIN) &&
           __atomic_load_n(&vmm->quiesced, __ATOMIC_ACQUIRE);
}

int coco_vcpu_set_attributes(struct coco_vcpu *vcpu, uint64_t gpa, uint64_t bytes,
                             bool make_private)
{
    struct coco_vmm *vmm = vcpu->vmm;
    uint32_t again = 0, interrupted = 0;

    for (;;) {
        int r = vmm->ops.set_memory_attributes(vmm->userdata, gpa, bytes, make_private);
        if ((r == -EINTR || r == -EAGAIN) && (coco_vcpu_kicked(vcpu) || put_off(vmm)))
            return -EINTR;
        if (r == -EINTR && ++interrupted < INTR_TRIES)
            continue;
        if (r == -EAGAIN && ++again < AGAIN_TRIES) {
            (void)poll(NULL, 0, 1);
            continue;
        }
        return r == -EINTR ? -EAGAIN : r;
    }
}

static bool decode(const struct coco_hypercall_exit *exit, uint64_t *ret_bytes)
{
    const uint64_t gpa = exit->args[0], npages = exit->args[1], flags = exit->args[2];
    uint64_t end;

    return gpa % COCO_PAGE_SIZE == 0 && npages > 0 &&
           !(flags & ~(COCO_KVM_MAP_GPA_SIZE_MASK | COCO_KVM_MAP_GPA_ENCRYPTED)) &&
           !__builtin_mul_overflow(npages, (uint64_t)COCO_PAGE_SIZE, ret_bytes) &&
           !__builtin_add_overflow(gpa, *ret_bytes, &end);
}

int coco_vcpu_hypercall(struct coco_vcpu *vcpu, struct coco_hypercall_exit *exit)
{
    struct coco_vmm *vmm = vcpu->vmm;
    uint64_t bytes;

    if (exit->nr != COCO_KVM_HC_MAP_GPA_RANGE || !vmm->ops.set_memory_attributes)
        return COCO_ACT_UNHANDLED;
    if (!decode(exit, &bytes)) {
        exit->ret = COCO_KVM_MAP_GPA_RET_EINVAL;
        return COCO_ACT_RUN;
    }
    int r = put_off(vmm) ? -EAGAIN
                         : coco_vcpu_set_attributes(vcpu, exit->args[0], bytes,
                                                    exit->args[2] & COCO_KVM_MAP_GPA_ENCRYPTED);
    if (r == 0)
        exit->ret = COCO_KVM_MAP_GPA_RET_OK;
    else if ((r == -EAGAIN || r == -EINTR) && (vmm->flags & COCO_VMM_MAP_GPA_EAGAIN))
        exit->ret = COCO_KVM_MAP_GPA_RET_EAGAIN;
    else if (r == -EINTR)
        return -EINTR;
    else
        exit->ret = COCO_KVM_MAP_GPA_RET_EINVAL;
    return COCO_ACT_RUN;
}
