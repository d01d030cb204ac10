/* SPDX-License-Identifier: MIT */
/*
 * libcoco: what all its headers share: the status numbers, sizes, and how exported functions are
 * marked.
 *
 * "Section" in these headers names a section of cocod's PROTOCOL.md. The headers stand alone: they
 * include nothing but the C library, compile as C99 and as C++, and can be included together with
 * cocod's proto headers.
 *
 * For the whole library: it starts no thread, installs no signal handler, reads no environment,
 * prints nothing and keeps no global state. An object (a session, a client) belongs to one thread
 * at a time; different objects can be used by different threads at once. Descriptors are opened
 * with CLOEXEC, and sending never raises SIGPIPE.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define COCO_PUBLIC __attribute__((visibility("default")))
#else
#define COCO_PUBLIC
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Where cocod listens unless its configuration says otherwise. */
#define COCO_API_SOCKET "/run/cocod/cocod.sock"

/* Sizes in bytes. A TDREPORT; the largest certificate table; the largest quote; one guest page as
 * `npages` counts them; the data words of a guest event. */
#define COCO_API_TDREPORT_SIZE 1024u
#define COCO_API_TABLE_MAX     16384u
#define COCO_API_QUOTE_MAX     4194304u
#define COCO_API_PAGE_SIZE     4096u
#define COCO_API_EVENT_DATA    16u

/* How an operation ended; section "The errno contract". The numbers are those on the wire, which
 * are Linux's errno numbers on x86, whatever this host's errno.h says. A server of a later version
 * may answer with another number: take it as EIO for a quote, as the empty table for certificates.
 */
enum coco_status_code {
    COCO_STATUS_OK = 0,
    COCO_STATUS_EIO = 5,         /* permanent failure */
    COCO_STATUS_EAGAIN = 11,     /* busy, away, or over a limit: ask again later */
    COCO_STATUS_EACCES = 13,     /* this process may not */
    COCO_STATUS_ENODEV = 19,     /* no quoting service reachable */
    COCO_STATUS_EINVAL = 22,     /* malformed request */
    COCO_STATUS_ENOSPC = 28,     /* the table needs more pages than were offered */
    COCO_STATUS_EBADMSG = 74,    /* the quoting service's answer is wrong */
    COCO_STATUS_EMSGSIZE = 90,   /* the quote is larger than the caller's buffer */
    COCO_STATUS_EOPNOTSUPP = 95, /* not served on this host */
    COCO_STATUS_ETIMEDOUT = 110, /* the deadline passed */
    COCO_STATUS_ECANCELED = 125  /* cancelled, or the client was freed */
};

/* Features that a client may ask for in HELLO; section "HELLO". */
enum coco_use {
    COCO_USE_NOTIFY = 1, /* the server sends notes: enum coco_note */
    COCO_USE_LEASE = 2   /* the server passes the table file's descriptor: coco_lease_lock() */
};

/* Services that a server announces: bits of coco_server_info.services. */
enum coco_serves {
    COCO_SERVES_CERTS = 1,
    COCO_SERVES_QUOTES = 2
};

/* What a server tells without being asked; section "NOTIFY". Ignore numbers that are not here. */
enum coco_note {
    COCO_NOTE_GENERATION = 1, /* a new certificate table is being served */
    COCO_NOTE_DRAINING = 2,   /* an update is about to start: CERTS_GET is answered with EAGAIN */
    COCO_NOTE_SERVING = 3     /* tables are served again */
};

/* What HELLO's reply said; section "HELLO". */
struct coco_server_info {
    uint64_t instance;   /* drawn at random at each start of the server */
    uint64_t generation; /* of the table that was current then; compare for equality only, within
                            one instance */
    uint64_t lease_base; /* offset of this session's first lease byte in the table file */
    uint32_t lease_bytes;
    uint32_t features;       /* enum coco_use: what client and server both have */
    uint32_t services;       /* enum coco_serves */
    uint32_t request_max;    /* largest payload of a request that the server takes, bytes */
    uint32_t reply_max;      /* largest payload of a reply that the server sends, bytes */
    uint32_t in_flight_max;  /* requests of one session that may be unanswered at a time */
    uint32_t busy_budget_ms; /* how long a guest may be kept waiting with BUSY */
    uint16_t version;        /* of the protocol */
};

/* The end of one request. `data` points into the library's memory, valid for as long as the
 * function that hands the struct out says. */
struct coco_reply {
    uint64_t id;         /* of the request */
    uint64_t generation; /* CERTS_GET, OK and ENOSPC: the table's generation */
    const uint8_t *data; /* OK: the certificate table, or the quote; NULL otherwise */
    size_t size;         /* bytes of data; 0 where data is NULL */
    uint32_t status;     /* enum coco_status_code, or a number that is not in it (see there) */
    uint32_t npages;     /* CERTS_GET, OK and ENOSPC: 4096-byte pages that the table needs */
};

/* The library's version, "0.2.0". Static text. */
COCO_PUBLIC const char *coco_version(void);

/* "OK", "EAGAIN", ...; "E?" for a number outside the contract. Static text. */
COCO_PUBLIC const char *coco_result_name(uint32_t status);

/* What a status means, one short English sentence that holds for any request. Static text. */
COCO_PUBLIC const char *coco_result_text(uint32_t status);

#ifdef __cplusplus
}
#endif
