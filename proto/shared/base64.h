/* SPDX-License-Identifier: MIT */
/*
 * Base64 (RFC 4648, section 4): padded, nothing between, and canonical, so that one text stands for
 * one sequence of bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* malloc'ed, terminated; NULL: out of memory. */
char *base64_encode(const void *bytes, size_t size);
/* malloc'ed, also where there are no bytes; -EBADMSG, -ENOMEM. */
int base64_decode(const char *text, uint8_t **ret, size_t *ret_size);
/* The same into `out`, which has room for size / 4 * 3 bytes and may be where the text is. False:
 * it is not base64; `out` is spoilt then. */
bool base64_decode_into(const void *text, size_t size, uint8_t *out, size_t *ret_size);
