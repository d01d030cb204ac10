/* SPDX-License-Identifier: MIT */
/*
 * The worker: order, its bounded queue, and that the end of work is told on the loop, always.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/timer.h"
#include "base/worker.h"
#include "cocod.h"
#include "observe/counters.h"
#include "scarce.h"
#include "support.h"
#include <dirent.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

static struct event_base *base;
static struct timers timers;
static struct worker *worker;

static void setup(void)
{
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    ck_assert_int_eq(timers_init(&timers, base), 0);
    worker = worker_new(base, &timers, "a test", cocod_worker_hangs);
    ck_assert_ptr_nonnull(worker);
}

static void teardown(void)
{
    worker_free(worker);
    timers_done(&timers);
    event_base_free(base);
}

struct job {
    struct work work;
    unsigned number;
    bool ran, done;
    pthread_t ran_on, done_on;
};

#define N_JOBS 64
static struct job jobs[N_JOBS + 4];
static unsigned n_run, n_done;
static sem_t gate;

static void run(struct work *work)
{
    struct job *job = (struct job *)work;

    job->ran_on = pthread_self();
    job->ran = job->number == n_run++; /* in order */
}

static void run_at_gate(struct work *work)
{
    while (sem_wait(&gate) < 0)
        ;
    run(work);
}

static void done(struct work *work)
{
    struct job *job = (struct job *)work;

    ck_assert_uint_eq(job->number, n_done);
    ck_assert(job->ran && !job->done);
    job->done = true;
    job->done_on = pthread_self();
    n_done++;
}

static void make_jobs(void)
{
    n_run = n_done = 0;
    memset(jobs, 0, sizeof(jobs));
    for (unsigned i = 0; i < N_JOBS + 4; i++)
        jobs[i] = (struct job){.work = {.run = run, .done = done}, .number = i};
}

static void loop_until_done(unsigned n)
{
    while (n_done < n)
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

TEST(work_runs_in_order_and_its_end_is_told_on_the_loop)
{
    make_jobs();
    for (unsigned i = 0; i < 10; i++)
        ck_assert_int_eq(worker_submit(worker, &jobs[i].work), 0);
    loop_until_done(10);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(pthread_equal(jobs[i].done_on, pthread_self()));
        ck_assert(!pthread_equal(jobs[i].ran_on, pthread_self()));
    }
}

static unsigned count_threads(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(dir);

    for (const struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

TEST(without_work_there_is_no_thread)
{
    unsigned before = count_threads();

    make_jobs();
    ck_assert_int_eq(worker_submit(worker, &jobs[0].work), 0);
    ck_assert_uint_eq(count_threads(), before + 1);
    ck_assert_int_eq(worker_submit(worker, &jobs[1].work), 0);
    loop_until_done(2);
    ck_assert_uint_eq(count_threads(), before + 1);
}

static struct job *second;

static void submit_second(struct work *work)
{
    done(work);
    ck_assert_int_eq(worker_submit(worker, &second->work), 0);
}

TEST(done_may_submit_more)
{
    make_jobs();
    second = &jobs[1];
    jobs[0].work.done = submit_second;
    ck_assert_int_eq(worker_submit(worker, &jobs[0].work), 0);
    loop_until_done(2);
}

/* Waits until the first piece of work has left the queue: it stands at the gate then. */
static void fill(unsigned *ret_n)
{
    unsigned n = 0;
    int r = 0;

    jobs[0].work.run = run_at_gate;
    while (n < N_JOBS + 4 && r == 0) {
        r = worker_submit(worker, &jobs[n].work);
        if (r == 0)
            n++;
    }
    ck_assert_int_eq(r, -EAGAIN);
    *ret_n = n;
}

TEST(a_full_queue_refuses)
{
    unsigned n;

    make_jobs();
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    fill(&n);
    ck_assert_uint_ge(n, WORKER_QUEUE_MAX); /* one more where the first has begun */
    ck_assert_uint_le(n, WORKER_QUEUE_MAX + 1);
    sem_post(&gate);
    loop_until_done(n);
    ck_assert_int_eq(worker_submit(worker, &jobs[n].work), 0); /* room again */
    loop_until_done(n + 1);
    sem_destroy(&gate);
}

TEST(freeing_finishes_and_tells_what_was_submitted)
{
    unsigned n;

    make_jobs();
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    fill(&n);
    sem_post(&gate);
    worker_free(worker); /* without one turn of the loop */
    worker = NULL;
    ck_assert_uint_eq(n_done, n);
    for (unsigned i = 0; i < n; i++)
        ck_assert(jobs[i].ran && jobs[i].done);
    sem_destroy(&gate);
}

static int submit_result;

static void submit_late(struct work *work)
{
    done(work);
    submit_result = worker_submit(worker, &jobs[1].work);
}

TEST(stopping_takes_no_more_work)
{
    make_jobs();
    submit_result = 0;
    jobs[0].work.done = submit_late;
    ck_assert_int_eq(worker_submit(worker, &jobs[0].work), 0);
    worker_free(worker);
    worker = NULL;
    ck_assert_int_eq(submit_result, -EAGAIN);
    ck_assert_uint_eq(n_done, 1);
}

static bool signals_blocked;

static void look_at_signals(struct work *work)
{
    sigset_t set;

    pthread_sigmask(SIG_SETMASK, NULL, &set);
    signals_blocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGHUP) == 1;
    run(work);
}

TEST(the_thread_takes_no_signals)
{
    sigset_t set;

    make_jobs();
    jobs[0].work.run = look_at_signals;
    ck_assert_int_eq(worker_submit(worker, &jobs[0].work), 0);
    loop_until_done(1);
    ck_assert(signals_blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    ck_assert_int_eq(sigismember(&set, SIGTERM), 0); /* and the loop's own stay as they were */
}

static uint64_t clock_us;
static unsigned n_stalled, n_going_on;

static uint64_t virtual_now_us(void)
{
    return clock_us;
}

static void count_events(void *data, const struct log_record *record)
{
    (void)data;
    n_stalled += record->event && strcmp(record->event, "worker-stalled") == 0;
    n_going_on += record->event && strcmp(record->event, "worker-goes-on") == 0;
}

/* Once however long it lasts, and not for what is idle. */
TEST(work_that_hangs_is_said_to_hang_until_it_ends)
{
    sys.now_us = virtual_now_us;
    n_stalled = n_going_on = 0;
    metrics.worker_stalls = 0;
    log_set_sink(count_events, NULL);
    make_jobs();
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    jobs[0].work.run = jobs[1].work.run = run_at_gate;
    clock_us += 2u * WORKER_STALLED_US;
    timers_run(&timers);
    ck_assert(!worker_stalled(worker));
    ck_assert_int_eq(worker_submit(worker, &jobs[0].work), 0);
    clock_us += WORKER_STALLED_US - 1;
    ck_assert_int_eq(worker_submit(worker, &jobs[1].work), 0); /* is no progress */
    timers_run(&timers);
    ck_assert(!worker_stalled(worker));
    clock_us++;
    timers_run(&timers);
    ck_assert(worker_stalled(worker));
    clock_us += 100u * WORKER_STALLED_US;
    timers_run(&timers);
    ck_assert_uint_eq(n_stalled, 1);
    ck_assert_uint_eq(metrics.worker_stalls, 1);
    sem_post(&gate);
    loop_until_done(1);
    ck_assert(!worker_stalled(worker));
    ck_assert_uint_eq(n_going_on, 1);
    clock_us += WORKER_STALLED_US; /* the second one hangs for itself */
    timers_run(&timers);
    ck_assert(worker_stalled(worker));
    sem_post(&gate);
    loop_until_done(2);
    ck_assert(!worker_stalled(worker));
    ck_assert_uint_eq(timers_next_us(&timers), UINT64_MAX);
    ck_assert_uint_eq(n_going_on, 2);
    log_set_sink(NULL, NULL);
    sem_destroy(&gate);
    sys.now_us = sys_real.now_us;
}

TEST(without_memory_there_is_no_worker)
{
    memory_fail_from(0);
    ck_assert_ptr_null(worker_new(base, &timers, "a test", cocod_worker_hangs));
    sys = sys_real;
    worker_free(NULL);
}
