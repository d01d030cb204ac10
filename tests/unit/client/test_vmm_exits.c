/* SPDX-License-Identifier: MIT */
/*
 * Fatal events; the dispatch from struct kvm_run; options.
 */
#include "bed_fixture.h"
#include "linux_abi.h"
#include "status.h"
#include <linux/kvm.h>
#include <stddef.h>

/* --- fatal events ---------------------------------------------------------------------------- */

static struct coco_event_exit tdx_fatal(const char *text)
{
    static const unsigned order[] = {14, 15, 3, 7, 6, 8, 9, 2};
    struct coco_event_exit exit = {.type = 7, .ndata = 16};

    for (size_t i = 0; i < 64 && text[i]; i++)
        exit.data[order[i / 8]] |= (uint64_t)(uint8_t)text[i] << (i % 8 * 8);
    return exit;
}

FIXTURE(.setup = snp_bed, .teardown = end_bed);

TEST(sev_term)
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

TEST(tdx_fatal_text_is_safe)
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

/* --- struct kvm_run -------------------------------------------------------------------------- */

static union {
    struct kvm_run run;
    uint8_t page[4096];
} area;

static void *at(void)
{
    return area.page + offsetof(struct kvm_run, hypercall);
}

static bool is_ours(uint32_t reason)
{
#if defined(__x86_64__) || defined(__i386__)
    if (reason == 42)
        return true;
#endif
    return reason == 43 || reason == 40 || reason == 3 || reason == 24;
}

TEST(dispatch)
{
    struct kvm_run *run = &area.run;
    struct coco_snp_exit snp = {.gpa = BED_GPA, .npages = 1};
    struct coco_tdx_exit tdx = {.nr = ABI_TDVMCALL_GET_TD_VM_CALL_INFO, .arg = {1}};
    uint8_t before[sizeof(area)];

    /* SNP, in the poll form, with ENOSPC. */
    run->exit_reason = 43;
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
        if (is_ours(reason))
            continue;
        run->exit_reason = reason;
        memcpy(before, &area, sizeof(area));
        ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_UNHANDLED);
        ck_assert_mem_eq(before, &area, sizeof(area));
    }
    ck_assert_int_eq(coco_vmm_handle_exit(bed.vmm, bed.vcpu[0], NULL), -EINVAL);
    ck_assert_int_eq(coco_vmm_finish_exit(bed.vmm, bed.vcpu[0], run), -EINVAL);
}

/* KVM_EXIT_SNP_REQ_CERTS is 43 in every release; 42 in kernels that were built from the series,
 * where arm64's 42 is another exit and not touched. Both forms, under either number. */
TEST_LOOP(the_number_of_the_posted_series_is_answered_on_x86_alone, 0, 2)
{
    const struct coco_snp_exit asked = {.gpa = BED_GPA, .npages = 1, .ret = 99};
    struct coco_snp_exit snp = asked;
    struct kvm_run *run = &area.run;

    memset(&area, 0, sizeof(area));
    run->exit_reason = _i == 0 ? 43 : 42;
    memcpy(at(), &snp, sizeof(snp));
    int act = coco_vmm_start_exit(bed.vmm, bed.vcpu[0], run);
    if (is_ours(run->exit_reason)) {
        ck_assert_int_eq(bed_finish_snp(&bed, 0, act), COCO_ACT_RUN);
        ck_assert_int_eq(coco_vmm_finish_exit(bed.vmm, bed.vcpu[0], run), COCO_ACT_RUN);
        memcpy(&snp, at(), sizeof(snp));
        ck_assert_uint_eq(snp.ret, 28);
        ck_assert_uint_eq(snp.npages, 2);
    } else {
        ck_assert_int_eq(act, COCO_ACT_UNHANDLED);
        ck_assert_mem_eq(at(), &asked, sizeof(asked));
    }
    ck_assert_uint_eq(run->exit_reason, _i == 0 ? 43 : 42);
}

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

TEST(options_are_checked)
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

TEST(switches_of_a_kernel_that_has_none)
{
    ck_assert_int_lt(coco_snp_probe(-1), 0);
    ck_assert_int_eq(coco_snp_probe(bed.lease_fd), 0);
    ck_assert_int_lt(coco_snp_enable(-1), 0);
    ck_assert_int_lt(coco_snp_enable(bed.lease_fd), 0);
}
