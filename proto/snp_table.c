/* SPDX-License-Identifier: MIT */
/*
 * The GHCB certificate table. PROTOCOL.md "The certificate table".
 *
 * Layout places blobs behind the entries and behind each other. Decoding takes what the
 * specification allows. Validation says what may be published: readers in guests differ (some stop
 * at a zero GUID, some take an ASVK for an ASK, some hand blobs to a DER parser unseen), so
 * published tables keep to what all of them read the same way.
 *
 * GUIDs lie in memory in text order (RFC 4122), not in the mixed order of EFI.
 */
#include "snp_table.h"
#include "bytes.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static_assert(COCO_SNP_EMPTY_TABLE_SIZE == COCO_SNP_ENTRY_SIZE, "the end is an entry of zeros");

static const struct {
    const char *name;
    uint8_t guid[16];
} kinds[] = {
    [COCO_SNP_ARK] = {"ARK",
                      {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01,
                       0x4c, 0xd0, 0xae}},
    [COCO_SNP_VCEK] = {"VCEK",
                       {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9,
                        0x3b, 0xe8, 0xac, 0xcd}},
    [COCO_SNP_VLEK] = {"VLEK",
                       {0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0,
                        0x45, 0xa0, 0xb8, 0xa1}},
    [COCO_SNP_ASK] = {"ASK",
                      {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3,
                       0x27, 0xc7, 0x82}},
    [COCO_SNP_CRL] = {"CRL",
                      {0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88,
                       0xdc, 0x67, 0xea}},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
static_assert(N_KINDS == COCO_SNP_OTHER, "every kind but OTHER has a GUID");

static const uint8_t zero_guid[16];

const char *coco_snp_kind_name(enum coco_snp_kind kind)
{
    return (size_t)kind < N_KINDS ? kinds[kind].name : "OTHER";
}

enum coco_snp_kind coco_snp_kind_of(const uint8_t guid[16])
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (memcmp(kinds[i].guid, guid, sizeof(kinds[i].guid)) == 0)
            return (enum coco_snp_kind)i;
    return COCO_SNP_OTHER;
}

const uint8_t *coco_snp_guid(enum coco_snp_kind kind)
{
    return (size_t)kind < N_KINDS ? kinds[kind].guid : NULL;
}

/* Bytes of the entries and of the zeros that end them. */
static uint64_t header_size(size_t n_entries)
{
    return ((uint64_t)n_entries + 1) * COCO_SNP_ENTRY_SIZE;
}

/* The size of the canonical form; 0 where there is none. */
static uint64_t measure(const struct coco_snp_table *table)
{
    if (table->n_entries > COCO_SNP_TABLE_ENTRIES_MAX)
        return 0;
    uint64_t size = header_size(table->n_entries);
    for (size_t i = 0; i < table->n_entries; i++) {
        const struct coco_snp_entry *entry = &table->entries[i];

        size += entry->length;
        if (entry->length == 0 || size > UINT32_MAX ||
            memcmp(entry->guid, zero_guid, sizeof(zero_guid)) == 0)
            return 0;
    }
    return size;
}

/* The entries alone; where the blobs lie is not looked at. False where the list does not end. */
static bool read_entries(struct coco_reader *r, struct coco_snp_table *table)
{
    for (;;) {
        struct coco_snp_entry entry = {0};

        coco_read_copy(r, entry.guid, sizeof(entry.guid));
        entry.offset = coco_read_u32(r);
        entry.length = coco_read_u32(r);
        if (r->bad)
            return false;
        if (memcmp(entry.guid, zero_guid, sizeof(zero_guid)) == 0)
            return true;
        if (entry.length == 0)
            continue;
        if (table->n_entries == COCO_SNP_TABLE_ENTRIES_MAX)
            return false;
        table->entries[table->n_entries++] = entry;
    }
}

int coco_snp_table_decode(const uint8_t *in, size_t size, struct coco_snp_table *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_snp_table table = {0};

    if (!read_entries(&r, &table))
        return -EBADMSG;
    table.size = r.pos;
    for (size_t i = 0; i < table.n_entries; i++) {
        struct coco_snp_entry *entry = &table.entries[i];
        struct coco_reader at = coco_reader_of(in, size);

        if (entry->offset < r.pos)
            return -EBADMSG;
        (void)coco_read_bytes(&at, entry->offset);
        entry->data = coco_read_bytes(&at, entry->length);
        if (at.bad)
            return -EBADMSG;
        if (at.pos > table.size)
            table.size = at.pos;
    }
    *ret = table;
    return 0;
}

size_t coco_snp_table_layout(struct coco_snp_table *table)
{
    uint64_t size = measure(table);

    if (size == 0)
        return 0;
    uint64_t pos = header_size(table->n_entries);
    for (size_t i = 0; i < table->n_entries; i++) {
        table->entries[i].offset = (uint32_t)pos;
        pos += table->entries[i].length;
    }
    table->size = (size_t)size;
    return table->size;
}

int coco_snp_table_encode(struct coco_snp_table *table, uint8_t *out, size_t out_size)
{
    size_t size = coco_snp_table_layout(table);

    if (size == 0)
        return -EINVAL;
    if (size > out_size)
        return -EMSGSIZE;
    struct coco_writer w = coco_writer_of(out, size);
    for (size_t i = 0; i < table->n_entries; i++) {
        const struct coco_snp_entry *entry = &table->entries[i];

        coco_write_bytes(&w, entry->guid, sizeof(entry->guid));
        coco_write_u32(&w, entry->offset);
        coco_write_u32(&w, entry->length);
    }
    coco_write_zeros(&w, COCO_SNP_ENTRY_SIZE);
    for (size_t i = 0; i < table->n_entries; i++)
        coco_write_bytes(&w, table->entries[i].data, table->entries[i].length);
    return 0;
}

int coco_snp_table_add(struct coco_snp_table *table, enum coco_snp_kind kind, const uint8_t *data,
                       size_t length)
{
    const uint8_t *guid = coco_snp_guid(kind);

    if (!guid || !data || length == 0)
        return -EINVAL;
    if (table->n_entries >= COCO_SNP_TABLE_ENTRIES_MAX || length > UINT32_MAX)
        return -EMSGSIZE;
    struct coco_snp_entry *entry = &table->entries[table->n_entries++];
    *entry = (struct coco_snp_entry){.length = (uint32_t)length, .data = data};
    memcpy(entry->guid, guid, sizeof(entry->guid));
    return 0;
}

const struct coco_snp_entry *coco_snp_table_find(const struct coco_snp_table *table,
                                                 enum coco_snp_kind kind)
{
    for (size_t i = 0; i < table->n_entries; i++)
        if (coco_snp_kind_of(table->entries[i].guid) == kind)
            return &table->entries[i];
    return NULL;
}

/* One DER SEQUENCE (X.690, 8.1 and 10.1: definite length in its shortest form) and nothing behind
 * it. What is inside is for a certificate parser. */
static bool is_der_sequence(const uint8_t *data, size_t size)
{
    struct coco_reader r = coco_reader_of(data, size);
    uint8_t tag = coco_read_u8(&r);
    uint64_t length = coco_read_u8(&r);

    if (tag != 0x30 || length == 0x80)
        return false;
    if (length > 0x80) {
        size_t n = (size_t)length - 0x80;

        if (n > 4)
            return false;
        length = 0;
        for (size_t i = 0; i < n; i++)
            length = length << 8 | coco_read_u8(&r);
        if (length < 0x80 || length >> (8 * (n - 1)) == 0)
            return false;
    }
    return !r.bad && length == coco_reader_left(&r);
}

static const char *why_not(const struct coco_snp_table *table)
{
    size_t seen[N_KINDS] = {0};
    uint64_t size = measure(table);

    if (size == 0)
        return "the table cannot be laid out";
    if (size > COCO_SNP_TABLE_MAX)
        return "the table is larger than 16384 bytes, which is all that a Linux guest takes";
    for (size_t i = 0; i < table->n_entries; i++) {
        const struct coco_snp_entry *entry = &table->entries[i];
        enum coco_snp_kind kind = coco_snp_kind_of(entry->guid);

        if (kind == COCO_SNP_OTHER)
            return "an entry's GUID is not that of a certificate or CRL";
        if (++seen[kind] > 1)
            return "two entries have the same GUID";
        if (!is_der_sequence(entry->data, entry->length))
            return "a blob is not exactly one DER SEQUENCE";
    }
    if (seen[COCO_SNP_VCEK] && seen[COCO_SNP_VLEK])
        return "the table holds both a VCEK and a VLEK";
    if (table->n_entries > 0 && !seen[COCO_SNP_VCEK] && !seen[COCO_SNP_VLEK])
        return "the table holds neither a VCEK nor a VLEK";
    return NULL;
}

int coco_snp_table_validate(const struct coco_snp_table *table, const char **ret_why)
{
    const char *why = why_not(table);

    if (!why)
        return 0;
    if (ret_why)
        *ret_why = why;
    return -EBADMSG;
}
