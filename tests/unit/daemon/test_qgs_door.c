/* SPDX-License-Identifier: MIT */
/*
 * The QGS front door: what its clients get, in every form and cut, and for wrong messages. Its
 * deadlines and limits are in test_qgs_door_limits.c.
 */
#include "door_fixture.h"

FIXTURE(.teardown = close_world, .timeout_s = 60);

/* --- the forms -------------------------------------------------------------------------------- */

TEST(framed_requests_of_both_versions_get_version_1_1)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    for (uint16_t minor = 0; minor < 2; minor++) {
        struct door *door = ask_with(wire, framed(7 + minor, minor, wire));
        must_wait(door);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_framed_quote(door, 7 + minor);
    }
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_ANSWERED], 2);
}

TEST(a_bare_tdreport_gets_a_bare_quote)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    open_world(QGS);
    tdx_make_tdreport(3, NULL, tdreport);
    struct door *door = ask_with(tdreport, sizeof(tdreport));
    ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
    must_be_raw_quote(door, 3);
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
        struct door *door = ask_with(wire, cut);
        must_wait(door);
        door_send(door, wire + cut, size - cut);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_framed_quote(door, 9);
        door_leave(door);
    }
    for (size_t cut = 1; cut < sizeof(tdreport); cut += cut < 8 ? 1 : 97) {
        n_doors = 0;
        struct door *door = ask_with(tdreport, cut);
        must_wait(door);
        door_send(door, tdreport + cut, sizeof(tdreport) - cut);
        ck_assert_uint_eq(answer_all(WORLD_QUOTE), 1);
        must_be_raw_quote(door, 9);
        door_leave(door);
    }
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
    struct door *door = ask_with(wire, (size_t)n + 4);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 6);
}

/* --- half-close, leaving, trailing bytes ------------------------------------------------------ */

TEST(a_client_that_shuts_down_its_side_gets_its_answer)
{
    open_world(QGS);
    struct door *door = ask(5);
    shut_down(door);
    must_wait_for(door, 3 * SECOND_US);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 5);
    /* The same with everything there at once. */
    door = door_open();
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    ck_assert_int_eq(send(door->fd, wire, framed(6, 1, wire), MSG_NOSIGNAL), sizeof(wire));
    shut_down(door);
    answer_all(WORLD_QUOTE);
    must_be_framed_quote(door, 6);
}

TEST(half_a_request_and_end_of_file_is_closed)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(5, 1, wire);
    struct door *door = ask_with(wire, 600);
    shut_down(door);
    door_receive(door);
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0);
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
}

TEST(a_client_that_leaves_after_half_close_leaks_nothing)
{
    open_world(QGS);
    struct door *door = ask(1);
    shut_down(door);
    door_leave(door);
    answer_all(WORLD_QUOTE);
    ck_assert_uint_eq(metrics.now_peers, 0);
}

TEST(bytes_behind_the_request_close)
{
    uint8_t two[2 * COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    size_t size = framed(1, 1, two);
    framed(2, 1, two + size);
    /* Two requests in one write. */
    struct door *door = ask_with(two, 2 * size);
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0); /* and QGS never heard of it */
    /* One byte, later. */
    door = ask(3);
    must_wait(door);
    door_send(door, two, 1);
    must_be_closed(door);
    ck_assert_uint_eq(metrics.now_requests, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_PROTOCOL], 2);
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
    struct door *door = ask_with(wire, sizeof(wire));
    must_be_error(door, 1);
    ck_assert_uint_eq(world.n_open, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_REFUSED], n_doors);
}

/* report_size 1000 and id_list_size 24 add up, and still it is no TDREPORT. */
TEST(a_report_of_another_size_gets_0x12001)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    open_world(QGS);
    framed(1, 1, wire);
    put_u32(wire + 4 + 16, 1000);
    put_u32(wire + 4 + 20, 24);
    struct door *door = ask_with(wire, sizeof(wire));
    must_be_error(door, 1);
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
        struct door *door = ask_with(starts[i], 4);
        must_be_closed(door);
    }
    /* A raw TDREPORT whose hash is wrong: raw has no way to say so. */
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    tdx_make_tdreport(1, NULL, tdreport);
    tdreport[700] ^= 1;
    struct door *door = ask_with(tdreport, sizeof(tdreport));
    must_be_closed(door);
    ck_assert_uint_eq(world.n_open, 0);
}

TEST(without_a_quoting_service_everybody_is_refused)
{
    open_world("");
    must_be_error(ask(1), 1);
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
}
