/* SPDX-License-Identifier: MIT */
/*
 * Administration: varlink, proto/io.cocod.Admin.varlink. One dialect over peer/.
 */
#pragma once

#include "frontend/frontend.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct certs;
struct health;
struct peer;
struct quotes;
struct server;
struct worker;

/* The context of every peer of admin_dialect. */
struct admin {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    const struct health *health;
    uint64_t instance;
    uint64_t ready_us;    /* when the daemon was ready, sys.now_us() */
    struct peer *updater; /* began the firmware update that is under way; NULL: none */
    bool has_import_user; /* then import_uid may import and ask, and nothing else */
    uid_t import_uid;
};

extern const struct dialect admin_dialect;
