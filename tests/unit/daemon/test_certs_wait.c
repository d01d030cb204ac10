/* SPDX-License-Identifier: MIT */
/*
 * A CERTS_GET on an idle host: what the platform reports has not been read for 2 s, so the request
 * waits for the reading that it begins. PROTOCOL.md "CERTS_GET": answered within 200 ms, and by
 * nothing that was not read within 2 s.
 */
#include "wait_fixture.h"

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = platform_setup,
        .teardown = wait_teardown, .timeout_s = 120);

/* --- the fault -------------------------------------------------------------------------------- */

/* Linux' guest driver sleeps 2 s between tries, and after 60 s of BUSY it destroys its key. */
TEST_LOOP(a_guest_that_comes_every_two_seconds_is_never_told_busy, 0, 14)
{
    static const uint64_t every_us[] = {2000000, 2100000, 1999999, 1800000,
                                        2000001, 5000000, 60000000};
    const uint64_t pause_us = every_us[_i / 2];

    struct session session = open_host_with_session(features_of(_i));
    be_idle();
    for (uint64_t end_us = rig_clock_us + 3600u * (uint64_t)SECOND; rig_clock_us < end_us;) {
        uint64_t from_us = rig_clock_us;
        ck_assert_int_eq(one_exit(&session, NULL), 8);
        pass(pause_us - (rig_clock_us - from_us));
    }
    ck_assert_uint_eq(metrics.certs_eagain, 0);
    ck_assert_uint_eq(metrics.certs_ok, (3600000000 + pause_us - 1) / pause_us);
    ck_assert_uint_gt(metrics.certs_waited, 0);
}

TEST_LOOP(whatever_the_helper_takes_the_answer_is_within_the_promise, 0, 2)
{
    uint64_t took_us;
    char text[8];

    struct session session = open_host_with_session(features_of(_i));
    set_host("fault", "slow");
    for (unsigned delay_ms = 1; delay_ms < 180; delay_ms += 7) {
        snprintf(text, sizeof(text), "%u", delay_ms);
        set_host("delay_ms", text);
        be_idle();
        ck_assert_int_eq(one_exit(&session, &took_us), 8);
        ck_assert_uint_ge(took_us, delay_ms * 1000u);
        ck_assert_uint_le(took_us, delay_ms * 1000u + 1000u);
    }
    ck_assert_uint_eq(metrics.certs_eagain, 0);
}

/* --- nothing old ------------------------------------------------------------------------------ */

/* The host's TCB over time: what an answer says must have been true within the 2 s before it. */
static struct {
    uint64_t since_us;
    int snp;
} truth[4096];
static size_t n_truth;

static bool was_true(int snp, uint64_t from_us)
{
    for (size_t i = n_truth; i > 0; i--) {
        if (truth[i - 1].snp == snp)
            return true;
        if (truth[i - 1].since_us <= from_us)
            break;
    }
    return false;
}

static void change_truth(void)
{
    int snp = truth[n_truth - 1].snp == 8 ? 9 : 8;

    ck_assert_uint_lt(n_truth, sizeof(truth) / sizeof(truth[0]));
    set_host("tcb", snp == 8 ? "3.0.8.115" : "3.0.9.115");
    truth[n_truth].since_us = rig_clock_us;
    truth[n_truth++].snp = snp;
}

TEST_LOOP(no_answer_is_older_than_two_seconds, 0, 2)
{
    struct session sessions[4];
    unsigned n_waiting = 0;
    bool waits[4] = {false};
    struct test_random dice = {test_seed((uint64_t)_i + 1)};
    unsigned answers[10] = {0}, busy = 0;
    char text[8];

    open_host();
    n_truth = 0;
    truth[n_truth].since_us = rig_clock_us;
    truth[n_truth++].snp = 8;
    for (unsigned i = 0; i < 4; i++)
        sessions[i] = session_open(features_of((int)i));
    for (unsigned step = 0; step < 20000; step++) {
        for (unsigned i = 0; i < 4; i++) {
            int answer = take_answer(&sessions[i]);
            if (answer == NONE)
                continue;
            waits[i] = false;
            n_waiting--;
            busy += answer == BUSY;
            ck_assert(set_lease(&sessions[i], F_UNLCK));
            ck_assert(answer == BUSY || (answer >= 0 && answer < 10));
            if (answer <= 0)
                continue;
            answers[answer]++;
            ck_assert_msg(was_true(answer, rig_clock_us - 2u * SECOND),
                          "%d is handed out, and was not true for 2 s", answer);
        }
        unsigned who = test_random_below(&dice, 4);
        if (!waits[who] && test_random_below(&dice, 30) == 0 &&
            set_lease(&sessions[who], F_RDLCK)) {
            send_certs(&sessions[who], 4, 1000);
            waits[who] = true;
            n_waiting++;
        }
        if (test_random_below(&dice, 400) == 0)
            change_truth();
        if (test_random_below(&dice, 300) == 0) {
            snprintf(text, sizeof(text), "%u", test_random_below(&dice, 190));
            set_host("delay_ms", text);
            set_host("fault", "slow");
        }
        pass(n_waiting == 0 && test_random_below(&dice, 30) == 0 ? 3u * SECOND : 1000u);
    }
    ck_assert_uint_gt(answers[8], 30);
    ck_assert_uint_gt(answers[9], 30);
    ck_assert_uint_gt(metrics.certs_waited, 50);
    ck_assert_uint_gt(busy, 0);
}

/* The TCB has changed while nobody asked. The new table is handed out at once, also to one whose
 * own lease keeps it from the file. */
TEST_LOOP(after_a_change_in_the_quiet, 0, 2)
{
    struct session session = open_host_with_session(features_of(_i));
    be_idle();
    set_host("tcb", "3.0.9.115");
    ck_assert_int_eq(one_exit(&session, NULL), 9);
    pass(10000);
    ck_assert(file_is_current());
}

/* --- readings that fail ----------------------------------------------------------------------- */

static const struct {
    const char *fault;
    int connect_error;
    uint64_t at_us; /* when that is known */
} failures[] = {
    {"silent", 0, 180000}, {"close", 0, 0},         {"short", 0, 0},   {"garbage", 0, 0},
    {"error", 0, 0},       {"ok", ECONNREFUSED, 0}, {"ok", ENOENT, 0},
};
#define N_FAILURES ((int)(sizeof(failures) / sizeof(failures[0])))

/* The first time, EAGAIN: it may be over the next time. */
TEST_LOOP(a_reading_that_fails_once_is_eagain_and_the_next_one_may_succeed, 0, 2 * N_FAILURES)
{
    const int n = _i / 2;
    uint64_t took_us;

    struct session session = open_host_with_session(features_of(_i));
    be_idle();
    set_host("fault", failures[n].fault);
    connect_error = failures[n].connect_error;
    ck_assert_int_eq(one_exit(&session, &took_us), BUSY);
    ck_assert_uint_eq(took_us, failures[n].at_us);
    ck_assert_uint_eq(metrics.certs_reasons[CERTS_REASON_UNREAD], 1);
    ck_assert_str_eq(history_at(session.peer->account->history, 0)->why,
                     "the platform could not be read, for the first time");
    set_host("fault", "ok");
    connect_error = 0;
    pass(2u * SECOND - took_us); /* as Linux does */
    ck_assert_int_eq(one_exit(&session, NULL), 8);
}

/* Not each time: a guest that is told so for 60 s has lost its key. */
TEST_LOOP(a_helper_that_is_gone_for_good_costs_certificates_and_no_key, 0, 2 * N_FAILURES)
{
    const int n = _i / 2;
    unsigned busy = 0, row = 0;

    struct session session = open_host_with_session(features_of(_i));
    be_idle();
    set_host("fault", failures[n].fault);
    connect_error = failures[n].connect_error;
    for (unsigned i = 0; i < 300; i++) {
        uint64_t took_us, from_us = rig_clock_us;
        int answer = one_exit(&session, &took_us);
        ck_assert(answer == BUSY || answer == 0);
        row = answer == BUSY ? row + 1 : 0;
        busy += answer == BUSY;
        ck_assert_uint_le(row, 1);
        pass(2u * SECOND - (rig_clock_us - from_us));
    }
    ck_assert_uint_eq(busy, 1);
    ck_assert(has_problem("the platform's TCB is not known"));
}

/* --- something else is under way -------------------------------------------------------------- */

/* The helper is silent, and the request waits: then this happens, and what it gets at once. */
static void drain(void)
{
    certs_set_drained(rig.certs, true);
}

static void begin_update(void)
{
    ck_assert_int_eq(certs_update_begin(rig.certs, 10u * SECOND, "a test"), 0);
}

static void serve_nothing(void)
{
    struct certs_options next = options.certs;

    next.n_chain = 0;
    next.platform = NULL;
    certs_reload(rig.certs, &next);
}

/* The same again, from a helper that answers. */
static void reload_all(void)
{
    struct certs_options next = options.certs;

    next.platform = rig.platform;
    set_host("fault", "ok");
    platform_set_options(rig.platform, &options.platform);
    certs_reload(rig.certs, &next);
}

/* By another's hand: the updater that told nobody. Seen by the next one to ask. */
static void empty_the_file(void)
{
    int fd = open(table_path, O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    rig_empty_file(fd);
    close(fd);
    set_host("fault", "ok"); /* the helper answers now */
    platform_settle();
}

static const struct {
    void (*happens)(void);
    int answer;
    enum certs_reason reason;
} events[] = {
    {drain, BUSY, CERTS_REASON_DRAINED},
    {begin_update, BUSY, CERTS_REASON_DRAINING},
    {serve_nothing, -COCO_EOPNOTSUPP, CERTS_REASON_NONE},
    {reload_all, 8, CERTS_REASON_NONE},
};

TEST_LOOP(what_ends_the_waiting_ends_it_at_once, 0, 2 * ((int)(sizeof(events) / sizeof(events[0]))))
{
    const int n = _i / 2;

    struct session session = open_host_with_session(features_of(_i));
    be_idle();
    set_host("fault", "silent");
    ck_assert(set_lease(&session, F_RDLCK));
    send_certs(&session, 4, 1000);
    pass(50000);
    ck_assert_int_eq(take_answer(&session), NONE);
    ck_assert_uint_eq(metrics.now_requests, 1);
    events[n].happens();
    platform_settle();
    ck_assert_int_eq(take_answer(&session), events[n].answer);
    if (events[n].reason != CERTS_REASON_NONE)
        ck_assert_uint_eq(metrics.certs_reasons[events[n].reason], 1);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert(set_lease(&session, F_UNLCK));
    ck_assert_int_eq(take_answer(&session), NONE); /* once */
}

/* The look at the file comes with the answer, not with the question. */
TEST(an_untold_update_during_the_waiting_is_noticed)
{
    struct session session = open_host_with_session(0); /* who holds a lease excludes it */
    be_idle();
    set_host("fault", "slow");
    set_host("delay_ms", "170");
    send_certs(&session, 4, 1000);
    pass(10000);
    ck_assert_int_eq(take_answer(&session), NONE);
    empty_the_file();
    ck_assert_int_eq(take_answer(&session), BUSY);
    ck_assert_uint_eq(metrics.certs_reasons[CERTS_REASON_UPDATING], 1);
    pass(SECOND);
    ck_assert_int_eq(one_exit(&session, NULL), 8);
}

/* The worker is stuck in its work until the test lets go; or dead, for all that cocod knows. */
static int hang[2];

static void hang_run(struct work *work)
{
    char byte;

    (void)work;
    (void)!read(hang[0], &byte, 1);
}

static void hang_done(struct work *work)
{
    (void)work;
}

static void hang_worker(void)
{
    static struct work work;

    ck_assert_int_eq(pipe2(hang, O_CLOEXEC), 0);
    work = (struct work){.run = hang_run, .done = hang_done};
    ck_assert_int_eq(worker_submit(rig.worker, &work), 0);
}

static void release_worker(void)
{
    ck_assert_int_eq(write(hang[1], "", 1), 1);
    platform_settle();
    close(hang[0]);
    close(hang[1]);
}

/* As pass(), but nobody waits for the worker. */
static void pass_without_worker(uint64_t us)
{
    for (uint64_t end_us = rig_clock_us + us; rig_clock_us < end_us;) {
        rig_pass(&rig, 1000);
        for (int i = 0; i < HELPERS; i++)
            if (helpers[i].fd > 0 && helper_serve(&helpers[i]))
                rig_settle(&rig);
    }
}

static int exit_without_worker(struct session *session)
{
    int answer;

    ck_assert(set_lease(session, F_RDLCK));
    send_certs(session, 4, 1000);
    for (unsigned ms = 0; (answer = take_answer(session)) == NONE; ms++) {
        ck_assert_uint_lt(ms, 200);
        pass_without_worker(1000);
    }
    ck_assert(set_lease(session, F_UNLCK));
    return answer;
}

/* What is known and matches is served on while the chain is loaded again, however long that takes:
 * the platform is read all the same. */
TEST_LOOP(a_disk_that_hangs_keeps_nobody_waiting, 0, 2)
{
    struct certs_options next = options.certs;

    struct session session = open_host_with_session(features_of(_i));
    ck_assert_int_eq(one_exit(&session, NULL), 8);
    hang_worker();
    next.platform = rig.platform;
    certs_reload(rig.certs, &next);
    for (unsigned i = 0; i < 30; i++) { /* as Linux does */
        ck_assert_int_eq(exit_without_worker(&session), 8);
        pass_without_worker(2u * SECOND);
    }
    ck_assert_uint_eq(metrics.certs_eagain, 0);
    release_worker();
    ck_assert_int_eq(one_exit(&session, NULL), 8);
}

/* But nothing that does not match: neither the old table nor, for want of its chain, the new. */
TEST_LOOP(a_change_while_the_disk_hangs_is_noticed, 0, 2)
{
    struct certs_options next = options.certs;

    struct session session = open_host_with_session(features_of(_i));
    hang_worker();
    next.platform = rig.platform;
    certs_reload(rig.certs, &next);
    pass_without_worker(10u * SECOND);
    set_host("tcb", "3.0.9.115");
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(exit_without_worker(&session), BUSY);
        pass_without_worker(2u * SECOND);
    }
    release_worker();
    pass(SECOND);
    ck_assert_int_eq(one_exit(&session, NULL), 9);
    ck_assert(file_is_current());
}
