/* SPDX-License-Identifier: MIT */
/*
 * The oracle of the platform helper's records and of TCB_VERSION: what decodes, encodes to the same
 * bytes; what does not, leaves the output untouched. It aborts where that does not hold.
 */
#pragma once

#include "fuzz/fuzz.h"
#include "sev_msg.h"
#include "status.h"

/* 0 or -EBADMSG, as the decoder. */
static inline int sev_request_oracle(const uint8_t in[COCO_SEV_REQUEST_SIZE])
{
    struct coco_sev_request request;
    uint8_t out[COCO_SEV_REQUEST_SIZE];

    memset(&request, UNTOUCHED, sizeof(request));
    int r = coco_sev_request_decode(in, &request);
    if (r < 0) {
        REQUIRE(r == -EBADMSG && untouched(&request, sizeof(request)));
        return r;
    }
    REQUIRE(request.op == COCO_SEV_STATUS || request.op == COCO_SEV_CHIP_ID);
    REQUIRE(coco_sev_request_encode(&request, out) == 0);
    REQUIRE(memcmp(in, out, sizeof(out)) == 0);
    return 0;
}

static inline int sev_reply_oracle(const uint8_t in[COCO_SEV_REPLY_SIZE])
{
    struct coco_sev_reply reply;
    uint8_t out[COCO_SEV_REPLY_SIZE];

    memset(&reply, UNTOUCHED, sizeof(reply));
    int r = coco_sev_reply_decode(in, &reply);
    if (r < 0) {
        REQUIRE(r == -EBADMSG && untouched(&reply, sizeof(reply)));
        return r;
    }
    REQUIRE(coco_status_known(reply.status));
    REQUIRE(reply.chip_id_size <= sizeof(reply.chip_id));
    REQUIRE(reply.status == COCO_OK || (reply.flags == 0 && reply.reported_tcb == 0 &&
                                        reply.current_tcb == 0 && !reply.chip_id_size));
    REQUIRE(coco_sev_fw_error_text(reply.fw_error)[0] != 0);
    REQUIRE(coco_sev_reply_encode(&reply, out) == 0);
    REQUIRE(memcmp(in, out, sizeof(out)) == 0);
    return 0;
}

/* A product's own name is one of what people may write for it. */
static inline void product_text_oracle(const char *text)
{
    enum coco_snp_product product = coco_snp_product_of_name(text);

    REQUIRE(!product || (coco_snp_product_of_text(text) == product &&
                         strcmp(coco_snp_product_name(product), text) == 0));
    REQUIRE(coco_snp_product_of_text(text) < COCO_SNP_PRODUCTS);
}

/* A TCB through all its forms. 0, or as coco_snp_tcb_decode. */
static inline int snp_tcb_oracle(enum coco_snp_product product, uint64_t version)
{
    struct coco_snp_tcb tcb, again;
    char text[COCO_SNP_TCB_TEXT_SIZE];
    uint64_t back = 0;

    memset(&tcb, UNTOUCHED, sizeof(tcb));
    int r = coco_snp_tcb_decode(product, version, &tcb);
    if (r < 0) {
        REQUIRE(untouched(&tcb, sizeof(tcb)));
        return r;
    }
    REQUIRE(coco_snp_tcb_encode(product, &tcb, &back) == 0 && back == version);
    coco_snp_tcb_format(product, &tcb, text);
    REQUIRE(strlen(text) < sizeof(text));
    REQUIRE(coco_snp_tcb_parse(product, text, &again) == 0);
    REQUIRE(memcmp(&tcb, &again, sizeof(tcb)) == 0);
    REQUIRE(coco_snp_tcb_compare(&tcb, &again) == COCO_SNP_TCB_EQUAL);
    return 0;
}

/* What parses is spelled in the only way there is. */
static inline int snp_tcb_text_oracle(enum coco_snp_product product, const char *text)
{
    struct coco_snp_tcb tcb;
    char out[COCO_SNP_TCB_TEXT_SIZE];

    memset(&tcb, UNTOUCHED, sizeof(tcb));
    int r = coco_snp_tcb_parse(product, text, &tcb);
    if (r < 0) {
        REQUIRE(r == -EINVAL && untouched(&tcb, sizeof(tcb)));
        return r;
    }
    coco_snp_tcb_format(product, &tcb, out);
    REQUIRE(strcmp(text, out) == 0);
    return 0;
}
