/* SPDX-License-Identifier: MIT */
/*
 * What snp_table.h defines itself.
 *
 * unit: proto/snp_table.h
 */
#include "proof.h"
#include "snp_table.h"

/* bound: to 2^32 bytes, as long as a table can be
 * broken: s/size + COCO_PAGE_SIZE - 1/size + COCO_PAGE_SIZE/
 * refuted: just the pages that it takes */
void prove_coco_npages(void)
{
    size_t size;

    GIVEN(size <= UINT32_MAX);
    uint32_t n = coco_npages(size);
    SHOW((uint64_t)n * 4096 >= size && (n == 0 || (uint64_t)(n - 1) * 4096 < size),
         "just the pages that it takes");
}
