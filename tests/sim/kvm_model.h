/* SPDX-License-Identifier: MIT */
/*
 * A model of KVM for confidential guests: memory, the exits that a VMM answers, their completion,
 * and the SEV-SNP firmware behind them, all as in Linux (Documentation/virt/kvm/api.rst,
 * KVM_EXIT_SNP_REQ_CERTS and KVM_EXIT_TDX). A VMM calls kvm_model_run() for ioctl(KVM_RUN); the
 * guest, a model too, runs inside that call: snp_guest.h, tdx_guest.h, or a test's own.
 *
 * Threads: memory and firmware functions from any; a vCPU belongs to the thread that runs it.
 */
#pragma once

#include "linux_abi.h"
#include "snp_report.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- the VM and its memory -------------------------------------------------------------------- */

struct kvm_model;

enum kvm_model_type {
    KVM_MODEL_SNP,
    KVM_MODEL_TDX,
};

struct kvm_model *kvm_model_new(enum kvm_model_type type);
void kvm_model_free(struct kvm_model *vm);

enum kvm_model_access {
    KVM_MODEL_SHARED,   /* guest and VMM */
    KVM_MODEL_PRIVATE,  /* the guest alone */
    KVM_MODEL_UNMAPPED, /* nobody */
};

/* Zeroed, shared pages at gpa; both numbers are multiples of 4096. -EEXIST where they overlap. */
int kvm_model_add_memory(struct kvm_model *vm, uint64_t gpa, size_t size);
/* The same, in memory of the VMM's own, as it is: KVM_SET_USER_MEMORY_REGION. It outlives the VM;
 * kvm_model_add_memory() within it adds nothing. */
int kvm_model_add_user_memory(struct kvm_model *vm, uint64_t gpa, size_t size, void *bytes);
/* Changes pages that are there; -EFAULT where some are not. */
int kvm_model_set_access(struct kvm_model *vm, uint64_t gpa, size_t size,
                         enum kvm_model_access access);

/* The VMM's view: all of it or nothing, -EFAULT where a page is not shared. */
int kvm_model_read(struct kvm_model *vm, uint64_t gpa, void *out, size_t size);
int kvm_model_write(struct kvm_model *vm, uint64_t gpa, const void *data, size_t size);
/* One aligned number, little-endian, ordered after (before) all accesses of the same thread. */
int kvm_model_store64_release(struct kvm_model *vm, uint64_t gpa, uint64_t value);
int kvm_model_load64_acquire(struct kvm_model *vm, uint64_t gpa, uint64_t *ret);

/* The guest's view: private pages too. */
int kvm_model_guest_read(struct kvm_model *vm, uint64_t gpa, void *out, size_t size);
int kvm_model_guest_write(struct kvm_model *vm, uint64_t gpa, const void *data, size_t size);

/* --- the firmware of an SNP host -------------------------------------------------------------- */

/* Shared by all VMs of a host. */
struct snp_firmware;

struct snp_firmware_state {
    struct snp_pki_tcb current, committed, reported;
    bool vlek_en;
    bool mask_chip_id, mask_chip_key;
    EVP_PKEY *vcek, *vlek; /* the keys in force at `reported`; referenced */
};

struct snp_firmware *snp_firmware_new(const char *product,
                                      const uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE]);
void snp_firmware_free(struct snp_firmware *fw);
/* What SNP_COMMIT, SNP_SET_CONFIG, SNP_VLEK_LOAD and a reset do, from the next report on. */
void snp_firmware_set(struct snp_firmware *fw, const struct snp_firmware_state *state);
/* A chain's leaf in force: every TCB is `tcb`, the key is the leaf's. For tests that want no more.
 */
void snp_firmware_use_leaf(struct snp_firmware *fw, const struct snp_pki_leaf *leaf,
                           struct snp_pki_tcb tcb);
/* The numbers of SNP_PLATFORM_STATUS. The keys are not handed out: NULL. */
void snp_firmware_get(struct snp_firmware *fw, struct snp_firmware_state *ret);
/* How many reports it made since it was made itself. */
unsigned snp_firmware_reports(struct snp_firmware *fw);

/* MSG_REPORT_REQ and its answer. */
struct snp_report_request {
    uint8_t report_data[SNP_REPORT_DATA_SIZE];
    uint32_t vmpl;
    uint32_t key_sel; /* 0 VLEK if there is one, else VCEK; 1 VCEK; 2 VLEK */
};

#define SNP_STATUS_OK            0x00u
#define SNP_STATUS_INVALID_PARAM 0x16u
#define SNP_STATUS_INVALID_KEY   0x27u

struct snp_report_response {
    bool valid; /* the firmware answered; else the guest's response page is untouched */
    uint32_t status;
    uint8_t report[SNP_REPORT_SIZE];
};

/* SNP_GUEST_REQUEST: makes the report now, under the keys and the TCB of now. */
void snp_firmware_answer(struct snp_firmware *fw, const struct snp_report_request *request,
                         struct snp_report_response *ret);

void kvm_model_set_firmware(struct kvm_model *vm, struct snp_firmware *fw);
/* KVM_SEV_SNP_ENABLE_REQ_CERTS: -EINVAL for a TD, and once the VM has a vCPU. */
int kvm_model_enable_req_certs(struct kvm_model *vm);
/* Linux before 7.2: whatever `ret` of KVM_HC_MAP_GPA_RANGE is not 0 is one failure. */
void kvm_model_before_7_2(struct kvm_model *vm);
/* A kernel of the SNP series v10: page state changes are KVM_EXIT_VMGEXIT. MSR form: the guest
 * gets ghcb_msr as of the next KVM_RUN (`ret` is ignored); page form: `ret` is SW_EXITINFO2. */
void kvm_model_use_vmgexit(struct kvm_model *vm);

/* --- vCPUs, as a VMM sees them ---------------------------------------------------------------- */

/* hlt.wake_us of a guest that waits for nothing. */
#define KVM_MODEL_NEVER UINT64_MAX

/* What is shared with the VMM, as struct kvm_run. */
struct kvm_model_run {
    uint8_t immediate_exit;
    /* ABI_EXIT_SNP_REQ_CERTS, _TDX, _HYPERCALL, _VMGEXIT, _HLT */
    uint32_t exit_reason;
    union {
        struct abi_hypercall hypercall; /* KVM_HC_MAP_GPA_RANGE: gpa, pages, flags */
        struct abi_snp_req_certs snp_req_certs;
        struct abi_tdx tdx;
        struct abi_vmgexit vmgexit; /* only after kvm_model_use_vmgexit() */
        /* Nothing to run before this time of the guest's clock. */
        struct {
            uint64_t wake_us;
        } hlt;
    } u;
};

struct kvm_vcpu;

/* The VM frees its vCPUs. */
struct kvm_vcpu *kvm_model_add_vcpu(struct kvm_model *vm, uint32_t apic_id);
struct kvm_model_run *kvm_vcpu_run_area(struct kvm_vcpu *vcpu);

/* KVM_RUN. First the exit that was open is completed, by what the VMM left in the run area; then
 * -EINTR if immediate_exit is set; else the guest runs to its next exit, and 0. -EINVAL where the
 * answer is one that KVM does not take: the guest's call then never got a result. */
int kvm_model_run(struct kvm_vcpu *vcpu);

/* The vCPU begins anew: an exit that is open is dropped. */
void kvm_vcpu_reset(struct kvm_vcpu *vcpu);

/* KVM_SIGNAL_MSI; -EINVAL for a vector that is none, -ENOENT for an APIC id that is nobody's. */
int kvm_model_signal_msi(struct kvm_model *vm, uint32_t apic_id, uint32_t vector);
unsigned kvm_vcpu_interrupts(struct kvm_vcpu *vcpu, uint8_t vector);

/* --- vCPUs, as a guest sees them -------------------------------------------------------------- */

enum kvm_guest_action {
    KVM_GUEST_CALLS, /* one of the calls below was made */
    KVM_GUEST_HALTS, /* until the time that was given to kvm_vcpu_halt() */
};

/* Runs the guest, from where it was, to its next call or halt. */
typedef enum kvm_guest_action (*kvm_guest_fn)(void *guest, struct kvm_vcpu *vcpu);

void kvm_vcpu_set_guest(struct kvm_vcpu *vcpu, kvm_guest_fn run, void *guest);
struct kvm_model *kvm_vcpu_vm(struct kvm_vcpu *vcpu);
void kvm_vcpu_halt(struct kvm_vcpu *vcpu, uint64_t wake_us);

/* SNP guest request: `extended`: NAE event 0x80000012, RAX gpa, RBX npages; else 0x80000011. */
void kvm_vcpu_snp_guest_request(struct kvm_vcpu *vcpu, const struct snp_report_request *request,
                                bool extended, uint64_t gpa, uint64_t npages);

/* SNP page state change of one range: in the form of a page, whose result is SW_EXITINFO2, or of
 * the GHCB MSR, for one page, whose result is the MSR. With kvm_model_use_vmgexit() the page form's
 * gpa is the GHCB's, in which the guest has put the request; npages and make_private do not count.
 */
void kvm_vcpu_snp_psc(struct kvm_vcpu *vcpu, uint64_t gpa, uint64_t npages, bool make_private,
                      bool msr_form);

struct kvm_snp_result {
    uint64_t sw_exitinfo1; /* 2: KVM found the request malformed */
    uint64_t sw_exitinfo2;
    uint64_t rbx;
    uint64_t ghcb_msr;
    struct snp_report_response response;
};

const struct kvm_snp_result *kvm_vcpu_snp_result(const struct kvm_vcpu *vcpu);

/* TDVMCALLs. A shared address carries this bit, and KVM takes it off. */
#define KVM_MODEL_TDX_SHARED (1ull << 51)

/* Any leaf, with its arguments. MapGPA (gpa, size) is handed to the VMM in pieces of 2 MiB. */
void kvm_vcpu_tdvmcall(struct kvm_vcpu *vcpu, uint64_t leaf, uint64_t r12, uint64_t r13);

struct kvm_tdx_result {
    uint64_t r10;
    uint64_t r11, r12, r13, r14; /* GetTdVmCallInfo; MapGPA: r11, where it stopped */
};

const struct kvm_tdx_result *kvm_vcpu_tdx_result(const struct kvm_vcpu *vcpu);
