/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT and TD quote: layout, true length, binding. PROTOCOL.md "TDREPORT" and "Quotes".
 *
 * A TDREPORT is what the TDX module hands to the guest: who made it, what is in the TD, and 64
 * bytes of the guest's own choice. Only this host's quoting enclave can check its MAC; everybody
 * can check its form (here) and its two hashes (the daemon). A quote repeats most of the TDREPORT
 * in another order under a signature. The binding below lists what the quoting enclave copies, so a
 * quote that passes was made from this very TDREPORT or from one that says the same.
 *
 * A decoder keeps every byte that it does not demand a value of. Reserved bytes that a hash or a
 * signature covers are kept too: later modules use them. Outputs are untouched on failure.
 */
#include "tdx.h"
#include "bytes.h"
#include <errno.h>
#include <stdbool.h>

#define SUBTYPE_MAX 1u

#define CERT_TYPE_QE_REPORT 6u

static int refuse(const char **ret_why, const char *why)
{
    if (ret_why)
        *ret_why = why;
    return -EBADMSG;
}

/* The two runs of fields that a TDREPORT and a quote's body share, in the order of both. */
#define MODULE(F, x) \
    F((x)->tee_tcb_svn), F((x)->mrseam), F((x)->mrsignerseam), F((x)->seam_attributes)
#define TD(F, x)                                                                            \
    F((x)->td_attributes), F((x)->xfam), F((x)->mrtd), F((x)->mrconfigid), F((x)->mrowner), \
        F((x)->mrownerconfig), F((x)->rtmr)
#define READ(field)  coco_read_copy(r, field, sizeof(field))
#define WRITE(field) coco_write_bytes(w, field, sizeof(field))

/* --- TDREPORT -------------------------------------------------------------------------------- */

/* Offsets 0 to 255. */
static const char *read_reportmacstruct(struct coco_reader *r, struct coco_tdreport *report)
{
    if (coco_read_u8(r) != COCO_TEE_TYPE_TDX)
        return "the report type is not TDX";
    report->subtype = coco_read_u8(r);
    if (report->subtype > SUBTYPE_MAX)
        return "unknown subtype of report";
    report->version = coco_read_u8(r);
    if (report->version != 0 && report->version != 1 && report->version != 3)
        return "unknown version of report";
    coco_read_zeros(r, 1 + 12);
    coco_read_copy(r, report->cpusvn, sizeof(report->cpusvn));
    coco_read_copy(r, report->tee_tcb_info_hash, sizeof(report->tee_tcb_info_hash));
    coco_read_copy(r, report->tee_info_hash, sizeof(report->tee_info_hash));
    coco_read_copy(r, report->report_data, sizeof(report->report_data));
    coco_read_zeros(r, 32);
    coco_read_copy(r, report->mac, sizeof(report->mac));
    return r->bad ? "reserved bytes of REPORTMACSTRUCT are not zero" : NULL;
}

/* Offsets 256 to 511. */
static const char *read_tcb_info(struct coco_reader *r, struct coco_tdreport *report)
{
    report->valid = coco_read_u64(r);
    MODULE(READ, report);
    coco_read_copy(r, report->tee_tcb_svn2, sizeof(report->tee_tcb_svn2));
    coco_read_copy(r, report->tcb_info_rest, sizeof(report->tcb_info_rest));
    coco_read_zeros(r, 17);
    return r->bad ? "reserved bytes behind TEE_TCB_INFO are not zero" : NULL;
}

/* Offsets 512 to 1023. */
static void read_tdinfo(struct coco_reader *r, struct coco_tdreport *report)
{
    TD(READ, report);
    coco_read_copy(r, report->servtd_hash, sizeof(report->servtd_hash));
    coco_read_copy(r, report->tdinfo_rest, sizeof(report->tdinfo_rest));
}

int coco_tdreport_decode(const uint8_t in[COCO_TDREPORT_SIZE], struct coco_tdreport *ret,
                         const char **ret_why)
{
    struct coco_reader r = coco_reader_of(in, COCO_TDREPORT_SIZE);
    struct coco_tdreport report;
    const char *why = read_reportmacstruct(&r, &report);

    if (!why)
        why = read_tcb_info(&r, &report);
    if (why)
        return refuse(ret_why, why);
    read_tdinfo(&r, &report);
    *ret = report;
    return 0;
}

static void write_reportmacstruct(struct coco_writer *w, const struct coco_tdreport *report)
{
    coco_write_u8(w, COCO_TEE_TYPE_TDX);
    coco_write_u8(w, report->subtype);
    coco_write_u8(w, report->version);
    coco_write_zeros(w, 1 + 12);
    coco_write_bytes(w, report->cpusvn, sizeof(report->cpusvn));
    coco_write_bytes(w, report->tee_tcb_info_hash, sizeof(report->tee_tcb_info_hash));
    coco_write_bytes(w, report->tee_info_hash, sizeof(report->tee_info_hash));
    coco_write_bytes(w, report->report_data, sizeof(report->report_data));
    coco_write_zeros(w, 32);
    coco_write_bytes(w, report->mac, sizeof(report->mac));
}

static void write_tcb_info(struct coco_writer *w, const struct coco_tdreport *report)
{
    coco_write_u64(w, report->valid);
    MODULE(WRITE, report);
    coco_write_bytes(w, report->tee_tcb_svn2, sizeof(report->tee_tcb_svn2));
    coco_write_bytes(w, report->tcb_info_rest, sizeof(report->tcb_info_rest));
    coco_write_zeros(w, 17);
}

static void write_tdinfo(struct coco_writer *w, const struct coco_tdreport *report)
{
    TD(WRITE, report);
    coco_write_bytes(w, report->servtd_hash, sizeof(report->servtd_hash));
    coco_write_bytes(w, report->tdinfo_rest, sizeof(report->tdinfo_rest));
}

void coco_tdreport_encode(const struct coco_tdreport *report, uint8_t out[COCO_TDREPORT_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_TDREPORT_SIZE);

    write_reportmacstruct(&w, report);
    write_tcb_info(&w, report);
    write_tdinfo(&w, report);
}

/* --- quote ----------------------------------------------------------------------------------- */

/* 0 for a type that does not exist. */
static uint32_t body_size(uint16_t body_type)
{
    switch (body_type) {
    case COCO_QUOTE_BODY_TD10:
        return COCO_QUOTE_TD10_SIZE;
    case COCO_QUOTE_BODY_TD15:
        return COCO_QUOTE_TD15_SIZE;
    case COCO_QUOTE_BODY_TD15EX:
        return COCO_QUOTE_TD15EX_SIZE;
    default:
        return 0;
    }
}

static void read_body(struct coco_reader *r, uint16_t body_type, struct coco_quote_body *body)
{
    MODULE(READ, body);
    TD(READ, body);
    coco_read_copy(r, body->report_data, sizeof(body->report_data));
    if (body_type == COCO_QUOTE_BODY_TD10)
        return;
    coco_read_copy(r, body->tee_tcb_svn2, sizeof(body->tee_tcb_svn2));
    coco_read_copy(r, body->mrservicetd, sizeof(body->mrservicetd));
    if (body_type == COCO_QUOTE_BODY_TD15EX)
        coco_read_copy(r, body->td15ex, sizeof(body->td15ex));
}

static void write_body(struct coco_writer *w, uint16_t body_type,
                       const struct coco_quote_body *body)
{
    MODULE(WRITE, body);
    TD(WRITE, body);
    coco_write_bytes(w, body->report_data, sizeof(body->report_data));
    if (body_type == COCO_QUOTE_BODY_TD10)
        return;
    coco_write_bytes(w, body->tee_tcb_svn2, sizeof(body->tee_tcb_svn2));
    coco_write_bytes(w, body->mrservicetd, sizeof(body->mrservicetd));
    if (body_type == COCO_QUOTE_BODY_TD15EX)
        coco_write_bytes(w, body->td15ex, sizeof(body->td15ex));
}

/* Header, and in version 5 the body's type and size. */
static const char *read_quote_header(struct coco_reader *r, struct coco_quote *quote)
{
    quote->version = coco_read_u16(r);
    quote->att_key_type = coco_read_u16(r);
    quote->tee_type = coco_read_u32(r);
    coco_read_copy(r, quote->reserved, sizeof(quote->reserved));
    coco_read_copy(r, quote->qe_vendor_id, sizeof(quote->qe_vendor_id));
    coco_read_copy(r, quote->user_data, sizeof(quote->user_data));
    if (r->bad)
        return "shorter than a quote's header";
    if (quote->version != 4 && quote->version != 5)
        return "unknown version of quote";
    if (quote->tee_type != COCO_TEE_TYPE_TDX)
        return "not a quote of a TD";
    if (quote->version == 4) {
        quote->body_type = COCO_QUOTE_BODY_TD10;
        return NULL;
    }

    quote->body_type = coco_read_u16(r);
    uint32_t size = coco_read_u32(r);
    if (r->bad)
        return "shorter than a quote's header";
    if (body_size(quote->body_type) == 0)
        return "unknown type of quote body";
    if (size != body_size(quote->body_type))
        return "the quote body's size does not fit its type";
    return NULL;
}

int coco_quote_decode(const uint8_t *in, size_t size, struct coco_quote *ret, const char **ret_why)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_quote quote = {0};
    const char *why = read_quote_header(&r, &quote);

    if (why)
        return refuse(ret_why, why);
    read_body(&r, quote.body_type, &quote.body);
    quote.signed_size = r.pos;
    quote.sig_size = coco_read_u32(&r);
    if (r.bad)
        return refuse(ret_why, "shorter than its body");
    if (quote.sig_size == 0)
        return refuse(ret_why, "no signature");
    quote.sig = coco_read_bytes(&r, quote.sig_size);
    if (r.bad)
        return refuse(ret_why, "shorter than its signature");
    quote.size = r.pos;
    *ret = quote;
    return 0;
}

int64_t coco_quote_encode(const struct coco_quote *quote, uint8_t *out, size_t out_size)
{
    struct coco_writer w = coco_writer_of(out, out_size);
    bool known = quote->version == 4 ? quote->body_type == COCO_QUOTE_BODY_TD10
                                     : quote->version == 5 && body_size(quote->body_type) != 0;

    if (!known || quote->tee_type != COCO_TEE_TYPE_TDX || quote->sig_size == 0)
        return -EINVAL;
    coco_write_u16(&w, quote->version);
    coco_write_u16(&w, quote->att_key_type);
    coco_write_u32(&w, quote->tee_type);
    coco_write_bytes(&w, quote->reserved, sizeof(quote->reserved));
    coco_write_bytes(&w, quote->qe_vendor_id, sizeof(quote->qe_vendor_id));
    coco_write_bytes(&w, quote->user_data, sizeof(quote->user_data));
    if (quote->version == 5) {
        coco_write_u16(&w, quote->body_type);
        coco_write_u32(&w, body_size(quote->body_type));
    }
    write_body(&w, quote->body_type, &quote->body);
    coco_write_u32(&w, quote->sig_size);
    coco_write_bytes(&w, quote->sig, quote->sig_size);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}

/* Bytes of the certification data of type 6 around `auth` and `cert`: QE report, its signature, two
 * sizes and a type. */
#define QE_CERT_FIXED (COCO_QUOTE_QE_REPORT_SIZE + 64u + 2u + 2u + 4u)

int coco_quote_ecdsa_decode(const uint8_t *in, size_t size, struct coco_quote_ecdsa *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_quote_ecdsa sig;

    coco_read_copy(&r, sig.signature, sizeof(sig.signature));
    coco_read_copy(&r, sig.attest_key, sizeof(sig.attest_key));
    uint16_t outer_type = coco_read_u16(&r);
    uint32_t outer_size = coco_read_u32(&r);
    if (r.bad || outer_type != CERT_TYPE_QE_REPORT || outer_size != coco_reader_left(&r))
        return -EBADMSG;

    coco_read_copy(&r, sig.qe_report, sizeof(sig.qe_report));
    coco_read_copy(&r, sig.qe_signature, sizeof(sig.qe_signature));
    sig.auth_size = coco_read_u16(&r);
    sig.auth = coco_read_bytes(&r, sig.auth_size);
    sig.cert_type = coco_read_u16(&r);
    sig.cert_size = coco_read_u32(&r);
    sig.cert = coco_read_bytes(&r, sig.cert_size);
    if (!coco_reader_done(&r))
        return -EBADMSG;
    *ret = sig;
    return 0;
}

int64_t coco_quote_ecdsa_encode(const struct coco_quote_ecdsa *sig, uint8_t *out, size_t out_size)
{
    struct coco_writer w = coco_writer_of(out, out_size);
    uint64_t outer_size = QE_CERT_FIXED + (uint64_t)sig->auth_size + sig->cert_size;

    if (outer_size > UINT32_MAX)
        return -EMSGSIZE;
    coco_write_bytes(&w, sig->signature, sizeof(sig->signature));
    coco_write_bytes(&w, sig->attest_key, sizeof(sig->attest_key));
    coco_write_u16(&w, CERT_TYPE_QE_REPORT);
    coco_write_u32(&w, (uint32_t)outer_size);
    coco_write_bytes(&w, sig->qe_report, sizeof(sig->qe_report));
    coco_write_bytes(&w, sig->qe_signature, sizeof(sig->qe_signature));
    coco_write_u16(&w, sig->auth_size);
    coco_write_bytes(&w, sig->auth, sig->auth_size);
    coco_write_u16(&w, sig->cert_type);
    coco_write_u32(&w, sig->cert_size);
    coco_write_bytes(&w, sig->cert, sig->cert_size);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}

/* --- binding --------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;

    for (size_t i = 0; i < size; i++)
        any |= bytes[i];
    return any == 0;
}

#define SAME(a, b) (sizeof(a) == sizeof(b) && memcmp(a, b, sizeof(a)) == 0)

/* What every kind of quote repeats unchanged: NULL, or the first field that differs. */
static const char *differs_always(const struct coco_quote_body *body,
                                  const struct coco_tdreport *report)
{
    return !SAME(body->report_data, report->report_data)       ? "report_data"
           : !SAME(body->mrtd, report->mrtd)                   ? "mrtd"
           : !SAME(body->rtmr[0], report->rtmr[0])             ? "rtmr0"
           : !SAME(body->rtmr[1], report->rtmr[1])             ? "rtmr1"
           : !SAME(body->rtmr[2], report->rtmr[2])             ? "rtmr2"
           : !SAME(body->rtmr[3], report->rtmr[3])             ? "rtmr3"
           : !SAME(body->mrconfigid, report->mrconfigid)       ? "mrconfigid"
           : !SAME(body->mrowner, report->mrowner)             ? "mrowner"
           : !SAME(body->mrownerconfig, report->mrownerconfig) ? "mrownerconfig"
           : !SAME(body->td_attributes, report->td_attributes) ? "td_attributes"
           : !SAME(body->xfam, report->xfam)                   ? "xfam"
           : !SAME(body->mrseam, report->mrseam)               ? "mrseam"
                                                               : NULL;
}

/* The quoting enclave leaves these two zero; one that copied them would copy them from here. */
static const char *differs_signer(const struct coco_quote_body *body,
                                  const struct coco_tdreport *report)
{
    if (!is_zero(body->mrsignerseam, sizeof(body->mrsignerseam)) &&
        !SAME(body->mrsignerseam, report->mrsignerseam))
        return "mrsignerseam";
    if (!is_zero(body->seam_attributes, sizeof(body->seam_attributes)) &&
        !SAME(body->seam_attributes, report->seam_attributes))
        return "seam_attributes";
    return NULL;
}

/* The security versions. Where VALID has no TEE_TCB_SVN2, a version 5 quote still has a field for
 * it: older enclaves write the TDREPORT's (unused) bytes 384..399 over TEE_TCB_SVN and leave
 * TEE_TCB_SVN2 zero; newer ones repeat TEE_TCB_SVN in it. Both are taken. */
static const char *differs_svn(const struct coco_quote *quote, const struct coco_tdreport *report)
{
    const struct coco_quote_body *body = &quote->body;
    bool has_svn2 = quote->body_type != COCO_QUOTE_BODY_TD10;
    bool valid_svn2 = (report->valid & COCO_TDREPORT_VALID_SVN2) != 0;
    bool same = SAME(body->tee_tcb_svn, report->tee_tcb_svn);

    if (quote->version == 5 && !valid_svn2)
        same = same || SAME(body->tee_tcb_svn, report->tee_tcb_svn2);
    if (!same)
        return "tee_tcb_svn";
    if (!has_svn2)
        return NULL;
    if (valid_svn2)
        same = SAME(body->tee_tcb_svn2, report->tee_tcb_svn2);
    else
        same = SAME(body->tee_tcb_svn2, report->tee_tcb_svn) ||
               is_zero(body->tee_tcb_svn2, sizeof(body->tee_tcb_svn2));
    return same ? NULL : "tee_tcb_svn2";
}

/* The service TD, which a TDREPORT of version 0 has no field for. */
static const char *differs_service_td(const struct coco_quote *quote,
                                      const struct coco_tdreport *report)
{
    const struct coco_quote_body *body = &quote->body;

    if (quote->body_type == COCO_QUOTE_BODY_TD10)
        return NULL;
    bool same = report->version == 0 ? is_zero(body->mrservicetd, sizeof(body->mrservicetd))
                                     : SAME(body->mrservicetd, report->servtd_hash);
    return same ? NULL : "mrservicetd";
}

int coco_quote_check_binding(const struct coco_quote *quote, const struct coco_tdreport *report,
                             const char **ret_field)
{
    const char *field = differs_always(&quote->body, report);

    if (!field)
        field = differs_signer(&quote->body, report);
    if (!field)
        field = differs_svn(quote, report);
    if (!field)
        field = differs_service_td(quote, report);
    return field ? refuse(ret_field, field) : 0;
}
