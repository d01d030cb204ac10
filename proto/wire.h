/* SPDX-License-Identifier: MIT */
/*
 * The VMM RPC: header and messages, PROTOCOL.md "Frame" and "Messages".
 *
 * Every decoder takes the payload alone and its exact size, and fails with -EBADMSG where the
 * payload is not one that the matching encoder makes: what decodes, encodes to the same bytes.
 * Outputs are untouched on failure. Pointers in decoded messages point into the input. Nothing here
 * allocates, blocks or keeps state; any thread may call anything.
 */
#pragma once

#include "coco_limits.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Header, offset 4. PROTOCOL.md "Messages". */
enum coco_type {
    COCO_HELLO = 0x0000,
    COCO_HELLO_REPLY = 0x0001,
    COCO_CERTS_GET = 0x0002,
    COCO_CERTS_REPLY = 0x0003,
    COCO_QUOTE_GET = 0x0004,
    COCO_QUOTE_REPLY = 0x0005,
    COCO_PING = 0x0006,
    COCO_PING_REPLY = 0x0007,
    COCO_CANCEL = 0x4000,
    COCO_GUEST_EVENT = 0x4002,
    COCO_NOTIFY = 0x8000,
};

/* Header, offset 12: the errno contract's codes (status.h). PROTOCOL.md "The errno contract". */
enum coco_status {
    COCO_OK = 0,
    COCO_EIO = 5,
    COCO_EAGAIN = 11,
    COCO_EACCES = 13,
    COCO_ENODEV = 19,
    COCO_EINVAL = 22,
    COCO_ENOSPC = 28,
    COCO_EBADMSG = 74,
    COCO_EMSGSIZE = 90,
    COCO_EOPNOTSUPP = 95,
    COCO_ETIMEDOUT = 110,
    COCO_ECANCELED = 125,
};

/* What a type number says before it is known: PROTOCOL.md "Frame". */
enum coco_type_class {
    COCO_CLASS_REQUEST,       /* 0x0000-0x3FFF, even */
    COCO_CLASS_REPLY,         /* 0x0000-0x3FFF, odd */
    COCO_CLASS_CLIENT_ONEWAY, /* 0x4000-0x7FFF */
    COCO_CLASS_SERVER_ONEWAY, /* 0x8000-0xBFFF */
    COCO_CLASS_INVALID,       /* the rest */
};

enum coco_type_class coco_type_class(uint16_t type);

struct coco_header {
    uint16_t type;
    uint32_t length;     /* payload bytes */
    uint32_t status;     /* enum coco_status */
    uint64_t id;         /* the client's */
    uint32_t timeout_ms; /* 0: the server's default */
};

/* -EBADMSG: magic, flags or reserved are not what version 1 has. */
int coco_header_decode(const uint8_t in[COCO_HEADER_SIZE], struct coco_header *ret);
void coco_header_encode(const struct coco_header *header, uint8_t out[COCO_HEADER_SIZE]);

/* What a server demands of a client's header beyond its form, and the reverse: class, status,
 * length (PROTOCOL.md "Rules"). 0, or -EBADMSG: close the connection. */
int coco_header_check_from_client(const struct coco_header *header);
int coco_header_check_from_server(const struct coco_header *header);

#define COCO_FEATURE_NOTIFY (1u << 0)
#define COCO_FEATURE_LEASE  (1u << 1)

#define COCO_SERVICE_CERTS  (1u << 0)
#define COCO_SERVICE_QUOTES (1u << 1)

struct coco_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t features; /* unknown bits are kept here and ignored by the server */
    uint8_t vm_uuid[16];
    char vm_name[COCO_NAME_SIZE + 1];      /* UTF-8, NUL-terminated here, NUL-padded on the wire */
    char software[COCO_SOFTWARE_SIZE + 1]; /* likewise */
};

int coco_hello_decode(const uint8_t *in, size_t size, struct coco_hello *ret);
/* A text that is longer than its field, or not UTF-8 throughout, is cut behind its last whole
 * character. */
void coco_hello_encode(const struct coco_hello *hello, uint8_t out[COCO_HELLO_SIZE]);

struct coco_hello_reply {
    uint16_t version;  /* at least 1 */
    uint32_t features; /* the intersection */
    uint64_t instance; /* drawn at random at each start */
    uint64_t generation;
    uint32_t services; /* COCO_SERVICE_* */
    uint32_t request_max;
    uint32_t reply_max;
    uint32_t in_flight_max; /* at least 1 */
    uint32_t busy_budget_ms;
    uint32_t lease_bytes;
    uint64_t lease_base; /* lease_base + lease_bytes is at most INT64_MAX */
};

int coco_hello_reply_decode(const uint8_t *in, size_t size, struct coco_hello_reply *ret);
void coco_hello_reply_encode(const struct coco_hello_reply *reply,
                             uint8_t out[COCO_HELLO_REPLY_SIZE]);

struct coco_certs_get {
    uint64_t npages; /* that the guest offers */
    uint64_t gpa;    /* for the log only */
};

int coco_certs_get_decode(const uint8_t *in, size_t size, struct coco_certs_get *ret);
void coco_certs_get_encode(const struct coco_certs_get *get, uint8_t out[COCO_CERTS_GET_SIZE]);

/* The reply to CERTS_GET with status 0 (a table of 24 to 16384 bytes) or ENOSPC (no table, npages,
 * 1 to 4, says what it needs). */
struct coco_certs_reply {
    uint64_t generation;
    uint32_t npages; /* needed: ceil(table_size / 4096) */
    uint32_t table_size;
    const uint8_t *table;
};

/* `status` is the header's: it decides which of the two forms is right. */
int coco_certs_reply_decode(const uint8_t *in, size_t size, uint32_t status,
                            struct coco_certs_reply *ret);
/* The fixed part only: the table follows it on the wire, from wherever it lies. */
void coco_certs_reply_encode_fixed(const struct coco_certs_reply *reply,
                                   uint8_t out[COCO_CERTS_REPLY_HEADER]);

struct coco_quote_get {
    uint32_t quote_max;      /* most quote bytes that fit the guest's buffer, at least 1 */
    const uint8_t *tdreport; /* COCO_TDREPORT_SIZE bytes */
};

int coco_quote_get_decode(const uint8_t *in, size_t size, struct coco_quote_get *ret);
void coco_quote_get_encode(const struct coco_quote_get *get, uint8_t out[COCO_QUOTE_GET_SIZE]);

/* KVM_SYSTEM_EVENT_*: KVM's own numbers. */
#define COCO_GUEST_EVENT_SEV_TERM  6u
#define COCO_GUEST_EVENT_TDX_FATAL 7u

struct coco_guest_event {
    uint32_t kind;
    uint32_t ndata;                       /* ≤ COCO_GUEST_EVENT_DATA */
    uint64_t data[COCO_GUEST_EVENT_DATA]; /* zero from ndata on */
};

int coco_guest_event_decode(const uint8_t *in, size_t size, struct coco_guest_event *ret);
void coco_guest_event_encode(const struct coco_guest_event *event,
                             uint8_t out[COCO_GUEST_EVENT_SIZE]);

#define COCO_NOTIFY_GENERATION 1u
#define COCO_NOTIFY_DRAINING   2u
#define COCO_NOTIFY_SERVING    3u

struct coco_notify {
    uint32_t event; /* COCO_NOTIFY_*; unknown ones are to be ignored */
    uint64_t generation;
};

int coco_notify_decode(const uint8_t *in, size_t size, struct coco_notify *ret);
void coco_notify_encode(const struct coco_notify *notify, uint8_t out[COCO_NOTIFY_SIZE]);

#ifdef __cplusplus
}
#endif
