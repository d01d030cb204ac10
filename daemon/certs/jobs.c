/* SPDX-License-Identifier: MIT */
/*
 * What administrators do with the store. After a job that changed it the selection runs again: an
 * import may bring the chain that the platform needs, or a CRL that revokes what is served.
 *
 * The worker has one job at a time, and the others wait here. So the store has one writer, and
 * whatever administrators pile up, a selection waits for one job, and never for a place. Those that
 * wait take turns by user: a job's turn is the one after its user's last, or the present one, and
 * the lowest goes first.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/chain/parts.h"
#include "certs/parts.h"
#include "observe/counters.h"
#include "peer/account.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static void uncharge(struct certs_job *job)
{
    if (!job->account)
        return;
    account_uncharge(job->account, CHARGE_JOBS, 1);
    account_unref(job->account);
    job->account = NULL;
}

void certs_job_free(struct certs_job *job)
{
    if (!job)
        return;
    uncharge(job);
    for (size_t i = 0; i < job->n_files; i++) {
        sys.free((void *)(uintptr_t)job->files[i].name);
        sys.free((void *)(uintptr_t)job->files[i].data);
    }
    sys.free(job->files);
    store_results_done(&job->results);
    store_list_done(&job->list);
    store_chain_done(&job->chain);
    blob_unref(job->table);
    load_options_done(&job->judge_by);
    sys.free(job);
}

static void run(struct work *work)
{
    struct certs_job *job = container_of(work, struct certs_job, work);
    struct load_judge judge;

    why_write(&job->why, "out of memory");
    job->result = load_judge(&job->judge_by, &judge, &job->why);
    if (job->result < 0)
        return;
    const struct store *store = &judge.store;
    switch (job->kind) {
    case CERTS_JOB_IMPORT:
        job->result = store_import(store, job->files, job->n_files, &job->results);
        break;
    case CERTS_JOB_VERIFY:
        job->result = store_verify(store, job->files, job->n_files, &job->results);
        if (job->result < 0 && job->result != -ENOMEM)
            why_write(&job->why, "cannot write in %s: %s", store->dir, strerror(-job->result));
        break;
    case CERTS_JOB_LIST:
        job->result = store_list(store, &job->list);
        break;
    case CERTS_JOB_CHAIN:
        job->result = store_load(store, &job->key, &job->chain, &job->why);
        if (job->result == 0)
            job->result =
                load_table(&job->chain, job->judge_by.config.serve_crl, &job->table, &job->why);
        break;
    case CERTS_JOB_REMOVE:
        job->result = store_remove(store->dir, &job->key, &job->why);
        break;
    }
}

/* Logs what an import did. Has it changed the store? */
static bool account_import(const struct certs_job *job)
{
    size_t added = 0, refused = 0;

    for (size_t i = 0; i < job->results.n; i++) {
        const struct store_result *result = &job->results.items[i];
        added += result->action == STORE_ADDED;
        refused += result->action == STORE_REFUSED;
        if (result->action == STORE_ADDED && result->key[0])
            log_event(LOG_LEVEL_INFO, "chain-imported", NULL, 0, "imported %s from %s", result->key,
                      result->name);
    }
    metrics.certs_imported += added;
    metrics.certs_import_refused += refused;
    if (added + refused > 0)
        log_event(LOG_LEVEL_NOTICE, "import", NULL, 0,
                  "an import added %zu certificates and CRLs to the store and refused %zu", added,
                  refused);
    return added > 0;
}

/* --- whose turn it is ------------------------------------------------------------------------- */

static void start_next(struct certs_jobs *jobs)
{
    struct certs_job *next = jobs->waiting, *job;

    if (jobs->running || !next)
        return;
    DL_FOREACH(jobs->waiting, job)
    {
        if (job->turn < next->turn)
            next = job;
    }
    DL_DELETE(jobs->waiting, next);
    jobs->turn = next->turn;
    jobs->running = next;
    if (worker_submit(jobs->worker, &next->work) == 0)
        return;
    next->result = -EAGAIN; /* no thread: told on the loop all the same, from a clean stack */
    why_write(&next->why, "there is no thread to do it");
    timer_arm(&jobs->no_thread, sys.now_us());
}

static void done(struct work *work)
{
    struct certs_job *job = container_of(work, struct certs_job, work);
    struct certs *certs = job->certs;
    bool changed = job->kind == CERTS_JOB_REMOVE && job->result == 0;

    if (job->kind == CERTS_JOB_IMPORT)
        changed = account_import(job);
    if (certs)
        certs->jobs.running = NULL;
    if (certs && changed)
        selection_start(&certs->selection, true);
    if (job->told)
        job->told(job);
    certs_job_free(job);
    if (certs)
        start_next(&certs->jobs);
}

static void on_no_thread(struct timer *timer)
{
    struct certs_jobs *jobs = container_of(timer, struct certs_jobs, no_thread);

    done(&jobs->running->work);
}

/* Its user's last turn that is taken, and one more; else the present one. */
static uint64_t turn_of(const struct certs_jobs *jobs, const struct account_user *user)
{
    uint64_t turn = jobs->turn;
    const struct certs_job *job;

    if (jobs->running && jobs->running->account->user == user)
        turn = jobs->running->turn + 1;
    DL_FOREACH(jobs->waiting, job)
    {
        if (job->account->user == user && job->turn >= turn)
            turn = job->turn + 1;
    }
    return turn;
}

int certs_job_submit(struct certs_job *job, struct account *account)
{
    struct certs_jobs *jobs = &job->certs->jobs;
    uid_t uid = account->key.uid;
    bool charged = uid == 0 || uid == geteuid() ? account_charge_privileged(account, CHARGE_JOBS, 1)
                                                : account_charge(account, CHARGE_JOBS, 1);

    if (!charged) {
        certs_job_free(job);
        return -EAGAIN;
    }
    job->account = account_ref(account);
    job->turn = turn_of(jobs, account->user);
    DL_APPEND(jobs->waiting, job);
    start_next(jobs);
    return 0;
}

void certs_job_cancel(struct certs_job *job)
{
    job->told = NULL;
    if (!job->certs || job->certs->jobs.running == job)
        return;
    DL_DELETE(job->certs->jobs.waiting, job);
    certs_job_free(job);
}

struct certs_job *certs_job_new(struct certs *certs, enum certs_job_kind kind)
{
    struct certs_job *job = certs->options.store ? sys.alloc(sizeof(*job)) : NULL;

    if (!job)
        return NULL;
    if (load_options_copy(&certs->options, &job->judge_by) < 0) {
        sys.free(job);
        return NULL;
    }
    job->work = (struct work){.run = run, .done = done};
    job->kind = kind;
    job->certs = certs;
    return job;
}

int certs_job_add_file(struct certs_job *job, const char *name, const uint8_t *data, size_t size)
{
    if (!job->files)
        job->files = sys.alloc(CERTS_JOB_FILES_MAX * sizeof(*job->files));
    char *own_name = chain_copy(name, strlen(name) + 1);
    uint8_t *own_data = chain_copy(data, size);
    if (!job->files || !own_name || !own_data || job->n_files == CERTS_JOB_FILES_MAX) {
        sys.free(own_name);
        sys.free(own_data);
        return -ENOMEM;
    }
    job->files[job->n_files++] =
        (struct chain_input){.name = own_name, .data = own_data, .size = size};
    return 0;
}

int certs_jobs_init(struct certs_jobs *jobs, struct timers *timers)
{
    return timer_init(&jobs->no_thread, timers, on_no_thread);
}

void certs_jobs_done(struct certs_jobs *jobs)
{
    struct certs_job *job, *next;

    DL_FOREACH_SAFE(jobs->waiting, job, next)
    {
        DL_DELETE(jobs->waiting, job);
        certs_job_free(job);
    }
    if (jobs->running && timer_armed(&jobs->no_thread)) {
        certs_job_free(jobs->running); /* the worker never had it */
    } else if (jobs->running) {
        uncharge(jobs->running);
        jobs->running->certs = NULL;
        jobs->running->told = NULL;
    }
    timer_done(&jobs->no_thread);
}
