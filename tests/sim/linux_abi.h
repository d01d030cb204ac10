/* SPDX-License-Identifier: MIT */
/*
 * Linux's and the specifications' numbers and layouts, newer than the oldest linux/kvm.h that is
 * built with. Models and tests write them down for themselves: no product's header is believed by
 * what tests it. `make check-abi` compares them with a released kernel's headers; for the rest
 * tests/abi/numbers has the source.
 */
#pragma once

#include <stdint.h>

/* --- /dev/kvm --------------------------------------------------------------------------------- */

#define ABI_CAP_VM_TYPES          235
#define ABI_VM_SNP                4ul
#define ABI_VM_TDX                5ul
#define ABI_SEV_INIT2             22u
#define ABI_MEM_GUEST_MEMFD       (1u << 2)
#define ABI_ATTRIBUTE_PRIVATE     (1ull << 3)
#define ABI_SET_USER_MEMORY2      0x40a0ae49u
#define ABI_CREATE_GUEST_MEMFD    0xc040aed4u
#define ABI_SET_MEMORY_ATTRIBUTES 0x4020aed2u

#define ABI_X86_GRP_SEV              1u
#define ABI_X86_SEV_SNP_REQ_CERTS    2u
#define ABI_SEV_SNP_ENABLE_REQ_CERTS 103u

struct abi_memory_region2 {
    uint32_t slot, flags;
    uint64_t gpa, size, user_address, memfd_offset;
    uint32_t memfd, pad1;
    uint64_t pad2[14];
};

struct abi_guest_memfd {
    uint64_t size, flags, reserved[6];
};

struct abi_sev_init {
    uint64_t vmsa_features;
    uint32_t flags;
    uint16_t ghcb_version, pad1;
    uint32_t pad2[8];
};

struct abi_memory_attributes {
    uint64_t gpa, size, attributes, flags;
};

/* --- exits ------------------------------------------------------------------------------------ */

#define ABI_EXIT_HYPERCALL     3u
#define ABI_EXIT_HLT           5u
#define ABI_EXIT_SHUTDOWN      8u
#define ABI_EXIT_SYSTEM_EVENT  24u
#define ABI_EXIT_TDX           40u
#define ABI_EXIT_SNP_REQ_CERTS 43u
/* In the series as it was posted; KVM_EXIT_ARM_LDST64B in released kernels. */
#define ABI_EXIT_SNP_REQ_CERTS_POSTED 42u
/* KVM_EXIT_VMGEXIT of the SNP series v10, never merged. */
#define ABI_EXIT_VMGEXIT 50u

struct abi_hypercall {
    uint64_t nr;
    uint64_t args[6];
    uint64_t ret;
};

struct abi_snp_req_certs {
    uint64_t gpa;
    uint64_t npages;
    uint64_t ret;
};

struct abi_tdx {
    uint64_t flags;
    uint64_t nr;
    union {
        struct {
            uint64_t ret;
            uint64_t data[5];
        } unknown;
        struct {
            uint64_t ret;
            uint64_t gpa;
            uint64_t size;
        } get_quote;
        struct {
            uint64_t ret;
            uint64_t leaf;
            uint64_t r11, r12, r13, r14;
        } get_tdvmcall_info;
        struct {
            uint64_t ret;
            uint64_t vector;
        } setup_event_notify;
    } u;
};

struct abi_vmgexit {
    uint64_t ghcb_msr;
    uint64_t ret;
};

/* What KVM takes for `ret`: errno, positive. */
#define ABI_RET_OK     0u
#define ABI_RET_EIO    5u
#define ABI_RET_EAGAIN 11u
#define ABI_RET_EINVAL 22u
#define ABI_RET_ENOSPC 28u

#define ABI_HC_MAP_GPA_RANGE  12u
#define ABI_MAP_GPA_ENCRYPTED (1ull << 4)

/* --- an SNP guest's side: the GHCB specification ---------------------------------------------- */

/* SW_EXITINFO2 of an extended guest request. */
#define ABI_EXITINFO2_INVALID_LEN 0x0000000100000000ull
#define ABI_EXITINFO2_BUSY        0x0000000200000000ull
#define ABI_EXITINFO2_GENERIC     0xffffffff00000000ull
/* SW_EXITINFO1 of a malformed request, and the reason in SW_EXITINFO2. */
#define ABI_GHCB_MALFORMED_INPUT   2u
#define ABI_GHCB_ERR_INVALID_INPUT 5u
/* A page state change that failed, in each form. */
#define ABI_PSC_ERROR_GENERIC (0x100ull << 32)
#define ABI_MSR_PSC_REQ       0x014ull
#define ABI_MSR_PSC_RESP      0x015ull
#define ABI_MSR_PSC_PRIVATE   (1ull << 52)
#define ABI_MSR_PSC_SHARED    (2ull << 52)
#define ABI_MSR_ERROR_GENERIC (1ull << 63)

/* --- a TD's side: GHCI ------------------------------------------------------------------------ */

#define ABI_TDVMCALL_GET_TD_VM_CALL_INFO          0x10000u
#define ABI_TDVMCALL_MAP_GPA                      0x10001u
#define ABI_TDVMCALL_GET_QUOTE                    0x10002u
#define ABI_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT 0x10004u

/* R10. */
#define ABI_TDVMCALL_SUCCESS             0ull
#define ABI_TDVMCALL_RETRY               1ull
#define ABI_TDVMCALL_INVALID_OPERAND     0x8000000000000000ull
#define ABI_TDVMCALL_ALIGN_ERROR         0x8000000000000002ull
#define ABI_TDVMCALL_SUBFUNC_UNSUPPORTED 0x8000000000000003ull

/* GetQuote's shared buffer. */
#define ABI_GETQUOTE_HEADER_SIZE 24u
#define ABI_GETQUOTE_VERSION     1u
#define ABI_GETQUOTE_OFF_STATUS  8u
#define ABI_GETQUOTE_OFF_OUT_LEN 20u

#define ABI_GETQUOTE_SUCCESS             0ull
#define ABI_GETQUOTE_IN_FLIGHT           0xffffffffffffffffull
#define ABI_GETQUOTE_ERROR               0x8000000000000000ull
#define ABI_GETQUOTE_SERVICE_UNAVAILABLE 0x8000000000000001ull
