/* SPDX-License-Identifier: MIT */
/*
 * Does the model of the SNP guest behave as Linux does: what keeps its VMPCK, what costs it, and
 * how long it waits?
 */
#include "cached_pki.h"
#include "snp_guest.h"
#include "support.h"

#define NOW   1790000000 /* September 2026 */
#define PAGE  ((size_t)4096)
#define CERTS 0x100000u

static const struct snp_pki_tcb old_tcb = {.bl = 3, .snp = 8, .ucode = 0x73};
static const struct snp_pki_tcb new_tcb = {.bl = 4, .snp = 0x18, .ucode = 0xd9};

struct host;

/* What a VMM does with an exit: fills in the answer. */
typedef void (*answer_fn)(struct host *h, struct abi_snp_req_certs *exit);

struct host {
    struct snp_pki *pki;
    struct snp_pki_leaf old_leaf, new_leaf;
    uint8_t *table; /* of the old leaf */
    size_t table_size;
    uint8_t ark[32];
    uint8_t report_data[SNP_REPORT_DATA_SIZE];
    struct snp_firmware *fw;
    struct kvm_model *vm;
    struct kvm_vcpu *vcpu;
    struct vclock clock;
    struct snp_guest *guest;
    answer_fn answer;
    unsigned exits;
    uint64_t busy_until_us;
    uint64_t odd_answer;
};

static void fill_cache(void)
{
    struct snp_pki *pki = cached_pki(NULL, NOW);
    size_t size;

    ck_assert_ptr_nonnull(snp_pki_ca_der(pki, SNP_PKI_ASVK, &size));
    snp_pki_free(pki);
}

static void host_init(struct host *h)
{
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE];

    *h = (struct host){.pki = cached_pki(NULL, NOW), .clock.now_us = 5000000};
    memset(chip, 0x42, sizeof(chip));
    memset(h->report_data, 0x17, sizeof(h->report_data));
    snp_pki_ark_sha256(h->pki, h->ark);
    ck_assert_int_eq(snp_pki_make_vcek(h->pki, old_tcb, chip, &h->old_leaf), 0);
    ck_assert_int_eq(snp_pki_make_vcek(h->pki, new_tcb, chip, &h->new_leaf), 0);
    ck_assert_int_eq(snp_pki_make_table(h->pki, &h->old_leaf, &h->table, &h->table_size), 0);
    h->fw = snp_firmware_new("Milan", chip);
    snp_firmware_use_leaf(h->fw, &h->old_leaf, old_tcb);
    h->vm = kvm_model_new(KVM_MODEL_SNP);
    kvm_model_set_firmware(h->vm, h->fw);
    ck_assert_int_eq(kvm_model_enable_req_certs(h->vm), 0);
    h->vcpu = kvm_model_add_vcpu(h->vm, 0);
    h->guest = snp_guest_new(h->vcpu, &h->clock, CERTS);
    ck_assert_ptr_nonnull(h->guest);
}

static void host_done(struct host *h)
{
    snp_guest_free(h->guest);
    kvm_model_free(h->vm);
    snp_firmware_free(h->fw);
    free(h->table);
    snp_pki_leaf_done(&h->old_leaf);
    snp_pki_leaf_done(&h->new_leaf);
    snp_pki_free(h->pki);
}

/* Runs the vCPU until the guest has its result, on virtual time. */
static void finish(struct host *h, answer_fn answer)
{
    struct kvm_model_run *run = kvm_vcpu_run_area(h->vcpu);

    for (unsigned i = 0; snp_guest_busy(h->guest); i++) {
        ck_assert_uint_lt(i, 1000);
        int r = kvm_model_run(h->vcpu);
        if (r == -EINVAL)
            continue;
        ck_assert_int_eq(r, 0);
        if (run->exit_reason == ABI_EXIT_SNP_REQ_CERTS) {
            h->exits++;
            answer(h, &run->u.snp_req_certs);
        } else if (run->u.hlt.wake_us != KVM_MODEL_NEVER) {
            vclock_set_us(&h->clock, run->u.hlt.wake_us);
        }
    }
}

static const struct snp_guest_result *ask(struct host *h, enum snp_guest_style style,
                                          answer_fn answer)
{
    ck_assert_int_eq(snp_guest_start(h->guest, style, h->report_data), 0);
    finish(h, answer);
    return snp_guest_result(h->guest);
}

static enum snp_verdict judge(const struct host *h)
{
    return snp_guest_judge(h->guest, h->ark, NOW, NULL);
}

/* --- ways to answer -------------------------------------------------------------------------- */

static void serve(struct host *h, struct abi_snp_req_certs *exit)
{
    uint64_t needed = (h->table_size + PAGE - 1) / PAGE;

    if (exit->npages < needed) {
        exit->npages = needed;
        exit->ret = ABI_RET_ENOSPC;
        return;
    }
    ck_assert_int_eq(kvm_model_write(h->vm, exit->gpa, h->table, h->table_size), 0);
    exit->ret = ABI_RET_OK;
}

static void serve_empty(struct host *h, struct abi_snp_req_certs *exit)
{
    static const uint8_t empty[24];

    if (exit->npages > 0)
        ck_assert_int_eq(kvm_model_write(h->vm, exit->gpa, empty, sizeof(empty)), 0);
    exit->ret = ABI_RET_OK;
}

static void say_eio(struct host *h, struct abi_snp_req_certs *exit)
{
    (void)h;
    exit->ret = ABI_RET_EIO;
}

static void busy_for_a_while(struct host *h, struct abi_snp_req_certs *exit)
{
    if (vclock_now_us(&h->clock) < h->busy_until_us)
        exit->ret = ABI_RET_EAGAIN;
    else
        serve(h, exit);
}

/* The race: firmware is committed after the copy, before KVM_RUN. */
static void serve_then_update(struct host *h, struct abi_snp_req_certs *exit)
{
    serve(h, exit);
    if (exit->ret == ABI_RET_OK)
        snp_firmware_use_leaf(h->fw, &h->new_leaf, new_tcb);
}

static void want_too_much(struct host *h, struct abi_snp_req_certs *exit)
{
    (void)h;
    exit->npages = 5;
    exit->ret = ABI_RET_ENOSPC;
}

static void say_odd(struct host *h, struct abi_snp_req_certs *exit)
{
    exit->ret = h->odd_answer;
}

static void write_too_much(struct host *h, struct abi_snp_req_certs *exit)
{
    uint8_t page[PAGE] = {0};

    serve(h, exit);
    if (exit->ret == ABI_RET_OK)
        ck_assert_int_eq(kvm_model_write(h->vm, exit->gpa + exit->npages * PAGE, page, 1), 0);
}

static struct host h;

static void setup(void)
{
    host_init(&h);
}

static void teardown(void)
{
    host_done(&h);
}

FIXTURE(.setup_once = fill_cache, .setup = setup, .teardown = teardown, .timeout_s = 120);

/* --- tests ----------------------------------------------------------------------------------- */

TEST(tsm_gets_report_and_chain)
{
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, serve);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->exits, 1);
    ck_assert_uint_eq(r->certs_size, h.table_size); /* what the entries span */
    ck_assert_mem_eq(r->certs, h.table, h.table_size);
    ck_assert(r->vmpck_alive);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
    /* Again, with other report data: the report is a new one. */
    h.report_data[0] ^= 1;
    ask(&h, SNP_GUEST_TSM, serve);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
}

TEST(ioctl_asks_twice)
{
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_IOCTL, serve);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->exits, 2);
    ck_assert_uint_eq(r->certs_needed, 0);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 2); /* one to use up the sequence number */
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
}

TEST(empty_table_is_no_certificates)
{
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, serve_empty);
    ck_assert_int_eq(r->error, 0);
    ck_assert_ptr_null(r->certs);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_NO_CERTIFICATES);
    r = ask(&h, SNP_GUEST_IOCTL, serve_empty);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->exits, 1);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_NO_CERTIFICATES);
}

TEST(eio_costs_the_vmpck_at_once)
{
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, say_eio);
    ck_assert_int_eq(r->error, -EIO);
    ck_assert_uint_eq(r->exits, 1);
    ck_assert_uint_eq(r->waited_us, 0);
    ck_assert(!r->vmpck_alive);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_VMPCK_LOST);
    ck_assert_int_eq(snp_guest_start(h.guest, SNP_GUEST_TSM, h.report_data), -ENOTTY);
}

TEST(busy_is_borne_for_a_minute)
{
    h.busy_until_us = vclock_now_us(&h.clock) + 57000000;
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, busy_for_a_while);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->busy, 29); /* at 0, 2, … 56 s */
    ck_assert_uint_eq(r->exits, 30);
    ck_assert_uint_eq(r->waited_us, 58000000);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
    h.busy_until_us = UINT64_MAX;
    r = ask(&h, SNP_GUEST_TSM, busy_for_a_while);
    ck_assert_int_eq(r->error, -ETIMEDOUT);
    ck_assert_uint_eq(r->waited_us, 60000000);
    ck_assert_uint_eq(r->busy, 31);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_VMPCK_LOST);
    ck_assert(!snp_guest_vmpck_alive(h.guest));
}

TEST(busy_guest_sleeps_two_seconds)
{
    struct kvm_model_run *run;

    run = kvm_vcpu_run_area(h.vcpu);
    ck_assert_int_eq(snp_guest_start(h.guest, SNP_GUEST_TSM, h.report_data), 0);
    ck_assert_int_eq(snp_guest_start(h.guest, SNP_GUEST_TSM, h.report_data), -EBUSY);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    run->u.snp_req_certs.ret = ABI_RET_EAGAIN;
    for (int i = 0; i < 2; i++) { /* woken early, it sleeps on */
        ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
        ck_assert_uint_eq(run->exit_reason, ABI_EXIT_HLT);
        ck_assert_uint_eq(run->u.hlt.wake_us, 7000000);
        vclock_advance_us(&h.clock, 999999);
    }
    vclock_advance_us(&h.clock, 2);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(run->exit_reason, ABI_EXIT_SNP_REQ_CERTS);
    finish(&h, serve);
}

TEST(race_with_an_update_is_seen)
{
    const char *why = NULL;

    for (int style = SNP_GUEST_TSM; style <= SNP_GUEST_IOCTL; style++) {
        host_done(&h);
        host_init(&h);
        ck_assert_int_eq(ask(&h, (enum snp_guest_style)style, serve_then_update)->error, 0);
        ck_assert_int_eq(snp_guest_judge(h.guest, h.ark, NOW, &why), SNP_VERDICT_WRONG_TCB);
        ck_assert_str_eq(why, "the leaf certifies another TCB than the reported one");
        ck_assert(snp_guest_vmpck_alive(h.guest));
    }
}

TEST(table_over_16_kib_fails_without_losing_the_vmpck)
{
    const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, want_too_much);
    ck_assert_int_eq(r->error, -EIO);
    ck_assert_uint_eq(r->certs_needed, 5 * PAGE);
    ck_assert(r->vmpck_alive);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_NO_REPORT);
    r = ask(&h, SNP_GUEST_IOCTL, want_too_much);
    ck_assert_int_eq(r->error, -EINVAL); /* the driver does not take such a buffer */
    ck_assert(r->vmpck_alive);
    ck_assert_int_eq(ask(&h, SNP_GUEST_TSM, serve)->error, 0);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
}

TEST(single_ioctl)
{
    ck_assert_int_eq(snp_guest_start_ioctl(h.guest, 100, h.report_data), -EINVAL);
    ck_assert_int_eq(snp_guest_start_ioctl(h.guest, 5 * PAGE, h.report_data), -EINVAL);
    ck_assert_int_eq(snp_guest_start_ioctl(h.guest, PAGE, h.report_data), 0);
    finish(&h, serve);
    const struct snp_guest_result *r = snp_guest_result(h.guest);
    ck_assert_int_eq(r->error, -EIO); /* the table takes two pages */
    ck_assert_uint_eq(r->certs_needed, 2 * PAGE);
    ck_assert_uint_eq(r->exitinfo2, ABI_EXITINFO2_INVALID_LEN);
    ck_assert_int_eq(snp_guest_start_ioctl(h.guest, 2 * PAGE, h.report_data), 0);
    finish(&h, serve);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
}

/* KVM does not take it, and the guest finds a response page that nobody wrote. */
TEST(odd_answers_cost_the_vmpck)
{
    static const uint64_t odd[] = {1, 22, 12, 110, UINT64_MAX};

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        host_done(&h);
        host_init(&h);
        h.odd_answer = odd[i];
        const struct snp_guest_result *r = ask(&h, SNP_GUEST_TSM, say_odd);
        ck_assert_int_eq(r->error, -EBADMSG);
        ck_assert_int_eq(judge(&h), SNP_VERDICT_VMPCK_LOST);
    }
}

TEST(writing_behind_the_offer_is_seen)
{
    for (int style = SNP_GUEST_TSM; style <= SNP_GUEST_IOCTL; style++) {
        host_done(&h);
        host_init(&h);
        const struct snp_guest_result *r = ask(&h, (enum snp_guest_style)style, write_too_much);
        ck_assert_int_eq(r->error, 0);
        ck_assert(r->overrun);
        ck_assert_int_eq(judge(&h), SNP_VERDICT_OVERRUN);
    }
}

TEST(vlek_chain)
{
    struct snp_pki_leaf vlek;

    ck_assert_int_eq(snp_pki_make_vlek(h.pki, old_tcb, &vlek), 0);
    snp_firmware_use_leaf(h.fw, &vlek, old_tcb);
    ask(&h, SNP_GUEST_TSM, serve);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_BAD_REPORT); /* the VCEK's table, a VLEK's report */
    free(h.table);
    ck_assert_int_eq(snp_pki_make_table(h.pki, &vlek, &h.table, &h.table_size), 0);
    ask(&h, SNP_GUEST_TSM, serve);
    ck_assert_int_eq(judge(&h), SNP_VERDICT_OK);
    snp_pki_leaf_done(&vlek);
}

TEST(nothing_asked_is_no_report)
{
    ck_assert_int_eq(judge(&h), SNP_VERDICT_NO_REPORT);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(kvm_vcpu_run_area(h.vcpu)->u.hlt.wake_us, KVM_MODEL_NEVER);
}
