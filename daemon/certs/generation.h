/* SPDX-License-Identifier: MIT */
/*
 * A generation: a certificate table, and the chain that it was made from. It never changes: it is
 * selected, brought in and replaced as a whole. Shared by reference. Loop thread only, but that the
 * worker fills in a new one.
 */
#pragma once

#include "base/blob.h"
#include "certs/store/store.h"
#include <stdbool.h>
#include <stdint.h>

/* Why the table is empty, or from STARTING on, why CERTS_GET is EAGAIN; the name in metrics; and of
 * the latter a sentence. */
#define CERTS_REASON_TABLE_OF(X)                                                                  \
    X(CERTS_REASON_NONE, "none", NULL)                                                            \
    X(CERTS_REASON_NOT_CONFIGURED, "not_configured", NULL) /* no chain, store or platform */      \
    X(CERTS_REASON_NO_CHAIN, "no_chain", NULL)             /* for this platform */                \
    X(CERTS_REASON_EXPIRED, "expired", NULL)               /* or not valid yet */                 \
    X(CERTS_REASON_REFUSED, "refused", NULL)               /* it does not verify */               \
    X(CERTS_REASON_PLATFORM, "platform_unknown", NULL)     /* it cannot be read */                \
    X(CERTS_REASON_LOAD, "load_failed", NULL)              /* no memory, or no worker */          \
    X(CERTS_REASON_STARTING, "starting", "cocod has just started, and has nothing to serve yet")  \
    X(CERTS_REASON_DRAINING, "draining", "a firmware update waits for leases to end")             \
    X(CERTS_REASON_UPDATING, "updating", "a firmware update is running, or was until now")        \
    X(CERTS_REASON_READING, "platform_reading",                                                   \
      "the platform could not be read, and its chain loaded, before the request's time was over") \
    X(CERTS_REASON_UNREAD, "platform_unread",                                                     \
      "the platform could not be read, for the first time")                                       \
    X(CERTS_REASON_DRAINED, "drained", "an administrator drained cocod")                          \
    X(CERTS_REASON_LIMIT, "limit", "as many of its requests are waiting as may")                  \
    X(CERTS_REASON_MEMORY, "memory", "there was no memory in which it could wait")

#define CERTS_ID(id, ...) id,
enum certs_reason {
    CERTS_REASON_TABLE_OF(CERTS_ID) CERTS_REASONS,
};
#undef CERTS_ID

struct generation {
    unsigned refs;
    struct blob *table;
    struct store_chain found; /* its chain is NULL: the table is the empty one */
    enum certs_reason reason; /* then, why */
};

struct generation *generation_ref(struct generation *generation);
/* NULL is fine. Returns NULL. */
struct generation *generation_unref(struct generation *generation);

bool generation_has_chain(const struct generation *generation); /* NULL has none */
bool generation_same_table(const struct generation *a, const struct generation *b);
