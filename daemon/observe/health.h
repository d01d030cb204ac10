/* SPDX-License-Identifier: MIT */
/*
 * Health: whether something needs the operator. An event says when that begins and when it ends.
 */
#pragma once

#include "base/timer.h"
#include <stdbool.h>
#include <stddef.h>

/* Calls `each` for each thing that needs the operator: a sentence that says what to do. */
typedef void health_gather(const void *from, void (*each)(void *data, const char *reason),
                           void *data);

struct health {
    health_gather *gather;
    const void *from;
    struct timer look;
    bool degraded; /* as it was told last */
};

/* -ENOMEM. */
int health_init(struct health *health, struct timers *timers, health_gather *gather,
                const void *from);
void health_done(struct health *health);

/* How many things need the operator. */
size_t health_count(const struct health *health);

/* Looks within a second. */
void health_look_soon(struct health *health);
