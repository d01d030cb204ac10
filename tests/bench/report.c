/* SPDX-License-Identifier: MIT */
/*
 * What the rounds say together: each figure is the median of its rounds. A ratio is formed within a
 * round, from two rows that ran one after the other, so that a disturbance longer than a round
 * falls out. The lowest and highest stand beside it; far apart, they show a disturbed run.
 */
#include "bench.h"
#include "coco_limits.h"
#include "measure.h"
#include <sys/utsname.h>
#include <unistd.h>

enum metric {
    P50,
    P99,
    PER_S,
    CPU
};

struct range {
    double median, lowest, highest;
};

static const struct {
    char letter;
    const char *key;
    const char *text;
} rows[BENCH_ROWS] = {
    [ROW_CERTS] = {'a', "certs_get", "cocod: CERTS_GET, bytes in and bytes out"},
    [ROW_ECHO] = {'b', "echo", "epoll echo server in C: the same bytes"},
    [ROW_REDIS] = {'c', "redis", "Redis: GET of the table"},
    [ROW_FILE] = {'d', "table_file", "the table file: open, OFD read lock, read, close"},
    [ROW_LIBCOCO] = {'e', "libcoco", "cocod through libcoco: coco_certs_get()"},
};

/* Which rows are set against each other. */
static const struct {
    enum bench_row of, to;
} pairs[] = {
    {ROW_CERTS, ROW_ECHO},
    {ROW_CERTS, ROW_REDIS},
    {ROW_CERTS, ROW_FILE},
    {ROW_LIBCOCO, ROW_CERTS},
};
#define PAIRS (sizeof(pairs) / sizeof(pairs[0]))

bool bench_measured(const struct bench_results *results, unsigned level, enum bench_row row)
{
    return results->measured[row] && (row != ROW_LIBCOCO || results->connections[level] == 1);
}

static double value(const struct bench_sample *s, enum metric metric)
{
    switch (metric) {
    case P50:
        return s->p50_us;
    case P99:
        return s->p99_us;
    case PER_S:
        return s->per_s;
    case CPU:
        return s->server_cpu_us;
    }
    return 0;
}

static struct range range_of(double *values, unsigned n)
{
    sort_doubles(values, n);
    return (struct range){.median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2,
                          .lowest = values[0],
                          .highest = values[n - 1]};
}

static struct range figure(const struct bench_results *results, unsigned level, enum bench_row row,
                           enum metric metric)
{
    double values[BENCH_ROUNDS_MAX];

    for (unsigned i = 0; i < results->rounds; i++)
        values[i] = value(&results->samples[level][row][i], metric);
    return range_of(values, results->rounds);
}

static struct range ratio(const struct bench_results *results, unsigned level, size_t pair,
                          enum metric metric)
{
    double values[BENCH_ROUNDS_MAX];

    for (unsigned i = 0; i < results->rounds; i++)
        values[i] = value(&results->samples[level][pairs[pair].of][i], metric) /
                    value(&results->samples[level][pairs[pair].to][i], metric);
    return range_of(values, results->rounds);
}

static bool has_pair(const struct bench_results *results, unsigned level, size_t pair)
{
    return bench_measured(results, level, pairs[pair].of) &&
           bench_measured(results, level, pairs[pair].to);
}

double bench_worst_ratio(const struct bench_results *results)
{
    double worst = 0;

    for (unsigned level = 0; level < results->n_levels; level++) {
        if (!has_pair(results, level, 0))
            continue;
        double r = ratio(results, level, 0, P50).median;
        worst = r > worst ? r : worst;
    }
    return worst;
}

/* --- for people ------------------------------------------------------------------------------- */

static void print_head(const struct bench_results *results, FILE *out)
{
    struct utsname name;

    uname(&name);
    fprintf(out, "cocod %s on %s %s, %ld CPUs; servers on CPU %d, load on CPU %d\n",
            COCO_VERSION_STRING, name.sysname, name.release, sysconf(_SC_NPROCESSORS_ONLN),
            results->server_cpu, results->load_cpu);
    fprintf(out, "table of %zu bytes; replies of a and b have %zu bytes", results->table_size,
            results->reply_size);
    if (results->measured[ROW_REDIS])
        fprintf(out, ", of c %zu", results->redis_reply_size);
    fprintf(out, "\n%u rounds of %llu ms for each row, in turn; medians of the rounds\n\n",
            results->rounds, (unsigned long long)results->round_ms);
    for (int row = 0; row < BENCH_ROWS; row++)
        fprintf(out, "  %c  %s%s\n", rows[row].letter, rows[row].text,
                results->measured[row] ? "" : " (not measured)");
}

static void print_ratios(const struct bench_results *results, unsigned level, FILE *out)
{
    for (size_t pair = 0; pair < PAIRS; pair++) {
        if (!has_pair(results, level, pair))
            continue;
        struct range p50 = ratio(results, level, pair, P50);
        fprintf(out, "  %c / %c  %8.2f  %8.2f  %10.2f", rows[pairs[pair].of].letter,
                rows[pairs[pair].to].letter, p50.median, ratio(results, level, pair, P99).median,
                ratio(results, level, pair, PER_S).median);
        if (pairs[pair].to != ROW_FILE)
            fprintf(out, "  %12.2f", ratio(results, level, pair, CPU).median);
        else
            fprintf(out, "  %12s", "-");
        fprintf(out, "   p50 %.2f to %.2f\n", p50.lowest, p50.highest);
    }
}

static void print_level(const struct bench_results *results, unsigned level, FILE *out)
{
    fprintf(out, "\n%u connection%s\n", results->connections[level],
            results->connections[level] == 1 ? "" : "s");
    /* µ takes two bytes, which printf counts. */
    fprintf(out, "  row     %9s  %9s  %10s  %13s\n", "p50 µs", "p99 µs", "requests/s",
            "server CPU µs");
    for (int row = 0; row < BENCH_ROWS; row++) {
        if (!bench_measured(results, level, row))
            continue;
        double cpu = figure(results, level, row, CPU).median;
        fprintf(out, "  %c      %8.1f  %8.1f  %10.0f", rows[row].letter,
                figure(results, level, row, P50).median, figure(results, level, row, P99).median,
                figure(results, level, row, PER_S).median);
        if (cpu >= 0)
            fprintf(out, "  %12.2f\n", cpu);
        else
            fprintf(out, "  %12s\n", "-");
    }
    print_ratios(results, level, out);
}

void bench_print_table(const struct bench_results *results, FILE *out)
{
    print_head(results, out);
    for (unsigned level = 0; level < results->n_levels; level++)
        print_level(results, level, out);
    if (bench_worst_ratio(results) > 0)
        fprintf(out, "\np50 of a / b: at most %.2f\n", bench_worst_ratio(results));
}

/* --- for machines ----------------------------------------------------------------------------- */

/* null where the row involves no server. */
static void json_number(FILE *out, double number)
{
    if (number < 0)
        fputs("null", out);
    else
        fprintf(out, "%.3f", number);
}

static void json_sample(const struct bench_sample *s, FILE *out)
{
    fprintf(out, "{\"p50_us\": %.3f, \"p99_us\": %.3f, \"requests_per_s\": %.1f, ", s->p50_us,
            s->p99_us, s->per_s);
    fputs("\"server_cpu_us\": ", out);
    json_number(out, s->server_cpu_us);
    fprintf(out, ", \"requests\": %llu, \"asked\": %llu}", (unsigned long long)s->requests,
            (unsigned long long)s->asked);
}

static void json_row(const struct bench_results *results, unsigned level, enum bench_row row,
                     FILE *out)
{
    fprintf(out, "\n    {\"connections\": %u, \"row\": \"%s\", ", results->connections[level],
            rows[row].key);
    fprintf(out, "\"p50_us\": %.3f, \"p99_us\": %.3f, \"requests_per_s\": %.1f, ",
            figure(results, level, row, P50).median, figure(results, level, row, P99).median,
            figure(results, level, row, PER_S).median);
    fputs("\"server_cpu_us\": ", out);
    json_number(out, figure(results, level, row, CPU).median);
    fputs(",\n     \"rounds\": [", out);
    for (unsigned i = 0; i < results->rounds; i++) {
        fputs(i > 0 ? ",\n                " : "", out);
        json_sample(&results->samples[level][row][i], out);
    }
    fputs("]}", out);
}

static void json_ratio(const struct bench_results *results, unsigned level, size_t pair, FILE *out)
{
    static const struct {
        enum metric metric;
        const char *key;
    } metrics[] = {{P50, "p50"}, {P99, "p99"}, {PER_S, "requests_per_s"}, {CPU, "server_cpu"}};

    fprintf(out, "\n    {\"connections\": %u, \"of\": \"%s\", \"to\": \"%s\"",
            results->connections[level], rows[pairs[pair].of].key, rows[pairs[pair].to].key);
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
        if (metrics[i].metric == CPU && pairs[pair].to == ROW_FILE)
            continue;
        struct range r = ratio(results, level, pair, metrics[i].metric);
        fprintf(out, ",\n     \"%s\": {\"median\": %.4f, \"lowest\": %.4f, \"highest\": %.4f}",
                metrics[i].key, r.median, r.lowest, r.highest);
    }
    fputs("}", out);
}

void bench_print_json(const struct bench_results *results, FILE *out)
{
    struct utsname name;
    bool first = true;

    uname(&name);
    fprintf(out, "{\n  \"version\": \"%s\",\n  \"kernel\": \"%s %s\",\n", COCO_VERSION_STRING,
            name.sysname, name.release);
    fprintf(out, "  \"server_cpu\": %d,\n  \"load_cpu\": %d,\n  \"rounds\": %u,\n",
            results->server_cpu, results->load_cpu, results->rounds);
    fprintf(out, "  \"round_ms\": %llu,\n  \"table_bytes\": %zu,\n",
            (unsigned long long)results->round_ms, results->table_size);
    fputs("  \"results\": [", out);
    for (unsigned level = 0; level < results->n_levels; level++)
        for (int row = 0; row < BENCH_ROWS; row++) {
            if (!bench_measured(results, level, row))
                continue;
            fputs(first ? "" : ",", out);
            first = false;
            json_row(results, level, row, out);
        }
    fputs("\n  ],\n  \"ratios\": [", out);
    first = true;
    for (unsigned level = 0; level < results->n_levels; level++)
        for (size_t pair = 0; pair < PAIRS; pair++) {
            if (!has_pair(results, level, pair))
                continue;
            fputs(first ? "" : ",", out);
            first = false;
            json_ratio(results, level, pair, out);
        }
    fputs("\n  ]\n}\n", out);
}
