/* SPDX-License-Identifier: MIT */
/*
 * The RPC that VMMs speak: PROTOCOL.md. One dialect over peer/.
 */
#pragma once

#include "coco_limits.h"
#include "peer/dialect.h"
#include <stdbool.h>
#include <stdint.h>

struct certs;
struct certs_who;
struct peer;
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

/* A session's number by its first lease byte; 0: it has no lease. */
static inline uint32_t vmm_lease_session(uint64_t lease_base)
{
    return lease_base ? (uint32_t)(lease_base / COCO_LEASE_BYTES) : 0;
}

/* The session whose lease byte this is; NULL: nobody's of this run. The strings are the session's
 * claims, valid until it closes. */
struct vmm_session {
    const struct peer *peer;
    const char *vm_name;
    const uint8_t *vm_uuid; /* 16 bytes */
    uint64_t vcpu;
};
bool vmm_find_session(const struct server *server, uint64_t byte, struct vmm_session *ret);

/* For certs_set_namer; `data` is a struct vmm. */
bool vmm_name_holder(void *data, uint64_t byte, struct certs_who *ret);

/* Tells the sessions that asked for it that state or generation changed. `data` is a struct vmm. */
void vmm_certs_changed(void *data);
