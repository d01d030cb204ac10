/* SPDX-License-Identifier: MIT */
/*
 * The publication brings a generation in, in step with the locks on the table file.
 *
 *   next is there ──▶ take the write lock
 *     ├─ taken ──▶ rewrite the file, swap the generation: SERVING
 *     ├─ taken, and an updater may have been there ──▶ LOCKED: keep it, select; then as above
 *     ├─ a lease is in the way ──▶ swap; the file is stale, and follows when the lease is gone
 *     ├─ likewise, and an updater may have been there ──▶ mark the file, ask for a write lock,
 *     │  select beside the lease, and swap
 *     └─ somebody else has the write lock ──▶ UPDATING: EAGAIN, for as long as that takes
 * So a lease delays the file and never the sessions, which get tables by value.
 *
 * What always holds: a chain becomes public only if no updater was there since the platform, or
 * the files, were read for it. Either this process has had the write lock since, or the file was
 * not emptied since, as each updater does before its command. Where the file is empty already and
 * the lock is not to be had, an emptying would leave no trace, so cocod marks the file first. The
 * order matters: who gets the lock after the mark cuts it off; who has it when the mark is written
 * is found by asking for a write lock afterwards; and what those did who let go before that, the
 * reading sees, which begins last. The mark lies where nobody reads, and needs no lock.
 *
 * In an update (PROTOCOL.md "The updater") cocod stops handing out tables, so that leases end;
 * watches the lock, which the updater takes himself; and publishes what matches the platform once
 * the updater is done, or gone, and nobody has the lock. An update that never got the lock leaves
 * everything as it was, and service is restored at once; the platform is read again all the same,
 * without the lock, which a lease may keep for ever. Once somebody had the lock, or the file is
 * empty, nothing of before is assumed, and cocod reads under the lock.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/counters.h"
#include "observe/event.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define READERS_RETRY_US 2000u
#define UPDATER_RETRY_US 20000u
#define STALE_RETRY_US   1000000u
#define WATCH_US         20000u
/* A look at the lock costs as much as there are locks: the loop rests so many times as long. */
#define LOOK_RESTS 20u

/* --- what is told ----------------------------------------------------------------------------- */

static void tell_served(const struct publication *publication)
{
    const struct gate *gate = publication->gate;
    const struct chain_key *key = &gate->generation->found.chain->key;
    size_t size = gate->generation->table->size;
    char text[STORE_KEY_SIZE], generation[17];

    store_key_format(key, text);
    snprintf(generation, sizeof(generation), "%016llx", (unsigned long long)gate->id);
    event_emit(EVENT_CHAIN_SERVED,
               LOG_FIELDS(log_text("COCO_KEY", text), log_number("COCO_TABLE_BYTES", (int64_t)size),
                          log_text("COCO_GENERATION", generation)),
               "serving a certificate table of %zu bytes: %s chain of %s", size,
               chain_signer_name(key->signer), coco_snp_product_name(key->product));
}

/* Says what is wrong with the table file: once, however often it is tried again. */
static void file_trouble(struct publication *publication, const struct why *why)
{
    if (strcmp(why->text, publication->problem.text) == 0)
        return;
    publication->problem = *why;
    event_emit(EVENT_TABLE_FILE,
               LOG_FIELDS(log_text("COCO_FILE", publication->options->table_file.path)), "%s",
               why->text);
}

static void cannot(struct publication *publication, const char *verb, int error, const char *so)
{
    struct why why;

    why_write(&why, "cannot %s the table file %s: %s; %s", verb,
              publication->options->table_file.path, strerror(error), so);
    file_trouble(publication, &why);
}

static void tell_unwritten(struct publication *publication, int error)
{
    cannot(publication, "write", -error,
           "VMMs that read the file see the empty table until it can be written");
}

static void tell_updater(struct publication *publication, int result)
{
    certs_update_told *told = publication->update.told;

    publication->update.told = NULL;
    if (told)
        told(publication->update.data, result);
}

/* --- the file --------------------------------------------------------------------------------- */

static void publish_later(struct publication *publication, uint64_t us)
{
    timer_arm(&publication->retry, sys.now_us() + us);
}

static void write_file(struct publication *publication, const struct blob *table)
{
    int r = table_file_write(&publication->file, table->data, table->size);

    publication->stale = r < 0;
    if (r < 0) {
        tell_unwritten(publication, r);
        (void)table_file_mark(&publication->file); /* this process has the lock still */
    } else {
        publication->problem.text[0] = 0;
    }
}

/* The file is behind until it can be locked. Leases last milliseconds: one that is there for longer
 * is told of, once, and then waited for at leisure. */
static void file_is_behind(struct publication *publication)
{
    const uint64_t now = sys.now_us();

    publication->stale = true;
    if (publication->behind_by_us == 0)
        publication->behind_by_us = now + publication->options->drain_timeout_us;
    publish_later(publication, now < publication->behind_by_us ? READERS_RETRY_US : STALE_RETRY_US);
    if (now < publication->behind_by_us || publication->behind_told)
        return;
    publication->behind_told = true;
    why_write(&publication->problem,
              "a lease on byte %llu of the table file %s is not given back; sessions get the new "
              "table, the file follows when the lease is gone",
              (unsigned long long)publication->in_the_way, publication->options->table_file.path);
    locks_tell_blocked(publication->namer, publication->namer_data, publication->in_the_way,
                       publication->problem.text);
}

void publication_open_file(struct publication *publication)
{
    if (publication->file.fd >= 0 || !options_offer(publication->options))
        return;
    int r = table_file_open(&publication->file, &publication->options->table_file);
    if (r < 0) {
        cannot(publication, "open", -r,
               "leases are not offered and nothing excludes a firmware update");
        if (load_is_passing(r))
            publish_later(publication, STALE_RETRY_US);
        return;
    }
    publication->problem.text[0] = 0;
    if (!publication->gate->generation)
        return;
    publication->stale = true; /* a file that comes late must hold what is served already */
    publish_later(publication, 0);
}

static bool is_named(struct publication *publication)
{
    const char *path = publication->options->table_file.path;
    struct why why;

    if (table_file_is_named(&publication->file, path))
        return true;
    why_write(&why,
              "the table file %s was removed or replaced while cocod ran: a lease on it would "
              "keep no firmware update back, so none is given, and no update begins; restart "
              "cocod",
              path);
    file_trouble(publication, &why);
    return false;
}

static const struct generation *newest_of(const struct publication *publication)
{
    return publication->next ? publication->next : publication->gate->generation;
}

/* Was no updater there since what is to be served was read? The empty table is always right. */
static bool is_proven(const struct publication *publication)
{
    return !publication->must_read &&
           (!generation_has_chain(newest_of(publication)) ||
            !(publication->file.blind || table_file_emptied(&publication->file)));
}

/* Is it the operator's word alone, and was no chain served before it? */
static bool is_first(const struct publication *publication)
{
    return !publication->must_read && !options_name_platform(publication->options) &&
           !generation_has_chain(publication->gate->generation);
}

/* --- the machine ------------------------------------------------------------------------------ */

/* What happens, by the names of the model's labels and guards. */
enum publication_event {
    BEGIN_UPDATE, /* an updater says so */
    GAVE_UP,      /* it is over, and has changed nothing */
    TAKEN,        /* somebody else has the write lock */
    EMPTIED,      /* the file was emptied by an updater whom nobody announced; or he has the lock */
    LOCKED,       /* the lock is ours, and the platform is to be read under it */
    FOLLOWS,      /* the lock is ours, and the file can be written */
    BESIDE,       /* it is not to be had, and the platform is to be read without it */
    STALE,        /* it is not to be had, and the file stays behind */
};

static void drain(struct publication *publication)
{
    if (publication->state == PUBLICATION_LOCKED) {
        table_file_unlock(&publication->file);
        publication->must_read = true; /* what was being selected is not what will be served */
    }
    publish_later(publication, WATCH_US);
}

static void wait_for_updater(struct publication *publication)
{
    publication->behind_by_us = 0;
    publication->behind_told = false;
    publication->must_read = options_offer(publication->options);
    publish_later(publication, UPDATER_RETRY_US);
    tell_updater(publication, -EAGAIN);
}

static void distrust(struct publication *publication)
{
    publication->must_read = true;
    gate_set_doubt(publication->gate, CERTS_REASON_UPDATING);
    publish_later(publication, 0);
}

/* Forgets what was selected, and selects: an updater may have been there since. */
static void select_anew(struct publication *publication)
{
    publication->must_read = false;
    gate_set_doubt(publication->gate, CERTS_REASON_READING);
    publication->next = generation_unref(publication->next);
    selection_start_anew(publication->selection);
}

static void swap(struct publication *publication)
{
    struct generation *next = publication->next;

    if (!next)
        return;
    publication->next = NULL;
    gate_swap(publication->gate, next);
    metrics.certs_published++;
    if (next->found.chain)
        tell_served(publication);
    publication->swapped(publication->data);
}

static void write_and_swap(struct publication *publication)
{
    const struct generation *newest = newest_of(publication);

    publication->must_read = false;
    if (newest)
        write_file(publication, newest->table);
    table_file_unlock(&publication->file);
    if (publication->stale)
        publish_later(publication, STALE_RETRY_US);
    swap(publication);
}

static void served(struct publication *publication)
{
    if (!publication->gate->generation)
        return;
    gate_set_doubt(publication->gate, CERTS_REASON_NONE);
    publication->update.forced = false;
    tell_updater(publication, 0);
}

/* Without a platform the files are read again for those who said that the update has ended, and not
 * for those who went: what is served is the operator's word. */
static void restore(struct publication *publication)
{
    bool said = publication->update.ended && !publication->update.abandoned;

    if (options_offer(publication->options) &&
        (said || options_name_platform(publication->options)))
        select_anew(publication);
    else if (!publication->next && !publication->stale)
        served(publication);
}

/* The machine: what is done in the old state, the new one, and what is done then. */
static const struct {
    void (*before)(struct publication *publication);
    enum publication_state to;
    void (*then)(struct publication *publication);
} machine[] = {
    [BEGIN_UPDATE] = {drain, PUBLICATION_DRAINING, NULL},
    [GAVE_UP] = {NULL, PUBLICATION_SERVING, restore},
    [TAKEN] = {NULL, PUBLICATION_UPDATING, wait_for_updater},
    [EMPTIED] = {distrust, PUBLICATION_SERVING, NULL},
    [LOCKED] = {NULL, PUBLICATION_LOCKED, select_anew},
    [FOLLOWS] = {write_and_swap, PUBLICATION_SERVING, served},
    [BESIDE] = {NULL, PUBLICATION_SERVING, select_anew},
    [STALE] = {swap, PUBLICATION_SERVING, served},
};

/* What others see of a state. */
static const struct {
    enum certs_state state;
    bool lock_is_ours;
} shown[] = {
    [PUBLICATION_STARTING] = {CERTS_DRAINING, false},
    [PUBLICATION_SERVING] = {CERTS_SERVING, false},
    [PUBLICATION_DRAINING] = {CERTS_DRAINING, false},
    [PUBLICATION_UPDATING] = {CERTS_UPDATING, false},
    [PUBLICATION_LOCKED] = {CERTS_UPDATING, true},
};

static void set_state(struct publication *publication, enum publication_state state)
{
    if (state == PUBLICATION_SERVING && !publication->gate->generation)
        state = PUBLICATION_STARTING;
    publication->state = state;
    gate_set_state(publication->gate, shown[state].state, shown[state].lock_is_ours);
}

static void happens(struct publication *publication, enum publication_event event)
{
    if (machine[event].before)
        machine[event].before(publication);
    set_state(publication, machine[event].to);
    if (machine[event].then)
        machine[event].then(publication);
}

/* --- one step --------------------------------------------------------------------------------- */

/* The lock is not to be had, and an updater may have been there: marks the file, and then asks
 * whether somebody has the lock. */
static enum publication_event mark_and_ask(struct publication *publication)
{
    int r = table_file_mark(&publication->file);

    if (r < 0)
        tell_unwritten(publication, r);
    publication->stale = true;
    return table_file_updater(&publication->file) ? TAKEN : BESIDE;
}

static enum publication_event without_lock(struct publication *publication, int error)
{
    if (publication->must_read)
        return mark_and_ask(publication);
    cannot(publication, "lock", error, "leases do not exclude a firmware update");
    publication->stale = true;
    publish_later(publication, STALE_RETRY_US);
    return STALE;
}

static enum publication_event behind_leases(struct publication *publication)
{
    file_is_behind(publication);
    bool blind = publication->file.blind;
    return (blind ? !publication->must_read : is_proven(publication)) ? STALE
                                                                      : mark_and_ask(publication);
}

/* Tries to take the lock. */
static enum publication_event try_lock(struct publication *publication)
{
    if (publication->file.fd < 0) {
        publication->must_read = false;
        return STALE;
    }
    if (publication->state == PUBLICATION_LOCKED)
        return FOLLOWS;
    switch (table_file_lock(&publication->file, &publication->in_the_way)) {
    case TABLE_LOCKED:
        publication->behind_by_us = 0;
        publication->behind_told = false;
        return is_proven(publication) || is_first(publication) ? FOLLOWS : LOCKED;
    case TABLE_UPDATER:
        return TAKEN;
    case TABLE_READERS:
        return behind_leases(publication);
    case TABLE_LOCK_FAILED:
        break;
    }
    return without_lock(publication, errno);
}

/* Leases end within milliseconds once nothing is handed out: one that does not is told of, once. */
static void look_for_holder(struct publication *publication)
{
    struct update *update = &publication->update;
    struct table_holder lock;

    if (sys.now_us() < update->blocked_us || update->ended ||
        !table_file_holder(&publication->file, 0, 0, &lock) || lock.write)
        return;
    update->blocked_us = UINT64_MAX;
    locks_tell_blocked(publication->namer, publication->namer_data, lock.start,
                       "a lease that is not given back stands in the way of a firmware update");
}

/* May the firmware, or where that is all there is the files, be others than before the update? */
static bool may_have_changed(const struct publication *publication)
{
    const struct generation *generation = publication->gate->generation;

    return publication->update.locked || publication->update.forced || !generation ||
           (generation->found.chain && table_file_emptied(&publication->file));
}

/* Looks at the update that is under way. True: it goes on, and nothing is to be published. */
static bool update_goes_on(struct publication *publication)
{
    struct update *update = &publication->update;

    if (!update->active)
        return false;
    const uint64_t looked_us = sys.now_us();
    bool taken = table_file_updater(&publication->file);
    const uint64_t rest_us = LOOK_RESTS * (sys.now_us() - looked_us);
    update->locked = update->locked || taken;
    if (taken)
        set_state(publication, PUBLICATION_UPDATING);
    else
        look_for_holder(publication);
    if (taken || (!update->ended && sys.now_us() < update->by_us)) {
        publish_later(publication, rest_us > WATCH_US ? rest_us : WATCH_US);
        if (taken && update->ended)
            tell_updater(publication, -EAGAIN);
        return true;
    }
    if (!update->ended)
        event_emit(EVENT_UPDATE_TIMEOUT, LOG_FIELDS(log_text("COCO_REASON", update->reason)),
                   "a firmware update did not end in its time; serving again (%s)", update->reason);
    update->active = false;
    metrics.updates++;
    publication->must_read = options_offer(publication->options) &&
                             (publication->must_read || may_have_changed(publication));
    if (!publication->must_read)
        happens(publication, GAVE_UP);
    return false;
}

static bool has_to_publish(const struct publication *publication)
{
    return publication->next || publication->stale || publication->must_read ||
           publication->state == PUBLICATION_LOCKED;
}

/* Brings in `next`, or a stale file up to date, as far as the lock allows now. */
static void publish(struct publication *publication)
{
    if (!update_goes_on(publication) && !selection_runs(publication->selection) &&
        has_to_publish(publication))
        happens(publication, try_lock(publication));
}

void publication_take(struct publication *publication, struct generation *generation)
{
    struct gate *gate = publication->gate;
    const struct generation *newest = newest_of(publication);

    if (generation && newest && publication->state != PUBLICATION_LOCKED &&
        generation_same_table(newest, generation)) {
        log_event(LOG_LEVEL_DEBUG, NULL, NULL, 0, "the certificate chain is unchanged");
        if (!publication->next) { /* the CRL may be another */
            gate_replace(gate, generation);
            generation = NULL;
        }
    }
    if (generation) {
        generation_unref(publication->next);
        publication->next = generation;
    }
    if (has_to_publish(publication))
        publish(publication);
    else if (publication->update.active) /* the update's end decides what is served */
        gate_set_doubt(gate, CERTS_REASON_NONE);
    else
        happens(publication, STALE);
}

void publication_look(struct publication *publication)
{
    const struct table_file *file = &publication->file;

    if (generation_has_chain(publication->gate->generation) && file->fd >= 0 &&
        (table_file_emptied(file) || (publication->stale && table_file_taken(file))))
        happens(publication, EMPTIED);
}

void publication_start(struct publication *publication)
{
    publication->must_read = true;
    publish(publication);
}

static void on_retry(struct timer *timer)
{
    struct publication *publication = container_of(timer, struct publication, retry);

    publication_open_file(publication);
    publish(publication);
}

/* --- updates and leases ----------------------------------------------------------------------- */

int certs_update_begin(struct certs *certs, uint64_t timeout_us, const char *reason)
{
    struct publication *publication = &certs->publication;
    struct update *update = &publication->update;

    if (update->active)
        return -EBUSY;
    if (publication->file.fd < 0 || !is_named(publication))
        return -EOPNOTSUPP;
    *update = (struct update){.active = true,
                              .by_us = sys.now_us() + timeout_us,
                              .blocked_us = sys.now_us() + publication->options->drain_timeout_us};
    snprintf(update->reason, sizeof(update->reason), "%s", reason);
    log_event(LOG_LEVEL_NOTICE, "update-begins", NULL, 0, "a firmware update begins: %s",
              update->reason);
    happens(publication, BEGIN_UPDATE);
    return 0;
}

void certs_update_end(struct certs *certs, bool forced, certs_update_told *told, void *data)
{
    struct update *update = &certs->publication.update;

    update->ended = true;
    update->forced = forced;
    update->told = told;
    update->data = data;
    if (forced)
        metrics.updates_forced++;
    publish(&certs->publication);
}

void certs_update_abandon(struct certs *certs)
{
    struct update *update = &certs->publication.update;

    update->told = NULL;
    if (!update->active)
        return;
    update->ended = update->abandoned = true;
    publish_later(&certs->publication, 0);
}

int certs_open_lease(struct certs *certs, uint64_t *ret_base)
{
    struct publication *publication = &certs->publication;

    if (publication->file.fd < 0)
        return -EOPNOTSUPP;
    if (!is_named(publication))
        return -ESTALE;
    return table_file_open_lease(&publication->file, ret_base);
}

int publication_init(struct publication *publication, struct timers *timers)
{
    return timer_init(&publication->retry, timers, on_retry);
}

void publication_done(struct publication *publication)
{
    tell_updater(publication, -ECANCELED);
    timer_done(&publication->retry);
    generation_unref(publication->next);
    table_file_close(&publication->file);
}
