/* SPDX-License-Identifier: MIT */
/*
 * The broker with many VMs, on a virtual clock and a QGS of four threads: throughput, fairness, a
 * flood of wrong MACs, overload. Each prints its figures.
 */
#include "broker_fixture.h"
#include "qgs_model.h"

/* --- many VMs --------------------------------------------------------------------------------- */

#define VMS     64
#define THREADS 4

static struct world_client *vms[VMS];
static struct {
    unsigned depth; /* requests it keeps in flight */
    uint64_t answered;
    uint64_t failed;
    uint64_t worst_us;
    bool bad_mac;
} load[VMS];
static uint64_t next_seed;
static uint64_t waits_us[100000];
static size_t n_waits;

static int number_of(const struct world_client *client)
{
    for (int i = 0; i < VMS; i++)
        if (vms[i] == client)
            return i;
    return -1;
}

static void send_bad_mac(struct world_client *client, uint64_t seed)
{
    size_t at = client->out_size;

    world_quote_get(client, seed, true, 20000, COCO_QUOTE_MAX);
    client->out[at + COCO_HEADER_SIZE + 8 + 224] ^= 1; /* both hashes stay right */
    world_send(&world, client, SIZE_MAX);
}

static void keep_busy(void *data)
{
    (void)data;
    for (int i = 0; i < VMS; i++)
        while (world_waiting(vms[i]) < load[i].depth) {
            if (load[i].bad_mac)
                send_bad_mac(vms[i], ++next_seed);
            else
                ask(vms[i], ++next_seed, 20000);
        }
}

static void note_quote(struct world_client *client, const struct world_call *call, uint32_t status)
{
    int i = number_of(client);
    uint64_t us = world_now_us() - call->sent_us;

    if (i < 0)
        return;
    if (status == COCO_OK)
        load[i].answered++;
    else
        load[i].failed++;
    if (i > 0 && n_waits < sizeof(waits_us) / sizeof(waits_us[0]))
        waits_us[n_waits++] = us;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double jain(int from)
{
    double sum = 0, squares = 0;

    for (int i = from; i < VMS; i++) {
        sum += (double)load[i].answered;
        squares += (double)load[i].answered * (double)load[i].answered;
    }
    return sum * sum / ((VMS - from) * squares);
}

static void many_vms(struct qgs_model *model, const char *text)
{
    open_with(text);
    memset(load, 0, sizeof(load));
    n_waits = 0;
    next_seed = 0;
    *model = (struct qgs_model){.world = &world, .threads = THREADS, .service_us = 100 * MS};
    for (int i = 0; i < VMS; i++) {
        vms[i] = vm(0, i + 1);
        load[i].depth = 1;
    }
    world.on_quote = note_quote;
}

FIXTURE(.teardown = broker_teardown, .timeout_s = 300);

TEST(sixty_four_vms_fill_every_slot)
{
    struct qgs_model model;

    many_vms(&model, "qgs = unix:/q\n");
    qgs_model_run(&model, 20 * S, keep_busy, NULL);
    double share = (double)metrics.quotes_ok / (20.0 * THREADS * 10);
    printf("64 VMs, %u slots, 100 ms: %llu quotes in 20 s, %.1f %% of slots / service time\n",
           THREADS, (unsigned long long)metrics.quotes_ok, 100 * share);
    ck_assert_double_ge(share, 0.97);
    ck_assert_uint_le(model.most_working, THREADS);
    ck_assert_double_ge(jain(0), 0.99);
}

TEST(a_greedy_vm_takes_one_turn_a_round)
{
    struct qgs_model model;
    const uint64_t round_us = VMS / THREADS * 100 * MS;

    many_vms(&model, "qgs = unix:/q\n");
    load[0].depth = 16;
    qgs_model_run(&model, 60 * S, keep_busy, NULL);
    qsort(waits_us, n_waits, sizeof(waits_us[0]), compare_u64);
    uint64_t p99 = waits_us[n_waits * 99 / 100];
    printf("16 in flight against 63: quiet p99 %.3f s (a service round is %.3f s), Jain %.5f\n",
           (double)p99 / 1e6, (double)round_us / 1e6, jain(1));
    ck_assert_uint_le(p99, 2 * round_us);
    ck_assert_double_ge(jain(1), 0.99);
    ck_assert_uint_le(load[0].answered, load[1].answered + 8);
}

TEST(a_flood_of_wrong_macs_harms_nobody_else)
{
    struct qgs_model model;
    uint64_t alone = 0, flooded = 0;

    for (int flood = 0; flood < 2; flood++) {
        many_vms(&model, "qgs = unix:/q\n");
        model.check_mac = true;
        load[0].depth = flood ? 16 : 1;
        load[0].bad_mac = flood;
        qgs_model_run(&model, 20 * S, keep_busy, NULL);
        uint64_t sum = 0;
        for (int i = 1; i < VMS; i++) {
            sum += load[i].answered;
            ck_assert_uint_eq(load[i].failed, 0);
        }
        *(flood ? &flooded : &alone) = sum;
        ck_assert_uint_eq(metrics.qgs_breakers, 0);
        ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
        if (!flood)
            broker_teardown();
    }
    printf("63 VMs: %llu quotes beside a quiet VM, %llu beside one that floods wrong MACs\n",
           (unsigned long long)alone, (unsigned long long)flooded);
    ck_assert_uint_ge(flooded, alone * 98 / 100);
}

/* --- overload --------------------------------------------------------------------------------- */

/* Guests that want ten times what QGS can make: each asks, gives up at its deadline (half of them
 * long before it, by CANCEL), and asks again for the same until it has its quote; then for the
 * next.
 */
#define GUESTS 3
static struct {
    uint64_t seed;
    uint64_t id;
    uint64_t again_us;
    uint64_t leaves_us;
    bool waiting;
} guest[VMS][GUESTS];
static struct test_random overload_random;
static uint64_t useful, asked, final;

static void overload_asks(void *data)
{
    (void)data;
    for (int i = 0; i < VMS; i++)
        for (int k = 0; k < GUESTS; k++) {
            if (guest[i][k].waiting && world_now_us() >= guest[i][k].leaves_us) {
                guest[i][k].leaves_us = UINT64_MAX;
                world_queue(vms[i], COCO_CANCEL, guest[i][k].id, 0, NULL, 0);
                world_send(&world, vms[i], SIZE_MAX);
            }
            if (guest[i][k].waiting || world_now_us() < guest[i][k].again_us)
                continue;
            if (guest[i][k].seed == 0)
                guest[i][k].seed = ++next_seed;
            guest[i][k].waiting = true;
            asked++;
            bool hasty = test_random_below(&overload_random, 2) == 0;
            guest[i][k].leaves_us =
                hasty ? world_now_us() + test_random_below(&overload_random, 2000) * MS
                      : UINT64_MAX;
            guest[i][k].id = vms[i]->next_id;
            ask(vms[i], guest[i][k].seed, 2000);
        }
}

static void overload_answer(struct world_client *client, const struct world_call *call,
                            uint32_t status)
{
    int i = number_of(client);

    final++;
    for (int k = 0; k < GUESTS && i >= 0; k++) {
        if (guest[i][k].seed != call->td_seed)
            continue;
        guest[i][k].waiting = false;
        guest[i][k].again_us = world_now_us() + 300 * MS;
        if (status == COCO_OK) {
            useful++;
            guest[i][k].seed = 0;
        }
    }
}

static double overload(const char *text)
{
    struct qgs_model model;

    many_vms(&model, text);
    model.service_us = 200 * MS;
    memset(guest, 0, sizeof(guest));
    overload_random = (struct test_random){7};
    useful = asked = final = 0;
    world.on_quote = overload_answer;
    qgs_model_run(&model, 60 * S, overload_asks, NULL);
    double goodput = (double)useful / (60.0 * THREADS * 5);
    double offered = (double)asked / (60.0 * THREADS * 5);
    world_pass(&world, 3 * S);
    ck_assert_uint_eq(final, asked); /* when it came is checked for each answer: world.c */
    ck_assert_uint_le(model.most_working, THREADS);
    ck_assert_double_ge(offered, 10);
    printf("overload %.1f x for 60 s%s: goodput %.1f %% of capacity\n", offered,
           strstr(text, "reuse = no") ? ", without joining and keeping" : "", 100 * goodput);
    return goodput;
}

TEST(ten_times_overload_wastes_little)
{
    double without = overload("qgs = unix:/q\nreuse = no\n");
    broker_teardown();
    double with = overload("qgs = unix:/q\n");

    ck_assert_double_ge(with, 0.90);
    ck_assert_double_ge(with, without);
}
