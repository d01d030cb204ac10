/* SPDX-License-Identifier: MIT */
/*
 * A job is one exchange with QGS; requests wait for it.
 *
 *   QUEUED ──a slot is free──▶ RUNNING ──QGS answers──▶ waiters completed, job freed
 *      │                          └──last waiter leaves──▶ ABANDONED ──QGS answers──▶ freed
 *      └──last waiter leaves──▶ freed
 *
 * Always holds: a QUEUED or RUNNING job has a waiter, an ABANDONED one has none; at most `slots`
 * jobs run or are abandoned, since QGS works on for a requester that is gone. Every job holds a
 * reference to the account that asked.
 *
 * What comes back is believed only after check_quote: a quote about another TDREPORT ends here as
 * EBADMSG.
 */
#include "quotes/quotes.h"
#include "invariant.h"
#include "log.h"
#include "metrics.h"
#include "peer/account.h"
#include "peer/request.h"
#include "quotes/check.h"
#include "status.h"
#include "sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_ABANDONED,
};

struct job {
    struct quotes *quotes;
    enum job_state state;
    struct account *payer;
    struct request *waiters; /* by waiter_prev, waiter_next */
    struct job *prev, *next; /* of the queue, or of what runs */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
};

struct quotes {
    struct quotes_options options;
    struct backend *backend;
    struct job *queue;
    struct job *running; /* and abandoned */
    unsigned n_queued;
    unsigned n_abandoned;
    uint64_t answered;
    uint64_t failed;
    uint32_t problem_status;
    char problem[256];
    struct log_limit complaints;
    bool pumping;
};

/* --- counting ------------------------------------------------------------------------------------
 */

static void count_outcome(uint32_t status)
{
    switch (status) {
    case COCO_OK:
        metrics.quotes_ok++;
        break;
    case COCO_EINVAL:
        metrics.quotes_einval++;
        break;
    case COCO_EAGAIN:
        metrics.quotes_eagain++;
        break;
    case COCO_ENODEV:
        metrics.quotes_enodev++;
        break;
    case COCO_EBADMSG:
        metrics.quotes_ebadmsg++;
        break;
    default:
        metrics.quotes_failed++;
    }
}

static void finish(struct request *request, uint32_t status, struct blob *quote)
{
    count_outcome(status);
    request_complete(request, status, quote);
}

/* --- jobs ----------------------------------------------------------------------------------------
 */

static void job_free(struct job *job)
{
    struct quotes *quotes = job->quotes;

    invariant(!job->waiters);
    if (job->state == JOB_QUEUED) {
        DL_DELETE(quotes->queue, job);
        quotes->n_queued--;
    } else {
        DL_DELETE(quotes->running, job);
        if (job->state == JOB_ABANDONED)
            quotes->n_abandoned--;
    }
    account_unref(job->payer);
    metrics.now_jobs--;
    sys.free(job);
}

static void job_detach(struct job *job, struct request *request)
{
    DL_DELETE2(job->waiters, request, waiter_prev, waiter_next);
}

/* A waiter left by itself: it expired, was cancelled, or its peer closed. */
static void on_cancel(struct request *request)
{
    struct job *job = request->holder;

    if (sys.now_us() >= request->deadline_us)
        metrics.quotes_etimedout++;
    else
        metrics.quotes_ecanceled++;
    job_detach(job, request);
    if (job->waiters)
        return;
    if (job->state == JOB_QUEUED) {
        job_free(job);
    } else {
        job->state = JOB_ABANDONED;
        job->quotes->n_abandoned++;
    }
}

static struct job *job_new(struct quotes *quotes, struct request *request, const uint8_t *tdreport)
{
    struct job *job = sys.alloc(sizeof(*job));

    if (!job)
        return NULL;
    job->quotes = quotes;
    job->payer = account_ref(request->account);
    memcpy(job->tdreport, tdreport, sizeof(job->tdreport));
    DL_APPEND2(job->waiters, request, waiter_prev, waiter_next);
    request_hold(request, on_cancel, job);
    DL_APPEND(quotes->queue, job);
    quotes->n_queued++;
    metrics.now_jobs++;
    return job;
}

static void complete_waiters(struct job *job, uint32_t status, struct blob *quote)
{
    while (job->waiters) {
        struct request *request = job->waiters;
        uint32_t mine = status;
        job_detach(job, request);
        request_release(request);
        if (mine == COCO_OK && quote->size > request->reply_max)
            mine = COCO_EMSGSIZE;
        finish(request, mine, mine == COCO_OK ? quote : NULL);
    }
}

/* --- what QGS answered ---------------------------------------------------------------------------
 */

static void note_failure(struct quotes *quotes, uint32_t status, const char *text)
{
    unsigned dropped = 0;

    quotes->failed++;
    quotes->problem_status = status;
    snprintf(quotes->problem, sizeof(quotes->problem), "%s", text);
    if (log_limit_pass(&quotes->complaints, sys.now_us(), 5, 60u * 1000000u, &dropped))
        log_event(LOG_LEVEL_WARNING, "quote-failed", NULL, 0, "no quote: %s%s", text,
                  dropped ? " (and more like it)" : "");
}

/* The contract's status for how an exchange ended. A backend's errno is not the contract's: here it
 * is translated. */
static uint32_t status_of(const struct backend_result *result)
{
    switch (result->outcome) {
    case BACKEND_ANSWERED:
        return COCO_OK;
    case BACKEND_UNREACHABLE:
        return COCO_ENODEV;
    case BACKEND_SATURATED:
    case BACKEND_MEMORY:
        return COCO_EAGAIN;
    case BACKEND_MALFORMED:
        return COCO_EBADMSG;
    case BACKEND_SILENT:
        return COCO_ETIMEDOUT;
    case BACKEND_REFUSED:
    case BACKEND_EOF:
    case BACKEND_BROKEN:
        break;
    }
    return COCO_EIO;
}

static uint32_t take_quote(struct quotes *quotes, struct job *job, struct blob *quote)
{
    const char *why = "";
    size_t size = 0;

    if (check_quote(quote->data, quote->size, job->tdreport, &size, &why) < 0) {
        char text[200];
        snprintf(text, sizeof(text), "QGS's quote is malformed or not about the TDREPORT: %s", why);
        note_failure(quotes, COCO_EBADMSG, text);
        log_event(LOG_LEVEL_ERROR, "quote-not-bound",
                  LOG_FIELDS(log_number("PEER_PID", job->payer->key.pid),
                             log_number("PEER_UID", (int64_t)job->payer->key.uid)),
                  "%s; the guest does not get it", text);
        return COCO_EBADMSG;
    }
    blob_narrow(quote, (size_t)(quote->data - quote->bytes), size);
    quotes->answered++;
    quotes->problem[0] = 0;
    return COCO_OK;
}

static void pump(struct quotes *quotes);

static void on_done(void *data, const struct backend_result *result)
{
    struct job *job = data;
    struct quotes *quotes = job->quotes;
    uint32_t status = status_of(result);

    if (status == COCO_OK)
        status = take_quote(quotes, job, result->quote);
    else
        note_failure(quotes, status, result->text);
    complete_waiters(job, status, result->quote);
    job_free(job);
    pump(quotes);
}

/* Starts what slots allow. */
static void pump(struct quotes *quotes)
{
    if (quotes->pumping)
        return;
    quotes->pumping = true;
    while (quotes->queue && backend_has_slot(quotes->backend)) {
        struct job *job = quotes->queue;
        DL_DELETE(quotes->queue, job);
        quotes->n_queued--;
        job->state = JOB_RUNNING;
        DL_APPEND(quotes->running, job);
        if (backend_start(quotes->backend, job->tdreport, on_done, job) < 0) { /* out of memory */
            complete_waiters(job, COCO_EAGAIN, NULL);
            job_free(job);
        }
    }
    quotes->pumping = false;
}

/* --- the service ---------------------------------------------------------------------------------
 */

void quotes_get(struct quotes *quotes, struct request *request,
                const uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    const char *why = "";

    if (!quotes_offered(quotes)) {
        finish(request, COCO_EOPNOTSUPP, NULL);
        return;
    }
    int r = check_tdreport(tdreport, &why);
    if (r < 0) {
        log_debug("TDREPORT refused: %s", why);
        finish(request, r == -ENOMEM ? COCO_EAGAIN : COCO_EINVAL, NULL);
        return;
    }
    /* The request itself is counted with its account already. */
    if (request->account->n_requests > quotes->options.requests_per_account ||
        quotes->n_queued >= quotes->options.queue_max || !job_new(quotes, request, tdreport)) {
        finish(request, COCO_EAGAIN, NULL);
        return;
    }
    pump(quotes);
}

void quotes_ask(struct quotes *quotes, struct request *request, const uint8_t *message, size_t size)
{
    (void)quotes;
    (void)message;
    (void)size;
    request_complete(request, COCO_EOPNOTSUPP, NULL);
}

bool quotes_offered(const struct quotes *quotes)
{
    return quotes->backend != NULL;
}

void quotes_get_status(const struct quotes *quotes, struct quotes_status *ret)
{
    unsigned busy = quotes->backend ? backend_busy(quotes->backend) : 0;

    *ret = (struct quotes_status){
        .backend = quotes->backend ? backend_name(quotes->backend) : NULL,
        .slots = quotes->backend ? backend_slots(quotes->backend) : 0,
        .slots_busy = busy,
        .queued = quotes->n_queued,
        .running = busy - quotes->n_abandoned,
        .abandoned = quotes->n_abandoned,
        .answered = quotes->answered,
        .failed = quotes->failed,
        .problem_status = quotes->problem_status,
        .problem = quotes->problem[0] ? quotes->problem : NULL,
    };
}

struct quotes *quotes_new(struct event_base *base, struct timers *timers,
                          const struct quotes_options *options)
{
    struct quotes *quotes = sys.alloc(sizeof(*quotes));

    if (!quotes)
        return NULL;
    quotes->options = *options;
    quotes->options.backend.path = NULL;
    if (options->backend.kind != BACKEND_NONE) {
        quotes->backend = backend_new(base, timers, &options->backend);
        if (!quotes->backend) {
            sys.free(quotes);
            return NULL;
        }
    }
    return quotes;
}

void quotes_free(struct quotes *quotes)
{
    if (!quotes)
        return;
    invariant(!quotes->queue);
    backend_free(quotes->backend);
    while (quotes->running) {
        invariant(quotes->running->state == JOB_ABANDONED);
        job_free(quotes->running);
    }
    sys.free(quotes);
}
