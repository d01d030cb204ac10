/* SPDX-License-Identifier: MIT */
/*
 * The oracle of the certificate table, for the fuzz target and for tests: what decodes, lies inside
 * the input, and encodes to the canonical table of the same entries, which is the input itself
 * where that was canonical; what does not, leaves the output untouched. It aborts where that does
 * not hold.
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

/* The blobs follow each other and the entries, and the list ends with zeros. */
static inline int snp_is_canonical(const uint8_t *in, const struct coco_snp_table *table)
{
    static const uint8_t zeros[COCO_SNP_ENTRY_SIZE];
    size_t pos = COCO_SNP_ENTRY_SIZE * (table->n_entries + 1);

    /* (Behind entries of length 0, which are left out, the list's end is elsewhere.) */
    if (memcmp(in + pos - sizeof(zeros), zeros, sizeof(zeros)) != 0)
        return 0;
    for (size_t i = 0; i < table->n_entries; i++) {
        if (table->entries[i].offset != pos)
            return 0;
        pos += table->entries[i].length;
    }
    return pos == table->size;
}

static inline void snp_same_entries(const struct coco_snp_table *a, const struct coco_snp_table *b)
{
    snp_oracle_demand(a->n_entries == b->n_entries);
    for (size_t i = 0; i < a->n_entries; i++) {
        const struct coco_snp_entry *x = &a->entries[i], *y = &b->entries[i];
        snp_oracle_demand(memcmp(x->guid, y->guid, sizeof(x->guid)) == 0);
        snp_oracle_demand(x->length == y->length && memcmp(x->data, y->data, x->length) == 0);
    }
}

/* encode(decode(in)): canonical, of the same entries, judged alike, and encoded to itself. */
static inline void snp_encoded_again(const uint8_t *in, const struct coco_snp_table *table)
{
    struct coco_snp_table laid = *table, again, last;
    size_t size = coco_snp_table_layout(&laid);

    snp_oracle_demand(size >= COCO_SNP_EMPTY_TABLE_SIZE);
    uint8_t *out = malloc(size), *twice = malloc(size);
    if (out && twice) {
        snp_oracle_demand(coco_snp_table_encode(&laid, out, size - 1) == -EMSGSIZE);
        snp_oracle_demand(coco_snp_table_encode(&laid, out, size) == 0 && laid.size == size);
        snp_oracle_demand(coco_snp_table_decode(out, size, &again) == 0 && again.size == size);
        snp_oracle_demand(snp_is_canonical(out, &again));
        snp_same_entries(table, &again);
        snp_oracle_demand(coco_snp_table_validate(table, NULL) ==
                          coco_snp_table_validate(&again, NULL));
        last = again;
        snp_oracle_demand(coco_snp_table_encode(&last, twice, size) == 0 && last.size == size);
        snp_oracle_demand(memcmp(out, twice, size) == 0);
        if (snp_is_canonical(in, table))
            snp_oracle_demand(table->size == size && memcmp(in, out, size) == 0);
    }
    free(out);
    free(twice);
}

/* 0 or -EBADMSG, as coco_snp_table_decode. */
static inline int snp_table_oracle(const uint8_t *in, size_t size)
{
    struct coco_snp_table table;
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

    snp_encoded_again(in, &table);
    return 0;
}
