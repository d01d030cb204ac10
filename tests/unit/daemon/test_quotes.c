/* SPDX-License-Identifier: MIT */
/*
 * The broker on a virtual clock: joining, keeping, retrying, blaming, suspecting, setting aside;
 * and what VMs see of each other when there are many.
 */
#include "metrics.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "peer/server.h"
#include "qgs_msg.h"
#include "quotes/quotes.h"
#include "status.h"
#include "world.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define S  1000000u
#define MS 1000u

static struct world world;

static void teardown(void)
{
    world_close(&world);
}

/* Past the slow start. */
static void open_with(const char *text)
{
    char all[1024];

    snprintf(all, sizeof(all), "[quotes]\n%s", text);
    world_open(&world, all);
    memset(&metrics, 0, sizeof(metrics));
    world_pass(&world, 31 * S);
}

static struct world_client *vm(uid_t uid, int number)
{
    struct world_client *client = world_connect_as(&world, uid, (pid_t)number);

    ck_assert_ptr_nonnull(client);
    world_hello(&world, client, 0);
    ck_assert(client->established);
    return client;
}

static void ask(struct world_client *client, uint64_t seed, uint32_t timeout_ms)
{
    world_quote_get(client, seed, true, timeout_ms, COCO_QUOTE_MAX);
    world_send(&world, client, SIZE_MAX);
}

/* The oldest open exchange that carries a whole quote request. */
static struct world_exchange *oldest(void)
{
    struct world_exchange *best = NULL;

    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world.exchanges[i];
        if (world_qgs_request(&world, exchange) && (!best || exchange->since_us < best->since_us))
            best = exchange;
    }
    return best;
}

static unsigned at_qgs(void)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        n += world_qgs_request(&world, &world.exchanges[i]) != NULL;
    return n;
}

static void answer(enum world_answer how)
{
    struct world_exchange *exchange = oldest();

    ck_assert_ptr_nonnull(exchange);
    ck_assert(world_qgs_answer(&world, exchange, how));
    world_pass(&world, 0);
}

static struct backend_status backend(size_t i)
{
    struct backend_status status;

    quotes_get_backend_status(world.cocod->quotes, i, &status);
    return status;
}

/* --- join and keep ---------------------------------------------------------------------------- */

START_TEST(the_same_tdreport_of_one_account_is_asked_once)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1), *a2 = vm(0, 1), *b = vm(0, 2);

    ask(a, 7, 5000);
    ask(a2, 7, 5000);
    ask(a, 7, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
    ask(b, 7, 5000); /* another VM gets an exchange of its own */
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(world.answered[COCO_OK], 3 + 4); /* and three HELLOs */
    ck_assert_uint_eq(metrics.quotes_joined, 2);
}
END_TEST

START_TEST(a_quote_that_comes_too_late_is_kept_for_its_requester)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);

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
END_TEST

START_TEST(who_comes_back_while_qgs_works_finds_his_own_job)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    ask(a, 7, 1000);
    world_pass(&world, 2 * S);
    ask(a, 7, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
    ck_assert_uint_eq(backend(0).abandoned, 0);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
}
END_TEST

START_TEST(what_is_kept_is_bounded_in_number_and_bytes)
{
    open_with("qgs = unix:/q\nkeep_quotes = 3\n");
    struct world_client *a = vm(0, 1);
    struct quotes_status status;

    for (uint64_t seed = 0; seed < 5; seed++) {
        ask(a, seed, 100);
        world_pass(&world, 1 * S);
        answer(WORLD_QUOTE);
    }
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.kept, 3);
    ask(a, 4, 1000);
    ck_assert_uint_eq(at_qgs(), 0);
    ask(a, 0, 1000); /* the oldest went */
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
}
END_TEST

/* --- limits and deadlines --------------------------------------------------------------------- */

START_TEST(one_vm_has_sixteen_in_flight_and_other_users_are_one_vm)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2), *c = vm(1000, 3), *d = vm(1000, 4);

    for (uint64_t i = 0; i < 17; i++)
        ask(a, i, 5000);
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
END_TEST

START_TEST(memory_and_number_of_waiting_jobs_are_bounded)
{
    open_with("qgs = unix:/q\nqueue = 6\nqueue_memory = 16KiB\nslots = 1\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);

    for (uint64_t i = 0; i < 6; i++) {
        ask(a, i, 5000);
        ask(b, i, 5000);
    }
    world_pass(&world, 0);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 5); /* one runs, six wait */
}
END_TEST

START_TEST(what_cannot_be_done_in_time_is_refused_at_once_but_never_by_an_idle_qgs)
{
    open_with("qgs = unix:/q\nslots = 1\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);

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
    world_pass(&world, 70 * S); /* forgotten: the start value again */
    ck_assert_uint_eq(backend(0).service_us, 50 * MS);
}
END_TEST

START_TEST(cancelling_and_leaving_take_a_job_out_of_the_queue)
{
    open_with("qgs = unix:/q\nslots = 1\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);
    struct quotes_status status;

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
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.queued, 0);
    ck_assert_uint_eq(status.running, 1);
    answer(WORLD_QUOTE);
}
END_TEST

/* --- retries and blame ------------------------------------------------------------------------ */

START_TEST(early_closes_are_retried_up_to_slots_and_one)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    ask(a, 0, 5000);
    for (int i = 0; i < 4; i++)
        answer(WORLD_EOF);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ask(a, 1, 5000);
    for (int i = 0; i < 6; i++) /* once, and five times more */
        answer(WORLD_EOF);
    ck_assert_uint_eq(at_qgs(), 0);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
}
END_TEST

START_TEST(an_error_is_retried_once_and_then_held_against_the_vm)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);

    ask(a, 0, 5000);
    answer(WORLD_ERROR);
    answer(WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    ask(a, 1, 5000); /* no second try, and one slot */
    ask(a, 2, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
    ask(b, 3, 5000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 2);
    answer(WORLD_QUOTE);
    answer(WORLD_QUOTE); /* a's second: it is in favour again */
    ask(a, 4, 5000);
    ask(a, 5, 5000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_ERROR);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(world.answered[COCO_EIO], 2);
}
END_TEST

START_TEST(leaving_does_not_wash_a_failure_off)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    ask(a, 0, 5000);
    answer(WORLD_ERROR);
    answer(WORLD_ERROR);
    world_disconnect(a);
    world_settle(&world);
    world_pass(&world, 30 * S);
    a = vm(0, 1);
    ask(a, 1, 5000);
    ask(a, 2, 5000);
    ck_assert_uint_eq(at_qgs(), 1);
}
END_TEST

START_TEST(three_vms_that_fail_open_no_breaker_while_a_fourth_succeeds)
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
    /* The probe was answered within the same turn: QGS lives, its quotes fail. */
    ck_assert_uint_eq(world.probes, 1);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "PCCS"));
}
END_TEST

START_TEST(a_failed_probe_sets_a_backend_aside_until_it_answers)
{
    open_with("qgs = unix:/q\n");
    struct world_client *clients[4];

    world.probes_fail = true;
    for (int i = 0; i < 4; i++)
        clients[i] = vm(0, i + 1);
    for (int i = 0; i < 3; i++) {
        ask(clients[i], (uint64_t)i, 5000);
        answer(WORLD_ERROR);
        answer(WORLD_ERROR);
    }
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    uint64_t before = world.connects;
    ask(clients[3], 9, 5000);
    world_receive(&world, clients[3]);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 1);
    ck_assert_uint_eq(world.connects, before);
    world_pass(&world, 20 * S);
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
END_TEST

START_TEST(failures_to_connect_are_told_apart_and_are_nobodys_fault)
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
        ask(a, 100 * i, 5000);
        world_pass(&world, 0);
        ck_assert_uint_eq(world.answered[cases[i].status], before + 1);
        ck_assert_uint_ge(*cases[i].counter, 1);
        ck_assert_msg(strstr(backend(0).problem, cases[i].says) != NULL, "%s", backend(0).problem);
        world_pass(&world, 1500 * MS);
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
END_TEST

/* --- slots ------------------------------------------------------------------------------------ */

START_TEST(after_the_start_one_slot_opens_and_the_others_as_answers_come)
{
    world_open(&world, "[quotes]\nqgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    for (uint64_t i = 0; i < 8; i++)
        ask(a, i, 60000);
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 3);
    ck_assert_uint_eq(backend(0).slots_open, 3);
    for (int i = 0; i < 6; i++)
        answer(WORLD_QUOTE);
    teardown();
    world_open(&world, "[quotes]\nqgs = unix:/q\n");
    a = vm(0, 1);
    for (uint64_t i = 0; i < 8; i++)
        ask(a, i, 60000);
    world_pass(&world, 29900 * MS);
    ck_assert_uint_eq(at_qgs(), 1);
    world_pass(&world, 200 * MS);
    ck_assert_uint_ge(at_qgs(), 3);
}
END_TEST

START_TEST(a_slot_that_qgs_gave_up_is_suspect_until_a_probe_is_answered)
{
    open_with("qgs = unix:/q\nslots = 2\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2);

    world.probes_hang = true;
    ask(a, 0, 60000);
    world_pass(&world, 30 * S); /* QGS's own timer */
    ck_assert_uint_eq(world.answered[COCO_ETIMEDOUT], 1);
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_uint_eq(backend(0).busy, 1); /* the probe, on that slot */
    ask(b, 1, 25000);
    ask(b, 2, 25000);
    ck_assert_uint_eq(at_qgs(), 1);
    world.probes_hang = false;
    world_pass(&world, 0);
    ck_assert_uint_eq(backend(0).suspect, 0);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    answer(WORLD_QUOTE);
    ck_assert_uint_le(world.most_open, 2);
}
END_TEST

/* One of four threads is gone for good. The test plays the three others: a probe is answered where
 * one of them is free, so not while they have three quotes. */
START_TEST(a_thread_that_never_comes_back_costs_one_slot)
{
    open_with("qgs = unix:/q\nslots = 4\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2), *c = vm(0, 3);

    ask(a, 0, 60000);
    world_pass(&world, 31 * S); /* QGS closes; a thread that is idle answers the probe */
    ck_assert_uint_eq(world.probes, 1);
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_uint_eq(backend(0).busy, 0);
    world_pass(&world, 60 * S); /* nor is QGS asked again while nobody misses the slot */
    ck_assert_uint_eq(world.probes, 1);
    for (uint64_t i = 1; i < 31; i++) {
        world.probes_hang = at_qgs() >= 2;
        ask(i % 2 ? b : c, i, 60000);
        world_pass(&world, 0);
        ck_assert_uint_eq(at_qgs(), i < 3 ? i : 3);
        ck_assert_uint_le(world.n_open, 4); /* with the probe, which waits in QGS */
        if (i < 6)
            continue;
        struct world_exchange *exchange = oldest();
        ck_assert(world_qgs_answer(&world, exchange, WORLD_QUOTE));
        world_settle(&world);
        ck_assert_uint_eq(at_qgs(), 3);
        world.probes_hang = false; /* the thread that is free takes the probe next */
        world_pass(&world, 0);
        ck_assert_uint_eq(backend(0).suspect, 1);
        ck_assert_uint_eq(at_qgs(), 3);
        world.probes_hang = true;
        world_pass(&world, 500 * MS);
    }
    ck_assert_uint_gt(world.probes, 5);
    /* It is back: it answers while the others have three. */
    world.probes_hang = false;
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(backend(0).suspect, 0);
    ck_assert_uint_eq(at_qgs(), 4);
    while (oldest())
        answer(WORLD_QUOTE);
}
END_TEST

/* qgsd was restarted, and nobody asked in between. */
START_TEST(threads_of_a_process_that_is_gone_are_not_suspect)
{
    open_with("qgs = unix:/q\n");

    world.probes_hang = true;
    world.qgs_pid = 0x40000000;
    for (uint64_t i = 0; i < 4; i++)
        ask(vm(0, (int)i + 1), i, 60000);
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(backend(0).suspect, 4);
    world_pass(&world, 60 * S);
    ck_assert_uint_eq(backend(0).suspect, 4);
    world.probes_hang = false;
    world.qgs_pid++;
    world_pass(&world,
               40 * S); /* what was asked of the old one ends, and the next probe finds out */
    ck_assert_uint_eq(backend(0).suspect, 0);
    for (uint64_t i = 10; i < 14; i++)
        ask(vm(0, (int)i), i, 60000);
    ck_assert_uint_eq(at_qgs(), 4);
    while (oldest())
        answer(WORLD_QUOTE);
}
END_TEST

/* Where a probe takes long, another exchange that overtakes all before it proves as much. */
START_TEST(overtaking_proves_that_a_thread_is_back)
{
    open_with("qgs = unix:/q\nslots = 3\n");
    struct world_client *a = vm(0, 1), *b = vm(0, 2), *c = vm(0, 3);

    ask(a, 0, 60000);
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(backend(0).suspect, 1);
    world.probes_hang = true;
    ask(b, 1, 60000);
    world_pass(&world, 10 * MS);
    ask(b, 2, 60000);
    world_pass(&world, 10 * MS);
    ask(c, 3, 60000);
    ask(c, 4, 60000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE); /* the first of them: nothing was before it */
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_uint_eq(at_qgs(), 2);
    world_pass(&world, 10 * MS);
    /* The last that came is answered, while the one before it and the probe are out. */
    struct world_exchange *last = NULL;
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world_qgs_request(&world, &world.exchanges[i]) && &world.exchanges[i] != oldest())
            last = &world.exchanges[i];
    ck_assert_ptr_nonnull(last);
    ck_assert(world_qgs_answer(&world, last, WORLD_QUOTE));
    world_settle(&world);
    ck_assert_uint_eq(backend(0).suspect, 0);
    ck_assert_uint_eq(at_qgs(), 2); /* the probe has the third */
    ck_assert_uint_eq(backend(0).busy, 3);
    world.probes_hang = false;
    world_pass(&world, 0);
    while (oldest())
        answer(WORLD_QUOTE);
}
END_TEST

/* All of them hung. Each answered probe gives back one slot, and only where all others are in use. */
START_TEST(suspect_slots_come_back_one_by_one)
{
    open_with("qgs = unix:/q\nslots = 4\n");
    struct world_client *a = vm(0, 1);

    world.probes_hang = true;
    for (uint64_t i = 0; i < 4; i++)
        ask(a, i, 60000);
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(backend(0).suspect, 4);
    world.probes_hang = false;
    world_pass(&world, 10 * S);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(backend(0).suspect, 3);
    for (unsigned i = 1; i <= 3; i++) {
        uint64_t probes = world.probes;
        ask(vm(0, 10 + (int)i), 10 + i, 60000);
        world_pass(&world, 0);
        ck_assert_uint_eq(at_qgs(), i);
        ck_assert_uint_eq(backend(0).suspect, 3 - i);
        ck_assert_uint_eq(world.probes, probes + 1);
    }
    while (oldest())
        answer(WORLD_QUOTE);
}
END_TEST

START_TEST(a_qgs_without_threads_is_named_as_what_it_is)
{
    open_with("qgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    world.probes_hang = true;
    ask(a, 0, 10000);
    world_pass(&world, 70 * S); /* the quote's thirty seconds, then the probe's */
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "number_threads is missing in qgs.conf"));
    ck_assert_ptr_nonnull(strstr(backend(0).problem, "restart qgsd"));
    ask(a, 1, 10000);
    world_receive(&world, a);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 1);
    /* qgsd is restarted. */
    world.probes_hang = false;
    world_pass(&world, 40 * S);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(backend(0).suspect, 1); /* as far as is proven */
    for (uint64_t i = 10; i < 14; i++)
        ask(vm(0, (int)i), i, 10000);
    ck_assert_uint_eq(backend(0).suspect, 0);
    ck_assert_uint_eq(at_qgs(), 4);
    for (int i = 0; i < 4; i++)
        answer(WORLD_QUOTE);
}
END_TEST

START_TEST(where_one_backend_fails_another_is_asked)
{
    open_with("qgs = unix:/q1\nqgs = unix:/q2\n");
    struct world_client *a = vm(0, 1);

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
    for (int i = 0; i < 8; i++)
        answer(WORLD_QUOTE);
    ask(a, 20, 5000);
    char first[108];
    snprintf(first, sizeof(first), "%s", oldest()->path);
    answer(WORLD_ERROR);
    ck_assert_str_ne(oldest()->path, first);
    answer(WORLD_QUOTE);
}
END_TEST

START_TEST(a_quote_that_is_not_genuine_never_reaches_a_guest)
{
    open_with("qgs = unix:/q\nverify_quote_signature = yes\n");
    struct world_client *a = vm(0, 1);

    ask(a, 0, 5000);
    answer(WORLD_QUOTE); /* bound, and not signed */
    ck_assert_uint_eq(world.answered[COCO_EBADMSG], 1);
    ck_assert_uint_eq(metrics.quotes_unsigned, 1);
}
END_TEST

/* --- other questions -------------------------------------------------------------------------- */

/* As a frontend that asks QGS for something else than a quote does. The answer is spelled as PING's,
 * which is counted like any. */
static void ask_platform(struct world_client *client, struct peer *peer, uint16_t minor)
{
    struct coco_qgs_platform_req req = {.minor = minor};
    uint8_t message[COCO_QGS_HEADER_SIZE];
    uint64_t id = client->next_id++;

    ck_assert_int_gt(coco_qgs_platform_req_encode(&req, message, sizeof(message)), 0);
    client->calls[0] = (struct world_call){.waiting = true, .id = id, .type = COCO_PING};
    struct request *request = request_new(peer, COCO_PING, id, world_now_us() + 5 * S);
    ck_assert_ptr_nonnull(request);
    request->reply_max = 4096;
    quotes_ask(world.cocod->quotes, request, message, sizeof(message));
}

START_TEST(other_questions_take_one_slot_and_are_asked_once)
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
END_TEST

Suite *coco_suite(void)
{
    Suite *suite = suite_create("quotes");
    TCase *tcase = tcase_create("quotes");
    const TTest *const tests[] = {
        the_same_tdreport_of_one_account_is_asked_once,
        a_quote_that_comes_too_late_is_kept_for_its_requester,
        who_comes_back_while_qgs_works_finds_his_own_job,
        what_is_kept_is_bounded_in_number_and_bytes,
        one_vm_has_sixteen_in_flight_and_other_users_are_one_vm,
        memory_and_number_of_waiting_jobs_are_bounded,
        what_cannot_be_done_in_time_is_refused_at_once_but_never_by_an_idle_qgs,
        cancelling_and_leaving_take_a_job_out_of_the_queue,
        early_closes_are_retried_up_to_slots_and_one,
        an_error_is_retried_once_and_then_held_against_the_vm,
        leaving_does_not_wash_a_failure_off,
        three_vms_that_fail_open_no_breaker_while_a_fourth_succeeds,
        a_failed_probe_sets_a_backend_aside_until_it_answers,
        failures_to_connect_are_told_apart_and_are_nobodys_fault,
        after_the_start_one_slot_opens_and_the_others_as_answers_come,
        a_slot_that_qgs_gave_up_is_suspect_until_a_probe_is_answered,
        a_thread_that_never_comes_back_costs_one_slot,
        threads_of_a_process_that_is_gone_are_not_suspect,
        overtaking_proves_that_a_thread_is_back,
        suspect_slots_come_back_one_by_one,
        a_qgs_without_threads_is_named_as_what_it_is,
        where_one_backend_fails_another_is_asked,
        a_quote_that_is_not_genuine_never_reaches_a_guest,
        other_questions_take_one_slot_and_are_asked_once,
    };

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, NULL, teardown);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
