/* SPDX-License-Identifier: MIT */
/*
 * What can be known of a TDREPORT and a quote without Intel's enclave. PROTOCOL.md "TDREPORT",
 * "Quotes".
 *
 * A quote that is not about the TDREPORT of its request must never reach a guest: QGS can answer
 * late on a connection that it confuses, and a guest that attests with another's quote is worse off
 * than one with none.
 */
#include "quotes/check.h"
#include "tdx.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

/* 0, -EBADMSG where the hash differs, -ENOMEM. */
static int check_hash(const uint8_t *bytes, size_t size, const uint8_t hash[COCO_SHA384_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(bytes, size, digest, NULL, EVP_sha384(), NULL) != 1)
        return -ENOMEM;
    return memcmp(digest, hash, COCO_SHA384_SIZE) == 0 ? 0 : -EBADMSG;
}

int check_tdreport(const uint8_t tdreport[COCO_TDREPORT_SIZE], const char **ret_why)
{
    struct coco_tdreport decoded;
    int r = coco_tdreport_decode(tdreport, &decoded, ret_why);

    if (r < 0)
        return r;
    r = check_hash(tdreport + COCO_TDREPORT_TCB_INFO_OFF, COCO_TDREPORT_TCB_INFO_SIZE,
                   tdreport + COCO_TDREPORT_TCB_INFO_HASH_OFF);
    if (r < 0) {
        *ret_why = "TEE_TCB_INFO_HASH does not match";
        return r;
    }
    r = check_hash(tdreport + COCO_TDREPORT_TDINFO_OFF, COCO_TDREPORT_TDINFO_SIZE,
                   tdreport + COCO_TDREPORT_TDINFO_HASH_OFF);
    if (r < 0)
        *ret_why = "TEE_INFO_HASH does not match";
    return r;
}

int check_quote(const uint8_t *quote, size_t size, const uint8_t tdreport[COCO_TDREPORT_SIZE],
                size_t *ret_size, const char **ret_why)
{
    struct coco_tdreport report;
    struct coco_quote decoded;
    int r = coco_tdreport_decode(tdreport, &report, ret_why);

    if (r == 0)
        r = coco_quote_decode(quote, size, &decoded, ret_why);
    if (r == 0)
        r = coco_quote_check_binding(&decoded, &report, ret_why);
    if (r == 0)
        *ret_size = decoded.size;
    return r;
}
