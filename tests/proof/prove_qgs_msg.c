/* SPDX-License-Identifier: MIT */
/*
 * QGS's messages: qgs_msg.c. A decoder is given any number of bytes, up to the 2^32 and more that no message has; what
 * it takes is encoded to the same bytes for messages of a small size, whose inner sizes are any that fit.
 *
 * unit: proto/qgs_msg.c
 * unwind: 9
 */
#include "proof.h"
#include "qgs_msg.c"

#define ANY_INPUT(in, size) \
    size_t size;            \
    const uint8_t *in = any_bytes(size)

/* `n` bytes at `p` are the input's own. */
#define SHOW_INSIDE(p, n, in, size)                                                   \
    SHOW(__CPROVER_r_ok(p, n) && (p) >= (in) && (size_t)((p) - (in)) + (n) <= (size), \
         "inside the input")

/* Decodes `small` bytes with any content, and shows that encoding gives them back. */
#define SHOW_ROUND_TRIP(small, type, decode, encode)                         \
    do {                                                                     \
        uint8_t whole_[small], out_[small];                                  \
        struct type m_;                                                      \
        if (decode(whole_, small, &m_) == 0) {                               \
            SHOW(encode(&m_, out_, small) == (int64_t)(small), "all of it"); \
            SHOW_SAME(whole_, out_, small, "the same bytes");                \
        }                                                                    \
    } while (0)

/* bound: none
 * broken: s/r.bad || h.size != size ||/r.bad ||/
 * refuted: its own size */
void prove_coco_qgs_header_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_header h, before = h;
    int r = coco_qgs_header_decode(in, size, &h);

    SHOW_RESULT(r, h, before);
    SHOW(r != 0 || (size >= 16 && h.size == size), "its own size");
    SHOW(r != 0 || h.major == 1, "version 1");
}

/* bound: none
 * broken: s/return coco_read_u32be(&r);/return coco_read_u32(\&r);/
 * refuted: the same bytes */
void prove_coco_qgs_prefix_decode(void)
{
    uint8_t in[4], out[4];

    coco_qgs_prefix_encode(coco_qgs_prefix_decode(in), out);
    SHOW_SAME(in, out, 4, "the same bytes");
}

/* bound: none
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

/* bound: none; the bytes of encoding in messages of 32
 * broken: s/ || req.report_size == 0)/)/
 * refuted: a report */
void prove_coco_qgs_quote_req_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_quote_req m, before = m;
    int r = coco_qgs_quote_req_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r == 0) {
        SHOW(m.report_size > 0, "a report");
        SHOW(24 + (uint64_t)m.report_size + m.id_list_size == size, "nothing trails");
        SHOW_INSIDE(m.report, m.report_size, in, size);
        SHOW_INSIDE(m.id_list, m.id_list_size, in, size);
    }
    SHOW_ROUND_TRIP(32, coco_qgs_quote_req, coco_qgs_quote_req_decode, coco_qgs_quote_req_encode);
}

/* bound: fields to 4 bytes into any buffer to 36; of any size, they are refused for it
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_quote_req_encode(void)
{
    struct coco_qgs_quote_req m;
    size_t out_size;

    GIVEN(out_size <= 36);
    m.report = any_bytes(4), m.id_list = any_bytes(4);
    GIVEN((m.report_size <= 4 && m.id_list_size <= 4) || m.report_size > 36 || m.id_list_size > 36);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_qgs_quote_req_encode(&m, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r >= 24 && r <= (int64_t)out_size),
         "what was written fits");
    SHOW(r < 0 || r == 24 + (int64_t)m.report_size + m.id_list_size, "the sizes' sum");
}

/* bound: none; the bytes of encoding in messages of 32
 * broken: s/return resp->quote_size != 0;/return true;/
 * refuted: a quote, or an error */
void prove_coco_qgs_quote_resp_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_quote_resp m, before = m;
    int r = coco_qgs_quote_resp_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r == 0) {
        SHOW((m.error_code == 0) == (m.quote_size > 0), "a quote, or an error");
        SHOW(24 + (uint64_t)m.selected_id_size + m.quote_size == size, "nothing trails");
        SHOW_INSIDE(m.selected_id, m.selected_id_size, in, size);
        SHOW_INSIDE(m.quote, m.quote_size, in, size);
    }
    SHOW_ROUND_TRIP(32, coco_qgs_quote_resp, coco_qgs_quote_resp_decode,
                    coco_qgs_quote_resp_encode);
}

/* bound: fields to 4 bytes into any buffer to 36; of any size, they are refused for it
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_quote_resp_encode(void)
{
    struct coco_qgs_quote_resp m;
    size_t out_size;

    GIVEN(out_size <= 36);
    m.selected_id = any_bytes(4), m.quote = any_bytes(4);
    GIVEN((m.selected_id_size <= 4 && m.quote_size <= 4) || m.selected_id_size > 36 ||
          m.quote_size > 36);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_qgs_quote_resp_encode(&m, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r >= 24 && r <= (int64_t)out_size),
         "what was written fits");
    SHOW(r < 0 || r == 24 + (int64_t)m.selected_id_size + m.quote_size, "the sizes' sum");
}

/* bound: none
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

/* bound: none; the bytes of encoding in messages of 32
 * broken: s/req.fmspc_size == 0 || req.pckca_size == 0)$/req.fmspc_size == 0)/
 * refuted: neither is empty */
void prove_coco_qgs_collateral_req_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_collateral_req m, before = m;
    int r = coco_qgs_collateral_req_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r == 0) {
        SHOW(m.fmspc_size > 0 && m.pckca_size > 0, "neither is empty");
        SHOW(24 + (uint64_t)m.fmspc_size + m.pckca_size == size, "nothing trails");
        SHOW_INSIDE(m.fmspc, m.fmspc_size, in, size);
        SHOW_INSIDE(m.pckca, m.pckca_size, in, size);
    }
    SHOW_ROUND_TRIP(32, coco_qgs_collateral_req, coco_qgs_collateral_req_decode,
                    coco_qgs_collateral_req_encode);
}

/* bound: fields to 4 bytes into any buffer to 36; of any size, they are refused for it
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_collateral_req_encode(void)
{
    struct coco_qgs_collateral_req m;
    size_t out_size;

    GIVEN(out_size <= 36);
    m.fmspc = any_bytes(4), m.pckca = any_bytes(4);
    GIVEN((m.fmspc_size <= 4 && m.pckca_size <= 4) || m.fmspc_size > 36 || m.pckca_size > 36);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_qgs_collateral_req_encode(&m, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r >= 24 && r <= (int64_t)out_size),
         "what was written fits");
    SHOW(r < 0 || r == 24 + (int64_t)m.fmspc_size + m.pckca_size, "the sizes' sum");
}

/* bound: none; the bytes of encoding in messages of 60
 * long: more than half a minute
 * broken: s/if ((resp->sizes.i. != 0) != ok)/if ((resp->sizes[i] != 0) \&\& !ok)/
 * refuted: all of them, or an error */
void prove_coco_qgs_collateral_resp_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_collateral_resp m, before = m;
    size_t i;
    int r = coco_qgs_collateral_resp_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r == 0) {
        GIVEN(i < COCO_QGS_COLLATERAL_BLOBS);
        SHOW((m.error_code == 0) == (m.sizes[i] > 0), "all of them, or an error");
        SHOW_INSIDE(m.blobs[i], m.sizes[i], in, size);
    }
    SHOW_ROUND_TRIP(60, coco_qgs_collateral_resp, coco_qgs_collateral_resp_decode,
                    coco_qgs_collateral_resp_encode);
}

/* bound: fields to 2 bytes, all of them but one of 1, into any buffer to 64; of any size, they are refused for it
 * long: more than half a minute
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_collateral_resp_encode(void)
{
    struct coco_qgs_collateral_resp m;
    size_t out_size, any;

    GIVEN(out_size <= 64 && any < COCO_QGS_COLLATERAL_BLOBS);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++) {
        m.blobs[i] = any_bytes(2);
        GIVEN(m.sizes[i] <= (i == any ? 2 : 1) || m.sizes[i] > 64);
    }
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_qgs_collateral_resp_encode(&m, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r >= 48 && r <= (int64_t)out_size),
         "what was written fits");
}

/* bound: none
 * broken: s/    if (!coco_reader_done(&r))/    if (r.bad)/
 * refuted: the header alone */
void prove_coco_qgs_platform_req_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_platform_req m, before = m;
    int r = coco_qgs_platform_req_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    SHOW(r != 0 || size == 16, "the header alone");
    SHOW_ROUND_TRIP(16, coco_qgs_platform_req, coco_qgs_platform_req_decode,
                    coco_qgs_platform_req_encode);
}

/* bound: none
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_platform_req_encode(void)
{
    struct coco_qgs_platform_req m;
    size_t out_size;

    GIVEN(out_size <= 20);
    int64_t r = coco_qgs_platform_req_encode(&m, any_bytes(out_size), out_size);
    SHOW(r == (out_size < 16 ? -EMSGSIZE : 16), "all of it, or nothing");
}

/* bound: none; the bytes of encoding in messages of 36
 * broken: s/return resp->platform_id_size != 0 && resp->cpusvn_size != 0;/return true;/
 * refuted: both of them, or an error */
void prove_coco_qgs_platform_resp_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_qgs_platform_resp m, before = m;
    int r = coco_qgs_platform_resp_decode(in, size, &m);

    SHOW_RESULT(r, m, before);
    if (r == 0) {
        SHOW((m.error_code == 0) == (m.platform_id_size > 0 && m.cpusvn_size > 0),
             "both of them, or an error");
        SHOW(28 + (uint64_t)m.platform_id_size + m.cpusvn_size + (m.padded ? 4 : 0) == size,
             "nothing trails");
        SHOW_INSIDE(m.platform_id, m.platform_id_size, in, size);
        SHOW_INSIDE(m.cpusvn, m.cpusvn_size, in, size);
    }
    SHOW_ROUND_TRIP(36, coco_qgs_platform_resp, coco_qgs_platform_resp_decode,
                    coco_qgs_platform_resp_encode);
}

/* bound: fields to 4 bytes into any buffer to 44; of any size, they are refused for it
 * broken: s/total > UINT32_MAX || total > out_size/false/
 * refuted: dereference failure */
void prove_coco_qgs_platform_resp_encode(void)
{
    struct coco_qgs_platform_resp m;
    size_t out_size;

    GIVEN(out_size <= 44);
    m.platform_id = any_bytes(4), m.cpusvn = any_bytes(4);
    GIVEN((m.platform_id_size <= 4 && m.cpusvn_size <= 4) || m.platform_id_size > 44 ||
          m.cpusvn_size > 44);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_qgs_platform_resp_encode(&m, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r >= 28 && r <= (int64_t)out_size),
         "what was written fits");
}
