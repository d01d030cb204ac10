/* SPDX-License-Identifier: MIT */
/*
 * Accounts: whom the kernel vouches for, and what they hold of cocod. All limits hang here.
 *
 * An account outlives its last connection for a while, so that reconnecting resets nothing. With
 * it goes the history of its requests; of those that linger, a limited number keep theirs. Loop
 * thread only.
 */
#pragma once

#include "log.h"
#include "peer/turn.h"
#include "timer.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

/* A Unix peer is a process of a user; a vsock peer is a VM: then cid is set, and of the rest, uid
 * is (uid_t)-1 and pid is 0. */
struct account_key {
    uid_t uid;
    pid_t pid;
    uint32_t cid;        /* of a vsock peer, 3 or more; 0: a Unix peer */
    uint64_t start_time; /* of the process, in clock ticks since boot; 0: unknown */
};

struct accounts;
struct history;

/* All accounts of one uid, or of one guest over vsock. It lives as long as one of them does. */
struct account_user {
    uint64_t who; /* CID and uid */
    unsigned refs;
    struct turn turn; /* beside the other users' */
    UT_hash_handle hh;
};

/* A VM as its VMM names it; those that were heard of last are known. */
#define ACCOUNT_GUESTS 4u
struct account_guest {
    uint64_t hash;
    struct log_limit events;
};

struct account {
    struct accounts *accounts;
    struct account_key key;
    uint64_t serial;         /* in the order in which they came; never used twice */
    struct history *history; /* NULL: it has asked nothing yet, or there is no memory for it */
    struct account_user *user;
    struct turn turn;    /* beside the user's other accounts' */
    unsigned refs;       /* peers and jobs */
    unsigned n_peers;    /* connections */
    unsigned n_requests; /* requests in flight that wait for a backend */
    struct timer linger;
    /* Lines of the log that it causes: what it reports of its guests, each for itself and all
     * together, and what it is refused. */
    struct account_guest guests[ACCOUNT_GUESTS];
    struct log_limit guest_events;
    struct log_limit refusals;
    UT_hash_handle hh;
};

struct accounts {
    struct timers *timers;
    uint64_t linger_us;    /* how long an account without references is kept */
    struct account *table; /* in the order of `serial` */
    struct account_user *users;
    struct turns turns; /* of all users */
    uint64_t serial;
    unsigned n_histories; /* of accounts without references */
};

/* So memory for histories is bounded by the limit of connections and this, however many processes
 * come and go within `linger`. */
#define ACCOUNT_HISTORIES_LINGER 1024u

void accounts_init(struct accounts *accounts, struct event_base *base, struct timers *timers,
                   uint64_t linger_us);
/* Every reference must have been given back. */
void accounts_done(struct accounts *accounts);

/* The account of that key, made where there is none; NULL: out of memory. One reference more. */
struct account *account_get(struct accounts *accounts, const struct account_key *key);
struct account *account_ref(struct account *account);
void account_unref(struct account *account);
/* Its history, made where there is none; NULL: out of memory. */
struct history *account_history(struct account *account);

/* May a line be written about what happened to that guest? Once a minute for each, and at most
 * `per_minute` times for all of this account's. *ret_dropped: how many were left out since. */
bool account_guest_event(struct account *account, uint64_t guest, unsigned per_minute,
                         unsigned *ret_dropped);

/* Tells that it was refused something, once a minute: a `limit` of [limits], or what the socket or
 * method demands. */
void account_over_limit(struct account *account, const char *limit);
void account_denied(struct account *account, const char *what, const char *role);

/* Whom SO_PEERCRED names at the other end of a connected Unix socket. Negative errno. */
int account_key_of_unix_peer(int fd, struct account_key *ret);
/* The same of a Unix or vsock socket; of the latter, the CID. -EPERM: a CID that is no guest's (0
 * to 2: hypervisor, loopback, host); -EAFNOSUPPORT; negative errno. */
int account_key_of_peer(int fd, struct account_key *ret);
