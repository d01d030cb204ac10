/* SPDX-License-Identifier: MIT */
/*
 * A dialect: a protocol that peers speak. It says where a frame ends, and how a call and its answer
 * look as bytes. rpc/, qgs_door/ and admin/ have const tables of this type; peer/ has what all of
 * them need, and calls them by their tables.
 */
#pragma once

#include "base/blob.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct account_key;
struct peer;
struct request;

/* A session that has a lease. The strings are its claims, valid until it closes. */
struct lease_holder {
    const struct peer *peer;
    const char *vm_name;
    const uint8_t *vm_uuid; /* 16 bytes */
    uint64_t vcpu;          /* whose byte of its lease it is */
    uint32_t session;       /* its number */
};

struct dialect {
    const char *name;
    size_t session_size; /* of the dialect's own state in each peer, zeroed at first */
    size_t frame_max;    /* bytes; what may be asked to be buffered for one frame */
    /* A frame over this many bytes is read only where `takes_long` says so. It is asked before more
     * of the frame is read; where it says no, it has answered or closed. 0: all are read. */
    size_t frame_long;
    bool (*takes_long)(struct peer *peer);
    int needs_hello; /* close a peer that has not called peer_established in time */
    /* A connection carries one frame. A byte behind it closes the connection; the peer may shut its
     * sending side down and still gets its answer. */
    int one_request;

    /* May this peer connect? NULL: everybody who can open the socket. */
    bool (*admits)(const void *context, const struct account_key *key);
    /* May this connected socket have a place that is kept for administrators? NULL: no. */
    bool (*privileged)(const void *context, int fd);
    /* How long from accept to peer_established; NULL: the server's hello_timeout_us. */
    uint64_t (*hello_timeout_us)(const void *context);

    /* The peer is there. May send, or close it. NULL: nothing is done before it asks. */
    void (*opened)(struct peer *peer);
    /* Bytes of the frame that starts here; 0: more are needed to tell; negative: this can't be one,
     * close. Never more than frame_max. */
    ssize_t (*frame_size)(const uint8_t *data, size_t size);
    /* One whole frame. May send, close the peer, or make requests. */
    void (*dispatch)(struct peer *peer, const uint8_t *frame, size_t size);
    /* The request is over. Send the answer, unless the peer is closed (peer_open). */
    void (*answer)(struct peer *peer, const struct request *request, uint32_t status,
                   struct blob *blob);
    /* What had to wait has been sent, or it goes on (peer_go_on). May be NULL. */
    void (*drained)(struct peer *peer);
    /* There is no room for the rest of a frame that has begun: the connection ends once everything
     * is sent. May say why; NULL: nothing is said. */
    void (*no_room)(struct peer *peer);
    /* Is that byte of the table file in the peer's lease? NULL: its peers have none. */
    bool (*holds)(struct peer *peer, uint64_t byte, struct lease_holder *ret);
    /* The peer is about to be forgotten. May be NULL. */
    void (*closed)(struct peer *peer);
};
