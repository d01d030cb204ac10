/* SPDX-License-Identifier: MIT */
/*
 * Reading a reply, and showing it. A field that is missing or of another type sets `bad`, which
 * sticks; what is returned then is harmless.
 */
#pragma once

#include "lib/ctl.h"

struct reply {
    bool bad;
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
/* The array and its length; 0 where anything is wrong with the reply. */
size_t reply_array(struct reply *reply, struct json_object *object, const char *name,
                   json_type element_type, struct json_object **ret_array);
/* Says that a reply is not what the interface describes; the exit status. */
int reply_malformed(const struct ctl *ctl, const char *method);
typedef void reply_print(FILE *to, struct reply *reply, struct json_object *parameters);
/* Prints a reply, or its JSON, to stdout or --out; nothing of a malformed one. Takes `parameters`.
 * The exit status. */
int reply_show(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print);
/* NULL, and 0, where the field is null. */
bool reply_optional_int(struct reply *reply, struct json_object *object, const char *name,
                        int64_t *ret);
/* A call, and its reply shown. Takes `parameters`. The exit status. */
int reply_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
               reply_print *print);
/* A text of a reply on a line of its own, as term_line(). */
void reply_line(FILE *to, const char *label, struct reply *reply, struct json_object *object,
                const char *name);
/* The same where the field is there and not null. */
void reply_optional_line(FILE *to, const char *label, struct reply *reply,
                         struct json_object *object, const char *name);
