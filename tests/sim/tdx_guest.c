/* SPDX-License-Identifier: MIT */
/*
 * The model of Linux's tdx-guest driver. It has one shared buffer and one lock. It clears the
 * buffer, puts header (version, the TDREPORT's length) and TDREPORT into it and makes the GetQuote
 * call; any R10 but SUCCESS is failure, without a second try. Then it looks at the status once a
 * second while that says "in flight", for 30 s. Any final status is an answer: with an error, too,
 * the quote is out_len bytes long, so a host sets out_len to 0.
 *
 * A status "in flight" after the driver has given up means that the host still owns the buffer:
 * each later request fails with EBUSY, until a final status comes. The header is read with acquire
 * semantics first, since the host writes the status last, from any thread. The model also looks at
 * what the driver does not: an out_len beyond the buffer, and the page behind it.
 */
#include "tdx_guest.h"
#include "bytes.h"
#include "tdx_quote.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE       4096u
#define GUARD_BYTE 0xa5

enum state {
    IDLE,
    ASK,    /* the buffer is ready, the call not made */
    ASKED,  /* R10 is there when the guest runs again */
    WAITING /* in flight; the next look is at poll_at_us */
};

struct tdx_guest {
    struct kvm_vcpu *vcpu;
    struct vclock *clock;
    struct tdx_guest_options options;
    uint64_t gpa;
    enum state state;
    bool started; /* the buffer was handed to the host at least once since the reset */
    uint64_t start_us, poll_at_us, give_up_us;
    bool overrun; /* out_len was beyond the buffer */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    struct tdx_guest_result result;
    uint8_t *buffer; /* buffer_size and a page: the driver's own copy, and scratch */
};

static enum kvm_guest_action run_guest(void *guest, struct kvm_vcpu *vcpu);

static struct kvm_model *vm_of(const struct tdx_guest *g)
{
    return kvm_vcpu_vm(g->vcpu);
}

static size_t payload_size(const struct tdx_guest *g)
{
    return g->options.buffer_size - ABI_GETQUOTE_HEADER_SIZE;
}

struct tdx_guest *tdx_guest_new(struct kvm_vcpu *vcpu, struct vclock *clock, uint64_t gpa,
                                const struct tdx_guest_options *options)
{
    struct tdx_guest *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->vcpu = vcpu;
    g->clock = clock;
    g->gpa = gpa;
    if (options)
        g->options = *options;
    if (g->options.buffer_size == 0)
        g->options.buffer_size = TDX_GUEST_BUFFER_DEFAULT;
    if (g->options.poll_us == 0)
        g->options.poll_us = 1000000;
    if (g->options.timeout_us == 0)
        g->options.timeout_us = 30000000;
    if (!g->options.verify)
        g->options.verify = tdx_verify_quote;
    size_t size = g->options.buffer_size + PAGE;
    if (g->options.buffer_size % PAGE == 0 && g->options.buffer_size <= TDX_GUEST_BUFFER_MAX)
        g->buffer = malloc(size);
    if (!g->buffer || kvm_model_add_memory(vm_of(g), gpa, size) < 0) {
        free(g->buffer);
        free(g);
        return NULL;
    }
    kvm_vcpu_set_guest(vcpu, run_guest, g);
    return g;
}

void tdx_guest_free(struct tdx_guest *g)
{
    if (!g)
        return;
    kvm_vcpu_set_guest(g->vcpu, NULL, NULL);
    free(g->buffer);
    free(g);
}

/* --- the shared buffer ------------------------------------------------------------------------ */

static uint64_t read_status(const struct tdx_guest *g)
{
    uint64_t status = ABI_GETQUOTE_IN_FLIGHT;
    uint8_t raw[8];

    if (kvm_model_load64_acquire(vm_of(g), g->gpa + ABI_GETQUOTE_OFF_STATUS, &status) == 0)
        return status;
    /* A page that is not shared (a test made it private): the guest still sees what it wrote. */
    if (kvm_model_guest_read(vm_of(g), g->gpa + ABI_GETQUOTE_OFF_STATUS, raw, sizeof(raw)) == 0) {
        struct coco_reader r = coco_reader_of(raw, sizeof(raw));
        status = coco_read_u64(&r);
    }
    return status;
}

static void fill_buffer(struct tdx_guest *g)
{
    struct coco_writer w = coco_writer_of(g->buffer, g->options.buffer_size);

    coco_write_u64(&w, ABI_GETQUOTE_VERSION);
    coco_write_u64(&w, ABI_GETQUOTE_SUCCESS);
    coco_write_u32(&w, COCO_TDREPORT_SIZE);
    coco_write_u32(&w, 0);
    coco_write_bytes(&w, g->tdreport, COCO_TDREPORT_SIZE);
    coco_write_zeros(&w, g->options.buffer_size - w.pos);
    memset(g->buffer + g->options.buffer_size, GUARD_BYTE, PAGE);
    (void)kvm_model_guest_write(vm_of(g), g->gpa, g->buffer, g->options.buffer_size + PAGE);
}

static bool guard_broken(const struct tdx_guest *g)
{
    uint8_t page[PAGE];

    if (kvm_model_guest_read(vm_of(g), g->gpa + g->options.buffer_size, page, PAGE) < 0)
        return false;
    for (size_t i = 0; i < PAGE; i++)
        if (page[i] != GUARD_BYTE)
            return true;
    return false;
}

/* --- the driver ------------------------------------------------------------------------------- */

static void finish(struct tdx_guest *g, int error)
{
    g->result.error = error;
    g->result.waited_us = vclock_now_us(g->clock) - g->start_us;
    g->state = IDLE;
}

/* The status is final: the rest of the buffer was written before it. */
static void take_quote(struct tdx_guest *g)
{
    uint8_t header[ABI_GETQUOTE_HEADER_SIZE] = {0};
    struct coco_reader r = coco_reader_of(header, sizeof(header));

    if (kvm_model_guest_read(vm_of(g), g->gpa, header, sizeof(header)) < 0) {
        finish(g, -EIO);
        return;
    }
    (void)coco_read_bytes(&r, ABI_GETQUOTE_OFF_OUT_LEN);
    g->result.out_len = coco_read_u32(&r);
    if (g->result.out_len > payload_size(g)) {
        g->overrun = true;
        finish(g, -EIO);
        return;
    }
    if (g->result.out_len > 0 &&
        kvm_model_guest_read(vm_of(g), g->gpa + sizeof(header), g->buffer, g->result.out_len) == 0)
        g->result.quote = g->buffer;
    finish(g, 0);
}

static void look(struct tdx_guest *g)
{
    uint64_t now = vclock_now_us(g->clock);

    g->result.status = read_status(g);
    if (g->result.status != ABI_GETQUOTE_IN_FLIGHT) {
        take_quote(g);
        return;
    }
    if (now >= g->give_up_us) {
        finish(g, -ETIMEDOUT);
        return;
    }
    g->result.polls++;
    g->poll_at_us = now + g->options.poll_us;
    g->state = WAITING;
}

static void handle_call_result(struct tdx_guest *g)
{
    g->result.r10 = kvm_vcpu_tdx_result(g->vcpu)->r10;
    if (g->result.r10 != ABI_TDVMCALL_SUCCESS) {
        g->result.status = read_status(g);
        finish(g, -EIO);
        return;
    }
    g->give_up_us = vclock_now_us(g->clock) + g->options.timeout_us;
    look(g);
}

static enum kvm_guest_action run_guest(void *guest, struct kvm_vcpu *vcpu)
{
    struct tdx_guest *g = guest;

    if (g->state == ASKED)
        handle_call_result(g);
    else if (g->state == WAITING && vclock_now_us(g->clock) >= g->poll_at_us)
        look(g);
    if (g->state == ASK) {
        g->state = ASKED;
        kvm_vcpu_tdvmcall(vcpu, ABI_TDVMCALL_GET_QUOTE, g->gpa | KVM_MODEL_TDX_SHARED,
                          g->options.buffer_size);
        return KVM_GUEST_CALLS;
    }
    kvm_vcpu_halt(vcpu, g->state == WAITING ? g->poll_at_us : KVM_MODEL_NEVER);
    return KVM_GUEST_HALTS;
}

int tdx_guest_start(struct tdx_guest *g, const uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    if (g->state != IDLE)
        return -EAGAIN;
    if (g->started && read_status(g) == ABI_GETQUOTE_IN_FLIGHT)
        return -EBUSY;
    g->result = (struct tdx_guest_result){0};
    g->overrun = false;
    g->started = true;
    memcpy(g->tdreport, tdreport, COCO_TDREPORT_SIZE);
    fill_buffer(g);
    g->start_us = vclock_now_us(g->clock);
    g->state = ASK;
    return 0;
}

bool tdx_guest_busy(const struct tdx_guest *g)
{
    return g->state != IDLE;
}

const struct tdx_guest_result *tdx_guest_result(const struct tdx_guest *g)
{
    return &g->result;
}

void tdx_guest_reset(struct tdx_guest *g)
{
    g->state = IDLE;
    g->started = false;
    g->overrun = false;
    g->result = (struct tdx_guest_result){0};
    memset(g->buffer, GUARD_BYTE, g->options.buffer_size + PAGE);
    memset(g->buffer + ABI_GETQUOTE_OFF_STATUS, 0xff, sizeof(uint64_t));
    (void)kvm_model_guest_write(vm_of(g), g->gpa, g->buffer, g->options.buffer_size + PAGE);
}

bool tdx_guest_touched_after_reset(const struct tdx_guest *g)
{
    uint8_t page[PAGE];

    for (size_t at = 0; at < g->options.buffer_size + PAGE; at += PAGE) {
        if (kvm_model_guest_read(vm_of(g), g->gpa + at, page, PAGE) < 0)
            continue;
        for (size_t i = 0; i < PAGE; i++)
            if (page[i] != g->buffer[at + i])
                return true;
    }
    return false;
}

/* --- judging ---------------------------------------------------------------------------------- */

static enum tdx_verdict judge_quote(const struct tdx_guest *g, const char **why)
{
    const struct tdx_guest_result *result = &g->result;

    if (result->status != ABI_GETQUOTE_SUCCESS) {
        *why = "the host refused, with a final status and no quote";
        if (!result->quote)
            return TDX_VERDICT_REFUSED;
        *why = "the host left bytes behind an error status, which the driver takes for a quote";
        return TDX_VERDICT_BAD_QUOTE;
    }
    *why = "the status is SUCCESS, but there is no quote";
    if (!result->quote)
        return TDX_VERDICT_EMPTY;
    *why = "the quote does not verify";
    if (g->options.verify(result->quote, result->out_len, g->tdreport, why) != 0)
        return TDX_VERDICT_BAD_QUOTE;
    *why = "the quote is this TDREPORT's";
    return TDX_VERDICT_OK;
}

enum tdx_verdict tdx_guest_judge(const struct tdx_guest *g, const char **ret_why)
{
    const struct tdx_guest_result *result = &g->result;
    const char *why = NULL;
    enum tdx_verdict verdict;

    if (g->overrun || (g->started && guard_broken(g))) {
        why = "out_len, or what the host wrote, goes beyond the buffer";
        verdict = TDX_VERDICT_OVERRUN;
    } else if (result->status == ABI_GETQUOTE_IN_FLIGHT) {
        why = "the request stayed in flight: every later one fails";
        verdict = TDX_VERDICT_STUCK;
    } else if (result->r10 != ABI_TDVMCALL_SUCCESS || result->error != 0) {
        why = "GetQuote failed, and the guest does not try again";
        verdict = TDX_VERDICT_CALL_FAILED;
    } else {
        verdict = judge_quote(g, &why);
    }
    if (ret_why)
        *ret_why = why;
    return verdict;
}

const char *tdx_verdict_name(enum tdx_verdict verdict)
{
    static const char *const names[] = {
        [TDX_VERDICT_OK] = "ok",
        [TDX_VERDICT_REFUSED] = "refused",
        [TDX_VERDICT_CALL_FAILED] = "call failed",
        [TDX_VERDICT_EMPTY] = "empty quote",
        [TDX_VERDICT_BAD_QUOTE] = "bad quote",
        [TDX_VERDICT_STUCK] = "stuck in flight",
        [TDX_VERDICT_OVERRUN] = "overrun",
    };

    return (size_t)verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "?";
}
