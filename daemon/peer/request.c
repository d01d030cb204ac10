/* SPDX-License-Identifier: MIT */
/*
 * The life of a request: listed with its peer, charged to the peer's account, timed, perhaps held;
 * then completed once. Completion takes it off every list before the answer is sent, since
 * answering may close the peer, which completes the peer's other requests.
 */
#include "peer/request.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "peer/account.h"
#include "status.h"
#include <utlist.h>

static void on_expiry(struct timer *timer)
{
    struct request *request = container_of(timer, struct request, expiry);

    request_complete(request, COCO_ETIMEDOUT, NULL);
}

struct request *request_new(struct requests *of, uint16_t type, uint64_t id, uint64_t deadline_us)
{
    if (!account_charge(of->account, CHARGE_REQUESTS, 1))
        return NULL;
    struct request *request = sys.alloc(sizeof(*request));
    if (!request ||
        timer_init(&request->expiry, of->account->user->accounts->timers, on_expiry) < 0) {
        account_uncharge(of->account, CHARGE_REQUESTS, 1);
        sys.free(request);
        return NULL;
    }
    request->of = of;
    request->account = of->account;
    request->type = type;
    request->id = id;
    request->received_us = sys.now_us();
    request->deadline_us = deadline_us;
    timer_arm(&request->expiry, deadline_us);
    DL_APPEND(of->first, request);
    metrics.now_requests++;
    return request;
}

void request_hold(struct request *request, void (*cancel)(struct request *), void *holder)
{
    invariant(!request->cancel);
    request->cancel = cancel;
    request->holder = holder;
}

void request_release(struct request *request)
{
    request->cancel = NULL;
    request->holder = NULL;
}

void request_remember(const struct request *request, enum history_kind kind, uint32_t status,
                      const struct blob *blob)
{
    uint64_t took_us = sys.now_us() - request->received_us;
    struct history_entry entry = request->trace;

    entry.received_us = request->received_us;
    entry.took_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    entry.bytes = blob ? (uint32_t)blob->size : 0;
    entry.kind = (uint8_t)kind;
    entry.status = (uint8_t)status;
    history_add(request->account->history, &entry);
}

void request_complete(struct request *request, uint32_t status, struct blob *blob)
{
    struct requests *of = request->of;

    if (request->cancel) {
        void (*cancel)(struct request *) = request->cancel;
        request->cancel = NULL;
        cancel(request);
        request->holder = NULL;
    }
    timer_done(&request->expiry);
    DL_DELETE(of->first, request);
    account_uncharge(of->account, CHARGE_REQUESTS, 1);
    metrics.now_requests--;
    of->answer(request, status, blob);
    sys.free(request);
}

unsigned requests_count(const struct requests *requests)
{
    const struct request *request;
    unsigned n = 0;

    DL_COUNT(requests->first, request, n);
    return n;
}

void requests_complete_all(struct requests *requests, uint32_t status)
{
    while (requests->first)
        request_complete(requests->first, status, NULL);
}
