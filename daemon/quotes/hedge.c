/* SPDX-License-Identifier: MIT */
/*
 * Once a quote takes several times the usual time at one QGS, another is asked as well, and the
 * first answer wins.
 *
 * The VM pays: its hedge takes a turn of the VM's, before what else the VM has in the queue. A VM
 * has one hedge at a time, until QGS has answered it, so quotes that make services hang win no
 * second set of slots. A VM that has failed gets none. Where a hedge cannot go now, those behind it
 * can.
 *
 * The one that loses is abandoned: it keeps its slot until QGS has answered, and that answer is not
 * kept. Queries have one slot in all, and are not hedged.
 */
#include "quotes/hedge.h"
#include "base/sys.h"
#include "observe/counters.h"
#include <utlist.h>

/* So many times the usual; at least what a QGS may need that asks PCCS; and at most MAX, or
 * twice the usual. */
#define HEDGE_TIMES  8u
#define HEDGE_MIN_US 200000u
#define HEDGE_MAX_US 5000000u
/* Where nobody knows what is usual. */
#define HEDGE_UNKNOWN_US 2000000u
/* What is due and cannot be done now is looked at again. */
#define HEDGE_AGAIN_US 100000u

static uint64_t due_us(const struct quotes *quotes, const struct job *job)
{
    uint64_t usual_us = sources_usual_us(&quotes->sources, job->source);
    uint64_t after_us = usual_us * HEDGE_TIMES;

    if (usual_us == SOURCE_UNKNOWN)
        after_us = HEDGE_UNKNOWN_US;
    else if (after_us < HEDGE_MIN_US)
        after_us = HEDGE_MIN_US;
    else if (after_us > HEDGE_MAX_US)
        after_us = 2 * usual_us > HEDGE_MAX_US ? 2 * usual_us : HEDGE_MAX_US;
    return job->asked_us + after_us;
}

static void look_at(struct quotes *quotes, uint64_t at_us)
{
    if (!timer_armed(&quotes->hedging) || at_us < quotes->hedging.at_us)
        timer_arm(&quotes->hedging, at_us);
}

void hedge_watch(struct quotes *quotes, const struct job *job)
{
    if (quotes->sources.n_offered > 1 && !job->query && !job->first)
        look_at(quotes, due_us(quotes, job));
}

static uint64_t excluded(const struct quotes *quotes, const struct job *job)
{
    return job_tried(job, &quotes->sources) | source_bit(job->source);
}

/* Could it ever be? */
static bool is_candidate(const struct quotes *quotes, const struct job *job)
{
    return job->state == JOB_RUNNING && job->waiters && !job->query && !job->hedge && !job->first &&
           !job->lane->failed && broker_latest_us(quotes, job) > sys.now_us();
}

static bool hedge(struct quotes *quotes, struct job *job)
{
    struct job *hedge;

    if (job->lane->n_hedges > 0 || !queue_has_room(&quotes->queue) ||
        !sources_has_other(&quotes->sources, excluded(quotes, job)))
        return false;
    hedge = job_new_hedge(job);
    if (!hedge)
        return false;
    metrics.quotes_hedged++;
    hedge->tried = excluded(quotes, job);
    hedge->returns = sources_returns(&quotes->sources);
    job_queue(hedge, QUEUE_NEXT);
    return true;
}

void hedge_those_that_take_long(struct quotes *quotes)
{
    uint64_t now_us = sys.now_us();
    struct job *job;

    DL_FOREACH(quotes->jobs.running, job)
    {
        if (!is_candidate(quotes, job))
            continue;
        if (due_us(quotes, job) > now_us)
            look_at(quotes, due_us(quotes, job));
        else if (!hedge(quotes, job))
            look_at(quotes, now_us + HEDGE_AGAIN_US);
    }
}

void hedge_ended(struct quotes *quotes)
{
    look_at(quotes, sys.now_us());
}

size_t hedge_choose(const struct quotes *quotes, const struct job *job)
{
    uint64_t tried = job_tried(job, &quotes->sources);
    size_t n = quotes->sources.n;

    if (!job->first)
        return sources_choose(&quotes->sources, tried);
    tried |= source_bit(job->first->source);
    size_t i = sources_choose(&quotes->sources, tried);
    return i < n && !(tried & source_bit(i)) ? i : n;
}
