/* SPDX-License-Identifier: MIT */
/*
 * The GHCB's certificate table: snp_table.c. The list of entries and what they point to are proven
 * apart: read_entries from any bytes of a bounded list; decode, layout and the rest from any list
 * that it can give, in a buffer of any size.
 *
 * unit: proto/snp_table.c
 */
#include "one_byte.h"
/* What is cut from snp_table.c, each proven below for itself. */
struct coco_reader;
struct coco_snp_table;
static bool read_entries(struct coco_reader *r, struct coco_snp_table *table);
static bool is_der_sequence(const uint8_t *data, size_t size);
#include "snp_table.c"

#ifdef CUT_coco_snp_kind_of
/* Any kind, the same for the same GUID. */
enum coco_snp_kind coco_snp_kind_of(const uint8_t guid[16])
{
    SHOW(__CPROVER_r_ok(guid, 16), "16 bytes");
    return guid[15] < COCO_SNP_OTHER ? (enum coco_snp_kind)guid[15] : COCO_SNP_OTHER;
}
#endif

/* bound: none
 * broken: s/return (size_t)kind < N_KINDS ? kinds.kind..name : "OTHER";/return kinds[kind].name;/
 * refuted: bound */
void prove_coco_snp_kind_name(void)
{
    enum coco_snp_kind kind;

    GIVEN(kind >= 0);
    SHOW(coco_snp_kind_name(kind) != NULL, "always a name");
}

/* bound: none
 * unwind: 17
 * broken: s/for (size_t i = 0; i < N_KINDS; i++)$/for (size_t i = 0; i <= N_KINDS; i++)/
 * refuted: bound */
void prove_coco_snp_kind_of(void)
{
    uint8_t guid[16];
    enum coco_snp_kind kind = coco_snp_kind_of(guid);

    SHOW(kind >= 0 && kind <= COCO_SNP_OTHER, "a kind");
    if (kind != COCO_SNP_OTHER)
        SHOW_SAME(guid, coco_snp_guid(kind), 16, "its GUID");
}

/* bound: none
 * broken: s/return (size_t)kind < N_KINDS ? kinds.kind..guid : NULL;/return kinds[kind].guid;/
 * refuted: bound */
void prove_coco_snp_guid(void)
{
    enum coco_snp_kind kind;

    GIVEN(kind >= 0); /* as gcc and clang have it: the type has no negative number */
    const uint8_t *guid = coco_snp_guid(kind);

    SHOW((guid == NULL) == ((size_t)kind >= COCO_SNP_OTHER), "NULL for another kind");
    SHOW(!guid || __CPROVER_r_ok(guid, 16), "16 bytes");
}

#ifdef CUT_read_entries
/* As proven below: the cursor stays in its buffer, behind at least one entry; the list has room for
 * what it got. */
static bool read_entries(struct coco_reader *r, struct coco_snp_table *table)
{
    struct coco_snp_table list;
    size_t read;

    GIVEN(list.n_entries <= 3 && list.size == 0); /* each is looked at for itself */
    *table = list;
    if (!coco_read_bytes(r, read) || read < COCO_SNP_ENTRY_SIZE)
        return false;
    return true;
}
#endif

/* bound: lists of 2 entries and their end, any bytes in them; an entry of length 0 is none
 * unwind: 17
 * loop: read_entries.0:5
 * cut: coco_read_copy
 * broken: s/        if (r->bad)$/        if (false)/
 * refuted: behind the entries and their end */
void prove_read_entries(void)
{
    uint8_t in[3 * COCO_SNP_ENTRY_SIZE + 3];
    size_t size, i;
    struct coco_snp_table table;

    GIVEN(size <= sizeof(in) && table.n_entries == 0);
    struct coco_reader r = coco_reader_of(AT_END(in, size), size);
    bool ended = read_entries(&r, &table);
    SHOW(r.pos <= size, "inside the list");
    SHOW(!ended || r.pos == COCO_SNP_ENTRY_SIZE || r.pos == (size_t)2 * COCO_SNP_ENTRY_SIZE ||
             r.pos == (size_t)3 * COCO_SNP_ENTRY_SIZE,
         "whole entries");
    SHOW(table.n_entries * COCO_SNP_ENTRY_SIZE <= size, "no more than the bytes have");
    GIVEN(i < table.n_entries);
    SHOW(table.entries[i].length > 0, "none is empty");
    SHOW(!ended || r.pos >= (table.n_entries + 1) * COCO_SNP_ENTRY_SIZE,
         "behind the entries and their end");
}

/* bound: one entry and the end, any number of entries read before: up to a list that is full
 * unwind: 17
 * loop: read_entries.0:4
 * cut: coco_read_copy
 * broken: s/if (table->n_entries == COCO_SNP_TABLE_ENTRIES_MAX)/if (table->n_entries > COCO_SNP_TABLE_ENTRIES_MAX)/
 * refuted: bound */
void prove_read_entries_full(void)
{
    uint8_t in[2 * COCO_SNP_ENTRY_SIZE];
    size_t size;
    struct coco_snp_table table;

    GIVEN(size <= sizeof(in) && table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX);
    struct coco_reader r = coco_reader_of(AT_END(in, size), size);
    (void)read_entries(&r, &table);
    SHOW(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX, "no more than it has room for");
}

/* bound: 3 entries, any bytes
 * unwind: 18
 * loop: coco_snp_table_decode.0:4
 * cut: read_entries
 * broken: s/if (entry->offset < r.pos)/if (false)/
 * refuted: behind the list */
void prove_coco_snp_table_decode(void)
{
    size_t size, i;
    const uint8_t *in = any_bytes(size);
    struct coco_snp_table table;
    int r = coco_snp_table_decode(in, size, &table);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    if (r != 0)
        return;
    SHOW(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX, "no more than it has room for");
    SHOW(table.size <= size, "it ends in the input");
    GIVEN(i < table.n_entries);
    SHOW(table.entries[i].data == in + table.entries[i].offset, "where its offset says");
    SHOW((uint64_t)table.entries[i].offset + table.entries[i].length <= table.size,
         "inside the table");
    SHOW(table.entries[i].offset >= COCO_SNP_ENTRY_SIZE, "behind the list");
}

/* bound: none
 * unwind: 18
 * broken: s/entry->length == 0 || size > UINT32_MAX ||/entry->length == 0 ||/
 * refuted: it fits 32 bits */
void prove_measure(void)
{
    struct coco_snp_table table;
    size_t i;
    uint64_t size = measure(&table);

    SHOW(size <= UINT32_MAX, "it fits 32 bits");
    if (size == 0)
        return;
    SHOW(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX, "as many as fit");
    SHOW(size >= (table.n_entries + 1) * COCO_SNP_ENTRY_SIZE, "room for the list");
    GIVEN(i < table.n_entries);
    SHOW(table.entries[i].length > 0, "none is empty");
}

/* bound: blobs to 255 bytes, as many as fit
 * unwind: 18
 * broken: s/pos += table->entries.i..length;/pos += table->entries[0].length;/
 * refuted: behind each other */
void prove_coco_snp_table_layout(void)
{
    struct coco_snp_table table;
    size_t i;

    for (size_t k = 0; k < COCO_SNP_TABLE_ENTRIES_MAX; k++) {
        uint8_t length;
        table.entries[k].length = length;
    }
    size_t size = coco_snp_table_layout(&table);
    if (size == 0)
        return;
    SHOW(table.size == size, "its size");
    SHOW(table.n_entries > 0 || size == COCO_SNP_ENTRY_SIZE, "an empty one is the end alone");
    GIVEN(i < table.n_entries);
    const struct coco_snp_entry *e = &table.entries[i];
    SHOW(i > 0 || e->offset == (table.n_entries + 1) * COCO_SNP_ENTRY_SIZE, "behind the list");
    SHOW((uint64_t)e->offset + e->length == (i + 1 < table.n_entries ? e[1].offset : size),
         "behind each other, to the end");
}

/* bound: 3 entries, blobs to 7 bytes, any room to 120 bytes
 * unwind: 17
 * loop: measure.0:4,coco_snp_table_layout.0:4,coco_snp_table_encode.0:4,coco_snp_table_encode.1:4
 * cut: coco_write_bytes coco_write_zeros coco_write_le
 * broken: s/    if (size > out_size)/    if (false)/
 * refuted: n bytes that can be written */
void prove_coco_snp_table_encode(void)
{
    struct coco_snp_table table;
    uint8_t out[120], blobs[3][7];
    size_t out_size;

    GIVEN(table.n_entries <= 3 && out_size <= sizeof(out));
    for (size_t i = 0; i < 3; i++) {
        uint8_t length;
        table.entries[i].data = blobs[i];
        table.entries[i].length = length & 7;
    }
    follow_any();
    int r = coco_snp_table_encode(&table, AT_END(out, out_size), out_size);
    SHOW(r == 0 || r == -EINVAL || r == -EMSGSIZE, "0, -EINVAL or -EMSGSIZE");
    if (r != 0)
        return;
    SHOW(place >= table.size || is_written, "every byte is written");
    for (size_t i = 0; i < 3; i++) {
        const struct coco_snp_entry *e = &table.entries[i];
        size_t at = place - i * COCO_SNP_ENTRY_SIZE;
        SHOW(i >= table.n_entries || at >= 16 || written == e->guid[at], "a GUID in its entry");
        at = place - e->offset;
        SHOW(i >= table.n_entries || at >= e->length || written == e->data[at],
             "a blob where the entry says");
    }
}

/* bound: 2 entries, blobs of 1 and 2 bytes, any GUIDs
 * unwind: 17
 * loop: read_entries.0:4
 * broken: s/coco_write_u32(&w, entry->offset);/coco_write_u32(\&w, entry->length);/
 * refuted: what is encoded decodes */
void prove_encode_and_decode(void)
{
    uint8_t out[3 * COCO_SNP_ENTRY_SIZE + 3], blobs[3];
    struct coco_snp_table table = {.n_entries = 2}, back;
    size_t i, b;

    for (i = 0; i < 2; i++) {
        uint8_t guid[16];
        memcpy(table.entries[i].guid, guid, sizeof(guid));
        table.entries[i].data = blobs + i;
        table.entries[i].length = (uint32_t)i + 1;
    }
    if (coco_snp_table_encode(&table, out, sizeof(out)) != 0)
        return;
    SHOW(coco_snp_table_decode(out, sizeof(out), &back) == 0, "what is encoded decodes");
    SHOW(back.n_entries == 2 && back.size == sizeof(out), "as many entries");
    for (i = 0; i < 2; i++) {
        SHOW(back.entries[i].length == i + 1, "as long");
        SHOW(back.entries[i].data[0] == blobs[i], "the same blobs");
        SHOW(back.entries[i].data[i] == blobs[2 * i], "the same blobs, to their end");
        GIVEN(b < 16);
        SHOW(back.entries[i].guid[b] == table.entries[i].guid[b], "the same GUIDs");
    }
}

/* bound: none
 * unwind: 17
 * broken: s/table->n_entries >= COCO_SNP_TABLE_ENTRIES_MAX || length/length/
 * refuted: bound */
void prove_coco_snp_table_add(void)
{
    struct coco_snp_table table;
    enum coco_snp_kind kind;
    size_t length, before = table.n_entries;

    GIVEN(kind >= 0);
    int r = coco_snp_table_add(&table, kind, any_bytes(length), length);

    SHOW(table.n_entries == before + (r == 0 ? 1 : 0), "one more, or none");
    SHOW(r != 0 || table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX, "there was room");
    SHOW(r != 0 || table.entries[before].length == length, "as long");
}

/* bound: none
 * unwind: 17
 * cut: coco_snp_kind_of
 * broken: s/for (size_t i = 0; i < table->n_entries; i++)$/for (size_t i = 0; i <= table->n_entries; i++)/
 * refuted: bound */
void prove_coco_snp_table_find(void)
{
    struct coco_snp_table table;
    enum coco_snp_kind kind;

    GIVEN(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX);
    const struct coco_snp_entry *entry = coco_snp_table_find(&table, kind);
    SHOW(!entry || (entry >= table.entries && entry < table.entries + table.n_entries),
         "one of the entries");
}

/* bound: none: it reads no more than six bytes
 * unwind: 9
 * broken: s/length >> (8 . (n - 1)) == 0/false/
 * refuted: the shortest form */
void prove_is_der_sequence(void)
{
    size_t size;
    const uint8_t *in = any_bytes(size);

    if (!is_der_sequence(in, size))
        return;
    SHOW(in[0] == 0x30 && in[1] != 0x80, "a SEQUENCE of definite length");
    SHOW(in[1] >= 0x80 || size == 2u + in[1], "nothing behind it");
    SHOW(in[1] < 0x80 || in[1] <= 0x84, "32 bits of length at most");
    SHOW(in[1] != 0x81 || (in[2] >= 0x80 && size == 3u + in[2]), "the shortest form");
    SHOW(in[1] != 0x82 || (in[2] > 0 && size == 4u + ((size_t)in[2] << 8 | in[3])),
         "the shortest form");
}

#ifdef CUT_is_der_sequence
/* As proven above: it reads what it is given, and no more. */
static bool is_der_sequence(const uint8_t *data, size_t size)
{
    bool is;

    SHOW(size == 0 || data == NULL || size <= UINT32_MAX, "a blob's length");
    return is;
}
#endif

/* bound: none
 * unwind: 17
 * cut: is_der_sequence coco_snp_kind_of
 * broken: s/if (seen.COCO_SNP_VCEK. && seen.COCO_SNP_VLEK.)/if (false)/
 * refuted: not both */
void prove_coco_snp_table_validate(void)
{
    struct coco_snp_table table;
    const char *why = NULL;
    size_t i, j;
    int r = coco_snp_table_validate(&table, &why);

    SHOW((r == 0) == (why == NULL), "a reason for each failure");
    if (r != 0)
        return;
    SHOW(table.n_entries <= COCO_SNP_TABLE_ENTRIES_MAX, "no more than it has room for");
    GIVEN(i < j && j < table.n_entries);
    enum coco_snp_kind a = coco_snp_kind_of(table.entries[i].guid),
                       b = coco_snp_kind_of(table.entries[j].guid);
    SHOW(a != COCO_SNP_OTHER && b != COCO_SNP_OTHER, "known kinds");
    SHOW(a != b, "each once");
    SHOW(!(a == COCO_SNP_VCEK && b == COCO_SNP_VLEK) && !(a == COCO_SNP_VLEK && b == COCO_SNP_VCEK),
         "not both");
}
