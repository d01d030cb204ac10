/* SPDX-License-Identifier: MIT */
/*
 * The server: listening sockets, and the list of all peers. Loop thread only.
 */
#pragma once

#include "base/timer.h"
#include "peer/account.h"
#include "peer/dialect.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

/* Why a connection ended; each has a name and a counter. */
enum close_reason {
    CLOSE_EOF,           /* the peer closed */
    CLOSE_IO,            /* reading or writing failed */
    CLOSE_PROTOCOL,      /* framing or a rule of the dialect broken */
    CLOSE_REFUSED,       /* after an answer that says why */
    CLOSE_ANSWERED,      /* after the one answer that its dialect gives */
    CLOSE_HELLO_TIMEOUT, /* never introduced itself */
    CLOSE_FRAME_TIMEOUT, /* began a frame and did not end it */
    CLOSE_SEND_TIMEOUT,  /* did not read its replies */
    CLOSE_MEMORY,
    CLOSE_SHUTDOWN,
    CLOSE_ADMIN, /* an administrator wants it */
    CLOSE_REASONS,
};

const char *close_reason_name(enum close_reason reason);

/* What the metrics page says of it: from a struct server. */
struct family_table;
extern const struct family_table server_families;

/* 0, of a size or a number: no limit. */
struct server_limits {
    unsigned peers;
    unsigned peers_per_account;
    unsigned in_flight;
    unsigned in_flight_per_account;
    unsigned store_jobs;
    unsigned store_jobs_per_account;
    unsigned descriptors;
    unsigned descriptors_per_account;
    size_t memory;
    size_t memory_per_account;
    uint64_t hello_timeout_us;
    uint64_t frame_timeout_us;
    uint64_t send_timeout_us;
    uint64_t account_linger_us;
    size_t unsent; /* above this many unsent reply bytes a peer is not read */
};

/* Places beyond [limits] peers, for administrators alone (a dialect's `privileged`). */
#define SERVER_PRIVILEGED_PLACES 64u

/* SO_SNDBUF of a connection: what its peer does not read lies in the kernel first, charged to
 * cocod's control group. It takes a table whole; among the first so many connections, three of
 * them. */
#define SERVER_SEND_BUFFER       24576u
#define SERVER_SEND_BUFFER_LEAST 12288u
#define SERVER_ROOMY_PEERS       4096u
/* What a socket holds at most: twice that, the message that goes beyond it, and their heads. */
#define SERVER_SOCKET_BYTES(send_buffer) (3u * (send_buffer) + 4096u)

/* One shared buffer receives for all peers. What is left of it after a turn is copied, so it holds
 * not much more than what a turn dispatches. */
#define SERVER_RECEIVE_SIZE 2048u

struct server {
    struct event_base *base;
    struct timers *timers;
    struct accounts accounts;
    struct server_limits limits;
    struct listener *listeners;
    struct peer *peers;
    unsigned n_peers;
    struct passed *passed; /* descriptors on their way */
    struct timer passed_look;
    struct log_limit complaints; /* about the kernel, which refuses to pass more */
    uint64_t closed[CLOSE_REASONS];
    uint8_t receive[SERVER_RECEIVE_SIZE];
};

/* NULL: out of memory. `base` and `timers` outlive the server. */
struct server *server_new(struct event_base *base, struct timers *timers,
                          const struct server_limits *limits);
/* For what begins from now on: who is connected stays, also over a limit that has become smaller.
 */
void server_set_limits(struct server *server, const struct server_limits *limits);
/* Closes everything. */
void server_free(struct server *server);

/* Serves a listening socket; takes it over, on failure too. `context` is the dialect's, found again
 * in each peer. Negative errno. */
int server_listen(struct server *server, const struct dialect *dialect, void *context, int fd);
/* Stops listening; peers stay. */
void server_stop_listening(struct server *server);
/* Serves a connected Unix or vsock socket; takes it over. Returns the peer, or NULL: refused or no
 * memory.
 */
struct peer *server_adopt(struct server *server, const struct dialect *dialect, void *context,
                          int fd);
/* Closes the peers of an account but for those of a dialect; how many there were. */
unsigned server_close_account(struct server *server, const struct account *account,
                              const struct dialect *but, enum close_reason reason);
/* Closes every peer. */
void server_close_peers(struct server *server, enum close_reason reason);
