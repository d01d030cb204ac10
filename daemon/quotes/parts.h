/* SPDX-License-Identifier: MIT */
/*
 * What quotes.c, quotes_end.c, waiting.c, hedge.c and quotes_status.c share; private to them.
 */
#pragma once

#include "base/log.h"
#include "quotes/job.h"
#include "quotes/kept.h"
#include "quotes/queue.h"
#include "quotes/quotes.h"
#include "quotes/sources.h"

struct quotes {
    struct quotes_options options;
    struct sources sources;
    struct jobs jobs;
    struct queue queue;
    struct kept_store kept; /* quotes, for one account each */
    struct kept_store asks; /* other answers, for all */
    struct lane *ask_lane;
    uint64_t answered;
    uint64_t failed;
    int64_t quote_s;
    uint32_t problem_status;
    char problem[384];
    bool problem_charged; /* to a VM */
    struct log_limit complaints;
    struct timer patience; /* while no backend is in service: when the next job gives up waiting */
    struct timer hedging;  /* when the next job has taken long */
    bool pumping;
    bool down; /* no backend is in service, and that was told */
    bool drained;
};

/* --- the jobs' course: quotes.c --------------------------------------------------------------- */

/* Starts what slots allow. A job that can no longer be done in time gives way to those that wait
 * behind it. */
void quotes_pump(struct quotes *quotes);
/* Those who wait for the job get that answer and its trace, and it has no waiters any more.
 * `answer`: NULL but with COCO_OK; the caller's reference stays his. */
void quotes_complete_waiters(struct job *job, uint32_t status, struct blob *answer);

/* --- what QGS answered: quotes_end.c ---------------------------------------------------------- */

/* Of backend_start: `data` is the job. */
void quotes_on_done(void *data, const struct exchange_result *result);
/* For the status and the journal. `charged`: to a VM, else it is over as soon as a service is well
 * again. */
void quotes_note_failure(struct quotes *quotes, uint32_t status, bool charged, const char *text);

/* --- while no service is there: waiting.c ----------------------------------------------------- */

/* From then on a job could not be done in time. */
uint64_t waiting_latest_us(const struct quotes *quotes, const struct job *job);
/* Until when jobs wait, though no service is there; UINT64_MAX: one is, or may be. */
uint64_t waiting_until_us(const struct quotes *quotes);
/* Puts a job into the queue, and sees to it that it does not wait for too long. */
void waiting_put(struct quotes *quotes, struct job *job, enum job_place place);
/* Where no service is there: takes out of the queue what has waited long enough, for the caller to
 * end; a list by prev, next. They are gathered first, since ending one may end others. */
struct job *waiting_over(struct quotes *quotes);

/* --- asking another service as well: hedge.c -------------------------------------------------- */

/* A job was started: it is looked at again when it has taken long. */
void hedge_watch(struct quotes *quotes, const struct job *job);
/* Queues the hedges that are due. */
void hedge_those_that_take_long(struct quotes *quotes);
/* A hedge ended: the next of its lane may go. */
void hedge_ended(struct quotes *quotes);
/* Where a hedge may be asked, as sources_choose; of any other job, where it may be. */
size_t hedge_choose(const struct quotes *quotes, const struct job *job);
