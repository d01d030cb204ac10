/* SPDX-License-Identifier: MIT */
/*
 * A peer: one connection. It receives frames for its dialect, sends what the dialect answers, and
 * keeps every limit: batches, back-pressure, deadlines for partial frames and for peers that do not
 * read. Loop thread only.
 */
#pragma once

#include "base/blob.h"
#include "base/timer.h"
#include "peer/account.h"
#include "peer/dialect.h"
#include "peer/server.h"
#include "peer/turn.h"
#include <event2/event_struct.h>
#include <stdbool.h>

/* A peer's life: OPEN → (FLUSHING →) CLOSED. */
enum peer_state {
    PEER_OPEN,
    PEER_FLUSHING, /* reads nothing more; closes when what it is owed has been sent */
    PEER_CLOSED,
};

/* Frames that one peer may have dispatched in one turn; a frame of this many bytes and more counts
 * as several. */
#define PEER_BATCH      4u
#define PEER_LONG_FRAME 256u

/* Replies that had to wait, and bytes of them, that one peer is sent in one turn; and bytes of one
 * long frame that are received. */
#define PEER_TURN_REPLIES 8u
#define PEER_TURN_BYTES   16384u

/* Bytes of a message's own part, before the blob. */
#define PEER_HEAD_MAX 96u

/* What goes with a connection's place, and is not charged as memory: so much of a message that is
 * not whole, and the buffer for the first replies that are not read. */
#define PEER_PARTIAL_FREE 4224u
#define PEER_REPLY_BUFFER 1008u

/* A peer that leaves replies unread is not read either unless its account may hold so much more:
 * any table, and what the allocator adds. */
#define PEER_REPLY_ROOM 32768u

struct passed;

struct peer {
    struct server *server;
    const struct dialect *dialect;
    void *context; /* the dialect's, as given to server_listen */
    struct account *account;
    enum peer_state state : 8;
    enum close_reason close_reason : 8;
    unsigned refs;
    bool established;
    bool paused;  /* not read: back-pressure, deaf or held */
    bool asked;   /* the one frame of a one_request dialect was dispatched */
    bool deaf;    /* the peer shut its sending side down: nothing is read any more */
    bool patient; /* its unsent replies have no deadline */
    bool held;    /* the dialect wants nothing before the answer that it owes */

    bool reads;       /* the socket may have bytes, or its end */
    bool ends;        /* the peer has shut down its sending side, or left: behind what it sent */
    bool writes;      /* the socket takes bytes, as far as is known */
    bool whole;       /* `partial` may begin with a whole frame */
    bool goes_on;     /* peer_go_on */
    bool unwatched;   /* it has said that it has bytes, more than once, and waits for its turn */
    struct turn turn; /* beside the account's other peers' */
    int fd;
    uint64_t since_us; /* when the connection began */
    struct event readable;
    struct event *writable; /* while replies wait; or NULL */

    uint8_t *partial; /* received, not dispatched yet */
    uint32_t partial_size;
    uint32_t partial_capacity;

    struct outgoing *out;  /* first is being sent */
    struct passed *passed; /* the descriptor that was passed to it, and is not received; or NULL */

    /* Absolute deadlines, UINT64_MAX: none; `deadline` is armed for the earliest. */
    uint64_t hello_by_us;
    uint64_t frame_by_us;
    uint64_t sent_by_us;
    struct timer deadline;

    struct request *requests;
    unsigned n_requests;
    uint32_t unsent; /* bytes in `out` */

    struct peer *prev, *next; /* of the server */
    _Alignas(16) uint8_t session[];
};

/* Takes over fd (closed on failure too), account reference and the charge for its place. NULL: out
 * of memory. */
struct peer *peer_new(struct server *server, const struct dialect *dialect, void *context, int fd,
                      struct account *account);

static inline bool peer_open(const struct peer *peer)
{
    return peer->state == PEER_OPEN;
}

struct peer *peer_ref(struct peer *peer);
void peer_unref(struct peer *peer);

/* The dialect's greeting is done: the HELLO deadline is off. */
void peer_established(struct peer *peer);

/* Sends `head` (≤ PEER_HEAD_MAX bytes, copied if need be) and then the blob (may be NULL; a
 * reference is taken where it must wait). `pass_fd` goes with the first byte and is closed in any
 * case; -1: none; see passed.h. False: the kernel passes no descriptor now, and nothing was sent.
 * What the socket does not take at once waits; where that needs memory and there is none, the peer
 * is closed. */
bool peer_send(struct peer *peer, const void *head, size_t head_size, struct blob *blob,
               int pass_fd);

/* Dispatches nothing more until that is taken back: for dialects whose answers come in the order of
 * their calls. A peer that closes meanwhile is noticed afterwards. */
void peer_hold(struct peer *peer, bool hold);

/* In a turn of the peer's, when nothing is unsent, the dialect's `drained` is called: for what is
 * too much for one turn, or for one of many peers'. */
void peer_go_on(struct peer *peer);

/* From now on unsent replies may lie for any time: for a peer that is sent nothing more meanwhile.
 */
void peer_be_patient(struct peer *peer);

/* Ends the connection now: completes its requests with ECANCELED (unsent), forgets what was unsent.
 */
void peer_close(struct peer *peer, enum close_reason reason);
/* The same once everything is sent. */
void peer_finish(struct peer *peer, enum close_reason reason);
