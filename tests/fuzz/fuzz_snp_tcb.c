/* SPDX-License-Identifier: MIT */
/*
 * TCB_VERSION: the first byte is the product; eight bytes behind it are a number, all of it is a
 * text, too.
 */
#include "bytes.h"
#include "fuzz/sev_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_reader r = coco_reader_of(data, size);
    enum coco_snp_product product =
        (enum coco_snp_product)(coco_read_u8(&r) % (COCO_SNP_PRODUCTS + 1));
    char text[64] = "";
    size_t n = coco_reader_left(&r);

    if (n < sizeof(text)) {
        memcpy(text, data + size - n, n);
        snp_tcb_text_oracle(product, text);
        product_text_oracle(text);
    }
    uint64_t version = coco_read_u64(&r);
    if (!r.bad)
        snp_tcb_oracle(product, version);
    return 0;
}
