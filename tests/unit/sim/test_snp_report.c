/* SPDX-License-Identifier: MIT */
/*
 * The relying party: real pairs of report and chain verify, and nothing that is wrong does.
 */
#include "bytes.h"
#include "cached_pki.h"
#include "snp_report.h"
#include "support.h"
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define NOW          1790000000 /* September 2026 */
#define VLEK_DATE    1748736000 /* 2025-06-01, within the real VLEK's year */
#define DAY          86400
#define OFF_REPORTED 0x180
#define OFF_CHIP_ID  0x1a0
#define SIGNED_SIZE  0x2a0

static const struct snp_pki_tcb tcb = {.bl = 3, .tee = 1, .snp = 8, .ucode = 0xd9};

static void fill_cache(void)
{
    struct snp_pki *pki = cached_pki("Milan", NOW);
    size_t size;

    ck_assert_ptr_nonnull(snp_pki_ca_der(pki, SNP_PKI_ASVK, &size));
    snp_pki_free(pki);
}

/* --- tables made by hand --------------------------------------------------------------------- */

static const uint8_t guids[][16] = {
    {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0,
     0xae},
    {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
     0x82},
    {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
     0xcd},
    {0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8,
     0xa1},
    {0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67,
     0xea},
};
enum {
    ARK,
    ASK,
    VCEK,
    VLEK,
    CRL,
};

struct table {
    uint8_t bytes[16384];
    size_t size;
};

struct blob {
    int guid;
    const uint8_t *data;
    size_t size;
};

static void make_table(struct table *t, const struct blob *blobs, size_t n)
{
    struct coco_writer w = coco_writer_of(t->bytes, sizeof(t->bytes));
    size_t offset = (n + 1) * 24;

    for (size_t i = 0; i < n; i++) {
        coco_write_bytes(&w, guids[blobs[i].guid], 16);
        coco_write_u32(&w, (uint32_t)offset);
        coco_write_u32(&w, (uint32_t)blobs[i].size);
        offset += blobs[i].size;
    }
    coco_write_zeros(&w, 24);
    for (size_t i = 0; i < n; i++)
        coco_write_bytes(&w, blobs[i].data, blobs[i].size);
    ck_assert(!w.bad);
    t->size = w.pos;
}

/* --- made reports ---------------------------------------------------------------------------- */

struct made {
    struct snp_pki *pki;
    struct snp_pki_leaf leaf;
    uint8_t ark[32];
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE];
    struct snp_report_fields fields;
    uint8_t report[SNP_REPORT_SIZE];
    uint8_t *table;
    size_t table_size;
};

static void make(struct made *m, const char *product, struct snp_pki_leaf_options options)
{
    *m = (struct made){.pki = cached_pki(product, NOW)};
    memset(m->chip, 0x5c, snp_report_chip_size(product));
    options.tcb = tcb;
    options.chip_id = m->chip;
    if (snp_report_chip_size(product) == 8)
        options.tcb.fmc = 4;
    ck_assert_int_eq(snp_pki_make_leaf(m->pki, &options, &m->leaf), 0);
    snp_pki_ark_sha256(m->pki, m->ark);
    m->fields = (struct snp_report_fields){
        .version = 3,
        .product = snp_pki_product(m->pki),
        .current = options.tcb,
        .reported = options.tcb,
        .committed = options.tcb,
        .launch = options.tcb,
        .signing_key = options.vlek ? SNP_SIGNED_BY_VLEK : SNP_SIGNED_BY_VCEK,
    };
    memcpy(m->fields.chip_id, m->chip, sizeof(m->chip));
    memset(m->fields.report_data, 0x77, sizeof(m->fields.report_data));
    ck_assert_int_eq(snp_report_build(&m->fields, m->leaf.key, m->report), 0);
    ck_assert_int_eq(snp_pki_make_table(m->pki, &m->leaf, &m->table, &m->table_size), 0);
}

static void done(struct made *m)
{
    free(m->table);
    snp_pki_leaf_done(&m->leaf);
    snp_pki_free(m->pki);
}

static enum snp_verdict judge(const struct made *m)
{
    const char *why = NULL;
    enum snp_verdict v = snp_report_verify(m->report, m->table, m->table_size, m->ark, NOW, &why);

    ck_assert_ptr_nonnull(why);
    return v;
}

/* Signs the fields again, after a test changed them. */
static void rebuild(struct made *m)
{
    ck_assert_int_eq(snp_report_build(&m->fields, m->leaf.key, m->report), 0);
}

FIXTURE(.setup_once = fill_cache, .timeout_s = 300);

TEST(tcb_layouts)
{
    const struct snp_pki_tcb t = {.bl = 1, .tee = 2, .snp = 3, .ucode = 4, .fmc = 5};
    static const uint8_t milan[8] = {1, 2, 0, 0, 0, 0, 3, 4}, turin[8] = {5, 1, 2, 3, 0, 0, 0, 4};
    uint8_t out[8];

    snp_tcb_encode("Milan", t, out);
    ck_assert_mem_eq(out, milan, 8);
    snp_tcb_encode("Turin", t, out);
    ck_assert_mem_eq(out, turin, 8);
    ck_assert(snp_tcb_equal(snp_tcb_decode("Turin", turin), t));
    ck_assert(!snp_tcb_equal(snp_tcb_decode("Genoa", milan), t)); /* no fmc there */
    ck_assert_uint_eq(snp_tcb_version("Genoa", t), 0x0403000000000201ull);
    ck_assert_uint_eq(snp_tcb_version("Turin", t), 0x0400000003020105ull);
}

static const char *const products[] = {"Milan", "Genoa", "Turin", "Venice"};

TEST_LOOP(made_pairs_verify, 0, 4)
{
    struct made m;

    for (int vlek = 0; vlek < 2; vlek++) {
        make(&m, products[_i], (struct snp_pki_leaf_options){.vlek = vlek});
        ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
        m.fields.version = 2;
        rebuild(&m);
        ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
        memset(m.fields.chip_id, 0, sizeof(m.fields.chip_id)); /* MASK_CHIP_ID */
        rebuild(&m);
        ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
        /* AMD's roots did not sign this. */
        ck_assert_int_eq(snp_report_verify(m.report, m.table, m.table_size, NULL, NOW, NULL),
                         SNP_VERDICT_BAD_CHAIN);
        done(&m);
    }
    make(&m, products[_i], (struct snp_pki_leaf_options){.bad = SNP_PKI_WRAPPED_HWID});
    ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
    done(&m);
}

TEST(bad_leaves_are_refused)
{
    static const struct {
        struct snp_pki_leaf_options options;
        enum snp_verdict verdict;
    } cases[] = {
        {{.bad = SNP_PKI_BAD_EXPIRED}, SNP_VERDICT_BAD_CHAIN},
        {{.bad = SNP_PKI_BAD_NOT_YET}, SNP_VERDICT_BAD_CHAIN},
        {{.bad = SNP_PKI_BAD_SIGNER}, SNP_VERDICT_BAD_CHAIN},
        {{.bad = SNP_PKI_BAD_ALTERED}, SNP_VERDICT_BAD_CHAIN},
        {{.bad = SNP_PKI_BAD_ALTERED, .vlek = true}, SNP_VERDICT_BAD_CHAIN},
        {{.bad = SNP_PKI_BAD_PKCS1}, SNP_VERDICT_BAD_CHAIN},
        {{.omit = "3.8"}, SNP_VERDICT_BAD_CHAIN},
        {{.omit = "3.1"}, SNP_VERDICT_BAD_CHAIN},
        {{.omit = "4"}, SNP_VERDICT_WRONG_CHIP},
    };
    struct made m;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make(&m, "Milan", cases[i].options);
        ck_assert_msg(judge(&m) == cases[i].verdict, "case %zu: %s", i,
                      snp_verdict_name(judge(&m)));
        done(&m);
    }
}

/* A P-256 key cannot sign a report of this form at all, so the report is by another key. */
TEST(leaf_on_another_curve_is_refused)
{
    struct snp_pki *pki = cached_pki("Milan", NOW);
    struct snp_pki_leaf_options options = {.tcb = tcb, .bad = SNP_PKI_BAD_P256};
    struct snp_pki_leaf leaf;
    uint8_t report[SNP_REPORT_SIZE] = {2}, ark[32], *table = NULL;
    const char *why = NULL;
    size_t size = 0;

    ck_assert_int_eq(snp_pki_make_leaf(pki, &options, &leaf), 0);
    ck_assert_int_eq(snp_pki_make_table(pki, &leaf, &table, &size), 0);
    snp_pki_ark_sha256(pki, ark);
    ck_assert_int_eq(snp_report_verify(report, table, size, ark, NOW, &why), SNP_VERDICT_BAD_CHAIN);
    ck_assert_str_eq(why, "the leaf's key is not on P-384");
    free(table);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
}

TEST(each_component_of_the_tcb_counts)
{
    struct made m;

    for (int component = 0; component < 5; component++) {
        make(&m, "Turin", (struct snp_pki_leaf_options){0});
        uint8_t *parts[] = {&m.fields.reported.bl, &m.fields.reported.tee, &m.fields.reported.snp,
                            &m.fields.reported.ucode, &m.fields.reported.fmc};
        *parts[component] ^= 1;
        rebuild(&m);
        ck_assert_int_eq(judge(&m), SNP_VERDICT_WRONG_TCB);
        *parts[component] ^= 1;
        m.fields.current.ucode++; /* firmware loaded, not committed: not the reported TCB */
        rebuild(&m);
        ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
        done(&m);
    }
}

TEST(wrong_reports_are_refused)
{
    struct made m;
    struct snp_pki_leaf other;

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    m.fields.chip_id[63] ^= 1;
    rebuild(&m);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_WRONG_CHIP);
    m.fields.chip_id[63] ^= 1;
    m.fields.signing_key = SNP_SIGNED_BY_VLEK;
    rebuild(&m);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_BAD_REPORT);
    m.fields.signing_key = SNP_SIGNED_BY_NONE;
    rebuild(&m);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_BAD_REPORT);
    m.fields.signing_key = SNP_SIGNED_BY_VCEK;
    m.fields.product = "Turin"; /* the report's CPU is not the chain's */
    rebuild(&m);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_BAD_REPORT);
    m.fields.product = "Milan";
    m.fields.version = 1;
    ck_assert_int_eq(snp_report_build(&m.fields, m.leaf.key, m.report), -22);
    /* A new certificate for the same TCB and chip over a new key: same claims, other signature. */
    m.fields.version = 3;
    ck_assert_int_eq(snp_pki_make_vcek(m.pki, tcb, m.chip, &other), 0);
    ck_assert_int_eq(snp_report_build(&m.fields, other.key, m.report), 0);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_BAD_SIGNATURE);
    snp_pki_leaf_done(&other);
    /* The Turin's certificate covers 8 bytes; the rest of the field must be zero. */
    done(&m);
    make(&m, "Turin", (struct snp_pki_leaf_options){0});
    m.fields.chip_id[8] = 1;
    rebuild(&m);
    ck_assert_int_eq(judge(&m), SNP_VERDICT_WRONG_CHIP);
    done(&m);
}

TEST(dates_are_judged_at_the_given_time)
{
    struct made m;

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    ck_assert_int_eq(snp_report_verify(m.report, m.table, m.table_size, m.ark,
                                       NOW + (int64_t)8 * 365 * DAY, NULL),
                     SNP_VERDICT_BAD_CHAIN);
    ck_assert_int_eq(snp_report_verify(m.report, m.table, m.table_size, m.ark, NOW - 40 * DAY,
                                       NULL),
                     SNP_VERDICT_BAD_CHAIN);
    m.ark[0] ^= 1;
    ck_assert_int_eq(judge(&m), SNP_VERDICT_BAD_CHAIN);
    done(&m);
}

/* --- tables ---------------------------------------------------------------------------------- */

TEST(empty_tables_are_told_apart)
{
    struct made m;
    uint8_t zeros[4096] = {0};

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    ck_assert_int_eq(snp_report_verify(m.report, NULL, 0, m.ark, NOW, NULL),
                     SNP_VERDICT_NO_CERTIFICATES);
    ck_assert_int_eq(snp_report_verify(m.report, zeros, 24, m.ark, NOW, NULL),
                     SNP_VERDICT_NO_CERTIFICATES);
    ck_assert_int_eq(snp_report_verify(m.report, zeros, sizeof(zeros), m.ark, NOW, NULL),
                     SNP_VERDICT_NO_CERTIFICATES);
    ck_assert_int_eq(snp_report_verify(m.report, zeros, 23, m.ark, NOW, NULL),
                     SNP_VERDICT_BAD_TABLE);
    done(&m);
}

static enum snp_verdict judge_table(const struct made *m, const struct table *t)
{
    return snp_report_verify(m->report, t->bytes, t->size, m->ark, NOW, NULL);
}

TEST(odd_tables)
{
    struct made m;
    struct table t;
    size_t ark_size, ask_size, asvk_size;

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    const uint8_t *ark = snp_pki_ca_der(m.pki, SNP_PKI_ARK, &ark_size);
    const uint8_t *ask = snp_pki_ca_der(m.pki, SNP_PKI_ASK, &ask_size);
    const uint8_t *asvk = snp_pki_ca_der(m.pki, SNP_PKI_ASVK, &asvk_size);
    const struct blob full[] = {{CRL, (const uint8_t *)"crl", 3},
                                {ASK, ask, ask_size},
                                {VCEK, m.leaf.der, m.leaf.der_size},
                                {ARK, ark, ark_size}};

    make_table(&t, full, 4); /* any order, and an entry that is not looked at */
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_OK);
    memset(t.bytes + 16, 0, 4); /* the ignored entry points at the entries themselves */
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_TABLE);
    make_table(&t, full + 1, 2);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_CHAIN);
    const struct blob wrong_family[] = {full[3], {ASK, asvk, asvk_size}, full[2]};
    make_table(&t, wrong_family, 3);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_CHAIN);
    const struct blob wrong_guid[] = {full[3], full[1], {VLEK, m.leaf.der, m.leaf.der_size}};
    make_table(&t, wrong_guid, 3);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_CHAIN);
    const struct blob both[] = {full[3], full[1], full[2], {VLEK, m.leaf.der, m.leaf.der_size}};
    make_table(&t, both, 4);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_TABLE);
    const struct blob two_asks[] = {full[3], full[1], full[2], {ASK, asvk, asvk_size}};
    make_table(&t, two_asks, 4);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_TABLE);
    const struct blob cut[] = {full[3], full[1], {VCEK, m.leaf.der, m.leaf.der_size - 1}};
    make_table(&t, cut, 3);
    ck_assert_int_eq(judge_table(&m, &t), SNP_VERDICT_BAD_TABLE);
    done(&m);
}

/* Entries that point into the header, or outside, and blobs that are longer than their certificate.
 */
TEST(tables_that_point_astray)
{
    struct made m;

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    for (uint32_t delta = 1; delta != 0; delta <<= 1) {
        for (size_t field = 16; field <= 20; field += 4) {
            uint8_t *copy = malloc(m.table_size);
            ck_assert_ptr_nonnull(copy);
            memcpy(copy, m.table, m.table_size);
            struct coco_reader r = coco_reader_of(copy + field, 4);
            struct coco_writer w = coco_writer_of(copy + field, 4);
            coco_write_u32(&w, coco_read_u32(&r) + delta);
            ck_assert_int_ne(snp_report_verify(m.report, copy, m.table_size, m.ark, NOW, NULL),
                             SNP_VERDICT_OK);
            free(copy);
        }
    }
    for (size_t size = 0; size < m.table_size; size += size < 100 ? 1 : 97) {
        uint8_t *copy = malloc(size + 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, m.table, size);
        ck_assert_int_ne(snp_report_verify(m.report, copy, size, m.ark, NOW, NULL), SNP_VERDICT_OK);
        free(copy);
    }
    done(&m);
}

/* No single bit of the table or of the report may be changed: a sample, and every bit of the
 * entries, the reported TCB, the chip id and the signature. */
TEST(every_bit_counts)
{
    struct made m;
    struct test_random random = {test_seed(20260921)};

    make(&m, "Milan", (struct snp_pki_leaf_options){0});
    for (size_t bit = 0; bit < m.table_size * 8;
         bit += bit < (size_t)3 * 24 * 8 ? 1 : 1 + test_random_below(&random, 120)) {
        m.table[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_msg(judge(&m) != SNP_VERDICT_OK, "bit %zu of the table", bit);
        m.table[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < (size_t)(SIGNED_SIZE + 2 * 72) * 8; bit++) {
        size_t at = bit / 8;
        bool dense = at < 4 || (at >= OFF_REPORTED && at < OFF_REPORTED + 11);
        if (!dense && test_random_below(&random, 16) != 0)
            continue;
        m.report[at] ^= (uint8_t)(1u << bit % 8);
        ck_assert_msg(judge(&m) != SNP_VERDICT_OK, "bit %zu of the report", bit);
        m.report[at] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(judge(&m), SNP_VERDICT_OK);
    done(&m);
}

/* --- real material --------------------------------------------------------------------------- */

/* All certificates of a PEM file, as DER. */
static size_t read_pem(const char *name, uint8_t *der[2], size_t sizes[2])
{
    const char *path = test_data(name);
    size_t size, n = 0;

    if (!path)
        return 0;
    uint8_t *text = test_read_file(path, &size);
    BIO *bio = BIO_new_mem_buf(text, (int)size);
    for (X509 *cert; n < 2 && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
        der[n] = NULL;
        sizes[n] = (size_t)i2d_X509(cert, &der[n]);
        X509_free(cert);
    }
    BIO_free(bio);
    free(text);
    return n;
}

static uint8_t *read_data(const char *name, size_t *ret_size)
{
    const char *path = test_data(name);

    if (!path)
        return NULL;
    return strstr(name, ".hex") ? test_read_hex(path, ret_size) : test_read_file(path, ret_size);
}

struct real {
    struct table table;
    uint8_t *report;
};

/* False where the material is not there. `cas`: PEM files that hold ASK (ASVK) and ARK in any
 * order. */
static bool real_pair(struct real *r, const char *report, int guid, const char *leaf,
                      const char *const cas[2])
{
    uint8_t *der[4] = {NULL};
    size_t sizes[4], report_size = 0, leaf_size = 0;
    size_t n = read_pem(cas[0], der, sizes);

    if (n > 0 && cas[1])
        n += read_pem(cas[1], der + n, sizes + n);
    uint8_t *leaf_der = n == 2 ? read_data(leaf, &leaf_size) : NULL;
    r->report = leaf_der ? read_data(report, &report_size) : NULL;
    if (r->report) {
        const struct blob blobs[] = {{ASK, der[0], sizes[0]},
                                     {ARK, der[1], sizes[1]},
                                     {guid, leaf_der, leaf_size}};
        make_table(&r->table, blobs, 3);
        ck_assert_uint_eq(report_size, SNP_REPORT_SIZE);
    }
    free(leaf_der);
    for (size_t i = 0; i < n; i++)
        OPENSSL_free(der[i]);
    return r->report != NULL;
}

static const char *const milan_cas[2] = {"snp/milan_ask.pem", "snp/milan_ark.pem"};
static const char *const milan_vlek_cas[2] = {"snp/milan_asvk_ark.pem", NULL};

TEST(real_vcek_pair_verifies)
{
    struct real r;
    const char *why = NULL;

    if (!real_pair(&r, "snp/report_milan.hex", VCEK, "snp/vcek_milan.der", milan_cas))
        return;
    ck_assert_msg(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, NOW, &why) ==
                      SNP_VERDICT_OK,
                  "%s", why);
    r.report[OFF_CHIP_ID] ^= 1;
    ck_assert_int_eq(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, NOW, NULL),
                     SNP_VERDICT_WRONG_CHIP);
    r.report[OFF_CHIP_ID] ^= 1;
    r.report[SIGNED_SIZE - 1] ^= 1;
    ck_assert_int_eq(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, NOW, NULL),
                     SNP_VERDICT_BAD_SIGNATURE);
    free(r.report);
}

TEST(real_vlek_pair_verifies_in_its_year)
{
    struct real r;
    const char *why = NULL;

    if (!real_pair(&r, "snp/report_vlek_milan.bin", VLEK, "snp/vlek_milan_expired.der",
                   milan_vlek_cas))
        return;
    ck_assert_msg(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, VLEK_DATE, &why) ==
                      SNP_VERDICT_OK,
                  "%s", why);
    ck_assert_int_eq(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, NOW, &why),
                     SNP_VERDICT_BAD_CHAIN);
    ck_assert_str_eq(why, "a certificate has expired, or is not valid yet");
    free(r.report);
}

TEST(real_certificate_with_an_edited_chip_id_is_refused)
{
    struct real r;
    const char *why = NULL;

    if (!real_pair(&r, "snp/report_milan.hex", VCEK, "snp/vcek_milan_bad_signature.der", milan_cas))
        return;
    ck_assert_int_eq(snp_report_verify(r.report, r.table.bytes, r.table.size, NULL, NOW, &why),
                     SNP_VERDICT_BAD_CHAIN);
    ck_assert_str_eq(why, "a signature in the chain is wrong");
    free(r.report);
}
