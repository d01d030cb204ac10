/* SPDX-License-Identifier: MIT */
/*
 * AMD's products, and how each lays out a TCB.
 */
#include "snp_products.h"
#include "bytes.h"
#include "snp_report.h"
#include <string.h>

#define DATE(y, m, d, hh, mm, ss)                                                              \
    {                                                                                          \
        .tm_year = (y)-1900, .tm_mon = (m)-1, .tm_mday = (d), .tm_hour = (hh), .tm_min = (mm), \
        .tm_sec = (ss)                                                                         \
    }

const struct snp_product snp_products[SNP_N_PRODUCTS] = {
    {.name = "Milan",
     .leaf_name = "Milan-B0",
     .serials = {0x010000, 0x010001, 0x010101},
     .made = {DATE(2020, 10, 22, 17, 23, 5), DATE(2020, 10, 22, 18, 24, 20),
              DATE(2022, 11, 16, 22, 45, 24)},
     .chip_id_size = 64,
     .levels = "12456738",
     .bytes = "12    38",
     .family = 0x19,
     .model = 0x01,
     .models = {{0x00, 0x0f}},
     .ark = {0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1,
             0xf4, 0x21, 0x0d, 0xe4, 0x9e, 0xf5, 0x55, 0x30, 0x82, 0x87, 0xd4,
             0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd}},
    {.name = "Genoa",
     .leaf_name = "Genoa",
     .serials = {0x020000, 0x020002, 0x020101},
     .made = {DATE(2022, 1, 26, 15, 34, 37), DATE(2022, 10, 31, 13, 33, 48),
              DATE(2022, 11, 18, 1, 17, 1)},
     .chip_id_size = 64,
     .levels = "12456738",
     .bytes = "12    38",
     .family = 0x19,
     .model = 0x11,
     .models = {{0x10, 0x1f}, {0xa0, 0xaf}},
     .ark = {0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a,
             0x7d, 0x33, 0x5f, 0x67, 0x4e, 0x5b, 0xfe, 0x1d, 0x8f, 0x80, 0x0c,
             0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1}},
    {.name = "Turin",
     .leaf_name = "Turin",
     .serials = {0x030000, 0x030001, 0x030101},
     .made = {DATE(2023, 5, 15, 20, 3, 12), DATE(2023, 5, 15, 20, 25, 21),
              DATE(2023, 5, 15, 20, 30, 0)},
     .struct_version = 1,
     .chip_id_size = 8,
     .levels = "91235678",
     .bytes = "9123   8",
     .family = 0x1a,
     .model = 0x02,
     .models = {{0x00, 0x11}},
     .ark = {0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9,
             0x04, 0x87, 0x7d, 0x48, 0x19, 0xca, 0xfa, 0x5d, 0x05, 0xef, 0x41,
             0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a}},
    /* The root is AMD's in all but its key; of the others and the leaves none has been seen. */
    {.name = "Venice",
     .leaf_name = "Venice",
     .serials = {0x040000, 0x040001, 0x040101},
     .made = {DATE(2025, 4, 29, 1, 18, 22), DATE(2025, 4, 29, 1, 30, 0),
              DATE(2025, 4, 29, 1, 40, 0)},
     .struct_version = 1,
     .chip_id_size = 8,
     .levels = "923",
     .bytes = "9 23    ",
     .family = 0x1a,
     .model = 0x50,
     .models = {{0x50, 0x5f}, {0x90, 0xaf}, {0xc0, 0xcf}},
     .ark = {0x46, 0xef, 0x2e, 0xb7, 0x66, 0x41, 0x75, 0xc7, 0xe9, 0xd3, 0x92,
             0x3e, 0xa0, 0xd2, 0x75, 0xe5, 0x72, 0x36, 0x6d, 0x75, 0x55, 0x56,
             0xa3, 0x0e, 0x22, 0x96, 0x34, 0x59, 0x2d, 0xce, 0x59, 0x03}},
};

const uint8_t snp_guid_ark[16] = {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52,
                                  0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae};
const uint8_t snp_guid_ask[16] = {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4,
                                  0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82};
const uint8_t snp_guid_vcek[16] = {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64,
                                   0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd};
const uint8_t snp_guid_vlek[16] = {0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e,
                                   0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1};

const struct snp_product *snp_product_find(const char *name)
{
    for (size_t i = 0; i < SNP_N_PRODUCTS; i++)
        if (strcmp(snp_products[i].name, name) == 0)
            return &snp_products[i];
    return NULL;
}

uint8_t *snp_tcb_level(struct snp_pki_tcb *tcb, char number)
{
    switch (number) {
    case '1':
        return &tcb->bl;
    case '2':
        return &tcb->tee;
    case '3':
        return &tcb->snp;
    case '8':
        return &tcb->ucode;
    case '9':
        return &tcb->fmc;
    default:
        return NULL;
    }
}

void snp_tcb_encode(const char *product, struct snp_pki_tcb tcb, uint8_t ret[8])
{
    const struct snp_product *p = snp_product_find(product);

    for (size_t i = 0; i < 8; i++) {
        const uint8_t *part = p ? snp_tcb_level(&tcb, p->bytes[i]) : NULL;
        ret[i] = part ? *part : 0;
    }
}

struct snp_pki_tcb snp_tcb_decode(const char *product, const uint8_t bytes[8])
{
    const struct snp_product *p = snp_product_find(product);
    struct snp_pki_tcb tcb = {0};

    for (size_t i = 0; p && i < 8; i++) {
        uint8_t *part = snp_tcb_level(&tcb, p->bytes[i]);
        if (part)
            *part = bytes[i];
    }
    return tcb;
}

size_t snp_report_chip_size(const char *product)
{
    const struct snp_product *p = snp_product_find(product);

    return p ? p->chip_id_size : SNP_PKI_CHIP_ID_SIZE;
}

uint64_t snp_tcb_version(const char *product, struct snp_pki_tcb tcb)
{
    uint8_t bytes[8];

    snp_tcb_encode(product, tcb, bytes);
    struct coco_reader r = coco_reader_of(bytes, sizeof(bytes));
    return coco_read_u64(&r);
}

bool snp_tcb_equal(struct snp_pki_tcb a, struct snp_pki_tcb b)
{
    return a.bl == b.bl && a.tee == b.tee && a.snp == b.snp && a.ucode == b.ucode && a.fmc == b.fmc;
}
