/* SPDX-License-Identifier: MIT */
/*
 * The server: listening sockets, who may connect, and the end of connections. What it keeps is
 * struct server in peer.h. Loop thread only.
 */
#pragma once

#include "peer/peer.h"

/* What the metrics page says of it: from a struct server. */
struct family_table;
extern const struct family_table server_families;

/* NULL: out of memory. `base` and `timers` outlive the server. */
struct server *server_new(struct event_base *base, struct timers *timers,
                          const struct server_limits *limits);
/* For what begins from now on: who is connected stays, also over a smaller limit. */
void server_set_limits(struct server *server, const struct server_limits *limits);
/* Closes everything. */
void server_free(struct server *server);

/* Serves a listening socket; takes it over, on failure too. `context` is the dialect's, found again
 * in each peer. Negative errno. */
int server_listen(struct server *server, const struct dialect *dialect, void *context, int fd);
/* Stops listening; peers stay. */
void server_stop_listening(struct server *server);
/* Serves a connected Unix or vsock socket; takes it over. NULL: it was refused, or no memory. */
struct peer *server_adopt(struct server *server, const struct dialect *dialect, void *context,
                          int fd);
/* Closes the peers of an account but for those of a dialect; how many there were. */
unsigned server_close_account(struct server *server, const struct account *account,
                              const struct dialect *but, enum close_reason reason);
/* The session in whose lease that byte of the table file is; false: nobody's of this run. */
bool server_find_lease(const struct server *server, uint64_t byte, struct lease_holder *ret);
void server_close_peers(struct server *server, enum close_reason reason);
