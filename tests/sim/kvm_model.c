/* SPDX-License-Identifier: MIT */
/*
 * The model of KVM. The guest's function makes a call (kvm_vcpu_snp_guest_request,
 * kvm_vcpu_tdvmcall); KVM answers it, or leaves it open and exits. The next kvm_model_run()
 * completes an open call first, by what the run area then holds: so a VMM that sets immediate_exit
 * gets -EINTR after the firmware was asked, and a firmware update before that moment is seen in the
 * report. An answer that KVM does not take closes the call without a result, as in Linux:
 * sw_exitinfo2 stays 0 and the response page untouched.
 */
#include "kvm_model_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE KVM_MODEL_PAGE

#define EMPTY_TABLE_SIZE 24

enum open_exit {
    OPEN_NOTHING,
    OPEN_SNP_CERTS,
    OPEN_TDX,
    OPEN_PSC_PAGE,
    OPEN_PSC_MSR,
    OPEN_VMGEXIT_PAGE,
    OPEN_VMGEXIT_MSR,
    OPEN_MAP_GPA,
};

struct kvm_vcpu {
    struct kvm_model *vm;
    uint32_t apic_id;
    struct kvm_model_run run;
    kvm_guest_fn guest_run;
    void *guest;
    enum open_exit open;
    struct snp_report_request request; /* of the open SNP call */
    struct kvm_snp_result snp;
    struct kvm_tdx_result tdx;
    uint64_t map_next, map_end; /* of the open MapGPA */
    bool map_shared;
    uint64_t wake_us;
    unsigned interrupts[256]; /* under vm->lock */
};

/* --- VM and vCPUs ----------------------------------------------------------------------------- */

struct kvm_model *kvm_model_new(enum kvm_model_type type)
{
    struct kvm_model *vm = calloc(1, sizeof(*vm));

    if (!vm)
        return NULL;
    vm->type = type;
    if (pthread_mutex_init(&vm->lock, NULL) != 0) {
        free(vm);
        return NULL;
    }
    return vm;
}

void kvm_model_free(struct kvm_model *vm)
{
    if (!vm)
        return;
    kvm_model_free_memory(vm);
    for (size_t i = 0; i < vm->n_vcpus; i++)
        free(vm->vcpus[i]);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

void kvm_model_set_firmware(struct kvm_model *vm, struct snp_firmware *fw)
{
    vm->firmware = fw;
}

int kvm_model_enable_req_certs(struct kvm_model *vm)
{
    if (vm->type != KVM_MODEL_SNP || vm->n_vcpus > 0)
        return -EINVAL;
    vm->req_certs = true;
    return 0;
}

void kvm_model_before_7_2(struct kvm_model *vm)
{
    vm->before_7_2 = true;
}

void kvm_model_use_vmgexit(struct kvm_model *vm)
{
    vm->vmgexit = true;
}

struct kvm_vcpu *kvm_model_add_vcpu(struct kvm_model *vm, uint32_t apic_id)
{
    struct kvm_vcpu *vcpu = vm->n_vcpus < KVM_MODEL_MAX_VCPUS ? calloc(1, sizeof(*vcpu)) : NULL;

    if (!vcpu)
        return NULL;
    vcpu->vm = vm;
    vcpu->apic_id = apic_id;
    vm->vcpus[vm->n_vcpus++] = vcpu;
    return vcpu;
}

struct kvm_model_run *kvm_vcpu_run_area(struct kvm_vcpu *vcpu)
{
    return &vcpu->run;
}

void kvm_vcpu_set_guest(struct kvm_vcpu *vcpu, kvm_guest_fn run, void *guest)
{
    vcpu->guest_run = run;
    vcpu->guest = guest;
}

struct kvm_model *kvm_vcpu_vm(struct kvm_vcpu *vcpu)
{
    return vcpu->vm;
}

void kvm_vcpu_halt(struct kvm_vcpu *vcpu, uint64_t wake_us)
{
    vcpu->wake_us = wake_us;
}

void kvm_vcpu_reset(struct kvm_vcpu *vcpu)
{
    vcpu->open = OPEN_NOTHING;
    vcpu->run = (struct kvm_model_run){0};
}

int kvm_model_signal_msi(struct kvm_model *vm, uint32_t apic_id, uint32_t vector)
{
    int r = -ENOENT;

    if (vector < 32 || vector > 255)
        return -EINVAL;
    pthread_mutex_lock(&vm->lock);
    for (size_t i = 0; i < vm->n_vcpus; i++)
        if (vm->vcpus[i]->apic_id == apic_id) {
            vm->vcpus[i]->interrupts[vector]++;
            r = 0;
        }
    pthread_mutex_unlock(&vm->lock);
    return r;
}

unsigned kvm_vcpu_interrupts(struct kvm_vcpu *vcpu, uint8_t vector)
{
    pthread_mutex_lock(&vcpu->vm->lock);
    unsigned n = vcpu->interrupts[vector];
    pthread_mutex_unlock(&vcpu->vm->lock);
    return n;
}

/* --- SNP guest requests ----------------------------------------------------------------------- */

/* SNP_GUEST_REQUEST: the report is made now, under the keys and the TCB of now. */
static void ask_firmware(struct kvm_vcpu *vcpu)
{
    if (vcpu->vm->firmware)
        snp_firmware_answer(vcpu->vm->firmware, &vcpu->request, &vcpu->snp.response);
}

void kvm_vcpu_snp_guest_request(struct kvm_vcpu *vcpu, const struct snp_report_request *request,
                                bool extended, uint64_t gpa, uint64_t npages)
{
    static const uint8_t empty_table[EMPTY_TABLE_SIZE];

    vcpu->request = *request;
    vcpu->snp = (struct kvm_snp_result){.rbx = npages};
    if (extended && gpa % PAGE != 0) {
        vcpu->snp.sw_exitinfo1 = ABI_GHCB_MALFORMED_INPUT;
        vcpu->snp.sw_exitinfo2 = ABI_GHCB_ERR_INVALID_INPUT;
        return;
    }
    if (extended && vcpu->vm->req_certs) {
        vcpu->open = OPEN_SNP_CERTS;
        vcpu->run.exit_reason = ABI_EXIT_SNP_REQ_CERTS;
        vcpu->run.u.snp_req_certs =
            (struct abi_snp_req_certs){.gpa = gpa, .npages = npages, .ret = 0};
        return;
    }
    /* Not opted in: KVM writes the empty table itself. */
    if (extended && npages > 0 &&
        kvm_model_write(vcpu->vm, gpa, empty_table, sizeof(empty_table)) < 0) {
        vcpu->snp.sw_exitinfo1 = ABI_GHCB_MALFORMED_INPUT;
        vcpu->snp.sw_exitinfo2 = ABI_GHCB_ERR_INVALID_INPUT;
        return;
    }
    ask_firmware(vcpu);
}

static int complete_snp_certs(struct kvm_vcpu *vcpu)
{
    const struct abi_snp_req_certs *answer = &vcpu->run.u.snp_req_certs;

    switch (answer->ret) {
    case ABI_RET_OK:
        ask_firmware(vcpu);
        return 0;
    case ABI_RET_ENOSPC:
        vcpu->snp.rbx = answer->npages;
        vcpu->snp.sw_exitinfo2 = ABI_EXITINFO2_INVALID_LEN;
        return 0;
    case ABI_RET_EAGAIN:
        vcpu->snp.sw_exitinfo2 = ABI_EXITINFO2_BUSY;
        return 0;
    case ABI_RET_EIO:
        vcpu->snp.sw_exitinfo2 = ABI_EXITINFO2_GENERIC;
        return 0;
    default:
        return -EINVAL;
    }
}

const struct kvm_snp_result *kvm_vcpu_snp_result(const struct kvm_vcpu *vcpu)
{
    return &vcpu->snp;
}

/* --- KVM_HC_MAP_GPA_RANGE --------------------------------------------------------------------- */

#define MAP_GPA_CHUNK 0x200000u

static void exit_map_gpa(struct kvm_vcpu *vcpu, enum open_exit open, uint64_t gpa, uint64_t npages,
                         bool make_private)
{
    vcpu->open = open;
    vcpu->run.exit_reason = ABI_EXIT_HYPERCALL;
    memset(&vcpu->run.u, 0, sizeof(vcpu->run.u));
    vcpu->run.u.hypercall.nr = ABI_HC_MAP_GPA_RANGE;
    vcpu->run.u.hypercall.args[0] = gpa;
    vcpu->run.u.hypercall.args[1] = npages;
    vcpu->run.u.hypercall.args[2] = make_private ? ABI_MAP_GPA_ENCRYPTED : 0;
}

/* The VMM's answer: 0, EAGAIN or EINVAL; negative where KVM does not take it. */
static int map_gpa_answer(const struct kvm_vcpu *vcpu)
{
    const uint64_t ret = vcpu->run.u.hypercall.ret;

    if (vcpu->vm->before_7_2)
        return ret == 0 ? 0 : EINVAL;
    return ret == 0 || ret == ABI_RET_EAGAIN || ret == ABI_RET_EINVAL ? (int)ret : -EINVAL;
}

static void exit_vmgexit(struct kvm_vcpu *vcpu, enum open_exit open, uint64_t ghcb_msr)
{
    vcpu->open = open;
    vcpu->run.exit_reason = ABI_EXIT_VMGEXIT;
    vcpu->run.u.vmgexit = (struct abi_vmgexit){.ghcb_msr = ghcb_msr};
}

void kvm_vcpu_snp_psc(struct kvm_vcpu *vcpu, uint64_t gpa, uint64_t npages, bool make_private,
                      bool msr_form)
{
    vcpu->snp = (struct kvm_snp_result){0};
    if (vcpu->vm->vmgexit) {
        if (msr_form)
            exit_vmgexit(vcpu, OPEN_VMGEXIT_MSR,
                         ABI_MSR_PSC_REQ | gpa |
                             (make_private ? ABI_MSR_PSC_PRIVATE : ABI_MSR_PSC_SHARED));
        else
            exit_vmgexit(vcpu, OPEN_VMGEXIT_PAGE, gpa);
        return;
    }
    exit_map_gpa(vcpu, msr_form ? OPEN_PSC_MSR : OPEN_PSC_PAGE, gpa, msr_form ? 1 : npages,
                 make_private);
}

/* Neither form can tell the guest to ask again. */
static int complete_psc(struct kvm_vcpu *vcpu, bool msr_form)
{
    int answer = map_gpa_answer(vcpu);

    if (answer < 0)
        return answer;
    if (msr_form)
        vcpu->snp.ghcb_msr = ABI_MSR_PSC_RESP | (answer ? ABI_MSR_ERROR_GENERIC : 0);
    else
        vcpu->snp.sw_exitinfo2 = answer ? ABI_PSC_ERROR_GENERIC : 0;
    return 0;
}

static void map_next_piece(struct kvm_vcpu *vcpu)
{
    const uint64_t left = vcpu->map_end - vcpu->map_next;

    exit_map_gpa(vcpu, OPEN_MAP_GPA, vcpu->map_next,
                 (left < MAP_GPA_CHUNK ? left : MAP_GPA_CHUNK) / PAGE, !vcpu->map_shared);
}

static void begin_map_gpa(struct kvm_vcpu *vcpu, uint64_t r12, uint64_t size)
{
    vcpu->map_shared = r12 & KVM_MODEL_TDX_SHARED;
    vcpu->map_next = r12 & ~KVM_MODEL_TDX_SHARED;
    if (vcpu->map_next % PAGE != 0 || size % PAGE != 0 || size == 0 ||
        __builtin_add_overflow(vcpu->map_next, size, &vcpu->map_end)) {
        vcpu->tdx.r10 = ABI_TDVMCALL_INVALID_OPERAND;
        return;
    }
    map_next_piece(vcpu);
}

/* 1: another piece is with the VMM. */
static int complete_map_gpa(struct kvm_vcpu *vcpu)
{
    int answer = map_gpa_answer(vcpu);

    if (answer < 0)
        return answer;
    if (answer == 0) {
        vcpu->map_next += vcpu->run.u.hypercall.args[1] * PAGE;
        if (vcpu->map_next < vcpu->map_end) {
            map_next_piece(vcpu);
            return 1;
        }
        vcpu->tdx.r10 = ABI_TDVMCALL_SUCCESS;
        return 0;
    }
    vcpu->tdx.r10 = answer == EAGAIN ? ABI_TDVMCALL_RETRY : ABI_TDVMCALL_INVALID_OPERAND;
    vcpu->tdx.r11 = vcpu->map_next | (vcpu->map_shared ? KVM_MODEL_TDX_SHARED : 0);
    return 0;
}

/* --- TDVMCALLs -------------------------------------------------------------------------------- */

static void exit_to_vmm(struct kvm_vcpu *vcpu, const struct abi_tdx *exit)
{
    vcpu->open = OPEN_TDX;
    vcpu->run.exit_reason = ABI_EXIT_TDX;
    vcpu->run.u.tdx = *exit;
}

void kvm_vcpu_tdvmcall(struct kvm_vcpu *vcpu, uint64_t leaf, uint64_t r12, uint64_t r13)
{
    struct abi_tdx exit = {.nr = leaf};

    vcpu->tdx = (struct kvm_tdx_result){.r10 = ABI_TDVMCALL_SUCCESS};
    switch (leaf) {
    case ABI_TDVMCALL_MAP_GPA:
        begin_map_gpa(vcpu, r12, r13);
        return;
    case ABI_TDVMCALL_GET_QUOTE:
        if (!(r12 & KVM_MODEL_TDX_SHARED)) {
            vcpu->tdx.r10 = ABI_TDVMCALL_INVALID_OPERAND;
            return;
        }
        exit.u.get_quote.ret = ABI_TDVMCALL_SUBFUNC_UNSUPPORTED;
        exit.u.get_quote.gpa = r12 & ~KVM_MODEL_TDX_SHARED;
        exit.u.get_quote.size = r13;
        break;
    case ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT:
        if (r12 < 32 || r12 > 255) {
            vcpu->tdx.r10 = ABI_TDVMCALL_INVALID_OPERAND;
            return;
        }
        exit.u.setup_event_notify.ret = ABI_TDVMCALL_SUBFUNC_UNSUPPORTED;
        exit.u.setup_event_notify.vector = r12;
        break;
    case ABI_TDVMCALL_GET_TD_VM_CALL_INFO:
        /* Leaf 0 KVM answers: nothing beyond the base. Leaf 1 is the VMM's. */
        if (r12 != 1) {
            vcpu->tdx.r10 = r12 == 0 ? ABI_TDVMCALL_SUCCESS : ABI_TDVMCALL_INVALID_OPERAND;
            return;
        }
        exit.u.get_tdvmcall_info.ret = ABI_TDVMCALL_SUCCESS;
        exit.u.get_tdvmcall_info.leaf = r12;
        break;
    default:
        /* A leaf of some later kernel: a VMM that does not know it leaves what is preset. */
        exit.u.unknown.ret = ABI_TDVMCALL_SUBFUNC_UNSUPPORTED;
        exit.u.unknown.data[0] = r12;
        exit.u.unknown.data[1] = r13;
        break;
    }
    exit_to_vmm(vcpu, &exit);
}

/* `ret` lies at the same place in every leaf, and reaches R10 as it is: any number. */
static int complete_tdx(struct kvm_vcpu *vcpu)
{
    const struct abi_tdx *answer = &vcpu->run.u.tdx;

    vcpu->tdx.r10 = answer->u.unknown.ret;
    if (answer->nr == ABI_TDVMCALL_GET_TD_VM_CALL_INFO) {
        vcpu->tdx.r11 = answer->u.get_tdvmcall_info.r11;
        vcpu->tdx.r12 = answer->u.get_tdvmcall_info.r12;
        vcpu->tdx.r13 = answer->u.get_tdvmcall_info.r13;
        vcpu->tdx.r14 = answer->u.get_tdvmcall_info.r14;
    }
    return 0;
}

const struct kvm_tdx_result *kvm_vcpu_tdx_result(const struct kvm_vcpu *vcpu)
{
    return &vcpu->tdx;
}

/* --- KVM_RUN ---------------------------------------------------------------------------------- */

/* 0: the guest goes on; 1: its call is with the VMM again. */
static int complete(struct kvm_vcpu *vcpu)
{
    enum open_exit open = vcpu->open;

    vcpu->open = OPEN_NOTHING;
    switch (open) {
    case OPEN_SNP_CERTS:
        return complete_snp_certs(vcpu);
    case OPEN_TDX:
        return complete_tdx(vcpu);
    case OPEN_PSC_PAGE:
    case OPEN_PSC_MSR:
        return complete_psc(vcpu, open == OPEN_PSC_MSR);
    case OPEN_VMGEXIT_PAGE:
        vcpu->snp.sw_exitinfo2 = vcpu->run.u.vmgexit.ret;
        return 0;
    case OPEN_VMGEXIT_MSR:
        vcpu->snp.ghcb_msr = vcpu->run.u.vmgexit.ghcb_msr;
        return 0;
    case OPEN_MAP_GPA:
        return complete_map_gpa(vcpu);
    case OPEN_NOTHING:
        break;
    }
    return 0;
}

int kvm_model_run(struct kvm_vcpu *vcpu)
{
    int r = complete(vcpu);

    if (r < 0)
        return r;
    if (r > 0)
        return 0;
    if (vcpu->run.immediate_exit)
        return -EINTR;
    for (;;) {
        vcpu->wake_us = KVM_MODEL_NEVER;
        enum kvm_guest_action action =
            vcpu->guest_run ? vcpu->guest_run(vcpu->guest, vcpu) : KVM_GUEST_HALTS;
        if (action == KVM_GUEST_HALTS) {
            vcpu->run.exit_reason = ABI_EXIT_HLT;
            vcpu->run.u.hlt.wake_us = vcpu->wake_us;
            return 0;
        }
        if (vcpu->open != OPEN_NOTHING)
            return 0;
    }
}
