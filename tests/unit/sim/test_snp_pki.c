/* SPDX-License-Identifier: MIT */
/*
 * Has the test PKI the shape of AMD's? Where the real certificates are at hand, what it makes is
 * compared with them byte by byte, but for keys, key identifiers, signatures and dates.
 */
#include "cached_pki.h"
#include "snp_pki.h"
#include "support.h"
#include <dirent.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define NOW 1790000000 /* September 2026 */
#define DAY 86400

static const struct snp_pki_tcb tcb = {.bl = 3, .tee = 1, .snp = 8, .ucode = 0xd9, .fmc = 2};

static struct snp_pki *make_pki(const char *product, const char *dir)
{
    struct snp_pki_options options = {.product = product, .keys_dir = dir, .now = NOW};
    struct snp_pki *pki = snp_pki_new(&options);

    ck_assert_msg(pki != NULL, "no PKI: errno %d", errno);
    return pki;
}

/* Fills the cache outside of the tests' time limit: keys take seconds. */
static void fill_cache(void)
{
    struct snp_pki *pki = make_pki("Milan", snp_pki_cache_dir());
    size_t size;

    ck_assert_ptr_nonnull(snp_pki_ca_der(pki, SNP_PKI_ASVK, &size));
    snp_pki_free(pki);
}

static X509 *decode(const uint8_t *der, size_t size)
{
    const unsigned char *p = der;
    X509 *cert = d2i_X509(NULL, &p, (long)size);

    ck_assert_ptr_nonnull(cert);
    ck_assert_ptr_eq(p, der + size);
    return cert;
}

static X509 *ca_cert(struct snp_pki *pki, enum snp_pki_ca ca)
{
    size_t size = 0;
    const uint8_t *der = snp_pki_ca_der(pki, ca, &size);

    ck_assert_ptr_nonnull(der);
    return decode(der, size);
}

static X509 *read_real(const char *path)
{
    size_t size;
    uint8_t *data = test_read_file(path, &size);
    BIO *bio = BIO_new_mem_buf(data, (int)size);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    if (!cert)
        cert = decode(data, size);
    free(data);
    return cert;
}

/* The same extensions in the same order, with the same values but for key identifiers. */
static void assert_same_extensions(X509 *ours, X509 *real)
{
    ck_assert_int_eq(X509_get_ext_count(ours), X509_get_ext_count(real));
    for (int i = 0; i < X509_get_ext_count(real); i++) {
        X509_EXTENSION *a = X509_get_ext(ours, i), *b = X509_get_ext(real, i);
        const ASN1_OBJECT *object = X509_EXTENSION_get_object(b);
        const ASN1_OCTET_STRING *va = X509_EXTENSION_get_data(a), *vb = X509_EXTENSION_get_data(b);
        ck_assert_int_eq(OBJ_cmp(X509_EXTENSION_get_object(a), object), 0);
        ck_assert_int_eq(X509_EXTENSION_get_critical(a), X509_EXTENSION_get_critical(b));
        ck_assert_int_eq(ASN1_STRING_length(va), ASN1_STRING_length(vb));
        if (OBJ_obj2nid(object) != NID_subject_key_identifier &&
            OBJ_obj2nid(object) != NID_authority_key_identifier)
            ck_assert_mem_eq(ASN1_STRING_get0_data(va), ASN1_STRING_get0_data(vb),
                             (size_t)ASN1_STRING_length(vb));
    }
}

static void assert_same_name(const X509_NAME *a, const X509_NAME *b)
{
    const unsigned char *pa, *pb;
    size_t na, nb;

    ck_assert_int_eq(X509_NAME_get0_der(a, &pa, &na), 1);
    ck_assert_int_eq(X509_NAME_get0_der(b, &pb, &nb), 1);
    ck_assert_uint_eq(na, nb);
    ck_assert_mem_eq(pa, pb, na);
}

/* Everything but keys, signatures and dates; dates by their distance. */
static void assert_same_shape(X509 *ours, X509 *real)
{
    int days_a, seconds_a, days_b, seconds_b, digest_a, digest_b;
    uint32_t flags_a, flags_b;

    assert_same_name(X509_get_subject_name(ours), X509_get_subject_name(real));
    assert_same_name(X509_get_issuer_name(ours), X509_get_issuer_name(real));
    assert_same_extensions(ours, real);
    ck_assert_int_eq(X509_get_version(ours), X509_get_version(real));
    ck_assert_int_eq(ASN1_INTEGER_cmp(X509_get0_serialNumber(ours), X509_get0_serialNumber(real)),
                     0);
    ck_assert_int_eq(X509_get_signature_info(ours, &digest_a, NULL, NULL, &flags_a), 1);
    ck_assert_int_eq(X509_get_signature_info(real, &digest_b, NULL, NULL, &flags_b), 1);
    ck_assert_int_eq(X509_get_signature_nid(ours), NID_rsassaPss);
    ck_assert_int_eq(digest_a, digest_b);
    ck_assert_uint_eq(flags_a, flags_b);
    ck_assert_int_eq(ASN1_TIME_diff(&days_a, &seconds_a, X509_get0_notBefore(ours),
                                    X509_get0_notAfter(ours)),
                     1);
    ck_assert_int_eq(ASN1_TIME_diff(&days_b, &seconds_b, X509_get0_notBefore(real),
                                    X509_get0_notAfter(real)),
                     1);
    ck_assert_int_le(abs(days_a - days_b), 2); /* leap days */
    ck_assert_int_eq(EVP_PKEY_get_bits(X509_get0_pubkey(ours)),
                     EVP_PKEY_get_bits(X509_get0_pubkey(real)));
    ck_assert_str_eq(EVP_PKEY_get0_type_name(X509_get0_pubkey(ours)),
                     EVP_PKEY_get0_type_name(X509_get0_pubkey(real)));
}

static const struct {
    const char *product;
    enum snp_pki_ca ca;
    const char *file;
} real_cas[] = {
    {"Milan", SNP_PKI_ARK, "snp/milan_ark.pem"},       {"Milan", SNP_PKI_ASK, "snp/milan_ask.pem"},
    {"Genoa", SNP_PKI_ARK, "snp/genoa_ark.pem"},       {"Genoa", SNP_PKI_ASK, "snp/genoa_ask.pem"},
    {"Turin", SNP_PKI_ARK, "snp/turin_ark.pem"},       {"Turin", SNP_PKI_ASK, "snp/turin_ask.pem"},
    {"Milan", SNP_PKI_ASVK, "snp/milan_asvk_ark.pem"},
};

FIXTURE(.setup_once = fill_cache, .timeout_s = 300);

TEST_LOOP(authorities_are_shaped_like_amds, 0, (int)(sizeof(real_cas) / sizeof(real_cas[0])))
{
    const char *path = test_data(real_cas[_i].file);

    if (!path)
        return;
    struct snp_pki *pki = cached_pki(real_cas[_i].product, NOW);
    X509 *real = read_real(path), *ours = ca_cert(pki, real_cas[_i].ca);
    X509 *ark = ca_cert(pki, SNP_PKI_ARK);

    assert_same_shape(ours, real);
    ck_assert_int_eq(X509_verify(ours, X509_get0_pubkey(ark)), 1);
    X509_free(real);
    X509_free(ours);
    X509_free(ark);
    snp_pki_free(pki);
}

static void unhex_into(const char *text, uint8_t *out, size_t want)
{
    size_t size;
    uint8_t *bytes = test_unhex(text, &size);

    ck_assert_uint_eq(size, want);
    memcpy(out, bytes, size);
    free(bytes);
}

static const struct {
    const char *product, *file, *chip;
    struct snp_pki_leaf_options options;
} real_leaves[] = {
    {"Milan",
     "snp/vcek_milan.der",
     "d49554ec717f4e5b0fe6b143bcf0405bd7ae304727edf46603f2a76aef6a3abc"
     "15d7af38db757039029f0efacfd08e244324884738c72b082e2f87a44d541eb6",
     {.tcb = {.bl = 3, .snp = 8, .ucode = 0x73}}},
    {"Turin",
     "snp/vcek_turin.der",
     "1e550a8ee5cf9f4d0000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000",
     {.tcb = {.ucode = 9}}},
    {"Milan",
     "snp/vlek_milan_expired.der",
     NULL,
     {.vlek = true,
      .tcb = {.bl = 4, .snp = 0x18, .ucode = 0xd9},
      .csp_id = "CN=cc-us-east-2.amazonaws.com"}},
};

TEST_LOOP(leaves_are_shaped_like_amds, 0, (int)(sizeof(real_leaves) / sizeof(real_leaves[0])))
{
    const char *path = test_data(real_leaves[_i].file);
    struct snp_pki_leaf_options options = real_leaves[_i].options;
    struct snp_pki_leaf leaf;
    uint8_t chip[SNP_PKI_CHIP_ID_SIZE];

    if (!path)
        return;
    if (real_leaves[_i].chip) {
        unhex_into(real_leaves[_i].chip, chip, sizeof(chip));
        options.chip_id = chip;
    }
    struct snp_pki *pki = cached_pki(real_leaves[_i].product, NOW);
    ck_assert_int_eq(snp_pki_make_leaf(pki, &options, &leaf), 0);
    X509 *real = read_real(path), *ours = decode(leaf.der, leaf.der_size);
    X509 *issuer = ca_cert(pki, options.vlek ? SNP_PKI_ASVK : SNP_PKI_ASK);
    assert_same_shape(ours, real);
    ck_assert_int_eq(X509_verify(ours, X509_get0_pubkey(issuer)), 1);
    ck_assert_int_eq(X509_check_private_key(ours, leaf.key), 1);
    X509_free(real);
    X509_free(ours);
    X509_free(issuer);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
}

/* The value of an extension, or -1 as its size where it is not there. */
static int extension(X509 *cert, const char *oid, const uint8_t **ret)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = X509_get_ext_by_OBJ(cert, object, -1);

    ASN1_OBJECT_free(object);
    if (at < 0)
        return -1;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(cert, at));
    *ret = ASN1_STRING_get0_data(value);
    return ASN1_STRING_length(value);
}

static X509 *leaf_cert(struct snp_pki *pki, const struct snp_pki_leaf_options *options)
{
    struct snp_pki_leaf leaf;

    ck_assert_int_eq(snp_pki_make_leaf(pki, options, &leaf), 0);
    X509 *cert = decode(leaf.der, leaf.der_size);
    snp_pki_leaf_done(&leaf);
    return cert;
}

TEST(extensions_differ_by_product)
{
    static const uint8_t ucode[] = {0x02, 0x02, 0x00, 0xd9}, fmc[] = {0x02, 0x01, 0x02};
    struct snp_pki_leaf_options options = {.tcb = tcb};
    const uint8_t *p = NULL;
    struct snp_pki *milan = cached_pki("Milan", NOW), *turin = cached_pki("Turin", NOW);
    X509 *m = leaf_cert(milan, &options), *t = leaf_cert(turin, &options);

    ck_assert_int_eq(extension(m, "1.3.6.1.4.1.3704.1.3.8", &p), 4);
    ck_assert_mem_eq(p, ucode, 4); /* above 127: two content bytes */
    ck_assert_int_eq(extension(m, "1.3.6.1.4.1.3704.1.4", &p), 64);
    ck_assert_int_eq(extension(m, "1.3.6.1.4.1.3704.1.3.4", &p), 3);
    ck_assert_int_eq(extension(m, "1.3.6.1.4.1.3704.1.3.9", &p), -1);
    ck_assert_int_eq(extension(m, "1.3.6.1.4.1.3704.1.1", &p), 3);
    ck_assert_uint_eq(p[2], 0);
    ck_assert_int_eq(extension(t, "1.3.6.1.4.1.3704.1.3.9", &p), 3);
    ck_assert_mem_eq(p, fmc, 3);
    ck_assert_int_eq(extension(t, "1.3.6.1.4.1.3704.1.3.4", &p), -1);
    ck_assert_int_eq(extension(t, "1.3.6.1.4.1.3704.1.4", &p), 8);
    ck_assert_int_eq(extension(t, "1.3.6.1.4.1.3704.1.1", &p), 3);
    ck_assert_uint_eq(p[2], 1);
    X509_free(m);
    X509_free(t);
    snp_pki_free(milan);
    snp_pki_free(turin);
}

TEST(bad_leaves_are_bad_as_asked)
{
    struct snp_pki *pki = cached_pki("Genoa", NOW);
    X509 *ask = ca_cert(pki, SNP_PKI_ASK), *ark = ca_cert(pki, SNP_PKI_ARK);
    EVP_PKEY *ask_key = X509_get0_pubkey(ask);
    struct snp_pki_leaf_options o = {.tcb = tcb};
    const uint8_t *p = NULL;
    time_t now = NOW;

    o.bad = SNP_PKI_BAD_EXPIRED;
    X509 *c = leaf_cert(pki, &o);
    ck_assert_int_eq(X509_verify(c, ask_key), 1);
    ck_assert_int_lt(X509_cmp_time(X509_get0_notAfter(c), &now), 0);
    X509_free(c);
    o.bad = SNP_PKI_BAD_NOT_YET;
    c = leaf_cert(pki, &o);
    ck_assert_int_gt(X509_cmp_time(X509_get0_notBefore(c), &now), 0);
    X509_free(c);
    o.bad = SNP_PKI_BAD_SIGNER;
    c = leaf_cert(pki, &o);
    ck_assert_int_ne(X509_verify(c, ask_key), 1);
    ck_assert_int_eq(X509_verify(c, X509_get0_pubkey(ark)), 1);
    X509_free(c);
    o.bad = SNP_PKI_BAD_P256;
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(EVP_PKEY_get_bits(X509_get0_pubkey(c)), 256);
    X509_free(c);
    o.bad = SNP_PKI_BAD_ALTERED;
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(extension(c, "1.3.6.1.4.1.3704.1.4", &p), 64);
    ck_assert_uint_eq(p[0], 1);
    ck_assert_int_ne(X509_verify(c, ask_key), 1);
    X509_free(c);
    o.bad = SNP_PKI_BAD_PKCS1;
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(X509_get_signature_nid(c), NID_sha384WithRSAEncryption);
    ck_assert_int_eq(X509_verify(c, ask_key), 1);
    X509_free(c);
    o.bad = SNP_PKI_WRAPPED_HWID;
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(extension(c, "1.3.6.1.4.1.3704.1.4", &p), 66);
    ck_assert_uint_eq(p[0], 0x04);
    ck_assert_uint_eq(p[1], 0x40);
    X509_free(c);
    o.bad = 0;
    o.omit = "3.8";
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(extension(c, "1.3.6.1.4.1.3704.1.3.8", &p), -1);
    ck_assert_int_eq(extension(c, "1.3.6.1.4.1.3704.1.4", &p), 64);
    X509_free(c);
    o = (struct snp_pki_leaf_options){.vlek = true, .tcb = tcb, .bad = SNP_PKI_BAD_ALTERED};
    c = leaf_cert(pki, &o);
    ck_assert_int_eq(extension(c, "1.3.6.1.4.1.3704.1.3.8", &p), 4);
    ck_assert_uint_eq(p[3], 0xd8);
    X509_free(c);
    X509_free(ask);
    X509_free(ark);
    snp_pki_free(pki);
}

TEST(crl_revokes_an_authority)
{
    struct snp_pki *pki = cached_pki("Genoa", NOW);
    uint32_t serials[] = {snp_pki_ca_serial(pki, SNP_PKI_ASK), 0x020001};
    struct snp_pki_crl_options o = {.serials = serials, .n_serials = 2, .number = 11};
    X509 *ark = ca_cert(pki, SNP_PKI_ARK), *ask = ca_cert(pki, SNP_PKI_ASK);
    X509_REVOKED *found = NULL;
    uint8_t *der = NULL;
    size_t size = 0;
    time_t now = NOW;

    ck_assert_int_eq(snp_pki_make_crl(pki, &o, &der, &size), 0);
    const unsigned char *p = der;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)size);
    ck_assert_ptr_nonnull(crl);
    ck_assert_ptr_eq(p, der + size);
    ck_assert_int_eq(X509_CRL_verify(crl, X509_get0_pubkey(ark)), 1);
    ck_assert_int_eq(X509_CRL_get_signature_nid(crl), NID_rsassaPss);
    ck_assert_int_eq(X509_CRL_get0_by_serial(crl, &found, X509_get_serialNumber(ask)), 1);
    ck_assert_int_eq(X509_CRL_get0_by_serial(crl, &found, X509_get_serialNumber(ark)), 0);
    ck_assert_int_lt(X509_cmp_time(X509_CRL_get0_lastUpdate(crl), &now), 0);
    ck_assert_int_gt(X509_cmp_time(X509_CRL_get0_nextUpdate(crl), &now), 0);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    ck_assert_ptr_nonnull(number);
    ck_assert_int_eq(ASN1_INTEGER_get(number), 11);
    ck_assert_int_eq(X509_CRL_get_ext_count(crl), 2);
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    free(der);
    X509_free(ark);
    X509_free(ask);
    snp_pki_free(pki);
}

static void path_in(char out[512], const char *dir, const char *name)
{
    ck_assert_int_lt(snprintf(out, 512, "%s/%s", dir, name), 512);
}

static unsigned count_files(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* A folder written before gives the same root again, and a new leaf; that is how a chain is
 * replaced. */
TEST(folder_keeps_the_root)
{
    struct snp_pki *first = cached_pki("Milan", NOW);
    char dir[512], path[512];
    struct snp_pki_leaf leaf;
    uint8_t a[32], b[32];
    size_t size;

    path_in(dir, test_tmpdir(), "a/b");
    ck_assert_int_eq(snp_pki_make_vcek(first, tcb, NULL, &leaf), 0);
    ck_assert_int_eq(snp_pki_write_dir(first, &leaf, dir), 0);
    ck_assert_uint_eq(count_files(dir), 9); /* three of .pem, .der, .key, and no temporary one */
    struct snp_pki *second = make_pki("Milan", dir);
    snp_pki_ark_sha256(first, a);
    snp_pki_ark_sha256(second, b);
    ck_assert_mem_eq(a, b, 32);
    path_in(path, dir, "vcek.der");
    uint8_t *der = test_read_file(path, &size);
    ck_assert_uint_eq(size, leaf.der_size);
    ck_assert_mem_eq(der, leaf.der, size);
    free(der);
    path_in(path, dir, "vcek.pem");
    X509 *cert = read_real(path);
    ck_assert_int_eq(X509_check_private_key(cert, leaf.key), 1);
    X509_free(cert);
    /* Another product: the keys stay, the certificates are others. */
    struct snp_pki *third = make_pki("Turin", dir);
    X509 *x = ca_cert(first, SNP_PKI_ARK), *y = ca_cert(third, SNP_PKI_ARK);
    ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(x), X509_get0_pubkey(y)), 1);
    snp_pki_ark_sha256(third, b);
    ck_assert_mem_ne(a, b, 32);
    X509_free(x);
    X509_free(y);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(first);
    snp_pki_free(second);
    snp_pki_free(third);
}

/* A damaged key is made again; a certificate that is not the key's is not believed. */
TEST(damaged_folder_is_remade)
{
    struct snp_pki *good = cached_pki("Milan", NOW);
    const char *dir = test_tmpdir();
    struct snp_pki_leaf leaf;
    uint8_t a[32], b[32], c[32];
    char path[512];

    ck_assert_int_eq(snp_pki_make_vcek(good, tcb, NULL, &leaf), 0);
    ck_assert_int_eq(snp_pki_write_dir(good, &leaf, dir), 0);
    path_in(path, dir, "ark.key");
    test_write_file(path, "-----BEGIN PRIVATE KEY-----\nMII", 31);
    struct snp_pki *remade = make_pki("Milan", dir);
    snp_pki_ark_sha256(good, a);
    snp_pki_ark_sha256(remade, b);
    ck_assert_mem_ne(a, b, 32);
    X509 *ark = ca_cert(remade, SNP_PKI_ARK), *ask = ca_cert(remade, SNP_PKI_ASK);
    ck_assert_int_eq(X509_verify(ask, X509_get0_pubkey(ark)), 1);
    /* The new key is in the folder now. */
    ck_assert_int_eq(snp_pki_write_dir(remade, &leaf, dir), 0);
    struct snp_pki *again = make_pki("Milan", dir);
    snp_pki_ark_sha256(again, c);
    ck_assert_mem_eq(b, c, 32);
    X509_free(ark);
    X509_free(ask);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(good);
    snp_pki_free(remade);
    snp_pki_free(again);
}

TEST(unusable_arguments_fail)
{
    char path[512];
    const char *dir = test_tmpdir();
    struct snp_pki_options options = {.product = "Naples", .keys_dir = snp_pki_cache_dir()};

    errno = 0;
    ck_assert_ptr_null(snp_pki_new(&options));
    ck_assert_int_eq(errno, EINVAL);
    path_in(path, dir, "file");
    test_write_file(path, "x", 1);
    path_in(path, dir, "file/keys");
    options = (struct snp_pki_options){.keys_dir = path};
    ck_assert_ptr_null(snp_pki_new(&options));
    ck_assert_int_eq(errno, ENOTDIR);
    snp_pki_free(NULL);
}
