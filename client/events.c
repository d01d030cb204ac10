/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_SYSTEM_EVENT: a guest that ended itself, SEV_TERM and TDX_FATAL.
 *
 * SEV_TERM carries the GHCB MSR of the guest's termination request: the low 12 bits are 0x100, then
 * four bits of reason set and eight of reason. TDX_FATAL carries the registers of the guest's
 * ReportFatalError in KVM's order; up to 64 bytes of text are spread over eight of them. The text
 * may end in a terminal or a log: what is not printable ASCII becomes '?'.
 *
 * cocod is told over the vCPU's own connection, which no other thread uses, and without waiting:
 * the VMM may exit next.
 */
#include "client_internal.h"
#include "kvm_abi.h"
#include "vmm_internal.h"
#include <errno.h>
#include <string.h>

#define GHCB_INFO_MASK    0xfffull
#define GHCB_TERM_REQ     0x100ull
#define TDX_PAGE_VALID    (1ull << 63)
#define TDX_REGISTERS     16u
#define TEXT_REGISTERS    ((size_t)8)
#define BYTES_IN_REGISTER 8u
#define TDX_DATA_R12      12u
#define TDX_DATA_R13      13u
#define REASON_SET_SHIFT  12
#define REASON_SET_MASK   0xfu
#define REASON_CODE_SHIFT 16
#define REASON_CODE_MASK  0xffu

static void decode_text(const uint64_t *data, char text[65])
{
    /* R14, R15, RBX, RDI, RSI, R8, R9, RDX: where KVM puts each. */
    static const uint8_t order[TEXT_REGISTERS] = {14, 15, 3, 7, 6, 8, 9, 2};
    size_t n = 0;

    for (size_t i = 0; i < TEXT_REGISTERS * BYTES_IN_REGISTER; i++) {
        uint64_t value = data[order[i / BYTES_IN_REGISTER]];
        char c = (char)(value >> (i % BYTES_IN_REGISTER * 8) & 0xff);
        if (c == 0)
            break;
        text[n++] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    text[n] = 0;
}

int coco_event_decode(const struct coco_event_exit *exit, struct coco_fatal_event *ret_event)
{
    struct coco_fatal_event event = {.kind = exit->type};
    const uint64_t *data = exit->data;

    if (exit->type == COCO_KVM_SYSTEM_EVENT_SEV_TERM) {
        if (exit->ndata > 0 && (data[0] & GHCB_INFO_MASK) == GHCB_TERM_REQ) {
            event.has_reason = 1;
            event.reason_set = (uint32_t)(data[0] >> REASON_SET_SHIFT) & REASON_SET_MASK;
            event.reason_code = (uint32_t)(data[0] >> REASON_CODE_SHIFT) & REASON_CODE_MASK;
        }
    } else if (exit->type == COCO_KVM_SYSTEM_EVENT_TDX_FATAL) {
        if (exit->ndata >= TDX_REGISTERS) {
            event.error_code = data[TDX_DATA_R12] & ~TDX_PAGE_VALID;
            event.has_page = (data[TDX_DATA_R12] & TDX_PAGE_VALID) != 0;
            event.page_gpa = event.has_page ? data[TDX_DATA_R13] : 0;
            decode_text(data, event.text);
        }
    } else {
        return -ENOENT;
    }
    *ret_event = event;
    return 0;
}

int coco_vcpu_event(struct coco_vcpu *vcpu, const struct coco_event_exit *exit)
{
    struct coco_vmm *vmm = vcpu->vmm;
    struct coco_fatal_event event;

    if (coco_event_decode(exit, &event) < 0)
        return COCO_ACT_UNHANDLED;
    /* A Unix socket connects at once, and the event follows HELLO without waiting for its answer.
     */
    (void)coco_client_process(vcpu->client, coco_vmm_revents(vcpu->client));
    if (coco_client_fd(vcpu->client) < 0)
        (void)coco_client_process(vcpu->client, 0);
    (void)coco_client_guest_event(vcpu->client, exit->type, exit->data,
                                  exit->ndata <= COCO_API_EVENT_DATA ? exit->ndata
                                                                     : COCO_API_EVENT_DATA);
    coco_vmm_repoll(&vcpu->polled, vcpu->client);
    if (vmm->ops.fatal)
        vmm->ops.fatal(vmm->userdata, &event);
    return COCO_ACT_FATAL;
}
