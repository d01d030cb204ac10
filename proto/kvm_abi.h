/* SPDX-License-Identifier: MIT */
/*
 * The KVM exits that cocod answers, for build hosts whose linux/kvm.h is older. Names carry a COCO_
 * prefix, so that this header and linux/kvm.h can be included together.
 *
 * What the headers of a released kernel have too is compared with them by `make check-abi`; what
 * they do not have is listed in tests/abi/numbers with its source. Both are whole: a number that is
 * added here and not there fails that check.
 */
#pragma once

/* --- struct kvm_run --------------------------------------------------------------------------- */
#define COCO_KVM_RUN_OFF_EXIT_REASON 8u
#define COCO_KVM_RUN_OFF_EXIT        32u /* the union of all exits */

/* --- KVM_EXIT_SNP_REQ_CERTS, Linux 7.0 -------------------------------------------------------- */
#define COCO_KVM_EXIT_SNP_REQ_CERTS 43u
/* Its number in the series as it was posted, and in kernels that were built from it. The merge gave
 * that one to KVM_EXIT_ARM_LDST64B; on x86 it is nobody else's. */
#define COCO_KVM_EXIT_SNP_REQ_CERTS_POSTED 42u

/* The four values of `ret` that KVM takes; any other makes KVM_RUN fail with EINVAL. */
#define COCO_KVM_SNP_RET_OK     0u
#define COCO_KVM_SNP_RET_EIO    5u
#define COCO_KVM_SNP_RET_EAGAIN 11u
#define COCO_KVM_SNP_RET_ENOSPC 28u

/* KVM_MEMORY_ENCRYPT_OP sub-command that enables the exit, before the first vCPU exists; and the
 * attribute of /dev/kvm (KVM_HAS_DEVICE_ATTR) that tells whether the kernel has it. */
#define COCO_KVM_SEV_SNP_ENABLE_REQ_CERTS 103u
#define COCO_KVM_X86_GRP_SEV              1u
#define COCO_KVM_X86_SEV_SNP_REQ_CERTS    2u

/* --- KVM_EXIT_TDX, Linux 6.16 ----------------------------------------------------------------- */
#define COCO_KVM_EXIT_TDX 40u

#define COCO_TDVMCALL_GET_TD_VM_CALL_INFO          0x10000u
#define COCO_TDVMCALL_MAP_GPA                      0x10001u
#define COCO_TDVMCALL_GET_QUOTE                    0x10002u
#define COCO_TDVMCALL_REPORT_FATAL_ERROR           0x10003u
#define COCO_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT 0x10004u

/* `ret` of every TDX leaf, copied to the guest's R10: not an errno. */
#define COCO_TDVMCALL_SUCCESS             0ull
#define COCO_TDVMCALL_RETRY               1ull
#define COCO_TDVMCALL_INVALID_OPERAND     0x8000000000000000ull
#define COCO_TDVMCALL_GPA_INUSE           0x8000000000000001ull
#define COCO_TDVMCALL_ALIGN_ERROR         0x8000000000000002ull
#define COCO_TDVMCALL_SUBFUNC_UNSUPPORTED 0x8000000000000003ull

/* R11 of GetTdVmCallInfo's leaf 1: SetupEventNotifyInterrupt is there. GetQuote, which every VMM
 * has, is not listed. */
#define COCO_TDVMCALL_INFO_SETUP_EVENT_NOTIFY (1ull << 1)
/* What SetupEventNotifyInterrupt takes for a vector. */
#define COCO_TDVMCALL_VECTOR_MIN 32u
#define COCO_TDVMCALL_VECTOR_MAX 255u

/* GetQuote's shared buffer, GHCI "TDG.VP.VMCALL<GetQuote>": little-endian, this header and the
 * data, which is the TDREPORT going in and the quote coming out. */
#define COCO_GETQUOTE_HEADER_SIZE 24u
#define COCO_GETQUOTE_VERSION     1u
#define COCO_GETQUOTE_OFF_VERSION 0u
#define COCO_GETQUOTE_OFF_STATUS  8u
#define COCO_GETQUOTE_OFF_IN_LEN  16u
#define COCO_GETQUOTE_OFF_OUT_LEN 20u

#define COCO_GETQUOTE_SUCCESS             0ull
#define COCO_GETQUOTE_IN_FLIGHT           0xffffffffffffffffull
#define COCO_GETQUOTE_ERROR               0x8000000000000000ull
#define COCO_GETQUOTE_SERVICE_UNAVAILABLE 0x8000000000000001ull

/* --- KVM_EXIT_HYPERCALL, KVM_HC_MAP_GPA_RANGE ------------------------------------------------- */
#define COCO_KVM_EXIT_HYPERCALL   3u
#define COCO_KVM_HC_MAP_GPA_RANGE 12u
/* Flags. Bits 0-3: a hint about the page size. Bit 4: private. */
#define COCO_KVM_MAP_GPA_SIZE_MASK 0xfull
#define COCO_KVM_MAP_GPA_ENCRYPTED (1ull << 4)
/* The values of `ret` that Linux 7.2 and later take; before, any non-zero value is an error. */
#define COCO_KVM_MAP_GPA_RET_OK     0u
#define COCO_KVM_MAP_GPA_RET_EAGAIN 11u
#define COCO_KVM_MAP_GPA_RET_EINVAL 22u

/* --- KVM_EXIT_SYSTEM_EVENT -------------------------------------------------------------------- */
#define COCO_KVM_EXIT_SYSTEM_EVENT      24u
#define COCO_KVM_SYSTEM_EVENT_SEV_TERM  6u
#define COCO_KVM_SYSTEM_EVENT_TDX_FATAL 7u
