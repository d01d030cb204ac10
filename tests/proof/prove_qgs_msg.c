/* SPDX-License-Identifier: MIT */
/*
 * QGS's messages: qgs_msg.c. A decoder is given any number of bytes, up to the 2^32 and more that
 * no message has; what it takes is encoded to the same bytes. An encoder is given fields of any
 * size, and any room.
 *
 * unit: proto/qgs_msg.c
 * unwind: 9
 * cut: coco_write_bytes coco_write_zeros coco_write_le
 */
#include "one_byte.h"
#include "qgs_msg.c"

#define ANY_INPUT(in, size) \
    size_t size;            \
    const uint8_t *in = any_bytes(size)

/* `n` bytes at `p` are the input's own. */
#define SHOW_INSIDE(p, n, in, size)                                                   \
    SHOW(__CPROVER_r_ok(p, n) && (p) >= (in) && (size_t)((p) - (in)) + (n) <= (size), \
         "inside the input")

/* What was decoded is encoded to the bytes that it was decoded from. */
#define SHOW_ROUND_TRIP(m, in, size, encode)                                     \
    do {                                                                         \
        uint8_t *out_ = any_bytes(size);                                         \
        follow_any();                                                            \
        SHOW(encode(m, out_, size) == (int64_t)(size), "what decodes, encodes"); \
        SHOW_WRITTEN_SAME(in, size);                                             \
    } while (0)

/* A message with any two blobs, encoded into any room: `m`, `out_size`, `r`. */
#define ENCODE_ANY(message, a, b)                             \
    struct coco_qgs_##message m;                              \
    size_t out_size;                                          \
    follow_any();                                             \
    m.a = any_bytes(m.a##_size), m.b = any_bytes(m.b##_size); \
    int64_t r = coco_qgs_##message##_encode(&m, any_bytes(out_size), out_size)

/* What was encoded has its size, and fits; each byte of it was written. */
#define SHOW_ENCODED(r, total, out_size)                                                       \
    do {                                                                                       \
        SHOW((r) == -EINVAL || (r) == -EMSGSIZE || (r) == (int64_t)(total), "the sizes' sum"); \
        SHOW((r) < 0 || (uint64_t)(r) <= (out_size), "what was written fits");                 \
        SHOW((r) < 0 || place >= (uint64_t)(r) || is_written, "every byte is written");        \
    } while (0)

/* bound: none
 * broken: s/r.bad || h.size != size ||/r.bad ||/
 * refuted: its own size */
void prove_coco_qgs_header_decode(void)
{
    DECODE_ANY(coco_qgs_header, h, coco_qgs_header_decode);
    SHOW(r != 0 || (size >= 16 && h.size == size), "its own size");
    SHOW(r != 0 || h.major == 1, "version 1");
}

/* bound: none
 * cut: none
 * broken: s/return coco_read_u32be(&r);/return coco_read_u32(\&r);/
 * refuted: the same bytes */
void prove_coco_qgs_prefix_decode(void)
{
    uint8_t in[4], out[4];

    coco_qgs_prefix_encode(coco_qgs_prefix_decode(in), out);
    SHOW_SAME(in, out, 4, "the same bytes");
}

/* bound: none
 * cut: none
 * broken: s/coco_write_u32be(&w, message_size);/coco_write_u32(\&w, message_size);/
 * refuted: the first byte is the highest */
void prove_coco_qgs_prefix_encode(void)
{
    uint8_t out[4];
    uint32_t n;

    coco_qgs_prefix_encode(n, out);
    SHOW(out[0] == n >> 24 && out[3] == (n & 0xff), "the first byte is the highest");
}

/* bound: none
 * broken: s/ && key_type == 2;/;/
 * refuted: no length */
void prove_coco_qgs_looks_raw(void)
{
    uint8_t in[4];

    SHOW(!coco_qgs_looks_raw(in) || coco_qgs_prefix_decode(in) > COCO_QGS_MESSAGE_MAX,
         "no length of a message that is accepted");
    SHOW(!coco_qgs_looks_raw(in) || (in[1] == 0 && in[2] == 2),
         "no length: a quote's version and type of key");
}

/* bound: none
 * broken: s/ || req.report_size == 0)/)/
 * refuted: a report */
void prove_coco_qgs_quote_req_decode(void)
{
    DECODE_ANY(coco_qgs_quote_req, m, coco_qgs_quote_req_decode);
    if (r == 0) {
        SHOW(m.report_size > 0, "a report");
        SHOW(24 + (uint64_t)m.report_size + m.id_list_size == size, "nothing trails");
        SHOW_INSIDE(m.report, m.report_size, in, size);
        SHOW_INSIDE(m.id_list, m.id_list_size, in, size);
        SHOW_ROUND_TRIP(&m, in, size, coco_qgs_quote_req_encode);
    }
}

/* bound: none
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: the sizes' sum */
void prove_coco_qgs_quote_req_encode(void)
{
    ENCODE_ANY(quote_req, report, id_list);
    SHOW_ENCODED(r, 24u + (uint64_t)m.report_size + (uint64_t)m.id_list_size, out_size);
}

/* bound: none
 * broken: s/return resp->quote_size != 0;/return true;/
 * refuted: a quote, or an error */
void prove_coco_qgs_quote_resp_decode(void)
{
    DECODE_ANY(coco_qgs_quote_resp, m, coco_qgs_quote_resp_decode);
    if (r == 0) {
        SHOW((m.error_code == 0) == (m.quote_size > 0), "a quote, or an error");
        SHOW(24 + (uint64_t)m.selected_id_size + m.quote_size == size, "nothing trails");
        SHOW_INSIDE(m.selected_id, m.selected_id_size, in, size);
        SHOW_INSIDE(m.quote, m.quote_size, in, size);
        SHOW_ROUND_TRIP(&m, in, size, coco_qgs_quote_resp_encode);
    }
}

/* bound: none
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: the sizes' sum */
void prove_coco_qgs_quote_resp_encode(void)
{
    ENCODE_ANY(quote_resp, selected_id, quote);
    SHOW_ENCODED(r, 24u + (uint64_t)m.selected_id_size + (uint64_t)m.quote_size, out_size);
}

/* bound: none
 * cut: none
 * broken: s/    if (total > UINT32_MAX)/    if (false)/
 * refuted: overflow */
void prove_coco_qgs_quote_resp_encode_fixed(void)
{
    struct coco_qgs_quote_resp m;
    struct coco_qgs_header h;
    uint8_t out[COCO_QGS_QUOTE_RESP_FIXED];
    int64_t r = coco_qgs_quote_resp_encode_fixed(&m, out);

    SHOW(r == -EINVAL || r == -EMSGSIZE || r == COCO_QGS_QUOTE_RESP_FIXED, "all of it, or nothing");
    SHOW(r < 0 || coco_qgs_header_decode(out, 24, &h) == 0 || m.selected_id_size > 0 ||
             m.quote_size > 0,
         "a whole header");
}

/* bound: none
 * broken: s/req.fmspc_size == 0 || req.pckca_size == 0)$/req.fmspc_size == 0)/
 * refuted: neither is empty */
void prove_coco_qgs_collateral_req_decode(void)
{
    DECODE_ANY(coco_qgs_collateral_req, m, coco_qgs_collateral_req_decode);
    if (r == 0) {
        SHOW(m.fmspc_size > 0 && m.pckca_size > 0, "neither is empty");
        SHOW(24 + (uint64_t)m.fmspc_size + m.pckca_size == size, "nothing trails");
        SHOW_INSIDE(m.fmspc, m.fmspc_size, in, size);
        SHOW_INSIDE(m.pckca, m.pckca_size, in, size);
        SHOW_ROUND_TRIP(&m, in, size, coco_qgs_collateral_req_encode);
    }
}

/* bound: none
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: the sizes' sum */
void prove_coco_qgs_collateral_req_encode(void)
{
    ENCODE_ANY(collateral_req, fmspc, pckca);
    SHOW_ENCODED(r, 24u + (uint64_t)m.fmspc_size + (uint64_t)m.pckca_size, out_size);
}

/* bound: none
 * broken: s/if ((resp->sizes.i. != 0) != ok)/if ((resp->sizes[i] != 0) \&\& !ok)/
 * refuted: all of them, or an error */
void prove_coco_qgs_collateral_resp_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_collateral_resp m, before = m;
    size_t i;
    int r = coco_qgs_collateral_resp_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r != 0)
        return;
    GIVEN(i < COCO_QGS_COLLATERAL_BLOBS);
    SHOW((m.error_code == 0) == (m.sizes[i] > 0), "all of them, or an error");
    SHOW_INSIDE(m.blobs[i], m.sizes[i], in, size);
}

/* bound: messages of 60 bytes, blobs of at most 2 bytes each
 * loop: prove_collateral_resp_and_back.0:29
 * broken: s/coco_write_bytes(&w, resp->blobs.i., resp->sizes.i.);/
 *         coco_write_bytes(\&w, resp->blobs[0], resp->sizes[i]);/
 * refuted: the same bytes */
void prove_collateral_resp_and_back(void)
{
    uint8_t in[60];
    struct coco_qgs_collateral_resp m;

    for (size_t i = 20; i < 48; i++)
        GIVEN(i % 4 == 0 ? in[i] <= 2 : in[i] == 0);
    if (coco_qgs_collateral_resp_decode(in, sizeof(in), &m) == 0)
        SHOW_ROUND_TRIP(&m, in, sizeof(in), coco_qgs_collateral_resp_encode);
}

/* bound: blobs to 3 bytes each, into any room to 80 bytes
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: the sizes' sum */
void prove_coco_qgs_collateral_resp_encode(void)
{
    struct coco_qgs_collateral_resp m;
    uint8_t blob[3], out[80];
    size_t out_size;
    uint64_t total = 48u + (m.padded ? 4u : 0u);

    follow_any();
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++) {
        uint8_t size;
        m.blobs[i] = blob;
        m.sizes[i] = size & 3;
        total += m.sizes[i];
    }
    GIVEN(out_size <= sizeof(out));
    int64_t r = coco_qgs_collateral_resp_encode(&m, AT_END(out, out_size), out_size);
    SHOW_ENCODED(r, total, out_size);
}

/* bound: none
 * broken: s/    if (!coco_reader_done(&r))/    if (r.bad)/
 * refuted: the header alone */
void prove_coco_qgs_platform_req_decode(void)
{
    DECODE_ANY(coco_qgs_platform_req, m, coco_qgs_platform_req_decode);
    SHOW(r != 0 || size == 16, "the header alone");
    if (r == 0)
        SHOW_ROUND_TRIP(&m, in, size, coco_qgs_platform_req_encode);
}

/* bound: none
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: all of it, or nothing */
void prove_coco_qgs_platform_req_encode(void)
{
    struct coco_qgs_platform_req m;
    size_t out_size;

    GIVEN(out_size <= 20);
    int64_t r = coco_qgs_platform_req_encode(&m, any_bytes(out_size), out_size);
    SHOW(r == (out_size < 16 ? -EMSGSIZE : 16), "all of it, or nothing");
}

/* bound: none
 * broken: s/return resp->platform_id_size != 0 && resp->cpusvn_size != 0;/return true;/
 * refuted: both of them, or an error */
void prove_coco_qgs_platform_resp_decode(void)
{
    DECODE_ANY(coco_qgs_platform_resp, m, coco_qgs_platform_resp_decode);
    if (r == 0) {
        SHOW((m.error_code == 0) == (m.platform_id_size > 0 && m.cpusvn_size > 0),
             "both of them, or an error");
        SHOW(28 + (uint64_t)m.platform_id_size + m.cpusvn_size + (m.padded ? 4 : 0) == size,
             "nothing trails");
        SHOW_INSIDE(m.platform_id, m.platform_id_size, in, size);
        SHOW_INSIDE(m.cpusvn, m.cpusvn_size, in, size);
    }
}

/* bound: messages of 36 bytes
 * broken: s/coco_write_u16(&w, resp->pce_isvsvn);/coco_write_u16(\&w, resp->tdqe_isvsvn);/
 * refuted: the same bytes */
void prove_platform_resp_and_back(void)
{
    uint8_t in[36];
    struct coco_qgs_platform_resp m;

    if (coco_qgs_platform_resp_decode(in, sizeof(in), &m) == 0)
        SHOW_ROUND_TRIP(&m, in, sizeof(in), coco_qgs_platform_resp_encode);
}

/* bound: none
 * broken: s/return w.bad ? -EMSGSIZE : (int64_t)w.pos;/return (int64_t)w.pos;/
 * refuted: the sizes' sum */
void prove_coco_qgs_platform_resp_encode(void)
{
    ENCODE_ANY(platform_resp, platform_id, cpusvn);
    SHOW_ENCODED(r,
                 28u + (m.padded ? 4u : 0u) + (uint64_t)m.platform_id_size +
                     (uint64_t)m.cpusvn_size,
                 out_size);
}
