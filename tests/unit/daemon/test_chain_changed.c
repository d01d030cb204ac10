/* SPDX-License-Identifier: MIT */
/*
 * What chain_verify refuses. Each certificate is made of one of the test PKI's by changing one
 * thing and signing again, so that it has exactly one reason to be refused.
 */
#include "unit/daemon/chain_fixture.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

FIXTURE(.setup_once = make_pkis, .teardown_once = free_pkis, .timeout_s = 120);

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

typedef void (*change)(X509 *x);

static struct signing as_amd(void)
{
    return (struct signing){EVP_sha384(), EVP_sha384(), 48};
}

/* A VCEK of Milan, changed and signed again by the ASK. */
static int judge_changed_leaf(change f, struct signing how)
{
    struct snp_pki_leaf_options options = {.tcb = {1, 2, 3, 4, 0}};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    X509 *x = decode(leaf.der, leaf.der_size);
    EVP_PKEY *key = ca_key("ask");
    size_t size = 0;

    if (f)
        f(x);
    sign(x, key, how);
    uint8_t *der = encode(x, &size);
    int r = judge(MILAN, false, der, size);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(x);
    snp_pki_leaf_done(&leaf);
    return r;
}

/* The ASK of Milan, changed and signed again by the ARK, over a good VCEK. */
static int judge_changed_ask(change f)
{
    struct snp_pki_leaf_options options = {.vlek = false};
    struct snp_pki_leaf leaf = make_leaf(MILAN, &options);
    struct chain_input ask = ca_input(MILAN, SNP_PKI_ASK, "");
    X509 *x = decode(ask.data, ask.size);
    EVP_PKEY *key = ca_key("ark");
    struct chain_roots roots = roots_of(MILAN);
    struct chain *c = NULL;
    size_t size = 0;

    if (f)
        f(x);
    sign(x, key, as_amd());
    uint8_t *der = encode(x, &size);
    struct chain_input in[] = {ca_input(MILAN, SNP_PKI_ARK, "ark"), input_of("ask.der", der, size),
                               leaf_input(&leaf, "leaf")};
    memset(&why, 0, sizeof(why));
    int r = chain_parse(in, 3, &c, &why);
    if (r == 0)
        r = chain_verify(c, &roots, (int64_t)time(NULL), &why);
    chain_free(c);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_free(x);
    snp_pki_leaf_done(&leaf);
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

static void unknown_amd_extension(X509 *x)
{
    add_extension(x, AMD "3.77", false, "\x02\x01\x00", 3);
}

static void unknown_critical_extension(X509 *x)
{
    add_extension(x, "1.2.3.4", true, "\x02\x01\x00", 3);
}

static void second_bl_spl(X509 *x)
{
    add_extension(x, AMD "3.1", false, "\x02\x01\x00", 3);
}

static void foreign_product(X509 *x)
{
    replace_extension(x, AMD "2", "\x16\x05Genoa", 7);
}

static void longer_product(X509 *x)
{
    replace_extension(x, AMD "2", "\x16\x06Milano", 8);
}

static void stepping(X509 *x)
{
    replace_extension(x, AMD "2", "\x16\x08Milan-B1", 10);
}

static void level_255(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02\x02\x00\xFF", 4);
}

static void level_not_shortest(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02\x02\x00\x7F", 4);
}

static void level_negative(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02\x01\xFF", 3);
}

static void level_256(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02\x02\x01\x00", 4);
}

static void level_trailing(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02\x01\x01\x00", 4);
}

static void level_cut(X509 *x)
{
    replace_extension(x, AMD "3.8", "\x02", 1);
}

static void fmc_on_milan(X509 *x)
{
    add_extension(x, AMD "3.9", false, "\x02\x01\x07", 3);
}

static void fmc_0_on_milan(X509 *x)
{
    add_extension(x, AMD "3.9", false, "\x02\x01\x00", 3);
}

static void csp_id_on_vcek(X509 *x)
{
    add_extension(x, AMD "5", false, "\x16\x01x", 3);
}

static void short_hwid(X509 *x)
{
    replace_extension(x, AMD "4", "12345678", 8);
}

static void control_character(X509 *x)
{
    replace_extension(x, AMD "2", "\x16\x05Mil\nn", 7);
}

static void other_issuer_words(X509 *x)
{
    X509_NAME *name = X509_NAME_dup(X509_get_issuer_name(x));

    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
                                                (const unsigned char *)"Somebody", -1, -1, 0),
                     1);
    ck_assert_int_eq(X509_set_issuer_name(x, name), 1);
    X509_NAME_free(name);
}

static void set_cn(X509 *x, bool issuer, const char *cn)
{
    X509_NAME *name = X509_NAME_dup(issuer ? X509_get_issuer_name(x) : X509_get_subject_name(x));

    X509_NAME_ENTRY_free(
        X509_NAME_delete_entry(name, X509_NAME_get_index_by_NID(name, NID_commonName, -1)));
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)cn, -1, -1, 0),
                     1);
    ck_assert_int_eq(issuer ? X509_set_issuer_name(x, name) : X509_set_subject_name(x, name), 1);
    X509_NAME_free(name);
}

static void unknown_product(X509 *x)
{
    set_cn(x, true, "SEV-Verona");
}

static void web_server(X509 *x)
{
    set_cn(x, false, "www.example.org");
}

static void two_names(X509 *x)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)"SEV-VLEK", -1, -1, 0),
                     1);
    ck_assert_int_eq(X509_set_subject_name(x, name), 1);
    X509_NAME_free(name);
}

TEST(changed_leaves_are_judged_by_what_changed)
{
    static const struct {
        change f;
        int result;
        const char *why;
    } cases[] = {
        {unknown_amd_extension, 0, ""},
        {stepping, 0, ""},
        {level_255, 0, ""},
        {unknown_critical_extension, -EBADMSG, "critical extension that is not known"},
        {second_bl_spl, -EBADMSG, "has the extension blSPL twice"},
        {foreign_product, -EBADMSG,
         "was issued under SEV-Milan, but says that it is for \"Genoa\""},
        {longer_product, -EBADMSG, "says that it is for \"Milano\""},
        {control_character, -EBADMSG, "malformed extension productName"},
        {level_not_shortest, -EBADMSG, "malformed extension ucodeSPL"},
        {level_negative, -EBADMSG, "malformed extension ucodeSPL"},
        {level_256, -EBADMSG, "malformed extension ucodeSPL"},
        {level_trailing, -EBADMSG, "malformed extension ucodeSPL"},
        {level_cut, -EBADMSG, "malformed extension ucodeSPL"},
        {fmc_0_on_milan, 0, ""},
        {fmc_on_milan, -EBADMSG, "extension fmcSPL, or one that is not 0: that level is not known"},
        {csp_id_on_vcek, -EBADMSG, "has the extension CSP_ID that no VCEK of Milan has"},
        {short_hwid, -EBADMSG, "malformed extension hwID"},
        {other_issuer_words, -EBADMSG, "in other words"},
        {unknown_product, -EBADMSG,
         "is for the product \"Verona\", which this cocod does not know (it knows Milan, Genoa, "
         "Turin or Venice)"},
        {web_server, -EBADMSG, "is no certificate of AMD SEV-SNP"},
        {two_names, -EBADMSG, "no single, printable common name"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = judge_changed_leaf(cases[i].f, as_amd());
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
    snp_pki_leaf_done(&leaf);
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
    set_cn(x, true, "ARK-Genoa");
}

TEST(changed_intermediates_are_judged_by_what_changed)
{
    static const struct {
        change f;
        int result;
        const char *why;
    } cases[] = {
        {NULL, 0, ""},
        {no_key_usage, 0, ""},
        {smaller_key, -EBADMSG, "the ASK (ask.der) does not hold an RSA key of 4096 bits"},
        {exponent_3, -EBADMSG,
         "the ASK (ask.der) does not hold an RSA key of 4096 bits with the "
         "exponent 65537"},
        {elliptic_key, -EBADMSG, "the ASK (ask.der) does not hold an RSA key"},
        {no_authority, -EBADMSG, "the ASK (ask.der) may not sign certificates"},
        {usage_without_signing, -EBADMSG, "the ASK (ask.der) may not sign certificates"},
        {ended_yesterday, -ESTALE, "the ASK (ask.der) expired at"},
        {foreign_root, -EBADMSG, "was issued by ARK-Genoa, but ark is ARK-Milan"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = judge_changed_ask(cases[i].f);
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
    snp_pki_leaf_done(&leaf);
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
    snp_pki_leaf_done(&leaf);
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
        struct snp_pki_leaf leaf = make_leaf(VENICE, &options);
        int r = judge(VENICE, false, leaf.der, leaf.der_size);
        ck_assert_msg(r == cases[i].result, "case %zu: %d, %s", i, r, why.text);
        if (r < 0)
            assert_why("that is not 0: that level is not known here");
        snp_pki_leaf_done(&leaf);
    }
}
