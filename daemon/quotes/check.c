/* SPDX-License-Identifier: MIT */
/*
 * What can be known of a TDREPORT and a quote without Intel's enclave. PROTOCOL.md "TDREPORT",
 * "Quotes".
 *
 * A quote that is not about the TDREPORT of its request must never reach a guest: QGS can confuse
 * connections, and a guest that attests with another's quote is worse off than one with none.
 */
#include "quotes/check.h"
#include "tdx.h"
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdbool.h>
#include <string.h>

/* 0, -EBADMSG where the SHA-384 differs, -ENOMEM. It is looked up once, since that takes as long as
 * the hashing, and kept until the process ends. */
static int check_hash(const uint8_t *bytes, size_t size, const uint8_t hash[COCO_SHA384_SIZE])
{
    static EVP_MD *sha384;
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (!sha384)
        sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
    if (!sha384 || EVP_Digest(bytes, size, digest, NULL, sha384, NULL) != 1)
        return -ENOMEM;
    return memcmp(digest, hash, COCO_SHA384_SIZE) == 0 ? 0 : -EBADMSG;
}

int check_tdreport(const uint8_t tdreport[COCO_TDREPORT_SIZE], struct why *why)
{
    struct coco_tdreport decoded;
    const char *text = "";
    int r = coco_tdreport_decode(tdreport, &decoded, &text);

    if (r < 0)
        return why_set(why, r, "%s", text);
    r = check_hash(tdreport + COCO_TDREPORT_TCB_INFO_OFF, COCO_TDREPORT_TCB_INFO_SIZE,
                   tdreport + COCO_TDREPORT_TCB_INFO_HASH_OFF);
    if (r < 0)
        return why_set(why, r, "TEE_TCB_INFO_HASH does not match");
    r = check_hash(tdreport + COCO_TDREPORT_TDINFO_OFF, COCO_TDREPORT_TDINFO_SIZE,
                   tdreport + COCO_TDREPORT_TDINFO_HASH_OFF);
    return r < 0 ? why_set(why, r, "TEE_INFO_HASH does not match") : 0;
}

int check_quote(const uint8_t *quote, size_t size, const uint8_t tdreport[COCO_TDREPORT_SIZE],
                size_t *ret_size, struct why *why)
{
    struct coco_tdreport report;
    struct coco_quote decoded;
    const char *text = "";
    int r = coco_tdreport_decode(tdreport, &report, &text);

    if (r == 0)
        r = coco_quote_decode(quote, size, &decoded, &text);
    if (r == 0)
        r = coco_quote_check_binding(&decoded, &report, &text);
    if (r != 0)
        return why_set(why, r, "%s", text);
    *ret_size = decoded.size;
    return 0;
}

/* --- the signature ---------------------------------------------------------------------------- */

#define ATT_KEY_ECDSA_P256 2u
/* REPORTDATA in the QE's report, and the part of it that is the hash. */
#define QE_REPORT_DATA_OFF  320u
#define QE_REPORT_DATA_SIZE 64u
#define P256_NUMBER         32u

/* The point as SEC 1 writes it, uncompressed. NULL: out of memory, or not a point of the curve. */
static EVP_PKEY *make_key(const uint8_t point[2 * P256_NUMBER])
{
    uint8_t sec1[1 + 2 * P256_NUMBER] = {4};
    char group[] = "P-256";
    EVP_PKEY *key = NULL;

    memcpy(sec1 + 1, point, 2 * P256_NUMBER);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, sec1, sizeof(sec1)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* r and s, as DER wants them. NULL: out of memory. */
static unsigned char *make_der(const uint8_t signature[2 * P256_NUMBER], size_t *ret_size)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, P256_NUMBER, NULL);
    BIGNUM *s = BN_bin2bn(signature + P256_NUMBER, P256_NUMBER, NULL);
    unsigned char *der = NULL;

    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return NULL;
    }
    int n = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    *ret_size = n > 0 ? (size_t)n : 0;
    return der;
}

static int check_ecdsa(const uint8_t *bytes, size_t size, const struct coco_quote_ecdsa *ecdsa,
                       struct why *why)
{
    EVP_PKEY *key = make_key(ecdsa->attest_key);
    size_t der_size = 0;
    unsigned char *der = make_der(ecdsa->signature, &der_size);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int r;

    if (!der || !ctx)
        r = -ENOMEM;
    else if (!key)
        r = why_set(why, -EBADMSG, "the attestation key is not a point of P-256");
    else if (EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) != 1)
        r = -ENOMEM;
    else if (EVP_DigestVerify(ctx, der, der_size, bytes, size) != 1)
        r = why_set(why, -EBADMSG,
                    "the signature is not the attestation key's over header and body");
    else
        r = 0;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    return r;
}

static int check_qe_report(const struct coco_quote_ecdsa *ecdsa, struct why *why)
{
    uint8_t expected[QE_REPORT_DATA_SIZE] = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool done =
        ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(ctx, ecdsa->attest_key, sizeof(ecdsa->attest_key)) == 1 &&
        (ecdsa->auth_size == 0 || EVP_DigestUpdate(ctx, ecdsa->auth, ecdsa->auth_size) == 1) &&
        EVP_DigestFinal_ex(ctx, expected, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    if (!done)
        return -ENOMEM;
    if (memcmp(expected, ecdsa->qe_report + QE_REPORT_DATA_OFF, sizeof(expected)) == 0)
        return 0;
    return why_set(why, -EBADMSG, "the quoting enclave's report is not about the attestation key");
}

int check_signature(const uint8_t *quote, size_t size, struct why *why)
{
    struct coco_quote decoded;
    struct coco_quote_ecdsa ecdsa;
    const char *text = "";
    int r = coco_quote_decode(quote, size, &decoded, &text);

    if (r < 0)
        return why_set(why, r, "%s", text);
    if (decoded.att_key_type != ATT_KEY_ECDSA_P256)
        return 0;
    if (coco_quote_ecdsa_decode(decoded.sig, decoded.sig_size, &ecdsa) < 0)
        return why_set(why, -EBADMSG, "the signature data is malformed");
    r = check_qe_report(&ecdsa, why);
    return r < 0 ? r : check_ecdsa(quote, decoded.signed_size, &ecdsa, why);
}
