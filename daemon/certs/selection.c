/* SPDX-License-Identifier: MIT */
/*
 * Selecting: from the platform to the generation that is to be served next.
 *
 *   the platform is read (platform.c) ──▶ a load on the worker (load.c) ──▶ `next`, published
 *
 * One selection runs at a time; what is asked for meanwhile runs afterwards. Where the platform is
 * not known to cocod (platform = none), the load is all there is, and a chain that is refused
 * leaves the one before it serving. Where it is known, what does not match is never served: a
 * reading that fails, and a platform without a chain, are the empty table and a problem.
 *
 * When the platform is read: at the start, around each update, and every 1.8 s while tables are
 * being served, so that a change behind cocod's back is noticed within 2 s (a reading takes 180 ms
 * at most). A host where nothing is asked for is left alone: each reading costs it something. Then
 * the first request finds what is known too old, begins a reading, and waits for its end.
 *
 * What cannot be judged is not refused. Where memory, descriptors, the disk or the worker fail, the
 * load is tried again, after 100 ms, then twice that, and so on up to a minute. Meanwhile a chain
 * that was verified for the platform as it is now goes on being served, for as long as its dates
 * allow; where there is none, requests are EAGAIN for 10 s, and only then there is the empty table.
 *
 * When the clock is set, everything is judged again. Beside that, the clock and the dates of what
 * is served are looked at once a minute, without asking anybody, where there is a store or a
 * platform; and everywhere as long as the clock is wrong, or the last selection found no memory, no
 * worker or no disk.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_EVERY_US   1800000u
#define FRESH_US        2000000u
#define RECHECK_US      60000000u
#define RESELECT_CHECKS 60u
/* After a failure that is likely to pass. */
#define AGAIN_MIN_US 100000u
#define AGAIN_MAX_US RECHECK_US
#define PATIENCE_US  10000000u

static_assert(READ_EVERY_US + PLATFORM_TIMEOUT_US < FRESH_US, "in use nobody waits");

/* --- what is selected ------------------------------------------------------------------------- */

static void end_selection(struct certs *certs)
{
    if (certs->next.table || certs->must_read || certs->file_stale || certs->locked)
        certs_publish(certs);
    else
        certs_confirm(certs);
}

static bool same_table(const struct blob *a, const struct blob *b)
{
    return a && a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* Takes the generation over. */
static void take_generation(struct certs *certs, struct generation *generation)
{
    const struct blob *now = certs->next.table ? certs->next.table : certs->current.table;

    certs->dropped = false;
    if (!certs->locked && same_table(now, generation->table)) {
        struct generation *kept = certs->next.table ? &certs->next : &certs->current;
        const struct store_chain before = kept->found; /* the CRL may be another */
        kept->found = generation->found;
        generation->found = before;
        log_event(LOG_LEVEL_DEBUG, NULL, NULL, 0, "the certificate chain is unchanged");
        certs_generation_done(generation);
        end_selection(certs);
        return;
    }
    certs_generation_done(&certs->next);
    certs->next = *generation;
    *generation = (struct generation){.table = NULL};
    end_selection(certs);
}

static void take_empty(struct certs *certs)
{
    struct generation empty = {.table = blob_ref(certs->empty)};

    take_generation(certs, &empty);
}

void certs_serve_nothing(struct certs *certs)
{
    certs->chain_problem[0] = 0;
    certs->empty_reason = CERTS_REASON_NOT_CONFIGURED;
    take_empty(certs);
}

/* The chain of the files: what is served stays, but for one that has itself become bad, or that an
 * updater may have made the wrong one. */
static void refuse_chain(struct certs *certs, const char *why, const char *outdated)
{
    const struct chain *current = certs->current.found.chain;
    bool have = current || certs->next.found.chain;
    bool ends = certs->unsure || (current && outdated && outdated[0] &&
                                  strcmp(current->certs[CHAIN_LEAF].sha256, outdated) == 0);

    metrics.certs_rejected++;
    snprintf(certs->chain_problem, sizeof(certs->chain_problem), "%s (%s)", why,
             have && !ends ? "the chain loaded before is still served"
                           : "the empty table is served");
    event_emit(EVENT_CHAIN_REFUSED, NULL, 0, "certificate chain refused: %s", certs->chain_problem);
    if (ends || (!have && !certs->current.table && !certs->next.table))
        take_empty(certs);
    else
        end_selection(certs);
}

/* Of the chain that the platform needs; "": there can be none. */
static void wanted_key(const struct certs *certs, char out[STORE_KEY_SIZE])
{
    struct chain_key key;

    out[0] = 0;
    if (load_key(&certs->platform, certs->options.signer, certs->options.vlek_csp, &key, NULL) == 0)
        store_key_format(&key, out);
}

/* The platform has no chain that may be served. Said once, however often it is found. */
static void no_match(struct certs *certs, const char *why)
{
    char text[sizeof(certs->chain_problem)], key[STORE_KEY_SIZE];

    wanted_key(certs, key);
    snprintf(text, sizeof(text), "%s (the empty table is served)", why);
    if (strcmp(text, certs->chain_problem) != 0) {
        metrics.certs_rejected++;
        memcpy(certs->chain_problem, text, sizeof(text));
        event_emit(EVENT_CHAIN_MISMATCH, LOG_FIELDS(log_text("COCO_KEY", key)), "%s", text);
    }
    take_empty(certs);
}

/* --- looking again ---------------------------------------------------------------------------- */

/* Without store and platform the files' chain is the operator's alone: judged when it is loaded,
 * and when the clock is set. */
static bool rechecks(const struct certs *certs)
{
    return certs_offered(certs) && (certs->options.store || certs_knows_platform(certs) ||
                                    certs->overdue || !certs->clock_trusted);
}

static void arm_recheck(struct certs *certs)
{
    if (!rechecks(certs))
        timer_disarm(&certs->recheck);
    else if (!timer_armed(&certs->recheck))
        timer_arm(&certs->recheck, sys.now_us() + RECHECK_US);
}

/* --- loading ---------------------------------------------------------------------------------- */

static void free_strings(char *const *strings, size_t n)
{
    for (size_t i = 0; strings && i < n; i++)
        sys.free(strings[i]);
    sys.free((void *)(uintptr_t)strings);
}

static char *copy_string(const char *text)
{
    char *copy = sys.alloc(strlen(text) + 1);

    return copy ? memcpy(copy, text, strlen(text) + 1) : NULL;
}

static char **copy_strings(char *const *strings, size_t n)
{
    char **copy = sys.alloc((n ? n : 1) * sizeof(*copy));

    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = copy_string(strings[i]);
        if (!copy[i]) {
            free_strings(copy, i);
            return NULL;
        }
    }
    return copy;
}

void certs_load_options_done(struct load_options *options, char *store)
{
    sys.free((void *)(uintptr_t)options->vlek_csp);
    free_strings(options->paths.chain, options->paths.n_chain);
    free_strings(options->paths.roots, options->paths.n_roots);
    sys.free(store);
}

int certs_load_options(const struct certs *certs, struct load_options *ret, char **ret_store)
{
    const struct certs_options *from = &certs->options;
    struct load_options options = {.wall_s = sys.wall_s(),
                                   .clock_floor_s = from->clock_floor_s,
                                   .serve_crl = from->serve_crl,
                                   .signer = from->signer};
    char *store = from->store ? copy_string(from->store) : NULL;

    options.paths.n_chain = from->n_chain;
    options.paths.n_roots = from->n_roots;
    options.paths.chain = copy_strings(from->chain, from->n_chain);
    options.paths.roots = copy_strings(from->roots, from->n_roots);
    options.vlek_csp = copy_string(from->vlek_csp ? from->vlek_csp : "");
    options.store = store;
    if (!options.paths.chain || !options.paths.roots || !options.vlek_csp ||
        (from->store && !store)) {
        certs_load_options_done(&options, store);
        return -ENOMEM;
    }
    *ret = options;
    *ret_store = store;
    return 0;
}

static void load_free(struct load *load)
{
    if (!load)
        return;
    certs_load_options_done(&load->options, load->store);
    load_result_done(&load->found);
    sys.free(load);
}

static void load_run(struct work *work)
{
    struct load *load = (struct load *)work;

    load->result = chain_load(&load->options, &load->found, &load->why);
}

/* A load of its own copy of the names: the configuration may be replaced while it runs. */
static struct load *load_new(struct certs *certs)
{
    struct load *load = sys.alloc(sizeof(*load));

    if (!load)
        return NULL;
    if (certs_load_options(certs, &load->options, &load->store) < 0) {
        sys.free(load);
        return NULL;
    }
    load->certs = certs;
    load->platform = certs->platform;
    if (certs_knows_platform(certs))
        load->options.platform = &load->platform;
    return load;
}

static bool is_expired(const struct certs *certs, const struct generation *generation)
{
    const struct chain *chain = generation->found.chain;
    int64_t now_s = sys.wall_s();

    return chain && now_s >= certs->clock_floor_s &&
           now_s > chain_first_to_expire(chain)->not_after_s;
}

static enum certs_reason reason_of(int result)
{
    switch (result) {
    case -ENOENT:
        return CERTS_REASON_NO_CHAIN;
    case -ESTALE:
        return CERTS_REASON_EXPIRED;
    default:
        return load_is_passing(result) ? CERTS_REASON_LOAD : CERTS_REASON_REFUSED;
    }
}

/* There is no chain to be served. */
static void take_nothing(struct certs *certs, int result, const char *why, const char *outdated)
{
    certs->empty_reason = reason_of(result);
    if (certs_knows_platform(certs))
        no_match(certs, why);
    else
        refuse_chain(certs, why, outdated);
}

/* Is it a chain that was verified for the platform as it was just read, and not out of date? */
static bool still_matches(const struct certs *certs, const struct generation *generation)
{
    struct chain_key wanted;

    if (!generation->found.chain || !certs->known ||
        load_key(&certs->platform, certs->options.signer, certs->options.vlek_csp, &wanted, NULL) <
            0)
        return false;
    return store_key_fits(&wanted, &generation->found.chain->key) && !is_expired(certs, generation);
}

/* Of a host whose platform is not known: nobody can have changed it since. */
static bool may_stay(const struct certs *certs, const struct generation *generation)
{
    if (certs_knows_platform(certs))
        return still_matches(certs, generation);
    return generation->found.chain && !certs->unsure && !is_expired(certs, generation);
}

static void try_again(struct certs *certs)
{
    uint64_t after_us = AGAIN_MIN_US << (certs->n_failures < 10 ? certs->n_failures : 10);

    certs->n_failures++;
    if (certs->failing_since_us == 0)
        certs->failing_since_us = sys.now_us();
    timer_arm(&certs->again, sys.now_us() + (after_us < AGAIN_MAX_US ? after_us : AGAIN_MAX_US));
}

/* Said once, however often it is found. */
static void tell_undecided(struct certs *certs, const char *why, const char *served)
{
    char text[sizeof(certs->chain_problem)];

    snprintf(text, sizeof(text), "%s: that is tried again (%s)", why, served);
    if (strcmp(text, certs->chain_problem) == 0)
        return;
    memcpy(certs->chain_problem, text, sizeof(text));
    event_emit(EVENT_CHAIN_UNREAD, NULL, 0, "%s", text);
}

/* Nothing is served until more is known, unless that has been so for long. */
static bool holds_back(struct certs *certs, const char *why)
{
    if (certs->current.table && !certs->current.found.chain)
        return false; /* nothing is taken away */
    if (sys.now_us() >= certs->failing_since_us + PATIENCE_US)
        return false;
    tell_undecided(certs, why, "until then every request is told to come again");
    certs->selecting = SELECT_AGAIN;
    certs->unsure = true;
    certs_wake(certs);
    return true;
}

/* The load could not be made, or not to its end, which says nothing about any chain. */
static void take_no_verdict(struct certs *certs, int result, const char *why)
{
    bool passing = load_is_passing(result);

    certs->overdue = true;
    certs->forced_select = true; /* the next reading leads to a load */
    arm_recheck(certs);
    if (passing)
        try_again(certs);
    if (certs->next.table && !may_stay(certs, &certs->next))
        certs_generation_done(&certs->next);
    if (certs->next.table || may_stay(certs, &certs->current)) {
        tell_undecided(certs, why, "the chain loaded before is still served");
        end_selection(certs);
    } else if (!passing || !holds_back(certs, why)) {
        take_nothing(certs, result, why, NULL);
    }
}

static void note_verdict(struct certs *certs)
{
    certs->overdue = false;
    certs->failing_since_us = 0;
    certs->n_failures = 0;
    timer_disarm(&certs->again);
}

static void on_again(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, again);

    if (certs_offered(certs))
        certs_select(certs, true);
}

static void take_load(struct certs *certs, struct load *load)
{
    struct generation generation = {.table = load->found.table, .found = load->found.found};

    certs->selecting = SELECT_IDLE;
    if (load->found.clock_floor_s != 0 || load->result == 0) {
        certs->clock_floor_s = load->found.clock_floor_s;
        certs->clock_trusted = load->found.clock_trusted;
        if (load->found.clock_problem.text[0] && !certs->clock_problem[0])
            event_emit(EVENT_CLOCK_WRONG, NULL, 0, "%s", load->found.clock_problem.text);
        else if (!load->found.clock_problem.text[0] && certs->clock_problem[0])
            event_emit(
                EVENT_CLOCK_RIGHT, NULL, 0,
                "this host's clock is plausible again: the dates of certificates are checked");
        memcpy(certs->clock_problem, load->found.clock_problem.text, sizeof(certs->clock_problem));
        if (load->found.roots_problem.text[0] && !certs->roots_problem[0])
            log_warn("%s", load->found.roots_problem.text);
        memcpy(certs->roots_problem, load->found.roots_problem.text, sizeof(certs->roots_problem));
    }
    if (!load_is_verdict(load->result)) {
        take_no_verdict(certs, load->result, load->why.text);
        return;
    }
    note_verdict(certs);
    arm_recheck(certs);
    if (load->result < 0) {
        take_nothing(certs, load->result, load->why.text, load->found.outdated_sha256);
        return;
    }
    load->found.table = NULL;
    load->found.found = (struct store_chain){.chain = NULL};
    certs->chain_problem[0] = 0;
    if (generation.found.alarm.text[0] &&
        strcmp(generation.found.alarm.text, certs->current.found.alarm.text) != 0)
        event_emit(EVENT_CRL_ALARM, NULL, 0, "%s", generation.found.alarm.text);
    take_generation(certs, &generation);
}

static void load_done(struct work *work)
{
    struct load *load = (struct load *)work;
    struct certs *certs = load->certs;

    if (certs) {
        certs->load = NULL;
        take_load(certs, load);
        if (certs->select_again) {
            certs->select_again = false;
            certs_select(certs, true);
        }
    }
    load_free(load);
}

static void start_load(struct certs *certs)
{
    struct load *load = load_new(certs);
    int r = load ? 0 : -ENOMEM;

    certs->selecting = SELECT_LOADING;
    if (load && certs->starting) {
        load_run(&load->work);
        take_load(certs, load);
        load_free(load);
        return;
    }
    if (load) {
        load->work = (struct work){.run = load_run, .done = load_done};
        r = worker_submit(certs->worker, &load->work);
    }
    if (r < 0) {
        load_free(load);
        certs->selecting = SELECT_IDLE;
        take_no_verdict(certs, r, r == -ENOMEM ? "out of memory" : "there is no thread to load it");
        return;
    }
    certs->load = load;
}

/* --- reading the platform --------------------------------------------------------------------- */

static bool same_platform(const struct platform_state *a, const struct platform_state *b)
{
    return a->product == b->product && memcmp(a->chip_id, b->chip_id, sizeof(a->chip_id)) == 0 &&
           coco_snp_tcb_compare(&a->reported, &b->reported) == COCO_SNP_TCB_EQUAL &&
           a->vlek_en == b->vlek_en && a->mask_chip_key == b->mask_chip_key;
}

/* Those who wait for this reading are told to come again where the one before it succeeded, for
 * the next may, too; else they get the empty table, lest a guest be told so until it gives up. */
static void platform_unknown(struct certs *certs, const char *why)
{
    if (certs->known)
        certs_wake_unread(certs);
    certs->known = false;
    if (strcmp(certs->platform_problem, why) != 0) {
        snprintf(certs->platform_problem, sizeof(certs->platform_problem), "%s", why);
        event_emit(EVENT_PLATFORM_UNKNOWN, NULL, 0, "%s (the empty table is served)", why);
    }
    certs->chain_problem[0] = 0;
    certs->empty_reason = CERTS_REASON_PLATFORM;
    take_empty(certs);
}

static void take_no_state(struct certs *certs, const char *why)
{
    if (platform_failed_here(certs->options.platform)) {
        certs->forced_select = true;
        try_again(certs);
        if (holds_back(certs, why))
            return;
    }
    platform_unknown(certs, why);
}

/* A reading that was asked for while a chain is loaded, which takes longer than a reading keeps. */
static void during_load(struct certs *certs, bool same, bool failed)
{
    if (same && certs->loading_again)
        certs->unsure = false;
    else
        certs->select_again = true;
    if (failed)
        certs_wake_unread(certs);
    certs_wake(certs);
}

static void on_platform(void *data, const struct platform_state *state, const char *why)
{
    struct certs *certs = data;
    bool forced = certs->forced_select;

    if (!certs->reading) /* a reload wants it no more */
        return;
    certs->reading = false;
    certs->read_us = certs->asked_us;
    if (platform_kind(certs->options.platform) == PLATFORM_SEV)
        timer_arm(&certs->reread, certs->read_us + READ_EVERY_US);
    if (certs->selecting == SELECT_LOADING) {
        during_load(certs, state && certs->known && same_platform(state, &certs->platform), !state);
        return;
    }
    certs->selecting = SELECT_IDLE;
    certs->forced_select = false;
    if (!state) {
        take_no_state(certs, why);
        return;
    }
    bool same = certs->known && same_platform(state, &certs->platform);
    if (!same && certs->known)
        event_emit(EVENT_PLATFORM_CHANGED, NULL, 0,
                   "the platform reports another TCB, or a VLEK was loaded or lost");
    certs->platform_problem[0] = 0;
    certs->known = true;
    certs->platform = *state;
    if (same && !forced && certs->current.table) {
        end_selection(certs);
        return;
    }
    /* What is served and matches is served on while it is loaded again, however long that takes. */
    certs->loading_again = same && certs->current.table && !certs->next.table && !certs->dropped &&
                           !certs->must_read && !certs->locked && !certs->update.active;
    certs->unsure = !certs->loading_again;
    certs_wake(certs);
    start_load(certs);
}

static void read_platform(struct certs *certs)
{
    certs->reading = true;
    certs->asked_us = sys.now_us();
    platform_read(certs->options.platform, on_platform, certs);
}

void certs_select(struct certs *certs, bool forced)
{
    arm_recheck(certs);
    if (certs->selecting == SELECT_LOADING) {
        certs->select_again = true;
        return;
    }
    if (!certs_knows_platform(certs)) {
        certs->known = certs->loading_again = false;
        start_load(certs);
        return;
    }
    certs->selecting = SELECT_READING;
    certs->forced_select = certs->forced_select || forced;
    read_platform(certs);
}

static void on_reread(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, reread);

    if (!certs->used)
        return; /* idle: the next request begins a reading */
    certs->used = false;
    if (certs->selecting == SELECT_IDLE)
        certs_select(certs, false);
}

void certs_select_anew(struct certs *certs)
{
    certs->must_read = false;
    certs->unsure = true;
    certs->dropped = certs->dropped || certs->next.table;
    certs_generation_done(&certs->next);
    certs_select(certs, true);
}

int certs_freshen(struct certs *certs)
{
    if (platform_kind(certs->options.platform) != PLATFORM_SEV ||
        sys.now_us() < certs->read_us + FRESH_US) {
        certs->used = true;
        return 0;
    }
    const bool known = certs->known;
    certs->unsure = true;
    if (certs->selecting == SELECT_IDLE)
        certs_select(certs, false);
    else if (!certs->reading)
        read_platform(certs);
    return known && !certs->known ? -EIO : 0;
}

/* --- dates ------------------------------------------------------------------------------------ */

/* The CRL of what is served has become outdated, and nobody was told. */
static bool crl_to_be_told(const struct certs *certs, int64_t now_s)
{
    const struct store_chain *found = &certs->current.found;

    return found->crl && !found->alarm.text[0] && now_s > found->crl->next_update_s;
}

static void on_recheck(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, recheck);
    int64_t now_s = sys.wall_s();

    if (!rechecks(certs))
        return;
    timer_arm(&certs->recheck, sys.now_us() + RECHECK_US);
    if (certs->selecting != SELECT_IDLE)
        return;
    bool trusted = now_s >= certs->clock_floor_s;
    bool expired = is_expired(certs, &certs->current);
    bool outdated = trusted && crl_to_be_told(certs, now_s);
    bool due = certs_knows_platform(certs) && ++certs->rechecks % RESELECT_CHECKS == 0;
    if (expired || outdated || due || certs->overdue || trusted != certs->clock_trusted)
        certs_select(certs, true);
}

void certs_clock_set(struct certs *certs)
{
    if (certs_offered(certs))
        certs_select(certs, true);
}

/* --- life ------------------------------------------------------------------------------------- */

int certs_select_init(struct certs *certs)
{
    certs->clock_trusted = true;
    certs->clock_floor_s = INT64_MIN;
    int r = timer_init(&certs->reread, certs->timers, on_reread);
    if (r == 0)
        r = timer_init(&certs->recheck, certs->timers, on_recheck);
    if (r == 0)
        r = timer_init(&certs->again, certs->timers, on_again);
    return r;
}

void certs_select_done(struct certs *certs)
{
    if (certs->load)
        certs->load->certs = NULL; /* its end is told to nobody */
    timer_done(&certs->reread);
    timer_done(&certs->recheck);
    timer_done(&certs->again);
}
