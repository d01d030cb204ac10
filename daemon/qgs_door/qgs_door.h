/* SPDX-License-Identifier: MIT */
/*
 * The QGS front door: cocod speaks the quoting service's protocol as a server, so that an
 * unmodified VMM, or a guest over vsock, needs only another path. PROTOCOL.md "The front door".
 */
#pragma once

#include "peer/dialect.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quotes;

struct qgs_door_options {
    uint64_t request_timeout_us; /* from accept until the request is there */
    uint64_t timeout_us;         /* from accept until the answer, at the latest */
    bool allow_collateral;
    bool allow_platform_info;
    const uint32_t *cids; /* the vsock peers that may connect; none: all guests */
    size_t n_cids;
};

/* The context of every peer of qgs_door_dialect. */
struct qgs_door {
    struct quotes *quotes;
    struct qgs_door_options options;
};

extern const struct dialect qgs_door_dialect;
