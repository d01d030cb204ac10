/* SPDX-License-Identifier: MIT */
/*
 * Reloading a whole cocod on a virtual clock: limits, backends and slots change while sessions go
 * on and quotes are being made.
 */
#include "broker_fixture.h"
#include <sched.h>

static void reload(const char *text)
{
    char all[1024];

    snprintf(all, sizeof(all), "[quotes]\n%s", text);
    world_reload(&world, all);
}

/* One of the quotes that are at that QGS. */
static void answer_to(const char *path)
{
    struct world_exchange *exchange = oldest_at(path);

    ck_assert_ptr_nonnull(exchange);
    ck_assert(world_qgs_answer(&world, exchange, WORLD_QUOTE));
    world_settle(&world);
}

static unsigned received(struct world_client *client)
{
    return world_receive(&world, client);
}

#define A "qgs = unix:/a\n"
#define B "qgs = unix:/b\n"

FIXTURE(.teardown = broker_teardown, .timeout_s = 60);

TEST(a_removed_backend_finishes_what_runs)
{
    open_with(A B "slots = 2\n");
    struct world_client *one = vm(0, 1), *two = vm(0, 2);
    for (uint64_t seed = 1; seed <= 4; seed++)
        ask(seed % 2 ? one : two, seed, 20000);
    ck_assert_uint_eq(count_at("/a"), 2);
    ck_assert_uint_eq(count_at("/b"), 2);

    reload(B "slots = 2\n");
    ask(one, 5, 20000);
    ask(two, 6, 20000);
    ck_assert_uint_eq(count_at("/a"), 2); /* it goes on, and gets nothing new */
    struct quotes_status status;
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_str_eq(status.backend, "unix:/b");
    ck_assert_uint_eq(status.n_backends, 2); /* seen until it has ended */
    ck_assert_uint_eq(status.slots, 2);
    answer_to("/a");
    answer_to("/a");
    ck_assert_uint_eq(received(one) + received(two), 2);
    ck_assert_uint_eq(count_at("/a"), 0);
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.n_backends, 1);
    for (int i = 0; i < 4; i++)
        answer_to("/b");
    ck_assert_uint_eq(received(one) + received(two), 4);
    ck_assert_uint_eq(metrics.quotes_ok, 6);
}

TEST(one_that_comes_back_is_still_the_same)
{
    open_with(A "slots = 2\n");
    struct world_client *one = vm(0, 1);
    ask(one, 1, 20000);
    ask(one, 2, 20000);
    reload(B "slots = 2\n");
    reload(A "slots = 2\n");
    ask(one, 3, 20000);
    ck_assert_uint_eq(count_at("/a"), 2);  /* what it works on still has its slots */
    ck_assert_uint_eq(world.most_open, 3); /* the other was greeted */
    for (int i = 0; i < 3; i++)
        answer_to("/a");
    ck_assert_uint_eq(received(one), 3);
}

TEST(without_any_backend_left_who_waits_is_told)
{
    open_with(A "slots = 1\n");
    struct world_client *one = vm(0, 1);
    ask(one, 1, 20000);
    ask(one, 2, 20000);
    reload("qgs = none\n");
    ck_assert_uint_eq(received(one), 1);
    ck_assert_uint_eq(world.answered[COCO_ENODEV], 1);
    answer_to("/a");
    ck_assert_uint_eq(received(one), 1);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ask(one, 3, 20000);
    ck_assert_uint_eq(received(one), 1);
    ck_assert_uint_eq(world.answered[COCO_EOPNOTSUPP], 1);
    reload(B);
    ask(one, 4, 20000);
    ck_assert_uint_eq(count_at("/b"), 1);
    answer_to("/b");
    ck_assert_uint_eq(received(one), 1);
}

/* Every other step answers one; the number of slots moves at random. */
TEST_LOOP(slots_up_and_down_never_exceed_the_limit, 0, 30)
{
    char text[256];
    unsigned slots = 4, n = 0;

    open_with(A "slots = 4\n[limits]\nrequests_per_account = 200\n");
    srand((unsigned)_i);
    struct world_client *one = vm(0, 1), *two = vm(0, 2);
    for (uint64_t step = 1; step <= 200; step++) {
        unsigned before = world.n_open;
        switch (rand() % 4) {
        case 0:
            slots = 1 + (unsigned)rand() % 8;
            snprintf(text, sizeof(text), A "slots = %u\n[limits]\nrequests_per_account = 200\n",
                     slots);
            reload(text);
            break;
        case 1:
            if (at_qgs() > 0) {
                answer_to(NULL);
                before--;
            }
            break;
        default:
            if (n < 150) {
                ask(step % 2 ? one : two, step, 20000);
                n++;
            }
        }
        /* Fewer slots are reached as exchanges end: none begins above them. */
        ck_assert_msg(world.n_open <= slots || world.n_open <= before,
                      "%u exchanges, %u before, %u slots", world.n_open, before, slots);
        received(one);
        received(two);
    }
    while (at_qgs() > 0) {
        answer_to(NULL);
        received(one);
        received(two);
    }
    ck_assert_uint_eq(world_waiting(one) + world_waiting(two), 0);
    ck_assert_uint_eq(metrics.quotes_ok, n);
}

TEST(limits_hold_for_what_comes_and_nobody_is_dropped)
{
    open_with(A "slots = 1\n[limits]\npeers_per_account = 8\n");
    struct world_client *clients[4];
    for (int i = 0; i < 4; i++)
        clients[i] = vm(0, 1);
    for (uint64_t i = 0; i < 4; i++)
        ask(clients[i], i + 1, 20000);
    reload(A "slots = 1\n[limits]\npeers_per_account = 2\nrequests_per_account = 2\n");
    ck_assert_uint_eq(metrics.now_peers, 4);
    ck_assert_ptr_null(world_connect_as(&world, 0, 1));
    ask(clients[0], 9, 20000);
    ck_assert_uint_eq(received(clients[0]), 1);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 1);
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_VM], 1);
    for (int i = 0; i < 4; i++) {
        answer_to(NULL);
        world_settle(&world);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(received(clients[i]), 1);
    reload(A "slots = 1\n[limits]\npeers_per_account = 8\n");
    ck_assert_ptr_nonnull(world_connect_as(&world, 0, 1));
}

TEST(kept_quotes_and_deadlines_follow)
{
    open_with(A "slots = 1\nkeep = 1min\n");
    struct world_client *one = vm(0, 1);
    ask(one, 1, 20000);
    world_disconnect(one);
    world_settle(&world);
    answer_to(NULL);
    struct quotes_status status;
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.kept, 1);
    world_pass(&world, 10 * S);
    reload(A "slots = 1\nkeep = 30s\ntimeout = 1s\n");
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.kept, 1);
    world_pass(&world, 20 * S);
    quotes_get_status(world.cocod->quotes, &status);
    ck_assert_uint_eq(status.kept, 0);
    one = vm(0, 1);
    world_quote_get(one, 2, true, 0, COCO_QUOTE_MAX); /* the default deadline is the new one */
    world_send(&world, one, SIZE_MAX);
    world_settle(&world);
    ck_assert_uint_eq(metrics.now_requests, 1);
    world_pass(&world, 2 * S);
    ck_assert_uint_eq(metrics.quotes_etimedout, 1);
}

TEST(what_waits_for_a_restart_is_said)
{
    open_with(A);
    ck_assert_str_eq(world.cocod->config_state.restart_problem, "");
    reload(A "[rpc]\nlisten = /run/other\n[metrics]\nmode = 0600\n");
    ck_assert_ptr_nonnull(strstr(world.cocod->config_state.restart_problem, "[rpc] listen"));
    ck_assert_ptr_nonnull(strstr(world.cocod->config_state.restart_problem, "[metrics] mode"));
    ck_assert_uint_eq(world.cocod->config_state.n_restart, 2);
    reload(A "slots = 3\n[rpc]\nlisten = /run/other\n"); /* still */
    ck_assert_uint_eq(world.cocod->config_state.n_restart, 1);
    reload(A);
    ck_assert_str_eq(world.cocod->config_state.restart_problem, "");
}

/* Read while the worker may write it: that is the point. */
__attribute__((no_sanitize("thread"))) static bool was_read(const volatile struct reload *reload)
{
    return reload->result != 0;
}

static unsigned reloads_told;

/* worker_submit() looks at the clock last: there the loop's thread waits for the worker's end. */
static uint64_t now_when_it_was_read(void)
{
    while (!was_read(&world.cocod->reload))
        sched_yield();
    return world_now_us();
}

static void reload_is_told(void)
{
    reloads_told++;
}

/* The loop's thread then took "it was submitted" for "it was read well": a signal 11. */
TEST(a_refusal_that_is_there_before_the_loop_goes_on_is_a_refusal)
{
    static const char refused[] = "[quotes]\nslots = many\n";
    char path[4200];

    open_with(A);
    snprintf(path, sizeof(path), "%s/cocod.conf", world.dir);
    test_write_file(path, refused, strlen(refused));
    ck_assert_int_eq(cocod_start_reloads(world.cocod, &(struct reload_options){.config = path},
                                         reload_is_told),
                     0);
    sys.now_us = now_when_it_was_read;
    reload_begin(&world.cocod->reload);
    sys.now_us = world_now_us;
    while (reloads_told == 0)
        ck_assert_int_ge(event_base_loop(world.base, EVLOOP_ONCE), 0);
    ck_assert_uint_eq(reloads_told, 1);
    ck_assert_int_eq(world.cocod->config_state.source, CONFIG_SOURCE_BEFORE);
    ck_assert_ptr_nonnull(strstr(world.cocod->config_state.problem, "slots"));
}
