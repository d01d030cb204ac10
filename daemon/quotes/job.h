/* SPDX-License-Identifier: MIT */
/*
 * A job: one question to QGS, those who wait for its answer, and how often it was tried. What moves
 * jobs is in quotes.c.
 */
#pragma once

#include "quotes/queue.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct account;
struct quotes;
struct request;

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_ABANDONED,
};

struct job {
    struct queue_item item; /* while QUEUED */
    struct quotes *quotes;
    enum job_state state;
    bool ask;                /* not a quote */
    struct account *account; /* who asked; of an ask: who asked first */
    struct lane *lane;
    struct request *waiters; /* by waiter_prev, waiter_next */
    struct job *prev, *next; /* of those that run, or are abandoned */
    size_t backend;          /* while it runs */
    uint64_t tried;          /* backends where it failed, a bit each */
    unsigned closed;         /* times that QGS closed without an answer */
    unsigned refused;        /* times that QGS answered with an error */
    size_t size;
    uint8_t message[]; /* of QGS's protocol, without prefix */
};
