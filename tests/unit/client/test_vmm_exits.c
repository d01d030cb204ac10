/* SPDX-License-Identifier: MIT */
/*
 * The exits that ask nobody: memory attributes, page state changes, fatal events; the dispatch from
 * struct kvm_run; options.
 */
#include "bytes.h"
#include "kvm_abi.h"
#include "status.h"
#include "support.h"
#include "vmm_bed.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static struct bed bed;

static void setup(void)
{
    ck_assert(bed_init(&bed, KVM_MODEL_SNP, NULL));
}

static void teardown(void)
{
    bed_done(&bed);
}

/* --- KVM_HC_MAP_GPA_RANGE -------------------------------------------------------------------- */

static int fails[4000]; /* what set_memory_attributes says, one after the other */
static unsigned n_calls;

static int fail_attributes(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)b;
    (void)gpa;
    (void)size;
    return op == BED_ATTRIBUTES ? fails[n_calls++] : 0;
}

static void again_for(unsigned n, int error)
{
    n_calls = 0;
    for (unsigned i = 0; i < sizeof(fails) / sizeof(fails[0]); i++)
        fails[i] = i < n ? error : 0;
    bed.fault = fail_attributes;
}

static uint64_t map_gpa(uint64_t gpa, uint64_t npages, uint64_t flags)
{
    struct coco_hypercall_exit exit = {.nr = 12, .args = {gpa, npages, flags}, .ret = 0};

    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_RUN);
    return exit.ret;
}

START_TEST(map_gpa_changes_attributes)
{
    ck_assert_uint_eq(map_gpa(BED_GPA, 16, 1 << 4), 0);
    ck_assert_uint_eq(bed.attr_gpa, BED_GPA);
    ck_assert_uint_eq(bed.attr_size, 65536);
    ck_assert_int_eq(bed.attr_private, 1);
    ck_assert_uint_eq(map_gpa(BED_GPA, 512, 1), 0); /* with a size hint */
    ck_assert_int_eq(bed.attr_private, 0);
    ck_assert_uint_eq(map_gpa(0, 1, 0), EINVAL); /* no memory there */
}
END_TEST

START_TEST(map_gpa_refuses_what_is_malformed)
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
END_TEST

START_TEST(map_gpa_tries_again)
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
END_TEST

static void kernel_takes_eagain(struct coco_vmm_options *options)
{
    options->flags = COCO_VMM_MAP_GPA_EAGAIN;
}

START_TEST(map_gpa_says_eagain_where_the_kernel_has_it)
{
    bed_done(&bed);
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, kernel_takes_eagain));
    again_for(4000, -EAGAIN);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EAGAIN);
    again_for(1, -EPERM);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EINVAL);
}
END_TEST

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
START_TEST(a_kick_ends_the_tries_without_a_failure)
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
END_TEST

START_TEST(a_kick_is_eagain_where_the_kernel_has_it)
{
    bed_done(&bed);
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, kernel_takes_eagain));
    again_for(4000, -EAGAIN);
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_uint_eq(map_gpa(BED_GPA, 1, 0), EAGAIN);
    ck_assert_uint_eq(n_calls, 1);
}
END_TEST

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
    {MAP_GPA, false, 0, 0, 0, COCO_TDVMCALL_SUCCESS},
    {MAP_GPA, false, 0, -EAGAIN, 50, COCO_TDVMCALL_SUCCESS},
    {MAP_GPA, false, 0, -EAGAIN, FOR_EVER, COCO_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, 0, -EINTR, FOR_EVER, COCO_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, 0, -EIO, 1, COCO_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, 0, 0, COCO_TDVMCALL_SUCCESS},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EAGAIN, FOR_EVER, COCO_TDVMCALL_RETRY},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EINTR, FOR_EVER, COCO_TDVMCALL_RETRY},
    {MAP_GPA, false, COCO_VMM_MAP_GPA_EAGAIN, -EPERM, 1, COCO_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, true, 0, 0, 0, COCO_TDVMCALL_SUCCESS},
    {MAP_GPA, true, 0, -EAGAIN, FOR_EVER, COCO_TDVMCALL_INVALID_OPERAND},
    {MAP_GPA, true, 0, -EPERM, 1, COCO_TDVMCALL_INVALID_OPERAND},
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

START_TEST(map_gpa_as_the_guest_sees_it)
{
    const enum map_form form = map_rows[_i].form;
    uint64_t seen;

    bed_done(&bed);
    row_flags = map_rows[_i].flags;
    ck_assert(bed_init(&bed, form == MAP_GPA ? KVM_MODEL_TDX : KVM_MODEL_SNP, set_row_flags));
    if (map_rows[_i].before_7_2)
        kvm_model_before_7_2(bed.vm);
    again_for(map_rows[_i].n, map_rows[_i].error);
    if (form == MAP_GPA) {
        kvm_vcpu_tdvmcall(bed.kvm[0], COCO_TDVMCALL_MAP_GPA, BED_GPA | KVM_MODEL_TDX_SHARED, 8192);
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
END_TEST

/* KVM hands a long range over in pieces; the guest learns which one failed, and goes on there. */
START_TEST(a_td_goes_on_where_a_piece_failed)
{
    bed_done(&bed);
    ck_assert(bed_init(&bed, KVM_MODEL_TDX, kernel_takes_eagain));
    again_for(FOR_EVER, -EAGAIN);
    fails[0] = 0;
    kvm_vcpu_tdvmcall(bed.kvm[0], COCO_TDVMCALL_MAP_GPA, BED_GPA, 5u << 20);
    ck_assert_uint_eq(answer_map_gpa(), 2);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r10, COCO_TDVMCALL_RETRY);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r11, BED_GPA + (2u << 20));
    again_for(0, 0);
    kvm_vcpu_tdvmcall(bed.kvm[0], COCO_TDVMCALL_MAP_GPA, BED_GPA + (2u << 20), 3u << 20);
    ck_assert_uint_eq(answer_map_gpa(), 2);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(bed.kvm[0])->r10, COCO_TDVMCALL_SUCCESS);
    ck_assert_int_eq(kvm_model_write(bed.vm, BED_GPA + (5u << 20) - 8, "x", 1), -EFAULT);
}
END_TEST

START_TEST(other_hypercalls_are_left_alone)
{
    struct coco_hypercall_exit exit = {.nr = 11, .args = {1, 2, 3}, .ret = 4}, before = exit;

    ck_assert_int_eq(coco_vcpu_hypercall(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    ck_assert_mem_eq(&exit, &before, sizeof(exit));
}
END_TEST

/* --- page state change ----------------------------------------------------------------------- */

#define GHCB      (BED_GPA + 0x10000)
#define BUFFER    (GHCB + 0x800)
#define PRIVATE   1u
#define PSHARED   2u
#define BAD_HDR   ((1ull << 32) | 1)
#define BAD_ENTRY ((1ull << 32) | 2)
#define GENERIC   (0x100ull << 32)

static void put(uint64_t gpa, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    struct coco_writer w = coco_writer_of(bytes, sizeof(bytes));

    coco_write_u64(&w, value);
    ck_assert_int_eq(kvm_model_write(bed.vm, gpa, bytes, size), 0);
}

static uint64_t get(uint64_t gpa, size_t size)
{
    uint8_t bytes[8] = {0};

    ck_assert_int_eq(kvm_model_read(bed.vm, gpa, bytes, size), 0);
    struct coco_reader r = coco_reader_of(bytes, sizeof(bytes));
    return coco_read_u64(&r);
}

static uint64_t entry(uint64_t gpa, unsigned op, bool large, unsigned cur_page)
{
    return cur_page | gpa | (uint64_t)op << 52 | (uint64_t)large << 56;
}

static void psc_header(unsigned cur, unsigned end)
{
    put(GHCB + 0x390, 0x80000010, 8);
    put(GHCB + 0x3a8, BUFFER, 8);
    put(BUFFER, cur | (uint64_t)end << 16, 8);
}

static uint64_t psc(void)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = GHCB, .ret = 0x77};

    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
    return exit.ret;
}

START_TEST(psc_coalesces)
{
    psc_header(0, 3);
    for (unsigned i = 0; i < 3; i++)
        put(BUFFER + 8 + i * 8, entry(BED_GPA + 0x100000 + i * 0x1000, PRIVATE, false, 0), 8);
    put(BUFFER + 8 + 3 * 8, entry(BED_GPA + 0x103000, PSHARED, false, 0), 8);
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(bed.attributes, 2);
    ck_assert_uint_eq(bed.attr_gpa, BED_GPA + 0x103000);
    ck_assert_uint_eq(get(BUFFER, 2), 4);
    ck_assert_uint_eq(get(BUFFER + 2, 2), 3);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(get(BUFFER + 8 + i * 8, 8) & 0xfff, 1);
}
END_TEST

START_TEST(psc_of_253_entries_and_of_2_mib)
{
    psc_header(0, 252);
    for (unsigned i = 0; i < 253; i++)
        put(BUFFER + 8 + i * 8, entry(BED_GPA + 0x100000 + i * 0x1000, PSHARED, false, 0), 8);
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(bed.attributes, 1);
    ck_assert_uint_eq(bed.attr_size, (uint64_t)253 * 4096);
    ck_assert_uint_eq(get(BUFFER, 2), 253);
    /* A large one, begun by somebody at page 100, then the one behind it. */
    psc_header(5, 6);
    put(BUFFER + 8 + 5 * 8, entry(0x200000, PRIVATE, true, 100), 8);
    put(BUFFER + 8 + 6 * 8, entry(0x400000, PRIVATE, false, 0), 8);
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(bed.attr_gpa, 0x200000 + 100 * 4096);
    ck_assert_uint_eq(bed.attr_size, (uint64_t)(512 - 100 + 1) * 4096);
    ck_assert_uint_eq(get(BUFFER + 8 + 5 * 8, 8) & 0xfff, 512);
    ck_assert_uint_eq(get(BUFFER, 2), 7);
    /* All done already. */
    unsigned calls = bed.attributes;
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(bed.attributes, calls);
}
END_TEST

static const struct {
    unsigned cur, end;
    uint64_t entry;
    uint64_t ret;
} psc_bad[] = {
    {0, 253, 0, BAD_HDR},
    {0, 0xffff, 0, BAD_HDR},
    {0xffff, 252, 0, 0},           /* nothing to do */
    {0, 0, 0, BAD_ENTRY},          /* operation 0 */
    {0, 0, 3ull << 52, BAD_ENTRY}, /* PSMASH */
    {0, 0, 15ull << 52, BAD_ENTRY},
    {0, 0, 2 | 1ull << 52, BAD_ENTRY}, /* cur_page 2 of 1 */
    {0, 0, 513 | 0x200000 | 1ull << 52 | 1ull << 56, BAD_ENTRY},
    {0, 0, 0x201000 | 1ull << 52 | 1ull << 56, BAD_ENTRY}, /* not on 2 MiB */
    {0, 0, 0xffffffffff000ull | 1ull << 52, GENERIC},      /* no memory there */
};

START_TEST(psc_refuses)
{
    psc_header(psc_bad[_i].cur, psc_bad[_i].end);
    put(BUFFER + 8, psc_bad[_i].entry, 8);
    ck_assert_uint_eq(psc(), psc_bad[_i].ret);
    ck_assert_uint_eq(get(BUFFER, 2), psc_bad[_i].cur);
}
END_TEST

START_TEST(psc_can_be_resumed)
{
    psc_header(0, 2);
    put(BUFFER + 8, entry(BED_GPA + 0x100000, PRIVATE, false, 0), 8);
    put(BUFFER + 16, entry(BED_GPA + 0x200000, PRIVATE, false, 0), 8);
    put(BUFFER + 24, entry(BED_GPA + 0x300000, PRIVATE, false, 0), 8);
    again_for(4000, -EAGAIN);
    fails[0] = 0;
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(get(BUFFER, 2), 1);
    again_for(0, 0);
    ck_assert_uint_eq(psc(), 0);
    ck_assert_uint_eq(get(BUFFER, 2), 3);
    ck_assert_uint_eq(n_calls, 2);
}
END_TEST

START_TEST(psc_of_the_ghcb_itself)
{
    psc_header(0, 1);
    put(BUFFER + 8, entry(GHCB, PRIVATE, false, 0), 8);
    put(BUFFER + 16, entry(BED_GPA + 0x100000, PRIVATE, false, 0), 8);
    ck_assert_uint_eq(psc(), GENERIC);
    ck_assert_uint_eq(bed.attributes, 1);
}
END_TEST

START_TEST(psc_elsewhere_or_something_else)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = GHCB};

    psc_header(0, 0);
    put(GHCB + 0x3a8, BUFFER + 8, 8);
    ck_assert_uint_eq(psc(), BAD_HDR);
    put(GHCB + 0x390, 0x80000012, 8);
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    exit.ghcb_msr = 0x10000000;
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    exit.ghcb_msr = UINT64_MAX & ~0xfffull;
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    exit.ghcb_msr = 0x100;
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
}
END_TEST

START_TEST(psc_msr_form_and_a_kick)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = 0x014 | BED_GPA | 1ull << 52, .ret = 99};

    again_for(1, -EAGAIN);
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), -EINTR);
    ck_assert_uint_eq(exit.ret, 99);
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit.ret, 0);
}
END_TEST

START_TEST(psc_msr_form)
{
    static const struct {
        uint64_t msr, ret;
        int made_private;
    } rows[] = {
        {0x014 | (BED_GPA + 0x5000) | 1ull << 52, 0, 1},
        {0x014 | (BED_GPA + 0x5000) | 2ull << 52, 0, 0},
        {0x014 | (BED_GPA + 0x5000) | 3ull << 52, 1ull << 31, -1},
        {0x014 | (BED_GPA + 0x5000), 1ull << 31, -1},
        {0x014 | 0x1000 | 1ull << 52, 1ull << 31, 1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct coco_vmgexit_exit exit = {.ghcb_msr = rows[i].msr, .ret = 99};
        bed.attr_private = -1;
        ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
        ck_assert_uint_eq(exit.ret, rows[i].ret);
        ck_assert_int_eq(bed.attr_private, rows[i].made_private);
    }
}
END_TEST

/* --- fatal events ---------------------------------------------------------------------------- */

static struct coco_event_exit tdx_fatal(const char *text)
{
    static const unsigned order[] = {14, 15, 3, 7, 6, 8, 9, 2};
    struct coco_event_exit exit = {.type = 7, .ndata = 16};

    for (size_t i = 0; i < 64 && text[i]; i++)
        exit.data[order[i / 8]] |= (uint64_t)(uint8_t)text[i] << (i % 8 * 8);
    return exit;
}

START_TEST(sev_term)
{
    const struct coco_event_exit exit = {.type = 6, .ndata = 1, .data = {0x00051100}};
    const struct coco_event_exit shutdown = {.type = 6};

    ck_assert_int_eq(coco_vcpu_event(bed.vcpu[0], &exit), COCO_ACT_FATAL);
    ck_assert_uint_eq(bed.fatals, 1);
    ck_assert_uint_eq(bed.fatal.kind, 6);
    ck_assert_uint_eq(bed.fatal.has_reason, 1);
    ck_assert_uint_eq(bed.fatal.reason_set, 1);
    ck_assert_uint_eq(bed.fatal.reason_code, 5);
    /* cocod has it, though nobody waited. */
    bed_serve(&bed);
    ck_assert_uint_eq(bed.events_seen, 1);
    ck_assert_int_eq(coco_vcpu_event(bed.vcpu[0], &shutdown), COCO_ACT_FATAL);
    ck_assert_uint_eq(bed.fatal.has_reason, 0);
    bed.away = true;
    bed_crash(&bed);
    ck_assert_int_eq(coco_vcpu_event(bed.vcpu[0], &exit), COCO_ACT_FATAL);
}
END_TEST

START_TEST(tdx_fatal_text_is_safe)
{
    struct coco_event_exit exit =
        tdx_fatal("panic \x1b[31m\n\xff\x7f ok 0123456789012345678901234567890123456789xyz");
    struct coco_fatal_event event;

    exit.data[12] = 1ull << 63 | 0x42;
    exit.data[13] = 0x12345000;
    ck_assert_int_eq(coco_event_decode(&exit, &event), 0);
    ck_assert_str_eq(event.text, "panic ?[31m??? ok 0123456789012345678901234567890123456789xyz");
    ck_assert_uint_eq(event.error_code, 0x42);
    ck_assert_uint_eq(event.has_page, 1);
    ck_assert_uint_eq(event.page_gpa, 0x12345000);
    exit = tdx_fatal("0123456789012345678901234567890123456789012345678901234567890123");
    ck_assert_int_eq(coco_event_decode(&exit, &event), 0);
    ck_assert_uint_eq(strlen(event.text), 64);
    exit = (struct coco_event_exit){.type = 7, .ndata = 3, .data = {1, 2, 3}};
    ck_assert_int_eq(coco_event_decode(&exit, &event), 0);
    ck_assert_str_eq(event.text, "");
    for (uint32_t type = 0; type < 20; type++) {
        exit.type = type;
        ck_assert_int_eq(coco_vcpu_event(bed.vcpu[0], &exit),
                         type == 6 || type == 7 ? COCO_ACT_FATAL : COCO_ACT_UNHANDLED);
    }
    exit = (struct coco_event_exit){.type = 6, .ndata = UINT32_MAX};
    ck_assert_int_eq(coco_vcpu_event(bed.vcpu[0], &exit), COCO_ACT_FATAL);
}
END_TEST

/* --- struct kvm_run -------------------------------------------------------------------------- */

static union {
    struct kvm_run run;
    uint8_t page[4096];
} area;

static void *at(void)
{
    return area.page + offsetof(struct kvm_run, hypercall);
}

START_TEST(dispatch)
{
    struct kvm_run *run = &area.run;
    struct coco_snp_exit snp = {.gpa = BED_GPA, .npages = 1};
    struct coco_tdx_exit tdx = {.nr = COCO_TDVMCALL_GET_TD_VM_CALL_INFO, .arg = {1}};
    uint8_t before[sizeof(area)];

    /* SNP, in the poll form, with ENOSPC. */
    run->exit_reason = 42;
    memcpy(at(), &snp, sizeof(snp));
    int act = bed_finish_snp(&bed, 0, coco_vmm_start_exit(bed.vmm, bed.vcpu[0], run));
    ck_assert_int_eq(act, COCO_ACT_RUN);
    ck_assert_int_eq(coco_vmm_finish_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_RUN);
    memcpy(&snp, at(), sizeof(snp));
    ck_assert_uint_eq(snp.ret, ENOSPC);
    ck_assert_uint_eq(snp.npages, 2);
    /* Blocking, kicked: no wait. */
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_RUN);
    memcpy(&snp, at(), sizeof(snp));
    ck_assert_uint_eq(snp.ret, EAGAIN);

    run->exit_reason = 40;
    memcpy(at(), &tdx, sizeof(tdx));
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_RUN);
    memcpy(&tdx, at(), sizeof(tdx));
    ck_assert_uint_eq(tdx.arg[1], 2);

    run->exit_reason = KVM_EXIT_HYPERCALL;
    memset(at(), 0, 256);
    run->hypercall.nr = 12;
    run->hypercall.args[0] = BED_GPA;
    run->hypercall.args[1] = 3;
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_RUN);
    ck_assert_uint_eq(run->hypercall.ret, 0);
    ck_assert_uint_eq(bed.attr_size, (uint64_t)3 * 4096);

    run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run->system_event.type = KVM_SYSTEM_EVENT_SEV_TERM;
    run->system_event.ndata = 1;
    run->system_event.data[0] = 0x21100;
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_FATAL);
    ck_assert_uint_eq(bed.fatal.reason_code, 2);

    for (uint32_t reason = 0; reason < 64; reason++) {
        if (reason == 42 || reason == 40 || reason == 3 || reason == 24)
            continue;
        run->exit_reason = reason;
        memcpy(before, &area, sizeof(area));
        ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_UNHANDLED);
        ck_assert_mem_eq(before, &area, sizeof(area));
    }
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], NULL), -EINVAL);
    ck_assert_int_eq(coco_vmm_finish_exit(bed.vmm, bed.vcpu[0], run), -EINVAL);
}
END_TEST

/* --- options, switches ----------------------------------------------------------------------- */

static unsigned allocs_left;
static void *few(size_t size)
{
    return allocs_left > 0 && allocs_left-- ? malloc(size) : NULL;
}

static int no_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    (void)userdata, (void)gpa, (void)to, (void)bytes;
    return -EFAULT;
}

static int no_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    (void)userdata, (void)gpa, (void)from, (void)bytes;
    return -EFAULT;
}

static int no_store(void *userdata, uint64_t gpa, uint64_t value)
{
    (void)userdata, (void)gpa, (void)value;
    return -EFAULT;
}

START_TEST(options_are_checked)
{
    struct coco_vmm_options good, o;
    struct coco_vmm *vmm;
    struct coco_vcpu *vcpu;

    coco_vmm_options_init(&good);
    ck_assert_int_eq(coco_vmm_new(&good, &vmm), -EINVAL);
    good.ops.read = no_read;
    good.ops.write = no_write;
    good.ops.store64_release = no_store;
    ck_assert_int_eq(coco_vmm_new(NULL, &vmm), -EINVAL);
#define BAD(change) \
    o = good;       \
    o.change;       \
    ck_assert_int_eq(coco_vmm_new(&o, &vmm), -EINVAL)
    BAD(size--);
    BAD(ops.size++);
    BAD(client.size = 0);
    BAD(client.fd = 0);
    BAD(client.features = 1);
    BAD(client.alloc = malloc);
    BAD(quotes_max = 65);
    BAD(quote_timeout_ms = 30000);
    BAD(quote_buffer_max = 4096);
    BAD(quote_buffer_max = (4u << 20) + 1);
    BAD(flags = 2);
    /* Each allocation in turn. */
    good.client.alloc = few;
    good.client.free = free;
    good.client.vm_name = "a";
    good.client.path = "/nowhere";
    for (unsigned n = 0, made = 0; !made; n++) {
        ck_assert_uint_lt(n, 100);
        allocs_left = n;
        if (coco_vmm_new(&good, &vmm) < 0)
            continue;
        made = coco_vcpu_attach(vmm, 0, 0, &vcpu) == 0;
        if (made)
            coco_vcpu_detach(vcpu);
        coco_vmm_free(vmm);
    }
    coco_vmm_free(NULL);
    coco_vcpu_detach(NULL);
}
END_TEST

START_TEST(switches_of_a_kernel_that_has_none)
{
    ck_assert_int_lt(coco_snp_probe(-1), 0);
    ck_assert_int_eq(coco_snp_probe(bed.lease_fd), 0);
    ck_assert_int_lt(coco_snp_enable(-1), 0);
    ck_assert_int_lt(coco_snp_enable(bed.lease_fd), 0);
}
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("vmm_exits");
    TCase *tc = tcase_create("vmm_exits");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, map_gpa_changes_attributes);
    tcase_add_loop_test(tc, map_gpa_refuses_what_is_malformed, 0, 8);
    tcase_add_test(tc, map_gpa_tries_again);
    tcase_add_test(tc, map_gpa_says_eagain_where_the_kernel_has_it);
    tcase_add_loop_test(tc, a_kick_ends_the_tries_without_a_failure, 0, 2);
    tcase_add_test(tc, a_kick_is_eagain_where_the_kernel_has_it);
    tcase_add_loop_test(tc, map_gpa_as_the_guest_sees_it, 0,
                        sizeof(map_rows) / sizeof(map_rows[0]));
    tcase_add_test(tc, a_td_goes_on_where_a_piece_failed);
    tcase_add_test(tc, other_hypercalls_are_left_alone);
    tcase_add_test(tc, psc_coalesces);
    tcase_add_test(tc, psc_of_253_entries_and_of_2_mib);
    tcase_add_loop_test(tc, psc_refuses, 0, sizeof(psc_bad) / sizeof(psc_bad[0]));
    tcase_add_test(tc, psc_can_be_resumed);
    tcase_add_test(tc, psc_of_the_ghcb_itself);
    tcase_add_test(tc, psc_elsewhere_or_something_else);
    tcase_add_test(tc, psc_msr_form_and_a_kick);
    tcase_add_test(tc, psc_msr_form);
    tcase_add_test(tc, sev_term);
    tcase_add_test(tc, tdx_fatal_text_is_safe);
    tcase_add_test(tc, dispatch);
    tcase_add_test(tc, options_are_checked);
    tcase_add_test(tc, switches_of_a_kernel_that_has_none);
    suite_add_tcase(suite, tc);
    return suite;
}
