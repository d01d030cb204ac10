/* SPDX-License-Identifier: MIT */
/*
 * Users stand in a ring, and the lanes of each user in a ring of its own. The user at the head
 * gives the oldest item of its first lane; then both go to the tail. So a user costs the others one
 * item a round, however many processes it has; and so does one of its lanes the other lanes.
 *
 * Most hypervisors run all their VMs under one uid, so there a lane is a process. Any other user is
 * one lane in all: it could make processes at will to be served more often.
 *
 * Room is shared in the same way. Where there is none, the newest item of who has the most gives
 * way to one of somebody who has less.
 *
 * A lane lives as long as a job holds it. One whose last job failed is remembered for a minute
 * more, so that its failures stay known when it leaves and comes again. The limits on requests
 * bound the items and the lanes that have some; IDLE_MAX bounds those that are only remembered.
 *
 * Always holds: a lane is in its user's round, and a user in the queue's, exactly while it has
 * items; n_items is the sum over the lanes, of a user and of the queue.
 */
#include "base/sys.h"
/* As in account.c: memory that may run out, and a hash function that clang takes. */
#define uthash_malloc(size)                  sys.alloc(size)
#define uthash_free(p, size)                 sys.free(p)
#define HASH_FUNCTION(key, size, hash_value) HASH_FNV(key, size, hash_value)
#include "base/invariant.h"
#include "quotes/queue.h"
#include <errno.h>
#include <string.h>
#include <utlist.h>

#define REMEMBER_US (60u * 1000000u)
#define IDLE_MAX    4096u

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
static void lane_key(const struct queue *queue, const struct account_key *account,
                     struct account_key *ret)
{
    memcpy(ret, account, sizeof(*ret)); /* with its padding, which is zero */
    if (ret->uid == (uid_t)-1 || is_vmm_user(queue, ret->uid))
        return;
    memset(ret, 0, sizeof(*ret));
    ret->uid = account->uid;
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

struct lane *queue_lane(struct queue *queue, const struct account_key *account)
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

/* Into its round; to the front of it, or where it is not there yet, to the end. */
static void enter(struct queue *queue, struct lane *lane, bool front)
{
    struct user *user = lane->user;

    if (lane->in_round && front)
        DL_DELETE(user->round, lane);
    if (front)
        DL_PREPEND(user->round, lane);
    else if (!lane->in_round)
        DL_APPEND(user->round, lane);
    lane->in_round = true;
    if (user->in_round && front)
        DL_DELETE(queue->round, user);
    if (front)
        DL_PREPEND(queue->round, user);
    else if (!user->in_round)
        DL_APPEND(queue->round, user);
    user->in_round = true;
}

static void added(struct queue_item *item, struct lane *lane, bool front)
{
    item->lane = lane;
    item->queued = true;
    lane->n_items++;
    lane->user->n_items++;
    lane->queue->n_items++;
    enter(lane->queue, lane, front);
}

void queue_push(struct queue_item *item, struct lane *lane)
{
    DL_APPEND(lane->items, item);
    added(item, lane, false);
}

void queue_push_front(struct queue_item *item, struct lane *lane)
{
    DL_PREPEND(lane->items, item);
    added(item, lane, true);
}

void queue_push_next(struct queue_item *item, struct lane *lane)
{
    DL_PREPEND(lane->items, item);
    added(item, lane, false);
}

void queue_remove(struct queue_item *item)
{
    struct lane *lane = item->lane;
    struct user *user = lane->user;
    struct queue *queue = lane->queue;

    invariant(item->queued);
    DL_DELETE(lane->items, item);
    item->queued = false;
    lane->n_items--;
    user->n_items--;
    queue->n_items--;
    if (lane->items)
        return;
    DL_DELETE(user->round, lane);
    lane->in_round = false;
    if (user->round)
        return;
    DL_DELETE(queue->round, user);
    user->in_round = false;
}

static void to_the_end(struct queue *queue, struct lane *lane)
{
    struct user *user = lane->user;

    if (lane->in_round) {
        DL_DELETE(user->round, lane);
        DL_APPEND(user->round, lane);
    }
    if (user->in_round) {
        DL_DELETE(queue->round, user);
        DL_APPEND(queue->round, user);
    }
}

/* The first of that user's that may go; NULL: none. */
static struct queue_item *next_of(const struct user *user,
                                  bool (*fits)(void *data, struct queue_item *item), void *data)
{
    struct lane *lane;

    DL_FOREACH(user->round, lane)
    {
        struct queue_item *item = lane->items;
        if (lane->failed && lane->n_running > 0)
            continue;
        while (item && !fits(data, item))
            item = item->yields ? item->next : NULL;
        if (item)
            return item;
    }
    return NULL;
}

struct queue_item *queue_pop(struct queue *queue, bool (*fits)(void *data, struct queue_item *item),
                             void *data)
{
    struct user *user;

    DL_FOREACH(queue->round, user)
    {
        struct queue_item *item = next_of(user, fits, data);
        if (!item)
            continue;
        queue_remove(item);
        to_the_end(queue, item->lane);
        return item;
    }
    return NULL;
}

struct queue_item *queue_first(const struct queue *queue)
{
    return queue->round ? queue->round->round->items : NULL;
}

struct queue_item *queue_next(const struct queue_item *item)
{
    const struct lane *lane = item->lane;

    if (item->next)
        return item->next;
    if (lane->next)
        return lane->next->items;
    return lane->user->next ? lane->user->next->round->items : NULL;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned queue_ahead(const struct queue *queue, const struct lane *lane)
{
    const struct lane *other;
    const struct user *user;
    unsigned ahead = lane->n_items;

    /* Before its turn number n + 1 each other has that many turns, where it has the items: first
     * among the lanes of the user, then among the users. */
    DL_FOREACH(lane->user->round, other)
    {
        if (other != lane)
            ahead += least(other->n_items, lane->n_items + 1);
    }
    const unsigned of_user = ahead;
    DL_FOREACH(queue->round, user)
    {
        if (user != lane->user)
            ahead += least(user->n_items, of_user + 1);
    }
    return ahead;
}

/* --- who gives way ---------------------------------------------------------------------------- */

static struct lane *longest_lane(const struct user *user)
{
    struct lane *longest = user->round, *lane;

    DL_FOREACH(user->round, lane)
    {
        if (lane->n_items > longest->n_items)
            longest = lane;
    }
    return longest;
}

struct queue_item *queue_gives_way(const struct queue *queue, const struct lane *lane)
{
    const struct user *most = queue->round, *user;

    DL_FOREACH(queue->round, user)
    {
        if (user->n_items > most->n_items)
            most = user;
    }
    if (!most)
        return NULL;
    const struct lane *longest = longest_lane(most);
    unsigned theirs = most == lane->user ? longest->n_items : most->n_items;
    unsigned ours = most == lane->user ? lane->n_items : lane->user->n_items;
    return theirs > ours + 1 ? longest->items->prev : NULL;
}

struct queue_item *lane_gives_way(const struct lane *lane)
{
    const struct lane *most = NULL, *other;

    if (lane->n_requests >= lane->queue->limits.requests_per_vm)
        return NULL; /* it has reached a limit of its own */
    DL_FOREACH(lane->user->round, other)
    {
        if (!most || other->n_requests > most->n_requests)
            most = other;
    }
    return most && most->n_requests > lane->n_requests + 1 ? most->items->prev : NULL;
}
