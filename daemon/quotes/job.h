/* SPDX-License-Identifier: MIT */
/*
 * A job: one question to QGS, those who wait for its answer, and how often it was tried. quotes.c
 * moves it. Loop thread only.
 *
 * A hedge is a second job with the same question, for another service. It serves the waiters of the
 * first, and takes them over when the first fails.
 */
#pragma once

#include "base/blob.h"
#include "peer/request.h"
#include "quotes/ends.h"
#include "quotes/queue.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct account;
struct sources;

enum job_state {
    JOB_NEW,
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_ABANDONED,
};

/* All of them together. */
struct jobs {
    void *owner;
    size_t bytes;
    size_t bytes_max;
    struct job *running; /* and abandoned */
    unsigned n_abandoned;
    bool querying; /* a job that is not a quote has its slot */
};

struct job {
    struct queue_item item; /* while QUEUED */
    struct jobs *jobs;
    enum job_state state;
    bool query;              /* not GET_QUOTE */
    struct account *account; /* who asked; of a query: who asked first */
    struct lane *lane;
    struct request *waiters;    /* by waiter_prev, waiter_next */
    struct job *prev, *next;    /* of those that run, or are abandoned */
    struct job *hedge;          /* its hedge; NULL: none */
    struct job *first;          /* of a hedge: whose it is; NULL: it is none, or is alone by now */
    bool hedges;                /* it was made as a hedge: its lane is charged for that */
    bool answered;              /* by the other of the two: nobody wants its answer any more */
    size_t source;              /* while it runs: where */
    uint64_t asked_us;          /* and since when */
    uint64_t since_us;          /* when it was made */
    uint64_t tried;             /* sources where it failed, a bit each */
    unsigned returns;           /* of sources, when that was set */
    unsigned closed;            /* times that QGS closed without an answer */
    unsigned refused;           /* times that QGS answered with an error */
    bool waited;                /* for a QGS, when none was in service */
    enum quote_again again;     /* the reason, where its waiters get EAGAIN */
    struct history_entry trace; /* of its last exchange */
    bool vm_at_fault;           /* QGS refused what the VM sent, and nothing is wrong with QGS */
    size_t size;
    uint8_t message[]; /* of QGS's protocol, without prefix */
};

/* NULL: over the limit, or out of memory. The account holds the lane. */
struct job *job_new(struct jobs *jobs, struct account *account, struct lane *lane,
                    const uint8_t *message, size_t size, bool query);
/* Without waiters, and neither queued nor running. */
void job_free(struct job *job);
struct job *job_of_item(struct queue_item *item);

/* A hedge yields to what is behind it. */
void job_queue(struct job *job, enum queue_place place);
/* Its item was taken out of the queue: NEW again. */
struct job *job_dequeued(struct queue_item *item);
void job_run(struct job *job, size_t source);
/* It no longer runs: NEW again. */
void job_stop(struct job *job);

/* The request waits for the job from now on. Its own end (deadline, CANCEL, a closed connection)
 * may leave the job ABANDONED, or free it. */
void job_attach(struct job *job, struct request *request);
/* Detaches the first waiter, for the caller to complete; NULL: there is none. */
struct request *job_take_waiter(struct job *job);
/* Counts how a QUOTE_GET ended, and the time since it was received. */
void job_count_end(const struct request *request, uint32_t status);
/* The latest of the waiters', of a hedge of the first's. */
uint64_t job_deadline_us(const struct job *job);
/* The sources where it failed since one of them came back last. */
uint64_t job_tried(const struct job *job, const struct sources *sources);

/* A new hedge for a job that runs. NULL as job_new. */
struct job *job_new_hedge(struct job *job);
/* Its hedge is of no more use: it leaves the queue, or is abandoned. */
void job_drop_hedge(struct job *job);
/* The hedge does no more for the job, which goes on alone. */
void job_unhedge(struct job *job);
/* The hedge takes the waiters of its first, and what was tried, and is alone. Where the first runs,
 * it is abandoned. */
void job_take_over(struct job *hedge, struct job *first);
/* What was tried for the other counts for this one, too. */
void job_add_tries(struct job *job, const struct job *other);

/* A queued or running job that asks the same for the same account (a query: for anybody). */
struct job *job_find(const struct jobs *jobs, const struct lane *lane,
                     const struct account *account, const uint8_t *message, size_t size);
