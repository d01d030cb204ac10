/* SPDX-License-Identifier: MIT */
/*
 * What is answered is decided when something changes, by `settle`, and not when somebody asks. The
 * reason is the first of these that holds:
 *
 *   DRAINED    an administrator drained cocod
 *   UPDATING   somebody has the write lock of the table file; or cocod has it, after an update
 *   STARTING   nothing was published yet
 *   DRAINING   a firmware update waits for leases to end
 *   READING    what is known of the platform is too old, or may not be what the chain is for
 *   UPDATING   an updater was there whom nobody announced
 *
 * A guest that is told EAGAIN asks again after exactly the time in which a reading grows old. So
 * a request that meets READING waits for it, and one that meets UPDATING where cocod itself has the
 * lock. None waits for what its own lease may stand in the way of. After each change a timer looks
 * at those who wait, some at a time.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "peer/request.h"
#include "snp_table.h"
#include "status.h"
#include <errno.h>
#include <sys/random.h>
#include <utlist.h>

/* Answered in one turn of the loop. */
#define WAKE_BATCH 64u

const char *certs_state_name(enum certs_state state)
{
    static const char *const names[] = {"serving", "draining", "updating"};

    return names[state];
}

/* --- those who read it ------------------------------------------------------------------------ */

#define WHY(id, name, why) [id] = (why),
static const char *const why_again[CERTS_REASONS] = {CERTS_REASON_TABLE_OF(WHY)};
#undef WHY

struct certs_answer certs_again(const struct certs *certs, enum certs_reason reason)
{
    return (struct certs_answer){.status = COCO_EAGAIN,
                                 .reason = reason,
                                 .generation = certs->gate.id,
                                 .why = why_again[reason]};
}

bool gate_is_open(const struct gate *gate)
{
    return !gate->drained && gate->state == CERTS_SERVING && gate->generation;
}

/* Is what stands in the way of an answer over by itself, and needs no lease to end? */
static bool is_soon_over(const struct gate *gate)
{
    return gate->offered && (gate->reason == CERTS_REASON_READING ||
                             (gate->reason == CERTS_REASON_UPDATING && gate->lock_is_ours));
}

struct certs_answer gate_answer(const struct certs *certs, uint64_t npages)
{
    const struct gate *gate = &certs->gate;
    struct certs_answer answer = {.generation = gate->id};

    if (!gate->offered) {
        answer.status = COCO_EOPNOTSUPP;
        answer.why = "certificates are not served on this host";
        return answer;
    }
    if (gate->reason != CERTS_REASON_NONE) {
        answer = certs_again(certs, gate->reason);
        answer.wait = is_soon_over(gate);
        return answer;
    }
    bool has_chain = generation_has_chain(gate->generation);
    if (!has_chain && certs->options.refuse_missing) {
        answer.status = COCO_EIO;
        answer.why = "there is no chain to serve, and missing_chain = refuse";
        return answer;
    }
    answer.npages = coco_npages(gate->generation->table->size);
    /* The empty table is never ENOSPC: a guest that offers no page is written nothing. */
    if (has_chain && npages < answer.npages) {
        answer.status = COCO_ENOSPC;
        answer.why = "the guest offered too few pages, and asks again with more";
        return answer;
    }
    answer.table = gate->generation->table;
    if (!has_chain) {
        answer.reason = gate->generation->reason;
        answer.why = "there is no chain to serve: it got the empty table";
    }
    return answer;
}

const struct chain_key *certs_generation_key(const struct certs *certs, uint64_t id)
{
    const struct gate *gate = &certs->gate;
    size_t i = id % CERTS_PAST;

    return gate->past[i].id == id && gate->past[i].has_chain ? &gate->past[i].key : NULL;
}

/* --- those who change it ---------------------------------------------------------------------- */

static enum certs_reason reason_of(const struct gate *gate)
{
    if (gate->drained)
        return CERTS_REASON_DRAINED;
    if (gate->state == CERTS_UPDATING)
        return CERTS_REASON_UPDATING;
    if (!gate->generation)
        return CERTS_REASON_STARTING;
    return gate->state == CERTS_DRAINING ? CERTS_REASON_DRAINING : gate->doubt;
}

/* After each change. `tell`: those who listen want to know. */
static void settle(struct gate *gate, bool tell)
{
    const enum certs_reason reason = reason_of(gate);

    if (reason != gate->reason)
        log_event(LOG_LEVEL_DEBUG, NULL, NULL, 0, "certificates: %s",
                  reason == CERTS_REASON_NONE ? "handed out" : why_again[reason]);
    gate->reason = reason;
    if (gate->waiting)
        timer_arm(&gate->wake, sys.now_us());
    if (tell && gate->changed)
        gate->changed(gate->data);
}

void gate_configure(struct certs *certs)
{
    certs->gate.offered = options_offer(&certs->options);
    settle(&certs->gate, false);
}

void gate_set_state(struct gate *gate, enum certs_state state, bool lock_is_ours)
{
    bool other = gate->state != state;

    if (other)
        log_event(LOG_LEVEL_INFO, "certs-state", NULL, 0, "certificates: %s",
                  certs_state_name(state));
    gate->state = state;
    gate->lock_is_ours = lock_is_ours;
    settle(gate, other);
}

void certs_set_drained(struct certs *certs, bool drained)
{
    bool other = certs->gate.drained != drained;

    certs->gate.drained = drained;
    settle(&certs->gate, other);
}

void gate_set_doubt(struct gate *gate, enum certs_reason doubt)
{
    gate->doubt = doubt;
    settle(gate, false);
}

void gate_replace(struct gate *gate, struct generation *generation)
{
    generation_unref(gate->generation);
    gate->generation = generation;
    settle(gate, false);
}

void gate_swap(struct gate *gate, struct generation *generation)
{
    size_t i = ++gate->id % CERTS_PAST;

    gate->past[i].id = gate->id;
    gate->past[i].has_chain = generation_has_chain(generation);
    if (gate->past[i].has_chain)
        gate->past[i].key = generation->found.chain->key;
    generation_unref(gate->generation);
    gate->generation = generation;
    settle(gate, gate->state == CERTS_SERVING);
}

/* --- those who wait for it to change ---------------------------------------------------------- */

/* Its time is over, or its asker has cancelled it or left. */
static void leave(struct request *request)
{
    struct gate *gate = request->holder;

    DL_DELETE2(gate->waiting, request, waiter_prev, waiter_next);
}

void certs_wait(struct certs *certs, struct request *request)
{
    struct gate *gate = &certs->gate;

    request_hold(request, leave, gate);
    DL_APPEND2(gate->waiting, request, waiter_prev, waiter_next);
}

/* They are the first in the row, and known by their trace: whoever comes from now on waits for the
 * next reading. */
void gate_unread(struct gate *gate)
{
    struct request *request;

    DL_FOREACH2(gate->waiting, request, waiter_next)
    {
        request->trace.why = why_again[CERTS_REASON_UNREAD];
    }
    settle(gate, false);
}

static void on_wake(struct timer *timer)
{
    struct gate *gate = container_of(timer, struct gate, wake);

    for (unsigned n = 0; gate->waiting && n < WAKE_BATCH; n++) {
        struct request *request = gate->waiting;
        bool unread = request->trace.why != NULL;
        if (!unread && is_soon_over(gate))
            return;
        leave(request);
        request_release(request);
        request_complete(request, unread ? COCO_EAGAIN : COCO_OK, NULL);
    }
    if (gate->waiting)
        timer_arm(&gate->wake, sys.now_us());
}

int gate_init(struct gate *gate, struct timers *timers)
{
    gate->state = CERTS_DRAINING; /* nothing to serve yet */
    gate->reason = reason_of(gate);
    if (getrandom(&gate->id, sizeof(gate->id), 0) < 0)
        return -errno;
    return timer_init(&gate->wake, timers, on_wake);
}

void gate_done(struct gate *gate)
{
    timer_done(&gate->wake);
    gate->generation = generation_unref(gate->generation);
}
