/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION of SEV-SNP: which security patch levels a platform reports, and for which its
 * endorsement key was derived. PROTOCOL.md "TCB_VERSION".
 *
 * The firmware gives one u64 whose bytes mean different things on different products, and nothing
 * in the number tells which: the layout comes from the CPU's family and model. Levels are compared
 * part by part, never as integers.
 */
#pragma once

#include "snp_product.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A part that the product does not have is 0. */
struct coco_snp_tcb {
    uint8_t bl;
    uint8_t tee;
    uint8_t snp;
    uint8_t ucode;
    uint8_t fmc;
};

uint8_t coco_snp_tcb_part(const struct coco_snp_tcb *tcb, enum coco_snp_part part);
void coco_snp_tcb_set_part(struct coco_snp_tcb *tcb, enum coco_snp_part part, uint8_t level);

/* -EINVAL for an unknown product; -EBADMSG where a reserved byte is not zero: a level that this
 * layout does not know could not be compared. */
int coco_snp_tcb_decode(enum coco_snp_product product, uint64_t version, struct coco_snp_tcb *ret);
/* -EINVAL for an unknown product, or where a part that the product does not have is not 0. */
int coco_snp_tcb_encode(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                        uint64_t *ret);

/* The product's parts in decimal: "BL.TEE.SNP.UCODE", Turin's "BL.TEE.SNP.UCODE.FMC", Venice's
 * "TEE.SNP.FMC". */
#define COCO_SNP_TCB_TEXT_SIZE 20u
/* An empty string for an unknown product. */
void coco_snp_tcb_format(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                         char out[COCO_SNP_TCB_TEXT_SIZE]);
/* Exactly what _format writes: no signs, no spaces, no leading zeros. -EINVAL. */
int coco_snp_tcb_parse(enum coco_snp_product product, const char *text, struct coco_snp_tcb *ret);

/* What a text of that product's looks like: "BL.TEE.SNP.UCODE". Empty for an unknown product. */
#define COCO_SNP_TCB_FORM_SIZE 24u
void coco_snp_tcb_form(enum coco_snp_product product, char out[COCO_SNP_TCB_FORM_SIZE]);

enum coco_snp_tcb_order {
    COCO_SNP_TCB_EQUAL,
    COCO_SNP_TCB_LOWER,  /* no part of the first is higher, one at least is lower */
    COCO_SNP_TCB_HIGHER, /* the reverse */
    COCO_SNP_TCB_MIXED,  /* neither: one part is lower, another higher */
};

enum coco_snp_tcb_order coco_snp_tcb_compare(const struct coco_snp_tcb *a,
                                             const struct coco_snp_tcb *b);

#ifdef __cplusplus
}
#endif
