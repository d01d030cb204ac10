/* SPDX-License-Identifier: MIT */
/*
 * What the administrative interface answers, read and shown.
 *
 * A reply is checked against proto/io.cocod.Admin.varlink while it is read: a field that is missing
 * or of another type sets `bad`, which sticks, and the verb then fails instead of showing half of
 * the truth: everything is printed into memory first. Fields that are not known here are left
 * alone; --json shows them.
 */
#include "lib/reply.h"
#include "composed.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include <stdlib.h>
#include <string.h>

struct json_object *reply_field(struct reply *reply, struct json_object *object, const char *name,
                                json_type type)
{
    struct json_object *value = json_member(object, name, type);

    reply->bad = reply->bad || !value;
    return value;
}

static bool is_there(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    return json_object_object_get_ex(object, name, &value) && value;
}

const char *reply_string(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = reply_field(reply, object, name, json_type_string);

    return value ? json_object_get_string(value) : "";
}

const char *reply_optional_string(struct reply *reply, struct json_object *object, const char *name)
{
    return is_there(object, name) ? reply_string(reply, object, name) : NULL;
}

struct json_object *reply_optional_object(struct reply *reply, struct json_object *object,
                                          const char *name)
{
    return is_there(object, name) ? reply_field(reply, object, name, json_type_object) : NULL;
}

int64_t reply_int(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = reply_field(reply, object, name, json_type_int);

    return value ? json_object_get_int64(value) : 0;
}

bool reply_optional_int(struct reply *reply, struct json_object *object, const char *name,
                        int64_t *ret)
{
    bool there = is_there(object, name);

    *ret = there ? reply_int(reply, object, name) : 0;
    return there;
}

bool reply_bool(struct reply *reply, struct json_object *object, const char *name)
{
    struct json_object *value = reply_field(reply, object, name, json_type_boolean);

    return value && json_object_get_boolean(value);
}

size_t reply_array(struct reply *reply, struct json_object *object, const char *name,
                   json_type element_type, struct json_object **ret_array)
{
    struct json_object *array = reply_field(reply, object, name, json_type_array);
    size_t n = array ? json_object_array_length(array) : 0;

    for (size_t i = 0; i < n; i++)
        if (!json_object_is_type(json_object_array_get_idx(array, i), element_type))
            reply->bad = true;
    *ret_array = array;
    return reply->bad ? 0 : n;
}

void reply_line(FILE *to, const char *label, struct reply *reply, struct json_object *object,
                const char *name)
{
    term_line(to, label, reply_string(reply, object, name));
}

void reply_optional_line(FILE *to, const char *label, struct reply *reply,
                         struct json_object *object, const char *name)
{
    if (is_there(object, name))
        reply_line(to, label, reply, object, name);
}

int reply_malformed(const struct ctl *ctl, const char *method)
{
    term_error("the answer of %s to %s is not what io.cocod.Admin describes", ctl->admin, method);
    term_hint("cocod and cococtl are of different releases; --json shows the answer as it is.");
    return CTL_FAILED;
}

int reply_show(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print)
{
    struct reply reply = {0};
    struct composed composed;
    int code = CTL_OK;

    if (!memory_held(parameters) || !composed_begin(&composed)) {
        json_object_put(parameters);
        return memory_out();
    }
    if (ctl->json)
        code = output_json(composed.to, parameters);
    else
        print(composed.to, &reply, parameters);
    json_object_put(parameters);
    if (!composed_end(&composed))
        return memory_out();
    if (code == CTL_OK && reply.bad) {
        code = reply_malformed(ctl, method);
    } else if (code == CTL_OK) {
        FILE *to = output_open(ctl);
        code = CTL_FAILED;
        if (to) {
            term_composed(to, composed.text, composed.size);
            code = output_close(ctl, to);
        }
    }
    free(composed.text);
    return code;
}

int reply_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print)
{
    int code = varlink_call(ctl, method, parameters, &parameters);

    return code == CTL_OK ? reply_show(ctl, method, parameters, print) : code;
}
