/* SPDX-License-Identifier: MIT */
/*
 * The oracle of the certificate table: what decodes, lies inside the input, and encodes to the
 * canonical table of the same entries (the input itself where that was canonical); what does not,
 * leaves the output untouched. It aborts where that does not hold.
 */
#pragma once

#include "fuzz/fuzz.h"
#include "snp_table.h"

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
    REQUIRE(a->n_entries == b->n_entries);
    for (size_t i = 0; i < a->n_entries; i++) {
        const struct coco_snp_entry *x = &a->entries[i], *y = &b->entries[i];
        REQUIRE(memcmp(x->guid, y->guid, sizeof(x->guid)) == 0);
        REQUIRE(x->length == y->length && memcmp(x->data, y->data, x->length) == 0);
    }
}

/* encode(decode(in)): canonical, of the same entries, judged alike, and encoded to itself. */
static inline void snp_encoded_again(const uint8_t *in, const struct coco_snp_table *table)
{
    struct coco_snp_table laid = *table, again, last;
    size_t size = coco_snp_table_layout(&laid);

    REQUIRE(size >= COCO_SNP_EMPTY_TABLE_SIZE);
    uint8_t *out = malloc(size), *twice = malloc(size);
    if (out && twice) {
        REQUIRE(coco_snp_table_encode(&laid, out, size - 1) == -EMSGSIZE);
        REQUIRE(coco_snp_table_encode(&laid, out, size) == 0 && laid.size == size);
        REQUIRE(coco_snp_table_decode(out, size, &again) == 0 && again.size == size);
        REQUIRE(snp_is_canonical(out, &again));
        snp_same_entries(table, &again);
        REQUIRE(coco_snp_table_validate(table, NULL) == coco_snp_table_validate(&again, NULL));
        last = again;
        REQUIRE(coco_snp_table_encode(&last, twice, size) == 0 && last.size == size);
        REQUIRE(memcmp(out, twice, size) == 0);
        if (snp_is_canonical(in, table))
            REQUIRE(table->size == size && memcmp(in, out, size) == 0);
    }
    free(out);
    free(twice);
}

/* 0 or -EBADMSG, as coco_snp_table_decode. */
static inline int snp_table_oracle(const uint8_t *in, size_t size)
{
    struct coco_snp_table table;
    const char *why = NULL;

    memset(&table, UNTOUCHED, sizeof(table));
    int r = coco_snp_table_decode(in, size, &table);
    if (r < 0) {
        REQUIRE(r == -EBADMSG && untouched(&table, sizeof(table)));
        return r;
    }
    REQUIRE(table.size >= COCO_SNP_EMPTY_TABLE_SIZE && table.size <= size);
    REQUIRE(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX);
    for (size_t i = 0; i < table.n_entries; i++) {
        const struct coco_snp_entry *entry = &table.entries[i];
        REQUIRE(entry->data == in + entry->offset && entry->length > 0);
        REQUIRE((uint64_t)entry->offset + entry->length <= table.size);
    }
    int valid = coco_snp_table_validate(&table, &why);
    REQUIRE(valid == 0 ? why == NULL : valid == -EBADMSG && why != NULL);

    snp_encoded_again(in, &table);
    return 0;
}
