/* SPDX-License-Identifier: MIT */
/*
 * The RPC that VMMs speak: PROTOCOL.md. One dialect over peer/.
 */
#pragma once

#include "peer/dialect.h"
#include <stdbool.h>
#include <stdint.h>

struct certs;
struct certs_who;
struct quotes;
struct server;

struct vmm_options {
    uint64_t instance; /* random, of this run */
    uint64_t quote_timeout_us;
    uint64_t quote_max_timeout_us;
    unsigned events_per_minute; /* GUEST_EVENT lines that one account may cause */
};

/* The context of every peer of vmm_dialect. */
struct vmm {
    struct certs *certs;
    struct quotes *quotes;
    struct server *server;
    struct vmm_options options;
    /* What the last NOTIFY said. */
    uint64_t notified_generation;
    bool notified_serving;
};

extern const struct dialect vmm_dialect;

/* For certs_set_namer; `data` is a struct vmm. */
bool vmm_name_holder(void *data, uint64_t byte, struct certs_who *ret);

/* Sends NOTIFY to the sessions that want it. `data` is a struct vmm. */
void vmm_certs_changed(void *data);
