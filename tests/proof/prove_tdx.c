/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT and quote: tdx.c.
 *
 * unit: proto/tdx.c
 * unwind: 66
 */
#include "proof.h"
#include "tdx.c"

#define ANY_INPUT(in, size) \
    size_t size;            \
    const uint8_t *in = any_bytes(size)

/* bound: none
 * broken: s/coco_read_zeros(r, 1 + 12);/(void)coco_read_bytes(r, 1 + 12);/
 * refuted: the same bytes */
void prove_coco_tdreport_decode(void)
{
    uint8_t in[COCO_TDREPORT_SIZE], out[COCO_TDREPORT_SIZE];
    struct coco_tdreport report;
    const char *why = NULL;
    int r = coco_tdreport_decode(in, &report, &why);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (why == NULL), "a reason for each failure");
    if (r != 0)
        return;
    coco_tdreport_encode(&report, out);
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/coco_write_zeros(w, 17);/coco_write_zeros(w, 18);/
 * refuted: what is encoded decodes */
void prove_coco_tdreport_encode(void)
{
    uint8_t out[COCO_TDREPORT_SIZE];
    struct coco_tdreport report, back;

    GIVEN(report.subtype <= 1 && (report.version <= 1 || report.version == 3));
    coco_tdreport_encode(&report, out);
    SHOW(coco_tdreport_decode(out, &back, NULL) == 0, "what is encoded decodes");
    SHOW_SAME(&report, &back, sizeof(report), "to the same");
}

/* bound: none
 * broken: s/    if (quote.sig_size == 0)/    if (false)/
 * refuted: a signature */
void prove_coco_quote_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_quote q;
    const char *why = NULL;
    int r = coco_quote_decode(in, size, &q, &why);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (why == NULL), "a reason for each failure");
    if (r != 0)
        return;
    SHOW(q.size <= size && q.signed_size < q.size, "it ends in the input");
    SHOW(q.sig_size > 0 && q.sig == in + q.size - q.sig_size, "a signature, at its end");
    SHOW(q.signed_size == (q.version == 4 ? 48u : 54u) + body_size(q.body_type),
         "header and body are signed");
}

/* bound: signatures to 8 bytes, and 4 bytes of padding, each version and type of body
 * broken: s/coco_write_u32(&w, body_size(quote->body_type));/coco_write_u32(\&w, body_size(quote->body_type) + 1);/
 * refuted: the same bytes */
void prove_coco_quote_encode(void)
{
    uint8_t in[54 + COCO_QUOTE_TD15EX_SIZE + 4 + 8 + 4], out[sizeof(in)];
    struct coco_quote q;

    GIVEN(coco_quote_decode(in, sizeof(in), &q, NULL) == 0 && q.sig_size <= 8);
    SHOW(coco_quote_encode(&q, out, sizeof(out)) == (int64_t)q.size, "all of it");
    SHOW_SAME(in, out, q.size, "the same bytes");
}

/* bound: none
 * broken: s/ || outer_size != coco_reader_left(&r))/)/
 * refuted: the sizes add up */
void prove_coco_quote_ecdsa_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_quote_ecdsa sig;
    size_t at = 64 + 64 + 2;
    int r = coco_quote_ecdsa_decode(in, size, &sig);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    if (r != 0)
        return;
    SHOW(size == 64 + 64 + 6 + 384 + 64 + 8 + (uint64_t)sig.auth_size + sig.cert_size,
         "nothing trails");
    SHOW((in[at] | (size_t)in[at + 1] << 8 | (size_t)in[at + 2] << 16 | (size_t)in[at + 3] << 24) ==
             size - 134,
         "the sizes add up");
    SHOW(__CPROVER_r_ok(sig.auth, sig.auth_size) && __CPROVER_r_ok(sig.cert, sig.cert_size),
         "inside the input");
}

/* bound: 8 bytes of authentication data and certificate together
 * broken: s/coco_write_u16(&w, sig->cert_type);/coco_write_u16(\&w, sig->auth_size);/
 * refuted: the same bytes */
void prove_coco_quote_ecdsa_encode(void)
{
    uint8_t in[64 + 64 + 6 + 384 + 64 + 8 + 8], out[sizeof(in)];
    struct coco_quote_ecdsa sig;

    GIVEN(coco_quote_ecdsa_decode(in, sizeof(in), &sig) == 0);
    SHOW(coco_quote_ecdsa_encode(&sig, out, sizeof(out)) == sizeof(in), "all of it");
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/if (!SAME(body->report_data, report->report_data))/if (!SAME(body->mrtd, report->mrtd))/
 * refuted: the same REPORTDATA */
void prove_coco_quote_check_binding(void)
{
    struct coco_quote quote;
    struct coco_tdreport report;
    const char *field = NULL;
    int r = coco_quote_check_binding(&quote, &report, &field);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (field == NULL), "a field for each failure");
    if (r != 0)
        return;
    SHOW_SAME(quote.body.report_data, report.report_data, 64, "the same REPORTDATA");
    SHOW_SAME(quote.body.mrtd, report.mrtd, 48, "the same MRTD");
    SHOW_SAME(quote.body.rtmr, report.rtmr, 192, "the same RTMRs");
    SHOW_SAME(quote.body.td_attributes, report.td_attributes, 8, "the same attributes");
}
