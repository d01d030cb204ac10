/* SPDX-License-Identifier: MIT */
/*
 * What became of an account's last requests, for the administrator who asks why one VM got no
 * attestation. Loop thread only.
 */
#pragma once

#include "coco_limits.h"
#include <stdint.h>

#define HISTORY_ENTRIES 64u

enum history_kind {
    HISTORY_CERTS,
    HISTORY_QUOTE,
    HISTORY_COLLATERAL, /* the two others that QGS answers, by its front door */
    HISTORY_PLATFORM,
};

/* One request that was answered. */
struct history_entry {
    uint64_t received_us; /* sys.now_us() */
    union {
        uint64_t generation; /* CERTS */
        struct {
            uint32_t service_us; /* of the last exchange with QGS; 0: none */
            uint32_t code;       /* QGS's own error code */
        };
    };
    const char *why;  /* static text; NULL: nothing is to be said */
    uint32_t took_us; /* from receipt to answer */
    uint32_t bytes;   /* of the table or quote */
    uint32_t session; /* CERTS: whose lease it was asked under; 0: none */
    uint8_t kind;     /* enum history_kind */
    uint8_t status;   /* the contract's: all of them are below 256 */
    uint8_t backend;  /* for quotes_backend_name; 0: none was asked */
};

struct history {
    uint64_t n;                                /* ever added; the last HISTORY_ENTRIES are there */
    uint64_t certs, certs_empty, certs_failed; /* ENOSPC is no failure: the guest asks again */
    struct history_entry *entries;
    uint32_t quotes, quotes_failed;
    uint32_t room; /* for entries: few at first, HISTORY_ENTRIES in the end */
    /* What the account's last session called itself: claims. */
    char vm_name[COCO_NAME_SIZE + 1];
    uint8_t vm_uuid[16];
};

/* NULL, both: out of memory, and the requests go on without. */
struct history *history_new(void);
void history_free(struct history *history);

/* Adds an entry, and counts it. `history` NULL: does nothing. Allocates three times in its life. */
void history_add(struct history *history, const struct history_entry *entry);

/* The i-th of those that are there, 0 the oldest; NULL behind the last. */
const struct history_entry *history_at(const struct history *history, unsigned i);
