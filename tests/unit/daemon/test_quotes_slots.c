/* SPDX-License-Identifier: MIT */
/*
 * The slots of a QGS on a virtual clock: how many are opened after the start, which are suspect,
 * what gives them back, and what does not.
 */
#include "broker_fixture.h"
#include "qgs_model.h"

FIXTURE(.teardown = broker_teardown, .timeout_s = 300);

/* --- slots ------------------------------------------------------------------------------------ */

TEST(after_the_start_one_slot_opens_and_the_others_as_answers_come)
{
    world_open(&world, "[quotes]\nqgs = unix:/q\n");
    struct world_client *a = vm(0, 1);

    ask_many(a, 8, 0, 60000);
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 2);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 3);
    ck_assert_uint_eq(backend(0).slots_open, 3);
    answers(6, WORLD_QUOTE);
}

TEST(without_answers_one_slot_more_opens_each_second_and_all_after_thirty)
{
    world_open(&world, "[quotes]\nqgs = unix:/q slots=40\n[limits]\nrequests_per_account = 60\n");
    struct world_client *a = vm(0, 1);

    world.probes_hang = true;
    ask_many(a, 50, 0, 60000);
    for (unsigned s = 0; s < 29; s++) {
        ck_assert_uint_eq(at_qgs(), 1 + s);
        world_pass(&world, 999 * MS);
        ck_assert_uint_eq(at_qgs(), 1 + s);
        world_pass(&world, 1 * MS);
    }
    ck_assert_uint_eq(backend(0).slots_open, 30);
    world_pass(&world, 1 * S); /* QGS has given up the first: that slot is suspect */
    ck_assert_uint_eq(backend(0).slots_open, 40);
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_uint_eq(at_qgs(), 39);
    ck_assert_uint_le(world.most_open, 40);
    answer_all();
}

/* cocod was restarted while one of QGS's four threads hung, or the first request makes one hang. */
TEST(one_thread_that_hangs_after_the_start_costs_its_own_request_alone)
{
    struct qgs_model model = {.world = &world, .threads = 4, .hangs = 1, .service_us = 100 * MS};

    world_open(&world, "[quotes]\nqgs = unix:/q\n");
    memset(&metrics, 0, sizeof(metrics));
    for (int i = 0; i < 32; i++)
        ask(vm(0, i + 1), (uint64_t)i, 25000);
    qgs_model_run(&model, 4 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 31);
    qgs_model_run(&model, 22 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 31);
    ck_assert_uint_eq(metrics.quotes_etimedout, 1);
    ck_assert_uint_le(world.most_open, 4); /* what was abandoned counts */
    ck_assert_uint_eq(backend(0).abandoned, 1);
    world.probes_hang = true; /* QGS gives the hung one up */
    qgs_model_run(&model, 6 * S, NULL, NULL);
    ck_assert_uint_eq(backend(0).suspect, 1);
    world.probes_hang = false;
}

TEST(a_slot_that_qgs_gave_up_is_suspect_until_a_probe_is_answered)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 2\n"), *b = vm(0, 2);

    world.probes_hang = true;
    ask(a, 0, 60000);
    world_pass(&world, 30 * S); /* QGS's own timer */
    ck_assert_uint_eq(world.answered[COCO_ETIMEDOUT], 1);
    ck_assert_uint_eq(backend(0).suspect, 1);
    ck_assert_uint_eq(backend(0).busy, 1); /* the probe, on that slot */
    ask_many(b, 2, 1, 25000);
    ck_assert_uint_eq(at_qgs(), 1);
    world.probes_hang = false;
    world_pass(&world, 0);
    ck_assert_uint_eq(backend(0).suspect, 0);
    ck_assert_uint_eq(at_qgs(), 2);
    answers(2, WORLD_QUOTE);
    ck_assert_uint_le(world.most_open, 2);
}

/* One of four threads is gone for good. The test plays the three others: a probe is answered where
 * one of them is free, so not while they have three quotes. */
TEST(a_thread_that_never_comes_back_costs_one_slot)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 4\n"), *b = vm(0, 2), *c = vm(0, 3);

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
    answer_all();
}

/* qgsd was restarted, and nobody asked in between. */
TEST(threads_of_a_process_that_is_gone_are_not_suspect)
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
    answer_all();
}

/* Where a probe takes long, another exchange that overtakes all before it proves as much. */
TEST(overtaking_proves_that_a_thread_is_back)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 3\n"), *b = vm(0, 2), *c = vm(0, 3);

    ask(a, 0, 60000);
    world_pass(&world, 31 * S);
    ck_assert_uint_eq(backend(0).suspect, 1);
    world.probes_hang = true;
    ask(b, 1, 60000);
    world_pass(&world, 10 * MS);
    ask(b, 2, 60000);
    world_pass(&world, 10 * MS);
    ask_many(c, 2, 3, 60000);
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
    answer_all();
}

/* All of them hung. Each answered probe gives back one slot, and only where all others are in use.
 */
TEST(suspect_slots_come_back_one_by_one)
{
    struct world_client *a = open_vm("qgs = unix:/q\nslots = 4\n");

    world.probes_hang = true;
    ask_many(a, 4, 0, 60000);
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
    answer_all();
}

TEST(a_qgs_without_threads_is_named_as_what_it_is)
{
    struct world_client *a = open_vm("qgs = unix:/q\n");

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
    answers(4, WORLD_QUOTE);
}
