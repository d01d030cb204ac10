/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_HYPERCALL, KVM_HC_MAP_GPA_RANGE: what is asked of the VMM, how often, and what the guest
 * sees of each answer, by kernel and by way in.
 */
#include "attributes.h"
#include <linux/kvm.h>

static uint64_t map_gpa(uint64_t gpa, uint64_t npages, uint64_t flags)
{
    struct coco_hypercall_exit exit = {.nr = 12, .args = {gpa, npages, flags}, .ret = 0};

    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_RUN);
    return exit.ret;
}

FIXTURE(.setup = snp_bed, .teardown = end_bed);

TEST(map_gpa_changes_attributes)
{
    ck_assert_uint_eq(map_gpa(BED_GPA, 16, 1 << 4), 0);
    ck_assert_uint_eq(bed.attr_gpa, BED_GPA);
    ck_assert_uint_eq(bed.attr_size, 65536);
    ck_assert_int_eq(bed.attr_private, 1);
    ck_assert_uint_eq(map_gpa(BED_GPA, 512, 1), 0); /* with a size hint */
    ck_assert_int_eq(bed.attr_private, 0);
    ck_assert_uint_eq(map_gpa(0, 1, 0), EINVAL); /* no memory there */
}

TEST_LOOP(map_gpa_refuses_what_is_malformed, 0, 8)
{
    static const uint64_t bad[][3] = {
        {BED_GPA + 1, 1, 0},       {BED_GPA, 0, 0},
        {BED_GPA, UINT64_MAX, 0},  {BED_GPA, 1ull << 52, 0},
        {UINT64_MAX - 4095, 1, 0}, {BED_GPA, 1, 1 << 5},
        {BED_GPA, 1, 1ull << 63},  {BED_GPA, (1ull << 52) - 1, 0},
    };

    ck_assert_uint_eq(map_gpa(bad[_i][0], bad[_i][1], bad[_i][2]), EINVAL);
    ck_assert_uint_eq(bed.attributes, 0);
}

TEST(map_gpa_tries_again)
{
    again_for(3, -EAGAIN);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
    ck_assert_uint_eq(bed.attributes, 4);
    again_for(50, -EINTR);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
    again_for(4000, -EAGAIN);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EINVAL);
    again_for(4000, -EINTR);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EINVAL);
    again_for(1, -ENOMEM);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EINVAL);
}

static void kernel_takes_eagain(struct coco_vmm_options *options)
{
    options->flags = COCO_VMM_MAP_GPA_EAGAIN;
}

TEST(map_gpa_says_eagain_where_the_kernel_has_it)
{
    new_bed(KVM_MODEL_TDX, kernel_takes_eagain);
    again_for(4000, -EAGAIN);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EAGAIN);
    again_for(1, -EPERM);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EINVAL);
}

static int kick_at;

static int kick_while_failing(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)gpa;
    (void)size;
    if (op != BED_ATTRIBUTES)
        return 0;
    if ((int)++n_calls == kick_at)
        coco_vcpu_kick(b->vcpu[0]);
    return n_calls <= 5 ? fails[0] : 0;
}

/* The exit is left as it was, and what is handed in again is done. */
TEST_LOOP(a_kick_ends_the_tries_without_a_failure, 0, 2)
{
    struct coco_hypercall_exit exit = {.nr = 12, .args = {BED_GPA, 1, 0}, .ret = 77};

    again_for(1, _i == 0 ? -EAGAIN : -EINTR);
    bed.fault = kick_while_failing;
    kick_at = 3;
    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), -EINTR);
    ck_assert_uint_eq(exit.ret, 77);
    ck_assert_uint_eq(n_calls, 3);
    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), -EINTR); /* sticky */
    ck_assert_uint_eq(n_calls, 4);
    coco_vcpu_unkick(bed.vcpu[0]);
    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit.ret, 0);
    /* What can be done at once is done, kicked or not. */
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
}

TEST(a_kick_is_eagain_where_the_kernel_has_it)
{
    new_bed(KVM_MODEL_TDX, kernel_takes_eagain);
    again_for(4000, -EAGAIN);
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EAGAIN);
    ck_assert_uint_eq(n_calls, 1);
}

/* What EAGAIN is in KVM for: a VM that migrates puts its guest's conversions off. */
TEST(a_quiesced_vm_puts_conversions_off_at_once)
{
    new_bed(KVM_MODEL_TDX, kernel_takes_eagain);
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 11);
    ck_assert_uint_eq(bed.attributes, 0);
    ck_assert_uint_eq(map_gpa(BED_GPA, 0, 0), 22); /* malformed all the same */
    coco_vmm_resume(bed.vmm);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
    ck_assert_uint_eq(bed.attributes, 1);
}

static int quiesce_while_failing(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)gpa;
    (void)size;
    if (op != BED_ATTRIBUTES)
        return 0;
    if (++n_calls == 3)
        (void)coco_vmm_quiesce(b->vmm, 0);
    return fails[0];
}

TEST_LOOP(a_quiesce_ends_the_tries_where_the_kernel_has_eagain, 0, 2)
{
    new_bed(KVM_MODEL_TDX, kernel_takes_eagain);
    again_for(1, _i == 0 ? -EAGAIN : -EINTR);
    bed.fault = quiesce_while_failing;
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 11);
    ck_assert_uint_eq(n_calls, 3);
}

/* Kernels before 7.2, and every SNP guest: there is no "ask again", so that the change is made. */
TEST(a_quiesced_vm_converts_where_the_guest_cannot_be_put_off)
{
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
    ck_assert_uint_eq(bed.attributes, 1);
    again_for(3, -EAGAIN);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), 0);
    ck_assert_uint_eq(n_calls, 4);
}

enum map_form {
    PSC_PAGE,
    PSC_MSR,
    MAP_GPA
};

#define PSC_GENERIC (0x100ull << 32)
#define MSR_RESP    0x015ull
#define MSR_FAILED  (1ull << 63 | MSR_RESP)
#define FOR_EVER    4000

/* What the VMM's own call says `n` times before it succeeds → what the guest sees: SW_EXITINFO2,
 * the GHCB MSR, or R10. Each kernel, each way in. */
static const struct {
    enum map_form form;
    bool before_7_2;
    uint32_t flags;
    int error;
    unsigned n;
    uint64_t seen;
} map_rows[] = {
    {PSC_PAGE, false, 0, 0, 0, 0},
    {PSC_PAGE, false, 0, -EAGAIN, 50, 0},
    {PSC_PAGE, false, 0, -EINTR, 50, 0},
    {PSC_PAGE, false, 0, -EAGAIN, FOR_EVER, PSC_GENERIC},
    {PSC_PAGE, false, 0, -EINTR, FOR_EVER, PSC_GENERIC},
    {PSC_PAGE, false, 0, -EFAULT, 1, PSC_GENERIC},
    {PSC_PAGE, true, 0, 0, 0, 0},
    {PSC_PAGE, true, 0, -EAGAIN, FOR_EVER, PSC_GENERIC},
    {PSC_PAGE, true, 0, -EPERM, 1, PSC_GENERIC},
    {PSC_MSR, false, 0, 0, 0, MSR_RESP},
    {PSC_MSR, false, 0, -EAGAIN, FOR_EVER, MSR_FAILED},
    {PSC_MSR, false, 0, -ENOMEM, 1, MSR_FAILED},
    {PSC_MSR, true, 0, 0, 0, MSR_RESP},
    {PSC_MSR, true, 0, -EINVAL, 1, MSR_FAILED},
    {MAP_GPA, false, 0, 0, 0, ABI_TDVMCALL_SUCCESS},
    {MAP_GPA, false, 0, -EAGAIN, 50, ABI_TDVMCALL_SUCCESS},
    {MAP_GPA, false, 0, -EAGAIN, FOR_EVER, ABI_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, 0, -EINTR, FOR_EVER, ABI_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, 0, -EIO, 1, ABI_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, 0, 0, ABI_TDVMCALL_SUCCESS},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EAGAIN, FOR_EVER, ABI_TDVMCALL_RETRY},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EINTR, FOR_EVER, ABI_TDVMCALL_RETRY},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EPERM, 1, ABI_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, true, 0, 0, 0, ABI_TDVMCALL_SUCCESS},
    {MAP_GPA, true, 0, -EAGAIN, FOR_EVER, ABI_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, true, 0, -EPERM, 1, ABI_TDVMCALL_INVALID_OPERAND},
};

static uint32_t row_flags;
static void set_row_flags(struct coco_vmm_options *options)
{
    options->flags = row_flags;
}

/* Runs the guest's call to its end: how often it was with the VMM. */
static unsigned answer_map_gpa(void)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[0]);
    unsigned n = 0;
    int r;

    run->immediate_exit = 1;
    do {
        struct coco_hypercall_exit exit;
        ck_assert_uint_eq(run->exit_reason, KVM_EXIT_HYPERCALL);
        memcpy(&exit, &run->u, sizeof(exit));
        ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_RUN);
        memcpy(&run->u, &exit, sizeof(exit));
        n++;
        r = kvm_model_run(bed.kvm[0]);
    } while (r == 0);
    ck_assert_int_eq(r, -EINTR); /* KVM took the answer */
    return n;
}

TEST_LOOP(map_gpa_as_the_guest_sees_it, 0, sizeof(map_rows) / sizeof(map_rows[0]))
{
    const enum map_form form = map_rows[_i].form;
    uint64_t seen;

    row_flags = map_rows[_i].flags;
    new_bed(form == MAP_GPA ? KVM_MODEL_TDX : KVM_MODEL_SNP, set_row_flags);
    if (map_rows[_i].before_7_2)
        kvm_model_before_7_2(bed.vm);
    again_for(map_rows[_i].n, map_rows[_i].error);
    if (form == MAP_GPA) {
        kvm_vcpu_tdvmcall(bed.kvm[0], ABI_TDVMCALL_MAP_GPA, BED_GPA | KVM_MODEL_TDX_SHARED, 8192);
        ck_assert_uint_eq(answer_map_gpa(), 1);
        seen = kvm_vcpu_tdx_result(bed.kvm[0])->r10;
        ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r11,
                          seen ? BED_GPA | KVM_MODEL_TDX_SHARED : 0);
    } else {
        kvm_vcpu_snp_psc(bed.kvm[0], BED_GPA, 2, false, form == PSC_MSR);
        ck_assert_uint_eq(answer_map_gpa(), 1);
        seen = form == PSC_MSR ? kvm_vcpu_snp_result(bed.kvm[0])->ghcb_msr
                               : kvm_vcpu_snp_result(bed.kvm[0])->sw_exitinfo2;
    }
    ck_assert_msg(seen == map_rows[_i].seen, "row %d: %#llx", _i, (unsigned long long)seen);
}

/* KVM hands a long range over in pieces; the guest learns which one failed, and goes on there. */
TEST(a_td_goes_on_where_a_piece_failed)
{
    new_bed(KVM_MODEL_TDX, kernel_takes_eagain);
    again_for(FOR_EVER, -EAGAIN);
    fails[0] = 0;
    kvm_vcpu_tdvmcall(bed.kvm[0], ABI_TDVMCALL_MAP_GPA, BED_GPA, 5u << 20);
    ck_assert_uint_eq(answer_map_gpa(), 2);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r10, ABI_TDVMCALL_RETRY);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r11, BED_GPA + (2u << 20));
    again_for(0, 0);
    kvm_vcpu_tdvmcall(bed.kvm[0], ABI_TDVMCALL_MAP_GPA, BED_GPA + (2u << 20), 3u << 20);
    ck_assert_uint_eq(answer_map_gpa(), 2);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r10, ABI_TDVMCALL_SUCCESS);
    ck_assert_int_eq(kvm_model_write(bed.vm, BED_GPA + (5u << 20) - 8, "x", 1), -EFAULT);
}

TEST(other_hypercalls_are_left_alone)
{
    struct coco_hypercall_exit exit = {.nr = 11, .args = {1, 2, 3}, .ret = 4}, before = exit;

    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    ck_assert_mem_eq(&exit, &before, sizeof(exit));
}
