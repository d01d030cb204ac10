/* SPDX-License-Identifier: MIT */
/*
 * The gate: every CERTS_GET is answered here, from what is in memory.
 *
 * What is served is a *generation*: a table, and the chain that it was made from. It is replaced as
 * a whole: selected by certs_select.c, brought in by certs_publish.c in step with the locks on the
 * table file; certs_update.c brackets firmware updates, certs_jobs.c works on the store. They share
 * one struct, and all of them but the work itself is the loop thread's.
 *
 * Two things make an answer EAGAIN: the state (draining, updating); or the table file has become
 * the empty table, which is what an updater does to it, so that an update that cocod was never told
 * of is noticed before the next table is handed out. The asker holds its lease while it asks, so
 * what is found then stays true until it lets go.
 *
 * Where what is known of the platform is too old, the request waits for the reading that it begins:
 * told to come again, a guest would come after exactly the time in which a reading grows old. It
 * waits for nothing that its own lease could stand in the way of: whatever needs leases to end
 * makes it an EAGAIN at once. Those who wait are looked at by a timer, some at a time, never from
 * within a change of state.
 */
#include "certs/certs.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"
#include "peer/request.h"
#include "snp_table.h"
#include "status.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <utlist.h>

/* Answered in one turn of the loop. */
#define WAKE_BATCH 64u

const char *certs_state_name(enum certs_state state)
{
    static const char *const names[] = {"serving", "draining", "updating"};

    return names[state];
}

void certs_generation_done(struct generation *generation)
{
    generation->table = blob_unref(generation->table);
    store_chain_done(&generation->found);
}

void certs_set_state(struct certs *certs, enum certs_state state)
{
    if (certs->state == state)
        return;
    log_event(LOG_LEVEL_INFO, "certs-state", NULL, 0, "certificates: %s", certs_state_name(state));
    certs->state = state;
    certs_wake(certs);
    if (certs->changed)
        certs->changed(certs->changed_data);
}

/* --- life ------------------------------------------------------------------------------------- */

void certs_reload(struct certs *certs, const struct certs_options *options)
{
    if (options)
        certs->options = *options;
    certs->reading = false; /* perhaps of another platform */
    if (certs->selecting == SELECT_READING || certs->selecting == SELECT_AGAIN)
        certs->selecting = SELECT_IDLE;
    certs_open_file(certs);
    if (certs_offered(certs))
        certs_select(certs, true);
    else if (!certs->load)
        certs_serve_nothing(certs);
    else
        certs->select_again = true;
    certs_wake(certs);
}

static void on_wake(struct timer *timer);

struct certs *certs_new(struct timers *timers, struct worker *worker,
                        const struct certs_options *options)
{
    struct certs *certs = sys.alloc(sizeof(*certs));

    if (!certs)
        return NULL;
    certs->timers = timers;
    certs->worker = worker;
    certs->options = *options;
    certs->file = (struct table_file){.fd = -1};
    certs->state = CERTS_DRAINING; /* nothing to serve yet */
    certs->empty = blob_new(COCO_SNP_EMPTY_TABLE_SIZE);
    if (certs->empty)
        certs->empty->common = true;
    if (!certs->empty || certs_publish_init(certs) < 0 || certs_select_init(certs) < 0 ||
        certs_expiry_init(certs) < 0 || certs_jobs_init(certs) < 0 ||
        timer_init(&certs->wake, timers, on_wake) < 0 ||
        getrandom(&certs->generation_id, sizeof(certs->generation_id), 0) < 0 ||
        getrandom(&certs->lease_next, sizeof(certs->lease_next), 0) < 0) {
        certs_free(certs);
        return NULL;
    }
    return certs;
}

void certs_free(struct certs *certs)
{
    if (!certs)
        return;
    certs_update_tell(certs, -ECANCELED);
    certs_jobs_done(certs);
    certs_select_done(certs);
    certs_expiry_done(certs);
    certs_publish_done(certs);
    timer_done(&certs->wake);
    blob_unref(certs->empty);
    sys.free(certs);
}

void certs_start(struct certs *certs)
{
    certs->starting = true;
    if (certs->options.store && store_vlek_migrate(certs->options.store) < 0)
        log_warn("%s: not all that the release before stored is in its place; what is, is served",
                 certs->options.store);
    certs_open_file(certs);
    if (!certs_offered(certs)) {
        certs_serve_nothing(certs);
    } else if (certs_knows_platform(certs) && certs->file.fd >= 0) {
        certs->must_read = true; /* the lock first: an update may be running */
        certs_publish(certs);
    } else {
        certs_select(certs, true);
    }
    certs->starting = false;
}

/* --- what others ask -------------------------------------------------------------------------- */

bool certs_offered(const struct certs *certs)
{
    return certs->options.n_chain > 0 || certs_knows_platform(certs);
}

/* An updater was there, and nobody told: the file tells. Or there is one: while the file is behind,
 * and so the empty table perhaps, the kernel is asked too. */
static bool overtaken(struct certs *certs)
{
    if (!certs->current.found.chain || certs->file.fd < 0 ||
        !(table_file_emptied(&certs->file) ||
          (certs->file_stale && table_file_taken(&certs->file))))
        return false;
    certs->unsure = true;
    certs->must_read = true;
    certs_publish_later(certs, 0);
    certs_wake(certs);
    return true;
}

static const char *const why_again[CERTS_REASONS] = {
    [CERTS_REASON_STARTING] = "cocod has just started, and has nothing to serve yet",
    [CERTS_REASON_DRAINING] = "a firmware update waits for leases to end",
    [CERTS_REASON_UPDATING] = "a firmware update is running, or was until now",
    [CERTS_REASON_READING] =
        "the platform could not be read, and its chain loaded, before the request's time was over",
    [CERTS_REASON_UNREAD] = "the platform could not be read, for the first time",
    [CERTS_REASON_DRAINED] = "an administrator drained cocod",
    [CERTS_REASON_LIMIT] = "as many of its requests are waiting as may",
    [CERTS_REASON_MEMORY] = "there was no memory in which it could wait",
};

struct certs_answer certs_again(const struct certs *certs, enum certs_reason reason)
{
    return (struct certs_answer){.status = COCO_EAGAIN,
                                 .reason = reason,
                                 .generation = certs->generation_id,
                                 .why = why_again[reason]};
}

/* Can a table be handed out, as far as the state is concerned? */
static bool serving(const struct certs *certs)
{
    return !certs->drained && certs->state == CERTS_SERVING && certs->current.table;
}

/* Is what stands in the way of an answer soon over, by itself? That is a selection which needs no
 * lock, or has it already. */
static bool is_soon(const struct certs *certs)
{
    if (!certs_offered(certs) || certs->drained || certs->selecting == SELECT_IDLE)
        return false;
    return certs->locked || (serving(certs) && certs->unsure && !certs->must_read);
}

/* Why there can be no table now; CERTS_REASON_NONE: there can. */
static enum certs_reason in_the_way(struct certs *certs)
{
    if (serving(certs) && certs_knows_platform(certs) && certs_freshen(certs) < 0)
        return CERTS_REASON_UNREAD;
    if (certs->drained)
        return CERTS_REASON_DRAINED;
    if (certs->state == CERTS_UPDATING)
        return CERTS_REASON_UPDATING;
    if (!certs->current.table)
        return CERTS_REASON_STARTING;
    if (certs->state == CERTS_DRAINING)
        return CERTS_REASON_DRAINING;
    if (certs->unsure)
        return certs->must_read ? CERTS_REASON_UPDATING : CERTS_REASON_READING;
    return overtaken(certs) ? CERTS_REASON_UPDATING : CERTS_REASON_NONE;
}

struct certs_answer certs_get(struct certs *certs, uint64_t npages)
{
    struct certs_answer answer = {.generation = certs->generation_id};

    if (!certs_offered(certs)) {
        answer.status = COCO_EOPNOTSUPP;
        answer.why = "certificates are not served on this host";
        return answer;
    }
    enum certs_reason reason = in_the_way(certs);
    if (reason != CERTS_REASON_NONE) {
        answer = certs_again(certs, reason);
        answer.wait = is_soon(certs);
        return answer;
    }
    if (!certs->current.found.chain && certs->options.refuse_missing) {
        answer.status = COCO_EIO;
        answer.why = "there is no chain to serve, and missing_chain = refuse";
        return answer;
    }
    answer.npages = coco_npages(certs->current.table->size);
    /* The empty table is never ENOSPC: a guest that offers no page is written nothing. */
    if (certs->current.found.chain && npages < answer.npages) {
        answer.status = COCO_ENOSPC;
        answer.why = "the guest offered too few pages, and asks again with more";
        return answer;
    }
    answer.table = certs->current.table;
    if (!certs->current.found.chain) {
        answer.reason = certs->empty_reason;
        answer.why = "there is no chain to serve: it got the empty table";
    }
    return answer;
}

/* --- those who wait --------------------------------------------------------------------------- */

/* By other hands than ours: its time is over, or its asker has cancelled it or left. */
static void leave(struct request *request)
{
    struct certs *certs = request->holder;

    DL_DELETE2(certs->waiting, request, waiter_prev, waiter_next);
}

void certs_wait(struct certs *certs, struct request *request)
{
    request_hold(request, leave, certs);
    DL_APPEND2(certs->waiting, request, waiter_prev, waiter_next);
}

void certs_wake(struct certs *certs)
{
    if (certs->waiting)
        timer_arm(&certs->wake, sys.now_us());
}

/* They are the first in the row, and known by their trace: whoever comes from now on waits for the
 * next reading. */
void certs_wake_unread(struct certs *certs)
{
    struct request *request;

    DL_FOREACH2(certs->waiting, request, waiter_next)
    {
        request->trace.why = why_again[CERTS_REASON_UNREAD];
    }
    certs_wake(certs);
}

static void on_wake(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, wake);

    for (unsigned n = 0; certs->waiting && n < WAKE_BATCH; n++) {
        struct request *request = certs->waiting;
        bool unread = request->trace.why != NULL;
        if (!unread && is_soon(certs))
            return;
        leave(request);
        request_release(request);
        request_complete(request, unread ? COCO_EAGAIN : COCO_OK, NULL);
    }
    certs_wake(certs);
}

/* --- what others ask, the rest ---------------------------------------------------------------- */

void certs_set_drained(struct certs *certs, bool drained)
{
    if (certs->drained == drained)
        return;
    certs->drained = drained;
    certs_wake(certs);
    if (certs->changed)
        certs->changed(certs->changed_data);
}

struct certs_status certs_status(const struct certs *certs)
{
    static const char *const sources[] = {
        [PLATFORM_NONE] = "none", [PLATFORM_FIXED] = "fixed", [PLATFORM_SEV] = "sev"};
    const struct certs_options *options = &certs->options;
    const struct store_chain *found = &certs->current.found;
    struct certs_status status = {.offered = certs_offered(certs),
                                  .drained = certs->drained,
                                  .updating = certs->update.active,
                                  .flooded = certs->flooded,
                                  .state = certs->state,
                                  .generation = certs->generation_id,
                                  .table = certs->current.table,
                                  .chain = found->chain,
                                  .crl = found->crl,
                                  .crl_in_table = options->serve_crl && !found->crl_left_out
                                                      ? found->crl
                                                      : NULL,
                                  .signer = options->signer,
                                  .vlek_csp = options->vlek_csp ? options->vlek_csp : "",
                                  .platform_source = sources[platform_kind(options->platform)],
                                  .platform = certs->known ? &certs->platform : NULL,
                                  .store_path = options->store,
                                  .table_path = options->table_file.path,
                                  .update_reason = certs->update.reason,
                                  .problem = {
                                      [CERTS_TROUBLE_PLATFORM] = certs->platform_problem,
                                      [CERTS_TROUBLE_CHAIN] = certs->chain_problem,
                                      [CERTS_TROUBLE_ALARM] = found->alarm,
                                      [CERTS_TROUBLE_FILE] = certs->file_problem,
                                      [CERTS_TROUBLE_CLOCK] = certs->clock_problem,
                                      [CERTS_TROUBLE_EXPIRY] = certs->expiry_problem,
                                      [CERTS_TROUBLE_ROOTS] = certs->roots_problem,
                                  }};

    for (size_t i = 0; i < CERTS_PROBLEMS_MAX; i++)
        if (!status.problem[i][0])
            status.problem[i] = NULL;
    return status;
}

size_t certs_problems(const struct certs *certs, const char *ret[CERTS_PROBLEMS_MAX])
{
    const struct certs_status status = certs_status(certs);
    size_t n = 0;

    for (size_t i = 0; i < CERTS_PROBLEMS_MAX; i++)
        if (status.problem[i])
            ret[n++] = status.problem[i];
    return n;
}

void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data)
{
    certs->changed = changed;
    certs->changed_data = data;
}

void certs_set_namer(struct certs *certs,
                     bool (*who)(void *data, uint64_t byte, struct certs_who *ret), void *data)
{
    certs->who = who;
    certs->who_data = data;
}

int certs_open_lease(struct certs *certs, uint64_t *ret_base)
{
    if (certs->file.fd < 0)
        return -EOPNOTSUPP;
    if (!certs_file_is_named(certs))
        return -ESTALE;
    int fd = table_file_reopen(&certs->file);
    if (fd < 0)
        return fd;
    uint32_t drawn;
    if (getrandom(&drawn, sizeof(drawn), 0) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    /* 1 MiB of table, then 26 bits that nobody guesses, 24 that no other session has, 12 of the
     * vCPU: below 2^63. */
    uint64_t session = (uint64_t)(drawn >> 6) << 24 | (certs->lease_next++ & 0xffffffu);
    *ret_base = COCO_LEASE_BASE_MIN + session * COCO_LEASE_BYTES;
    return fd;
}
