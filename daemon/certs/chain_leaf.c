/* SPDX-License-Identifier: MIT */
/*
 * AMD's extensions of a VCEK or VLEK: 1.3.6.1.4.1.3704.1.*, as AMD's "Versioned Chip Endorsement
 * Key (VCEK) Certificate and KDS Interface Specification" (document 57230) has them, and as
 * measured on certificates that KDS issued.
 *
 * Their order varies and is not looked at; each may occur once; those that are unknown are ignored,
 * since new ones have appeared with new products. Required are the parts that select a chain:
 * product, bootloader, TEE, SNP and microcode levels, on products with an FMC its level, and the
 * chip's id (VCEK) or the provider's (VLEK). A chip id is raw bytes in extnValue, without an ASN.1
 * tag, 64 bytes or, on Turin, 8; an OCTET STRING around them is taken as well.
 */
#include "bytes.h"
#include "certs/chain_parts.h"

#include <openssl/objects.h>
#include <openssl/x509.h>
#include <string.h>

#define AMD_ARC "1.3.6.1.4.1.3704.1."

#define DER_INTEGER      0x02
#define DER_OCTET_STRING 0x04
#define DER_IA5_STRING   0x16

enum field {
    STRUCT_VERSION,
    PRODUCT_NAME,
    BL_SPL,
    TEE_SPL,
    SNP_SPL,
    SPL4,
    SPL5,
    SPL6,
    SPL7,
    UCODE_SPL,
    FMC_SPL,
    HWID,
    CSP_ID,
    N_FIELDS,
};

static const struct {
    const char *oid; /* below AMD_ARC */
    const char *name;
} fields[N_FIELDS] = {
    [STRUCT_VERSION] = {"1", "structVersion"},
    [PRODUCT_NAME] = {"2", "productName"},
    [BL_SPL] = {"3.1", "blSPL"},
    [TEE_SPL] = {"3.2", "teeSPL"},
    [SNP_SPL] = {"3.3", "snpSPL"},
    [SPL4] = {"3.4", "spl4"},
    [SPL5] = {"3.5", "spl5"},
    [SPL6] = {"3.6", "spl6"},
    [SPL7] = {"3.7", "spl7"},
    [UCODE_SPL] = {"3.8", "ucodeSPL"},
    [FMC_SPL] = {"3.9", "fmcSPL"},
    [HWID] = {"4", "hwID"},
    [CSP_ID] = {"5", "CSP_ID"},
};

static const struct chain_product products[] = {
    {.name = "Milan", .hwid_size = 64, .has_fmc = false},
    {.name = "Genoa", .hwid_size = 64, .has_fmc = false}, /* Bergamo and Siena, too */
    {.name = "Turin", .hwid_size = 8, .has_fmc = true},
};

const struct chain_product *chain_product_find(const char *name)
{
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        if (strcmp(products[i].name, name) == 0)
            return &products[i];
    return NULL;
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
    coco_read_copy(r, c->hwid, size);
    c->hwid_size = size;
    return coco_reader_done(r);
}

static bool read_struct_version(struct coco_reader *r, struct chain *c)
{
    uint8_t v = 0;
    bool good = read_level(r, &v);

    c->struct_version = v;
    return good;
}

static bool read_field(struct chain *c, enum field field, struct coco_reader *r,
                       const struct chain_product *product)
{
    switch (field) {
    case STRUCT_VERSION:
        return read_struct_version(r, c);
    case PRODUCT_NAME:
        return read_text(r, c->product_name, sizeof(c->product_name));
    case BL_SPL:
        return read_level(r, &c->tcb.bootloader);
    case TEE_SPL:
        return read_level(r, &c->tcb.tee);
    case SNP_SPL:
        return read_level(r, &c->tcb.snp);
    case SPL4:
        return read_level(r, &c->tcb.spl4);
    case SPL5:
        return read_level(r, &c->tcb.spl5);
    case SPL6:
        return read_level(r, &c->tcb.spl6);
    case SPL7:
        return read_level(r, &c->tcb.spl7);
    case UCODE_SPL:
        return read_level(r, &c->tcb.microcode);
    case FMC_SPL:
        c->tcb.has_fmc = true;
        return read_level(r, &c->tcb.fmc);
    case HWID:
        return read_hwid(r, c, product->hwid_size);
    case CSP_ID:
        return read_text(r, c->csp_id, sizeof(c->csp_id));
    case N_FIELDS:
        break;
    }
    return false;
}

static enum field find_field(const X509_EXTENSION *ext)
{
    char oid[64];
    const ASN1_OBJECT *object = X509_EXTENSION_get_object((X509_EXTENSION *)ext);
    int n = OBJ_obj2txt(oid, sizeof(oid), object, 1);

    if (n <= 0 || (size_t)n >= sizeof(oid) || strncmp(oid, AMD_ARC, strlen(AMD_ARC)) != 0)
        return N_FIELDS;
    for (size_t i = 0; i < N_FIELDS; i++)
        if (strcmp(oid + strlen(AMD_ARC), fields[i].oid) == 0)
            return (enum field)i;
    return N_FIELDS;
}

/* Must this kind of leaf have the field (1), must it not (-1), or may it (0)? */
static int wanted(enum field field, enum chain_signer signer, const struct chain_product *product)
{
    switch (field) {
    case SPL4:
    case SPL5:
    case SPL6:
    case SPL7:
        return 0;
    case FMC_SPL:
        return product->has_fmc ? 1 : -1;
    case HWID:
        return signer == CHAIN_SIGNER_VCEK ? 1 : -1;
    case CSP_ID:
        return signer == CHAIN_SIGNER_VLEK ? 1 : -1;
    default:
        return 1;
    }
}

/* "Milan", or "Milan-" and a stepping. */
static bool product_name_fits(const char *product_name, const char *product)
{
    size_t n = strlen(product);

    return strncmp(product_name, product, n) == 0 &&
           (product_name[n] == '\0' || (product_name[n] == '-' && product_name[n + 1] != '\0'));
}

int chain_leaf_parse(struct chain *c, X509 *leaf, const struct chain_why *why)
{
    const char *source = c->certs[CHAIN_LEAF].source;
    const char *name = chain_signer_name(c->signer);
    const struct chain_product *product = chain_product_find(c->product);
    bool seen[N_FIELDS] = {false};

    if (!product)
        return chain_refuse(why, "%s (%s) is for the product \"%s\", which is not known", source,
                            name, c->product);
    for (int i = 0; i < X509_get_ext_count(leaf); i++) {
        X509_EXTENSION *ext = X509_get_ext(leaf, i);
        enum field field = find_field(ext);
        if (field == N_FIELDS)
            continue;
        const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(ext);
        struct coco_reader r =
            coco_reader_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
        if (seen[field])
            return chain_refuse(why, "%s (%s) has the extension %s twice", source, name,
                                fields[field].name);
        seen[field] = true;
        if (!read_field(c, field, &r, product))
            return chain_refuse(why, "%s (%s) has a malformed extension %s", source, name,
                                fields[field].name);
    }
    for (enum field f = 0; f < N_FIELDS; f++) {
        int want = wanted(f, c->signer, product);
        if (want > 0 && !seen[f])
            return chain_refuse(why, "%s lacks the extension %s that every %s of %s has", source,
                                fields[f].name, name, c->product);
        if (want < 0 && seen[f])
            return chain_refuse(why, "%s has the extension %s that no %s of %s has", source,
                                fields[f].name, name, c->product);
    }
    if (!product_name_fits(c->product_name, c->product))
        return chain_refuse(why, "%s (%s) was issued under %s, but says that it is for \"%s\"",
                            source, name, c->certs[CHAIN_LEAF].issuer_cn, c->product_name);
    return 0;
}

/* SEV-SNP firmware ABI (document 56860), TCB_VERSION: Turin put the FMC first and moved the others.
 */
uint64_t chain_tcb_version(const struct chain *c)
{
    const struct chain_tcb *t = &c->tcb;
    const uint8_t old[8] = {t->bootloader, t->tee,  t->spl4, t->spl5,
                            t->spl6,       t->spl7, t->snp,  t->microcode};
    const uint8_t with_fmc[8] = {t->fmc, t->bootloader, t->tee, t->snp, 0, 0, 0, t->microcode};
    struct coco_reader r = coco_reader_of(t->has_fmc ? with_fmc : old, sizeof(old));

    return coco_read_u64(&r);
}
