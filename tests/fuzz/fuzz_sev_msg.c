/* SPDX-License-Identifier: MIT */
/*
 * The platform helper's records: the input is a request and a reply; TCBs of a good reply go
 * through all forms.
 */
#include "fuzz/sev_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_sev_reply reply;

    if (size >= COCO_SEV_REQUEST_SIZE)
        sev_request_oracle(data);
    if (size >= COCO_SEV_REPLY_SIZE && sev_reply_oracle(data) == 0 &&
        coco_sev_reply_decode(data, &reply) == 0) {
        enum coco_snp_product product = coco_snp_product_of_cpu(reply.cpu_family, reply.cpu_model);
        snp_tcb_oracle(product, reply.current_tcb);
        snp_tcb_oracle(product, reply.reported_tcb);
    }
    return 0;
}
