/* SPDX-License-Identifier: MIT */
/*
 * JSON that is sent: trees in the making, and their text. Used by cocod and cococtl; knows neither.
 *
 * Out of memory is looked at once, at the end. What could not be added leaves its mark on the
 * object or array that it is missing in, and the text of a tree with such a mark does not exist: so
 * a reply is whole, or is none. An object is filled before it is added, since where it cannot be it
 * is freed. json-c's own text is not used, since its pieces go missing without a word where their
 * buffer cannot grow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/* Adds a member, or replaces it. `key` must live as long as the tree, as a literal does. Takes
 * `value` over; NULL is what memory failed to make, and no null. `object` may be NULL: it is
 * missing itself, and whoever adds it learns that. */
void json_set(struct json_object *object, const char *key, struct json_object *value);
/* The same, with a copy of `key`; for few members. */
void json_set_named(struct json_object *object, const char *key, struct json_object *value);
void json_set_null(struct json_object *object, const char *key);
void json_set_int(struct json_object *object, const char *key, int64_t value);
/* null where it is not there */
void json_set_optional_int(struct json_object *object, const char *key, bool there, int64_t value);
void json_set_bool(struct json_object *object, const char *key, bool value);
void json_append(struct json_object *array, struct json_object *value);
/* Of an array, which may be NULL. */
size_t json_length(struct json_object *array);

/* Writes the tree as a string of at most `size` bytes, NUL included, without space between its
 * parts; `out` may be NULL where `size` is 0. Returns the bytes that the whole of it takes, without
 * the NUL; 0: something is missing in it. Takes no memory. `tree` NULL is null. */
size_t json_write(struct json_object *tree, char *out, size_t size);
/* The same, for people: each member and element on a line of its own, two spaces deeper than what
 * it is in. */
size_t json_write_lines(struct json_object *tree, char *out, size_t size);
