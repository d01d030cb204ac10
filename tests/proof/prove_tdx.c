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
 * long: more than half a minute
 * broken: s/report->version != 1 .. report->version != 3/report->version != 1/
 * refuted: a version that is known */
void prove_coco_tdreport_decode(void)
{
    uint8_t in[COCO_TDREPORT_SIZE];
    struct coco_tdreport report;
    const char *why = NULL;
    int r = coco_tdreport_decode(in, &report, &why);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (why == NULL), "a reason for each failure");
    SHOW(r != 0 || in[0] == 0x81, "a TD's");
    SHOW(r != 0 || report.version <= 1 || report.version == 3, "a version that is known");
}

/* bound: none
 * broken: s/coco_write_zeros(w, 17);/coco_write_zeros(w, 18);/
 * refuted: 512 bytes behind */
void prove_coco_tdreport_encode(void)
{
    uint8_t out[COCO_TDREPORT_SIZE];
    struct coco_tdreport report;

    coco_tdreport_encode(&report, out);
    SHOW(out[0] == 0x81 && out[1] == report.subtype && out[2] == report.version,
         "the type, and the report's");
    SHOW(out[512] == report.td_attributes[0] && out[1023] == report.tdinfo_rest[63],
         "512 bytes behind");
}

/* The three parts of a TDREPORT, from bytes and back. */
#define SHOW_PART(size, read, write)                             \
    do {                                                         \
        uint8_t in_[size], out_[size];                           \
        struct coco_tdreport report_;                            \
        struct coco_reader r_ = coco_reader_of(in_, size);       \
        struct coco_writer w_ = coco_writer_of(out_, size);      \
        read(&r_, &report_);                                     \
        if (!r_.bad && r_.pos == (size)) {                       \
            write(&w_, &report_);                                \
            SHOW(!w_.bad && w_.pos == (size), "the whole part"); \
            SHOW_SAME(in_, out_, size, "the same bytes");        \
        }                                                        \
    } while (0)

/* bound: none
 * broken: s/coco_read_zeros(r, 1 + 12);/(void)coco_read_bytes(r, 1 + 12);/
 * refuted: the same bytes */
void prove_read_reportmacstruct(void)
{
    SHOW_PART(256, read_reportmacstruct, write_reportmacstruct);
}

/* bound: none
 * broken: s/coco_read_zeros(r, 17);/(void)coco_read_bytes(r, 17);/
 * refuted: the same bytes */
void prove_read_tcb_info(void)
{
    SHOW_PART(256, read_tcb_info, write_tcb_info);
}

/* bound: none
 * broken: s/coco_write_bytes(w, report->mrowner, /coco_write_bytes(w, report->mrtd, /
 * refuted: the same bytes */
void prove_read_tdinfo(void)
{
    SHOW_PART(512, read_tdinfo, write_tdinfo);
}

/* bound: none
 * long: more than half a minute
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
 * long: more than half a minute
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
 * long: more than half a minute
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
 * long: more than half a minute
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
