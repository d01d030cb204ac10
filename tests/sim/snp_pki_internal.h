/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the test PKI share.
 */
#pragma once

#include "snp_pki.h"
#include "snp_products.h"
#include <openssl/x509.h>

#define DAY_S 86400

struct snp_authority {
    EVP_PKEY *key;
    X509 *cert;
    uint8_t *der;
    size_t der_size;
};

struct snp_pki {
    const struct snp_product *product;
    char *keys_dir;
    int64_t now;
    struct snp_authority cas[SNP_N_CAS];
};

extern const char *const snp_pki_ca_names[SNP_N_CAS];

/* Loads or makes the authority, where that was not done yet. 0 or a negative errno. */
int snp_pki_get_ca(struct snp_pki *pki, enum snp_pki_ca ca);

/* RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt; not `pss`: RSASSA-PKCS1-v1_5. */
EVP_MD_CTX *snp_pki_signer(EVP_PKEY *key, bool pss);

/* Takes what an i2d_… function made. *ret_der is the caller's, for free(). */
int snp_pki_take_der(unsigned char *out, int size, uint8_t **ret_der, size_t *ret_size);
