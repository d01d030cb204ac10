/* SPDX-License-Identifier: MIT */
/*
 * Descriptors on their way: passed to a peer that has not received them yet. The kernel counts them
 * for the sender's user, and at the sender's RLIMIT_NOFILE it passes no more, to anybody. So each
 * is charged until it is received or the receiver's socket is gone. Loop thread only.
 */
#pragma once

#include "base/log.h"
#include "base/timer.h"
#include "peer/account.h"
#include <stdbool.h>

/* All of a server. */
struct passed_list {
    struct passed *first;
    struct timer look;
    struct log_limit complaints; /* about the kernel, which refuses to pass more */
};

/* One for each peer that has been passed a descriptor. */
struct passed {
    struct passed_list *list;
    struct account *account;
    struct passed **owner; /* the peer's pointer to this; NULL: it was closed, and `fd` is kept */
    int fd;                /* the socket */
    struct passed *prev, *next;
    struct passed *prev2, *next2; /* of the account */
};

/* May a descriptor be passed over that socket? Then it is charged, and *owner is set. False: its
 * account, or all together, have too many on their way, which is logged, or there is no memory. */
bool passed_begin(struct passed_list *list, struct account *account, int fd, struct passed **owner);
/* Has it arrived? Then it is charged no more. One system call. */
void passed_look(struct passed *passed);
/* It was never sent. NULL: nothing is done. */
void passed_cancel(struct passed *passed);
/* The kernel refused to pass it: logs that, once a minute. */
void passed_refused(struct passed_list *list, const struct account *account);
/* The peer closes. Where its descriptor has not arrived, its socket is shut down and kept, with its
 * place. True: the socket was taken over. NULL: nothing was passed. */
bool passed_take(struct passed *passed);

/* Looks at those that are on their way ten times a second, at some each time. -ENOMEM. */
int passed_init(struct passed_list *list, struct timers *timers);
/* Forgets all of them. */
void passed_done(struct passed_list *list);
