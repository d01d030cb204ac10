/* SPDX-License-Identifier: MIT */
/*
 * A job is one question to QGS; requests wait for it.
 *
 *   QUEUED ──its turn, a slot──▶ RUNNING ──QGS answers──▶ checked, waiters completed, job freed
 *     │ ▲                         │ │ ▲ └──QGS fails──▶ charged; waiters completed, job freed
 *     │ └──worth another try──────┘ │ └──the same is asked again───┐
 *     └──last waiter leaves──▶ freed└──last waiter leaves──▶ ABANDONED ──QGS answers──▶ kept, freed
 *
 * Always holds: a QUEUED or RUNNING job has a waiter, an ABANDONED one has none; a job that runs or
 * is abandoned has a slot of its backend, since QGS works on for a requester that is gone.
 *
 * Overload is met where it costs nothing: what is being made is joined, what was made is kept, and
 * what cannot be done by its deadline is refused while QGS has not begun.
 *
 * Who is to blame: a guest can make QGS fail at will, and then QGS looks the same as in an outage.
 * So a failure is held against the VM first (its lane: no retries and one slot until it succeeds),
 * and against the backend only as backend.c says. Failures to connect are nobody's but the
 * backend's.
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
#include "qgs_msg.h"
#include "quotes/check.h"
#include "quotes/estimate.h"
#include "quotes/job.h"
#include "quotes/kept.h"
#include "quotes/queue.h"
#include "status.h"
#include "sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define BACKENDS_MAX 64u /* bits of job->tried */
/* Jobs of quotes_ask that may wait. */
#define ASKS_MAX 16u

struct source {
    struct backend *backend;
    struct estimate estimate;
};

struct quotes {
    struct quotes_options options;
    struct source *sources;
    size_t n_sources;
    struct queue queue;
    struct kept_store kept; /* quotes, for one account each */
    struct kept_store asks; /* other answers, for all */
    struct lane *ask_lane;
    struct job *running; /* and abandoned */
    size_t bytes;        /* of all jobs */
    unsigned n_abandoned;
    bool asking; /* an ask has its slot */
    uint64_t answered;
    uint64_t failed;
    uint32_t problem_status;
    char problem[384];
    char names[512];
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
    case COCO_ETIMEDOUT:
        metrics.quotes_etimedout++;
        break;
    case COCO_EBADMSG:
        metrics.quotes_ebadmsg++;
        break;
    default:
        metrics.quotes_failed++;
    }
}

static void finish(struct request *request, uint32_t status, struct blob *answer)
{
    if (status == COCO_OK && answer->size > request->reply_max)
        status = COCO_EMSGSIZE;
    count_outcome(status);
    request_complete(request, status, status == COCO_OK ? answer : NULL);
}

/* --- jobs ----------------------------------------------------------------------------------------
 */

static struct job *of_item(struct queue_item *item)
{
    return (struct job *)((char *)item - offsetof(struct job, item));
}

static const uint8_t *tdreport_of(const struct job *job)
{
    return job->message + (COCO_QGS_QUOTE_REQ_SIZE - COCO_TDREPORT_SIZE);
}

static void job_stop(struct job *job)
{
    struct quotes *quotes = job->quotes;

    DL_DELETE(quotes->running, job);
    job->lane->n_running--;
    if (job->ask)
        quotes->asking = false;
    if (job->state == JOB_ABANDONED)
        quotes->n_abandoned--;
}

/* Of a job that neither is queued nor runs. */
static void job_free(struct job *job)
{
    invariant(!job->waiters);
    job->quotes->bytes -= sizeof(*job) + job->size;
    account_unref(job->account);
    lane_unref(job->lane);
    metrics.now_jobs--;
    sys.free(job);
}

static void on_cancel(struct request *request);

static void job_attach(struct job *job, struct request *request)
{
    DL_APPEND2(job->waiters, request, waiter_prev, waiter_next);
    request_hold(request, on_cancel, job);
    if (!job->ask)
        lane_request_begin(job->lane);
}

static void job_detach(struct job *job, struct request *request)
{
    DL_DELETE2(job->waiters, request, waiter_prev, waiter_next);
    if (!job->ask)
        lane_request_end(job->lane);
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
        queue_remove(&job->item);
        job_free(job);
    } else {
        job->state = JOB_ABANDONED;
        job->quotes->n_abandoned++;
    }
}

/* Neither queued nor with a waiter yet. NULL: over a limit, or out of memory. Takes over the
 * reference to the lane, on failure too. */
static struct job *job_new(struct quotes *quotes, struct account *account, struct lane *lane,
                           size_t size)
{
    struct job *job = NULL;

    if (quotes->bytes + sizeof(*job) + size <= quotes->options.queue_bytes)
        job = sys.alloc(sizeof(*job) + size);
    if (!job) {
        lane_unref(lane);
        return NULL;
    }
    job->quotes = quotes;
    job->account = account_ref(account);
    job->lane = lane;
    job->size = size;
    quotes->bytes += sizeof(*job) + size;
    metrics.now_jobs++;
    return job;
}

static void complete_waiters(struct job *job, uint32_t status, struct blob *answer)
{
    while (job->waiters) {
        struct request *request = job->waiters;
        job_detach(job, request);
        request_release(request);
        finish(request, status, answer);
    }
}

static uint64_t latest_deadline_us(const struct job *job)
{
    const struct request *request;
    uint64_t latest = 0;

    for (request = job->waiters; request; request = request->waiter_next)
        if (request->deadline_us > latest)
            latest = request->deadline_us;
    return latest;
}

/* A job that asks the same, and may be joined. Who leaves and asks again finds his own job. */
static struct job *find_job(struct quotes *quotes, const struct lane *lane,
                            const struct account *account, const uint8_t *message, size_t size)
{
    struct queue_item *item;
    struct job *job;

    DL_FOREACH(lane->items, item)
    {
        job = of_item(item);
        if ((job->account == account || job->ask) && job->size == size &&
            memcmp(job->message, message, size) == 0)
            return job;
    }
    DL_FOREACH(quotes->running, job)
    {
        if (job->lane == lane && (job->account == account || job->ask) && job->size == size &&
            memcmp(job->message, message, size) == 0)
            return job;
    }
    return NULL;
}

static void join(struct job *job, struct request *request)
{
    metrics.quotes_joined++;
    if (job->state == JOB_ABANDONED) {
        job->state = JOB_RUNNING;
        job->quotes->n_abandoned--;
    }
    job_attach(job, request);
}

/* --- backends ------------------------------------------------------------------------------------
 */

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

/* Is there one in service, or nearly, where this job has not failed? */
static bool has_untried(const struct quotes *quotes, const struct job *job)
{
    for (size_t i = 0; i < quotes->n_sources; i++)
        if (!(job->tried & bit(i)) && backend_breaker(quotes->sources[i].backend) != BREAKER_OPEN)
            return true;
    return false;
}

static bool any_slot(const struct quotes *quotes)
{
    for (size_t i = 0; i < quotes->n_sources; i++)
        if (backend_has_slot(quotes->sources[i].backend))
            return true;
    return false;
}

static bool all_set_aside(const struct quotes *quotes)
{
    for (size_t i = 0; i < quotes->n_sources; i++)
        if (backend_breaker(quotes->sources[i].backend) != BREAKER_OPEN)
            return false;
    return true;
}

/* The least busy one with a free slot; one where the job failed only where there is no other.
 * n_sources: none now. */
static size_t choose(const struct quotes *quotes, const struct job *job)
{
    bool fresh = has_untried(quotes, job);
    size_t best = quotes->n_sources;

    for (size_t i = 0; i < quotes->n_sources; i++) {
        const struct backend *backend = quotes->sources[i].backend;
        if (!backend_has_slot(backend) || (fresh && (job->tried & bit(i))))
            continue;
        if (best == quotes->n_sources ||
            backend_busy(backend) * backend_slots(quotes->sources[best].backend) <
                backend_busy(quotes->sources[best].backend) * backend_slots(backend))
            best = i;
    }
    return best;
}

static bool fits(void *data, struct queue_item *item)
{
    const struct quotes *quotes = data;
    const struct job *job = of_item(item);

    return !(job->ask && quotes->asking) && choose(quotes, job) < quotes->n_sources;
}

/* How long a quote takes where it is quickest now. */
static uint64_t service_us(const struct quotes *quotes)
{
    uint64_t best = UINT64_MAX;

    for (size_t i = 0; i < quotes->n_sources; i++) {
        uint64_t us = estimate_us(&quotes->sources[i].estimate, sys.now_us());
        if (us < best)
            best = us;
    }
    return best;
}

/* When a new job of that lane would be done: jobs ahead × service time ÷ slots, and its own service
 * time. */
static uint64_t expected_us(const struct quotes *quotes, const struct lane *lane)
{
    uint64_t now_us = sys.now_us();
    uint64_t own_us = service_us(quotes);
    double per_us = 0; /* jobs that all slots do in a microsecond */

    for (size_t i = 0; i < quotes->n_sources; i++) {
        const struct source *source = &quotes->sources[i];
        struct backend_status status;
        backend_get_status(source->backend, &status);
        if (status.breaker != BREAKER_OPEN && status.slots_open > status.suspect)
            per_us += (double)(status.slots_open - status.suspect) /
                      (double)(estimate_us(&source->estimate, now_us) + 1);
    }
    if (per_us <= 0)
        return UINT64_MAX;
    uint64_t wait_us = (uint64_t)((double)(queue_ahead(&quotes->queue, lane) + 1) / per_us);
    uint64_t alone_us = (uint64_t)(lane->n_items + lane->n_running) * own_us;
    if (lane->failed && alone_us > wait_us)
        wait_us = alone_us; /* it has one slot */
    return now_us + wait_us + own_us;
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
static uint32_t status_of(const struct exchange_result *result, bool timed_out)
{
    if (timed_out)
        return COCO_ETIMEDOUT;
    switch (result->outcome) {
    case EXCHANGE_ANSWERED:
        return COCO_OK;
    case EXCHANGE_UNREACHABLE:
        return COCO_ENODEV;
    case EXCHANGE_SATURATED:
    case EXCHANGE_MEMORY:
        return COCO_EAGAIN;
    case EXCHANGE_MALFORMED:
        return COCO_EBADMSG;
    case EXCHANGE_SILENT:
        return COCO_ETIMEDOUT;
    case EXCHANGE_REFUSED:
    case EXCHANGE_EOF:
    case EXCHANGE_BROKEN:
        break;
    }
    return COCO_EIO;
}

/* What it means, where the exchange itself cannot know. */
static void explain(const struct job *job, const struct exchange_result *result, bool timed_out,
                    char *out, size_t out_size)
{
    if (timed_out && result->outcome != EXCHANGE_MEMORY)
        snprintf(
            out, out_size,
            "QGS accepts but never answers (%llu s): number_threads is missing in qgs.conf, or "
            "PCCS hangs; restart qgsd",
            (unsigned long long)(result->elapsed_us / 1000000u));
    else if (result->outcome == EXCHANGE_EOF && job->closed > 1)
        snprintf(out, out_size,
                 "QGS closed without an answer %u times in a row: it cannot start its quoting "
                 "library (often PCCS); its reason is in qgsd's journal",
                 job->closed);
    else if (result->outcome == EXCHANGE_REFUSED)
        snprintf(out, out_size, "%s: a TDREPORT that is not of this host and boot, or PCCS trouble",
                 result->text);
    else
        snprintf(out, out_size, "%s", result->text);
}

/* Is this QGS's answer to the job, and a right one? Else `text` says why not. */
static uint32_t check_answer(struct quotes *quotes, const struct job *job, struct blob *answer,
                             char *text, size_t text_size)
{
    const char *why = "";
    size_t size = 0;

    if (job->ask)
        return COCO_OK; /* decoded already; there is nothing to hold it against */
    int r = check_quote(answer->data, answer->size, tdreport_of(job), &size, &why);
    if (r < 0) {
        snprintf(text, text_size, "QGS's quote is malformed or not about the TDREPORT: %s", why);
    } else if (quotes->options.verify_signature) {
        r = check_signature(answer->data, size, &why);
        metrics.quotes_unsigned += r == -EBADMSG;
        snprintf(text, text_size, "QGS's quote is not genuine: %s", why);
    }
    if (r == -ENOMEM) {
        snprintf(text, text_size, "out of memory while a quote was checked");
        return COCO_EAGAIN;
    }
    if (r < 0) {
        log_event(LOG_LEVEL_ERROR, "quote-not-bound",
                  LOG_FIELDS(log_number("PEER_PID", job->account->key.pid),
                             log_number("PEER_UID", (int64_t)job->account->key.uid)),
                  "%s; the guest does not get it", text);
        return COCO_EBADMSG;
    }
    blob_narrow(answer, (size_t)(answer->data - answer->bytes), size);
    return COCO_OK;
}

static void pump(struct quotes *quotes);

static void succeed(struct quotes *quotes, struct job *job, struct backend *backend,
                    struct blob *answer)
{
    quotes->answered++;
    quotes->problem[0] = 0;
    backend_note_success(backend);
    job->lane->failed = false;
    if (job->ask) {
        kept_put(&quotes->asks, NULL, job->message, job->size, answer);
    } else if (!job->waiters && quotes->options.reuse) {
        metrics.quotes_kept++;
        kept_put(&quotes->kept, job->account, job->message, job->size, answer);
    }
    complete_waiters(job, COCO_OK, answer);
}

/* May QGS be asked once more? `result` is the failure, already counted in the job. */
static bool worth_retrying(const struct quotes *quotes, const struct job *job,
                           const struct exchange_result *result, bool timed_out)
{
    const struct backend *backend = quotes->sources[job->backend].backend;
    bool elsewhere = has_untried(quotes, job);

    if (!job->waiters || sys.now_us() + service_us(quotes) > latest_deadline_us(job))
        return false;
    if (result->outcome == EXCHANGE_UNREACHABLE || result->outcome == EXCHANGE_SATURATED)
        return elsewhere; /* not the VM's doing */
    if (job->lane->failed)
        return false;
    if (timed_out)
        return elsewhere;
    if (result->outcome == EXCHANGE_REFUSED)
        return job->refused <= 1;
    return (result->outcome == EXCHANGE_EOF || result->outcome == EXCHANGE_BROKEN) &&
           job->closed <= backend_slots(backend) + 1;
}

/* Could the guest have caused it? */
static bool is_charged(const struct exchange_result *result)
{
    return result->outcome != EXCHANGE_UNREACHABLE && result->outcome != EXCHANGE_SATURATED &&
           result->outcome != EXCHANGE_MEMORY;
}

static void fail(struct quotes *quotes, struct job *job, const struct exchange_result *result,
                 uint32_t status, const char *text)
{
    note_failure(quotes, status, text);
    if (is_charged(result) && status != COCO_EAGAIN) {
        if (!job->ask)
            job->lane->failed = true;
        backend_note_failure(quotes->sources[job->backend].backend, job->lane->serial, text);
    }
    complete_waiters(job, status, NULL);
}

static void retry(struct job *job)
{
    metrics.quotes_retried++;
    job->state = JOB_QUEUED;
    queue_push_front(&job->item, job->lane);
}

static void on_done(void *data, const struct exchange_result *result)
{
    struct job *job = data;
    struct quotes *quotes = job->quotes;
    struct source *source = &quotes->sources[job->backend];
    bool timed_out = backend_timed_out(source->backend, result);
    uint32_t status = status_of(result, timed_out);
    char text[384] = "";

    job_stop(job);
    if (result->outcome == EXCHANGE_ANSWERED || result->outcome == EXCHANGE_REFUSED)
        estimate_add(&source->estimate, sys.now_us(), result->elapsed_us);
    if (status == COCO_OK) {
        status = check_answer(quotes, job, result->reply, text, sizeof(text));
    } else {
        job->tried |= bit(job->backend);
        job->refused += result->outcome == EXCHANGE_REFUSED;
        job->closed += result->outcome == EXCHANGE_EOF || result->outcome == EXCHANGE_BROKEN;
        explain(job, result, timed_out, text, sizeof(text));
    }
    if (status == COCO_OK) {
        succeed(quotes, job, source->backend, result->reply);
    } else if (worth_retrying(quotes, job, result, timed_out)) {
        retry(job);
        pump(quotes);
        return;
    } else {
        fail(quotes, job, result, status, text);
    }
    job_free(job);
    pump(quotes);
}

/* --- the pump ------------------------------------------------------------------------------------
 */

static void refuse(struct job *job, uint32_t status)
{
    complete_waiters(job, status, NULL);
    job_free(job);
}

static void start(struct quotes *quotes, struct job *job)
{
    job->backend = choose(quotes, job);
    job->state = JOB_RUNNING;
    job->lane->n_running++;
    quotes->asking |= job->ask;
    DL_APPEND(quotes->running, job);
    if (backend_start(quotes->sources[job->backend].backend, job->message, job->size, on_done,
                      job) == 0)
        return;
    job_stop(job); /* out of memory */
    refuse(job, COCO_EAGAIN);
}

/* Nobody is left to ask: better told now than at the deadline. */
static void flush(struct quotes *quotes)
{
    while (quotes->queue.round) {
        struct queue_item *item = quotes->queue.round->items;
        queue_remove(item);
        refuse(of_item(item), COCO_ENODEV);
    }
}

/* Starts what slots allow. A job that can no longer be done in time gives way to those that wait
 * behind it. */
static void pump(struct quotes *quotes)
{
    struct queue_item *item;

    if (quotes->pumping)
        return;
    quotes->pumping = true;
    if (all_set_aside(quotes))
        flush(quotes);
    while (any_slot(quotes) && (item = queue_pop(&quotes->queue, fits, quotes))) {
        struct job *job = of_item(item);
        if (quotes->queue.n_items > 0 &&
            sys.now_us() + service_us(quotes) > latest_deadline_us(job)) {
            metrics.quotes_hopeless++;
            refuse(job, COCO_EAGAIN);
            continue;
        }
        start(quotes, job);
    }
    quotes->pumping = false;
}

static void on_changed(void *data)
{
    pump(data);
}

/* --- the service ---------------------------------------------------------------------------------
 */

/* A request that can only be answered by a backend: is there one? */
static bool any_backend(struct quotes *quotes)
{
    if (!all_set_aside(quotes))
        return true;
    for (size_t i = 0; i < quotes->n_sources; i++)
        backend_wake(quotes->sources[i].backend);
    return !all_set_aside(quotes);
}

/* COCO_OK: it may be queued. */
static uint32_t admit(struct quotes *quotes, const struct lane *lane, const struct request *request)
{
    if (!any_backend(quotes))
        return COCO_ENODEV;
    if (!queue_has_room(&quotes->queue))
        return COCO_EAGAIN;
    if (!any_slot(quotes) && expected_us(quotes, lane) > request->deadline_us) {
        metrics.quotes_hopeless++;
        return COCO_EAGAIN;
    }
    return COCO_OK;
}

/* Queues a new job. Takes over the reference to the lane. */
static void enqueue(struct quotes *quotes, struct request *request, struct lane *lane,
                    const uint8_t *message, size_t size, bool ask)
{
    uint32_t status = admit(quotes, lane, request);

    if (status != COCO_OK) {
        lane_unref(lane);
        finish(request, status, NULL);
        return;
    }
    struct job *job = job_new(quotes, request->account, lane, size);
    if (!job) {
        finish(request, COCO_EAGAIN, NULL);
        return;
    }
    job->ask = ask;
    memcpy(job->message, message, size);
    job_attach(job, request);
    queue_push(&job->item, lane);
    pump(quotes);
}

static void make_message(const uint8_t *tdreport, uint8_t out[COCO_QGS_QUOTE_REQ_SIZE])
{
    struct coco_qgs_quote_req req = {.minor = COCO_QGS_MINOR,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreport};

    int64_t n = coco_qgs_quote_req_encode(&req, out, COCO_QGS_QUOTE_REQ_SIZE);
    invariant(n == COCO_QGS_QUOTE_REQ_SIZE);
}

void quotes_get(struct quotes *quotes, struct request *request,
                const uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    uint8_t message[COCO_QGS_QUOTE_REQ_SIZE];
    struct job *job = NULL;
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
    make_message(tdreport, message);
    struct blob *kept = kept_find(&quotes->kept, request->account, message, sizeof(message));
    if (kept) {
        metrics.quotes_from_kept++;
        quotes->answered++;
        finish(request, COCO_OK, kept);
        return;
    }
    struct lane *lane = queue_lane(&quotes->queue, request->account);
    if (!lane || !lane_admits(lane)) {
        if (lane)
            lane_unref(lane);
        finish(request, COCO_EAGAIN, NULL);
        return;
    }
    if (quotes->options.reuse)
        job = find_job(quotes, lane, request->account, message, sizeof(message));
    if (job) {
        join(job, request);
        lane_unref(lane);
        return;
    }
    enqueue(quotes, request, lane, message, sizeof(message), false);
}

void quotes_ask(struct quotes *quotes, struct request *request, const uint8_t *message, size_t size)
{
    invariant(size <= QUOTES_ASK_MAX);
    if (!quotes_offered(quotes)) {
        finish(request, COCO_EOPNOTSUPP, NULL);
        return;
    }
    struct blob *kept = kept_find(&quotes->asks, NULL, message, size);
    if (kept) {
        finish(request, COCO_OK, kept);
        return;
    }
    struct job *job = find_job(quotes, quotes->ask_lane, request->account, message, size);
    if (job) {
        join(job, request);
        return;
    }
    if (quotes->ask_lane->n_items >= ASKS_MAX) {
        finish(request, COCO_EAGAIN, NULL);
        return;
    }
    enqueue(quotes, request, lane_ref(quotes->ask_lane), message, size, true);
}

bool quotes_offered(const struct quotes *quotes)
{
    return quotes->n_sources > 0;
}

/* --- status --------------------------------------------------------------------------------------
 */

void quotes_get_status(const struct quotes *quotes, struct quotes_status *ret)
{
    *ret = (struct quotes_status){
        .backend = quotes->n_sources > 0 ? quotes->names : NULL,
        .queued = quotes->queue.n_items,
        .abandoned = quotes->n_abandoned,
        .kept = quotes->kept.n,
        .answered = quotes->answered,
        .failed = quotes->failed,
        .problem_status = quotes->problem_status,
        .problem = quotes->problem[0] ? quotes->problem : NULL,
        .n_backends = quotes->n_sources,
    };
    for (size_t i = 0; i < quotes->n_sources; i++) {
        ret->slots += backend_slots(quotes->sources[i].backend);
        ret->slots_busy += backend_busy(quotes->sources[i].backend);
    }
    const struct job *job;
    DL_FOREACH(quotes->running, job)
    {
        ret->running += job->state == JOB_RUNNING;
    }
}

void quotes_get_backend_status(const struct quotes *quotes, size_t i, struct backend_status *ret)
{
    const struct job *job;

    *ret = (struct backend_status){.service_us =
                                       estimate_us(&quotes->sources[i].estimate, sys.now_us())};
    backend_get_status(quotes->sources[i].backend, ret);
    DL_FOREACH(quotes->running, job)
    {
        ret->abandoned += job->state == JOB_ABANDONED && job->backend == i;
    }
}

/* --- life ----------------------------------------------------------------------------------------
 */

static int make_sources(struct quotes *quotes, struct event_base *base, struct timers *timers,
                        const struct quotes_options *options)
{
    quotes->sources = sys.alloc(options->n_backends * sizeof(*quotes->sources) + 1);
    if (!quotes->sources)
        return -ENOMEM;
    for (size_t i = 0; i < options->n_backends && i < BACKENDS_MAX; i++) {
        struct backend *backend =
            backend_new(base, timers, &options->backends[i], on_changed, quotes);
        if (!backend)
            return -ENOMEM;
        quotes->sources[quotes->n_sources++].backend = backend;
        size_t used = strlen(quotes->names);
        snprintf(quotes->names + used, sizeof(quotes->names) - used, "%s%s", used ? ", " : "",
                 backend_name(backend));
    }
    return 0;
}

static int make_parts(struct quotes *quotes, struct event_base *base, struct timers *timers,
                      const struct quotes_options *options)
{
    struct queue_limits limits = {.n_vmm_users = options->n_vmm_users,
                                  .vmm_users = (uid_t *)options->vmm_users,
                                  .requests_per_vm = options->requests_per_vm,
                                  .requests_per_user = options->requests_per_user,
                                  .items = options->queue_max};
    struct account asks;

    memset(&asks, 0, sizeof(asks)); /* with the padding of the key */
    asks.key.uid = (uid_t)-1;
    asks.key.pid = -1;
    int r = kept_init(&quotes->kept, timers, options->keep_us, options->keep_entries,
                      options->keep_bytes);
    if (r == 0)
        r = kept_init(&quotes->asks, timers, options->ask_keep_us, ASKS_MAX, options->keep_bytes);
    if (r == 0)
        r = queue_init(&quotes->queue, &limits);
    if (r < 0)
        return r;
    quotes->ask_lane = queue_lane(&quotes->queue, &asks);
    if (!quotes->ask_lane)
        return -ENOMEM;
    return make_sources(quotes, base, timers, options);
}

struct quotes *quotes_new(struct event_base *base, struct timers *timers,
                          const struct quotes_options *options)
{
    struct quotes *quotes = sys.alloc(sizeof(*quotes));

    if (!quotes)
        return NULL;
    quotes->options = *options;
    quotes->options.backends = NULL;
    quotes->options.vmm_users = NULL;
    if (make_parts(quotes, base, timers, options) < 0) {
        quotes_free(quotes);
        return NULL;
    }
    return quotes;
}

void quotes_free(struct quotes *quotes)
{
    if (!quotes)
        return;
    invariant(!quotes->queue.round);
    for (size_t i = 0; i < quotes->n_sources; i++)
        backend_free(quotes->sources[i].backend);
    while (quotes->running) {
        struct job *job = quotes->running;
        invariant(job->state == JOB_ABANDONED);
        job_stop(job);
        job_free(job);
    }
    kept_done(&quotes->kept);
    kept_done(&quotes->asks);
    if (quotes->ask_lane)
        lane_unref(quotes->ask_lane);
    queue_done(&quotes->queue);
    sys.free(quotes->sources);
    sys.free(quotes);
}
