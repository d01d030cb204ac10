/* SPDX-License-Identifier: MIT */
/*
 * The gate: every CERTS_GET is answered here, from what is in memory.
 *
 * What is served is a *generation*: a table, and the chain that it was made from. A generation is
 * replaced as a whole. Loading and verifying a new one runs on the worker; then it is `next`, and
 * the publisher (publish_step) brings it in:
 *
 *   SERVING ──next is there──▶ take the write lock of the table file
 *        ▲                        ├─ taken: rewrite the file, swap the generation ──▶ SERVING
 *        │                        ├─ a lease is in the way ──▶ DRAINING: CERTS_GET gets EAGAIN, so
 *        │                        │     that readers cannot starve the writer; again every 2 ms
 *        │                        └─ somebody else has the write lock ──▶ UPDATING: a firmware
 *        │                              command runs; EAGAIN, for as long as that takes
 *        └── drained too long: the generation is swapped for the RPC's sessions, and the file
 *            follows when the lease is gone (`file_stale`)
 *
 * The lock protects readers of the *file* from its rewriting; sessions get the table by value, and
 * no firmware changes by a reload, so a lease holder that never lets go delays them by
 * drain_timeout at most.
 *
 * A chain that is refused changes nothing but `chain_problem`. Without any chain the empty table is
 * served.
 */
#include "certs/certs.h"
#include "certs/load.h"
#include "invariant.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "snp_table.h"
#include "status.h"
#include "sys.h"
#include "worker.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define READERS_RETRY_US 2000u
#define UPDATER_RETRY_US 20000u
#define STALE_RETRY_US   1000000u

struct generation {
    struct blob *table;
    struct chain *chain; /* NULL: the empty table */
};

struct load {
    struct work work;
    struct certs *certs; /* NULL: the service is gone */
    struct chain_paths paths;
    int64_t now_s;
    int result;
    struct generation generation;
    char why[CHAIN_WHY_SIZE];
};

struct certs {
    struct timers *timers;
    struct worker *worker;
    struct certs_options options;
    struct blob *empty;

    enum certs_state state;
    uint64_t generation_id;
    struct generation current; /* table is NULL until the first publication */
    struct generation next;    /* table is NULL: nothing waits */
    bool file_stale;           /* the file does not hold the current table */
    struct table_file file;
    struct timer retry;
    uint64_t drain_by_us;

    struct load *load; /* running on the worker */
    bool load_again;   /* asked for meanwhile */

    uint32_t lease_epoch; /* random: two runs of cocod use different lease bytes */
    uint32_t lease_next;

    void (*changed)(void *data);
    void *changed_data;
    char chain_problem[CHAIN_WHY_SIZE + 64];
    char file_problem[CHAIN_WHY_SIZE];
};

const char *certs_state_name(enum certs_state state)
{
    static const char *const names[] = {"serving", "draining", "updating"};

    return names[state];
}

static void generation_done(struct generation *generation)
{
    generation->table = blob_unref(generation->table);
    chain_free(generation->chain);
    generation->chain = NULL;
}

static void set_state(struct certs *certs, enum certs_state state)
{
    if (certs->state == state)
        return;
    log_event(LOG_LEVEL_INFO, "certs-state", NULL, 0, "certificates: %s", certs_state_name(state));
    certs->state = state;
    if (certs->changed)
        certs->changed(certs->changed_data);
}

/* --- publishing ----------------------------------------------------------------------------------
 */

static void swap_generation(struct certs *certs)
{
    generation_done(&certs->current);
    certs->current = certs->next;
    certs->next = (struct generation){NULL, NULL};
    certs->generation_id++;
    metrics.certs_published++;
    if (certs->current.chain)
        log_event(LOG_LEVEL_NOTICE, "certs-published",
                  LOG_FIELDS(log_number("COCO_TABLE_BYTES", (int64_t)certs->current.table->size)),
                  "serving a certificate table of %zu bytes: %s chain of %s",
                  certs->current.table->size, chain_signer_name(certs->current.chain->signer),
                  certs->current.chain->product);
    if (certs->state == CERTS_SERVING && certs->changed)
        certs->changed(certs->changed_data);
    set_state(certs, CERTS_SERVING);
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
    log_error("%s", text);
}

static void write_file(struct certs *certs, const struct blob *table)
{
    int r = table_file_write(&certs->file, table->data, table->size);

    certs->file_stale = r < 0;
    if (r == 0)
        certs->file_problem[0] = 0;
    else
        file_trouble(certs,
                     "cannot write the table file %s: %s; VMMs that read the file do not see "
                     "the table that sessions get until it can be written",
                     certs->options.table_file.path, strerror(-r));
}

static void give_up_draining(struct certs *certs, uint64_t byte)
{
    snprintf(certs->file_problem, sizeof(certs->file_problem),
             "a lease on byte %llu of the table file %s is not given back; sessions get the new "
             "table, the file follows when the lease is gone (lsof names its holder)",
             (unsigned long long)byte, certs->options.table_file.path);
    log_event(LOG_LEVEL_WARNING, "lease-held", LOG_FIELDS(log_number("COCO_BYTE", (int64_t)byte)),
              "%s", certs->file_problem);
    certs->file_stale = true;
    swap_generation(certs);
    timer_arm(&certs->retry, sys.now_us() + STALE_RETRY_US);
}

/* Sessions are served all the same; the file is behind until it can be locked. */
static void publish_without_file(struct certs *certs, int error)
{
    file_trouble(certs,
                 "cannot lock the table file %s: %s; leases do not exclude a firmware update",
                 certs->options.table_file.path, strerror(error));
    certs->file_stale = true;
    if (certs->next.table)
        swap_generation(certs);
    else
        set_state(certs, CERTS_SERVING);
    timer_arm(&certs->retry, sys.now_us() + STALE_RETRY_US);
}

/* Brings in `next`, or a stale file up to date, as far as the lock allows now. */
static void publish_step(struct certs *certs)
{
    uint64_t byte = 0, now = sys.now_us();

    if (!certs->next.table && !certs->file_stale)
        return;
    if (certs->file.fd < 0) {
        if (certs->next.table)
            swap_generation(certs);
        return;
    }
    switch (table_file_lock(&certs->file, &byte)) {
    case TABLE_LOCKED:
        write_file(certs, certs->next.table ? certs->next.table : certs->current.table);
        table_file_unlock(&certs->file);
        if (certs->next.table)
            swap_generation(certs);
        else
            set_state(certs, CERTS_SERVING);
        if (certs->file_stale)
            timer_arm(&certs->retry, now + STALE_RETRY_US);
        return;
    case TABLE_UPDATER:
        set_state(certs, CERTS_UPDATING);
        certs->drain_by_us = 0;
        timer_arm(&certs->retry, now + UPDATER_RETRY_US);
        return;
    case TABLE_READERS:
        if (!certs->next.table) { /* only the file waits, and nobody waits for it */
            set_state(certs, CERTS_SERVING);
            timer_arm(&certs->retry, now + STALE_RETRY_US);
            return;
        }
        if (certs->drain_by_us == 0)
            certs->drain_by_us = now + certs->options.drain_timeout_us;
        if (now >= certs->drain_by_us) {
            certs->drain_by_us = 0;
            give_up_draining(certs, byte);
            return;
        }
        set_state(certs, CERTS_DRAINING);
        timer_arm(&certs->retry, now + READERS_RETRY_US);
        return;
    case TABLE_LOCK_FAILED:
        publish_without_file(certs, errno);
        return;
    }
}

static void on_retry(struct timer *timer)
{
    publish_step((struct certs *)((char *)timer - offsetof(struct certs, retry)));
}

/* --- loading -------------------------------------------------------------------------------------
 */

static void free_strings(char *const *strings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(strings[i]);
    free((void *)(uintptr_t)strings);
}

static char **copy_strings(char *const *strings, size_t n)
{
    char **copy = calloc(n ? n : 1, sizeof(*copy));

    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = strdup(strings[i]);
        if (!copy[i]) {
            free_strings(copy, i);
            return NULL;
        }
    }
    return copy;
}

static void load_free(struct load *load)
{
    if (!load)
        return;
    if (load->paths.chain)
        free_strings(load->paths.chain, load->paths.n_chain);
    if (load->paths.roots)
        free_strings(load->paths.roots, load->paths.n_roots);
    generation_done(&load->generation);
    sys.free(load);
}

static void load_run(struct work *work)
{
    struct load *load = (struct load *)work;

    load->result = chain_load(&load->paths, load->now_s, &load->generation.chain,
                              &load->generation.table, load->why, sizeof(load->why));
}

static void load_done(struct work *work);

/* A load of its own copy of the names: the configuration may be replaced while it runs. */
static struct load *load_new(struct certs *certs)
{
    struct load *load = sys.alloc(sizeof(*load));

    if (!load)
        return NULL;
    load->work = (struct work){.run = load_run, .done = load_done};
    load->certs = certs;
    load->now_s = sys.wall_s();
    load->paths.n_chain = certs->options.n_chain;
    load->paths.chain = copy_strings(certs->options.chain, certs->options.n_chain);
    if (load->paths.chain) {
        load->paths.n_roots = certs->options.n_roots;
        load->paths.roots = copy_strings(certs->options.roots, certs->options.n_roots);
    }
    if (!load->paths.chain || !load->paths.roots) {
        load_free(load);
        return NULL;
    }
    return load;
}

static void take_generation(struct certs *certs, struct generation *generation)
{
    const struct blob *now = certs->next.table ? certs->next.table : certs->current.table;

    if (now && !certs->file_stale && now->size == generation->table->size &&
        memcmp(now->data, generation->table->data, now->size) == 0) {
        log_info("the certificate chain is unchanged");
        generation_done(generation);
        return;
    }
    generation_done(&certs->next);
    certs->next = *generation;
    *generation = (struct generation){NULL, NULL};
    certs->drain_by_us = 0;
    publish_step(certs);
}

static void refuse_chain(struct certs *certs, const char *why)
{
    bool have = certs->current.chain || certs->next.chain;

    metrics.certs_rejected++;
    snprintf(certs->chain_problem, sizeof(certs->chain_problem), "%s (%s)", why,
             have ? "the chain loaded before is still served" : "the empty table is served");
    log_event(LOG_LEVEL_ERROR, "chain-refused", NULL, 0, "certificate chain refused: %s",
              certs->chain_problem);
    if (!have && !certs->current.table && !certs->next.table) {
        certs->next = (struct generation){blob_ref(certs->empty), NULL};
        publish_step(certs);
    }
}

static void take_load(struct certs *certs, struct load *load)
{
    if (load->result < 0) {
        refuse_chain(certs, load->why);
        return;
    }
    certs->chain_problem[0] = 0;
    take_generation(certs, &load->generation);
}

static void load_done(struct work *work)
{
    struct load *load = (struct load *)work;
    struct certs *certs = load->certs;

    if (certs) {
        certs->load = NULL;
        take_load(certs, load);
        if (certs->load_again) {
            certs->load_again = false;
            certs_reload(certs, NULL);
        }
    }
    load_free(load);
}

static void serve_nothing(struct certs *certs)
{
    struct generation empty = {blob_ref(certs->empty), NULL};

    certs->chain_problem[0] = 0;
    take_generation(certs, &empty);
}

static void open_file(struct certs *certs)
{
    if (certs->file.fd >= 0 || !certs_offered(certs))
        return;
    int r = table_file_open(&certs->file, &certs->options.table_file);
    if (r < 0) {
        file_trouble(certs,
                     "cannot open the table file %s: %s; leases are not offered and nothing "
                     "excludes a firmware update",
                     certs->options.table_file.path, strerror(-r));
        return;
    }
    certs->file_problem[0] = 0;
    if (certs->current.table) { /* a file that comes late must hold what is served already */
        certs->file_stale = true;
        timer_arm(&certs->retry, sys.now_us());
    }
}

void certs_reload(struct certs *certs, const struct certs_options *options)
{
    if (options)
        certs->options = *options;
    if (certs->load) {
        certs->load_again = true;
        return;
    }
    open_file(certs);
    if (certs->options.n_chain == 0) {
        serve_nothing(certs);
        return;
    }
    struct load *load = load_new(certs);
    int r = load ? worker_submit(certs->worker, &load->work) : -ENOMEM;
    if (r < 0) {
        load_free(load);
        refuse_chain(certs, r == -ENOMEM ? "out of memory" : "the worker is busy; reload again");
        return;
    }
    certs->load = load;
}

/* --- life ----------------------------------------------------------------------------------------
 */

struct certs *certs_new(struct timers *timers, struct worker *worker,
                        const struct certs_options *options)
{
    struct certs *certs = sys.alloc(sizeof(*certs));

    if (!certs)
        return NULL;
    certs->timers = timers;
    certs->worker = worker;
    certs->options = *options;
    certs->file.fd = -1;
    certs->state = CERTS_DRAINING; /* nothing to serve yet */
    certs->empty = blob_new(COCO_SNP_EMPTY_TABLE_SIZE);
    if (!certs->empty || timer_init(&certs->retry, timers, on_retry) < 0 ||
        getrandom(&certs->generation_id, sizeof(certs->generation_id), 0) < 0 ||
        getrandom(&certs->lease_epoch, sizeof(certs->lease_epoch), 0) < 0) {
        certs_free(certs);
        return NULL;
    }
    return certs;
}

void certs_free(struct certs *certs)
{
    if (!certs)
        return;
    if (certs->load)
        certs->load->certs = NULL; /* its end is told to nobody */
    timer_done(&certs->retry);
    generation_done(&certs->current);
    generation_done(&certs->next);
    table_file_close(&certs->file);
    blob_unref(certs->empty);
    sys.free(certs);
}

void certs_start(struct certs *certs)
{
    if (!certs_offered(certs)) {
        serve_nothing(certs);
        return;
    }
    open_file(certs);
    struct load *load = load_new(certs);
    if (!load) {
        refuse_chain(certs, "out of memory");
        return;
    }
    load_run(&load->work);
    take_load(certs, load);
    load_free(load);
}

/* --- what others ask -----------------------------------------------------------------------------
 */

bool certs_offered(const struct certs *certs)
{
    return certs->options.n_chain > 0;
}

struct certs_answer certs_get(const struct certs *certs, uint64_t npages)
{
    struct certs_answer answer = {.generation = certs->generation_id};

    if (!certs_offered(certs)) {
        answer.status = COCO_EOPNOTSUPP;
        return answer;
    }
    if (certs->state != CERTS_SERVING || !certs->current.table) {
        answer.status = COCO_EAGAIN;
        return answer;
    }
    if (!certs->current.chain && certs->options.refuse_missing) {
        answer.status = COCO_EIO;
        return answer;
    }
    answer.npages = coco_npages(certs->current.table->size);
    /* The empty table is never ENOSPC: a guest that offers no page is written nothing. */
    if (certs->current.chain && npages < answer.npages) {
        answer.status = COCO_ENOSPC;
        return answer;
    }
    answer.table = certs->current.table;
    return answer;
}

uint64_t certs_generation(const struct certs *certs)
{
    return certs->generation_id;
}

enum certs_state certs_get_state(const struct certs *certs)
{
    return certs->state;
}

size_t certs_problems(const struct certs *certs, const char *ret[CERTS_PROBLEMS_MAX])
{
    size_t n = 0;

    if (certs->chain_problem[0])
        ret[n++] = certs->chain_problem;
    if (certs->file_problem[0])
        ret[n++] = certs->file_problem;
    return n;
}

const struct chain *certs_chain(const struct certs *certs)
{
    return certs->current.chain;
}

const struct blob *certs_table(const struct certs *certs)
{
    return certs->current.table;
}

void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data)
{
    certs->changed = changed;
    certs->changed_data = data;
}

int certs_open_lease(struct certs *certs, uint64_t *ret_base)
{
    if (certs->file.fd < 0)
        return -EOPNOTSUPP;
    int fd = table_file_reopen(&certs->file);
    if (fd < 0)
        return fd;
    /* 1 MiB of table, then 24 bits of this run, 24 of this session, 12 of the vCPU: below 2^63. */
    uint64_t session =
        (uint64_t)(certs->lease_epoch & 0xffffffu) << 24 | (certs->lease_next++ & 0xffffffu);
    *ret_base = COCO_LEASE_BASE_MIN + session * COCO_LEASE_BYTES;
    return fd;
}
