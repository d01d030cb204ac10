/* SPDX-License-Identifier: MIT */
/*
 * The errno contract: which codes exist on the wire, and what each becomes on its way to the guest.
 * PROTOCOL.md "The errno contract". Codes are positive and pinned by number (Linux on x86): the
 * wire never carries whatever the host's errno.h says.
 */
#pragma once

#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* True for 0 and the eleven other codes of enum coco_status. */
bool coco_status_known(uint32_t status);

/* "OK", "EAGAIN", …; "E?" for a number outside the contract. Static text. */
const char *coco_status_name(uint32_t status);

/* What it means, in one short sentence for people: for any request, or as the end of a request of
 * that type (enum coco_type). Static text. */
const char *coco_status_text(uint32_t status);
const char *coco_status_text_for(uint16_t request_type, uint32_t status);

/* May this status ever answer that request? Tests check the server's replies against it. */
bool coco_status_valid_for(uint16_t request_type, uint32_t status);

/* What KVM_EXIT_SNP_REQ_CERTS ends in when CERTS_GET ended in `status`. */
struct coco_snp_outcome {
    uint64_t kvm_ret; /* kvm_run->snp_req_certs.ret: 0, ENOSPC, EAGAIN or EIO, KVM's own numbers */
    bool empty_table; /* the guest is given 24 zero bytes instead of a table */
};

/* EAGAIN gives EAGAIN (BUSY): the caller decides how long (the busy budget). An unknown status is
 * the empty table. */
struct coco_snp_outcome coco_status_to_snp(uint32_t status);

/* The GetQuote buffer's status for the end of a QUOTE_GET: COCO_GETQUOTE_SUCCESS, _ERROR or
 * _SERVICE_UNAVAILABLE (kvm_abi.h). Unknown: ERROR, as EIO. EAGAIN: SERVICE_UNAVAILABLE, once the
 * caller has no time left to ask again. */
uint64_t coco_status_to_getquote(uint32_t status);

/* What this host's errno.h calls it, and back; EIO for what has no counterpart. */
int coco_status_to_errno(uint32_t status);
uint32_t coco_status_from_errno(int errnum);

#ifdef __cplusplus
}
#endif
