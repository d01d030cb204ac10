/* SPDX-License-Identifier: MIT */
/*
 * GetConfig: the configuration in force, value by value, and where each came from. No value is a
 * secret: the configuration names files and sockets, and holds none.
 */
#include "admin/parts.h"
#include "config/state.h"
#include "json_writer.h"
#include <json-c/json.h>

static struct json_object *value_row(const struct admin *admin, const struct config_key *key,
                                     size_t item, const char *value)
{
    struct json_object *row = json_object_new_object();
    const struct config_origin *origin = config_find_origin(admin->config, key, item);
    bool restart = key->at_start && !config_same_value(admin->config, admin->started, key);

    admin_add_text(row, "section", key->section);
    admin_add_text(row, "key", key->name);
    admin_add_text(row, "value", value);
    admin_add_text(row, "file", origin ? origin->file : NULL);
    admin_add_int_if(row, "line", origin, origin ? origin->line : 0);
    admin_add_bool(row, "restart", restart);
    return row;
}

static struct json_object *value_rows(const struct admin *admin)
{
    struct json_object *array = json_object_new_array();
    char value[CONFIG_VALUE_SIZE];

    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        size_t item = 0;
        while (config_value_text(admin->config, key, item, value, sizeof(value)) >= 0)
            json_append(array, value_row(admin, key, item++, value));
        if (item == 0)
            json_append(array, value_row(admin, key, 0, ""));
    }
    return array;
}

void admin_get_config(const struct call *call)
{
    const struct admin *admin = call->admin;
    struct json_object *object = json_object_new_object();
    struct json_object *files = json_object_new_array();

    for (size_t i = 0; i < admin->config->n_files; i++)
        json_append(files, json_object_new_string(admin->config->files[i]));
    admin_add_text(object, "source", config_source_name(admin->config_state->source));
    admin_add_text(object, "problem",
                   admin->config_state->problem[0] ? admin->config_state->problem : NULL);
    admin_add_text(object, "hash", admin->config_state->hash);
    json_set(object, "files", files);
    json_set(object, "values", value_rows(admin));
    admin_send_parameters(call, object);
}
