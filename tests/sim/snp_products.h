/* SPDX-License-Identifier: MIT */
/*
 * What the test PKI and the judge of reports know of AMD's products, apart from the product's
 * table.
 */
#pragma once

#include "snp_pki.h"
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SNP_N_CAS 3 /* ARK, ASK, ASVK */

struct snp_product {
    const char *name;
    const char *leaf_name; /* productName in a VCEK; a VLEK says `name` */
    uint32_t serials[SNP_N_CAS];
    struct tm made[SNP_N_CAS]; /* their notBefore */
    uint8_t struct_version;
    size_t chip_id_size;
    const char *levels;    /* the numbers behind 3 of a leaf's levels, in its order */
    const char *bytes;     /* the same of a TCB_VERSION's bytes; a blank is zero */
    uint8_t family, model; /* of one of its CPUs */
    struct {
        uint8_t first, last;
    } models[3];
    uint8_t ark[32]; /* SHA-256 of AMD's root */
};

#define SNP_N_PRODUCTS 4
extern const struct snp_product snp_products[SNP_N_PRODUCTS];

/* NULL: there is none of that name. */
const struct snp_product *snp_product_find(const char *name);

/* The level with that number behind 3; NULL of those that are reserved. */
uint8_t *snp_tcb_level(struct snp_pki_tcb *tcb, char number);

/* Of a certificate table's entries. */
extern const uint8_t snp_guid_ark[16], snp_guid_ask[16], snp_guid_vcek[16], snp_guid_vlek[16];
