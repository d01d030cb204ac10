/* SPDX-License-Identifier: MIT */
/*
 * Generations: references to them, and what can be asked of one.
 */
#include "certs/generation.h"
#include "base/sys.h"
#include <string.h>

struct generation *generation_ref(struct generation *generation)
{
    generation->refs++;
    return generation;
}

struct generation *generation_unref(struct generation *generation)
{
    if (!generation || --generation->refs > 0)
        return NULL;
    blob_unref(generation->table);
    store_chain_done(&generation->found);
    sys.free(generation);
    return NULL;
}

bool generation_has_chain(const struct generation *generation)
{
    return generation && generation->found.chain;
}

bool generation_same_table(const struct generation *a, const struct generation *b)
{
    return a->table->size == b->table->size &&
           memcmp(a->table->data, b->table->data, a->table->size) == 0;
}
