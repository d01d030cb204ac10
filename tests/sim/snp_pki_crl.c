/* SPDX-License-Identifier: MIT */
/*
 * A revocation list by a test PKI's root.
 */
#include "snp_pki_internal.h"
#include <openssl/x509v3.h>

#define CRL_DAYS 46

static bool add_revoked(X509_CRL *crl, uint32_t serial, int64_t when)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_TIME *date = ASN1_TIME_set(NULL, (time_t)when);
    bool ok = revoked && number && date && ASN1_INTEGER_set_uint64(number, serial) == 1 &&
              X509_REVOKED_set_serialNumber(revoked, number) == 1 &&
              X509_REVOKED_set_revocationDate(revoked, date) == 1 &&
              X509_CRL_add0_revoked(crl, revoked) == 1;

    if (!ok)
        X509_REVOKED_free(revoked);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(date);
    return ok;
}

static bool fill_crl(const struct snp_pki *pki, const struct snp_pki_crl_options *o, X509_CRL *crl)
{
    const struct snp_authority *ark = &pki->cas[SNP_PKI_ARK];
    int64_t this_update = o->this_update ? o->this_update : pki->now - DAY_S;
    int64_t next_update = o->next_update ? o->next_update : this_update + (int64_t)CRL_DAYS * DAY_S;
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)this_update);
    ASN1_TIME *to = ASN1_TIME_set(NULL, (time_t)next_update);
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, ark->cert, NULL, NULL, crl, 0);
    X509_EXTENSION *aki =
        X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
    bool ok = from && to && number && aki && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl, X509_get_subject_name(ark->cert)) == 1 &&
              X509_CRL_set1_lastUpdate(crl, from) == 1 && X509_CRL_set1_nextUpdate(crl, to) == 1 &&
              X509_CRL_add_ext(crl, aki, -1) == 1 &&
              ASN1_INTEGER_set_uint64(number, o->number) == 1 &&
              X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1;
    for (size_t i = 0; ok && i < o->n_serials; i++)
        ok = add_revoked(crl, o->serials[i], this_update - DAY_S);
    X509_EXTENSION_free(aki);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return ok && X509_CRL_sort(crl) == 1;
}

int snp_pki_make_crl(struct snp_pki *pki, const struct snp_pki_crl_options *options,
                     uint8_t **ret_der, size_t *ret_size)
{
    X509_CRL *crl = X509_CRL_new();
    EVP_MD_CTX *ctx = snp_pki_signer(pki->cas[SNP_PKI_ARK].key, true);
    unsigned char *out = NULL;
    int size = -1;

    if (crl && ctx && fill_crl(pki, options, crl) && X509_CRL_sign_ctx(crl, ctx) > 0)
        size = i2d_X509_CRL(crl, &out);
    EVP_MD_CTX_free(ctx);
    X509_CRL_free(crl);
    return snp_pki_take_der(out, size, ret_der, ret_size);
}
