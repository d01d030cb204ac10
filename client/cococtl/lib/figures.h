/* SPDX-License-Identifier: MIT */
/* Figures and long texts, short enough for a line. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Long texts that lines refer to by number, from 1 on, and that stand below, once. They are
 * borrowed. 0: there are too many. */
#define LEGEND_MAX 64u
struct legend {
    const char *name;
    size_t n;
    const char *items[LEGEND_MAX];
};
size_t legend_number(struct legend *legend, const char *text);
void legend_print(FILE *to, const struct legend *legend);
/* Of counts; at most INT64_MAX. */
int64_t sum(int64_t a, int64_t b);
/* "250 ms", "12 s", "3 min". */
void ms_text(int64_t ms, char out[24]);
void us_text(int64_t us, char out[24]);
