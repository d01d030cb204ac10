/* SPDX-License-Identifier: MIT */
/*
 * Reading a reply, and showing it. A field that is missing or of another type sets `bad`, which
 * sticks; what is returned then is harmless.
 */
#pragma once

#include "lib/ctl.h"

struct reply {
    const struct ctl *ctl;
    bool bad;
    bool failed; /* it says that something is not as it should be: CTL_FAILED once it is shown */
};
struct json_object *reply_field(struct reply *reply, struct json_object *object, const char *name,
                                json_type type);
const char *reply_string(struct reply *reply, struct json_object *object, const char *name);
int64_t reply_int(struct reply *reply, struct json_object *object, const char *name);
bool reply_bool(struct reply *reply, struct json_object *object, const char *name);
/* NULL where the field is null; it may be left out then, as varlink allows. */
const char *reply_optional_string(struct reply *reply, struct json_object *object,
                                  const char *name);
struct json_object *reply_optional_object(struct reply *reply, struct json_object *object,
                                          const char *name);
/* False, and 0, where the field is null. */
bool reply_optional_int(struct reply *reply, struct json_object *object, const char *name,
                        int64_t *ret);
/* The array and its length; 0 where anything is wrong with the reply. */
size_t reply_array(struct reply *reply, struct json_object *object, const char *name,
                   json_type element_type, struct json_object **ret_array);

typedef void reply_print(FILE *to, struct reply *reply, struct json_object *object);
/* Prints each object of an array. Their number, as reply_array. */
size_t reply_each(FILE *to, struct reply *reply, struct json_object *object, const char *name,
                  reply_print *print);
/* A text with fields of `object` in it. "{name}" is a string, "{name:-9s}" one that is padded as
 * printf does it, "{name:20c}" one in a column (term_column), "{name:14w}" one that is wrapped
 * (term_wrap). "{name:6d}" is a number, "{name:8t}" a time in ms, "{name:9u}" one in us, as ms_text
 * and us_text have them. "{name:6d|-}" is "-" where the field is null. What stands in brackets is
 * left out where a field in it is null. */
void reply_write(FILE *to, struct reply *reply, struct json_object *object, const char *format);

/* Says that a reply is not what the interface describes; the exit status. */
int reply_malformed(const struct ctl *ctl, const char *method);
/* Prints a reply, or its JSON, to stdout or --out; nothing of a malformed one. Takes `parameters`.
 * The exit status. */
int reply_show(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print);
/* A call, and its reply shown. Takes `parameters`. The exit status. */
int reply_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print);
