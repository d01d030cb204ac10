/* SPDX-License-Identifier: MIT */
/*
 * The metrics page, and its documentation (docs/metrics.md), from the tables of all domains. The
 * socket's readers are peers like any other: [limits] hold for them.
 */
#include "admin/exposition.h"
#include "admin/parts.h"
#include "base/blob.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "coco_limits.h"
#include "composed.h"
#include "config/state.h"
#include "observe/prometheus.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include <errno.h>
#include <stdlib.h>

/* --- the daemon itself ------------------------------------------------------------------------ */

static void build_info(const struct page *page)
{
    page_sample(page, "version", COCO_VERSION_STRING, 1);
}

static uint64_t start_time(void *from)
{
    const struct admin *admin = from;

    return admin->started_s > 0 ? (uint64_t)admin->started_s : 0;
}

static void config_info(const struct page *page)
{
    const struct admin *admin = page->from;

    page_sample(page, "hash", admin->config_state->hash, 1);
}

static void config_source(const struct page *page)
{
    const struct admin *admin = page->from;

    for (unsigned i = 0; i < CONFIG_SOURCES; i++)
        page_sample(page, "source", config_source_name((enum config_source)i),
                    i == admin->config_state->source);
}

static uint64_t restart_needed(void *from)
{
    const struct admin *admin = from;

    return admin->config_state->n_restart;
}

static uint64_t degraded(void *from)
{
    const struct admin *admin = from;

    return health_count(&admin->health) > 0;
}

static void degraded_by(const struct page *page)
{
    const struct admin *admin = page->from;
    const struct config_state *config = admin->config_state;
    const char *problems[CERTS_PROBLEMS_MAX];
    struct quotes_status quotes;
    struct backend_status backend = {.problem = NULL};

    quotes_get_status(admin->quotes, &quotes);
    for (size_t i = 0; i < quotes.n_backends && !backend.problem; i++)
        quotes_get_backend_status(admin->quotes, i, &backend);
    page_sample(page, "part", "configuration",
                config->source != CONFIG_SOURCE_FILES || config->n_restart > 0);
    page_sample(page, "part", "certificates", certs_problems(admin->certs, problems) > 0);
    page_sample(page, "part", "quotes", backend.problem != NULL);
}

static const struct family own_families[] = {
    {"build_info", "gauge", "version", "1; the label is the version", .collect = build_info},
    {"start_time_seconds", "gauge", "", "when cocod started, by the wall clock",
     .value = start_time},
    {"config_info", "gauge", "hash",
     "1; the label is a hash of all values in force: equal where hosts are configured alike",
     .collect = config_info},
    {"config_source", "gauge", "source",
     "1 for the configuration in force: files; before, the files became wrong and the one before "
     "stays; last_good, they were wrong at the start; defaults, and there was no good copy",
     .collect = config_source},
    {"config_restart_needed", "gauge", "",
     "keys that were changed and whose change waits for a restart", .value = restart_needed},
    {"degraded", "gauge", "", "1 where something needs the operator; cococtl status says what",
     .value = degraded},
    {"degraded_by", "gauge", "part", "1 where this part needs the operator",
     .collect = degraded_by},
};
static const struct family_table own_table = FAMILY_TABLE(own_families);

/* --- page and reference ----------------------------------------------------------------------- */

int exposition_print_reference(FILE *out)
{
    static const char head[] =
        "# Metrics\n\n"
        "What `cococtl metrics`, the metrics socket and the node_exporter textfile show, in "
        "Prometheus' text\nformat. This file is `cocod --metrics`. A name that was released "
        "keeps its meaning; values of labels come\nfrom closed lists or from the "
        "configuration, never from a guest or a VMM.\n\n"
        "| name | type | labels | what it is |\n|---|---|---|---|\n";

    (void)fputs(head, out);
    page_document(out, &own_table);
    page_document(out, &server_families);
    page_document(out, &certs_families);
    page_document(out, &quotes_families);
    page_counters(out, true);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

static struct blob *make_text(struct admin *admin)
{
    struct composed text;
    struct blob *blob;

    if (!composed_begin(&text))
        return NULL;
    page_print(text.to, &own_table, admin);
    page_print(text.to, &server_families, admin->server);
    page_print(text.to, &certs_families, admin->certs);
    page_print(text.to, &quotes_families, admin->quotes);
    page_counters(text.to, false);
    if (!composed_end(&text))
        return NULL;
    blob = blob_copy(text.text, text.size);
    if (blob)
        blob->common = true; /* at most one a second is made, for whomever asks */
    free(text.text);
    return blob;
}

struct blob *exposition_text(struct admin *admin)
{
    uint64_t now_us = sys.now_us();

    if (!admin->page || now_us - admin->page_us >= EXPOSITION_KEEP_US) {
        struct blob *text = make_text(admin);
        if (!text)
            return NULL;
        blob_unref(admin->page);
        admin->page = text;
        admin->page_us = now_us;
    }
    return blob_ref(admin->page);
}

/* --- GetMetrics ------------------------------------------------------------------------------- */

void admin_get_metrics(const struct call *call)
{
    struct blob *text = exposition_text(call->admin);

    if (!text) {
        peer_close(call->peer, CLOSE_MEMORY);
        return;
    }
    struct json_object *object = json_object_new_object();
    json_set(object, "text", json_object_new_string_len((const char *)text->data, (int)text->size));
    blob_unref(text);
    admin_send_parameters(call, object);
}

/* --- the socket ------------------------------------------------------------------------------- */

static void opened(struct peer *peer)
{
    struct blob *text = exposition_text(peer->context);

    if (!text) {
        peer_close(peer, CLOSE_MEMORY);
        return;
    }
    peer_send(peer, NULL, 0, text, -1);
    blob_unref(text);
    peer_finish(peer, CLOSE_ANSWERED);
}

/* Nothing is read: what a reader sends stays where it is. */
static ssize_t frame_size(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    return -EBADMSG;
}

const struct dialect metrics_dialect = {
    .name = "metrics",
    .frame_max = 1,
    .frame_size = frame_size,
    .opened = opened,
};
