/* SPDX-License-Identifier: MIT */
#include "observe/counters.h"
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
#define ROW(kind, field, about) {kind, #field, about, offsetof(struct metrics, field)},
#define GAUGE(field, about)     ROW(METRIC_GAUGE, field, about)
#define COUNTER(field, about)   ROW(METRIC_COUNTER, field, about)
#define OUTCOME(field, about)   ROW(METRIC_OUTCOME, field, about)
    METRICS(GAUGE, COUNTER, OUTCOME)};

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
