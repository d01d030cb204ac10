/* SPDX-License-Identifier: MIT */
/*
 * A request: one question of one peer that waits for its answer.
 *
 * request_complete is the only exit and runs exactly once: by answer, by expiry, by CANCEL, or
 * because the peer closed. The holder, who works on it, has a callback for the last three.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "observe/history.h"
#include <stdbool.h>
#include <stdint.h>

struct account;
struct request;

/* The requests of one peer that wait. */
struct requests {
    struct account *account;
    /* Sends the answer of one that is over. May close the peer, which completes the others. */
    void (*answer)(struct request *request, uint32_t status, struct blob *blob);
    struct request *first;
};

struct request {
    struct requests *of;     /* peer_of() is the peer */
    struct account *account; /* the peer's */
    uint64_t id;             /* the peer's name for it */
    uint16_t type;           /* of the dialect */
    uint64_t received_us;
    uint64_t deadline_us; /* when it is answered at the latest */
    struct timer expiry;
    /* Set while somebody holds the request: called when it completes without the holder. */
    void (*cancel)(struct request *request);
    void *holder;
    struct request *prev, *next;               /* of the peer */
    struct request *waiter_prev, *waiter_next; /* of the holder */
    uint32_t reply_max; /* what the peer can take: bytes; of a CERTS_GET, pages */
    bool measured;      /* its latency is sampled */
    /* What the holder says of it. Its end is added when it is over. */
    struct history_entry trace;
    bool peer_at_fault; /* the holder: what the peer sent was refused, and nothing else is wrong */
};

/* A request that expires at deadline_us with ETIMEDOUT. NULL: over the limit of those in flight, or
 * out of memory. */
struct request *request_new(struct requests *of, uint16_t type, uint64_t id, uint64_t deadline_us);

void request_hold(struct request *request, void (*cancel)(struct request *), void *holder);
/* By the holder, before it completes the request itself. */
void request_release(struct request *request);

/* Answers and frees. `status` is the contract's (proto/status.h); `blob` may be NULL, its reference
 * stays the caller's. */
void request_complete(struct request *request, uint32_t status, struct blob *blob);

unsigned requests_count(const struct requests *requests);
void requests_complete_all(struct requests *requests, uint32_t status);
/* Adds an ended request to its account's history; for dialects. */
void request_remember(const struct request *request, enum history_kind kind, uint32_t status,
                      const struct blob *blob);
