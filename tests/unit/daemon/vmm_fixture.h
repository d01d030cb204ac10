/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the RPC share: a host with a chain, a table file and a QGS that the test plays,
 * and sessions. What a test opens here, the teardown closes, and checks that nothing is left.
 */
#pragma once

#include "base/sys.h"
#include "certs/certs.h"
#include "fake_qgs.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "rig.h"
#include "status.h"
#include "tdx_quote.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND 1000000u

static struct rig rig;
static bool is_open;
static struct rig_options options;
static struct rig_message message;
static char table_path[128];

static inline void setup(void)
{
    rig_reset_sys();
    fake_qgs_install();
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
    options.quotes.n_backends = 1;
    is_open = false;
}

static inline void open_rig(void)
{
    rig_open(&rig, &options);
    is_open = true;
}

static inline void teardown(void)
{
    rig_close_kept();
    if (is_open) {
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
    return rig_keep(rig_connect(&rig, &vmm_dialect, &rig.vmm, NULL));
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
    struct coco_hello_reply reply;
    int fd = connect_vmm();

    rig_hello(&rig, fd, features, &reply);
    return fd;
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

/* Says HELLO, and is answered so. */
static inline void say_hello(int fd, uint32_t features, const char *name, uint32_t status,
                             struct coco_hello_reply *ret)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = features};
    uint8_t payload[COCO_HELLO_SIZE];

    snprintf(hello.vm_name, sizeof(hello.vm_name), "%s", name);
    coco_hello_encode(&hello, payload);
    rig_call(&rig, fd, COCO_HELLO, 1, payload, sizeof(payload));
    rig_expect(fd, &message, COCO_HELLO_REPLY, 1, status);
    if (message.passed_fd >= 0)
        rig_keep(message.passed_fd);
    if (ret)
        ck_assert_int_eq(coco_hello_reply_decode(message.payload, message.header.length, ret), 0);
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
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    uint8_t frame[COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE];
    struct coco_quote_get get = {.quote_max = quote_max, .tdreport = tdreport};

    tdx_make_tdreport(id, NULL, tdreport);
    coco_quote_get_encode(&get, payload);
    rig_send(fd, frame, rig_frame(frame, COCO_QUOTE_GET, id, timeout_ms, payload, sizeof(payload)));
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

static inline int lock_bytes(int fd, short type, uint64_t first, uint64_t length)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)first,
                         .l_len = (off_t)length};

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}
