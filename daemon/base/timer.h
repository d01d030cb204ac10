/* SPDX-License-Identifier: MIT */
/*
 * Timers: one heap behind one timerfd, by the clock of sys.h. Loop thread only.
 *
 * A timer is embedded in what it times. timer_init reserves its place in the heap and may fail;
 * arming and disarming never do.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stddef.h>
#include <stdint.h>

struct timers;

struct timer {
    struct timers *timers;
    void (*fire)(struct timer *timer);
    uint64_t at_us;
    size_t place; /* index in the heap + 1; 0: not armed */
};

struct timers {
    struct timer **heap;
    size_t n;          /* armed */
    size_t registered; /* initialised: the heap always has room for all of them */
    size_t capacity;
    int fd; /* timerfd */
    struct event event;
    uint64_t event_at_us; /* what it is set to; UINT64_MAX: it has fired, or never was set */
};

/* Negative errno: no descriptor or no memory. */
int timers_init(struct timers *timers, struct event_base *base);
void timers_done(struct timers *timers);
/* Fires what is due; returns how many. The loop calls it, and tests that move the clock. */
unsigned timers_run(struct timers *timers);
/* When the next one is due; UINT64_MAX: none. */
uint64_t timers_next_us(const struct timers *timers);

/* -ENOMEM, and then nothing is to be undone. */
int timer_init(struct timer *timer, struct timers *timers, void (*fire)(struct timer *timer));
/* Disarms and gives the place back; a timer that was never initialised (all zero) is fine. */
void timer_done(struct timer *timer);
/* Arms, or moves an armed one. */
void timer_arm(struct timer *timer, uint64_t at_us);
void timer_disarm(struct timer *timer);

static inline int timer_armed(const struct timer *timer)
{
    return timer->place != 0;
}
