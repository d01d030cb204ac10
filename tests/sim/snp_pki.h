/* SPDX-License-Identifier: MIT */
/*
 * A certificate authority shaped like AMD's for SEV-SNP: ARK, ASK and ASVK (RSA-4096, RSASSA-PSS),
 * P-384 VCEK and VLEK leaves with AMD's extensions, a CRL. Only the keys differ from AMD's own;
 * `bad` asks for a leaf that must be refused.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A TCB by its components; not every product has each. */
struct snp_pki_tcb {
    uint8_t bl, tee, snp, ucode, fmc;
};

#define SNP_PKI_CHIP_ID_SIZE 64

struct snp_pki_options {
    const char *product; /* "Milan" (NULL), "Genoa", "Turin", "Venice" */
    /* Where NAME.key is read from and, where it is missing or unreadable, a new key is left, for
     * NAME ark, ask and asvk. A NAME.pem there is used too, if it is this product's and this key's:
     * so the folder may be a cache of keys, or a folder that snp_pki_write_dir() filled. NULL: new
     * keys, which take seconds. */
    const char *keys_dir;
    int64_t now; /* leaves are dated from it; 0: the present */
};

struct snp_pki;

/* NULL, with errno, for an unknown product, or where keys or certificates could not be made. */
struct snp_pki *snp_pki_new(const struct snp_pki_options *options);
void snp_pki_free(struct snp_pki *pki);

/* Where tests keep keys: $COCO_BUILD/tests/pki-cache, made. Static buffer; NULL: cannot be. */
const char *snp_pki_cache_dir(void);

const char *snp_pki_product(const struct snp_pki *pki);
void snp_pki_ark_sha256(const struct snp_pki *pki, uint8_t ret[32]);

enum snp_pki_ca {
    SNP_PKI_ARK,
    SNP_PKI_ASK,
    SNP_PKI_ASVK, /* its key is made when it is first asked for */
};

/* Belongs to the PKI; NULL where the ASVK could not be made. */
const uint8_t *snp_pki_ca_der(struct snp_pki *pki, enum snp_pki_ca ca, size_t *ret_size);
/* The serial number as AMD numbers them: 0x010001 is the ASK of Milan. */
uint32_t snp_pki_ca_serial(const struct snp_pki *pki, enum snp_pki_ca ca);

/* What is wrong with a leaf; each alone must make a verifier refuse it, but for WRAPPED_HWID, which
 * is the announced other encoding of the chip id and must be accepted. */
enum snp_pki_bad {
    SNP_PKI_BAD_EXPIRED = 1u << 0,
    SNP_PKI_BAD_NOT_YET = 1u << 1,
    SNP_PKI_BAD_SIGNER = 1u << 2, /* names the ASK (ASVK), is signed by the ARK's key */
    SNP_PKI_BAD_P256 = 1u << 3,
    SNP_PKI_BAD_ALTERED = 1u << 4, /* hwID (VLEK: ucodeSPL) edited after signing */
    SNP_PKI_BAD_PKCS1 = 1u << 5,   /* signed by RSASSA-PKCS1-v1_5 */
    SNP_PKI_WRAPPED_HWID = 1u << 6,
};

struct snp_pki_leaf_options {
    bool vlek;
    struct snp_pki_tcb tcb;
    const uint8_t *chip_id; /* 64 bytes; from Turin on, the first 8 are certified; NULL: zeros */
    const char *csp_id;     /* VLEK; NULL: "CN=csp.example" */
    EVP_PKEY *key;          /* NULL: a new one; else it is referenced */
    int64_t not_before;     /* 0: 30 days before the PKI's now */
    unsigned bad;           /* enum snp_pki_bad */
    const char *more;       /* numbers of levels beside the product's: "18" */
    const char *omit;       /* leave out 1.3.6.1.4.1.3704.1.<omit>: "3.8", "4", … */
};

struct snp_pki_leaf {
    bool vlek;
    uint8_t *der;
    size_t der_size;
    EVP_PKEY *key;
};

/* 0 or a negative errno. */
int snp_pki_make_leaf(struct snp_pki *pki, const struct snp_pki_leaf_options *options,
                      struct snp_pki_leaf *ret);
void snp_pki_leaf_done(struct snp_pki_leaf *leaf);

static inline int snp_pki_make_vcek(struct snp_pki *pki, struct snp_pki_tcb tcb,
                                    const uint8_t *chip_id, struct snp_pki_leaf *ret)
{
    struct snp_pki_leaf_options options = {.tcb = tcb, .chip_id = chip_id};

    return snp_pki_make_leaf(pki, &options, ret);
}

static inline int snp_pki_make_vlek(struct snp_pki *pki, struct snp_pki_tcb tcb,
                                    struct snp_pki_leaf *ret)
{
    struct snp_pki_leaf_options options = {.vlek = true, .tcb = tcb};

    return snp_pki_make_leaf(pki, &options, ret);
}

struct snp_pki_crl_options {
    const uint32_t *serials; /* revoked, all at this_update − 1 day */
    size_t n_serials;
    uint32_t number;     /* CRLNumber */
    int64_t this_update; /* 0: the PKI's now − 1 day */
    int64_t next_update; /* 0: this_update + 46 days */
};

/* A CRL by the ARK; *ret_der is the caller's, to be freed. 0 or a negative errno. */
int snp_pki_make_crl(struct snp_pki *pki, const struct snp_pki_crl_options *options,
                     uint8_t **ret_der, size_t *ret_size);

/* The GHCB certificate table of a leaf: ARK, leaf, ASK (ASVK). *ret is the caller's. */
int snp_pki_make_table(struct snp_pki *pki, const struct snp_pki_leaf *leaf, uint8_t **ret,
                       size_t *ret_size);

/* Fills a folder, made where missing: ark, ask (asvk) and vcek (vlek), each as .pem and .der, and
 * their private keys as NAME.key (mode 0600). Each file is replaced whole, by rename. */
int snp_pki_write_dir(struct snp_pki *pki, const struct snp_pki_leaf *leaf, const char *dir);

/* Replaces one file whole, by rename. */
int snp_pki_write_file(const char *dir, const char *name, const void *data, size_t size,
                       unsigned mode);
