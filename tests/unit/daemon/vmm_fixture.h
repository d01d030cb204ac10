/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the RPC share: a host with a chain, a table file and a QGS that the test plays,
 * and sessions. What a test opens here, the teardown closes, and checks that nothing is left.
 */
#pragma once

#include "fake_qgs.h"
#include "rig.h"
#include "tdx_quote.h"

#define SECOND 1000000u

static struct rig rig;
static struct rig_options options;
static struct rig_message message;
static char table_path[128];

static inline void setup(void)
{
    rig_reset_sys();
    fake_qgs_install();
    options = rig_host(table_path);
    options.quotes.n_backends = 1;
}

static inline void open_rig(void)
{
    rig_open(&rig, &options);
}

static inline void teardown(void)
{
    if (rig.base) {
        rig_close_kept();
        rig_settle(&rig);
        ck_assert_uint_eq(metrics.now_requests, 0);
        ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
        rig_close(&rig);
    }
    fake_qgs_close_all();
}

/* A connection that has not said HELLO. */
static inline int connect_vmm(void)
{
    return rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL);
}

static inline int open_table(int flags)
{
    int fd = rig_keep(open(table_path, flags | O_CLOEXEC, 0600));

    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline int open_vmm(void)
{
    open_rig();
    return connect_vmm();
}

static inline int session(uint32_t features)
{
    return rig_session(&rig, features);
}

static inline int open_session(uint32_t features)
{
    open_rig();
    return session(features);
}

/* Closes it now. */
static inline void leave(int fd)
{
    rig_leave(&rig, fd);
}

/* Says HELLO, and is answered so. Returns the lease's descriptor, or -1. */
static inline int say_hello(int fd, uint32_t features, const char *name, uint32_t status,
                            struct coco_hello_reply *ret)
{
    struct coco_hello hello = {.features = features};

    snprintf(hello.vm_name, sizeof(hello.vm_name), "%s", name);
    int lease = rig_say_hello(&rig, fd, hello, status, ret);
    return lease < 0 ? lease : rig_keep(lease);
}

static inline void expect_alive(int fd)
{
    static uint64_t id = 1000000;

    rig_call(&rig, fd, COCO_PING, ++id, NULL, 0);
    rig_expect(fd, &message, COCO_PING_REPLY, id, COCO_OK);
    ck_assert_uint_eq(message.header.length, 0);
}

static inline void ask_quote(int fd, uint64_t id, uint32_t quote_max, uint32_t timeout_ms)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE];

    rig_send(fd, frame, rig_quote_frame(frame, id, quote_max, timeout_ms));
    rig_settle(&rig);
}

/* QGS answers its i-th connection. */
static inline void qgs_answers(unsigned i)
{
    fake_qgs_answer(i);
    rig_settle(&rig);
}

static inline void reload_chain(unsigned n)
{
    struct certs_options next = options.certs;

    rig_chain(&next, n);
    certs_reload(rig.certs, &next);
    rig_await_worker(&rig);
}
