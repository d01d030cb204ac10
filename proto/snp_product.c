/* SPDX-License-Identifier: MIT */
/*
 * The table of products.
 *
 * Roots are those of AMD's key distribution service, the second certificate of each answer to
 * https://kdsintf.amd.com/vcek/v1/PRODUCT/cert_chain; the same stand over VLEKs.
 *
 * Venice's TCB has neither bootloader nor microcode; that its other parts lie where Turin has them
 * is not confirmed by a report from such a machine. What contradicts it ends in "not known" and the
 * empty table: a byte that is no part's must be zero, in the firmware's number as in a certificate.
 */
#include "snp_product.h"
#include "bytes.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

#define NO COCO_SNP_NO_BYTE

static const struct coco_snp_facts products[] = {
    [COCO_SNP_MILAN] = {.name = "Milan",
                        .processors = "EPYC 7003",
                        /* serial 010000, 2020-10-22 to 2045-10-22 */
                        .ark_sha256 = {0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a,
                                       0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e,
                                       0xf5, 0x55, 0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74,
                                       0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd},
                        .chip_id_size = 64,
                        /*           bl tee snp ucode fmc */
                        .tcb_bytes = {0, 1, 6, 7, NO},
                        .cpus = {{0x19, 0x00, 0x0f}}},
    [COCO_SNP_GENOA] = {.name = "Genoa",
                        .processors = "EPYC 9004, 8004, 97x4: Bergamo and Siena, too",
                        .code_names = {"Bergamo", "Siena"},
                        /* serial 020000, 2022-01-26 to 2047-01-26 */
                        .ark_sha256 = {0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c,
                                       0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e,
                                       0x5b, 0xfe, 0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c,
                                       0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1},
                        .chip_id_size = 64,
                        .tcb_bytes = {0, 1, 6, 7, NO},
                        .cpus = {{0x19, 0x10, 0x1f}, {0x19, 0xa0, 0xaf}}},
    [COCO_SNP_TURIN] = {.name = "Turin",
                        .processors = "EPYC 9005",
                        /* serial 030000, 2023-05-15 to 2048-05-15 */
                        .ark_sha256 = {0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9,
                                       0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19,
                                       0xca, 0xfa, 0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2,
                                       0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a},
                        .chip_id_size = 8,
                        .tcb_bytes = {1, 2, 3, 7, 0},
                        .cpus = {{0x1a, 0x00, 0x11}}},
    [COCO_SNP_VENICE] = {.name = "Venice",
                         .processors = "EPYC of family 1Ah, models 50h and up",
                         /* serial 040000, 2025-04-29 to 2050-04-29 */
                         .ark_sha256 = {0x46, 0xef, 0x2e, 0xb7, 0x66, 0x41, 0x75, 0xc7,
                                        0xe9, 0xd3, 0x92, 0x3e, 0xa0, 0xd2, 0x75, 0xe5,
                                        0x72, 0x36, 0x6d, 0x75, 0x55, 0x56, 0xa3, 0x0e,
                                        0x22, 0x96, 0x34, 0x59, 0x2d, 0xce, 0x59, 0x03},
                         .chip_id_size = 8,
                         .tcb_bytes = {NO, 2, 3, NO, 0},
                         .cpus = {{0x1a, 0x50, 0x5f}, {0x1a, 0x90, 0xaf}, {0x1a, 0xc0, 0xcf}}},
};
static_assert(sizeof(products) / sizeof(products[0]) == COCO_SNP_PRODUCTS, "a row is missing");

static const struct {
    const char *spl;
    uint8_t oid;
} parts[COCO_SNP_PARTS] = {
    [COCO_SNP_BL] = {"blSPL", 1},       [COCO_SNP_TEE] = {"teeSPL", 2},
    [COCO_SNP_SNP] = {"snpSPL", 3},     [COCO_SNP_FMC] = {"fmcSPL", 9},
    [COCO_SNP_UCODE] = {"ucodeSPL", 8},
};

const struct coco_snp_facts *coco_snp_product_facts(enum coco_snp_product product)
{
    return product > COCO_SNP_UNKNOWN_PRODUCT && product < COCO_SNP_PRODUCTS ? &products[product]
                                                                             : NULL;
}

enum coco_snp_product coco_snp_product_of_cpu(uint32_t family, uint32_t model)
{
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++)
        for (size_t i = 0; i < sizeof(products[p].cpus) / sizeof(products[p].cpus[0]); i++)
            if (products[p].cpus[i].family != 0 && family == products[p].cpus[i].family &&
                model >= products[p].cpus[i].first_model && model <= products[p].cpus[i].last_model)
                return p;
    return COCO_SNP_UNKNOWN_PRODUCT;
}

const char *coco_snp_product_name(enum coco_snp_product product)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);

    return facts ? facts->name : NULL;
}

enum coco_snp_product coco_snp_product_of_name(const char *name)
{
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++)
        if (strcmp(products[p].name, name) == 0)
            return p;
    return COCO_SNP_UNKNOWN_PRODUCT;
}

/* ASCII alone, whatever the locale. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_word(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

enum coco_snp_product coco_snp_product_of_text(const char *text)
{
    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++) {
        if (same_word(products[p].name, text))
            return p;
        for (size_t i = 0; products[p].code_names[i]; i++)
            if (same_word(products[p].code_names[i], text))
                return p;
    }
    return COCO_SNP_UNKNOWN_PRODUCT;
}

void coco_snp_product_names(char out[COCO_SNP_NAMES_SIZE])
{
    size_t used = 0;

    for (enum coco_snp_product p = COCO_SNP_UNKNOWN_PRODUCT + 1; p < COCO_SNP_PRODUCTS; p++) {
        const char *before = used == 0 ? "" : p == COCO_SNP_PRODUCTS - 1 ? " or " : ", ";
        size_t n = strlen(before), m = strlen(products[p].name);
        if (n + m >= COCO_SNP_NAMES_SIZE - used)
            break;
        memcpy(out + used, before, n);
        memcpy(out + used + n, products[p].name, m);
        used += n + m;
    }
    out[used] = 0;
}

size_t coco_snp_product_chip_id_size(enum coco_snp_product product)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);

    return facts ? facts->chip_id_size : 0;
}

bool coco_snp_product_has(enum coco_snp_product product, enum coco_snp_part part)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);

    return facts && facts->tcb_bytes[part] != COCO_SNP_NO_BYTE;
}

unsigned coco_snp_part_oid(enum coco_snp_part part)
{
    return parts[part].oid;
}

const char *coco_snp_part_spl(enum coco_snp_part part)
{
    return parts[part].spl;
}

/* --- a leaf's extensions ---------------------------------------------------------------------- */

#define DER_INTEGER      0x02
#define DER_OCTET_STRING 0x04
#define DER_IA5_STRING   0x16

static unsigned field_of(const uint8_t *oid, size_t size)
{
    /* 1.3.6.1.4.1.3704.1 */
    static const uint8_t amd[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01};
    const size_t n = sizeof(amd);

    if (size < n + 1 || size > n + 2 || memcmp(oid, amd, n) != 0)
        return 0;
    if (size == n + 1)
        return oid[n] <= COCO_SNP_OID_CSP_ID && oid[n] != COCO_SNP_OID_SPL ? oid[n] : 0;
    bool level = oid[n] == COCO_SNP_OID_SPL && oid[n + 1] >= 1 && oid[n + 1] <= COCO_SNP_SPLS;
    return level ? COCO_SNP_FIELD_SPL + oid[n + 1] : 0;
}

/* In its shortest form. */
static bool read_level(struct coco_reader *r, uint8_t *ret)
{
    bool good = coco_read_u8(r) == DER_INTEGER;
    uint8_t length = coco_read_u8(r);
    uint8_t v = coco_read_u8(r);

    if (length == 2) {
        good = good && v == 0;
        v = coco_read_u8(r);
    }
    *ret = v;
    return good && length == (v >= 0x80 ? 2 : 1);
}

/* At least one character; it fits with its NUL. */
static bool read_text(struct coco_reader *r, char *out, size_t out_size)
{
    bool good = coco_read_u8(r) == DER_IA5_STRING;
    size_t length = coco_read_u8(r);

    if (length == 0 || length >= out_size || length > 127)
        return false;
    coco_read_copy(r, out, length);
    out[length] = 0;
    for (size_t i = 0; i < length; i++)
        good = good && out[i] >= 0x20 && out[i] <= 0x7E;
    return good;
}

static bool read_hwid(struct coco_reader *r, struct coco_snp_leaf *leaf)
{
    size_t n = coco_reader_left(r);
    bool good = true;

    if (n == 8 + 2 || n == 64 + 2) {
        n -= 2;
        good = coco_read_u8(r) == DER_OCTET_STRING;
        good = coco_read_u8(r) == n && good;
    }
    if (n != 8 && n != 64)
        return false;
    coco_read_copy(r, leaf->hwid, n);
    leaf->hwid_size = n;
    return good;
}

int coco_snp_leaf_read(struct coco_snp_leaf *leaf, const uint8_t *oid, size_t oid_size,
                       const uint8_t *value, size_t size, unsigned *ret_field)
{
    struct coco_reader r = coco_reader_of(value, size);
    unsigned field = field_of(oid, oid_size);
    bool good;

    *ret_field = field;
    if (field == 0)
        return 0;
    if (leaf->seen & 1u << field)
        return -EEXIST;
    leaf->seen |= 1u << field;
    switch (field) {
    case COCO_SNP_OID_STRUCT_VERSION:
        good = read_level(&r, &leaf->struct_version);
        break;
    case COCO_SNP_OID_PRODUCT_NAME:
        good = read_text(&r, leaf->product_name, sizeof(leaf->product_name));
        break;
    case COCO_SNP_OID_HWID:
        good = read_hwid(&r, leaf);
        break;
    case COCO_SNP_OID_CSP_ID:
        good = read_text(&r, leaf->csp_id, sizeof(leaf->csp_id));
        break;
    default:
        good = read_level(&r, &leaf->levels[field - COCO_SNP_FIELD_SPL]);
    }
    return good && coco_reader_done(&r) ? 0 : -EBADMSG;
}

static bool name_fits(const char *product_name, const char *name)
{
    size_t n = strlen(name);

    return strncmp(product_name, name, n) == 0 &&
           (product_name[n] == 0 || (product_name[n] == '-' && product_name[n + 1] != 0));
}

bool coco_snp_product_is_named(enum coco_snp_product product, const char *product_name)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);
    bool fits = facts && name_fits(product_name, facts->name);

    for (size_t i = 0; facts && facts->code_names[i]; i++)
        fits = fits || name_fits(product_name, facts->code_names[i]);
    return fits;
}
