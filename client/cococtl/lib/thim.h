/* SPDX-License-Identifier: MIT */
/* JSON of Azure's THIM service. */
#pragma once

#include "why.h"
#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

/* The JSON as text, malloc'ed, where the bytes are that or base64 of it; else NULL, also where
 * memory ran out, which was said. */
char *thim_text(const uint8_t *bytes, size_t size);
/* Its object, which has a text vcekCert and, it may be, a text certificateChain, and which the
 * caller puts; or NULL and why. */
struct json_object *thim_parse(const char *text, struct why *why);
