/* SPDX-License-Identifier: MIT */
/*
 * The RPC's decoders: the first byte selects a whole frame (0), a header (1) or a message's
 * payload.
 */
#include "fuzz/wire_oracle.h"

static const struct {
    uint16_t type;
    uint32_t status;
} payloads[] = {
    {COCO_HELLO, COCO_OK},       {COCO_HELLO_REPLY, COCO_OK},     {COCO_CERTS_GET, COCO_OK},
    {COCO_CERTS_REPLY, COCO_OK}, {COCO_CERTS_REPLY, COCO_ENOSPC}, {COCO_CERTS_REPLY, COCO_EIO},
    {COCO_QUOTE_GET, COCO_OK},   {COCO_GUEST_EVENT, COCO_OK},     {COCO_NOTIFY, COCO_OK},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coco_header header;

    if (size == 0)
        return 0;
    uint8_t which = data[0];
    data++;
    size--;
    if (which == 0) {
        wire_oracle_frame(data, size);
    } else if (which == 1) {
        if (size >= COCO_HEADER_SIZE)
            wire_oracle_header(data, &header);
    } else {
        size_t i = (which - 2u) % (sizeof(payloads) / sizeof(payloads[0]));
        wire_oracle_payload(payloads[i].type, payloads[i].status, data, size);
    }
    return 0;
}
