/* SPDX-License-Identifier: MIT */
/*
 * Prose for the documents that cocod prints of its tables.
 */
#pragma once

#include <stdio.h>

/* The words of `text` on lines of at most 96 columns, each of which starts with `indent`. */
void prose_print(FILE *out, const char *indent, const char *text);
