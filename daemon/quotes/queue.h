/* SPDX-License-Identifier: MIT */
/*
 * Who is next: turns go round users, those of a user round its VMs, and each VM has a queue of its
 * own; and what one VM, one user and all of them may have waiting. Pure but for the clock. Loop
 * thread only.
 */
#pragma once

#include "peer/account.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Who shares turns and limits: a uid, or one guest over vsock. */
struct user {
    uint64_t who;  /* CID and uid */
    unsigned refs; /* lanes */
    unsigned n_requests;
    unsigned n_items;
    struct lane *round; /* its lanes with items; the first is next */
    bool in_round;
    struct user *prev, *next; /* of the queue's round */
    UT_hash_handle hh;
};

/* One that is scheduled as one: a VM (an account of a VMM user), or all processes of any other
 * user. */
struct lane {
    struct queue *queue;
    struct account_key key; /* pid 0: the whole user */
    uint64_t serial;        /* never used twice */
    struct user *user;
    unsigned refs;
    struct queue_item *items; /* waiting */
    unsigned n_items;
    unsigned n_running;  /* of its jobs, with a slot */
    unsigned n_hedges;   /* of its jobs, queued and running ones */
    unsigned n_requests; /* that wait for its jobs */
    unsigned n_closed;   /* of its jobs, QGS closed in a row without an answer */
    bool failed;         /* its last job failed: no retries, and one slot, until one succeeds */
    uint64_t forget_us;  /* without jobs, but failed: remembered until then */
    bool in_round;
    struct lane *prev, *next;           /* of its user's round */
    struct lane *idle_prev, *idle_next; /* of those that are only remembered */
    UT_hash_handle hh;
};

/* Embedded in what is queued. */
struct queue_item {
    struct lane *lane;
    bool queued;
    bool yields; /* where it does not fit, the one behind it is asked */
    struct queue_item *prev, *next;
};

struct queue_limits {
    size_t n_vmm_users;
    uid_t *vmm_users; /* owned by the queue */
    unsigned requests_per_vm;
    unsigned requests_per_user;
    unsigned items;
};

struct queue {
    struct queue_limits limits;
    struct lane *lanes; /* table */
    struct user *users; /* table */
    struct user *round; /* users with items; the first is next */
    struct lane *idle;
    unsigned n_items;
    uint64_t serial;
};

/* -ENOMEM. limits->vmm_users is copied. */
int queue_init(struct queue *queue, const struct queue_limits *limits);
/* Other limits, for what comes from now on. A VM that waits already stays in the lane that it is
 * in. -ENOMEM: they are as they were. */
int queue_set_limits(struct queue *queue, const struct queue_limits *limits);
/* Nothing is queued, every lane was given back. */
void queue_done(struct queue *queue);

/* The lane of an account by its key, one reference more; NULL: out of memory. */
struct lane *queue_lane(struct queue *queue, const struct account_key *account);
struct lane *lane_ref(struct lane *lane);
void lane_unref(struct lane *lane);

/* May one more request wait? Then count it. */
bool lane_admits(const struct lane *lane);
/* The key of [limits] that refuses it. */
const char *lane_limit(const struct lane *lane);
void lane_request_begin(struct lane *lane);
void lane_request_end(struct lane *lane);

/* Where the limit of the user is in the way: the item of another of its lanes, one with more
 * requests, that gives way to a new one of this lane. NULL: none does. */
struct queue_item *lane_gives_way(const struct lane *lane);

/* Room for one more item? */
bool queue_has_room(const struct queue *queue);
/* Where there is none: the item that gives way to a new one of that lane, the newest of who has the
 * most. NULL: no user has more than the lane's, nor any lane of that user more than the lane. */
struct queue_item *queue_gives_way(const struct queue *queue, const struct lane *lane);
void queue_push(struct queue_item *item, struct lane *lane);
/* Before everything else: for what was begun already. */
void queue_push_front(struct queue_item *item, struct lane *lane);
/* Before everything else of its lane, which waits for its turn. */
void queue_push_next(struct queue_item *item, struct lane *lane);
void queue_remove(struct queue_item *item);
/* The next in turn whose lane may have a slot and that `fits`; NULL: none. Of a lane only the first
 * item counts, and those behind items that yield. */
struct queue_item *queue_pop(struct queue *queue, bool (*fits)(void *data, struct queue_item *item),
                             void *data);
/* All items, those of a lane in their order; NULL: there are no more. The one before may be removed
 * once its next is known. */
struct queue_item *queue_first(const struct queue *queue);
struct queue_item *queue_next(const struct queue_item *item);
/* How many items would be served before a new one of that lane. */
unsigned queue_ahead(const struct queue *queue, const struct lane *lane);
