/* SPDX-License-Identifier: MIT */
/*
 * The daemon's core as a whole, on a virtual clock: seeded interleavings of everything that VMMs,
 * QGS and time can do; memory that runs out at each allocation in turn; and what a CERTS_GET costs.
 */
#include "cached_pki.h"
#include "observe/history.h"
#include "scarce.h"
#include "world.h"

static struct world world;

/* Few, so that they meet; a third of them another VM. */
#define CLIENTS 16

/* A configuration with a chain of the test PKI and a QGS that `fake_connect` plays. */
static const char *config_text(void)
{
    static char text[4096];
    static char dir[64];
    struct snp_pki *pki = cached_pki(NULL, 0);
    struct snp_pki_leaf leaf = {0};
    struct snp_pki_tcb tcb = {.bl = 3, .snp = 8, .ucode = 115};
    uint8_t chip[64] = {1, 2, 3};

    snprintf(dir, sizeof(dir), "%s", test_tmpdir());
    ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chip, &leaf), 0);
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, dir), 0);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
    snprintf(text, sizeof(text),
             "[quotes]\nqgs = unix:/nowhere slots=3\nqgs = unix:/elsewhere slots=1\nqueue = 16\n"
             "[limits]\nrequests_per_account = 40\n"
             "[certs]\nroot = %s/ark.pem\nchain = %s/ark.pem\nchain = %s/ask.pem\n"
             "chain = %s/vcek.pem\n",
             dir, dir, dir, dir);
    return text;
}

static void check_chain_is_served(void)
{
    const char *problems[CERTS_PROBLEMS_MAX];

    if (certs_problems(world.cocod->certs, problems) > 0)
        ck_abort_msg("%s", problems[0]);
    ck_assert_ptr_nonnull(certs_status(world.cocod->certs).chain);
}

/* --- interleavings --------------------------------------------------------------------------- */

static void random_request(struct test_random *r, struct world_client *client)
{
    uint8_t junk[64] = {0};

    if (client->out_size > sizeof(client->out) / 2 || world_waiting(client) > WORLD_CALLS / 2)
        return;
    switch (test_random_below(r, 8)) {
    case 0:
    case 1:
        world_certs_get(client, test_random_below(r, 5));
        break;
    case 2:
        world_queue(client, COCO_PING, client->next_id, 0, NULL, 0);
        /* noted like the others, so that its answer is counted */
        client->calls[WORLD_CALLS - 1] = (struct world_call){0};
        for (int i = 0; i < WORLD_CALLS; i++) {
            if (!client->calls[i].waiting) {
                client->calls[i] = (struct world_call){.waiting = true,
                                                       .id = client->next_id++,
                                                       .type = COCO_PING};
                break;
            }
        }
        break;
    case 3: /* cancels something, perhaps something that never was */
        world_queue(client, COCO_CANCEL, 1 + test_random_below(r, (uint32_t)client->next_id + 2), 0,
                    NULL, 0);
        break;
    case 4: /* an unknown one-way message */
        world_queue(client, 0x4ffe, 7, 0, junk, sizeof(junk));
        break;
    default: {
        uint32_t timeout = (uint32_t[]){0, 1, 20, 200, 5000, 60000}[test_random_below(r, 6)];
        world_quote_get(client, test_random_below(r, 6), test_random_below(r, 10) != 0, timeout,
                        test_random_below(r, 20) == 0 ? 100 : COCO_QUOTE_MAX);
    }
    }
}

static void random_qgs(struct test_random *r)
{
    unsigned start = test_random_below(r, WORLD_EXCHANGES);

    for (unsigned i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world.exchanges[(start + i) % WORLD_EXCHANGES];
        if (exchange->fd < 0)
            continue;
        enum world_answer answer = test_random_below(r, 3) != 0
                                       ? WORLD_QUOTE
                                       : (enum world_answer)test_random_below(r, WORLD_ANSWERS);
        if (world_qgs_answer(&world, exchange, answer)) {
            world_settle(&world);
            return;
        }
    }
}

static struct world_client *random_client(struct test_random *r)
{
    struct world_client *client = &world.clients[test_random_below(r, CLIENTS)];

    return client->fd >= 0 && client->established ? client : NULL;
}

static int n_connected(void)
{
    int n = 0;

    for (int i = 0; i < WORLD_CLIENTS; i++)
        n += world.clients[i].fd >= 0;
    return n;
}

static void random_step(struct test_random *r)
{
    struct world_client *client = random_client(r);

    switch (test_random_below(r, 12)) {
    case 0:
        if (n_connected() < CLIENTS) {
            client = world_connect_as(&world, test_random_below(r, 2) ? 0 : 1000,
                                      (pid_t)test_random_below(r, 3));
            if (client)
                world_hello(&world, client, test_random_below(r, 4));
        }
        break;
    case 1:
        if (client && test_random_below(r, 4) == 0) {
            world_disconnect(client);
            world_settle(&world);
        }
        break;
    case 2:
    case 3:
        random_qgs(r);
        break;
    case 4:
        world_pass(&world, test_random_below(r, 100) * 1000u);
        break;
    case 5:
        if (test_random_below(r, 10) == 0)
            world_pass(&world, test_random_below(r, 40) * 1000000u);
        break;
    case 6:
        world.connect_error = (int[]){0, 0, 0, ECONNREFUSED, EAGAIN}[test_random_below(r, 5)];
        world.dead_path = test_random_below(r, 2) ? "/nowhere" : NULL;
        world.probes_hang = test_random_below(r, 4) == 0;
        world.probes_fail = test_random_below(r, 6) == 0;
        break;
    case 7:
        if (client && test_random_below(r, 20) == 0)
            certs_reload(world.cocod->certs, NULL);
        break;
    default:
        if (client) {
            random_request(r, client);
            /* frames are cut anywhere */
            world_send(&world, client,
                       test_random_below(r, 3) == 0 ? test_random_below(r, 700) : SIZE_MAX);
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        world_receive(&world, &world.clients[i]);
    ck_assert_uint_le(metrics.now_jobs, 4 + 16);
}

/* Whoever is still connected gets the rest of its answers within the longest timeout. */
static void drain(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct world_client *client = &world.clients[i];
        while (client->fd >= 0 && client->out_size > 0) {
            size_t before = client->out_size;
            world_send(&world, client, SIZE_MAX);
            world_receive(&world, client);
            if (client->out_size == before)
                break;
        }
    }
    for (int i = 0; i < 62; i++) {
        world_pass(&world, 1000000u);
        for (int j = 0; j < CLIENTS; j++)
            world_receive(&world, &world.clients[j]);
    }
    for (int i = 0; i < CLIENTS; i++)
        if (world.clients[i].fd >= 0)
            ck_assert_msg(world_waiting(&world.clients[i]) == 0,
                          "client %d has %u requests without an answer", i,
                          world_waiting(&world.clients[i]));
}

FIXTURE(.timeout_s = 300);

TEST(every_request_completes_exactly_once)
{
    const char *text = config_text();
    uint64_t first = test_seed(1);
    uint64_t quotes = 0, hedged = metrics.quotes_hedged, won = metrics.quotes_hedges_won;

    for (uint64_t seed = first; seed < first + 100; seed++) {
        struct test_random r = {seed};
        world_open(&world, text);
        check_chain_is_served();
        for (int step = 0; step < 1500; step++)
            random_step(&r);
        world.connect_error = 0;
        world.probes_hang = world.probes_fail = false;
        drain();
        ck_assert_uint_le(world.most_open, 4); /* never more at QGS than it has threads */
        ck_assert_uint_gt(world.answered[COCO_OK], 0);
        quotes += world.quotes_checked;
        world_close(&world);
    }
    ck_assert_uint_gt(quotes, 2000);
    ck_assert_uint_gt(metrics.quotes_hedged - hedged, 100);
    ck_assert_uint_gt(metrics.quotes_hedges_won - won, 10);
}

static void get_table(struct world_client *client)
{
    world_certs_get(client, 4);
    world_send(&world, client, SIZE_MAX);
    ck_assert_uint_eq(world_receive(&world, client), 1);
}

/* --- memory ---------------------------------------------------------------------------------- */

/* One session that uses everything, with the n-th allocation failing once and for all. Nothing
 * crashes, nothing leaks, and what is answered is right. */
static bool session_with_failing_alloc(const char *text, long n)
{
    world_open(&world, text);
    memory_fail_from(n);
    for (int round = 0; round < 3; round++) {
        struct world_client *client = world_connect(&world);
        if (!client)
            break;
        world_hello(&world, client, COCO_FEATURE_LEASE | COCO_FEATURE_NOTIFY);
        if (!client->established)
            continue;
        world_certs_get(client, 4);
        for (uint64_t i = 0; i < 6; i++)
            world_quote_get(client, i, true, 1000, COCO_QUOTE_MAX);
        world_send(&world, client, 700); /* a partial frame */
        world_send(&world, client, SIZE_MAX);
        world_receive(&world, client);
        for (int i = 0; i < WORLD_EXCHANGES; i++)
            if (world.exchanges[i].fd >= 0)
                world_qgs_answer(&world, &world.exchanges[i], WORLD_QUOTE);
        world_settle(&world);
        world_pass(&world, 0); /* everybody takes what has come */
        certs_reload(world.cocod->certs, NULL);
    }
    bool exhausted = memory_failed();
    memory_back();
    world_pass(&world, 2000000u);
    for (int i = 0; i < CLIENTS; i++) {
        struct world_client *client = &world.clients[i];
        world_receive(&world, client);
        if (client->fd >= 0 && client->out_size == 0)
            ck_assert_uint_eq(world_waiting(client), 0);
    }
    /* The daemon lives: with memory back, a new client is served. */
    struct world_client *client = world_connect(&world);
    ck_assert_ptr_nonnull(client);
    world_hello(&world, client, 0);
    ck_assert(client->established);
    get_table(client);
    world_close(&world);
    return exhausted;
}

TEST(out_of_memory_fails_the_request_and_not_the_daemon)
{
    const char *text = config_text();
    long n = 0;

    while (session_with_failing_alloc(text, n))
        n++;
    ck_assert_int_gt(n, 20);
    ck_assert_int_lt(n, 2000);
}

/* --- what a CERTS_GET costs ------------------------------------------------------------------ */

static unsigned long n_allocs, n_recv, n_sendmsg;

static void *counting_alloc(size_t size)
{
    n_allocs++;
    return sys_real.alloc(size);
}

static void *counting_malloc(size_t size)
{
    n_allocs++;
    return malloc(size);
}

static void *counting_realloc(void *p, size_t size)
{
    n_allocs++;
    return realloc(p, size);
}

static const uint8_t *served_table;

static ssize_t counting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    n_sendmsg++;
    /* The table is sent from where it lies: no copy was made. */
    ck_assert_uint_eq(msg->msg_iovlen, 2);
    ck_assert_ptr_eq(msg->msg_iov[1].iov_base, served_table);
    return sys_real.sendmsg(fd, msg, flags);
}

static ssize_t counting_recv(int fd, void *buf, size_t size, int flags)
{
    n_recv++;
    return sys_real.recv(fd, buf, size, flags);
}

TEST(certs_get_allocates_nothing_and_costs_two_calls)
{
    const char *text = config_text();

    event_set_mem_functions(counting_malloc, counting_realloc, free);
    world_open(&world, text);
    check_chain_is_served();
    struct world_client *client = world_connect(&world);
    world_hello(&world, client, COCO_FEATURE_LEASE);
    /* Warm: libevent grows its lists once, and the account's history three times. */
    for (unsigned i = 0; i < HISTORY_ENTRIES; i++) {
        get_table(client);
    }
    served_table = certs_status(world.cocod->certs).table->data;
    sys.alloc = counting_alloc;
    sys.recv = counting_recv;
    sys.sendmsg = counting_sendmsg;
    n_allocs = n_recv = n_sendmsg = 0;
    for (int i = 0; i < 1000; i++) {
        get_table(client);
    }
    ck_assert_uint_eq(n_allocs, 0);
    ck_assert_uint_eq(n_recv, 1000);
    ck_assert_uint_eq(n_sendmsg, 1000);
    memory_back();
    sys.recv = sys_real.recv;
    sys.sendmsg = sys_real.sendmsg;
    world_close(&world);
}
