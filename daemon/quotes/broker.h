/* SPDX-License-Identifier: MIT */
/*
 * The broker's state, private to its parts: quotes.c, end.c, hedge.c, status.c.
 */
#pragma once

#include "quotes/job.h"
#include "quotes/kept.h"
#include "quotes/queue.h"
#include "quotes/sources.h"
#include "why.h"

struct quotes {
    bool reuse; /* [quotes] of the configuration, as struct quotes_options */
    bool verify_signature;
    uint64_t wait_us;
    struct sources sources;
    struct jobs jobs;
    struct queue queue;
    struct kept_store kept;    /* quotes, for one account each */
    struct kept_store queries; /* answers to queries, for all */
    struct queue_user askers;  /* of queries, all as one */
    uint64_t answered;
    uint64_t failed;
    int64_t quote_s;
    uint32_t problem_status; /* of the last failure */
    struct why problem;      /* ""; none since the last success */
    bool problem_charged;    /* to a VM */
    struct timer patience; /* while no backend is in service: when the next job gives up waiting */
    struct timer hedging;  /* when the next job has taken long */
    bool pumping;
    bool down; /* no backend is in service, and that was announced */
    bool drained;
};

/* Where a job runs, or ran last. */
static inline struct backend *broker_backend(const struct quotes *quotes, const struct job *job)
{
    return quotes->sources.items[job->source].backend;
}

/* Answers a request. Another status than COCO_OK has its reason in the request's trace. */
void broker_finish(struct request *request, uint32_t status, struct blob *answer);
/* Those who wait for the job get that answer and its trace. `answer`: NULL but with COCO_OK,
 * borrowed. */
void broker_complete_waiters(struct job *job, uint32_t status, struct blob *answer);
/* For status and journal. `charged`: to a VM; else it is over once a service is well again. */
void broker_note_failure(struct quotes *quotes, uint32_t status, bool charged, const char *text);

/* From then on a job could not be done in time. */
uint64_t broker_latest_us(const struct quotes *quotes, const struct job *job);
/* Until when jobs wait, though no service is there; UINT64_MAX: one is, or may be. */
uint64_t broker_wait_until_us(const struct quotes *quotes);
/* Puts a job into the queue, and sees to it that it does not wait for too long. */
void broker_put(struct quotes *quotes, struct job *job, enum queue_place place);
/* Where no service is there: takes out of the queue what has waited long enough. A list by prev,
 * next, for the caller to end: ending one may end others. */
struct job *broker_take_overdue(struct quotes *quotes);
