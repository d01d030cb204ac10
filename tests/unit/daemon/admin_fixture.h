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
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
    options.quotes.n_backends = 1;
}

static inline void teardown(void)
{
    varlink_end();
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
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get quote_get = {.quote_max = quote_max, .tdreport = tdreport};

    tdx_make_tdreport(id, NULL, tdreport);
    if (!good)
        tdreport[300] ^= 1;
    coco_quote_get_encode(&quote_get, payload);
    rig_call(&rig, fd, COCO_QUOTE_GET, id, payload, sizeof(payload));
}

static inline void end(int fd)
{
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
}
