/* SPDX-License-Identifier: MIT */
/*
 * A generation: a certificate table, and the chain that it was made from. It never changes: it is
 * selected, brought in and replaced as a whole. Shared by reference. Loop thread only, but that the
 * worker fills in a new one.
 */
#pragma once

#include "base/blob.h"
#include "certs/store/store.h"
#include "observe/metrics.h"
#include <stdbool.h>
#include <stdint.h>

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
/* NULL: there is no chain. */
const struct chain_cert *generation_first_to_expire(const struct generation *generation);
