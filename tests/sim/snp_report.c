/* SPDX-License-Identifier: MIT */
/*
 * Attestation reports, made and judged. Made by the SEV-SNP firmware ABI, table
 * "ATTESTATION_REPORT": 0x4a0 bytes, ECDSA P-384 with SHA-384 over bytes 0 … 0x29f, R and S as 72
 * little-endian bytes each.
 *
 * Judged as a relying party does, with the certificate table that came along. It trusts nothing:
 * the table is walked with bounds, each certificate is one whole DER structure, the root is trusted
 * by fingerprint, every signature is RSASSA-PSS with SHA-384 by an RSA-4096 key, names and dates
 * fit, and the leaf names the report's TCB and chip. TCBs are compared before the report's
 * signature: both fail where a chain is too old, and the TCB explains it better. Shares only
 * bytes.h with the product; no state.
 */
#include "snp_report.h"
#include "bytes.h"
#include "snp_products.h"
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define SIGNED_SIZE  0x2a0
#define OFF_KEY_INFO 0x48
#define OFF_REPORTED 0x180
#define OFF_FAMILY   0x188
#define OFF_CHIP_ID  0x1a0
#define NUMBER_SIZE  72
#define P384_SIZE    48
#define ENTRY_SIZE   24
#define MAX_ENTRIES  64

/* --- making ----------------------------------------------------------------------------------- */

/* One of R and S: 48 bytes, little-endian, in a field of 72. */
static bool write_number(struct coco_writer *w, const BIGNUM *number)
{
    uint8_t bytes[P384_SIZE];

    if (BN_bn2lebinpad(number, bytes, P384_SIZE) != P384_SIZE)
        return false;
    coco_write_bytes(w, bytes, P384_SIZE);
    coco_write_zeros(w, NUMBER_SIZE - P384_SIZE);
    return true;
}

static int sign_report(struct coco_writer *w, EVP_PKEY *key)
{
    uint8_t der[256];
    size_t size = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *signature = NULL;
    const unsigned char *p = der;
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha384(), NULL, key) == 1 &&
              EVP_DigestSign(ctx, der, &size, w->data, SIGNED_SIZE) == 1;

    if (ok)
        signature = d2i_ECDSA_SIG(NULL, &p, (long)size);
    ok = signature && write_number(w, ECDSA_SIG_get0_r(signature)) &&
         write_number(w, ECDSA_SIG_get0_s(signature));
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

static void write_tcb(struct coco_writer *w, const char *product, struct snp_pki_tcb tcb)
{
    uint8_t bytes[8];

    snp_tcb_encode(product, tcb, bytes);
    coco_write_bytes(w, bytes, sizeof(bytes));
}

/* Family, model and stepping of a CPU of that product, from CPUID Fn8000_0001. */
static void write_cpu(struct coco_writer *w, const char *product)
{
    const struct snp_product *p = snp_product_find(product);

    coco_write_u8(w, p ? p->family : 0);
    coco_write_u8(w, p ? p->model : 0);
    coco_write_u8(w, 1);
}

int snp_report_build(const struct snp_report_fields *f, EVP_PKEY *key, uint8_t ret[SNP_REPORT_SIZE])
{
    uint8_t report[SNP_REPORT_SIZE] = {0};
    struct coco_writer w = coco_writer_of(report, sizeof(report));
    bool is_signed = f->signing_key != SNP_SIGNED_BY_NONE;

    if (f->version < 2 || !f->product || (is_signed && !key))
        return -EINVAL;
    coco_write_u32(&w, f->version);
    coco_write_u32(&w, 0);       /* guest SVN */
    coco_write_u64(&w, 0x30000); /* policy: SMT allowed, the reserved bit that must be one */
    coco_write_zeros(&w, 32);    /* family and image id */
    coco_write_u32(&w, f->vmpl);
    coco_write_u32(&w, 1); /* ECDSA P-384 with SHA-384 */
    write_tcb(&w, f->product, f->current);
    coco_write_u64(&w, 1); /* platform info: SMT */
    coco_write_u32(&w, (uint32_t)f->signing_key << 2 | (f->mask_chip_key ? 1u << 1 : 0));
    coco_write_u32(&w, 0);
    coco_write_bytes(&w, f->report_data, sizeof(f->report_data));
    coco_write_bytes(&w, f->measurement, sizeof(f->measurement));
    coco_write_zeros(&w, OFF_REPORTED - w.pos); /* host data, key digests, report ids */
    write_tcb(&w, f->product, f->reported);
    if (f->version >= 3)
        write_cpu(&w, f->product);
    coco_write_zeros(&w, OFF_CHIP_ID - w.pos);
    coco_write_bytes(&w, f->chip_id, sizeof(f->chip_id));
    write_tcb(&w, f->product, f->committed);
    coco_write_zeros(&w, 8); /* versions of the firmware */
    write_tcb(&w, f->product, f->launch);
    coco_write_zeros(&w, SIGNED_SIZE - w.pos);
    int r = is_signed ? sign_report(&w, key) : 0;
    if (r < 0)
        return r;
    memcpy(ret, report, sizeof(report));
    return 0;
}

/* --- judging: the table ----------------------------------------------------------------------- */

struct chain {
    X509 *ark, *ask, *leaf;
    bool vlek;
    char product[16];
};

struct entry {
    uint8_t guid[16];
    size_t offset, length;
};

/* The entries up to the one of 24 zero bytes. False where the table is cut or points outside. */
static bool walk_table(const uint8_t *table, size_t size, struct entry *entries, size_t *ret_n)
{
    static const uint8_t zeros[ENTRY_SIZE];
    struct coco_reader r = coco_reader_of(table, size);

    for (size_t n = 0; n <= MAX_ENTRIES; n++) {
        const uint8_t *raw = coco_read_bytes(&r, ENTRY_SIZE);
        if (!raw)
            return false;
        if (memcmp(raw, zeros, ENTRY_SIZE) == 0) {
            size_t end = r.pos;
            for (size_t i = 0; i < n; i++)
                if (entries[i].offset < end || entries[i].offset > size ||
                    entries[i].length > size - entries[i].offset)
                    return false;
            *ret_n = n;
            return true;
        }
        if (n == MAX_ENTRIES)
            return false;
        struct coco_reader e = coco_reader_of(raw, ENTRY_SIZE);
        coco_read_copy(&e, entries[n].guid, 16);
        entries[n].offset = coco_read_u32(&e);
        entries[n].length = coco_read_u32(&e);
    }
    return false;
}

/* One whole DER certificate, in a place that is still empty. */
static bool take_cert(const uint8_t *data, size_t size, X509 **place)
{
    const unsigned char *p = data;
    X509 *cert = *place ? NULL : d2i_X509(NULL, &p, (long)size);

    if (cert && p == data + size) {
        *place = cert;
        return true;
    }
    X509_free(cert);
    return false;
}

static bool take_entry(struct chain *chain, const struct entry *e, const uint8_t *table)
{
    const uint8_t *data = table + e->offset;

    if (memcmp(e->guid, snp_guid_ark, 16) == 0)
        return take_cert(data, e->length, &chain->ark);
    if (memcmp(e->guid, snp_guid_ask, 16) == 0)
        return take_cert(data, e->length, &chain->ask);
    if (memcmp(e->guid, snp_guid_vcek, 16) == 0)
        return take_cert(data, e->length, &chain->leaf);
    if (memcmp(e->guid, snp_guid_vlek, 16) == 0) {
        chain->vlek = true;
        return take_cert(data, e->length, &chain->leaf);
    }
    return true; /* CRLs and whatever else a host may add */
}

static enum snp_verdict read_table(const uint8_t *table, size_t size, struct chain *chain,
                                   const char **why)
{
    struct entry entries[MAX_ENTRIES];
    size_t n = 0;

    *why = "there is no certificate table";
    if (size == 0)
        return SNP_VERDICT_NO_CERTIFICATES;
    *why = "the table has no end, or points outside itself";
    if (!walk_table(table, size, entries, &n))
        return SNP_VERDICT_BAD_TABLE;
    *why = "the table is empty";
    if (n == 0)
        return SNP_VERDICT_NO_CERTIFICATES;
    *why = "an entry is no whole DER certificate, or there are two of one kind";
    for (size_t i = 0; i < n; i++)
        if (!take_entry(chain, &entries[i], table))
            return SNP_VERDICT_BAD_TABLE;
    *why = "the table lacks the VCEK or VLEK, the ASK or ASVK, or the ARK";
    return chain->leaf && chain->ask && chain->ark ? SNP_VERDICT_OK : SNP_VERDICT_BAD_CHAIN;
}

/* --- judging: the chain ----------------------------------------------------------------------- */

static bool is_trusted(X509 *ark, const uint8_t *trusted)
{
    uint8_t digest[32];

    if (X509_digest(ark, EVP_sha256(), digest, NULL) != 1)
        return false;
    if (trusted)
        return memcmp(digest, trusted, 32) == 0;
    for (size_t i = 0; i < SNP_N_PRODUCTS; i++)
        if (memcmp(digest, snp_products[i].ark, 32) == 0)
            return true;
    return false;
}

static void common_name(const X509_NAME *name, char *out, int size)
{
    if (X509_NAME_get_text_by_NID((X509_NAME *)name, NID_commonName, out, size) < 0)
        out[0] = 0;
}

static bool has_name(X509 *cert, const char *prefix, const char *product)
{
    char have[64], want[64];

    common_name(X509_get_subject_name(cert), have, sizeof(have));
    (void)snprintf(want, sizeof(want), "%s%s", prefix, product);
    return strcmp(have, want) == 0;
}

/* The product is what the root's name ends in. */
static bool check_names(struct chain *c)
{
    char root[64];

    common_name(X509_get_subject_name(c->ark), root, sizeof(root));
    if (strncmp(root, "ARK-", 4) != 0 || strlen(root + 4) >= sizeof(c->product))
        return false;
    memcpy(c->product, root + 4, strlen(root + 4) + 1);
    return has_name(c->ask, c->vlek ? "SEV-VLEK-" : "SEV-", c->product) &&
           has_name(c->leaf, c->vlek ? "SEV-VLEK" : "SEV-VCEK", "") &&
           X509_NAME_cmp(X509_get_issuer_name(c->leaf), X509_get_subject_name(c->ask)) == 0 &&
           X509_NAME_cmp(X509_get_issuer_name(c->ask), X509_get_subject_name(c->ark)) == 0 &&
           X509_NAME_cmp(X509_get_issuer_name(c->ark), X509_get_subject_name(c->ark)) == 0;
}

static bool in_dates(X509 *cert, int64_t now)
{
    time_t t = (time_t)now;

    /* X509_cmp_time: -1 earlier or equal, 1 later, 0 for a date that cannot be read. */
    return X509_cmp_time(X509_get0_notBefore(cert), &t) < 0 &&
           X509_cmp_time(X509_get0_notAfter(cert), &t) > 0;
}

/* RSASSA-PSS with SHA-384 in every place, by an RSA-4096 key. OpenSSL sets the TLS flag for PSS
 * only where both hashes are the same and the salt is as long. */
static bool signed_by(X509 *cert, X509 *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    int digest = NID_undef;
    uint32_t flags = 0;

    return key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) == 4096 &&
           X509_get_signature_nid(cert) == NID_rsassaPss &&
           X509_get_signature_info(cert, &digest, NULL, NULL, &flags) == 1 &&
           digest == NID_sha384 && (flags & X509_SIG_INFO_TLS) && X509_verify(cert, key) == 1;
}

static bool is_p384(EVP_PKEY *key)
{
    char group[32] = "";

    return key && EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                          NULL) == 1 &&
           strcmp(group, "secp384r1") == 0;
}

static bool check_chain(struct chain *c, const uint8_t *trusted, int64_t now, const char **why)
{
    *why = "the root is not a trusted one";
    if (!is_trusted(c->ark, trusted))
        return false;
    *why = "names in the chain do not fit together";
    if (!check_names(c))
        return false;
    *why = "the ARK or the ASK is no certificate authority";
    if (X509_check_ca(c->ark) != 1 || X509_check_ca(c->ask) != 1)
        return false;
    *why = "a signature in the chain is wrong";
    if (!signed_by(c->ark, c->ark) || !signed_by(c->ask, c->ark) || !signed_by(c->leaf, c->ask))
        return false;
    *why = "a certificate has expired, or is not valid yet";
    if (!in_dates(c->ark, now) || !in_dates(c->ask, now) || !in_dates(c->leaf, now))
        return false;
    *why = "the leaf's key is not on P-384";
    return is_p384(X509_get0_pubkey(c->leaf));
}

/* --- judging: the leaf against the report ----------------------------------------------------- */

/* The value of extension 1.3.6.1.4.1.3704.1.<suffix>, which must be there once; NULL else. */
static const ASN1_OCTET_STRING *find_extension(X509 *cert, const char *suffix)
{
    char oid[64];

    (void)snprintf(oid, sizeof(oid), "1.3.6.1.4.1.3704.1.%s", suffix);
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = object ? X509_get_ext_by_OBJ(cert, object, -1) : -1;
    bool twice = at >= 0 && X509_get_ext_by_OBJ(cert, object, at) >= 0;
    ASN1_OBJECT_free(object);
    return at >= 0 && !twice ? X509_EXTENSION_get_data(X509_get_ext(cert, at)) : NULL;
}

static bool read_spl(X509 *cert, const char *suffix, uint8_t *ret)
{
    const ASN1_OCTET_STRING *value = find_extension(cert, suffix);
    const unsigned char *p = value ? ASN1_STRING_get0_data(value) : NULL;
    const unsigned char *end = value ? p + ASN1_STRING_length(value) : NULL;
    ASN1_INTEGER *number = value ? d2i_ASN1_INTEGER(NULL, &p, end - p) : NULL;
    uint64_t v = 0;
    bool ok = number && p == end && ASN1_INTEGER_get_uint64(&v, number) == 1 && v <= UINT8_MAX;

    ASN1_INTEGER_free(number);
    if (ok)
        *ret = (uint8_t)v;
    return ok;
}

static bool read_tcb(X509 *cert, const struct snp_product *p, struct snp_pki_tcb *ret)
{
    struct snp_pki_tcb tcb = {0};

    for (const char *number = p->bytes; *number; number++) {
        uint8_t *level = snp_tcb_level(&tcb, *number);
        if (level && !read_spl(cert, (const char[]){'3', '.', *number, 0}, level))
            return false;
    }
    *ret = tcb;
    return true;
}

/* The report's chip id, zero behind the certified bytes, is the hwID: raw, or as an OCTET STRING.
 */
static bool same_chip(X509 *cert, const struct snp_product *p, const uint8_t *chip_id)
{
    static const uint8_t zeros[SNP_PKI_CHIP_ID_SIZE];
    size_t want = p->chip_id_size;
    const ASN1_OCTET_STRING *value = find_extension(cert, "4");
    struct coco_reader r = {0};

    if (!value)
        return false;
    r = coco_reader_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    if (r.size == want + 2 && (coco_read_u8(&r) != V_ASN1_OCTET_STRING || coco_read_u8(&r) != want))
        return false;
    const uint8_t *hwid = coco_read_bytes(&r, want);
    return hwid && coco_reader_done(&r) && memcmp(hwid, chip_id, want) == 0 &&
           memcmp(chip_id + want, zeros, SNP_PKI_CHIP_ID_SIZE - want) == 0;
}

static BIGNUM *read_number(const uint8_t *field)
{
    return BN_lebin2bn(field, NUMBER_SIZE, NULL);
}

static bool check_signature(const uint8_t *report, EVP_PKEY *key)
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = read_number(report + SIGNED_SIZE);
    BIGNUM *s = read_number(report + SIGNED_SIZE + NUMBER_SIZE);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char *der = NULL;
    int size = -1;

    if (signature && r && s && ECDSA_SIG_set0(signature, r, s) == 1) {
        r = s = NULL;
        size = i2d_ECDSA_SIG(signature, &der);
    }
    bool ok = size > 0 && ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha384(), NULL, key) == 1 &&
              EVP_DigestVerify(ctx, der, (size_t)size, report, SIGNED_SIZE) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return ok;
}

/* From version 3 on, a report names its CPU: it must be one of the chain's product. */
static bool fits_product(uint8_t family, uint8_t model, const struct snp_product *p)
{
    bool fits = false;

    for (size_t i = 0; i < 3; i++)
        fits = fits || (p->models[i].last != 0 && model >= p->models[i].first &&
                        model <= p->models[i].last);
    return fits && family == p->family;
}

static enum snp_verdict check_report(const uint8_t *report, const struct chain *c, const char **why)
{
    static const uint8_t masked[SNP_PKI_CHIP_ID_SIZE];
    struct coco_reader r = coco_reader_of(report, SNP_REPORT_SIZE);
    const struct snp_product *product = snp_product_find(c->product);
    uint8_t tcb[8], chip_id[SNP_PKI_CHIP_ID_SIZE];
    struct snp_pki_tcb certified;

    uint32_t version = coco_read_u32(&r);
    (void)coco_read_bytes(&r, OFF_KEY_INFO - r.pos);
    uint32_t signing_key = coco_read_u32(&r) >> 2 & 7;
    (void)coco_read_bytes(&r, OFF_REPORTED - r.pos);
    coco_read_copy(&r, tcb, sizeof(tcb));
    uint8_t family = coco_read_u8(&r), model = coco_read_u8(&r);
    (void)coco_read_bytes(&r, OFF_CHIP_ID - r.pos);
    coco_read_copy(&r, chip_id, sizeof(chip_id));
    struct snp_pki_tcb reported = snp_tcb_decode(c->product, tcb);

    *why = "the report's version is unknown, or it is of another product";
    if (version < 2 || !product || (version >= 3 && !fits_product(family, model, product)))
        return SNP_VERDICT_BAD_REPORT;
    *why = "the report is not signed, or names a signing key that the table does not certify";
    if (signing_key != (c->vlek ? SNP_SIGNED_BY_VLEK : SNP_SIGNED_BY_VCEK))
        return SNP_VERDICT_BAD_REPORT;
    *why = "the leaf lacks the extensions of its TCB";
    if (!read_tcb(c->leaf, product, &certified))
        return SNP_VERDICT_BAD_CHAIN;
    *why = "the leaf certifies another TCB than the reported one";
    if (!snp_tcb_equal(certified, reported))
        return SNP_VERDICT_WRONG_TCB;
    *why = "the leaf certifies another chip";
    if (!c->vlek && memcmp(chip_id, masked, sizeof(masked)) != 0 &&
        !same_chip(c->leaf, product, chip_id))
        return SNP_VERDICT_WRONG_CHIP;
    *why = "the leaf's key did not sign the report";
    return check_signature(report, X509_get0_pubkey(c->leaf)) ? SNP_VERDICT_OK
                                                              : SNP_VERDICT_BAD_SIGNATURE;
}

enum snp_verdict snp_report_verify(const uint8_t report[SNP_REPORT_SIZE], const uint8_t *table,
                                   size_t table_size, const uint8_t *trusted_ark, int64_t now,
                                   const char **ret_why)
{
    struct chain chain = {0};
    const char *why = NULL;
    enum snp_verdict verdict = read_table(table, table_size, &chain, &why);

    if (verdict == SNP_VERDICT_OK && !check_chain(&chain, trusted_ark, now, &why))
        verdict = SNP_VERDICT_BAD_CHAIN;
    if (verdict == SNP_VERDICT_OK)
        verdict = check_report(report, &chain, &why);
    X509_free(chain.ark);
    X509_free(chain.ask);
    X509_free(chain.leaf);
    if (ret_why)
        *ret_why = verdict == SNP_VERDICT_OK ? "the chain verifies the report" : why;
    return verdict;
}

const char *snp_verdict_name(enum snp_verdict verdict)
{
    static const char *const names[] = {
        [SNP_VERDICT_OK] = "ok",
        [SNP_VERDICT_NO_CERTIFICATES] = "no certificates",
        [SNP_VERDICT_BAD_TABLE] = "bad table",
        [SNP_VERDICT_BAD_CHAIN] = "bad chain",
        [SNP_VERDICT_BAD_REPORT] = "bad report",
        [SNP_VERDICT_WRONG_TCB] = "wrong TCB",
        [SNP_VERDICT_WRONG_CHIP] = "wrong chip",
        [SNP_VERDICT_BAD_SIGNATURE] = "bad signature",
        [SNP_VERDICT_NO_REPORT] = "no report",
        [SNP_VERDICT_VMPCK_LOST] = "VMPCK lost",
        [SNP_VERDICT_OVERRUN] = "overrun",
    };

    return (size_t)verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "?";
}
