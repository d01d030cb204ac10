/* SPDX-License-Identifier: MIT */
/*
 * The certificate table of the GHCB specification (extended guest request): entries of 24 bytes
 * {GUID, offset, length}, ended by 24 zero bytes, then the blobs. PROTOCOL.md "The certificate
 * table".
 *
 * Decoding takes the tables of others as the specification allows them: blobs anywhere in the
 * buffer behind the entries. Encoding writes one form alone, blobs behind each other in the order of
 * their entries. Nothing here allocates; blobs are pointers into the caller's memory.
 */
#pragma once

#include "coco_limits.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In the order in which a table lists them. */
enum coco_snp_kind {
    COCO_SNP_ARK,
    COCO_SNP_VCEK,
    COCO_SNP_VLEK,
    COCO_SNP_ASK, /* ASK and ASVK share one GUID */
    COCO_SNP_CRL,
    COCO_SNP_OTHER,
};

struct coco_snp_entry {
    uint8_t guid[16];
    uint32_t offset; /* from the table's start, by decoding and by layout */
    uint32_t length;
    const uint8_t *data;
};

struct coco_snp_table {
    size_t n_entries;
    size_t size; /* bytes, from the first entry to the end of the blob that ends last */
    struct coco_snp_entry entries[COCO_SNP_TABLE_ENTRIES_MAX];
};

/* "ARK", "VCEK", …, "OTHER". Static text. */
const char *coco_snp_kind_name(enum coco_snp_kind kind);
enum coco_snp_kind coco_snp_kind_of(const uint8_t guid[16]);
/* The 16 bytes of a kind, as they lie in memory; NULL for COCO_SNP_OTHER. */
const uint8_t *coco_snp_guid(enum coco_snp_kind kind);

/* Decodes the table at the start of `in`. A GUID of zeros ends its list of entries; those of length 0
 * are left out. Blobs may lie in any order, with anything between them, and may share bytes. What is
 * behind them (a guest's buffer is whole pages) is not looked at: `ret->size` tells where the table
 * ends. -EBADMSG where the list does not end in `size` bytes, has more than
 * COCO_SNP_TABLE_ENTRIES_MAX entries, or a blob is not wholly between its end and `size`. */
int coco_snp_table_decode(const uint8_t *in, size_t size, struct coco_snp_table *ret);

/* Gives the blobs their places: behind the entries and behind each other, in the order of the
 * entries; places that decoding found are forgotten. The bytes that encoding takes; 0, and nothing
 * changes, where the table cannot be encoded (too many entries, an empty blob, a GUID of zeros, over
 * UINT32_MAX). */
size_t coco_snp_table_layout(struct coco_snp_table *table);

/* Lays out and encodes; -EMSGSIZE where `out_size` is too small, -EINVAL where layout fails. */
int coco_snp_table_encode(struct coco_snp_table *table, uint8_t *out, size_t out_size);

/* Appends a blob. -EMSGSIZE when full, -EINVAL for an empty blob or COCO_SNP_OTHER. */
int coco_snp_table_add(struct coco_snp_table *table, enum coco_snp_kind kind, const uint8_t *data,
                       size_t length);

/* The first entry of that kind, or NULL. */
const struct coco_snp_entry *coco_snp_table_find(const struct coco_snp_table *table,
                                                 enum coco_snp_kind kind);

/* May this table be published to guests? 0, or -EBADMSG and in `ret_why` (may be NULL) a sentence,
 * static text: at most 16384 bytes; known kinds, each once; VCEK or VLEK, not both, wherever there
 * is any certificate; every blob one DER SEQUENCE with nothing behind it. The empty table may be.
 */
int coco_snp_table_validate(const struct coco_snp_table *table, const char **ret_why);

/* ceil(size / 4096). */
static inline uint32_t coco_npages(size_t size)
{
    return (uint32_t)((size + COCO_PAGE_SIZE - 1) / COCO_PAGE_SIZE);
}

#ifdef __cplusplus
}
#endif
