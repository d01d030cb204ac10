/* SPDX-License-Identifier: MIT */
/*
 * The publisher: brings a generation in, in step with the locks on the table file.
 *
 *   SERVING ──next is there──▶ take the write lock
 *        ▲     ├─ taken: rewrite the file, swap the generation ──▶ SERVING
 *        │     ├─ taken, and an updater may have been there: keep it, read the platform, or where
 * it │     │     is not known the files, select (certs_select.c); then rewrite and swap │     ├─ a
 * lease is in the way ──▶ DRAINING: CERTS_GET is EAGAIN, so that readers cannot │     │     starve
 * the writer; again every 2 ms │     └─ somebody else has the write lock ──▶ UPDATING: a firmware
 * command runs; EAGAIN, │           for as long as that takes └── drained too long: the generation
 * is swapped for the RPC's sessions, and the file follows when the lease is gone (`file_stale`)
 *
 * What always holds where the platform is known: a chain becomes public only if the platform was
 * read while this process had the write lock; or if it was read before, and the file still holds
 * the table that was published last. An updater makes the file the empty table before its command,
 * so that shows that none was there in between. (Where the empty table itself is current, the file
 * shows nothing, so the lock comes first.)
 *
 * A lease holder that never lets go delays a new generation by drain_timeout and no more: sessions
 * get tables by value, and the lock of an update is the updater's business.
 */
#include "certs/certs_parts.h"
#include "event.h"
#include "log.h"
#include "metrics.h"
#include "sys.h"
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
    struct store_key key;
    char text[STORE_KEY_SIZE], generation[17];

    store_key_of_chain(chain, &key);
    store_key_format(&key, text);
    snprintf(generation, sizeof(generation), "%016llx", (unsigned long long)certs->generation_id);
    event_emit(EVENT_CHAIN_SERVED,
               LOG_FIELDS(log_text("COCO_KEY", text),
                          log_number("COCO_TABLE_BYTES", (int64_t)certs->current.table->size),
                          log_text("COCO_GENERATION", generation)),
               "serving a certificate table of %zu bytes: %s chain of %s",
               certs->current.table->size, chain_signer_name(chain->signer), chain->product);
}

/* For those who ask later what a generation was. */
static void note_generation(struct certs *certs, const struct chain *chain)
{
    size_t i = certs->generation_id % CERTS_PAST;

    certs->past[i].generation = certs->generation_id;
    certs->past[i].has_chain = chain != NULL;
    if (chain)
        store_key_of_chain(chain, &certs->past[i].key);
}

const struct store_key *certs_generation_key(const struct certs *certs, uint64_t generation)
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

static void write_file(struct certs *certs, const struct blob *table)
{
    int r = table_file_write(&certs->file, table->data, table->size);

    certs->file_stale = r < 0;
    if (r == 0)
        certs->file_problem[0] = 0;
    else
        file_trouble(certs,
                     "cannot write the table file %s: %s; VMMs that read the file see the empty "
                     "table until it can be written",
                     certs->options.table_file.path, strerror(-r));
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
               "%s; it is that of VM %s, pid %d", text, who.vm[0] ? who.vm : "without a name",
               (int)who.pid);
}

static void give_up_draining(struct certs *certs, uint64_t byte)
{
    snprintf(certs->file_problem, sizeof(certs->file_problem),
             "a lease on byte %llu of the table file %s is not given back; sessions get the new "
             "table, the file follows when the lease is gone (lsof names its holder)",
             (unsigned long long)byte, certs->options.table_file.path);
    certs_tell_blocked(certs, byte, certs->file_problem);
    certs->drain_by_us = 0;
    certs->file_stale = true;
    certs_publish_later(certs, STALE_RETRY_US);
    swap_generation(certs);
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

static bool lock_comes_first(const struct certs *certs)
{
    if (certs->locked)
        return false;
    if (!certs_knows_platform(certs))
        return certs->must_read;
    return certs->must_read || certs->file_stale || !certs->current.found.chain ||
           table_file_emptied(&certs->file);
}

static void with_lock(struct certs *certs)
{
    certs->drain_by_us = 0;
    if (lock_comes_first(certs)) {
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

static void behind_readers(struct certs *certs, uint64_t byte)
{
    uint64_t now = sys.now_us();

    if (!certs->next.table &&
        !certs->must_read) { /* only the file waits, and nobody waits for it */
        certs_publish_later(certs, STALE_RETRY_US);
        serve(certs);
        return;
    }
    if (certs->drain_by_us == 0)
        certs->drain_by_us = certs->update.forced ? now : now + certs->options.drain_timeout_us;
    if (now < certs->drain_by_us) {
        certs_set_state(certs, CERTS_DRAINING);
        certs_publish_later(certs, READERS_RETRY_US);
        return;
    }
    if (certs->must_read) /* without the lock; drain_by_us stays past for what is selected */
        certs_select_anew(certs);
    else
        give_up_draining(certs, byte);
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
        certs_set_state(certs, CERTS_UPDATING);
        certs->must_read = certs_offered(certs);
        certs->drain_by_us = 0;
        certs_publish_later(certs, UPDATER_RETRY_US);
        certs_update_tell(certs, -EAGAIN);
        return;
    case TABLE_READERS:
        behind_readers(certs, byte);
        return;
    case TABLE_LOCK_FAILED:
        if (certs->must_read)
            certs_select_anew(certs);
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
    struct certs *certs = (struct certs *)((char *)timer - offsetof(struct certs, retry));

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
