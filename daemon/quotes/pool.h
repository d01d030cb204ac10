/* SPDX-License-Identifier: MIT */
/*
 * The exchanges that are out to one QGS, each on a slot. Loop thread only.
 */
#pragma once

#include "base/timer.h"
#include "quotes/exchange.h"
#include "quotes/slots.h"

/* What an exchange is for. */
enum pool_purpose {
    POOL_WORK,
    POOL_PROBE,       /* GET_PLATFORM_INFO */
    POOL_QUOTE_PROBE, /* doubt.c's question */
};

typedef void pool_done(void *data, const struct exchange_result *result);

struct pool {
    struct exchange_target target;
    struct slots slots;
    struct pool_use *uses;  /* the oldest first */
    struct timer open_next; /* slot, by time */
    /* An exchange has ended, and its slot is free again, or suspect. Comes before its `done`. */
    void (*ended)(void *data, enum pool_purpose purpose, enum slots_end end,
                  const struct exchange_result *result);
    void (*opened)(void *data); /* a slot, by time */
    void *data;
};

/* `target`, `ended`, `opened` and `data` are set already. -ENOMEM. */
int pool_init(struct pool *pool, unsigned slots, uint64_t slow_start_us);
/* Ends what still runs without telling. */
void pool_done_all(struct pool *pool);
void pool_resize(struct pool *pool, unsigned slots);
/* Somebody got an answer that he waited for. */
void pool_open_one(struct pool *pool);

/* Whether there is a slot is the caller's affair. `done` is called once, never from inside this
 * call; NULL: `ended` is enough. -ENOMEM. */
int pool_start(struct pool *pool, enum pool_purpose purpose, const uint8_t *message, size_t size,
               pool_done *done, void *data);
