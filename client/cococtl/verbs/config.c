/* SPDX-License-Identifier: MIT */
/* config: the values that cocod runs with, and where each comes from. */
#include "lib/ctl.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <string.h>

static void print_value(FILE *to, struct reply *reply, struct json_object *value)
{
    reply_write(to, reply, value,
                reply_string(reply, value, "value")[0] ? "{key} = {value}  ; {file|default}"
                                                       : "{key} =  ; {file|default}");
    if (reply_optional_string(reply, value, "file"))
        reply_write(to, reply, value, ":{line:d}");
    term_puts(to, reply_bool(reply, value, "restart") ? ", from the next start on\n" : "\n");
}

static void print_config(FILE *to, struct reply *reply, struct json_object *config)
{
    struct json_object *values, *files;
    size_t n_files = reply_array(reply, config, "files", json_type_string, &files);
    size_t n = reply_array(reply, config, "values", json_type_object, &values);
    const char *section = "";

    term_printf(to, "; configuration %s%s", reply_string(reply, config, "hash"),
                n_files > 0 ? ", from" : ", defaults alone");
    for (size_t i = 0; i < n_files; i++)
        term_printf(to, " %s", json_object_get_string(json_object_array_get_idx(files, i)));
    reply_write(to, reply, config, "\n[; {problem}\n]");
    for (size_t i = 0; i < n; i++) {
        struct json_object *value = json_object_array_get_idx(values, i);
        const char *of = reply_string(reply, value, "section");
        if (strcmp(of, section) != 0)
            term_printf(to, "\n[%s]\n", of);
        section = of;
        print_value(to, reply, value);
    }
}

int verb_config(const struct ctl *ctl)
{
    return reply_call(ctl, "GetConfig", NULL, print_config);
}
