/* SPDX-License-Identifier: MIT */
/*
 * The Prometheus exposition: text format 0.0.4.
 *
 * Names. A counter of metrics.h is there under its own name, as cocod_NAME_total, a gauge ("now_")
 * as cocod_NAME, unless it is one outcome of a family. Families are the rows of one table: counters
 * by outcome and by reason, histograms, and what is read from the services when somebody asks. The
 * documentation (docs/metrics.md) is printed from the same tables. A name that was released is
 * neither changed nor given another meaning.
 *
 * Labels. Each value of a label comes from a list in this program or from the configuration.
 * Nothing that a guest, a VMM or a certificate says becomes a label, so that none of them decides
 * how many series there are.
 *
 * Readers. A text is made at most once a second, whoever asks how often. On the socket it is sent
 * by reference; a reader that takes nothing is closed by [limits] send_timeout like any peer, and
 * all of them count against the limits on connections.
 */
#include "observe/exposition.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "certs/chain/chain.h"
#include "certs/chain/crl.h"
#include "coco_limits.h"
#include "composed.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "peer/peer.h"
#include "peer/request.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* Backends in the configuration, and those that are leaving. */
#define BACKENDS_MAX 64u

struct family {
    const char *name; /* without "cocod_" */
    const char *type;
    const char *labels; /* for the documentation */
    const char *help;
    void (*collect)(FILE *out, const char *name, const struct exposition *from);
};

/* --- samples ---------------------------------------------------------------------------------- */

static void count(FILE *out, const char *name, const char *label, const char *value, uint64_t n)
{
    if (label)
        (void)fprintf(out, "cocod_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, n);
    else
        (void)fprintf(out, "cocod_%s %" PRIu64 "\n", name, n);
}

static void seconds(FILE *out, const char *name, uint64_t us)
{
    (void)fprintf(out, "cocod_%s %" PRIu64 ".%06" PRIu64 "\n", name, us / 1000000u, us % 1000000u);
}

/* `scale`: of bounds and sum. */
static void histogram(FILE *out, const char *name, const char *outcome,
                      const struct histogram *from, const uint64_t bounds[HISTOGRAM_BOUNDS],
                      double scale)
{
    char label[64] = "", alone[64] = "";
    uint64_t n = 0;

    if (outcome) {
        (void)snprintf(label, sizeof(label), "outcome=\"%s\",", outcome);
        (void)snprintf(alone, sizeof(alone), "{outcome=\"%s\"}", outcome);
    }
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        n += from->buckets[i];
        (void)fprintf(out, "cocod_%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
                      (double)bounds[i] / scale, n);
    }
    n += from->buckets[HISTOGRAM_BOUNDS];
    (void)fprintf(out, "cocod_%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, n);
    (void)fprintf(out, "cocod_%s_sum%s %.6f\n", name, alone, (double)from->sum / scale);
    (void)fprintf(out, "cocod_%s_count%s %" PRIu64 "\n", name, alone, n);
}

/* A backslash and a quote are what the format escapes in a label; what is not ASCII, which the
 * configuration allows in a path, is not shown. */
static void escape_label(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 3 < size; text++) {
        if (*text == '\\' || *text == '"')
            out[n++] = '\\';
        out[n++] = *text >= ' ' && *text < 0x7f ? *text : '?';
    }
    out[n] = 0;
}

/* --- the daemon ------------------------------------------------------------------------------- */

const char *config_source_name(enum config_source source)
{
    static const char *const names[CONFIG_SOURCES] = {"files", "before", "last_good", "defaults"};

    return names[source];
}

static void build_info(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    count(out, name, "version", COCO_VERSION_STRING, 1);
}

static void start_time(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, NULL, NULL, from->started_s > 0 ? (uint64_t)from->started_s : 0);
}

static void config_info(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, "hash", from->config_hash, 1);
}

static void config_source(FILE *out, const char *name, const struct exposition *from)
{
    for (unsigned i = 0; i < CONFIG_SOURCES; i++)
        count(out, name, "source", config_source_name((enum config_source)i),
              i == from->config_source);
}

static void restart_needed(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, NULL, NULL, from->restart_needed);
}

static bool config_is_wrong(const struct exposition *from)
{
    return from->config_source != CONFIG_SOURCE_FILES || from->restart_needed > 0;
}

static bool certs_are_wrong(const struct exposition *from)
{
    const char *problems[CERTS_PROBLEMS_MAX];

    return certs_problems(from->certs, problems) > 0;
}

static bool quotes_are_wrong(const struct exposition *from)
{
    struct quotes_status status;
    bool wrong = false;

    quotes_get_status(from->quotes, &status);
    for (size_t i = 0; i < status.n_backends && !wrong; i++) {
        struct backend_status backend;
        quotes_get_backend_status(from->quotes, i, &backend);
        wrong = backend.problem != NULL;
    }
    return wrong;
}

static void degraded(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, NULL, NULL, health_count(from->health) > 0);
}

static void degraded_by(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, "part", "configuration", config_is_wrong(from));
    count(out, name, "part", "certificates", certs_are_wrong(from));
    count(out, name, "part", "quotes", quotes_are_wrong(from));
}

static void closes(FILE *out, const char *name, const struct exposition *from)
{
    for (unsigned i = 0; i < CLOSE_REASONS; i++)
        count(out, name, "reason", close_reason_name((enum close_reason)i),
              from->server->closed[i]);
}

static void oldest_request(FILE *out, const char *name, const struct exposition *from)
{
    uint64_t now_us = sys.now_us(), oldest_us = now_us;
    const struct peer *peer;

    DL_FOREACH(from->server->peers, peer)
    {
        if (peer->requests && peer->requests->received_us < oldest_us)
            oldest_us = peer->requests->received_us;
    }
    seconds(out, name, now_us - oldest_us);
}

/* --- certificates ----------------------------------------------------------------------------- */

static void certs_get_total(FILE *out, const char *name, const struct exposition *from)
{
    const uint64_t values[CERTS_ENDS] = {metrics.certs_ok,        metrics.certs_empty,
                                         metrics.certs_enospc,    metrics.certs_eagain,
                                         metrics.certs_ecanceled, metrics.certs_refused};

    (void)from;
    for (unsigned i = 0; i < CERTS_ENDS; i++)
        count(out, name, "outcome", certs_end_name((enum certs_end)i), values[i]);
}

static void certs_by_reason(FILE *out, const char *name, unsigned first, unsigned behind)
{
    for (unsigned i = first; i < behind; i++)
        count(out, name, "reason", certs_reason_name((enum certs_reason)i),
              metrics.certs_reasons[i]);
}

static void certs_empty(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    certs_by_reason(out, name, CERTS_REASON_NOT_CONFIGURED, CERTS_REASON_STARTING);
}

static void certs_eagain(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    certs_by_reason(out, name, CERTS_REASON_STARTING, CERTS_REASONS);
}

static void certs_seconds(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    for (unsigned i = 0; i < CERTS_ENDS; i++)
        histogram(out, name, certs_end_name((enum certs_end)i), &metrics.certs_us[i],
                  histogram_short_us, 1e6);
}

static void certs_state(FILE *out, const char *name, const struct exposition *from)
{
    for (unsigned i = CERTS_SERVING; i <= CERTS_UPDATING; i++)
        count(out, name, "state", certs_state_name((enum certs_state)i),
              i == certs_status(from->certs).state);
}

static void certs_offered_now(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, NULL, NULL, certs_status(from->certs).offered);
}

static void table_bytes(FILE *out, const char *name, const struct exposition *from)
{
    const struct blob *table = certs_status(from->certs).table;

    count(out, name, NULL, NULL, table ? table->size : 0);
}

static void not_after(FILE *out, const char *name, const struct exposition *from)
{
    static const char *const roles[CHAIN_ROLES] = {
        [CHAIN_ARK] = "root", [CHAIN_ASK] = "intermediate", [CHAIN_LEAF] = "leaf"};
    const struct chain *chain = certs_status(from->certs).chain;

    for (size_t i = 0; chain && i < CHAIN_ROLES; i++)
        (void)fprintf(out, "cocod_%s{certificate=\"%s\"} %" PRId64 "\n", name, roles[i],
                      chain->certs[i].not_after_s);
}

static void next_update(FILE *out, const char *name, const struct exposition *from)
{
    const struct crl *crl = certs_status(from->certs).crl;

    if (crl && crl->next_update_s != INT64_MAX)
        (void)fprintf(out, "cocod_%s %" PRId64 "\n", name, crl->next_update_s);
}

static void leases(FILE *out, const char *name, const struct exposition *from)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];

    count(out, name, NULL, NULL, certs_holders(from->certs, holders, CERTS_HOLDERS_MAX));
}

static void oldest_lease(FILE *out, const char *name, const struct exposition *from)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(from->certs, holders, CERTS_HOLDERS_MAX);
    uint64_t now_us = sys.now_us(), oldest_us = now_us;

    for (size_t i = 0; i < n; i++)
        if (holders[i].since_us < oldest_us)
            oldest_us = holders[i].since_us;
    seconds(out, name, now_us - oldest_us);
}

/* --- quotes ----------------------------------------------------------------------------------- */

static void quote_get_total(FILE *out, const char *name, const struct exposition *from)
{
    const uint64_t values[QUOTE_ENDS] = {metrics.quotes_ok,        metrics.quotes_einval,
                                         metrics.quotes_eagain,    metrics.quotes_etimedout,
                                         metrics.quotes_enodev,    metrics.quotes_ebadmsg,
                                         metrics.quotes_ecanceled, metrics.quotes_failed,
                                         metrics.quotes_refused};

    (void)from;
    for (unsigned i = 0; i < QUOTE_ENDS; i++)
        count(out, name, "outcome", quote_end_name((enum quote_end)i), values[i]);
}

static void quote_eagain(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    for (unsigned i = 0; i < QUOTE_AGAINS; i++)
        count(out, name, "reason", quote_again_name((enum quote_again)i), metrics.quote_agains[i]);
}

static void quote_seconds(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    for (unsigned i = 0; i < QUOTE_ENDS; i++)
        histogram(out, name, quote_end_name((enum quote_end)i), &metrics.quote_us[i],
                  histogram_long_us, 1e6);
}

static void qgs_seconds(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    histogram(out, name, "answered", &metrics.qgs_us[0], histogram_long_us, 1e6);
    histogram(out, name, "refused", &metrics.qgs_us[1], histogram_long_us, 1e6);
}

static void queue_depth(FILE *out, const char *name, const struct exposition *from)
{
    (void)from;
    histogram(out, name, NULL, &metrics.queue_depth, histogram_depth, 1);
}

static void queued(FILE *out, const char *name, const struct exposition *from)
{
    struct quotes_status status;

    quotes_get_status(from->quotes, &status);
    count(out, name, NULL, NULL, status.queued);
}

static void quotes_offered_now(FILE *out, const char *name, const struct exposition *from)
{
    count(out, name, NULL, NULL, quotes_offered(from->quotes));
}

static size_t backends(const struct exposition *from, struct backend_status ret[BACKENDS_MAX])
{
    struct quotes_status status;

    quotes_get_status(from->quotes, &status);
    for (size_t i = 0; i < status.n_backends && i < BACKENDS_MAX; i++)
        quotes_get_backend_status(from->quotes, i, &ret[i]);
    return status.n_backends < BACKENDS_MAX ? status.n_backends : BACKENDS_MAX;
}

static void per_backend(FILE *out, const char *name, const struct exposition *from,
                        uint64_t (*value)(const struct backend_status *status))
{
    struct backend_status status[BACKENDS_MAX];
    size_t n = backends(from, status);
    char label[256];

    for (size_t i = 0; i < n; i++) {
        escape_label(label, sizeof(label), status[i].name);
        count(out, name, "backend", label, value(&status[i]));
    }
}

#define PER_BACKEND(field)                                                               \
    static uint64_t value_of_##field(const struct backend_status *status)                \
    {                                                                                    \
        return status->field;                                                            \
    }                                                                                    \
    static void each_##field(FILE *out, const char *name, const struct exposition *from) \
    {                                                                                    \
        per_backend(out, name, from, value_of_##field);                                  \
    }
PER_BACKEND(slots)
PER_BACKEND(slots_open)
PER_BACKEND(busy)
PER_BACKEND(suspect)
PER_BACKEND(abandoned)
PER_BACKEND(answered)
PER_BACKEND(failed)

static void each_breaker(FILE *out, const char *name, const struct exposition *from)
{
    struct backend_status status[BACKENDS_MAX];
    size_t n = backends(from, status);
    char label[256];

    for (size_t i = 0; i < n; i++) {
        escape_label(label, sizeof(label), status[i].name);
        for (unsigned k = BREAKER_CLOSED; k <= BREAKER_OPEN; k++)
            (void)fprintf(out, "cocod_%s{backend=\"%s\",state=\"%s\"} %d\n", name, label,
                          breaker_name((enum breaker)k), k == status[i].breaker);
    }
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct family families[] = {
    {"build_info", "gauge", "version", "1; the label is the version", build_info},
    {"start_time_seconds", "gauge", "", "when cocod started, by the wall clock", start_time},
    {"config_info", "gauge", "hash",
     "1; the label is a hash of all values in force: equal where hosts are configured alike",
     config_info},
    {"config_source", "gauge", "source",
     "1 for the configuration in force: files; before, the files became wrong and the one before "
     "stays; last_good, they were wrong at the start; defaults, and there was no good copy",
     config_source},
    {"config_restart_needed", "gauge", "",
     "keys that were changed and whose change waits for a restart", restart_needed},
    {"degraded", "gauge", "", "1 where something needs the operator; cococtl status says what",
     degraded},
    {"degraded_by", "gauge", "part", "1 where this part needs the operator", degraded_by},
    {"closes_total", "counter", "reason", "connections that ended, by reason", closes},
    {"oldest_request_seconds", "gauge", "", "how long the oldest request has been waiting",
     oldest_request},

    {"certs_offered", "gauge", "", "1 where this host serves SNP certificates", certs_offered_now},
    {"certs_get_total", "counter", "outcome",
     "CERTS_GET ended: table, empty (the empty table), enospc (too few pages), eagain, ecanceled, "
     "refused",
     certs_get_total},
    {"certs_empty_total", "counter", "reason", "answers with the empty table, by reason",
     certs_empty},
    {"certs_eagain_total", "counter", "reason", "CERTS_GET answered with EAGAIN, by reason",
     certs_eagain},
    {"certs_get_seconds", "histogram", "outcome",
     "from the dispatch of a CERTS_GET until its answer was written, waiting for the platform to "
     "be "
     "read included; every 16th is measured",
     certs_seconds},
    {"certs_state", "gauge", "state", "1 for the state: serving, draining or updating",
     certs_state},
    {"certs_table_bytes", "gauge", "", "size of the table being served; 24 is the empty one",
     table_bytes},
    {"certs_not_after_timestamp_seconds", "gauge", "certificate",
     "when a certificate of the chain being served expires: root, intermediate, leaf", not_after},
    {"crl_next_update_timestamp_seconds", "gauge", "",
     "when the revocation list in use is due to be replaced", next_update},
    {"leases", "gauge", "", "locks on the table file, at most 256 of them counted", leases},
    {"oldest_lease_seconds", "gauge", "",
     "how long the oldest of these locks has been seen by one who asked", oldest_lease},

    {"quotes_offered", "gauge", "", "1 where a quoting service is configured", quotes_offered_now},
    {"quote_get_total", "counter", "outcome",
     "QUOTE_GET ended, by the contract's status; refused: by QGS, charged to the VM",
     quote_get_total},
    {"quote_eagain_total", "counter", "reason", "QUOTE_GET answered with EAGAIN, by reason",
     quote_eagain},
    {"quote_get_seconds", "histogram", "outcome",
     "from the receipt of a QUOTE_GET until it was answered", quote_seconds},
    {"quote_queue_depth", "histogram", "",
     "quotes that were waiting already when another one came that QGS had to be asked for",
     queue_depth},
    {"quotes_queued", "gauge", "", "quotes that wait for a slot", queued},
    {"qgs_service_seconds", "histogram", "outcome",
     "from sending a request to QGS until its whole answer: answered, or refused by an error code",
     qgs_seconds},
    {"qgs_slots", "gauge", "backend", "exchanges that are allowed at a time", each_slots},
    {"qgs_slots_open", "gauge", "backend", "of these, open since the start", each_slots_open},
    {"qgs_slots_busy", "gauge", "backend", "exchanges that run", each_busy},
    {"qgs_slots_suspect", "gauge", "backend", "slots that are not used until a probe is answered",
     each_suspect},
    {"qgs_slots_abandoned", "gauge", "backend",
     "exchanges that nobody waits for any more and QGS has not answered yet", each_abandoned},
    {"qgs_breaker_state", "gauge", "backend, state",
     "1 for the state: closed (in service), doubted, open (set aside)", each_breaker},
    {"qgs_quotes_total", "counter", "backend", "quotes that this quoting service made",
     each_answered},
    {"qgs_charged_total", "counter", "backend",
     "failures that were held against this quoting service", each_failed},
};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

/* Counters that are outcomes of a family, by the beginning of their names. */
static const char *const in_family[] = {"certs_ok",         "certs_empty",     "certs_enospc",
                                        "certs_eagain",     "certs_ecanceled", "certs_refused",
                                        "quotes_ok",        "quotes_einval",   "quotes_eagain",
                                        "quotes_etimedout", "quotes_enodev",   "quotes_ebadmsg",
                                        "quotes_ecanceled", "quotes_failed"};

static bool is_in_family(const struct metric_name *metric)
{
    for (size_t i = 0; i < sizeof(in_family) / sizeof(in_family[0]); i++)
        if (strcmp(in_family[i], metric->name) == 0)
            return true;
    return false;
}

static bool is_gauge(const struct metric_name *metric)
{
    return strncmp(metric->name, "now_", 4) == 0;
}

static void plain_name(const struct metric_name *metric, char *out, size_t size)
{
    (void)snprintf(out, size, "%s%s", is_gauge(metric) ? metric->name + 4 : metric->name,
                   is_gauge(metric) ? "" : "_total");
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
    (void)fprintf(out, "# HELP cocod_%s %s\n# TYPE cocod_%s %s\n", name, help, name, type);
}

static void print_all(FILE *out, const struct exposition *from)
{
    char name[64];

    for (size_t i = 0; i < N_FAMILIES; i++) {
        print_head(out, families[i].name, families[i].type, families[i].help);
        families[i].collect(out, families[i].name, from);
    }
    for (size_t i = 0; i < metric_names_count; i++) {
        const struct metric_name *metric = &metric_names[i];
        if (is_in_family(metric))
            continue;
        plain_name(metric, name, sizeof(name));
        print_head(out, name, is_gauge(metric) ? "gauge" : "counter", metric->text);
        count(out, name, NULL, NULL, metric_value(metric));
    }
}

int exposition_print_reference(FILE *out)
{
    char name[64];

    (void)
        fputs("# Metrics\n\n"
              "What `cococtl metrics`, the metrics socket and the node_exporter textfile show, in "
              "Prometheus' text\nformat. This file is `cocod --metrics`. A name that was released "
              "keeps its meaning; values of labels come\nfrom closed lists or from the "
              "configuration, never from a guest or a VMM.\n\n"
              "| name | type | labels | what it is |\n|---|---|---|---|\n",
              out);
    for (size_t i = 0; i < N_FAMILIES; i++)
        (void)fprintf(out, "| `cocod_%s` | %s | %s | %s |\n", families[i].name, families[i].type,
                      families[i].labels, families[i].help);
    for (size_t i = 0; i < metric_names_count; i++) {
        const struct metric_name *metric = &metric_names[i];
        if (is_in_family(metric))
            continue;
        plain_name(metric, name, sizeof(name));
        (void)fprintf(out, "| `cocod_%s` | %s |  | %s |\n", name,
                      is_gauge(metric) ? "gauge" : "counter", metric->text);
    }
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

/* --- the text --------------------------------------------------------------------------------- */

static struct blob *make_text(const struct exposition *from)
{
    struct composed text;
    struct blob *blob;

    if (!composed_begin(&text))
        return NULL;
    print_all(text.to, from);
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
