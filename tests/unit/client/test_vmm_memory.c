/* SPDX-License-Identifier: MIT */
/*
 * libcoco in a VMM whose memory runs out: each of its allocations fails in turn, alone and with all
 * that come behind it for a while. What was being made is refused with -ENOMEM and leaves nothing;
 * what a guest asks is answered as PROTOCOL.md has it; with memory back the next request is served.
 * All of libcoco's memory comes from the options' two functions.
 */
#include "coco_limits.h"
#include "linux_abi.h"
#include "support.h"
#include "vmm_bed.h"

#define SHARED KVM_MODEL_TDX_SHARED

static struct bed bed;
static unsigned number, fail_from, fail_count, fired; /* allocations so far; which are to fail */
static unsigned made_by;                              /* how many make a VM */
static long live;

static void *failing_alloc(size_t size)
{
    bool fails = number >= fail_from && number - fail_from < fail_count;

    number++;
    fired += fails;
    void *memory = fails ? NULL : malloc(size);
    live += memory != NULL;
    return memory;
}

static void counting_free(void *memory)
{
    live -= memory != NULL;
    free(memory);
}

static void use_them(struct coco_vmm_options *options)
{
    options->client.alloc = failing_alloc;
    options->client.free = counting_free;
    options->client.vm_name = "vm";
}

/* False: there is no VM, and nothing of one. */
static bool begin(enum kvm_model_type type, unsigned from, unsigned count)
{
    number = fired = 0;
    fail_from = from;
    fail_count = count;
    if (bed_init(&bed, type, use_them)) {
        made_by = number;
        return true;
    }
    ck_assert_uint_gt(fired, 0);
    return false;
}

/* True: there was nothing left to fail. */
static bool end(void)
{
    bed_done(&bed);
    ck_assert_int_eq(live, 0);
    return fired == 0;
}

/* --- SEV-SNP ---------------------------------------------------------------------------------- */

static uint64_t ask_for_table(unsigned vcpu)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, vcpu, BED_GPA, 4);
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[vcpu]);
    int act = bed_finish_snp(&bed, vcpu, coco_vcpu_snp_start(bed.vcpu[vcpu], exit));

    ck_assert(act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[vcpu], exit), act);
    run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(bed.kvm[vcpu]), -EINTR);
    run->immediate_exit = 0;
    coco_vcpu_ran(bed.vcpu[vcpu]);
    ck_assert_msg(bed_leases(&bed) == 0, "%u: a lease stays, act %d", fail_from, act);
    return kvm_vcpu_snp_result(bed.kvm[vcpu])->sw_exitinfo2;
}

static bool has_table(void)
{
    uint8_t bytes[5000], known[5000];

    memset(known, 0x5c, sizeof(known));
    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA, bytes, sizeof(bytes)), 0);
    return memcmp(bytes, known, sizeof(known)) == 0;
}

/* Two requests, the end of cocod, and one more. */
static bool play_snp(unsigned from, unsigned count)
{
    if (begin(KVM_MODEL_SNP, from, count)) {
        for (int i = 0; i < 3; i++) {
            uint64_t told = ask_for_table(i == 2 ? 1 : 0);
            ck_assert_msg(told == 0 || (fired > 0 && told == ABI_EXITINFO2_BUSY), "%u: %llx", from,
                          (unsigned long long)told);
            ck_assert(told != 0 || has_table());
            if (i == 1)
                bed_crash(&bed);
        }
        fail_count = 0;
        bed_advance_ms(&bed, 60000);
        ck_assert_uint_eq(ask_for_table(0), 0);
        ck_assert(has_table());
    }
    return end();
}

FIXTURE(.timeout_s = 60);

TEST(an_snp_guest_is_answered_whichever_allocation_fails)
{
    unsigned from = 0;

    while (!play_snp(from, 1))
        from++;
    ck_assert_uint_gt(from, made_by + 2);
    for (from = made_by; !play_snp(from, 50);)
        from++;
}

/* --- TDX -------------------------------------------------------------------------------------- */

/* What the guest finds in its buffer. */
static uint64_t ask_for_quote(void)
{
    uint8_t head[ABI_GETQUOTE_HEADER_SIZE + COCO_TDREPORT_SIZE] = {
        [0] = 1, [16] = COCO_TDREPORT_SIZE & 0xff, [17] = COCO_TDREPORT_SIZE >> 8, [24] = 0x81};
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[0]);
    uint64_t status;

    ck_assert_int_eq(kvm_model_guest_write(bed.vm, BED_GPA, head, sizeof(head)), 0);
    struct coco_tdx_exit *exit =
        bed_tdx_exit(&bed, 0, ABI_TDVMCALL_GET_QUOTE, BED_GPA | SHARED, 8192);
    ck_assert_int_eq(coco_vcpu_tdx(bed.vcpu[0], exit), COCO_ACT_RUN);
    run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(bed.kvm[0]), -EINTR);
    run->immediate_exit = 0;
    if (kvm_vcpu_tdx_result(bed.kvm[0])->r10 != 0)
        return ABI_GETQUOTE_SERVICE_UNAVAILABLE;
    bed_drive(&bed, 60000);
    ck_assert_int_eq(kvm_model_load64_acquire(bed.vm, BED_GPA + 8, &status), 0);
    return status;
}

static bool play_tdx(unsigned from, unsigned count)
{
    if (begin(KVM_MODEL_TDX, from, count)) {
        for (int i = 0; i < 3; i++) {
            uint64_t told = ask_for_quote();
            ck_assert_msg(told == ABI_GETQUOTE_SUCCESS ||
                              (fired > 0 && (told == ABI_GETQUOTE_SERVICE_UNAVAILABLE ||
                                             told == ABI_GETQUOTE_ERROR)),
                          "%u: %llx", from, (unsigned long long)told);
            if (i == 1)
                bed_crash(&bed);
        }
        fail_count = 0;
        bed_advance_ms(&bed, 60000);
        ck_assert_uint_eq(ask_for_quote(), ABI_GETQUOTE_SUCCESS);
    }
    return end();
}

TEST(a_td_is_answered_whichever_allocation_fails)
{
    unsigned from = 0;

    while (!play_tdx(from, 1))
        from++;
    ck_assert_uint_gt(from, made_by + 2);
    for (from = made_by; !play_tdx(from, 50);)
        from++;
}
