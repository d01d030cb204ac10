/* SPDX-License-Identifier: MIT */
/*
 * libcoco, first layer: the protocol as bytes in and bytes out.
 *
 * A session does no I/O and knows no clock. It encodes requests into a buffer that the caller
 * sends, takes the bytes that the caller received, and hands out what they mean, one event at a
 * time:
 *
 *     coco_session_new → coco_session_start (a new connection)
 *     send:    coco_session_out, coco_session_sent
 *     receive: coco_session_in, coco_session_received, then coco_session_next until it returns 0
 *
 * Whatever the peer sends, a session's memory is bounded: about 30 KiB, and beyond that only a
 * quote's bytes as they arrive, at most twice as many as have arrived (up to 64 KiB at once) and
 * never more than the request said it has room for.
 *
 * All functions return 0 or a negative errno unless said otherwise; out-parameters are untouched on
 * failure. No function calls back. A session belongs to one thread at a time.
 */
#pragma once

#include <coco/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coco_session;

/* All-zero but for `size` is valid. Strings and bytes are copied. */
struct coco_session_options {
    size_t size;                 /* sizeof(struct coco_session_options) */
    uint8_t vm_uuid[16];         /* a label for people; zeros where there is none */
    const char *vm_name;         /* UTF-8, cut to 64 bytes; NULL: empty */
    const char *software;        /* name and version of the caller, cut to 32 bytes; NULL: empty */
    uint32_t features;           /* enum coco_use */
    uint32_t in_flight_max;      /* 1 … 64; 0: 64 */
    void *(*alloc)(size_t size); /* NULL: malloc; may return NULL */
    void (*free)(void *memory);  /* given together with alloc */
};

enum coco_session_event_kind {
    COCO_SESSION_READY,   /* HELLO was accepted: server, lease_fd */
    COCO_SESSION_REFUSED, /* HELLO was refused: reply.status; the server closes now */
    COCO_SESSION_REPLY,   /* a request ended: reply */
    COCO_SESSION_NOTE     /* note, generation */
};

struct coco_session_event {
    enum coco_session_event_kind kind;
    int lease_fd;                   /* READY: the caller owns it now; -1 without COCO_USE_LEASE */
    uint32_t note;                  /* NOTE: enum coco_note, or a number to ignore */
    uint64_t generation;            /* NOTE: the current table's */
    struct coco_server_info server; /* READY */
    struct coco_reply reply;        /* REPLY, REFUSED; data is valid until the next call of
                                       coco_session_next, _in, _start or _free */
};

/* -EINVAL: size or in_flight_max. -ENOMEM. */
COCO_PUBLIC int coco_session_new(const struct coco_session_options *options,
                                 struct coco_session **ret_session);
/* Takes NULL. Closes a descriptor that arrived and was not handed out. */
COCO_PUBLIC void coco_session_free(struct coco_session *session);

/* Begins a session on a new connection: forgets everything of the one before (its unanswered
 * requests too, which the caller sends again if it wants) and encodes HELLO. Requests may be
 * encoded right behind it, without waiting for the reply; section "Rules". */
COCO_PUBLIC void coco_session_start(struct coco_session *session);

/* The bytes to send now, valid until the next call with this session; *ret_size is 0 where there
 * are none. */
COCO_PUBLIC const void *coco_session_out(const struct coco_session *session, size_t *ret_size);
/* The first n of these were sent. */
COCO_PUBLIC void coco_session_sent(struct coco_session *session, size_t n);

/* Where the next received bytes go, and how many fit. NULL and 0 where nothing more can be taken:
 * after an error, or while complete messages wait for coco_session_next. */
COCO_PUBLIC void *coco_session_in(struct coco_session *session, size_t *ret_size);
/* n bytes were received there, at most as many as fit, and with them the descriptor fd (SCM_RIGHTS)
 * or -1. On success the session owns fd. -EBADMSG: a descriptor that nobody expects (a second one,
 * or behind HELLO's reply): the caller still owns it, and closes the connection. */
COCO_PUBLIC int coco_session_received(struct coco_session *session, size_t n, int fd);

/* 1 and the next event; 0 when more bytes are needed; -EBADMSG when the peer broke the protocol:
 * nothing more can be had from this connection, now and in every later call until
 * coco_session_start. Where memory for a quote cannot be had, its reply ends in EAGAIN and the
 * session goes on. */
COCO_PUBLIC int coco_session_next(struct coco_session *session,
                                  struct coco_session_event *ret_event);

/* The requests. `id` is the caller's, at least 1 and larger than every id before in this session.
 * `timeout_ms` is how long the caller will wait, for the server's information; 0 is the server's
 * default. Errors: -EINVAL (an argument), -EAGAIN (as many in flight as allowed), -ENOBUFS (send
 * first what coco_session_out has), -ENOTCONN (not started, or broken). */

/* Section "CERTS_GET". npages: what the guest offers; gpa: where, for the server's log. */
COCO_PUBLIC int coco_session_certs_get(struct coco_session *session, uint64_t id, uint64_t npages,
                                       uint64_t gpa, uint32_t timeout_ms);
/* Section "QUOTE_GET". tdreport: COCO_API_TDREPORT_SIZE bytes; quote_max: 1 … COCO_API_QUOTE_MAX.
 */
COCO_PUBLIC int coco_session_quote_get(struct coco_session *session, uint64_t id,
                                       const uint8_t *tdreport, uint32_t quote_max,
                                       uint32_t timeout_ms);
/* Section "PING". */
COCO_PUBLIC int coco_session_ping(struct coco_session *session, uint64_t id, uint32_t timeout_ms);

/* Section "CANCEL": asks for an early end of request `id`. Its reply still comes. -ENOENT: not in
 * flight. */
COCO_PUBLIC int coco_session_cancel(struct coco_session *session, uint64_t id);

/* Section "GUEST_EVENT": kind and data as KVM_EXIT_SYSTEM_EVENT gave them (6 SEV_TERM, 7
 * TDX_FATAL), ndata ≤ COCO_API_EVENT_DATA. There is no reply. */
COCO_PUBLIC int coco_session_guest_event(struct coco_session *session, uint32_t kind,
                                         const uint64_t *data, uint32_t ndata);

/* Requests that are encoded and not answered; HELLO is not counted. */
COCO_PUBLIC uint32_t coco_session_in_flight(const struct coco_session *session);

#ifdef __cplusplus
}
#endif
