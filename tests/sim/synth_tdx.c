/* SPDX-License-Identifier: MIT */
/*
 * A VMM's answer to GetQuote.
 *
 * A request is a slot of a fixed array: nothing is allocated for a guest. A vCPU's thread checks
 * the guest's buffer, copies the TDREPORT, claims a slot and writes IN_FLIGHT, all before the exit
 * is answered; from then on the slot is the I/O thread's:
 *
 *     FREE ──claimed by a vCPU──▶ DUE ──sent──▶ ASKED ──final──▶ FREE
 *                                  ▲              │
 *                                  └──── EAGAIN ──┘ (with a pause, while there is time)
 *
 * The I/O thread is the only one that touches the client. The mutex guards the slots' states and
 * the numbers; no callback runs and no guest memory is written while it is held, but for IN_FLIGHT.
 *
 * What always holds: a slot becomes FREE in conclude() alone, which has written a final status (or
 * found the guest's pages gone); the client gives every request its end, also when it is freed, so
 * no buffer stays in flight.
 */
#include "synth_tdx.h"
#include "bytes.h"
#include "limits.h"
#include "status.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MIN_MS 10u
#define PAUSE_MAX_MS 250u

enum slot_state {
    FREE,
    DUE, /* to be sent at resume_us */
    ASKED,
};

struct slot {
    struct synth_tdx *tdx;
    enum slot_state state;
    uint64_t gpa;
    uint32_t quote_max;
    uint64_t start_us, resume_us, until_us;
    uint32_t pause_ms;
    uint8_t tdreport[COCO_TDREPORT_SIZE];
};

struct synth_tdx {
    struct kvm_model *vm;
    struct coco_client *client;
    uint32_t timeout_ms;
    int wake;
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop;
    struct synth_tdx_stats stats;
    struct slot slots[SYNTH_TDX_REQUESTS];
};

static uint64_t now_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* --- the exit: vCPU threads ---------------------------------------------------------------------
 */

static void wake(struct synth_tdx *tdx)
{
    const uint64_t one = 1;

    while (write(tdx->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

/* PROTOCOL.md "TDX", the first table, in its order; 0 where the request is one to be sent. */
static uint64_t check(struct synth_tdx *tdx, uint64_t gpa, uint64_t size,
                      uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    uint8_t header[COCO_GETQUOTE_HEADER_SIZE];
    struct coco_reader r = coco_reader_of(header, sizeof(header));

    if (size == 0)
        return COCO_TDVMCALL_INVALID_OPERAND;
    if (gpa % COCO_PAGE_SIZE != 0 || size % COCO_PAGE_SIZE != 0)
        return COCO_TDVMCALL_ALIGN_ERROR;
    if (size > COCO_QUOTE_MAX)
        return COCO_TDVMCALL_INVALID_OPERAND;
    if (kvm_model_read(tdx->vm, gpa, header, sizeof(header)) < 0 ||
        kvm_model_read(tdx->vm, gpa + sizeof(header), tdreport, COCO_TDREPORT_SIZE) < 0)
        return COCO_TDVMCALL_INVALID_OPERAND;
    uint64_t version = coco_read_u64(&r);
    (void)coco_read_u64(&r); /* status: the guest's, without meaning on the way in */
    uint32_t in_len = coco_read_u32(&r);
    if (version != COCO_GETQUOTE_VERSION || in_len != COCO_TDREPORT_SIZE ||
        COCO_GETQUOTE_HEADER_SIZE + (uint64_t)in_len > size)
        return COCO_TDVMCALL_INVALID_OPERAND;
    return COCO_TDVMCALL_SUCCESS;
}

/* The lock is held. */
static uint64_t claim(struct synth_tdx *tdx, uint64_t gpa, uint64_t size,
                      const uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    struct slot *slot = NULL;

    for (size_t i = 0; i < SYNTH_TDX_REQUESTS && !slot; i++)
        if (tdx->slots[i].state == FREE)
            slot = &tdx->slots[i];
    if (!slot || tdx->stop)
        return COCO_TDVMCALL_RETRY;
    if (kvm_model_store64_release(tdx->vm, gpa + COCO_GETQUOTE_OFF_STATUS,
                                  COCO_GETQUOTE_IN_FLIGHT) < 0)
        return COCO_TDVMCALL_INVALID_OPERAND;
    slot->tdx = tdx;
    slot->gpa = gpa;
    slot->quote_max = (uint32_t)size - COCO_GETQUOTE_HEADER_SIZE;
    slot->start_us = slot->resume_us = now_us();
    slot->until_us = slot->start_us + tdx->timeout_ms * UINT64_C(1000);
    slot->pause_ms = PAUSE_MIN_MS;
    memcpy(slot->tdreport, tdreport, COCO_TDREPORT_SIZE);
    slot->state = DUE;
    tdx->stats.in_flight++;
    return COCO_TDVMCALL_SUCCESS;
}

void synth_tdx_answer(struct synth_tdx *tdx, struct coco_kvm_tdx *exit)
{
    const uint64_t gpa = exit->u.get_quote.gpa, size = exit->u.get_quote.size;
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    if (exit->nr != COCO_TDVMCALL_GET_QUOTE)
        return;
    uint64_t r10 = check(tdx, gpa, size, tdreport);
    pthread_mutex_lock(&tdx->lock);
    if (r10 == COCO_TDVMCALL_SUCCESS)
        r10 = claim(tdx, gpa, size, tdreport);
    tdx->stats.exits++;
    tdx->stats.refused += r10 != COCO_TDVMCALL_SUCCESS;
    tdx->stats.retry += r10 == COCO_TDVMCALL_RETRY;
    pthread_mutex_unlock(&tdx->lock);
    exit->u.get_quote.ret = r10;
    if (r10 == COCO_TDVMCALL_SUCCESS)
        wake(tdx);
}

/* --- the end of a request: the I/O thread -------------------------------------------------------
 */

/* Data, then its length, then the status, which releases them. The status that was written. */
static uint64_t write_result(struct slot *slot, uint64_t status, const uint8_t *quote, size_t size)
{
    struct kvm_model *vm = slot->tdx->vm;
    uint8_t out_len[4];

    if (size > 0 && kvm_model_write(vm, slot->gpa + COCO_GETQUOTE_HEADER_SIZE, quote, size) < 0) {
        status = COCO_GETQUOTE_ERROR;
        size = 0;
    }
    struct coco_writer w = coco_writer_of(out_len, sizeof(out_len));
    coco_write_u32(&w, (uint32_t)size);
    if (kvm_model_write(vm, slot->gpa + COCO_GETQUOTE_OFF_OUT_LEN, out_len, sizeof(out_len)) < 0 ||
        kvm_model_store64_release(vm, slot->gpa + COCO_GETQUOTE_OFF_STATUS, status) < 0)
        return COCO_GETQUOTE_IN_FLIGHT;
    return status;
}

static void conclude(struct slot *slot, uint32_t status, const uint8_t *quote, size_t size)
{
    struct synth_tdx *tdx = slot->tdx;
    uint64_t final = coco_status_to_getquote(status);
    bool have = final == COCO_GETQUOTE_SUCCESS && size > 0 && size <= slot->quote_max;

    if (final == COCO_GETQUOTE_SUCCESS && !have)
        final = COCO_GETQUOTE_ERROR;
    final = write_result(slot, final, quote, have ? size : 0);
    pthread_mutex_lock(&tdx->lock);
    slot->state = FREE;
    tdx->stats.in_flight--;
    tdx->stats.quotes += final == COCO_GETQUOTE_SUCCESS;
    tdx->stats.errors += final == COCO_GETQUOTE_ERROR;
    tdx->stats.unavailable += final == COCO_GETQUOTE_SERVICE_UNAVAILABLE;
    tdx->stats.unwritable += final == COCO_GETQUOTE_IN_FLIGHT;
    synth_latency_add(&tdx->stats.latency, now_us() - slot->start_us);
    pthread_mutex_unlock(&tdx->lock);
}

/* EAGAIN: after a pause, unless no time would be left then. */
static void ask_again(struct slot *slot)
{
    struct synth_tdx *tdx = slot->tdx;
    uint64_t resume_us = now_us() + slot->pause_ms * UINT64_C(1000);
    bool late = resume_us >= slot->until_us;

    pthread_mutex_lock(&tdx->lock);
    tdx->stats.busy++;
    if (!late) {
        slot->resume_us = resume_us;
        slot->pause_ms = slot->pause_ms * 2 < PAUSE_MAX_MS ? slot->pause_ms * 2 : PAUSE_MAX_MS;
        slot->state = DUE;
    }
    pthread_mutex_unlock(&tdx->lock);
    if (late)
        conclude(slot, COCO_STATUS_EAGAIN, NULL, 0);
}

static void on_reply(struct coco_client *client, const struct coco_reply *reply, void *userdata)
{
    struct slot *slot = userdata;

    (void)client;
    if (reply->status == COCO_STATUS_EAGAIN)
        ask_again(slot);
    else
        conclude(slot, reply->status, reply->data, reply->size);
}

/* --- the I/O thread -----------------------------------------------------------------------------
 */

static void send_request(struct slot *slot, uint64_t now)
{
    struct synth_tdx *tdx = slot->tdx;

    if (now >= slot->until_us) {
        conclude(slot, COCO_STATUS_ETIMEDOUT, NULL, 0);
        return;
    }
    uint64_t ms = (slot->until_us - now + 999) / 1000;
    int r = coco_client_quote_get(tdx->client, slot->tdreport, slot->quote_max, (uint32_t)ms,
                                  on_reply, slot, NULL);
    if (r < 0)
        ask_again(slot); /* no memory: as busy as a server at its limit */
}

/* Sends what is due; false: stop. */
static bool send_due(struct synth_tdx *tdx)
{
    struct slot *due[SYNTH_TDX_REQUESTS];
    uint64_t now = now_us();
    size_t n = 0;

    pthread_mutex_lock(&tdx->lock);
    bool stop = tdx->stop;
    for (size_t i = 0; i < SYNTH_TDX_REQUESTS && !stop; i++) {
        struct slot *slot = &tdx->slots[i];
        if (slot->state != DUE || slot->resume_us > now)
            continue;
        slot->state = ASKED;
        due[n++] = slot;
    }
    pthread_mutex_unlock(&tdx->lock);
    for (size_t i = 0; i < n; i++)
        send_request(due[i], now);
    return !stop;
}

/* Until the client or a slot wants the thread; -1: for ever. */
static int timeout_ms(struct synth_tdx *tdx)
{
    uint64_t now = now_us(), next = UINT64_MAX;
    int client_ms = coco_client_timeout_ms(tdx->client);

    pthread_mutex_lock(&tdx->lock);
    for (size_t i = 0; i < SYNTH_TDX_REQUESTS; i++)
        if (tdx->slots[i].state == DUE && tdx->slots[i].resume_us < next)
            next = tdx->slots[i].resume_us;
    pthread_mutex_unlock(&tdx->lock);
    if (next == UINT64_MAX)
        return client_ms;
    int slot_ms = next > now ? (int)((next - now + 999) / 1000) : 0;
    return client_ms >= 0 && client_ms < slot_ms ? client_ms : slot_ms;
}

static void *io_main(void *arg)
{
    struct synth_tdx *tdx = arg;
    uint64_t count;

    while (send_due(tdx)) {
        struct pollfd p[2] = {
            {.fd = tdx->wake, .events = POLLIN},
            {.fd = coco_client_fd(tdx->client), .events = coco_client_events(tdx->client)},
        };
        int n = poll(p, 2, timeout_ms(tdx));
        if (n > 0 && p[0].revents)
            (void)!read(tdx->wake, &count, sizeof(count));
        (void)coco_client_process(tdx->client, n > 0 ? p[1].revents : 0);
    }
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------
 */

int synth_tdx_new(struct kvm_model *vm, const struct coco_client_options *options,
                  uint32_t timeout_ms, struct synth_tdx **ret)
{
    struct synth_tdx *tdx = calloc(1, sizeof(*tdx));
    int r;

    if (!tdx)
        return -ENOMEM;
    tdx->vm = vm;
    tdx->timeout_ms = timeout_ms ? timeout_ms : SYNTH_TDX_TIMEOUT_MS;
    tdx->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tdx->wake < 0)
        r = -errno;
    else
        r = coco_client_new(options, &tdx->client);
    if (r == 0)
        r = -pthread_mutex_init(&tdx->lock, NULL);
    if (r == 0)
        r = -pthread_create(&tdx->thread, NULL, io_main, tdx);
    if (r < 0) {
        if (tdx->wake >= 0)
            close(tdx->wake);
        coco_client_free(tdx->client);
        free(tdx);
        return r;
    }
    *ret = tdx;
    return 0;
}

void synth_tdx_free(struct synth_tdx *tdx)
{
    if (!tdx)
        return;
    pthread_mutex_lock(&tdx->lock);
    tdx->stop = true;
    pthread_mutex_unlock(&tdx->lock);
    wake(tdx);
    pthread_join(tdx->thread, NULL);
    coco_client_free(tdx->client); /* ends what is ASKED, in ECANCELED */
    for (size_t i = 0; i < SYNTH_TDX_REQUESTS; i++)
        if (tdx->slots[i].state == DUE)
            conclude(&tdx->slots[i], COCO_STATUS_ECANCELED, NULL, 0);
    close(tdx->wake);
    pthread_mutex_destroy(&tdx->lock);
    free(tdx);
}

void synth_tdx_get_stats(struct synth_tdx *tdx, struct synth_tdx_stats *ret)
{
    pthread_mutex_lock(&tdx->lock);
    *ret = tdx->stats;
    pthread_mutex_unlock(&tdx->lock);
}
