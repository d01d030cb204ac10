/* SPDX-License-Identifier: MIT */
/*
 * Prometheus' text format: tables of families, of which page and documentation are both made. A
 * table belongs to whoever counts; observe knows none of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct histogram;

struct family;

/* A page being written: one family's samples, read from what its table is about. */
struct page {
    FILE *out;
    const struct family *family;
    void *from;
};

/* Its samples come from the first of these that is set. */
struct family {
    const char *name;   /* without "cocod_" */
    const char *type;   /* "gauge", "counter" or "histogram" */
    const char *labels; /* of a vector: the one label's name; else for the documentation */
    const char *help;
    void (*collect)(const struct page *page);
    uint64_t (*value)(void *from); /* one sample, without a label */

    /* A vector: rows `first` to behind − 1, each with its name. */
    const char *const *names;
    unsigned first, behind;
    const uint64_t *counts;
    const struct histogram *histograms; /* `names` NULL: the one histogram, without a label */
    const uint64_t *bounds;
    double scale; /* of bounds and sum */
};

struct family_table {
    const struct family *rows;
    size_t n;
};
#define FAMILY_TABLE(rows)                       \
    {                                            \
        (rows), sizeof(rows) / sizeof((rows)[0]) \
    }

/* `label` NULL: none. */
void page_sample(const struct page *page, const char *label, const char *value, uint64_t n);
void page_seconds(const struct page *page, uint64_t us);
/* A label's value as the format wants it: a backslash and a quote are escaped; what is not ASCII,
 * which the configuration allows in a path, is not shown. */
void page_escape(char *out, size_t size, const char *text);

/* All families of a table, read from `from`; the same as rows of a Markdown table. */
void page_print(FILE *out, const struct family_table *table, void *from);
void page_document(FILE *out, const struct family_table *table);
/* All counters that are no outcomes (counters.h), the one way or the other. */
void page_counters(FILE *out, bool document);
