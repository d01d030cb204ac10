/* SPDX-License-Identifier: MIT */
/*
 * The counters themselves, the table by which others walk over them, and the names of what is
 * counted by reason or outcome.
 */
#include "observe/metrics.h"
#include <string.h>

/* clang-format off */
const uint64_t histogram_short_us[HISTOGRAM_BOUNDS] = {
    2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20000, 50000, 200000};
const uint64_t histogram_long_us[HISTOGRAM_BOUNDS] = {
    1000, 2000, 5000, 10000, 20000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000,
    20000000, 60000000};
const uint64_t histogram_depth[HISTOGRAM_BOUNDS] = {
    0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
/* clang-format on */

struct metrics metrics;

const struct metric_name metric_names[] = {
#define METRICS_NAME(field, about) {#field, about, offsetof(struct metrics, field)},
    METRICS(METRICS_NAME)
#undef METRICS_NAME
};

const size_t metric_names_count = sizeof(metric_names) / sizeof(metric_names[0]);

uint64_t metric_value(const struct metric_name *name)
{
    uint64_t value;

    memcpy(&value, (const char *)&metrics + name->offset, sizeof(value));
    return value;
}

void histogram_observe(struct histogram *histogram, const uint64_t bounds[HISTOGRAM_BOUNDS],
                       uint64_t value)
{
    size_t i = 0;

    while (i < HISTOGRAM_BOUNDS && value > bounds[i])
        i++;
    histogram->buckets[i]++;
    histogram->sum += value;
}

const char *quote_end_name(enum quote_end end)
{
    static const char *const names[QUOTE_ENDS] = {"ok",        "einval", "eagain",
                                                  "etimedout", "enodev", "ebadmsg",
                                                  "ecanceled", "failed", "refused"};

    return names[end];
}

const char *quote_again_name(enum quote_again again)
{
    static const char *const names[QUOTE_AGAINS] = {"session_limit", "vm_limit", "queue_full",
                                                    "gave_way",      "hopeless", "qgs_saturated",
                                                    "memory",        "drained"};

    return names[again];
}

const char *certs_end_name(enum certs_end end)
{
    static const char *const names[CERTS_ENDS] = {"table",  "empty",     "enospc",
                                                  "eagain", "ecanceled", "refused"};

    return names[end];
}

const char *certs_reason_name(enum certs_reason reason)
{
    static const char *const names[CERTS_REASONS] = {[CERTS_REASON_NONE] = "none",
                                                     [CERTS_REASON_NOT_CONFIGURED] =
                                                         "not_configured",
                                                     [CERTS_REASON_NO_CHAIN] = "no_chain",
                                                     [CERTS_REASON_EXPIRED] = "expired",
                                                     [CERTS_REASON_REFUSED] = "refused",
                                                     [CERTS_REASON_PLATFORM] = "platform_unknown",
                                                     [CERTS_REASON_LOAD] = "load_failed",
                                                     [CERTS_REASON_STARTING] = "starting",
                                                     [CERTS_REASON_DRAINING] = "draining",
                                                     [CERTS_REASON_UPDATING] = "updating",
                                                     [CERTS_REASON_READING] = "platform_reading",
                                                     [CERTS_REASON_UNREAD] = "platform_unread",
                                                     [CERTS_REASON_DRAINED] = "drained",
                                                     [CERTS_REASON_LIMIT] = "limit",
                                                     [CERTS_REASON_MEMORY] = "memory"};

    return names[reason];
}
