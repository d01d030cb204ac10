/* SPDX-License-Identifier: MIT */
/*
 * The states of a job, and the counts that go with them; nothing else sets job->state.
 *
 *   NEW ──▶ QUEUED ──▶ RUNNING ──QGS has answered──▶ NEW ──▶ freed, or QUEUED for another try
 *             │          │  ▲ └─last waiter leaves─▶ ABANDONED ──QGS has answered──▶ NEW
 *             │          │  └─the same is asked again─┘
 *             └─last waiter leaves─▶ freed
 *
 * A hedge goes through the same states. Where the waiters of its first leave or join, both change
 * theirs together.
 *
 * A job holds its account and its lane, and is charged to jobs->bytes, from job_new to job_free.
 */
#include "quotes/job.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "peer/account.h"
#include "peer/request.h"
#include "quotes/sources.h"
#include <string.h>
#include <utlist.h>

#define STATUS(id, name, status) [id] = (status),

struct job *job_of_item(struct queue_item *item)
{
    return container_of(item, struct job, item);
}

struct job *job_new(struct jobs *jobs, struct account *account, struct lane *lane,
                    const uint8_t *message, size_t size, bool query)
{
    struct job *job = NULL;

    if (jobs->bytes + sizeof(*job) + size <= jobs->bytes_max)
        job = sys.alloc(sizeof(*job) + size);
    if (!job)
        return NULL;
    job->jobs = jobs;
    job->account = account_ref(account);
    job->lane = lane;
    lane->n_jobs++;
    job->query = query;
    job->size = size;
    job->since_us = sys.now_us();
    memcpy(job->message, message, size);
    jobs->bytes += sizeof(*job) + size;
    metrics.now_jobs++;
    return job;
}

void job_free(struct job *job)
{
    struct lane *lane = job->lane;

    invariant(!job->waiters && job->state == JOB_NEW && !job->hedge && !job->first);
    lane->n_hedges -= job->hedges;
    lane->n_jobs--;
    lane->forget_us = lane->failed ? sys.now_us() + LANE_REMEMBER_US : 0;
    job->jobs->bytes -= sizeof(*job) + job->size;
    account_unref(job->account); /* and perhaps the lane with it */
    metrics.now_jobs--;
    sys.free(job);
}

void job_queue(struct job *job, enum queue_place place)
{
    job->state = JOB_QUEUED;
    job->item.yields = job->first != NULL;
    queue_push(&job->item, job->lane, place);
}

struct job *job_dequeued(struct queue_item *item)
{
    struct job *job = job_of_item(item);

    job->state = JOB_NEW;
    return job;
}

void job_run(struct job *job, size_t source)
{
    job->state = JOB_RUNNING;
    job->source = source;
    job->asked_us = sys.now_us();
    job->lane->n_running++;
    job->jobs->querying |= job->query;
    DL_APPEND(job->jobs->running, job);
}

void job_stop(struct job *job)
{
    struct jobs *jobs = job->jobs;

    DL_DELETE(jobs->running, job);
    job->lane->n_running--;
    if (job->query)
        jobs->querying = false;
    if (job->state == JOB_ABANDONED)
        jobs->n_abandoned--;
    job->state = JOB_NEW;
}

/* --- waiters ---------------------------------------------------------------------------------- */

static void detach(struct job *job, struct request *request)
{
    DL_DELETE2(job->waiters, request, waiter_prev, waiter_next);
    if (job->query)
        return;
    invariant(job->lane->n_requests > 0);
    job->lane->n_requests--;
    job->lane->user->n_requests--;
}

static void abandon(struct job *job)
{
    if (job->state != JOB_RUNNING)
        return;
    job->state = JOB_ABANDONED;
    job->jobs->n_abandoned++;
}

static void leave_queue(struct job *job)
{
    queue_remove(&job->item);
    job_free(job_dequeued(&job->item));
}

/* Nobody waits for the two any more. */
static void abandon_hedge(struct job *job)
{
    struct job *hedge = job->hedge;

    if (hedge->state == JOB_QUEUED) {
        job_unhedge(job);
        leave_queue(hedge);
    } else {
        abandon(hedge);
    }
}

void job_count_end(const struct request *request, uint32_t status)
{
    static const uint32_t statuses[] = {QUOTE_END_TABLE_OF(STATUS)};
    unsigned end = request->peer_at_fault ? QUOTE_END_REFUSED : 0;

    while (end < QUOTE_END_FAILED && statuses[end] != status)
        end++;
    metrics.quote_ends[end]++;
    histogram_observe(&metrics.quote_us[end], histogram_long_us,
                      sys.now_us() - request->received_us);
}

/* A waiter left by itself: it expired, was cancelled, or its peer closed. */
static void on_cancel(struct request *request)
{
    struct job *job = request->holder;
    bool late = sys.now_us() >= request->deadline_us;

    job_count_end(request, late ? COCO_ETIMEDOUT : COCO_ECANCELED);
    request->trace = job->trace;
    request->peer_at_fault = job->vm_at_fault;
    if (!late)
        request->trace.why = "it was cancelled, or its connection closed";
    else if (job->state == JOB_QUEUED)
        request->trace.why = "its time was over while it waited for a slot of QGS";
    else
        request->trace.why = "its time was over before QGS answered";
    detach(job, request);
    if (job->waiters)
        return;
    if (job->hedge)
        abandon_hedge(job);
    if (job->state == JOB_QUEUED)
        leave_queue(job);
    else
        abandon(job);
}

static void resume(struct job *job)
{
    if (job->state != JOB_ABANDONED)
        return;
    job->state = JOB_RUNNING;
    job->jobs->n_abandoned--;
}

void job_attach(struct job *job, struct request *request)
{
    resume(job);
    if (job->hedge)
        resume(job->hedge);
    DL_APPEND2(job->waiters, request, waiter_prev, waiter_next);
    request_hold(request, on_cancel, job);
    if (job->query)
        return;
    job->lane->n_requests++;
    job->lane->user->n_requests++;
}

struct request *job_take_waiter(struct job *job)
{
    struct request *request = job->waiters;

    if (!request)
        return NULL;
    detach(job, request);
    request_release(request);
    return request;
}

uint64_t job_deadline_us(const struct job *job)
{
    const struct request *request;
    uint64_t latest = 0;

    if (job->first)
        return job_deadline_us(job->first);
    DL_FOREACH2(job->waiters, request, waiter_next)
    {
        if (request->deadline_us > latest)
            latest = request->deadline_us;
    }
    return latest;
}

uint64_t job_tried(const struct job *job, const struct sources *sources)
{
    return job->returns == sources_returns(sources) ? job->tried : 0;
}

/* --- hedges ----------------------------------------------------------------------------------- */

struct job *job_new_hedge(struct job *job)
{
    struct job *hedge =
        job_new(job->jobs, job->account, job->lane, job->message, job->size, job->query);

    if (!hedge)
        return NULL;
    hedge->hedges = true;
    hedge->lane->n_hedges++;
    hedge->since_us = job->since_us;
    hedge->first = job;
    job->hedge = hedge;
    return hedge;
}

void job_unhedge(struct job *job)
{
    job->hedge->first = NULL;
    job->hedge = NULL;
}

void job_drop_hedge(struct job *job)
{
    struct job *hedge = job->hedge;

    job_unhedge(job);
    if (hedge->state == JOB_QUEUED) {
        leave_queue(hedge);
        return;
    }
    abandon(hedge);
    hedge->answered = true;
}

void job_take_over(struct job *hedge, struct job *first)
{
    struct request *request;

    invariant(hedge->first == first);
    job_unhedge(first);
    while ((request = job_take_waiter(first)))
        job_attach(hedge, request);
    abandon(first);
    job_add_tries(hedge, first);
}

void job_add_tries(struct job *job, const struct job *other)
{
    job->closed += other->closed;
    job->refused += other->refused;
    if (job->returns < other->returns) {
        job->tried = 0;
        job->returns = other->returns;
    }
    if (job->returns == other->returns)
        job->tried |= other->tried;
}

static bool asks_the_same(const struct job *job, const struct account *account,
                          const uint8_t *message, size_t size)
{
    return (job->account == account || job->query) && !job->first && !job->answered &&
           job->size == size && memcmp(job->message, message, size) == 0;
}

struct job *job_find(const struct jobs *jobs, const struct lane *lane,
                     const struct account *account, const uint8_t *message, size_t size)
{
    struct queue_item *item;
    struct job *job;

    DL_FOREACH(lane->items, item)
    {
        job = job_of_item(item);
        if (asks_the_same(job, account, message, size))
            return job;
    }
    DL_FOREACH(jobs->running, job)
    {
        if (job->lane == lane && asks_the_same(job, account, message, size))
            return job;
    }
    return NULL;
}
