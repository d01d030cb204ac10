/* SPDX-License-Identifier: MIT */
/*
 * The products whose SEV-SNP certificates AMD issues, and how they differ: in one table, a row for
 * each. PROTOCOL.md "TCB_VERSION"; AMD 57230 (VCEK certificates, key distribution service), 56860
 * (firmware ABI).
 *
 * What is here is all that makes a product: CPU models, names, root, the layout of TCB_VERSION, the
 * length of a chip's id. A new product is a row in snp_product.c and its number below; nothing else
 * asks which one it is.
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
    COCO_SNP_VENICE,
    COCO_SNP_PRODUCTS, /* one more than the last */
};

/* Whose key signs reports. */
enum coco_snp_signer {
    COCO_SNP_SIGNER_AUTO, /* the VLEK where one is loaded into the firmware, else the VCEK */
    COCO_SNP_SIGNER_VCEK, /* the chip's own key: its certificate names the chip */
    COCO_SNP_SIGNER_VLEK, /* the cloud provider's key, loaded into the chip */
};

#define COCO_SNP_CHIP_ID_SIZE 64u /* the longest */

/* The parts of a TCB, in the order of its text. Not every product has each. */
enum coco_snp_part {
    COCO_SNP_BL,
    COCO_SNP_TEE,
    COCO_SNP_SNP,
    COCO_SNP_UCODE,
    COCO_SNP_FMC,
    COCO_SNP_PARTS,
};
#define COCO_SNP_NO_BYTE 0xffu

struct coco_snp_facts {
    const char *name;          /* "Milan": in KDS's paths, and behind ARK-, SEV- and SEV-VLEK- */
    const char *processors;    /* as they are sold */
    const char *code_names[3]; /* further ones that it goes by; NULL behind the last */
    uint8_t ark_sha256[32];    /* of the root's DER */
    uint8_t chip_id_size; /* bytes, in KDS's paths and certificates; reports have zeros behind */
    uint8_t tcb_bytes[COCO_SNP_PARTS]; /* of TCB_VERSION, 0 the lowest; or COCO_SNP_NO_BYTE */
    struct {
        uint8_t family, first_model, last_model;
    } cpus[4]; /* family 0 behind the last */
};

/* NULL for an unknown one. Static. */
const struct coco_snp_facts *coco_snp_product_facts(enum coco_snp_product product);

/* Family and model as CPUID has them with the extended parts added: 0x19, 0x11. */
enum coco_snp_product coco_snp_product_of_cpu(uint32_t family, uint32_t model);
/* "Milan", "Genoa", …; NULL for an unknown one. Static text. */
const char *coco_snp_product_name(enum coco_snp_product product);
/* COCO_SNP_UNKNOWN_PRODUCT where it is none of these names, letter by letter. */
enum coco_snp_product coco_snp_product_of_name(const char *name);
/* The same for what people write: in capitals or not, and by a code name (Bergamo, Siena: Genoa).
 */
enum coco_snp_product coco_snp_product_of_text(const char *text);
/* All names, for messages: "Milan, Genoa, Turin or Venice". */
#define COCO_SNP_NAMES_SIZE 96u
void coco_snp_product_names(char out[COCO_SNP_NAMES_SIZE]);

/* 0 for an unknown product. */
size_t coco_snp_product_chip_id_size(enum coco_snp_product product);
bool coco_snp_product_has(enum coco_snp_product product, enum coco_snp_part part);

/* --- certificates ----------------------------------------------------------------------------- */

/* Common names, but for the leaves' with the product's name behind. */
#define COCO_SNP_CN_ARK  "ARK-"
#define COCO_SNP_CN_ASK  "SEV-"
#define COCO_SNP_CN_ASVK "SEV-VLEK-"
#define COCO_SNP_CN_VCEK "SEV-VCEK"
#define COCO_SNP_CN_VLEK "SEV-VLEK"

/* AMD's extensions of a leaf: 1.3.6.1.4.1.3704.1 and one of these numbers; a level has that of its
 * part behind 3. */
#define COCO_SNP_OID "1.3.6.1.4.1.3704.1"
enum coco_snp_oid {
    COCO_SNP_OID_STRUCT_VERSION = 1,
    COCO_SNP_OID_PRODUCT_NAME = 2,
    COCO_SNP_OID_SPL = 3,
    COCO_SNP_OID_HWID = 4,
    COCO_SNP_OID_CSP_ID = 5,
};
#define COCO_SNP_SPLS 9u /* 3.1 to 3.9; those that are no part's are reserved, and 0 */

/* The number behind 3 of a part's extension. */
unsigned coco_snp_part_oid(enum coco_snp_part part);
/* What a part is called in certificates and in KDS's paths: "blSPL". Static text. */
const char *coco_snp_part_spl(enum coco_snp_part part);

/* A field is an extension, by its number above; of a level, by COCO_SNP_FIELD_SPL and the number
 * behind 3. 0 is none. */
#define COCO_SNP_FIELD_SPL (COCO_SNP_OID_CSP_ID + 1u)
#define COCO_SNP_FIELDS    (COCO_SNP_FIELD_SPL + COCO_SNP_SPLS + 1u)

/* What a leaf's extensions say. Texts are printable ASCII. */
struct coco_snp_leaf {
    uint32_t seen; /* 1u << field: which of them there are */
    uint8_t struct_version;
    char product_name[32]; /* "Milan-B0" */
    char csp_id[128];
    uint8_t hwid[COCO_SNP_CHIP_ID_SIZE];
    size_t hwid_size;                  /* 8 or 64 */
    uint8_t levels[COCO_SNP_SPLS + 1]; /* by the number behind 3 */
};

/* Reads one X.509 extension: the contents of its OBJECT IDENTIFIER and its extnValue, by AMD 57230,
 * chapter 3. A level is an INTEGER from 0 to 255, a text an IA5String, a chip's id its raw bytes,
 * or an OCTET STRING of them. *ret_field is which one it is; 0: one that is not known here, which
 * is fine. -EEXIST: it is there already; -EBADMSG: it is malformed. */
int coco_snp_leaf_read(struct coco_snp_leaf *leaf, const uint8_t *oid, size_t oid_size,
                       const uint8_t *value, size_t size, unsigned *ret_field);
/* Is that this product's name or a code name, alone or with "-" and a stepping ("Milan-B0")? */
bool coco_snp_product_is_named(enum coco_snp_product product, const char *product_name);

#ifdef __cplusplus
}
#endif
