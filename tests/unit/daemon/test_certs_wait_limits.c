/* SPDX-License-Identifier: MIT */
/*
 * A CERTS_GET that waits for the platform is a request like any other: its deadline, its end by
 * other hands, how many there may be, and what is remembered of it.
 */
#include "scarce.h"
#include "wait_fixture.h"

#define SESSIONS_MAX 16u

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .setup = platform_setup,
        .teardown = wait_teardown, .timeout_s = 120);

/* --- a request like any other ----------------------------------------------------------------- */

TEST_LOOP(its_own_deadline_may_be_shorter, 0, 6)
{
    static const struct {
        uint32_t timeout_ms;
        uint64_t answered_us;
    } deadlines[] = {{0, 180000}, {1000, 180000}, {100, 75000},
                     {4, 3000},   {1, 750},       {UINT32_MAX, 180000}};

    struct session session = open_host_with_session(0);
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
}

TEST(cancelled_while_it_waits)
{
    struct session session = open_host_with_session(COCO_FEATURE_LEASE);
    be_idle();
    set_host("fault", "silent");
    uint64_t id = send_certs(&session, 4, 1000);
    pass(10000);
    rig_call(&rig, session.fd, COCO_CANCEL, id, NULL, 0);
    ck_assert_int_eq(take_answer(&session), -COCO_ECANCELED);
    ck_assert_uint_eq(metrics.certs_ecanceled, 1);
    pass(SECOND);
    ck_assert_int_eq(take_answer(&session), NONE);
}

TEST(its_vmm_leaves_while_it_waits)
{
    struct session session = open_host_with_session(COCO_FEATURE_LEASE);
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
}

TEST(its_id_is_in_flight)
{
    struct session session = open_host_with_session(0);
    be_idle();
    set_host("fault", "silent");
    send_certs(&session, 4, 1000);
    session.id--;
    send_certs(&session, 4, 1000);
    platform_settle();
    ck_assert(rig_closed(session.fd));
    ck_assert_uint_eq(metrics.now_requests, 0);
}

/* Whether it fits is known when the table is. */
TEST(too_few_pages_while_it_waits)
{
    struct session session = open_host_with_session(0);
    for (uint64_t npages = 0; npages < 2; npages++) {
        be_idle();
        send_certs(&session, npages, 1000);
        rig_settle(&rig);
        ck_assert_int_eq(take_answer(&session), NONE);
        platform_settle();
        bool fits = npages >= coco_npages(certs_status(rig.certs).table->size);
        ck_assert_int_eq(take_answer(&session), fits ? 8 : -COCO_ENOSPC);
        if (!fits) {
            struct coco_certs_reply reply;
            ck_assert_int_eq(coco_certs_reply_decode(message.payload, message.header.length,
                                                     COCO_ENOSPC, &reply),
                             0);
            ck_assert_uint_eq(reply.npages, coco_npages(certs_status(rig.certs).table->size));
            ck_assert_uint_eq(reply.generation, certs_status(rig.certs).generation);
        }
    }
    be_idle();
    send_certs(&session, UINT64_MAX, 1000);
    ck_assert_int_eq(await_answer(&session, NULL), 8);
}

/* --- how many --------------------------------------------------------------------------------- */

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
TEST(pipelined_ones_wait_up_to_the_session_s_limit)
{
    unsigned busy;

    struct session session = open_host_with_session(0);
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
}

/* An account: as many as it may have connections. */
TEST(one_account_s_sessions_wait_up_to_its_limit)
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
    ck_assert_uint_eq(sessions[0].peer->account->held[CHARGE_REQUESTS], SESSIONS_MAX);
    platform_settle();
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        all_tables += take_all(&sessions[i], &busy);
        all_busy += busy;
    }
    ck_assert_uint_eq(all_tables, SESSIONS_MAX);
    ck_assert_uint_eq(all_busy, SESSIONS_MAX);
    ck_assert_uint_eq(asked[COCO_SEV_STATUS], before + 1);
}

TEST(no_memory_for_one_that_would_wait)
{
    struct session session = open_host_with_session(0);
    be_idle();
    memory_fail_from(0);
    send_certs(&session, 4, 1000);
    rig_settle(&rig);
    ck_assert_int_eq(take_answer(&session), BUSY);
    ck_assert_uint_eq(metrics.certs_reasons[CERTS_REASON_MEMORY], 1);
    memory_back();
    platform_settle();
    ck_assert_int_eq(one_exit(&session, NULL), 8);
}

/* --- what is remembered of it ----------------------------------------------------------------- */

TEST(how_long_it_waited_and_for_what_can_be_asked)
{
    struct session session = open_host_with_session(COCO_FEATURE_LEASE);
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
    ck_assert_uint_eq(entry->bytes, certs_status(rig.certs).table->size);
    ck_assert_uint_eq(entry->generation, certs_status(rig.certs).generation);
    ck_assert_uint_eq(entry->session, (uint32_t)(session.lease / COCO_LEASE_BYTES));
    ck_assert_uint_eq(metrics.certs_waited, 1);
    ck_assert_uint_eq(metrics.certs_us[CERTS_END_TABLE].sum, 150000);
    pass(SECOND);
    ck_assert_int_eq(one_exit(&session, NULL), 8); /* at once: nothing is to be said */
    ck_assert_ptr_null(history_at(session.peer->account->history, 1)->why);
    ck_assert_uint_eq(history_at(session.peer->account->history, 1)->took_us, 0);
}
