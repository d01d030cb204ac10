/* SPDX-License-Identifier: MIT */
/*
 * TDREPORTs and TD quotes for tests, made and judged with OpenSSL. The maker plays the quoting
 * enclave: it copies the TDREPORT into a quote body by the enclave's rules and signs header and
 * body with an attestation key, whose hash is in a QE report that a PCK key signs; its chain (leaf,
 * intermediate, root) is in the quote. The judge walks back and believes nothing but the chain's
 * root.
 *
 * This is the second opinion on proto/tdx.c: it shares nothing with it, and writes its offsets out.
 * In place of the MAC that only a CPU can make, a made TDREPORT has the SHA-256 of what it would
 * cover.
 */
#include "tdx_quote.h"
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define AUTH_SIZE      32u
#define QE_REPORT_SIZE 384u

static uint32_t le(const uint8_t *p, unsigned n)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static uint8_t *put_le(uint8_t *p, uint32_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* --- TDREPORT -------------------------------------------------------------------------------- */

/* splitmix64: well mixed bytes that follow from (seed, label). */
static void fill(uint64_t seed, uint64_t label, uint8_t *out, size_t size)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + label;

    for (size_t i = 0; i < size; i++) {
        uint64_t z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        out[i] = (uint8_t)(z >> 32);
    }
}

void tdx_make_tdreport(uint64_t seed, const uint8_t *report_data, uint8_t out[TDX_TDREPORT_SIZE])
{
    static const uint8_t svn[3] = {2, 1, 6};

    memset(out, 0, TDX_TDREPORT_SIZE);
    out[0] = 0x81;
    fill(0, 1, out + 16, 16); /* CPUSVN: the host's */
    if (report_data)
        memcpy(out + 128, report_data, 64);
    else
        fill(seed, 2, out + 128, 64);
    out[256] = 0xff; /* VALID 0x301ff: TDX 1.5 */
    out[257] = 0x01;
    out[258] = 0x03;
    memcpy(out + 264, svn, sizeof(svn)); /* TEE_TCB_SVN */
    fill(0, 3, out + 280, 48);           /* MRSEAM: the host's */
    memcpy(out + 384, svn, sizeof(svn)); /* TEE_TCB_SVN2 */
    out[512 + 3] = 0x10;                 /* ATTRIBUTES: SEPT_VE_DISABLE */
    out[520] = 0xe7;                     /* XFAM */
    out[521] = 0x18;
    out[522] = 0x06;
    fill(seed, 4, out + 528, 48);             /* MRTD */
    fill(seed, 5, out + 576, 3 * (size_t)48); /* MRCONFIGID, MROWNER, MROWNERCONFIG */
    fill(seed, 6, out + 720, 4 * (size_t)48); /* RTMR0 to RTMR3 */
    tdx_seal_tdreport(out);
}

void tdx_seal_tdreport(uint8_t tdreport[TDX_TDREPORT_SIZE])
{
    SHA384(tdreport + 256, 239, tdreport + 32);
    SHA384(tdreport + 512, 512, tdreport + 80);
    SHA256(tdreport, 224, tdreport + 224);
}

bool tdx_tdreport_good(const uint8_t tdreport[TDX_TDREPORT_SIZE], bool check_mac)
{
    uint8_t sealed[TDX_TDREPORT_SIZE];

    memcpy(sealed, tdreport, sizeof(sealed));
    tdx_seal_tdreport(sealed);
    return tdreport[0] == 0x81 && memcmp(sealed + 32, tdreport + 32, 96) == 0 &&
           (!check_mac || memcmp(sealed + 224, tdreport + 224, 32) == 0);
}

/* --- ECDSA P-256 ----------------------------------------------------------------------------- */

/* r and s, 32 bytes each, big-endian. */
static int sign_raw(EVP_PKEY *key, const uint8_t *data, size_t size, uint8_t out[64])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[80];
    size_t der_size = sizeof(der);
    int e = -EIO;

    if (ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(ctx, der, &der_size, data, size) == 1) {
        const uint8_t *p = der;
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der_size);
        if (sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 &&
            BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32)
            e = 0;
        ECDSA_SIG_free(sig);
    }
    EVP_MD_CTX_free(ctx);
    return e;
}

static bool verify_raw(EVP_PKEY *key, const uint8_t *data, size_t size, const uint8_t raw[64])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
    uint8_t *der = NULL;
    bool good = false;

    if (ctx && sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL;
        int der_size = i2d_ECDSA_SIG(sig, &der);
        good = der_size > 0 && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestVerify(ctx, der, (size_t)der_size, data, size) == 1;
    }
    OPENSSL_free(der);
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    return good;
}

static EVP_PKEY *key_of_point(const uint8_t xy[64])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    uint8_t point[65] = {4};
    char group[] = "prime256v1";

    memcpy(point + 1, xy, 64);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
        OSSL_PARAM_construct_end(),
    };
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* --- the signer ------------------------------------------------------------------------------ */

struct tdx_signer {
    EVP_PKEY *attest_key;
    uint8_t attest_point[64];
    uint8_t auth[AUTH_SIZE];
    uint8_t qe_report[QE_REPORT_SIZE];
    uint8_t qe_signature[64];
    char *chain; /* PEM: PCK certificate, intermediate, root */
    size_t chain_size;
};

/* Intel's SGX extension of a PCK certificate, cut down to PCE id and FMSPC. */
static int add_sgx_extension(X509 *cert)
{
    static const uint8_t der[] = {
        0x30, 0x28,                                                             /* SEQUENCE */
        0x30, 0x10,                                                             /* PCE id */
        0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x03, /* ….13.1.3 */
        0x04, 0x02, 0x00, 0x00,                                                 /* OCTET STRING */
        0x30, 0x14,                                                             /* FMSPC */
        0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x04, /* ….13.1.4 */
        0x04, 0x06, 0x00, 0x90, 0x6e, 0xd5, 0x00, 0x00,
    };
    ASN1_OBJECT *oid = OBJ_txt2obj("1.2.840.113741.1.13.1", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    int e = -EIO;

    if (oid && value && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1 &&
        (extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value)) != NULL &&
        X509_add_ext(cert, extension, -1) == 1)
        e = 0;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return e;
}

/* A certificate for `key`, signed by `issuer_key`, appended to `pem`. */
static int add_certificate(BIO *pem, const char *name, EVP_PKEY *key, const char *issuer,
                           EVP_PKEY *issuer_key, bool leaf)
{
    static const char *const ca[2] = {"critical,CA:TRUE", "critical,CA:FALSE"};
    X509 *cert = X509_new();
    X509_NAME *subject_name = X509_NAME_new(), *issuer_name = X509_NAME_new();
    X509_EXTENSION *basic = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, ca[leaf]);
    int e = -EIO;

    if (cert && subject_name && issuer_name && basic &&
        X509_NAME_add_entry_by_txt(subject_name, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1,
                                   0) == 1 &&
        X509_NAME_add_entry_by_txt(issuer_name, "CN", MBSTRING_ASC, (const uint8_t *)issuer, -1, -1,
                                   0) == 1 &&
        X509_set_version(cert, 2) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(cert), leaf ? 3 : 2) == 1 &&
        X509_set_subject_name(cert, subject_name) == 1 &&
        X509_set_issuer_name(cert, issuer_name) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -86400) != NULL &&
        X509_time_adj_ex(X509_getm_notAfter(cert), 3650, 0, NULL) != NULL &&
        X509_set_pubkey(cert, key) == 1 && X509_add_ext(cert, basic, -1) == 1 &&
        (!leaf || add_sgx_extension(cert) == 0) && X509_sign(cert, issuer_key, EVP_sha256()) > 0 &&
        PEM_write_bio_X509(pem, cert) == 1)
        e = 0;
    X509_EXTENSION_free(basic);
    X509_NAME_free(issuer_name);
    X509_NAME_free(subject_name);
    X509_free(cert);
    return e;
}

static int make_chain(struct tdx_signer *signer, EVP_PKEY *pck_key)
{
    static const char root_name[] = "Test SGX Root CA", ca_name[] = "Test SGX PCK Platform CA",
                      pck_name[] = "Test SGX PCK Certificate";
    EVP_PKEY *root_key = EVP_EC_gen("P-256"), *ca_key = EVP_EC_gen("P-256");
    BIO *pem = BIO_new(BIO_s_mem());
    char *text;
    int e = -EIO;

    if (root_key && ca_key && pem &&
        add_certificate(pem, pck_name, pck_key, ca_name, ca_key, true) == 0 &&
        add_certificate(pem, ca_name, ca_key, root_name, root_key, false) == 0 &&
        add_certificate(pem, root_name, root_key, root_name, root_key, false) == 0) {
        long size = BIO_get_mem_data(pem, &text);
        /* Intel's chain ends in a NUL, which counts. */
        signer->chain = size > 0 ? calloc(1, (size_t)size + 1) : NULL;
        if (signer->chain) {
            memcpy(signer->chain, text, (size_t)size);
            signer->chain_size = (size_t)size + 1;
            e = 0;
        }
    }
    BIO_free(pem);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(root_key);
    return e;
}

/* SHA-256(attestation key || authentication data): bytes 320 to 351 of the QE report. */
static void hash_attest_key(const uint8_t point[64], const uint8_t *auth, size_t auth_size,
                            uint8_t out[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    memset(out, 0, 32);
    if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(ctx, point, 64) == 1 && EVP_DigestUpdate(ctx, auth, auth_size) == 1)
        EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
}

static int make_signer(struct tdx_signer *signer, EVP_PKEY *pck_key)
{
    uint8_t point[65];
    size_t point_size = 0;

    signer->attest_key = EVP_EC_gen("P-256");
    if (!signer->attest_key || !pck_key ||
        EVP_PKEY_get_octet_string_param(signer->attest_key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                        sizeof(point), &point_size) != 1 ||
        point_size != sizeof(point))
        return -EIO;
    memcpy(signer->attest_point, point + 1, 64);
    for (size_t i = 0; i < AUTH_SIZE; i++)
        signer->auth[i] = (uint8_t)i;
    fill(7, 1, signer->qe_report, 16);       /* CPUSVN */
    signer->qe_report[48] = 0x15;            /* ATTRIBUTES */
    fill(7, 2, signer->qe_report + 64, 32);  /* MRENCLAVE */
    fill(7, 3, signer->qe_report + 128, 32); /* MRSIGNER */
    signer->qe_report[256] = 2;              /* ISVPRODID */
    signer->qe_report[258] = 5;              /* ISVSVN */
    hash_attest_key(signer->attest_point, signer->auth, AUTH_SIZE, signer->qe_report + 320);
    if (sign_raw(pck_key, signer->qe_report, QE_REPORT_SIZE, signer->qe_signature) < 0)
        return -EIO;
    return make_chain(signer, pck_key);
}

struct tdx_signer *tdx_signer_new(void)
{
    struct tdx_signer *signer = calloc(1, sizeof(*signer));
    EVP_PKEY *pck_key = EVP_EC_gen("P-256");

    if (signer && make_signer(signer, pck_key) < 0) {
        tdx_signer_free(signer);
        signer = NULL;
    }
    EVP_PKEY_free(pck_key);
    return signer;
}

void tdx_signer_free(struct tdx_signer *signer)
{
    if (!signer)
        return;
    EVP_PKEY_free(signer->attest_key);
    free(signer->chain);
    free(signer);
}

/* --- making a quote -------------------------------------------------------------------------- */

static uint8_t *put_body(uint8_t *p, const uint8_t *report, bool type3)
{
    static const uint8_t zeros[56];

    p = put(p, report + 264, 16 + 48); /* TEE_TCB_SVN, MRSEAM */
    p = put(p, zeros, 56);             /* MRSIGNERSEAM, the module's ATTRIBUTES: not copied */
    p = put(p, report + 512, 400);     /* ATTRIBUTES to RTMR3 */
    p = put(p, report + 128, 64);      /* REPORTDATA */
    if (!type3)
        return p;
    bool svn2 = (report[258] & 3) != 0;
    p = put(p, report + (svn2 ? 384 : 264), 16);
    return put(p, report[2] != 0 ? report + 912 : zeros, 48); /* SERVTD_HASH */
}

int tdx_make_quote(const struct tdx_signer *signer, const uint8_t tdreport[TDX_TDREPORT_SIZE],
                   unsigned version, uint8_t *out, size_t cap, size_t *ret_size)
{
    static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                       0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    size_t inner = QE_REPORT_SIZE + 64 + 2 + AUTH_SIZE + 2 + 4 + signer->chain_size;
    size_t sig_size = 64 + 64 + 2 + 4 + inner;
    uint8_t *p = out;

    if (version != 4 && version != 5)
        return -EINVAL;
    if (cap < 54 + 648 + 4 + sig_size)
        return -EMSGSIZE;
    p = put_le(p, version, 2);
    p = put_le(p, 2, 2);
    p = put_le(p, 0x81, 4);
    p = put_le(p, 0, 4);
    p = put(p, vendor, sizeof(vendor));
    fill(7, 4, p, 16); /* QE id */
    p = put_le(p + 16, 0, 4);
    if (version == 5) {
        p = put_le(p, 3, 2);
        p = put_le(p, 648, 4);
    }
    p = put_body(p, tdreport, version == 5);

    uint8_t signature[64];
    if (sign_raw(signer->attest_key, out, (size_t)(p - out), signature) < 0)
        return -EIO;
    p = put_le(p, (uint32_t)sig_size, 4);
    p = put(p, signature, 64);
    p = put(p, signer->attest_point, 64);
    p = put_le(p, 6, 2);
    p = put_le(p, (uint32_t)inner, 4);
    p = put(p, signer->qe_report, QE_REPORT_SIZE);
    p = put(p, signer->qe_signature, 64);
    p = put_le(p, AUTH_SIZE, 2);
    p = put(p, signer->auth, AUTH_SIZE);
    p = put_le(p, 5, 2);
    p = put_le(p, (uint32_t)signer->chain_size, 4);
    p = put(p, signer->chain, signer->chain_size);
    *ret_size = (size_t)(p - out);
    return 0;
}

/* --- judging a quote ------------------------------------------------------------------------- */

struct parts {
    unsigned version;
    const uint8_t *body;
    size_t body_size;
    size_t signed_size;
    const uint8_t *sig;
    size_t sig_size;
};

static bool take_apart(const uint8_t *quote, size_t size, struct parts *ret)
{
    size_t head = 48;

    if (size < 54)
        return false;
    ret->version = le(quote, 2);
    ret->body_size = 584;
    if (ret->version == 5) {
        uint32_t type = le(quote + 48, 2);
        head = 54;
        ret->body_size = le(quote + 50, 4);
        if (!((type == 2 && ret->body_size == 584) || (type == 3 && ret->body_size == 648) ||
              (type == 4 && ret->body_size == 885)))
            return false;
    } else if (ret->version != 4) {
        return false;
    }
    ret->signed_size = head + ret->body_size;
    if (le(quote + 4, 4) != 0x81 || size < ret->signed_size + 4)
        return false;
    ret->body = quote + head;
    ret->sig = quote + ret->signed_size + 4;
    ret->sig_size = le(quote + ret->signed_size, 4);
    return ret->sig_size > 0 && ret->sig_size <= size - ret->signed_size - 4;
}

size_t tdx_quote_true_size(const uint8_t *quote, size_t size)
{
    struct parts parts;

    return take_apart(quote, size, &parts) ? parts.signed_size + 4 + parts.sig_size : 0;
}

static const char *judge_binding(const struct parts *q, const uint8_t *report)
{
    static const uint8_t zeros[48];
    const uint8_t *body = q->body;
    bool svn2 = (report[258] & 3) != 0;

    if (memcmp(body + 520, report + 128, 64) != 0)
        return "REPORTDATA is not the TDREPORT's";
    if (memcmp(body + 120, report + 512, 400) != 0)
        return "measurements are not the TDREPORT's";
    if (memcmp(body + 16, report + 280, 48) != 0)
        return "MRSEAM is not the TDREPORT's";
    if (memcmp(body, report + 264, 16) != 0 &&
        (q->version != 5 || svn2 || memcmp(body, report + 384, 16) != 0))
        return "TEE_TCB_SVN is not the TDREPORT's";
    if (q->body_size < 648)
        return NULL;
    if (svn2 && memcmp(body + 584, report + 384, 16) != 0)
        return "TEE_TCB_SVN2 is not the TDREPORT's";
    if (memcmp(body + 600, report[2] != 0 ? report + 912 : zeros, 48) != 0)
        return "MRSERVICETD is not the TDREPORT's";
    return NULL;
}

#define CHAIN_MAX 8

/* The leaf's key (the caller's) if each certificate is signed by the next, the last by itself. */
static EVP_PKEY *judge_chain(const uint8_t *pem, size_t size)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    X509 *certs[CHAIN_MAX] = {NULL};
    EVP_PKEY *leaf_key = NULL;
    int n = 0;

    while (bio && n < CHAIN_MAX && (certs[n] = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        n++;
    bool good = n >= 2;
    for (int i = 0; good && i < n; i++) {
        X509 *issuer = certs[i + 1 < n ? i + 1 : i];
        good = X509_NAME_cmp(X509_get_issuer_name(certs[i]), X509_get_subject_name(issuer)) == 0 &&
               X509_verify(certs[i], X509_get0_pubkey(issuer)) == 1;
    }
    if (good)
        leaf_key = X509_get_pubkey(certs[0]);
    for (int i = 0; i < n; i++)
        X509_free(certs[i]);
    BIO_free(bio);
    return leaf_key;
}

static const char *judge_signatures(const uint8_t *quote, const struct parts *q)
{
    const uint8_t *sig = q->sig, *qe_report = sig + 134;
    uint8_t hash[32];

    if (le(quote + 2, 2) != 2)
        return "not an ECDSA P-256 quote";
    if (q->sig_size < 590 || le(sig + 128, 2) != 6 || le(sig + 130, 4) != q->sig_size - 134)
        return "no QE report in the signature data";
    size_t auth_size = le(sig + 582, 2);
    if (q->sig_size < 590 + auth_size || le(sig + 584 + auth_size, 2) != 5 ||
        le(sig + 586 + auth_size, 4) != q->sig_size - 590 - auth_size)
        return "no certificate chain in the signature data";

    EVP_PKEY *attest_key = key_of_point(sig + 64);
    EVP_PKEY *pck_key = judge_chain(sig + 590 + auth_size, q->sig_size - 590 - auth_size);
    const char *why = NULL;
    hash_attest_key(sig + 64, sig + 584, auth_size, hash);
    if (!attest_key)
        why = "the attestation key is not a point of P-256";
    else if (!verify_raw(attest_key, quote, q->signed_size, sig))
        why = "wrong signature over header and body";
    else if (memcmp(hash, qe_report + 320, 32) != 0)
        why = "the QE report does not name the attestation key";
    else if (!pck_key)
        why = "the certificate chain does not hold";
    else if (!verify_raw(pck_key, qe_report, QE_REPORT_SIZE, sig + 518))
        why = "wrong signature of the QE report";
    EVP_PKEY_free(pck_key);
    EVP_PKEY_free(attest_key);
    return why;
}

int tdx_verify_quote(const uint8_t *quote, size_t size, const uint8_t *tdreport, const char **why)
{
    struct parts parts;
    const char *reason = NULL;

    if (!take_apart(quote, size, &parts))
        reason = "not a whole TD quote of version 4 or 5";
    if (!reason && tdreport)
        reason = judge_binding(&parts, tdreport);
    if (!reason)
        reason = judge_signatures(quote, &parts);
    if (!reason)
        return 0;
    if (why)
        *why = reason;
    return -EBADMSG;
}
