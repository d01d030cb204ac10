/* SPDX-License-Identifier: MIT */
/*
 * SEV-SNP attestation reports, as the firmware makes them and a relying party judges them, apart
 * from the product's own parsers.
 */
#pragma once

#include "snp_pki.h"
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNP_REPORT_SIZE      0x4a0
#define SNP_REPORT_DATA_SIZE 64

enum snp_signing_key {
    SNP_SIGNED_BY_VCEK = 0,
    SNP_SIGNED_BY_VLEK = 1,
    SNP_SIGNED_BY_NONE = 7,
};

struct snp_report_fields {
    uint32_t version;    /* 2, or 3 and later: with the CPU's family and model */
    const char *product; /* "Milan", …: the layout of a TCB */
    uint32_t vmpl;
    uint8_t report_data[SNP_REPORT_DATA_SIZE];
    uint8_t measurement[48];
    struct snp_pki_tcb current, reported, committed, launch;
    uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE]; /* zeros: masked */
    bool mask_chip_key;
    enum snp_signing_key signing_key;
};

/* TCB_VERSION as it lies in memory, by the product's layout. */
void snp_tcb_encode(const char *product, struct snp_pki_tcb tcb, uint8_t ret[8]);
struct snp_pki_tcb snp_tcb_decode(const char *product, const uint8_t bytes[8]);
/* The same as a little-endian number, which is how SNP_PLATFORM_STATUS gives it. */
uint64_t snp_tcb_version(const char *product, struct snp_pki_tcb tcb);
/* Bytes of a chip's id; the report's field is filled up with zeros. */
size_t snp_report_chip_size(const char *product);
bool snp_tcb_equal(struct snp_pki_tcb a, struct snp_pki_tcb b);

/* Builds and signs a report; `key` is the signing key, not used for SNP_SIGNED_BY_NONE. 0, or
 * -EINVAL for fields that make no report, -EIO where signing failed. */
int snp_report_build(const struct snp_report_fields *fields, EVP_PKEY *key,
                     uint8_t ret[SNP_REPORT_SIZE]);

/* What a relying party concludes. */
enum snp_verdict {
    SNP_VERDICT_OK,
    SNP_VERDICT_NO_CERTIFICATES, /* the table is empty: the chain must come from elsewhere */
    SNP_VERDICT_BAD_TABLE,
    SNP_VERDICT_BAD_CHAIN, /* signatures, names, dates, keys, root */
    SNP_VERDICT_BAD_REPORT,
    SNP_VERDICT_WRONG_TCB,     /* the leaf certifies another TCB than the reported one */
    SNP_VERDICT_WRONG_CHIP,    /* or another chip */
    SNP_VERDICT_BAD_SIGNATURE, /* TCB and chip agree, yet the leaf's key did not sign the report */
    /* Of a guest (snp_guest.h), before there is anything to verify. */
    SNP_VERDICT_NO_REPORT,
    SNP_VERDICT_VMPCK_LOST,
    SNP_VERDICT_OVERRUN, /* the host wrote where the guest had offered nothing */
};

const char *snp_verdict_name(enum snp_verdict verdict);

/* Judges a report by its table at `now` (seconds since 1970). `trusted_ark`: SHA-256 of the
 * root's DER; NULL: AMD's published roots. `ret_why` (or NULL): a sentence, static text. */
enum snp_verdict snp_report_verify(const uint8_t report[SNP_REPORT_SIZE], const uint8_t *table,
                                   size_t table_size, const uint8_t *trusted_ark, int64_t now,
                                   const char **ret_why);
