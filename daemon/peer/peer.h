/* SPDX-License-Identifier: MIT */
/*
 * A peer: one connection. It receives frames for its dialect, sends what the dialect answers, and
 * keeps every limit: batches, back-pressure, deadlines for partial frames and for peers that do not
 * read. Loop thread only.
 */
#pragma once

#include "base/container_of.h"
#include "base/timer.h"
#include "peer/account.h"
#include "peer/dialect.h"
#include "peer/inbox.h"
#include "peer/outbox.h"
#include "peer/passed.h"
#include "peer/request.h"
#include "peer/turn.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

struct listener;
struct peer;

/* Why a connection ended; each has a name and a counter. */
#define CLOSE_TABLE(X)                                                                  \
    X(EOF, "eof")                     /* the peer closed */                             \
    X(IO, "io")                       /* reading or writing failed */                   \
    X(PROTOCOL, "protocol")           /* framing or a rule of the dialect broken */     \
    X(REFUSED, "refused")             /* after an answer that says why */               \
    X(ANSWERED, "answered")           /* after the one answer that its dialect gives */ \
    X(HELLO_TIMEOUT, "hello-timeout") /* never introduced itself */                     \
    X(FRAME_TIMEOUT, "frame-timeout") /* began a frame and did not end it */            \
    X(SEND_TIMEOUT, "send-timeout")   /* did not read its replies */                    \
    X(MEMORY, "memory")                                                                 \
    X(SHUTDOWN, "shutdown")                                                             \
    X(ADMIN, "administrator") /* an administrator wants it */

#define CLOSE_ENUM(name, text) CLOSE_##name,
enum close_reason {
    CLOSE_TABLE(CLOSE_ENUM) CLOSE_REASONS
};

const char *close_reason_name(enum close_reason reason);

/* 0, of a size or a number: no limit. */
#define LIMIT_FIELDS(name, key) size_t key, key##_per_account;
struct server_limits {
    CHARGE_TABLE(LIMIT_FIELDS) /* peers, peers_per_account, memory … */
    uint64_t hello_timeout_us;
    uint64_t frame_timeout_us;
    uint64_t send_timeout_us;
    uint64_t account_linger_us;
    size_t unsent; /* above this many unsent reply bytes a peer is not read */
};

/* Places beyond [limits] peers, for administrators alone (a dialect's `privileged`). */
#define SERVER_PRIVILEGED_PLACES 64u

/* SO_SNDBUF of a connection: what its peer does not read lies in the kernel first, charged to
 * cocod's control group. A table fits; for the first so many connections, three of them. */
#define SERVER_SEND_BUFFER       24576u
#define SERVER_SEND_BUFFER_LEAST 12288u
#define SERVER_ROOMY_PEERS       4096u
/* What a socket holds at most: twice that, the message that goes beyond it, and their heads. */
#define SERVER_SOCKET_BYTES(send_buffer) (3u * (send_buffer) + 4096u)

/* The buffer that receives for all peers. What a turn leaves in it is copied, so it is small. */
#define SERVER_RECEIVE_SIZE 2048u

/* What all peers share. */
struct server {
    struct event_base *base;
    struct timers *timers;
    struct accounts accounts;
    struct server_limits limits;
    struct listener *listeners;
    struct peer *peers;
    unsigned n_peers;
    struct passed_list passed;
    uint64_t closed[CLOSE_REASONS];
    uint8_t receive[SERVER_RECEIVE_SIZE];
};

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

/* A peer that leaves replies unread is not read either unless its account may hold so much more:
 * any table, and what the allocator adds. */
#define PEER_REPLY_ROOM 32768u

struct peer {
    struct server *server;
    const struct dialect *dialect;
    void *context; /* the dialect's, as given to server_listen */
    struct account *account;
    enum peer_state state : 8;
    enum close_reason close_reason : 8;
    bool established : 1;
    bool paused : 1;  /* not read: back-pressure, deaf or held */
    bool asked : 1;   /* the one frame of a one_request dialect was dispatched */
    bool deaf : 1;    /* the peer shut its sending side down: nothing is read any more */
    bool patient : 1; /* its unsent replies have no deadline */
    bool held : 1;    /* the dialect wants nothing before the answer that it owes */

    bool reads : 1;     /* the socket may have bytes, or its end */
    bool ends : 1;      /* the peer has shut down its sending side, or left: behind what it sent */
    bool spoke : 1;     /* something was sent since the last bytes came */
    bool writes : 1;    /* the socket takes bytes, as far as is known */
    bool whole : 1;     /* `partial` may begin with a whole frame */
    bool goes_on : 1;   /* peer_go_on */
    bool unwatched : 1; /* it has said that it has bytes, more than once, and waits for its turn */
    unsigned refs;
    int fd;
    struct turn turn;  /* beside the account's other peers' */
    uint64_t since_us; /* when the connection began */
    struct event readable;
    struct event *writable; /* while replies wait; or NULL */

    struct inbox partial; /* received, not dispatched yet */
    struct outbox out;
    struct passed *passed; /* the descriptor that was passed to it, and is not received; or NULL */

    /* Absolute deadlines, UINT64_MAX: none; `deadline` is armed for the earliest. */
    uint64_t hello_by_us;
    uint64_t frame_by_us;
    uint64_t sent_by_us;
    struct timer deadline;

    struct requests requests; /* that wait */

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

static inline struct peer *peer_of(const struct request *request)
{
    return container_of(request->of, struct peer, requests);
}

/* By the dialect's own state in it. */
static inline struct peer *peer_of_session(void *session)
{
    return (struct peer *)(void *)((char *)session - offsetof(struct peer, session));
}

/* Nothing of it waits for the peer to read. */
static inline bool peer_all_sent(const struct peer *peer)
{
    return !peer->out.first;
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

/* Dispatches nothing more until that is taken back: for dialects that answer in the order of calls.
 * A peer that closes meanwhile is noticed afterwards. */
void peer_hold(struct peer *peer, bool hold);

/* Calls the dialect's `drained` in a turn of the peer's, once nothing is unsent. */
void peer_go_on(struct peer *peer);

/* From now on unsent replies may lie for any time. */
void peer_be_patient(struct peer *peer);

/* Ends the connection now: completes its requests with ECANCELED, and sends nothing more. */
void peer_close(struct peer *peer, enum close_reason reason);
/* The same once everything is sent. */
void peer_finish(struct peer *peer, enum close_reason reason);
