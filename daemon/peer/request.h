/* SPDX-License-Identifier: MIT */
/*
 * A request: one question of one peer that waits for a backend. (A CERTS_GET is one only where the
 * platform must be read first; else it lives on its dispatcher's stack.)
 *
 * request_complete is the only exit and runs exactly once: by answer, by expiry, by CANCEL, or
 * because the peer closed. Whoever works on a request registers how to be told that it is over.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "observe/history.h"
#include <stdbool.h>
#include <stdint.h>

struct peer;
struct account;

/* What is remembered of a request beside its end. */
struct request_trace {
    const char *why;     /* static text; NULL: nothing is to be said */
    uint32_t service_us; /* of the last exchange with QGS; 0: none */
    uint32_t code;       /* QGS's own error code */
    uint8_t backend;     /* for quotes_backend_name; 0: none was asked */
    bool vm_at_fault;    /* QGS refused what the VM sent, and nothing is wrong with QGS */
};

struct request {
    struct peer *peer;
    struct account *account; /* the peer's */
    uint64_t id;             /* the peer's name for it */
    uint16_t type;           /* of the dialect */
    uint64_t received_us;
    uint64_t deadline_us; /* when it is answered at the latest */
    struct timer expiry;
    /* Set while somebody holds the request: called when it completes by other hands than the
     * holder's. */
    void (*cancel)(struct request *request);
    void *holder;
    struct request *prev, *next;               /* of the peer */
    struct request *waiter_prev, *waiter_next; /* of the holder */
    uint32_t reply_max; /* what the peer can take: bytes; of a CERTS_GET, pages */
    bool measured;      /* its latency is sampled */
    struct request_trace trace;
};

/* A request that expires at deadline_us with ETIMEDOUT. NULL: over the limit of those in flight, or
 * out of memory. */
struct request *request_new(struct peer *peer, uint16_t type, uint64_t id, uint64_t deadline_us);

void request_hold(struct request *request, void (*cancel)(struct request *), void *holder);
/* By the holder, before it completes the request itself. */
void request_release(struct request *request);

/* Answers and frees. `status` is the contract's (proto/status.h); `blob` may be NULL, its reference
 * stays the caller's. */
void request_complete(struct request *request, uint32_t status, struct blob *blob);

/* Adds an ended request to its account's history; for dialects. */
void request_remember(const struct request *request, enum history_kind kind, uint32_t status,
                      const struct blob *blob);
