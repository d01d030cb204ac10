/* SPDX-License-Identifier: MIT */
/*
 * Memory that ran out, which sticks: from then on nothing is asked of cocod, and the exit status is
 * CTL_MEMORY, whatever was printed. Whoever gets none says so here, and goes on without, or ends.
 */
#pragma once

#include "lib/ctl.h"

/* Says it, once. The exit status. */
int memory_out(void);
bool memory_ran_out(void);
/* `got`, from a function that sets errno. Where there was no memory for it, that was said. */
void *memory_got(void *got);
/* An empty object, or one with a text that may be null; NULL where that was said. */
struct json_object *memory_object(void);
struct json_object *memory_member(const char *key, const char *text);
/* A tree as text by json_write or json_write_lines, malloc'ed; NULL where that was said. */
typedef size_t memory_form(struct json_object *tree, char *out, size_t size);
char *memory_json(struct json_object *tree, memory_form *form);
/* Is everything in a tree that was added to it? Else that was said. */
bool memory_held(struct json_object *tree);
