/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the administrators' dialect share: a rig with a chain and a quoting service.
 */
#pragma once

#include "fake_qgs.h"
#include "rig.h"
#include "varlink.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static inline void end(int fd)
{
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
}
