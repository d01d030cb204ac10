/* SPDX-License-Identifier: MIT */
/*
 * What one can make cocod hold: it is charged at its real size, to whom it is held for, until it is
 * held no more; and all of it together is less than the unit's MemoryMax=. (Each limit is walked to
 * its edge in test_limits_walk.)
 */
#include "bytes.h"
#include "limits_fixture.h"
#include "observe/history.h"
#include "peer/passed.h"
#include "qgs_door/qgs_door.h"
#include "quotes/queue.h"
#include <malloc.h>

/* --- the mechanism ---------------------------------------------------------------------------- */

static struct account *account_of(uid_t uid, pid_t pid)
{
    const struct account_key key = {.uid = uid, .pid = pid};
    struct account *account = account_get(&rig.server->accounts, &key);

    ck_assert_ptr_nonnull(account);
    return account;
}

static const struct {
    const char *account, *all;
} names[CHARGES] = {[CHARGE_PLACES] = {"peers_per_account", "peers"},
                    [CHARGE_BYTES] = {"memory_per_account", "memory"},
                    [CHARGE_DESCRIPTORS] = {"descriptors_per_account", "descriptors"},
                    [CHARGE_REQUESTS] = {"in_flight_per_account", "in_flight"},
                    [CHARGE_JOBS] = {"store_jobs_per_account", "store_jobs"}};

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = limits_teardown, .timeout_s = 60);

/* 10 for an account, 512 for all: of these the last 64 for users who have 2 at most. */
TEST_LOOP(each_kind_is_refused_at_its_edge_and_not_before, 0, CHARGES)
{
    enum charge kind = (enum charge)_i;
    struct account *greedy[45], *others[33];
    unsigned n = 0;

    rig_open(&rig, &options);
    rig.server->accounts.limits[kind] = (struct charge_limit){10, 512};
    for (int i = 0; i < 45; i++) {
        greedy[i] = account_of(1000, i + 1);
        for (int k = 0; k < 10 && n < 448; k++, n++)
            ck_assert(account_charge(greedy[i], kind, 1));
        if (i < 44)
            ck_assert(!account_charge(greedy[i], kind, 1));
    }
    ck_assert_str_eq(limit_told(), names[kind].account);
    ck_assert_uint_eq(greedy[44]->held[kind], 8);
    ck_assert(!account_charge(greedy[44], kind, 1)); /* it has two left, but not its user */
    ck_assert_str_eq(limit_told(), names[kind].all);
    for (int i = 0; i < 33; i++) {
        others[i] = account_of(2000 + (uid_t)i, 1);
        ck_assert_int_eq(account_charge(others[i], kind, 2), i < 32);
        ck_assert(!account_charge(others[i], kind, 1));
    }
    ck_assert_uint_eq(rig.server->accounts.held[kind], 512);
    account_uncharge(others[0], kind, 2); /* room again, for who has little */
    ck_assert(!account_charge(greedy[44], kind, 1));
    ck_assert(account_charge(others[32], kind, 2));
    for (int i = 0; i < 45; i++) {
        account_uncharge(greedy[i], kind, greedy[i]->held[kind]);
        account_unref(greedy[i]);
    }
    for (int i = 0; i < 33; i++) {
        account_uncharge(others[i], kind, others[i]->held[kind]);
        account_unref(others[i]);
    }
    ck_assert_uint_eq(rig.server->accounts.held[kind], 0);
}

TEST(a_charge_larger_than_its_limit_does_not_wrap)
{
    rig_open(&rig, &options);
    rig.server->accounts.limits[CHARGE_BYTES] = (struct charge_limit){1000, 100000};
    struct account *account = account_of(1, 1);
    ck_assert(!account_charge(account, CHARGE_BYTES, SIZE_MAX));
    ck_assert(!account_charge(account, CHARGE_BYTES, 1001));
    ck_assert(account_charge(account, CHARGE_BYTES, 1000));
    account_uncharge(account, CHARGE_BYTES, 1000);
    account_unref(account);
}

/* The charge is what the allocator takes. */
TEST(bytes_are_charged_as_malloc_counts_them)
{
    static const size_t sizes[] = {1,    8,    24,   25,    40,    56,     160,    1000,
                                   1008, 4096, 4224, 65536, 90000, 131072, 1048576};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *p = malloc(sizes[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_ge(account_bytes(sizes[i]), malloc_usable_size(p));
        ck_assert_uint_le(account_bytes(sizes[i]), sizes[i] + 16 + 4096);
        free(p);
    }
}

/* --- places ----------------------------------------------------------------------------------- */

TEST(one_user_has_all_places_but_the_reserve)
{
    int n = 0;

    options.limits.peers = 256;
    options.limits.peers_per_account = 16;
    rig_open(&rig, &options);
    while (connect_as(1000, 1 + n / 16, &toy_dialect, NULL) >= 0)
        n++;
    ck_assert_int_eq(n, 224); /* 7/8 */
    ck_assert_str_eq(limit_told(), "peers");
    for (uid_t uid = 2000; uid < 2032; uid++) {
        ck_assert_int_ge(connect_as(uid, 1, &toy_dialect, NULL), 0);
        ck_assert_int_lt(connect_as(uid, 2, &toy_dialect, NULL), 0);
    }
    ck_assert_int_lt(connect_as(3000, 1, &toy_dialect, NULL), 0); /* it is full */
    ck_assert_int_lt(connect_as(0, 1, &toy_dialect, NULL), 0);
    ck_assert_int_lt(connect_as(3000, 1, &admin_dialect, &rig.admin), 0); /* without a role */
    for (unsigned i = 0; i < SERVER_PRIVILEGED_PLACES; i++)
        ck_assert_int_ge(connect_as(0, 1 + (pid_t)i, &admin_dialect, &rig.admin), 0);
    ck_assert_int_lt(connect_as(0, 100, &admin_dialect, &rig.admin), 0);
    rig_close_kept();
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_PLACES], 0);
}

TEST(an_account_has_its_places_and_no_more)
{
    peers_per_account();
}

/* --- memory ----------------------------------------------------------------------------------- */

#define PINGERS 32

static size_t heap(void)
{
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* With 32 bytes charged where 160 were held, a limit of 1 MiB was 5 MiB for each of them. */
TEST(replies_that_are_not_read_take_no_more_than_their_limit)
{
    int fds[PINGERS];

    options.limits.memory_per_account = MIB;
    options.limits.memory = 64 * MIB;
    rig_open(&rig, &options);
    for (int i = 0; i < PINGERS; i++) {
        who_pid = 0x40000001;
        fds[i] = rig_session(&rig, 0);
    }
    size_t before = heap();
    for (int i = 0; i < PINGERS; i++)
        ping_until_it_is_full(fds[i]);
    size_t places = PINGERS * (account_bytes(PEER_REPLY_BUFFER) + account_bytes(PEER_PARTIAL_FREE));
    size_t held = rig.server->accounts.held[CHARGE_BYTES];
    ck_assert_uint_gt(held, MIB / 2);
    ck_assert_uint_le(held, MIB);
    ck_assert_uint_le(heap() - before, held + places + 65536);
    ck_assert_str_eq(limit_told(), "memory_per_account");
    /* Somebody else is served meanwhile, */
    who_pid = 0x40000002;
    struct rig_message message;
    int other = rig_session(&rig, 0);
    rig_call(&rig, other, COCO_PING, 2, NULL, 0);
    rig_expect(other, &message, COCO_PING + 1, 2, COCO_OK);
    /* and so are these once they read: each gets all its answers. */
    static uint8_t bytes[1u << 20];
    for (int rounds = 0; rounds < 3; rounds++)
        for (int i = 0; i < PINGERS; i++)
            do
                rig_settle(&rig);
            while (rig_receive(fds[i], bytes, sizeof(bytes), NULL) > 0);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_BYTES], 0);
}

/* Half of a call of 1 MiB each, from somebody who may import; memory for seven of them. */
TEST(calls_that_are_not_whole_take_no_more_than_their_limit)
{
    static uint8_t half[512u << 10];
    int fds[12], refused = 0;

    memset(half, ' ', sizeof(half));
    memcpy(half, "{\"method\": ", 11);
    options.limits.memory_per_account = 4 * MIB;
    rig_open(&rig, &options);
    admin_roles_grant(&rig.admin.roles, ADMIN_ROLE_IMPORT, "1000");
    for (int i = 0; i < 12; i++) {
        char answer[600] = "";
        fds[i] = connect_as(1000, 1, &admin_dialect, &rig.admin);
        for (size_t sent = 0; sent < sizeof(half);) {
            ssize_t n = send(fds[i], half + sent, sizeof(half) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN)
                break;
            sent += n > 0 ? (size_t)n : 0;
            for (int k = 0; k < 16; k++)
                rig_settle(&rig);
        }
        if (recv(fds[i], answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0) {
            ck_assert_ptr_nonnull(strstr(answer, "TryAgain"));
            ck_assert_ptr_nonnull(strstr(answer, "[limits] memory"));
            refused++;
        }
        ck_assert_uint_le(rig.server->accounts.held[CHARGE_BYTES], 4 * MIB);
    }
    ck_assert_int_ge(refused, 4);
    ck_assert_int_le(refused, 9);
    ck_assert_str_eq(limit_told(), "memory_per_account");
    rig_close_kept();
    rig_settle(&rig);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_BYTES], 0);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static void open_leases(unsigned per_account, unsigned all)
{
    options.limits.descriptors_per_account = per_account;
    options.limits.descriptors = all;
    rig_open(&rig, &options);
}

static size_t on_their_way(void)
{
    return rig.server->accounts.held[CHARGE_DESCRIPTORS];
}

TEST(so_many_descriptors_may_be_on_their_way_and_no_more)
{
    int fds[4];

    open_leases(3, 100);
    for (int i = 0; i < 4; i++)
        fds[i] = lease_session(1000, 1);
    ck_assert_uint_eq(on_their_way(), 3);
    expect_hello(fds[3], COCO_EAGAIN);
    ck_assert_str_eq(limit_told(), "descriptors_per_account");
    expect_hello(fds[0], COCO_OK); /* it is received: there is room for another */
    rig_hang_up(fds[3]);
    fds[3] = lease_session(1000, 1);
    expect_hello(fds[3], COCO_OK);
    rig_close_kept();
    rig_pass(&rig, 1000000);
    ck_assert_uint_eq(on_their_way(), 0);
}

/* Closed by cocod, kept by its peer: the kernel goes on counting it, and so does cocod. */
TEST(a_descriptor_that_nobody_receives_stays_charged_when_its_session_is_closed)
{
    int fds[3];

    open_leases(2, 100);
    for (int i = 0; i < 2; i++) {
        fds[i] = lease_session(1000, 1);
        rig_send(fds[i], "garbage garbage garbage garbage ", 32);
    }
    rig_pass(&rig, 5000000);
    ck_assert_uint_eq(rig.server->closed[CLOSE_PROTOCOL], 2);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(on_their_way(), 2);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_PLACES], 2);
    fds[2] = lease_session(1000, 1);
    expect_hello(fds[2], COCO_EAGAIN);
    /* Its peer finds the end of the connection behind the reply. */
    expect_hello(fds[0], COCO_OK);
    ck_assert(rig_closed(fds[0]));
    rig_pass(&rig, 200000);
    ck_assert_uint_eq(on_their_way(), 1);
    rig_hang_up(fds[1]); /* unread: its socket is gone, and with it the descriptor */
    rig_pass(&rig, 200000);
    ck_assert_uint_eq(on_their_way(), 0);
    rig_close_kept();
    rig_pass(&rig, 200000);
    ck_assert_uint_eq(rig.server->accounts.held[CHARGE_PLACES], 0);
}

/* What a peer sends on proves nothing. */
TEST(a_descriptor_stays_charged_while_its_session_asks_on_without_reading)
{
    uint8_t frame[COCO_HEADER_SIZE];

    open_leases(2, 100);
    int fd = lease_session(1000, 1);
    for (uint64_t id = 2; id < 10; id++) {
        rig_send(fd, frame, rig_frame(frame, COCO_PING, id, 0, NULL, 0));
        rig_settle(&rig);
    }
    ck_assert_uint_eq(on_their_way(), 1);
    expect_hello(fd, COCO_OK);
    rig_receive(fd, (uint8_t[4096]){0}, 4096, NULL);
    rig_send(fd, frame, rig_frame(frame, COCO_PING, 10, 0, NULL, 0));
    rig_settle(&rig);
    ck_assert_uint_eq(on_their_way(), 0);
}

static ssize_t too_many_references(int fd, const struct msghdr *msg, int flags)
{
    if (msg->msg_controllen > 0) {
        errno = ETOOMANYREFS;
        return -1;
    }
    return sys_real.sendmsg(fd, msg, flags);
}

/* A cocod before this one has left them behind, perhaps. */
TEST(where_the_kernel_passes_no_more_hello_is_told_to_ask_again)
{
    open_leases(2, 100);
    sys.sendmsg = too_many_references;
    int fd = lease_session(1000, 1);
    expect_hello(fd, COCO_EAGAIN);
    ck_assert_str_eq(limit_told(), "LimitNOFILE");
    ck_assert_uint_eq(on_their_way(), 0);
    sys.sendmsg = sys_real.sendmsg;
    rig_hang_up(fd);
    expect_hello(lease_session(1000, 1), COCO_OK);
    rig_close_kept();
    rig_pass(&rig, 200000);
}

/* --- the sum ---------------------------------------------------------------------------------- */

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What a connection takes that is in none of the other limits, each with an account of its own. */
static size_t place_bytes(void)
{
    size_t session = largest(largest(vmm_dialect.session_size, admin_dialect.session_size),
                             qgs_door_dialect.session_size);

    return account_bytes(sizeof(struct peer) + session) + account_bytes(PEER_REPLY_BUFFER) +
           account_bytes(PEER_PARTIAL_FREE) + account_bytes(sizeof(struct account)) +
           account_bytes(sizeof(struct account_user)) + account_bytes(sizeof(struct lane)) +
           account_bytes(sizeof(struct queue_user)) + account_bytes(sizeof(struct history)) +
           account_bytes(HISTORY_ENTRIES * sizeof(struct history_entry)) +
           account_bytes(sizeof(struct account_guests)) + account_bytes(sizeof(struct passed)) +
           account_bytes(sizeof(struct event)) + 4 * 2 * sizeof(void *) /* timers' heap */ +
           2 * 64 /* libevent's map, hash buckets */;
}

static unsigned long long memory_max(void)
{
    size_t size;
    char *text = (char *)test_read_file("systemd/cocod.service", &size);
    char *line = strstr(text, "\nMemoryMax=");
    unsigned long long n = 0;
    char unit = 0;

    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq(sscanf(line, "\nMemoryMax=%llu%c", &n, &unit), 2);
    ck_assert_int_eq(unit, 'G');
    free(text);
    return n << 30;
}

TEST(at_the_defaults_all_limits_together_are_less_than_MemoryMax)
{
    struct config *c = NULL;

    ck_assert_int_eq(config_load(NULL, &c, NULL), 0);
    unsigned long long places = (c->limits_peers + SERVER_PRIVILEGED_PLACES) * place_bytes();
    unsigned long long sockets =
        (c->limits_peers + SERVER_PRIVILEGED_PLACES - SERVER_ROOMY_PEERS) *
            (unsigned long long)SERVER_SOCKET_BYTES(SERVER_SEND_BUFFER_LEAST) +
        SERVER_ROOMY_PEERS * (unsigned long long)SERVER_SOCKET_BYTES(SERVER_SEND_BUFFER) +
        (c->limits_peers + SERVER_PRIVILEGED_PLACES) * 2048ull; /* socket, file, inode */
    unsigned long long lingering =
        ACCOUNTS_LINGER *
            (account_bytes(sizeof(struct account)) + account_bytes(sizeof(struct account_guests)) +
             account_bytes(sizeof(struct lane))) +
        ACCOUNT_HISTORIES_LINGER * (sizeof(struct history) + HISTORY_ENTRIES * 40);
    unsigned long long requests = c->limits_in_flight * account_bytes(sizeof(struct request));
    /* The one reply that may be made above the limit, and what it is made from. */
    unsigned long long memory = c->limits_memory + 2ull * COCO_REPLY_MAX + 8 * MIB;
    unsigned long long quotes = c->quotes_queue_memory + c->quotes_keep_memory +
                                4ull * c->quotes_slots * COCO_QGS_MESSAGE_MAX + 4096 * 256;
    unsigned long long worker = (WORKER_QUEUE_MAX + c->limits_store_jobs + 1ull) * 2 * MIB;
    unsigned long long rest = 64 * MIB; /* libraries, the chain, events, OpenSSL at work */
    unsigned long long sum =
        places + sockets + lingering + requests + memory + quotes + worker + rest;
    printf("place %zu B; places %llu, sockets %llu, lingering %llu, requests %llu, memory %llu, "
           "quotes %llu, worker %llu, rest %llu: %llu MiB of %llu\n",
           place_bytes(), places / MIB, sockets / MIB, lingering / MIB, requests / MIB,
           memory / MIB, quotes / MIB, worker / MIB, rest / MIB, sum / MIB, memory_max() / MIB);
    ck_assert_uint_lt(sum, memory_max());
    config_free(c);
}

#define IDLE 2000

/* Each of a process of its own. */
TEST(an_idle_session_takes_less_than_a_KiB)
{
    options.limits.peers = 4000;
    options.limits.peers_per_account = 1;
    rig_open(&rig, &options);
    who_pid = 0x40010000;
    (void)rig_session(&rig, COCO_FEATURE_NOTIFY);
    size_t before = heap();
    for (int i = 0; i < IDLE; i++) {
        who_pid++;
        (void)rig_session(&rig, COCO_FEATURE_NOTIFY);
    }
    printf("an idle session: %zu bytes (struct peer %zu, session %zu, account %zu, history %zu)\n",
           (heap() - before) / IDLE, sizeof(struct peer), vmm_dialect.session_size,
           sizeof(struct account), sizeof(struct history));
    ck_assert_uint_le((heap() - before) / IDLE, 1024);
}
