/* SPDX-License-Identifier: MIT */
/*
 * libcoco, second and third layer: a connection to cocod that keeps itself up, for an event loop,
 * and functions that block until a deadline, for vCPU threads.
 *
 * With an event loop, after every call with the client:
 *
 *     poll { coco_client_fd(), coco_client_events() } for at most coco_client_timeout_ms()
 *     coco_client_process(client, revents)
 *
 * Each request has a callback, which runs exactly once: from coco_client_process with the answer,
 * or at the request's own deadline; or from coco_client_cancel or coco_client_free with ECANCELED.
 * A callback may start and cancel requests and free the client; it may not call
 * coco_client_process or one of the blocking functions (they return -EDEADLK).
 *
 * When the connection breaks, the client connects again after a pause (10 ms, doubling up to 1 s,
 * less a random part; from 10 ms again once the server accepts HELLO) and sends what is unanswered
 * again, with what remains of each timeout. Both requests are idempotent. Within one session no
 * request id is used twice. A server that breaks the protocol is treated the same, but a pause only
 * shrinks once it has answered a request. A session whose lease descriptor cannot be kept for want
 * of memory is treated as a connection that broke (coco_client_error: -ENOMEM).
 *
 * A client belongs to one thread at a time; one client for each vCPU thread is right. It starts no
 * thread, and outside coco_client_process and the blocking functions it never blocks.
 */
#pragma once

#include <coco/base.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coco_client;

/* Begin with coco_client_options_init(). Strings and bytes are copied. Where the server is: one of
 * `connect`, `fd` and `path`, looked at in this order. */
struct coco_client_options {
    size_t size; /* sizeof(struct coco_client_options) */

    /* A Unix socket; NULL: COCO_API_SOCKET. */
    const char *path;
    /* A connected stream socket, or -1. The client owns it from the success of coco_client_new on.
     * There is no way to connect again: when it breaks, every outstanding request ends in the next
     * coco_client_process, in EAGAIN for certificates and ENODEV otherwise, and new requests fail
     * with -ENOTCONN. */
    int fd;
    /* Returns a connected or connecting (EINPROGRESS) stream socket, which the client then owns, or
     * a negative errno; must not block. Called for every attempt, from coco_client_process. */
    int (*connect)(void *userdata);
    void *connect_userdata;

    uint8_t vm_uuid[16];    /* a label for people; zeros where there is none */
    const char *vm_name;    /* UTF-8, cut to 64 bytes; NULL: empty */
    const char *software;   /* name and version of the VMM, cut to 32 bytes; NULL: empty */
    uint32_t features;      /* enum coco_use */
    uint32_t in_flight_max; /* outstanding requests of this client, 1 … 64; 0: 64 */

    void *(*alloc)(size_t size); /* NULL: malloc; may return NULL */
    void (*free)(void *memory);  /* given together with alloc */

    /* Nanoseconds of a clock that never goes back; NULL: CLOCK_MONOTONIC. */
    uint64_t (*clock_ns)(void *userdata);
    void *clock_userdata;

    /* Called from coco_client_process for each enum coco_note, with COCO_USE_NOTIFY; may be NULL.
     * The rules for callbacks hold. */
    void (*note)(struct coco_client *client, uint32_t note, uint64_t generation, void *userdata);
    void *note_userdata;
};

/* All-zero, `size` set, fd −1: the default socket. */
static inline void coco_client_options_init(struct coco_client_options *options)
{
    memset(options, 0, sizeof(*options));
    options->size = sizeof(*options);
    options->fd = -1;
}

/* Counts since coco_client_new. */
struct coco_client_stats {
    uint64_t connections; /* made (not: attempted) */
    uint64_t failures;    /* attempts to connect that failed */
    uint64_t breaks;      /* connections that ended */
    uint64_t violations;  /* of these, for a message that breaks the protocol */
    uint64_t resent;      /* requests sent again on another connection */
};

/* Does no I/O: the first connection is made by the first coco_client_process. -EINVAL, -ENOMEM,
 * -ENAMETOOLONG (path). */
COCO_PUBLIC int coco_client_new(const struct coco_client_options *options,
                                struct coco_client **ret_client);
/* Ends every outstanding request with ECANCELED, closes the connection and gives up all leases.
 * Takes NULL. */
COCO_PUBLIC void coco_client_free(struct coco_client *client);

/* What to poll: -1 where there is no connection now (poll(2) ignores it). */
COCO_PUBLIC int coco_client_fd(const struct coco_client *client);
/* POLLIN and, where something waits to be sent, POLLOUT; 0 without a connection. */
COCO_PUBLIC short coco_client_events(const struct coco_client *client);
/* Milliseconds until coco_client_process has something to do without an event; -1: for ever. */
COCO_PUBLIC int coco_client_timeout_ms(const struct coco_client *client);
/* Connects, sends, receives, runs callbacks and timers. revents: what poll(2) said about the
 * descriptor, 0 where it said nothing. 0; or -ENOTCONN where the connection is lost and cannot be
 * made again (options.fd); or -EDEADLK from within a callback. */
COCO_PUBLIC int coco_client_process(struct coco_client *client, short revents);

/* Runs once for each request that was accepted. `reply`, and what it points to, is valid during the
 * call. reply->status is the server's, or of the client's own making:
 *   at the deadline     EAGAIN for certificates, ETIMEDOUT otherwise (and the server is told)
 *   HELLO was refused   what it was refused with, EACCES, EINVAL or EOPNOTSUPP
 *   connection lost     see options.fd
 *   cancel, free        ECANCELED
 * EAGAIN from the server is handed on as it is: only the blocking functions ask again. */
typedef void coco_reply_cb(struct coco_client *client, const struct coco_reply *reply,
                           void *userdata);

/* The requests. They send at once where a connection stands. timeout_ms, at least 1, counts from
 * now and covers reconnecting. On success the callback will run, not before the function returns,
 * and *ret_id (may be NULL) is the request's id. -EINVAL: an argument. -EAGAIN: in_flight_max
 * requests are outstanding. -ENOTCONN: see options.fd. -ENOMEM. */

/* Section "CERTS_GET": the certificate table for a guest that offers `npages` pages at `gpa` (for
 * the server's log). A table that is handed out fits the pages, but for the empty table (24 zero
 * bytes) where npages is 0: then write nothing. ENOSPC: reply->npages is what the guest needs. */
COCO_PUBLIC int coco_client_certs_get(struct coco_client *client, uint64_t npages, uint64_t gpa,
                                      uint32_t timeout_ms, coco_reply_cb *cb, void *userdata,
                                      uint64_t *ret_id);
/* Section "QUOTE_GET": a quote of at most quote_max bytes (1 … COCO_API_QUOTE_MAX) for the TDREPORT
 * (COCO_API_TDREPORT_SIZE bytes, copied). */
COCO_PUBLIC int coco_client_quote_get(struct coco_client *client, const uint8_t *tdreport,
                                      uint32_t quote_max, uint32_t timeout_ms, coco_reply_cb *cb,
                                      void *userdata, uint64_t *ret_id);
/* Section "PING". */
COCO_PUBLIC int coco_client_ping(struct coco_client *client, uint32_t timeout_ms, coco_reply_cb *cb,
                                 void *userdata, uint64_t *ret_id);

/* Ends an outstanding request: its callback runs with ECANCELED before this returns, and the server
 * is told. -ENOENT: no such request is outstanding. */
COCO_PUBLIC int coco_client_cancel(struct coco_client *client, uint64_t id);

/* Section "GUEST_EVENT": reports a fatal guest event, kind and data as KVM_EXIT_SYSTEM_EVENT gave
 * them (ndata ≤ COCO_API_EVENT_DATA). Best effort: 0 where it was taken for sending, which is no
 * promise; -ENOTCONN or -ENOBUFS where it was dropped; -EINVAL. */
COCO_PUBLIC int coco_client_guest_event(struct coco_client *client, uint32_t kind,
                                        const uint64_t *data, uint32_t ndata);

/* What the server said in HELLO's reply, on the connection that stands. -ENOTCONN where there is
 * none or it has not answered yet. */
COCO_PUBLIC int coco_client_server(const struct coco_client *client,
                                   struct coco_server_info *ret_server);
/* Why there is no working connection: a negative errno of connecting, of the connection, or of what
 * HELLO was refused with; -EBADMSG after a violation; 0 while HELLO is accepted, and before the
 * first attempt. For messages to people. */
COCO_PUBLIC int coco_client_error(const struct coco_client *client);
/* The counts as they are now. */
COCO_PUBLIC void coco_client_stats(const struct coco_client *client,
                                   struct coco_client_stats *ret_stats);

/* --- blocking --------------------------------------------------------------------------------
 *
 * These use poll(2), and may be mixed with outstanding requests of the functions above, whose
 * callbacks then run in here. timeout_ms, at least 1, covers everything: connecting, asking again
 * after EAGAIN (with pauses of 10 to 250 ms, cut short when the server says that it serves again).
 */

/* Waits until the server has accepted HELLO. 0, or what coco_client_error() says at the deadline
 * (-ETIMEDOUT where it says nothing), or at once: -EACCES, -EINVAL, -EOPNOTSUPP where HELLO is
 * refused for good, -ENOTCONN (options.fd), -EDEADLK. */
COCO_PUBLIC int coco_connect(struct coco_client *client, uint32_t timeout_ms);

struct coco_certs_result {
    uint32_t status;     /* enum coco_status_code, or another number: the empty table then */
    uint32_t npages;     /* OK and ENOSPC: pages that the table needs */
    uint64_t generation; /* OK and ENOSPC */
    size_t table_size;   /* OK: bytes written to buf; 0 where the guest offered no page */
};

/* The certificate table for a guest that offers `npages` pages, written to buf. `cap` is what buf
 * holds, bytes: at least npages * 4096, or COCO_API_TABLE_MAX where that is less. Returns 0 and
 * fills *ret_result, whose status is the answer; for trouble of any kind within the timeout it is
 * EAGAIN. -EINVAL, -EDEADLK: nothing was asked. The answer comes at once, or within 200 ms where
 * the server must look at the platform first, as on a host where nobody has asked for a while.
 *
 * While the client holds a lease, the server's EAGAIN is returned at once: an update waits for the
 * lease, so give it up before waiting for the update. Keep timeout_ms within a second while a guest
 * waits. Allocates nothing; one send, one poll and one receive where the connection stands. */
COCO_PUBLIC int coco_certs_get(struct coco_client *client, uint64_t npages, void *buf, size_t cap,
                               uint32_t timeout_ms, struct coco_certs_result *ret_result);

/* A quote of at most `cap` bytes for the TDREPORT (COCO_API_TDREPORT_SIZE bytes), written to buf; 0
 * and its size in *ret_size. Otherwise the status, negated (-COCO_STATUS_ETIMEDOUT, …): one that
 * PROTOCOL.md's "The errno contract" has for QUOTE_GET, or -EDEADLK. */
COCO_PUBLIC int coco_quote_get(struct coco_client *client, const uint8_t *tdreport, void *buf,
                               size_t cap, uint32_t timeout_ms, size_t *ret_size);

/* 0 once the server answered; otherwise the status, negated, or -EDEADLK. */
COCO_PUBLIC int coco_ping(struct coco_client *client, uint32_t timeout_ms);

/* --- leases: section "The lease" --------------------------------------------------------------
 *
 * A lease keeps firmware updates away from coco_lease_lock() before CERTS_GET to
 * coco_lease_unlock() after the KVM_RUN that completes the exit has returned, for whatever reason.
 * It is a lock that the kernel holds for this process: it outlives the connection and cocod. These
 * functions never wait, and allocate only when more leases are held at once than ever before.
 */

/* Takes the lease of one vCPU, 0 … lease_bytes − 1 of the server's. -EAGAIN: an update has the
 * lock; tell the guest to ask again later. -EOPNOTSUPP: COCO_USE_LEASE was not asked for or not
 * granted, or no connection has been made yet (coco_connect). -EINVAL: vcpu_index. -EALREADY: held.
 * -ENOMEM. */
COCO_PUBLIC int coco_lease_lock(struct coco_client *client, uint32_t vcpu_index);
/* -ENOENT: not held. */
COCO_PUBLIC int coco_lease_unlock(struct coco_client *client, uint32_t vcpu_index);

#ifdef __cplusplus
}
#endif
