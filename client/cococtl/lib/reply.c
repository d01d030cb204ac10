/* SPDX-License-Identifier: MIT */
/*
 * A reply is checked against proto/io.cocod.Admin.varlink while it is read. It is printed into
 * memory first, so that a malformed one shows nothing instead of half of the truth. Fields that are
 * not known here are left alone; --json shows them.
 */
#include "lib/reply.h"
#include "composed.h"
#include "lib/figures.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include <inttypes.h>
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

/* --- printing --------------------------------------------------------------------------------- */

size_t reply_each(FILE *to, struct reply *reply, struct json_object *object, const char *name,
                  reply_print *print)
{
    struct json_object *array;
    size_t n = reply_array(reply, object, name, json_type_object, &array);

    for (size_t i = 0; i < n; i++)
        print(to, reply, json_object_array_get_idx(array, i));
    return n;
}

/* "{name:WIDTH KIND|NULL}" */
struct field {
    char name[32], null[32];
    int width;
    char kind;
};

/* Returns what follows it. */
static const char *read_field(const char *p, struct field *ret)
{
    size_t n = strcspn(++p, ":|}");
    char *end;

    *ret = (struct field){.kind = 's'};
    (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)n, p);
    p += n;
    if (*p == ':') {
        ret->width = (int)strtol(p + 1, &end, 10);
        ret->kind = *end;
        p = end + 1;
    }
    if (*p == '|') {
        n = strcspn(++p, "}");
        (void)snprintf(ret->null, sizeof(ret->null), "%.*s", (int)n, p);
        p += n;
    }
    return p + 1;
}

static void write_field(FILE *to, struct reply *reply, struct json_object *object,
                        const struct field *field)
{
    char number[24];
    const char *text = number;

    if (field->null[0] && !is_there(object, field->name))
        text = field->null;
    else if (field->kind == 'd')
        (void)snprintf(number, sizeof(number), "%" PRId64, reply_int(reply, object, field->name));
    else if (field->kind == 't')
        ms_text(reply_int(reply, object, field->name), number);
    else if (field->kind == 'u')
        us_text(reply_int(reply, object, field->name), number);
    else
        text = reply_string(reply, object, field->name);
    if (field->kind == 'c')
        term_column(to, text, (unsigned)field->width);
    else if (field->kind == 'w')
        term_wrap(to, text, (unsigned)field->width, term_width());
    else
        term_printf(to, "%*s", field->width, text);
}

/* Is a field null of those in the brackets that open here? */
static bool lacks_one(struct json_object *object, const char *p)
{
    struct field field;

    while (*p != ']') {
        if (*p != '{') {
            p++;
            continue;
        }
        p = read_field(p, &field);
        if (!is_there(object, field.name))
            return true;
    }
    return false;
}

void reply_write(FILE *to, struct reply *reply, struct json_object *object, const char *format)
{
    struct field field;

    for (const char *p = format; *p;) {
        size_t n = strcspn(p, "{[]");
        term_composed(to, p, n);
        p += n;
        if (*p == '{') {
            p = read_field(p, &field);
            write_field(to, reply, object, &field);
        } else if (*p) {
            p = *p == '[' && lacks_one(object, p) ? strchr(p, ']') + 1 : p + 1;
        }
    }
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
    struct reply reply = {.ctl = ctl};
    struct composed composed;
    int code = CTL_OK;

    if (!memory_held(parameters) || !composed_begin(&composed)) {
        json_object_put(parameters);
        return memory_out();
    }
    print(composed.to, &reply, parameters);
    if (ctl->json) { /* in place of what was printed */
        (void)fflush(composed.to);
        composed.size = 0;
        code = ctl->follow ? output_json_line(composed.to, parameters)
                           : output_json(composed.to, parameters);
    }
    json_object_put(parameters);
    if (!composed_end(&composed))
        return memory_out();
    if (code == CTL_OK && reply.bad && !ctl->json) {
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
    return code == CTL_OK && reply.failed ? CTL_FAILED : code;
}

int reply_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print)
{
    int code = varlink_call(ctl, method, parameters, &parameters);

    return code == CTL_OK ? reply_show(ctl, method, parameters, print) : code;
}
