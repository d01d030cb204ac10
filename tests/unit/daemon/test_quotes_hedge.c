/* SPDX-License-Identifier: MIT */
/*
 * Two quoting services, one of them hangs, on the virtual clock: what takes long at one is asked of
 * the other as well. When, who wins, what becomes of the one that loses, and whom it costs what.
 */
#include "broker_fixture.h"
#include "peer/request.h"
#include "qgs_model.h"
#include "tdx_quote.h"

#define TWO "qgs = unix:/q1\nqgs = unix:/q2\n"

static void answer_at(const char *path, enum world_answer how)
{
    ck_assert_ptr_nonnull(oldest_at(path));
    ck_assert(world_qgs_answer(&world, oldest_at(path), how));
    world_pass(&world, 0);
}

/* Whose request is that? By the seed. */
static bool asks(const struct world_exchange *exchange, uint64_t seed)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    tdx_make_tdreport(seed, NULL, tdreport);
    return memcmp(world_qgs_request(&world, (struct world_exchange *)exchange), tdreport,
                  sizeof(tdreport)) == 0;
}

/* So that both have answered in that time, and nothing is at work. */
static void get_used_to(struct world_client *client, uint64_t us)
{
    ask_many(client, 2, 900, 25000);
    ck_assert_uint_eq(count_at("/q1"), 1);
    ck_assert_uint_eq(count_at("/q2"), 1);
    world_pass(&world, us);
    answer_at("/q1", WORLD_QUOTE);
    answer_at("/q2", WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
    metrics.quotes_ok = 0;
}

static struct world_client *open_used_to(uint64_t us)
{
    struct world_client *client = open_vm(TWO);

    get_used_to(client, us);
    return client;
}

/* --- when ------------------------------------------------------------------------------------- */

static void hedged_after(uint64_t us)
{
    world_pass(&world, us - 1);
    ck_assert_uint_eq(at_qgs(), 1);
    world_pass(&world, 1);
    ck_assert_uint_eq(at_qgs(), 2);
    ck_assert_uint_eq(metrics.quotes_hedged, 1);
    metrics.quotes_hedged = 0;
}

FIXTURE(.teardown = broker_teardown, .timeout_s = 300);

TEST(eight_times_the_usual_at_least_200_ms_and_2_s_where_nothing_is_usual)
{
    struct world_client *a = open_vm(TWO);

    ask(a, 1, 25000);
    hedged_after(2 * S);
    answer_all();
    broker_teardown();

    a = open_used_to(100 * MS);
    ask(a, 1, 25000);
    hedged_after(800 * MS);
    answer_all();
    broker_teardown();

    a = open_used_to(5 * MS);
    ask(a, 1, 25000);
    hedged_after(200 * MS);
    answer_at("/q1", WORLD_QUOTE);
    answer_at("/q2", WORLD_QUOTE);
}

/* One service alone, one whose other is away, and a request that could not be done elsewhere in
 * time. */
TEST(not_where_there_is_no_other)
{
    struct world_client *a = open_vm("qgs = unix:/q1\n");

    ask(a, 1, 25000);
    world_pass(&world, 20 * S);
    ck_assert_uint_eq(at_qgs(), 1);
    answer(WORLD_QUOTE);
    broker_teardown();

    a = open_used_to(100 * MS);
    world.connect_error = 111; /* ECONNREFUSED */
    world.dead_path = "/q2";
    ask_many(a, 2, 1, 25000); /* that finds out */
    world_pass(&world, 20 * S);
    ck_assert_uint_eq(at_qgs(), 2);
    ck_assert_uint_eq(count_at("/q1"), 2);
    ck_assert_uint_eq(metrics.quotes_hedged, 0);
    world.connect_error = 0;
    world_pass(&world, 4 * S); /* it is back: one after the other, they are one VM's */
    ck_assert_uint_eq(count_at("/q2"), 1);
    answer_at("/q2", WORLD_QUOTE);
    answer_at("/q2", WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
    broker_teardown();

    a = open_used_to(100 * MS);
    ask(a, 1, 900);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(metrics.quotes_hedged, 0);
    answer_all();
}

/* --- who wins --------------------------------------------------------------------------------- */

/* One request that was hedged: where it was asked first, and where then. */
static const char *first, *other;

static void hedge_one(struct world_client *client, uint64_t seed)
{
    ask(client, seed, 25000);
    first = oldest_at("/q1") ? "/q1" : "/q2";
    other = oldest_at("/q1") ? "/q2" : "/q1";
    world_pass(&world, 1 * S);
    ck_assert_uint_eq(count_at(first), 1);
    ck_assert_uint_eq(count_at(other), 1);
}

TEST_LOOP(the_first_answer_wins_and_the_other_keeps_its_slot, 0, 2)
{
    bool hedge_wins = _i == 0;

    struct world_client *a = open_used_to(5 * MS);
    hedge_one(a, 10);
    answer_at(hedge_wins ? other : first, WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_uint_eq(metrics.quotes_hedges_won, hedge_wins);
    ck_assert_uint_eq(at_qgs(), 1);
    ck_assert_uint_eq(backend(0).abandoned + backend(1).abandoned, 1);
    ck_assert_uint_eq(backend(0).busy + backend(1).busy, 1);
    /* Who asks for the same again does not wait for the one that hangs. */
    ask(a, 10, 25000);
    ck_assert_uint_eq(at_qgs(), 2);
    answer_at(hedge_wins ? other : first, WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
    answer_at(hedge_wins ? first : other, WORLD_QUOTE);
    ck_assert_uint_eq(backend(0).busy + backend(1).busy, 0);
    ck_assert_uint_eq(metrics.quotes_kept, 0); /* its requester has it */
    ck_assert_uint_eq(metrics.quotes_ok, 2);
}

static const enum world_answer ways[] = {WORLD_ERROR, WORLD_EOF, WORLD_GARBAGE, WORLD_CUT,
                                         WORLD_OTHER_QUOTE};
#define WAYS (int)(sizeof(ways) / sizeof(ways[0]))

TEST_LOOP(where_one_fails_the_other_goes_on, 0, 2 * WAYS)
{
    bool first_fails = _i % 2 == 0;

    struct world_client *a = open_used_to(5 * MS);
    hedge_one(a, 10);
    answer_at(first_fails ? first : other, ways[_i / 2]);
    ck_assert_uint_eq(world_waiting(a), 1);
    ck_assert_uint_eq(at_qgs(), 1);
    world_pass(&world, 3 * S);
    ck_assert_uint_eq(at_qgs(), 1); /* not asked again where it failed */
    answer_at(first_fails ? other : first, WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(a), 0);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_uint_eq(backend(0).failed + backend(1).failed, 0);
}

TEST_LOOP(where_both_fail_the_vm_is_told, 0, 2)
{
    struct world_client *a = open_used_to(5 * MS);
    hedge_one(a, 10);
    answer_at(_i ? first : other, WORLD_ERROR);
    answer_at(_i ? other : first, WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    answer_at(_i ? other : first, WORLD_QUOTE); /* the question whose fault it is */
    ck_assert_uint_eq(at_qgs(), 0);
}

/* Another service could: it is not the VM, so it is that service which is asked. */
TEST(who_has_his_quote_is_not_blamed_for_the_one_that_lost)
{
    struct world_client *a = open_used_to(5 * MS);
    hedge_one(a, 10);
    answer_at(other, WORLD_QUOTE);
    answer_at(first, WORLD_ERROR);
    ck_assert_uint_eq(count_at(first), 1);
    answer_at(first, WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_uint_eq(metrics.quotes_refused + metrics.quotes_failed, 0);
    ck_assert_uint_eq(quotes_now().failed, 0);
    ck_assert_ptr_null(quotes_now().problem);
    ask_many(a, 2, 20, 25000); /* it has more than one slot */
    ck_assert_uint_eq(at_qgs(), 2);
    answer_all();
}

TEST(who_leaves_abandons_both_and_who_comes_back_finds_both)
{
    struct world_client *a = open_used_to(5 * MS);
    ask(a, 10, 1000);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(world.answered[COCO_ETIMEDOUT], 1);
    ck_assert_uint_eq(backend(0).abandoned + backend(1).abandoned, 2);
    ask(a, 10, 25000);
    ck_assert_uint_eq(at_qgs(), 2);
    ck_assert_uint_eq(quotes_now().abandoned, 0);
    ck_assert_uint_eq(quotes_now().running, 1);
    ck_assert_uint_eq(quotes_now().hedged, 1);
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    answer(WORLD_QUOTE);
    broker_teardown();

    /* And where nobody comes back in time, one answer is kept. */
    a = open_used_to(5 * MS);
    ask(a, 11, 1000);
    world_pass(&world, 2 * S);
    answers(2, WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_kept, 1);
    ask(a, 11, 1000);
    ck_assert_uint_eq(at_qgs(), 0);
    ck_assert_uint_eq(metrics.quotes_from_kept, 1);
}

/* --- what it costs, and whom ------------------------------------------------------------------ */

TEST(a_hedge_takes_a_turn_of_its_vm_and_no_slot_that_is_not_there)
{
    struct world_client *a = open_vm("qgs = unix:/q1 slots=1\nqgs = unix:/q2 slots=1\n"),
                        *b = vm(0, 2), *c = vm(0, 3);

    get_used_to(a, 5 * MS);
    ask(a, 10, 25000);
    const char *slow = oldest_at("/q1") ? "/q1" : "/q2", *quick = oldest_at("/q1") ? "/q2" : "/q1";
    ask(b, 20, 25000); /* has the other slot */
    ask(a, 11, 25000); /* waits */
    ask(c, 30, 25000);
    ask(b, 21, 25000);
    world_pass(&world, 190 * MS);
    static const uint64_t order[] = {11, 30, 21}; /* nobody's hedge is due yet */
    answer_at(quick, WORLD_QUOTE);
    ck_assert(asks(oldest_at(quick), order[0]));
    world_pass(&world, 15 * MS); /* now a's first is; its turn is after c's and b's */
    ck_assert_uint_eq(metrics.quotes_hedged, 1);
    ck_assert_uint_eq(at_qgs(), 2);
    answer_at(quick, WORLD_QUOTE);
    ck_assert(asks(oldest_at(quick), 30));
    answer_at(quick, WORLD_QUOTE);
    ck_assert(asks(oldest_at(quick), 21));
    answer_at(quick, WORLD_QUOTE);
    ck_assert(asks(oldest_at(quick), 10));
    answer_at(quick, WORLD_QUOTE);
    ck_assert_uint_eq(metrics.quotes_ok, 5);
    ck_assert_uint_le(world.most_open, 2);
    answer_at(slow, WORLD_QUOTE);
}

/* Before others of its own VM, which are served where it cannot be. */
TEST(a_hedge_that_waits_holds_up_nobody)
{
    struct world_client *a = open_vm("qgs = unix:/q1 slots=2\nqgs = unix:/q2 slots=1\n"),
                        *b = vm(0, 2);

    get_used_to(a, 5 * MS);
    ask(a, 10, 25000);
    ck_assert_ptr_nonnull(oldest_at("/q1"));
    ask(b, 20, 25000); /* at q2, and stays there */
    ck_assert_ptr_nonnull(oldest_at("/q2"));
    world_pass(&world, 300 * MS);
    ask(a, 11, 25000); /* q1 has a slot: behind the hedge, which waits for q2 */
    ck_assert_uint_eq(count_at("/q1"), 2 + 0u);
    world_pass(&world, 0);
    answer_all();
    ck_assert_uint_eq(world_waiting(a) + world_waiting(b), 0);
}

TEST(a_vm_has_one_hedge_at_a_time_and_one_that_failed_has_none)
{
    struct world_client *a = open_vm(TWO), *b = vm(0, 2);

    get_used_to(a, 5 * MS);
    ask_many(a, 4, 10, 25000);
    ck_assert_uint_eq(at_qgs(), 4);
    world_pass(&world, 5 * S);
    ck_assert_uint_eq(at_qgs(), 5);
    ck_assert_uint_eq(metrics.quotes_hedged, 1);
    while (oldest()) {
        answer(WORLD_QUOTE);
        ck_assert_uint_le(at_qgs(), 5);
    }
    metrics.quotes_hedged = 0;
    ask(b, 20, 25000);
    answers(2, WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    while (oldest()) /* what cocod itself may want to know of QGS after that */
        answer(WORLD_QUOTE);
    ask(b, 21, 25000);
    world_pass(&world, 5 * S);
    ck_assert_uint_eq(at_qgs(), 1);
    ck_assert_uint_eq(metrics.quotes_hedged, 0);
    answer(WORLD_QUOTE);
}

/* A VM that makes whatever it asks for hang has no more slots of the second service than without.
 */
TEST(hedges_do_not_double_a_hostile_vms_share)
{
    struct world_client *hostile = open_vm(TWO), *quiet = vm(0, 2);

    get_used_to(quiet, 5 * MS);
    ask_many(hostile, 4, 10, 25000);
    unsigned without = at_qgs();
    world_pass(&world, 20 * S);
    ck_assert_uint_le(at_qgs(), without + 1);
    ask(quiet, 20, 25000);
    ck_assert_uint_eq(at_qgs(), without + 2);
    answer_all();
}

/* --- one hangs -------------------------------------------------------------------------------- */

#define GUESTS 32

TEST(one_of_two_hangs_and_everybody_is_answered_in_two_seconds)
{
    struct qgs_model models[2] = {
        {.world = &world, .path = "/q1", .threads = 4, .service_us = 100 * MS},
        {.world = &world, .path = "/q2", .threads = 4, .service_us = 100 * MS}};
    struct world_client *guests[GUESTS];

    open_with(TWO);
    for (int i = 0; i < GUESTS; i++)
        guests[i] = vm(0, i + 1);
    for (int i = 0; i < GUESTS; i++)
        ask(guests[i], 100 + (uint64_t)i, 25000);
    qgs_models_run(models, 2, 3 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, GUESTS);
    models[0].stopped = true;
    world.probes_hang = true;
    world.hung_path = "/q1";
    for (int i = 0; i < GUESTS; i++)
        ask(guests[i], 200 + (uint64_t)i, 25000);
    /* 28 at 4 x 10/s, and meanwhile the 4 that hang: 8 x 100 ms, then their turn */
    qgs_models_run(models, 2, 1500 * MS, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 2 * GUESTS);
    ck_assert_uint_eq(metrics.quotes_hedges_won, 4);
    ck_assert_uint_eq(backend(0).abandoned, 4);
    ck_assert_uint_le(world.most_open, 8);
    /* QGS gives them up; it is set aside, and nobody is blamed: two at a time still go. */
    qgs_models_run(models, 2, 70 * S, NULL, NULL);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    for (int i = 0; i < GUESTS; i += 8) {
        ask(guests[i], 300 + (uint64_t)i, 25000);
        ask(guests[i], 301 + (uint64_t)i, 25000);
        ck_assert_uint_eq(count_at("/q2"), 2);
        qgs_models_run(models, 2, 300 * MS, NULL, NULL);
    }
    ck_assert_uint_eq(metrics.quotes_ok, 2 * GUESTS + 8);
    world.probes_hang = false;
}
