/* SPDX-License-Identifier: MIT */
/*
 * One certificate: its bytes, and what people and policy want to know of it. Nothing is verified
 * here.
 *
 * The bytes are what guests will get, so they are kept as they came, and must be exactly one
 * certificate in DER: verifiers such as Go's refuse trailing bytes. What OpenSSL encodes again from
 * what it decoded must be the same bytes, which excludes BER's other spellings.
 *
 * The role follows from the subject's common name, which AMD has kept through all products:
 * ARK-<product>, SEV-<product> (ASK), SEV-VLEK-<product> (ASVK), SEV-VCEK, SEV-VLEK. A leaf names
 * its product by its issuer.
 *
 * OpenSSL says of most failures only that it failed; its error queue often does not know of memory
 * that ran out, and sometimes speaks of it where a key is damaged. So cocod gives OpenSSL its
 * memory (chain_watch_memory), and knows. A CRL that could not be verified for want of memory must
 * not count as one that is not there.
 */
#include "base/sys.h"
#include "certs/chain/parts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define X509_VERSION_3 2

/* --- memory ----------------------------------------------------------------------------------- */

static _Thread_local bool starved;

static void *crypto_realloc(void *p, size_t size, const char *file, int line)
{
    void *memory = sys.crypto_realloc(p, size);

    (void)file;
    (void)line;
    if (!memory && size > 0)
        starved = true;
    return memory;
}

static void *crypto_malloc(size_t size, const char *file, int line)
{
    return crypto_realloc(NULL, size, file, line);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    sys.free(p);
}

void chain_watch_memory(void)
{
    (void)CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
}

void chain_mark_memory(void)
{
    starved = false;
}

int chain_verdict(int r)
{
    return r == -EBADMSG && starved ? -ENOMEM : r;
}

void *chain_copy(const void *bytes, size_t size)
{
    void *copy = sys.alloc(size);

    return copy ? memcpy(copy, bytes, size) : NULL;
}

/* --- small readers ---------------------------------------------------------------------------- */

void chain_hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

bool chain_get_cn(const X509_NAME *name, char out[64])
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return false;
    const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    int n = ASN1_STRING_length(s);
    const unsigned char *p = ASN1_STRING_get0_data(s);
    if (n < 1 || n > 63)
        return false;
    for (int i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] > 0x7E)
            return false;
    memcpy(out, p, (size_t)n);
    out[n] = '\0';
    return true;
}

bool chain_get_number(const ASN1_INTEGER *number, char out[48])
{
    int n = ASN1_STRING_length(number);

    if (n < 1 || n > 20 || ASN1_STRING_type(number) != V_ASN1_INTEGER)
        return false;
    chain_hex(out, ASN1_STRING_get0_data(number), (size_t)n);
    return true;
}

bool chain_get_time(const ASN1_TIME *t, int64_t *ret_s)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

void chain_time_text(int64_t seconds, char out[CHAIN_TIME_SIZE])
{
    struct tm tm;
    time_t t = (time_t)seconds;

    if (!gmtime_r(&t, &tm) || strftime(out, CHAIN_TIME_SIZE, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        (void)snprintf(out, CHAIN_TIME_SIZE, "%lld s", (long long)seconds);
}

bool chain_product_behind(const char *cn, const char *prefix, char product[16])
{
    size_t n = strlen(prefix);

    if (strncmp(cn, prefix, n) != 0 || cn[n] == '\0' || strlen(cn + n) > 15)
        return false;
    memcpy(product, cn + n, strlen(cn + n) + 1);
    return true;
}

/* What its names say that it is. */
static bool find_kind(struct chain_cert *cert)
{
    const char *subject = cert->subject_cn;
    bool vlek = strcmp(subject, COCO_SNP_CN_VLEK) == 0;

    cert->role = CHAIN_LEAF;
    cert->signer = vlek ? COCO_SNP_SIGNER_VLEK : COCO_SNP_SIGNER_VCEK;
    if (vlek || strcmp(subject, COCO_SNP_CN_VCEK) == 0)
        return chain_product_behind(cert->issuer_cn, vlek ? COCO_SNP_CN_ASVK : COCO_SNP_CN_ASK,
                                    cert->product);
    cert->role = CHAIN_ARK;
    if (chain_product_behind(subject, COCO_SNP_CN_ARK, cert->product))
        return true;
    cert->role = CHAIN_ASK;
    if (!chain_product_behind(subject, COCO_SNP_CN_ASVK, cert->product))
        return chain_product_behind(subject, COCO_SNP_CN_ASK, cert->product);
    cert->signer = COCO_SNP_SIGNER_VLEK;
    return true;
}

/* Exactly one certificate, in DER. */
static X509 *decode(const uint8_t *der, size_t size, size_t *ret_used, bool *ret_canonical)
{
    const unsigned char *p = der;
    unsigned char *again = NULL;
    X509 *x = d2i_X509(NULL, &p, (long)size);

    if (!x)
        return NULL;
    *ret_used = (size_t)(p - der);
    (void)i2d_re_X509_tbs(x, NULL); /* forgets the bytes that it was decoded from */
    int n = i2d_X509(x, &again);
    *ret_canonical = n > 0 && (size_t)n == *ret_used && memcmp(again, der, (size_t)n) == 0;
    OPENSSL_free(again);
    return x;
}

static int describe(X509 *x, const char *source, struct chain_cert *cert, struct why *why)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (X509_get_version(x) != X509_VERSION_3)
        return why_set(why, -EBADMSG, "%s is no X.509 version 3 certificate", source);
    if (!chain_get_cn(X509_get_subject_name(x), cert->subject_cn) ||
        !chain_get_cn(X509_get_issuer_name(x), cert->issuer_cn))
        return why_set(why, -EBADMSG,
                       "%s has no single, printable common name as subject and issuer", source);
    if (!find_kind(cert))
        return why_set(
            why, -EBADMSG,
            "%s (subject %s, issuer %s) is no certificate of AMD SEV-SNP: the subject must "
            "be ARK-…, SEV-…, SEV-VLEK-…, SEV-VCEK or SEV-VLEK",
            source, cert->subject_cn, cert->issuer_cn);
    if (!chain_get_number(X509_get0_serialNumber(x), cert->serial))
        return why_set(why, -EBADMSG, "%s (%s) has a serial number that is negative or too long",
                       source, cert->subject_cn);
    if (!chain_get_time(X509_get0_notBefore(x), &cert->not_before_s) ||
        !chain_get_time(X509_get0_notAfter(x), &cert->not_after_s))
        return why_set(why, -EBADMSG, "%s (%s) has malformed dates", source, cert->subject_cn);
    if (EVP_Digest(cert->der, cert->size, digest, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    chain_hex(cert->sha256, digest, 32);
    return 0;
}

int chain_cert_parse(const uint8_t *der, size_t size, const char *source, struct chain_cert *ret,
                     X509 **ret_x509, struct why *why)
{
    struct chain_cert cert = {.size = size};
    size_t used = 0;
    bool canonical = false;

    if (size > CHAIN_CERT_MAX)
        return why_set(why, -EBADMSG, "%s is larger than a certificate may be (%u bytes)", source,
                       CHAIN_CERT_MAX);
    chain_mark_memory();
    X509 *x = decode(der, size, &used, &canonical);
    int r = 0;
    const char *what = x ? NULL : chain_what_is(der, size);
    if (!x)
        r = why_set(why, -EBADMSG, "%s %s", source, what ? what : "is no X.509 certificate");
    else if (used != size)
        r = why_set(why, -EBADMSG, "%s has %zu bytes behind its certificate", source, size - used);
    else if (!canonical)
        r = why_set(why, -EBADMSG, "%s is not encoded by DER's rules", source);
    if (r == 0) {
        cert.der = chain_copy(der, size);
        cert.source = chain_copy(source, strlen(source) + 1);
        r = cert.der && cert.source ? describe(x, source, &cert, why) : -ENOMEM;
    }
    r = chain_verdict(r);
    if (r == 0 && ret_x509) {
        *ret_x509 = x;
        x = NULL;
    }
    X509_free(x);
    if (r < 0) {
        chain_cert_done(&cert);
        return r;
    }
    *ret = cert;
    return 0;
}

void chain_cert_done(struct chain_cert *cert)
{
    sys.free(cert->der);
    sys.free(cert->source);
    cert->der = NULL;
    cert->source = NULL;
}

X509 *chain_cert_x509(const struct chain_cert *cert)
{
    const unsigned char *p = cert->der;

    return d2i_X509(NULL, &p, (long)cert->size);
}
