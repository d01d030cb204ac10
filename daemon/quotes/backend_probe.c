/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with QGS, and how that is found out: by the breaker and by probes.
 *
 * The breaker takes all slots away. A guest can make QGS fail (a TDREPORT with a wrong MAC), so
 * failures count only when three different VMs had them with no success between. A probe then
 * decides. Where connecting fails, or QGS closes more often in a row than it has threads to start,
 * whoever asked, a probe is sent at once and decides as well. Until it is back nothing else is
 * sent.
 *
 * `problem` is what is wrong with QGS itself, and a reason for the host to be degraded. What a VM
 * is charged with is none (doubt.c). It begins in set_problem and ends in clear_problem, and
 * whatever proves it wrong comes there: a quote, or the probe that it calls for until then.
 *
 * A probe is GET_PLATFORM_INFO: a whole request, never a mere connect (which can crash QGS), and
 * one that needs no PCCS; where it is quotes that are in doubt, doubt.c's question. It takes a
 * suspect slot where there is one, else a free one. It is sent when a slot becomes suspect,
 * repeated with pauses up to PROBE_PAUSE_MAX_US while the breaker is open or all slots are suspect,
 * and else sent when it can prove something: when every other slot is in use, which is also when
 * the suspect one is missed. A QGS that is away, as while it restarts, is tried more often for as
 * long as requests wait for it: a connect that fails costs nobody anything.
 */
#include "base/container_of.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/sys.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include "qgs_msg.h"
#include "quotes/backend_parts.h"
#include "quotes/restart.h"
#include <errno.h>
#include <stdio.h>

#define PROBE_PAUSE_MIN_US (1u * 1000u * 1000u)
#define PROBE_PAUSE_MAX_US (5u * 1000u * 1000u)
/* The same where it is away: the shortest, and the longest while requests wait for it. */
#define AWAY_PAUSE_MIN_US (100u * 1000u)
#define AWAY_PAUSE_MAX_US (400u * 1000u)
/* Between two questions of doubt.c while QGS refuses them, or a VM fails. */
#define QUESTION_PAUSE_US (60u * 1000u * 1000u)

const char *breaker_name(enum breaker breaker)
{
    static const char *const names[] = {"closed", "doubted", "open"};

    return names[breaker];
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void set_problem(struct backend *backend, const char *text)
{
    unsigned dropped = 0;

    snprintf(backend->problem, sizeof(backend->problem), "%s", text);
    if (log_limit_pass(&backend->complaints, sys.now_us(), 5, 60u * 1000000u, &dropped))
        event_emit(EVENT_QGS_FAILED, LOG_FIELDS(log_text("COCO_QGS", backend->target.name)),
                   "%s: %s%s", backend->target.name, text, dropped ? " (and more like it)" : "");
}

/* Where every reason ends. */
static void clear_problem(struct backend *backend)
{
    backend->problem[0] = 0;
    backend->connect_problem = backend->quotes_problem = false;
    backend->doubt_asked = backend->question_wanted = backend->question_closed = false;
    doubt_clear(&backend->doubt);
}

static void note_away(struct backend *backend)
{
    if (backend->away_us == 0)
        backend->away_us = backend->reached ? sys.now_us() : backend->made_us;
}

/* Told once, however often a request makes a probe try again meanwhile. */
static void set_breaker(struct backend *backend, enum breaker breaker)
{
    backend->breaker = breaker;
    backend->quotes_doubted &= breaker == BREAKER_DOUBTED;
    if (breaker == BREAKER_OPEN)
        note_away(backend);
    if (breaker == BREAKER_CLOSED) {
        backend->returns += backend->away_us != 0;
        backend->away_us = 0;
    }
    if (breaker == BREAKER_OPEN && !backend->told) {
        backend->told = true;
        metrics.qgs_breakers++;
        event_emit(EVENT_BREAKER_OPEN, LOG_FIELDS(log_text("COCO_QGS", backend->target.name)),
                   "%s is set aside until it answers: %s", backend->target.name, backend->problem);
    } else if (breaker == BREAKER_CLOSED && backend->told) {
        backend->told = false;
        event_emit(EVENT_BREAKER_CLOSED, LOG_FIELDS(log_text("COCO_QGS", backend->target.name)),
                   "%s answers again", backend->target.name);
    }
}

/* More often in a row than it has threads to start. */
static bool closes_whatever(const struct backend *backend)
{
    return backend->n_closes > backend->slots;
}

/* --- probes ----------------------------------------------------------------------------------- */

static bool is_unreached(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_UNREACHABLE || result->outcome == EXCHANGE_SATURATED;
}

static void probe_later(struct backend *backend)
{
    bool waited_for = sys.now_us() < backend->away_us + backend->wait_us;
    uint64_t min_us = backend->cheap_to_try ? AWAY_PAUSE_MIN_US : PROBE_PAUSE_MIN_US;
    uint64_t max_us = backend->cheap_to_try && waited_for ? AWAY_PAUSE_MAX_US : PROBE_PAUSE_MAX_US;

    if (backend->retired)
        return;
    if (backend->probe_pause_us < min_us)
        backend->probe_pause_us = min_us;
    if (backend->probe_pause_us > max_us)
        backend->probe_pause_us = max_us;
    timer_arm(&backend->probe, sys.now_us() + backend->probe_pause_us);
    backend->probe_pause_us *= 2;
}

void probe_where_missed(struct backend *backend)
{
    if (backend_suspects_are_missed(backend) && !backend->probing && !timer_armed(&backend->probe))
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

/* QGS is up, and makes no quotes. The breaker lets VMs try, and until one succeeds the question is
 * repeated, so that nobody has to. `proven`: it is certainly not the VMs. */
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
    backend->probe_pause_us = 0;
    backend->cheap_to_try = false;
    backend->n_closes = 0;
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
        if (quote || backend->connect_problem || (backend->problem[0] && !backend->quotes_problem))
            clear_problem(backend);
        set_breaker(backend, BREAKER_CLOSED);
    }
    if (backend->suspect > 0 && backend->suspect == backend->suspect_at_probe &&
        backend->probe_can_prove)
        timer_arm(&backend->probe, sys.now_us() + PROBE_PAUSE_MIN_US); /* and it did not */
    else
        probe_where_missed(backend);
}

/* The question of doubt.c has no quote for an answer. */
static void question_failed(struct backend *backend, const struct exchange_result *result)
{
    if (backend_timed_out(backend, result)) {
        if (backend->quotes_problem && backend->breaker == BREAKER_CLOSED)
            question_later(backend);
        else
            probe_now(backend); /* by GET_PLATFORM_INFO, which waits for nobody but QGS */
    } else if (backend_closed_early(backend, result)) {
        /* A thread had to start, or QGS is being restarted: it is asked again as quotes are. */
        backend->question_closed = closes_whatever(backend);
        backend->question_wanted = !backend->question_closed;
        probe_now(backend);
    } else {
        note_no_quotes(backend, true, refuses_everybody);
    }
}

static void probe_failed(struct backend *backend, const struct exchange_result *result)
{
    char text[384];

    backend->cheap_to_try = is_unreached(result) || backend_closed_early(backend, result);
    backend->tried_us = sys.now_us();
    if (backend_timed_out(backend, result)) {
        /* Something else was answered meanwhile: QGS is slow, not dead. */
        if (backend->successes != backend->successes_at_probe &&
            backend->breaker == BREAKER_CLOSED) {
            probe_later(backend);
            return;
        }
        snprintf(text, sizeof(text),
                 "QGS accepts but never answers: number_threads is missing in qgs.conf, or PCCS "
                 "hangs; restart qgsd");
        ask_for_restart(backend, text);
    } else if (result->outcome == EXCHANGE_REFUSED) {
        snprintf(text, sizeof(text),
                 "QGS cannot even say what platform it is on (error 0x%x): its enclave does not "
                 "load, see qgsd's journal",
                 result->code);
    } else {
        snprintf(text, sizeof(text), "%s", result->text);
    }
    set_problem(backend, text);
    backend->quotes_problem = backend->question_closed = false;
    backend->connect_problem = is_unreached(result);
    if (!backend->cheap_to_try && doubt_is_full(&backend->doubt))
        ask_for_restart(backend, text);
    set_breaker(backend, BREAKER_OPEN);
    probe_later(backend);
}

static void on_probe_done(void *data, const struct exchange_result *result)
{
    struct backend *backend = data;
    bool quote = backend->probing_quote;

    backend->probing = backend->probing_suspect = backend->probing_quote = false;
    /* A QGS older than DCAP 1.17 does not know GET_PLATFORM_INFO and closes: it is there. From one
     * that knows it, it is no answer: QGS is going, or a proxy stands in front of none. */
    bool closed = !quote && !backend->knows_probe && result->outcome == EXCHANGE_EOF &&
                  !backend_timed_out(backend, result);
    backend->knows_probe |= !quote && backend_is_answer(result);
    if (result->outcome == EXCHANGE_ANSWERED || closed) {
        probe_answered(backend, quote);
    } else if (result->outcome == EXCHANGE_MEMORY) {
        backend->doubt_asked &= !quote; /* it was not */
        probe_later(backend);
    } else if (quote && !is_unreached(result)) {
        question_failed(backend, result);
    } else {
        probe_failed(backend, result);
    }
    backend->changed(backend->changed_data);
}

/* Is it quotes that the next probe is about? Not before it is known that QGS is there at all. */
static bool asks_for_quote(const struct backend *backend)
{
    if (!backend->doubt.known || closes_whatever(backend))
        return false;
    if (backend->breaker == BREAKER_CLOSED)
        return backend->quotes_problem || backend->question_wanted;
    return backend->quotes_doubted && (backend->question_wanted || !backend->doubt_asked);
}

static int send_probe(struct backend *backend, bool quote)
{
    struct coco_qgs_platform_req req = {.minor = COCO_QGS_MINOR};
    uint8_t message[COCO_QGS_HEADER_SIZE];

    if (quote)
        return backend_use_slot(backend, backend->doubt.question, sizeof(backend->doubt.question),
                                on_probe_done, backend);
    int64_t n = coco_qgs_platform_req_encode(&req, message, sizeof(message));
    invariant(n == COCO_QGS_HEADER_SIZE);
    return backend_use_slot(backend, message, sizeof(message), on_probe_done, backend);
}

void probe_now(struct backend *backend)
{
    if (backend->probing || backend->retired)
        return;
    timer_disarm(&backend->probe);
    /* A suspect slot is one to probe on, but for those that a reload took away. */
    backend->probe_wanted = backend->n_uses >= backend->slots ||
                            (backend->suspect == 0 && backend_used(backend) >= backend->open);
    if (backend->probe_wanted)
        return;
    bool quote = asks_for_quote(backend);
    if (send_probe(backend, quote) < 0) {
        probe_later(backend);
        return;
    }
    metrics.qgs_probes++;
    backend->probing = true;
    backend->probing_quote = quote;
    if (quote) {
        backend->doubt_asked = true;
        backend->question_wanted = false;
        backend->next_question_us = sys.now_us() + QUESTION_PAUSE_US;
    }
    backend->probe_can_prove = backend_suspects_are_missed(backend);
    backend->suspect_at_probe = backend->suspect;
    backend->probing_suspect = backend->suspect > 0;
    backend->successes_at_probe = backend->successes;
}

void probe_due(struct timer *timer)
{
    struct backend *backend = container_of(timer, struct backend, probe);

    if (backend->breaker != BREAKER_CLOSED || backend->connect_problem || backend->quotes_problem ||
        backend_suspects_are_missed(backend))
        probe_now(backend);
}

void backend_greet(struct backend *backend)
{
    if (backend->breaker != BREAKER_CLOSED || backend->n_uses > 0)
        return;
    probe_now(backend);
    backend->greeting = backend->probing;
}

void backend_wake(struct backend *backend)
{
    uint64_t soon_us = backend->tried_us + AWAY_PAUSE_MIN_US;

    if (backend->breaker != BREAKER_OPEN || !backend->cheap_to_try || backend->probing)
        return;
    if (sys.now_us() < soon_us) {
        if (timer_armed(&backend->probe) && backend->probe.at_us > soon_us)
            timer_arm(&backend->probe, soon_us);
        return;
    }
    probe_now(backend);
    if (backend->probing)
        set_breaker(backend, BREAKER_DOUBTED);
}

void backend_look(struct backend *backend)
{
    if (backend->breaker == BREAKER_CLOSED)
        probe_now(backend);
}

/* --- what exchanges say ----------------------------------------------------------------------- */

static bool process_is_gone(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_UNREACHABLE &&
           (result->code == ENOENT || result->code == ECONNREFUSED);
}

/* Nothing more is sent until a probe has decided. */
static void hold_back(struct backend *backend, bool quotes_doubted)
{
    if (backend->breaker != BREAKER_CLOSED || backend->retired)
        return;
    backend->quotes_doubted = quotes_doubted;
    set_breaker(backend, BREAKER_DOUBTED);
    probe_now(backend);
}

void probe_learn(struct backend *backend, const struct use *use,
                 const struct exchange_result *result)
{
    bool probe = use->done == on_probe_done;
    bool closed = backend_closed_early(backend, result);

    if (closed && (!probe || backend->probing_quote))
        backend->n_closes++;
    if (backend_is_answer(result)) {
        backend->successes++;
        backend->n_closes = 0;
        if (!(probe && backend->greeting))
            backend_open_slot(backend);
    }
    if (probe)
        backend->greeting = false;
    if (!is_unreached(result) && result->outcome != EXCHANGE_MEMORY)
        backend->reached = true;
    if (process_is_gone(result)) {
        backend->suspect = 0;
        backend->probing_suspect = false;
        backend->quotes_problem = false;
        backend->knows_probe = false; /* another version may come */
        doubt_clear(&backend->doubt);
    }
    if (backend_timed_out(backend, result) &&
        !(probe && backend->probing_suspect && backend->suspect > 0)) {
        backend->suspect++;
        backend->suspect_pid = exchange_server_pid(use->exchange);
        metrics.qgs_suspects++;
    }
    if (probe)
        return;
    if (is_unreached(result)) {
        set_problem(backend, result->text);
        backend->connect_problem = true;
        backend->quotes_doubted = false;
        hold_back(backend, false);
    } else if (closed && closes_whatever(backend)) {
        hold_back(backend, false);
    }
}

void backend_note_success(struct backend *backend, const uint8_t *quote_req)
{
    backend->answered++;
    if (quote_req) {
        doubt_learn(&backend->doubt, quote_req);
        clear_problem(backend);
    } else if (!backend->quotes_problem) {
        clear_problem(backend);
    }
    set_breaker(backend, BREAKER_CLOSED);
}

void backend_note_failure(struct backend *backend, const struct doubt_vm *vm)
{
    backend->failed++;
    doubt_failed(&backend->doubt, vm);
    if (backend->breaker != BREAKER_CLOSED || backend->quotes_problem)
        return;
    if (doubt_is_full(&backend->doubt)) {
        backend->doubt_asked = vm->silent;
        hold_back(backend, true);
    } else if (backend->doubt.known && !vm->silent && sys.now_us() >= backend->next_question_us) {
        backend->question_wanted = true;
        probe_now(backend);
    }
}

bool backend_is_at_fault(const struct backend *backend)
{
    return backend->problem[0] != 0;
}
