/* SPDX-License-Identifier: MIT */
/*
 * Page state change as in KVM_EXIT_VMGEXIT of October 2023: the page form's buffer, the MSR form.
 */
#include "attributes.h"
#include "bytes.h"
#include "coco/unmerged.h"

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
    ck_assert_uint_eq(exit.ghcb_msr, GHCB);
    return exit.ret;
}

FIXTURE(.setup = snp_bed, .teardown = end_bed);

TEST(psc_coalesces)
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

TEST(psc_of_253_entries_and_of_2_mib)
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

TEST_LOOP(psc_refuses, 0, sizeof(psc_bad) / sizeof(psc_bad[0]))
{
    psc_header(psc_bad[_i].cur, psc_bad[_i].end);
    put(BUFFER + 8, psc_bad[_i].entry, 8);
    ck_assert_uint_eq(psc(), psc_bad[_i].ret);
    ck_assert_uint_eq(get(BUFFER, 2), psc_bad[_i].cur);
}

TEST(psc_can_be_resumed)
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

TEST(psc_of_the_ghcb_itself)
{
    psc_header(0, 1);
    put(BUFFER + 8, entry(GHCB, PRIVATE, false, 0), 8);
    put(BUFFER + 16, entry(BED_GPA + 0x100000, PRIVATE, false, 0), 8);
    ck_assert_uint_eq(psc(), GENERIC);
    ck_assert_uint_eq(bed.attributes, 1);
}

TEST(psc_elsewhere_or_something_else)
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

TEST(psc_msr_form_and_a_kick)
{
    struct coco_vmgexit_exit exit = {.ghcb_msr = 0x014 | BED_GPA | 1ull << 52, .ret = 99};

    again_for(1, -EAGAIN);
    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), -EINTR);
    ck_assert_uint_eq(exit.ghcb_msr, 0x014 | BED_GPA | 1ull << 52);
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit.ghcb_msr, 0x015);
}

TEST(psc_msr_form)
{
    static const struct {
        uint64_t msr, answer;
        int made_private;
    } rows[] = {
        {0x014 | (BED_GPA + 0x5000) | 1ull << 52, 0x015, 1},
        {0x014 | (BED_GPA + 0x5000) | 2ull << 52, 0x015, 0},
        {0x014 | (BED_GPA + 0x5000) | 3ull << 52, 0x8000000000000015, -1},
        {0x014 | (BED_GPA + 0x5000), 0x8000000000000015, -1},
        {0x014 | 0x1000 | 1ull << 52, 0x8000000000000015, 1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct coco_vmgexit_exit exit = {.ghcb_msr = rows[i].msr, .ret = 99};
        bed.attr_private = -1;
        ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
        ck_assert_uint_eq(exit.ghcb_msr, rows[i].answer);
        ck_assert_uint_eq(exit.ret, 99); /* KVM does not look at it */
        ck_assert_int_eq(bed.attr_private, rows[i].made_private);
    }
}

/* From the guest's request to its result, through the exit and what the series' KVM makes of it. */
TEST_LOOP(psc_as_the_guest_of_a_v10_kernel_sees_it, 0, 4)
{
    static const struct {
        bool msr_form;
        uint64_t gpa;
        uint64_t seen;
    } rows[] = {
        {true, BED_GPA + 0x5000, 0x015},
        {true, 0x1000, 0x8000000000000015}, /* no memory there */
        {false, BED_GPA + 0x5000, 0},
        {false, 0x1000, 0x10000000000},
    };
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[0]);
    struct coco_vmgexit_exit exit;

    kvm_model_use_vmgexit(bed.vm);
    psc_header(0, 0);
    put(BUFFER + 8, entry(rows[_i].gpa, PRIVATE, false, 0), 8);
    kvm_vcpu_snp_psc(bed.kvm[0], rows[_i].msr_form ? rows[_i].gpa : GHCB, 1, true,
                     rows[_i].msr_form);
    ck_assert_uint_eq(run->exit_reason, 50);
    memcpy(&exit, &run->u, sizeof(exit));
    ck_assert_int_eq(coco_vcpu_psc(bed.vcpu[0], &exit), COCO_ACT_RUN);
    memcpy(&run->u, &exit, sizeof(exit));
    run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(bed.kvm[0]), -EINTR);
    ck_assert_uint_eq(rows[_i].msr_form ? kvm_vcpu_snp_result(bed.kvm[0])->ghcb_msr
                                        : kvm_vcpu_snp_result(bed.kvm[0])->sw_exitinfo2,
                      rows[_i].seen);
}
