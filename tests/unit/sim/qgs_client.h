/* SPDX-License-Identifier: MIT */
/*
 * A simulated quoting service and a client of it, for the tests of the simulator: one of each a
 * test process, so plain variables do.
 */
#pragma once

#include "local_socket.h"
#include "qgs_msg.h"
#include "qgs_sim.h"
#include "support.h"
#include "tdx_quote.h"
#include <poll.h>
#include <sys/socket.h>

#define LONG_MS 10000u /* nothing here takes that long unless it hangs */

static char path[128];
static struct qgs_sim_options options;
static struct qgs_sim *sim;
static uint8_t report[TDX_TDREPORT_SIZE];

static inline void sim_setup(void)
{
    static const char *dir; /* one a process, also where all tests run in one */

    if (!dir)
        dir = test_tmpdir();
    (void)snprintf(path, sizeof(path), "%s/qgs.sock", dir);
    qgs_sim_options_init(&options);
    options.path = path;
    options.threads = 2;
    tdx_make_tdreport(1, NULL, report);
}

static inline void sim_teardown(void)
{
    qgs_sim_free(sim);
    sim = NULL;
}

static inline void sim_start(void)
{
    sim = qgs_sim_new(&options);
    ck_assert_ptr_nonnull(sim);
    ck_assert_int_eq(qgs_sim_start(sim), 0);
}

/* --- a client -------------------------------------------------------------------------------- */

static inline int try_connect(void)
{
    int fd = unix_connect(path, SOCK_NONBLOCK);

    return fd < 0 ? -errno : fd;
}

static inline int open_one(void)
{
    int fd = try_connect();

    ck_assert_msg(fd >= 0, "connect: %s", strerror(-fd));
    return fd;
}

static inline void put(int fd, const void *bytes, size_t n)
{
    ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Everything to the end of file. */
static inline size_t drain(int fd, uint8_t *out, size_t cap)
{
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, (int)LONG_MS), 1);
        ssize_t got = recv(fd, out + n, cap - n, 0);
        if (got == 0)
            return n;
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
        ck_assert_uint_lt(n, cap);
    }
}

static uint8_t reply[1 << 17];

/* A new connection that sends these bytes; the reply to its end is in `reply`. */
static inline size_t ask(const void *bytes, size_t n)
{
    int fd = open_one();

    put(fd, bytes, n);
    size_t size = drain(fd, reply, sizeof(reply));
    close(fd);
    return size;
}

static inline size_t make_request(const uint8_t *tdreport, uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE])
{
    struct coco_qgs_quote_req req = {.minor = COCO_QGS_MINOR,
                                     .report_size = TDX_TDREPORT_SIZE,
                                     .report = tdreport};

    ck_assert_int_eq(coco_qgs_quote_req_encode(&req, wire + 4, COCO_QGS_QUOTE_REQ_SIZE),
                     COCO_QGS_QUOTE_REQ_SIZE);
    coco_qgs_prefix_encode(COCO_QGS_QUOTE_REQ_SIZE, wire);
    return COCO_QGS_QUOTE_REQ_WIRE;
}

static inline int send_request(const uint8_t *tdreport)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];
    int fd = open_one();

    put(fd, wire, make_request(tdreport, wire));
    return fd;
}

static inline size_t ask_quote(const uint8_t *tdreport)
{
    uint8_t wire[COCO_QGS_QUOTE_REQ_WIRE];

    return ask(wire, make_request(tdreport, wire));
}

static inline struct coco_qgs_quote_resp decode_reply(size_t size)
{
    struct coco_qgs_quote_resp resp;

    ck_assert_uint_ge(size, 4);
    ck_assert_uint_eq(coco_qgs_prefix_decode(reply), size - 4);
    ck_assert_int_eq(coco_qgs_quote_resp_decode(reply + 4, size - 4, &resp), 0);
    ck_assert_uint_eq(resp.minor, 1);
    return resp;
}

static inline void must_be_error(size_t size)
{
    ck_assert_uint_eq(size, 28);
    ck_assert_uint_eq(decode_reply(size).error_code, COCO_QGS_ERROR_UNEXPECTED);
}

static inline void must_be_quote_of(size_t size, const uint8_t *tdreport)
{
    struct coco_qgs_quote_resp resp = decode_reply(size);
    const char *why = "";

    ck_assert_uint_eq(resp.error_code, 0);
    ck_assert_uint_eq(resp.selected_id_size, 0);
    ck_assert_msg(tdx_verify_quote(resp.quote, resp.quote_size, tdreport, &why) == 0, "%s", why);
}

static inline void still_alive(void)
{
    must_be_quote_of(ask_quote(report), report);
}
