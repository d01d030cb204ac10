/* SPDX-License-Identifier: MIT */
/*
 * One thread for what may block: reading files, verifying chains. Work runs in the order in which
 * it was submitted; its end is told on the loop.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

struct work {
    void (*run)(struct work *work);  /* on the worker; touches nothing but its own struct */
    void (*done)(struct work *work); /* on the loop, after run, also while stopping */
    struct work *next;
};

#define WORKER_QUEUE_MAX 64u
/* Work that nothing of was finished for so long is said to hang. */
#define WORKER_STALLED_US (10u * 1000000u)

struct timers;
struct worker;

/* Called on the loop when the worker begins to hang, and when it goes on. */
typedef void (*worker_hangs)(const char *what, bool hangs);

/* `what` it does: a static text. NULL: no descriptor or no memory. */
struct worker *worker_new(struct event_base *base, struct timers *timers, const char *what,
                          worker_hangs hangs);
/* Finishes what was submitted, then ends the thread. */
void worker_free(struct worker *worker);
/* -EAGAIN: the queue is full, or there is no thread. The work belongs to the worker until `done`.
 */
int worker_submit(struct worker *worker, struct work *work);
/* It hangs, in a file system or a name service that does not answer: what needs it waits, the loop
 * goes on. NULL: there is none. */
bool worker_stalled(const struct worker *worker);
