/* SPDX-License-Identifier: MIT */
/*
 * Who is next: users take turns, and so do the VMs of each; a VM has a queue of its own. And what
 * one VM, one user and all of them may have waiting. Pure but for the clock. Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct account;

/* What takes turns as one: a VM (an account of a VMM user), or all processes of any other user. */
struct lane {
    struct queue *queue;
    struct queue_user *user;
    uint64_t serial;          /* never used twice */
    struct queue_item *items; /* waiting */
    unsigned n_items;
    unsigned n_jobs;          /* queued, running or abandoned */
    unsigned n_running;       /* jobs with a slot */
    unsigned n_hedges;        /* jobs, queued and running */
    unsigned n_requests;      /* that wait for its jobs */
    unsigned n_closed;        /* jobs in a row on which QGS closed without an answer */
    bool failed;              /* its last job failed: no retries, one slot, until one succeeds */
    uint64_t forget_us;       /* without jobs: until when that is known */
    struct lane *prev, *next; /* in its user's round */
};

/* Who shares turns and limits: a uid, or one guest over vsock. */
struct queue_user {
    unsigned n_requests;
    unsigned n_items;
    struct lane whole;              /* where the user is one lane */
    struct lane *round;             /* its lanes with items; the first is next */
    struct queue_user *prev, *next; /* in the queue's round */
};

/* Embedded in what is queued. */
struct queue_item {
    struct lane *lane;
    bool queued;
    bool yields; /* where it does not fit, the one behind it is asked */
    struct queue_item *prev, *next;
};

#define QUEUE_VMM_USERS_MAX 64u

struct queue_limits {
    size_t n_vmm_users;
    uid_t vmm_users[QUEUE_VMM_USERS_MAX];
    unsigned requests_per_vm;
    unsigned requests_per_user;
    unsigned items;
};

/* Zeroed, and with limits. They may change at any time; a VM that waits stays in its lane. */
struct queue {
    struct queue_limits limits;
    struct queue_user *round; /* users with items; the first is next */
    unsigned n_items;
    uint64_t serial;
};

/* The lane of an account, which lives as long as the account. NULL: out of memory. */
struct lane *queue_lane(struct queue *queue, struct account *account);
/* So long a lane without jobs knows that its last one failed. */
#define LANE_REMEMBER_US (60u * 1000000u)

/* May one more request wait? */
bool lane_admits(const struct lane *lane);
/* The key of [limits] that refuses it. */
const char *lane_limit(const struct lane *lane);

/* Where the limit of the user is in the way: the item of another of its lanes, one with more
 * requests, that gives way to a new one of this lane. NULL: none does. */
struct queue_item *lane_gives_way(const struct lane *lane);

/* Room for one more item? */
bool queue_has_room(const struct queue *queue);
/* Where there is none: the item that gives way to a new one of that lane, the newest of who has the
 * most. NULL: no user has more than the lane's, nor any lane of that user more than the lane. */
struct queue_item *queue_gives_way(const struct queue *queue, const struct lane *lane);

enum queue_place {
    QUEUE_LAST,  /* of its lane */
    QUEUE_NEXT,  /* of its lane: it has had a turn, and waits for another */
    QUEUE_FIRST, /* of all: the turn that it had came to nothing */
};
void queue_push(struct queue_item *item, struct lane *lane, enum queue_place place);
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
