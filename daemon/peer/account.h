/* SPDX-License-Identifier: MIT */
/*
 * Accounts: who uses cocod, as the kernel says, and what they make it hold. Loop thread only.
 *
 * Whatever outlives a turn is charged to the account, its user and all together, and refused at a
 * limit of the account or of all: docs/limits.md. An account and its history outlive its last
 * connection for a while, so that connecting again resets nothing.
 */
#pragma once

#include "base/log.h"
#include "base/timer.h"
#include "peer/turn.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

/* A Unix peer is a process of a user. A vsock peer is a guest: cid is set, uid is (uid_t)-1, the
 * rest is 0. */
struct account_key {
    uid_t uid;
    pid_t pid;
    uint32_t cid;        /* of a vsock peer, 3 or more; 0: a Unix peer */
    uint64_t start_time; /* of the process, in clock ticks since boot; 0: unknown */
};

/* For log records. */
#define ACCOUNT_FIELDS(account)                          \
    log_number("PEER_UID", (int64_t)(account)->key.uid), \
        log_number("PEER_PID", (account)->key.pid),      \
        log_number("PEER_CID", (int64_t)(account)->key.cid)

struct accounts;
struct history;
struct lane;
struct passed;
struct queue_user;

/* What one can make cocod hold, and the key of [limits] that limits all of it; one account's has
 * _per_account behind it. */
#define CHARGE_TABLE(X)                                                                            \
    X(PLACES, peers)                                                                               \
    X(BYTES, memory)            /* unsent replies, unfinished messages, as the allocator counts */ \
    X(DESCRIPTORS, descriptors) /* passed to a peer that has not received them yet */              \
    X(REQUESTS, in_flight)      /* that wait for anything */                                       \
    X(JOBS, store_jobs)         /* on the store, waiting and running */

#define CHARGE_ENUM(name, key) CHARGE_##name,
enum charge {
    CHARGE_TABLE(CHARGE_ENUM) CHARGES
};

struct charge_limit {
    size_t account; /* 0: no limit of its own */
    size_t all;
};

/* The last eighth of each kind is for users who hold less than a share of it. */
#define CHARGE_RESERVE(all) ((all) / 8u)
#define CHARGE_SHARE(all)   ((all) / 256u > 0 ? (all) / 256u : 1u)

/* All accounts of one uid, or of one guest over vsock. It lives as long as one of them does. */
struct account_user {
    struct accounts *accounts;
    uint64_t who; /* CID and uid */
    unsigned refs;
    unsigned n_lingering;
    struct account *lingering;     /* the oldest first */
    struct turn turn;              /* beside the other users' */
    struct queue_user *queue_user; /* quotes/queue.h; NULL: none yet */
    size_t held[CHARGES];
    /* Log lines about what it was refused: by each limit of all, and for all else. */
    struct log_limit refusals_of_all[CHARGES];
    struct log_limit refusals;
    UT_hash_handle hh;
};

/* Guests as their VMM names them: those that sent an event last. */
#define ACCOUNT_GUESTS 4u
struct account_guests {
    struct log_limit events; /* of all of them */
    struct account_guest {
        uint64_t hash;
        struct log_limit events;
    } guests[ACCOUNT_GUESTS];
};

struct account {
    struct account_key key;
    uint64_t serial;         /* in the order in which they came; never used twice */
    struct history *history; /* NULL: it has asked nothing yet, or there is no memory for it */
    struct account_user *user;
    struct lane *lane; /* quotes/queue.h; NULL: none yet */
    uint32_t held[CHARGES];
    unsigned refs;    /* peers and jobs */
    struct turn turn; /* beside the user's other accounts' */
    struct timer linger;
    union {
        struct passed *passed; /* on their way; by prev2, next2 */
        struct account *prev;  /* without references: of the user's lingering ones */
    };
    struct account *next;
    struct account_guests *guests; /* NULL: none has sent an event */
    struct log_limit refusals;     /* log lines about what it was refused */
    UT_hash_handle hh;
};

struct accounts {
    struct timers *timers;
    uint64_t linger_us;    /* how long an account without references is kept */
    struct account *table; /* in the order of `serial` */
    struct account_user *users;
    struct turns turns; /* of all users */
    uint64_t serial;
    unsigned n_lingering;
    unsigned n_histories; /* of accounts without references */
    struct charge_limit limits[CHARGES];
    size_t held[CHARGES];
};

/* Accounts without references that are kept at most: past that the user's oldest goes at once. */
#define ACCOUNTS_LINGER_PER_USER 1024u
#define ACCOUNTS_LINGER          8192u
#define ACCOUNT_HISTORIES_LINGER 1024u

/* Without limits. */
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

/* May an event of that guest be logged? Once a minute for each guest, and `per_minute` times for
 * all of the account. *ret_dropped: how many were left out since the last. */
bool account_guest_event(struct account *account, uint64_t guest, unsigned per_minute,
                         unsigned *ret_dropped);

/* The limit that `amount` more would exceed, as [limits] calls it; NULL: there is room. */
const char *account_limit(const struct account *account, enum charge kind, size_t amount);
/* Is there room? Where there is none, that is logged, once a minute for each account, or for each
 * user where the limit is that of all. */
bool account_may(struct account *account, enum charge kind, size_t amount);
/* Charges account, user and all; false: it may not, and nothing was charged. */
bool account_charge(struct account *account, enum charge kind, size_t amount);
/* The same for root and administrators: only the account's own limit holds. */
bool account_charge_privileged(struct account *account, enum charge kind, size_t amount);
/* Charges what is there already, or what another kind bounds. */
void account_charge_anyway(struct account *account, enum charge kind, size_t amount);
void account_uncharge(struct account *account, enum charge kind, size_t amount);
/* What the allocator takes for `size` bytes. */
size_t account_bytes(size_t size);

/* Log that it was refused something, once a minute, ten times for each user: by a `limit` of
 * [limits], or for lack of a role. */
void account_over_limit(struct account *account, const char *limit);
void account_denied(struct account *account, const char *what, const char *role);

/* Who is at the other end of a connected socket: the process, by SO_PEERCRED, or over vsock the
 * guest, by its CID. -EPERM: a CID that is no guest's (0 to 2: hypervisor, loopback, host);
 * -EAFNOSUPPORT; another negative errno. */
int account_key_of_peer(int fd, struct account_key *ret);
