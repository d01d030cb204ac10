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

/* Why the table is empty, or from STARTING on, why CERTS_GET is EAGAIN; and its name in metrics. */
#define CERTS_REASON_TABLE_OF(X)                                                                   \
    X(CERTS_REASON_NONE, "none")                                                                   \
    X(CERTS_REASON_NOT_CONFIGURED, "not_configured") /* there is no chain, store or platform */    \
    X(CERTS_REASON_NO_CHAIN, "no_chain")             /* there is none for this platform */         \
    X(CERTS_REASON_EXPIRED, "expired")               /* it has a date that is over, or not yet */  \
    X(CERTS_REASON_REFUSED, "refused")               /* it does not verify */                      \
    X(CERTS_REASON_PLATFORM, "platform_unknown")     /* the platform cannot be read */             \
    X(CERTS_REASON_LOAD, "load_failed")              /* for want of memory or of the worker */     \
    X(CERTS_REASON_STARTING, "starting")             /* nothing was published yet */               \
    X(CERTS_REASON_DRAINING, "draining")             /* a table, or an update, waits for leases */ \
    X(CERTS_REASON_UPDATING, "updating")             /* a firmware update runs */                  \
    X(CERTS_REASON_READING, "platform_reading")      /* reading, or loading, took too long */      \
    X(CERTS_REASON_UNREAD, "platform_unread")        /* reading it failed for the first time */    \
    X(CERTS_REASON_DRAINED, "drained")               /* an administrator wants it so */            \
    X(CERTS_REASON_LIMIT, "limit")   /* as many of the session, or account, wait as may */         \
    X(CERTS_REASON_MEMORY, "memory") /* there is none for one that waits */

#define CERTS_ID(id, name) id,
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

/* One reference, and all else to be filled in. NULL: out of memory. */
struct generation *generation_new(void);
struct generation *generation_ref(struct generation *generation);
/* NULL is fine. Returns NULL. */
struct generation *generation_unref(struct generation *generation);

bool generation_has_chain(const struct generation *generation); /* NULL has none */
bool generation_same_table(const struct generation *a, const struct generation *b);
