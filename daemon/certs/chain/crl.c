/* SPDX-License-Identifier: MIT */
/*
 * AMD's CRLs: X.509 v2 in DER, signed by the ARK of a product, with CRLNumber and
 * AuthorityKeyIdentifier and nothing else. Only what the ARK issued can be named there, so the
 * question is whether the serial number of a chain's intermediate is on its root's list; leaves all
 * have the serial 0 and cannot be revoked. (OpenSSL's own CRL check wants a CRL of the
 * intermediate, and there is none.)
 *
 * A critical extension, of the list or of an entry, may change what the list means (delta and
 * indirect CRLs), so it is refused. Dates are kept, not judged: a missing or outdated list only
 * alarms, since what it says about a serial stays true.
 */
#include "certs/chain/crl.h"
#include "base/sys.h"
#include "certs/chain/parts.h"
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#define X509_CRL_VERSION_V2 1

static X509_CRL *decode(const uint8_t *der, size_t size, bool *ret_exact)
{
    const unsigned char *p = der;
    unsigned char *again = NULL;
    X509_CRL *x = d2i_X509_CRL(NULL, &p, (long)size);

    if (!x)
        return NULL;
    (void)i2d_re_X509_CRL_tbs(x, NULL); /* forgets the bytes that it was decoded from */
    int n = i2d_X509_CRL(x, &again);
    *ret_exact = n > 0 && (size_t)n == size && memcmp(again, der, size) == 0;
    OPENSSL_free(again);
    return x;
}

static bool has_critical(const STACK_OF(X509_EXTENSION) * extensions)
{
    for (int i = 0; i < X509v3_get_ext_count(extensions); i++)
        if (X509_EXTENSION_get_critical(X509v3_get_ext(extensions, i)))
            return true;
    return false;
}

static bool read_number(X509_CRL *x, struct crl *crl)
{
    int critical = 0;
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(x, NID_crl_number, &critical, NULL);
    bool good = number && chain_get_number(number, crl->number);

    ASN1_INTEGER_free(number);
    return good;
}

static int read_revoked(X509_CRL *x, struct crl *crl, struct why *why)
{
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(x);
    int n = list ? sk_X509_REVOKED_num(list) : 0;

    if ((unsigned)n > CRL_REVOKED_MAX)
        return why_set(why, -EBADMSG, "%s (CRL of %s) names more than %u certificates", crl->source,
                       crl->issuer_cn, CRL_REVOKED_MAX);
    crl->revoked = sys.alloc((size_t)(n ? n : 1) * sizeof(*crl->revoked));
    if (!crl->revoked)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(list, i);
        if (has_critical(X509_REVOKED_get0_extensions(entry)) ||
            !chain_get_number(X509_REVOKED_get0_serialNumber(entry), crl->revoked[i]))
            return why_set(why, -EBADMSG, "%s (CRL of %s) has an entry that is not understood",
                           crl->source, crl->issuer_cn);
        crl->n_revoked++;
    }
    return 0;
}

static int describe(X509_CRL *x, struct crl *crl, struct why *why)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(x);

    if (!chain_get_cn(X509_CRL_get_issuer(x), crl->issuer_cn) ||
        !chain_product_behind(crl->issuer_cn, COCO_SNP_CN_ARK, crl->product))
        return why_set(why, -EBADMSG, "%s is no CRL of an AMD root: its issuer must be ARK-…",
                       crl->source);
    if (!coco_snp_product_of_name(crl->product))
        return chain_refuse_product(why, crl->source, crl->product);
    if (X509_CRL_get_version(x) != X509_CRL_VERSION_V2 ||
        has_critical(X509_CRL_get0_extensions(x)) || !read_number(x, crl))
        return why_set(why, -EBADMSG,
                       "%s (CRL of %s) is no plain version 2 CRL with a number, as AMD's are",
                       crl->source, crl->issuer_cn);
    crl->next_update_s = INT64_MAX;
    if (!chain_get_time(X509_CRL_get0_lastUpdate(x), &crl->this_update_s) ||
        (next && !chain_get_time(next, &crl->next_update_s)))
        return why_set(why, -EBADMSG, "%s (CRL of %s) has malformed dates", crl->source,
                       crl->issuer_cn);
    if (EVP_Digest(crl->der, crl->size, digest, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    chain_hex(crl->sha256, digest, 32);
    return read_revoked(x, crl, why);
}

int crl_parse(const uint8_t *der, size_t size, const char *source, struct crl **ret,
              struct why *why)
{
    bool exact = false;
    int r = 0;

    if (size > CRL_MAX)
        return why_set(why, -EBADMSG, "%s is larger than a CRL may be (%u bytes)", source, CRL_MAX);
    chain_mark_memory();
    X509_CRL *x = decode(der, size, &exact);
    if (!x || !exact) {
        r = why_set(why, -EBADMSG, x ? "%s is not exactly one CRL in DER" : "%s is no CRL", source);
        X509_CRL_free(x);
        return chain_verdict(r);
    }
    struct crl *crl = sys.alloc(sizeof(*crl));
    if (crl) {
        crl->size = size;
        crl->der = chain_copy(der, size);
        crl->source = chain_copy(source, strlen(source) + 1);
    }
    r = crl && crl->der && crl->source ? describe(x, crl, why) : -ENOMEM;
    X509_CRL_free(x);
    r = chain_verdict(r);
    if (r < 0) {
        crl_free(crl);
        return r;
    }
    *ret = crl;
    return 0;
}

void crl_free(struct crl *crl)
{
    if (!crl)
        return;
    sys.free(crl->der);
    sys.free(crl->source);
    sys.free(crl->revoked);
    sys.free(crl);
}

int crl_verify(const struct crl *crl, const struct chain_cert *ark, struct why *why)
{
    const unsigned char *p = crl->der;
    const X509_ALGOR *algorithm = NULL;

    chain_mark_memory();
    X509_CRL *x = d2i_X509_CRL(NULL, &p, (long)crl->size);
    X509 *root = chain_cert_x509(ark);
    int r = x && root ? 0 : -ENOMEM;

    if (r == 0) {
        X509_CRL_get0_signature(x, NULL, &algorithm);
        if (!chain_same_name(X509_CRL_get_issuer(x), X509_get_subject_name(root)))
            r = why_set(why, -EBADMSG, "%s is the CRL of %s, not of %s (%s)", crl->source,
                        crl->issuer_cn, ark->subject_cn, ark->source);
        else if (!chain_algorithm_is_amds(algorithm))
            r = why_set(why, -EBADMSG,
                        "%s (CRL of %s) is not signed by RSASSA-PSS with SHA-384 and a salt "
                        "of 48 bytes",
                        crl->source, crl->issuer_cn);
        else if (X509_CRL_verify(x, X509_get0_pubkey(root)) != 1)
            r = why_set(why, -EBADMSG,
                        "the signature of %s (CRL of %s) does not verify with the key of %s "
                        "(%s)",
                        crl->source, crl->issuer_cn, ark->subject_cn, ark->source);
    }
    X509_CRL_free(x);
    X509_free(root);
    return chain_verdict(r);
}

bool crl_lists(const struct crl *crl, const char *serial)
{
    for (size_t i = 0; i < crl->n_revoked; i++)
        if (strcmp(crl->revoked[i], serial) == 0)
            return true;
    return false;
}

int crl_compare(const struct crl *a, const struct crl *b)
{
    const char *x = a->number + strspn(a->number, "0"), *y = b->number + strspn(b->number, "0");
    size_t nx = strlen(x), ny = strlen(y);
    if (nx != ny)
        return nx < ny ? -1 : 1;
    return strcmp(x, y);
}
