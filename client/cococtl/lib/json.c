/* SPDX-License-Identifier: MIT */
#include "lib/json.h"

void json_set_text(struct json_object *object, const char *key, const char *text)
{
    if (text)
        json_set(object, key, json_object_new_string(text));
    else
        json_set_null(object, key);
}

void json_set_int(struct json_object *object, const char *key, int64_t value)
{
    json_set(object, key, json_object_new_int64(value));
}

void json_set_optional_int(struct json_object *object, const char *key, bool there, int64_t value)
{
    if (there)
        json_set_int(object, key, value);
    else
        json_set_null(object, key);
}

void json_set_bool(struct json_object *object, const char *key, bool value)
{
    json_set(object, key, json_object_new_boolean(value));
}

void json_set_shared(struct json_object *object, const char *key, struct json_object *value)
{
    if (value)
        json_set(object, key, json_object_get(value));
    else
        json_set_null(object, key);
}

struct json_object *json_member(struct json_object *object, const char *key, json_type type)
{
    struct json_object *value = NULL;

    if (object)
        (void)json_object_object_get_ex(object, key, &value);
    return json_object_is_type(value, type) ? value : NULL;
}

const char *json_text(struct json_object *object, const char *key)
{
    struct json_object *value = json_member(object, key, json_type_string);

    return value ? json_object_get_string(value) : NULL;
}

int64_t json_int(struct json_object *object, const char *key, int64_t otherwise)
{
    struct json_object *value = json_member(object, key, json_type_int);

    return value ? json_object_get_int64(value) : otherwise;
}
