/* SPDX-License-Identifier: MIT */
/*
 * Each level is a list in the order of `used`, the time that each has had. The first has the next
 * turn; the time that it took moves it, and all above it, backwards. After a silence one comes in
 * at `now`, before all that had a turn meanwhile: silence saves nothing up, and a debt stays as
 * long as others wait. Where nobody waits, debts are forgotten and time is not measured.
 *
 * The work is one libevent event behind those of the last look at the sockets, so that each look
 * only finds out who waits. Little is done between two looks, so that a late one waits little.
 */
#include "peer/turn.h"
#include "base/invariant.h"
#include "base/sys.h"
#include <utlist.h>

/* Behind those who have used as much: they came first. */
static void insert(struct turn *above, struct turn *turn)
{
    struct turn *before = above->below ? above->below->prev : NULL; /* the last one */

    while (before && before->used > turn->used)
        before = before == above->below ? NULL : before->prev;
    DL_APPEND_ELEM(above->below, before, turn); /* NULL: in front of all */
}

void turn_charge(struct turn *turn, uint64_t us)
{
    for (; turn->above; turn = turn->above) {
        struct turn *above = turn->above;
        turn->used += us;
        if (turn->used > above->most)
            above->most = turn->used;
        if (turn->waits) {
            DL_DELETE(above->below, turn);
            insert(above, turn);
        } else if (!above->below) {
            above->now = above->most;
        }
    }
}

void turn_leave(struct turn *turn)
{
    for (; turn->above && turn->waits && !turn->below; turn = turn->above) {
        struct turn *above = turn->above;
        turn->waits = false;
        DL_DELETE(above->below, turn);
        if (!above->below)
            above->now = above->most;
    }
}

void turn_wait(struct turns *turns, struct turn *turn)
{
    bool first = !turns->top.below;

    for (; turn->above && !turn->waits; turn = turn->above) {
        turn->waits = true;
        if (turn->used < turn->above->now)
            turn->used = turn->above->now;
        insert(turn->above, turn);
    }
    if (first && !turns->running) {
        turns->behind = true;
        event_active(&turns->event, EV_READ, 1);
    }
}

static struct turn *next_turn(struct turns *turns)
{
    struct turn *turn = &turns->top;

    while (turn->below) {
        turn->now = turn->below->used;
        turn = turn->below;
    }
    return turn;
}

/* One piece, which costs at least a microsecond. Returns the time now; 0: nobody else waited, and
 * nobody looked at the clock. */
static uint64_t run_one(struct turns *turns, uint64_t now_us)
{
    struct turn *turn = next_turn(turns);
    struct turn *above = turn->above;

    turn->used++;
    if (turn->used > above->most)
        above->most = turn->used;
    turn_leave(turn);
    if (now_us == 0 && turns->top.below)
        now_us = sys.now_us();
    turn->run(turn);
    if (!turns->top.below && now_us == 0)
        return 0;
    uint64_t end_us = sys.now_us();
    uint64_t took_us = now_us != 0 && end_us > now_us ? end_us - now_us : 1;
    turn_charge(above, took_us < TURN_US_MAX ? took_us : TURN_US_MAX);
    return end_us;
}

static void on_turns(evutil_socket_t fd, short what, void *data)
{
    struct turns *turns = data;
    uint64_t now_us = 0, begin_us = 0;

    (void)fd;
    (void)what;
    if (!turns->behind) { /* once more round: behind what was found meanwhile */
        turns->behind = true;
        event_active(&turns->event, EV_READ, 1);
        return;
    }
    turns->running = true;
    for (unsigned i = 0; i < TURNS_PIECES && turns->top.below; i++) {
        now_us = run_one(turns, now_us);
        if (begin_us == 0)
            begin_us = now_us;
        else if (now_us - begin_us >= TURNS_US)
            break;
    }
    turns->running = false;
    if (turns->top.below) {
        turns->behind = false;
        event_active(&turns->event, EV_READ, 1);
        event_base_loopcontinue(turns->base);
    }
}

void turns_init(struct turns *turns, struct event_base *base)
{
    *turns = (struct turns){.base = base};
    int r = event_assign(&turns->event, base, -1, 0, on_turns, turns);
    invariant(r == 0);
}

void turns_done(struct turns *turns)
{
    invariant(!turns->top.below);
    event_del(&turns->event);
}

bool turns_idle(const struct turns *turns)
{
    return !turns->top.below && !turns->running &&
           event_base_get_num_events(turns->base, EVENT_BASE_COUNT_ACTIVE) == 0;
}
