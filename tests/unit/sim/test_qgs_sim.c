/* SPDX-License-Identifier: MIT */
/*
 * The simulated quoting service shows what was measured on the real one, case by case. Nothing
 * sleeps: waiting is for a byte, an end of file, or a counter.
 */
#include "qgs_client.h"
#include <sys/ioctl.h>

FIXTURE(.setup = sim_setup, .teardown = sim_teardown, .timeout_s = 60);

/* --- as it should be ------------------------------------------------------------------------- */

TEST_LOOP(quote_of_each_version, 0, 2)
{
    options.version = 4 + (unsigned)_i;
    sim_start();
    size_t size = ask_quote(report);
    must_be_quote_of(size, report);
    struct coco_qgs_quote_resp resp = decode_reply(size);
    ck_assert_uint_eq(resp.quote[0], options.version);
    /* padded, as the real one pads */
    ck_assert_uint_eq(resp.quote_size, tdx_quote_true_size(resp.quote, resp.quote_size) + 70);
    ck_assert_uint_eq(resp.quote[resp.quote_size - 1], 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_CONNECTIONS), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_REQUESTS), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_QUOTES), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_MOST_OUTSTANDING), 1);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OUTSTANDING, 0, LONG_MS));
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OPEN, 0, LONG_MS));
}

TEST(raw_quote)
{
    const char *why = "";

    sim_start();
    size_t size = ask(report, sizeof(report));
    ck_assert(coco_qgs_looks_raw(reply));
    ck_assert_msg(tdx_verify_quote(reply, size, report, &why) == 0, "%s", why);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_RAW_REQUESTS), 1);
}

TEST(any_minor_is_answered_as_1_1)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    sim_start();
    make_request(report, wire);
    wire[6] = 0;
    must_be_quote_of(ask(wire, sizeof(wire)), report);
    wire[6] = 7;
    must_be_quote_of(ask(wire, sizeof(wire)), report);
}

TEST(platform_info_has_the_stray_bytes)
{
    uint8_t wire[20];
    struct coco_qgs_platform_req req = {.minor = 1};
    struct coco_qgs_platform_resp resp;

    sim_start();
    ck_assert_int_eq(coco_qgs_platform_req_encode(&req, wire + 4, 16), 16);
    coco_qgs_prefix_encode(16, wire);
    ck_assert_uint_eq(ask(wire, sizeof(wire)), 68);
    ck_assert_int_eq(coco_qgs_platform_resp_decode(reply + 4, 64, &resp), 0);
    ck_assert(resp.padded);
    ck_assert_uint_eq(resp.error_code, 0);
}

TEST_LOOP(collateral_is_padded_for_minor_0, 0, 2)
{
    uint8_t wire[64];
    struct coco_qgs_collateral_req req = {.minor = (uint16_t)_i,
                                          .fmspc_size = 6,
                                          .fmspc = (const uint8_t *)"123456",
                                          .pckca_size = 8,
                                          .pckca = (const uint8_t *)"platform"};
    struct coco_qgs_collateral_resp resp;

    sim_start();
    int64_t n = coco_qgs_collateral_req_encode(&req, wire + 4, sizeof(wire) - 4);
    ck_assert_int_gt(n, 0);
    coco_qgs_prefix_encode((uint32_t)n, wire);
    size_t size = ask(wire, (size_t)n + 4);
    ck_assert_int_eq(coco_qgs_collateral_resp_decode(reply + 4, size - 4, &resp), 0);
    ck_assert_int_eq(resp.padded, _i == 0);
    ck_assert_uint_eq(resp.minor, 1);
}

TEST(half_close_after_the_request_is_fine)
{
    sim_start();
    int fd = send_request(report);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    must_be_quote_of(drain(fd, reply, sizeof(reply)), report);
    close(fd);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_ABANDONED), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_HALF_OPEN), 0);
}

TEST(one_request_a_connection)
{
    sim_start();
    int fd = send_request(report);
    must_be_quote_of(drain(fd, reply, sizeof(reply)), report);
    ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1);
    ck_assert_int_eq(errno, EPIPE);
    close(fd);
}

/* --- what it refuses ------------------------------------------------------------------------- */

TEST(bad_requests_get_the_one_error)
{
    uint8_t wire[2 * COCO_QGS_QUOTE_REQ_WIRE], bad[TDX_TDREPORT_SIZE];

    sim_start();
    memcpy(bad, report, sizeof(bad));
    bad[600] ^= 1; /* TEE_INFO_HASH is wrong now */
    must_be_error(ask_quote(bad));
    memcpy(bad, report, sizeof(bad));
    bad[0] = 0;
    must_be_error(ask_quote(bad));

    make_request(report, wire);
    wire[16] = 1; /* error_code */
    must_be_error(ask(wire, COCO_QGS_QUOTE_REQ_WIRE));
    make_request(report, wire);
    wire[4 + 16] = 0xff; /* report_size */
    must_be_error(ask(wire, COCO_QGS_QUOTE_REQ_WIRE));
    make_request(report, wire);
    make_request(report, wire + COCO_QGS_QUOTE_REQ_WIRE); /* two frames in one write */
    must_be_error(ask(wire, sizeof(wire)));
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_ERRORS), 5);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_QUOTES), 0);
    still_alive();
}

TEST_LOOP(mac_is_checked_on_demand, 0, 2)
{
    uint8_t bad[TDX_TDREPORT_SIZE];

    memcpy(bad, report, sizeof(bad));
    bad[224] ^= 1;
    options.check_mac = _i != 0;
    sim_start();
    size_t size = ask_quote(bad);
    if (_i != 0)
        must_be_error(size);
    else
        must_be_quote_of(size, bad);
    still_alive();
}

TEST(some_get_an_end_of_file_at_once)
{
    uint8_t garbage[TDX_TDREPORT_SIZE], wire[COCO_QGS_QUOTE_REQ_WIRE];

    sim_start();
    memset(garbage, 'x', sizeof(garbage));
    ck_assert_uint_eq(ask(garbage, sizeof(garbage)), 0); /* 1024 bytes, but no TDREPORT */
    for (uint8_t type = 1; type <= 5; type += 2) {       /* replies sent as requests */
        make_request(report, wire);
        wire[4 + 4] = type;
        ck_assert_uint_eq(ask(wire, sizeof(wire)), 0);
    }
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 0);
    still_alive();
}

TEST(some_get_nothing_until_the_timer)
{
    static uint8_t wire[8192];
    const size_t n = COCO_QGS_QUOTE_REQ_WIRE;

    options.timer_ms = 60;
    sim_start();
    make_request(report, wire);
    wire[3] ^= 1; /* prefix and header disagree */
    ck_assert_uint_eq(ask(wire, n), 0);
    make_request(report, wire);
    wire[4] = 2; /* major */
    ck_assert_uint_eq(ask(wire, n), 0);
    make_request(report, wire);
    wire[8] = 6; /* type */
    ck_assert_uint_eq(ask(wire, n), 0);
    memset(wire, 'x', sizeof(wire));
    ck_assert_uint_eq(ask(wire, 100), 0);
    ck_assert_uint_eq(ask(wire, 5), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 5);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_REQUESTS), 0);

    /* more than its buffer holds, though in one write and well-formed */
    struct coco_qgs_quote_req req = {.minor = 1,
                                     .report_size = 5000,
                                     .report = memset(wire + 3000, 1, 5000)};
    static uint8_t big[8192];
    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, big + 4, sizeof(big) - 4), 5024);
    coco_qgs_prefix_encode(5024, big);
    ck_assert_uint_eq(ask(big, 5028), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_REQUESTS), 0);
}

/* --- requests in pieces ---------------------------------------------------------------------- */

/* Sends the request in two pieces, the second when the first has been read. */
static size_t ask_split(size_t first)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    size_t n = make_request(report, wire);
    int fd = open_one(), unread;

    put(fd, wire, first);
    do { /* until the peer's queue is empty */
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 1), 0);
        ck_assert_int_eq(ioctl(fd, TIOCOUTQ, &unread), 0);
    } while (unread != 0);
    put(fd, wire + first, n - first);
    size_t size = drain(fd, reply, sizeof(reply));
    close(fd);
    return size;
}

TEST(pieces_up_to_1_25)
{
    const char *why = "";

    options.timer_ms = 100;
    sim_start();
    must_be_quote_of(ask_split(4), report); /* it waits for 20 bytes first */
    ck_assert_uint_eq(ask_split(20), 0);
    ck_assert_uint_eq(ask_split(1051), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 2);
    /* prefix and header, then the TDREPORT: taken for a raw one */
    size_t size = ask_split(28);
    ck_assert(coco_qgs_looks_raw(reply));
    ck_assert_msg(tdx_verify_quote(reply, size, report, &why) == 0, "%s", why);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_SECOND_WRITES), 4);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_RAW_REQUESTS), 1);
}

TEST(pieces_from_1_26)
{
    uint8_t garbage[100];

    options.fixed_split = true;
    sim_start();
    must_be_quote_of(ask_split(4), report);
    must_be_quote_of(ask_split(20), report);
    must_be_quote_of(ask_split(28), report);
    must_be_quote_of(ask_split(1051), report);
    memset(garbage, 'x', sizeof(garbage));
    ck_assert_uint_eq(ask(garbage, sizeof(garbage)), 0); /* closed at once */
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 0);
    const char *why = "";
    size_t size = ask(report, sizeof(report));
    ck_assert_msg(tdx_verify_quote(reply, size, report, &why) == 0, "%s", why);
}

/* Up to DCAP 1.20: its library says 1.0, pads collateral for everybody, reads whole frames, and
 * knows no raw form: a bare TDREPORT announces a length. */
TEST(one_of_1_20)
{
    static const uint8_t collateral[] = {0, 0, 0, 26, 1, 0, 1, 0, 2, 0, 0, 0, 26, 0,   0,
                                         0, 0, 0, 0,  0, 1, 0, 0, 0, 1, 0, 0, 0,  'f', 'c'};
    struct coco_qgs_collateral_resp collateral_resp;
    struct coco_qgs_quote_resp resp;

    options.old = true;
    options.timer_ms = 200;
    sim_start();
    static const size_t pieces[] = {1, 4, 20, 28, 1051};
    for (size_t i = 0; i < 5; i++) {
        size_t size = ask_split(pieces[i]);
        ck_assert_int_eq(coco_qgs_quote_resp_decode(reply + 4, size - 4, &resp), 0);
        ck_assert_uint_eq(resp.minor, 0);
        ck_assert_uint_eq(resp.error_code, 0);
    }
    size_t size = ask(collateral, sizeof(collateral));
    ck_assert_int_eq(coco_qgs_collateral_resp_decode(reply + 4, size - 4, &collateral_resp), 0);
    ck_assert(collateral_resp.padded);
    ck_assert_uint_eq(collateral_resp.minor, 0);
    ck_assert_uint_eq(ask(report, sizeof(report)), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_RAW_REQUESTS), 0);
    ck_assert_uint_eq(ask("\0\0\0\0", 4), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1); /* closed at once */
}

/* --- queue and time -------------------------------------------------------------------------- */

TEST(queue_is_unbounded_and_workers_are_not)
{
    int fds[20];

    options.threads = 3;
    options.faults[QGS_FAULT_STUCK] = 3;
    sim_start();
    for (int i = 0; i < 20; i++)
        fds[i] = send_request(report);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OUTSTANDING, 20, LONG_MS));
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_MOST_OUTSTANDING), 20);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_QUOTES), 0);
    qgs_sim_stop(sim);
    for (int i = 0; i < 20; i++) {
        ck_assert_uint_eq(drain(fds[i], reply, sizeof(reply)), 0);
        close(fds[i]);
    }
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_OUTSTANDING), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_OPEN), 0);
    ck_assert_int_eq(try_connect(), -ENOENT);
    ck_assert_int_eq(qgs_sim_start(sim), 0);
    still_alive();
}

/* A request that nobody waits for any more is worked on all the same, and holds up the next. */
TEST(nothing_is_cancelled)
{
    options.threads = 1;
    options.faults[QGS_FAULT_HANG] = 1;
    options.timer_ms = 200;
    sim_start();
    int hang = send_request(report);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_FAULTS, 1, LONG_MS));
    int dead = send_request(report);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OUTSTANDING, 2, LONG_MS));
    close(dead);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_ABANDONED, 1, LONG_MS));
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_OUTSTANDING), 2);
    ck_assert_uint_eq(drain(hang, reply, sizeof(reply)), 0);
    close(hang);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OUTSTANDING, 0, LONG_MS));
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_WASTED), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_HALF_OPEN), 0);
    still_alive();
}

TEST(half_open_peers_are_counted)
{
    sim_start();
    close(open_one());
    int fd = open_one();
    put(fd, "\0\0\4\x18", 4);
    close(fd);
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_HALF_OPEN, 2, LONG_MS));
    ck_assert(qgs_sim_wait_equal(sim, QGS_STAT_OPEN, 0, LONG_MS));
    still_alive();
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_HALF_OPEN), 2);
}

TEST(zero_threads_never_answer)
{
    options.threads = 0;
    options.timer_ms = 60;
    sim_start();
    ck_assert_uint_eq(ask_quote(report), 0);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_TIMED_OUT), 1);
    ck_assert_uint_eq(qgs_sim_stat(sim, QGS_STAT_OUTSTANDING), 1);
}

TEST_LOOP(delays_run_in_parallel, 0, 2)
{
    int fds[8];

    options.threads = 8;
    options.delay_ms = 30;
    options.delay_random = _i != 0;
    sim_start();
    for (int i = 0; i < 8; i++)
        fds[i] = send_request(report);
    for (int i = 0; i < 8; i++) {
        must_be_quote_of(drain(fds[i], reply, sizeof(reply)), report);
        close(fds[i]);
    }
    qgs_sim_set_delay(sim, 0);
    still_alive();
}
