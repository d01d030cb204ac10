/* SPDX-License-Identifier: MIT */
/*
 * What cocod asks the platform helper (cocod-sev), and its answers: fixed-size records on a Unix
 * stream socket, little-endian. PROTOCOL.md "The platform helper".
 *
 * Decoders take one whole record; they fail with -EBADMSG, and what decodes, encodes to the same
 * bytes. Encoders refuse with -EINVAL what the decoder would refuse. Outputs are untouched on
 * failure.
 */
#pragma once

#include "snp_tcb.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COCO_SEV_MAGIC        0x56534F43u /* the bytes "COSV" */
#define COCO_SEV_VERSION      1u
#define COCO_SEV_REQUEST_SIZE 16u
#define COCO_SEV_REPLY_SIZE   128u

enum coco_sev_op {
    COCO_SEV_STATUS = 1,  /* SNP_PLATFORM_STATUS */
    COCO_SEV_CHIP_ID = 2, /* SEV_GET_ID2 */
};

struct coco_sev_request {
    uint16_t op; /* enum coco_sev_op */
    uint32_t id; /* the asker's; the reply has it, too */
};

#define COCO_SEV_MASK_CHIP_ID  (1u << 0) /* reports have zeros for the chip's id */
#define COCO_SEV_MASK_CHIP_KEY (1u << 1) /* the VCEK signs nothing */
#define COCO_SEV_VLEK_EN       (1u << 2) /* a VLEK is loaded */
#define COCO_SEV_SNP_INIT      (1u << 3) /* SNP is initialised: guests run, a VLEK is kept */
#define COCO_SEV_FLAGS_ALL     0xfu

#define COCO_SEV_FW_NOT_CALLED 0xffffffffu

struct coco_sev_reply {
    uint16_t op;
    uint32_t id;
    uint32_t status;     /* 0, or a code of the errno contract (status.h) */
    uint32_t fw_error;   /* the firmware's status where `status` is EIO; else 0 */
    uint32_t cpu_family; /* CPUID's, the extended part added; both 0 where this is no AMD CPU */
    uint32_t cpu_model;
    uint32_t flags;                         /* STATUS; else 0 */
    uint64_t current_tcb;                   /* STATUS; else 0 */
    uint64_t reported_tcb;                  /* STATUS; else 0 */
    uint32_t chip_id_size;                  /* CHIP_ID: 64 or 8; else 0 */
    uint8_t chip_id[COCO_SNP_CHIP_ID_SIZE]; /* zeros behind chip_id_size */
};

int coco_sev_request_decode(const uint8_t in[COCO_SEV_REQUEST_SIZE], struct coco_sev_request *ret);
int coco_sev_request_encode(const struct coco_sev_request *request,
                            uint8_t out[COCO_SEV_REQUEST_SIZE]);
int coco_sev_reply_decode(const uint8_t in[COCO_SEV_REPLY_SIZE], struct coco_sev_reply *ret);
int coco_sev_reply_encode(const struct coco_sev_reply *reply, uint8_t out[COCO_SEV_REPLY_SIZE]);

/* What a status of the firmware means, for people: "BAD_SVN: …". Static text. */
const char *coco_sev_fw_error_text(uint32_t fw_error);

#ifdef __cplusplus
}
#endif
