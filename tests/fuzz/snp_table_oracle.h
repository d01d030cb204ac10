/* SPDX-License-Identifier: MIT */
/*
 * The oracle of the certificate table, for the fuzz target and for tests: what decodes, lies inside
 * the input and encodes to the same bytes; what does not, leaves the output untouched. It aborts
 * where that does not hold.
 */
#pragma once

#include "snp_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static inline void snp_oracle_demand(int holds)
{
    if (!holds)
        abort();
}

#define SNP_UNTOUCHED 0x5a

static inline int snp_untouched(const void *object, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)object)[i] != SNP_UNTOUCHED)
            return 0;
    return 1;
}

/* 0 or -EBADMSG, as coco_snp_table_decode. */
static inline int snp_table_oracle(const uint8_t *in, size_t size)
{
    struct coco_snp_table table, again;
    const char *why = NULL;

    memset(&table, SNP_UNTOUCHED, sizeof(table));
    int r = coco_snp_table_decode(in, size, &table);
    if (r < 0) {
        snp_oracle_demand(r == -EBADMSG && snp_untouched(&table, sizeof(table)));
        return r;
    }
    snp_oracle_demand(table.size >= COCO_SNP_EMPTY_TABLE_SIZE && table.size <= size);
    snp_oracle_demand(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX);
    for (size_t i = 0; i < table.n_entries; i++) {
        const struct coco_snp_entry *entry = &table.entries[i];
        snp_oracle_demand(entry->data == in + entry->offset && entry->length > 0);
        snp_oracle_demand((uint64_t)entry->offset + entry->length <= table.size);
    }
    int valid = coco_snp_table_validate(&table, &why);
    snp_oracle_demand(valid == 0 ? why == NULL : valid == -EBADMSG && why != NULL);

    uint8_t *out = malloc(table.size);
    if (!out)
        return 0;
    size_t decoded_size = table.size;
    snp_oracle_demand(coco_snp_table_encode(&table, out, decoded_size - 1) == -EMSGSIZE);
    snp_oracle_demand(coco_snp_table_encode(&table, out, decoded_size) == 0);
    snp_oracle_demand(table.size == decoded_size && memcmp(in, out, decoded_size) == 0);
    /* What lies behind the table makes no difference. */
    snp_oracle_demand(coco_snp_table_decode(out, decoded_size, &again) == 0);
    free(out);
    return 0;
}
