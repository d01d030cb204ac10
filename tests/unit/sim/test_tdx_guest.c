/* SPDX-License-Identifier: MIT */
/*
 * Does the model of the TD behave as Linux's tdx-guest driver does, and does its judge see what a
 * host did wrong?
 */
#include "bytes.h"
#include "support.h"
#include "tdx_guest.h"
#include "tdx_quote.h"
#include <pthread.h>

#define GPA  0x200000u
#define PAGE ((size_t)4096)

struct td {
    struct kvm_model *vm;
    struct kvm_vcpu *vcpu;
    struct kvm_model_run *run;
    struct vclock clock;
    struct tdx_guest *guest;
    struct tdx_signer *signer;
    uint8_t report[TDX_TDREPORT_SIZE], other_report[TDX_TDREPORT_SIZE];
    uint8_t quote[TDX_QUOTE_ROOM];
    size_t quote_size;
};

static void td_init(struct td *t, const struct tdx_guest_options *options)
{
    *t = (struct td){.vm = kvm_model_new(KVM_MODEL_TDX), .clock.now_us = 7000000};
    t->vcpu = kvm_model_add_vcpu(t->vm, 0);
    t->run = kvm_vcpu_run_area(t->vcpu);
    t->guest = tdx_guest_new(t->vcpu, &t->clock, GPA, options);
    t->signer = tdx_signer_new();
    ck_assert_ptr_nonnull(t->guest);
    ck_assert_ptr_nonnull(t->signer);
    tdx_make_tdreport(1, NULL, t->report);
    tdx_make_tdreport(2, NULL, t->other_report);
    ck_assert_int_eq(tdx_make_quote(t->signer, t->report, 4, t->quote, sizeof(t->quote),
                                    &t->quote_size),
                     0);
}

static void td_done(struct td *t)
{
    tdx_guest_free(t->guest);
    tdx_signer_free(t->signer);
    kvm_model_free(t->vm);
}

/* The guest asks; its exit is before the VMM. */
static void start(struct td *t)
{
    ck_assert_int_eq(tdx_guest_start(t->guest, t->report), 0);
    ck_assert_int_eq(kvm_model_run(t->vcpu), 0);
    ck_assert_uint_eq(t->run->exit_reason, ABI_EXIT_TDX);
    ck_assert_uint_eq(t->run->u.tdx.nr, ABI_TDVMCALL_GET_QUOTE);
}

static void set_status(struct td *t, uint64_t status)
{
    ck_assert_int_eq(kvm_model_store64_release(t->vm, GPA + ABI_GETQUOTE_OFF_STATUS, status), 0);
}

static void set_out_len(struct td *t, uint32_t out_len)
{
    uint8_t bytes[4];
    struct coco_writer w = coco_writer_of(bytes, sizeof(bytes));

    coco_write_u32(&w, out_len);
    ck_assert_int_eq(kvm_model_write(t->vm, GPA + ABI_GETQUOTE_OFF_OUT_LEN, bytes, 4), 0);
}

/* The VMM takes the request: in flight, then R10. */
static void accept_request(struct td *t)
{
    set_status(t, ABI_GETQUOTE_IN_FLIGHT);
    t->run->u.tdx.u.get_quote.ret = ABI_TDVMCALL_SUCCESS;
}

static void start_accepted(struct td *t)
{
    start(t);
    accept_request(t);
}

static void complete_request(struct td *t, const uint8_t *quote, size_t size)
{
    ck_assert_int_eq(kvm_model_write(t->vm, GPA + ABI_GETQUOTE_HEADER_SIZE, quote, size), 0);
    set_out_len(t, (uint32_t)size);
    set_status(t, ABI_GETQUOTE_SUCCESS);
}

/* Runs on virtual time until the guest has its result. */
static void finish(struct td *t)
{
    for (unsigned i = 0; tdx_guest_busy(t->guest); i++) {
        ck_assert_uint_lt(i, 10000);
        ck_assert_int_eq(kvm_model_run(t->vcpu), 0);
        ck_assert_uint_eq(t->run->exit_reason, ABI_EXIT_HLT);
        if (t->run->u.hlt.wake_us != KVM_MODEL_NEVER)
            vclock_set_us(&t->clock, t->run->u.hlt.wake_us);
    }
}

static enum tdx_verdict judge(const struct td *t)
{
    return tdx_guest_judge(t->guest, NULL);
}

static struct td t;

static void setup(void)
{
    td_init(&t, NULL);
}

static void teardown(void)
{
    td_done(&t);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST(request_is_laid_out_as_specified)
{
    uint8_t buffer[8192];

    start(&t);
    ck_assert_uint_eq(t.run->u.tdx.u.get_quote.gpa, GPA);
    ck_assert_uint_eq(t.run->u.tdx.u.get_quote.size, 8192);
    ck_assert_int_eq(kvm_model_read(t.vm, GPA, buffer, sizeof(buffer)), 0);
    struct coco_reader r = coco_reader_of(buffer, sizeof(buffer));
    ck_assert_uint_eq(coco_read_u64(&r), 1);
    ck_assert_uint_eq(coco_read_u64(&r), 0);
    ck_assert_uint_eq(coco_read_u32(&r), 1024);
    ck_assert_uint_eq(coco_read_u32(&r), 0);
    ck_assert_mem_eq(coco_read_bytes(&r, 1024), t.report, 1024);
    coco_read_zeros(&r, sizeof(buffer) - 24 - 1024);
    ck_assert(coco_reader_done(&r));
}

TEST(quote_arrives_at_the_next_look)
{
    start_accepted(&t);
    ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
    ck_assert_uint_eq(t.run->u.hlt.wake_us, 8000000);
    ck_assert_int_eq(tdx_guest_start(t.guest, t.report), -EAGAIN); /* quote_lock */
    vclock_advance_us(&t.clock, 4000);
    complete_request(&t, t.quote, t.quote_size);
    ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
    ck_assert(tdx_guest_busy(t.guest)); /* it looks once a second only */
    finish(&t);
    const struct tdx_guest_result *r = tdx_guest_result(t.guest);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->waited_us, 1000000);
    ck_assert_uint_eq(r->polls, 1);
    ck_assert_uint_eq(r->out_len, t.quote_size);
    ck_assert_mem_eq(r->quote, t.quote, t.quote_size);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
    /* And again. */
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size);
    finish(&t);
    ck_assert_uint_eq(tdx_guest_result(t.guest)->waited_us, 0);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
}

TEST(later_kernels_look_more_often)
{
    struct tdx_guest_options options = {.poll_us = 5000};

    td_done(&t);
    td_init(&t, &options);
    start_accepted(&t);
    ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
    ck_assert_uint_eq(t.run->u.hlt.wake_us, 7005000);
    complete_request(&t, t.quote, t.quote_size);
    finish(&t);
    ck_assert_uint_eq(tdx_guest_result(t.guest)->waited_us, 5000);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
}

TEST(stuck_in_flight_ends_all_quotes)
{
    start_accepted(&t);
    finish(&t);
    const struct tdx_guest_result *r = tdx_guest_result(t.guest);
    ck_assert_int_eq(r->error, -ETIMEDOUT);
    ck_assert_uint_eq(r->waited_us, 30000000);
    ck_assert_uint_eq(r->polls, 30);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_STUCK);
    ck_assert_int_eq(tdx_guest_start(t.guest, t.report), -EBUSY);
    vclock_advance_us(&t.clock, 3600000000u);
    ck_assert_int_eq(tdx_guest_start(t.guest, t.report), -EBUSY);
    /* A host that ends it after all frees the buffer. */
    set_status(&t, ABI_GETQUOTE_ERROR);
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size);
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
}

TEST(any_r10_but_success_is_failure)
{
    static const uint64_t answers[] = {ABI_TDVMCALL_RETRY, ABI_TDVMCALL_INVALID_OPERAND,
                                       ABI_TDVMCALL_ALIGN_ERROR, ABI_TDVMCALL_SUBFUNC_UNSUPPORTED,
                                       11};

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        start(&t);
        t.run->u.tdx.u.get_quote.ret = answers[i];
        finish(&t);
        const struct tdx_guest_result *r = tdx_guest_result(t.guest);
        ck_assert_int_eq(r->error, -EIO);
        ck_assert_uint_eq(r->r10, answers[i]);
        ck_assert_uint_eq(r->waited_us, 0);
        ck_assert_int_eq(judge(&t), TDX_VERDICT_CALL_FAILED);
    }
    /* Marked in flight and refused at once: nobody will ever end it. */
    start(&t);
    set_status(&t, ABI_GETQUOTE_IN_FLIGHT);
    t.run->u.tdx.u.get_quote.ret = ABI_TDVMCALL_RETRY;
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_STUCK);
    ck_assert_int_eq(tdx_guest_start(t.guest, t.report), -EBUSY);
}

TEST(errors_are_final_and_harmless)
{
    static const uint64_t statuses[] = {ABI_GETQUOTE_ERROR, ABI_GETQUOTE_SERVICE_UNAVAILABLE};

    for (size_t i = 0; i < 2; i++) {
        start(&t);
        accept_request(&t);
        ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
        set_status(&t, statuses[i]);
        finish(&t);
        const struct tdx_guest_result *r = tdx_guest_result(t.guest);
        ck_assert_int_eq(r->error, 0); /* the driver does not look at it */
        ck_assert_uint_eq(r->status, statuses[i]);
        ck_assert_ptr_null(r->quote);
        ck_assert_int_eq(judge(&t), TDX_VERDICT_REFUSED);
    }
    /* An error with an out_len is an answer for the driver: garbage handed to the program. */
    start_accepted(&t);
    set_out_len(&t, 100);
    set_status(&t, ABI_GETQUOTE_ERROR);
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_BAD_QUOTE);
    /* Accepted without being marked: the driver finds a final status at once. */
    start(&t);
    t.run->u.tdx.u.get_quote.ret = ABI_TDVMCALL_SUCCESS;
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_EMPTY);
}

TEST(someone_elses_quote_is_refused)
{
    const char *why = NULL;
    uint8_t other[TDX_QUOTE_ROOM];
    size_t size;

    ck_assert_int_eq(tdx_make_quote(t.signer, t.other_report, 4, other, sizeof(other), &size), 0);
    start_accepted(&t);
    complete_request(&t, other, size);
    finish(&t);
    ck_assert_int_eq(tdx_guest_judge(t.guest, &why), TDX_VERDICT_BAD_QUOTE);
    ck_assert_ptr_nonnull(why);
    /* Cut short by the host. */
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size - 1);
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_BAD_QUOTE);
}

static int refuse_all(const uint8_t *quote, size_t size, const uint8_t *tdreport, const char **why)
{
    (void)quote;
    (void)size;
    (void)tdreport;
    *why = "this verifier takes nothing";
    return -EBADMSG;
}

TEST(verifier_can_be_replaced)
{
    struct tdx_guest_options options = {.verify = refuse_all};
    const char *why = NULL;

    td_done(&t);
    td_init(&t, &options);
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size);
    finish(&t);
    ck_assert_int_eq(tdx_guest_judge(t.guest, &why), TDX_VERDICT_BAD_QUOTE);
    ck_assert_str_eq(why, "this verifier takes nothing");
}

TEST(overruns_are_seen)
{
    start_accepted(&t);
    set_out_len(&t, 8192 - 24 + 1);
    set_status(&t, ABI_GETQUOTE_SUCCESS);
    finish(&t);
    ck_assert_int_eq(tdx_guest_result(t.guest)->error, -EIO);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OVERRUN);
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size);
    ck_assert_int_eq(kvm_model_write(t.vm, GPA + 8192, "x", 1), 0);
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OVERRUN);
}

TEST(buffer_sizes)
{
    struct kvm_model *vm = kvm_model_new(KVM_MODEL_TDX);
    struct kvm_vcpu *vcpu = kvm_model_add_vcpu(vm, 0);
    struct vclock clock = {0};
    struct tdx_guest_options options = {.buffer_size = 5000};
    uint8_t report[TDX_TDREPORT_SIZE];

    ck_assert_ptr_null(tdx_guest_new(vcpu, &clock, GPA, &options));
    options.buffer_size = TDX_GUEST_BUFFER_MAX + PAGE;
    ck_assert_ptr_null(tdx_guest_new(vcpu, &clock, GPA, &options));
    options.buffer_size = TDX_GUEST_BUFFER_MAX;
    struct tdx_guest *g = tdx_guest_new(vcpu, &clock, GPA, &options);
    ck_assert_ptr_nonnull(g);
    tdx_make_tdreport(1, NULL, report);
    ck_assert_int_eq(tdx_guest_start(g, report), 0);
    ck_assert_int_eq(kvm_model_run(vcpu), 0);
    ck_assert_uint_eq(kvm_vcpu_run_area(vcpu)->u.tdx.u.get_quote.size, 4198400);
    tdx_guest_free(g);
    kvm_model_free(vm);
}

TEST(reset_shows_late_writes)
{
    start_accepted(&t);
    ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
    tdx_guest_reset(t.guest);
    ck_assert(!tdx_guest_busy(t.guest));
    ck_assert(!tdx_guest_touched_after_reset(t.guest));
    complete_request(&t, t.quote, t.quote_size);
    ck_assert(tdx_guest_touched_after_reset(t.guest));
    /* A new driver asks anew, whatever the memory holds. */
    set_status(&t, ABI_GETQUOTE_IN_FLIGHT);
    start_accepted(&t);
    complete_request(&t, t.quote, t.quote_size);
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
    /* A reset while the exit is open: its answer reaches nobody. */
    start(&t);
    tdx_guest_reset(t.guest);
    t.run->u.tdx.u.get_quote.ret = ABI_TDVMCALL_RETRY;
    ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
    ck_assert_uint_eq(t.run->u.hlt.wake_us, KVM_MODEL_NEVER);
}

/* A page that the guest made private: the VMM cannot write, and the guest sees its own status. */
TEST(private_buffer_fails_the_vmm)
{
    ck_assert_int_eq(kvm_model_set_access(t.vm, GPA, PAGE, KVM_MODEL_PRIVATE), 0);
    start(&t);
    ck_assert_int_eq(kvm_model_store64_release(t.vm, GPA + 8, ABI_GETQUOTE_IN_FLIGHT), -EFAULT);
    t.run->u.tdx.u.get_quote.ret = ABI_TDVMCALL_INVALID_OPERAND;
    finish(&t);
    ck_assert_int_eq(judge(&t), TDX_VERDICT_CALL_FAILED);
}

static void *complete_from_another_thread(void *arg)
{
    struct td *td = arg;
    uint8_t out_len[4];
    struct coco_writer w = coco_writer_of(out_len, sizeof(out_len));

    coco_write_u32(&w, (uint32_t)td->quote_size);
    if (kvm_model_write(td->vm, GPA + 24, td->quote, td->quote_size) < 0 ||
        kvm_model_write(td->vm, GPA + 20, out_len, 4) < 0 ||
        kvm_model_store64_release(td->vm, GPA + 8, ABI_GETQUOTE_SUCCESS) < 0)
        return td;
    return NULL;
}

TEST(another_thread_may_complete)
{
    pthread_t thread;
    void *failed;
    struct tdx_guest_options options = {.poll_us = 1, .timeout_us = UINT64_MAX / 2};

    td_done(&t);
    td_init(&t, &options);
    for (int i = 0; i < 50; i++) {
        start(&t);
        accept_request(&t);
        ck_assert_int_eq(pthread_create(&thread, NULL, complete_from_another_thread, &t), 0);
        while (tdx_guest_busy(t.guest)) {
            ck_assert_int_eq(kvm_model_run(t.vcpu), 0);
            vclock_advance_us(&t.clock, 1);
        }
        ck_assert_int_eq(pthread_join(thread, &failed), 0);
        ck_assert_ptr_null(failed);
        ck_assert_int_eq(judge(&t), TDX_VERDICT_OK);
    }
}
