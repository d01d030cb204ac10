/* SPDX-License-Identifier: MIT */
/*
 * Calls back when the host's clock is set. Loop thread only.
 */
#pragma once

#include <event2/event_struct.h>

struct clock_watch {
    struct event event;
    int fd; /* -1: there is none */
    void (*was_set)(void *data);
    void *data;
};

/* Negative errno: there will be no call, and nothing is to be undone. */
int clock_watch_init(struct clock_watch *watch, struct event_base *base,
                     void (*was_set)(void *data), void *data);
/* Also of one whose init failed. */
void clock_watch_done(struct clock_watch *watch);
