/* SPDX-License-Identifier: MIT */
/*
 * From the platform and the store to the generation that is to be served next. Loop thread only;
 * loads run on the worker.
 */
#pragma once

#include "base/timer.h"
#include "base/worker.h"
#include "certs/gate.h"
#include "certs/generation.h"
#include "certs/load.h"
#include "why.h"
#include <stdbool.h>
#include <stdint.h>

/* A selection has ended. `generation` is to be served, and its reference is handed over; NULL: what
 * is served, or about to be, is right. */
typedef void selection_told(void *data, struct generation *generation);

struct selection {
    struct worker *worker;
    const struct certs_options *options;
    struct gate *gate; /* what is served; and doubt is cast on it here */
    selection_told *told;
    void *data;

    enum {
        SELECTION_IDLE,
        SELECTION_READING, /* the platform is asked */
        SELECTION_LOADING, /* a load is on the worker */
        SELECTION_AGAIN,   /* nothing could be found out, and nothing is published until it can */
    } stage;
    bool reading;            /* the platform is asked; perhaps during a load */
    bool forced;             /* the reading that is under way leads to a load in any case */
    bool again_after;        /* asked for meanwhile */
    bool serves_on;          /* the load is for the platform that is served already */
    bool starting;           /* before the loop runs: loads run at once */
    struct loading *loading; /* on the worker */
    struct generation *last; /* that was handed over; NULL: none, or it was forgotten */
    struct generation empty[CERTS_REASON_LOAD + 1]; /* by their reason */

    bool platform_read; /* `platform` is what was read last */
    struct platform_state platform;
    bool used;         /* CERTS_GET was answered since the last reading */
    uint64_t asked_us; /* when the last reading began */
    uint64_t read_us;  /* when the last one began that has ended: what it found is as old as that */
    struct timer reread;

    struct timer recheck; /* dates, and the clock */
    unsigned rechecks;
    bool clock_trusted;
    int64_t clock_floor_s;
    bool overdue;              /* the last load came to no verdict */
    struct timer again;        /* after a failure that is likely to pass: selects anew */
    unsigned n_failures;       /* of that kind, in a row */
    uint64_t failing_since_us; /* the first of them */

    /* Sentences; "": nothing is wrong with it. */
    struct why chain_problem, platform_problem, clock_problem, roots_problem;
};

/* What stands above `stage` is filled in. */
int selection_init(struct selection *selection, struct timers *timers);
/* After whoever holds a generation of it. */
void selection_done(struct selection *selection);

/* Selects. `forced`: also where the platform is as it was. */
void selection_start(struct selection *selection, bool forced);
/* The first selection, and the one after the options have changed. */
void selection_restart(struct selection *selection);
/* Forgets what was selected and is not served yet, and selects: an updater may have been there
 * since. */
void selection_start_anew(struct selection *selection);
/* Somebody asks for a table. Where the platform was not read within 2 s, nothing is sure, and a
 * reading begins. -EIO: it has failed already, and the one before it had not. */
int selection_freshen(struct selection *selection);
bool selection_runs(const struct selection *selection);
