/* SPDX-License-Identifier: MIT */
/*
 * What tests of the broker share: a cocod on a virtual clock whose QGS the test plays, VMs that
 * ask, and answers.
 */
#pragma once

#include "world.h"

#define S  1000000u
#define MS 1000u

static struct world world;

static inline void broker_teardown(void)
{
    world.on_quote = NULL;
    if (world.cocod)
        world_close(&world);
}

/* Past the slow start. */
static inline void open_with(const char *text)
{
    char all[1024];

    snprintf(all, sizeof(all), "[quotes]\n%s", text);
    world_open(&world, all);
    memset(&metrics, 0, sizeof(metrics));
    world_pass(&world, 31 * S);
}

static inline struct world_client *vm(uid_t uid, int number)
{
    struct world_client *client = world_connect_as(&world, uid, (pid_t)number);

    ck_assert_ptr_nonnull(client);
    world_hello(&world, client, 0);
    ck_assert(client->established);
    return client;
}

static inline void ask(struct world_client *client, uint64_t seed, uint32_t timeout_ms)
{
    world_quote_get(client, seed, true, timeout_ms, COCO_QUOTE_MAX);
    world_send(&world, client, SIZE_MAX);
}

/* So many requests, with seeds from that on. */
static inline void ask_many(struct world_client *client, unsigned n, uint64_t seed,
                            uint32_t timeout_ms)
{
    for (unsigned i = 0; i < n; i++)
        ask(client, seed + i, timeout_ms);
}

/* The oldest with a whole quote request at that path; NULL: there is none. */
static inline struct world_exchange *oldest_at(const char *path)
{
    struct world_exchange *best = NULL;

    for (int i = 0; i < WORLD_EXCHANGES; i++) {
        struct world_exchange *exchange = &world.exchanges[i];
        if (world_qgs_request(&world, exchange) && (!path || strcmp(exchange->path, path) == 0) &&
            (!best || exchange->since_us < best->since_us))
            best = exchange;
    }
    return best;
}

static inline struct world_exchange *oldest(void)
{
    return oldest_at(NULL);
}

static inline unsigned count_at(const char *path)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_EXCHANGES; i++)
        n += world_qgs_request(&world, &world.exchanges[i]) &&
             (!path || strcmp(world.exchanges[i].path, path) == 0);
    return n;
}

static inline unsigned at_qgs(void)
{
    return count_at(NULL);
}

static inline void answer(enum world_answer how)
{
    struct world_exchange *exchange = oldest();

    ck_assert_ptr_nonnull(exchange);
    ck_assert(world_qgs_answer(&world, exchange, how));
    world_pass(&world, 0);
}

static inline struct backend_status backend(size_t i)
{
    struct backend_status status;

    quotes_get_backend_status(world.cocod->quotes, i, &status);
    return status;
}

static inline void answers(unsigned n, enum world_answer how)
{
    while (n-- > 0)
        answer(how);
}

static inline void answer_all(void)
{
    while (oldest())
        answer(WORLD_QUOTE);
}

/* A cocod past the slow start, and its first VM. */
static inline struct world_client *open_vm(const char *text)
{
    open_with(text);
    return vm(0, 1);
}

static inline struct quotes_status quotes_now(void)
{
    struct quotes_status status;

    quotes_get_status(world.cocod->quotes, &status);
    return status;
}
