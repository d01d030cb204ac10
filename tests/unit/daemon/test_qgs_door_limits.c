/* SPDX-License-Identifier: MIT */
/*
 * The QGS front door where it must wait: EAGAIN, deadlines, guests over vsock, no memory.
 */
#include "door_fixture.h"

#include "scarce.h"
#include <linux/vm_sockets.h>

FIXTURE(.teardown = close_world, .timeout_s = 60);

/* --- EAGAIN ----------------------------------------------------------------------------------- */

static void fill_queue(void)
{
    ask(100); /* runs */
    ask(101); /* waits: the queue is full */
    ck_assert_uint_eq(metrics.door_held, 0);
}

TEST(eagain_is_held_until_there_is_room)
{
    metrics.door_held = 0;
    open_world(QGS "slots = 1\nqueue = 1\n");
    fill_queue();
    struct door *held = ask(102);
    must_wait(held);
    ck_assert_uint_ge(metrics.door_held, 1);
    ck_assert_uint_eq(metrics.now_requests, 2);
    must_wait_for(held, 10 * SECOND_US);
    ck_assert_uint_le(metrics.door_held, 60); /* it asks less and less often */
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        world_pass(&world, SECOND_US);
    }
    for (unsigned i = 0; i < 3; i++) {
        door_receive(&doors[i]);
        must_be_framed_quote(&doors[i], 100 + i);
    }
}

TEST(eagain_ends_in_0x12001_at_the_deadline)
{
    metrics.door_held = 0;
    open_world(QGS "slots = 1\nqueue = 1\nqgs_timer = 600s\n[qgs_door]\ntimeout = 8s\n");
    /* Two over the RPC hold the queue for longer than the door's deadline. */
    struct world_client *client = world_connect(&world);
    world_hello(&world, client, 0);
    world_quote_get(client, 1, true, 20000, COCO_QUOTE_MAX);
    world_quote_get(client, 2, true, 20000, COCO_QUOTE_MAX);
    world_send(&world, client, SIZE_MAX);
    struct door *held = door_open();
    world_pass(&world, 2 * SECOND_US);
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    door_send(held, wire, framed(3, 1, wire));
    must_wait(held);
    must_wait_for(held, 6 * SECOND_US - 1); /* the deadline counts from accept */
    world_pass(&world, 1);
    door_receive(held);
    must_be_error(held, 1);
}

TEST(one_that_waits_in_the_queue_ends_at_the_deadline)
{
    open_world(QGS "[qgs_door]\ntimeout = 8s\n");
    struct door *door = ask(1);
    must_wait_for(door, 8 * SECOND_US - 1);
    world_pass(&world, 1);
    door_receive(door);
    must_be_error(door, 1);
}

TEST(one_that_is_held_may_leave)
{
    open_world(QGS "slots = 1\nqueue = 1\n");
    metrics.door_held = 0;
    fill_queue();
    struct door *held = ask(102), *deaf = ask(103);
    shut_down(deaf);
    ck_assert_uint_eq(metrics.now_peers, 4);
    door_leave(held);
    ck_assert_uint_eq(metrics.now_peers, 3);
    for (int i = 0; i < 3; i++) {
        answer_all(WORLD_QUOTE);
        world_pass(&world, SECOND_US);
    }
    door_receive(deaf);
    must_be_framed_quote(deaf, 103);
}

/* The error goes to somebody who is not there any more. */
TEST(one_that_is_held_may_leave_unnoticed)
{
    open_world(QGS "slots = 1\nqueue = 1\nqgs_timer = 600s\n");
    struct world_client *client = world_connect(&world);
    world_hello(&world, client, 0);
    world_quote_get(client, 1, true, 50000, COCO_QUOTE_MAX);
    world_quote_get(client, 2, true, 50000, COCO_QUOTE_MAX);
    world_send(&world, client, SIZE_MAX);
    struct door *held = ask(102);
    must_wait(held);
    shut_down(held);
    door_leave(held);
    world_pass(&world, 30 * SECOND_US);
    ck_assert_uint_eq(metrics.now_peers, 1);
}

/* --- time ------------------------------------------------------------------------------------- */

TEST(silence_and_drips_end_after_five_seconds)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(1, 1, wire);
    struct door *silent = door_open(), *drip = door_open();
    for (int i = 0; i < 49; i++) {
        world_pass(&world, SECOND_US / 10);
        door_send(drip, wire + i, 1);
    }
    world_pass(&world, SECOND_US / 10 - 1);
    door_receive(silent);
    door_receive(drip);
    must_wait(silent);
    must_wait(drip);
    world_pass(&world, 1);
    door_receive(silent);
    door_receive(drip);
    must_be_closed(silent);
    must_be_closed(drip);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_HELLO_TIMEOUT], 2);
    ck_assert_uint_eq(world.n_open, 0);
}

TEST(a_client_that_does_not_read_is_disconnected)
{
    open_world(QGS);
    struct door *door = door_open();
    struct peer *peer = world.cocod->server->peers;
    int small = 1;
    ck_assert_int_eq(setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    ck_assert_int_eq(send(door->fd, wire, framed(1, 1, wire), MSG_NOSIGNAL), sizeof(wire));
    world_settle(&world);
    uint8_t filler[4096] = {0};
    while (send(peer->fd, filler, sizeof(filler), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    world_qgs_answer(&world, &world.exchanges[0], WORLD_QUOTE);
    world_settle(&world);
    ck_assert_uint_gt(metrics.now_unsent_bytes, 0);
    world_pass(&world, 31 * SECOND_US);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_SEND_TIMEOUT], 1);
}

/* --- vsock ------------------------------------------------------------------------------------ */

static struct sockaddr_vm vsock_peer;

static int vsock_getpeername(int fd, struct sockaddr *addr, socklen_t *size)
{
    (void)fd;
    ck_assert_uint_ge(*size, sizeof(vsock_peer));
    memcpy(addr, &vsock_peer, sizeof(vsock_peer));
    *size = sizeof(vsock_peer);
    return 0;
}

static struct door *door_of_cid(uint32_t cid)
{
    vsock_peer = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = 999};
    sys.getpeername = vsock_getpeername;
    return door_open();
}

TEST(a_guest_over_vsock_is_accounted_by_its_cid)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS "[limits]\npeers_per_account = 2\n");
    struct door *first = door_of_cid(7);
    ck_assert_int_ge(door_of_cid(7)->fd, 0);
    ck_assert_int_lt(door_of_cid(7)->fd, 0); /* over the limit of this VM */
    ck_assert_int_ge(door_of_cid(8)->fd, 0); /* another one's is its own */
    ck_assert_uint_eq(metrics.now_accounts, 2);
    ck_assert_uint_eq(world.cocod->server->peers->account->key.cid, 7);
    ck_assert_int_eq(world.cocod->server->peers->account->key.pid, 0);
    door_send(first, wire, framed(1, 1, wire));
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(first, 1);
}

TEST(cids_that_are_no_guests_are_refused)
{
    static const uint32_t cids[] = {VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL, VMADDR_CID_HOST,
                                    VMADDR_CID_ANY};

    open_world(QGS);
    uint64_t before = metrics.peers_refused;
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_lt(door_of_cid(cids[i])->fd, 0);
    ck_assert_int_ge(door_of_cid(3)->fd, 0);
    vsock_peer.svm_family = AF_INET;
    ck_assert_int_lt(door_open()->fd, 0);
    ck_assert_uint_eq(metrics.peers_refused, before + 5);
}

TEST(the_allow_list_is_for_vsock_and_can_be_reloaded)
{
    static const char text[] = QGS "[qgs_door]\nvsock_allow = 8\nvsock_allow = 9\n";
    static const char later[] = QGS "[qgs_door]\nvsock_allow = 7\nrequest_timeout = 1s\n";
    struct config *config;

    open_world(text);
    ck_assert_int_ge(door_open()->fd, 0); /* Unix */
    ck_assert_int_lt(door_of_cid(7)->fd, 0);
    ck_assert_int_ge(door_of_cid(8)->fd, 0);
    ck_assert_int_ge(door_of_cid(9)->fd, 0);
    ck_assert_int_eq(config_parse("later", later, strlen(later), &config, NULL), 0);
    rig_reload_cocod(world.cocod, config);
    struct door *seven = door_of_cid(7);
    ck_assert_int_ge(seven->fd, 0);
    ck_assert_int_lt(door_of_cid(8)->fd, 0);
    world_pass(&world, SECOND_US);
    door_receive(seven);
    must_be_closed(seven);
}

/* --- out of memory ---------------------------------------------------------------------------- */

TEST(each_allocation_may_fail)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    int64_t n = 0;

    for (bool failed = true; failed; n++) {
        open_world(QGS);
        memory_fail(n);
        struct door *door = door_open();
        if (door->fd >= 0) {
            /* In pieces: keeping them allocates, too. */
            size_t size = framed(1, 1, wire);
            if (send(door->fd, wire, 30, MSG_NOSIGNAL) == 30)
                world_settle(&world);
            if (send(door->fd, wire + 30, size - 30, MSG_NOSIGNAL) > 0)
                world_settle(&world);
            for (int i = 0; i < 30 && !door->ended; i++) {
                answer_all(WORLD_QUOTE);
                world_pass(&world, SECOND_US);
                door_receive(door);
            }
            ck_assert(door->ended); /* in whatever, but it ends */
            if (door->n > 28)
                must_be_framed_quote(door, 1);
        }
        failed = memory_failed();
        memory_back();
        close_world();
        ck_assert_int_lt(n, 100);
    }
    ck_assert_int_gt(n, 5);
}
