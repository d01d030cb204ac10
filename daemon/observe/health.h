/* SPDX-License-Identifier: MIT */
/*
 * Health: what needs the operator, gathered from those who know, and told when it begins and ends.
 */
#pragma once

#include "base/timer.h"
#include <stdbool.h>
#include <stddef.h>

struct certs;
struct quotes;
struct worker;

struct health {
    const struct certs *certs;
    const struct quotes *quotes;
    const struct worker *worker;   /* may be NULL */
    const struct worker *reloader; /* may be NULL */
    const char *config_problem;    /* a configuration that was refused; NULL: none */
    const char *restart_problem; /* what was changed that counts at the next start; NULL: nothing */
    struct timer look;
    bool degraded; /* as it was told last */
};

/* -ENOMEM. */
int health_init(struct health *health, struct timers *timers, const struct certs *certs,
                const struct quotes *quotes, const struct worker *worker);
void health_done(struct health *health);

/* Each thing that needs the operator: a sentence that says what to do. */
void health_reasons(const struct health *health, void (*each)(void *data, const char *reason),
                    void *data);
/* How many there are. */
size_t health_count(const struct health *health);

/* Something happened that may have changed it: looks soon. */
void health_look_soon(struct health *health);
