/* SPDX-License-Identifier: MIT */
/*
 * The certificate service: its parts, and how they hang together.
 *
 *   gate ◀── doubt ── selection ◀── "select anew" ── publication
 *    ▲                    └──────── a generation ────────▶ │
 *    └───────────────────── swaps it in ───────────────────┘
 *
 * The gate answers CERTS_GET, and says why not. The selection finds the generation that is to be
 * served next. The publication owns the table file and its lock, firmware updates included. Beside
 * them, jobs are administrators' work on the store; expiry and locks look once a minute at what is
 * served, and at who has locks. Calls go from right to left, to the gate at last; what goes the
 * other way is a callback, set here.
 *
 * Two things are found only when somebody asks for a table: that the last reading of the platform
 * is too old, and that an updater was there whom nobody announced. certs_get() looks for them
 * first. The asker holds its lease meanwhile, so what is found stays true until it lets go.
 */
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "certs/parts.h"

#define EVERY_US 60000000u

static void on_selected(void *data, struct generation *generation)
{
    struct certs *certs = data;

    publication_take(&certs->publication, generation);
}

static void look_at_served(void *data)
{
    struct certs *certs = data;
    const struct generation *generation = certs->gate.generation;

    expiry_look(&certs->expiry, generation, certs->selection.clock_trusted);
    if (generation_has_chain(generation))
        timer_arm(&certs->minute, sys.now_us() + EVERY_US);
    else
        timer_disarm(&certs->minute);
}

static void on_minute(struct timer *timer)
{
    struct certs *certs = container_of(timer, struct certs, minute);

    look_at_served(certs);
    locks_look(certs);
}

struct certs *certs_new(struct timers *timers, struct worker *worker,
                        const struct certs_options *options)
{
    struct certs *certs = sys.alloc(sizeof(*certs));

    if (!certs)
        return NULL;
    certs->options = *options;
    certs->selection = (struct selection){.worker = worker,
                                          .options = &certs->options,
                                          .gate = &certs->gate,
                                          .told = on_selected,
                                          .data = certs};
    certs->publication = (struct publication){.options = &certs->options,
                                              .gate = &certs->gate,
                                              .selection = &certs->selection,
                                              .swapped = look_at_served,
                                              .data = certs,
                                              .file = {.fd = -1}};
    certs->jobs.worker = worker;
    if (gate_init(&certs->gate, timers) < 0 || selection_init(&certs->selection, timers) < 0 ||
        publication_init(&certs->publication, timers) < 0 ||
        certs_jobs_init(&certs->jobs, timers) < 0 ||
        timer_init(&certs->minute, timers, on_minute) < 0) {
        certs_free(certs);
        return NULL;
    }
    gate_configure(certs);
    return certs;
}

void certs_free(struct certs *certs)
{
    if (!certs)
        return;
    timer_done(&certs->minute);
    publication_done(&certs->publication);
    certs_jobs_done(&certs->jobs);
    gate_done(&certs->gate);
    selection_done(&certs->selection);
    sys.free(certs);
}

void certs_start(struct certs *certs)
{
    const struct certs_options *options = &certs->options;

    certs->selection.starting = true;
    if (options->store && store_vlek_migrate(options->store) < 0)
        log_warn("%s: not all that the release before stored is in its place; what is, is served",
                 options->store);
    publication_open_file(&certs->publication);
    if (options_name_platform(options) && certs->publication.file.fd >= 0)
        publication_start(&certs->publication);
    else
        selection_restart(&certs->selection);
    certs->selection.starting = false;
}

void certs_reload(struct certs *certs, const struct certs_options *options)
{
    if (options)
        certs->options = *options;
    gate_configure(certs);
    publication_open_file(&certs->publication);
    selection_restart(&certs->selection);
}

/* --- answers ---------------------------------------------------------------------------------- */

struct certs_answer certs_get(struct certs *certs, uint64_t npages)
{
    struct gate *gate = &certs->gate;

    if (gate->offered && gate_is_open(gate) && options_name_platform(&certs->options) &&
        selection_freshen(&certs->selection) < 0)
        return certs_again(certs, CERTS_REASON_UNREAD);
    if (gate->offered && gate->reason == CERTS_REASON_NONE)
        publication_look(&certs->publication);
    return gate_answer(certs, npages);
}

void certs_set_listener(struct certs *certs, void (*changed)(void *data), void *data)
{
    certs->gate.changed = changed;
    certs->gate.data = data;
}

void certs_set_namer(struct certs *certs, certs_namer *namer, void *data)
{
    certs->publication.namer = namer;
    certs->publication.namer_data = data;
}

/* --- what others may know --------------------------------------------------------------------- */

struct certs_status certs_status(const struct certs *certs)
{
    static const char *const sources[] = {
        [PLATFORM_NONE] = "none", [PLATFORM_FIXED] = "fixed", [PLATFORM_SEV] = "sev"};
    static const struct store_chain nothing;
    const struct certs_options *options = &certs->options;
    const struct gate *gate = &certs->gate;
    const struct selection *selection = &certs->selection;
    const struct publication *publication = &certs->publication;
    const struct store_chain *found = gate->generation ? &gate->generation->found : &nothing;
    struct certs_status status = {
        .offered = gate->offered,
        .drained = gate->drained,
        .updating = publication->update.active,
        .flooded = certs->locks.flooded,
        .state = gate->state,
        .generation = gate->id,
        .table = gate->generation ? gate->generation->table : NULL,
        .chain = found->chain,
        .crl = found->crl,
        .crl_in_table = options->serve_crl && !found->crl_left_out ? found->crl : NULL,
        .signer = options->signer,
        .vlek_csp = options->vlek_csp ? options->vlek_csp : "",
        .platform_source = sources[platform_kind(options->platform)],
        .platform = selection->platform_read ? &selection->platform : NULL,
        .store_path = options->store,
        .table_path = options->table_file.path,
        .update_reason = publication->update.reason,
        .problem = {
            [CERTS_TROUBLE_PLATFORM] = selection->platform_problem.text,
            [CERTS_TROUBLE_CHAIN] = selection->chain_problem.text,
            [CERTS_TROUBLE_ALARM] = found->alarm.text,
            [CERTS_TROUBLE_FILE] = publication->problem.text,
            [CERTS_TROUBLE_CLOCK] = selection->clock_problem.text,
            [CERTS_TROUBLE_EXPIRY] = certs->expiry.problem.text,
            [CERTS_TROUBLE_ROOTS] = selection->roots_problem.text,
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
