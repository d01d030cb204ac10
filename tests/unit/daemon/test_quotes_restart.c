/* SPDX-License-Identifier: MIT */
/*
 * QGS is restarted, on the virtual clock: it costs those who wait a wait. How long they wait, who
 * is blamed, what they may pile up meanwhile, and what becomes of them when it does not come back.
 */
#include "broker_fixture.h"
#include "qgs_model.h"
#include "qgs_msg.h"
#include "tdx_quote.h"

#define VMS   64
#define SEEDS 20
#define PID   0x40000000

static struct qgs_model model;
static struct world_client *vms[VMS];

static void open_model(const char *text)
{
    open_with(text);
    world.qgs_pid = PID;
    model = (struct qgs_model){.world = &world, .threads = 4, .service_us = 100 * MS};
}

/* --- the ways in which it restarts ------------------------------------------------------------ */

enum restart {
    KILLED,     /* what is in flight ends at once; the stale socket refuses connections */
    TERMINATED, /* the same, and its socket is gone */
    FORBIDDEN,  /* the same, and its new socket cannot be connected to for a while */
    STOPPED,    /* nothing ends, nothing is answered; then it goes on */
    PROXIED,    /* who accepts for it closes at once, as long as it is away */
    RESTARTS,
};

static void each_of_a_proxy(void *data)
{
    (void)data;
    world_qgs_die(&world, NULL);
}

/* Away for three seconds. */
static void restart(enum restart how)
{
    static const int errors[RESTARTS] = {
        [KILLED] = ECONNREFUSED, [TERMINATED] = ENOENT, [FORBIDDEN] = EACCES};
    uint64_t connects = world.connects;

    model.stopped = world.probes_hang = how == STOPPED || how == PROXIED;
    world.connect_error = errors[how];
    if (how != STOPPED)
        qgs_model_die(&model);
    qgs_model_run(&model, 3 * S, how == PROXIED ? each_of_a_proxy : NULL, NULL);
    /* Who is away is not asked again and again. */
    ck_assert_uint_le(world.connects - connects, 40);
    model.stopped = world.probes_hang = false;
    world.connect_error = 0;
}

FIXTURE(.teardown = broker_teardown, .timeout_s = 300);

/* --- 64 requests and a restart ---------------------------------------------------------------- */

/* With another cocod for each seed. */
static void with_each_seed(int how, void (*run)(enum restart how, uint64_t seed))
{
    uint64_t first = test_seed(1);

    for (uint64_t seed = first; seed < first + SEEDS; seed++) {
        if (seed > first)
            broker_teardown();
        open_model("qgs = unix:/q\n");
        run((enum restart)how, seed);
    }
}

static void restart_soon(enum restart how, uint64_t seed, uint32_t most_ms)
{
    struct test_random r = {seed * 7919 + (uint64_t)how};

    qgs_model_run(&model, test_random_below(&r, most_ms) * MS, NULL, NULL);
    restart(how);
}

static void lose_none_of_64(enum restart how, uint64_t seed)
{
    for (int i = 0; i < VMS; i++)
        vms[i] = vm(0, i + 1);
    for (int i = 0; i < VMS; i++)
        ask(vms[i], seed * 1000 + (uint64_t)i, 25000);
    restart_soon(how, seed, 1500);
    qgs_model_run(&model, 2 * S + 600 * MS, NULL, NULL);
    ck_assert_msg(metrics.quotes_ok == VMS, "seed %llu", (unsigned long long)seed);
    for (int i = 0; i < VMS; i++)
        ck_assert_uint_eq(world_waiting(vms[i]), 0);
    ck_assert_uint_le(model.most_working, 4);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    ck_assert_uint_eq(backend(0).failed, 0); /* nobody was blamed */
    ck_assert_ptr_null(backend(0).problem);
    ck_assert_int_eq(metrics.quotes_waited > 0, how != STOPPED);
}

TEST_LOOP(a_restart_of_three_seconds_loses_none_of_64, 0, RESTARTS)
{
    with_each_seed(_i, lose_none_of_64);
}

static void lose_no_single_one(enum restart how, uint64_t seed)
{
    ask(vm(0, 1), seed, 25000);
    restart(how);
    qgs_model_run(&model, 1 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_uint_eq(backend(0).failed, 0);
}

TEST_LOOP(nor_does_it_lose_a_single_one, 0, RESTARTS)
{
    with_each_seed(_i, lose_no_single_one);
}

/* Twenty restarts in the life of one cocod, under load. */
static uint64_t next_seed;

static void keep_busy(void *data)
{
    (void)data;
    for (int i = 0; i < VMS; i++)
        if (world_waiting(vms[i]) == 0)
            ask(vms[i], ++next_seed, 25000);
}

TEST(twenty_restarts_under_load_lose_none)
{
    struct test_random r = {test_seed(1)};

    open_model("qgs = unix:/q\n");
    next_seed = 0;
    for (int i = 0; i < VMS; i++)
        vms[i] = vm(0, i + 1);
    for (int round = 0; round < 20; round++) {
        qgs_model_run(&model, (1000 + test_random_below(&r, 2000)) * MS, keep_busy, NULL);
        restart((enum restart)test_random_below(&r, RESTARTS));
    }
    qgs_model_run(&model, 3 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, next_seed);
    ck_assert_uint_eq(backend(0).failed, 0);
    ck_assert_uint_eq(metrics.quotes_eagain + metrics.quotes_failed, 0);
}

/* --- the front door --------------------------------------------------------------------------- */

static int door_ask(uint64_t seed)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE];
    struct coco_qgs_quote_req req = {.minor = 1,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreport};

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, wire + 4, COCO_QGS_QUOTE_REQ_SIZE),
                     COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
    int fd = rig_adopt(world.cocod->server, &qgs_door_dialect, &world.cocod->door, NULL);
    rig_send(fd, wire, sizeof(wire));
    world_settle(&world);
    return fd;
}

/* QEMU's conditions: a whole reply 1.1, of type 1, with error code 0; then the end. */
static bool is_quote(int fd)
{
    static uint8_t in[65536];
    ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);

    return n > 28 && memcmp(in + 4, "\1\0\1\0\1\0\0\0", 8) == 0 &&
           memcmp(in + 16, "\0\0\0\0\0\0\0\0", 8) == 0;
}

static void lose_none_at_the_front_door(enum restart how, uint64_t seed)
{
    int fds[16];

    model.service_us = 300 * MS;
    for (uint64_t i = 0; i < 16; i++)
        fds[i] = door_ask(seed * 100 + i);
    restart_soon(how, seed, 1000);
    qgs_model_run(&model, 3 * S, NULL, NULL);
    for (int i = 0; i < 16; i++) {
        ck_assert_msg(is_quote(fds[i]), "guest %d", i);
        close(fds[i]);
    }
    ck_assert_uint_eq(metrics.door_refused, 0);
}

TEST_LOOP(sixteen_at_the_front_door_lose_nothing, 0, RESTARTS)
{
    with_each_seed(_i, lose_none_at_the_front_door);
}

/* --- how long they wait ----------------------------------------------------------------------- */

static uint64_t ended_us;
static uint32_t ended_status;

static void note_end(struct world_client *client, const struct world_call *call, uint32_t status)
{
    (void)client;
    ended_us = world_now_us() - call->sent_us;
    ended_status = status;
}

static void must_end(uint32_t status, uint64_t from_us, uint64_t to_us)
{
    ck_assert_msg(ended_status == status && ended_us >= from_us && ended_us <= to_us,
                  "status %u after %llu us", ended_status, (unsigned long long)ended_us);
    ended_us = ended_status = 0;
}

static void refused_at_once(struct world_client *client, uint64_t seed)
{
    ask(client, seed, 60000);
    world_pass(&world, 0);
    must_end(COCO_ENODEV, 0, 0);
}

static void reach_qgs(struct world_client *client)
{
    ask(client, 99999, 5000);
    qgs_model_run(&model, 200 * MS, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
}

/* A VM that has reached QGS, which is gone then. */
static struct world_client *open_left(const char *text)
{
    open_model(text);
    struct world_client *client = vm(0, 1);

    reach_qgs(client);
    world.on_quote = note_end;
    world.connect_error = ECONNREFUSED;
    return client;
}

TEST(who_waits_is_told_after_ten_seconds_and_who_comes_later_at_once)
{
    struct world_client *a = open_left("qgs = unix:/q\n");

    ask(a, 1, 25000);
    world_pass(&world, 9999 * MS);
    ck_assert_uint_eq(world_waiting(a), 1);
    world_pass(&world, 1 * MS);
    must_end(COCO_ENODEV, 10 * S, 10 * S);
    refused_at_once(a, 2);
    /* A request that comes when it is back finds out, long before the next probe. */
    world_pass(&world, 600 * S + 300 * MS);
    world.connect_error = 0;
    ask(a, 3, 25000);
    world_pass(&world, 0);
    answer(WORLD_QUOTE);
    must_end(COCO_OK, 0, 0);
}

/* That of cocod, or of the reload that brought it. */
static struct world_client *start_without_qgs(void)
{
    open_with("qgs = unix:/q\n");
    world.on_quote = note_end;
    world.connect_error = ENOENT;
    world_reload(&world, "[quotes]\nqgs = unix:/never\n");
    return vm(0, 1);
}

TEST(a_qgs_that_was_never_there_is_waited_for_from_the_start)
{
    struct world_client *a = start_without_qgs();

    world_pass(&world, 4 * S);
    ask(a, 1, 25000); /* a guest that was started before qgsd was */
    world_pass(&world, 60 * S);
    must_end(COCO_ENODEV, 6 * S, 6 * S);
    refused_at_once(a, 2);
    broker_teardown();

    a = start_without_qgs();
    world_pass(&world, 3600 * S); /* nobody asked for an hour */
    refused_at_once(a, 3);
}

TEST(a_short_deadline_is_told_before_it_is_over)
{
    struct world_client *a = open_left("qgs = unix:/q\n"), *b = vm(0, 2); /* a quote takes 100 ms */

    ask(b, 1, 25000);
    ask(a, 2, 3000);
    world_pass(&world, 2849 * MS); /* the server's own margin is 50 ms */
    ck_assert_uint_eq(world_waiting(a), 1);
    world_pass(&world, 2 * MS);
    must_end(COCO_ENODEV, 2850 * MS, 2851 * MS);
    ck_assert_uint_eq(world_waiting(b), 1);
}

TEST(how_long_is_configured_and_none_at_all_is_at_once)
{
    struct world_client *a = open_left("qgs = unix:/q\nqgs_wait = 20s\n");

    ask(a, 1, 60000);
    world_pass(&world, 30 * S);
    must_end(COCO_ENODEV, 20 * S, 20 * S);
    world.connect_error = 0;
    world_pass(&world, 10 * S);
    world.connect_error = ECONNREFUSED;
    ask(a, 2, 60000);
    world_pass(&world, 1 * S);
    world_reload(&world, "[quotes]\nqgs = unix:/q\nqgs_wait = 0s\n");
    world_receive(&world, a);
    must_end(COCO_ENODEV, 1 * S, 1 * S);
    refused_at_once(a, 3);
    world.connect_error = 0;
    world_pass(&world, 10 * S);
    world.connect_error = ECONNREFUSED;
    refused_at_once(a, 4);
}

/* A reload takes the only one out of the configuration: nobody will come. */
TEST(without_any_qgs_configured_nobody_waits)
{
    struct world_client *a = open_left("qgs = unix:/q\n");

    ask(a, 1, 25000);
    world_pass(&world, 1 * S);
    world_reload(&world, "[quotes]\n");
    world_receive(&world, a);
    must_end(COCO_ENODEV, 1 * S, 1 * S);
}

/* --- who is blamed ---------------------------------------------------------------------------- */

/* That a VM is in favour shows in its slots: one that is not has one. */
static void must_be_in_favour(struct world_client *client, uint64_t seed)
{
    unsigned before = at_qgs();

    ask(client, seed, 25000);
    ask(client, seed + 1, 25000);
    ck_assert_uint_eq(at_qgs(), before + 2);
    qgs_model_run(&model, 300 * MS, NULL, NULL);
}

TEST(what_a_restart_cuts_off_is_held_against_nobody)
{
    open_model("qgs = unix:/q\n");
    struct world_client *left = vm(0, 1), *late = vm(0, 2), *waits = vm(0, 3), *failed = vm(0, 4);

    ask(failed, 1, 25000); /* it is out of favour already */
    answers(2, WORLD_ERROR);
    ck_assert_uint_eq(world.answered[COCO_EIO], 1);
    ask(left, 2, 500); /* nobody waits for it when it is cut off */
    world_pass(&world, 600 * MS);
    ask(late, 3, 20); /* it cannot be asked once more in time */
    ask(waits, 4, 25000);
    ask(failed, 5, 25000);
    ck_assert_uint_eq(at_qgs(), 4);
    uint64_t failures = backend(0).failed;
    restart(KILLED);
    qgs_model_run(&model, 1 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 2);
    ck_assert_uint_eq(backend(0).failed, failures);
    must_be_in_favour(left, 10);
    must_be_in_favour(late, 20);
    must_be_in_favour(waits, 30);
    ck_assert_ptr_null(backend(0).problem);
}

/* Each time that QGS reads this VM's request it dies, and is back 200 ms later. */
static uint64_t killer_seed;
static uint64_t kills, back_us;

static void dies_of_it(void *data)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    (void)data;
    if (world.connect_error && world_now_us() >= back_us)
        world.connect_error = 0;
    tdx_make_tdreport(killer_seed, NULL, tdreport);
    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        const uint8_t *request = world_qgs_request(&world, &world.exchanges[i]);
        if (!request || memcmp(request, tdreport, sizeof(tdreport)) != 0)
            continue;
        kills++;
        back_us = world_now_us() + 200 * MS;
        world.connect_error = ECONNREFUSED;
        qgs_model_die(&model);
    }
}

TEST(a_request_that_kills_qgs_is_not_tried_for_ever)
{
    open_model("qgs = unix:/q\n");
    struct world_client *killer = vm(0, 1);

    world.on_quote = note_end;
    for (killer_seed = 1; killer_seed <= 4; killer_seed++) {
        kills = 0;
        ask(killer, killer_seed, 25000);
        qgs_model_run(&model, 20 * S, dies_of_it, NULL);
        ck_assert_uint_eq(ended_status, COCO_EIO);
        /* slots + 1 times more; once it is known for that, once more */
        ck_assert_uint_eq(kills, killer_seed == 1 ? 6 : 2);
    }
    /* Others get theirs in between, though each dying QGS takes what they had there. */
    for (int i = 1; i < 16; i++) {
        vms[i] = vm(0, 100 + i);
        ask(vms[i], 100 + (uint64_t)i, 25000);
    }
    killer_seed = 5;
    ask(killer, killer_seed, 25000);
    qgs_model_run(&model, 20 * S, dies_of_it, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 15);
}

/* --- what they may pile up -------------------------------------------------------------------- */

TEST(those_who_wait_are_limited_as_ever)
{
    open_model("qgs = unix:/q\nqueue = 40\n[limits]\nrequests_per_user = 100\n");
    struct world_client *clients[5];
    uint64_t seed = 0;

    for (int i = 0; i < 5; i++)
        clients[i] = vm(0, i + 1);
    reach_qgs(clients[0]);
    world.connect_error = ECONNREFUSED;
    for (int i = 0; i < 17; i++) /* one VM: 16 */
        ask(clients[0], ++seed, 25000);
    world_receive(&world, clients[0]);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 1);
    for (int i = 0; i < 26; i++) /* all: 40 */
        ask(clients[1 + i / 13], ++seed, 25000);
    for (int i = 0; i < 5; i++) /* the last two took the places of two of the one that has 16 */
        world_receive(&world, clients[i]);
    ck_assert_uint_eq(world.answered[COCO_EAGAIN], 3);
    ck_assert_uint_eq(quotes_now().waiting, 40);
    ck_assert_uint_eq(quotes_now().queued, 40);
    ck_assert_uint_eq(metrics.quotes_waited, 42);
    ck_assert_uint_ne(backend(0).away_us, 0);
    /* What could not be done in time, were QGS back at once, is refused at once. */
    world.answered[COCO_EAGAIN] = 0;
    world_pass(&world, 100 * MS);
    ck_assert_uint_eq(quotes_now().waiting, 40);
    world.connect_error = 0;
    qgs_model_run(&model, 3 * S, NULL, NULL);
    ck_assert_uint_eq(metrics.quotes_ok, 41);
    ck_assert_uint_eq(quotes_now().waiting, 0);
    ck_assert_uint_eq(backend(0).away_us, 0);
}

TEST(when_it_is_back_vms_take_turns)
{
    static uint8_t expected[COCO_TDREPORT_SIZE];
    open_model("qgs = unix:/q slots=1\n");
    struct world_client *greedy = vm(0, 1), *others[3] = {vm(0, 2), vm(0, 3), vm(0, 4)};

    reach_qgs(greedy);
    world.connect_error = ECONNREFUSED;
    ask_many(greedy, 16, 100, 25000);
    for (uint64_t i = 0; i < 3; i++)
        ask(others[i], 200 + i, 25000);
    world_pass(&world, 2 * S);
    world.connect_error = 0;
    world_pass(&world, 400 * MS);
    static const uint64_t order[] = {100, 200, 201, 202, 101, 102};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        tdx_make_tdreport(order[i], NULL, expected);
        ck_assert_mem_eq(world_qgs_request(&world, oldest()), expected, sizeof(expected));
        answer(WORLD_QUOTE);
    }
    answer_all();
}

/* --- two of them ------------------------------------------------------------------------------ */

/* While one is there, nobody waits for the other, and when it is back it is used. */
TEST(one_of_two_restarts)
{
    open_model("qgs = unix:/q1\nqgs = unix:/q2\n");
    struct world_client *a = vm(0, 1);

    ask_many(a, 8, 0, 25000);
    ck_assert_uint_eq(at_qgs(), 8);
    world.connect_error = ECONNREFUSED;
    world.dead_path = "/q1";
    world_qgs_die(&world, "/q1");
    ck_assert_uint_eq(at_qgs(), 4);
    ck_assert_uint_eq(backend(1).busy, 4);
    ck_assert_uint_eq(metrics.quotes_waited, 0);
    world_pass(&world, 1 * S);
    world.connect_error = 0;
    world_pass(&world, 400 * MS);
    ck_assert_uint_eq(at_qgs(), 8);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 8);
}
