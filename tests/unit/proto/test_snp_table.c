/* SPDX-License-Identifier: MIT */
/*
 * The GHCB certificate table: bytes written out by hand, each way in which a table can be wrong,
 * and what may be published.
 */
#include "fuzz/snp_table_oracle.h"
#include "support.h"

static const uint8_t der7[] = {0x30, 5, 0, 1, 2, 3, 4};
static const uint8_t der5[] = {0x30, 3, 0, 1, 2};

/* Written from the text forms of the GUIDs, independently of the table in snp_table.c. */
static void guid_bytes(const char *text, uint8_t out[16])
{
    for (size_t i = 0; i < 16; i++, text += 2) {
        text += *text == '-';
        ck_assert_int_eq(sscanf(text, "%2hhx", &out[i]), 1);
    }
}

TEST(guids_in_text_order)
{
    static const struct {
        enum coco_snp_kind kind;
        const char *name, *guid;
    } cases[] = {
        {COCO_SNP_ARK, "ARK", "c0b406a4-a803-4952-9743-3fb6014cd0ae"},
        {COCO_SNP_ASK, "ASK", "4ab7b379-bbac-4fe4-a02f-05aef327c782"},
        {COCO_SNP_VCEK, "VCEK", "63da758d-e664-4564-adc5-f4b93be8accd"},
        {COCO_SNP_VLEK, "VLEK", "a8074bc2-a25a-483e-aae6-39c045a0b8a1"},
        {COCO_SNP_CRL, "CRL", "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"},
    };
    uint8_t guid[16];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        guid_bytes(cases[i].guid, guid);
        ck_assert_int_eq(coco_snp_kind_of(guid), cases[i].kind);
        ck_assert_mem_eq(coco_snp_guid(cases[i].kind), guid, 16);
        ck_assert_str_eq(coco_snp_kind_name(cases[i].kind), cases[i].name);
    }
    guid_bytes("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6", guid);
    ck_assert_int_eq(coco_snp_kind_of(guid), COCO_SNP_OTHER);
    ck_assert_ptr_null(coco_snp_guid(COCO_SNP_OTHER));
    ck_assert_str_eq(coco_snp_kind_name(COCO_SNP_OTHER), "OTHER");
    /* EFI's byte order is not what a table has. */
    guid_bytes("a406b4c0-03a8-5249-9743-3fb6014cd0ae", guid);
    ck_assert_int_eq(coco_snp_kind_of(guid), COCO_SNP_OTHER);
}

TEST(empty_table)
{
    static const uint8_t zeros[4096];
    struct coco_snp_table table = {0};
    uint8_t out[24];

    ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);
    ck_assert_uint_eq(coco_snp_table_layout(&table), 24);
    memset(out, 0xff, sizeof(out));
    ck_assert_int_eq(coco_snp_table_encode(&table, out, 24), 0);
    ck_assert_mem_eq(out, zeros, 24);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, 23), -EMSGSIZE);

    ck_assert_int_eq(coco_snp_table_decode(zeros, sizeof(zeros), &table), 0);
    ck_assert_uint_eq(table.n_entries, 0);
    ck_assert_uint_eq(table.size, 24);
    ck_assert_int_eq(coco_snp_table_decode(zeros, 24, &table), 0);
    ck_assert_int_eq(coco_snp_table_decode(zeros, 23, &table), -EBADMSG);
    ck_assert_int_eq(coco_snp_table_decode(zeros, 0, &table), -EBADMSG);
}

TEST(golden_table)
{
    struct coco_snp_table table = {0};
    uint8_t out[84];
    size_t size;
    uint8_t *golden = test_read_hex("tests/golden/snp/table.hex", &size);

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, sizeof(der7)), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, der5, sizeof(der5)), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
    ck_assert_uint_eq(table.size, size);
    ck_assert_mem_eq(out, golden, size);
    ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);

    ck_assert_int_eq(coco_snp_table_decode(golden, size, &table), 0);
    ck_assert_uint_eq(table.n_entries, 2);
    const struct coco_snp_entry *vcek = coco_snp_table_find(&table, COCO_SNP_VCEK);
    ck_assert_ptr_eq(vcek, &table.entries[0]);
    ck_assert_ptr_eq(vcek->data, golden + 72);
    ck_assert_uint_eq(vcek->length, 7);
    ck_assert_ptr_eq(coco_snp_table_find(&table, COCO_SNP_ASK), &table.entries[1]);
    ck_assert_ptr_null(coco_snp_table_find(&table, COCO_SNP_ARK));
    free(golden);
}

/* `golden_table` with one little-endian u32 of its header replaced. */
static int decode_with(size_t off, uint32_t value)
{
    size_t size;
    uint8_t *bytes = test_read_hex("tests/golden/snp/table.hex", &size);

    for (size_t i = 0; i < 4; i++)
        bytes[off + i] = (uint8_t)(value >> 8 * i);
    int r = snp_table_oracle(bytes, size);
    free(bytes);
    return r;
}

TEST(offsets_and_lengths)
{
    const size_t offset0 = 16, length0 = 20, offset1 = 40, length1 = 44;

    ck_assert_int_eq(decode_with(offset0, 72), 0);
    ck_assert_int_eq(decode_with(offset0, 0), -EBADMSG);
    ck_assert_int_eq(decode_with(offset0, 71), -EBADMSG); /* inside the entries */
    ck_assert_int_eq(decode_with(offset0, 77), 0);        /* into the second, and to the end */
    ck_assert_int_eq(decode_with(offset0, 78), -EBADMSG); /* ends behind the input */
    ck_assert_int_eq(decode_with(offset0, UINT32_MAX), -EBADMSG);
    ck_assert_int_eq(decode_with(length0, 0), 0); /* no blob */
    ck_assert_int_eq(decode_with(length0, 6), 0); /* a byte between, whatever it is */
    ck_assert_int_eq(decode_with(length0, 12), 0);
    ck_assert_int_eq(decode_with(length0, 13), -EBADMSG);
    ck_assert_int_eq(decode_with(length0, UINT32_MAX - 71), -EBADMSG);
    ck_assert_int_eq(decode_with(length0, UINT32_MAX - 70), -EBADMSG); /* wraps */
    ck_assert_int_eq(decode_with(offset1, 72), 0);                     /* both begin there */
    ck_assert_int_eq(decode_with(offset1, 80), -EBADMSG);
    ck_assert_int_eq(decode_with(length1, 4), 0); /* what is behind is not looked at */
    ck_assert_int_eq(decode_with(length1, 6), -EBADMSG);
    ck_assert_int_eq(decode_with(length1, UINT32_MAX), -EBADMSG);
}

/* Readers of the sev crate look at nothing else. */
TEST(a_zero_guid_ends_the_list)
{
    uint8_t bytes[48] = {0};
    struct coco_snp_table table;

    bytes[16] = 24;
    bytes[20] = 1;
    ck_assert_int_eq(snp_table_oracle(bytes, sizeof(bytes)), 0);
    ck_assert_int_eq(coco_snp_table_decode(bytes, sizeof(bytes), &table), 0);
    ck_assert_uint_eq(table.n_entries, 0);
    ck_assert_uint_eq(table.size, 24);
    ck_assert_int_eq(snp_table_oracle(bytes, 23), -EBADMSG);
}

/* A table of VCEK and ASK, blobs where they are told to be, 0xaa everywhere else. */
static size_t make_foreign(uint32_t offset0, uint32_t offset1, uint8_t out[200])
{
    const uint32_t offsets[] = {offset0, offset1}, lengths[] = {sizeof(der7), sizeof(der5)};
    const uint8_t *const blobs[] = {der7, der5};
    const enum coco_snp_kind kinds[] = {COCO_SNP_VCEK, COCO_SNP_ASK};

    memset(out, 0xaa, 200);
    memset(out + 48, 0, 24);
    for (size_t i = 0; i < 2; i++) {
        uint8_t *entry = out + 24 * i;
        memcpy(entry, coco_snp_guid(kinds[i]), 16);
        memset(entry + 16, 0, 8);
        entry[16] = (uint8_t)offsets[i];
        entry[20] = (uint8_t)lengths[i];
        memcpy(out + offsets[i], blobs[i], lengths[i]);
    }
    return 200;
}

/* Tables whose producers place blobs in another order, or with bytes between them, were refused. */
TEST(blobs_in_any_order_with_anything_between_encode_to_the_canonical_table)
{
    static const uint32_t offsets[][2] = {{72, 79}, {77, 72}, {150, 72}, {80, 120}, {193, 90}};
    struct coco_snp_table table;
    uint8_t in[200], out[84];
    size_t size;
    uint8_t *golden = test_read_hex("tests/golden/snp/table.hex", &size);

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        make_foreign(offsets[i][0], offsets[i][1], in);
        ck_assert_int_eq(snp_table_oracle(in, sizeof(in)), 0);
        ck_assert_int_eq(coco_snp_table_decode(in, sizeof(in), &table), 0);
        ck_assert_uint_eq(table.n_entries, 2);
        ck_assert_mem_eq(table.entries[0].data, der7, sizeof(der7));
        ck_assert_mem_eq(table.entries[1].data, der5, sizeof(der5));
        ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
        ck_assert_uint_eq(table.size, size);
        ck_assert_mem_eq(out, golden, size);
    }
    free(golden);
}

/* Two entries with one blob: each is that blob, and in the canonical table each has its own. */
TEST(blobs_that_share_bytes_are_each_a_blob)
{
    struct coco_snp_table table;
    uint8_t in[200], out[200];

    make_foreign(100, 72, in);
    in[24 + 16] = 100;
    in[24 + 20] = sizeof(der7);
    ck_assert_int_eq(snp_table_oracle(in, sizeof(in)), 0);
    ck_assert_int_eq(coco_snp_table_decode(in, sizeof(in), &table), 0);
    ck_assert_ptr_eq(table.entries[0].data, table.entries[1].data);
    ck_assert_uint_eq(table.size, 107);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
    ck_assert_uint_eq(table.size, 72 + 2 * sizeof(der7));
    ck_assert_mem_eq(out + 72, der7, sizeof(der7));
    ck_assert_mem_eq(out + 72 + sizeof(der7), der7, sizeof(der7));
}

TEST(an_entry_without_a_blob_is_left_out)
{
    struct coco_snp_table table;
    uint8_t in[200];

    make_foreign(80, 90, in);
    in[20] = 0;
    ck_assert_int_eq(snp_table_oracle(in, sizeof(in)), 0);
    ck_assert_int_eq(coco_snp_table_decode(in, sizeof(in), &table), 0);
    ck_assert_uint_eq(table.n_entries, 1);
    ck_assert_int_eq(coco_snp_kind_of(table.entries[0].guid), COCO_SNP_ASK);
    ck_assert_mem_eq(table.entries[0].data, der5, sizeof(der5));
}

TEST(what_cannot_be_laid_out)
{
    struct coco_snp_table table = {0};
    uint8_t out[200];

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, sizeof(der7)), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, der5, sizeof(der5)), 0);
    table.entries[1].offset = 75; /* what it says before does not count */
    ck_assert_uint_eq(coco_snp_table_layout(&table), 84);
    ck_assert_uint_eq(table.entries[1].offset, 79);
    table.entries[1].length = UINT32_MAX - 78;
    ck_assert_uint_eq(coco_snp_table_layout(&table), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), -EINVAL);
    ck_assert_int_eq(coco_snp_table_validate(&table, NULL), -EBADMSG);
    table.entries[1].length = 0;
    ck_assert_uint_eq(coco_snp_table_layout(&table), 0);
    table.entries[1].length = 5;
    memset(table.entries[1].guid, 0, 16);
    ck_assert_uint_eq(coco_snp_table_layout(&table), 0);
    table.n_entries = COCO_SNP_TABLE_ENTRIES_MAX + 1;
    ck_assert_uint_eq(coco_snp_table_layout(&table), 0);
}

/* The tables of others that were refused: their entries, as lengths of AMD's own certificates. */
TEST(tables_from_the_field)
{
    static const struct {
        const char *name;
        size_t n, size;
        const char *kinds;
        uint32_t lengths[4];
    } cases[] = {
        {"field/tables/t05_blob_order_differs.bin", 3, 4772, "ARK ASK VCEK ", {1639, 1677, 1360}},
        {"field/tables/t07_gap_nonzero.bin", 3, 13648, "ARK ASK VCEK ", {1639, 1677, 1360}},
        {"field/tables/t09_gce_extra_last.bin",
         4,
         4814,
         "VCEK ASK ARK OTHER ",
         {1360, 1677, 1639, 18}},
        {"field/tables/t10_gce_extra_first.bin",
         4,
         4814,
         "OTHER VCEK ASK ARK ",
         {18, 1360, 1677, 1639}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = test_data(cases[i].name);
        struct coco_snp_table table;
        uint8_t vendor[16], out[8192];
        char kinds[64] = "";
        size_t size;

        if (!path)
            return;
        uint8_t *in = test_read_file(path, &size);
        ck_assert_int_eq(snp_table_oracle(in, size), 0);
        ck_assert_int_eq(coco_snp_table_decode(in, size, &table), 0);
        ck_assert_uint_eq(table.n_entries, cases[i].n);
        ck_assert_uint_eq(table.size, cases[i].size);
        for (size_t k = 0; k < table.n_entries; k++) {
            enum coco_snp_kind kind = coco_snp_kind_of(table.entries[k].guid);
            ck_assert_uint_eq(table.entries[k].length, cases[i].lengths[k]);
            strcat(strcat(kinds, coco_snp_kind_name(kind)), " ");
            if (kind != COCO_SNP_OTHER)
                continue;
            guid_bytes("9f4116cd-c503-4f5a-8f6f-fb68882f4ce2", vendor);
            ck_assert_mem_eq(table.entries[k].guid, vendor, 16);
            ck_assert_mem_eq(table.entries[k].data, "\n\020firmware-endorse", 18);
        }
        ck_assert_str_eq(kinds, cases[i].kinds);
        ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
        ck_assert_uint_eq(table.size, cases[i].n == 3 ? 4772 : 4814);
        free(in);
    }
}

TEST(layout_up_to_4_gib)
{
    struct coco_snp_table table = {0};

    /* Nothing is read: only the numbers count. */
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_CRL, der7, UINT32_MAX - 48), 0);
    ck_assert_uint_eq(coco_snp_table_layout(&table), UINT32_MAX);
    table = (struct coco_snp_table){0};
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_CRL, der7, UINT32_MAX - 47), 0);
    ck_assert_uint_eq(coco_snp_table_layout(&table), 0);
}

TEST(add_limits)
{
    struct coco_snp_table table = {0};

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_OTHER, der7, 7), -EINVAL);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, 0), -EINVAL);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, NULL, 7), -EINVAL);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, (size_t)UINT32_MAX + 1),
                     -EMSGSIZE);
    ck_assert_uint_eq(table.n_entries, 0);
    for (unsigned i = 0; i < COCO_SNP_TABLE_ENTRIES_MAX; i++)
        ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_CRL, der7, 7), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_CRL, der7, 7), -EMSGSIZE);
    ck_assert_uint_eq(coco_snp_table_layout(&table), 17 * 24 + 16 * 7);
}

TEST(seventeen_entries_are_refused)
{
    uint8_t bytes[18 * 24 + 17] = {0};

    for (size_t i = 0; i < 17; i++) {
        size_t offset = (size_t)18 * 24 + i;
        memcpy(bytes + 24 * i, coco_snp_guid(COCO_SNP_CRL), 16);
        bytes[24 * i + 16] = (uint8_t)offset;
        bytes[24 * i + 17] = (uint8_t)(offset >> 8);
        bytes[24 * i + 20] = 1;
    }
    ck_assert_int_eq(snp_table_oracle(bytes, sizeof(bytes)), -EBADMSG);
}

/* Validates a table of these kinds, each with a good blob. */
static int publish(const char *kinds)
{
    static const char letters[] = "RSCLX";
    static const enum coco_snp_kind of[] = {COCO_SNP_ARK, COCO_SNP_ASK, COCO_SNP_VCEK,
                                            COCO_SNP_VLEK, COCO_SNP_CRL};
    struct coco_snp_table table = {0};
    const char *why = NULL;

    for (const char *p = kinds; *p; p++) {
        enum coco_snp_kind kind = of[strchr(letters, *p) - letters];
        ck_assert_int_eq(coco_snp_table_add(&table, kind, der7, sizeof(der7)), 0);
    }
    int r = coco_snp_table_validate(&table, &why);
    ck_assert_int_eq(r == 0, why == NULL);
    return r;
}

TEST(what_may_be_published)
{
    ck_assert_int_eq(publish(""), 0);
    ck_assert_int_eq(publish("C"), 0);
    ck_assert_int_eq(publish("L"), 0);
    ck_assert_int_eq(publish("RCS"), 0);
    ck_assert_int_eq(publish("RLS"), 0);
    ck_assert_int_eq(publish("RCSX"), 0);
    ck_assert_int_eq(publish("RCLS"), -EBADMSG); /* one signer a table */
    ck_assert_int_eq(publish("RS"), -EBADMSG);   /* no signer */
    ck_assert_int_eq(publish("X"), -EBADMSG);    /* a CRL alone helps nobody */
    ck_assert_int_eq(publish("RCSS"), -EBADMSG); /* ASK and ASVK share a GUID */
    ck_assert_int_eq(publish("RCSR"), -EBADMSG);
    ck_assert_int_eq(publish("CC"), -EBADMSG);
}

TEST(unknown_guid_is_not_published)
{
    struct coco_snp_table table = {0};
    const char *why = NULL;

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, sizeof(der7)), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_CRL, der7, sizeof(der7)), 0);
    table.entries[1].guid[0] ^= 1;
    ck_assert_int_eq(coco_snp_table_validate(&table, &why), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(why, "GUID"));
}

TEST(published_blobs_are_one_der_sequence)
{
    static const struct {
        const char *hex;
        int result;
    } cases[] = {
        {"3000", 0},
        {"30 03 010203", 0},
        {"30", -EBADMSG},
        {"31 03 010203", -EBADMSG},      /* a SET */
        {"30 03 0102", -EBADMSG},        /* cut */
        {"30 03 01020304", -EBADMSG},    /* a byte behind */
        {"30 80 0000", -EBADMSG},        /* indefinite length is BER */
        {"30 81 03 010203", -EBADMSG},   /* not the shortest form */
        {"30 82 0003 010203", -EBADMSG}, /* likewise */
        {"30 84 00000003 0102", -EBADMSG},
        {"30 84 ffffffff 0102", -EBADMSG},
        {"30 85 0000000003 010203", -EBADMSG},
        {"30 ff 010203", -EBADMSG},
        {"30 82", -EBADMSG},
        {"2d2d2d2d2d424547494e", -EBADMSG}, /* PEM */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coco_snp_table table = {0};
        size_t size;
        uint8_t *blob = test_unhex(cases[i].hex, &size);

        ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, blob, size), 0);
        ck_assert_msg(coco_snp_table_validate(&table, NULL) == cases[i].result, "%s", cases[i].hex);
        free(blob);
    }
}

/* A DER SEQUENCE of `size` bytes in all, 131 or more. */
static uint8_t *make_der(size_t size)
{
    uint8_t *der = calloc(1, size);

    ck_assert_ptr_nonnull(der);
    der[0] = 0x30;
    if (size < 3 + 256) {
        der[1] = 0x81;
        der[2] = (uint8_t)(size - 3);
    } else {
        der[1] = 0x82;
        der[2] = (uint8_t)((size - 4) >> 8);
        der[3] = (uint8_t)(size - 4);
    }
    return der;
}

/* 128 bytes and more is where a length first needs a byte of its own. */
TEST(der_lengths_of_128_bytes)
{
    static const struct {
        size_t header;
        uint8_t bytes[6];
        int result;
    } cases[] = {
        {3, {0x30, 0x81, 0x80}, 0},
        {2, {0x30, 0x80}, -EBADMSG},                         /* indefinite */
        {4, {0x30, 0x82, 0x00, 0x80}, -EBADMSG},             /* not the shortest form */
        {6, {0x30, 0x84, 0x00, 0x00, 0x00, 0x80}, -EBADMSG}, /* likewise */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coco_snp_table table = {0};
        uint8_t blob[6 + 128] = {0};

        memcpy(blob, cases[i].bytes, cases[i].header);
        ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, blob, cases[i].header + 128), 0);
        ck_assert_int_eq(coco_snp_table_validate(&table, NULL), cases[i].result);
    }
}

TEST(long_der_lengths)
{
    static const size_t sizes[] = {131, 258, 260, 1360, 16336};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct coco_snp_table table = {0};
        uint8_t *der = make_der(sizes[i]);

        ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der, sizes[i]), 0);
        ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);
        free(der);
    }
}

TEST(at_most_16384_bytes)
{
    struct coco_snp_table table = {0};
    const char *why = NULL;
    uint8_t *der = make_der(16384 - 48);

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der, 16384 - 48), 0);
    ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);
    ck_assert_uint_eq(coco_snp_table_layout(&table), 16384);
    ck_assert_uint_eq(coco_npages(table.size), 4);
    free(der);
    der = make_der(16384 - 47);
    table = (struct coco_snp_table){0};
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der, 16384 - 47), 0);
    ck_assert_int_eq(coco_snp_table_validate(&table, &why), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(why, "16384"));
    free(der);
}

TEST(pages)
{
    static const uint32_t pages[][2] = {{24, 1},   {4095, 1}, {4096, 1},
                                        {4097, 2}, {4772, 2}, {16384, 4}};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        ck_assert_uint_eq(coco_npages(pages[i][0]), pages[i][1]);
}

/* In memory of its exact size, where ASan and valgrind see a byte too far. */
static int oracle_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    ck_assert_ptr_nonnull(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    int r = snp_table_oracle(copy, size);
    free(copy);
    return r;
}

static void mutate(uint8_t *bytes, size_t size)
{
    ck_assert_int_eq(oracle_copy(bytes, size), 0);
    for (size_t n = 0; n < size; n++)
        ck_assert_int_eq(oracle_copy(bytes, n), -EBADMSG);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        oracle_copy(bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

TEST(truncations_and_flips)
{
    struct coco_snp_table table = {0};
    uint8_t out[1024], *der = make_der(300);

    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ARK, der7, sizeof(der7)), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der, 300), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, der5, sizeof(der5)), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
    mutate(out, table.size);
    free(der);
}

TEST(real_vcek)
{
    const char *path = test_data("snp/vcek_milan.der");
    struct coco_snp_table table = {0};
    uint8_t out[8192];
    size_t size;

    if (!path)
        return;
    uint8_t *vcek = test_read_file(path, &size);
    uint8_t *ark = make_der(1639), *ask = make_der(1677);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ARK, ark, 1639), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, vcek, size), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, ask, 1677), 0);
    ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, sizeof(out)), 0);
    /* The size of AMD's Milan chain with a VCEK of 1360 bytes. */
    ck_assert_uint_eq(table.size, 4772);
    mutate(out, table.size);

    ck_assert_int_eq(coco_snp_table_decode(out, sizeof(out), &table), 0);
    const struct coco_snp_entry *entry = coco_snp_table_find(&table, COCO_SNP_VCEK);
    ck_assert_ptr_nonnull(entry);
    ck_assert_uint_eq(entry->length, size);
    ck_assert_mem_eq(entry->data, vcek, size);
    free(vcek);
    free(ark);
    free(ask);
}

TEST(real_certificates_are_der_sequences)
{
    static const char *const names[] = {"snp/vcek_milan.der", "snp/vcek_turin.der",
                                        "snp/vlek_milan_expired.der", "snp/genoa_vcek.crl"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *path = test_data(names[i]);
        struct coco_snp_table table = {0};
        size_t size;

        if (!path)
            return;
        uint8_t *blob = test_read_file(path, &size);
        enum coco_snp_kind kind = i == 3 ? COCO_SNP_CRL : COCO_SNP_VCEK;
        if (i == 3)
            ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, der7, sizeof(der7)), 0);
        ck_assert_int_eq(coco_snp_table_add(&table, kind, blob, size), 0);
        ck_assert_int_eq(coco_snp_table_validate(&table, NULL), 0);
        /* One byte more or less is not a certificate any more. */
        table.entries[table.n_entries - 1].length--;
        ck_assert_int_eq(coco_snp_table_validate(&table, NULL), -EBADMSG);
        table.entries[table.n_entries - 1].length += 2; /* test_read_file leaves a NUL behind */
        ck_assert_int_eq(coco_snp_table_validate(&table, NULL), -EBADMSG);
        free(blob);
    }
}
