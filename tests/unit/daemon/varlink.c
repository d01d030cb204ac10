/* SPDX-License-Identifier: MIT */
#include "varlink.h"
#include "rig.h"
#include <json-c/json.h>

static void (*take_turn)(void);
static int turns_max;
static struct json_object *reply;

void varlink_begin(void (*turn)(void), int turns)
{
    take_turn = turn;
    turns_max = turns;
    varlink_end();
}

void varlink_end(void)
{
    json_object_put(reply);
    reply = NULL;
}

const char *call_of(const char *method, const char *parameters)
{
    static char text[1u << 21];
    bool braced = parameters[0] == '{';
    int n = snprintf(text, sizeof(text), "{\"method\":\"io.cocod.Admin.%s\",\"parameters\":%s%s%s}",
                     method, braced ? "" : "{", parameters, braced ? "" : "}");

    ck_assert_uint_lt((size_t)n, sizeof(text));
    return text;
}

/* A socket holds less than a message may have. */
void say_bytes(int fd, const char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t n = size - at < 65536 ? size - at : 65536;
        rig_send(fd, bytes + at, n);
        take_turn();
        at += n;
    }
}

void say(int fd, const char *call)
{
    say_bytes(fd, call, strlen(call) + 1);
}

struct json_object *hear(int fd)
{
    static char text[1u << 21];
    size_t size = 0;
    char *end = NULL;

    varlink_end();
    for (int turns = 0; turns < turns_max && !end;) {
        ssize_t n = recv(fd, text + size, sizeof(text) - size, MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0) {
            take_turn();
            turns++;
            continue;
        }
        end = memchr(text + size, 0, (size_t)n);
        n = recv(fd, text + size, end ? (size_t)(end - (text + size)) + 1 : (size_t)n, 0);
        size += (size_t)n;
    }
    if (size == 0)
        return NULL;
    ck_assert_msg(end, "a reply without an end");
    ck_assert_uint_le(size, 1u << 20); /* a message's size, in both directions */
    reply = json_tokener_parse(text);
    ck_assert_msg(json_object_is_type(reply, json_type_object), "not an object: %s", text);
    return reply;
}

struct json_object *ask_on(int fd, const char *call)
{
    say(fd, call);
    ck_assert_msg(hear(fd) != NULL, "no reply to %.200s", call);
    ck_assert_msg(!json_object_object_get_ex(reply, "error", NULL), "%.200s: %s", call,
                  json_object_to_json_string(reply));
    return get(reply, "parameters");
}

struct json_object *expect_error_on(int fd, const char *call, const char *name, const char *key,
                                    const char *value)
{
    say(fd, call);
    ck_assert_msg(hear(fd) != NULL, "no reply to %.200s", call);
    ck_assert_msg(json_object_object_get_ex(reply, "error", NULL), "%.200s is answered: %s", call,
                  json_object_to_json_string(reply));
    ck_assert_str_eq(text_of(reply, "error"), name);
    if (key)
        ck_assert_str_eq(text_of(get(reply, "parameters"), key), value);
    return get(reply, "parameters");
}

/* --- members ---------------------------------------------------------------------------------- */

struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(object, key, &value), "there is no %s in %s", key,
                  json_object_to_json_string(object));
    return value;
}

bool is_null(struct json_object *object, const char *key)
{
    return get(object, key) == NULL;
}

bool is_true(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_boolean), "%s is no bool", key);
    return json_object_get_boolean(value);
}

int64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_int), "%s is no int", key);
    return json_object_get_int64(value);
}

const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(!value || json_object_is_type(value, json_type_string), "%s is no string", key);
    return value ? json_object_get_string(value) : NULL;
}

size_t count(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_array), "%s is no array", key);
    return json_object_array_length(value);
}

struct json_object *at(struct json_object *object, const char *key, size_t i)
{
    ck_assert_uint_lt(i, count(object, key));
    return json_object_array_get_idx(get(object, key), i);
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as a test's text */
static void expect_value(struct json_object *is, struct json_object *want, const char *key)
{
    const char *text = json_object_get_string(want);

    if (json_object_is_type(want, json_type_object)) {
        json_object_object_foreach(want, member, value)
        {
            expect_value(get(is, member), value, member);
        }
    } else if (json_object_is_type(want, json_type_array)) {
        ck_assert_msg(json_object_is_type(is, json_type_array), "%s is no array", key);
        ck_assert_uint_eq(json_object_array_length(is), json_object_array_length(want));
        for (size_t i = 0; i < json_object_array_length(want); i++)
            expect_value(json_object_array_get_idx(is, i), json_object_array_get_idx(want, i), key);
    } else if (json_object_is_type(want, json_type_string) && text[0] == '~') {
        ck_assert_msg(json_object_is_type(is, json_type_string) &&
                          strstr(json_object_get_string(is), text + 1),
                      "%s is %s, without %s", key, json_object_to_json_string(is), text + 1);
    } else {
        ck_assert_msg(json_object_equal(is, want), "%s is %s, not %s", key,
                      json_object_to_json_string(is), json_object_to_json_string(want));
    }
}

void expect(struct json_object *object, const char *want)
{
    struct json_object *tree = json_tokener_parse(want);

    ck_assert_msg(tree != NULL, "no JSON: %s", want);
    expect_value(object, tree, "it");
    json_object_put(tree);
}

const char *text_at(struct json_object *object, const char *key, size_t i)
{
    return json_object_get_string(at(object, key, i));
}
