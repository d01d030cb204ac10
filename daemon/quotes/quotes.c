/* SPDX-License-Identifier: MIT */
/*
 * A request finds or makes a job, the job waits for its turn and a slot, and QGS is asked. The
 * states of a job: job.c. What comes back: end.c. While no service is there: broker.c.
 *
 * Always holds: a QUEUED or RUNNING job has a waiter, an ABANDONED one has none; a job that runs or
 * is abandoned has a slot of its backend, since QGS works on for a requester that is gone.
 *
 * Overload costs QGS nothing: a quote that is being made is shared, one that was made is kept, and
 * one that cannot be made by its deadline is refused before QGS begins.
 */
#include "quotes/quotes.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/account.h"
#include "peer/request.h"
#include "qgs_msg.h"
#include "quotes/broker.h"
#include "quotes/check.h"
#include "quotes/end.h"
#include "quotes/hedge.h"
#include "status.h"
#include <errno.h>
#include <string.h>
#include <utlist.h>

/* Queries that may wait. */
#define QUERIES_MAX 16u

static const char no_service[] = "no quoting service is in service";
static const char none_came_back[] = "it waited for a quoting service, and none came back in time";

/* --- turned away ------------------------------------------------------------------------------ */

/* Before QGS was asked. */
static void turn_away(struct request *request, uint32_t status, const char *why)
{
    request->trace.why = why;
    broker_finish(request, status, NULL);
}

#define WHY(id, name, why) [id] = (why),
static const char *const why_again[] = {QUOTE_AGAIN_TABLE_OF(WHY)};
#undef WHY

/* EAGAIN. */
static void turn_back(struct request *request, enum quote_again again)
{
    metrics.quote_agains[again]++;
    turn_away(request, COCO_EAGAIN, why_again[again]);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void refuse(struct job *job, uint32_t status, const char *why)
{
    job->trace.why = why;
    if (job->first) /* a hedge: the first goes on */
        job_unhedge(job->first);
    broker_complete_waiters(job, status, NULL);
    job_free(job);
}

static bool fits(void *data, struct queue_item *item)
{
    const struct quotes *quotes = data;
    const struct job *job = job_of_item(item);

    return !(job->query && quotes->jobs.querying) && hedge_choose(quotes, job) < quotes->sources.n;
}

/* When a new job of that lane would be done. */
static uint64_t expected_us(const struct quotes *quotes, const struct lane *lane)
{
    uint64_t us = sources_expected_us(&quotes->sources, queue_ahead(&quotes->queue, lane));
    uint64_t service_us = sources_service_us(&quotes->sources);
    uint64_t alone_us = (uint64_t)(lane->n_items + lane->n_running + 1) * service_us;

    if (lane->failed && alone_us > us)
        us = alone_us; /* it has one slot */
    return us < UINT64_MAX - sys.now_us() ? sys.now_us() + us : UINT64_MAX;
}

/* --- the pump --------------------------------------------------------------------------------- */

static void refuse_for_now(struct job *job, enum quote_again again)
{
    job->again = again;
    refuse(job, COCO_EAGAIN, why_again[again]);
}

static void pump(struct quotes *quotes);

static void on_exchange_done(void *data, const struct exchange_result *result)
{
    struct job *job = data;
    struct quotes *quotes = job->jobs->owner;

    end_exchange(quotes, job, result);
    pump(quotes);
}

static void start(struct quotes *quotes, struct job *job)
{
    job_run(job, hedge_choose(quotes, job));
    hedge_watch(quotes, job);
    if (backend_start(broker_backend(quotes, job), job->message, job->size, on_exchange_done,
                      job) == 0)
        return;
    job_stop(job); /* out of memory */
    refuse_for_now(job, QUOTE_AGAIN_MEMORY);
}

/* Why none is there: what is wrong with the first. */
static const char *why_none(const struct quotes *quotes)
{
    for (size_t i = 0; i < quotes->sources.n; i++) {
        const struct backend *backend = quotes->sources.items[i].backend;
        if (backend_problem(backend) && !backend_retired(backend))
            return backend_problem(backend);
    }
    return no_service;
}

/* No service is there: they learn it now and not at their deadline. */
static void end_those_that_waited(struct quotes *quotes)
{
    struct job *over = broker_take_overdue(quotes), *job;

    while ((job = over)) {
        DL_DELETE(over, job);
        if (!job->first)
            broker_note_failure(quotes, COCO_ENODEV, false, why_none(quotes));
        refuse(job, COCO_ENODEV, job->waited ? none_came_back : no_service);
    }
}

/* Between the two nothing is announced: it is in doubt, or a probe is on its way. */
static void announce_up_or_down(struct quotes *quotes)
{
    if (!quotes_offered(quotes)) {
        quotes->down = false; /* the configuration has none: that is no outage */
    } else if (!quotes->down && sources_all_set_aside(&quotes->sources)) {
        quotes->down = true;
        event_emit(EVENT_QGS_DOWN, NULL, 0, "no quoting service answers: %s",
                   quotes->sources.names);
    } else if (quotes->down && sources_has_other(&quotes->sources, 0)) {
        quotes->down = false;
        event_emit(EVENT_QGS_UP, NULL, 0, "a quoting service answers again");
    }
}

static void pump(struct quotes *quotes)
{
    struct queue_item *item;

    if (quotes->pumping)
        return;
    quotes->pumping = true;
    announce_up_or_down(quotes);
    if (!sources_all_set_aside(&quotes->sources))
        timer_disarm(&quotes->patience);
    else if (!timer_armed(&quotes->patience))
        end_those_that_waited(quotes);
    while (sources_any_slot(&quotes->sources) && (item = queue_pop(&quotes->queue, fits, quotes))) {
        struct job *job = job_dequeued(item);
        if (quotes->queue.n_items > 0 &&
            sys.now_us() + sources_service_us(&quotes->sources) > job_deadline_us(job)) {
            metrics.quotes_hopeless += !job->first;
            refuse_for_now(job, QUOTE_AGAIN_HOPELESS);
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

static void on_hedging(struct timer *timer)
{
    struct quotes *quotes = container_of(timer, struct quotes, hedging);

    hedge_those_that_take_long(quotes);
    pump(quotes);
}

static void on_patience(struct timer *timer)
{
    pump(container_of(timer, struct quotes, patience));
}

/* --- the service ------------------------------------------------------------------------------ */

/* A request that can only be answered by a backend: is there one, or may it still come back? */
static bool any_backend(struct quotes *quotes)
{
    if (sources_all_set_aside(&quotes->sources))
        sources_wake(&quotes->sources);
    return sys.now_us() < broker_wait_until_us(quotes);
}

/* Makes room by what gives way; false: nothing does. */
static bool give_way(struct queue_item *item)
{
    if (!item)
        return false;
    queue_remove(item);
    refuse_for_now(job_dequeued(item), QUOTE_AGAIN_SHARE);
    return true;
}

/* May one more request of that lane wait, perhaps in the place of another VM's of its user? */
static bool make_way(const struct lane *lane)
{
    return lane_admits(lane) || (give_way(lane_gives_way(lane)) && lane_admits(lane));
}

/* COCO_OK: it may be queued. */
static uint32_t admit(struct quotes *quotes, const struct lane *lane, const struct request *request,
                      enum quote_again *ret_again)
{
    *ret_again = QUOTE_AGAIN_QUEUE;
    if (!any_backend(quotes))
        return COCO_ENODEV;
    if (!sources_any_slot(&quotes->sources) && expected_us(quotes, lane) > request->deadline_us) {
        metrics.quotes_hopeless++;
        *ret_again = QUOTE_AGAIN_HOPELESS;
        return COCO_EAGAIN;
    }
    return queue_has_room(&quotes->queue) || give_way(queue_gives_way(&quotes->queue, lane))
               ? COCO_OK
               : COCO_EAGAIN;
}

/* Joins the same question, or queues it. */
static void join_or_queue(struct quotes *quotes, struct request *request, struct lane *lane,
                          const uint8_t *message, size_t size, bool query)
{
    enum quote_again again = QUOTE_AGAIN_QUEUE;
    uint32_t status = COCO_EAGAIN;
    struct job *job = NULL;

    if (query || quotes->reuse)
        job = job_find(&quotes->jobs, lane, request->account, message, size);
    if (job) {
        metrics.quotes_joined++;
        job_attach(job, request);
        return;
    }
    if (!query || lane->n_items < QUERIES_MAX) {
        status = admit(quotes, lane, request, &again);
        histogram_observe(&metrics.queue_depth, histogram_depth, quotes->queue.n_items);
    }
    if (status == COCO_OK) {
        job = job_new(&quotes->jobs, request->account, lane, message, size, query);
        again = QUOTE_AGAIN_MEMORY;
    }
    if (status == COCO_ENODEV) {
        turn_away(request, status, no_service);
        return;
    }
    if (!job) {
        turn_back(request, again);
        return;
    }
    job_attach(job, request);
    broker_put(quotes, job, QUEUE_LAST);
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

/* False: the request was completed. */
static bool is_open(struct quotes *quotes, struct request *request)
{
    if (!quotes_offered(quotes))
        turn_away(request, COCO_EOPNOTSUPP, "quotes are not served on this host");
    else if (quotes->drained)
        turn_back(request, QUOTE_AGAIN_DRAINED);
    else
        return true;
    return false;
}

void quotes_get(struct quotes *quotes, struct request *request,
                const uint8_t tdreport[COCO_TDREPORT_SIZE])
{
    uint8_t message[COCO_QGS_QUOTE_REQ_SIZE];
    struct why why = {""};

    if (!is_open(quotes, request))
        return;
    int r = check_tdreport(tdreport, &why);
    if (r < 0) {
        log_debug("TDREPORT refused: %s", why.text);
        if (r == -ENOMEM)
            turn_back(request, QUOTE_AGAIN_MEMORY);
        else
            turn_away(request, COCO_EINVAL, "it is no TDREPORT, or its hashes are wrong");
        return;
    }
    make_message(tdreport, message);
    struct blob *kept = kept_find(&quotes->kept, request->account, message, sizeof(message));
    if (kept) {
        metrics.quotes_from_kept++;
        quotes->answered++;
        request->trace.why = "made for an earlier request of the VM, and kept";
        broker_finish(request, COCO_OK, kept);
        return;
    }
    struct lane *lane = queue_lane(&quotes->queue, request->account);
    if (!lane) {
        turn_back(request, QUOTE_AGAIN_MEMORY);
    } else if (!make_way(lane)) {
        account_over_limit(request->account, lane_limit(lane));
        turn_back(request, QUOTE_AGAIN_VM);
    } else {
        join_or_queue(quotes, request, lane, message, sizeof(message), false);
    }
}

void quotes_query(struct quotes *quotes, struct request *request, const uint8_t *message,
                  size_t size)
{
    invariant(size <= QUOTES_QUERY_MAX);
    if (!is_open(quotes, request))
        return;
    struct blob *kept = kept_find(&quotes->queries, NULL, message, size);
    if (kept) {
        broker_finish(request, COCO_OK, kept);
        return;
    }
    join_or_queue(quotes, request, &quotes->askers.whole, message, size, true);
}

void quotes_set_drained(struct quotes *quotes, bool drained)
{
    quotes->drained = drained;
}

bool quotes_offered(const struct quotes *quotes)
{
    return quotes->sources.n_offered > 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_options(struct quotes *quotes, const struct quotes_options *options)
{
    struct queue_limits *limits = &quotes->queue.limits;

    invariant(options->n_vmm_users <= QUEUE_VMM_USERS_MAX);
    for (size_t i = 0; i < options->n_vmm_users; i++)
        limits->vmm_users[i] = options->vmm_users[i];
    limits->n_vmm_users = options->n_vmm_users;
    limits->requests_per_vm = options->requests_per_vm;
    limits->requests_per_user = options->requests_per_user;
    limits->items = options->queue_max;
    quotes->reuse = options->reuse;
    quotes->verify_signature = options->verify_signature;
    quotes->wait_us = options->wait_us;
    quotes->jobs.bytes_max = options->queue_bytes;
    kept_set_limits(&quotes->kept, options->keep_us, options->keep_entries, options->keep_bytes);
    kept_set_limits(&quotes->queries, options->query_keep_us, QUERIES_MAX, options->keep_bytes);
}

struct quotes *quotes_new(struct event_base *base, struct timers *timers,
                          const struct quotes_options *options)
{
    struct quotes *quotes = sys.alloc(sizeof(*quotes));

    if (!quotes)
        return NULL;
    quotes->jobs.owner = quotes;
    quotes->askers.whole = (struct lane){.queue = &quotes->queue, .user = &quotes->askers};
    quotes->sources.base = base;
    quotes->sources.timers = timers;
    quotes->sources.changed = on_changed;
    quotes->sources.data = quotes;
    if (kept_init(&quotes->kept, timers) == 0 && kept_init(&quotes->queries, timers) == 0 &&
        timer_init(&quotes->patience, timers, on_patience) == 0 &&
        timer_init(&quotes->hedging, timers, on_hedging) == 0) {
        set_options(quotes, options);
        if (sources_set(&quotes->sources, options->backends, options->n_backends) == 0)
            return quotes;
    }
    quotes_free(quotes);
    return NULL;
}

int quotes_reload(struct quotes *quotes, const struct quotes_options *options)
{
    set_options(quotes, options);
    int r = sources_set(&quotes->sources, options->backends, options->n_backends);
    timer_disarm(&quotes->patience); /* it may be another now */
    hedge_ended(quotes);             /* and there may be another service */
    pump(quotes);
    return r;
}

void quotes_free(struct quotes *quotes)
{
    if (!quotes)
        return;
    invariant(!quotes->queue.round);
    timer_done(&quotes->patience);
    timer_done(&quotes->hedging);
    sources_done(&quotes->sources);
    while (quotes->jobs.running) {
        struct job *job = quotes->jobs.running;
        invariant(job->state == JOB_ABANDONED);
        if (job->hedge || job->first)
            job_unhedge(job->first ? job->first : job);
        job_stop(job);
        job_free(job);
    }
    kept_done(&quotes->kept);
    kept_done(&quotes->queries);
    sys.free(quotes);
}
