/* SPDX-License-Identifier: MIT */
#include "lib/memory.h"
#include "lib/json.h"
#include "lib/terminal.h"
#include <errno.h>
#include <stdlib.h>

static bool ran_out;

int memory_out(void)
{
    if (!ran_out)
        term_error("out of memory");
    ran_out = true;
    return CTL_MEMORY;
}

bool memory_ran_out(void)
{
    return ran_out;
}

void *memory_got(void *got)
{
    if (!got && errno == ENOMEM)
        (void)memory_out();
    return got;
}

struct json_object *memory_object(void)
{
    struct json_object *object = json_object_new_object();

    if (!object)
        (void)memory_out();
    return object;
}

struct json_object *memory_member(const char *key, const char *text)
{
    struct json_object *object = memory_object();

    json_set_text(object, key, text);
    return object;
}

char *memory_json(struct json_object *tree, memory_form *form)
{
    size_t size = tree ? form(tree, NULL, 0) : 0;
    char *text = size > 0 ? malloc(size + 1) : NULL;

    if (text)
        (void)form(tree, text, size + 1);
    else
        (void)memory_out();
    return text;
}

bool memory_held(struct json_object *tree)
{
    bool whole = tree && json_write(tree, NULL, 0) > 0;

    if (!whole)
        (void)memory_out();
    return whole;
}
