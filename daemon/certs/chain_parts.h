/* SPDX-License-Identifier: MIT */
/*
 * What the files of chain share; private to them.
 */
#pragma once

#include "certs/chain.h"

#include <openssl/x509.h>

/* Where a refusal's sentence goes. */
struct chain_why {
    char *text;
    size_t size;
};

/* Writes the sentence; always -EBADMSG. */
int chain_refuse(const struct chain_why *why, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* --- chain_split.c: an input's certificates --- */

/* Called with the DER of each certificate and what to call it: the input's name, and its number in
 * there where there are several. */
typedef int (*chain_take)(void *userdata, const uint8_t *der, size_t size, const char *source);
int chain_split(const struct chain_input *input, chain_take take, void *userdata,
                const struct chain_why *why);

/* --- chain_cert.c: one certificate --- */

/* What the subject's CN says. */
struct chain_kind {
    enum chain_role role;
    enum chain_signer signer; /* of ASK and leaf */
    char product[16];         /* of a leaf: from its issuer's CN */
};

/* Fills `ret` and `ret_kind`, and gives the parsed certificate where `ret_x509` is not NULL. 0,
 * -ENOMEM or -EBADMSG and a sentence. */
int chain_cert_parse(const uint8_t *der, size_t size, const char *source, struct chain_cert *ret,
                     struct chain_kind *ret_kind, X509 **ret_x509, const struct chain_why *why);
void chain_cert_done(struct chain_cert *cert);

/* The certificate again, from the DER kept; NULL where memory ran out. */
X509 *chain_cert_x509(const struct chain_cert *cert);

/* --- chain_leaf.c: AMD's extensions --- */

/* How products differ; NULL for one that is unknown. */
struct chain_product {
    const char *name;
    size_t hwid_size;
    bool has_fmc; /* and with it the other layout of TCB_VERSION */
};
const struct chain_product *chain_product_find(const char *name);

/* Reads the leaf's extensions into `c`, whose signer, product and leaf certificate are set. */
int chain_leaf_parse(struct chain *c, X509 *leaf, const struct chain_why *why);
