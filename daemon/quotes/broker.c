/* SPDX-License-Identifier: MIT */
/*
 * How requests end, and how long jobs wait.
 *
 * While no service is there, a job stays in the queue until it could no longer be done in time, and
 * all of them until the service has been away for wait_us. One timer, `patience`, stands at the
 * first of these moments, while there are such jobs.
 */
#include "quotes/broker.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "peer/request.h"
#include "status.h"
#include <utlist.h>

/* How often the queue is looked through, at most. */
#define LOOK_US 1000u

void broker_finish(struct request *request, uint32_t status, struct blob *answer)
{
    if (status == COCO_OK && answer && answer->size > request->reply_max) {
        status = COCO_EMSGSIZE;
        request->trace.why = "the quote is larger than the guest's buffer";
    }
    job_count_end(request, status);
    request_complete(request, status, status == COCO_OK ? answer : NULL);
}

void broker_complete_waiters(struct job *job, uint32_t status, struct blob *answer)
{
    struct request *request;

    while ((request = job_take_waiter(job))) {
        request->trace = job->trace;
        request->peer_at_fault = job->vm_at_fault;
        if (status == COCO_EAGAIN)
            metrics.quote_agains[job->again]++;
        broker_finish(request, status, answer);
    }
}

void broker_note_failure(struct quotes *quotes, uint32_t status, bool charged, const char *text)
{
    quotes->failed++;
    quotes->problem_status = status;
    quotes->problem_charged = charged;
    (void)why_set(&quotes->problem, 0, "%s", text);
    event_emit(EVENT_QUOTE_FAILED, NULL, 0, "no quote: %s", text);
}

/* --- while no service is there ---------------------------------------------------------------- */

uint64_t broker_latest_us(const struct quotes *quotes, const struct job *job)
{
    uint64_t deadline_us = job_deadline_us(job);
    uint64_t service_us = sources_service_us(&quotes->sources);

    return deadline_us > service_us ? deadline_us - service_us : 0;
}

uint64_t broker_wait_until_us(const struct quotes *quotes)
{
    uint64_t away_us = sources_away_us(&quotes->sources);

    if (quotes->sources.n_offered == 0)
        return 0; /* none will come */
    return away_us < UINT64_MAX - quotes->wait_us ? away_us + quotes->wait_us : UINT64_MAX;
}

static void note_waiting(struct job *job)
{
    metrics.quotes_waited += !job->waited && !job->first;
    job->waited = true;
}

void broker_put(struct quotes *quotes, struct job *job, enum queue_place place)
{
    job_queue(job, place);
    if (!timer_armed(&quotes->patience))
        return;
    note_waiting(job);
    if (broker_latest_us(quotes, job) < quotes->patience.at_us)
        timer_arm(&quotes->patience, broker_latest_us(quotes, job));
}

struct job *broker_take_overdue(struct quotes *quotes)
{
    uint64_t now_us = sys.now_us();
    uint64_t all_us = broker_wait_until_us(quotes);
    uint64_t next_us = all_us;
    struct job *over = NULL;
    struct queue_item *item, *next;

    for (item = queue_first(&quotes->queue); item; item = next) {
        struct job *job = job_of_item(item);
        uint64_t at_us = broker_latest_us(quotes, job);
        next = queue_next(item);
        if (all_us > now_us && at_us > now_us) {
            note_waiting(job);
            next_us = at_us < next_us ? at_us : next_us;
            continue;
        }
        queue_remove(item);
        (void)job_dequeued(item);
        DL_APPEND(over, job);
    }
    if (quotes->queue.n_items > 0)
        timer_arm(&quotes->patience, next_us > now_us + LOOK_US ? next_us : now_us + LOOK_US);
    return over;
}
