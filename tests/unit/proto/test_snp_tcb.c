/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION: which CPU is which product, every byte of every layout, the text form, and the order
 * that is none.
 */
#include "fuzz/sev_oracle.h"
#include "support.h"

TEST(products_of_cpus)
{
    /* First and last model of each range and their neighbours. */
    static const struct {
        uint32_t family, model;
        const char *name;
    } cases[] = {
        {0x19, 0x00, "Milan"},  {0x19, 0x01, "Milan"},  {0x19, 0x0f, "Milan"},
        {0x19, 0x10, "Genoa"},  {0x19, 0x11, "Genoa"},  {0x19, 0x1f, "Genoa"},
        {0x19, 0x20, NULL},     {0x19, 0x9f, NULL},     {0x19, 0xa0, "Genoa"},
        {0x19, 0xaf, "Genoa"},  {0x19, 0xb0, NULL},     {0x1a, 0x00, "Turin"},
        {0x1a, 0x02, "Turin"},  {0x1a, 0x11, "Turin"},  {0x1a, 0x12, NULL},
        {0x1a, 0x4f, NULL},     {0x1a, 0x50, "Venice"}, {0x1a, 0x5f, "Venice"},
        {0x1a, 0x60, NULL},     {0x1a, 0x8f, NULL},     {0x1a, 0x90, "Venice"},
        {0x1a, 0xaf, "Venice"}, {0x1a, 0xb0, NULL},     {0x1a, 0xbf, NULL},
        {0x1a, 0xc0, "Venice"}, {0x1a, 0xcf, "Venice"}, {0x1a, 0xd0, NULL},
        {0x18, 0x01, NULL},     {0x119, 0x00, NULL},    {0x1a, 0x150, NULL},
        {0x17, 0x31, NULL},     {0x00, 0x00, NULL},     {0x1b, 0x01, NULL},
        {0x119, 0x01, NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *name =
            coco_snp_product_name(coco_snp_product_of_cpu(cases[i].family, cases[i].model));
        if (cases[i].name)
            ck_assert_str_eq(name, cases[i].name);
        else
            ck_assert_ptr_null(name);
    }
}

TEST(product_facts)
{
    ck_assert_int_eq(coco_snp_product_of_name("Milan"), COCO_SNP_MILAN);
    ck_assert_int_eq(coco_snp_product_of_name("Genoa"), COCO_SNP_GENOA);
    ck_assert_int_eq(coco_snp_product_of_name("Turin"), COCO_SNP_TURIN);
    ck_assert_int_eq(coco_snp_product_of_name("milan"), COCO_SNP_UNKNOWN_PRODUCT);
    ck_assert_int_eq(coco_snp_product_of_name("Milan-B0"), COCO_SNP_UNKNOWN_PRODUCT);
    ck_assert_int_eq(coco_snp_product_of_name(""), COCO_SNP_UNKNOWN_PRODUCT);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_MILAN), 64);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_GENOA), 64);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_TURIN), 8);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_UNKNOWN_PRODUCT), 0);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_VENICE), 8);
    ck_assert_uint_eq(coco_snp_product_chip_id_size(COCO_SNP_PRODUCTS), 0);
    ck_assert_ptr_null(coco_snp_product_facts(COCO_SNP_UNKNOWN_PRODUCT));
    ck_assert_ptr_null(coco_snp_product_facts(COCO_SNP_PRODUCTS));
    ck_assert_ptr_null(coco_snp_product_name((enum coco_snp_product)(-1)));
    ck_assert(!coco_snp_product_has(COCO_SNP_UNKNOWN_PRODUCT, COCO_SNP_BL));
    ck_assert_uint_eq(coco_snp_part_oid(COCO_SNP_BL), 1);
    ck_assert_uint_eq(coco_snp_part_oid(COCO_SNP_TEE), 2);
    ck_assert_uint_eq(coco_snp_part_oid(COCO_SNP_SNP), 3);
    ck_assert_uint_eq(coco_snp_part_oid(COCO_SNP_UCODE), 8);
    ck_assert_uint_eq(coco_snp_part_oid(COCO_SNP_FMC), 9);
}

TEST(what_people_call_a_product)
{
    static const struct {
        const char *text;
        enum coco_snp_product product;
    } cases[] = {
        {"Milan", COCO_SNP_MILAN},
        {"MILAN", COCO_SNP_MILAN},
        {"venice", COCO_SNP_VENICE},
        {"Bergamo", COCO_SNP_GENOA},
        {"siena", COCO_SNP_GENOA},
        {"Genoa", COCO_SNP_GENOA},
        {"Milan-B0", 0},
        {"Mila", 0},
        {"Milann", 0},
        {"", 0},
        {"Naples", 0},
        {"Turin ", 0},
    };
    char names[COCO_SNP_NAMES_SIZE], form[COCO_SNP_TCB_FORM_SIZE];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_int_eq(coco_snp_product_of_text(cases[i].text), cases[i].product);
    coco_snp_product_names(names);
    ck_assert_str_eq(names, "Milan, Genoa, Turin or Venice");
    coco_snp_tcb_form(COCO_SNP_MILAN, form);
    ck_assert_str_eq(form, "BL.TEE.SNP.UCODE");
    coco_snp_tcb_form(COCO_SNP_TURIN, form);
    ck_assert_str_eq(form, "BL.TEE.SNP.UCODE.FMC");
    coco_snp_tcb_form(COCO_SNP_VENICE, form);
    ck_assert_str_eq(form, "TEE.SNP.FMC");
    coco_snp_tcb_form(COCO_SNP_UNKNOWN_PRODUCT, form);
    ck_assert_str_eq(form, "");
}

/* Which part each byte is, product by product; ' ' is reserved. */
static const struct {
    enum coco_snp_product product;
    const char *bytes;
} byte_meanings[] = {
    {COCO_SNP_MILAN, "bt    su"},
    {COCO_SNP_GENOA, "bt    su"},
    {COCO_SNP_TURIN, "fbts   u"},
    {COCO_SNP_VENICE, "f ts    "}, /* no bootloader, no microcode */
};

TEST(every_byte_of_every_layout)
{
    for (size_t i = 0; i < sizeof(byte_meanings) / sizeof(byte_meanings[0]); i++) {
        for (unsigned byte = 0; byte < 8; byte++) {
            char part = byte_meanings[i].bytes[byte];
            struct coco_snp_tcb tcb = {9, 9, 9, 9, 9};
            int r = coco_snp_tcb_decode(byte_meanings[i].product, UINT64_C(0xd5) << 8 * byte, &tcb);

            ck_assert_int_eq(r, part == ' ' ? -EBADMSG : 0);
            if (r < 0)
                continue;
            ck_assert_uint_eq(tcb.bl, part == 'b' ? 0xd5 : 0);
            ck_assert_uint_eq(tcb.tee, part == 't' ? 0xd5 : 0);
            ck_assert_uint_eq(tcb.snp, part == 's' ? 0xd5 : 0);
            ck_assert_uint_eq(tcb.ucode, part == 'u' ? 0xd5 : 0);
            ck_assert_uint_eq(tcb.fmc, part == 'f' ? 0xd5 : 0);
            snp_tcb_oracle(byte_meanings[i].product, UINT64_C(0xd5) << 8 * byte);
        }
    }
}

TEST(one_number_two_layouts)
{
    struct coco_snp_tcb milan, turin;
    char text[COCO_SNP_TCB_TEXT_SIZE];

    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_MILAN, 0xd516000000000004, &milan), 0);
    coco_snp_tcb_format(COCO_SNP_MILAN, &milan, text);
    ck_assert_str_eq(text, "4.0.22.213");
    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_TURIN, 0xd516000000000004, &turin), -EBADMSG);
    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_TURIN, 0x4800000007010302, &turin), 0);
    coco_snp_tcb_format(COCO_SNP_TURIN, &turin, text);
    ck_assert_str_eq(text, "3.1.7.72.2");
    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_UNKNOWN_PRODUCT, 0, &turin), -EINVAL);
    /* A Turin's number on a Venice is no TCB, but where bootloader and microcode are 0. */
    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_VENICE, 0x4800000007010302, &turin), -EBADMSG);
    ck_assert_int_eq(coco_snp_tcb_decode(COCO_SNP_VENICE, 0x07010002, &turin), 0);
    coco_snp_tcb_format(COCO_SNP_VENICE, &turin, text);
    ck_assert_str_eq(text, "1.7.2");
    ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_VENICE, "1.7.2"), 0);
    ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_VENICE, "0.1.7.0.2"), -EINVAL);
}

TEST(a_part_only_where_the_product_has_it)
{
    const struct coco_snp_tcb tcb = {1, 2, 3, 4, 5};
    uint64_t version = 0;

    ck_assert_int_eq(coco_snp_tcb_encode(COCO_SNP_GENOA, &tcb, &version), -EINVAL);
    ck_assert_int_eq(coco_snp_tcb_encode((enum coco_snp_product)9, &tcb, &version), -EINVAL);
    ck_assert_int_eq(coco_snp_tcb_encode(COCO_SNP_TURIN, &tcb, &version), 0);
    ck_assert_uint_eq(version, 0x0400000003020105);
    ck_assert_int_eq(coco_snp_tcb_encode(COCO_SNP_VENICE, &tcb, &version), -EINVAL);
}

TEST(text_has_one_spelling)
{
    static const char *const good[] = {"0.0.0.0", "255.255.255.255", "4.0.22.213", "10.1.100.9"};
    static const char *const bad[] = {
        "",           "1",         "1.2.3",    "1.2.3.",   "1.2.3.4.",  "1.2.3.4.5",
        ".1.2.3.4",   "1..3.4",    "01.2.3.4", "1.2.3.00", "256.2.3.4", "1.2.3.999",
        "1.2.3.1000", "+1.2.3.4",  "-1.2.3.4", " 1.2.3.4", "1.2.3.4 ",  "1.2.3.4\n",
        "1,2,3,4",    "1.2.3.0x4", "1.2.3.4a", "1. 2.3.4", "a.b.c.d",   "1.2.3.٤",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char longer[32];
        (void)snprintf(longer, sizeof(longer), "%s.7", good[i]);
        ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_MILAN, good[i]), 0);
        ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_TURIN, longer), 0);
        ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_MILAN, longer), -EINVAL);
        ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_TURIN, good[i]), -EINVAL);
        ck_assert_int_eq(snp_tcb_text_oracle(COCO_SNP_UNKNOWN_PRODUCT, good[i]), -EINVAL);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(snp_tcb_text_oracle(COCO_SNP_MILAN, bad[i]) == -EINVAL, "\"%s\"", bad[i]);
}

TEST(longest_text_fits)
{
    const struct coco_snp_tcb tcb = {255, 255, 255, 255, 255};
    char text[COCO_SNP_TCB_TEXT_SIZE];

    coco_snp_tcb_format(COCO_SNP_TURIN, &tcb, text);
    ck_assert_str_eq(text, "255.255.255.255.255");
    coco_snp_tcb_format(COCO_SNP_UNKNOWN_PRODUCT, &tcb, text);
    ck_assert_str_eq(text, "");
}

TEST(parts_are_compared_not_integers)
{
    const struct coco_snp_tcb base = {4, 1, 22, 213, 2};

    for (size_t i = 0; i < 5; i++) {
        struct coco_snp_tcb a = base;
        ((uint8_t *)&a)[i]++;
        ck_assert_int_eq(coco_snp_tcb_compare(&a, &base), COCO_SNP_TCB_HIGHER);
        ck_assert_int_eq(coco_snp_tcb_compare(&base, &a), COCO_SNP_TCB_LOWER);
        ((uint8_t *)&a)[(i + 1) % 5]--;
        ck_assert_int_eq(coco_snp_tcb_compare(&a, &base), COCO_SNP_TCB_MIXED);
        ck_assert_int_eq(coco_snp_tcb_compare(&base, &a), COCO_SNP_TCB_MIXED);
    }
    ck_assert_int_eq(coco_snp_tcb_compare(&base, &base), COCO_SNP_TCB_EQUAL);
}
