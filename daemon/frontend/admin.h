/* SPDX-License-Identifier: MIT */
/*
 * Administration: varlink, proto/io.cocod.Admin.varlink. One dialect over peer/.
 */
#pragma once

#include "frontend/frontend.h"
#include <stdint.h>

struct certs;
struct peer;
struct quotes;
struct server;

/* The context of every peer of admin_dialect. */
struct admin {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    uint64_t instance;
    uint64_t ready_us;          /* when the daemon was ready, sys.now_us() */
    struct peer *updater;       /* began the firmware update that is under way; NULL: none */
    const char *config_problem; /* a configuration that was refused; NULL: none */
};

extern const struct dialect admin_dialect;
