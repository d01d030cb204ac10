/* SPDX-License-Identifier: MIT */
/*
 * Descriptors on their way: passed to a peer that has not received them yet. The kernel counts them
 * against the sender's user, also when the sender has closed the socket meanwhile, and refuses
 * every further one, to everybody, at the sender's RLIMIT_NOFILE. So each is charged until it is
 * received or the receiver's socket is gone. Loop thread only.
 */
#pragma once

#include "base/timer.h"
#include <stdbool.h>

struct account;
struct peer;
struct server;

/* One for each peer that has been passed a descriptor. */
struct passed {
    struct server *server;
    struct account *account;
    struct peer *peer;            /* NULL: it was closed, and `fd` is kept open to look at */
    int fd;                       /* the socket */
    struct passed *prev, *next;   /* of the server */
    struct passed *prev2, *next2; /* of the account */
};

/* May a descriptor be passed to that peer? Then it is charged. False: its account, or all together,
 * have too many on their way, or there is no memory; that is told. */
bool passed_begin(struct peer *peer);
/* Has it arrived? Then it is charged no more. One system call. */
void passed_look(struct passed *passed);
/* It was never sent. */
void passed_cancel(struct peer *peer);
/* The kernel refused to pass it: tells the operator, now and then. */
void passed_refused(struct server *server);
/* The peer closes. Where its descriptor has not arrived, its socket is shut down and kept, with its
 * place. True: the socket was taken over. */
bool passed_take(struct peer *peer);

/* Of a server: looks at those that are on their way ten times a second, at some each time. */
int passed_init(struct server *server);
/* Forgets all of them. */
void passed_done(struct server *server);
