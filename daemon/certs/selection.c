/* SPDX-License-Identifier: MIT */
/*
 * Selecting: from the platform to the generation that is to be served next.
 *
 *   the platform is read (platform.c) ──▶ a load on the worker (load.c) ──▶ told
 *
 * One selection runs at a time; what is asked for meanwhile runs afterwards. With platform = none
 * the load is all there is, and a chain that is refused leaves the one before it serving. Else
 * nothing is served that does not match the platform: where a reading fails, or the platform has no
 * chain, it is the empty table, and a problem says why.
 *
 * The platform is read at the start, around each update, and every 1.8 s while tables are asked
 * for. A reading takes 180 ms at most, so a change behind cocod's back is noticed within 2 s. An
 * idle host is left alone: the first request after that begins a reading, and waits for its end.
 *
 * What cannot be judged is not refused. Where memory, descriptors, the disk or the worker fail, the
 * load is tried again, after 100 ms, then twice that, and so on up to a minute. Meanwhile a chain
 * that was verified for the platform as it is now stays, within its dates. Where there is none,
 * requests are EAGAIN for 10 s, and then get the empty table.
 *
 * When the clock is set, everything is judged again. Where there is a store or a platform, a look
 * once a minute finds dates that are over; and everywhere, as long as the clock is wrong or the
 * last load came to no verdict.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/counters.h"
#include "observe/event.h"
#include "snp_table.h"
#include <assert.h>
#include <errno.h>
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

/* --- how it ends ------------------------------------------------------------------------------ */

static void hand_over(struct selection *selection, struct generation *generation)
{
    generation_unref(selection->last);
    selection->last = generation_ref(generation);
    selection->told(selection->data, generation);
}

static void keep(struct selection *selection)
{
    selection->told(selection->data, NULL);
}

static void take_empty(struct selection *selection, enum certs_reason reason)
{
    hand_over(selection, generation_ref(&selection->empty[reason]));
}

/* What was handed over and is not served yet; NULL: nothing. */
static const struct generation *next_one(const struct selection *selection)
{
    return selection->last != selection->gate->generation ? selection->last : NULL;
}

/* May what is served be the wrong one? Where an updater makes it doubtful, it stays so until the
 * platform was read under the lock. */
static void set_unsure(struct selection *selection, bool unsure)
{
    if (selection->gate->doubt != CERTS_REASON_UPDATING)
        gate_set_doubt(selection->gate, unsure ? CERTS_REASON_READING : CERTS_REASON_NONE);
}

/* The key of the chain that the platform needs. Negative: there can be none. */
static int wanted_key(const struct selection *selection, struct chain_key *ret)
{
    const struct certs_options *options = selection->options;

    return load_key(&selection->platform, options->signer, options->vlek_csp, ret, NULL);
}

/* Sets a problem. False: it is the one that was there already, and was told. */
static bool is_new(struct why *problem, const char *text, const char *served)
{
    struct why next;

    why_write(&next, "%s (%s)", text, served);
    if (strcmp(next.text, problem->text) == 0)
        return false;
    *problem = next;
    return true;
}

/* The chain of the files: what is served stays, but for one that has itself become bad, or that an
 * updater may have made the wrong one. */
static void refuse_chain(struct selection *selection, enum certs_reason reason, const char *why,
                         const char *outdated)
{
    const struct generation *served = selection->gate->generation;
    bool have = generation_has_chain(served) || generation_has_chain(next_one(selection));
    bool ends = selection->gate->doubt != CERTS_REASON_NONE ||
                (generation_has_chain(served) && outdated[0] &&
                 strcmp(served->found.chain->certs[CHAIN_LEAF].sha256, outdated) == 0);

    metrics.certs_rejected++;
    why_write(&selection->chain_problem, "%s (%s)", why,
              have && !ends ? "the chain loaded before is still served"
                            : "the empty table is served");
    event_emit(EVENT_CHAIN_REFUSED, NULL, 0, "certificate chain refused: %s",
               selection->chain_problem.text);
    if (ends || !have)
        take_empty(selection, reason);
    else
        keep(selection);
}

/* The platform has no chain that may be served. Told once, however often it is found. */
static void no_match(struct selection *selection, enum certs_reason reason, const char *why)
{
    char text[STORE_KEY_SIZE] = "";
    struct chain_key key;

    if (is_new(&selection->chain_problem, why, "the empty table is served")) {
        metrics.certs_rejected++;
        if (wanted_key(selection, &key) == 0)
            store_key_format(&key, text);
        event_emit(EVENT_CHAIN_MISMATCH, LOG_FIELDS(log_text("COCO_KEY", text)), "%s",
                   selection->chain_problem.text);
    }
    take_empty(selection, reason);
}

/* Without store and platform the files' chain is the operator's alone: judged when it is loaded,
 * and when the clock is set. */
static bool rechecks(const struct selection *selection)
{
    return options_offer(selection->options) &&
           (selection->options->store || options_name_platform(selection->options) ||
            selection->overdue || !selection->clock_trusted);
}

static void arm_recheck(struct selection *selection)
{
    if (!rechecks(selection))
        timer_disarm(&selection->recheck);
    else if (!timer_armed(&selection->recheck))
        timer_arm(&selection->recheck, sys.now_us() + RECHECK_US);
}

/* --- loading ---------------------------------------------------------------------------------- */

static bool is_expired(const struct selection *selection, const struct generation *generation)
{
    const int64_t now_s = sys.wall_s();

    return generation_has_chain(generation) && now_s >= selection->clock_floor_s &&
           now_s > chain_first_to_expire(generation->found.chain)->not_after_s;
}

static enum certs_reason reason_of(int result)
{
    return result == -ENOENT         ? CERTS_REASON_NO_CHAIN
           : result == -ESTALE       ? CERTS_REASON_EXPIRED
           : load_is_passing(result) ? CERTS_REASON_LOAD
                                     : CERTS_REASON_REFUSED;
}

/* There is no chain to be served. */
static void take_nothing(struct selection *selection, int result, const char *why,
                         const char *outdated)
{
    if (options_name_platform(selection->options))
        no_match(selection, reason_of(result), why);
    else
        refuse_chain(selection, reason_of(result), why, outdated);
}

/* May it be served while nothing new can be found out? Its dates allow it; it is a chain for the
 * platform as it was just read, or, where none is configured, nobody can have changed it since. */
static bool may_stay(const struct selection *selection, const struct generation *generation)
{
    struct chain_key wanted;

    if (!generation_has_chain(generation) || is_expired(selection, generation))
        return false;
    if (!options_name_platform(selection->options))
        return selection->gate->doubt == CERTS_REASON_NONE;
    if (!selection->platform_read || wanted_key(selection, &wanted) < 0)
        return false;
    return store_key_fits(&wanted, &generation->found.chain->key);
}

static void try_again(struct selection *selection)
{
    unsigned n = selection->n_failures++;
    uint64_t after_us = AGAIN_MIN_US << (n < 10 ? n : 10);

    if (n == 0)
        selection->failing_since_us = sys.now_us();
    timer_arm(&selection->again,
              sys.now_us() + (after_us < AGAIN_MAX_US ? after_us : AGAIN_MAX_US));
}

/* Told once, however often it is found. */
static void tell_undecided(struct selection *selection, const char *why, const char *served)
{
    struct why text;

    why_write(&text, "%s: that is tried again", why);
    if (is_new(&selection->chain_problem, text.text, served))
        event_emit(EVENT_CHAIN_UNREAD, NULL, 0, "%s", selection->chain_problem.text);
}

/* Nothing is served until more is known, unless that has been so for long. */
static bool holds_back(struct selection *selection, const char *why)
{
    const struct generation *served = selection->gate->generation;

    if (served && !served->found.chain)
        return false; /* nothing is taken away */
    if (sys.now_us() >= selection->failing_since_us + PATIENCE_US)
        return false;
    tell_undecided(selection, why, "until then every request is told to ask again later");
    selection->stage = SELECTION_AGAIN;
    set_unsure(selection, true);
    return true;
}

/* The load could not be made, or not to its end, which says nothing about any chain. */
static void take_no_verdict(struct selection *selection, int result, const char *why)
{
    struct generation *served = selection->gate->generation;
    const struct generation *next = next_one(selection);
    bool next_stays = may_stay(selection, next);
    bool passing = load_is_passing(result);

    selection->overdue = true;
    selection->forced = true; /* the next reading leads to a load */
    arm_recheck(selection);
    if (passing)
        try_again(selection);
    if (next_stays || may_stay(selection, served)) {
        tell_undecided(selection, why, "the chain loaded before is still served");
        if (next && !next_stays)
            hand_over(selection, generation_ref(served));
        else
            keep(selection);
    } else if (!passing || !holds_back(selection, why)) {
        take_nothing(selection, result, why, "");
    }
}

static void judge_again(struct selection *selection)
{
    if (options_offer(selection->options))
        selection_start(selection, true);
}

static void on_again(struct timer *timer)
{
    judge_again(container_of(timer, struct selection, again));
}

static void note_judge(struct selection *selection, const struct load_judge *found)
{
    const bool was_wrong = selection->clock_problem.text[0];

    selection->clock_floor_s = found->clock_floor_s;
    selection->clock_trusted = found->store.now_s != CHAIN_NO_CLOCK;
    if (found->clock_problem.text[0] && !was_wrong)
        event_emit(EVENT_CLOCK_WRONG, NULL, 0, "%s", found->clock_problem.text);
    else if (!found->clock_problem.text[0] && was_wrong)
        event_emit(EVENT_CLOCK_RIGHT, NULL, 0,
                   "this host's clock is plausible again: the dates of certificates are checked");
    selection->clock_problem = found->clock_problem;
    if (found->roots_problem.text[0] && !selection->roots_problem.text[0])
        log_warn("%s", found->roots_problem.text);
    selection->roots_problem = found->roots_problem;
}

static void take_load(struct selection *selection, struct loading *loading)
{
    struct generation *generation = loading->found.generation;
    const struct generation *served = selection->gate->generation;

    selection->stage = SELECTION_IDLE;
    if (loading->found.judge.clock_floor_s != 0 || loading->result == 0)
        note_judge(selection, &loading->found.judge);
    if (!load_is_verdict(loading->result)) {
        take_no_verdict(selection, loading->result, loading->why.text);
        return;
    }
    selection->overdue = false;
    selection->n_failures = 0;
    timer_disarm(&selection->again);
    arm_recheck(selection);
    if (loading->result < 0) {
        take_nothing(selection, loading->result, loading->why.text, loading->found.outdated_sha256);
        return;
    }
    loading->found.generation = NULL;
    selection->chain_problem.text[0] = 0;
    if (generation->found.alarm.text[0] &&
        (!served || strcmp(generation->found.alarm.text, served->found.alarm.text) != 0))
        event_emit(EVENT_CRL_ALARM, NULL, 0, "%s", generation->found.alarm.text);
    hand_over(selection, generation);
}

static void on_loaded(struct loading *loading)
{
    struct selection *selection = loading->data;

    selection->loading = NULL;
    take_load(selection, loading);
    if (selection->again_after) {
        selection->again_after = false;
        selection_start(selection, true);
    }
}

static void start_load(struct selection *selection)
{
    int r = -ENOMEM;

    selection->stage = SELECTION_LOADING;
    selection->loading =
        loading_new(selection->options, &selection->platform, on_loaded, selection);
    if (selection->loading)
        r = loading_start(selection->loading, selection->starting ? NULL : selection->worker);
    if (r == 0)
        return;
    selection->loading = NULL;
    selection->stage = SELECTION_IDLE;
    take_no_verdict(selection, r, r == -ENOMEM ? "out of memory" : "there is no thread to load it");
}

/* --- reading the platform --------------------------------------------------------------------- */

static bool same_platform(const struct platform_state *a, const struct platform_state *b)
{
    return a->product == b->product && memcmp(a->chip_id, b->chip_id, sizeof(a->chip_id)) == 0 &&
           coco_snp_tcb_compare(&a->reported, &b->reported) == COCO_SNP_TCB_EQUAL &&
           a->vlek_en == b->vlek_en && a->mask_chip_key == b->mask_chip_key;
}

/* Those who wait for this reading are told EAGAIN where the one before it succeeded, for
 * the next may, too; else they get the empty table, lest a guest be told so until it gives up. */
static void platform_unknown(struct selection *selection, const char *why)
{
    if (selection->platform_read)
        gate_unread(selection->gate);
    selection->platform_read = false;
    if (strcmp(selection->platform_problem.text, why) != 0) {
        why_write(&selection->platform_problem, "%s", why);
        event_emit(EVENT_PLATFORM_UNKNOWN, NULL, 0, "%s (the empty table is served)", why);
    }
    selection->chain_problem.text[0] = 0;
    take_empty(selection, CERTS_REASON_PLATFORM);
}

static void take_no_state(struct selection *selection, const char *why)
{
    if (platform_failed_here(selection->options->platform)) {
        selection->forced = true;
        try_again(selection);
        if (holds_back(selection, why))
            return;
    }
    platform_unknown(selection, why);
}

/* A reading that was asked for while a chain is loaded, which takes longer than a reading keeps. */
static void during_load(struct selection *selection, bool same, bool failed)
{
    if (same && selection->serves_on)
        set_unsure(selection, false);
    else
        selection->again_after = true;
    if (failed)
        gate_unread(selection->gate);
}

static void take_state(struct selection *selection, const struct platform_state *state, bool same,
                       bool forced)
{
    const struct gate *gate = selection->gate;

    if (!same && selection->platform_read)
        event_emit(EVENT_PLATFORM_CHANGED, NULL, 0,
                   "the platform reports another TCB, or a VLEK was loaded or lost");
    selection->platform_problem.text[0] = 0;
    selection->platform_read = true;
    selection->platform = *state;
    if (same && !forced && gate->generation) {
        keep(selection);
        return;
    }
    /* What is served and matches is served on while it is loaded again, however long that takes. */
    selection->serves_on = same && gate->generation && gate->generation == selection->last &&
                           gate->state == CERTS_SERVING && gate->doubt != CERTS_REASON_UPDATING;
    set_unsure(selection, !selection->serves_on);
    start_load(selection);
}

static void on_platform(void *data, const struct platform_state *state, const char *why)
{
    struct selection *selection = data;
    bool forced = selection->forced;

    if (!selection->reading) /* a reload wants it no more */
        return;
    selection->reading = false;
    selection->read_us = selection->asked_us;
    if (platform_kind(selection->options->platform) == PLATFORM_SEV)
        timer_arm(&selection->reread, selection->read_us + READ_EVERY_US);
    bool same = state && selection->platform_read && same_platform(state, &selection->platform);
    if (selection->stage == SELECTION_LOADING) {
        during_load(selection, same, !state);
        return;
    }
    selection->stage = SELECTION_IDLE;
    selection->forced = false;
    if (state)
        take_state(selection, state, same, forced);
    else
        take_no_state(selection, why);
}

static void read_platform(struct selection *selection)
{
    selection->reading = true;
    selection->asked_us = sys.now_us();
    platform_read(selection->options->platform, on_platform, selection);
}

/* --- when to select --------------------------------------------------------------------------- */

void selection_start(struct selection *selection, bool forced)
{
    arm_recheck(selection);
    if (selection->stage == SELECTION_LOADING) {
        selection->again_after = true;
        return;
    }
    if (!options_name_platform(selection->options)) {
        selection->platform_read = selection->serves_on = false;
        start_load(selection);
        return;
    }
    selection->stage = SELECTION_READING;
    selection->forced = selection->forced || forced;
    read_platform(selection);
}

void selection_restart(struct selection *selection)
{
    selection->reading = false; /* perhaps of another platform */
    if (selection->stage != SELECTION_LOADING)
        selection->stage = SELECTION_IDLE;
    if (options_offer(selection->options) || selection->stage == SELECTION_LOADING) {
        selection_start(selection, true);
        return;
    }
    selection->chain_problem.text[0] = 0;
    take_empty(selection, CERTS_REASON_NOT_CONFIGURED);
}

void certs_clock_set(struct certs *certs)
{
    judge_again(&certs->selection);
}

void selection_start_anew(struct selection *selection)
{
    if (next_one(selection))
        selection->last = generation_unref(selection->last);
    selection_start(selection, true);
}

bool selection_runs(const struct selection *selection)
{
    return selection->stage != SELECTION_IDLE;
}

static void on_reread(struct timer *timer)
{
    struct selection *selection = container_of(timer, struct selection, reread);

    if (!selection->used)
        return; /* idle: the next request begins a reading */
    selection->used = false;
    if (!selection_runs(selection))
        selection_start(selection, false);
}

int selection_freshen(struct selection *selection)
{
    if (platform_kind(selection->options->platform) != PLATFORM_SEV ||
        sys.now_us() < selection->read_us + FRESH_US) {
        selection->used = true;
        return 0;
    }
    const bool was_read = selection->platform_read;
    set_unsure(selection, true);
    if (!selection_runs(selection))
        selection_start(selection, false);
    else if (!selection->reading)
        read_platform(selection);
    return was_read && !selection->platform_read ? -EIO : 0;
}

/* The CRL of what is served has become outdated, and nobody was told. */
static bool crl_to_be_told(const struct generation *served, int64_t now_s)
{
    return served && served->found.crl && !served->found.alarm.text[0] &&
           now_s > served->found.crl->next_update_s;
}

static void on_recheck(struct timer *timer)
{
    struct selection *selection = container_of(timer, struct selection, recheck);
    const struct generation *served = selection->gate->generation;
    int64_t now_s = sys.wall_s();

    if (!rechecks(selection))
        return;
    timer_arm(&selection->recheck, sys.now_us() + RECHECK_US);
    if (selection_runs(selection))
        return;
    bool trusted = now_s >= selection->clock_floor_s;
    bool outdated = trusted && crl_to_be_told(served, now_s);
    bool due =
        options_name_platform(selection->options) && ++selection->rechecks % RESELECT_CHECKS == 0;
    if (is_expired(selection, served) || outdated || due || selection->overdue ||
        trusted != selection->clock_trusted)
        selection_start(selection, true);
}

int selection_init(struct selection *selection, struct timers *timers)
{
    struct blob *table = blob_new(COCO_SNP_EMPTY_TABLE_SIZE);

    if (!table)
        return -ENOMEM;
    table->common = true;
    for (enum certs_reason i = 0; i <= CERTS_REASON_LOAD; i++)
        selection->empty[i] = (struct generation){.refs = 1, .table = blob_ref(table), .reason = i};
    blob_unref(table);
    selection->clock_trusted = true;
    selection->clock_floor_s = INT64_MIN;
    bool good = timer_init(&selection->reread, timers, on_reread) == 0 &&
                timer_init(&selection->recheck, timers, on_recheck) == 0 &&
                timer_init(&selection->again, timers, on_again) == 0;
    return good ? 0 : -ENOMEM;
}

void selection_done(struct selection *selection)
{
    if (selection->loading)
        selection->loading->told = NULL;
    generation_unref(selection->last);
    for (size_t i = 0; i <= CERTS_REASON_LOAD; i++)
        blob_unref(selection->empty[i].table);
    timer_done(&selection->reread);
    timer_done(&selection->recheck);
    timer_done(&selection->again);
}
