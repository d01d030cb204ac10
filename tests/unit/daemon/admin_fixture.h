/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the administrators' dialect share: a rig with a chain and a quoting service.
 */
#pragma once

#include "fake_qgs.h"
#include "rig.h"
#include "tdx_quote.h"
#include "varlink.h"
#include <json-c/json.h>

#define GET_INFO "{\"method\":\"org.varlink.service.GetInfo\"}"

static struct rig rig;
static struct rig_options options;
static char table_path[128];

static inline void settle(void)
{
    rig_settle(&rig);
}

static inline void setup(void)
{
    varlink_begin(settle, 2);
    rig_reset_sys();
    fake_qgs_install();
    options = rig_host(table_path);
    options.quotes.n_backends = 1;
}

static inline void teardown(void)
{
    varlink_end();
    if (rig.base)
        rig_close(&rig);
    fake_qgs_close_all();
}

static inline int connect_admin(void)
{
    return rig_connect(&rig, &admin_dialect, &rig.admin, NULL);
}

/* A cocod of these options, and a connection to it. */
static inline int open_admin(void)
{
    rig_open(&rig, &options);
    return connect_admin();
}

static inline void ask_quote(int fd, uint64_t id, uint32_t quote_max, bool good)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE];
    size_t size = rig_quote_frame(frame, id, quote_max, 0);

    frame[COCO_HEADER_SIZE + 8 + 300] ^= !good;
    rig_send(fd, frame, size);
    rig_settle(&rig);
}

/* QGS answers `n` connections with an error. */
static inline void qgs_refuses(unsigned first, unsigned n)
{
    uint8_t error[64], tdreport[COCO_TDREPORT_SIZE];
    size_t size = fake_qgs_make_error(0x12001, error, sizeof(error));

    for (unsigned i = first; i < first + n; i++) {
        fake_qgs_request(i, tdreport);
        fake_qgs_send(i, error, size);
        fake_qgs_close(i);
        rig_settle(&rig);
    }
}
