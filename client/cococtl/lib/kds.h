/* SPDX-License-Identifier: MIT */
/*
 * AMD's key distribution service (KDS): what is asked for, and is the answer what was asked for.
 * Pure functions; no network here.
 */
#pragma once

#include "snp_tcb.h"
#include "why.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KDS_URL "https://kdsintf.amd.com"
/* The largest answers that are taken; AMD's have 1.4, 3.4 and 0.9 KiB. */
#define KDS_VCEK_MAX  8192u
#define KDS_CHAIN_MAX 32768u
#define KDS_CRL_MAX   65536u
#define KDS_PATH_SIZE 320u

/* One VCEK: a chip at a TCB. */
struct kds_target {
    enum coco_snp_product product;
    char chip_id[2 * COCO_SNP_CHIP_ID_SIZE + 1]; /* hexadecimal, lower case */
    struct coco_snp_tcb tcb;
};

/* Reads the three texts; 0, or -EINVAL and which one is wrong in `why`. Capitals in the chip id are
 * taken. A Turin chip id of 128 digits, as reports have it, is taken where its rest is zeros. */
int kds_target_parse(const char *product, const char *chip_id, const char *tcb,
                     struct kds_target *ret, struct why *why);

/* Paths, from the "/" behind the host on. */
void kds_vcek_path(const struct kds_target *target, char out[KDS_PATH_SIZE]);
void kds_chain_path(enum coco_snp_product product, bool vlek, char out[KDS_PATH_SIZE]);
void kds_crl_path(enum coco_snp_product product, bool vlek, char out[KDS_PATH_SIZE]);

/* Is this one DER certificate whose extensions name this product, chip and TCB? No signature is
 * looked at: that is cocod's to do, with the roots that it trusts. 0, or -EBADMSG and why. */
int kds_check_vcek(const uint8_t *der, size_t size, const struct kds_target *target,
                   struct why *why);
/* A text with PEM blocks of CERTIFICATE, the last of them whole. */
int kds_check_chain(const uint8_t *pem, size_t size, struct why *why);
/* One DER SEQUENCE, whole, nothing behind it. */
int kds_check_crl(const uint8_t *der, size_t size, struct why *why);
