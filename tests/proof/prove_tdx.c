/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT and quote: tdx.c. Their parts of a fixed size are proven for themselves, and cut from
 * the proof of the whole.
 *
 * unit: proto/tdx.c
 * unwind: 66
 */
#include "one_byte.h"
/* What is cut from tdx.c, each proven below for itself. */
struct coco_tdreport;
struct coco_quote_body;
static const char *read_reportmacstruct(struct coco_reader *r, struct coco_tdreport *report);
static const char *read_tcb_info(struct coco_reader *r, struct coco_tdreport *report);
static void read_tdinfo(struct coco_reader *r, struct coco_tdreport *report);
static void read_body(struct coco_reader *r, uint16_t body_type, struct coco_quote_body *body);
static void write_body(struct coco_writer *w, uint16_t body_type,
                       const struct coco_quote_body *body);
#include "tdx.c"

#define ANY_INPUT(in, size) \
    size_t size;            \
    const uint8_t *in = any_bytes(size)

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

    uint8_t in[256];
    struct coco_reader r = coco_reader_of(in, sizeof(in));
    struct coco_tdreport report;
    const char *why = read_reportmacstruct(&r, &report);
    SHOW(why || (!r.bad && r.pos == 256), "a reason for each failure");
    SHOW(why || in[0] == 0x81, "a TD's");
    SHOW(why || report.version <= 1 || report.version == 3, "a version that is known");
}

/* bound: none
 * broken: s/coco_read_zeros(r, 17);/(void)coco_read_bytes(r, 17);/
 * refuted: the same bytes */
void prove_read_tcb_info(void)
{
    SHOW_PART(256, read_tcb_info, write_tcb_info);

    uint8_t in[256];
    struct coco_reader r = coco_reader_of(in, sizeof(in));
    struct coco_tdreport report;
    const char *why = read_tcb_info(&r, &report);
    SHOW(why || (!r.bad && r.pos == 256), "a reason for each failure");
}

/* bound: none
 * broken: s/F((x)->mrowner)/F((x)->mrtd)/
 * refuted: the same bytes */
void prove_read_tdinfo(void)
{
    SHOW_PART(512, read_tdinfo, write_tdinfo);
}

#ifdef CUT_read_tdinfo
/* As proven above: with no reason, so many bytes are taken; they are the input's. */
static const char *read_reportmacstruct(struct coco_reader *r, struct coco_tdreport *report)
{
    struct coco_tdreport any;
    bool refused;

    *report = any;
    if (coco_read_bytes(r, 256) && !refused)
        return NULL;
    r->bad = true;
    return "a reason";
}

static const char *read_tcb_info(struct coco_reader *r, struct coco_tdreport *report)
{
    return read_reportmacstruct(r, report);
}

static void read_tdinfo(struct coco_reader *r, struct coco_tdreport *report)
{
    struct coco_tdreport any;

    *report = any;
    SHOW(coco_read_bytes(r, 512), "all of it is there");
}
#endif

/* bound: none
 * cut: read_reportmacstruct read_tcb_info read_tdinfo
 * broken: s/why = read_tcb_info/(void)read_tcb_info/
 * refuted: all of it is there */
void prove_coco_tdreport_decode(void)
{
    uint8_t in[COCO_TDREPORT_SIZE];
    struct coco_tdreport report;
    const char *why = NULL;
    int r = coco_tdreport_decode(in, &report, &why);

    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (why == NULL), "a reason for each failure");
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

/* Bytes of a body, back from what was read of them. */
#define SHOW_BODY(type, size)                                  \
    do {                                                       \
        uint8_t in_[size], out_[size];                         \
        struct coco_quote_body body_;                          \
        struct coco_reader r_ = coco_reader_of(in_, size);     \
        struct coco_writer w_ = coco_writer_of(out_, size);    \
        read_body(&r_, type, &body_);                          \
        SHOW(coco_reader_done(&r_), "the whole body is read"); \
        write_body(&w_, type, &body_);                         \
        SHOW(!w_.bad && w_.pos == (size), "the whole body");   \
        SHOW_SAME(in_, out_, size, "the same bytes");          \
    } while (0)

/* bound: none
 * broken: s/F((x)->mrowner)/F((x)->mrtd)/
 * refuted: the same bytes */
void prove_write_body(void)
{
    SHOW_BODY(COCO_QUOTE_BODY_TD10, COCO_QUOTE_TD10_SIZE);
    SHOW_BODY(COCO_QUOTE_BODY_TD15, COCO_QUOTE_TD15_SIZE);
    SHOW_BODY(COCO_QUOTE_BODY_TD15EX, COCO_QUOTE_TD15EX_SIZE);
}

/* bound: none
 * unwind: 238
 * cut: coco_read_copy
 * broken: s/coco_read_copy(r, body->mrservicetd, sizeof(body->mrservicetd));//
 * refuted: so many bytes */
void prove_read_body(void)
{
    size_t size;
    uint16_t type;
    struct coco_quote_body body;
    struct coco_reader r = coco_reader_of(any_bytes(size), size);

    GIVEN(body_size(type) != 0);
    read_body(&r, type, &body);
    SHOW(r.pos <= size, "inside the input");
    SHOW(r.bad == (size < body_size(type)), "bad where there are fewer");
    SHOW(r.bad || r.pos == body_size(type), "so many bytes");
}

#ifdef CUT_read_body
/* As proven above: so many bytes, or bad; and the same are written. */
static uint8_t followed_in_body;

static void read_body(struct coco_reader *r, uint16_t body_type, struct coco_quote_body *body)
{
    size_t from = r->pos, n = body_size(body_type), somewhere;
    const uint8_t *p = coco_read_bytes(r, n);

    (void)body;
    if (p && place >= from && place - from < n)
        followed_in_body = p[place - from];
    GIVEN(somewhere <= r->size);
    if (!p)
        r->pos = somewhere;
}

static void write_body(struct coco_writer *w, uint16_t body_type,
                       const struct coco_quote_body *body)
{
    size_t n = body_size(body_type);

    (void)body;
    if (followed(w, n) < n)
        written = followed_in_body;
}
#endif

/* bound: none
 * cut: read_body write_body coco_read_copy coco_write_bytes coco_write_zeros coco_write_le
 * broken: s/    if (quote.sig_size == 0)/    if (false)/
 * refuted: a signature */
void prove_coco_quote_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_quote q;
    const char *why = NULL;

    follow_any();
    int r = coco_quote_decode(in, size, &q, &why);
    SHOW(r == 0 || r == -EBADMSG, "0 or -EBADMSG");
    SHOW((r == 0) == (why == NULL), "a reason for each failure");
    if (r != 0)
        return;
    SHOW(q.size <= size && q.signed_size < q.size, "it ends in the input");
    SHOW(q.sig_size > 0 && q.sig == in + q.size - q.sig_size, "a signature, at its end");
    SHOW(q.signed_size == (q.version == 4 ? 48u : 54u) + body_size(q.body_type),
         "header and body are signed");
    uint8_t *out = any_bytes(q.size);
    SHOW(coco_quote_encode(&q, out, q.size) == (int64_t)q.size, "what decodes, encodes");
    SHOW_WRITTEN_SAME(in, q.size);
}

/* bound: none
 * cut: read_body write_body coco_write_bytes coco_write_zeros coco_write_le
 * broken: s/coco_write_u32(&w, body_size(quote->body_type));/
 *         coco_write_u16(\&w, quote->body_type);/
 * refuted: a header, a body and a signature */
void prove_coco_quote_encode(void)
{
    struct coco_quote q;
    size_t out_size;

    follow_any();
    q.sig = any_bytes(q.sig_size);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_quote_encode(&q, out, out_size);
    SHOW(r == -EINVAL || r == -EMSGSIZE || (r > 0 && (uint64_t)r <= out_size),
         "what was written fits");
    SHOW(r < 0 || (uint64_t)r == (q.version == 4 ? 48u : 54u) + (uint64_t)body_size(q.body_type) +
                                     4 + q.sig_size,
         "a header, a body and a signature");
    SHOW(r < 0 || place >= (uint64_t)r || is_written, "every byte is written");
}

/* bound: none
 * unwind: 386
 * cut: coco_read_copy
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
 * cut: coco_write_bytes coco_write_zeros coco_write_le
 * broken: s/coco_write_u16(&w, sig->cert_type);/coco_write_u16(\&w, sig->auth_size);/
 * refuted: the same bytes */
void prove_quote_ecdsa_and_back(void)
{
    uint8_t in[64 + 64 + 6 + 384 + 64 + 8 + 8], out[sizeof(in)];
    struct coco_quote_ecdsa sig;

    if (coco_quote_ecdsa_decode(in, sizeof(in), &sig) != 0)
        return;
    follow_any();
    SHOW(coco_quote_ecdsa_encode(&sig, out, sizeof(out)) == sizeof(in), "what decodes, encodes");
    SHOW_WRITTEN_SAME(in, sizeof(in));
}

/* bound: none
 * cut: coco_write_bytes coco_write_zeros coco_write_le
 * broken: s/    if (outer_size > UINT32_MAX)/    if (false)/
 * refuted: overflow */
void prove_coco_quote_ecdsa_encode(void)
{
    struct coco_quote_ecdsa sig;
    size_t out_size;

    follow_any();
    sig.auth = any_bytes(sig.auth_size), sig.cert = any_bytes(sig.cert_size);
    uint8_t *out = any_bytes(out_size);
    int64_t r = coco_quote_ecdsa_encode(&sig, out, out_size);
    SHOW(r == -EMSGSIZE || (r > 0 && (uint64_t)r <= out_size), "what was written fits");
    SHOW(r < 0 || place >= (uint64_t)r || is_written, "every byte is written");
    SHOW(r < 0 ||
             (uint64_t)r == 64 + 64 + 6 + 384 + 64 + 8 + (uint64_t)sig.auth_size + sig.cert_size,
         "the sizes' sum");
}

/* bound: none
 * broken: s/!SAME(body->report_data, report->report_data)/!SAME(body->mrtd, report->mrtd)/
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
