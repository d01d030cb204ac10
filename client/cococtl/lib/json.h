/* SPDX-License-Identifier: MIT */
/* Members of JSON objects, beside what json_writer.h has. */
#pragma once

#include "json_writer.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* As json_set(); a text that is NULL is null. */
void json_set_text(struct json_object *object, const char *key, const char *text);
void json_set_int(struct json_object *object, const char *key, int64_t value);
/* null where it is not there */
void json_set_optional_int(struct json_object *object, const char *key, bool there, int64_t value);
void json_set_bool(struct json_object *object, const char *key, bool value);
/* The value stays the caller's, too; NULL is null. */
void json_set_shared(struct json_object *object, const char *key, struct json_object *value);

/* NULL: it is missing, or of another type. `object` may be NULL. */
struct json_object *json_member(struct json_object *object, const char *key, json_type type);
const char *json_text(struct json_object *object, const char *key);
/* `otherwise` where it is missing, or of another type. */
int64_t json_int(struct json_object *object, const char *key, int64_t otherwise);
