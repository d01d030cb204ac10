/* SPDX-License-Identifier: MIT */
/*
 * Foreign text made safe to print: a VM's name, a file name, a line of somebody's configuration.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 character at the start of `s`, and in `ret` which it is; 0: there is none. No
 * overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629, section 4). */
size_t coco_text_char(const uint8_t *s, size_t n, uint32_t *ret);
/* Does the character act, instead of being shown? Controls, separators of lines, what changes the
 * order of others, and what is invisible. */
bool coco_text_acts(uint32_t c);

/* Copies the `n` bytes of `in` to `out`, ending it with a NUL. Characters that act, and bytes that
 * are not well-formed UTF-8, become \xNN, one for each byte. Everything else, the backslash too,
 * stays as it is, so that escaping twice changes nothing. What does not fit is cut off between
 * characters and marked by "..." where there is room for that. Returns the length of what was
 * written. `out` and `in` must not overlap. */
size_t coco_text_escape(char *out, size_t out_size, const char *in, size_t n);
