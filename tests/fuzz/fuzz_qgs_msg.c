/* SPDX-License-Identifier: MIT */
/*
 * The QGS decoders: the input is a message as it lies on the stream, prefix first. Oracle: a
 * decoder refuses it, or encoding gives the same bytes; no second decoder takes the same message;
 * the encoder refuses a buffer one byte too short.
 */
#include "fuzz/fuzz.h"
#include "qgs_msg.h"

/* One decoder and its encoder over the message; counts in `taken` where it decodes. */
#define ROUND_TRIP(name)                                                             \
    do {                                                                             \
        struct coco_qgs_##name decoded;                                              \
        if (coco_qgs_##name##_decode(in, size, &decoded) == 0) {                     \
            REQUIRE(coco_qgs_##name##_encode(&decoded, out, size) == (int64_t)size); \
            REQUIRE(memcmp(in, out, size) == 0);                                     \
            REQUIRE(coco_qgs_##name##_encode(&decoded, out, size - 1) == -EMSGSIZE); \
            taken++;                                                                 \
        }                                                                            \
    } while (0)

static void one_message(const uint8_t *in, size_t size)
{
    struct coco_qgs_header header;
    uint8_t *out = malloc(size + 1);
    unsigned taken = 0;

    REQUIRE(out != NULL);
    ROUND_TRIP(quote_req);
    ROUND_TRIP(quote_resp);
    ROUND_TRIP(collateral_req);
    ROUND_TRIP(collateral_resp);
    ROUND_TRIP(platform_req);
    ROUND_TRIP(platform_resp);
    REQUIRE(taken <= 1);
    if (coco_qgs_header_decode(in, size, &header) == 0)
        REQUIRE(header.size == size);
    else
        REQUIRE(taken == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t prefix[COCO_QGS_PREFIX_SIZE];

    if (size < COCO_QGS_PREFIX_SIZE)
        return 0;
    coco_qgs_prefix_encode(coco_qgs_prefix_decode(data), prefix);
    REQUIRE(memcmp(prefix, data, sizeof(prefix)) == 0);
    if (coco_qgs_looks_raw(data))
        REQUIRE(coco_qgs_prefix_decode(data) > COCO_QGS_MESSAGE_MAX);
    one_message(data + COCO_QGS_PREFIX_SIZE, size - COCO_QGS_PREFIX_SIZE);
    return 0;
}
