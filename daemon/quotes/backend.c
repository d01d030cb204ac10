/* SPDX-License-Identifier: MIT */
/*
 * One QGS: the exchanges that are out, what is wrong with it, and the probes that find that out.
 *
 * The breaker takes all slots (slots.c) away. A guest can make QGS fail (a TDREPORT with a wrong
 * MAC), so failures count only when three different VMs had them with no success between. A probe
 * then decides, and nothing else is sent until it is back. So does one where connecting fails, or
 * where QGS closes more often in a row than it has threads to start.
 *
 * `problem` is what is wrong with QGS itself, and makes the host degraded. What a VM is charged
 * with does not (doubt.c). It begins in set_problem and ends in clear_problem, by a quote or by the
 * probe that it calls for until then.
 *
 * A probe is GET_PLATFORM_INFO: a whole request, since a mere connect can crash QGS, and one that
 * needs no PCCS; where quotes are in doubt, doubt.c's question. It takes a suspect slot where there
 * is one. It is sent when a slot becomes suspect, with pauses while the breaker is open or all
 * slots are suspect, and when every other slot is in use: then it can prove something, and the
 * suspect one is missed. A QGS that is away is tried more often while requests wait for it: a
 * connect that fails costs nothing.
 */
#include "quotes/backend.h"
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "qgs_msg.h"
#include "quotes/doubt.h"
#include "quotes/restart.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Between two questions of doubt.c while QGS refuses them, or a VM fails. */
#define QUESTION_PAUSE_US (60u * 1000u * 1000u)

struct backend {
    struct pool pool;
    const char *restart_file; /* as in the options */
    uint64_t wait_us;

    bool retired;   /* the configuration has it no more */
    bool announced; /* that the breaker is open */
    struct doubt doubt;
    bool quotes_doubted;       /* DOUBTED since VMs failed, not since it is away or closes */
    bool doubt_asked;          /* the question of this doubt was asked */
    bool question_wanted;      /* by the next probe */
    bool question_closed;      /* as often as threads may have to start: the next probe judges */
    uint64_t next_question_us; /* because of one VM: not before that */

    bool knows_probe;  /* it has answered GET_PLATFORM_INFO: closing is no answer any more */
    bool greeting;     /* nobody waits for the probe, so no slot opens by its answer */
    bool probe_wanted; /* as soon as there is a slot */
    struct timer probe;
    uint64_t tried_us;  /* when the last probe failed */
    uint64_t successes; /* answers of any kind */
    uint64_t successes_at_probe;

    uint64_t answered;
    uint64_t failed;
    struct why problem;   /* "": none */
    bool connect_problem; /* it is about connecting: a probe's answer ends it */
    bool quotes_problem;  /* it is that QGS makes no quotes: a quote ends it */
    struct log_limit complaints;
    void (*changed)(void *data);
    void *changed_data;
};

/* --- what is wrong ---------------------------------------------------------------------------- */

static void set_problem(struct backend *backend, const char *text)
{
    unsigned dropped = 0;

    (void)why_set(&backend->problem, 0, "%s", text);
    if (log_limit_pass(&backend->complaints, sys.now_us(), 5, 60u * 1000000u, &dropped))
        event_emit(EVENT_QGS_FAILED, LOG_FIELDS(log_text("COCO_QGS", backend_name(backend))),
                   "%s: %s%s", backend_name(backend), text, dropped ? " (and more like it)" : "");
}

/* Where every reason ends. */
static void clear_problem(struct backend *backend)
{
    backend->problem.text[0] = 0;
    backend->connect_problem = backend->quotes_problem = false;
    backend->doubt_asked = backend->question_wanted = backend->question_closed = false;
    backend->doubt.n = 0;
}

/* Announced once, however often a request makes a probe try again meanwhile. */
static void set_breaker(struct backend *backend, enum breaker breaker)
{
    slots_set_breaker(&backend->pool.slots, breaker, sys.now_us());
    backend->quotes_doubted &= breaker == BREAKER_DOUBTED;
    if (breaker == BREAKER_OPEN && !backend->announced) {
        backend->announced = true;
        metrics.qgs_breakers++;
        event_emit(EVENT_BREAKER_OPEN, LOG_FIELDS(log_text("COCO_QGS", backend_name(backend))),
                   "%s is set aside until it answers: %s", backend_name(backend),
                   backend->problem.text);
    } else if (breaker == BREAKER_CLOSED && backend->announced) {
        backend->announced = false;
        event_emit(EVENT_BREAKER_CLOSED, LOG_FIELDS(log_text("COCO_QGS", backend_name(backend))),
                   "%s answers again", backend_name(backend));
    }
}

/* --- probes ----------------------------------------------------------------------------------- */

static void probe_later(struct backend *backend)
{
    if (!backend->retired)
        timer_arm(&backend->probe,
                  slots_next_try_us(&backend->pool.slots, backend->wait_us, sys.now_us()));
}

/* Is it quotes that the next probe is about? Not before it is known that QGS is there at all. */
static bool asks_for_quote(const struct backend *backend)
{
    if (!backend->doubt.known || slots_close_on_everything(&backend->pool.slots))
        return false;
    if (backend->pool.slots.breaker == BREAKER_CLOSED)
        return backend->quotes_problem || backend->question_wanted;
    return backend->quotes_doubted && (backend->question_wanted || !backend->doubt_asked);
}

static int send_probe(struct backend *backend, bool quote)
{
    struct coco_qgs_platform_req req = {.minor = COCO_QGS_MINOR};
    uint8_t message[COCO_QGS_HEADER_SIZE];

    if (quote)
        return pool_start(&backend->pool, POOL_QUOTE_PROBE, backend->doubt.question,
                          sizeof(backend->doubt.question), NULL, NULL);
    int64_t n = coco_qgs_platform_req_encode(&req, message, sizeof(message));
    invariant(n == COCO_QGS_HEADER_SIZE);
    return pool_start(&backend->pool, POOL_PROBE, message, sizeof(message), NULL, NULL);
}

/* Now, or as soon as a slot is there. */
static void probe_now(struct backend *backend)
{
    bool quote = asks_for_quote(backend);

    if (backend->pool.slots.probing || backend->retired)
        return;
    timer_disarm(&backend->probe);
    backend->probe_wanted = !slots_any_for_probe(&backend->pool.slots);
    if (backend->probe_wanted)
        return;
    if (send_probe(backend, quote) < 0) {
        probe_later(backend);
        return;
    }
    metrics.qgs_probes++;
    if (quote) {
        backend->doubt_asked = true;
        backend->question_wanted = false;
        backend->next_question_us = sys.now_us() + QUESTION_PAUSE_US;
    }
    backend->successes_at_probe = backend->successes;
}

/* Where only suspect slots are left, and none is on its way yet. */
static void probe_where_missed(struct backend *backend)
{
    if (slots_suspects_are_missed(&backend->pool.slots) && !backend->pool.slots.probing &&
        !timer_armed(&backend->probe))
        probe_now(backend);
}

static void ask_for_restart(struct backend *backend, const char *why)
{
    if (backend->restart_file && !backend->retired)
        (void)restart_ask(backend->restart_file, why);
}

/* While QGS makes no quotes, it is asked each minute whether it does. */
static void question_later(struct backend *backend)
{
    if (backend->doubt.known && !backend->retired)
        timer_arm(&backend->probe, sys.now_us() + QUESTION_PAUSE_US);
}

static const char refuses_everybody[] =
    "QGS refuses everybody, also a TDREPORT that it has quoted before: its session is stale or "
    "PCCS is in trouble; restart qgsd, and see its journal";

/* QGS is up, and makes no quotes. VMs may try, and until one succeeds the question is repeated.
 * `proven`: it is certainly not the VMs. */
static void note_no_quotes(struct backend *backend, bool proven, const char *text)
{
    set_problem(backend, text);
    backend->connect_problem = backend->question_closed = false;
    backend->quotes_problem = true;
    if (proven && doubt_is_full(&backend->doubt))
        ask_for_restart(backend, text);
    set_breaker(backend, BREAKER_CLOSED);
    question_later(backend);
}

/* QGS answered GET_PLATFORM_INFO, which says nothing of quotes. False: the next probe does. */
static bool judge_quotes(struct backend *backend)
{
    if (backend->doubt.known && !backend->doubt_asked) {
        probe_now(backend);
        return false;
    }
    note_no_quotes(backend, doubt_is_proven(&backend->doubt),
                   "QGS is up but fails the quotes of several VMs, and has made none since: "
                   "usually PCCS cannot be reached or the platform is not registered, qgsd's "
                   "journal says which; once that is mended, restart qgsd");
    return true;
}

static void probe_answered(struct backend *backend, bool quote)
{
    backend->pool.slots.pause_us = 0;
    backend->pool.slots.cheap_to_try = false;
    backend->pool.slots.closes = 0;
    if (!quote && backend->question_closed) {
        note_no_quotes(backend, true, refuses_everybody);
    } else if (!quote && backend->quotes_doubted) {
        if (!judge_quotes(backend))
            return;
    } else if (!quote && backend->quotes_problem && backend->doubt.known) {
        set_breaker(backend, BREAKER_CLOSED); /* it is there; does it make quotes by now? */
        probe_now(backend);
        return;
    } else {
        /* One that is not about quotes was about a probe or a connect. */
        if (quote || backend->connect_problem ||
            (backend->problem.text[0] && !backend->quotes_problem))
            clear_problem(backend);
        set_breaker(backend, BREAKER_CLOSED);
    }
    if (slots_probe_proved_nothing(&backend->pool.slots))
        timer_arm(&backend->probe, sys.now_us() + SLOTS_PAUSE_MIN_US);
    else
        probe_where_missed(backend);
}

/* The question of doubt.c has no quote for an answer. */
static void question_failed(struct backend *backend, enum slots_end end)
{
    if (end == SLOTS_TIMED_OUT) {
        if (backend->quotes_problem && backend->pool.slots.breaker == BREAKER_CLOSED)
            question_later(backend);
        else
            probe_now(backend); /* by GET_PLATFORM_INFO, which waits for nobody but QGS */
    } else if (end == SLOTS_CLOSED) {
        /* A thread had to start, or QGS is being restarted: it is asked again as quotes are. */
        backend->question_closed = slots_close_on_everything(&backend->pool.slots);
        backend->question_wanted = !backend->question_closed;
        probe_now(backend);
    } else {
        note_no_quotes(backend, true, refuses_everybody);
    }
}

static void probe_failed(struct backend *backend, enum slots_end end,
                         const struct exchange_result *result)
{
    struct why why = result->why;

    backend->pool.slots.cheap_to_try = exchange_is_unreached(result) || end == SLOTS_CLOSED;
    backend->tried_us = sys.now_us();
    if (end == SLOTS_TIMED_OUT) {
        /* Something else was answered meanwhile: QGS is slow, not dead. */
        if (backend->successes != backend->successes_at_probe &&
            backend->pool.slots.breaker == BREAKER_CLOSED) {
            probe_later(backend);
            return;
        }
        (void)why_set(&why, 0,
                      "QGS accepts but never answers: number_threads is missing in qgs.conf, or "
                      "PCCS hangs; restart qgsd");
        ask_for_restart(backend, why.text);
    } else if (result->outcome == EXCHANGE_REFUSED) {
        (void)why_set(&why, 0,
                      "QGS cannot even say what platform it is on (error 0x%x): its enclave does "
                      "not load, see qgsd's journal",
                      result->code);
    }
    set_problem(backend, why.text);
    backend->quotes_problem = backend->question_closed = false;
    backend->connect_problem = exchange_is_unreached(result);
    if (!backend->pool.slots.cheap_to_try && doubt_is_full(&backend->doubt))
        ask_for_restart(backend, why.text);
    set_breaker(backend, BREAKER_OPEN);
    probe_later(backend);
}

static void probe_ended(struct backend *backend, bool quote, enum slots_end end,
                        const struct exchange_result *result)
{
    /* A QGS older than DCAP 1.17 does not know GET_PLATFORM_INFO and closes: it is there. One that
     * knows it and closes is going, or a proxy stands in front of none. */
    bool closed = !quote && !backend->knows_probe && result->outcome == EXCHANGE_EOF &&
                  end != SLOTS_TIMED_OUT;

    backend->knows_probe |= !quote && end == SLOTS_ANSWERED;
    if (result->outcome == EXCHANGE_ANSWERED || closed) {
        probe_answered(backend, quote);
    } else if (result->outcome == EXCHANGE_MEMORY) {
        backend->doubt_asked &= !quote; /* it was not */
        probe_later(backend);
    } else if (quote && !exchange_is_unreached(result)) {
        question_failed(backend, end);
    } else {
        probe_failed(backend, end, result);
    }
    backend->changed(backend->changed_data);
}

static void on_probe_due(struct timer *timer)
{
    struct backend *backend = container_of(timer, struct backend, probe);

    if (backend->pool.slots.breaker != BREAKER_CLOSED || backend->connect_problem ||
        backend->quotes_problem || slots_suspects_are_missed(&backend->pool.slots))
        probe_now(backend);
}

void backend_greet(struct backend *backend)
{
    if (backend->pool.slots.breaker != BREAKER_CLOSED || backend->pool.slots.busy > 0)
        return;
    probe_now(backend);
    backend->greeting = backend->pool.slots.probing;
}

void backend_wake(struct backend *backend)
{
    uint64_t soon_us = backend->tried_us + SLOTS_AWAY_PAUSE_MIN_US;

    if (backend->pool.slots.breaker != BREAKER_OPEN || !backend->pool.slots.cheap_to_try ||
        backend->pool.slots.probing)
        return;
    if (sys.now_us() < soon_us) {
        if (timer_armed(&backend->probe) && backend->probe.at_us > soon_us)
            timer_arm(&backend->probe, soon_us);
        return;
    }
    probe_now(backend);
    if (backend->pool.slots.probing)
        set_breaker(backend, BREAKER_DOUBTED);
}

void backend_look(struct backend *backend)
{
    if (backend->pool.slots.breaker == BREAKER_CLOSED)
        probe_now(backend);
}

/* --- what exchanges say ----------------------------------------------------------------------- */

/* Nothing more is sent until a probe has decided. */
static void hold_back(struct backend *backend)
{
    if (backend->pool.slots.breaker != BREAKER_CLOSED || backend->retired)
        return;
    set_breaker(backend, BREAKER_DOUBTED);
    probe_now(backend);
}

/* What every end of an exchange says about QGS, whoever is to blame for it. */
static void on_ended(void *data, enum pool_purpose purpose, enum slots_end end,
                     const struct exchange_result *result)
{
    struct backend *backend = data;
    bool probe = purpose != POOL_WORK;

    backend->successes += end == SLOTS_ANSWERED;
    if (end == SLOTS_ANSWERED && !(probe && backend->greeting))
        pool_open_one(&backend->pool);
    if (end == SLOTS_GONE) {
        backend->quotes_problem = false;
        backend->knows_probe = false; /* another version may come */
        backend->doubt.n = 0;
    }
    if (probe) {
        backend->greeting = false;
        probe_ended(backend, purpose == POOL_QUOTE_PROBE, end, result);
        return;
    }
    if (exchange_is_unreached(result)) {
        set_problem(backend, result->why.text);
        backend->connect_problem = true;
        backend->quotes_doubted = false;
        hold_back(backend);
    } else if (end == SLOTS_CLOSED && slots_close_on_everything(&backend->pool.slots)) {
        hold_back(backend);
    }
    if (backend->probe_wanted ||
        (end == SLOTS_TIMED_OUT && !backend->pool.slots.probing && !timer_armed(&backend->probe)))
        probe_now(backend);
}

int backend_start(struct backend *backend, const uint8_t *message, size_t size, pool_done *done,
                  void *data)
{
    if (!backend_has_slot(backend))
        return -EBUSY;
    int r = pool_start(&backend->pool, POOL_WORK, message, size, done, data);
    if (r == 0)
        probe_where_missed(backend);
    return r;
}

void backend_note_success(struct backend *backend, const uint8_t *quote_req)
{
    backend->answered++;
    if (quote_req)
        doubt_learn(&backend->doubt, quote_req);
    if (quote_req || !backend->quotes_problem)
        clear_problem(backend);
    set_breaker(backend, BREAKER_CLOSED);
}

void backend_note_failure(struct backend *backend, const struct doubt_vm *vm)
{
    backend->failed++;
    doubt_failed(&backend->doubt, vm);
    if (backend->pool.slots.breaker != BREAKER_CLOSED || backend->quotes_problem)
        return;
    if (doubt_is_full(&backend->doubt)) {
        backend->doubt_asked = vm->silent;
        backend->quotes_doubted = !backend->retired;
        hold_back(backend);
    } else if (backend->doubt.known && !vm->silent && sys.now_us() >= backend->next_question_us) {
        backend->question_wanted = true;
        probe_now(backend);
    }
}

const char *backend_problem(const struct backend *backend)
{
    return backend->problem.text[0] ? backend->problem.text : NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_target(struct exchange_target *target, const struct backend_options *options)
{
    if (options->kind == BACKEND_VSOCK)
        exchange_target_vsock(target, options->cid, options->port);
    else
        exchange_target_unix(target, options->path);
}

/* What a reload may change, but for the number of slots. */
static void take_options(struct backend *backend, const struct backend_options *options)
{
    exchange_target_set_timer(&backend->pool.target, options->qgs_timer_us);
    backend->wait_us = options->wait_us;
    backend->restart_file = options->restart_file;
}

static void on_opened(void *data)
{
    struct backend *backend = data;

    backend->changed(backend->changed_data);
}

struct backend *backend_new(struct event_base *base, struct timers *timers,
                            const struct backend_options *options, void (*changed)(void *data),
                            void *data)
{
    struct backend *backend = sys.alloc(sizeof(*backend));

    if (!backend)
        return NULL;
    backend->pool = (struct pool){.target = {.base = base, .timers = timers},
                                  .ended = on_ended,
                                  .opened = on_opened,
                                  .data = backend};
    set_target(&backend->pool.target, options);
    take_options(backend, options);
    backend->changed = changed;
    backend->changed_data = data;
    if (pool_init(&backend->pool, options->slots, options->slow_start_us) < 0 ||
        timer_init(&backend->probe, timers, on_probe_due) < 0) {
        backend_free(backend);
        return NULL;
    }
    return backend;
}

void backend_free(struct backend *backend)
{
    if (!backend)
        return;
    pool_done_all(&backend->pool);
    timer_done(&backend->probe);
    sys.free(backend);
}

bool backend_has_slot(const struct backend *backend)
{
    return !backend->retired && slots_any_free(&backend->pool.slots);
}

enum breaker backend_breaker(const struct backend *backend)
{
    return backend->retired ? BREAKER_OPEN : backend->pool.slots.breaker;
}

const struct slots *backend_slots(const struct backend *backend)
{
    return &backend->pool.slots;
}

/* --- reload ----------------------------------------------------------------------------------- */

void backend_set_options(struct backend *backend, const struct backend_options *options)
{
    pool_resize(&backend->pool, options->slots);
    take_options(backend, options);
    if (!backend->retired)
        return;
    backend->retired = false;
    if (backend->pool.slots.suspect > 0 || backend->pool.slots.breaker != BREAKER_CLOSED)
        probe_now(backend);
    else
        backend_greet(backend);
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

    set_target(&target, options);
    return strcmp(target.name, backend->pool.target.name) == 0;
}

const char *backend_name(const struct backend *backend)
{
    return backend->pool.target.name;
}

void backend_get_status(const struct backend *backend, struct backend_status *ret)
{
    const struct slots *slots = &backend->pool.slots;

    ret->name = backend_name(backend);
    ret->slots = slots->n;
    ret->slots_open = slots->open;
    ret->busy = slots->busy;
    ret->suspect = slots->suspect;
    ret->breaker = slots->breaker;
    ret->away_us = slots->away_us;
    ret->answered = backend->answered;
    ret->failed = backend->failed;
    ret->problem = backend->retired ? NULL : backend_problem(backend);
}
