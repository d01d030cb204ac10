/* SPDX-License-Identifier: MIT */
/*
 * Varlink as an administrator's client speaks it, and a reply read by its names. A reply is valid
 * until the next one is heard; a test ends nothing of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/* `turn` lets cocod do what there is to do; so many turns without a byte are no reply. */
void varlink_begin(void (*turn)(void), int turns);
void varlink_end(void);

/* {"method":"io.cocod.Admin.METHOD","parameters":{PARAMETERS}}; the braces may be there already.
 * Static buffer. */
const char *call_of(const char *method, const char *parameters);
void say(int fd, const char *call);
void say_bytes(int fd, const char *bytes, size_t size);
/* One reply; NULL: none. */
struct json_object *hear(int fd);
/* A call that succeeds: its parameters. */
struct json_object *ask_on(int fd, const char *call);
/* One that fails: its parameters. `key` NULL: whatever they are. */
struct json_object *expect_error_on(int fd, const char *call, const char *name, const char *key,
                                    const char *value);

/* A member, which must be there. */
struct json_object *get(struct json_object *object, const char *key);
bool is_null(struct json_object *object, const char *key);
bool is_true(struct json_object *object, const char *key);
int64_t number_of(struct json_object *object, const char *key);
/* NULL: it is null. */
const char *text_of(struct json_object *object, const char *key);
/* It has all that `want` names: JSON, in which a quotation mark may be '. Arrays are as long as
 * there; a string that begins with ~ is part of the other. */
void expect(struct json_object *object, const char *want);
/* Of an array. */
size_t count(struct json_object *object, const char *key);
struct json_object *at(struct json_object *object, const char *key, size_t i);
const char *text_at(struct json_object *object, const char *key, size_t i);
