/* SPDX-License-Identifier: MIT */
/*
 * Messages of the TDX quoting service: encode and decode, PROTOCOL.md "QGS".
 *
 * One pair of functions a message. What always holds:
 * - a decoder accepts exactly what the encoder of the same message can make, so the header's size
 * is the size of the buffer, the inner sizes add up to it, and nothing trails (but for the 4 stray
 *   zero bytes that QGS itself appends to two of its replies, kept as `padded`; on errors it does
 *   not, but its own library asks for them there, too, so they are taken);
 * - a request carries error code 0; a reply with an error carries nothing else;
 * - inner sizes are added in 64 bits, where no sum of a message's u32 fields can wrap;
 * - outputs are untouched on failure, and decoded pointers point into the input. A pointer to an
 *   empty field points to where it would be.
 *
 * As in QGS's own library any minor version is taken, and an error code may be any below
 * COCO_QGS_ERROR_MAX although QGS sends only one.
 */
#include "qgs_msg.h"
#include "bytes.h"
#include <errno.h>

#define PAD_SIZE 4u

int coco_qgs_header_decode(const uint8_t *in, size_t size, struct coco_qgs_header *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_qgs_header h = {
        .major = coco_read_u16(&r),
        .minor = coco_read_u16(&r),
        .type = coco_read_u32(&r),
        .size = coco_read_u32(&r),
        .error_code = coco_read_u32(&r),
    };

    if (r.bad || h.size != size || h.major != COCO_QGS_MAJOR)
        return -EBADMSG;
    *ret = h;
    return 0;
}

uint32_t coco_qgs_prefix_decode(const uint8_t in[COCO_QGS_PREFIX_SIZE])
{
    struct coco_reader r = coco_reader_of(in, COCO_QGS_PREFIX_SIZE);

    return coco_read_u32be(&r);
}

void coco_qgs_prefix_encode(uint32_t message_size, uint8_t out[COCO_QGS_PREFIX_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_QGS_PREFIX_SIZE);

    coco_write_u32be(&w, message_size);
}

bool coco_qgs_looks_raw(const uint8_t in[COCO_QGS_PREFIX_SIZE])
{
    struct coco_reader r = coco_reader_of(in, COCO_QGS_PREFIX_SIZE);
    uint16_t version = coco_read_u16(&r);
    uint16_t key_type = coco_read_u16(&r);

    return (version == 4 || version == 5) && key_type == 2;
}

/* Decodes the header of one message of `type` and leaves `r` behind it. */
static int open_message(struct coco_reader *r, const uint8_t *in, size_t size, uint32_t type,
                        struct coco_qgs_header *ret)
{
    struct coco_qgs_header h;
    int e = coco_qgs_header_decode(in, size, &h);

    if (e < 0)
        return e;
    if (h.type != type)
        return -EBADMSG;
    *r = coco_reader_of(in, size);
    coco_read_bytes(r, COCO_QGS_HEADER_SIZE);
    *ret = h;
    return 0;
}

static int open_request(struct coco_reader *r, const uint8_t *in, size_t size, uint32_t type,
                        struct coco_qgs_header *ret)
{
    int e = open_message(r, in, size, type, ret);

    if (e < 0)
        return e;
    return ret->error_code == COCO_QGS_OK ? 0 : -EBADMSG;
}

static int open_reply(struct coco_reader *r, const uint8_t *in, size_t size, uint32_t type,
                      struct coco_qgs_header *ret)
{
    int e = open_message(r, in, size, type, ret);

    if (e < 0)
        return e;
    return ret->error_code < COCO_QGS_ERROR_MAX ? 0 : -EBADMSG;
}

/* Starts writing a message of `total` bytes; -EMSGSIZE where it does not fit. */
static int start_message(struct coco_writer *w, uint8_t *out, size_t out_size, uint64_t total,
                         uint16_t minor, uint32_t type, uint32_t error_code)
{
    if (total > UINT32_MAX || total > out_size)
        return -EMSGSIZE;
    *w = coco_writer_of(out, (size_t)total);
    coco_write_u16(w, COCO_QGS_MAJOR);
    coco_write_u16(w, minor);
    coco_write_u32(w, type);
    coco_write_u32(w, (uint32_t)total);
    coco_write_u32(w, error_code);
    return 0;
}

/* What is left of a reply that ends in an optional pad: 0 or PAD_SIZE zero bytes. */
static bool read_pad(struct coco_reader *r, bool *ret_padded)
{
    bool padded = coco_reader_left(r) > 0;

    if (padded)
        coco_read_zeros(r, PAD_SIZE);
    *ret_padded = padded;
    return coco_reader_done(r);
}

/* --- GET_QUOTE ------------------------------------------------------------------------------- */

int coco_qgs_quote_req_decode(const uint8_t *in, size_t size, struct coco_qgs_quote_req *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_request(&r, in, size, COCO_QGS_GET_QUOTE_REQ, &h);

    if (e < 0)
        return e;

    struct coco_qgs_quote_req req = {.minor = h.minor};
    req.report_size = coco_read_u32(&r);
    req.id_list_size = coco_read_u32(&r);
    req.report = coco_read_bytes(&r, req.report_size);
    req.id_list = coco_read_bytes(&r, req.id_list_size);
    if (!coco_reader_done(&r) || req.report_size == 0)
        return -EBADMSG;
    *ret = req;
    return 0;
}

int64_t coco_qgs_quote_req_encode(const struct coco_qgs_quote_req *req, uint8_t *out,
                                  size_t out_size)
{
    struct coco_writer w;
    uint64_t total = 24u + (uint64_t)req->report_size + req->id_list_size;

    if (req->report_size == 0)
        return -EINVAL;
    int e = start_message(&w, out, out_size, total, req->minor, COCO_QGS_GET_QUOTE_REQ, 0);
    if (e < 0)
        return e;
    coco_write_u32(&w, req->report_size);
    coco_write_u32(&w, req->id_list_size);
    coco_write_bytes(&w, req->report, req->report_size);
    coco_write_bytes(&w, req->id_list, req->id_list_size);
    return (int64_t)total;
}

static bool quote_resp_valid(const struct coco_qgs_quote_resp *resp)
{
    if (resp->error_code == COCO_QGS_OK)
        return resp->quote_size != 0;
    return resp->error_code < COCO_QGS_ERROR_MAX && resp->selected_id_size == 0 &&
           resp->quote_size == 0;
}

int coco_qgs_quote_resp_decode(const uint8_t *in, size_t size, struct coco_qgs_quote_resp *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_reply(&r, in, size, COCO_QGS_GET_QUOTE_RESP, &h);

    if (e < 0)
        return e;

    struct coco_qgs_quote_resp resp = {.minor = h.minor, .error_code = h.error_code};
    resp.selected_id_size = coco_read_u32(&r);
    resp.quote_size = coco_read_u32(&r);
    resp.selected_id = coco_read_bytes(&r, resp.selected_id_size);
    resp.quote = coco_read_bytes(&r, resp.quote_size);
    if (!coco_reader_done(&r) || !quote_resp_valid(&resp))
        return -EBADMSG;
    *ret = resp;
    return 0;
}

int64_t coco_qgs_quote_resp_encode(const struct coco_qgs_quote_resp *resp, uint8_t *out,
                                   size_t out_size)
{
    struct coco_writer w;
    uint64_t total =
        COCO_QGS_QUOTE_RESP_FIXED + (uint64_t)resp->selected_id_size + resp->quote_size;

    if (!quote_resp_valid(resp))
        return -EINVAL;
    int e = start_message(&w, out, out_size, total, resp->minor, COCO_QGS_GET_QUOTE_RESP,
                          resp->error_code);
    if (e < 0)
        return e;
    coco_write_u32(&w, resp->selected_id_size);
    coco_write_u32(&w, resp->quote_size);
    coco_write_bytes(&w, resp->selected_id, resp->selected_id_size);
    coco_write_bytes(&w, resp->quote, resp->quote_size);
    return (int64_t)total;
}

int64_t coco_qgs_quote_resp_encode_fixed(const struct coco_qgs_quote_resp *resp,
                                         uint8_t out[COCO_QGS_QUOTE_RESP_FIXED])
{
    struct coco_writer w = coco_writer_of(out, COCO_QGS_QUOTE_RESP_FIXED);
    uint64_t total =
        COCO_QGS_QUOTE_RESP_FIXED + (uint64_t)resp->selected_id_size + resp->quote_size;

    if (!quote_resp_valid(resp))
        return -EINVAL;
    if (total > UINT32_MAX)
        return -EMSGSIZE;
    coco_write_u16(&w, COCO_QGS_MAJOR);
    coco_write_u16(&w, resp->minor);
    coco_write_u32(&w, COCO_QGS_GET_QUOTE_RESP);
    coco_write_u32(&w, (uint32_t)total);
    coco_write_u32(&w, resp->error_code);
    coco_write_u32(&w, resp->selected_id_size);
    coco_write_u32(&w, resp->quote_size);
    return COCO_QGS_QUOTE_RESP_FIXED;
}

/* --- GET_COLLATERAL -------------------------------------------------------------------------- */

int coco_qgs_collateral_req_decode(const uint8_t *in, size_t size,
                                   struct coco_qgs_collateral_req *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_request(&r, in, size, COCO_QGS_GET_COLLATERAL_REQ, &h);

    if (e < 0)
        return e;

    struct coco_qgs_collateral_req req = {.minor = h.minor};
    req.fmspc_size = coco_read_u32(&r);
    req.pckca_size = coco_read_u32(&r);
    req.fmspc = coco_read_bytes(&r, req.fmspc_size);
    req.pckca = coco_read_bytes(&r, req.pckca_size);
    if (!coco_reader_done(&r) || req.fmspc_size == 0 || req.pckca_size == 0)
        return -EBADMSG;
    *ret = req;
    return 0;
}

int64_t coco_qgs_collateral_req_encode(const struct coco_qgs_collateral_req *req, uint8_t *out,
                                       size_t out_size)
{
    struct coco_writer w;
    uint64_t total = 24u + (uint64_t)req->fmspc_size + req->pckca_size;

    if (req->fmspc_size == 0 || req->pckca_size == 0)
        return -EINVAL;
    int e = start_message(&w, out, out_size, total, req->minor, COCO_QGS_GET_COLLATERAL_REQ, 0);
    if (e < 0)
        return e;
    coco_write_u32(&w, req->fmspc_size);
    coco_write_u32(&w, req->pckca_size);
    coco_write_bytes(&w, req->fmspc, req->fmspc_size);
    coco_write_bytes(&w, req->pckca, req->pckca_size);
    return (int64_t)total;
}

/* On success no blob is empty, on error every one is. */
static bool collateral_resp_valid(const struct coco_qgs_collateral_resp *resp)
{
    bool ok = resp->error_code == COCO_QGS_OK;

    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        if ((resp->sizes[i] != 0) != ok)
            return false;
    return ok || resp->error_code < COCO_QGS_ERROR_MAX;
}

int coco_qgs_collateral_resp_decode(const uint8_t *in, size_t size,
                                    struct coco_qgs_collateral_resp *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_reply(&r, in, size, COCO_QGS_GET_COLLATERAL_RESP, &h);

    if (e < 0)
        return e;

    struct coco_qgs_collateral_resp resp = {.minor = h.minor, .error_code = h.error_code};
    resp.collateral_major = coco_read_u16(&r);
    resp.collateral_minor = coco_read_u16(&r);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        resp.sizes[i] = coco_read_u32(&r);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        resp.blobs[i] = coco_read_bytes(&r, resp.sizes[i]);
    if (!read_pad(&r, &resp.padded) || !collateral_resp_valid(&resp))
        return -EBADMSG;
    *ret = resp;
    return 0;
}

int64_t coco_qgs_collateral_resp_encode(const struct coco_qgs_collateral_resp *resp, uint8_t *out,
                                        size_t out_size)
{
    struct coco_writer w;
    uint64_t total = 48u + (resp->padded ? PAD_SIZE : 0u);

    if (!collateral_resp_valid(resp))
        return -EINVAL;
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        total += resp->sizes[i];
    int e = start_message(&w, out, out_size, total, resp->minor, COCO_QGS_GET_COLLATERAL_RESP,
                          resp->error_code);
    if (e < 0)
        return e;
    coco_write_u16(&w, resp->collateral_major);
    coco_write_u16(&w, resp->collateral_minor);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        coco_write_u32(&w, resp->sizes[i]);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        coco_write_bytes(&w, resp->blobs[i], resp->sizes[i]);
    coco_write_zeros(&w, resp->padded ? PAD_SIZE : 0);
    return (int64_t)total;
}

/* --- GET_PLATFORM_INFO ----------------------------------------------------------------------- */

int coco_qgs_platform_req_decode(const uint8_t *in, size_t size, struct coco_qgs_platform_req *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_request(&r, in, size, COCO_QGS_GET_PLATFORM_INFO_REQ, &h);

    if (e < 0)
        return e;
    if (!coco_reader_done(&r))
        return -EBADMSG;
    *ret = (struct coco_qgs_platform_req){.minor = h.minor};
    return 0;
}

int64_t coco_qgs_platform_req_encode(const struct coco_qgs_platform_req *req, uint8_t *out,
                                     size_t out_size)
{
    struct coco_writer w;
    int e = start_message(&w, out, out_size, COCO_QGS_HEADER_SIZE, req->minor,
                          COCO_QGS_GET_PLATFORM_INFO_REQ, 0);

    return e < 0 ? e : (int64_t)COCO_QGS_HEADER_SIZE;
}

static bool platform_resp_valid(const struct coco_qgs_platform_resp *resp)
{
    if (resp->error_code == COCO_QGS_OK)
        return resp->platform_id_size != 0 && resp->cpusvn_size != 0;
    return resp->error_code < COCO_QGS_ERROR_MAX && resp->platform_id_size == 0 &&
           resp->cpusvn_size == 0;
}

int coco_qgs_platform_resp_decode(const uint8_t *in, size_t size,
                                  struct coco_qgs_platform_resp *ret)
{
    struct coco_reader r;
    struct coco_qgs_header h;
    int e = open_reply(&r, in, size, COCO_QGS_GET_PLATFORM_INFO_RESP, &h);

    if (e < 0)
        return e;

    struct coco_qgs_platform_resp resp = {.minor = h.minor, .error_code = h.error_code};
    resp.tdqe_isvsvn = coco_read_u16(&r);
    resp.pce_isvsvn = coco_read_u16(&r);
    resp.platform_id_size = coco_read_u32(&r);
    resp.cpusvn_size = coco_read_u32(&r);
    resp.platform_id = coco_read_bytes(&r, resp.platform_id_size);
    resp.cpusvn = coco_read_bytes(&r, resp.cpusvn_size);
    if (!read_pad(&r, &resp.padded) || !platform_resp_valid(&resp))
        return -EBADMSG;
    *ret = resp;
    return 0;
}

int64_t coco_qgs_platform_resp_encode(const struct coco_qgs_platform_resp *resp, uint8_t *out,
                                      size_t out_size)
{
    struct coco_writer w;
    uint64_t total =
        28u + (uint64_t)resp->platform_id_size + resp->cpusvn_size + (resp->padded ? PAD_SIZE : 0u);

    if (!platform_resp_valid(resp))
        return -EINVAL;
    int e = start_message(&w, out, out_size, total, resp->minor, COCO_QGS_GET_PLATFORM_INFO_RESP,
                          resp->error_code);
    if (e < 0)
        return e;
    coco_write_u16(&w, resp->tdqe_isvsvn);
    coco_write_u16(&w, resp->pce_isvsvn);
    coco_write_u32(&w, resp->platform_id_size);
    coco_write_u32(&w, resp->cpusvn_size);
    coco_write_bytes(&w, resp->platform_id, resp->platform_id_size);
    coco_write_bytes(&w, resp->cpusvn, resp->cpusvn_size);
    coco_write_zeros(&w, resp->padded ? PAD_SIZE : 0);
    return (int64_t)total;
}
