/* SPDX-License-Identifier: MIT */
/*
 * The metrics page is put together of the tables of all domains, and so is its documentation
 * (docs/metrics.md).
 *
 * A text is made at most once a second, whoever asks how often. On the socket it is sent by
 * reference; a reader that takes nothing is closed by [limits] send_timeout like any peer, and all
 * of them count against the limits on connections.
 */
#include "admin/exposition.h"
#include "admin/parts.h"
#include "base/blob.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "coco_limits.h"
#include "composed.h"
#include "config/state.h"
#include "json_writer.h"
#include "observe/health.h"
#include "observe/prometheus.h"
#include "peer/peer.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

/* --- the daemon itself ------------------------------------------------------------------------ */

static const struct config_state *config_of(const void *from)
{
    const struct exposition *exposition = from;

    return exposition->admin->config_state;
}

static void build_info(const struct page *page)
{
    page_sample(page, "version", COCO_VERSION_STRING, 1);
}

static uint64_t start_time(void *from)
{
    const struct exposition *exposition = from;

    return exposition->started_s > 0 ? (uint64_t)exposition->started_s : 0;
}

static void config_info(const struct page *page)
{
    page_sample(page, "hash", config_of(page->from)->hash, 1);
}

static void config_source(const struct page *page)
{
    for (unsigned i = 0; i < CONFIG_SOURCES; i++)
        page_sample(page, "source", config_source_name((enum config_source)i),
                    i == config_of(page->from)->source);
}

static uint64_t restart_needed(void *from)
{
    return config_of(from)->n_restart;
}

static uint64_t degraded(void *from)
{
    const struct exposition *exposition = from;

    return health_count(exposition->admin->health) > 0;
}

static bool quotes_are_wrong(const struct quotes *quotes)
{
    struct quotes_status status;
    bool wrong = false;

    quotes_get_status(quotes, &status);
    for (size_t i = 0; i < status.n_backends && !wrong; i++) {
        struct backend_status backend;
        quotes_get_backend_status(quotes, i, &backend);
        wrong = backend.problem != NULL;
    }
    return wrong;
}

static void degraded_by(const struct page *page)
{
    const struct exposition *exposition = page->from;
    const struct config_state *config = config_of(page->from);
    const char *problems[CERTS_PROBLEMS_MAX];

    page_sample(page, "part", "configuration",
                config->source != CONFIG_SOURCE_FILES || config->n_restart > 0);
    page_sample(page, "part", "certificates",
                certs_problems(exposition->admin->certs, problems) > 0);
    page_sample(page, "part", "quotes", quotes_are_wrong(exposition->admin->quotes));
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

static void print_page(FILE *out, struct exposition *from)
{
    page_print(out, &own_table, from);
    page_print(out, &server_families, from->admin->server);
    page_print(out, &certs_families, from->admin->certs);
    page_print(out, &quotes_families, from->admin->quotes);
    page_print_counters(out);
}

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
    page_document_counters(out);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

static struct blob *make_text(struct exposition *from)
{
    struct composed text;
    struct blob *blob;

    if (!composed_begin(&text))
        return NULL;
    print_page(text.to, from);
    if (!composed_end(&text))
        return NULL;
    blob = blob_copy(text.text, text.size);
    if (blob)
        blob->common = true; /* at most one a second is made, for whomever asks */
    free(text.text);
    return blob;
}

struct blob *exposition_text(struct exposition *exposition)
{
    uint64_t now_us = sys.now_us();

    if (!exposition->last || now_us - exposition->last_us >= EXPOSITION_KEEP_US) {
        struct blob *text = make_text(exposition);
        if (!text)
            return NULL;
        blob_unref(exposition->last);
        exposition->last = text;
        exposition->last_us = now_us;
    }
    return blob_ref(exposition->last);
}

void exposition_done(struct exposition *exposition)
{
    exposition->last = blob_unref(exposition->last);
}

/* --- GetMetrics ------------------------------------------------------------------------------- */

void admin_get_metrics(const struct call *call)
{
    struct blob *text = exposition_text(call->admin->exposition);

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
