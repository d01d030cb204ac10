/* SPDX-License-Identifier: MIT */
/*
 * Connections, the timer that opens slots, and what the end of an exchange says about the thread
 * that had it. slots.c counts them.
 */
#include "quotes/pool.h"
#include "base/container_of.h"
#include "base/sys.h"
#include "observe/counters.h"
#include <errno.h>
#include <utlist.h>

struct pool_use {
    struct pool *pool;
    struct exchange *exchange;
    enum pool_purpose purpose;
    pool_done *done;
    void *data;
    struct pool_use *prev, *next;
};

/* The timer stands where the next slot opens. */
static void set_open_next(struct pool *pool)
{
    if (pool->slots.open_next_us == UINT64_MAX)
        timer_disarm(&pool->open_next);
    else
        timer_arm(&pool->open_next, pool->slots.open_next_us);
}

static void on_open_next(struct timer *timer)
{
    struct pool *pool = container_of(timer, struct pool, open_next);

    slots_tick(&pool->slots, sys.now_us());
    set_open_next(pool);
    pool->opened(pool->data);
}

int pool_init(struct pool *pool, unsigned slots, uint64_t slow_start_us)
{
    int r = timer_init(&pool->open_next, pool->target.timers, on_open_next);

    slots_init(&pool->slots, slots, slow_start_us, sys.now_us());
    if (r == 0)
        set_open_next(pool);
    return r;
}

void pool_done_all(struct pool *pool)
{
    struct pool_use *use, *next;

    DL_FOREACH_SAFE(pool->uses, use, next)
    {
        exchange_free(use->exchange);
        sys.free(use);
    }
    timer_done(&pool->open_next);
}

void pool_resize(struct pool *pool, unsigned slots)
{
    slots_resize(&pool->slots, slots);
    set_open_next(pool);
}

void pool_open_one(struct pool *pool)
{
    slots_open_one(&pool->slots);
    set_open_next(pool);
}

static enum slots_end end_of(const struct exchange_result *result)
{
    if (exchange_is_answer(result))
        return SLOTS_ANSWERED;
    if (result->timed_out)
        return SLOTS_TIMED_OUT;
    if (exchange_closed_early(result))
        return SLOTS_CLOSED;
    if (result->outcome == EXCHANGE_UNREACHABLE &&
        (result->code == ENOENT || result->code == ECONNREFUSED))
        return SLOTS_GONE;
    return exchange_is_unreached(result) || result->outcome == EXCHANGE_MEMORY ? SLOTS_UNTRIED
                                                                               : SLOTS_OTHER;
}

/* How many that were sent before it are still out? */
static unsigned count_older(const struct pool_use *use)
{
    const struct pool_use *other;
    unsigned older = 0;

    for (other = use->pool->uses; other != use; other = other->next)
        older += exchange_is_out(other->exchange);
    return older;
}

/* Frees the slot first: `ended` and `done` may start the next exchange. */
static void on_done(void *data, const struct exchange_result *result)
{
    struct pool_use *use = data;
    struct pool *pool = use->pool;
    enum slots_end end = end_of(result);
    unsigned suspect = pool->slots.suspect;
    struct slots_back back = {.end = end,
                              .probe = use->purpose != POOL_WORK,
                              .platform = use->purpose == POOL_PROBE};

    if (end == SLOTS_ANSWERED && suspect > 0)
        back.older = count_older(use);
    if (end == SLOTS_TIMED_OUT)
        back.pid = exchange_server_pid(use->exchange);
    DL_DELETE(pool->uses, use);
    slots_give_back(&pool->slots, &back);
    metrics.qgs_suspects += pool->slots.suspect > suspect;
    pool->ended(pool->data, use->purpose, end, result);
    if (use->done)
        use->done(use->data, result);
    sys.free(use);
}

int pool_start(struct pool *pool, enum pool_purpose purpose, const uint8_t *message, size_t size,
               pool_done *done, void *data)
{
    struct pool_use *use = sys.alloc(sizeof(*use));
    pid_t pid = 0;

    if (!use)
        return -ENOMEM;
    *use = (struct pool_use){.pool = pool, .purpose = purpose, .done = done, .data = data};
    int r = exchange_start(&pool->target, message, size, on_done, use, &use->exchange);
    if (r < 0) {
        sys.free(use);
        return r;
    }
    DL_APPEND(pool->uses, use);
    if (pool->slots.suspect > 0)
        pid = exchange_server_pid(use->exchange);
    slots_take(&pool->slots, purpose != POOL_WORK, pid);
    return 0;
}
