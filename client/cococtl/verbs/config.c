/* SPDX-License-Identifier: MIT */
/*
 * config: the values that cocod runs with, and where each comes from.
 */
#include "lib/ctl.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "verbs/verbs.h"
#include <inttypes.h>
#include <string.h>

static void print_value(FILE *to, struct reply *reply, struct json_object *value)
{
    const char *text = reply_string(reply, value, "value");
    const char *file = reply_optional_string(reply, value, "file");

    term_printf(to, "%s%s%s  ; %s", reply_string(reply, value, "key"), text[0] ? " = " : " =", text,
                file ? file : "default");
    if (file)
        term_printf(to, ":%" PRId64, reply_int(reply, value, "line"));
    if (reply_bool(reply, value, "restart"))
        term_puts(to, ", from the next start on");
    (void)fputc('\n', to);
}

static void print_config(FILE *to, struct reply *reply, struct json_object *config)
{
    struct json_object *values, *files;
    const char *problem = reply_optional_string(reply, config, "problem");
    size_t n_files = reply_array(reply, config, "files", json_type_string, &files);
    size_t n = reply_array(reply, config, "values", json_type_object, &values);
    const char *section = "";

    term_printf(to, "; configuration %s%s", reply_string(reply, config, "hash"),
                n_files > 0 ? ", from" : ", defaults alone");
    for (size_t i = 0; i < n_files; i++)
        term_printf(to, " %s", json_object_get_string(json_object_array_get_idx(files, i)));
    (void)fputc('\n', to);
    if (problem)
        term_printf(to, "; %s\n", problem);
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
