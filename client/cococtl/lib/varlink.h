/* SPDX-License-Identifier: MIT */
/* Calls of io.cocod.Admin, proto/io.cocod.Admin.varlink. */
#pragma once

#include "lib/ctl.h"
#include <sys/types.h>

struct varlink {
    const struct ctl *ctl;
    int fd; /* -1: closed */
    /* The user who sent the last reply, as the kernel says; (uid_t)-1: not known, or several. */
    uid_t user;
    /* What was received, of a call with `more` behind the last reply; so much of it has no NUL. */
    char *received;
    size_t n_received, n_searched, capacity;
};

/* How a call ended: `error` is a negative errno of the connection (-EBADMSG: what came is not
 * varlink); else `name` is the error's name, "" where it succeeded. varlink_answer_done() ends it.
 */
struct varlink_answer {
    int error;
    char name[96];
    struct json_object *parameters; /* NULL possible with a name */
};

/* 0 or a negative errno. */
int varlink_open(struct varlink *v, const struct ctl *ctl);
void varlink_close(struct varlink *v);
/* One call on an open connection; `parameters` may be NULL and stays the caller's. A call that
 * failed in the connection closes it. */
void varlink_ask(struct varlink *v, const char *method, struct json_object *parameters,
                 uint32_t timeout_ms, struct varlink_answer *ret);
/* A call with `more`; 0 or a negative errno. Its replies are taken by varlink_next, and the
 * connection is for nothing else from then on. */
int varlink_begin(struct varlink *v, const char *method, struct json_object *parameters,
                  uint32_t timeout_ms);
/* The next reply, where it is there: true. It does not wait; the connection's end is an answer,
 * too. */
bool varlink_next(struct varlink *v, struct varlink_answer *ret);
void varlink_answer_done(struct varlink_answer *answer);
static inline bool varlink_succeeded(const struct varlink_answer *answer)
{
    return answer->error == 0 && answer->name[0] == 0;
}
/* With the error of that name, of the interface? */
bool varlink_failed_as(const struct varlink_answer *answer, const char *name);
/* Says how a call ended that did not succeed; the exit status. */
int varlink_explain(const struct ctl *ctl, const struct varlink_answer *answer);
/* A connection, one call, and its end. On success *ret_parameters is the reply's, which the caller
 * puts; otherwise the exit status, and the reason was printed. Takes `parameters`. */
int varlink_call(const struct ctl *ctl, const char *method, struct json_object *parameters,
                 struct json_object **ret_parameters);
