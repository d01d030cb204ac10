/* SPDX-License-Identifier: MIT */
/*
 * cocod is degraded while there is a reason for it. Each look gathers the reasons, and compares
 * whether there are any with what was told last.
 *
 * Whatever makes a reason also emits an event, and a look follows each event, a little later, when
 * its cause is settled. Recovery may be silent: while degraded, a look comes once a minute.
 */
#include "observe/health.h"
#include "base/container_of.h"
#include "base/sys.h"
#include "observe/event.h"
#include <stdio.h>

#define SOON_US  1000000u
#define EVERY_US 60000000u

struct gathered {
    size_t n;
    char first[400];
};

static void note(void *data, const char *reason)
{
    struct gathered *gathered = data;

    if (gathered->n++ == 0)
        snprintf(gathered->first, sizeof(gathered->first), "%s", reason);
}

static struct gathered gather_all(const struct health *health)
{
    struct gathered gathered = {.n = 0};

    health->gather(health->from, note, &gathered);
    return gathered;
}

size_t health_count(const struct health *health)
{
    return gather_all(health).n;
}

static void on_look(struct timer *timer)
{
    struct health *health = container_of(timer, struct health, look);
    const struct gathered gathered = gather_all(health);

    if (gathered.n > 0)
        timer_arm(timer, sys.now_us() + EVERY_US);
    if (gathered.n > 0 && !health->degraded) {
        health->degraded = true;
        event_emit(EVENT_DEGRADED, LOG_FIELDS(log_number("COCO_REASONS", (int64_t)gathered.n)),
                   "degraded: %s%s", gathered.first,
                   gathered.n > 1 ? " (and more: see cococtl status)" : "");
    } else if (gathered.n == 0 && health->degraded) {
        health->degraded = false;
        event_emit(EVENT_HEALTHY, NULL, 0, "nothing needs the operator any more");
    }
}

void health_look_soon(struct health *health)
{
    uint64_t soon_us = sys.now_us() + SOON_US;

    if (!timer_armed(&health->look) || health->look.at_us > soon_us)
        timer_arm(&health->look, soon_us);
}

int health_init(struct health *health, struct timers *timers, health_gather *gather,
                const void *from)
{
    *health = (struct health){.gather = gather, .from = from};
    int r = timer_init(&health->look, timers, on_look);
    if (r == 0)
        health_look_soon(health);
    return r;
}

void health_done(struct health *health)
{
    timer_done(&health->look);
}
