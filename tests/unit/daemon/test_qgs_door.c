/* SPDX-License-Identifier: MIT */
/*
 * The QGS front door on the virtual clock: what its clients get, in every form and cut, and what
 * hostile ones cost. QGS is played by the test (world.h).
 */
#include "base/sys.h"
#include "bytes.h"
#include "config/config.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "peer/server.h"
#include "qgs_msg.h"
#include "rig.h"
#include "scarce.h"
#include "tdx.h"
#include "tdx_quote.h"
#include "world.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND_US 1000000u
#define QGS       "[quotes]\nqgs = unix:/test/qgs\n"

static struct world world;

/* --- a client --------------------------------------------------------------------------------- */

struct door {
    int fd; /* -1: refused */
    bool ended;
    int error; /* errno of the end; 0: EOF */
    size_t n;
    uint8_t in[32768];
};

static struct door doors[64];
static unsigned n_doors;

static struct door *door_open(void)
{
    struct door *door = &doors[n_doors++];
    int pair[2];

    ck_assert_uint_le(n_doors, 64);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    memset(door, 0, sizeof(*door));
    door->fd = pair[1];
    if (!server_adopt(world.cocod->server, &qgs_door_dialect, &world.cocod->door, pair[0])) {
        close(door->fd);
        door->fd = -1;
    }
    return door;
}

static void door_leave(struct door *door)
{
    if (door->fd >= 0)
        close(door->fd);
    door->fd = -1;
    world_settle(&world);
}

static void door_receive(struct door *door)
{
    while (door->fd >= 0 && !door->ended) {
        ssize_t got = recv(door->fd, door->in + door->n, sizeof(door->in) - door->n, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            door->ended = true;
            door->error = got < 0 ? errno : 0;
            return;
        }
        door->n += (size_t)got;
    }
}

static void door_send(struct door *door, const void *data, size_t size)
{
    ck_assert_int_eq(send(door->fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
    world_settle(&world);
    door_receive(door);
}

static void open_world(const char *config)
{
    n_doors = 0;
    world_open(&world, config);
}

static void close_world(void)
{
    for (unsigned i = 0; i < n_doors; i++)
        door_leave(&doors[i]);
    world_close(&world);
}

/* --- requests and what must come back --------------------------------------------------------- */

static size_t framed(uint64_t seed, uint16_t minor, uint8_t out[COCO_QGS_QUOTE_REQ_WIRE])
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    struct coco_qgs_quote_req req = {.minor = minor,
                                     .report_size = COCO_TDREPORT_SIZE,
                                     .report = tdreport};

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, out + 4, COCO_QGS_QUOTE_REQ_SIZE),
                     COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, out);
    return COCO_QGS_QUOTE_REQ_WIRE;
}

static unsigned answer_all(enum world_answer how)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        if (world.exchanges[i].fd >= 0 && world_qgs_answer(&world, &world.exchanges[i], how))
            n++;
    world_settle(&world);
    for (unsigned i = 0; i < n_doors; i++)
        door_receive(&doors[i]);
    return n;
}

static void must_be_quote(const uint8_t *bytes, size_t size, uint64_t seed)
{
    struct coco_quote quote;
    struct coco_tdreport report;
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    const char *field = "";

    tdx_make_tdreport(seed, NULL, tdreport);
    ck_assert_int_eq(coco_tdreport_decode(tdreport, &report, NULL), 0);
    ck_assert_int_eq(coco_quote_decode(bytes, size, &quote, NULL), 0);
    ck_assert_msg(coco_quote_check_binding(&quote, &report, &field) == 0, "foreign: %s", field);
    ck_assert_uint_eq(quote.size, size); /* no padding */
}

/* QEMU's conditions, read by hand: target/i386/kvm/tdx-quote-generator.c asks for all of them. */
static void must_be_framed_quote(const struct door *door, uint64_t seed)
{
    struct coco_reader r = coco_reader_of(door->in, door->n);

    ck_assert(door->ended);
    ck_assert_int_eq(door->error, 0);
    ck_assert_uint_eq(coco_read_u32be(&r), door->n - 4);
    ck_assert_uint_eq(coco_read_u16(&r), 1);           /* major */
    ck_assert_uint_eq(coco_read_u16(&r), 1);           /* minor */
    ck_assert_uint_eq(coco_read_u32(&r), 1);           /* GET_QUOTE_RESP */
    ck_assert_uint_eq(coco_read_u32(&r), door->n - 4); /* size */
    ck_assert_uint_eq(coco_read_u32(&r), 0);           /* error_code */
    ck_assert_uint_eq(coco_read_u32(&r), 0);           /* selected_id_size */
    ck_assert_uint_eq(coco_read_u32(&r), door->n - 28);
    must_be_quote(door->in + 28, door->n - 28, seed);
}

static void must_be_raw_quote(const struct door *door, uint64_t seed)
{
    ck_assert(door->ended);
    ck_assert_int_eq(door->error, 0);
    must_be_quote(door->in, door->n, seed);
}

static void must_be_error(const struct door *door, uint32_t type)
{
    static const size_t sizes[6] = {[1] = 24, [3] = 48, [5] = 28};
    struct coco_reader r = coco_reader_of(door->in, door->n);

    ck_assert(door->ended);
    ck_assert_uint_eq(door->n, 4 + sizes[type]);
    ck_assert_uint_eq(coco_read_u32be(&r), sizes[type]);
    ck_assert_uint_eq(coco_read_u32(&r), 0x00010001); /* 1.1 */
    ck_assert_uint_eq(coco_read_u32(&r), type);
    ck_assert_uint_eq(coco_read_u32(&r), sizes[type]);
    ck_assert_uint_eq(coco_read_u32(&r), 0x12001);
    for (size_t i = 20; i < door->n; i++)
        ck_assert_uint_eq(door->in[i], 0);
}

static void must_be_closed(const struct door *door)
{
    ck_assert(door->ended);
    ck_assert_uint_eq(door->n, 0);
}

static void must_wait(const struct door *door)
{
    ck_assert(!door->ended);
    ck_assert_uint_eq(door->n, 0);
}

static struct door *ask(uint64_t seed)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    struct door *door = door_open();

    door_send(door, wire, framed(seed, 1, wire));
    return door;
}

FIXTURE(.timeout_s = 60);

/* --- the forms -------------------------------------------------------------------------------- */

TEST(framed_requests_of_both_versions_get_version_1_1)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    for (uint16_t minor = 0; minor < 2; minor++) {
        struct door *door = door_open();
        door_send(door, wire, framed(7 + minor, minor, wire));
        must_wait(door);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_framed_quote(door, 7 + minor);
    }
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_ANSWERED], 2);
    close_world();
}

TEST(a_bare_tdreport_gets_a_bare_quote)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    open_world(QGS);
    tdx_make_tdreport(3, NULL, tdreport);
    struct door *door = door_open();
    door_send(door, tdreport, sizeof(tdreport));
    ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
    must_be_raw_quote(door, 3);
    close_world();
}

/* What QGS up to DCAP 1.25 misreads: any cut behind the 20th byte, and a raw request in pieces. */
TEST(requests_may_be_cut_anywhere)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE], tdreport[COCO_TDREPORT_SIZE];
    size_t size = framed(9, 1, wire);

    open_world(QGS);
    tdx_make_tdreport(9, NULL, tdreport);
    for (size_t cut = 1; cut < size; cut += cut < 40 ? 1 : 41) {
        n_doors = 0;
        struct door *door = door_open();
        door_send(door, wire, cut);
        must_wait(door);
        door_send(door, wire + cut, size - cut);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_framed_quote(door, 9);
        door_leave(door);
    }
    for (size_t cut = 1; cut < sizeof(tdreport); cut += cut < 8 ? 1 : 97) {
        n_doors = 0;
        struct door *door = door_open();
        door_send(door, tdreport, cut);
        must_wait(door);
        door_send(door, tdreport + cut, sizeof(tdreport) - cut);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_raw_quote(door, 9);
        door_leave(door);
    }
    close_world();
}

TEST(prefix_header_and_report_in_three_writes)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(4, 1, wire);
    struct door *door = door_open();
    door_send(door, wire, 4);
    door_send(door, wire + 4, 24);
    door_send(door, wire + 28, 1024);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 4);
    close_world();
}

TEST(a_byte_at_a_time)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    size_t size = framed(4, 1, wire);

    open_world(QGS);
    struct door *door = door_open();
    for (size_t i = 0; i < size; i++)
        door_send(door, wire + i, 1);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 4);
    close_world();
}

TEST(the_id_list_is_ignored)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], wire[2048];
    const uint8_t ids[32] = {1, 2, 3};
    struct coco_qgs_quote_req req = {.minor = 1,
                                     .report_size = sizeof(tdreport),
                                     .id_list_size = sizeof(ids),
                                     .report = tdreport,
                                     .id_list = ids};

    open_world(QGS);
    tdx_make_tdreport(6, NULL, tdreport);
    int64_t n = coco_qgs_quote_req_encode(&req, wire + 4, sizeof(wire) - 4);
    ck_assert_int_gt(n, 0);
    coco_qgs_prefix_encode((uint32_t)n, wire);
    struct door *door = door_open();
    door_send(door, wire, (size_t)n + 4);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 6);
    close_world();
}

/* --- half-close, leaving, trailing bytes ------------------------------------------------------ */

TEST(a_client_that_shuts_down_its_side_gets_its_answer)
{
    open_world(QGS);
    struct door *door = ask(5);
    ck_assert_int_eq(shutdown(door->fd, SHUT_WR), 0);
    world_settle(&world);
    world_pass(&world, 3 * SECOND_US);
    door_receive(door);
    must_wait(door);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 5);
    /* The same with everything there at once. */
    door = door_open();
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    ck_assert_int_eq(send(door->fd, wire, framed(6, 1, wire), MSG_NOSIGNAL), sizeof(wire));
    ck_assert_int_eq(shutdown(door->fd, SHUT_WR), 0);
    world_settle(&world);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 6);
    close_world();
}

TEST(half_a_request_and_end_of_file_is_closed)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(5, 1, wire);
    struct door *door = door_open();
    door_send(door, wire, 600);
    ck_assert_int_eq(shutdown(door->fd, SHUT_WR), 0);
    world_settle(&world);
    door_receive(door);
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0);
    close_world();
}

TEST(a_client_that_leaves_cancels)
{
    open_world(QGS "slots = 1\n");
    ask(1);
    struct door *queued = ask(2);
    ck_assert_uint_eq(metrics.now_requests, 2);
    door_leave(queued);
    ck_assert_uint_eq(metrics.now_requests, 1);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(&doors[0], 1);
    ck_assert_uint_eq(answer_all(WORLD_QUOTE), 0); /* QGS was not asked for the second */
    close_world();
}

TEST(a_client_that_leaves_after_half_close_leaks_nothing)
{
    open_world(QGS);
    struct door *door = ask(1);
    ck_assert_int_eq(shutdown(door->fd, SHUT_WR), 0);
    world_settle(&world);
    door_leave(door);
    answer_all(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.now_peers, 0);
    close_world();
}

TEST(bytes_behind_the_request_close)
{
    uint8_t two[2 * COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    size_t size = framed(1, 1, two);
    framed(2, 1, two + size);
    /* Two requests in one write. */
    struct door *door = door_open();
    door_send(door, two, 2 * size);
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0); /* and QGS never heard of it */
    /* One byte, later. */
    door = ask(3);
    must_wait(door);
    door_send(door, two, 1);
    must_be_closed(door);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_PROTOCOL], 2);
    close_world();
}

/* --- wrong messages --------------------------------------------------------------------------- */

static void put_u32(uint8_t *at, uint32_t value)
{
    struct coco_writer w = coco_writer_of(at, 4);

    coco_write_u32(&w, value);
}

/* A good request with one u32 of its message changed. */
static struct door *ask_changed(size_t offset, uint32_t value)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    struct door *door = door_open();

    framed(1, 1, wire);
    put_u32(wire + 4 + offset, value);
    door_send(door, wire, sizeof(wire));
    return door;
}

TEST(wrong_messages_get_0x12001)
{
    open_world(QGS);
    must_be_error(ask_changed(0, 0x00010002), 1);  /* major 2 */
    must_be_error(ask_changed(8, 1047), 1);        /* the header's size is not the prefix */
    must_be_error(ask_changed(12, 1), 1);          /* an error code in a request */
    must_be_error(ask_changed(16, 1023), 1);       /* sizes that do not add up */
    must_be_error(ask_changed(16, 0), 1);          /* no report */
    must_be_error(ask_changed(16, UINT32_MAX), 1); /* a sum that wraps in 32 bits */
    must_be_error(ask_changed(20, 1), 1);
    must_be_error(ask_changed(4, 6), 1); /* GET_QUOTE_MIG_REQ */
    must_be_error(ask_changed(4, 2), 3); /* GET_COLLATERAL: refused, and this is none */
    must_be_error(ask_changed(4, 4), 5);
    ck_assert_uint_eq(world.n_open, 0);
    /* A TDREPORT with a wrong hash: right as a message. */
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    framed(1, 1, wire);
    wire[28 + 600] ^= 1;
    struct door *door = door_open();
    door_send(door, wire, sizeof(wire));
    must_be_error(door, 1);
    ck_assert_uint_eq(world.n_open, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_REFUSED], n_doors);
    close_world();
}

/* report_size 1000 and id_list_size 24 add up, and still it is no TDREPORT. */
TEST(a_report_of_another_size_gets_0x12001)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(1, 1, wire);
    put_u32(wire + 4 + 16, 1000);
    put_u32(wire + 4 + 20, 24);
    struct door *door = door_open();
    door_send(door, wire, sizeof(wire));
    must_be_error(door, 1);
    close_world();
}

TEST(what_has_no_answer_is_closed)
{
    static const uint32_t types[] = {1, 3, 5, 7, UINT32_MAX};
    static const uint8_t starts[][4] = {
        {0, 0, 0, 0},       /* no header fits */
        {0, 0, 0, 15},      /* likewise */
        {0, 0, 0x0f, 0xfd}, /* 4093: more than QGS reads */
        {0xff, 0xff, 0xff, 0xff},
        {'G', 'E', 'T', ' '},
    };

    open_world(QGS);
    for (size_t i = 0; i < 5; i++)
        must_be_closed(ask_changed(4, types[i]));
    for (size_t i = 0; i < 5; i++) {
        struct door *door = door_open();
        door_send(door, starts[i], 4);
        must_be_closed(door);
    }
    /* A raw TDREPORT whose hash is wrong: raw has no way to say so. */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    tdx_make_tdreport(1, NULL, tdreport);
    tdreport[700] ^= 1;
    struct door *door = door_open();
    door_send(door, tdreport, sizeof(tdreport));
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0);
    close_world();
}

TEST(without_a_quoting_service_everybody_is_refused)
{
    open_world("");
    must_be_error(ask(1), 1);
    close_world();
}

TEST(failures_of_qgs_end_in_0x12001_or_a_close)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    open_world(QGS);
    tdx_make_tdreport(2, NULL, tdreport);
    struct door *one = ask(1), *raw = door_open();
    door_send(raw, tdreport, sizeof(tdreport));
    /* Whatever the broker tries again is answered likewise. */
    for (int i = 0; i < 64 && (!one->ended || !raw->ended); i++) {
        answer_all(WORLD_OTHER_QUOTE);
        world_pass(&world, SECOND_US);
        door_receive(one);
        door_receive(raw);
    }
    must_be_error(one, 1);
    must_be_closed(raw);
    close_world();
}

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
    world_pass(&world, 10 * SECOND_US);
    door_receive(held);
    must_wait(held);
    ck_assert_uint_le(metrics.door_held, 60); /* it asks less and less often */
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        world_pass(&world, SECOND_US);
    }
    for (unsigned i = 0; i < 3; i++) {
        door_receive(&doors[i]);
        must_be_framed_quote(&doors[i], 100 + i);
    }
    close_world();
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
    world_pass(&world, 6 * SECOND_US - 1); /* the deadline counts from accept */
    door_receive(held);
    must_wait(held);
    world_pass(&world, 1);
    door_receive(held);
    must_be_error(held, 1);
    close_world();
}

TEST(one_that_waits_in_the_queue_ends_at_the_deadline)
{
    open_world(QGS "[qgs_door]\ntimeout = 8s\n");
    struct door *door = ask(1);
    world_pass(&world, 8 * SECOND_US - 1);
    door_receive(door);
    must_wait(door);
    world_pass(&world, 1);
    door_receive(door);
    must_be_error(door, 1);
    close_world();
}

TEST(one_that_is_held_may_leave)
{
    open_world(QGS "slots = 1\nqueue = 1\n");
    metrics.door_held = 0;
    fill_queue();
    struct door *held = ask(102), *deaf = ask(103);
    ck_assert_int_eq(shutdown(deaf->fd, SHUT_WR), 0);
    world_settle(&world);
    ck_assert_uint_eq(metrics.now_peers, 4);
    door_leave(held);
    ck_assert_uint_eq(metrics.now_peers, 3);
    for (int i = 0; i < 3; i++) {
        answer_all(WORLD_QUOTE);
        world_pass(&world, SECOND_US);
    }
    door_receive(deaf);
    must_be_framed_quote(deaf, 103);
    close_world();
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
    ck_assert_int_eq(shutdown(held->fd, SHUT_WR), 0);
    world_settle(&world);
    door_leave(held);
    world_pass(&world, 30 * SECOND_US);
    ck_assert_uint_eq(metrics.now_peers, 1);
    close_world();
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
    close_world();
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
    close_world();
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
    close_world();
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
    close_world();
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
    close_world();
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
