/* SPDX-License-Identifier: MIT */
/*
 * The counters themselves, and the table by which others walk over them.
 */
#include "metrics.h"
#include <string.h>

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
