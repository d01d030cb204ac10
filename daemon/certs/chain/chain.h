/* SPDX-License-Identifier: MIT */
/*
 * AMD SEV-SNP certificate chains: taking bytes apart, deciding whether they may be served, making
 * the table. Pure functions of bytes and time: no state, no log, no file system.
 */
#pragma once

#include "snp_tcb.h"
#include "why.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on what OpenSSL could not do for want of memory is told from what it found wrong. To be
 * called before OpenSSL is used at all. */
void chain_watch_memory(void);

/* A certificate file, and one certificate, larger than this is refused. */
#define CHAIN_FILE_MAX  (64u * 1024u)
#define CHAIN_CERT_MAX  (8u * 1024u)
#define CHAIN_ROOTS_MAX 64u

enum chain_role {
    CHAIN_ARK,  /* root */
    CHAIN_ASK,  /* intermediate; of a VLEK: the ASVK */
    CHAIN_LEAF, /* VCEK or VLEK */
    CHAIN_ROLES,
};

struct chain_cert {
    enum chain_role role;
    enum coco_snp_signer signer; /* of intermediate and leaf */
    char product[16];            /* that its name says; of a leaf: its issuer's */
    uint8_t *der;
    size_t size;
    char *source;        /* the input's name */
    char subject_cn[64]; /* printable ASCII */
    char issuer_cn[64];
    char serial[48];      /* hex, lower case, whole bytes: "010001" */
    int64_t not_before_s; /* seconds since 1970, UTC; both ends are still valid */
    int64_t not_after_s;
    char sha256[65]; /* of the DER, hex, lower case */
};

/* What names a chain: the key that signs the reports of a platform. */
struct chain_key {
    enum coco_snp_product product;
    enum coco_snp_signer signer;
    char csp[128]; /* the CSP_ID as certified, printable ASCII, of a VLEK; "": whichever is alone */
    uint8_t chip_id[COCO_SNP_CHIP_ID_SIZE]; /* of a VCEK; zeros behind the product's length */
    struct coco_snp_tcb tcb;
};

struct chain {
    struct chain_cert certs[CHAIN_ROLES];
    struct chain_key key;

    /* Of the leaf's AMD extensions, what is not in the key. */
    uint32_t struct_version;
    char product_name[32]; /* as it stands: "Milan-B0" */
};

/* "VCEK" or "VLEK". Static text. */
const char *chain_signer_name(enum coco_snp_signer signer);
/* What people call a certificate: "ARK", "ASK" or "ASVK", "VCEK" or "VLEK". Static text. */
const char *chain_cert_name(const struct chain_cert *cert);

/* The certificate that ends first: until then the chain may be served. */
const struct chain_cert *chain_first_to_expire(const struct chain *c);

/* A file's bytes. */
struct chain_input {
    const char *name;
    const uint8_t *data;
    size_t size;
};

/* Takes the inputs apart (each PEM or DER, of one or more certificates, or a GHCB table), finds
 * the roles by the names inside, and reads the leaf's extensions. Nothing is verified yet. 0,
 * -ENOMEM, or -EBADMSG and a sentence in `why` that names input and reason. A certificate that is
 * given twice, byte for byte, counts once; of several intermediates and roots the leaf's are taken.
 */
int chain_parse(const struct chain_input *inputs, size_t n, struct chain **ret, struct why *why);
void chain_free(struct chain *c);

/* The roots that are trusted, by the SHA-256 of their DER. */
struct chain_roots {
    size_t n;
    struct chain_root {
        char sha256[65]; /* as a certificate's */
        char name[64];   /* subject CN */
    } roots[CHAIN_ROOTS_MAX];
};

/* AMD's own, of all products that are known. */
void chain_roots_init(struct chain_roots *roots);
/* Trusts the root certificates in a file as well (PEM or DER). As chain_parse; -ENOSPC (with a
 * sentence) where there are too many. */
int chain_roots_add(struct chain_roots *roots, const struct chain_input *input, struct why *why);

/* "2024-08-06 12:00:00 UTC"; the day is the first 10. */
#define CHAIN_TIME_SIZE 32u
void chain_time_text(int64_t seconds, char out[CHAIN_TIME_SIZE]);

/* In place of the time, where the host's clock is not to be trusted: dates are not looked at. */
#define CHAIN_NO_CLOCK INT64_MIN

/* May this chain be served at `now_s` (seconds since 1970)? 0, -ENOMEM, or -EBADMSG and a sentence:
 * which certificate, why, and what to do where that helps; -ESTALE instead where the only thing
 * wrong is a date. */
int chain_verify(const struct chain *c, const struct chain_roots *roots, int64_t now_s,
                 struct why *why);

/* The GHCB certificate table (ARK, leaf, intermediate, and where given the CRL; DER), validated.
 * -EBADMSG with a sentence where it may not be published, as when it is over 16384 bytes; -ENOMEM.
 * malloc'ed, by sys.alloc. */
int chain_build_table(const struct chain *c, const struct chain_input *crl, uint8_t **ret,
                      size_t *ret_size, struct why *why);
