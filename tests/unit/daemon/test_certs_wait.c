/* SPDX-License-Identifier: MIT */
/*
 * A CERTS_GET on an idle host: what the platform reports has not been read for 2 s, so the request
 * waits for the reading that it begins. By the virtual clock, over the RPC, with leases held as VMMs
 * hold them. PROTOCOL.md "CERTS_GET": answered within 200 ms, and by nothing that was not read within
 * 2 s.
 */
#include "platform_fixture.h"

#include "frontend/vmm.h"
#include "peer/history.h"
#include "peer/peer.h"

#define PROMISED_US  200000u
#define SESSIONS_MAX 16u

static struct rig_message message;

/* A VMM, as one in the style of the README: a lease around each CERTS_GET, where it has LEASE. */
struct session {
    int fd, lease_fd;
    uint64_t lease, id;
    struct peer *peer;
};

static struct session session_open(uint32_t features)
{
    struct session session = {.id = 1};
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = features};
    uint8_t payload[COCO_HELLO_SIZE];
    struct coco_hello_reply reply;

    session.fd = rig_connect(&rig, &vmm_dialect, &rig.vmm, &session.peer);
    coco_hello_encode(&hello, payload);
    rig_call(&rig, session.fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(session.fd, &message, COCO_HELLO_REPLY, 1, COCO_OK);
    ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, &reply), 0);
    session.lease_fd = message.passed_fd;
    session.lease = reply.lease_base;
    return session;
}

static void session_close(struct session *session)
{
    close(session->fd);
    if (session->lease_fd >= 0)
        close(session->lease_fd);
    session->lease_fd = -1;
    rig_settle(&rig);
}

static bool set_lease(const struct session *session, short type)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)session->lease,
                         .l_len = 1};

    return session->lease_fd < 0 || fcntl(session->lease_fd, F_OFD_SETLK, &lock) == 0;
}

/* Queues a CERTS_GET without letting anything happen. */
static uint64_t send_certs(struct session *session, uint64_t npages, uint32_t timeout_ms)
{
    struct coco_certs_get get = {.npages = npages};
    uint8_t payload[COCO_CERTS_GET_SIZE], frame[COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE];

    coco_certs_get_encode(&get, payload);
    rig_send(session->fd, frame,
             rig_frame(frame, COCO_CERTS_GET, ++session->id, timeout_ms, payload, sizeof(payload)));
    return session->id;
}

/* The answer that is there: the SPL of SNP in its chain's TCB, 0 for the empty table, BUSY, NONE where
 * there is none yet, or minus another status. */
#define NONE (-1000)
static int take_answer(const struct session *session)
{
    struct coco_certs_reply reply;
    struct coco_snp_table table;

    if (!rig_take(session->fd, &message))
        return NONE;
    ck_assert_uint_eq(message.header.type, COCO_CERTS_REPLY);
    if (message.header.status == COCO_EAGAIN)
        return BUSY;
    if (message.header.status != COCO_OK)
        return -(int)message.header.status;
    ck_assert_int_eq(coco_certs_reply_decode(message.payload, message.header.length, COCO_OK,
                                             &reply),
                     0);
    ck_assert_int_eq(coco_snp_table_decode(reply.table, reply.table_size, &table), 0);
    if (table.n_entries == 0)
        return 0;
    const struct store_key *key = certs_generation_key(rig.certs, reply.generation);
    ck_assert_ptr_nonnull(key);
    return strcmp(key->tcb, "3.0.8.115") == 0 ? 8 : 9;
}

/* The answer when it comes; *ret_us: how long that takes. Fails after what was promised. */
static int await_answer(const struct session *session, uint64_t *ret_us)
{
    const uint64_t from_us = rig_clock_us;
    int answer;

    platform_settle();
    while ((answer = take_answer(session)) == NONE) {
        ck_assert_uint_lt(rig_clock_us - from_us, PROMISED_US);
        pass(1000);
    }
    if (ret_us)
        *ret_us = rig_clock_us - from_us;
    return answer;
}

/* One exit: lease, CERTS_GET, KVM_RUN, unlock. BUSY, too, where the lease is refused. */
static int one_exit(struct session *session, uint64_t *ret_us)
{
    if (!set_lease(session, F_RDLCK))
        return BUSY;
    send_certs(session, 4, 1000);
    int answer = await_answer(session, ret_us);
    ck_assert(set_lease(session, F_UNLCK));
    return answer;
}

static void open_host(void)
{
    store_leaf(MILAN, false, (struct snp_pki_tcb){.bl = 3, .snp = 8, .ucode = 115});
    store_leaf(MILAN, false, (struct snp_pki_tcb){.bl = 3, .snp = 9, .ucode = 115});
    platform_open();
    ck_assert_int_eq(served(), 8);
}

/* Nobody has asked for a minute. */
static void be_idle(void)
{
    pass(60u * SECOND);
}

static void close_host(struct session *session)
{
    session_close(session);
    ck_assert_uint_eq(metrics.now_requests, 0);
    platform_close();
}

static uint32_t features_of(int i)
{
    return i % 2 ? COCO_FEATURE_LEASE : 0;
}

/* --- the fault ---------------------------------------------------------------------------------- */

/* Linux' guest driver sleeps 2 s between tries, and after 60 s of BUSY it destroys its key. */
START_TEST(a_guest_that_comes_every_two_seconds_is_never_told_busy)
{
    static const uint64_t every_us[] = {2000000, 2100000, 1999999, 1800000,
                                        2000001, 5000000, 60000000};
    const uint64_t pause_us = every_us[_i / 2];

    open_host();
    struct session session = session_open(features_of(_i));
    be_idle();
    for (uint64_t end_us = rig_clock_us + 3600u * (uint64_t)SECOND; rig_clock_us < end_us;) {
        uint64_t from_us = rig_clock_us;
        ck_assert_int_eq(one_exit(&session, NULL), 8);
        pass(pause_us - (rig_clock_us - from_us));
    }
    ck_assert_uint_eq(metrics.certs_eagain, 0);
    ck_assert_uint_eq(metrics.certs_ok, (3600000000 + pause_us - 1) / pause_us);
    ck_assert_uint_gt(metrics.certs_waited, 0);
    close_host(&session);
}
END_TEST

START_TEST(whatever_the_helper_takes_the_answer_is_within_the_promise)
{
    uint64_t took_us;
    char text[8];

    open_host();
    struct session session = session_open(features_of(_i));
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
    close_host(&session);
}
END_TEST

/* --- nothing old -------------------------------------------------------------------------------- */

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

START_TEST(no_answer_is_older_than_two_seconds)
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
    for (unsigned i = 1; i < 4; i++)
        session_close(&sessions[i]);
    close_host(&sessions[0]);
}
END_TEST

/* The TCB has changed while nobody asked. Whoever holds a lease is told to come again, since the new
 * table can be brought in only when that is given back; and who has none gets it at once. */
START_TEST(after_a_change_in_the_quiet)
{
    open_host();
    struct session session = session_open(features_of(_i));
    be_idle();
    set_host("tcb", "3.0.9.115");
    int answer = one_exit(&session, NULL);
    ck_assert_int_eq(answer, _i % 2 ? BUSY : 9);
    pass(10000);
    ck_assert_int_eq(one_exit(&session, NULL), 9);
    ck_assert(file_is_current());
    close_host(&session);
}
END_TEST

/* --- readings that fail ------------------------------------------------------------------------- */

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
START_TEST(a_reading_that_fails_once_is_eagain_and_the_next_one_may_succeed)
{
    const int n = _i / 2;
    uint64_t took_us;

    open_host();
    struct session session = session_open(features_of(_i));
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
    int answer = one_exit(&session, NULL);
    if (answer == BUSY) { /* the empty table, which was public meanwhile, must be drained */
        ck_assert_int_eq(_i % 2, 1);
        pass(2u * SECOND);
        answer = one_exit(&session, NULL);
    }
    ck_assert_int_eq(answer, 8);
    close_host(&session);
}
END_TEST

/* Not each time: a guest that is told so for 60 s has lost its key. */
START_TEST(a_helper_that_is_gone_for_good_costs_certificates_and_no_key)
{
    const int n = _i / 2;
    unsigned busy = 0, row = 0;

    open_host();
    struct session session = session_open(features_of(_i));
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
    close_host(&session);
}
END_TEST

/* --- something else is under way ---------------------------------------------------------------- */

/* The helper is silent, and the request waits: then this happens, and what it gets for it at once. */
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
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];
    int fd = open(table_path, O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
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

START_TEST(what_ends_the_waiting_ends_it_at_once)
{
    const int n = _i / 2;

    open_host();
    struct session session = session_open(features_of(_i));
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
    close_host(&session);
}
END_TEST

/* The look at the file comes with the answer, not with the question. */
START_TEST(an_untold_update_during_the_waiting_is_noticed)
{
    open_host();
    struct session session = session_open(0); /* who holds a lease excludes it */
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
    close_host(&session);
}
END_TEST

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
START_TEST(a_disk_that_hangs_keeps_nobody_waiting)
{
    struct certs_options next = options.certs;

    open_host();
    struct session session = session_open(features_of(_i));
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
    close_host(&session);
}
END_TEST

/* But nothing that does not match: neither the old table nor, for want of its chain, the new. */
START_TEST(a_change_while_the_disk_hangs_is_noticed)
{
    struct certs_options next = options.certs;

    open_host();
    struct session session = session_open(features_of(_i));
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
    close_host(&session);
}
END_TEST

/* --- a request like any other ------------------------------------------------------------------- */

START_TEST(its_own_deadline_may_be_shorter)
{
    static const struct {
        uint32_t timeout_ms;
        uint64_t answered_us;
    } deadlines[] = {{0, 180000}, {1000, 180000}, {100, 75000},
                     {4, 3000},   {1, 750},       {UINT32_MAX, 180000}};

    open_host();
    struct session session = session_open(0);
    be_idle();
    set_host("fault", "silent");
    send_certs(&session, 4, deadlines[_i].timeout_ms);
    pass(deadlines[_i].answered_us - 1);
    ck_assert_int_eq(take_answer(&session), NONE);
    pass(1);
    ck_assert_int_eq(take_answer(&session), BUSY);
    ck_assert_uint_eq(
        metrics.certs_reasons[deadlines[_i].answered_us < 180000 ? CERTS_REASON_READING
                                                                 : CERTS_REASON_UNREAD],
        1);
    close_host(&session);
}
END_TEST

START_TEST(cancelled_while_it_waits)
{
    open_host();
    struct session session = session_open(COCO_FEATURE_LEASE);
    be_idle();
    set_host("fault", "silent");
    uint64_t id = send_certs(&session, 4, 1000);
    pass(10000);
    rig_call(&rig, session.fd, COCO_CANCEL, id, NULL, 0);
    ck_assert_int_eq(take_answer(&session), -COCO_ECANCELED);
    ck_assert_uint_eq(metrics.certs_ecanceled, 1);
    pass(SECOND);
    ck_assert_int_eq(take_answer(&session), NONE);
    close_host(&session);
}
END_TEST

START_TEST(its_vmm_leaves_while_it_waits)
{
    open_host();
    struct session session = session_open(COCO_FEATURE_LEASE);
    be_idle();
    set_host("fault", "silent");
    for (int i = 0; i < 10; i++)
        send_certs(&session, 4, 1000);
    pass(10000);
    ck_assert_uint_eq(metrics.now_requests, 10);
    session_close(&session);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(metrics.certs_ecanceled, 10);
    pass(SECOND);
    platform_close();
}
END_TEST

START_TEST(its_id_is_in_flight)
{
    open_host();
    struct session session = session_open(0);
    be_idle();
    set_host("fault", "silent");
    send_certs(&session, 4, 1000);
    session.id--;
    send_certs(&session, 4, 1000);
    platform_settle();
    ck_assert(rig_closed(session.fd));
    ck_assert_uint_eq(metrics.now_requests, 0);
    close_host(&session);
}
END_TEST

/* Whether it fits is known when the table is. */
START_TEST(too_few_pages_while_it_waits)
{
    open_host();
    struct session session = session_open(0);
    for (uint64_t npages = 0; npages < 2; npages++) {
        be_idle();
        send_certs(&session, npages, 1000);
        rig_settle(&rig);
        ck_assert_int_eq(take_answer(&session), NONE);
        platform_settle();
        bool fits = npages >= coco_npages(certs_table(rig.certs)->size);
        ck_assert_int_eq(take_answer(&session), fits ? 8 : -COCO_ENOSPC);
        if (!fits) {
            struct coco_certs_reply reply;
            ck_assert_int_eq(coco_certs_reply_decode(message.payload, message.header.length,
                                                     COCO_ENOSPC, &reply),
                             0);
            ck_assert_uint_eq(reply.npages, coco_npages(certs_table(rig.certs)->size));
            ck_assert_uint_eq(reply.generation, certs_generation(rig.certs));
        }
    }
    be_idle();
    send_certs(&session, UINT64_MAX, 1000);
    ck_assert_int_eq(await_answer(&session, NULL), 8);
    close_host(&session);
}
END_TEST

/* --- how many ----------------------------------------------------------------------------------- */

static unsigned take_all(const struct session *session, unsigned *ret_busy)
{
    unsigned tables = 0;
    int answer;

    *ret_busy = 0;
    while ((answer = take_answer(session)) != NONE) {
        tables += answer == 8;
        *ret_busy += answer == BUSY;
        ck_assert(answer == 8 || answer == BUSY);
        rig_settle(&rig); /* the socket holds less than all of them */
    }
    return tables;
}

/* As many as the session was told; the others at once. One reading serves them all. */
START_TEST(pipelined_ones_wait_up_to_the_session_s_limit)
{
    unsigned busy;

    open_host();
    struct session session = session_open(0);
    be_idle();
    unsigned before = asked[COCO_SEV_STATUS];
    for (unsigned i = 0; i < COCO_IN_FLIGHT_MAX + 6; i++)
        send_certs(&session, 4, 1000);
    rig_settle(&rig); /* the helper has not answered */
    ck_assert_uint_eq(take_all(&session, &busy), 0);
    ck_assert_uint_eq(busy, 6);
    ck_assert_uint_eq(metrics.certs_reasons[CERTS_REASON_LIMIT], 6);
    ck_assert_uint_eq(metrics.now_requests, COCO_IN_FLIGHT_MAX);
    platform_settle();
    ck_assert_uint_eq(take_all(&session, &busy), COCO_IN_FLIGHT_MAX);
    ck_assert_uint_eq(busy, 0);
    ck_assert_uint_eq(asked[COCO_SEV_STATUS], before + 1);
    close_host(&session);
}
END_TEST

/* An account: as many as it may have connections. */
START_TEST(one_account_s_sessions_wait_up_to_its_limit)
{
    struct session sessions[SESSIONS_MAX];
    unsigned busy, all_busy = 0, all_tables = 0;

    options.limits.peers_per_account = SESSIONS_MAX;
    open_host();
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        sessions[i] = session_open(COCO_FEATURE_LEASE);
    be_idle();
    unsigned before = asked[COCO_SEV_STATUS];
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        ck_assert(set_lease(&sessions[i], F_RDLCK));
        send_certs(&sessions[i], 4, 1000);
        send_certs(&sessions[i], 4, 1000);
    }
    rig_settle(&rig);
    ck_assert_uint_eq(sessions[0].peer->account->n_requests, SESSIONS_MAX);
    platform_settle();
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        all_tables += take_all(&sessions[i], &busy);
        all_busy += busy;
    }
    ck_assert_uint_eq(all_tables, SESSIONS_MAX);
    ck_assert_uint_eq(all_busy, SESSIONS_MAX);
    ck_assert_uint_eq(asked[COCO_SEV_STATUS], before + 1);
    for (unsigned i = 1; i < SESSIONS_MAX; i++)
        session_close(&sessions[i]);
    close_host(&sessions[0]);
}
END_TEST

static bool no_memory;
static void *alloc_or_not(size_t size)
{
    return no_memory ? NULL : sys_real.alloc(size);
}

START_TEST(no_memory_for_one_that_would_wait)
{
    open_host();
    struct session session = session_open(0);
    be_idle();
    sys.alloc = alloc_or_not;
    no_memory = true;
    send_certs(&session, 4, 1000);
    rig_settle(&rig);
    ck_assert_int_eq(take_answer(&session), BUSY);
    ck_assert_uint_eq(metrics.certs_reasons[CERTS_REASON_MEMORY], 1);
    no_memory = false;
    platform_settle();
    ck_assert_int_eq(one_exit(&session, NULL), 8);
    close_host(&session);
}
END_TEST

/* --- what is remembered of it ------------------------------------------------------------------- */

START_TEST(how_long_it_waited_and_for_what_can_be_asked)
{
    open_host();
    struct session session = session_open(COCO_FEATURE_LEASE);
    set_host("fault", "slow");
    set_host("delay_ms", "150");
    be_idle();
    metrics.certs_seen = 0; /* measured */
    ck_assert_int_eq(one_exit(&session, NULL), 8);
    const struct history_entry *entry = history_at(session.peer->account->history, 0);
    ck_assert_str_eq(entry->why, "it waited for the platform to be read");
    ck_assert_uint_eq(entry->took_us, 150000);
    ck_assert_uint_eq(entry->kind, HISTORY_CERTS);
    ck_assert_uint_eq(entry->status, COCO_OK);
    ck_assert_uint_eq(entry->bytes, certs_table(rig.certs)->size);
    ck_assert_uint_eq(entry->generation, certs_generation(rig.certs));
    ck_assert_uint_eq(entry->session, vmm_lease_session(session.lease));
    ck_assert_uint_eq(metrics.certs_waited, 1);
    ck_assert_uint_eq(metrics.certs_us[CERTS_END_TABLE].sum, 150000);
    pass(SECOND);
    ck_assert_int_eq(one_exit(&session, NULL), 8); /* at once: nothing is to be said */
    ck_assert_ptr_null(history_at(session.peer->account->history, 1)->why);
    ck_assert_uint_eq(history_at(session.peer->account->history, 1)->took_us, 0);
    close_host(&session);
}
END_TEST

Suite *coco_suite(void)
{
    const int n_events = (int)(sizeof(events) / sizeof(events[0]));
    Suite *suite = suite_create("certs_wait");
    TCase *tcase = tcase_create("certs_wait");

    tcase_set_timeout(tcase, 120);
    tcase_add_unchecked_fixture(tcase, make_pkis, free_pkis);
    tcase_add_checked_fixture(tcase, platform_setup, NULL);
    tcase_add_loop_test(tcase, a_guest_that_comes_every_two_seconds_is_never_told_busy, 0, 14);
    tcase_add_loop_test(tcase, whatever_the_helper_takes_the_answer_is_within_the_promise, 0, 2);
    tcase_add_loop_test(tcase, no_answer_is_older_than_two_seconds, 0, 2);
    tcase_add_loop_test(tcase, after_a_change_in_the_quiet, 0, 2);
    tcase_add_loop_test(tcase, a_reading_that_fails_once_is_eagain_and_the_next_one_may_succeed, 0,
                        2 * N_FAILURES);
    tcase_add_loop_test(tcase, a_helper_that_is_gone_for_good_costs_certificates_and_no_key, 0,
                        2 * N_FAILURES);
    tcase_add_loop_test(tcase, what_ends_the_waiting_ends_it_at_once, 0, 2 * n_events);
    tcase_add_test(tcase, an_untold_update_during_the_waiting_is_noticed);
    tcase_add_loop_test(tcase, a_disk_that_hangs_keeps_nobody_waiting, 0, 2);
    tcase_add_loop_test(tcase, a_change_while_the_disk_hangs_is_noticed, 0, 2);
    tcase_add_loop_test(tcase, its_own_deadline_may_be_shorter, 0, 6);
    tcase_add_test(tcase, cancelled_while_it_waits);
    tcase_add_test(tcase, its_vmm_leaves_while_it_waits);
    tcase_add_test(tcase, its_id_is_in_flight);
    tcase_add_test(tcase, too_few_pages_while_it_waits);
    tcase_add_test(tcase, pipelined_ones_wait_up_to_the_session_s_limit);
    tcase_add_test(tcase, one_account_s_sessions_wait_up_to_its_limit);
    tcase_add_test(tcase, no_memory_for_one_that_would_wait);
    tcase_add_test(tcase, how_long_it_waited_and_for_what_can_be_asked);
    suite_add_tcase(suite, tcase);
    return suite;
}
