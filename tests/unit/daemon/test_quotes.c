/* SPDX-License-Identifier: MIT */
/*
 * The broker on a virtual clock: joining, keeping, retrying, blaming, suspecting, setting aside;
 * and what VMs see of each other when there are many.
 */
#include "broker_fixture.h"
#include "peer/request.h"
#include "qgs_msg.h"
#include "quotes/broker.h"
#include "tdx_quote.h"
#include <utlist.h>

FIXTURE(.teardown = broker_teardown, .timeout_s = 300);

/* --- join and keep ---------------------------------------------------------------------------- */

TEST(the_same_tdreport_of_one_account_is_asked_once)
{
    struct world_client *a = open_vm("qgs = unix:/q\n"), *a2 = vm(0, 1), *b = vm(0, 2);

    ask(a, 7, 5000);
    ask(a2, 7, 5000);
    ask(a, 7, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
    ask(b, 7, 5000); /* another VM gets an exchange of its own */
    ck_assert_uint_eq(at_qgs(), 2);
    answers(2, WORLD_QUOTE);
    ck_assert_uint_eq(world.answered[COCO_OK], 3 + 4); /* and three HELLOs */
    ck_assert_uint_eq(metrics.quotes_joined, 2);
}

TEST(a_quote_that_comes_too_late_is_kept_for_its_requester)
{
    struct world_client *a = open_vm("qgs = unix:/q\n"), *b = vm(0, 2);

    ask(a, 7, 1000);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(world.answered[COCO_ETIMEDOUT], 1);
    ck_assert_uint_eq(backend(0).abandoned, 1);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_kept, 1);
    ask(b, 7, 1000); /* not for another VM */
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
    world_disconnect(a);
    a = vm(0, 1); /* also over another connection */
    ask(a, 7, 1000);
    world_receive(&world, a);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(at_qgs(), 0);
    ck_assert_uint_eq(metrics.quotes_from_kept, 1);
    world_pass(&world, 61 * S);
    ask(a, 7, 1000); /* no longer */
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
}

TEST(who_comes_back_while_qgs_works_finds_his_own_job)
{
    struct world_client *a = open_vm("qgs = unix:/q\n");

    ask(a, 7, 1000);
    world_pass(&world, 2 * S);
    ask(a, 7, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
    ck_assert_uint_eq(backend(0).abandoned, 0);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
}

TEST(what_is_kept_is_bounded_in_number)
{
    struct world_client *a = open_vm("qgs = unix:/q\nkeep_quotes = 3\n");

    for (uint64_t seed = 0; seed < 5; seed++) {
        ask(a, seed, 100);
        world_pass(&world, 1 * S);
        answer(WORLD_QUOTE);
    }
    ck_assert_uint_eq(quotes_now().kept, 3);
    ask(a, 4, 1000);
    ck_assert_uint_eq(at_qgs(), 0);
    ask(a, 0, 1000); /* the oldest went */
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
}

/* --- limits and deadlines --------------------------------------------------------------------- */

TEST(one_vm_has_sixteen_in_flight_and_other_users_are_one_vm)
{
    struct world_client *a = open_vm("qgs = unix:/q\n"), *b = vm(0, 2), *c = vm(1000, 3),
                        *d = vm(1000, 4);

    ask_many(a, 17, 0, 5000);
    world_receive(&world, a);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 1);
    ask(b, 0, 5000);
    world_receive(&world, b);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 1);
    for (uint64_t i = 0; i < 8; i++) {
        ask(c, i, 5000);
        ask(d, i, 5000);
    }
    ask(c, 100, 5000);
    ask(d, 100, 5000);
    world_pass(&world, 0);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 3);
}

TEST(all_vms_of_a_user_together_have_a_limit)
{
    open_with("qgs = unix:/q\nvmm_users = 0 77\n[limits]\nrequests_per_user = 20\n");
    struct world_client *clients[4] = {vm(0, 1), vm(0, 2), vm(0, 3), vm(77, 4)};

    for (int i = 0; i < 4; i++)
        for (uint64_t k = 0; k < 8; k++)
            ask(clients[i], k, 5000);
    world_pass(&world, 0);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 4); /* of 24; the other user's are its own */
    answers(4, WORLD_QUOTE);
    for (int i = 0; i < 2; i++) /* room again */
        ask(clients[i], 100, 5000);
    world_pass(&world, 0);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 4);
}

/* Which of the clients' requests QGS gets next: by the seed, that is the client's number. */
static uint64_t next_served(void)
{
    const uint8_t *tdreport = world_qgs_request(&world, oldest());
    uint8_t expected[COCO_TDREPORT_SIZE];

    for (uint64_t seed = 0; seed < 100; seed++) {
        tdx_make_tdreport(seed, NULL, expected);
        if (memcmp(expected, tdreport, sizeof(expected)) == 0) {
            answer(WORLD_QUOTE);
            return seed / 10;
        }
    }
    ck_abort_msg("QGS was asked for something else");
}

/* Two VMs of a VMM user and three processes of another user: the users take turns, and among
 * themselves the VMs; the processes are served in the order of their requests. */
TEST(users_take_turns_and_the_vms_of_one_among_themselves)
{
    static const uint64_t expected[] = {1, 3, 2, 4, 1, 5, 2, 3, 1, 4, 2, 5};
    open_with("qgs = unix:/q\nslots = 1\n");
    struct world_client *clients[] = {vm(0, 1), vm(0, 2), vm(1000, 3), vm(1000, 4), vm(1000, 5)};

    ask(vm(0, 6), 60, 60000); /* has the slot while the others queue */
    for (uint64_t round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 5; i++)
            if (i < 2 || round < 2)
                ask(clients[i], 10 * (i + 1) + round, 60000);
    ck_assert_uint_eq(next_served(), 6);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        ck_assert_uint_eq(next_served(), expected[i]);
    ck_assert_uint_eq(at_qgs(), 0);
}

TEST(memory_and_number_of_waiting_jobs_are_bounded)
{
    struct world_client *a = open_vm("qgs = unix:/q\nqueue = 6\nqueue_memory = 16KiB\nslots = 1\n"),
                        *b = vm(0, 2);

    for (uint64_t i = 0; i < 6; i++) {
        ask(a, i, 5000);
        ask(b, i, 5000);
    }
    world_pass(&world, 0);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 5); /* one runs, six wait */
}

TEST(what_cannot_be_done_in_time_is_refused_at_once_but_never_by_an_idle_qgs)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 1\n"), *b = vm(0, 2);

    /* QGS takes 2 s. */
    for (uint64_t i = 0; i < 3; i++) {
        ask(a, i, 10000);
        world_pass(&world, 2 * S);
        answer(WORLD_QUOTE);
    }
    ck_assert_uint_eq(backend(0).service_us, 2 * S);
    ask(a, 10, 1000); /* hopeless, but QGS is idle */
    ck_assert_uint_eq(at_qgs(), 1);
    ask(b, 11, 3500); /* one before it: 2 s + 2 s */
    world_receive(&world, b);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 1);
    ask(b, 12, 5000);
    ck_assert_uint_eq(world_waiting(b), 1);
    world_pass(&world, 70 * S);
    ck_assert_uint_eq(backend(0).service_us, 2 * S); /* people are told what was measured */
    ck_assert_uint_eq(sources_service_us(&world.cocod->quotes->sources), 50 * MS); /* forgotten */
}

TEST(cancelling_and_leaving_take_a_job_out_of_the_queue)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 1\n"), *b = vm(0, 2);

    ask(a, 0, 5000);
    uint64_t id = world_quote_get(a, 1, true, 5000, COCO_QUOTE_MAX);
    world_send(&world, a, SIZE_MAX);
    ask(b, 2, 5000);
    world_queue(a, COCO_CANCEL, id, 0, NULL, 0);
    world_send(&world, a, SIZE_MAX);
    world_receive(&world, a);
    ck_assert_uint_eq(world.answered[COCO_ECANCELED], 1);
    world_disconnect(b);
    world_settle(&world);
    ck_assert_uint_eq(quotes_now().queued, 0);
    ck_assert_uint_eq(quotes_now().running, 1);
    answer(WORLD_QUOTE);
}

/* --- retries and blame ------------------------------------------------------------------------ */

TEST(early_closes_are_retried_up_to_slots_and_one)
{
    struct world_client *a = open_vm("qgs = unix:/q\n");

    ask(a, 0, 5000);
    answers(4, WORLD_EOF);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ask(a, 1, 5000);
    answers(6, WORLD_EOF); /* once, and five times more */
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    answer(WORLD_QUOTE); /* the question whose fault it is */
    ck_assert_uint_eq(at_qgs(), 0);
}

TEST(nothing_is_retried_that_could_not_be_done_by_its_deadline)
{
    struct world_client *a = open_vm("qgs = unix:/q\n");

    for (uint64_t i = 0; i < 3; i++) { /* QGS takes 2 s */
        ask(a, i, 10000);
        world_pass(&world, 2 * S);
        answer(WORLD_QUOTE);
    }
    ask(a, 10, 5000);
    world_pass(&world, 1 * S);
    answer(WORLD_EOF);
    ck_assert_uint_eq(at_qgs(), 1);
    world_pass(&world, 2500 * MS);
    answer(WORLD_EOF); /* 1.5 s are left, less what the answer needs */
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    ck_assert_uint_eq(at_qgs(), 0); /* held against nobody: QGS may have been restarted */
}

TEST(an_error_is_retried_once_and_then_held_against_the_vm)
{
    struct world_client *a = open_vm("qgs = unix:/q\n"), *b = vm(0, 2);

    ask(a, 0, 5000);
    answers(2, WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    ask_many(a, 2, 1, 5000); /* no second try, and one slot */
    ck_assert_uint_eq(at_qgs(), 1);
    ask(b, 3, 5000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 2);
    answer(WORLD_QUOTE);
    answer(WORLD_QUOTE); /* a's second: it is in favour again */
    ask_many(a, 2, 4, 5000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_ERROR);
    ck_assert_uint_eq(at_qgs(), 2);
    answers(2, WORLD_QUOTE);
    ck_assert_uint_eq(world.answered[COCO_EIO], 2);
}

TEST(leaving_does_not_wash_a_failure_off)
{
    struct world_client *a = open_vm("qgs = unix:/q\n");

    ask(a, 0, 5000);
    answers(2, WORLD_ERROR);
    world_disconnect(a);
    world_settle(&world);
    world_pass(&world, 30 * S);
    a = vm(0, 1);
    ask_many(a, 2, 1, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
}

TEST(three_vms_that_fail_open_no_breaker_while_a_fourth_succeeds)
{
    open_with("qgs = unix:/q\n");
    struct world_client *clients[4];

    for (int i = 0; i < 4; i++)
        clients[i] = vm(0, i + 1);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 2; i++) {
            ask(clients[i], 10 * (uint64_t)round + (uint64_t)i, 5000);
            answer(WORLD_ERROR);
            if (at_qgs() > 0)
                answer(WORLD_ERROR);
        }
        ask(clients[3], 10 * (uint64_t)round + 3, 5000);
        answer(WORLD_QUOTE);
    }
    ck_assert_uint_eq(world.probes, 0);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    for (int i = 0; i < 3; i++) { /* now without */
        ask(clients[i], 1000 + (uint64_t)i, 5000);
        answer(WORLD_ERROR);
        if (at_qgs() > 0)
            answer(WORLD_ERROR);
    }
    /* Asked for a quote that it has made before, it fails, too. */
    ck_assert_int_eq(backend(0).breaker, BREAKER_DOUBTED);
    answer(WORLD_ERROR);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "PCCS"));
}

TEST(a_failed_probe_sets_a_backend_aside_until_it_answers)
{
    open_with("qgs = unix:/q\n");
    struct world_client *clients[4];

    world.probes_fail = true;
    for (int i = 0; i < 4; i++)
        clients[i] = vm(0, i + 1);
    for (int i = 0; i < 3; i++) {
        ask(clients[i], (uint64_t)i, 5000);
        answers(2, WORLD_ERROR);
    }
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ask(clients[3], 8, 25000); /* it may be better soon */
    world_pass(&world, 9999 * MS);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 0);
    world_pass(&world, 1 * MS);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 1);
    uint64_t before = world.connects;
    ask(clients[3], 9, 5000);
    world_receive(&world, clients[3]);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 2);
    ck_assert_uint_eq(world.connects, before);
    world_pass(&world, 10 * S);
    ck_assert_uint_ge(world.probes, 4);
    ck_assert_uint_le(world.probes, 8);
    world.probes_fail = false;
    world_pass(&world, 6 * S);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_ptr_null(backend(0).problem);
    ask(clients[3], 10, 5000);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
}

TEST(failures_to_connect_are_told_apart_and_are_nobodys_fault)
{
    static const struct {
        int error;
        uint32_t status;
        const char *says;
        uint64_t *counter;
    } cases[] = {
        {ENOENT, COCO_ENODEV, "no socket", &metrics.qgs_no_socket},
        {ECONNREFUSED, COCO_ENODEV, "nobody listens", &metrics.qgs_refused},
        {EACCES, COCO_ENODEV, "may not connect", &metrics.qgs_not_permitted},
        {EAGAIN, COCO_EAGAIN, "backlog is full", &metrics.qgs_backlog_full},
    };

    open_with("qgs = unix:/q\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world_client *a = vm(0, 1);
        uint64_t before = world.answered[cases[i].status];
        world.connect_error = cases[i].error;
        ask(a, 100 * i, 25000);
        world_pass(&world, cases[i].status == COCO_ENODEV ? 10 * S : 0);
        ck_assert_uint_eq(world.answered[cases[i].status], before + 1);
        ck_assert_uint_ge(*cases[i].counter, 1);
        ck_assert_msg(strstr(backend(0).problem, cases[i].says) != NULL, "%s", backend(0).problem);
        world_pass(&world, 1250 * MS); /* not just when cocod has tried */
        world.connect_error = 0;
        /* Somebody asks: that is enough to find that QGS is back; and with retries. */
        ask(a, 100 * i + 1, 5000);
        world_pass(&world, 0);
        answer(WORLD_ERROR);
        answer(WORLD_QUOTE);
        world_disconnect(a);
        world_settle(&world);
    }
}

/* --- several backends ------------------------------------------------------------------------- */

TEST(where_one_backend_fails_another_is_asked)
{
    struct world_client *a = open_vm("qgs = unix:/q1\nqgs = unix:/q2\n");

    world.connect_error = ECONNREFUSED;
    world.dead_path = "/q1";
    ask(a, 0, 5000);
    world_pass(&world, 0);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    for (uint64_t i = 1; i < 9; i++)
        ask(a, i, 5000);
    ck_assert_uint_eq(at_qgs(), 4);
    ck_assert_uint_eq(backend(1).busy, 4);
    world.connect_error = 0;
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(at_qgs(), 8);
    /* An error on one: the second try is on the other. */
    answers(8, WORLD_QUOTE);
    ask(a, 20, 5000);
    char first[108];
    snprintf(first, sizeof(first), "%s", oldest()->path);
    answer(WORLD_ERROR);
    ck_assert_str_ne(oldest()->path, first);
    answer(WORLD_QUOTE);
}

TEST(a_quote_that_is_not_genuine_never_reaches_a_guest)
{
    struct world_client *a = open_vm("qgs = unix:/q\nverify_quote_signature = yes\n");

    ask(a, 0, 5000);
    answer(WORLD_QUOTE); /* bound, and not signed */
    ck_assert_uint_eq(world.answered[COCO_EBADMSG], 1);
    ck_assert_uint_eq(metrics.quotes_unsigned, 1);
}

/* --- other questions -------------------------------------------------------------------------- */

/* As a frontend that asks QGS for something else than a quote does. The answer is spelled as
 * PING's, which is counted like any. */
static void ask_platform(struct world_client *client, struct peer *peer, uint16_t minor)
{
    struct coco_qgs_platform_req req = {.minor = minor};
    uint8_t message[COCO_QGS_HEADER_SIZE];
    uint64_t id = client->next_id++;

    ck_assert_int_gt(coco_qgs_platform_req_encode(&req, message, sizeof(message)), 0);
    client->calls[0] = (struct world_call){.waiting = true, .id = id, .type = COCO_PING};
    struct request *request = request_new(&peer->requests, COCO_PING, id, world_now_us() + 5 * S);
    ck_assert_ptr_nonnull(request);
    request->reply_max = 4096;
    quotes_query(world.cocod->quotes, request, message, sizeof(message));
}

TEST(other_questions_take_one_slot_and_are_asked_once)
{
    open_with("qgs = unix:/q\n");
    struct world_client *clients[3];
    struct peer *peers[3];

    world.probes_hang = true; /* the questions are as probes are */
    for (int i = 0; i < 3; i++) {
        clients[i] = vm(0, i + 1);
        peers[i] = world.cocod->server->peers->prev; /* the last, or the only one */
        DL_FOREACH(world.cocod->server->peers, peers[i])
        {
            if (peers[i]->account->key.pid == 0x40000000 + i + 1)
                break;
        }
        ask_platform(clients[i], peers[i], 1);
    }
    world_settle(&world);
    ck_assert_uint_eq(world.n_open, 1);
    struct world_client *other = vm(0, 9);
    ask(other, 5, 5000); /* quotes have the other slots */
    ck_assert_uint_eq(at_qgs(), 1);
    world_disconnect(clients[2]);
    world_settle(&world);
    world.probes_hang = false;
    world_pass(&world, 0);
    ck_assert_uint_eq(world.probes, 1);
    ck_assert_uint_eq(world_waiting(clients[0]) + world_waiting(clients[1]), 0);
    ask_platform(clients[0], peers[0], 1); /* kept */
    world_pass(&world, 0);
    ck_assert_uint_eq(world_waiting(clients[0]), 0);
    ck_assert_uint_eq(world.probes, 1);
    ask_platform(clients[0], peers[0], 0); /* another question */
    ask_platform(clients[1], peers[1], 0);
    world_pass(&world, 0);
    ck_assert_uint_eq(world.probes, 2);
    answer(WORLD_QUOTE);
}
