/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the administrators' frontend share: a rig with a chain and a quoting service, and
 * varlink as a client speaks it.
 */
#pragma once

#include "fake_qgs.h"
#include "rig.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct rig rig;
static struct rig_options options;
static char table_path[128];

static inline void setup(void)
{
    rig_reset_sys();
    fake_qgs_install();
    snprintf(table_path, sizeof(table_path), "%s/table", rig_tmpdir());
    options = rig_defaults();
    options.certs.table_file =
        (struct table_file_options){.path = table_path, .mode = 0644, .group = (gid_t)-1};
    rig_chain(&options.certs, 0);
    options.quotes.n_backends = 1;
}

static inline void teardown(void)
{
    fake_qgs_close_all();
}

static inline int connect_admin(void)
{
    return rig_connect(&rig, &admin_dialect, &rig.admin, NULL);
}

static inline void end(int fd)
{
    close(fd);
    rig_settle(&rig);
    rig_close(&rig);
}

static inline void say(int fd, const char *text)
{
    rig_send(fd, text, strlen(text) + 1);
    rig_settle(&rig);
}

/* One reply; NULL: none. The caller's. */
static inline struct json_object *hear(int fd)
{
    static char text[1u << 18];
    size_t size = 0;

    while (size < sizeof(text) && rig_receive(fd, text + size, 1, NULL) == 1)
        if (text[size++] == 0)
            break;
    if (size == 0)
        return NULL;
    ck_assert_msg(text[size - 1] == 0, "a reply without an end");
    struct json_object *reply = json_tokener_parse(text);
    ck_assert_msg(json_object_is_type(reply, json_type_object), "not an object: %s", text);
    return reply;
}

static inline struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    ck_assert_msg(json_object_object_get_ex(object, key, &value), "there is no %s in %s", key,
                  json_object_to_json_string(object));
    return value;
}

static inline const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_string), "%s is no string", key);
    return json_object_get_string(value);
}

static inline int64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    ck_assert_msg(json_object_is_type(value, json_type_int), "%s is no int", key);
    return json_object_get_int64(value);
}

static inline bool is_null(struct json_object *object, const char *key)
{
    return get(object, key) == NULL;
}

/* A call that succeeds: its parameters; *ret_reply is the caller's. */
static inline struct json_object *ask(int fd, const char *call, struct json_object **ret_reply)
{
    struct json_object *error;

    say(fd, call);
    *ret_reply = hear(fd);
    ck_assert_msg(*ret_reply != NULL, "no reply to %s", call);
    ck_assert_msg(!json_object_object_get_ex(*ret_reply, "error", &error), "error: %s",
                  json_object_to_json_string(*ret_reply));
    return get(*ret_reply, "parameters");
}

static inline void expect_error(int fd, const char *call, const char *name, const char *key,
                                const char *value)
{
    say(fd, call);
    struct json_object *reply = hear(fd);
    ck_assert_ptr_nonnull(reply);
    ck_assert_str_eq(text_of(reply, "error"), name);
    ck_assert_str_eq(text_of(get(reply, "parameters"), key), value);
    json_object_put(reply);
}
