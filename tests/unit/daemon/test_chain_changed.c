/* SPDX-License-Identifier: MIT */
/*
 * What chain_verify refuses. Each certificate is made of one of the test PKI's by changing one
 * thing and signing again, so that it has exactly one reason to be refused.
 */
#include "unit/daemon/chain_fixture.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .teardown = free_kept,
        .timeout_s = 120);

/* --- certificates made by changing one thing --- */

struct signing {
    const EVP_MD *hash, *mask;
    int salt;
};

static EVP_PKEY *ca_key(const char *name)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s.key", snp_pki_cache_dir(), name);
    BIO *bio = BIO_new_file(path, "r");
    ck_assert_ptr_nonnull(bio);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ck_assert_ptr_nonnull(key);
    return key;
}

static EVP_MD_CTX *signing_with(EVP_PKEY *key, struct signing how)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *parameters = NULL;

    ck_assert_int_eq(EVP_DigestSignInit(ctx, &parameters, how.hash, NULL, key), 1);
    ck_assert_int_gt(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING), 0);
    ck_assert_int_gt(EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, how.salt), 0);
    ck_assert_int_gt(EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, how.mask), 0);
    return ctx;
}

static void sign(X509 *x, EVP_PKEY *key, struct signing how)
{
    EVP_MD_CTX *ctx = signing_with(key, how);

    ck_assert_int_gt(X509_sign_ctx(x, ctx), 0);
    EVP_MD_CTX_free(ctx);
}

static X509 *decode(const void *der, size_t size)
{
    const unsigned char *p = der;
    X509 *x = d2i_X509(NULL, &p, (long)size);

    ck_assert_ptr_nonnull(x);
    return x;
}

static uint8_t *encode(X509 *x, size_t *ret_size)
{
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);

    ck_assert_int_gt(n, 0);
    *ret_size = (size_t)n;
    return der;
}

static struct signing as_amd(void)
{
    return (struct signing){EVP_sha384(), EVP_sha384(), 48};
}

static void add_extension(X509 *x, const char *oid, bool critical, const char *value, int size)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();

    ck_assert_int_eq(ASN1_OCTET_STRING_set(data, (const unsigned char *)value, size), 1);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, object, critical, data);
    ck_assert_int_eq(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
}

static void replace_extension(X509 *x, const char *oid, const char *value, int size)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = X509_get_ext_by_OBJ(x, object, -1);

    ck_assert_int_ge(at, 0);
    X509_EXTENSION_free(X509_delete_ext(x, at));
    ASN1_OBJECT_free(object);
    add_extension(x, oid, false, value, size);
}

#define AMD "1.3.6.1.4.1.3704.1."

/* One of a certificate, judged afterwards. */
struct change {
    void (*by)(X509 *x);
    const char *add, *replace; /* an extension's OID */
    bool critical;
    const char *value;
    int size;
    int result;
    const char *why;
};
#define VALUE(text)   .value = (text), .size = sizeof(text) - 1
#define REFUSED(text) .result = -EBADMSG, .why = (text)

static void make_change(X509 *x, const struct change *change)
{
    if (!change)
        return;
    if (change->by)
        change->by(x);
    if (change->add)
        add_extension(x, change->add, change->critical, change->value, change->size);
    if (change->replace)
        replace_extension(x, change->replace, change->value, change->size);
}

/* A VCEK of Milan, changed and signed again by the ASK. */
static int judge_changed_leaf(const struct change *change, struct signing how)
{
    struct snp_pki_leaf_options options = {.tcb = {1, 2, 3, 4, 0}};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    X509 *x = decode(leaf.der, leaf.der_size);
    EVP_PKEY *key = ca_key("ask");
    size_t size = 0;

    make_change(x, change);
    sign(x, key, how);
    uint8_t *der = encode(x, &size);
    int r = judge(MILAN, false, der, size);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(x);
    return r;
}

/* The ASK of Milan, changed and signed again by the ARK, over a good VCEK. */
static int judge_changed_ask(const struct change *change)
{
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input ask = ca_input(MILAN, SNP_PKI_ASK, "");
    X509 *x = decode(ask.data, ask.size);
    EVP_PKEY *key = ca_key("ark");
    size_t size = 0;

    make_change(x, change);
    sign(x, key, as_amd());
    uint8_t *der = encode(x, &size);
    const struct chain_input in[] = {ca_input(MILAN, SNP_PKI_ARK, "ark"),
                                     input_of("ask.der", der, size), leaf_input(&leaf, "leaf")};
    int r = judge_inputs(MILAN, in);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(x);
    return r;
}

TEST(other_signature_parameters_are_refused)
{
    const struct signing cases[] = {{EVP_sha256(), EVP_sha256(), 32},
                                    {EVP_sha512(), EVP_sha512(), 64},
                                    {EVP_sha384(), EVP_sha256(), 48},
                                    {EVP_sha384(), EVP_sha384(), 32},
                                    {EVP_sha384(), EVP_sha384(), 0},
                                    {EVP_sha384(), EVP_sha384(), 20}};

    ck_assert_msg(judge_changed_leaf(NULL, as_amd()) == 0, "%s", why.text);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(judge_changed_leaf(NULL, cases[i]), -EBADMSG);
        assert_why("the VCEK (leaf.der) is not signed by RSASSA-PSS with SHA-384, MGF1 with "
                   "SHA-384 and a salt of 48 bytes");
    }
}

/* Adds to the issuer's name or the subject's; a new common name in place of the old. */
static void add_to_name(X509 *x, bool issuer, bool replace, const char *field, const char *value)
{
    X509_NAME *name = X509_NAME_dup(issuer ? X509_get_issuer_name(x) : X509_get_subject_name(x));

    if (replace)
        X509_NAME_ENTRY_free(
            X509_NAME_delete_entry(name, X509_NAME_get_index_by_NID(name, NID_commonName, -1)));
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                                (const unsigned char *)value, -1, -1, 0),
                     1);
    ck_assert_int_eq(issuer ? X509_set_issuer_name(x, name) : X509_set_subject_name(x, name), 1);
    X509_NAME_free(name);
}

static void other_issuer_words(X509 *x)
{
    add_to_name(x, true, false, "O", "Somebody");
}

static void unknown_product(X509 *x)
{
    add_to_name(x, true, true, "CN", "SEV-Verona");
}

static void web_server(X509 *x)
{
    add_to_name(x, false, true, "CN", "www.example.org");
}

static void two_names(X509 *x)
{
    add_to_name(x, false, false, "CN", "SEV-VLEK");
}

#define BAD_LEVEL "malformed extension ucodeSPL"

TEST(changed_leaves_are_judged_by_what_changed)
{
    static const struct change cases[] = {
        {.add = AMD "3.77", VALUE("\x02\x01\x00"), .why = ""},
        {.replace = AMD "2", VALUE("\x16\x08Milan-B1"), .why = ""},
        {.replace = AMD "3.8", VALUE("\x02\x02\x00\xFF"), .why = ""}, /* 255 */
        {.add = "1.2.3.4",
         .critical = true,
         VALUE("\x02\x01\x00"),
         REFUSED("critical extension that is not known")},
        {.add = AMD "3.1", VALUE("\x02\x01\x00"), REFUSED("has the extension blSPL twice")},
        {.replace = AMD "2",
         VALUE("\x16\x05Genoa"),
         REFUSED("was issued under SEV-Milan, but says that it is for \"Genoa\"")},
        {.replace = AMD "2", VALUE("\x16\x06Milano"), REFUSED("says that it is for \"Milano\"")},
        {.replace = AMD "2", VALUE("\x16\x05Mil\nn"), REFUSED("malformed extension productName")},
        /* a level: not in its shortest form, negative, 256, with a byte behind, cut */
        {.replace = AMD "3.8", VALUE("\x02\x02\x00\x7F"), REFUSED(BAD_LEVEL)},
        {.replace = AMD "3.8", VALUE("\x02\x01\xFF"), REFUSED(BAD_LEVEL)},
        {.replace = AMD "3.8", VALUE("\x02\x02\x01\x00"), REFUSED(BAD_LEVEL)},
        {.replace = AMD "3.8", VALUE("\x02\x01\x01\x00"), REFUSED(BAD_LEVEL)},
        {.replace = AMD "3.8", VALUE("\x02"), REFUSED(BAD_LEVEL)},
        {.add = AMD "3.9", VALUE("\x02\x01\x00"), .why = ""}, /* an fmcSPL on Milan: 0, 7 */
        {.add = AMD "3.9",
         VALUE("\x02\x01\x07"),
         REFUSED("extension fmcSPL, or one that is not 0: that level is not known")},
        {.add = AMD "5",
         VALUE("\x16\x01x"),
         REFUSED("has the extension CSP_ID that no VCEK of Milan has")},
        {.replace = AMD "4", VALUE("12345678"), REFUSED("malformed extension hwID")},
        {.by = other_issuer_words, REFUSED("in other words")},
        {.by = unknown_product,
         REFUSED("is for the product \"Verona\", which this cocod does not know (it knows Milan, "
                 "Genoa, Turin or Venice)")},
        {.by = web_server, REFUSED("is no certificate of AMD SEV-SNP")},
        {.by = two_names, REFUSED("no single, printable common name")},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = judge_changed_leaf(&cases[i], as_amd());
        ck_assert_msg(r == cases[i].result, "case %zu: %d, %s", i, r, why.text);
        assert_why(cases[i].why);
    }
}

/* OpenSSL does not make these (since 3.5 whatever has extensions and is signed becomes version 3),
 * so they are made of bytes: RFC 5280 section 4.1, two headers of four bytes, the version, and at
 * the end the signature by the ASK's 4096 bits. */
TEST(version_3_alone_is_taken)
{
    static const uint8_t version_3[] = {0xA0, 0x03, 0x02, 0x01, 0x02};
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    uint8_t *tbs = leaf.der + 4, *signature = leaf.der + leaf.der_size - 512;
    size_t tbs_size = 4 + ((size_t)tbs[2] << 8 | tbs[3]);
    EVP_PKEY *key = ca_key("ask");

    ck_assert_mem_eq(tbs + 4, version_3, sizeof(version_3));
    for (unsigned version = 1; version <= 4; version++) {
        size_t n = 512;
        EVP_MD_CTX *ctx = signing_with(key, as_amd());
        tbs[8] = (uint8_t)(version - 1);
        ck_assert_int_eq(EVP_DigestSign(ctx, signature, &n, tbs, tbs_size), 1);
        EVP_MD_CTX_free(ctx);
        int r = judge(MILAN, false, leaf.der, leaf.der_size);
        ck_assert_msg(r == (version == 3 ? 0 : -EBADMSG), "version %u: %d, %s", version, r,
                      why.text);
        assert_why(version == 3 ? "" : "is no X.509 version 3 certificate");
    }
    EVP_PKEY_free(key);
}

static void smaller_key(X509 *x)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);

    ck_assert_int_eq(X509_set_pubkey(x, key), 1);
    EVP_PKEY_free(key);
}

/* The form is looked at before any signature, so the number need not be a product of primes. */
static void exponent_3(X509 *x)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *n = BN_new();
    BIGNUM *e = BN_new();
    EVP_PKEY *key = NULL;

    ck_assert(BN_set_bit(n, 4095) == 1 && BN_set_bit(n, 0) == 1 && BN_set_word(e, 3) == 1);
    ck_assert_int_eq(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n), 1);
    ck_assert_int_eq(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e), 1);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    ck_assert_int_eq(X509_set_pubkey(x, key), 1);
    EVP_PKEY_free(key);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_free(n);
    BN_free(e);
}

static void elliptic_key(X509 *x)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");

    ck_assert_int_eq(X509_set_pubkey(x, key), 1);
    EVP_PKEY_free(key);
}

static void no_authority(X509 *x)
{
    X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_NID(x, NID_basic_constraints, -1)));
}

static void no_key_usage(X509 *x)
{
    X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_NID(x, NID_key_usage, -1)));
}

static void usage_without_signing(X509 *x)
{
    no_key_usage(x);
    add_extension(x, "2.5.29.15", true, "\x03\x02\x07\x80", 4);
}

static void ended_yesterday(X509 *x)
{
    ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(x), -24 * 3600));
}

static void foreign_root(X509 *x)
{
    add_to_name(x, true, true, "CN", "ARK-Genoa");
}

TEST(changed_intermediates_are_judged_by_what_changed)
{
    static const struct change cases[] = {
        {.why = ""},
        {.by = no_key_usage, .why = ""},
        {.by = smaller_key, REFUSED("the ASK (ask.der) does not hold an RSA key of 4096 bits")},
        {.by = exponent_3,
         REFUSED(
             "the ASK (ask.der) does not hold an RSA key of 4096 bits with the exponent 65537")},
        {.by = elliptic_key, REFUSED("the ASK (ask.der) does not hold an RSA key")},
        {.by = no_authority, REFUSED("the ASK (ask.der) may not sign certificates")},
        {.by = usage_without_signing, REFUSED("the ASK (ask.der) may not sign certificates")},
        {.by = ended_yesterday, .result = -ESTALE, .why = "the ASK (ask.der) expired at"},
        {.by = foreign_root, REFUSED("was issued by ARK-Genoa, but ark is ARK-Milan")},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = judge_changed_ask(&cases[i]);
        ck_assert_msg(r == cases[i].result, "case %zu: %d, %s", i, r, why.text);
        assert_why(cases[i].why);
    }
}

TEST(root_must_sign_itself)
{
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input ark = ca_input(MILAN, SNP_PKI_ARK, "");
    X509 *x = decode(ark.data, ark.size);
    EVP_PKEY *key = ca_key("ask");
    struct chain_roots roots;
    struct chain *c = NULL;
    size_t size = 0;

    sign(x, key, as_amd());
    uint8_t *der = encode(x, &size);
    struct chain_input in[] = {input_of("ark.der", der, size), ca_input(MILAN, SNP_PKI_ASK, "ask"),
                               leaf_input(&leaf, "leaf")};
    chain_roots_init(&roots);
    ck_assert_int_eq(chain_roots_add(&roots, &in[0], &why), 0);
    ck_assert_int_eq(chain_parse(in, 3, &c, &why), 0);
    ck_assert_int_eq(chain_verify(c, &roots, (int64_t)time(NULL), &why), -EBADMSG);
    assert_why("the signature of the ARK (ark.der) does not verify with the key of ARK-Milan");
    chain_free(c);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(x);
}

TEST(dates_hold_at_both_ends)
{
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input in[] = {ca_input(MILAN, SNP_PKI_ARK, "ark"),
                               ca_input(MILAN, SNP_PKI_ASK, "ask"), leaf_input(&leaf, "leaf")};
    struct chain_roots roots = roots_of(MILAN);
    struct chain *c = NULL;

    ck_assert_int_eq(chain_parse(in, 3, &c, &why), 0);
    int64_t first = c->certs[CHAIN_LEAF].not_before_s;
    int64_t last = c->certs[CHAIN_LEAF].not_after_s;
    ck_assert_int_eq(chain_verify(c, &roots, first - 1, &why), -ESTALE);
    ck_assert_int_eq(chain_verify(c, &roots, first, &why), 0);
    ck_assert_int_eq(chain_verify(c, &roots, last, &why), 0);
    ck_assert_int_eq(chain_verify(c, &roots, last + 1, &why), -ESTALE);
    chain_free(c);
}

/* Nobody has seen a Venice's certificate: what does not fit is no chain, never the wrong one. */
TEST(a_venice_leaf_with_levels_beyond_its_tcb_is_refused)
{
    static const struct {
        const char *more;
        struct snp_pki_tcb tcb;
        int result;
    } cases[] = {
        {"", {.bl = 4, .tee = 1, .snp = 22, .ucode = 217, .fmc = 5}, 0},
        {"18567", {.tee = 1, .snp = 22, .fmc = 5}, 0},
        {"1", {.bl = 4, .tee = 1, .snp = 22, .fmc = 5}, -EBADMSG},
        {"8", {.tee = 1, .snp = 22, .ucode = 217, .fmc = 5}, -EBADMSG},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct snp_pki_leaf_options options = {.tcb = cases[i].tcb, .more = cases[i].more};
        int r = judge_leaf(VENICE, &options);
        ck_assert_msg(r == cases[i].result, "case %zu: %d, %s", i, r, why.text);
        if (r < 0)
            assert_why("that is not 0: that level is not known here");
    }
}
