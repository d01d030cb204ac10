/* SPDX-License-Identifier: MIT */
/*
 * Does the model of KVM do what KVM does? Each row of the completion table, the presets, and the
 * order of completion, immediate_exit and firmware.
 */
#include "cached_pki.h"
#include "kvm_model.h"
#include "support.h"
#include <pthread.h>

#define NOW   1790000000 /* September 2026 */
#define PAGE  ((size_t)4096)
#define CERTS 0x10000u

static const struct snp_pki_tcb old_tcb = {.bl = 3, .snp = 8, .ucode = 0x73};
static const struct snp_pki_tcb new_tcb = {.bl = 4, .snp = 0x18, .ucode = 0xd9};

static void fill_cache(void);
FIXTURE(.setup_once = fill_cache, .timeout_s = 120);

/* --- memory ---------------------------------------------------------------------------------- */

TEST(memory_has_bounds_and_modes)
{
    struct kvm_model *vm = kvm_model_new(KVM_MODEL_SNP);
    uint8_t data[2 * PAGE], out[2 * PAGE];
    uint64_t v;

    memset(data, 0x3c, sizeof(data));
    ck_assert_int_eq(kvm_model_add_memory(vm, 0x1000, 4 * PAGE), 0);
    ck_assert_int_eq(kvm_model_add_memory(vm, 0x4000, PAGE), -EEXIST);
    ck_assert_int_eq(kvm_model_add_memory(vm, 0x800, PAGE), -EINVAL);
    ck_assert_int_eq(kvm_model_add_memory(vm, UINT64_MAX - PAGE + 1, PAGE), -EINVAL);
    ck_assert_int_eq(kvm_model_add_memory(vm, 0x10000, 0), -EINVAL);
    ck_assert_int_eq(kvm_model_write(vm, 0x1ff0, data, sizeof(data)), 0);
    ck_assert_int_eq(kvm_model_read(vm, 0x1ff0, out, sizeof(out)), 0);
    ck_assert_mem_eq(out, data, sizeof(out));
    ck_assert_int_eq(kvm_model_write(vm, 0x4fff, data, 2), -EFAULT);
    ck_assert_int_eq(kvm_model_write(vm, 0xfff, data, 2), -EFAULT);
    ck_assert_int_eq(kvm_model_write(vm, UINT64_MAX, data, 2), -EFAULT);
    ck_assert_int_eq(kvm_model_read(vm, 0x1000, out, SIZE_MAX), -EFAULT);
    ck_assert_int_eq(kvm_model_write(vm, 0x9000, data, 0), 0);
    /* A transfer that touches a page which is not shared changes nothing. */
    memset(data, 0x55, sizeof(data));
    ck_assert_int_eq(kvm_model_set_access(vm, 0x3000, PAGE, KVM_MODEL_PRIVATE), 0);
    ck_assert_int_eq(kvm_model_write(vm, 0x2000, data, sizeof(data)), -EFAULT);
    ck_assert_int_eq(kvm_model_read(vm, 0x2000, out, 1), 0);
    ck_assert_uint_eq(out[0], 0x3c);
    ck_assert_int_eq(kvm_model_guest_write(vm, 0x2000, data, sizeof(data)), 0);
    ck_assert_int_eq(kvm_model_guest_read(vm, 0x3000, out, 1), 0);
    ck_assert_int_eq(kvm_model_read(vm, 0x3000, out, 1), -EFAULT);
    ck_assert_int_eq(kvm_model_set_access(vm, 0x3000, PAGE, KVM_MODEL_UNMAPPED), 0);
    ck_assert_int_eq(kvm_model_guest_read(vm, 0x3000, out, 1), -EFAULT);
    ck_assert_int_eq(kvm_model_set_access(vm, 0x8000, PAGE, KVM_MODEL_SHARED), -EFAULT);
    ck_assert_int_eq(kvm_model_set_access(vm, 0x3000, PAGE, KVM_MODEL_SHARED), 0);
    ck_assert_int_eq(kvm_model_store64_release(vm, 0x3008, 0x0102030405060708ull), 0);
    ck_assert_int_eq(kvm_model_read(vm, 0x3008, out, 8), 0);
    ck_assert_uint_eq(out[0], 8); /* little-endian */
    ck_assert_int_eq(kvm_model_load64_acquire(vm, 0x3008, &v), 0);
    ck_assert_uint_eq(v, 0x0102030405060708ull);
    ck_assert_int_eq(kvm_model_store64_release(vm, 0x3004, 1), -EINVAL);
    kvm_model_free(vm);
    kvm_model_free(NULL);
}

#define ROUNDS 2000

/* Writes a page, then its number behind it: who sees the number, sees the page. */
static void *writer(void *arg)
{
    uint8_t data[PAGE];

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        memset(data, (int)(i & 0xff), sizeof(data));
        if (kvm_model_write(arg, 0x1000, data, sizeof(data)) < 0 ||
            kvm_model_store64_release(arg, 0x2000, i) < 0)
            return arg;
    }
    return NULL;
}

TEST(another_thread_sees_stores_in_order)
{
    struct kvm_model *vm = kvm_model_new(KVM_MODEL_TDX);
    uint8_t data[PAGE];
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(kvm_model_add_memory(vm, 0x1000, 2 * PAGE), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, writer, vm), 0);
    for (uint64_t seen = 0, before = 0; seen < ROUNDS; before = seen) {
        ck_assert_int_eq(kvm_model_load64_acquire(vm, 0x2000, &seen), 0);
        ck_assert_int_eq(kvm_model_read(vm, 0x1000, data, sizeof(data)), 0);
        ck_assert_uint_ge(seen, before);
        /* One write is seen whole, and is the one numbered or one after it. */
        ck_assert_uint_eq(data[0], data[PAGE - 1]);
        if (seen == ROUNDS)
            ck_assert_uint_eq(data[0], (uint8_t)seen);
    }
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    kvm_model_free(vm);
}

/* --- SNP ------------------------------------------------------------------------------------- */

/* A guest that makes the calls that it is told to, one each time it runs. */
struct scripted {
    unsigned calls; /* still to make */
    bool extended;
    uint64_t gpa, npages;
    struct snp_report_request request;
    uint64_t leaf, r12, r13;
};

static enum kvm_guest_action run_snp(void *guest, struct kvm_vcpu *vcpu)
{
    struct scripted *s = guest;

    if (s->calls == 0)
        return KVM_GUEST_HALTS;
    s->calls--;
    kvm_vcpu_snp_guest_request(vcpu, &s->request, s->extended, s->gpa, s->npages);
    return KVM_GUEST_CALLS;
}

static enum kvm_guest_action run_tdx(void *guest, struct kvm_vcpu *vcpu)
{
    struct scripted *s = guest;

    if (s->calls == 0)
        return KVM_GUEST_HALTS;
    s->calls--;
    kvm_vcpu_tdvmcall(vcpu, s->leaf, s->r12, s->r13);
    return KVM_GUEST_CALLS;
}

struct host {
    struct snp_pki *pki;
    struct snp_pki_leaf old_leaf, new_leaf;
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE];
    uint8_t ark[32];
    struct snp_firmware *fw;
    struct kvm_model *vm;
    struct kvm_vcpu *vcpu;
    struct kvm_model_run *run;
    struct scripted guest;
};

static void fill_cache(void)
{
    snp_pki_free(cached_pki(NULL, NOW));
}

static void host_init(struct host *h, bool opt_in)
{
    *h = (struct host){.pki = cached_pki(NULL, NOW)};
    memset(h->chip, 0x42, sizeof(h->chip));
    snp_pki_ark_sha256(h->pki, h->ark);
    ck_assert_int_eq(snp_pki_make_vcek(h->pki, old_tcb, h->chip, &h->old_leaf), 0);
    ck_assert_int_eq(snp_pki_make_vcek(h->pki, new_tcb, h->chip, &h->new_leaf), 0);
    h->fw = snp_firmware_new("Milan", h->chip);
    snp_firmware_use_leaf(h->fw, &h->old_leaf, old_tcb);
    h->vm = kvm_model_new(KVM_MODEL_SNP);
    ck_assert_int_eq(kvm_model_add_memory(h->vm, CERTS, 5 * PAGE), 0);
    kvm_model_set_firmware(h->vm, h->fw);
    if (opt_in)
        ck_assert_int_eq(kvm_model_enable_req_certs(h->vm), 0);
    h->vcpu = kvm_model_add_vcpu(h->vm, 0);
    h->run = kvm_vcpu_run_area(h->vcpu);
    h->guest = (struct scripted){.calls = 1, .extended = true, .gpa = CERTS, .npages = 4};
    memset(h->guest.request.report_data, 0x99, SNP_REPORT_DATA_SIZE);
    kvm_vcpu_set_guest(h->vcpu, run_snp, &h->guest);
}

static void host_done(struct host *h)
{
    kvm_model_free(h->vm);
    snp_firmware_free(h->fw);
    snp_pki_leaf_done(&h->old_leaf);
    snp_pki_leaf_done(&h->new_leaf);
    snp_pki_free(h->pki);
}

static enum snp_verdict judge(struct host *h, const struct snp_pki_leaf *leaf)
{
    const struct snp_report_response *response = &kvm_vcpu_snp_result(h->vcpu)->response;
    uint8_t *table = NULL;
    size_t size = 0;

    ck_assert(response->valid);
    ck_assert_int_eq(snp_pki_make_table(h->pki, leaf, &table, &size), 0);
    enum snp_verdict v = snp_report_verify(response->report, table, size, h->ark, NOW, NULL);
    free(table);
    return v;
}

TEST(opting_in_comes_before_vcpus)
{
    struct kvm_model *vm = kvm_model_new(KVM_MODEL_SNP), *td = kvm_model_new(KVM_MODEL_TDX);

    ck_assert_int_eq(kvm_model_enable_req_certs(td), -EINVAL);
    ck_assert_ptr_nonnull(kvm_model_add_vcpu(vm, 0));
    ck_assert_int_eq(kvm_model_enable_req_certs(vm), -EINVAL);
    kvm_model_free(vm);
    kvm_model_free(td);
}

TEST(without_opting_in_kvm_writes_the_empty_table)
{
    struct host h;
    uint8_t page[PAGE], want[PAGE];

    host_init(&h, false);
    memset(page, 0xff, sizeof(page));
    ck_assert_int_eq(kvm_model_guest_write(h.vm, CERTS, page, sizeof(page)), 0);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.run->exit_reason, ABI_EXIT_HLT);
    ck_assert_uint_eq(h.run->u.hlt.wake_us, KVM_MODEL_NEVER);
    memset(want, 0xff, sizeof(want));
    memset(want, 0, 24);
    ck_assert_int_eq(kvm_model_guest_read(h.vm, CERTS, page, sizeof(page)), 0);
    ck_assert_mem_eq(page, want, sizeof(page));
    ck_assert_int_eq(judge(&h, &h.old_leaf), SNP_VERDICT_OK);
    /* No pages offered: nothing is written, wherever RAX points. */
    h.guest = (struct scripted){.calls = 1, .extended = true, .gpa = 0};
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert(kvm_vcpu_snp_result(h.vcpu)->response.valid);
    /* Pages that are not shared: malformed. */
    ck_assert_int_eq(kvm_model_set_access(h.vm, CERTS, PAGE, KVM_MODEL_PRIVATE), 0);
    h.guest = (struct scripted){.calls = 1, .extended = true, .gpa = CERTS, .npages = 1};
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(kvm_vcpu_snp_result(h.vcpu)->sw_exitinfo1, 2);
    ck_assert(!kvm_vcpu_snp_result(h.vcpu)->response.valid);
    host_done(&h);
}

TEST(exit_carries_the_guests_numbers)
{
    struct host h;

    host_init(&h, true);
    h.guest.npages = 0x123456789abcdef0ull;
    h.run->u.snp_req_certs.ret = 77;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.run->exit_reason, ABI_EXIT_SNP_REQ_CERTS);
    ck_assert_uint_eq(h.run->u.snp_req_certs.gpa, CERTS);
    ck_assert_uint_eq(h.run->u.snp_req_certs.npages, 0x123456789abcdef0ull);
    ck_assert_uint_eq(h.run->u.snp_req_certs.ret, 0);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 0);
    host_done(&h);
    /* Misaligned: KVM refuses by itself. */
    host_init(&h, true);
    h.guest.gpa = CERTS + 8;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.run->exit_reason, ABI_EXIT_HLT);
    ck_assert_uint_eq(kvm_vcpu_snp_result(h.vcpu)->sw_exitinfo1, 2);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 0);
    host_done(&h);
    /* A plain guest request never exits. */
    host_init(&h, true);
    h.guest.extended = false;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.run->exit_reason, ABI_EXIT_HLT);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 1);
    host_done(&h);
}

static const struct {
    uint64_t ret, exitinfo2, rbx;
    int run;
    unsigned reports;
} completions[] = {
    {0, 0, 4, 0, 1},
    {28, 0x0000000100000000ull, 9, 0, 0},
    {11, 0x0000000200000000ull, 4, 0, 0},
    {5, 0xffffffff00000000ull, 4, 0, 0},
    {1, 0, 4, -EINVAL, 0},
    {22, 0, 4, -EINVAL, 0},
    {110, 0, 4, -EINVAL, 0},
    {(uint64_t)-11, 0, 4, -EINVAL, 0},
    {0x10000000b, 0, 4, -EINVAL, 0},
};

TEST_LOOP(completion_table, 0, (int)(sizeof(completions) / sizeof(completions[0])))
{
    struct host h;

    host_init(&h, true);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    h.run->u.snp_req_certs.ret = completions[_i].ret;
    h.run->u.snp_req_certs.npages = 9;
    ck_assert_int_eq(kvm_model_run(h.vcpu), completions[_i].run);
    const struct kvm_snp_result *r = kvm_vcpu_snp_result(h.vcpu);
    ck_assert_uint_eq(r->sw_exitinfo1, 0);
    ck_assert_uint_eq(r->sw_exitinfo2, completions[_i].exitinfo2);
    ck_assert_uint_eq(r->rbx, completions[_i].rbx);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), completions[_i].reports);
    ck_assert_int_eq(r->response.valid, completions[_i].reports > 0);
    /* The exit is closed: running again does not complete it again. */
    h.run->u.snp_req_certs.ret = 0;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), completions[_i].reports);
    host_done(&h);
}

TEST(immediate_exit_comes_after_completion)
{
    struct host h;

    host_init(&h, true);
    h.guest.calls = 2;
    h.run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(h.vcpu), -EINTR); /* the guest has not run */
    h.run->immediate_exit = 0;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.guest.calls, 1);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 0);
    h.run->immediate_exit = 1;
    ck_assert_int_eq(kvm_model_run(h.vcpu), -EINTR);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 1); /* asked, and the guest has not run on */
    ck_assert_uint_eq(h.guest.calls, 1);
    ck_assert_int_eq(kvm_model_run(h.vcpu), -EINTR);
    ck_assert_uint_eq(snp_firmware_reports(h.fw), 1);
    h.run->immediate_exit = 0;
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_uint_eq(h.run->exit_reason, ABI_EXIT_SNP_REQ_CERTS);
    /* An answer that KVM does not take is an error before -EINTR is. */
    h.run->immediate_exit = 1;
    h.run->u.snp_req_certs.ret = 1;
    ck_assert_int_eq(kvm_model_run(h.vcpu), -EINVAL);
    host_done(&h);
}

TEST(report_is_made_at_re_entry)
{
    struct host h;

    host_init(&h, true);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    /* Here a VMM copies the old chain; then firmware is committed; then the vCPU runs on. */
    snp_firmware_use_leaf(h.fw, &h.new_leaf, new_tcb);
    ck_assert_int_eq(kvm_model_run(h.vcpu), 0);
    ck_assert_int_eq(judge(&h, &h.old_leaf), SNP_VERDICT_WRONG_TCB);
    ck_assert_int_eq(judge(&h, &h.new_leaf), SNP_VERDICT_OK);
    host_done(&h);
}

TEST(firmware_selects_keys)
{
    struct host h;
    struct snp_pki_leaf vlek;
    struct snp_report_request request = {0};
    struct snp_report_response response = {0};
    struct snp_firmware_state state = {.current = new_tcb,
                                       .committed = old_tcb,
                                       .reported = old_tcb};
    struct snp_firmware_state got;

    host_init(&h, true);
    ck_assert_int_eq(snp_pki_make_vlek(h.pki, old_tcb, &vlek), 0);
    state.vcek = h.old_leaf.key;
    state.vlek = vlek.key;
    request.key_sel = 2;
    snp_firmware_set(h.fw, &state);
    snp_firmware_answer(h.fw, &request, &response);
    ck_assert_uint_eq(response.status, SNP_STATUS_INVALID_KEY);
    request.key_sel = 3;
    snp_firmware_answer(h.fw, &request, &response);
    ck_assert_uint_eq(response.status, SNP_STATUS_INVALID_PARAM);
    state.vlek_en = true;
    snp_firmware_set(h.fw, &state);
    static const uint32_t signer[] = {1, 0, 1}; /* by KEY_SEL, with a VLEK */
    for (request.key_sel = 0; request.key_sel < 3; request.key_sel++) {
        snp_firmware_answer(h.fw, &request, &response);
        ck_assert_uint_eq(response.status, SNP_STATUS_OK);
        ck_assert_uint_eq(response.report[0x48] >> 2 & 7, signer[request.key_sel]);
    }
    state.vlek_en = false;
    state.mask_chip_key = state.mask_chip_id = true;
    snp_firmware_set(h.fw, &state);
    request.key_sel = 0;
    snp_firmware_answer(h.fw, &request, &response);
    ck_assert_uint_eq(response.report[0x48], 7 << 2 | 1 << 1);
    ck_assert_uint_eq(response.report[0x1a0], 0);
    snp_firmware_get(h.fw, &got);
    ck_assert(snp_tcb_equal(got.current, new_tcb) && snp_tcb_equal(got.reported, old_tcb));
    ck_assert(!got.vlek_en && got.mask_chip_key && !got.vcek && !got.vlek);
    snp_pki_leaf_done(&vlek);
    host_done(&h);
}

/* --- TDX ------------------------------------------------------------------------------------- */

struct td {
    struct kvm_model *vm;
    struct kvm_vcpu *vcpu;
    struct kvm_model_run *run;
    struct scripted guest;
};

static void td_init(struct td *t)
{
    *t = (struct td){.vm = kvm_model_new(KVM_MODEL_TDX)};
    t->vcpu = kvm_model_add_vcpu(t->vm, 3);
    t->run = kvm_vcpu_run_area(t->vcpu);
    kvm_vcpu_set_guest(t->vcpu, run_tdx, &t->guest);
}

/* Makes one TDVMCALL; the exit reason that the VMM sees. */
static uint32_t call(struct td *t, uint64_t leaf, uint64_t r12, uint64_t r13)
{
    t->guest = (struct scripted){.calls = 1, .leaf = leaf, .r12 = r12, .r13 = r13};
    ck_assert_int_eq(kvm_model_run(t->vcpu), 0);
    return t->run->exit_reason;
}

static uint64_t resume(struct td *t)
{
    ck_assert_int_eq(kvm_model_run(t->vcpu), 0);
    ck_assert_uint_eq(t->run->exit_reason, ABI_EXIT_HLT);
    return kvm_vcpu_tdx_result(t->vcpu)->r10;
}

TEST(get_quote_exit)
{
    static const uint64_t answers[] = {
        0, 1, ABI_TDVMCALL_INVALID_OPERAND, ABI_TDVMCALL_ALIGN_ERROR, 22, 0x1234567890abcdefull};
    struct td t;

    td_init(&t);
    ck_assert_uint_eq(call(&t, 0x10002, 0x5000 | KVM_MODEL_TDX_SHARED, 8192), ABI_EXIT_TDX);
    ck_assert_uint_eq(t.run->u.tdx.flags, 0);
    ck_assert_uint_eq(t.run->u.tdx.nr, 0x10002);
    ck_assert_uint_eq(t.run->u.tdx.u.get_quote.gpa, 0x5000); /* the shared bit is off */
    ck_assert_uint_eq(t.run->u.tdx.u.get_quote.size, 8192);
    ck_assert_uint_eq(t.run->u.tdx.u.get_quote.ret, 0x8000000000000003ull);
    /* A VMM that does nothing: the preset. */
    ck_assert_uint_eq(resume(&t), ABI_TDVMCALL_SUBFUNC_UNSUPPORTED);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        ck_assert_uint_eq(call(&t, 0x10002, 0x5000 | KVM_MODEL_TDX_SHARED, 1), ABI_EXIT_TDX);
        t.run->u.tdx.u.get_quote.ret = answers[i];
        ck_assert_uint_eq(resume(&t), answers[i]); /* not an errno: raw */
    }
    ck_assert_uint_eq(call(&t, 0x10002, 0x5000, 8192), ABI_EXIT_HLT); /* private */
    ck_assert_uint_eq(kvm_vcpu_tdx_result(t.vcpu)->r10, ABI_TDVMCALL_INVALID_OPERAND);
    kvm_model_free(t.vm);
}

TEST(other_tdx_exits)
{
    struct td t;

    td_init(&t);
    ck_assert_uint_eq(call(&t, 0x10004, 31, 0), ABI_EXIT_HLT);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(t.vcpu)->r10, ABI_TDVMCALL_INVALID_OPERAND);
    ck_assert_uint_eq(call(&t, 0x10004, 256, 0), ABI_EXIT_HLT);
    ck_assert_uint_eq(call(&t, 0x10004, 255, 0), ABI_EXIT_TDX);
    ck_assert_uint_eq(t.run->u.tdx.u.setup_event_notify.vector, 255);
    ck_assert_uint_eq(t.run->u.tdx.u.setup_event_notify.ret, ABI_TDVMCALL_SUBFUNC_UNSUPPORTED);
    t.run->u.tdx.u.setup_event_notify.ret = 0;
    ck_assert_uint_eq(resume(&t), 0);
    ck_assert_uint_eq(call(&t, 0x10000, 0, 0), ABI_EXIT_HLT);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(t.vcpu)->r10, ABI_TDVMCALL_SUCCESS);
    ck_assert_uint_eq(call(&t, 0x10000, 2, 0), ABI_EXIT_HLT);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(t.vcpu)->r10, ABI_TDVMCALL_INVALID_OPERAND);
    ck_assert_uint_eq(call(&t, 0x10000, 1, 0), ABI_EXIT_TDX);
    ck_assert_uint_eq(t.run->u.tdx.u.get_tdvmcall_info.leaf, 1);
    ck_assert_uint_eq(t.run->u.tdx.u.get_tdvmcall_info.ret, ABI_TDVMCALL_SUCCESS);
    t.run->u.tdx.u.get_tdvmcall_info.r11 = 2;
    ck_assert_uint_eq(resume(&t), 0);
    ck_assert_uint_eq(kvm_vcpu_tdx_result(t.vcpu)->r11, 2);
    ck_assert_uint_eq(call(&t, 0x10099, 7, 8), ABI_EXIT_TDX); /* of some later kernel */
    ck_assert_uint_eq(t.run->u.tdx.nr, 0x10099);
    ck_assert_uint_eq(resume(&t), ABI_TDVMCALL_SUBFUNC_UNSUPPORTED);
    kvm_model_free(t.vm);
}

TEST(interrupts_are_counted)
{
    struct td t;

    td_init(&t);
    ck_assert_int_eq(kvm_model_signal_msi(t.vm, 3, 64), 0);
    ck_assert_int_eq(kvm_model_signal_msi(t.vm, 3, 64), 0);
    ck_assert_int_eq(kvm_model_signal_msi(t.vm, 4, 64), -ENOENT);
    ck_assert_int_eq(kvm_model_signal_msi(t.vm, 3, 31), -EINVAL);
    ck_assert_int_eq(kvm_model_signal_msi(t.vm, 3, 256), -EINVAL);
    ck_assert_uint_eq(kvm_vcpu_interrupts(t.vcpu, 64), 2);
    ck_assert_uint_eq(kvm_vcpu_interrupts(t.vcpu, 65), 0);
    kvm_model_free(t.vm);
}
