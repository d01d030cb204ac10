/* SPDX-License-Identifier: MIT */
/*
 * The blocking layer: requests of the layer below, and poll(2) until their callback ran.
 *
 * A request waits in three ways, all within one deadline: for a connection, for its reply, and
 * after EAGAIN for a pause (10 ms, doubling to 250 ms), which ends early when the server notes that
 * it serves again. The deadline is an absolute time; what is sent to the server, and what poll(2)
 * is given, is what remains of it. A pause that the deadline would cut is not begun: the vCPU does
 * more with its guest.
 *
 * On a connection that stands a request costs three system calls: send, poll, recv. Receiving first
 * and polling only when nothing is there was measured to gain nothing, since a server needs longer
 * to answer than a call takes.
 *
 * The client's own requests may be outstanding meanwhile: their callbacks run here, and one of them
 * may free the client. So every function here counts as on the stack (coco_client_enter) and looks
 * at `freed` after each step.
 */
#include "client_internal.h"
#include "coco_limits.h"
#include "status.h"
#include <errno.h>
#include <poll.h>
#include <string.h>

#define PAUSE_MIN_MS 10u
#define PAUSE_MAX_MS 250u

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

struct question {
    enum {
        ASK_CERTS,
        ASK_QUOTE,
        ASK_PING
    } what;
    uint64_t npages;
    const uint8_t *tdreport;
    uint32_t quote_max;
};

/* Has at least a millisecond for it, also where the deadline has passed in a pause. */
static int ask_once(struct coco_client *c, const struct question *q, uint64_t until_ns,
                    struct waiter *w)
{
    int ms = coco_client_ms_until(coco_client_now(c), until_ns);
    uint32_t timeout_ms = ms > 0 ? (uint32_t)ms : 1;
    int r;

    w->done = false;
    switch (q->what) {
    case ASK_CERTS:
        r = coco_client_certs_get(c, q->npages, 0, timeout_ms, answered, w, NULL);
        break;
    case ASK_QUOTE:
        r = coco_client_quote_get(c, q->tdreport, q->quote_max, timeout_ms, answered, w, NULL);
        break;
    default:
        r = coco_client_ping(c, timeout_ms, answered, w, NULL);
        break;
    }
    if (r < 0)
        return r;
    /* The request's own deadline ends the loop. */
    while (!w->done)
        turn(c, UINT64_MAX);
    return 0;
}

/* Leaves the answer in *w. 0; -EDEADLK: within a callback; else its status, which is an errno of
 * Linux's. */
static int ask(struct coco_client *c, const struct question *q, uint32_t timeout_ms,
               struct waiter *w)
{
    const uint64_t until_ns = coco_client_now(c) + timeout_ms * COCO_NS_PER_MS;
    uint32_t pause_ms = PAUSE_MIN_MS;

    if (c->depth > 0)
        return -EDEADLK;
    coco_client_enter(c);
    for (;;) {
        const uint32_t servings = c->servings;
        int r = ask_once(c, q, until_ns, w);
        if (r == -ENOTCONN)
            w->status = q->what == ASK_CERTS ? COCO_EAGAIN : COCO_ENODEV;
        else if (r < 0)
            w->status = COCO_EAGAIN; /* no slot, no memory */
        if (w->status != COCO_EAGAIN || c->freed || c->state == CONN_DEAD)
            break;
        /* A drain waits for leases, so nobody waits for its end while he holds one: PROTOCOL.md
         * "The VMM over the RPC". */
        if (q->what == ASK_CERTS && c->n_leases > 0)
            break;
        uint64_t resume_ns = coco_client_now(c) + pause_ms * COCO_NS_PER_MS;
        if (resume_ns >= until_ns)
            break;
        pause_until(c, resume_ns, servings);
        if (c->freed) {
            w->status = COCO_ECANCELED;
            break;
        }
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
    coco_client_leave(c);
    return -(int)(coco_status_known(w->status) ? w->status : (uint32_t)COCO_EIO);
}

int coco_certs_get(struct coco_client *client, uint64_t npages, void *buf, size_t cap,
                   uint32_t timeout_ms, struct coco_certs_result *ret_result)
{
    const struct question question = {.what = ASK_CERTS, .npages = npages};
    uint64_t need =
        npages < COCO_SNP_TABLE_MAX / COCO_PAGE_SIZE ? npages * COCO_PAGE_SIZE : COCO_SNP_TABLE_MAX;
    /* A guest that offered no page is written nothing: PROTOCOL.md "CERTS_GET". */
    struct waiter waiter = {.buf = npages > 0 ? buf : NULL};

    if (timeout_ms == 0 || cap < need || (need > 0 && !buf) || !ret_result)
        return -EINVAL;
    if (ask(client, &question, timeout_ms, &waiter) == -EDEADLK)
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
    const struct question question = {
        .what = ASK_QUOTE,
        .tdreport = tdreport,
        .quote_max = cap < COCO_API_QUOTE_MAX ? (uint32_t)cap : COCO_API_QUOTE_MAX,
    };
    struct waiter waiter = {.buf = buf};

    if (timeout_ms == 0 || !tdreport || !buf || cap == 0 || !ret_size)
        return -EINVAL;
    int r = ask(client, &question, timeout_ms, &waiter);
    if (r == 0)
        *ret_size = waiter.size;
    return r;
}

int coco_ping(struct coco_client *client, uint32_t timeout_ms)
{
    const struct question question = {.what = ASK_PING};
    struct waiter waiter = {0};

    return timeout_ms == 0 ? -EINVAL : ask(client, &question, timeout_ms, &waiter);
}
