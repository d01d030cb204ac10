/* SPDX-License-Identifier: MIT */
/* Where results go: standard output, and files. */
#pragma once

#include "lib/ctl.h"

/* Where a verb's text goes: stdout, or the file of --out. NULL: failed and said so. */
FILE *output_open(const struct ctl *ctl);
/* Ends it; the exit status. */
int output_close(const struct ctl *ctl, FILE *to);
/* The same of stdout, whatever --out says. */
int output_end(void);
/* Writes bytes there; the exit status. */
int output_bytes(const struct ctl *ctl, const void *bytes, size_t size);
/* Makes or replaces a file: whoever looks, after whatever crash, sees the old bytes or the new.
 * The exit status; the reason was printed. */
int output_replace(const char *path, const void *bytes, size_t size);
/* Makes the folders that a path lies in. The exit status. */
int output_make_parents(const char *path);
/* An object as text, for people or on one line. CTL_OK or the exit status. */
int output_json(FILE *to, struct json_object *object);
int output_json_line(FILE *to, struct json_object *object);
/* As output_json, to stdout, to its end. Takes `object`. */
int output_object(struct json_object *object);
