/* SPDX-License-Identifier: MIT */
/*
 * One thread for what may block: reading files, verifying chains. Work runs in the order in which
 * it was submitted; when it has run, the loop calls its `done`.
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
/* A worker that has work and finishes none for so long hangs. */
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
/* The work is the worker's until `done`. -EAGAIN: the queue is full, or there is no thread. */
int worker_submit(struct worker *worker, struct work *work);
/* Does it hang, in a file system or a name service that does not answer? False for NULL. */
bool worker_stalled(const struct worker *worker);
