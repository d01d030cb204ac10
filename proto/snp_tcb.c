/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION: products, layouts, text. PROTOCOL.md "TCB_VERSION".
 *
 * One table says for each product which byte of the u64 (0 is the lowest) holds which part; a byte
 * that no part claims is reserved and must be zero. Everything else here walks that table, so a new
 * product is a new row.
 */
#include "snp_tcb.h"
#include <errno.h>
#include <string.h>

#define PARTS   5u
#define NO_BYTE 0xffu

struct layout {
    const char *name;
    uint8_t chip_id_size;
    uint8_t bytes[PARTS]; /* of bl, tee, snp, ucode, fmc */
};

static const struct layout layouts[] = {
    [COCO_SNP_MILAN] = {"Milan", 64, {0, 1, 6, 7, NO_BYTE}},
    [COCO_SNP_GENOA] = {"Genoa", 64, {0, 1, 6, 7, NO_BYTE}},
    [COCO_SNP_TURIN] = {"Turin", 8, {1, 2, 3, 7, 0}},
};

static const struct {
    uint32_t family, first_model, last_model;
    enum coco_snp_product product;
} cpus[] = {
    {0x19, 0x00, 0x0f, COCO_SNP_MILAN},
    {0x19, 0x10, 0x1f, COCO_SNP_GENOA},
    {0x19, 0xa0, 0xaf, COCO_SNP_GENOA},
    {0x1a, 0x00, 0x11, COCO_SNP_TURIN},
};

static const struct layout *layout_of(enum coco_snp_product product)
{
    size_t i = (size_t)product;

    return i < sizeof(layouts) / sizeof(layouts[0]) && layouts[i].name ? &layouts[i] : NULL;
}

enum coco_snp_product coco_snp_product_of_cpu(uint32_t family, uint32_t model)
{
    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++)
        if (family == cpus[i].family && model >= cpus[i].first_model && model <= cpus[i].last_model)
            return cpus[i].product;
    return COCO_SNP_UNKNOWN_PRODUCT;
}

const char *coco_snp_product_name(enum coco_snp_product product)
{
    const struct layout *layout = layout_of(product);

    return layout ? layout->name : NULL;
}

enum coco_snp_product coco_snp_product_of_name(const char *name)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (layouts[i].name && strcmp(layouts[i].name, name) == 0)
            return (enum coco_snp_product)i;
    return COCO_SNP_UNKNOWN_PRODUCT;
}

size_t coco_snp_product_chip_id_size(enum coco_snp_product product)
{
    const struct layout *layout = layout_of(product);

    return layout ? layout->chip_id_size : 0;
}

bool coco_snp_product_has_fmc(enum coco_snp_product product)
{
    const struct layout *layout = layout_of(product);

    return layout && layout->bytes[PARTS - 1] != NO_BYTE;
}

/* The parts in the order of `layout.bytes` and of the text. */
static void to_parts(const struct coco_snp_tcb *tcb, uint8_t parts[PARTS])
{
    const uint8_t all[PARTS] = {tcb->bl, tcb->tee, tcb->snp, tcb->ucode, tcb->fmc};

    memcpy(parts, all, sizeof(all));
}

static struct coco_snp_tcb from_parts(const uint8_t parts[PARTS])
{
    struct coco_snp_tcb tcb = {parts[0], parts[1], parts[2], parts[3], parts[4]};

    return tcb;
}

int coco_snp_tcb_decode(enum coco_snp_product product, uint64_t version, struct coco_snp_tcb *ret)
{
    const struct layout *layout = layout_of(product);
    uint8_t parts[PARTS] = {0};

    if (!layout)
        return -EINVAL;
    for (size_t i = 0; i < PARTS; i++) {
        if (layout->bytes[i] == NO_BYTE)
            continue;
        unsigned shift = 8u * layout->bytes[i];
        parts[i] = (uint8_t)(version >> shift);
        version &= ~((uint64_t)0xff << shift);
    }
    if (version != 0)
        return -EBADMSG;
    *ret = from_parts(parts);
    return 0;
}

int coco_snp_tcb_encode(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                        uint64_t *ret)
{
    const struct layout *layout = layout_of(product);
    uint8_t parts[PARTS];
    uint64_t version = 0;

    if (!layout)
        return -EINVAL;
    to_parts(tcb, parts);
    for (size_t i = 0; i < PARTS; i++) {
        if (layout->bytes[i] != NO_BYTE)
            version |= (uint64_t)parts[i] << (8u * layout->bytes[i]);
        else if (parts[i] != 0)
            return -EINVAL;
    }
    *ret = version;
    return 0;
}

static char *put_decimal(char *p, uint8_t v)
{
    if (v >= 100)
        *p++ = (char)('0' + v / 100);
    if (v >= 10)
        *p++ = (char)('0' + v / 10 % 10);
    *p++ = (char)('0' + v % 10);
    return p;
}

void coco_snp_tcb_format(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                         char out[COCO_SNP_TCB_TEXT_SIZE])
{
    const struct layout *layout = layout_of(product);
    uint8_t parts[PARTS];
    char *p = out;

    to_parts(tcb, parts);
    for (size_t i = 0; layout && i < PARTS && layout->bytes[i] != NO_BYTE; i++) {
        if (i > 0)
            *p++ = '.';
        p = put_decimal(p, parts[i]);
    }
    *p = 0;
}

/* Moves behind a number from 0 to 255 in its shortest form. */
static bool take_decimal(const char **text, uint8_t *ret)
{
    const char *p = *text;
    unsigned v = 0;

    while (*p >= '0' && *p <= '9' && p - *text < 3)
        v = 10 * v + (unsigned)(*p++ - '0');
    if (p == *text || v > 255 || (**text == '0' && p - *text > 1))
        return false;
    *text = p;
    *ret = (uint8_t)v;
    return true;
}

int coco_snp_tcb_parse(enum coco_snp_product product, const char *text, struct coco_snp_tcb *ret)
{
    const struct layout *layout = layout_of(product);
    uint8_t parts[PARTS] = {0};

    if (!layout)
        return -EINVAL;
    for (size_t i = 0; i < PARTS && layout->bytes[i] != NO_BYTE; i++) {
        if (i > 0 && *text++ != '.')
            return -EINVAL;
        if (!take_decimal(&text, &parts[i]))
            return -EINVAL;
    }
    if (*text)
        return -EINVAL;
    *ret = from_parts(parts);
    return 0;
}

enum coco_snp_tcb_order coco_snp_tcb_compare(const struct coco_snp_tcb *a,
                                             const struct coco_snp_tcb *b)
{
    uint8_t left[PARTS], right[PARTS];
    bool lower = false, higher = false;

    to_parts(a, left);
    to_parts(b, right);
    for (size_t i = 0; i < PARTS; i++) {
        lower = lower || left[i] < right[i];
        higher = higher || left[i] > right[i];
    }
    if (lower && higher)
        return COCO_SNP_TCB_MIXED;
    if (lower)
        return COCO_SNP_TCB_LOWER;
    return higher ? COCO_SNP_TCB_HIGHER : COCO_SNP_TCB_EQUAL;
}
