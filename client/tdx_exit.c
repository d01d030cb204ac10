/* SPDX-License-Identifier: MIT */
/*
 * KVM_EXIT_TDX: GetQuote, SetupEventNotifyInterrupt, GetTdVmCallInfo; PROTOCOL.md "TDX".
 *
 * GetQuote is answered at once: the request is checked, its buffer is set in flight, and quotes.c
 * does the rest. `ret` is the guest's R10, and Linux's driver takes anything but SUCCESS for a
 * failure without a second try. So the only transient state that it shows is the VM's own limit.
 *
 * What always holds: the buffer's header and the TDREPORT are read once, in one piece, from the
 * buffer's first page; whatever the guest writes there later changes nothing. IN_FLIGHT is in the
 * buffer before cocod is asked and before the guest sees SUCCESS.
 */
#include "bytes.h"
#include "client_internal.h"
#include "kvm_abi.h"
#include "qgs_msg.h"
#include "status.h"
#include "vmm_internal.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

/* --- GetQuote: checks ------------------------------------------------------------------------ */

/* What a guest may send is a bare TDREPORT, or one within QGS's message and prefix. */
#define FRAMED_LEN (COCO_QGS_PREFIX_SIZE + COCO_QGS_QUOTE_REQ_SIZE)
#define HEAD_SIZE  (COCO_GETQUOTE_HEADER_SIZE + FRAMED_LEN)

static_assert(HEAD_SIZE <= COCO_PAGE_SIZE, "the smallest buffer is a page");

/* The TDREPORT in the message of guests that know QGS; NULL: there is none. */
static const uint8_t *unframe(const uint8_t *data)
{
    struct coco_qgs_quote_req req;

    if (coco_qgs_prefix_decode(data) != COCO_QGS_QUOTE_REQ_SIZE ||
        coco_qgs_quote_req_decode(data + COCO_QGS_PREFIX_SIZE, COCO_QGS_QUOTE_REQ_SIZE, &req) < 0 ||
        req.report_size != COCO_TDREPORT_SIZE)
        return NULL;
    return req.report;
}

/* PROTOCOL.md "TDX", the first table, but for the limit. The TDREPORT lies in `head`. */
static uint64_t check(const struct coco_vmm *vmm, uint64_t gpa, uint64_t size,
                      uint8_t head[HEAD_SIZE], const uint8_t **ret_tdreport)
{
    uint64_t end;

    if (size == 0)
        return COCO_TDVMCALL_INVALID_OPERAND;
    if (gpa % COCO_PAGE_SIZE != 0 || size % COCO_PAGE_SIZE != 0)
        return COCO_TDVMCALL_ALIGN_ERROR;
    if (size > vmm->quote_buffer_max || __builtin_add_overflow(gpa, size, &end))
        return COCO_TDVMCALL_INVALID_OPERAND;
    if (vmm->ops.read(vmm->userdata, gpa, head, HEAD_SIZE) < 0)
        return COCO_TDVMCALL_INVALID_OPERAND;
    struct coco_reader r = coco_reader_of(head, HEAD_SIZE);
    uint64_t version = coco_read_u64(&r);
    (void)coco_read_u64(&r); /* status: without meaning on the way in */
    uint32_t in_len = coco_read_u32(&r);
    if (version != COCO_GETQUOTE_VERSION)
        return COCO_TDVMCALL_INVALID_OPERAND;
    const uint8_t *data = head + COCO_GETQUOTE_HEADER_SIZE;
    *ret_tdreport = in_len == COCO_TDREPORT_SIZE ? data
                    : in_len == FRAMED_LEN       ? unframe(data)
                                                 : NULL;
    return *ret_tdreport ? COCO_TDVMCALL_SUCCESS : COCO_TDVMCALL_INVALID_OPERAND;
}

/* --- GetQuote: acceptance -------------------------------------------------------------------- */

/* A place, in state NEW; NULL: the VM's own limit. */
static struct coco_quote *claim(struct coco_vcpu *vcpu)
{
    struct coco_vmm *vmm = vcpu->vmm;
    struct coco_quote *q = NULL;

    pthread_mutex_lock(&vmm->lock);
    if (vmm->stats.quotes_in_flight < vmm->quotes_max)
        for (uint32_t i = 0; i < COCO_QUOTES_MAX && !q; i++)
            if (vmm->quotes[i].state == QUOTE_FREE)
                q = &vmm->quotes[i];
    if (q) {
        memset(q, 0, sizeof(*q));
        q->state = QUOTE_NEW;
        q->vmm = vmm;
        q->vcpu = vcpu;
        vcpu->quotes++;
        vmm->stats.quotes_in_flight++;
    }
    pthread_mutex_unlock(&vmm->lock);
    return q;
}

static void unclaim(struct coco_quote *q)
{
    struct coco_vmm *vmm = q->vmm;

    pthread_mutex_lock(&vmm->lock);
    q->vcpu->quotes--;
    q->vcpu = NULL;
    q->state = QUOTE_FREE;
    vmm->stats.quotes_in_flight--;
    pthread_mutex_unlock(&vmm->lock);
}

static uint64_t get_quote(struct coco_vcpu *vcpu, uint64_t gpa, uint64_t size)
{
    struct coco_vmm *vmm = vcpu->vmm;
    uint8_t head[HEAD_SIZE];
    const uint8_t *tdreport;
    uint64_t r10 = check(vmm, gpa, size, head, &tdreport);

    if (r10 != COCO_TDVMCALL_SUCCESS)
        return r10;
    struct coco_quote *q = claim(vcpu);
    if (!q)
        return COCO_TDVMCALL_RETRY;
    q->gpa = gpa;
    q->framed = tdreport != head + COCO_GETQUOTE_HEADER_SIZE;
    /* The room for a quote; what is beyond the largest one is the guest's to waste. */
    size -= COCO_GETQUOTE_HEADER_SIZE + (q->framed ? COCO_QUOTE_FRAME_SIZE : 0u);
    q->quote_max = size < COCO_QUOTE_MAX ? (uint32_t)size : COCO_QUOTE_MAX;
    memcpy(q->tdreport, tdreport, sizeof(q->tdreport));
    q->pause_ms = COCO_PAUSE_MIN_MS;
    q->resume_ns = coco_vmm_now(vmm);
    q->until_ns = q->resume_ns + vmm->quote_timeout_ms * COCO_NS_PER_MS;
    if (vmm->ops.store64_release(vmm->userdata, gpa + COCO_GETQUOTE_OFF_STATUS,
                                 COCO_GETQUOTE_IN_FLIGHT) < 0) {
        unclaim(q);
        return COCO_TDVMCALL_INVALID_OPERAND;
    }
    if (__atomic_load_n(&vmm->quiesced, __ATOMIC_ACQUIRE)) {
        coco_quote_finish(q, COCO_ETIMEDOUT, NULL, 0);
        return COCO_TDVMCALL_SUCCESS;
    }
    pthread_mutex_lock(&vmm->lock);
    q->state = QUOTE_DUE;
    pthread_mutex_unlock(&vmm->lock);
    coco_vmm_service(vmm);
    /* Whoever polls for the VM has an old timeout. */
    coco_signal_fd(vmm->wake_fd);
    return COCO_TDVMCALL_SUCCESS;
}

/* --- the other leaves ------------------------------------------------------------------------ */

static uint64_t setup_event_notify(struct coco_vcpu *vcpu, uint64_t vector)
{
    struct coco_vmm *vmm = vcpu->vmm;

    if (vector < COCO_TDVMCALL_VECTOR_MIN || vector > COCO_TDVMCALL_VECTOR_MAX)
        return COCO_TDVMCALL_INVALID_OPERAND;
    /* One for the VM: the last that was set up. */
    pthread_mutex_lock(&vmm->lock);
    vmm->notify_vector = (uint32_t)vector;
    vmm->notify_apic_id = vcpu->apic_id;
    pthread_mutex_unlock(&vmm->lock);
    return COCO_TDVMCALL_SUCCESS;
}

static uint64_t get_info(const struct coco_vmm *vmm, uint64_t arg[5])
{
    if (arg[0] != 1)
        return COCO_TDVMCALL_INVALID_OPERAND; /* KVM answers the other leaves itself */
    arg[1] = vmm->ops.interrupt ? COCO_TDVMCALL_INFO_SETUP_EVENT_NOTIFY : 0;
    arg[2] = arg[3] = arg[4] = 0;
    return COCO_TDVMCALL_SUCCESS;
}

int coco_vcpu_tdx(struct coco_vcpu *vcpu, struct coco_tdx_exit *exit)
{
    struct coco_vmm *vmm = vcpu->vmm;

    switch (exit->nr) {
    case COCO_TDVMCALL_GET_QUOTE:
        exit->ret = get_quote(vcpu, exit->arg[0], exit->arg[1]);
        if (exit->ret != COCO_TDVMCALL_SUCCESS) {
            pthread_mutex_lock(&vmm->lock);
            vmm->stats.quotes_refused++;
            pthread_mutex_unlock(&vmm->lock);
        }
        return COCO_ACT_RUN;
    case COCO_TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT:
        if (!vmm->ops.interrupt)
            return COCO_ACT_UNHANDLED;
        exit->ret = setup_event_notify(vcpu, exit->arg[0]);
        return COCO_ACT_RUN;
    case COCO_TDVMCALL_GET_TD_VM_CALL_INFO:
        exit->ret = get_info(vmm, exit->arg);
        return COCO_ACT_RUN;
    default:
        return COCO_ACT_UNHANDLED;
    }
}

/* How long a waiting vCPU may be wrong about a socket or a time that another thread changed. */
#define LINGER_MS 100

/* --- waiting for one's own ------------------------------------------------------------------- */

static bool has_quotes(struct coco_vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->vmm->lock);
    bool has = vcpu->quotes > 0;
    pthread_mutex_unlock(&vcpu->vmm->lock);
    return has;
}

int coco_vcpu_quote_wait(struct coco_vcpu *vcpu, uint32_t timeout_ms)
{
    struct coco_vmm *vmm = vcpu->vmm;
    const uint64_t until_ns = coco_vmm_now(vmm) + timeout_ms * COCO_NS_PER_MS;

    for (;;) {
        coco_drain_fd(vcpu->event_fd);
        coco_vmm_service(vmm);
        if (!has_quotes(vcpu))
            return 0;
        if (coco_vcpu_hurried(vcpu))
            return -EINTR;
        int ms = coco_client_ms_until(coco_vmm_now(vmm), until_ns);
        if (ms == 0)
            return -ETIMEDOUT;
        /* Another thread may finish it, and tells this vCPU. */
        coco_vmm_linger(vmm, vcpu->event_fd, ms < LINGER_MS ? ms : LINGER_MS);
    }
}
