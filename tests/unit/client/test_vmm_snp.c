/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_SNP_REQ_CERTS and KVM_EXIT_COCO: every end of a CERTS_GET in, and exactly the right
 * result out, as KVM's model gives it to the guest.
 */
#include "bed_fixture.h"
#include "linux_abi.h"
#include "snp_guest.h"
#include "status.h"
#include <fcntl.h>

#define EMPTY   24
#define NOTHING 0

/* How many bytes were written from BED_GPA on: nothing, the empty table, or the table. */
static size_t written(void)
{
    uint8_t bytes[COCO_API_TABLE_MAX + 4096];
    size_t n = sizeof(bytes);

    ck_assert_int_eq(kvm_model_guest_read(bed.vm, BED_GPA, bytes, sizeof(bytes)), 0);
    while (n > 0 && bytes[n - 1] == BED_FILL)
        n--;
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(bytes[i], n == EMPTY ? 0 : 0x5c);
    return n;
}

/* Completes the exit as a VMM does; what the guest sees. */
static uint64_t complete(unsigned vcpu, int act)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[vcpu]);

    ck_assert(act == COCO_ACT_RUN || act == COCO_ACT_RUN_IMMEDIATE);
    ck_assert_uint_eq(bed_leases(&bed), act == COCO_ACT_RUN_IMMEDIATE);
    run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(bed.kvm[vcpu]), -EINTR);
    run->immediate_exit = 0;
    coco_vcpu_ran(bed.vcpu[vcpu]);
    ck_assert_uint_eq(bed_leases(&bed), 0);
    return kvm_vcpu_snp_result(bed.kvm[vcpu])->sw_exitinfo2;
}

static uint64_t one_exit(uint64_t gpa, uint64_t npages, int *ret_act)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, gpa, npages);
    int act = bed_finish_snp(&bed, 0, coco_vcpu_snp_start(bed.vcpu[0], exit));

    ck_assert_int_ge(act, COCO_ACT_RUN);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), act);
    if (ret_act)
        *ret_act = act;
    return complete(0, act);
}

struct row {
    const char *what;
    uint32_t certs_status, hello_status;
    bool away, mute;
    size_t table_size;
    uint64_t npages;
    /* out */
    uint64_t exitinfo2;
    size_t written;
    uint64_t rbx;
    int act;
    uint32_t warned;
};

#define INVALID_LEN ABI_EXITINFO2_INVALID_LEN
#define BUSY        ABI_EXITINFO2_BUSY
#define GENERIC     ABI_EXITINFO2_GENERIC
#define IMMEDIATE   COCO_ACT_RUN_IMMEDIATE
#define RUN         COCO_ACT_RUN

/* PROTOCOL.md "SEV-SNP". */
static const struct row rows[] = {
    {"a table", 0, 0, 0, 0, 5000, 4, 0, 5000, 4, IMMEDIATE, 0},
    {"a table that fits exactly", 0, 0, 0, 0, 16384, 4, 0, 16384, 4, IMMEDIATE, 0},
    {"the empty table", 0, 0, 0, 0, EMPTY, 1, 0, EMPTY, 1, RUN, 0},
    {"the empty table, no page", 0, 0, 0, 0, EMPTY, 0, 0, NOTHING, 0, RUN, 0},
    {"ENOSPC", 0, 0, 0, 0, 5000, 1, INVALID_LEN, NOTHING, 2, RUN, 0},
    {"ENOSPC, no page", 0, 0, 0, 0, 5000, 0, INVALID_LEN, NOTHING, 2, RUN, 0},
    {"any number of pages", 0, 0, 0, 0, 5000, UINT64_MAX, 0, 5000, UINT64_MAX, IMMEDIATE, 0},
    {"EAGAIN", COCO_EAGAIN, 0, 0, 0, 0, 4, BUSY, NOTHING, 4, RUN, 0},
    {"EIO", COCO_EIO, 0, 0, 0, 0, 4, GENERIC, NOTHING, 4, RUN, COCO_EIO},
    {"EINVAL", COCO_EINVAL, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EINVAL},
    {"EACCES", COCO_EACCES, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EACCES},
    {"EOPNOTSUPP", COCO_EOPNOTSUPP, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EOPNOTSUPP},
    {"EOPNOTSUPP, no page", COCO_EOPNOTSUPP, 0, 0, 0, 0, 0, 0, NOTHING, 0, RUN, COCO_EOPNOTSUPP},
    {"ENODEV", COCO_ENODEV, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_ENODEV},
    {"EBADMSG", COCO_EBADMSG, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EBADMSG},
    {"EMSGSIZE", COCO_EMSGSIZE, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EMSGSIZE},
    {"ETIMEDOUT", COCO_ETIMEDOUT, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_ETIMEDOUT},
    {"ECANCELED", COCO_ECANCELED, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_ECANCELED},
    {"a status of later", 4711, 0, 0, 0, 0, 4, 0, EMPTY, 4, RUN, 4711},
    {"nobody listens", 0, 0, 1, 0, 0, 4, BUSY, NOTHING, 4, RUN, 0},
    {"nobody answers", 0, 0, 0, 1, 0, 4, BUSY, NOTHING, 4, RUN, 0},
    {"HELLO: EACCES", 0, COCO_EACCES, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EACCES},
    {"HELLO: EOPNOTSUPP", 0, COCO_EOPNOTSUPP, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EOPNOTSUPP},
    {"HELLO: EINVAL", 0, COCO_EINVAL, 0, 0, 0, 4, 0, EMPTY, 4, RUN, COCO_EINVAL},
    {"HELLO: EAGAIN", 0, COCO_EAGAIN, 0, 0, 0, 4, BUSY, NOTHING, 4, RUN, 0},
};

FIXTURE(.setup = snp_bed, .teardown = end_bed);

TEST_LOOP(every_status_has_its_result, 0, sizeof(rows) / sizeof(rows[0]))
{
    const struct row *row = &rows[_i];
    uint64_t start_ns = bed.now_ns;
    int act;

    bed.certs_status = row->certs_status;
    bed.hello_status = row->hello_status;
    bed.away = row->away;
    bed.mute = row->mute;
    if (row->table_size)
        bed.table_size = row->table_size;
    ck_assert_msg(one_exit(BED_GPA, row->npages, &act) == row->exitinfo2, "%s", row->what);
    ck_assert_msg(written() == row->written, "%s: %zu", row->what, written());
    ck_assert_msg(kvm_vcpu_snp_result(bed.kvm[0])->rbx == row->rbx, "%s", row->what);
    ck_assert_msg(act == row->act, "%s", row->what);
    ck_assert_msg(bed.warned == row->warned, "%s: %u", row->what, bed.warned);
    /* One exit waits a second at most. */
    ck_assert_uint_le(bed.now_ns - start_ns, 1001 * 1000000ull);
    ck_assert_uint_eq(bed.leases_at_certs, bed.certs_seen);
}

/* --- the lease ------------------------------------------------------------------------------- */

static int write_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", bed.lease_fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

TEST(an_update_means_busy_and_nothing_is_asked)
{
    int fd = write_lock();

    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
    ck_assert_uint_eq(bed.certs_seen, 0);
    close(fd);
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), 0);
    ck_assert_uint_eq(written(), 5000);
}

TEST(a_drain_finds_no_lease_while_the_vcpu_pauses)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, BED_GPA, 4);

    bed.certs_status = COCO_EAGAIN;
    int act = coco_vcpu_snp_start(bed.vcpu[0], exit);
    for (int i = 0; i < 5; i++) {
        bed_serve(&bed);
        act = coco_vcpu_process(bed.vcpu[0]);
    }
    ck_assert_int_eq(act, COCO_ACT_WAIT);
    ck_assert_uint_eq(bed.certs_seen, 1);
    ck_assert_uint_eq(bed_leases(&bed), 0);
    /* SERVING cuts the pause short. */
    bed.certs_status = 0;
    ck_assert_int_eq(fake_notify(bed.servers[0], COCO_NOTIFY_SERVING, 8), 0);
    ck_assert_int_eq(coco_vcpu_process(bed.vcpu[0]), COCO_ACT_WAIT);
    bed_serve(&bed);
    act = coco_vcpu_process(bed.vcpu[0]);
    ck_assert_int_eq(act, COCO_ACT_RUN_IMMEDIATE);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), act);
    ck_assert_uint_eq(complete(0, act), 0);
}

TEST(four_vcpus_hold_four_leases)
{
    struct coco_snp_exit *exit[BED_VCPUS];

    for (unsigned i = 0; i < BED_VCPUS; i++) {
        exit[i] = bed_snp_exit(&bed, i, BED_GPA + i * 0x10000, 4);
        ck_assert_int_eq(coco_vcpu_snp_start(bed.vcpu[i], exit[i]), COCO_ACT_WAIT);
    }
    for (unsigned i = 0; i < BED_VCPUS; i++) {
        ck_assert_int_eq(bed_finish_snp(&bed, i, COCO_ACT_WAIT), COCO_ACT_RUN_IMMEDIATE);
        ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[i], exit[i]), COCO_ACT_RUN_IMMEDIATE);
        ck_assert_uint_eq(bed_leases(&bed), i + 1);
    }
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), -ETIMEDOUT);
    for (unsigned i = 0; i < BED_VCPUS; i++) {
        coco_vcpu_ran(bed.vcpu[i]);
        ck_assert_uint_eq(bed_leases(&bed), BED_VCPUS - 1 - i);
    }
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
}

TEST(a_crash_while_asked_is_asked_again)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, BED_GPA, 4);

    bed.mute = true;
    int act = coco_vcpu_snp_start(bed.vcpu[0], exit);
    for (int i = 0; i < 5; i++) {
        bed_serve(&bed);
        act = coco_vcpu_process(bed.vcpu[0]);
    }
    ck_assert_uint_eq(bed.certs_seen, 1);
    bed_crash(&bed);
    bed.mute = false;
    act = bed_finish_snp(&bed, 0, act);
    ck_assert_int_eq(act, COCO_ACT_RUN_IMMEDIATE);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), act);
    ck_assert_uint_eq(complete(0, act), 0);
    ck_assert_uint_eq(written(), 5000);
    /* The answer over the new connection was not used, since the lease was the old one's. */
    ck_assert_uint_ge(bed.certs_seen, 3);
}

/* --- the busy budget ------------------------------------------------------------------------- */

TEST_LOOP(busy_ends_after_the_budget, 0, 4)
{
    uint64_t first_ns = 0, result;
    unsigned busy = 0;

    bed.away = _i == 0;
    bed.certs_status = _i == 1 ? COCO_EAGAIN : 0;
    bed.mute = _i == 2;
    int lock = _i == 3 ? write_lock() : -1;
    while ((result = one_exit(BED_GPA, 4, NULL)) == BUSY) {
        first_ns = first_ns ? first_ns : bed.now_ns;
        busy++;
        ck_assert_uint_eq(written(), NOTHING);
        bed_advance_ms(&bed, 2000); /* Linux's pause */
    }
    ck_assert_uint_eq(result, 0);
    ck_assert_uint_eq(written(), EMPTY);
    ck_assert_uint_ge((bed.now_ns - first_ns) / 1000000, 20000);
    ck_assert_uint_le((bed.now_ns - first_ns) / 1000000, 24000);
    ck_assert_uint_ge(busy, 6);
    /* It is full again. */
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
    if (lock >= 0)
        close(lock);
}

TEST_LOOP(a_result_fills_the_budget, 0, 2)
{
    bed.certs_status = COCO_EAGAIN;
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
    bed_advance_ms(&bed, 15000);
    bed.certs_status = 0;
    ck_assert_uint_eq(one_exit(BED_GPA, _i ? 4 : 1, NULL), _i ? 0 : INVALID_LEN);
    bed_advance_ms(&bed, 15000);
    bed.certs_status = COCO_EAGAIN;
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
}

TEST(the_budget_is_what_cocod_says)
{
    bed.budget_ms = 3000;
    bed.certs_status = COCO_EAGAIN;
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
    bed_advance_ms(&bed, 3000);
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), 0);
}

/* A Linux guest whose host has no cocod keeps its key. */
TEST(linux_keeps_its_vmpck_without_cocod)
{
    struct vclock clock = {.now_us = bed.now_ns / 1000};
    struct snp_guest *guest = snp_guest_new(bed.kvm[1], &clock, 0x10000000);
    struct kvm_model_run *run = kvm_vcpu_run_area(bed.kvm[1]);
    uint8_t data[SNP_REPORT_DATA_SIZE] = {1};
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {2};
    struct snp_firmware *firmware = snp_firmware_new("Milan", chip);
    unsigned turns = 0;

    ck_assert_ptr_nonnull(guest);
    kvm_model_set_firmware(bed.vm, firmware);
    bed.away = true;
    ck_assert_int_eq(snp_guest_start(guest, SNP_GUEST_TSM, data), 0);
    while (snp_guest_busy(guest)) {
        ck_assert_uint_lt(turns++, 1000);
        ck_assert_int_eq(kvm_model_run(bed.kvm[1]), 0);
        coco_vcpu_ran(bed.vcpu[1]);
        if (run->exit_reason == ABI_EXIT_SNP_REQ_CERTS) {
            struct coco_snp_exit *exit = (struct coco_snp_exit *)(void *)&run->u.snp_req_certs;
            (void)bed_finish_snp(&bed, 1, coco_vcpu_snp_start(bed.vcpu[1], exit));
            ck_assert_int_ge(coco_vcpu_snp_finish(bed.vcpu[1], exit), COCO_ACT_RUN);
            vclock_set_us(&clock, bed.now_ns / 1000);
        } else if (run->u.hlt.wake_us != KVM_MODEL_NEVER) {
            vclock_set_us(&clock, run->u.hlt.wake_us);
            bed.now_ns = vclock_now_us(&clock) * 1000;
        }
    }
    ck_assert(snp_guest_vmpck_alive(guest));
    ck_assert_uint_lt(snp_guest_result(guest)->waited_us, (uint64_t)60 * 1000000);
    snp_guest_free(guest);
    snp_firmware_free(firmware);
}

/* --- hostile memory -------------------------------------------------------------------------- */

TEST_LOOP(pages_that_are_not_there_are_the_guests_own_fault, 0, 5)
{
    static const uint64_t gpas[] = {0, BED_GPA - 4096, BED_GPA + BED_MEMORY, UINT64_MAX - 4095,
                                    0xfffffffffffff000ull - 4096};

    ck_assert_uint_eq(one_exit(gpas[_i], 4, NULL), GENERIC);
    ck_assert_uint_eq(written(), NOTHING);
    /* With no page offered nothing is looked at. */
    bed.table_size = EMPTY;
    ck_assert_uint_eq(one_exit(gpas[_i], 0, NULL), 0);
}

TEST(the_second_page_is_private)
{
    ck_assert_int_eq(kvm_model_set_access(bed.vm, BED_GPA + 4096, 4096, KVM_MODEL_PRIVATE), 0);
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), GENERIC);
    ck_assert_uint_eq(written(), NOTHING);
}

static size_t writable; /* the VMM can write no more at once than this */

static int vmm_trouble(struct bed *b, enum bed_op op, uint64_t gpa, uint64_t size)
{
    (void)b;
    (void)gpa;
    return op == BED_WRITE && size > writable ? -ENOMEM : 0;
}

/* Whatever cocod says meanwhile: BUSY while that is harmless, then the empty table; and where that
 * cannot be written, ENOSPC, after which the guest has its key and no certificates. Never EIO, BUSY
 * without end, or success over a buffer that was not written. */
TEST_LOOP(the_vmms_own_trouble_is_never_eio, 0, 8)
{
    const uint64_t first_ns = bed.now_ns;
    uint64_t result;

    bed.fault = vmm_trouble;
    bed.away = _i & 1;
    writable = _i & 2 ? EMPTY : 0;
    bed.certs_status = _i & 4 ? COCO_EINVAL : 0;
    if ((_i & 4) && writable > 0)
        bed.certs_status = COCO_EAGAIN;
    while ((result = one_exit(BED_GPA, 4, NULL)) == BUSY)
        bed_advance_ms(&bed, 2000);
    ck_assert_uint_eq(result, writable > 0 ? 0 : INVALID_LEN);
    ck_assert_uint_eq(written(), writable > 0 ? EMPTY : NOTHING);
    ck_assert_uint_eq(kvm_vcpu_snp_result(bed.kvm[0])->rbx, 4);
    ck_assert_uint_ge((bed.now_ns - first_ns) / 1000000, 20000);
    ck_assert_uint_le((bed.now_ns - first_ns) / 1000000, 25000);
    ck_assert_uint_eq(bed_leases(&bed), 0);
}

/* --- lifecycle ------------------------------------------------------------------------------- */

TEST(a_kick_is_sticky)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, BED_GPA, 4);

    coco_vcpu_kick(bed.vcpu[0]);
    ck_assert_int_eq(coco_vcpu_snp_start(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(complete(0, COCO_ACT_RUN), BUSY);
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), BUSY);
    coco_vcpu_unkick(bed.vcpu[0]);
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), 0);
}

TEST_LOOP(a_kick_ends_a_wait, 0, 2)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, BED_GPA, 4);

    bed.mute = true;
    ck_assert_int_eq(coco_vcpu_snp_start(bed.vcpu[0], exit), COCO_ACT_WAIT);
    for (int i = 0; i < 3; i++) {
        bed_serve(&bed);
        ck_assert_int_eq(coco_vcpu_process(bed.vcpu[0]), COCO_ACT_WAIT);
    }
    ck_assert_uint_eq(bed_leases(&bed), 1);
    ck_assert_int_gt(coco_vcpu_timeout_ms(bed.vcpu[0]), 0);
    if (_i == 0)
        coco_vcpu_kick(bed.vcpu[0]);
    else
        ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), -ETIMEDOUT);
    ck_assert_int_eq(coco_vcpu_timeout_ms(bed.vcpu[0]), 0);
    ck_assert_int_eq(coco_vcpu_process(bed.vcpu[0]), COCO_ACT_RUN);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), COCO_ACT_RUN);
    ck_assert_uint_eq(complete(0, COCO_ACT_RUN), BUSY);
    if (_i == 1)
        ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
}

TEST(a_reset_forgets_the_exit_and_the_budget)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 0, BED_GPA, 4);

    bed.mute = true;
    (void)coco_vcpu_snp_start(bed.vcpu[0], exit);
    for (int i = 0; i < 3; i++) {
        bed_serve(&bed);
        (void)coco_vcpu_process(bed.vcpu[0]);
    }
    ck_assert_int_eq(coco_vmm_reset(bed.vmm), 0);
    bed_serve(&bed);
    ck_assert_uint_eq(bed.cancels_seen, 1);
    ck_assert_uint_eq(bed_leases(&bed), 0);
    ck_assert_int_eq(coco_vcpu_process(bed.vcpu[0]), COCO_ACT_UNHANDLED);
    ck_assert_int_eq(coco_vcpu_snp_finish(bed.vcpu[0], exit), -EINVAL);
    ck_assert_uint_eq(written(), NOTHING);
    bed.mute = false;
    ck_assert_uint_eq(one_exit(BED_GPA, 4, NULL), 0);
}

TEST(a_detach_gives_the_lease_back)
{
    struct coco_snp_exit *exit = bed_snp_exit(&bed, 3, BED_GPA, 4);

    int act = bed_finish_snp(&bed, 3, coco_vcpu_snp_start(bed.vcpu[3], exit));
    ck_assert_int_eq(act, COCO_ACT_RUN_IMMEDIATE);
    ck_assert_int_eq(coco_vcpu_snp_start(bed.vcpu[3], exit), -EBUSY);
    ck_assert_uint_eq(bed_leases(&bed), 1);
    coco_vcpu_detach(bed.vcpu[3]);
    bed.vcpu[3] = NULL;
    ck_assert_uint_eq(bed_leases(&bed), 0);
    ck_assert_int_eq(coco_vmm_quiesce(bed.vmm, 0), 0);
    struct coco_vcpu *late;
    ck_assert_int_eq(coco_vcpu_attach(bed.vmm, 9, 9, &late), -EBUSY);
    coco_vmm_resume(bed.vmm);
}

/* --- KVM_EXIT_COCO --------------------------------------------------------------------------- */

static const struct {
    uint32_t status, away;
    uint32_t npages, ret, out_npages;
    int act;
    size_t written;
} coco_rows[] = {
    {0, 0, 4, 0, 4, IMMEDIATE, 5000},
    {0, 0, 1, 1, 2, RUN, NOTHING},
    {COCO_EIO, 0, 4, 1u << 31, 4, RUN, NOTHING},
    {COCO_EAGAIN, 0, 4, 0, 4, RUN, EMPTY},
    {COCO_EACCES, 0, 4, 0, 4, RUN, EMPTY},
    {4711, 0, 4, 0, 4, RUN, EMPTY},
    {0, 1, 4, 0, 4, RUN, EMPTY},
};

TEST_LOOP(the_unmerged_exit_has_no_busy, 0, sizeof(coco_rows) / sizeof(coco_rows[0]))
{
    struct coco_coco_exit exit = {.gfn = BED_GPA / 4096, .npages = coco_rows[_i].npages};

    bed.certs_status = coco_rows[_i].status;
    bed.away = coco_rows[_i].away;
    int act = bed_finish_snp(&bed, 0, coco_vcpu_coco_start(bed.vcpu[0], &exit));
    ck_assert_int_eq(act, coco_rows[_i].act);
    ck_assert_int_eq(coco_vcpu_coco_finish(bed.vcpu[0], &exit), act);
    ck_assert_uint_eq(exit.ret, coco_rows[_i].ret);
    ck_assert_uint_eq(exit.npages, coco_rows[_i].out_npages);
    ck_assert_uint_eq(written(), coco_rows[_i].written);
    coco_vcpu_ran(bed.vcpu[0]);
    ck_assert_uint_eq(bed_leases(&bed), 0);
}

TEST(the_unmerged_exit_checks)
{
    struct coco_coco_exit exit = {.nr = 1}, before = exit;

    ck_assert_int_eq(coco_vcpu_coco_certs(bed.vcpu[0], &exit), COCO_ACT_UNHANDLED);
    ck_assert_mem_eq(&exit, &before, sizeof(exit));
    exit = (struct coco_coco_exit){.gfn = UINT64_MAX, .npages = 4};
    (void)bed_finish_snp(&bed, 0, coco_vcpu_coco_start(bed.vcpu[0], &exit));
    ck_assert_int_eq(coco_vcpu_coco_finish(bed.vcpu[0], &exit), COCO_ACT_RUN);
    ck_assert_uint_eq(exit.ret, 1u << 31);
}
