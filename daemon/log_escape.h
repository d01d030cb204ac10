/* SPDX-License-Identifier: MIT */
/*
 * Foreign text made safe to print: what a VMM calls itself, a file name, a line of somebody's
 * configuration.
 */
#pragma once

#include <stddef.h>

/* Copies the `n` bytes of `in` to `out`, always ending it with a NUL. Control characters (C0, DEL,
 * C1, U+2028, U+2029), bidirectional and zero-width controls, and every byte that is not
 * well-formed UTF-8 become \xNN, one for each byte. Everything else, the backslash too, stays as it
 * is, so that escaping twice changes nothing. What does not fit is cut off between characters and
 * marked by "..." where there is room for that. Returns the length of what was written. `out` and
 * `in` must not overlap. */
size_t log_escape(char *out, size_t out_size, const char *in, size_t n);
