/* SPDX-License-Identifier: MIT */
/*
 * GetQuotes in flight, from the moment in which the guest was told SUCCESS to the final status in
 * its buffer: PROTOCOL.md "TDX". The exit that makes one is in tdx_exit.c.
 *
 *     FREE ── a vCPU's exit ──▶ NEW ──▶ DUE ── sent ──▶ ASKED ── final ──▶ FREE
 *                                        ▲                │
 *                                        └──── EAGAIN ────┘  after a pause, while there is time
 *
 * All quotes of a VM share one client, which has no lock. At any time one thread owns it
 * (coco_vmm.owned, .owner), works without holding the mutex, and makes the callbacks. A thread that
 * comes meanwhile sets .again and goes on; the owner then makes another round. So no thread waits
 * for another's I/O or callback, and any thread reads any quote's reply. Only reset and quiesce
 * wait to become the owner: they promise that no other thread is writing.
 *
 * What always holds: a quote that was accepted becomes FREE in coco_quote_finish() alone, which
 * wrote a final status, or found that the guest took its buffer away, or was told to forget it
 * (reset). The client ends each request by its deadline, so there is always an end.
 */
#include "bytes.h"
#include "client_internal.h"
#include "kvm_abi.h"
#include "qgs_msg.h"
#include "status.h"
#include "vmm_internal.h"
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>

/* --- the end of a quote ---------------------------------------------------------------------- */

static int write_payload(const struct coco_quote *q, const uint8_t *data, size_t size)
{
    struct coco_vmm *vmm = q->vmm;
    uint64_t at = q->gpa + COCO_GETQUOTE_HEADER_SIZE;
    uint8_t frame[COCO_QUOTE_FRAME_SIZE];

    if (q->framed) {
        const struct coco_qgs_quote_resp resp = {.minor = COCO_QGS_MINOR,
                                                 .quote_size = (uint32_t)size};
        coco_qgs_prefix_encode((uint32_t)(COCO_QGS_QUOTE_RESP_FIXED + size), frame);
        (void)coco_qgs_quote_resp_encode_fixed(&resp, frame + COCO_QGS_PREFIX_SIZE);
        int r = vmm->ops.write(vmm->userdata, at, frame, sizeof(frame));
        if (r < 0)
            return r;
        at += sizeof(frame);
    }
    return vmm->ops.write(vmm->userdata, at, data, size);
}

/* Payload, then out_len, then the status alone, which releases them. Returns what was written;
 * IN_FLIGHT: nothing. */
static uint64_t write_result(const struct coco_quote *q, uint64_t final, const uint8_t *data,
                             size_t size)
{
    struct coco_vmm *vmm = q->vmm;
    uint8_t status[8], out_len[4] = {0};

    /* A guest that took its buffer back (freed, reused, converted it) is not written to. */
    if (vmm->ops.read(vmm->userdata, q->gpa + COCO_GETQUOTE_OFF_STATUS, status, sizeof(status)) < 0)
        return COCO_GETQUOTE_IN_FLIGHT;
    struct coco_reader r = coco_reader_of(status, sizeof(status));
    if (coco_read_u64(&r) != COCO_GETQUOTE_IN_FLIGHT)
        return COCO_GETQUOTE_IN_FLIGHT;

    if (final == COCO_GETQUOTE_SUCCESS) {
        if (size == 0 || size > q->quote_max || write_payload(q, data, size) < 0) {
            final = COCO_GETQUOTE_ERROR;
        } else {
            struct coco_writer w = coco_writer_of(out_len, sizeof(out_len));
            coco_write_u32(&w, (uint32_t)(size + (q->framed ? COCO_QUOTE_FRAME_SIZE : 0)));
        }
    }
    /* SUCCESS over a length that could not be written would have the guest read another. */
    if (vmm->ops.write(vmm->userdata, q->gpa + COCO_GETQUOTE_OFF_OUT_LEN, out_len,
                       sizeof(out_len)) < 0 &&
        final == COCO_GETQUOTE_SUCCESS)
        final = COCO_GETQUOTE_ERROR;
    if (vmm->ops.store64_release(vmm->userdata, q->gpa + COCO_GETQUOTE_OFF_STATUS, final) < 0)
        return COCO_GETQUOTE_IN_FLIGHT;
    return final;
}

static void notify(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    uint32_t vector = vmm->notify_vector, apic_id = vmm->notify_apic_id;
    pthread_mutex_unlock(&vmm->lock);
    if (vector != 0 && vmm->ops.interrupt)
        (void)vmm->ops.interrupt(vmm->userdata, apic_id, vector);
}

void coco_quote_finish(struct coco_quote *q, uint32_t status, const uint8_t *data, size_t size)
{
    struct coco_vmm *vmm = q->vmm;
    uint64_t final = COCO_GETQUOTE_IN_FLIGHT;

    if (!q->forget) {
        final = write_result(q, coco_status_to_getquote(status), data, size);
        if (final != COCO_GETQUOTE_IN_FLIGHT)
            notify(vmm);
        coco_vmm_warn(vmm, COCO_QUOTE_GET, status);
    }
    pthread_mutex_lock(&vmm->lock);
    q->state = QUOTE_FREE;
    vmm->stats.quotes_in_flight--;
    vmm->stats.quotes_ok += final == COCO_GETQUOTE_SUCCESS;
    vmm->stats.quotes_error += final != COCO_GETQUOTE_SUCCESS && final != COCO_GETQUOTE_IN_FLIGHT;
    vmm->stats.quotes_dropped += final == COCO_GETQUOTE_IN_FLIGHT;
    if (q->vcpu) {
        q->vcpu->quotes--;
        coco_signal_fd(q->vcpu->event_fd);
        q->vcpu = NULL;
    }
    pthread_mutex_unlock(&vmm->lock);
}

/* EAGAIN: asked again after a pause, unless no time would be left then. */
static void ask_again(struct coco_quote *q)
{
    const uint64_t resume_ns = coco_vmm_now(q->vmm) + q->pause_ms * COCO_NS_PER_MS;

    if (resume_ns >= q->until_ns) {
        coco_quote_finish(q, COCO_EAGAIN, NULL, 0);
        return;
    }
    pthread_mutex_lock(&q->vmm->lock);
    q->vmm->stats.quotes_again++;
    q->resume_ns = resume_ns;
    q->pause_ms = coco_next_pause(q->pause_ms);
    q->state = QUOTE_DUE;
    pthread_mutex_unlock(&q->vmm->lock);
}

static void on_reply(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct coco_quote *q = userdata;

    (void)client;
    if (q->forget || q->expired)
        coco_quote_finish(q, COCO_ETIMEDOUT, NULL, 0);
    else if (reply->status == COCO_EAGAIN)
        ask_again(q);
    else
        coco_quote_finish(q, reply->status, reply->data, reply->size);
}

/* --- the owner's round ----------------------------------------------------------------------- */

static void send_quote(struct coco_quote *q)
{
    int ms = coco_client_ms_until(coco_vmm_now(q->vmm), q->until_ns);
    int r = ms == 0 ? -ETIMEDOUT
                    : coco_client_quote_get(q->vmm->client, q->tdreport, q->quote_max, (uint32_t)ms,
                                            on_reply, q, &q->id);

    if (r == -ETIMEDOUT)
        coco_quote_finish(q, COCO_ETIMEDOUT, NULL, 0);
    else if (r < 0)
        ask_again(q); /* no memory: as busy as a server at its limit */
}

/* The quotes that are due now become ASKED. */
static uint32_t collect(struct coco_vmm *vmm, struct coco_quote *due[COCO_QUOTES_MAX])
{
    const uint64_t now_ns = coco_vmm_now(vmm);
    uint32_t n = 0;

    pthread_mutex_lock(&vmm->lock);
    for (uint32_t i = 0; i < COCO_QUOTES_MAX; i++) {
        struct coco_quote *q = &vmm->quotes[i];
        if (q->state != QUOTE_DUE || q->resume_ns > now_ns)
            continue;
        q->state = QUOTE_ASKED;
        q->id = 0;
        due[n++] = q;
    }
    pthread_mutex_unlock(&vmm->lock);
    return n;
}

static void make_round(struct coco_vmm *vmm)
{
    struct coco_quote *due[COCO_QUOTES_MAX];
    uint32_t n = collect(vmm, due);

    pthread_mutex_lock(&vmm->lock);
    bool needed = vmm->stats.quotes_in_flight > 0;
    pthread_mutex_unlock(&vmm->lock);
    for (uint32_t i = 0; i < n; i++)
        send_quote(due[i]);
    /* A VM without quotes makes no connection; one that has one keeps reading it. */
    if (needed || coco_client_fd(vmm->client) >= 0)
        (void)coco_client_process(vmm->client, coco_vmm_revents(vmm->client));
    coco_vmm_repoll(&vmm->polled, vmm->client);
}

/* When there is work by time. Called by the owner. */
static uint64_t next_due(struct coco_vmm *vmm)
{
    const uint64_t now_ns = coco_vmm_now(vmm);
    int client_ms = coco_client_timeout_ms(vmm->client);
    uint64_t due_ns = UINT64_MAX;

    pthread_mutex_lock(&vmm->lock);
    /* Without quotes the client may wait with connecting until there are some. */
    if (client_ms >= 0 && (vmm->stats.quotes_in_flight > 0 || coco_client_fd(vmm->client) >= 0))
        due_ns = now_ns + (uint32_t)client_ms * COCO_NS_PER_MS;
    for (uint32_t i = 0; i < COCO_QUOTES_MAX; i++)
        if (vmm->quotes[i].state == QUOTE_DUE && vmm->quotes[i].resume_ns < due_ns)
            due_ns = vmm->quotes[i].resume_ns;
    pthread_mutex_unlock(&vmm->lock);
    return due_ns;
}

/* The lock is held, and this thread is the owner: rounds until nobody left word. */
static void finish_owning(struct coco_vmm *vmm)
{
    uint64_t due_ns;

    do {
        vmm->again = false;
        pthread_mutex_unlock(&vmm->lock);
        make_round(vmm);
        due_ns = next_due(vmm);
        pthread_mutex_lock(&vmm->lock);
    } while (vmm->again);
    vmm->due_ns = due_ns;
    vmm->socket_fd = vmm->polled.fd;
    vmm->socket_events = vmm->polled.events;
    vmm->owned = false;
    (void)pthread_cond_broadcast(&vmm->disowned);
}

void coco_vmm_service(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    if (vmm->owned) {
        vmm->again = true;
    } else {
        vmm->owned = true;
        vmm->owner = pthread_self();
        finish_owning(vmm);
    }
    pthread_mutex_unlock(&vmm->lock);
}

int coco_vmm_own(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    if (vmm->owned && pthread_equal(vmm->owner, pthread_self())) {
        pthread_mutex_unlock(&vmm->lock);
        return -EDEADLK;
    }
    while (vmm->owned)
        (void)pthread_cond_wait(&vmm->disowned, &vmm->lock);
    vmm->owned = true;
    vmm->owner = pthread_self();
    pthread_mutex_unlock(&vmm->lock);
    return 0;
}

void coco_vmm_disown(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    finish_owning(vmm);
    pthread_mutex_unlock(&vmm->lock);
    /* Whoever polls has an old timeout. */
    coco_signal_fd(vmm->wake_fd);
}

void coco_quotes_end(struct coco_vmm *vmm, bool forget)
{
    for (uint32_t i = 0; i < COCO_QUOTES_MAX; i++) {
        struct coco_quote *q = &vmm->quotes[i];
        pthread_mutex_lock(&vmm->lock);
        enum coco_quote_state state = q->state;
        pthread_mutex_unlock(&vmm->lock);
        if (state != QUOTE_DUE && state != QUOTE_ASKED)
            continue;
        /* Without a trace; or with SERVICE_UNAVAILABLE, after which the guest may ask again. The
         * client's callback has nothing left to do then but to free the place. */
        q->forget = forget;
        if (state == QUOTE_DUE) {
            coco_quote_finish(q, COCO_ETIMEDOUT, NULL, 0);
            continue;
        }
        q->expired = !forget;
        (void)coco_client_cancel(vmm->client, q->id);
    }
}

/* --- driving --------------------------------------------------------------------------------- */

int coco_vmm_fd(const struct coco_vmm *vmm)
{
    return vmm->polled.epoll_fd;
}

int coco_vmm_timeout_ms(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    uint64_t due_ns = vmm->due_ns;
    pthread_mutex_unlock(&vmm->lock);
    return due_ns == UINT64_MAX ? -1 : coco_client_ms_until(coco_vmm_now(vmm), due_ns);
}

void coco_vmm_process(struct coco_vmm *vmm)
{
    coco_drain_fd(vmm->wake_fd);
    coco_vmm_service(vmm);
}

void coco_vmm_wait(struct coco_vmm *vmm, int timeout_ms)
{
    struct pollfd p = {.fd = vmm->polled.epoll_fd, .events = POLLIN};
    int own_ms = coco_vmm_timeout_ms(vmm);

    if (timeout_ms < 0 || (own_ms >= 0 && own_ms < timeout_ms))
        timeout_ms = own_ms;
    (void)poll(&p, 1, timeout_ms);
    coco_vmm_process(vmm);
}

void coco_vmm_linger(struct coco_vmm *vmm, int event_fd, int cap_ms)
{
    struct pollfd p[2] = {{.fd = event_fd, .events = POLLIN}};
    int own_ms = coco_vmm_timeout_ms(vmm);

    /* What another thread changes meanwhile, the socket or the time, is seen after cap_ms. */
    pthread_mutex_lock(&vmm->lock);
    p[1] = (struct pollfd){.fd = vmm->socket_fd, .events = vmm->socket_events};
    pthread_mutex_unlock(&vmm->lock);
    (void)poll(p, 2, own_ms >= 0 && own_ms < cap_ms ? own_ms : cap_ms);
}

void coco_vmm_wake(struct coco_vmm *vmm)
{
    coco_signal_fd(vmm->wake_fd);
}
