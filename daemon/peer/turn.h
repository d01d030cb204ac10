/* SPDX-License-Identifier: MIT */
/*
 * Turns: who is served next. Whatever has work for cocod waits for a turn. The next turn goes to
 * the user who has had the least time; of that user, to the account; of that account, to the
 * connection. So a flood costs the others one turn a round, however many connections, processes or
 * users it comes from, and it is charged the time that it takes. Loop thread only.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

/* A place in the round, embedded in what takes part: zeroed, with `above` set, and at the bottom
 * `run`. Must not wait any more when it is freed; what is above outlives what is below. */
struct turn {
    struct turn *above; /* in whose share it takes part; NULL: the top */
    /* At the bottom: does one piece of the work, and calls turn_wait again where there is more. May
     * free its own turn. */
    void (*run)(struct turn *turn);
    struct turn *below;       /* those that wait, in the order of `used` */
    struct turn *prev, *next; /* of those that wait below `above` */
    uint64_t used;            /* time that it has had, microseconds, on the scale of `above->now` */
    uint64_t now;             /* `used` of the one below that had the last turn */
    uint64_t most;            /* the largest `used` below */
    bool waits;
};

struct turns {
    struct turn top;
    struct event_base *base;
    struct event event;
    bool behind; /* the event lies behind what the last look at the sockets has brought */
    bool running;
};

/* The whole of the work that is done between two looks at the sockets: pieces, and microseconds. */
#define TURNS_PIECES 8u
#define TURNS_US     8u
/* What one piece is charged at most, microseconds: a longer one was interrupted, by the scheduler
 * or a SIGSTOP. */
#define TURN_US_MAX 2000u

void turns_init(struct turns *turns, struct event_base *base);
/* Nobody waits any more. */
void turns_done(struct turns *turns);

/* Nobody waits, and the last look at the sockets has brought nothing but what is served right now:
 * that may as well be done at once. */
bool turns_idle(const struct turns *turns);

/* It has something to do; may be called again before its turn has come. */
void turn_wait(struct turns *turns, struct turn *turn);
/* It has not. */
void turn_leave(struct turn *turn);
/* `us` were spent for it. */
void turn_charge(struct turn *turn, uint64_t us);
