/* SPDX-License-Identifier: MIT */
/*
 * While no service is there, jobs stay in the queue, each until it could no longer be done in time,
 * all of them until the service has been away for wait_us. One timer stands at the first of these
 * moments; it is armed exactly while there are jobs that wait so, but for what pump() has yet to
 * see.
 */
#include "base/sys.h"
#include "observe/metrics.h"
#include "quotes/parts.h"
#include <utlist.h>

/* How often the queue is looked through, at most. */
#define LOOK_US 1000u

uint64_t waiting_latest_us(const struct quotes *quotes, const struct job *job)
{
    uint64_t deadline_us = job_deadline_us(job);
    uint64_t service_us = sources_service_us(&quotes->sources);

    return deadline_us > service_us ? deadline_us - service_us : 0;
}

uint64_t waiting_until_us(const struct quotes *quotes)
{
    uint64_t away_us = sources_away_us(&quotes->sources);

    if (!quotes_offered(quotes))
        return 0; /* none will come */
    return away_us < UINT64_MAX - quotes->options.wait_us ? away_us + quotes->options.wait_us
                                                          : UINT64_MAX;
}

static void note_waiting(struct job *job)
{
    metrics.quotes_waited += !job->waited && !job->first;
    job->waited = true;
}

void waiting_put(struct quotes *quotes, struct job *job, enum job_place place)
{
    job_queue(job, place);
    if (!timer_armed(&quotes->patience))
        return;
    note_waiting(job);
    if (waiting_latest_us(quotes, job) < quotes->patience.at_us)
        timer_arm(&quotes->patience, waiting_latest_us(quotes, job));
}

struct job *waiting_over(struct quotes *quotes)
{
    uint64_t now_us = sys.now_us();
    uint64_t all_us = waiting_until_us(quotes);
    uint64_t next_us = all_us;
    struct job *over = NULL;
    struct queue_item *item, *next;

    for (item = queue_first(&quotes->queue); item; item = next) {
        struct job *job = job_of_item(item);
        uint64_t at_us = waiting_latest_us(quotes, job);
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
