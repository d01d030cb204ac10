/* SPDX-License-Identifier: MIT */
/*
 * The publisher: brings a generation in, in step with the locks on the table file.
 *
 *   next is there ──▶ take the write lock
 *     ├─ taken: rewrite the file, swap the generation ──▶ SERVING
 *     ├─ taken, and an updater may have been there: keep it, read the platform, or where that is
 *     │  not known the files, select (certs_select.c); then rewrite and swap
 *     ├─ a lease is in the way: swap the generation; the file is behind (`file_stale`), and follows
 *     │  when the lease is gone
 *     ├─ likewise, and an updater may have been there: mark the file, ask for a write lock, read and
 *     │  select without the lock, and swap
 *     └─ somebody else has the write lock ──▶ UPDATING: a firmware command runs; EAGAIN, for as
 *        long as that takes
 *
 * So a lease delays the file and never the sessions, which get tables by value, whoever holds it
 * and for how long.
 *
 * What always holds: a chain becomes public only if, since the platform or the files were read for
 * it, no updater was there. This process has had the write lock since; or the file has not been
 * made the empty table since, which is what an updater does before its command. Where the file is
 * that table already, since the last updater left it so and cocod cannot have the lock, nothing
 * would show: so cocod marks it first. And in this order: whoever gets the lock after the mark cuts
 * it off; whoever has it when it is written is found by asking for a write lock afterwards; and
 * whatever he did who let go before that, the reading sees, which begins last. The mark lies where
 * nobody reads, so it needs no lock itself.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "observe/event.h"
#include "observe/metrics.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define READERS_RETRY_US 2000u
#define UPDATER_RETRY_US 20000u
#define STALE_RETRY_US   1000000u

static void tell_served(const struct certs *certs)
{
    const struct chain *chain = certs->current.found.chain;
    char text[STORE_KEY_SIZE], generation[17];

    store_key_format(&chain->key, text);
    snprintf(generation, sizeof(generation), "%016llx", (unsigned long long)certs->generation_id);
    event_emit(EVENT_CHAIN_SERVED,
               LOG_FIELDS(log_text("COCO_KEY", text),
                          log_number("COCO_TABLE_BYTES", (int64_t)certs->current.table->size),
                          log_text("COCO_GENERATION", generation)),
               "serving a certificate table of %zu bytes: %s chain of %s",
               certs->current.table->size, chain_signer_name(chain->key.signer),
               coco_snp_product_name(chain->key.product));
}

/* For those who ask later what a generation was. */
static void note_generation(struct certs *certs, const struct chain *chain)
{
    size_t i = certs->generation_id % CERTS_PAST;

    certs->past[i].generation = certs->generation_id;
    certs->past[i].has_chain = chain != NULL;
    if (chain)
        certs->past[i].key = chain->key;
}

const struct chain_key *certs_generation_key(const struct certs *certs, uint64_t generation)
{
    size_t i = generation % CERTS_PAST;

    return certs->past[i].generation == generation && certs->past[i].has_chain ? &certs->past[i].key
                                                                               : NULL;
}

static void swap_generation(struct certs *certs)
{
    certs_generation_done(&certs->current);
    certs->current = certs->next;
    certs->next = (struct generation){.table = NULL};
    certs->generation_id++;
    metrics.certs_published++;
    note_generation(certs, certs->current.found.chain);
    if (certs->current.found.chain)
        tell_served(certs);
    certs_look_at_expiry(certs);
    if (certs->state == CERTS_SERVING && certs->changed)
        certs->changed(certs->changed_data);
    certs_confirm(certs);
}

static void serve(struct certs *certs)
{
    certs->unsure = false;
    certs->update.forced = false;
    certs_set_state(certs, CERTS_SERVING);
    certs_wake(certs);
    certs_update_tell(certs, 0);
}

/* Says what is wrong with the table file: once, however often it is tried again. */
static void __attribute__((format(printf, 2, 3)))
file_trouble(struct certs *certs, const char *fmt, ...)
{
    char text[sizeof(certs->file_problem)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (strcmp(text, certs->file_problem) == 0)
        return;
    memcpy(certs->file_problem, text, sizeof(text));
    event_emit(EVENT_TABLE_FILE, LOG_FIELDS(log_text("COCO_FILE", certs->options.table_file.path)),
               "%s", text);
}

static void tell_unwritten(struct certs *certs, int error)
{
    file_trouble(certs,
                 "cannot write the table file %s: %s; VMMs that read the file see the empty table "
                 "until it can be written",
                 certs->options.table_file.path, strerror(-error));
}

static void write_file(struct certs *certs, const struct blob *table)
{
    int r = table_file_write(&certs->file, table->data, table->size);

    certs->file_stale = r < 0;
    if (r == 0) {
        certs->file_problem[0] = 0;
        return;
    }
    tell_unwritten(certs, r);
    (void)table_file_mark(&certs->file); /* this process has the lock still */
}

void certs_tell_blocked(struct certs *certs, uint64_t byte, const char *text)
{
    struct certs_who who = {.vm = ""};

    if (!certs->who || !certs->who(certs->who_data, byte, &who)) {
        event_emit(EVENT_LEASE_BLOCKS, LOG_FIELDS(log_number("COCO_BYTE", (int64_t)byte)), "%s",
                   text);
        return;
    }
    event_emit(EVENT_LEASE_BLOCKS,
               LOG_FIELDS(log_text("COCO_VM", who.vm), log_number("PEER_PID", who.pid),
                          log_number("PEER_UID", (int64_t)who.uid),
                          log_number("COCO_BYTE", (int64_t)byte)),
               "%s; the byte is of the range of VM %s, pid %d, whose lock it need not be", text,
               who.vm[0] ? who.vm : "without a name", (int)who.pid);
}

/* The file is behind until it can be locked. Leases last milliseconds: one that is there for longer
 * is told of, once, and then waited for at leisure. */
static void file_is_behind(struct certs *certs, uint64_t byte)
{
    const uint64_t now = sys.now_us();

    certs->file_stale = true;
    if (certs->behind_by_us == 0)
        certs->behind_by_us = now + certs->options.drain_timeout_us;
    certs_publish_later(certs, now < certs->behind_by_us ? READERS_RETRY_US : STALE_RETRY_US);
    if (now < certs->behind_by_us || certs->behind_told)
        return;
    certs->behind_told = true;
    snprintf(certs->file_problem, sizeof(certs->file_problem),
             "a lease on byte %llu of the table file %s is not given back; sessions get the new "
             "table, the file follows when the lease is gone",
             (unsigned long long)byte, certs->options.table_file.path);
    certs_tell_blocked(certs, byte, certs->file_problem);
}

static void no_longer_behind(struct certs *certs)
{
    certs->behind_by_us = 0;
    certs->behind_told = false;
}

/* Sessions are served all the same; the file is behind until it can be locked. */
static void publish_without_file(struct certs *certs, int error)
{
    file_trouble(certs,
                 "cannot lock the table file %s: %s; leases do not exclude a firmware update",
                 certs->options.table_file.path, strerror(error));
    certs->file_stale = true;
    certs_publish_later(certs, STALE_RETRY_US);
    if (certs->next.table)
        swap_generation(certs);
    else
        serve(certs);
}

/* Was no updater there since what is to be served was read? The empty table is always right. */
static bool is_proven(const struct certs *certs)
{
    const struct generation *served = certs->next.table ? &certs->next : &certs->current;

    return !certs->must_read &&
           (!served->found.chain || !(certs->file.blind || table_file_emptied(&certs->file)));
}

/* The operator's word, where nothing was served before that an updater could have outdated. */
static bool is_first(const struct certs *certs)
{
    return !certs->must_read && !certs_knows_platform(certs) && !certs->current.found.chain;
}

static void with_lock(struct certs *certs)
{
    no_longer_behind(certs);
    if (!certs->locked && !is_proven(certs) && !is_first(certs)) {
        certs->locked = true;
        certs_set_state(certs, CERTS_UPDATING);
        certs_select_anew(certs);
        return;
    }
    certs->must_read = false;
    const struct blob *table = certs->next.table ? certs->next.table : certs->current.table;
    if (table)
        write_file(certs, table);
    table_file_unlock(&certs->file);
    certs->locked = false;
    if (certs->file_stale)
        certs_publish_later(certs, STALE_RETRY_US);
    if (certs->next.table)
        swap_generation(certs);
    else if (table)
        serve(certs);
}

static void behind_updater(struct certs *certs)
{
    no_longer_behind(certs);
    certs_set_state(certs, CERTS_UPDATING);
    certs->must_read = certs_offered(certs);
    certs_publish_later(certs, UPDATER_RETRY_US);
    certs_update_tell(certs, -EAGAIN);
}

/* An updater may have been there, and the lock is not to be had. Requests wait for the reading. */
static void select_without_lock(struct certs *certs)
{
    int r = table_file_mark(&certs->file);

    if (r < 0)
        tell_unwritten(certs, r);
    certs->file_stale = true;
    if (table_file_updater(&certs->file)) {
        behind_updater(certs);
        return;
    }
    if (certs->current.table)
        certs_set_state(certs, CERTS_SERVING);
    certs_select_anew(certs);
}

static void behind_readers(struct certs *certs, uint64_t byte)
{
    file_is_behind(certs, byte);
    if (certs->file.blind ? certs->must_read : !is_proven(certs))
        select_without_lock(certs);
    else if (certs->next.table)
        swap_generation(certs);
    else if (certs->current.table)
        serve(certs);
}

void certs_publish(struct certs *certs)
{
    uint64_t byte = 0;

    if (certs_update_step(certs) || certs->selecting != SELECT_IDLE ||
        (!certs->next.table && !certs->file_stale && !certs->must_read))
        return;
    if (certs->file.fd < 0) {
        certs->must_read = false;
        if (certs->next.table)
            swap_generation(certs);
        return;
    }
    switch (certs->locked ? TABLE_LOCKED : table_file_lock(&certs->file, &byte)) {
    case TABLE_LOCKED:
        with_lock(certs);
        return;
    case TABLE_UPDATER:
        behind_updater(certs);
        return;
    case TABLE_READERS:
        behind_readers(certs, byte);
        return;
    case TABLE_LOCK_FAILED:
        if (certs->must_read)
            select_without_lock(certs);
        else
            publish_without_file(certs, errno);
        return;
    }
}

void certs_confirm(struct certs *certs)
{
    if (certs->update.active)
        certs->unsure = false; /* the update's end decides what is served */
    else
        serve(certs);
}

void certs_publish_later(struct certs *certs, uint64_t us)
{
    timer_arm(&certs->retry, sys.now_us() + us);
}

static void on_retry(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, retry);

    certs_open_file(certs);
    certs_publish(certs);
}

int certs_publish_init(struct certs *certs)
{
    certs->file.fd = -1;
    return timer_init(&certs->retry, certs->timers, on_retry);
}

void certs_publish_done(struct certs *certs)
{
    timer_done(&certs->retry);
    certs_generation_done(&certs->current);
    certs_generation_done(&certs->next);
    table_file_close(&certs->file);
}

void certs_open_file(struct certs *certs)
{
    if (certs->file.fd >= 0 || !certs_offered(certs))
        return;
    int r = table_file_open(&certs->file, &certs->options.table_file);
    if (r < 0) {
        file_trouble(certs,
                     "cannot open the table file %s: %s; leases are not offered and nothing "
                     "excludes a firmware update",
                     certs->options.table_file.path, strerror(-r));
        if (load_is_passing(r))
            certs_publish_later(certs, STALE_RETRY_US);
        return;
    }
    certs->file_problem[0] = 0;
    if (certs->current.table) { /* a file that comes late must hold what is served already */
        certs->file_stale = true;
        certs_publish_later(certs, 0);
    }
}

bool certs_file_is_named(struct certs *certs)
{
    if (table_file_is_named(&certs->file, certs->options.table_file.path))
        return true;
    file_trouble(certs,
                 "the table file %s was removed or replaced while cocod ran: a lease on it would "
                 "keep no firmware update back, so none is given, and no update begins; restart "
                 "cocod",
                 certs->options.table_file.path);
    return false;
}
