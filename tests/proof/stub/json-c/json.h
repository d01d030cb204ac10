/* SPDX-License-Identifier: MIT */
/*
 * json-c as the proofs see it: prove_json.c says what its functions do.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct json_object;

struct json_object *json_object_new_object(void);
struct json_object *json_object_new_array(void);
struct json_object *json_object_new_int64(int64_t value);
struct json_object *json_object_new_double_s(double value, const char *text);
struct json_object *json_object_new_boolean(int value);
struct json_object *json_object_new_string_len(const char *text, int size);
bool json_object_object_get_ex(struct json_object *object, const char *name,
                               struct json_object **ret);
int json_object_object_add(struct json_object *object, const char *name, struct json_object *value);
int json_object_array_add(struct json_object *array, struct json_object *value);
int json_object_put(struct json_object *object);
