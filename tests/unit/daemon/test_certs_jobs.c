/* SPDX-License-Identifier: MIT */
/*
 * Administrators' work on the store: whose turn it is, how much may wait, and what becomes of that
 * which nobody waits for any more. The worker is kept busy by the test.
 */
#include "store_fixture.h"
#include <semaphore.h>

static sem_t gate;
static struct work held;

static void hold(struct work *work)
{
    (void)work;
    sem_wait(&gate);
}

static void held_done(struct work *work)
{
    (void)work;
}

static char told[1024]; /* the uids of jobs in the order of their ends, one letter each */

/* What is submitted from now on waits for open_gate(). */
static void close_gate(void)
{
    told[0] = 0;
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    held = (struct work){.run = hold, .done = held_done};
    ck_assert_int_eq(worker_submit(cocod->worker, &held), 0);
}

static void on_told(struct certs_job *job)
{
    size_t n = strlen(told);

    ck_assert_int_eq(job->result, 0);
    told[n] = (char)('a' + (int)job->account->key.uid - 1000);
    told[n + 1] = 0;
}

static int list_as(uid_t uid, pid_t pid, struct certs_job **ret)
{
    struct certs_job *job = certs_job_new(cocod->certs, CERTS_JOB_LIST);

    ck_assert_ptr_nonnull(job);
    job->told = on_told;
    if (ret)
        *ret = job;
    return submit_as(uid, pid, job);
}

static void open_gate(void)
{
    sem_post(&gate);
    for (int i = 0; i < 100; i++)
        await_worker();
    sem_destroy(&gate);
}

FIXTURE(.setup_once = make_pki, .teardown_once = free_pki, .setup = fixture_setup,
        .teardown = teardown, .timeout_s = 60);

TEST(jobs_take_turns_by_user)
{
    start(milan("3.0.8.115", ""));
    close_gate();
    for (pid_t i = 0; i < 6; i++)
        ck_assert_int_eq(list_as(1000, i, NULL), 0);
    for (pid_t i = 0; i < 3; i++)
        ck_assert_int_eq(list_as(1001, 100 + i, NULL), 0);
    ck_assert_int_eq(list_as(1002, 200, NULL), 0);
    open_gate();
    ck_assert_str_eq(told, "abcababaaa");
}

TEST(an_account_and_all_have_their_limits_and_root_one_of_its_own)
{
    const struct config *c;
    unsigned n = 0;

    start(milan("3.0.8.115", ""));
    c = cocod->config;
    close_gate();
    for (; n < c->limits_store_jobs - c->limits_store_jobs / 8; n++)
        ck_assert_int_eq(list_as(1000, 1 + (pid_t)(n / c->limits_store_jobs_per_account), NULL), 0);
    ck_assert_int_eq(list_as(1000, 1, NULL), -EAGAIN);  /* its account's */
    ck_assert_int_eq(list_as(1000, 99, NULL), -EAGAIN); /* the rest is for others */
    for (uid_t uid = 1001; n < c->limits_store_jobs; n++, uid++) {
        ck_assert_int_eq(list_as(uid, 1, NULL), 0);
        ck_assert_int_eq(list_as(uid, 1, NULL), -EAGAIN);
    }
    ck_assert_int_eq(list_as(1020, 1, NULL), -EAGAIN);
    for (unsigned i = 0; i < c->limits_store_jobs_per_account; i++, n++)
        ck_assert_int_eq(list_as(0, 1, NULL), 0);
    ck_assert_int_eq(list_as(0, 1, NULL), -EAGAIN);
    ck_assert_uint_eq(cocod->server->accounts.held[CHARGE_JOBS], n);
    open_gate();
    ck_assert_uint_eq(strlen(told), n);
    ck_assert_uint_eq(cocod->server->accounts.held[CHARGE_JOBS], 0);
}

TEST(a_job_that_nobody_waits_for_holds_no_place)
{
    struct certs_job *jobs[3], *begun; /* [limits] store_jobs_per_account */

    start(milan("3.0.8.115", ""));
    close_gate();
    ck_assert_int_eq(list_as(1000, 1, &begun), 0);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 3; i++)
            ck_assert_int_eq(list_as(1000, 1, &jobs[i]), 0);
        ck_assert_int_eq(list_as(1000, 1, NULL), -EAGAIN);
        for (unsigned i = 0; i < 3; i++)
            certs_job_cancel(jobs[i]);
    }
    certs_job_cancel(begun); /* is finished, and told nobody */
    ck_assert_int_eq(list_as(1001, 2, NULL), 0);
    open_gate();
    ck_assert_str_eq(told, "b");
}

/* As many jobs as may wait are waiting, and the platform is read: it waits for one of them. */
TEST(a_selection_waits_for_one_job)
{
    start_with_chains(milan("3.0.8.115", "missing_chain = refuse\n"));
    expect_served("ARK VCEK ASK");
    close_gate();
    for (unsigned i = 0; i < cocod->config->limits_store_jobs; i++)
        ck_assert_int_eq(list_as(1000 + i, 1, NULL), 0);
    rig_reload_cocod(cocod, fixture_config(milan("3.0.9.115", "missing_chain = refuse\n")));
    settle();
    sem_post(&gate);
    while (certs_get(cocod->certs, 4).status != COCO_OK ||
           certs_status(cocod->certs).chain->key.tcb.snp != 9)
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    ck_assert_uint_le(strlen(told), 2);
    for (int i = 0; i < 100; i++)
        await_worker();
    ck_assert_uint_eq(strlen(told), cocod->config->limits_store_jobs);
    sem_destroy(&gate);
}

/* The daemon stops while they wait. */
TEST(a_stop_drops_what_waits)
{
    start(milan("3.0.8.115", ""));
    close_gate();
    for (pid_t i = 0; i < 10; i++)
        ck_assert_int_eq(list_as(1000, i, NULL), 0);
    sem_post(&gate);
    stop();
    ck_assert_str_eq(told, "");
    sem_destroy(&gate);
}
