/* SPDX-License-Identifier: MIT */
/*
 * JSON that is sent: trees in the making, and their text. Used by cocod and cococtl.
 *
 * Out of memory is checked once, at the end. What could not be added leaves a mark on the object or
 * array that misses it, and a tree with a mark has no text: a reply is whole, or there is none.
 * Fill an object before you add it: one that cannot be added is freed. json-c's own text is not
 * used: where its buffer cannot grow, parts go missing silently.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct json_object;

/* Adds a member, or replaces it. `key` must live as long as the tree, as a literal does. Takes
 * `value` over. NULL is no null, but what ran out of memory; so `object` may be NULL, too, and is
 * missing where it is added. */
void json_set(struct json_object *object, const char *key, struct json_object *value);
/* The same, with a copy of `key`; for few members. */
void json_set_named(struct json_object *object, const char *key, struct json_object *value);
void json_set_null(struct json_object *object, const char *key);
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
