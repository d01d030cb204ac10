/* SPDX-License-Identifier: MIT */
/*
 * Administrators' work on the store. It runs on the worker; all else is the loop thread's.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "base/worker.h"
#include "certs/load.h"
#include "why.h"
#include <stddef.h>
#include <stdint.h>

struct account;
struct certs;
struct certs_job;

enum certs_job_kind {
    CERTS_JOB_IMPORT,
    CERTS_JOB_VERIFY, /* as IMPORT, and nothing is kept */
    CERTS_JOB_LIST,
    CERTS_JOB_CHAIN, /* also preflight: can this key be served? */
    CERTS_JOB_REMOVE,
};

struct certs_jobs {
    struct worker *worker;
    struct certs_job *running; /* on the worker; NULL: none */
    struct certs_job *waiting;
    uint64_t turn;          /* of the last that was begun */
    struct timer no_thread; /* `running` could not be given to the worker */
};

int certs_jobs_init(struct certs_jobs *jobs, struct timers *timers);
void certs_jobs_done(struct certs_jobs *jobs);

#define CERTS_JOB_FILES_MAX 64u

/* What it holds is its own. */
struct certs_job {
    struct work work;
    enum certs_job_kind kind;
    struct certs *certs; /* NULL: the service is gone */
    /* Called on the loop when it has run; NULL: nobody waits any more. Then it is freed. */
    void (*told)(struct certs_job *job);
    void *data;
    struct account *account; /* who is charged for it; NULL: nobody, or the service is gone */
    uint64_t turn;

    size_t n_files; /* IMPORT, VERIFY */
    struct chain_input *files;
    struct chain_key key; /* CHAIN, REMOVE */

    int result; /* 0, or negative errno and a sentence */
    struct why why;
    struct store_results results; /* IMPORT, VERIFY */
    struct store_list list;       /* LIST */
    struct store_chain chain;     /* CHAIN */
    struct blob *table;

    struct load_options judge_by; /* a copy: the configuration may be replaced meanwhile */
    struct certs_job *prev, *next;
};

/* NULL: out of memory, or there is no store. */
struct certs_job *certs_job_new(struct certs *certs, enum certs_job_kind kind);
/* Copies the file; -ENOMEM, also beyond CERTS_JOB_FILES_MAX. */
int certs_job_add_file(struct certs_job *job, const char *name, const uint8_t *data, size_t size);
/* Takes the job over, and charges the account for it until it has ended. -EAGAIN: it is over a
 * limit (account_limit says which); then the job is freed, untold. */
int certs_job_submit(struct certs_job *job, struct account *account);
/* Nobody waits for it any more: if it has begun it is finished, and told nobody; else dropped. */
void certs_job_cancel(struct certs_job *job);
void certs_job_free(struct certs_job *job);
