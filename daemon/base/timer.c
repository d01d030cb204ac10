/* SPDX-License-Identifier: MIT */
/*
 * A binary heap of pointers to embedded timers; each knows its place in it. Behind the heap is one
 * timerfd, set to the heap's head and only ever moved earlier; when it comes too early, because the
 * head was disarmed or a test's clock stands still, it is set again. So arming and disarming,
 * several times a request, ask nothing of the kernel as long as an earlier timer is pending.
 *
 * Always holds: n ≤ registered ≤ capacity; heap[t->place - 1] == t for each armed timer t.
 */
#include "base/timer.h"
#include "base/invariant.h"
#include "base/sys.h"
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void place(struct timers *timers, size_t i, struct timer *timer)
{
    timers->heap[i] = timer;
    timer->place = i + 1;
}

static void sift_up(struct timers *timers, size_t i, struct timer *timer)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (timers->heap[parent]->at_us <= timer->at_us)
            break;
        place(timers, i, timers->heap[parent]);
        i = parent;
    }
    place(timers, i, timer);
}

static void sift_down(struct timers *timers, size_t i, struct timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= timers->n)
            break;
        if (child + 1 < timers->n && timers->heap[child + 1]->at_us < timers->heap[child]->at_us)
            child++;
        if (timer->at_us <= timers->heap[child]->at_us)
            break;
        place(timers, i, timers->heap[child]);
        i = child;
    }
    place(timers, i, timer);
}

static void set_event(struct timers *timers)
{
    uint64_t next = timers_next_us(timers);

    if (next >= timers->event_at_us)
        return;
    uint64_t now = sys.now_us();
    uint64_t wait_us = next > now ? next - now : 0;
    struct itimerspec spec = {.it_value.tv_sec = (time_t)(wait_us / 1000000u),
                              .it_value.tv_nsec = wait_us > 0 ? (long)(wait_us % 1000000u) * 1000
                                                              : 1}; /* 0 disarms */
    /* It can only fail on a descriptor that is none, or a time that is none. */
    int r = timerfd_settime(timers->fd, 0, &spec, NULL);
    invariant(r == 0);
    timers->event_at_us = next;
}

static void on_event(evutil_socket_t fd, short what, void *data)
{
    struct timers *timers = data;
    uint64_t expirations;
    ssize_t taken = read(fd, &expirations, sizeof(expirations));

    (void)what;
    (void)taken; /* nothing: it was set again since the loop looked */
    timers->event_at_us = UINT64_MAX;
    timers_run(timers);
}

int timers_init(struct timers *timers, struct event_base *base)
{
    memset(timers, 0, sizeof(*timers));
    timers->event_at_us = UINT64_MAX;
    timers->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timers->fd < 0)
        return -errno;
    if (event_assign(&timers->event, base, timers->fd, EV_READ | EV_PERSIST, on_event, timers) ==
            0 &&
        event_add(&timers->event, NULL) == 0)
        return 0;
    close(timers->fd);
    memset(timers, 0, sizeof(*timers));
    return -ENOMEM;
}

void timers_done(struct timers *timers)
{
    invariant(timers->n == 0 && timers->registered == 0);
    if (event_initialized(&timers->event)) {
        event_del(&timers->event);
        close(timers->fd);
    }
    sys.free(timers->heap);
    memset(timers, 0, sizeof(*timers));
}

uint64_t timers_next_us(const struct timers *timers)
{
    return timers->n > 0 ? timers->heap[0]->at_us : UINT64_MAX;
}

unsigned timers_run(struct timers *timers)
{
    uint64_t now = sys.now_us();
    unsigned fired = 0;

    /* Timers armed by those that fire now wait for the next run where they are due in the future;
     * one that re-arms itself for "now" would never let go, so a run is bounded by what was armed.
     */
    for (size_t limit = timers->n; limit > 0 && timers->n > 0; limit--) {
        struct timer *timer = timers->heap[0];
        if (timer->at_us > now)
            break;
        timer_disarm(timer);
        timer->fire(timer);
        fired++;
    }
    set_event(timers);
    return fired;
}

int timer_init(struct timer *timer, struct timers *timers, void (*fire)(struct timer *timer))
{
    if (timers->registered == timers->capacity) {
        size_t capacity = timers->capacity ? 2 * timers->capacity : 64;
        struct timer **heap = sys.alloc(capacity * sizeof(*heap));
        if (!heap)
            return -ENOMEM;
        if (timers->n > 0)
            memcpy(heap, timers->heap, timers->n * sizeof(*heap));
        sys.free(timers->heap);
        timers->heap = heap;
        timers->capacity = capacity;
    }
    timers->registered++;
    *timer = (struct timer){.timers = timers, .fire = fire};
    return 0;
}

void timer_done(struct timer *timer)
{
    if (!timer->timers)
        return;
    timer_disarm(timer);
    timer->timers->registered--;
    timer->timers = NULL;
}

void timer_disarm(struct timer *timer)
{
    struct timers *timers = timer->timers;

    if (timer->place == 0)
        return;
    size_t i = timer->place - 1;
    struct timer *last = timers->heap[--timers->n];
    timer->place = 0;
    if (last == timer)
        return;
    if (i > 0 && last->at_us < timers->heap[(i - 1) / 2]->at_us)
        sift_up(timers, i, last);
    else
        sift_down(timers, i, last);
}

void timer_arm(struct timer *timer, uint64_t at_us)
{
    struct timers *timers = timer->timers;

    timer_disarm(timer);
    invariant(timers->n < timers->registered);
    timer->at_us = at_us;
    timers->n++;
    sift_up(timers, timers->n - 1, timer);
    set_event(timers);
}
