/* SPDX-License-Identifier: MIT */
/*
 * TDREPORT and TD quote (versions 4 and 5): layout, true length, and the binding of one to the
 * other. PROTOCOL.md "TDREPORT" and "Quotes".
 *
 * Layout only: hashes and signatures need a crypto library and are checked by the daemon
 * (daemon/quotes/check.c). Decoders fail with -EBADMSG; what decodes, encodes to the same bytes.
 */
#pragma once

#include "coco_limits.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The two ranges of a TDREPORT that REPORTMACSTRUCT carries SHA-384 hashes of, and where. */
#define COCO_TDREPORT_TCB_INFO_OFF      256u
#define COCO_TDREPORT_TCB_INFO_SIZE     239u
#define COCO_TDREPORT_TCB_INFO_HASH_OFF 32u
#define COCO_TDREPORT_TDINFO_OFF        512u
#define COCO_TDREPORT_TDINFO_SIZE       512u
#define COCO_TDREPORT_TDINFO_HASH_OFF   80u
#define COCO_SHA384_SIZE                48u

struct coco_tdreport {
    uint8_t subtype; /* 0, 1 with TD partitioning */
    uint8_t version; /* 0, 1 (service TD bound), 3 (TD id) */
    uint8_t cpusvn[16];
    uint8_t tee_tcb_info_hash[48];
    uint8_t tee_info_hash[48];
    uint8_t report_data[64];
    uint8_t mac[32];
    /* TEE_TCB_INFO */
    uint64_t valid;
    uint8_t tee_tcb_svn[16];
    uint8_t mrseam[48];
    uint8_t mrsignerseam[48];
    uint8_t seam_attributes[8];
    uint8_t tee_tcb_svn2[16];
    uint8_t tcb_info_rest[95]; /* 400..494: reserved, kept as found (it is hashed) */
    /* TDINFO */
    uint8_t td_attributes[8];
    uint8_t xfam[8];
    uint8_t mrtd[48];
    uint8_t mrconfigid[48];
    uint8_t mrowner[48];
    uint8_t mrownerconfig[48];
    uint8_t rtmr[4][48];
    uint8_t servtd_hash[48];
    uint8_t tdinfo_rest[64]; /* 960..1023: reserved, or TD id and VMID in version 3 */
};

/* TEE_TCB_INFO.VALID says with these bits that TEE_TCB_SVN2 is there (TDX 1.5). */
#define COCO_TDREPORT_VALID_SVN2 UINT64_C(0x30000)

/* Type 0x81, a known subtype and version, reserved bytes of REPORTMACSTRUCT and 495..511 zero. On
 * failure, here and below, `ret_why` (may be NULL) is a static phrase that says what is wrong. */
int coco_tdreport_decode(const uint8_t in[COCO_TDREPORT_SIZE], struct coco_tdreport *ret,
                         const char **ret_why);
void coco_tdreport_encode(const struct coco_tdreport *report, uint8_t out[COCO_TDREPORT_SIZE]);

#define COCO_TEE_TYPE_TDX 0x81u

/* Body types of quote version 5, and their sizes; version 4 has TD10 without saying so. */
#define COCO_QUOTE_BODY_TD10      2u
#define COCO_QUOTE_BODY_TD15      3u
#define COCO_QUOTE_BODY_TD15EX    4u
#define COCO_QUOTE_TD10_SIZE      584u
#define COCO_QUOTE_TD15_SIZE      648u
#define COCO_QUOTE_TD15EX_SIZE    885u
#define COCO_QUOTE_HEADER_SIZE    48u
#define COCO_QUOTE_QE_REPORT_SIZE 384u

struct coco_quote_body {
    uint8_t tee_tcb_svn[16];
    uint8_t mrseam[48];
    uint8_t mrsignerseam[48];
    uint8_t seam_attributes[8];
    uint8_t td_attributes[8];
    uint8_t xfam[8];
    uint8_t mrtd[48];
    uint8_t mrconfigid[48];
    uint8_t mrowner[48];
    uint8_t mrownerconfig[48];
    uint8_t rtmr[4][48];
    uint8_t report_data[64];
    /* types 3 and 4 */
    uint8_t tee_tcb_svn2[16];
    uint8_t mrservicetd[48];
    /* type 4: 648..884 */
    uint8_t td15ex[237];
};

struct coco_quote {
    uint16_t version;      /* 4 or 5 */
    uint16_t att_key_type; /* 2: ECDSA P-256 */
    uint32_t tee_type;     /* COCO_TEE_TYPE_TDX */
    uint8_t reserved[4];
    uint8_t qe_vendor_id[16];
    uint8_t user_data[20];
    uint16_t body_type; /* COCO_QUOTE_BODY_*; TD10 in version 4 */
    struct coco_quote_body body;
    /* The signature data, in place. With att_key_type 2 it is ECDSA's (below); any other type
     * (post-quantum keys are coming) is kept whole. Never empty. */
    uint32_t sig_size;
    const uint8_t *sig;
    size_t signed_size; /* the signature covers bytes 0 … signed_size − 1 */
    size_t size;        /* true length: what lies behind it is padding */
};

/* Decodes the quote at the start of `in`; QGS's buffer is longer than the quote, and `ret->size` is
 * where the quote ends. The padding is not looked at (real quotes with other bytes than zero
 * exist). */
int coco_quote_decode(const uint8_t *in, size_t size, struct coco_quote *ret, const char **ret_why);
/* Bytes written, or -EMSGSIZE where they do not fit, or -EINVAL for a quote that the decoder would
 * refuse. `signed_size` and `size` are not looked at: they follow from the rest. */
int64_t coco_quote_encode(const struct coco_quote *quote, uint8_t *out, size_t out_size);

/* Signature data of att_key_type 2, nested as QGS makes it: ECDSA signature, attestation key,
 * certification data type 6 { QE report, its signature, authentication data, certification data
 * type 5: the PCK chain in PEM }. Sizes must add up at each level, exactly. */
struct coco_quote_ecdsa {
    uint8_t signature[64];
    uint8_t attest_key[64];
    uint8_t qe_report[COCO_QUOTE_QE_REPORT_SIZE];
    uint8_t qe_signature[64];
    uint16_t auth_size;
    const uint8_t *auth;
    uint16_t cert_type; /* 5: the PCK chain in PEM; others are kept as found */
    uint32_t cert_size;
    const uint8_t *cert;
};

int coco_quote_ecdsa_decode(const uint8_t *in, size_t size, struct coco_quote_ecdsa *ret);
int64_t coco_quote_ecdsa_encode(const struct coco_quote_ecdsa *sig, uint8_t *out, size_t out_size);

/* Is this quote about this TDREPORT? 0, or -EBADMSG and in `ret_field` (may be NULL) the name of
 * the first field that differs, static text. The complete table of PROTOCOL.md "Binding". */
int coco_quote_check_binding(const struct coco_quote *quote, const struct coco_tdreport *report,
                             const char **ret_field);

#ifdef __cplusplus
}
#endif
