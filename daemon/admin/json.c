/* SPDX-License-Identifier: MIT */
/*
 * JSON of the administrators' methods. What is not of the type that the interface names is not
 * there.
 */
#include "admin/parts.h"
#include "text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *admin_string(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    const char *text = json_object_get_string(value);
    return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

struct json_object *admin_text(const char *text)
{
    size_t n = strlen(text), size = 4 * n + 1;
    char *escaped = malloc(size); /* each byte may become \xNN */
    struct json_object *value = NULL;

    if (escaped)
        value = json_object_new_string_len(escaped, (int)coco_text_escape(escaped, size, text, n));
    free(escaped);
    return value;
}

void admin_add_text(struct json_object *object, const char *key, const char *text)
{
    if (text)
        json_set(object, key, admin_text(text));
    else
        json_set_null(object, key);
}

void admin_add_if(struct json_object *object, const char *key, bool there,
                  struct json_object *value)
{
    if (there)
        json_set(object, key, value);
    else
        json_set_null(object, key);
}

void admin_add_hex64(struct json_object *object, const char *key, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    admin_add_text(object, key, text);
}

void admin_uuid_text(const uint8_t uuid[16], char out[ADMIN_UUID_SIZE])
{
    size_t n = 0;

    for (size_t i = 0; i < 16; i++)
        n += (size_t)snprintf(out + n, ADMIN_UUID_SIZE - n, "%s%02x",
                              i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

void admin_add_time(struct json_object *object, const char *key, int64_t seconds)
{
    char text[32];
    time_t t = (time_t)seconds;
    struct tm tm;
    bool valid = seconds != INT64_MAX && gmtime_r(&t, &tm) &&
                 strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0;

    admin_add_text(object, key, valid ? text : NULL);
}

struct json_object *admin_parameter(const struct call *call, const char *key)
{
    struct json_object *value = NULL;

    if (call->parameters)
        json_object_object_get_ex(call->parameters, key, &value);
    return value;
}
