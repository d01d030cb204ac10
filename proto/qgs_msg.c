/* SPDX-License-Identifier: MIT */
/*
 * Messages of the TDX quoting service: encode and decode, PROTOCOL.md "QGS".
 *
 * A decoder accepts exactly what its encoder can make: the header's size is the buffer's, the inner
 * sizes add up to it, and nothing trails. The exception are 4 stray zero bytes behind two of the
 * replies (`padded`). QGS appends them on success; its own library wants them behind an error too,
 * so both are taken.
 *
 * A request carries error code 0; a reply with an error carries nothing else. As in QGS's library,
 * any minor version and any error code below COCO_QGS_ERROR_MAX is taken.
 *
 * Sizes are added in 64 bits, where no sum of a message's u32 fields can wrap. Outputs of decoders
 * are untouched on failure. A pointer to an empty field points to where it would be.
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

/* What follows the header; bad where this is no message of `type`. Types of requests are even. */
static struct coco_reader open_message(const uint8_t *in, size_t size, uint32_t type,
                                       struct coco_qgs_header *ret)
{
    const uint32_t error_end = type % 2 == 0 ? COCO_QGS_OK + 1 : COCO_QGS_ERROR_MAX;
    struct coco_reader r = coco_reader_of(in, size);

    *ret = (struct coco_qgs_header){0};
    (void)coco_read_bytes(&r, COCO_QGS_HEADER_SIZE);
    if (coco_qgs_header_decode(in, size, ret) < 0 || ret->type != type ||
        ret->error_code >= error_end)
        r.bad = true;
    return r;
}

/* Starts a message of `total` bytes; bad where that is no u32. */
static struct coco_writer start_message(uint8_t *out, size_t out_size, uint64_t total,
                                        uint16_t minor, uint32_t type, uint32_t error_code)
{
    struct coco_writer w = coco_writer_of(out, out_size);

    if (total > UINT32_MAX) {
        w.bad = true;
        return w;
    }
    coco_write_u16(&w, COCO_QGS_MAJOR);
    coco_write_u16(&w, minor);
    coco_write_u32(&w, type);
    coco_write_u32(&w, (uint32_t)total);
    coco_write_u32(&w, error_code);
    return w;
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
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_QUOTE_REQ, &h);
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
    uint64_t total = 24u + (uint64_t)req->report_size + req->id_list_size;

    if (req->report_size == 0)
        return -EINVAL;
    struct coco_writer w =
        start_message(out, out_size, total, req->minor, COCO_QGS_GET_QUOTE_REQ, 0);
    coco_write_u32(&w, req->report_size);
    coco_write_u32(&w, req->id_list_size);
    coco_write_bytes(&w, req->report, req->report_size);
    coco_write_bytes(&w, req->id_list, req->id_list_size);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
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
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_QUOTE_RESP, &h);
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

/* The fixed part, which says how long the whole is. */
static struct coco_writer start_quote_resp(const struct coco_qgs_quote_resp *resp, uint8_t *out,
                                           size_t out_size)
{
    struct coco_writer w = start_message(out, out_size,
                                         COCO_QGS_QUOTE_RESP_FIXED +
                                             (uint64_t)resp->selected_id_size + resp->quote_size,
                                         resp->minor, COCO_QGS_GET_QUOTE_RESP, resp->error_code);

    coco_write_u32(&w, resp->selected_id_size);
    coco_write_u32(&w, resp->quote_size);
    return w;
}

int64_t coco_qgs_quote_resp_encode(const struct coco_qgs_quote_resp *resp, uint8_t *out,
                                   size_t out_size)
{
    if (!quote_resp_valid(resp))
        return -EINVAL;
    struct coco_writer w = start_quote_resp(resp, out, out_size);
    coco_write_bytes(&w, resp->selected_id, resp->selected_id_size);
    coco_write_bytes(&w, resp->quote, resp->quote_size);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}

int64_t coco_qgs_quote_resp_encode_fixed(const struct coco_qgs_quote_resp *resp,
                                         uint8_t out[COCO_QGS_QUOTE_RESP_FIXED])
{
    if (!quote_resp_valid(resp))
        return -EINVAL;
    struct coco_writer w = start_quote_resp(resp, out, COCO_QGS_QUOTE_RESP_FIXED);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}

/* --- GET_COLLATERAL -------------------------------------------------------------------------- */

int coco_qgs_collateral_req_decode(const uint8_t *in, size_t size,
                                   struct coco_qgs_collateral_req *ret)
{
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_COLLATERAL_REQ, &h);
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
    uint64_t total = 24u + (uint64_t)req->fmspc_size + req->pckca_size;

    if (req->fmspc_size == 0 || req->pckca_size == 0)
        return -EINVAL;
    struct coco_writer w =
        start_message(out, out_size, total, req->minor, COCO_QGS_GET_COLLATERAL_REQ, 0);
    coco_write_u32(&w, req->fmspc_size);
    coco_write_u32(&w, req->pckca_size);
    coco_write_bytes(&w, req->fmspc, req->fmspc_size);
    coco_write_bytes(&w, req->pckca, req->pckca_size);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
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
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_COLLATERAL_RESP, &h);
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
    uint64_t total = 48u + (resp->padded ? PAD_SIZE : 0u);

    if (!collateral_resp_valid(resp))
        return -EINVAL;
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        total += resp->sizes[i];
    struct coco_writer w = start_message(out, out_size, total, resp->minor,
                                         COCO_QGS_GET_COLLATERAL_RESP, resp->error_code);
    coco_write_u16(&w, resp->collateral_major);
    coco_write_u16(&w, resp->collateral_minor);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        coco_write_u32(&w, resp->sizes[i]);
    for (size_t i = 0; i < COCO_QGS_COLLATERAL_BLOBS; i++)
        coco_write_bytes(&w, resp->blobs[i], resp->sizes[i]);
    coco_write_zeros(&w, resp->padded ? PAD_SIZE : 0);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}

/* --- GET_PLATFORM_INFO ----------------------------------------------------------------------- */

int coco_qgs_platform_req_decode(const uint8_t *in, size_t size, struct coco_qgs_platform_req *ret)
{
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_PLATFORM_INFO_REQ, &h);
    if (!coco_reader_done(&r))
        return -EBADMSG;
    *ret = (struct coco_qgs_platform_req){.minor = h.minor};
    return 0;
}

int64_t coco_qgs_platform_req_encode(const struct coco_qgs_platform_req *req, uint8_t *out,
                                     size_t out_size)
{
    struct coco_writer w = start_message(out, out_size, COCO_QGS_HEADER_SIZE, req->minor,
                                         COCO_QGS_GET_PLATFORM_INFO_REQ, 0);

    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
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
    struct coco_qgs_header h;
    struct coco_reader r = open_message(in, size, COCO_QGS_GET_PLATFORM_INFO_RESP, &h);
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
    uint64_t total =
        28u + (uint64_t)resp->platform_id_size + resp->cpusvn_size + (resp->padded ? PAD_SIZE : 0u);

    if (!platform_resp_valid(resp))
        return -EINVAL;
    struct coco_writer w = start_message(out, out_size, total, resp->minor,
                                         COCO_QGS_GET_PLATFORM_INFO_RESP, resp->error_code);
    coco_write_u16(&w, resp->tdqe_isvsvn);
    coco_write_u16(&w, resp->pce_isvsvn);
    coco_write_u32(&w, resp->platform_id_size);
    coco_write_u32(&w, resp->cpusvn_size);
    coco_write_bytes(&w, resp->platform_id, resp->platform_id_size);
    coco_write_bytes(&w, resp->cpusvn, resp->cpusvn_size);
    coco_write_zeros(&w, resp->padded ? PAD_SIZE : 0);
    return w.bad ? -EMSGSIZE : (int64_t)w.pos;
}
