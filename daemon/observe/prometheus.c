/* SPDX-License-Identifier: MIT */
/*
 * The Prometheus exposition: text format 0.0.4.
 *
 * A counter of counters.h is there as cocod_NAME_total, a gauge ("now_NAME") as cocod_NAME, unless
 * it is one outcome of a family. A name that was released is neither changed nor given another
 * meaning.
 *
 * Each value of a label comes from a list in this program or from the configuration: no guest, VMM
 * or certificate decides how many series there are.
 */
#include "observe/prometheus.h"
#include "observe/counters.h"
#include <inttypes.h>

/* --- samples ---------------------------------------------------------------------------------- */

void page_sample(const struct page *page, const char *label, const char *value, uint64_t n)
{
    if (label)
        (void)fprintf(page->out, "cocod_%s{%s=\"%s\"} %" PRIu64 "\n", page->family->name, label,
                      value, n);
    else
        (void)fprintf(page->out, "cocod_%s %" PRIu64 "\n", page->family->name, n);
}

void page_seconds(const struct page *page, uint64_t us)
{
    (void)fprintf(page->out, "cocod_%s %" PRIu64 ".%06" PRIu64 "\n", page->family->name,
                  us / 1000000u, us % 1000000u);
}

void page_escape(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 3 < size; text++) {
        if (*text == '\\' || *text == '"')
            out[n++] = '\\';
        out[n++] = *text >= ' ' && *text < 0x7f ? *text : '?';
    }
    out[n] = 0;
}

static void print_histogram(const struct page *page, const char *value,
                            const struct histogram *from)
{
    const struct family *family = page->family;
    char label[64] = "", alone[64] = "";
    uint64_t n = 0;

    if (value) {
        (void)snprintf(label, sizeof(label), "%s=\"%s\",", family->labels, value);
        (void)snprintf(alone, sizeof(alone), "{%s=\"%s\"}", family->labels, value);
    }
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        n += from->buckets[i];
        (void)fprintf(page->out, "cocod_%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", family->name, label,
                      (double)family->bounds[i] / family->scale, n);
    }
    n += from->buckets[HISTOGRAM_BOUNDS];
    (void)fprintf(page->out, "cocod_%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", family->name, label,
                  n);
    (void)fprintf(page->out, "cocod_%s_sum%s %.6f\n", family->name, alone,
                  (double)from->sum / family->scale);
    (void)fprintf(page->out, "cocod_%s_count%s %" PRIu64 "\n", family->name, alone, n);
}

static void print_samples(const struct page *page)
{
    const struct family *family = page->family;

    if (family->collect)
        family->collect(page);
    else if (family->value)
        page_sample(page, NULL, NULL, family->value(page->from));
    else if (!family->names)
        print_histogram(page, NULL, family->histograms);
    for (unsigned i = family->first; i < family->behind; i++)
        if (family->counts)
            page_sample(page, family->labels, family->names[i], family->counts[i]);
        else
            print_histogram(page, family->names[i], &family->histograms[i]);
}

/* --- page and documentation ------------------------------------------------------------------- */

static void print_head(FILE *out, const struct family *family)
{
    (void)fprintf(out, "# HELP cocod_%s %s\n# TYPE cocod_%s %s\n", family->name, family->help,
                  family->name, family->type);
}

static void document_row(FILE *out, const struct family *family)
{
    (void)fprintf(out, "| `cocod_%s` | %s | %s | %s |\n", family->name, family->type,
                  family->labels, family->help);
}

void page_print(FILE *out, const struct family_table *table, void *from)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct page page = {.out = out, .family = &table->rows[i], .from = from};
        print_head(out, page.family);
        print_samples(&page);
    }
}

void page_document(FILE *out, const struct family_table *table)
{
    for (size_t i = 0; i < table->n; i++)
        document_row(out, &table->rows[i]);
}

void page_counters(FILE *out, bool document)
{
    for (size_t i = 0; i < metric_names_count; i++) {
        const struct metric_name *metric = &metric_names[i];
        bool gauge = metric->kind == METRIC_GAUGE;
        char name[64];
        const struct family family = {.name = name,
                                      .type = gauge ? "gauge" : "counter",
                                      .labels = "",
                                      .help = metric->text};
        if (metric->kind == METRIC_OUTCOME)
            continue;
        (void)snprintf(name, sizeof(name), "%s%s", metric->name + (gauge ? 4 : 0),
                       gauge ? "" : "_total");
        if (document) {
            document_row(out, &family);
            continue;
        }
        print_head(out, &family);
        page_sample(&(struct page){.out = out, .family = &family}, NULL, NULL,
                    metric_value(metric));
    }
}
