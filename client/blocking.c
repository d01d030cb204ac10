/* SPDX-License-Identifier: MIT */
/*
 * The blocking layer: requests of the layer below, and poll(2) until their callback ran.
 *
 * A request waits for a connection, for its reply, and after EAGAIN for a pause that ends early
 * when the server notes that it serves again; all within one deadline, an absolute time. A pause
 * that the deadline would cut is not begun: the vCPU does more with its guest.
 *
 * On a connection that stands a request costs three system calls: send, poll, recv. To receive
 * first, and poll only when nothing is there, was measured to gain nothing.
 *
 * The client's own requests may be outstanding meanwhile: their callbacks run here, and one of them
 * may free the client. So every function here counts as on the stack (coco_client_enter) and looks
 * at `freed` after each step.
 */
#include "client_internal.h"
#include "coco_limits.h"
#include "status.h"
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>

/* Waits for an event, at most until then_ns, and lets the client work. */
static void turn(struct coco_client *c, uint64_t then_ns)
{
    struct pollfd p = {.fd = coco_client_fd(c), .events = coco_client_events(c)};
    int own_ms = coco_client_timeout_ms(c);
    int ms = coco_client_ms_until(coco_client_now(c), then_ns);

    if (own_ms >= 0 && own_ms < ms)
        ms = own_ms;
    int n = poll(&p, 1, ms);
    coco_client_step(c, n > 0 ? p.revents : 0);
}

/* `servings` is that from before the question: the note may have come together with the EAGAIN. */
static void pause_until(struct coco_client *c, uint64_t then_ns, uint32_t servings)
{
    while (!c->freed && c->servings == servings && coco_client_now(c) < then_ns)
        turn(c, then_ns);
}

int coco_connect(struct coco_client *client, uint32_t timeout_ms)
{
    struct coco_client *c = client;

    if (timeout_ms == 0)
        return -EINVAL;
    if (c->depth > 0)
        return -EDEADLK;
    coco_client_enter(c);
    const uint64_t until_ns = coco_client_now(c) + timeout_ms * COCO_NS_PER_MS;
    while (!c->ready && !c->refused && !c->freed && c->state != CONN_DEAD &&
           coco_client_now(c) < until_ns)
        turn(c, until_ns);

    int r = 0;
    if (c->freed)
        r = -ECANCELED;
    else if (c->state == CONN_DEAD)
        r = -ENOTCONN;
    else if (!c->ready)
        r = c->error ? c->error : -ETIMEDOUT;
    coco_client_leave(c);
    return r;
}

/* --- one request, asked again while the answer is EAGAIN ------------------------------------- */

struct waiter {
    bool done;
    uint32_t status;
    uint32_t npages;
    uint64_t generation;
    void *buf; /* where a reply's data goes; NULL: nowhere */
    size_t size;
};

static void answered(struct coco_client *c, const struct coco_reply *reply, void *userdata)
{
    struct waiter *w = userdata;

    (void)c;
    w->done = true;
    w->status = reply->status;
    w->npages = reply->npages;
    w->generation = reply->generation;
    w->size = 0;
    /* The session checked the size against what the request offered. */
    if (w->buf && reply->size > 0) {
        memcpy(w->buf, reply->data, reply->size);
        w->size = reply->size;
    }
}

/* Has at least a millisecond for it, also where the deadline has passed in a pause. */
static int ask_once(struct coco_client *c, const struct coco_client_request *question,
                    uint64_t until_ns, struct waiter *w)
{
    int ms = coco_client_ms_until(coco_client_now(c), until_ns);

    w->done = false;
    int r = coco_client_start(c, *question, ms > 0 ? (uint32_t)ms : 1, NULL);
    /* The request's own deadline ends the loop. */
    while (r == 0 && !w->done)
        turn(c, UINT64_MAX);
    return r;
}

/* Leaves the answer in *w. 0; -EDEADLK: within a callback; else its status, which is an errno of
 * Linux's. */
static int ask(struct coco_client *c, struct coco_client_request question, uint32_t timeout_ms,
               struct waiter *w)
{
    const uint64_t until_ns = coco_client_now(c) + timeout_ms * COCO_NS_PER_MS;
    const bool certs = question.type == COCO_CERTS_GET;
    uint32_t pause_ms = COCO_PAUSE_MIN_MS;

    if (c->depth > 0)
        return -EDEADLK;
    question.cb = answered;
    question.userdata = w;
    coco_client_enter(c);
    for (;;) {
        const uint32_t servings = c->servings;
        int r = ask_once(c, &question, until_ns, w);
        if (r == -ENOTCONN)
            w->status = certs ? COCO_EAGAIN : COCO_ENODEV;
        else if (r < 0)
            w->status = COCO_EAGAIN; /* no slot, no memory */
        if (w->status != COCO_EAGAIN || c->state == CONN_DEAD)
            break;
        uint64_t resume_ns = coco_client_now(c) + pause_ms * COCO_NS_PER_MS;
        if (!c->freed) {
            /* A drain waits for this lease: PROTOCOL.md "The VMM over the RPC". */
            if ((certs && c->n_leases > 0) || resume_ns >= until_ns)
                break;
            pause_until(c, resume_ns, servings);
        }
        if (c->freed) {
            w->status = COCO_ECANCELED;
            break;
        }
        pause_ms = coco_next_pause(pause_ms);
    }
    coco_client_leave(c);
    return -(int)(coco_status_known(w->status) ? w->status : (uint32_t)COCO_EIO);
}

int coco_certs_get(struct coco_client *client, uint64_t npages, void *buf, size_t cap,
                   uint32_t timeout_ms, struct coco_certs_result *ret_result)
{
    const struct coco_client_request question = {.type = COCO_CERTS_GET, .npages = npages};
    uint64_t need =
        npages < COCO_SNP_TABLE_MAX / COCO_PAGE_SIZE ? npages * COCO_PAGE_SIZE : COCO_SNP_TABLE_MAX;
    /* A guest that offered no page is written nothing: PROTOCOL.md "CERTS_GET". */
    struct waiter waiter = {.buf = npages > 0 ? buf : NULL};

    if (timeout_ms == 0 || cap < need || (need > 0 && !buf) || !ret_result)
        return -EINVAL;
    if (ask(client, question, timeout_ms, &waiter) == -EDEADLK)
        return -EDEADLK;
    *ret_result = (struct coco_certs_result){.status = waiter.status,
                                             .npages = waiter.npages,
                                             .generation = waiter.generation,
                                             .table_size = waiter.size};
    return 0;
}

int coco_quote_get(struct coco_client *client, const uint8_t *tdreport, void *buf, size_t cap,
                   uint32_t timeout_ms, size_t *ret_size)
{
    const struct coco_client_request question = {
        .type = COCO_QUOTE_GET,
        .tdreport = tdreport,
        .quote_max = cap < COCO_API_QUOTE_MAX ? (uint32_t)cap : COCO_API_QUOTE_MAX,
    };
    struct waiter waiter = {.buf = buf};

    if (timeout_ms == 0 || !tdreport || !buf || cap == 0 || !ret_size)
        return -EINVAL;
    int r = ask(client, question, timeout_ms, &waiter);
    if (r == 0)
        *ret_size = waiter.size;
    return r;
}

int coco_ping(struct coco_client *client, uint32_t timeout_ms)
{
    const struct coco_client_request question = {.type = COCO_PING};
    struct waiter waiter = {0};

    return timeout_ms == 0 ? -EINVAL : ask(client, question, timeout_ms, &waiter);
}
