/* SPDX-License-Identifier: MIT */
/*
 * The table of products: snp_product.c. Any product, a number outside of the list too.
 *
 * unit: proto/snp_product.c
 * unwind: 9
 */
#include "proof.h"
#include "snp_product.c"

/* bound: none
 * broken: s/product < COCO_SNP_PRODUCTS ? /product <= COCO_SNP_PRODUCTS ? /
 * refuted: bound */
void prove_coco_snp_product_facts(void)
{
    enum coco_snp_product product;
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);

    SHOW((facts != NULL) == (product > COCO_SNP_UNKNOWN_PRODUCT && product < COCO_SNP_PRODUCTS),
         "those of the list");
    SHOW(!facts || facts->name != NULL, "each has a name");
    SHOW(!facts || (facts->chip_id_size > 0 && facts->chip_id_size <= COCO_SNP_CHIP_ID_SIZE),
         "an id that fits");
    enum coco_snp_part part;
    GIVEN(part >= 0 && part < COCO_SNP_PARTS);
    SHOW(!facts || facts->tcb_bytes[part] == COCO_SNP_NO_BYTE || facts->tcb_bytes[part] < 8,
         "a byte of a u64");
}

/* bound: none
 * broken: s/i < sizeof(products.p..cpus) . /i <= sizeof(products[p].cpus) \/ /
 * refuted: bound */
void prove_coco_snp_product_of_cpu(void)
{
    uint32_t family, model;
    enum coco_snp_product p = coco_snp_product_of_cpu(family, model);

    SHOW(p >= COCO_SNP_UNKNOWN_PRODUCT && p < COCO_SNP_PRODUCTS, "one of the list");
    SHOW(p == COCO_SNP_UNKNOWN_PRODUCT || family == 0x19 || family == 0x1a,
         "of a family that has SEV-SNP");
}

/* bound: none
 * broken: s/return facts ? facts->name : NULL;/return facts->name;/
 * refuted: dereference failure */
void prove_coco_snp_product_name(void)
{
    enum coco_snp_product product;
    const char *name = coco_snp_product_name(product);

    SHOW((name == NULL) == (product <= COCO_SNP_UNKNOWN_PRODUCT || product >= COCO_SNP_PRODUCTS),
         "NULL for an unknown one");
}

/* bound: texts to 7 bytes, one more than the longest name
 * broken: s/strcmp(products.p..name, name) == 0/strncmp(products[p].name, name, 8) >= 0/
 * refuted: its name */
void prove_coco_snp_product_of_name(void)
{
    const char *text = any_text(7);
    enum coco_snp_product p = coco_snp_product_of_name(text);

    SHOW(p >= COCO_SNP_UNKNOWN_PRODUCT && p < COCO_SNP_PRODUCTS, "one of the list");
    SHOW(p == COCO_SNP_UNKNOWN_PRODUCT || strcmp(coco_snp_product_name(p), text) == 0, "its name");
}

/* bound: texts to 8 bytes, one more than the longest name
 * broken: s/while (.a && lower/while (lower/
 * refuted: dereference failure */
void prove_coco_snp_product_of_text(void)
{
    enum coco_snp_product p = coco_snp_product_of_text(any_text(8));

    SHOW(p >= COCO_SNP_UNKNOWN_PRODUCT && p < COCO_SNP_PRODUCTS, "one of the list");
}

/* bound: none: there is no input
 * unwind: 40
 * broken: s/size_t used = 0;/size_t used = 90;/
 * refuted: all of them fit */
void prove_coco_snp_product_names(void)
{
    char out[COCO_SNP_NAMES_SIZE];

    coco_snp_product_names(out);
    SHOW(strcmp(out, "Milan, Genoa, Turin or Venice") == 0, "all of them fit");
}

/* bound: none
 * broken: s/return facts ? facts->chip_id_size : 0;/return facts->chip_id_size;/
 * refuted: dereference failure */
void prove_coco_snp_product_chip_id_size(void)
{
    enum coco_snp_product product;

    SHOW(coco_snp_product_chip_id_size(product) <= COCO_SNP_CHIP_ID_SIZE, "it fits");
}

/* bound: none
 * broken: s/return facts .. facts->tcb_bytes/return facts->tcb_bytes/
 * refuted: dereference failure */
void prove_coco_snp_product_has(void)
{
    enum coco_snp_product product;
    enum coco_snp_part part;

    GIVEN(part >= 0 && part < COCO_SNP_PARTS);
    SHOW(!coco_snp_product_has(product, part) || coco_snp_product_facts(product) != NULL,
         "no part of an unknown one");
}

/* bound: none
 * broken: s/return parts.part..oid;/return parts[part + 1].oid;/
 * refuted: bound */
void prove_coco_snp_part_oid(void)
{
    enum coco_snp_part part;

    GIVEN(part >= 0 && part < COCO_SNP_PARTS);
    unsigned oid = coco_snp_part_oid(part);
    SHOW(oid >= 1 && oid <= COCO_SNP_SPLS, "one of the levels' numbers");
}

/* bound: none
 * broken: s/return parts.part..spl;/return parts[part + 1].spl;/
 * refuted: bound */
void prove_coco_snp_part_spl(void)
{
    enum coco_snp_part part;

    GIVEN(part >= 0 && part < COCO_SNP_PARTS);
    SHOW(coco_snp_part_spl(part) != NULL, "each has a name");
}

/* An object identifier of any size up to one more than AMD's longest.
 *
 * bound: extensions to 68 bytes, two more than the longest chip's id
 * unwind: 130
 * broken: s/length >= out_size ||/false ||/
 * refuted: a text that ends */
void prove_coco_snp_leaf_read(void)
{
    size_t oid_size, size;
    struct coco_snp_leaf leaf;
    unsigned field;

    GIVEN(oid_size <= 11 && size <= 68);
    const uint32_t seen = leaf.seen;
    int r = coco_snp_leaf_read(&leaf, any_bytes(oid_size), oid_size, any_bytes(size), size, &field);
    SHOW(r == 0 || r == -EEXIST || r == -EBADMSG, "0, -EEXIST or -EBADMSG");
    SHOW(field < COCO_SNP_FIELDS, "one of the fields");
    SHOW(field != 0 || (r == 0 && leaf.seen == seen), "what is not known is passed over");
    SHOW(field == 0 || leaf.seen == (seen | 1u << field), "what is known is noted");
    SHOW((r == -EEXIST) == (field != 0 && (seen & 1u << field) != 0), "once");
    SHOW(r != 0 || field != COCO_SNP_OID_HWID || leaf.hwid_size == 8 || leaf.hwid_size == 64,
         "a chip's id of 8 or 64 bytes");
    SHOW(r != 0 || field != COCO_SNP_OID_PRODUCT_NAME ||
             strnlen(leaf.product_name, sizeof(leaf.product_name)) < sizeof(leaf.product_name),
         "a text that ends");
}

/* bound: texts to 9 bytes, one more than the longest name and its "-"
 * unwind: 11
 * broken: s/product_name.n + 1. != 0/product_name[n + 2] != 0/
 * refuted: dereference failure */
void prove_coco_snp_product_is_named(void)
{
    enum coco_snp_product product;
    const char *text = any_text(9);
    bool named = coco_snp_product_is_named(product, text);

    SHOW(!named || coco_snp_product_facts(product) != NULL, "one of the list");
    SHOW(!named || text[0] != 0, "by a name");
}
