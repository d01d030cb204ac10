/* SPDX-License-Identifier: MIT */
/*
 * Slots. QGS has `slots` threads and cannot cancel, so at most that many exchanges are out,
 * counting those that nobody waits for any more. Three things take slots away:
 *
 * - Where QGS closed at its own timer without a byte (or never closed at all), its thread may still
 * be at work, or never come back: the slot is *suspect*, and carries nothing but a probe, until it
 * is proven that the thread is back. An answered probe alone proves nothing about it: any idle
 * thread can answer. But QGS serves in order of arrival. So where one exchange is answered while n
 * that were sent before it are out, those n have a thread each, and n + 1 are alive. With a probe
 * on the suspect slot and all others in use, that happens as soon as one overtakes all others. What
 * is never proven (a QGS whose every answer takes equally long) is cleared by a restart of QGS: a
 * refused connect, or a socket of another process, tells that the process with all its threads is
 * gone, and then no slot is suspect.
 * - After the start one slot is open, since requests of a cocod that was here before may still be
 * in QGS; each answer opens one more, and so does each second, since one thread that hangs must not
 * keep the others idle; some time (30 s: QGS has given them up) opens all.
 * - The breaker, which takes all of them: backend_probe.c.
 *
 * Always holds: exchanges + suspect slots not being probed ≤ slots. So QGS never has more quotes
 * than threads, also where threads never come back; beyond that at most one probe at a time. Where
 * a reload makes the slots fewer, nothing is sent until that is so again.
 */
#include "quotes/backend.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "quotes/backend_parts.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* Given to QGS beyond its own timer, which starts only when it accepts. */
#define GRACE_US (5u * 1000u * 1000u)
/* After the start, while nothing is answered, one slot more is opened each time. */
#define OPEN_EVERY_US (1u * 1000u * 1000u)

/* --- slots ------------------------------------------------------------------------------------ */

unsigned backend_used(const struct backend *backend)
{
    return backend->n_uses + backend->suspect -
           (backend->probing_suspect && backend->suspect > 0 ? 1 : 0);
}

bool backend_has_slot(const struct backend *backend)
{
    return !backend->retired && backend->breaker == BREAKER_CLOSED &&
           backend_used(backend) < backend->open;
}

bool backend_suspects_are_missed(const struct backend *backend)
{
    unsigned others = backend->n_uses - (backend->probing ? 1 : 0);

    return backend->suspect > 0 && others + backend->suspect >= backend->slots;
}

/* Answered: which threads does that prove alive, besides the one that answered? */
static void judge_suspects(struct backend *backend, const struct use *answered)
{
    const struct use *other;
    unsigned alive = 1;

    for (other = backend->uses; other != answered; other = other->next)
        alive += exchange_is_out(other->exchange);
    unsigned others = alive < backend->slots ? backend->slots - alive : 0;
    if (backend->suspect > others)
        backend->suspect = others;
}

void backend_open_slot(struct backend *backend)
{
    if (backend->open < backend->slots)
        backend->open++;
    if (backend->open == backend->slots)
        timer_disarm(&backend->open_next);
}

static void on_open_next(struct timer *timer)
{
    struct backend *backend = container_of(timer, struct backend, open_next);
    uint64_t now_us = sys.now_us();

    if (now_us >= backend->open_all_us)
        backend->open = backend->slots;
    timer_arm(timer, now_us + OPEN_EVERY_US);
    backend_open_slot(backend);
    backend->changed(backend->changed_data);
}

static bool is_another_process(const struct backend *backend, const struct exchange *exchange)
{
    pid_t pid = backend->suspect_pid > 0 ? exchange_server_pid(exchange) : 0;

    return pid > 0 && pid != backend->suspect_pid;
}

static void on_used(void *data, const struct exchange_result *result);

int backend_use_slot(struct backend *backend, const uint8_t *message, size_t size,
                     void (*done)(void *data, const struct exchange_result *result), void *data)
{
    struct use *use = sys.alloc(sizeof(*use));

    if (!use)
        return -ENOMEM;
    *use = (struct use){.backend = backend, .done = done, .data = data};
    int r = exchange_start(&backend->target, message, size, on_used, use, &use->exchange);
    if (r < 0) {
        sys.free(use);
        return r;
    }
    invariant(backend->n_uses < backend->slots);
    DL_APPEND(backend->uses, use);
    backend->n_uses++;
    if (backend->suspect > 0 && is_another_process(backend, use->exchange))
        backend->suspect = 0;
    return 0;
}

/* --- exchanges -------------------------------------------------------------------------------- */

bool backend_timed_out(const struct backend *backend, const struct exchange_result *result)
{
    if (!result->unanswered)
        return false;
    return result->outcome == EXCHANGE_SILENT || result->outcome == EXCHANGE_MEMORY ||
           (result->outcome == EXCHANGE_EOF && result->elapsed_us >= backend->late_us);
}

bool backend_closed_early(const struct backend *backend, const struct exchange_result *result)
{
    return (result->outcome == EXCHANGE_EOF || result->outcome == EXCHANGE_BROKEN) &&
           !backend_timed_out(backend, result);
}

bool backend_is_answer(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_ANSWERED || result->outcome == EXCHANGE_REFUSED;
}

/* Frees the slot first: `done` may start the next exchange. */
static void on_used(void *data, const struct exchange_result *result)
{
    struct use *use = data;
    struct backend *backend = use->backend;

    unsigned suspect = backend->suspect;
    if (suspect > 0 && backend_is_answer(result))
        judge_suspects(backend, use);
    DL_DELETE(backend->uses, use);
    backend->n_uses--;
    probe_learn(backend, use, result);
    if (backend->probe_wanted ||
        (backend->suspect > suspect && !backend->probing && !timer_armed(&backend->probe)))
        probe_now(backend);
    use->done(use->data, result);
    sys.free(use);
}

int backend_start(struct backend *backend, const uint8_t *message, size_t size,
                  void (*done)(void *data, const struct exchange_result *result), void *data)
{
    if (!backend_has_slot(backend))
        return -EBUSY;
    int r = backend_use_slot(backend, message, size, done, data);
    if (r == 0)
        probe_where_missed(backend);
    return r;
}

/* --- life ------------------------------------------------------------------------------------- */

static void name_target(struct exchange_target *target, const struct backend_options *options)
{
    if (options->kind == BACKEND_VSOCK)
        snprintf(target->name, sizeof(target->name), "vsock:%u:%u", options->cid, options->port);
    else
        snprintf(target->name, sizeof(target->name), "unix:%s", options->path);
}

static void set_address(struct backend *backend, const struct backend_options *options)
{
    struct exchange_target *target = &backend->target;

    name_target(target, options);
    if (options->kind == BACKEND_VSOCK) {
        target->address.vm.svm_family = AF_VSOCK;
        target->address.vm.svm_cid = options->cid;
        target->address.vm.svm_port = options->port;
        target->address_size = sizeof(target->address.vm);
    } else {
        target->address.un.sun_family = AF_UNIX;
        snprintf(target->address.un.sun_path, sizeof(target->address.un.sun_path), "%s",
                 options->path);
        target->address_size = sizeof(target->address.un);
    }
}

static int set_restart_file(struct backend *backend, const char *path)
{
    size_t size = path ? strlen(path) + 1 : 1;

    if (size == 1)
        return 0;
    backend->restart_file = sys.alloc(size);
    if (!backend->restart_file)
        return -ENOMEM;
    memcpy(backend->restart_file, path, size);
    return 0;
}

struct backend *backend_new(struct event_base *base, struct timers *timers,
                            const struct backend_options *options, void (*changed)(void *data),
                            void *data)
{
    struct backend *backend = sys.alloc(sizeof(*backend));

    if (!backend)
        return NULL;
    backend->target.base = base;
    backend->target.timers = timers;
    backend->target.give_up_us = options->qgs_timer_us + GRACE_US;
    backend->late_us = options->qgs_timer_us / 30u * 29u;
    backend->slots = options->slots;
    backend->open = options->slow_start_us > 0 ? 1 : options->slots;
    backend->made_us = sys.now_us();
    backend->open_all_us = backend->made_us + options->slow_start_us;
    backend->wait_us = options->wait_us;
    backend->changed = changed;
    backend->changed_data = data;
    set_address(backend, options);
    if (set_restart_file(backend, options->restart_file) < 0 ||
        timer_init(&backend->open_next, timers, on_open_next) < 0 ||
        timer_init(&backend->probe, timers, probe_due) < 0) {
        backend_free(backend);
        return NULL;
    }
    if (backend->open < backend->slots)
        timer_arm(&backend->open_next, backend->made_us + OPEN_EVERY_US);
    return backend;
}

void backend_free(struct backend *backend)
{
    struct use *use, *next;

    if (!backend)
        return;
    DL_FOREACH_SAFE(backend->uses, use, next)
    {
        exchange_free(use->exchange);
        sys.free(use);
    }
    timer_done(&backend->open_next);
    timer_done(&backend->probe);
    sys.free(backend->restart_file);
    sys.free(backend);
}

enum breaker backend_breaker(const struct backend *backend)
{
    return backend->retired ? BREAKER_OPEN : backend->breaker;
}

uint64_t backend_away_us(const struct backend *backend)
{
    return backend->away_us;
}

unsigned backend_returns(const struct backend *backend)
{
    return backend->returns;
}

/* --- reload ----------------------------------------------------------------------------------- */

static void set_slots(struct backend *backend, unsigned slots)
{
    if (backend->open == backend->slots || backend->open > slots)
        backend->open = slots; /* the start is over, or ends with that */
    backend->slots = slots;
    if (backend->open == slots)
        timer_disarm(&backend->open_next);
}

int backend_set_options(struct backend *backend, const struct backend_options *options)
{
    char *old = backend->restart_file;

    set_slots(backend, options->slots);
    backend->target.give_up_us = options->qgs_timer_us + GRACE_US;
    backend->late_us = options->qgs_timer_us / 30u * 29u;
    backend->wait_us = options->wait_us;
    if (backend->retired) {
        backend->retired = false;
        if (backend->suspect > 0 || backend->breaker != BREAKER_CLOSED)
            probe_now(backend);
        else
            backend_greet(backend);
    }
    backend->restart_file = NULL;
    int r = set_restart_file(backend, options->restart_file);
    if (r < 0)
        backend->restart_file = old;
    else
        sys.free(old);
    return r;
}

void backend_retire(struct backend *backend)
{
    backend->retired = true;
    backend->probe_wanted = false;
    timer_disarm(&backend->probe);
}

bool backend_retired(const struct backend *backend)
{
    return backend->retired;
}

bool backend_is(const struct backend *backend, const struct backend_options *options)
{
    struct exchange_target target;

    name_target(&target, options);
    return strcmp(target.name, backend->target.name) == 0;
}

unsigned backend_slots(const struct backend *backend)
{
    return backend->slots;
}

unsigned backend_busy(const struct backend *backend)
{
    return backend->n_uses;
}

const char *backend_name(const struct backend *backend)
{
    return backend->target.name;
}

void backend_get_status(const struct backend *backend, struct backend_status *ret)
{
    ret->name = backend->target.name;
    ret->slots = backend->slots;
    ret->slots_open = backend->open;
    ret->busy = backend->n_uses;
    ret->suspect = backend->suspect;
    ret->breaker = backend->breaker;
    ret->away_us = backend->away_us;
    ret->answered = backend->answered;
    ret->failed = backend->failed;
    ret->problem = backend->problem[0] && !backend->retired ? backend->problem : NULL;
}
