/* SPDX-License-Identifier: MIT */
/*
 * What the metrics page says of quotes and of the quoting services.
 */
#include "observe/counters.h"
#include "observe/prometheus.h"
#include "quotes/quotes.h"
#include <assert.h>

#define NAME(id, name, ...) [id] = (name),
static const char *const end_names[QUOTE_ENDS] = {QUOTE_END_TABLE_OF(NAME)};
static const char *const again_names[QUOTE_AGAINS] = {QUOTE_AGAIN_TABLE_OF(NAME)};
static const char *const qgs_names[] = {"answered", "refused"};
#undef NAME

static_assert(sizeof(metrics.quote_ends) == QUOTE_ENDS * sizeof(uint64_t), "one a counter");
static_assert(sizeof(metrics.quote_us) == QUOTE_ENDS * sizeof(struct histogram), "one a histogram");
static_assert(QUOTE_AGAINS <= METRICS_ROWS, "they have room");

static uint64_t offered(void *quotes)
{
    return quotes_offered(quotes);
}

static uint64_t queued(void *quotes)
{
    struct quotes_status status;

    quotes_get_status(quotes, &status);
    return status.queued;
}

static void each_backend(const struct page *page,
                         void (*print)(const struct page *page, const char *label,
                                       const struct backend_status *status))
{
    struct quotes_status all;
    struct backend_status status;
    char label[256];

    quotes_get_status(page->from, &all);
    for (size_t i = 0; i < all.n_backends; i++) {
        quotes_get_backend_status(page->from, i, &status);
        page_escape(label, sizeof(label), status.name);
        print(page, label, &status);
    }
}

#define PER_BACKEND(field)                                                \
    static void print_##field(const struct page *page, const char *label, \
                              const struct backend_status *status)        \
    {                                                                     \
        page_sample(page, "backend", label, status->field);               \
    }                                                                     \
    static void each_##field(const struct page *page)                     \
    {                                                                     \
        each_backend(page, print_##field);                                \
    }
PER_BACKEND(slots)
PER_BACKEND(slots_open)
PER_BACKEND(busy)
PER_BACKEND(suspect)
PER_BACKEND(abandoned)
PER_BACKEND(answered)
PER_BACKEND(failed)

static void print_breaker(const struct page *page, const char *label,
                          const struct backend_status *status)
{
    for (unsigned k = BREAKER_CLOSED; k <= BREAKER_OPEN; k++)
        (void)fprintf(page->out, "cocod_%s{backend=\"%s\",state=\"%s\"} %d\n", page->family->name,
                      label, breaker_name((enum breaker)k), k == status->breaker);
}

static void each_breaker(const struct page *page)
{
    each_backend(page, print_breaker);
}

static const struct family families[] = {
    {"quotes_offered", "gauge", "", "1 where a quoting service is configured", .value = offered},
    {"quote_get_total", "counter", "outcome",
     "QUOTE_GET ended, by the contract's status; refused: by QGS, charged to the VM",
     .names = end_names, .behind = QUOTE_ENDS, .counts = metrics.quote_ends},
    {"quote_eagain_total", "counter", "reason", "QUOTE_GET answered with EAGAIN, by reason",
     .names = again_names, .behind = QUOTE_AGAINS, .counts = metrics.quote_agains},
    {"quote_get_seconds", "histogram", "outcome",
     "from the receipt of a QUOTE_GET until it was answered", .names = end_names,
     .behind = QUOTE_ENDS, .histograms = metrics.quote_us, .bounds = histogram_long_us,
     .scale = 1e6},
    {"quote_queue_depth", "histogram", "",
     "quotes that were waiting already when another one came that QGS had to be asked for",
     .histograms = &metrics.queue_depth, .bounds = histogram_depth, .scale = 1},
    {"quotes_queued", "gauge", "", "quotes that wait for a slot", .value = queued},
    {"qgs_service_seconds", "histogram", "outcome",
     "from sending a request to QGS until its whole answer: answered, or refused by an error code",
     .names = qgs_names, .behind = 2, .histograms = metrics.qgs_us, .bounds = histogram_long_us,
     .scale = 1e6},
    {"qgs_slots", "gauge", "backend", "exchanges that are allowed at a time",
     .collect = each_slots},
    {"qgs_slots_open", "gauge", "backend", "of these, open since the start",
     .collect = each_slots_open},
    {"qgs_slots_busy", "gauge", "backend", "exchanges that run", .collect = each_busy},
    {"qgs_slots_suspect", "gauge", "backend", "slots that are not used until a probe is answered",
     .collect = each_suspect},
    {"qgs_slots_abandoned", "gauge", "backend",
     "exchanges that nobody waits for any more and QGS has not answered yet",
     .collect = each_abandoned},
    {"qgs_breaker_state", "gauge", "backend, state",
     "1 for the state: closed (in service), doubted, open (set aside)", .collect = each_breaker},
    {"qgs_quotes_total", "counter", "backend", "quotes that this quoting service made",
     .collect = each_answered},
    {"qgs_charged_total", "counter", "backend",
     "failures that were held against this quoting service", .collect = each_failed},
};

const struct family_table quotes_families = FAMILY_TABLE(families);
