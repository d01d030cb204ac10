/* SPDX-License-Identifier: MIT */
/*
 * The life of a request: listed with its peer, charged to the peer's account, timed, perhaps held;
 * then completed once. Completion takes it off everything before the answer is spelled, since
 * answering may close the peer, which completes the peer's other requests.
 */
#include "peer/request.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "observe/metrics.h"
#include "peer/account.h"
#include "peer/peer.h"
#include "status.h"
#include <utlist.h>

static void on_expiry(struct timer *timer)
{
    struct request *request = container_of(timer, struct request, expiry);

    request_complete(request, COCO_ETIMEDOUT, NULL);
}

struct request *request_new(struct peer *peer, uint16_t type, uint64_t id, uint64_t deadline_us)
{
    if (!account_charge(peer->account, CHARGE_REQUESTS, 1))
        return NULL;
    struct request *request = sys.alloc(sizeof(*request));
    if (!request || timer_init(&request->expiry, peer->server->timers, on_expiry) < 0) {
        account_uncharge(peer->account, CHARGE_REQUESTS, 1);
        sys.free(request);
        return NULL;
    }
    request->peer = peer;
    request->account = peer->account;
    request->type = type;
    request->id = id;
    request->received_us = sys.now_us();
    request->deadline_us = deadline_us;
    timer_arm(&request->expiry, deadline_us);
    DL_APPEND(peer->requests, request);
    peer->n_requests++;
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
    struct history_entry entry = {.received_us = request->received_us,
                                  .service_us = request->trace.service_us,
                                  .code = request->trace.code,
                                  .why = request->trace.why,
                                  .took_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX,
                                  .bytes = blob ? (uint32_t)blob->size : 0,
                                  .kind = (uint8_t)kind,
                                  .status = (uint8_t)status,
                                  .backend = request->trace.backend};

    history_add(request->account->history, &entry);
}

void request_complete(struct request *request, uint32_t status, struct blob *blob)
{
    struct peer *peer = request->peer;

    if (request->cancel) {
        void (*cancel)(struct request *) = request->cancel;
        request->cancel = NULL;
        cancel(request);
        request->holder = NULL;
    }
    /* What its account may not hold, should the peer not read it, it is not sent. */
    if (blob && !blob->common && peer_open(peer) &&
        !account_may(peer->account, CHARGE_BYTES, account_bytes(sizeof(*blob) + blob->capacity))) {
        status = COCO_EAGAIN;
        blob = NULL;
        request->trace.why = "its process leaves replies unread: [limits] memory";
    }
    timer_done(&request->expiry);
    DL_DELETE(peer->requests, request);
    invariant(peer->n_requests > 0);
    peer->n_requests--;
    account_uncharge(peer->account, CHARGE_REQUESTS, 1);
    metrics.now_requests--;
    peer_ref(peer); /* sending may close it, and the dialect may have more to do */
    peer->dialect->answer(peer, request, status, blob);
    peer_unref(peer);
    sys.free(request);
}
