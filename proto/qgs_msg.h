/* SPDX-License-Identifier: MIT */
/*
 * The messages of Intel's quoting service (QGS), both directions: cocod speaks them as a client,
 * the front door and the simulator as a server. PROTOCOL.md "QGS".
 *
 * On the stream each message follows a big-endian u32 that counts its bytes. Everything inside is
 * little-endian. Decoders take one message, without the prefix, and its exact size; they fail with
 * -EBADMSG, and what decodes, encodes to the same bytes. Pointers point into the input.
 */
#pragma once

#include "coco_limits.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum coco_qgs_type {
    COCO_QGS_GET_QUOTE_REQ = 0,
    COCO_QGS_GET_QUOTE_RESP = 1,
    COCO_QGS_GET_COLLATERAL_REQ = 2,
    COCO_QGS_GET_COLLATERAL_RESP = 3,
    COCO_QGS_GET_PLATFORM_INFO_REQ = 4,
    COCO_QGS_GET_PLATFORM_INFO_RESP = 5,
};

#define COCO_QGS_MAJOR 1u
#define COCO_QGS_MINOR 1u /* QEMU takes replies of exactly 1.1 */

#define COCO_QGS_OK               0u
#define COCO_QGS_ERROR_UNEXPECTED 0x00012001u /* the only error that QGS ever sends */
#define COCO_QGS_ERROR_MAX        0x00012008u

struct coco_qgs_header {
    uint16_t major;
    uint16_t minor;
    uint32_t type;
    uint32_t size; /* the whole message, this header included */
    uint32_t error_code;
};

/* -EBADMSG where size < 16 or the header's own size is not `size` or major is not 1. */
int coco_qgs_header_decode(const uint8_t *in, size_t size, struct coco_qgs_header *ret);

/* The big-endian length prefix. */
uint32_t coco_qgs_prefix_decode(const uint8_t in[COCO_QGS_PREFIX_SIZE]);
void coco_qgs_prefix_encode(uint32_t message_size, uint8_t out[COCO_QGS_PREFIX_SIZE]);

/* Do these first bytes of a reply belong to a bare quote (version 4 or 5, key type 2) instead of a
 * length prefix? QGS ≤ 1.25 answers a request that it misread so. */
bool coco_qgs_looks_raw(const uint8_t in[COCO_QGS_PREFIX_SIZE]);

/* GET_QUOTE_REQ: 24 + report_size + id_list_size bytes. */
struct coco_qgs_quote_req {
    uint16_t minor;
    uint32_t report_size; /* not 0; 1024 for a TDREPORT */
    uint32_t id_list_size;
    const uint8_t *report;
    const uint8_t *id_list;
};

#define COCO_QGS_QUOTE_REQ_SIZE (24u + COCO_TDREPORT_SIZE)
#define COCO_QGS_QUOTE_REQ_WIRE (COCO_QGS_PREFIX_SIZE + COCO_QGS_QUOTE_REQ_SIZE)

int coco_qgs_quote_req_decode(const uint8_t *in, size_t size, struct coco_qgs_quote_req *ret);
/* Every encoder returns the bytes written, or -EMSGSIZE where they do not fit `out_size` (or 32
 * bits), or -EINVAL for a message that the decoder would refuse. */
int64_t coco_qgs_quote_req_encode(const struct coco_qgs_quote_req *req, uint8_t *out,
                                  size_t out_size);

/* GET_QUOTE_RESP: 24 + selected_id_size + quote_size bytes; on error both sizes are 0. */
struct coco_qgs_quote_resp {
    uint16_t minor;
    uint32_t error_code; /* 0, or below COCO_QGS_ERROR_MAX */
    uint32_t selected_id_size;
    uint32_t quote_size;
    const uint8_t *selected_id;
    const uint8_t *quote;
};

#define COCO_QGS_QUOTE_RESP_FIXED 24u

int coco_qgs_quote_resp_decode(const uint8_t *in, size_t size, struct coco_qgs_quote_resp *ret);
int64_t coco_qgs_quote_resp_encode(const struct coco_qgs_quote_resp *resp, uint8_t *out,
                                   size_t out_size);
/* The same without the bytes of id and quote, which are not read: COCO_QGS_QUOTE_RESP_FIXED bytes.
 */
int64_t coco_qgs_quote_resp_encode_fixed(const struct coco_qgs_quote_resp *resp,
                                         uint8_t out[COCO_QGS_QUOTE_RESP_FIXED]);

/* GET_COLLATERAL_REQ: 24 + fmspc_size + pckca_size bytes, neither 0. */
struct coco_qgs_collateral_req {
    uint16_t minor;
    uint32_t fmspc_size;
    uint32_t pckca_size;
    const uint8_t *fmspc;
    const uint8_t *pckca;
};

int coco_qgs_collateral_req_decode(const uint8_t *in, size_t size,
                                   struct coco_qgs_collateral_req *ret);
int64_t coco_qgs_collateral_req_encode(const struct coco_qgs_collateral_req *req, uint8_t *out,
                                       size_t out_size);

#define COCO_QGS_COLLATERAL_BLOBS 7u

/* GET_COLLATERAL_RESP: 48 bytes and seven blobs in QGS's order (PCK CRL issuer chain, root CA CRL,
 * PCK CRL, TCB info issuer chain, TCB info, QE identity issuer chain, QE identity). No blob is
 * empty on success, all are on error. */
struct coco_qgs_collateral_resp {
    uint16_t minor;
    uint32_t error_code;
    uint16_t collateral_major;
    uint16_t collateral_minor;
    uint32_t sizes[COCO_QGS_COLLATERAL_BLOBS];
    const uint8_t *blobs[COCO_QGS_COLLATERAL_BLOBS];
    bool padded; /* by 4 zero bytes: QGS does where the request said minor 0, to DCAP 1.20 always */
};

int coco_qgs_collateral_resp_decode(const uint8_t *in, size_t size,
                                    struct coco_qgs_collateral_resp *ret);
int64_t coco_qgs_collateral_resp_encode(const struct coco_qgs_collateral_resp *resp, uint8_t *out,
                                        size_t out_size);

/* GET_PLATFORM_INFO_REQ: the header alone. */
struct coco_qgs_platform_req {
    uint16_t minor;
};

int coco_qgs_platform_req_decode(const uint8_t *in, size_t size, struct coco_qgs_platform_req *ret);
int64_t coco_qgs_platform_req_encode(const struct coco_qgs_platform_req *req, uint8_t *out,
                                     size_t out_size);

/* GET_PLATFORM_INFO_RESP: 28 bytes, platform id, CPUSVN, and on success the 4 stray zero bytes that
 * QGS appends (`padded`; both forms are taken, on error, too). */
struct coco_qgs_platform_resp {
    uint16_t minor;
    uint32_t error_code;
    uint16_t tdqe_isvsvn;
    uint16_t pce_isvsvn;
    uint32_t platform_id_size;
    uint32_t cpusvn_size;
    const uint8_t *platform_id;
    const uint8_t *cpusvn;
    bool padded;
};

int coco_qgs_platform_resp_decode(const uint8_t *in, size_t size,
                                  struct coco_qgs_platform_resp *ret);
int64_t coco_qgs_platform_resp_encode(const struct coco_qgs_platform_resp *resp, uint8_t *out,
                                      size_t out_size);

#ifdef __cplusplus
}
#endif
