/* SPDX-License-Identifier: MIT */
/*
 * What the files of chain share; private to them.
 */
#pragma once

#include "certs/chain/chain.h"

#include <openssl/x509.h>

/* --- split.c: an input's certificates --- */

/* Who wants them. Each returns 0, or a negative errno, with which chain_split ends. */
struct chain_taker {
    /* CRLs in PEM are taken as well, and a table's; else the first are refused, and the latter
     * passed over. */
    bool crls;
    /* The DER of a certificate, and what to call it: the input's name, and its number or entry in
     * there where there are several. */
    int (*take)(void *userdata, const uint8_t *der, size_t size, const char *source);
    /* A part of the input that is refused, or an entry of a table that is of no concern, and the
     * sentence why; the others are taken all the same. NULL: the first refuses the whole input,
     * with -EBADMSG and the sentence in `why`. */
    int (*leave)(void *userdata, bool refused, const char *reason);
    void *userdata;
};
/* `why` is not NULL where taker->leave is set. */
int chain_split(const struct chain_input *input, const struct chain_taker *taker, struct why *why);

/* --- what.c --- */

/* What bytes are that are not a certificate, and what to do, to stand behind their name ("is a tar
 * archive: …"); NULL: nothing that is known. Static text. */
const char *chain_what_is(const uint8_t *data, size_t size);
/* A CRL, from afar: it may be a bad one. */
bool chain_is_crl(const uint8_t *data, size_t size);
/* The size of the DER SEQUENCE that they begin with; 0: it is none, or is cut short. */
size_t chain_der_size(const uint8_t *data, size_t size);

/* --- cert.c: one certificate --- */

/* Fills `ret`, and gives OpenSSL's own where `ret_x509` is not NULL. 0, -ENOMEM or -EBADMSG and a
 * sentence. */
int chain_cert_parse(const uint8_t *der, size_t size, const char *source, struct chain_cert *ret,
                     X509 **ret_x509, struct why *why);
void chain_cert_done(struct chain_cert *cert);

/* From here on, did OpenSSL find no memory, in this thread? Then -EBADMSG becomes -ENOMEM. */
void chain_mark_memory(void);
int chain_verdict(int r);

/* By sys.alloc; NULL: out of memory. */
void *chain_copy(const void *bytes, size_t size);

/* Small readers of what certificates and CRLs have in common. False: it is not as AMD's are. */
void chain_hex(char *out, const uint8_t *bytes, size_t n); /* with a NUL */
bool chain_get_cn(const X509_NAME *name, char out[64]);    /* the only one, printable ASCII */
bool chain_get_number(const ASN1_INTEGER *number, char out[48]);
bool chain_get_time(const ASN1_TIME *t, int64_t *ret_s);
/* What may be a product's name, behind `prefix`. */
bool chain_product_behind(const char *cn, const char *prefix, char product[16]);

/* The certificate again, from the DER kept; NULL where memory ran out. */
X509 *chain_cert_x509(const struct chain_cert *cert);

/* --- verify.c --- */

/* Byte for byte: X509_NAME_cmp takes "milan" for "Milan". */
bool chain_same_name(const X509_NAME *a, const X509_NAME *b);
/* RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, and nothing else. */
bool chain_algorithm_is_amds(const X509_ALGOR *alg);
/* chain_verify for the certificates from the root down to `last`; the others need not be there. The
 * key's product is set, and its signer where `last` is below the root. */
int chain_verify_down_to(const struct chain *c, enum chain_role last,
                         const struct chain_roots *roots, int64_t now_s, struct why *why);

/* --- leaf.c: AMD's extensions --- */

/* Says that the product of `what` is not known, and what that means; always -EBADMSG. */
int chain_refuse_product(struct why *why, const char *what, const char *product);

/* Reads the leaf's extensions into `c`, whose leaf certificate is set, and is `x`. */
int chain_leaf_parse(struct chain *c, X509 *x, struct why *why);
