/* SPDX-License-Identifier: MIT */
/*
 * What the metrics page says of certificates.
 */
#include "base/sys.h"
#include "certs/certs.h"
#include "certs/chain/chain.h"
#include "certs/chain/crl.h"
#include "observe/counters.h"
#include "observe/prometheus.h"
#include <assert.h>
#include <inttypes.h>

#define NAME(id, name, ...) [id] = (name),
static const char *const end_names[CERTS_ENDS] = {CERTS_END_TABLE_OF(NAME)};
static const char *const reason_names[CERTS_REASONS] = {CERTS_REASON_TABLE_OF(NAME)};
#undef NAME

static_assert(sizeof(metrics.certs_ends) == CERTS_ENDS * sizeof(uint64_t), "one a counter");
static_assert(sizeof(metrics.certs_us) == CERTS_ENDS * sizeof(struct histogram), "one a histogram");
static_assert(CERTS_REASONS <= METRICS_ROWS, "they have room");

static uint64_t offered(void *certs)
{
    return certs_status(certs).offered;
}

static void state(const struct page *page)
{
    for (unsigned i = CERTS_SERVING; i <= CERTS_UPDATING; i++)
        page_sample(page, "state", certs_state_name((enum certs_state)i),
                    i == certs_status(page->from).state);
}

static uint64_t table_bytes(void *certs)
{
    const struct blob *table = certs_status(certs).table;

    return table ? table->size : 0;
}

static void not_after(const struct page *page)
{
    static const char *const roles[CHAIN_ROLES] = {
        [CHAIN_ARK] = "root", [CHAIN_ASK] = "intermediate", [CHAIN_LEAF] = "leaf"};
    const struct chain *chain = certs_status(page->from).chain;

    for (size_t i = 0; chain && i < CHAIN_ROLES; i++)
        (void)fprintf(page->out, "cocod_%s{certificate=\"%s\"} %" PRId64 "\n", page->family->name,
                      roles[i], chain->certs[i].not_after_s);
}

static void next_update(const struct page *page)
{
    const struct crl *crl = certs_status(page->from).crl;

    if (crl && crl->next_update_s != INT64_MAX)
        (void)fprintf(page->out, "cocod_%s %" PRId64 "\n", page->family->name, crl->next_update_s);
}

static uint64_t leases(void *certs)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];

    return certs_holders(certs, holders, CERTS_HOLDERS_MAX);
}

static void oldest_lease(const struct page *page)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(page->from, holders, CERTS_HOLDERS_MAX);
    uint64_t now_us = sys.now_us(), oldest_us = now_us;

    for (size_t i = 0; i < n; i++)
        if (holders[i].since_us < oldest_us)
            oldest_us = holders[i].since_us;
    page_seconds(page, now_us - oldest_us);
}

static const struct family families[] = {
    {"certs_offered", "gauge", "", "1 where this host serves SNP certificates", .value = offered},
    {"certs_get_total", "counter", "outcome",
     "CERTS_GET ended: table, empty (the empty table), enospc (too few pages), eagain, ecanceled, "
     "refused",
     .names = end_names, .behind = CERTS_ENDS, .counts = metrics.certs_ends},
    {"certs_empty_total", "counter", "reason", "answers with the empty table, by reason",
     .names = reason_names, .first = CERTS_REASON_NOT_CONFIGURED, .behind = CERTS_REASON_STARTING,
     .counts = metrics.certs_reasons},
    {"certs_eagain_total", "counter", "reason", "CERTS_GET answered with EAGAIN, by reason",
     .names = reason_names, .first = CERTS_REASON_STARTING, .behind = CERTS_REASONS,
     .counts = metrics.certs_reasons},
    {"certs_get_seconds", "histogram", "outcome",
     "from the dispatch of a CERTS_GET until its answer was written, waiting for the platform to "
     "be read included; every 16th is measured",
     .names = end_names, .behind = CERTS_ENDS, .histograms = metrics.certs_us,
     .bounds = histogram_short_us, .scale = 1e6},
    {"certs_state", "gauge", "state", "1 for the state: serving, draining or updating",
     .collect = state},
    {"certs_table_bytes", "gauge", "", "size of the table being served; 24 is the empty one",
     .value = table_bytes},
    {"certs_not_after_timestamp_seconds", "gauge", "certificate",
     "when a certificate of the chain being served expires: root, intermediate, leaf",
     .collect = not_after},
    {"crl_next_update_timestamp_seconds", "gauge", "",
     "when the revocation list in use is due to be replaced", .collect = next_update},
    {"leases", "gauge", "", "locks on the table file, at most 256 of them counted",
     .value = leases},
    {"oldest_lease_seconds", "gauge", "",
     "how long the oldest of these locks has been seen by one who asked", .collect = oldest_lease},
};

const struct family_table certs_families = FAMILY_TABLE(families);
