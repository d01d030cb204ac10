/* SPDX-License-Identifier: MIT */
/*
 * How the broker stands, for those who ask: numbers, each backend, each job, each answer that is
 * kept. Nothing here changes anything.
 */
#include "base/invariant.h"
#include "base/sys.h"
#include "peer/account.h"
#include "quotes/broker.h"
#include "quotes/quotes.h"
#include <utlist.h>

void quotes_get_status(const struct quotes *quotes, struct quotes_status *ret)
{
    bool wrong = false;

    *ret = (struct quotes_status){
        .backend = quotes_offered(quotes) ? quotes->sources.names : NULL,
        .queued = quotes->queue.n_items,
        .waiting = sources_all_set_aside(&quotes->sources) ? quotes->queue.n_items : 0,
        .abandoned = quotes->jobs.n_abandoned,
        .kept = quotes->kept.n,
        .answered = quotes->answered,
        .failed = quotes->failed,
        .quote_s = quotes->quote_s,
        .problem_status = quotes->problem_status,
    };
    for (size_t i = 0; i < quotes->sources.n; i++) {
        const struct backend *backend = quotes->sources.items[i].backend;
        if (source_has_left(&quotes->sources.items[i]))
            continue;
        ret->n_backends++;
        ret->slots += backend_retired(backend) ? 0 : backend_slots(backend)->n;
        ret->slots_busy += backend_slots(backend)->busy;
        wrong |= backend_problem(backend) != NULL;
    }
    if (quotes->problem.text[0] && (quotes->problem_charged || wrong))
        ret->problem = quotes->problem.text;
    const struct job *job;
    DL_FOREACH(quotes->jobs.running, job)
    {
        ret->running += job->state == JOB_RUNNING && !job->first;
        ret->hedged += job->state == JOB_RUNNING && job->hedge;
    }
}

void quotes_get_backend_status(const struct quotes *quotes, size_t i, struct backend_status *ret)
{
    const struct source *source = quotes->sources.items;
    const struct job *job;

    for (; source_has_left(source) || i > 0; source++) {
        invariant(source + 1 < quotes->sources.items + quotes->sources.n);
        i -= !source_has_left(source);
    }
    *ret = (struct backend_status){.service_us = source_median_us(source, 0)};
    backend_get_status(source->backend, ret);
    DL_FOREACH(quotes->jobs.running, job)
    {
        ret->abandoned +=
            job->state == JOB_ABANDONED && &quotes->sources.items[job->source] == source;
    }
}

const char *quotes_backend_name(const struct quotes *quotes, uint8_t serial)
{
    for (size_t i = 0; i < quotes->sources.n; i++)
        if (quotes->sources.items[i].serial == serial)
            return backend_name(quotes->sources.items[i].backend);
    return NULL;
}

static void tell_job(const struct quotes *quotes, const struct job *job, quotes_job_visit *visit,
                     void *data)
{
    static const char *const states[] = {"new", "queued", "running", "abandoned"};
    const struct request *request;
    struct quotes_job view = {.state = states[job->state],
                              .quote = !job->query,
                              .account = &job->account->key,
                              .history = job->account->history,
                              .since_us = job->since_us,
                              .deadline_us = job_deadline_us(job),
                              .hedge = job->first != NULL,
                              .tries = job->refused + job->closed + (job->state != JOB_QUEUED)};

    DL_FOREACH2(job->first ? job->first->waiters : job->waiters, request, waiter_next)
    {
        view.waiters++;
    }
    if (job->state != JOB_QUEUED)
        view.backend = backend_name(broker_backend(quotes, job));
    visit(data, &view);
}

void quotes_each_job(const struct quotes *quotes, quotes_job_visit *visit, void *data)
{
    struct queue_item *item;
    const struct job *job;

    DL_FOREACH(quotes->jobs.running, job)
    {
        tell_job(quotes, job, visit, data);
    }
    for (item = queue_first(&quotes->queue); item; item = queue_next(item))
        tell_job(quotes, job_of_item(item), visit, data);
}

void quotes_each_kept(const struct quotes *quotes, kept_visit *visit, void *data)
{
    kept_each(&quotes->kept, visit, data);
}
