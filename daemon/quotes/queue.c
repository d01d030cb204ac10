/* SPDX-License-Identifier: MIT */
/*
 * Users stand in a ring, and the lanes of each user in a ring of its own. The user at the head
 * gives the oldest item of its first lane; then both go to the tail. So a user costs the others one
 * item a round, however many processes it has, and so does one of its lanes the other lanes.
 *
 * Most hypervisors run all their VMs under one uid, so there a lane is a process. Any other user is
 * one lane: it could make processes at will to be served more often.
 *
 * Room is shared in the same way: where there is none, the newest item of who has the most gives
 * way to one of somebody who has less.
 *
 * Users and lanes are parts of accounts (peer/account.h), which every job holds. A lane without
 * jobs forgets a failure after a minute, or with its account.
 *
 * Always holds: a lane is in its user's round, and a user in the queue's, exactly while it has
 * items; n_items is the sum over the lanes, of a user and of the queue.
 */
#include "quotes/queue.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "peer/account.h"
#include <utlist.h>

/* --- lanes ------------------------------------------------------------------------------------ */

static bool is_vmm_user(const struct queue *queue, uid_t uid)
{
    for (size_t i = 0; i < queue->limits.n_vmm_users; i++)
        if (queue->limits.vmm_users[i] == uid)
            return true;
    return false;
}

/* A peer without a uid is no process of this host but a VM itself. */
struct lane *queue_lane(struct queue *queue, struct account *account)
{
    struct account_user *of = account->user;
    bool is_vm = account->key.uid == (uid_t)-1 || is_vmm_user(queue, account->key.uid);

    if (!of->queue_user)
        of->queue_user = sys.alloc(sizeof(*of->queue_user));
    if (is_vm && !account->lane)
        account->lane = sys.alloc(sizeof(*account->lane));
    if (!of->queue_user || (is_vm && !account->lane))
        return NULL;
    struct lane *lane = is_vm ? account->lane : &of->queue_user->whole;
    if (!lane->queue) {
        lane->queue = queue;
        lane->user = of->queue_user;
        lane->serial = ++queue->serial;
    }
    if (lane->n_jobs == 0 && lane->forget_us <= sys.now_us()) {
        lane->failed = false;
        lane->n_closed = 0;
    }
    return lane;
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

/* --- items ------------------------------------------------------------------------------------ */

bool queue_has_room(const struct queue *queue)
{
    return queue->n_items < queue->limits.items;
}

/* Its lane enters the round of its user, and the user that of the queue: behind the others, or for
 * QUEUE_FIRST before them. */
void queue_push(struct queue_item *item, struct lane *lane, enum queue_place place)
{
    struct queue_user *user = lane->user;
    struct queue *queue = lane->queue;
    bool front = place == QUEUE_FIRST;

    if (front && lane->n_items > 0)
        DL_DELETE(user->round, lane);
    if (front && user->n_items > 0)
        DL_DELETE(queue->round, user);
    if (front) {
        DL_PREPEND(user->round, lane);
        DL_PREPEND(queue->round, user);
    } else {
        if (lane->n_items == 0)
            DL_APPEND(user->round, lane);
        if (user->n_items == 0)
            DL_APPEND(queue->round, user);
    }
    if (place == QUEUE_LAST)
        DL_APPEND(lane->items, item);
    else
        DL_PREPEND(lane->items, item);
    item->lane = lane;
    item->queued = true;
    lane->n_items++;
    user->n_items++;
    queue->n_items++;
}

void queue_remove(struct queue_item *item)
{
    struct lane *lane = item->lane;
    struct queue_user *user = lane->user;
    struct queue *queue = lane->queue;

    invariant(item->queued);
    DL_DELETE(lane->items, item);
    item->queued = false;
    lane->n_items--;
    user->n_items--;
    queue->n_items--;
    if (lane->n_items == 0)
        DL_DELETE(user->round, lane);
    if (user->n_items == 0)
        DL_DELETE(queue->round, user);
}

static void to_the_end(struct queue *queue, struct lane *lane)
{
    struct queue_user *user = lane->user;

    if (lane->n_items > 0) {
        DL_DELETE(user->round, lane);
        DL_APPEND(user->round, lane);
    }
    if (user->n_items > 0) {
        DL_DELETE(queue->round, user);
        DL_APPEND(queue->round, user);
    }
}

/* The first of that user's that may go; NULL: none. */
static struct queue_item *next_of(const struct queue_user *user,
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
    struct queue_user *user;

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
    const struct queue_user *user;
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

static struct lane *longest_lane(const struct queue_user *user)
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
    const struct queue_user *most = queue->round, *user;

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
