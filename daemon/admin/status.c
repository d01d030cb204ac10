/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods about the daemon as a whole: its status, the log's level, draining.
 */
#include "status.h"
#include "admin/parts.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/worker.h"
#include "certs/certs.h"
#include "certs/chain/chain.h"
#include "certs/store/store.h"
#include "config/state.h"
#include "observe/counters.h"
#include "quotes/quotes.h"
#include "snp_table.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* --- what needs the operator ------------------------------------------------------------------ */

void admin_gather(const void *from, void (*each)(void *data, const char *reason), void *data)
{
    const struct admin *admin = from;
    const char *problems[CERTS_PROBLEMS_MAX];
    struct quotes_status status;
    size_t n = certs_problems(admin->certs, problems);

    quotes_get_status(admin->quotes, &status);
    if (admin->config_state->problem[0])
        each(data, admin->config_state->problem);
    if (admin->config_state->restart_problem[0])
        each(data, admin->config_state->restart_problem);
    if (worker_stalled(admin->worker))
        each(data, "reading or writing files hangs: a disk or a file system does not answer; look "
                   "at `dmesg` and at the folders of [certs]; what is served stays as it is");
    if (worker_stalled(admin->reloader))
        each(data, "reading the configuration hangs: a disk, a file system or a name service does "
                   "not answer; look at `dmesg`, and at what [admin] and vmm_users name; the "
                   "configuration before stays in force");
    if (certs_status(admin->certs).drained)
        each(data,
             "drained by an administrator: every request is told to ask again later; \"cococtl "
             "resume\" ends it");
    for (size_t i = 0; i < n; i++)
        each(data, problems[i]);
    for (size_t i = 0; i < status.n_backends; i++) {
        struct backend_status backend;
        char text[512];
        quotes_get_backend_status(admin->quotes, i, &backend);
        if (!backend.problem)
            continue;
        snprintf(text, sizeof(text), "%s: %s", backend.name, backend.problem);
        each(data, text);
    }
}

/* --- GetStatus -------------------------------------------------------------------------------- */

static struct json_object *table_entries(const struct blob *blob)
{
    struct json_object *array = json_object_new_array();
    struct coco_snp_table table;

    if (!blob || coco_snp_table_decode(blob->data, blob->size, &table) < 0)
        return array;
    for (size_t i = 0; i < table.n_entries; i++) {
        struct json_object *entry = json_object_new_object();
        admin_add_text(entry, "kind", coco_snp_kind_name(coco_snp_kind_of(table.entries[i].guid)));
        json_set_int(entry, "offset", table.entries[i].offset);
        json_set_int(entry, "length", table.entries[i].length);
        json_append(array, entry);
    }
    return array;
}

static struct json_object *platform_status(const struct platform_state *platform)
{
    struct json_object *object = json_object_new_object();
    struct chain_key key = {.product = platform->product};
    char tcb[COCO_SNP_TCB_TEXT_SIZE], chip_id[STORE_CHIP_SIZE];

    memcpy(key.chip_id, platform->chip_id, sizeof(key.chip_id));
    store_chip_format(&key, chip_id);
    coco_snp_tcb_format(platform->product, &platform->reported, tcb);
    admin_add_text(object, "product", coco_snp_product_name(platform->product));
    admin_add_text(object, "chipId", chip_id[0] ? chip_id : NULL);
    admin_add_text(object, "tcb", tcb);
    json_set_bool(object, "vlek", platform->vlek_en);
    return object;
}

static struct json_object *certificate_status(const struct certs *from)
{
    const struct certs_status certs = certs_status(from);
    const struct chain *chain = certs.chain;
    struct json_object *object = json_object_new_object();
    const char *problems[CERTS_PROBLEMS_MAX];
    size_t n = certs_problems(from, problems);

    admin_add_hex64(object, "generation", certs.generation);
    admin_add_if(object, "platform", certs.platform != NULL,
                 certs.platform ? platform_status(certs.platform) : NULL);
    json_set_int(object, "tableBytes", certs.table ? certs.table->size : 0);
    json_set(object, "tableEntries", table_entries(certs.table));
    admin_add_text(object, "source", chain ? chain->certs[CHAIN_LEAF].source : NULL);
    admin_add_time(object, "notAfter",
                   chain ? chain_first_to_expire(chain)->not_after_s : INT64_MAX);
    admin_add_text(object, "problem", n > 0 ? problems[0] : NULL);
    return object;
}

static struct json_object *backend_list(const struct quotes *quotes, size_t n)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < n; i++) {
        struct json_object *object = json_object_new_object();
        struct backend_status status;
        quotes_get_backend_status(quotes, i, &status);
        admin_add_text(object, "address", status.name);
        json_set_int(object, "slots", status.slots);
        json_set_int(object, "slotsOpen", status.slots_open);
        json_set_int(object, "slotsBusy", status.busy);
        json_set_int(object, "slotsSuspect", status.suspect);
        json_set_int(object, "abandoned", status.abandoned);
        admin_add_text(object, "breaker", breaker_name(status.breaker));
        json_set_optional_int(object, "awayMs", status.away_us > 0,
                              (sys.now_us() - status.away_us) / 1000u);
        json_set_int(object, "serviceUs", status.service_us);
        json_set_int(object, "answered", status.answered);
        json_set_int(object, "failed", status.failed);
        admin_add_text(object, "problem", status.problem);
        json_append(array, object);
    }
    return array;
}

static struct json_object *quote_status(const struct quotes *quotes)
{
    struct json_object *object = json_object_new_object();
    struct quotes_status status;

    quotes_get_status(quotes, &status);
    admin_add_text(object, "backend", status.backend);
    json_set_int(object, "slots", status.slots);
    json_set_int(object, "slotsBusy", status.slots_busy);
    json_set_int(object, "queued", status.queued);
    json_set_int(object, "waiting", status.waiting);
    json_set_int(object, "running", status.running);
    json_set_int(object, "hedged", status.hedged);
    json_set_int(object, "abandoned", status.abandoned);
    json_set_int(object, "answered", status.answered);
    json_set_int(object, "failed", status.failed);
    admin_add_text(object, "lastError",
                   status.problem ? coco_status_name(status.problem_status) : NULL);
    admin_add_text(object, "lastErrorText", status.problem);
    json_set_int(object, "kept", status.kept);
    json_set(object, "backends", backend_list(quotes, status.n_backends));
    return object;
}

static void add_reason(void *data, const char *reason)
{
    json_append(data, admin_text(reason));
}

static uint64_t count_peers(const struct server *server)
{
    const struct peer *peer;
    uint64_t n = 0;

    DL_FOREACH(server->peers, peer)
    {
        if (peer->dialect != &admin_dialect)
            n++;
    }
    return n;
}

static struct json_object *counters(const struct server *server)
{
    static char closed[CLOSE_REASONS][32]; /* outlive the reply */
    struct json_object *object = json_object_new_object();

    for (size_t i = 0; i < metric_names_count; i++)
        if (metric_names[i].kind != METRIC_GAUGE)
            json_set_int(object, metric_names[i].name, metric_value(&metric_names[i]));
    for (int i = 0; i < CLOSE_REASONS; i++) {
        snprintf(closed[i], sizeof(closed[i]), "closed_%s",
                 close_reason_name((enum close_reason)i));
        json_set_int(object, closed[i], server->closed[i]);
    }
    return object;
}

void admin_get_status(const struct call *call)
{
    const struct admin *admin = call->admin;
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    const struct certs_status certs = certs_status(admin->certs);
    bool has_quotes = quotes_offered(admin->quotes);

    admin_gather(admin, add_reason, array);
    admin_add_text(object, "version", COCO_VERSION_STRING);
    admin_add_hex64(object, "instance", admin->instance);
    json_set_int(object, "pid", (uint64_t)getpid());
    json_set_int(object, "uptimeMs", (sys.now_us() - admin->ready_us) / 1000u);
    admin_add_text(object, "state", certs_state_name(certs.state));
    json_set_bool(object, "drained", certs.drained);
    json_set_bool(object, "degraded", json_length(array) > 0);
    json_set(object, "reasons", array);
    admin_add_if(object, "certificates", certs.offered,
                 certs.offered ? certificate_status(admin->certs) : NULL);
    admin_add_if(object, "quotes", has_quotes, has_quotes ? quote_status(admin->quotes) : NULL);
    json_set_int(object, "peers", count_peers(admin->server));
    json_set_int(object, "requestsInFlight", metrics.now_requests);
    json_set(object, "counters", counters(admin->server));
    admin_send_parameters(call, object);
}

/* --- the log's level -------------------------------------------------------------------------- */

void admin_get_log_level(const struct call *call)
{
    struct json_object *object = json_object_new_object();

    admin_add_text(object, "level", log_level_name(log_get_level()));
    admin_send_parameters(call, object);
}

void admin_set_log_level(const struct call *call)
{
    const char *name = admin_string(admin_parameter(call, "level"));
    int level, before = log_get_level();

    if (!name || log_level_parse(name, &level) < 0) {
        admin_refuse_parameter(call, "level");
        return;
    }
    log_set_level(level);
    struct json_object *object = json_object_new_object();
    admin_add_text(object, "level", log_level_name(level));
    admin_add_text(object, "before", log_level_name(before));
    admin_send_parameters(call, object);
}

/* --- Drain, Resume ---------------------------------------------------------------------------- */

/* Kept in memory alone: draining makes guests wait, and after their budget go without, so a crash
 * or a restart leads back to serving. A reload does not end it. */
void admin_set_drained(const struct call *call)
{
    struct json_object *object = json_object_new_object();
    bool drained = strcmp(call->method->name, ADMIN_INTERFACE ".Drain") == 0;
    bool before = certs_status(call->admin->certs).drained;

    certs_set_drained(call->admin->certs, drained);
    quotes_set_drained(call->admin->quotes, drained);
    json_set_bool(object, "changed", drained != before);
    json_set_int(object, "requestsInFlight", metrics.now_requests);
    admin_send_parameters(call, object);
}
