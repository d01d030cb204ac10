/* SPDX-License-Identifier: MIT */
/*
 * JSON for the administrators' methods: small readers and writers, each with one meaning. Readers
 * are strict: what is not of the type that the interface names is not there.
 */
#include "admin/parts.h"
#include "base64.h"
#include "json_writer.h"
#include "text.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A string as a C string; NULL where it is none, or where a NUL hides in it. */
const char *admin_string(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    const char *text = json_object_get_string(value);
    return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

/* Whoever shows it need not think of what is in it. */
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

void admin_add_nulls(struct json_object *object, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_set_null(object, keys[i]);
}

void admin_add_bool(struct json_object *object, const char *key, bool value)
{
    json_set(object, key, json_object_new_boolean(value));
}

void admin_add_if(struct json_object *object, const char *key, bool there,
                  struct json_object *value)
{
    if (there)
        json_set(object, key, value);
    else
        json_set_null(object, key);
}

void admin_foreign(const char *text, char out[ADMIN_FOREIGN_SIZE])
{
    (void)coco_text_escape(out, ADMIN_FOREIGN_SIZE, text, strlen(text));
}

void admin_add_int(struct json_object *object, const char *key, uint64_t value)
{
    json_set(object, key, json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

void admin_add_int_if(struct json_object *object, const char *key, bool there, uint64_t value)
{
    if (there)
        admin_add_int(object, key, value);
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

    if (seconds == INT64_MAX || !gmtime_r(&t, &tm) ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        admin_add_text(object, key, NULL);
    else
        admin_add_text(object, key, text);
}

void admin_add_base64(struct json_object *object, const char *key, const uint8_t *data, size_t size)
{
    char *text = base64_encode(data, size);

    json_set(object, key, text ? json_object_new_string(text) : NULL);
    free(text);
}

struct json_object *admin_parameter(const struct call *call, const char *key)
{
    struct json_object *value = NULL;

    if (call->parameters)
        json_object_object_get_ex(call->parameters, key, &value);
    return value;
}

bool admin_optional_string(const struct call *call, const char *key, const char **ret)
{
    struct json_object *value = admin_parameter(call, key);

    *ret = value ? admin_string(value) : NULL;
    return !value || *ret;
}
