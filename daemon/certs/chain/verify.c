/* SPDX-License-Identifier: MIT */
/*
 * May a chain be served? Everything that AMD's chains have in common is demanded, in an order that
 * makes the sentence useful: first that the certificates belong together by name, then that the
 * root is trusted, then keys and algorithms, then the signatures from the root down, and the dates
 * last, so that -ESTALE means that nothing but a date is wrong.
 *
 * Trust is a pin: the SHA-256 of the root's DER. X509_verify_cert is not used, because the rules
 * are narrower than X.509's and names carry meaning: three certificates; RSASSA-PSS with SHA-384,
 * MGF1 with SHA-384 and a salt of 48 bytes; RSA of 4096 bits with the exponent 65537 above, P-384
 * below; issuer and subject equal byte for byte; one product and one signer family throughout.
 * AMD's leaves have no key identifiers, so names are all there is to match. Revocation is asked in
 * crl.c.
 */
#include "certs/chain/parts.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define RSA_BITS     4096
#define RSA_EXPONENT 65537u
#define PSS_SALT     48
#define LEAF_CURVE   "secp384r1"

void chain_roots_init(struct chain_roots *roots)
{
    *roots = (struct chain_roots){.n = 0};
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++) {
        struct chain_root *root = &roots->roots[roots->n++];
        const struct coco_snp_facts *facts = coco_snp_product_facts(p);
        chain_hex(root->sha256, facts->ark_sha256, sizeof(facts->ark_sha256));
        (void)snprintf(root->name, sizeof(root->name), COCO_SNP_CN_ARK "%s", facts->name);
    }
}

static bool root_trusted(const struct chain_roots *roots, const struct chain_cert *root)
{
    for (size_t i = 0; i < roots->n; i++)
        if (strcmp(roots->roots[i].sha256, root->sha256) == 0)
            return true;
    return false;
}

struct adding {
    struct chain_roots *roots;
    struct why *why;
};

static int take_root(void *userdata, const uint8_t *der, size_t size, const char *source)
{
    struct adding *a = userdata;
    struct chain_roots *roots = a->roots;
    struct chain_cert cert;
    int r = chain_cert_parse(der, size, source, &cert, NULL, a->why);

    if (r < 0)
        return r;
    if (cert.role != CHAIN_ARK) {
        r = why_set(a->why, -EBADMSG, "%s (%s) is no root: only an ARK can be trusted as one",
                    source, cert.subject_cn);
    } else if (!root_trusted(roots, &cert) && roots->n == CHAIN_ROOTS_MAX) {
        r = why_set(a->why, -ENOSPC, "%s is one root too many: at most %u are kept", source,
                    CHAIN_ROOTS_MAX);
    } else if (!root_trusted(roots, &cert)) {
        struct chain_root *root = &roots->roots[roots->n++];
        memcpy(root->sha256, cert.sha256, sizeof(root->sha256));
        memcpy(root->name, cert.subject_cn, sizeof(root->name));
    }
    chain_cert_done(&cert);
    return r;
}

int chain_roots_add(struct chain_roots *roots, const struct chain_input *input, struct why *why)
{
    struct chain_roots grown = *roots;
    struct adding a = {.roots = &grown, .why = why};
    const struct chain_taker taker = {.take = take_root, .userdata = &a};
    int r = chain_split(input, &taker, why);

    if (r == 0)
        *roots = grown;
    return r;
}

/* --- one chain under examination --- */

struct examination {
    const struct chain *chain;
    const struct chain_roots *roots;
    enum chain_role last; /* certificates below it are not looked at */
    X509 *x[CHAIN_ROLES];
    struct why *why;
};

static int refuse(const struct examination *e, const struct chain_cert *cert, const char *what)
{
    return why_set(e->why, -EBADMSG, "the %s (%s) %s", chain_cert_name(cert), cert->source, what);
}

bool chain_same_name(const X509_NAME *a, const X509_NAME *b)
{
    const unsigned char *pa = NULL, *pb = NULL;
    size_t na = 0, nb = 0;

    return X509_NAME_get0_der(a, &pa, &na) == 1 && X509_NAME_get0_der(b, &pb, &nb) == 1 &&
           na == nb && memcmp(pa, pb, na) == 0;
}

/* Who must have issued a certificate of this role. */
static enum chain_role issuer_role(enum chain_role role)
{
    return role == CHAIN_LEAF ? CHAIN_ASK : CHAIN_ARK;
}

static int check_names(const struct examination *e)
{
    const struct chain *c = e->chain;
    const struct chain_cert *last = &c->certs[e->last], *root = &c->certs[CHAIN_ARK];
    const char *product = coco_snp_product_name(c->key.product);
    char expected[64];

    for (enum chain_role role = CHAIN_ARK; role <= e->last; role++) {
        const struct chain_cert *cert = &c->certs[role];
        const struct chain_cert *issuer = &c->certs[issuer_role(role)];
        if (chain_same_name(X509_get_issuer_name(e->x[role]),
                            X509_get_subject_name(e->x[issuer_role(role)])))
            continue;
        if (strcmp(cert->issuer_cn, issuer->subject_cn) == 0)
            return why_set(e->why, -EBADMSG,
                           "the %s (%s) names its issuer %s in other words than %s does "
                           "itself: they do not belong together",
                           chain_cert_name(cert), cert->source, cert->issuer_cn, issuer->source);
        return why_set(e->why, -EBADMSG,
                       "the %s (%s) was issued by %s, but %s is %s: give that one's",
                       chain_cert_name(cert), cert->source, cert->issuer_cn, issuer->source,
                       issuer->subject_cn);
    }
    (void)snprintf(expected, sizeof(expected), COCO_SNP_CN_ARK "%s", product);
    if (strcmp(root->subject_cn, expected) != 0)
        return why_set(e->why, -EBADMSG, "the root (%s) is %s, but the %s (%s) is for %s",
                       root->source, root->subject_cn, chain_cert_name(last), last->source,
                       product);
    return 0;
}

static int check_root(const struct examination *e)
{
    const struct chain_cert *ark = &e->chain->certs[CHAIN_ARK];

    if (root_trusted(e->roots, ark))
        return 0;
    return why_set(e->why, -EBADMSG,
                   "the root %s (%s, SHA-256 %s) is not trusted: it is none of AMD's, nor of "
                   "those named in [certs] root",
                   ark->subject_cn, ark->source, ark->sha256);
}

/* --- algorithms --- */

static bool algorithm_is(const X509_ALGOR *algorithm, int nid)
{
    const ASN1_OBJECT *object = NULL;

    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    return OBJ_obj2nid(object) == nid;
}

/* The SEQUENCE of parameters of an algorithm that is this one; else NULL. */
static const ASN1_STRING *parameters_of(const X509_ALGOR *algorithm, int nid)
{
    const ASN1_OBJECT *object = NULL;
    const void *value = NULL;
    int type = V_ASN1_UNDEF;

    X509_ALGOR_get0(&object, &type, &value, algorithm);
    return OBJ_obj2nid(object) == nid && type == V_ASN1_SEQUENCE ? value : NULL;
}

/* MGF1, itself with SHA-384. */
static bool mask_is_mgf1_sha384(const X509_ALGOR *mask)
{
    const ASN1_STRING *s = parameters_of(mask, NID_mgf1);

    if (!s)
        return false;
    const unsigned char *p = ASN1_STRING_get0_data(s);
    X509_ALGOR *hash = d2i_X509_ALGOR(NULL, &p, ASN1_STRING_length(s));
    bool good = hash && algorithm_is(hash, NID_sha384);
    X509_ALGOR_free(hash);
    return good;
}

/* RFC 4055 section 3.1: each parameter that is left out has a default, and none of the defaults is
 * AMD's. */
bool chain_algorithm_is_amds(const X509_ALGOR *algorithm)
{
    const ASN1_STRING *s = parameters_of(algorithm, NID_rsassaPss);

    if (!s)
        return false;
    const unsigned char *p = ASN1_STRING_get0_data(s);
    RSA_PSS_PARAMS *pss = d2i_RSA_PSS_PARAMS(NULL, &p, ASN1_STRING_length(s));
    bool good = pss && pss->hashAlgorithm && algorithm_is(pss->hashAlgorithm, NID_sha384) &&
                pss->maskGenAlgorithm && mask_is_mgf1_sha384(pss->maskGenAlgorithm) &&
                pss->saltLength && ASN1_INTEGER_get(pss->saltLength) == PSS_SALT &&
                (!pss->trailerField || ASN1_INTEGER_get(pss->trailerField) == 1);
    RSA_PSS_PARAMS_free(pss);
    return good;
}

static bool signed_as_amd_does(const X509 *x)
{
    const X509_ALGOR *algorithm = NULL;

    X509_get0_signature(NULL, &algorithm, x);
    return chain_algorithm_is_amds(algorithm);
}

static bool key_is_rsa_4096(const X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    BIGNUM *exponent = NULL;

    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) != RSA_BITS)
        return false;
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                BN_is_word(exponent, RSA_EXPONENT);
    BN_free(exponent);
    return good;
}

static bool key_is_p384(const X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char curve[32];
    size_t n = 0;

    return key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, curve, sizeof(curve), &n) == 1 &&
           strcmp(curve, LEAF_CURVE) == 0;
}

static int check_form(const struct examination *e, enum chain_role role)
{
    const struct chain_cert *cert = &e->chain->certs[role];
    X509 *x = e->x[role];
    uint32_t flags = X509_get_extension_flags(x);

    if (!signed_as_amd_does(x))
        return refuse(
            e, cert,
            "is not signed by RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 "
            "bytes");
    if ((flags & EXFLAG_INVALID) != 0)
        return refuse(e, cert, "has malformed extensions");
    if ((flags & EXFLAG_CRITICAL) != 0)
        return refuse(e, cert, "has a critical extension that is not known");
    if (role == CHAIN_LEAF)
        return key_is_p384(x) ? 0 : refuse(e, cert, "does not hold a P-384 key");
    if (!key_is_rsa_4096(x))
        return refuse(e, cert, "does not hold an RSA key of 4096 bits with the exponent 65537");
    /* Looks at the key usage, too. */
    if (X509_check_ca(x) != 1)
        return refuse(e, cert, "may not sign certificates, by its own extensions");
    return 0;
}

static int check_signature(const struct examination *e, enum chain_role role)
{
    enum chain_role by = issuer_role(role);
    const struct chain_cert *cert = &e->chain->certs[role], *issuer = &e->chain->certs[by];

    if (X509_verify(e->x[role], X509_get0_pubkey(e->x[by])) == 1)
        return 0;
    return why_set(e->why, -EBADMSG,
                   "the signature of the %s (%s) does not verify with the key of %s (%s): the "
                   "file was altered or damaged, or the two do not belong together",
                   chain_cert_name(cert), cert->source, issuer->subject_cn, issuer->source);
}

static int check_dates(const struct examination *e, int64_t now_s)
{
    char when[CHAIN_TIME_SIZE];

    for (enum chain_role role = CHAIN_ARK; role <= e->last; role++) {
        const struct chain_cert *cert = &e->chain->certs[role];
        if (now_s >= cert->not_before_s && now_s <= cert->not_after_s)
            continue;
        bool early = now_s < cert->not_before_s;
        chain_time_text(early ? cert->not_before_s : cert->not_after_s, when);
        return why_set(e->why, -ESTALE,
                       early ? "the %s (%s) is valid from %s on: check the clock of this host"
                             : "the %s (%s) expired at %s: fetch a new one",
                       chain_cert_name(cert), cert->source, when);
    }
    return 0;
}

static int examine(const struct examination *e, int64_t now_s)
{
    int r = check_names(e);

    if (r == 0)
        r = check_root(e);
    for (enum chain_role role = CHAIN_ARK; r == 0 && role <= e->last; role++)
        r = check_form(e, role);
    for (enum chain_role role = CHAIN_ARK; r == 0 && role <= e->last; role++)
        r = check_signature(e, role);
    return r == 0 && now_s != CHAIN_NO_CLOCK ? check_dates(e, now_s) : r;
}

int chain_verify_down_to(const struct chain *c, enum chain_role last,
                         const struct chain_roots *roots, int64_t now_s, struct why *why)
{
    struct examination e = {.chain = c, .roots = roots, .last = last, .why = why};
    int r = 0;

    chain_mark_memory();
    for (enum chain_role role = CHAIN_ARK; role <= last && r == 0; role++) {
        e.x[role] = chain_cert_x509(&c->certs[role]);
        if (!e.x[role])
            r = -ENOMEM;
    }
    if (r == 0)
        r = examine(&e, now_s);
    for (int role = 0; role < CHAIN_ROLES; role++)
        X509_free(e.x[role]);
    return chain_verdict(r);
}

int chain_verify(const struct chain *c, const struct chain_roots *roots, int64_t now_s,
                 struct why *why)
{
    return chain_verify_down_to(c, CHAIN_LEAF, roots, now_s, why);
}
