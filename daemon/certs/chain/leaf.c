/* SPDX-License-Identifier: MIT */
/*
 * AMD's extensions of a VCEK or VLEK, which proto/snp_product.c reads.
 *
 * Their order varies and is not looked at; each may occur once; those that are unknown are ignored,
 * since new ones have appeared with new products. Required are the parts that select a chain:
 * product, the levels that the product's TCB has, and the chip's id (VCEK) or the provider's
 * (VLEK). Any other level must be 0 or left out: one that is not would be of a TCB that cannot be
 * told from another here.
 */
#include "certs/chain/parts.h"

#include <errno.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

/* The part of the TCB whose level a field is; COCO_SNP_PARTS: none. */
static enum coco_snp_part part_of(unsigned field)
{
    enum coco_snp_part part = 0;

    while (part < COCO_SNP_PARTS && coco_snp_part_oid(part) + COCO_SNP_FIELD_SPL != field)
        part++;
    return part;
}

/* Must a VCEK, and a VLEK, have the field (1), must it not (-1), or may it (0)? */
static const struct {
    const char *name;
    int vcek, vlek;
} plain[COCO_SNP_FIELD_SPL] = {
    [COCO_SNP_OID_STRUCT_VERSION] = {"structVersion", 1, 1},
    [COCO_SNP_OID_PRODUCT_NAME] = {"productName", 1, 1},
    [COCO_SNP_OID_HWID] = {"hwID", 1, -1},
    [COCO_SNP_OID_CSP_ID] = {"CSP_ID", -1, 1},
};

#define FIELD_NAME_SIZE 16u
static const char *field_name(unsigned field, char out[FIELD_NAME_SIZE])
{
    if (field < COCO_SNP_FIELD_SPL)
        return plain[field].name;
    if (part_of(field) < COCO_SNP_PARTS)
        return coco_snp_part_spl(part_of(field));
    (void)snprintf(out, FIELD_NAME_SIZE, "spl%u", field - COCO_SNP_FIELD_SPL);
    return out;
}

/* Of this kind of leaf, as above. */
static int wanted(unsigned field, enum coco_snp_signer signer, enum coco_snp_product product)
{
    if (field < COCO_SNP_FIELD_SPL)
        return signer == COCO_SNP_SIGNER_VLEK ? plain[field].vlek : plain[field].vcek;
    return part_of(field) < COCO_SNP_PARTS && coco_snp_product_has(product, part_of(field));
}

int chain_refuse_product(struct why *why, const char *what, const char *product)
{
    char names[COCO_SNP_NAMES_SIZE];

    coco_snp_product_names(names);
    return why_set(why, -EBADMSG,
                   "%s is for the product \"%s\", which this cocod does not know (it knows %s): "
                   "it can neither store nor serve its certificates; guests on such a host get "
                   "theirs from AMD themselves, until a newer cocod does",
                   what, product, names);
}

static int read_extension(struct coco_snp_leaf *leaf, const X509 *x, int i, unsigned *ret_field)
{
    X509_EXTENSION *extension = X509_get_ext(x, i);
    const ASN1_OBJECT *oid = X509_EXTENSION_get_object(extension);
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);

    return coco_snp_leaf_read(leaf, OBJ_get0_data(oid), OBJ_length(oid),
                              ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value),
                              ret_field);
}

/* What is required is there, and what must not be is not. */
static int check_fields(const struct chain *c, uint32_t seen, struct why *why)
{
    const struct chain_cert *cert = &c->certs[CHAIN_LEAF];
    char spl[FIELD_NAME_SIZE];

    for (unsigned f = 1; f < COCO_SNP_FIELDS; f++) {
        int want = wanted(f, c->key.signer, c->key.product);
        bool there = seen & 1u << f;
        if ((want > 0 && !there) || (want < 0 && there))
            return why_set(why, -EBADMSG, "%s %s the extension %s that %s %s of %s has",
                           cert->source, there ? "has" : "lacks", field_name(f, spl),
                           there ? "no" : "every", chain_cert_name(cert), cert->product);
    }
    return 0;
}

int chain_leaf_parse(struct chain *c, X509 *x, struct why *why)
{
    const struct chain_cert *cert = &c->certs[CHAIN_LEAF];
    const char *source = cert->source, *name = chain_cert_name(cert);
    enum coco_snp_product product = coco_snp_product_of_name(cert->product);
    struct coco_snp_leaf leaf = {.seen = 0};
    char spl[FIELD_NAME_SIZE];

    if (!product)
        return chain_refuse_product(why, source, cert->product);
    c->key.product = product;
    c->key.signer = cert->signer;
    for (int i = 0; i < X509_get_ext_count(x); i++) {
        unsigned field;
        int r = read_extension(&leaf, x, i, &field);
        bool reserved = field > COCO_SNP_FIELD_SPL && wanted(field, cert->signer, product) == 0;
        if (r == -EEXIST)
            return why_set(why, -EBADMSG, "%s (%s) has the extension %s twice", source, name,
                           field_name(field, spl));
        if (r < 0 || (reserved && leaf.levels[field - COCO_SNP_FIELD_SPL] != 0) ||
            (field == COCO_SNP_OID_HWID &&
             leaf.hwid_size != coco_snp_product_chip_id_size(product)))
            return why_set(why, -EBADMSG, "%s (%s) has a malformed extension %s%s", source, name,
                           field_name(field, spl),
                           reserved ? ", or one that is not 0: that level is not known here" : "");
    }
    int r = check_fields(c, leaf.seen, why);
    if (r < 0)
        return r;
    if (!coco_snp_product_is_named(product, leaf.product_name))
        return why_set(why, -EBADMSG, "%s (%s) was issued under %s, but says that it is for \"%s\"",
                       source, name, cert->issuer_cn, leaf.product_name);
    c->struct_version = leaf.struct_version;
    memcpy(c->product_name, leaf.product_name, sizeof(c->product_name));
    memcpy(c->key.csp, leaf.csp_id, sizeof(c->key.csp));
    memcpy(c->key.chip_id, leaf.hwid, sizeof(c->key.chip_id));
    for (enum coco_snp_part part = 0; part < COCO_SNP_PARTS; part++)
        coco_snp_tcb_set_part(&c->key.tcb, part, leaf.levels[coco_snp_part_oid(part)]);
    return 0;
}
