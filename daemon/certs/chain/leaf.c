/* SPDX-License-Identifier: MIT */
/*
 * AMD's extensions of a VCEK or VLEK: 1.3.6.1.4.1.3704.1.*, as AMD's "Versioned Chip Endorsement
 * Key (VCEK) Certificate and KDS Interface Specification" (document 57230) has them, and as
 * measured on certificates that KDS issued.
 *
 * Their order varies and is not looked at; each may occur once; those that are unknown are ignored,
 * since new ones have appeared with new products. Required are the parts that select a chain:
 * product, the levels that the product's TCB has, and the chip's id (VCEK) or the provider's
 * (VLEK). Any other level must be 0 or left out: one that is not would be of a TCB that cannot be
 * told from another here. A chip id is raw bytes in extnValue, without an ASN.1 tag; an OCTET
 * STRING around them is taken as well.
 */
#include "bytes.h"
#include "certs/chain/parts.h"

#include <errno.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DER_INTEGER      0x02
#define DER_OCTET_STRING 0x04
#define DER_IA5_STRING   0x16

/* By the number behind AMD's arc; levels behind them, by the number behind theirs. */
#define N_PLAIN  (COCO_SNP_OID_CSP_ID + 1u)
#define N_FIELDS (N_PLAIN + COCO_SNP_SPLS + 1u)
#define NO_FIELD N_FIELDS

#define FIELD_NAME_SIZE 16u
static const char *field_name(unsigned field, char out[FIELD_NAME_SIZE])
{
    static const char *const plain[N_PLAIN] = {[COCO_SNP_OID_STRUCT_VERSION] = "structVersion",
                                               [COCO_SNP_OID_PRODUCT_NAME] = "productName",
                                               [COCO_SNP_OID_HWID] = "hwID",
                                               [COCO_SNP_OID_CSP_ID] = "CSP_ID"};

    if (field < N_PLAIN)
        return plain[field];
    for (enum coco_snp_part part = 0; part < COCO_SNP_PARTS; part++)
        if (coco_snp_part_oid(part) == field - N_PLAIN)
            return coco_snp_part_spl(part);
    (void)snprintf(out, FIELD_NAME_SIZE, "spl%u", field - N_PLAIN);
    return out;
}

/* A DER INTEGER from 0 to 255, in its shortest form. */
static bool read_level(struct coco_reader *r, uint8_t *ret)
{
    bool tagged = coco_read_u8(r) == DER_INTEGER;
    uint8_t length = coco_read_u8(r);
    uint8_t v = coco_read_u8(r);

    if (length == 2) {
        tagged = tagged && v == 0;
        v = coco_read_u8(r);
        tagged = tagged && v >= 0x80;
    } else if (v >= 0x80) {
        tagged = false;
    }
    *ret = v;
    return tagged && (length == 1 || length == 2) && coco_reader_done(r);
}

/* An IA5String of printable characters, at least one, that fits with its NUL. */
static bool read_text(struct coco_reader *r, char *out, size_t out_size)
{
    bool tagged = coco_read_u8(r) == DER_IA5_STRING;
    size_t length = coco_read_u8(r);
    const uint8_t *p = coco_read_bytes(r, length);

    if (!tagged || !p || !coco_reader_done(r) || length == 0 || length >= out_size || length > 127)
        return false;
    for (size_t i = 0; i < length; i++)
        if (p[i] < 0x20 || p[i] > 0x7E)
            return false;
    memcpy(out, p, length);
    out[length] = '\0';
    return true;
}

static bool read_hwid(struct coco_reader *r, struct chain *c, size_t size)
{
    if (coco_reader_left(r) == size + 2) {
        bool tagged = coco_read_u8(r) == DER_OCTET_STRING;
        if (!tagged || coco_read_u8(r) != size)
            return false;
    }
    coco_read_copy(r, c->key.chip_id, size);
    return coco_reader_done(r);
}

static bool read_struct_version(struct coco_reader *r, struct chain *c)
{
    uint8_t v = 0;
    bool good = read_level(r, &v);

    c->struct_version = v;
    return good;
}

/* A level: where it is no part of the TCB, 0. */
static bool read_spl(unsigned number, struct coco_reader *r, struct coco_snp_tcb *tcb,
                     enum coco_snp_product product)
{
    uint8_t level = 0;

    if (!read_level(r, &level))
        return false;
    for (enum coco_snp_part part = 0; part < COCO_SNP_PARTS; part++) {
        if (coco_snp_part_oid(part) != number || !coco_snp_product_has(product, part))
            continue;
        coco_snp_tcb_set_part(tcb, part, level);
        return true;
    }
    return level == 0;
}

static bool read_field(struct chain *c, unsigned field, struct coco_reader *r,
                       enum coco_snp_product product)
{
    switch (field) {
    case COCO_SNP_OID_STRUCT_VERSION:
        return read_struct_version(r, c);
    case COCO_SNP_OID_PRODUCT_NAME:
        return read_text(r, c->product_name, sizeof(c->product_name));
    case COCO_SNP_OID_HWID:
        return read_hwid(r, c, coco_snp_product_chip_id_size(product));
    case COCO_SNP_OID_CSP_ID:
        return read_text(r, c->key.csp, sizeof(c->key.csp));
    default:
        return read_spl(field - N_PLAIN, r, &c->key.tcb, product);
    }
}

/* "1", "3.8": the number, and that of a level behind it. */
static unsigned find_field(const X509_EXTENSION *ext)
{
    static const char arc[] = COCO_SNP_OID ".", levels[] = COCO_SNP_OID ".3.";
    char oid[64];
    const ASN1_OBJECT *object = X509_EXTENSION_get_object((X509_EXTENSION *)ext);
    int n = OBJ_obj2txt(oid, sizeof(oid), object, 1);
    bool level = strncmp(oid, levels, sizeof(levels) - 1) == 0;

    if (n <= 0 || (size_t)n >= sizeof(oid) || strncmp(oid, arc, sizeof(arc) - 1) != 0)
        return NO_FIELD;
    const char *number = oid + (level ? sizeof(levels) : sizeof(arc)) - 1;
    if (strlen(number) != 1 || number[0] < '1' || number[0] > '9') /* all that are known */
        return NO_FIELD;
    unsigned v = (unsigned)(number[0] - '0');
    if (level)
        return N_PLAIN + v;
    return v < N_PLAIN && v != COCO_SNP_OID_SPL ? v : NO_FIELD;
}

/* Must this kind of leaf have the field (1), must it not (-1), or may it (0)? */
static int wanted(unsigned field, enum coco_snp_signer signer, enum coco_snp_product product)
{
    switch (field) {
    case COCO_SNP_OID_STRUCT_VERSION:
    case COCO_SNP_OID_PRODUCT_NAME:
        return 1;
    case COCO_SNP_OID_HWID:
        return signer == COCO_SNP_SIGNER_VCEK ? 1 : -1;
    case COCO_SNP_OID_CSP_ID:
        return signer == COCO_SNP_SIGNER_VLEK ? 1 : -1;
    default:
        for (enum coco_snp_part part = 0; part < COCO_SNP_PARTS; part++)
            if (field == N_PLAIN + coco_snp_part_oid(part))
                return coco_snp_product_has(product, part);
        return 0;
    }
}

/* "Milan", or "Milan-" and a stepping; or so with a code name of the product. */
static bool name_fits(const char *product_name, const char *name)
{
    size_t n = strlen(name);

    return strncmp(product_name, name, n) == 0 &&
           (product_name[n] == '\0' || (product_name[n] == '-' && product_name[n + 1] != '\0'));
}

static bool product_name_fits(const char *product_name, enum coco_snp_product product)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);
    bool fits = name_fits(product_name, facts->name);

    for (size_t i = 0; facts->code_names[i]; i++)
        fits = fits || name_fits(product_name, facts->code_names[i]);
    return fits;
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

int chain_leaf_parse(struct chain *c, X509 *leaf, const struct chain_kind *kind, struct why *why)
{
    const char *source = c->certs[CHAIN_LEAF].source;
    const char *name = chain_signer_name(kind->signer);
    enum coco_snp_product product = coco_snp_product_of_name(kind->product);
    bool seen[N_FIELDS] = {false};
    char spl[FIELD_NAME_SIZE];

    if (!product)
        return chain_refuse_product(why, source, kind->product);
    c->key.product = product;
    c->key.signer = kind->signer;
    for (int i = 0; i < X509_get_ext_count(leaf); i++) {
        X509_EXTENSION *ext = X509_get_ext(leaf, i);
        unsigned field = find_field(ext);
        if (field == NO_FIELD)
            continue;
        const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(ext);
        struct coco_reader r =
            coco_reader_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
        if (seen[field])
            return why_set(why, -EBADMSG, "%s (%s) has the extension %s twice", source, name,
                           field_name(field, spl));
        seen[field] = true;
        if (!read_field(c, field, &r, product))
            return why_set(why, -EBADMSG, "%s (%s) has a malformed extension %s%s", source, name,
                           field_name(field, spl),
                           field > N_PLAIN && wanted(field, kind->signer, product) == 0
                               ? ", or one that is not 0: that level is not known here"
                               : "");
    }
    for (unsigned f = 0; f < N_FIELDS; f++) {
        int want = wanted(f, kind->signer, product);
        if (want > 0 && !seen[f])
            return why_set(why, -EBADMSG, "%s lacks the extension %s that every %s of %s has",
                           source, field_name(f, spl), name, kind->product);
        if (want < 0 && seen[f])
            return why_set(why, -EBADMSG, "%s has the extension %s that no %s of %s has", source,
                           field_name(f, spl), name, kind->product);
    }
    if (!product_name_fits(c->product_name, product))
        return why_set(why, -EBADMSG, "%s (%s) was issued under %s, but says that it is for \"%s\"",
                       source, name, c->certs[CHAIN_LEAF].issuer_cn, c->product_name);
    return 0;
}
