/* SPDX-License-Identifier: MIT */
#include "ctl.h"

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

struct json_object *memory_object(void)
{
    struct json_object *object = json_object_new_object();

    if (!object)
        (void)memory_out();
    return object;
}

bool memory_held(struct json_object *tree)
{
    bool whole = tree && json_write(tree, NULL, 0) > 0;

    if (!whole)
        (void)memory_out();
    return whole;
}
