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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As AMD's key distribution service names them. */
enum coco_snp_product {
    COCO_SNP_UNKNOWN_PRODUCT = 0,
    COCO_SNP_MILAN,
    COCO_SNP_GENOA, /* Bergamo and Siena, too */
    COCO_SNP_TURIN,
};

#define COCO_SNP_CHIP_ID_SIZE 64u

/* Family and model as CPUID has them with the extended parts added: 0x19, 0x11. */
enum coco_snp_product coco_snp_product_of_cpu(uint32_t family, uint32_t model);
/* "Milan", "Genoa", "Turin"; NULL for an unknown one. Static text. */
const char *coco_snp_product_name(enum coco_snp_product product);
/* COCO_SNP_UNKNOWN_PRODUCT where it is none of these names, letter by letter. */
enum coco_snp_product coco_snp_product_of_name(const char *name);
/* Bytes of a chip's id in URLs and certificates: 64, on Turin 8 (a report then has zeros behind
 * it); 0 for an unknown product. */
size_t coco_snp_product_chip_id_size(enum coco_snp_product product);
bool coco_snp_product_has_fmc(enum coco_snp_product product);

struct coco_snp_tcb {
    uint8_t bl;
    uint8_t tee;
    uint8_t snp;
    uint8_t ucode;
    uint8_t fmc; /* 0 on products without */
};

/* -EINVAL for an unknown product; -EBADMSG where a reserved byte is not zero: a level that this
 * layout does not know could not be compared. */
int coco_snp_tcb_decode(enum coco_snp_product product, uint64_t version, struct coco_snp_tcb *ret);
/* -EINVAL for an unknown product, or an FMC where the product has none. */
int coco_snp_tcb_encode(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                        uint64_t *ret);

/* "BL.TEE.SNP.UCODE", on products with an FMC "BL.TEE.SNP.UCODE.FMC"; decimal. */
#define COCO_SNP_TCB_TEXT_SIZE 20u
/* An empty string for an unknown product. */
void coco_snp_tcb_format(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                         char out[COCO_SNP_TCB_TEXT_SIZE]);
/* Exactly what _format writes: no signs, no spaces, no leading zeros. -EINVAL. */
int coco_snp_tcb_parse(enum coco_snp_product product, const char *text, struct coco_snp_tcb *ret);

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
