/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION: snp_tcb.c. Any product, a number outside of the list too.
 *
 * unit: proto/snp_tcb.c
 * with: proto/snp_product.c
 * unwind: 8
 */
#include "proof.h"
#include "snp_tcb.c"

static bool same(const struct coco_snp_tcb *a, const struct coco_snp_tcb *b)
{
    return a->bl == b->bl && a->tee == b->tee && a->snp == b->snp && a->ucode == b->ucode &&
           a->fmc == b->fmc;
}

/* bound: none
 * broken: s/return all.part.;/return all[part + 1];/
 * refuted: bound */
void prove_coco_snp_tcb_part(void)
{
    struct coco_snp_tcb tcb;
    enum coco_snp_part part;

    GIVEN(part >= 0 && part < PARTS);
    uint8_t v = coco_snp_tcb_part(&tcb, part);
    SHOW(part != COCO_SNP_BL || v == tcb.bl, "the bootloader's");
    SHOW(part != COCO_SNP_FMC || v == tcb.fmc, "the FMC's");
}

/* bound: none
 * broken: s/{&tcb->bl, &tcb->tee, &tcb->snp/{\&tcb->bl, \&tcb->bl, \&tcb->snp/
 * refuted: the one that was set */
void prove_coco_snp_tcb_set_part(void)
{
    struct coco_snp_tcb tcb;
    enum coco_snp_part part;
    uint8_t level;

    GIVEN(part >= 0 && part < PARTS);
    coco_snp_tcb_set_part(&tcb, part, level);
    SHOW(coco_snp_tcb_part(&tcb, part) == level, "the one that was set");
}

/* bound: none
 * broken: s/    if (version != 0)/    if (false)/
 * refuted: the same number */
void prove_coco_snp_tcb_decode(void)
{
    enum coco_snp_product product;
    uint64_t version, back;
    struct coco_snp_tcb tcb, before = tcb;
    int r = coco_snp_tcb_decode(product, version, &tcb);

    SHOW(r == 0 || r == -EINVAL || r == -EBADMSG, "0, -EINVAL or -EBADMSG");
    SHOW(r == 0 || same(&tcb, &before), "untouched on failure");
    SHOW((r == -EINVAL) == (product <= COCO_SNP_UNKNOWN_PRODUCT || product >= COCO_SNP_PRODUCTS),
         "an unknown product");
    if (r != 0)
        return;
    SHOW(coco_snp_tcb_encode(product, &tcb, &back) == 0, "what decodes, encodes");
    SHOW(back == version, "the same number");
}

/* bound: none
 * broken: s/else if (level != 0)/else if (level > 9)/
 * refuted: the same parts */
void prove_coco_snp_tcb_encode(void)
{
    enum coco_snp_product product;
    uint64_t version;
    struct coco_snp_tcb tcb, back;

    if (coco_snp_tcb_encode(product, &tcb, &version) != 0)
        return;
    SHOW(coco_snp_tcb_decode(product, version, &back) == 0, "what is encoded decodes");
    SHOW(same(&tcb, &back), "the same parts");
}

/* bound: none
 * broken: s/        if (p > out)$/        if (p >= out)/
 * refuted: what is written can be read */
void prove_coco_snp_tcb_format(void)
{
    enum coco_snp_product product;
    uint64_t version;
    char text[COCO_SNP_TCB_TEXT_SIZE];
    struct coco_snp_tcb tcb, back;

    GIVEN(coco_snp_tcb_decode(product, version, &tcb) == 0);
    coco_snp_tcb_format(product, &tcb, text);
    SHOW(coco_snp_tcb_parse(product, text, &back) == 0, "what is written can be read");
    SHOW(same(&tcb, &back), "the same parts");
}

/* bound: texts to 9 bytes, any bytes in them
 * unwind: 11
 * broken: s/if (first || .text)/if (first)/
 * refuted: the same text */
void prove_coco_snp_tcb_parse(void)
{
    enum coco_snp_product product;
    char buffer[10], again[COCO_SNP_TCB_TEXT_SIZE];
    size_t length;
    GIVEN(length < sizeof(buffer) && buffer[9] == 0);
    const char *text = AT_END(buffer, length + 1);
    struct coco_snp_tcb tcb, before = tcb;
    size_t i;
    int r = coco_snp_tcb_parse(product, text, &tcb);

    SHOW(r == 0 || (r == -EINVAL && same(&tcb, &before)), "untouched on failure");
    if (r != 0)
        return;
    coco_snp_tcb_format(product, &tcb, again);
    for (i = 0; i < COCO_SNP_TCB_TEXT_SIZE; i++) {
        SHOW(text[i] == again[i], "the same text");
        if (text[i] == 0 || text[i] != again[i])
            break;
    }
}

/* bound: none
 * broken: s/static const char names.PARTS..6. = {"BL", "TEE", "SNP", "UCODE", "FMC"}/
 *         static const char names[PARTS][12] = {"BOOTLOADER", "TEE", "SNP", "MICROCODE", "FMC"}/
 * unwind: 12
 * refuted: dereference failure */
void prove_coco_snp_tcb_form(void)
{
    enum coco_snp_product product;
    char out[COCO_SNP_TCB_FORM_SIZE];

    coco_snp_tcb_form(product, out);
    SHOW((out[0] == 0) == (product <= COCO_SNP_UNKNOWN_PRODUCT || product >= COCO_SNP_PRODUCTS),
         "empty for an unknown product");
}

/* bound: none
 * broken: s/if (lower && higher)/if (lower \&\& !higher)/
 * refuted: one way is the other's reverse */
void prove_coco_snp_tcb_compare(void)
{
    struct coco_snp_tcb a, b;
    enum coco_snp_tcb_order there = coco_snp_tcb_compare(&a, &b),
                            back = coco_snp_tcb_compare(&b, &a);

    SHOW((there == COCO_SNP_TCB_EQUAL) == same(&a, &b), "equal where all parts are");
    SHOW((there == COCO_SNP_TCB_LOWER) == (back == COCO_SNP_TCB_HIGHER) &&
             (there == COCO_SNP_TCB_MIXED) == (back == COCO_SNP_TCB_MIXED),
         "one way is the other's reverse");
    SHOW(there != COCO_SNP_TCB_LOWER || (a.bl <= b.bl && a.snp <= b.snp && a.ucode <= b.ucode),
         "no part is higher");
}
