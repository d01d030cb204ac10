/* SPDX-License-Identifier: MIT */
/*
 * Base64, RFC 4648 section 4: padded, canonical.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* malloc'ed, terminated; NULL: out of memory. */
char *base64_encode(const void *bytes, size_t size);
/* malloc'ed; -EBADMSG, -ENOMEM. */
int base64_decode(const char *text, uint8_t **ret, size_t *ret_size);
