/* SPDX-License-Identifier: MIT */
/*
 * The platform helper's records: sev_msg.c.
 *
 * unit: proto/sev_msg.c
 * with: proto/status.c proto/wire.c proto/text.c
 * unwind: 66
 */
#include "proof.h"
#include "sev_msg.c"

/* bound: none
 * broken: s/coco_read_zeros(&r, 4);/(void)coco_read_bytes(\&r, 4);/
 * refuted: the same bytes */
void prove_coco_sev_request_decode(void)
{
    uint8_t in[COCO_SEV_REQUEST_SIZE], out[COCO_SEV_REQUEST_SIZE];
    struct coco_sev_request m, before = m;
    int r = coco_sev_request_decode(in, &m);

    SHOW_RESULT(r, m, before);
    if (r != 0)
        return;
    SHOW(coco_sev_request_encode(&m, out) == 0, "what decodes, encodes");
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/    if (!op_known(request->op))/    if (false)/
 * refuted: what is encoded decodes */
void prove_coco_sev_request_encode(void)
{
    uint8_t out[COCO_SEV_REQUEST_SIZE];
    struct coco_sev_request m, back;
    int r = coco_sev_request_encode(&m, out);

    SHOW(r == 0 || r == -EINVAL, "0 or -EINVAL");
    SHOW(r != 0 || coco_sev_request_decode(out, &back) == 0, "what is encoded decodes");
    SHOW(r != 0 || (back.op == m.op && back.id == m.id), "to the same");
}

/* bound: none
 * broken: s/m->chip_id_size == 64 || m->chip_id_size == 8/m->chip_id_size < 100/
 * refuted: dereference failure */
void prove_coco_sev_reply_decode(void)
{
    uint8_t in[COCO_SEV_REPLY_SIZE], out[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply m, before = m;
    int r = coco_sev_reply_decode(in, &m);

    SHOW_RESULT(r, m, before);
    if (r != 0)
        return;
    SHOW(coco_status_known(m.status), "a status of the contract");
    SHOW(m.chip_id_size == 0 || m.chip_id_size == 8 || m.chip_id_size == 64,
         "a chip's id of 8 or 64 bytes");
    SHOW(coco_sev_reply_encode(&m, out) == 0, "what decodes, encodes");
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/    if (!reply_valid(reply))/    if (false)/
 * refuted: what is encoded decodes */
void prove_coco_sev_reply_encode(void)
{
    uint8_t out[COCO_SEV_REPLY_SIZE];
    struct coco_sev_reply m, back;
    int r = coco_sev_reply_encode(&m, out);

    SHOW(r == 0 || r == -EINVAL, "0 or -EINVAL");
    SHOW(r != 0 || coco_sev_reply_decode(out, &back) == 0, "what is encoded decodes");
}

/* bound: none
 * broken: s/return "a status without a name here";/return NULL;/
 * refuted: always a text */
void prove_coco_sev_fw_error_text(void)
{
    uint32_t error;

    SHOW(coco_sev_fw_error_text(error) != NULL, "always a text");
}
