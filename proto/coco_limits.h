/* SPDX-License-Identifier: MIT */
/*
 * The numbers that both ends of the wire must agree on, and the hard limits that no configuration
 * can raise. Sizes are bytes, times are milliseconds unless the name says otherwise.
 */
#pragma once

#define COCO_VERSION_STRING "0.2.0"

/* RPC, PROTOCOL.md "Frame" and "Limits". */
#define COCO_MAGIC         0x4F434F43u
#define COCO_WIRE_VERSION  1u
#define COCO_HEADER_SIZE   32u
#define COCO_REQUEST_MAX   4096u
#define COCO_QUOTE_MAX     (4u * 1024u * 1024u)
#define COCO_REPLY_MAX     (COCO_QUOTE_MAX + 64u * 1024u)
#define COCO_IN_FLIGHT_MAX 64u

#define COCO_HELLO_SIZE         120u
#define COCO_HELLO_REPLY_SIZE   56u
#define COCO_CERTS_GET_SIZE     16u
#define COCO_CERTS_REPLY_HEADER 16u
#define COCO_QUOTE_GET_SIZE     1032u
#define COCO_GUEST_EVENT_SIZE   136u
#define COCO_NOTIFY_SIZE        16u
#define COCO_NAME_SIZE          64u
#define COCO_SOFTWARE_SIZE      32u
#define COCO_GUEST_EVENT_DATA   16u

/* How long a client keeps an SNP guest waiting with BUSY before it hands out the empty table: the
 * Linux guest gives up, and destroys its key, at 60 s. */
#define COCO_BUSY_BUDGET_MS 20000u
/* One exit waits no longer than this before the guest is told BUSY. */
#define COCO_EXIT_WAIT_MS 1000u

/* The lease bytes of one session, one a vCPU; PROTOCOL.md "The lease". */
#define COCO_LEASE_BYTES 4096u
/* Leases start behind everything that a table can occupy. */
#define COCO_LEASE_BASE_MIN (1u << 20)

/* GHCB certificate table: what the Linux guest's buffer holds (SEV_FW_BLOB_MAX_SIZE). */
#define COCO_PAGE_SIZE             4096u
#define COCO_SNP_TABLE_MAX         16384u
#define COCO_SNP_ENTRY_SIZE        24u
#define COCO_SNP_TABLE_ENTRIES_MAX 16u
#define COCO_SNP_EMPTY_TABLE_SIZE  24u

/* TDX. */
#define COCO_TDREPORT_SIZE      1024u
#define COCO_TD_REPORTDATA_SIZE 64u

/* QGS's protocol: what cocod accepts of a message, and what the prefix costs. */
#define COCO_QGS_PREFIX_SIZE 4u
#define COCO_QGS_HEADER_SIZE 16u
#define COCO_QGS_MESSAGE_MAX (COCO_QUOTE_MAX + 64u)
