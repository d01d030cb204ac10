/* SPDX-License-Identifier: MIT */
/*
 * The record of changing calls: who, which method, what arguments, how it ended. One event tells
 * it, when the call is answered, or when its connection closes unanswered.
 *
 * Arguments are the call's JSON with each string shortened, and cut to a size. Of a file (the
 * member "data") only the size is shown: it may be a private key by mistake. The user's name comes
 * from /etc/passwd alone: name services may ask other hosts, and the loop waits for nobody.
 */
#include "admin/parts.h"
#include "observe/event.h"
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRING_MAX 48 /* bytes of a string that are shown */

/* --- arguments -------------------------------------------------------------------------------- */

struct text {
    char *out;
    size_t size, used;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text->out + text->used, text->size - text->used, fmt, ap);
    va_end(ap);
    if (n > 0)
        text->used += (size_t)n;
    if (text->used >= text->size)
        text->used = text->size - 1;
}

static bool is_full(const struct text *text)
{
    return text->used + 1 >= text->size;
}

/* The log escapes what is not to be shown as it is, a character cut in two included. */
static void add_string(struct text *text, const char *s)
{
    size_t n = strlen(s);

    if (n <= STRING_MAX)
        add(text, "\"%s\"", s);
    else
        add(text, "\"%.*s\"... (%zu bytes)", STRING_MAX, s, n);
}

/* NOLINTNEXTLINE(misc-no-recursion): the parser has limited the depth */
static void add_value(struct text *text, struct json_object *value)
{
    const char *between = "";

    if (is_full(text))
        return;
    if (json_object_is_type(value, json_type_string)) {
        add_string(text, json_object_get_string(value));
    } else if (json_object_is_type(value, json_type_array)) {
        add(text, "[");
        for (size_t i = 0; i < json_object_array_length(value) && !is_full(text); i++) {
            add(text, "%s", between);
            add_value(text, json_object_array_get_idx(value, i));
            between = ", ";
        }
        add(text, "]");
    } else if (json_object_is_type(value, json_type_object)) {
        add(text, "{");
        json_object_object_foreach(value, key, member)
        {
            add(text, "%s", between);
            add_string(text, key);
            add(text, ": ");
            if (strcmp(key, "data") == 0 && json_object_is_type(member, json_type_string))
                add(text, "(%d bytes)", json_object_get_string_len(member));
            else
                add_value(text, member);
            between = ", ";
        }
        add(text, "}");
    } else {
        char word[32];
        (void)json_write(value, word, sizeof(word));
        add(text, "%s", word);
    }
}

void admin_shorten(struct json_object *value, char *out, size_t size)
{
    struct text text = {.out = out, .size = size};

    out[0] = 0;
    add_value(&text, value);
    if (is_full(&text) && size > 4)
        memcpy(out + size - 4, "...", 4);
}

/* --- who -------------------------------------------------------------------------------------- */

static void user_name(uid_t uid, char *out, size_t size)
{
    FILE *file = fopen("/etc/passwd", "re");
    const struct passwd *user;

    snprintf(out, size, "%u", uid);
    if (!file)
        return;
    do
        user = fgetpwent(file);
    while (user && user->pw_uid != uid);
    if (user)
        snprintf(out, size, "%s", user->pw_name);
    fclose(file);
}

/* --- the record ------------------------------------------------------------------------------- */

void admin_audit_begin(const struct call *call)
{
    struct admin_session *session = admin_session_of(call->peer);

    session->audited = call->method;
    admin_shorten(call->parameters, session->arguments, sizeof(session->arguments));
}

void admin_audit_tell(const struct peer *peer, const char *method, const char *arguments,
                      const char *result)
{
    const struct account_key *key = &peer->account->key;
    char user[64];

    user_name(key->uid, user, sizeof(user));
    event_emit(EVENT_ADMIN_AUDIT,
               LOG_FIELDS(log_number("PEER_UID", (int64_t)key->uid),
                          log_number("PEER_PID", key->pid), log_text("COCO_USER", user),
                          log_text("COCO_METHOD", method), log_text("COCO_ARGUMENTS", arguments),
                          log_text("COCO_RESULT", result)),
               "%s (user %u, pid %d) called %s: %s", user, key->uid, (int)key->pid, method, result);
}

void admin_audit_end(struct peer *peer, const char *result)
{
    struct admin_session *session = admin_session_of(peer);
    const struct admin_method *method = session->audited;

    session->audited = NULL;
    if (method)
        admin_audit_tell(peer, method->name, session->arguments, result);
}
