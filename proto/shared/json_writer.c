/* SPDX-License-Identifier: MIT */
#include "json_writer.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* --- trees ------------------------------------------------------------------------------------ */

/* What json-c keeps for the user of an object or array is this one's address where something is
 * missing in it. */
static const char missing;

static void mark(struct json_object *container)
{
    json_object_set_userdata(container, (void *)(uintptr_t)&missing, NULL);
}

static bool is_marked(struct json_object *container)
{
    return json_object_get_userdata(container) == &missing;
}

/* Where a table of names cannot grow, json-c loses the copy of the name: so they are constant. */
static void set(struct json_object *object, const char *key, struct json_object *value,
                unsigned options)
{
    if (object && value && json_object_object_add_ex(object, key, value, options) == 0)
        return;
    json_object_put(value);
    if (object)
        mark(object);
}

void json_set(struct json_object *object, const char *key, struct json_object *value)
{
    set(object, key, value, JSON_C_OBJECT_KEY_IS_CONSTANT);
}

void json_set_named(struct json_object *object, const char *key, struct json_object *value)
{
    set(object, key, value, 0);
}

void json_set_null(struct json_object *object, const char *key)
{
    if (object && json_object_object_add_ex(object, key, NULL, JSON_C_OBJECT_KEY_IS_CONSTANT) < 0)
        mark(object);
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

void json_append(struct json_object *array, struct json_object *value)
{
    if (array && value && json_object_array_add(array, value) == 0)
        return;
    json_object_put(value);
    if (array)
        mark(array);
}

size_t json_length(struct json_object *array)
{
    return array ? json_object_array_length(array) : 0;
}

/* --- text ------------------------------------------------------------------------------------- */

struct writer {
    char *out;
    size_t size, used; /* bytes; `used` counts on where `out` is full */
    unsigned depth;
    bool lines, whole;
};

static void put(struct writer *w, const char *text, size_t n)
{
    if (w->used < w->size)
        memcpy(w->out + w->used, text, n < w->size - w->used ? n : w->size - w->used);
    w->used += n;
}

static void put_text(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

/* RFC 8259, section 7: what must be escaped is. */
static void put_string(struct writer *w, const char *text, size_t n)
{
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    size_t from = 0;

    put_text(w, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        const char *letter = c ? strchr(letters, c) : NULL;
        char escaped[8];
        if (letter)
            snprintf(escaped, sizeof(escaped), "\\%c", names[letter - letters]);
        else
            snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        put(w, text + from, i - from);
        put_text(w, escaped);
        from = i + 1;
    }
    put(w, text + from, n - from);
    put_text(w, "\"");
}

static void begin_line(struct writer *w)
{
    if (!w->lines)
        return;
    put_text(w, "\n");
    for (unsigned i = 0; i < w->depth; i++)
        put_text(w, "  ");
}

static void put_value(struct writer *w, struct json_object *value);

/* NOLINTNEXTLINE(misc-no-recursion): trees are as deep as what was read, or as we make them */
static void put_object(struct writer *w, struct json_object *object)
{
    const char *between = "";

    w->whole = w->whole && !is_marked(object);
    put_text(w, "{");
    w->depth++;
    json_object_object_foreach(object, key, value)
    {
        put_text(w, between);
        begin_line(w);
        put_string(w, key, strlen(key));
        put_text(w, ":");
        put_value(w, value);
        between = ",";
    }
    w->depth--;
    if (*between)
        begin_line(w);
    put_text(w, "}");
}

/* NOLINTNEXTLINE(misc-no-recursion): as above */
static void put_array(struct writer *w, struct json_object *array)
{
    size_t n = json_object_array_length(array);

    w->whole = w->whole && !is_marked(array);
    put_text(w, "[");
    w->depth++;
    for (size_t i = 0; i < n; i++) {
        put_text(w, i > 0 ? "," : "");
        begin_line(w);
        put_value(w, json_object_array_get_idx(array, i));
    }
    w->depth--;
    if (n > 0)
        begin_line(w);
    put_text(w, "]");
}

/* With the digits that it was read or made with, which json-c keeps beside it. */
static void put_double(struct writer *w, struct json_object *value)
{
    const char *digits = json_object_get_userdata(value);
    char number[32];

    if (!digits)
        snprintf(number, sizeof(number), "%.17g", json_object_get_double(value));
    put_text(w, digits ? digits : number);
}

/* NOLINTNEXTLINE(misc-no-recursion): as above */
static void put_value(struct writer *w, struct json_object *value)
{
    char number[32];

    switch (json_object_get_type(value)) {
    case json_type_null:
        put_text(w, "null");
        break;
    case json_type_boolean:
        put_text(w, json_object_get_boolean(value) ? "true" : "false");
        break;
    case json_type_int:
        snprintf(number, sizeof(number), "%" PRId64, json_object_get_int64(value));
        put_text(w, number);
        break;
    case json_type_double:
        put_double(w, value);
        break;
    case json_type_string:
        put_string(w, json_object_get_string(value), (size_t)json_object_get_string_len(value));
        break;
    case json_type_array:
        put_array(w, value);
        break;
    case json_type_object:
        put_object(w, value);
        break;
    }
}

static size_t write_tree(struct writer w, struct json_object *tree)
{
    w.whole = true;
    put_value(&w, tree);
    if (w.size > 0)
        w.out[w.used < w.size ? w.used : w.size - 1] = 0;
    return w.whole ? w.used : 0;
}

size_t json_write(struct json_object *tree, char *out, size_t size)
{
    return write_tree((struct writer){.out = out, .size = size}, tree);
}

size_t json_write_lines(struct json_object *tree, char *out, size_t size)
{
    return write_tree((struct writer){.out = out, .size = size, .lines = true}, tree);
}
