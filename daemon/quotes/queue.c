/* SPDX-License-Identifier: MIT */
/*
 * Lanes in a ring. The lane at the head gives its oldest item and goes to the tail, so whatever one
 * lane piles up, the others wait for one of its items a round.
 *
 * Most hypervisors run all their VMs under one uid, so VMs must be told apart by process; any other
 * user could make processes at will to be served more often, so it is one lane in all.
 *
 * A lane lives as long as a job holds it. One whose last job failed is remembered a minute longer,
 * so that leaving and coming again does not wash it clean. Its number of items is bounded by the
 * limits on requests, the number of lanes by that of items and requests; those that are only
 * remembered are bounded, too (IDLE_MAX: then the oldest goes).
 *
 * Always holds: a lane is in the round exactly while it has items; n_items is the sum over the
 * lanes.
 */
#include "sys.h"
/* As in account.c: memory that may run out, and a hash function that clang takes. */
#define uthash_malloc(size)                  sys.alloc(size)
#define uthash_free(p, size)                 sys.free(p)
#define HASH_FUNCTION(key, size, hash_value) HASH_FNV(key, size, hash_value)
#include "invariant.h"
#include "quotes/queue.h"
#include <errno.h>
#include <string.h>
#include <utlist.h>

#define REMEMBER_US (60u * 1000000u)
#define IDLE_MAX    4096u

/* Whose requests are limited together: a uid, or one guest over vsock. */
struct user {
    uint64_t who;  /* CID and uid */
    unsigned refs; /* lanes */
    unsigned n_requests;
    UT_hash_handle hh;
};

int queue_set_limits(struct queue *queue, const struct queue_limits *limits)
{
    size_t size = limits->n_vmm_users * sizeof(uid_t);
    uid_t *users = sys.alloc(size + 1);

    if (!users)
        return -ENOMEM;
    if (size > 0)
        memcpy(users, limits->vmm_users, size);
    sys.free(queue->limits.vmm_users);
    queue->limits = *limits;
    queue->limits.vmm_users = users;
    return 0;
}

int queue_init(struct queue *queue, const struct queue_limits *limits)
{
    *queue = (struct queue){.n_items = 0};
    return queue_set_limits(queue, limits);
}

/* --- lanes ------------------------------------------------------------------------------------ */

static struct user *user_get(struct queue *queue, const struct account_key *key)
{
    uint64_t who = (uint64_t)key->cid << 32 | (uint32_t)key->uid;
    struct user *user;

    HASH_FIND(hh, queue->users, &who, sizeof(who), user);
    if (!user) {
        user = sys.alloc(sizeof(*user));
        if (!user)
            return NULL;
        user->who = who;
        HASH_ADD(hh, queue->users, who, sizeof(user->who), user);
        if (!user->hh.tbl) {
            sys.free(user);
            return NULL;
        }
    }
    user->refs++;
    return user;
}

static void user_put(struct queue *queue, struct user *user)
{
    if (--user->refs > 0)
        return;
    invariant(user->n_requests == 0);
    HASH_DEL(queue->users, user);
    sys.free(user);
}

static void lane_free(struct lane *lane)
{
    struct queue *queue = lane->queue;

    invariant(!lane->items && lane->n_requests == 0 && lane->n_running == 0);
    HASH_DEL(queue->lanes, lane);
    user_put(queue, lane->user);
    sys.free(lane);
}

static void lane_forget(struct lane *lane)
{
    DL_DELETE2(lane->queue->idle, lane, idle_prev, idle_next);
    lane_free(lane);
}

/* The oldest are first. */
static void forget_old(struct queue *queue, uint64_t now_us)
{
    while (queue->idle && (queue->idle->forget_us <= now_us || HASH_COUNT(queue->lanes) > IDLE_MAX))
        lane_forget(queue->idle);
}

static bool is_vmm_user(const struct queue *queue, uid_t uid)
{
    for (size_t i = 0; i < queue->limits.n_vmm_users; i++)
        if (queue->limits.vmm_users[i] == uid)
            return true;
    return false;
}

/* A peer without a uid is not a process of this host but a VM itself. */
static void lane_key(const struct queue *queue, const struct account *account,
                     struct account_key *ret)
{
    memcpy(ret, &account->key, sizeof(*ret)); /* with its padding, which is zero */
    if (ret->uid == (uid_t)-1 || is_vmm_user(queue, ret->uid))
        return;
    memset(ret, 0, sizeof(*ret));
    ret->uid = account->key.uid;
}

static struct lane *lane_new(struct queue *queue, const struct account_key *key)
{
    struct lane *lane = sys.alloc(sizeof(*lane));

    if (!lane)
        return NULL;
    lane->queue = queue;
    lane->serial = ++queue->serial;
    memcpy(&lane->key, key, sizeof(*key));
    lane->user = user_get(queue, key);
    if (!lane->user) {
        sys.free(lane);
        return NULL;
    }
    HASH_ADD(hh, queue->lanes, key, sizeof(lane->key), lane);
    if (!lane->hh.tbl) {
        user_put(queue, lane->user);
        sys.free(lane);
        return NULL;
    }
    return lane;
}

struct lane *queue_lane(struct queue *queue, const struct account *account)
{
    struct account_key key;
    struct lane *lane;

    forget_old(queue, sys.now_us());
    lane_key(queue, account, &key);
    HASH_FIND(hh, queue->lanes, &key, sizeof(key), lane);
    if (!lane) {
        lane = lane_new(queue, &key);
        if (!lane)
            return NULL;
    } else if (lane->refs == 0) {
        DL_DELETE2(queue->idle, lane, idle_prev, idle_next);
    }
    return lane_ref(lane);
}

struct lane *lane_ref(struct lane *lane)
{
    lane->refs++;
    return lane;
}

void lane_unref(struct lane *lane)
{
    invariant(lane->refs > 0);
    if (--lane->refs > 0)
        return;
    if (!lane->failed) {
        lane_free(lane);
        return;
    }
    lane->forget_us = sys.now_us() + REMEMBER_US;
    DL_APPEND2(lane->queue->idle, lane, idle_prev, idle_next);
}

bool lane_admits(const struct lane *lane)
{
    const struct queue_limits *limits = &lane->queue->limits;

    return lane->n_requests < limits->requests_per_vm &&
           lane->user->n_requests < limits->requests_per_user;
}

const char *lane_limit(const struct lane *lane)
{
    return lane->n_requests < lane->queue->limits.requests_per_vm ? "requests_per_user"
                                                                  : "requests_per_account";
}

void lane_request_begin(struct lane *lane)
{
    lane->n_requests++;
    lane->user->n_requests++;
}

void lane_request_end(struct lane *lane)
{
    invariant(lane->n_requests > 0 && lane->user->n_requests > 0);
    lane->n_requests--;
    lane->user->n_requests--;
}

void queue_done(struct queue *queue)
{
    while (queue->idle)
        lane_forget(queue->idle);
    invariant(queue->n_items == 0 && !queue->lanes);
    sys.free(queue->limits.vmm_users);
}

/* --- items ------------------------------------------------------------------------------------ */

bool queue_has_room(const struct queue *queue)
{
    return queue->n_items < queue->limits.items;
}

static void added(struct queue_item *item, struct lane *lane)
{
    item->lane = lane;
    item->queued = true;
    lane->n_items++;
    lane->queue->n_items++;
}

void queue_push(struct queue_item *item, struct lane *lane)
{
    struct queue *queue = lane->queue;

    DL_APPEND(lane->items, item);
    added(item, lane);
    if (!lane->in_round)
        DL_APPEND(queue->round, lane);
    lane->in_round = true;
}

void queue_push_front(struct queue_item *item, struct lane *lane)
{
    struct queue *queue = lane->queue;

    DL_PREPEND(lane->items, item);
    added(item, lane);
    if (lane->in_round)
        DL_DELETE(queue->round, lane);
    DL_PREPEND(queue->round, lane);
    lane->in_round = true;
}

void queue_push_next(struct queue_item *item, struct lane *lane)
{
    DL_PREPEND(lane->items, item);
    added(item, lane);
    if (!lane->in_round)
        DL_APPEND(lane->queue->round, lane);
    lane->in_round = true;
}

void queue_remove(struct queue_item *item)
{
    struct lane *lane = item->lane;
    struct queue *queue = lane->queue;

    invariant(item->queued);
    DL_DELETE(lane->items, item);
    item->queued = false;
    lane->n_items--;
    queue->n_items--;
    if (lane->items)
        return;
    DL_DELETE(queue->round, lane);
    lane->in_round = false;
}

struct queue_item *queue_pop(struct queue *queue, bool (*fits)(void *data, struct queue_item *item),
                             void *data)
{
    struct lane *lane;

    DL_FOREACH(queue->round, lane)
    {
        struct queue_item *item = lane->items;
        if (lane->failed && lane->n_running > 0)
            continue;
        while (item && !fits(data, item))
            item = item->yields ? item->next : NULL;
        if (!item)
            continue;
        queue_remove(item);
        if (lane->in_round) {
            DL_DELETE(queue->round, lane);
            DL_APPEND(queue->round, lane);
        }
        return item;
    }
    return NULL;
}

unsigned queue_ahead(const struct queue *queue, const struct lane *lane)
{
    const struct lane *other;
    unsigned mine = lane->n_items;
    unsigned ahead = mine;

    /* Before its turn number mine + 1 each lane has that many turns, where it has the items. */
    DL_FOREACH(queue->round, other)
    {
        if (other != lane)
            ahead += other->n_items < mine + 1 ? other->n_items : mine + 1;
    }
    return ahead;
}
