/* SPDX-License-Identifier: MIT */
/*
 * Slots. QGS has `slots` threads and cannot cancel, so at most that many exchanges are out,
 * counting those that nobody waits for any more. Three things take slots away:
 *
 * - Where QGS closed at its own timer without a byte (or never closed at all), its thread may still
 * be at work, or never come back: the slot is *suspect*, and carries nothing but a probe, until it is
 * proven that the thread is back. An answered probe alone proves nothing about it: any idle thread
 * can answer. But QGS serves in order of arrival. So where one exchange is answered while n that
 * were sent before it are out, those n have a thread each, and n + 1 are alive. With a probe on the
 * suspect slot and all others in use, that happens as soon as one overtakes all others. What is
 * never proven (a QGS whose every answer takes equally long) is cleared by a restart of QGS.
 * - After the start one slot is open, since requests of a cocod that was here before may still be
 * in QGS; each answer opens one more, and some time (30 s: QGS has given them up) opens all.
 * - The breaker. A guest can make QGS fail (a TDREPORT with a wrong MAC), so failures count only
 * when three different VMs had them with no success between. A probe then decides. Where connecting
 * fails, a probe is sent at once and decides as well.
 *
 * `problem` is what is wrong with QGS itself, and a reason for the host to be degraded. What a VM is
 * charged with is none (doubt.c). It begins in set_problem and ends in clear_problem, and whatever
 * proves it wrong comes there: a quote, or the probe that it calls for until then.
 *
 * A probe is GET_PLATFORM_INFO: a whole request, never a mere connect (which can crash QGS), and
 * one that needs no PCCS; where it is quotes that are in doubt, doubt.c's question. It takes a suspect slot where there is one, else a free one. It is sent
 * when a slot becomes suspect, repeated with pauses up to PROBE_PAUSE_MAX_US while the breaker is
 * open or all slots are suspect, and else sent when it can prove something: when every other slot is
 * in use, which is also when the suspect one is missed. A refused connect, or a socket of another
 * process, tells that the process with all its threads is gone: then no slot is suspect.
 *
 * Always holds: exchanges + suspect slots not being probed ≤ slots. So QGS never has more quotes
 * than threads, also where threads never come back; beyond that at most one probe at a time. Where a
 * reload makes the slots fewer, nothing is sent until that is so again.
 */
#include "quotes/backend.h"
#include "event.h"
#include "invariant.h"
#include "log.h"
#include "metrics.h"
#include "qgs_msg.h"
#include "quotes/doubt.h"
#include "quotes/restart.h"
#include "sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* Given to QGS beyond its own timer, which starts only when it accepts. */
#define GRACE_US           (5u * 1000u * 1000u)
#define PROBE_PAUSE_MIN_US (1u * 1000u * 1000u)
#define PROBE_PAUSE_MAX_US (5u * 1000u * 1000u)
/* Between two questions of doubt.c while QGS refuses them, or a VM fails. */
#define QUESTION_PAUSE_US (60u * 1000u * 1000u)

/* One exchange out. */
struct use {
    struct backend *backend;
    struct exchange *exchange;
    void (*done)(void *data, const struct exchange_result *result);
    void *data;
    struct use *prev, *next;
};

struct backend {
    struct exchange_target target;
    char *restart_file; /* NULL: none */
    unsigned slots;
    unsigned open;     /* slots opened since the start */
    unsigned suspect;  /* of them */
    pid_t suspect_pid; /* whose threads those are; 0: not known */
    uint64_t late_us;  /* a byteless end from here on is QGS's timer */
    struct use *uses;  /* the probe included */
    unsigned n_uses;
    struct timer open_all;

    bool retired; /* the configuration has it no more */
    enum breaker breaker;
    bool told; /* that it is open */
    struct doubt doubt;
    bool doubt_asked;          /* its question was asked in this doubt */
    bool question_wanted;      /* the next probe asks it */
    uint64_t next_question_us; /* not before that because of one VM */

    bool probing;
    bool probing_quote;   /* and by doubt.c's question */
    bool greeting;        /* and nobody needs it: slots open by answers that somebody waited for */
    bool probing_suspect; /* and on a suspect slot */
    bool probe_can_prove; /* all other slots were in use when it was sent */
    unsigned suspect_at_probe;
    bool probe_wanted; /* as soon as there is a slot */
    uint64_t probe_pause_us;
    struct timer probe;
    uint64_t successes; /* answers of any kind: what a silent probe is held against */
    uint64_t successes_at_probe;

    uint64_t answered;
    uint64_t failed;
    char problem[384];
    bool connect_problem; /* `problem` is about connecting: over once a probe is answered */
    bool quotes_problem;  /* ... that QGS makes no quotes: over once it has made one */
    struct log_limit complaints;
    void (*changed)(void *data);
    void *changed_data;
};

const char *breaker_name(enum breaker breaker)
{
    static const char *const names[] = {"closed", "doubted", "open"};

    return names[breaker];
}

/* --- slots ------------------------------------------------------------------------------------ */

static unsigned used(const struct backend *backend)
{
    return backend->n_uses + backend->suspect -
           (backend->probing_suspect && backend->suspect > 0 ? 1 : 0);
}

bool backend_has_slot(const struct backend *backend)
{
    return !backend->retired && backend->breaker == BREAKER_CLOSED && used(backend) < backend->open;
}

/* No slot is free but suspect ones. */
static bool suspects_are_missed(const struct backend *backend)
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

static void open_slot(struct backend *backend)
{
    if (backend->open < backend->slots)
        backend->open++;
    if (backend->open == backend->slots)
        timer_disarm(&backend->open_all);
}

static void on_open_all(struct timer *timer)
{
    struct backend *backend =
        (struct backend *)((char *)timer - offsetof(struct backend, open_all));

    backend->open = backend->slots;
    backend->changed(backend->changed_data);
}

static bool is_another_process(const struct backend *backend, const struct exchange *exchange)
{
    pid_t pid = backend->suspect_pid > 0 ? exchange_server_pid(exchange) : 0;

    return pid > 0 && pid != backend->suspect_pid;
}

static void on_used(void *data, const struct exchange_result *result);

/* Takes the slot; whether there is one is the caller's affair. */
static int use_slot(struct backend *backend, const uint8_t *message, size_t size,
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
    backend->doubt_asked = backend->question_wanted = false;
    doubt_clear(&backend->doubt);
}

/* Told once, however often a request makes a probe try again meanwhile. */
static void set_breaker(struct backend *backend, enum breaker breaker)
{
    backend->breaker = breaker;
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

bool backend_timed_out(const struct backend *backend, const struct exchange_result *result)
{
    if (!result->unanswered)
        return false;
    return result->outcome == EXCHANGE_SILENT || result->outcome == EXCHANGE_MEMORY ||
           (result->outcome == EXCHANGE_EOF && result->elapsed_us >= backend->late_us);
}

/* --- probes ----------------------------------------------------------------------------------- */

static void probe_now(struct backend *backend);

static bool is_unreached(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_UNREACHABLE || result->outcome == EXCHANGE_SATURATED;
}

static void probe_later(struct backend *backend)
{
    if (backend->retired)
        return;
    timer_arm(&backend->probe, sys.now_us() + backend->probe_pause_us);
    backend->probe_pause_us *= 2;
    if (backend->probe_pause_us > PROBE_PAUSE_MAX_US)
        backend->probe_pause_us = PROBE_PAUSE_MAX_US;
}

static void probe_where_missed(struct backend *backend)
{
    if (suspects_are_missed(backend) && !backend->probing && !timer_armed(&backend->probe))
        probe_now(backend);
}

static void ask_for_restart(struct backend *backend, const char *why)
{
    if (backend->restart_file && !backend->retired)
        (void)restart_ask(backend->restart_file, why);
}

/* QGS is up, and makes no quotes. The breaker lets VMs try, and until one succeeds the question is
 * repeated, so that nobody has to. `proven`: it is certainly not the VMs. */
static void note_no_quotes(struct backend *backend, bool proven, const char *text)
{
    set_problem(backend, text);
    backend->connect_problem = false;
    backend->quotes_problem = true;
    if (proven && doubt_is_full(&backend->doubt))
        ask_for_restart(backend, text);
    set_breaker(backend, BREAKER_CLOSED);
    if (backend->doubt.known && !backend->retired)
        timer_arm(&backend->probe, sys.now_us() + QUESTION_PAUSE_US);
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
    bool doubted = backend->breaker == BREAKER_DOUBTED && !backend->connect_problem;

    backend->probe_pause_us = PROBE_PAUSE_MIN_US;
    if (!quote && doubted) {
        if (!judge_quotes(backend))
            return;
    } else {
        if (quote || backend->breaker == BREAKER_OPEN || backend->connect_problem)
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
        if (backend->quotes_problem)
            timer_arm(&backend->probe, sys.now_us() + QUESTION_PAUSE_US);
        else
            probe_now(backend); /* by GET_PLATFORM_INFO, which waits for nobody but QGS */
        return;
    }
    note_no_quotes(backend, true,
                   "QGS refuses everybody, also a TDREPORT that it has quoted before: its session "
                   "is stale or PCCS is in trouble; restart qgsd, and see its journal");
}

static void probe_failed(struct backend *backend, const struct exchange_result *result)
{
    char text[384];

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
    backend->quotes_problem = false;
    backend->connect_problem = is_unreached(result);
    if (!backend->connect_problem && doubt_is_full(&backend->doubt))
        ask_for_restart(backend, text);
    set_breaker(backend, BREAKER_OPEN);
    probe_later(backend);
}

static void on_probe_done(void *data, const struct exchange_result *result)
{
    struct backend *backend = data;
    bool quote = backend->probing_quote;

    backend->probing = backend->probing_suspect = backend->probing_quote = false;
    /* A QGS older than DCAP 1.17 does not know GET_PLATFORM_INFO and closes: it is there. */
    bool closed = !quote && result->outcome == EXCHANGE_EOF && !backend_timed_out(backend, result);
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

/* Is it quotes that the next probe is about? */
static bool asks_for_quote(const struct backend *backend)
{
    bool doubted = backend->breaker == BREAKER_DOUBTED && !backend->connect_problem;

    return backend->doubt.known && backend->breaker != BREAKER_OPEN &&
           (backend->quotes_problem || backend->question_wanted ||
            (doubted && !backend->doubt_asked));
}

static int send_probe(struct backend *backend, bool quote)
{
    struct coco_qgs_platform_req req = {.minor = COCO_QGS_MINOR};
    uint8_t message[COCO_QGS_HEADER_SIZE];

    if (quote)
        return use_slot(backend, backend->doubt.question, sizeof(backend->doubt.question),
                        on_probe_done, backend);
    int64_t n = coco_qgs_platform_req_encode(&req, message, sizeof(message));
    invariant(n == COCO_QGS_HEADER_SIZE);
    return use_slot(backend, message, sizeof(message), on_probe_done, backend);
}

/* Now, or as soon as a slot is there. */
static void probe_now(struct backend *backend)
{
    if (backend->probing || backend->retired)
        return;
    timer_disarm(&backend->probe);
    /* A suspect slot is one to probe on, but for those that a reload took away. */
    backend->probe_wanted = backend->n_uses >= backend->slots ||
                            (backend->suspect == 0 && used(backend) >= backend->open);
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
    backend->probe_can_prove = suspects_are_missed(backend);
    backend->suspect_at_probe = backend->suspect;
    backend->probing_suspect = backend->suspect > 0;
    backend->successes_at_probe = backend->successes;
}

static void on_probe_due(struct timer *timer)
{
    struct backend *backend = (struct backend *)((char *)timer - offsetof(struct backend, probe));

    if (backend->breaker != BREAKER_CLOSED || backend->connect_problem || backend->quotes_problem ||
        suspects_are_missed(backend))
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
    if (backend->breaker != BREAKER_OPEN || !backend->connect_problem || backend->probing)
        return;
    probe_now(backend);
    if (backend->probing)
        set_breaker(backend, BREAKER_DOUBTED);
}

/* --- exchanges -------------------------------------------------------------------------------- */

static bool is_answer(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_ANSWERED || result->outcome == EXCHANGE_REFUSED;
}

static bool process_is_gone(const struct exchange_result *result)
{
    return result->outcome == EXCHANGE_UNREACHABLE &&
           (result->code == ENOENT || result->code == ECONNREFUSED);
}

/* What every end of an exchange says about QGS, whoever is to blame for it. */
static void learn(struct backend *backend, const struct use *use,
                  const struct exchange_result *result)
{
    bool probe = use->done == on_probe_done;

    if (is_answer(result)) {
        backend->successes++;
        if (!(probe && backend->greeting))
            open_slot(backend);
    }
    if (probe)
        backend->greeting = false;
    if (process_is_gone(result)) {
        backend->suspect = 0;
        backend->probing_suspect = false;
        backend->quotes_problem = false;
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
        if (backend->breaker == BREAKER_CLOSED)
            probe_now(backend);
    }
}

/* Frees the slot first: `done` may start the next exchange. */
static void on_used(void *data, const struct exchange_result *result)
{
    struct use *use = data;
    struct backend *backend = use->backend;

    unsigned suspect = backend->suspect;
    if (suspect > 0 && is_answer(result))
        judge_suspects(backend, use);
    DL_DELETE(backend->uses, use);
    backend->n_uses--;
    learn(backend, use, result);
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
    int r = use_slot(backend, message, size, done, data);
    if (r == 0)
        probe_where_missed(backend);
    return r;
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
        set_breaker(backend, BREAKER_DOUBTED);
        probe_now(backend);
    } else if (backend->doubt.known && !vm->silent && sys.now_us() >= backend->next_question_us) {
        backend->question_wanted = true;
        probe_now(backend);
    }
}

bool backend_is_at_fault(const struct backend *backend)
{
    return backend->problem[0] != 0;
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
    backend->probe_pause_us = PROBE_PAUSE_MIN_US;
    backend->changed = changed;
    backend->changed_data = data;
    set_address(backend, options);
    if (set_restart_file(backend, options->restart_file) < 0 ||
        timer_init(&backend->open_all, timers, on_open_all) < 0 ||
        timer_init(&backend->probe, timers, on_probe_due) < 0) {
        backend_free(backend);
        return NULL;
    }
    if (backend->open < backend->slots)
        timer_arm(&backend->open_all, sys.now_us() + options->slow_start_us);
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
    timer_done(&backend->open_all);
    timer_done(&backend->probe);
    sys.free(backend->restart_file);
    sys.free(backend);
}

enum breaker backend_breaker(const struct backend *backend)
{
    return backend->retired ? BREAKER_OPEN : backend->breaker;
}

/* --- reload ----------------------------------------------------------------------------------- */

static void set_slots(struct backend *backend, unsigned slots)
{
    if (backend->open == backend->slots || backend->open > slots)
        backend->open = slots; /* the start is over, or ends with that */
    backend->slots = slots;
    if (backend->open == slots)
        timer_disarm(&backend->open_all);
}

int backend_set_options(struct backend *backend, const struct backend_options *options)
{
    char *old = backend->restart_file;

    set_slots(backend, options->slots);
    backend->target.give_up_us = options->qgs_timer_us + GRACE_US;
    backend->late_us = options->qgs_timer_us / 30u * 29u;
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
    ret->answered = backend->answered;
    ret->failed = backend->failed;
    ret->problem = backend->problem[0] && !backend->retired ? backend->problem : NULL;
}
