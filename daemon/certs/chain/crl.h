/* SPDX-License-Identifier: MIT */
/*
 * Certificate revocation lists: one per product, issued by its root (ARK), naming intermediates.
 * Functions of bytes and time, as chain.h.
 */
#pragma once

#include "certs/chain/chain.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One CRL larger than this is refused: AMD's have under 1 KiB. */
#define CRL_MAX         (16u * 1024u)
#define CRL_REVOKED_MAX 256u

struct crl {
    uint8_t *der;
    size_t size;
    char *source;
    char issuer_cn[64];
    char product[16];
    char number[48];       /* CRLNumber, hex, whole bytes */
    int64_t this_update_s; /* seconds since 1970, UTC */
    int64_t next_update_s; /* INT64_MAX: it names none */
    char sha256[65];
    size_t n_revoked;
    char (*revoked)[48]; /* serial numbers, as chain_cert's */
};

/* Exactly one CRL in DER, shaped as AMD's are. Nothing is verified yet. 0, -ENOMEM, or -EBADMSG and
 * a sentence. */
int crl_parse(const uint8_t *der, size_t size, const char *source, struct crl **ret,
              struct why *why);
void crl_free(struct crl *crl);

/* Did this root sign it? 0, -ENOMEM, or -EBADMSG and a sentence. That the root is trusted is the
 * caller's to know. */
int crl_verify(const struct crl *crl, const struct chain_cert *ark, struct why *why);

/* Is this serial number on it? */
bool crl_lists(const struct crl *crl, const char *serial);
/* By CRLNumber: below, at or above zero as a is older than, as old as or newer than b. */
int crl_compare(const struct crl *a, const struct crl *b);
