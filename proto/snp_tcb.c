/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION: layouts, text. PROTOCOL.md "TCB_VERSION".
 *
 * Which byte of the u64 holds which part is in the table of products; a byte that no part claims is
 * reserved and must be zero. Everything here walks that table.
 */
#include "snp_tcb.h"
#include <errno.h>
#include <string.h>

#define PARTS COCO_SNP_PARTS

uint8_t coco_snp_tcb_part(const struct coco_snp_tcb *tcb, enum coco_snp_part part)
{
    const uint8_t all[PARTS] = {tcb->bl, tcb->tee, tcb->snp, tcb->ucode, tcb->fmc};

    return all[part];
}

void coco_snp_tcb_set_part(struct coco_snp_tcb *tcb, enum coco_snp_part part, uint8_t level)
{
    uint8_t *const all[PARTS] = {&tcb->bl, &tcb->tee, &tcb->snp, &tcb->ucode, &tcb->fmc};

    *all[part] = level;
}

int coco_snp_tcb_decode(enum coco_snp_product product, uint64_t version, struct coco_snp_tcb *ret)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);
    struct coco_snp_tcb tcb = {0};

    if (!facts)
        return -EINVAL;
    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        if (facts->tcb_bytes[i] == COCO_SNP_NO_BYTE)
            continue;
        unsigned shift = 8u * facts->tcb_bytes[i];
        coco_snp_tcb_set_part(&tcb, i, (uint8_t)(version >> shift & 0xff));
        version &= ~((uint64_t)0xff << shift);
    }
    if (version != 0)
        return -EBADMSG;
    *ret = tcb;
    return 0;
}

int coco_snp_tcb_encode(enum coco_snp_product product, const struct coco_snp_tcb *tcb,
                        uint64_t *ret)
{
    const struct coco_snp_facts *facts = coco_snp_product_facts(product);
    uint64_t version = 0;

    if (!facts)
        return -EINVAL;
    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        uint8_t level = coco_snp_tcb_part(tcb, i);
        if (facts->tcb_bytes[i] != COCO_SNP_NO_BYTE)
            version |= (uint64_t)level << (8u * facts->tcb_bytes[i]);
        else if (level != 0)
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
    char *p = out;

    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        if (!coco_snp_product_has(product, i))
            continue;
        if (p > out)
            *p++ = '.';
        p = put_decimal(p, coco_snp_tcb_part(tcb, i));
    }
    *p = 0;
}

void coco_snp_tcb_form(enum coco_snp_product product, char out[COCO_SNP_TCB_FORM_SIZE])
{
    static const char names[PARTS][6] = {"BL", "TEE", "SNP", "UCODE", "FMC"};
    char *p = out;

    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        if (!coco_snp_product_has(product, i))
            continue;
        if (p > out)
            *p++ = '.';
        memcpy(p, names[i], strlen(names[i]));
        p += strlen(names[i]);
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
    struct coco_snp_tcb tcb = {0};
    bool first = true;

    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        uint8_t level;
        if (!coco_snp_product_has(product, i))
            continue;
        if ((!first && *text++ != '.') || !take_decimal(&text, &level))
            return -EINVAL;
        coco_snp_tcb_set_part(&tcb, i, level);
        first = false;
    }
    if (first || *text)
        return -EINVAL;
    *ret = tcb;
    return 0;
}

enum coco_snp_tcb_order coco_snp_tcb_compare(const struct coco_snp_tcb *a,
                                             const struct coco_snp_tcb *b)
{
    bool lower = false, higher = false;

    for (enum coco_snp_part i = 0; i < PARTS; i++) {
        lower = lower || coco_snp_tcb_part(a, i) < coco_snp_tcb_part(b, i);
        higher = higher || coco_snp_tcb_part(a, i) > coco_snp_tcb_part(b, i);
    }
    if (lower && higher)
        return COCO_SNP_TCB_MIXED;
    if (lower)
        return COCO_SNP_TCB_LOWER;
    return higher ? COCO_SNP_TCB_HIGHER : COCO_SNP_TCB_EQUAL;
}
